//! Which way mail for other hosts goes: to the relayhost, or to the mail hosts of the recipient's domain.
//!
//! What is decided here without the network is the [`NextHop`]: recipients whose next hops are equal may be sent over one
//! connection. Where that is, is found out when it is needed: [`Route`].

use crate::address::{Address, ReversePath};
use crate::status::Status;
use common::config::Config;
pub use common::config::next_hop::NextHop;
use std::io;
use std::net::IpAddr;

/// One host to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, or its address where it has none.
    pub name: String,
    /// Its addresses, if they are known; otherwise they are looked up when it is its turn.
    pub addresses: Option<Vec<IpAddr>>,
    /// The port.
    pub port: u16,
}

/// The hosts of a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To be tried in this order. At least one.
    Hosts(Vec<Host>),
    /// There is no way, for now or for good.
    Fail(Status),
}

/// The administrator's rules.
#[derive(Debug)]
pub struct Router {
    relayhost: Option<NextHop>,
}

impl Router {
    /// Reads what the settings name. Errors: a file that cannot be read.
    pub fn load(config: &Config) -> io::Result<Router> {
        Ok(Router { relayhost: config.relayhost.0.clone() })
    }

    /// Where mail of this sender for this recipient goes.
    pub fn next_hop(&self, _sender: &ReversePath, recipient: &Address) -> NextHop {
        self.relayhost.clone().unwrap_or_else(|| NextHop::of_domain(recipient.domain()))
    }
}
