//! A mail transaction as the guard sees it: a value, dropped when it is over.

use super::plan::Plan;
use crate::address::{Address, ReversePath};
use crate::command::path::ForwardPath;
use crate::envelope::{Envelope, Recipient};
use crate::reply;
use crate::status::Status;
use crate::wire::Mail;
use std::collections::VecDeque;
use std::time::Instant;

/// Recipients of one message with everything that aliases made of them.
const EXPANDED_MAX: usize = 10_000;

/// Where a transaction is.
pub(super) enum Stage {
    /// Recipients are named.
    Collecting,
    /// The message is on its way to a writer.
    Receiving(Plan),
    /// The front has given the message up.
    GivenUp,
    /// LMTP: what is to be said about the other recipients.
    Answering(VecDeque<Status>),
}

/// From MAIL to the reply that ends it.
pub(super) struct Transaction {
    /// What MAIL said.
    pub mail: Mail,
    /// When.
    pub begun: Instant,
    /// From whom.
    pub reverse_path: ReversePath,
    /// Why there will be no recipient: the sender may not send.
    pub refused: Option<Status>,
    /// What became of each RCPT that was accepted: at least one recipient.
    groups: Vec<Vec<Recipient>>,
    total: usize,
    /// Those whom nobody named.
    blind_copies: Vec<Recipient>,
    /// Where it is.
    pub stage: Stage,
}

impl Transaction {
    /// After MAIL, and what was said of the sender.
    pub fn new(mail: Mail, checked: Result<ReversePath, Status>) -> Transaction {
        let (reverse_path, refused) = match checked {
            Ok(path) => (path, None),
            Err(status) => match &mail.path {
                Some(ForwardPath::Mailbox(address)) => (Some(address.clone()), Some(status)),
                _ => (None, Some(status)),
            },
        };
        let (groups, blind_copies) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        Transaction {
            mail,
            begun,
            reverse_path,
            refused,
            groups,
            total: 0,
            blind_copies,
            stage: Stage::Collecting,
        }
    }

    /// After RCPT.
    pub fn add(&mut self, recipients: Vec<Recipient>) -> Result<(), Status> {
        let total = self.total.saturating_add(recipients.len());
        if total > EXPANDED_MAX {
            return Err(reply::TOO_MANY_RECIPIENTS.into());
        }
        self.total = total;
        self.groups.push(recipients);
        Ok(())
    }

    /// The addresses that were accepted, as they were named.
    pub fn named(&self) -> Vec<Address> {
        let first = |group: &Vec<Recipient>| group.first().map(|recipient| recipient.original.clone());
        self.groups.iter().filter_map(first).collect()
    }

    /// At DATA: those who get it besides.
    pub fn set_blind_copies(&mut self, recipients: Vec<Recipient>) {
        self.blind_copies = recipients;
    }

    /// How many RCPT were accepted.
    pub fn accepted(&self) -> usize {
        self.groups.len()
    }

    /// The recipients that each RCPT came to.
    pub fn groups(&self) -> &[Vec<Recipient>] {
        &self.groups
    }

    /// All recipients, each place once: whoever is on two lists gets the message once.
    pub fn recipients(&self) -> Vec<Recipient> {
        if let (Some(only), true) = (self.only_recipient(), self.blind_copies.is_empty()) {
            return vec![only.clone()];
        }
        let mut seen = std::collections::HashSet::new();
        let all = self.groups.iter().flatten().chain(&self.blind_copies);
        all.filter(|recipient| seen.insert(format!("{:?}", recipient.target))).cloned().collect()
    }

    /// The recipient, if only one was named.
    pub fn only_recipient(&self) -> Option<&Recipient> {
        match self.groups.as_slice() {
            [group] => match group.as_slice() {
                [recipient] => Some(recipient),
                _ => None,
            },
            _ => None,
        }
    }

    /// The envelope for these recipients.
    pub fn envelope(&self, recipients: Vec<Recipient>, login: Option<&str>) -> Envelope {
        Envelope {
            reverse_path: self.reverse_path.clone(),
            envid: self.mail.envid.clone(),
            ret: self.mail.ret,
            body: self.mail.body,
            smtputf8: self.mail.with.utf8,
            sender_login: login.map(str::to_owned),
            recipients,
        }
    }
}
