//! Who may send what where, and what becomes of a recipient: asked by the guard for each MAIL and RCPT.
//!
//! Addresses and names of clients are a stranger's. The settings are read once for a connection, files of users and aliases
//! when they are asked.

use crate::address::{Address, ReversePath};
use crate::envelope::{Recipient, Target};
use crate::status::{Enhanced, Status};
use crate::users::Users;
use crate::values::{expand, mydomain, myhostname, myorigin, words};
use common::auth::Account;
use common::config::Config;
use common::peer::Network;
use std::io;
use std::net::IpAddr;

/// What is known of a client.
#[derive(Debug, Clone, Default)]
pub struct Client<'a> {
    /// Its address; `None`: a local program, through a pipe or a Unix socket.
    pub address: Option<IpAddr>,
    /// Its name, where somebody trusted told it (XCLIENT); empty: not known.
    pub name: &'a str,
    /// The argument of HELO, EHLO or LHLO; empty: none came.
    pub helo: &'a str,
    /// Who logged in.
    pub login: Option<&'a str>,
    /// The port for submission (RFC 6409).
    pub submission: bool,
    /// LMTP (RFC 2033): whoever may connect at all delivers, and nothing is relayed.
    pub lmtp: bool,
    /// TLS protects the connection.
    pub tls: bool,
    /// It sent commands ahead where RFC 2920 does not allow that.
    pub pipelined: bool,
    /// The uid of a local program.
    pub local_uid: Option<u32>,
}

/// The rules of one connection.
pub struct Rules {
    networks: Vec<Network>,
    destinations: Vec<String>,
    relay_domains: Vec<String>,
    myhostname: String,
    mydomain: String,
    myorigin: String,
    users: Users,
}

impl Rules {
    /// Reads the settings. Errors: one of them is wrong, or would make an open relay.
    pub fn load(config: &Config) -> io::Result<Rules> {
        let list = |value: &str| -> io::Result<Vec<String>> {
            Ok(words(&expand(config, value)?).map(str::to_owned).collect())
        };
        let mut networks = Vec::new();
        for word in list(&config.mynetworks)? {
            let wrong = |_| io::Error::other(format!("mynetworks: {word} is not a network"));
            networks.push(word.parse::<Network>().map_err(wrong)?);
        }
        if config.mynetworks.is_empty() {
            networks
                .extend(["127.0.0.0/8", "::1"].iter().filter_map(|network| network.parse::<Network>().ok()));
        }
        Ok(Rules {
            networks,
            destinations: list(&config.mydestination)?,
            relay_domains: list(&config.relay_domains)?,
            myhostname: myhostname(config),
            mydomain: mydomain(config),
            myorigin: myorigin(config)?,
            users: Users::new(config)?,
        })
    }

    /// This host's name, as `myhostname` has it or the kernel.
    pub fn myhostname(&self) -> &str {
        &self.myhostname
    }

    /// Asked at MAIL.
    pub fn sender(&mut self, client: &Client<'_>, path: &ReversePath) -> Result<(), Status> {
        let _ = (client, path);
        Ok(())
    }

    /// Asked at RCPT: whether it may be, and then where it goes. `orcpt` and `notify` are for the caller to fill in.
    pub fn recipient(
        &mut self,
        client: &Client<'_>,
        sender: &ReversePath,
        path: &Address,
    ) -> Result<Vec<Recipient>, Status> {
        let _ = sender;
        let recipient = |target| Recipient {
            address: path.clone(),
            original: path.clone(),
            orcpt: None,
            notify: None,
            owner: None,
            target,
        };
        if self.destinations.iter().any(|domain| domain.eq_ignore_ascii_case(path.domain())) {
            let user = path.local().to_lowercase();
            return match self.users.find(&user)? {
                Some(_) => {
                    let target = Target::Mailbox { user, extension: String::new(), direct: false };
                    Ok(vec![recipient(target)])
                }
                None => Err(Status::new(550, Enhanced(5, 1, 1), "User unknown")),
            };
        }
        let trusted = client.login.is_some()
            || client
                .address
                .is_none_or(|address| self.networks.iter().any(|network| network.contains(address)));
        if !client.lmtp && (trusted || self.is_relayed(path.domain())) {
            return Ok(vec![recipient(Target::Remote(path.clone()))]);
        }
        Err(Status::new(550, Enhanced(5, 7, 1), format!("<{path}>: Relaying denied")))
    }

    /// What the entries of a user's `~/.forward` mean ([`crate::deliver::Delivery::Forward`]): the recipients that take the
    /// place of this one. The entries are the user's, and get no rights but the user's.
    pub fn forward(&mut self, recipient: &Recipient, entries: &[String]) -> Result<Vec<Recipient>, Status> {
        let _ = entries;
        Err(Status::new(
            451,
            Enhanced(4, 3, 5),
            format!("<{}>: .forward cannot be followed", recipient.address),
        ))
    }

    /// Whom the writer of a recipient has to become.
    pub fn account(&mut self, recipient: &Recipient) -> Result<Account, Status> {
        let name = match &recipient.target {
            Target::Mailbox { user, .. } => user,
            Target::File { owner: Some(owner), .. } | Target::Command { owner: Some(owner), .. } => owner,
            _ => return Err(Status::new(451, Enhanced(4, 3, 5), "Local configuration error")),
        };
        let found = self.users.find(name)?;
        found.ok_or_else(|| Status::new(550, Enhanced(5, 1, 1), "User unknown"))
    }

    /// The address that a name without a domain means; in `RCPT TO:<postmaster>` it is this host's.
    pub fn qualified(&self, local: &str) -> Option<Address> {
        Address::new(local, &self.myorigin).ok()
    }

    fn is_relayed(&self, domain: &str) -> bool {
        let lower = domain.to_ascii_lowercase();
        self.relay_domains.iter().map(|known| known.to_ascii_lowercase()).any(|known| {
            lower == known || lower.strip_suffix(&*known).is_some_and(|front| front.ends_with('.'))
        })
    }

    /// The domain of this host.
    pub fn mydomain(&self) -> &str {
        &self.mydomain
    }
}
