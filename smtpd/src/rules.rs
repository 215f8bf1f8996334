//! Who may send what where, and what becomes of a recipient: asked by the guard for each MAIL, RCPT and DATA.
//!
//! Addresses and names of clients are a stranger's. The settings are read once for a connection, files of users and aliases
//! when they are asked. The lists are those of Postfix, asked at RCPT: client, helo, sender, relay, recipient; any of them
//! may refuse.

use crate::address::{Address, ReversePath};
use crate::bcc::BlindCopies;
use crate::classes::Class;
use crate::directory::Directory;
use crate::envelope::{Notify, Recipient, Target, asked};
use crate::expand;
use crate::header_checks::HeaderChecks;
use crate::map::Maps;
use crate::networks::Networks;
use crate::restrictions::{Facts, Lookups, Restrictions, Verdict};
use crate::status::{Enhanced, Status};
use crate::values::{self, expand as put_in, mydomain, myhostname};
use common::auth::Account;
use common::config::Config;
use common::sys::interface::interfaces;
use std::io;
use std::net::IpAddr;

/// What is known of a client.
#[derive(Debug, Clone, Default)]
pub struct Client<'a> {
    /// Its address; `None`: not known, or there is none.
    pub address: Option<IpAddr>,
    /// Its name, where somebody trusted told it (XCLIENT) or it is this host; empty: not known.
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
    /// The address in MAIL had no domain and got this host's.
    pub bare_sender: bool,
    /// The same of the address in RCPT.
    pub bare_recipient: bool,
    /// How many recipients of its message were accepted before this one.
    pub accepted: usize,
    /// The uid of a local program that was started without a network (`sendmail -bs`): it may relay as `mynetworks` may. Never
    /// set because an address is not known.
    pub local_uid: Option<u32>,
}

/// The rules of one connection.
pub struct Rules {
    networks: Networks,
    directory: Directory,
    sender_logins: Maps,
    blind_copies: BlindCopies,
    /// Asked at RCPT, in their order.
    at_recipient: [Restrictions; 5],
    at_data: Restrictions,
    myhostname: String,
    mydomain: String,
}

impl Rules {
    /// Reads the settings. Errors: one of them is wrong, or would make an open relay.
    pub fn load(config: &Config) -> io::Result<Rules> {
        let list = |name: &str, value: &str| Restrictions::parse(name, &put_in(config, value)?);
        let at_recipient = [
            list("smtpd_client_restrictions", &config.smtpd_client_restrictions)?,
            list("smtpd_helo_restrictions", &config.smtpd_helo_restrictions)?,
            list("smtpd_sender_restrictions", &config.smtpd_sender_restrictions)?,
            list("smtpd_relay_restrictions", &config.smtpd_relay_restrictions)?,
            list("smtpd_recipient_restrictions", &config.smtpd_recipient_restrictions)?,
        ];
        let networks = match put_in(config, &config.mynetworks)? {
            list if list.trim().is_empty() => Networks::of_style(config.mynetworks_style),
            list => Networks::parse(&list)?,
        };
        let [.., relay, recipient] = &at_recipient;
        if !relay.refuses_strangers() && !recipient.refuses_strangers() {
            return Err(io::Error::other(
                "smtpd_relay_restrictions or smtpd_recipient_restrictions needs reject_unauth_destination, \
                 before any permit: anybody could send to anybody (open relay)",
            ));
        }
        if networks.is_everything() && at_recipient.iter().any(Restrictions::trusts_networks) {
            return Err(io::Error::other(
                "mynetworks has half of all addresses there are or more, and permit_mynetworks lets them relay (open relay)",
            ));
        }
        // As in Postfix: for these 0 is not the word for no limit.
        for (name, is_zero) in [
            ("smtpd_recipient_limit", config.smtpd_recipient_limit == 0),
            ("smtpd_timeout", config.smtpd_timeout.is_zero()),
        ] {
            if is_zero {
                return Err(io::Error::other(format!("{name} = 0 would refuse everybody")));
            }
        }
        // The tables are read where they are applied.
        HeaderChecks::files(config)?;
        Ok(Rules {
            networks,
            directory: Directory::new(config)?,
            sender_logins: Maps::parse(&put_in(config, &config.smtpd_sender_login_maps)?)?,
            blind_copies: BlindCopies::new(config)?,
            at_recipient,
            at_data: list("smtpd_data_restrictions", &config.smtpd_data_restrictions)?,
            myhostname: myhostname(config),
            mydomain: mydomain(config),
        })
    }

    /// Why [`Rules::load`] refuses the settings: not only the first reason.
    ///
    /// A setting is what is wrong if without it there is another reason or none; then the others are looked at without it.
    pub fn problems(config: &Config) -> Vec<String> {
        let reason = |config: &Config| Rules::load(config).err().map(|error| error.to_string());
        let (mut found, mut config) = (Vec::new(), config.clone());
        while let Some(why) = reason(&config) {
            let pairs: Vec<String> = config.changed_pairs().collect();
            let without = |at: usize| {
                let others = pairs.iter().enumerate().filter(|(other, _)| *other != at);
                Config::from_pairs(&crate::PROGRAM.line, others.map(|(_, pair)| pair.as_str())).ok()
            };
            let culprit = pairs.iter().enumerate().find_map(|(at, pair)| {
                let rest = without(at).filter(|rest| reason(rest).as_ref() != Some(&why))?;
                Some((pair.split_once('=')?.0, rest))
            });
            let Some((name, rest)) = culprit else {
                found.push(why);
                break;
            };
            found.push(if why.contains(name) { why } else { format!("{name}: {why}") });
            config = rest;
        }
        found
    }

    /// This host's name, as `myhostname` has it or the kernel.
    pub fn myhostname(&self) -> &str {
        &self.myhostname
    }

    /// The domain of this host.
    pub fn mydomain(&self) -> &str {
        &self.mydomain
    }

    /// The address that a name without a domain means, as in `RCPT TO:<postmaster>`.
    pub fn qualified(&self, local: &str) -> Option<Address> {
        Address::new(local, self.directory.myorigin()).ok()
    }

    /// Asked at MAIL. As in Postfix (smtpd_delay_reject) nearly everything waits for RCPT, where the log can name both.
    pub fn sender(&mut self, client: &Client<'_>, _path: &ReversePath) -> Result<(), Status> {
        // RFC 6409 section 4.3.
        if client.submission && client.login.is_none() && client.local_uid.is_none() {
            return Err(Status::new(530, Enhanced(5, 7, 0), "Authentication required"));
        }
        Ok(())
    }

    /// Asked at RCPT: whether it may be, and then where it goes. `orcpt` and `notify` are for the caller to fill in.
    pub fn recipient(
        &mut self,
        client: &Client<'_>,
        sender: &ReversePath,
        path: &Address,
    ) -> Result<Vec<Recipient>, Status> {
        if client.lmtp {
            // RFC 2033: it is for those who hand in mail of theirs for good.
            if matches!(self.directory.class(path.domain())?, Class::Remote | Class::Relay) {
                return Err(Status::new(550, Enhanced(5, 7, 1), format!("<{path}>: Relaying denied")));
            }
        } else {
            let facts = Facts {
                client,
                sender: Some(sender),
                recipient: Some(path),
                recipients: client.accepted.saturating_add(1),
            };
            let mut lookups = Tables {
                directory: &mut self.directory,
                networks: &self.networks,
                sender_logins: &self.sender_logins,
            };
            for list in &self.at_recipient {
                if let Verdict::Refuse(status) = list.evaluate(&facts, &mut lookups) {
                    return Err(status);
                }
            }
        }
        expand::expand(&mut self.directory, path)
    }

    /// Asked at DATA and at the first BDAT.
    pub fn data(
        &mut self,
        client: &Client<'_>,
        sender: &ReversePath,
        named: &[Address],
    ) -> Result<(), Status> {
        // As in Postfix: which one of several is meant nobody could say.
        let recipient = if let [one] = named { Some(one) } else { None };
        let facts = Facts { client, sender: Some(sender), recipient, recipients: named.len() };
        let mut lookups = Tables {
            directory: &mut self.directory,
            networks: &self.networks,
            sender_logins: &self.sender_logins,
        };
        match self.at_data.evaluate(&facts, &mut lookups) {
            Verdict::Permit => Ok(()),
            Verdict::Refuse(status) => Err(status),
        }
    }

    /// What an address means without anybody's rules: for mail of local programs that is in the queue already, and for
    /// addresses of this server's own (2bounce_notice_recipient, postmaster, `RCPT TO:<Postmaster>`).
    pub fn expand(&mut self, path: &Address) -> Result<Vec<Recipient>, Status> {
        expand::expand(&mut self.directory, path)
    }

    /// Whether anything may be refused at DATA.
    pub fn has_data_restrictions(&self) -> bool {
        !self.at_data.is_empty()
    }

    /// Whether any mail has blind copies.
    pub fn has_blind_copies(&self) -> bool {
        !self.blind_copies.is_empty()
    }

    /// Who gets a blind copy of a message that comes in, besides those whom its sender named ([`crate::bcc`]). A copy for somebody
    /// who does not exist is none, as in Postfix; the log has it.
    pub fn blind_copies(
        &mut self,
        sender: &ReversePath,
        named: &[Address],
    ) -> Result<Vec<Recipient>, Status> {
        let Rules { blind_copies, directory, .. } = self;
        let mut all = Vec::new();
        for address in blind_copies.of(directory, sender, named)? {
            match expand::expand(directory, &address) {
                Ok(mut found) => {
                    asked(&mut found, None, Some(Notify::NEVER));
                    all.append(&mut found);
                }
                Err(status) if status.is_permanent() => {
                    let Status { code, enhanced, .. } = status;
                    directory.warn(format!("<{address}> gets no blind copy: {code} {enhanced}"));
                }
                Err(status) => return Err(status),
            }
        }
        Ok(all)
    }

    /// Lines of access tables that nobody understands.
    pub fn wrong_access(&self) -> Vec<String> {
        let lists = self.at_recipient.iter().chain([&self.at_data]);
        lists.flat_map(Restrictions::wrong_lines).collect()
    }

    /// Lines of their tables that are of no use.
    pub fn wrong_blind_copies(&mut self) -> Vec<String> {
        self.blind_copies.wrong_lines(&mut self.directory)
    }

    /// For a look only: whose mailbox it is may be told to somebody who could not write there.
    pub fn only_looks(&mut self) {
        self.directory.users.only_looks();
    }

    /// Whether the tables say that mail for this recipient's address goes to its target.
    pub fn names(&mut self, recipient: &Recipient) -> Result<bool, Status> {
        expand::names(&mut self.directory, recipient)
    }

    /// Where mail for this recipient's address goes, if not to its file or program any more.
    pub fn anew(&mut self, recipient: &Recipient) -> Result<Vec<Recipient>, Status> {
        expand::anew(&mut self.directory, recipient)
    }

    /// What the entries of a user's `~/.forward` mean ([`crate::deliver::Delivery::Forward`]): the recipients that take the
    /// place of this one. The entries are the user's, and get no rights but the user's.
    ///
    /// The copy that these recipients get begins with [`crate::deliver::forward_line`], so that a circle ends.
    pub fn forward(&mut self, recipient: &Recipient, entries: &[String]) -> Result<Vec<Recipient>, Status> {
        match &recipient.target {
            Target::Mailbox { user, .. } => expand::forward(&mut self.directory, recipient, user, entries),
            _ => Err(Status::new(451, Enhanced(4, 3, 5), "Server configuration problem")),
        }
    }

    /// Whom the writer of a recipient has to become. Never root.
    pub fn account(&mut self, recipient: &Recipient) -> Result<Account, Status> {
        let name = match &recipient.target {
            Target::Mailbox { user, .. } => user,
            Target::File { owner: Some(owner), .. } | Target::Command { owner: Some(owner), .. } => owner,
            Target::File { owner: None, .. } | Target::Command { owner: None, .. } => {
                return self.directory.users.default_privs();
            }
            Target::Remote(_) | Target::Expanded { .. } => {
                return Err(Status::new(451, Enhanced(4, 3, 5), "Server configuration problem"));
            }
        };
        let found = self.directory.users.find(name)?;
        let address = &recipient.address;
        found.ok_or_else(|| Status::new(550, Enhanced(5, 1, 1), format!("<{address}>: User unknown")))
    }

    /// What the administrator should hear since the last call: files that cannot be read, what `warn_if_reject` says. Names
    /// of clients and addresses in it are a stranger's; the log escapes them.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.directory.take_warnings()
    }
}

/// What restrictions look up.
struct Tables<'a> {
    directory: &'a mut Directory,
    networks: &'a Networks,
    sender_logins: &'a Maps,
}

impl Lookups for Tables<'_> {
    fn class(&mut self, domain: &str) -> io::Result<Class> {
        self.directory.classes.of(domain)
    }

    fn listed(&mut self, address: &Address) -> Result<(), Status> {
        match self.directory.class(address.domain())? {
            Class::Relay | Class::Remote => Ok(()),
            _ => expand::expand(self.directory, address).map(drop),
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.networks.contains(address)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || interfaces().is_ok_and(|all| all.iter().any(|own| own.address == address))
    }

    fn base<'a>(&self, local: &'a str) -> Option<&'a str> {
        self.directory.split(local).map(|(base, _)| base)
    }

    fn owners(&mut self, sender: &Address) -> io::Result<Option<Vec<String>>> {
        // A name alone is that of a user here: else everybody who is called info anywhere would have to log in.
        let class = self.directory.classes.of(sender.domain())?;
        let keys = self.directory.keys(sender, class);
        let keys: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
        let found = self.sender_logins.find(&keys)?;
        Ok(found.map(|(_, value)| values::words(&value).map(str::to_owned).collect()))
    }

    fn warn(&mut self, text: String) {
        self.directory.warn(text);
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::config as tests_config;
