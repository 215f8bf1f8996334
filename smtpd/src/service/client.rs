//! Who the client is, for rules, trace fields and the log. Names that came from it are a stranger's words.

use super::is;
use crate::command::path::ForwardPath;
use crate::command::xclient::Attributes;
use crate::rules::Client;
use crate::wire::Mail;
use common::peer::Peer;
use common::process::service::Ground;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The name of a client that has none.
const UNKNOWN: &str = "unknown";

/// What is known beyond the connection itself.
#[derive(Default)]
pub(super) struct Known {
    connected: bool,
    name: Option<String>,
    helo: Option<String>,
    login: Option<String>,
    /// Counts of commands, as the front told them.
    pub counts: String,
}

/// `name[address]`, as in Postfix's log.
pub(super) struct Shown<'a> {
    name: &'a str,
    address: Option<IpAddr>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}[{}]", self.name, address.to_canonical()),
            None => write!(f, "{}[unknown]", self.name),
        }
    }
}

impl Known {
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    pub fn set_connected(&mut self) {
        self.connected = true;
    }

    /// The client's name: told by somebody trusted, or none but this host's own.
    pub fn name(&self, peer: &Peer) -> &str {
        match &self.name {
            Some(name) => name,
            None if peer.remote.is_some_and(|remote| remote.ip().to_canonical().is_loopback()) => "localhost",
            None => UNKNOWN,
        }
    }

    /// Who has logged in.
    pub fn login<'a>(&'a self, ground: &'a Ground<'_>) -> Option<&'a str> {
        let account = ground.account.map(|account| account.name.as_str());
        account.or(self.login.as_deref()).filter(|login| !login.is_empty())
    }

    /// For the log.
    pub fn shown<'a>(&'a self, ground: &Ground<'_>) -> Shown<'a> {
        Shown { name: self.name(ground.peer), address: ground.peer.remote.map(|remote| remote.ip()) }
    }

    /// The name that the client gave itself.
    pub fn helo<'a>(&'a self, mail: &'a Mail) -> &'a str {
        // As in Postfix: what XCLIENT has said of it holds until the client says it itself.
        if mail.helo.is_empty() { self.helo.as_deref().unwrap_or_default() } else { &mail.helo }
    }

    /// For the rules.
    pub fn client<'a>(&'a self, ground: &'a Ground<'_>, mail: &'a Mail) -> Client<'a> {
        Client {
            address: ground.peer.remote.map(|remote| remote.ip()),
            name: Some(self.name(ground.peer)).filter(|name| *name != UNKNOWN).unwrap_or_default(),
            helo: self.helo(mail),
            login: self.login(ground),
            submission: is(ground, "submission"),
            lmtp: is(ground, "lmtp"),
            tls: ground.tls,
            bare_sender: matches!(mail.path, Some(ForwardPath::Local(_))),
            ..Client::default()
        }
    }

    /// The host that speaks says who its client is.
    pub fn take_xclient(&mut self, ground: &mut Ground<'_>, said: Attributes) {
        if let Some(name) = said.name {
            self.name = Some(name).filter(|name| name != "unknown");
        }
        // As in Postfix the conversation begins again: HELO and LOGIN are of this client, NAME holds until another one comes.
        self.helo = said.helo.filter(|helo| !helo.is_empty());
        self.login = said.login;
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let mut remote = ground.peer.remote;
        if let Some(address) = said.address {
            remote = address.map(|ip| SocketAddr::new(ip, remote.map_or(0, |remote| remote.port())));
            // A name belongs to an address.
            remote = remote.or(Some(nowhere));
        }
        if let (Some(port), Some(remote)) = (said.port, &mut remote) {
            remote.set_port(port);
        }
        let mut local = ground.peer.local;
        if let Some(address) = said.local_address {
            local = Some(SocketAddr::new(address, local.map_or(0, |local| local.port())));
        }
        if let (Some(port), Some(local)) = (said.local_port, &mut local) {
            local.set_port(port);
        }
        *ground.peer = ground.peer.behind_proxy(remote.unwrap_or(nowhere), local.unwrap_or(nowhere));
    }
}
