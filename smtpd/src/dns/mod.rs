//! The name service: mail hosts of a domain and addresses of a host (RFC 5321 section 5.1), by asking the servers of
//! /etc/resolv.conf. Answers come from the network: they are hostile, bounded, and believed only in what they were asked.

mod exchange;
pub mod message;
mod punycode;
mod system;
#[cfg(test)]
pub(crate) mod testing;

pub use punycode::to_ascii;

use common::config::keyword::InetProtocols;
use exchange::{Said, ask};
use message::Record;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use system::ResolvConf;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address (RFC 3596).
    Aaaa,
    /// A mail host.
    Mx,
}

/// Mail hosts that are looked at, of one domain: the best of them.
const EXCHANGES_MAX: usize = 32;
/// Addresses that are looked at, of one host.
const ADDRESSES_MAX: usize = 16;

/// A mail host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Lower ones first.
    pub preference: u16,
    /// Its name in lower case; empty where there is explicitly none.
    pub host: String,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFound {
    /// There is no such name.
    NoSuchName,
    /// The name has nothing of the kind.
    NoData,
    /// The domain has mail hosts, and none of them has a name that a host can have.
    NoHosts,
    /// Nobody knows, for now.
    Unknown(String),
}

/// Asks.
#[derive(Debug, Clone)]
pub struct Resolver {
    conf: ResolvConf,
    hosts: PathBuf,
    protocols: InetProtocols,
}

impl Resolver {
    /// With the servers of the system.
    pub fn system(protocols: InetProtocols) -> Resolver {
        let conf = ResolvConf::load(Path::new("/etc/resolv.conf"));
        Resolver { conf, hosts: "/etc/hosts".into(), protocols }
    }

    /// The mail hosts of a domain, the best ones first. `NoData`: it has none, which is not to say that it takes no mail.
    pub fn exchanges(&self, domain: &str) -> Result<Vec<Exchange>, NotFound> {
        let exchange = |record| match record {
            Record::Exchange { preference, host } => Some(Exchange { preference, host }),
            Record::Address(_) => None,
        };
        let mut found: Vec<Exchange> =
            self.records(domain, Kind::Mx)?.into_iter().filter_map(exchange).collect();
        found.sort_by_key(|exchange| exchange.preference);
        found.truncate(EXCHANGES_MAX);
        Ok(found)
    }

    /// The addresses of a host, of the protocols that are in use, in turn IPv6 and IPv4; never none.
    pub fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NotFound> {
        let listed: Vec<IpAddr> =
            system::hosts(&self.hosts, host).into_iter().filter(|address| self.is_used(*address)).collect();
        if !listed.is_empty() {
            return Ok(listed);
        }
        let mut lists = Vec::new();
        let mut reason = NotFound::NoSuchName;
        for (kind, protocol) in [(Kind::Aaaa, InetProtocols::Ipv6), (Kind::A, InetProtocols::Ipv4)] {
            if ![protocol, InetProtocols::All].contains(&self.protocols) {
                continue;
            }
            match self.records(host, kind) {
                Ok(records) => lists.push(records),
                // What is not known for now counts more than what is not there.
                Err(other) if matches!(reason, NotFound::Unknown(_)) => drop(other),
                Err(NotFound::NoSuchName) if reason == NotFound::NoData => {}
                Err(other) => reason = other,
            }
        }
        let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
        let mut found = Vec::new();
        loop {
            let before = found.len();
            for list in &mut lists {
                if let Some(Record::Address(address)) = list.next() {
                    found.push(address);
                }
            }
            if found.len() == before || found.len() >= ADDRESSES_MAX {
                break;
            }
        }
        if found.is_empty() { Err(reason) } else { Ok(found) }
    }

    fn is_used(&self, address: IpAddr) -> bool {
        match self.protocols {
            InetProtocols::All => true,
            InetProtocols::Ipv4 => address.is_ipv4(),
            InetProtocols::Ipv6 => address.is_ipv6(),
        }
    }

    fn records(&self, name: &str, kind: Kind) -> Result<Vec<Record>, NotFound> {
        let name = to_ascii(name).ok_or(NotFound::NoSuchName)?;
        match ask(&self.conf, &name, kind) {
            Said::Records(records) if records.is_empty() => Err(NotFound::NoData),
            Said::Records(records) => Ok(records),
            Said::NoSuchName => Err(NotFound::NoSuchName),
            Said::NoHosts => Err(NotFound::NoHosts),
            Said::Nothing(why) => Err(NotFound::Unknown(why)),
        }
    }
}
