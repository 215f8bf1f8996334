//! Who is at the other end, and lists of networks.
//!
//! The kernel is asked first. Only where the descriptor is no internet socket (a TLS wrapper's pipe, a tunnel) does
//! the launcher's environment count: it is set by whoever started the program, never by the client.

use crate::sys::socket::{self, Endpoint};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::str::FromStr;

/// Both addresses of the connection, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; port 0 where only the address is known.
    pub remote: Option<SocketAddr>,
    /// The address that the client connected to.
    pub local: Option<SocketAddr>,
    /// Whether the descriptor itself is an internet socket: `--preauth` is refused on those.
    pub on_network: bool,
}

impl Peer {
    /// Asks the kernel about `connection`, then, if that is no internet socket, the launcher's environment.
    pub fn of(connection: &impl AsFd) -> Peer {
        let remote = socket::remote_end(connection);
        let local = if remote == Endpoint::NotSocket { remote } else { socket::local_end(connection) };
        Peer::resolve(remote, local, |name| std::env::var(name).ok())
    }

    /// The rule behind [`Peer::of`], without system calls.
    pub fn resolve(remote: Endpoint, local: Endpoint, env: impl Fn(&str) -> Option<String>) -> Peer {
        let on_network = matches!(remote, Endpoint::Inet(_)) || matches!(local, Endpoint::Inet(_));
        if on_network {
            return Peer { remote: inet(remote), local: inet(local), on_network };
        }
        let (remote, local) = from_environment(env);
        Peer { remote, local, on_network }
    }

    /// The same connection, seen with the addresses that a trusted proxy named.
    pub fn behind_proxy(self, remote: SocketAddr, local: SocketAddr) -> Peer {
        Peer { remote: Some(canonical(remote)), local: Some(canonical(local)), ..self }
    }

    /// Whether the client is on this host: a loopback address, or the very address it connected to. Nobody between
    /// the two ends can read along, so such a connection counts as secured.
    pub fn is_loopback(&self) -> bool {
        let Some(remote) = self.remote else { return false };
        let same = self.local.is_some_and(|local| local.ip() == remote.ip());
        remote.ip().is_loopback() || same && !remote.ip().is_unspecified()
    }

    /// Whether the client's address lies in one of the networks.
    pub fn is_in(&self, networks: &[Network]) -> bool {
        self.remote.is_some_and(|remote| networks.iter().any(|network| network.contains(remote.ip())))
    }
}

fn inet(end: Endpoint) -> Option<SocketAddr> {
    match end {
        Endpoint::Inet(address) => Some(canonical(address)),
        _ => None,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// UCSPI (tcpserver, s6, and their TLS relatives), then xinetd, then systemd.
fn from_environment(env: impl Fn(&str) -> Option<String>) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let end = |address: &str, port: &str| {
        let ip = env(address)?.parse::<IpAddr>().ok()?;
        let port = env(port).and_then(|port| port.parse().ok()).unwrap_or(0);
        Some(canonical(SocketAddr::new(ip, port)))
    };
    // UCSPI says in PROTO which variables are its own; IPC (a Unix socket) has no addresses.
    let ucspi = !env("PROTO").is_some_and(|proto| !matches!(&*proto, "TCP" | "TCP6" | "SSL"));
    let remote = ucspi.then(|| end("TCPREMOTEIP", "TCPREMOTEPORT")).flatten();
    let local = ucspi.then(|| end("TCPLOCALIP", "TCPLOCALPORT")).flatten();
    let remote =
        remote.or_else(|| end("REMOTE_HOST", "REMOTE_PORT")).or_else(|| end("REMOTE_ADDR", "REMOTE_PORT"));
    (remote, local)
}

/// A network in CIDR notation; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The bits behind the prefix are zero.
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address belongs to the network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.base)
    }

    /// The first of its addresses.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// How many bits of its addresses are the same.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is the whole of IPv4 or IPv6.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// `None`: the prefix is longer than the address.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let host_bits = 32u32.checked_sub(prefix.into())?;
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let host_bits = 128u32.checked_sub(prefix.into())?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    })
}

/// The text is no network: neither an address nor `ADDRESS/BITS`, or it has bits set behind the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    /// `192.0.2.0/24`, `2001:db8::/32`, `[2001:db8::]/32` (Postfix), `192.0.2.1`.
    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(decimal(prefix).ok_or(NotANetwork)?)),
            None => (text, None),
        };
        let bare = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|rest| rest.contains(':')).ok_or(NotANetwork)?,
            None => address,
        };
        let ip: IpAddr = bare.parse().map_err(|_| NotANetwork)?;
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        let (ip, prefix) = match ip.to_canonical() {
            IpAddr::V4(v4) if whole == 128 && prefix >= 96 => (IpAddr::V4(v4), prefix - 96),
            _ => (ip, prefix),
        };
        match masked(ip, prefix) {
            Some(base) if base == ip => Ok(Network { base, prefix }),
            _ => Err(NotANetwork),
        }
    }
}

/// One to three digits, no sign, no superfluous zero.
fn decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.base, self.prefix) {
            (IpAddr::V4(base), 32) => write!(f, "{base}"),
            (IpAddr::V6(base), 128) => write!(f, "{base}"),
            (base, prefix) => write!(f, "{base}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn seen(pairs: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let peer = Peer::resolve(Endpoint::NotSocket, Endpoint::NotSocket, env(pairs));
        (peer.remote.map(|a| a.to_string()), peer.local.map(|a| a.to_string()))
    }

    #[test]
    fn the_socket_is_believed_before_the_environment() {
        let socket = Endpoint::Inet("[::ffff:192.0.2.1]:99".parse().unwrap());
        let local = Endpoint::Inet("192.0.2.9:110".parse().unwrap());
        let peer = Peer::resolve(socket, local, env(&[("TCPREMOTEIP", "127.0.0.1")]));
        assert_eq!(peer.remote, Some("192.0.2.1:99".parse().unwrap()));
        assert!(peer.on_network && !peer.is_loopback());
        // A socket whose client is gone already has no remote address; the environment must not fill it in.
        let gone = Peer::resolve(Endpoint::Unknown, local, env(&[("TCPREMOTEIP", "127.0.0.1")]));
        assert_eq!(gone.remote, None);
    }

    #[test]
    fn launchers() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: [Row; 9] = [
            (&[], None),
            (&[("PROTO", "TCP"), ("TCPREMOTEIP", "192.0.2.1"), ("TCPREMOTEPORT", "7")], Some("192.0.2.1:7")),
            (&[("PROTO", "SSL"), ("TCPREMOTEIP", "2001:db8::1")], Some("[2001:db8::1]:0")),
            (&[("TCPREMOTEIP", "::ffff:192.0.2.1")], Some("192.0.2.1:0")),
            (&[("PROTO", "IPC"), ("TCPREMOTEIP", "192.0.2.1")], None),
            (&[("REMOTE_HOST", "192.0.2.2")], Some("192.0.2.2:0")),
            (&[("REMOTE_HOST", "client.example")], None),
            (&[("REMOTE_ADDR", "192.0.2.3"), ("REMOTE_PORT", "5")], Some("192.0.2.3:5")),
            (&[("REMOTE_ADDR", "192.0.2.3"), ("REMOTE_PORT", "x")], Some("192.0.2.3:0")),
        ];
        for (pairs, want) in rows {
            assert_eq!(seen(pairs).0.as_deref(), want, "{pairs:?}");
        }
        assert_eq!(
            seen(&[("TCPLOCALIP", "192.0.2.9"), ("TCPLOCALPORT", "110")]).1.as_deref(),
            Some("192.0.2.9:110")
        );
    }

    #[test]
    fn loopback_and_the_own_address_are_local() {
        let peer = |remote: &str, local: &str| Peer {
            remote: remote.parse().ok(),
            local: local.parse().ok(),
            on_network: true,
        };
        assert!(peer("127.8.8.8:1", "").is_loopback());
        assert!(peer("[::1]:1", "").is_loopback());
        assert!(peer("192.0.2.1:1", "192.0.2.1:110").is_loopback());
        assert!(!peer("192.0.2.1:1", "192.0.2.2:110").is_loopback());
        assert!(!peer("", "127.0.0.1:110").is_loopback());
    }

    #[test]
    fn networks() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("[2001:db8::]/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::ffff:10.0.0.0/104", "10.2.3.4", true),
        ];
        for (network, address, want) in rows {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), want, "{network} {address}");
        }
        for bad in [
            "",
            "/",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::/129",
            "[10.0.0.0]/8",
            "[::",
            "::1/+1",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "example.org",
            "010.0.0.0/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printed_networks_read_back(text in "[0-9a-f.:/\\[\\]]{0,24}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            }
        }

        #[test]
        fn every_prefix_holds_its_base(bits: u128, v4: u32, prefix in 0u8..=128) {
            for address in [IpAddr::V6(bits.into()), IpAddr::V4(v4.into())] {
                if let Some(base) = masked(address, prefix) {
                    let network = Network { base, prefix };
                    prop_assert!(network.contains(address) || address != address.to_canonical());
                    prop_assert_eq!(network.to_string().parse::<Network>().is_ok(), true);
                }
            }
        }
    }
}
