//! /etc/resolv.conf and /etc/hosts, as resolv.conf(5) and hosts(5) have them. The files are the administrator's or a DHCP
//! client's; what is not understood is passed over, as the C library does.

use common::sys::interface;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Octets of either file that are read.
const FILE_MAX: usize = 1024 * 1024;
/// Name servers that are asked (MAXNS of resolv.conf(5)).
const SERVERS_MAX: usize = 3;
const PORT: u16 = 53;

/// Which servers are asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    /// How long one may take.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: u32,
    /// Over TCP alone (`use-vc`): where UDP does not get through.
    pub over_tcp: bool,
}

impl ResolvConf {
    /// Reads the file; without one, the server of this host is asked.
    pub fn load(path: &Path) -> ResolvConf {
        ResolvConf::parse(&read(path))
    }

    /// `nameserver`, and of `options` timeout, attempts and use-vc. Domains to search are of no account: names of mail domains are
    /// whole.
    pub fn parse(text: &str) -> ResolvConf {
        let mut found =
            ResolvConf { servers: Vec::new(), timeout: Duration::from_secs(5), attempts: 2, over_tcp: false };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if found.servers.len() < SERVERS_MAX => {
                    let address = words.next().and_then(server_address);
                    found.servers.extend(address);
                }
                Some("options") => words.for_each(|word| found.option(word)),
                _ => {}
            }
        }
        if found.servers.is_empty() {
            found.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        found
    }

    /// The limits are those of the C library (RES_MAXRETRANS, RES_MAXRETRY).
    fn option(&mut self, word: &str) {
        if let Some(seconds) = word.strip_prefix("timeout:").and_then(|n| n.parse::<u64>().ok()) {
            self.timeout = Duration::from_secs(seconds.clamp(1, 30));
        }
        if let Some(times) = word.strip_prefix("attempts:").and_then(|n| n.parse::<u32>().ok()) {
            self.attempts = times.clamp(1, 5);
        }
        self.over_tcp |= word == "use-vc";
    }
}

/// An address, an IPv6 one also with its interface: `fe80::1%eth0`, `fe80::1%2`. The router of many a small network is only
/// known so (RFC 8106).
fn server_address(text: &str) -> Option<SocketAddr> {
    if let Some((address, scope)) = text.split_once('%') {
        let address = address.parse().ok()?;
        let scope = scope.parse().ok().or_else(|| interface::number(scope))?;
        return Some(std::net::SocketAddrV6::new(address, PORT, 0, scope).into());
    }
    text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT))
}

/// The addresses that /etc/hosts has for a name, in any case.
pub fn hosts(path: &Path, name: &str) -> Vec<IpAddr> {
    addresses_in(&read(path), name)
}

fn addresses_in(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn read(path: &Path) -> String {
    let mut octets = fs::read(path).unwrap_or_default();
    octets.truncate(FILE_MAX);
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let text = "# c\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 ; c\nnameserver x\nsearch a b\n\
                    nameserver fe80::1%nosuch0\nnameserver fe80::1%lo\nnameserver 192.0.2.9\noptions rotate timeout:99 attempts:0 timeout:x\noptions use-vc\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(server_address("fe80::1%2").unwrap().to_string(), "[fe80::1%2]:53");
        assert_eq!((conf.timeout.as_secs(), conf.attempts, conf.over_tcp), (30, 1, true));
        let none = ResolvConf::load(Path::new("/nonexistent"));
        assert_eq!(
            (none.servers[0].to_string(), none.timeout.as_secs(), none.attempts, none.over_tcp),
            ("127.0.0.1:53".into(), 5, 2, false)
        );
    }

    #[test]
    fn etc_hosts() {
        let text = "127.0.0.1 localhost\n# 9.9.9.9 mail\n192.0.2.1\tmail.example.org Mail # x\n::1 mail\nmail 1.2.3.4\n\
                    192.0.2.1 mail\n";
        let addresses = |name| addresses_in(text, name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("MAIL"), ["192.0.2.1", "::1"]);
        assert_eq!(addresses("mail.example.org"), ["192.0.2.1"]);
        assert!(addresses("x").is_empty() && addresses("1.2.3.4").is_empty());
    }
}
