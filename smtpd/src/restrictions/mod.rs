//! `smtpd_*_restrictions`: Postfix's names and meaning, for what needs no outside service.
//!
//! A list is gone through until a restriction permits or rejects; the other lists are asked all the same, and one that
//! rejects is enough. What a client said is hostile; the lists are the administrator's and are read at the start, where an
//! unknown word stops the server.

mod access;
mod evaluate;
mod words;

pub(crate) use access::enhanced_of;
pub use evaluate::{Facts, Lookups, Verdict};

use crate::map::Map;
use common::peer::Network;
use std::io;

/// One restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Restriction {
    Permit,
    Reject,
    Defer,
    PermitMynetworks,
    PermitSaslAuthenticated,
    PermitAuthDestination,
    PermitInetInterfaces,
    RejectUnauthDestination,
    DeferUnauthDestination,
    RejectUnauthPipelining,
    RejectPlaintextSession,
    RejectMultiRecipientBounce,
    RejectInvalidHelo,
    RejectNonFqdnHelo,
    RejectNonFqdnSender,
    RejectNonFqdnRecipient,
    RejectUnlistedSender,
    RejectUnlistedRecipient,
    RejectSenderLoginMismatch {
        logged_in: bool,
        not_logged_in: bool,
        known_only: bool,
    },
    CheckAccess(Subject, Map),
    /// The next one only warns.
    WarnIfReject,
    DeferIfPermit,
    DeferIfReject,
}

/// What an access table is asked about, or a list, and a refusal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Client,
    Helo,
    Sender,
    Recipient,
    Data,
    Login,
}

/// A list of restrictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restrictions {
    subject: Subject,
    list: Vec<Restriction>,
}

impl Restrictions {
    /// Reads the value of the setting `name`. Errors: an unknown word, one that needs something outside, a map that is
    /// missing.
    pub fn parse(name: &str, text: &str) -> io::Result<Restrictions> {
        let subject = match name {
            "smtpd_client_restrictions" => Subject::Client,
            "smtpd_helo_restrictions" => Subject::Helo,
            "smtpd_sender_restrictions" => Subject::Sender,
            "smtpd_data_restrictions" => Subject::Data,
            _ => Subject::Recipient,
        };
        words::parse(text)
            .map(|list| Restrictions { subject, list })
            .map_err(|error| io::Error::other(format!("{name}: {error}")))
    }

    /// Whether a stranger who wants to relay is refused for certain, whatever the tables say. A table may still permit;
    /// that is the administrator's word.
    pub fn refuses_strangers(&self) -> bool {
        use Restriction as R;
        let mut before = None;
        for restriction in &self.list {
            let only_warns = before.replace(restriction) == Some(&R::WarnIfReject);
            match restriction {
                R::Permit => return false,
                R::Reject | R::Defer | R::RejectUnauthDestination | R::DeferUnauthDestination
                    if !only_warns =>
                {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Lines of its tables that say nothing it knows: who is meant by them is told to come again.
    pub fn wrong_lines(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for restriction in &self.list {
            let Restriction::CheckAccess(_, map) = restriction else { continue };
            let place = match map {
                Map::File(path) | Map::Cidr(path) => path.display().to_string(),
                Map::Inline(_) | Map::Static(_) | Map::Users => "access table".to_owned(),
            };
            let lines = map.pairs().unwrap_or_default().into_iter();
            wrong.extend(lines.filter_map(|(key, value)| {
                let network = key.strip_prefix('!').unwrap_or(&key).parse::<Network>();
                let is_network = !matches!(map, Map::Cidr(_)) || network.is_ok();
                let why =
                    if is_network { access::understood(&value).err()? } else { "not a network".to_owned() };
                Some(format!("{place}: {key}: {why}"))
            }));
        }
        wrong
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether `permit_mynetworks` is in it.
    pub fn trusts_networks(&self) -> bool {
        self.list.contains(&Restriction::PermitMynetworks)
    }
}

#[cfg(test)]
mod tests;
