//! The envelope: who sends a message to whom, and what was asked about its way (RFC 5321, 3461, 6152, 6531).

use crate::address::{Address, ReversePath};

/// The BODY parameter of MAIL (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// Nothing was said: seven bits.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: lines may be of any length, CR and LF may stand alone; only with BDAT.
    BinaryMime,
}

/// The RET parameter of MAIL (RFC 3461 section 4.3): what a delivery status notification shall bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// The NOTIFY parameter of RCPT (RFC 3461 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// When it is delivered.
    pub success: bool,
    /// When it cannot be.
    pub failure: bool,
    /// When it takes longer.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`.
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };
    /// What holds if nothing was said.
    pub const DEFAULT: Notify = Notify { success: false, failure: true, delay: true };
}

/// Where a message goes for one recipient, once aliases and domains have been looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To another host.
    Remote(Address),
    /// To the mailbox of somebody who has one here.
    Mailbox {
        /// The name in the user database.
        user: String,
        /// What stood behind `recipient_delimiter`, if anything.
        extension: String,
        /// Into the mailbox itself: `\\user`, or `~/.forward` was looked at already.
        direct: bool,
    },
    /// Into a file or a Maildir (with `/` at the end).
    File {
        /// Its path, absolute.
        path: String,
        /// Whose `~/.forward` named it, and who therefore writes it. `None`: an alias; `default_privs` writes it.
        owner: Option<String>,
    },
    /// To a program.
    Command {
        /// Its words, without a shell.
        words: Vec<String>,
        /// Whose `~/.forward` named it, and who therefore executes it. `None`: an alias; `default_privs` does.
        owner: Option<String>,
    },
    /// Nowhere: it stands for an address that others have taken the place of, whose sender asked to be told of that. Its
    /// NOTIFY asks for nothing but success, which it is at once ([`asked`]).
    Expanded {
        /// It is a list with an owner, who hears of everything else: for the sender it ends here.
        list: bool,
    },
}

impl Target {
    /// The file or the program with its arguments, for the log; of others, whose it is.
    pub fn place(&self) -> String {
        match self {
            Target::Remote(address) => address.to_string(),
            Target::Mailbox { user, .. } => user.clone(),
            Target::File { path, .. } => path.clone(),
            Target::Command { words, .. } => words.join(" "),
            Target::Expanded { .. } => String::new(),
        }
    }
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address after aliases: for `Delivered-To`, and where a remote host is told to deliver.
    pub address: Address,
    /// The forward-path as the client said it: `X-Original-To`, and the final recipient of notifications.
    pub original: Address,
    /// The ORCPT parameter, as it was said: `rfc822;xtext` (RFC 3461 section 4.2).
    pub orcpt: Option<String>,
    /// The NOTIFY parameter; `None`: it was not given, which is passed on so.
    pub notify: Option<Notify>,
    /// The reverse-path for this recipient's copy in place of the envelope's: a list's `owner-` alias.
    pub owner: Option<Address>,
    /// Where it goes.
    pub target: Target,
}

impl Recipient {
    /// One that nothing else was said of.
    pub fn new(address: Address, target: Target) -> Recipient {
        let original = address.clone();
        Recipient { address, original, orcpt: None, notify: None, owner: None, target }
    }

    /// The address that was given, where an alias or virtual alias has made another one of it.
    pub fn alias(&self) -> Option<&Address> {
        let is_same = self.original.to_string().to_lowercase() == self.address.to_string().to_lowercase();
        (!is_same).then_some(&self.original)
    }

    /// Whether the sender wants to hear that it was delivered.
    pub fn wants_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
    }
}

/// Gives those whom an address stands for what was asked about that address: a single one as if it had been named itself
/// (RFC 3461 section 5.2.7.2). To several, success is not passed on; another recipient that is none tells the sender of the
/// expansion (section 5.2.7.3 c). To members of a list with an owner nothing is passed on (section 5.2.7.1).
pub fn asked(recipients: &mut Vec<Recipient>, orcpt: Option<&str>, notify: Option<Notify>) {
    let success = notify.filter(|notify| notify.success);
    let list = recipients.iter().all(|one| one.owner.is_some());
    let many = recipients.len() > 1;
    let first = recipients.first().filter(|_| success.is_some() && (many || list));
    let told = first.map(|first| Recipient {
        address: first.original.clone(),
        original: first.original.clone(),
        orcpt: orcpt.map(str::to_owned),
        notify: Some(Notify { success: true, ..Notify::NEVER }),
        owner: None,
        target: Target::Expanded { list },
    });
    for one in recipients.iter_mut().filter(|one| one.owner.is_none()) {
        one.orcpt = orcpt.map(str::to_owned);
        one.notify = notify.map(|notify| Notify { success: notify.success && !many, ..notify });
    }
    recipients.extend(told);
}

/// Everything about a message that is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Who is told if it cannot be delivered.
    pub reverse_path: ReversePath,
    /// The ENVID parameter, as it was said (xtext).
    pub envid: Option<String>,
    /// The RET parameter.
    pub ret: Option<Ret>,
    /// The BODY parameter.
    pub body: Body,
    /// The SMTPUTF8 parameter was given (RFC 6531).
    pub smtputf8: bool,
    /// Who logged in to send it.
    pub sender_login: Option<String>,
    /// Recipients, at least one.
    pub recipients: Vec<Recipient>,
}

impl Envelope {
    /// The reverse-path under which a recipient's copy goes out, and who is told if it cannot be delivered: the envelope's
    /// or, for a member of a list that has one, its owner's. Recipients of different ones cannot share a transaction.
    pub fn reverse_path_for<'a>(&'a self, recipient: &'a Recipient) -> Option<&'a Address> {
        // A notification about a notification is nobody's, a list's owner's neither.
        self.reverse_path.as_ref().map(|sender| recipient.owner.as_ref().unwrap_or(sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str], owner: Option<&str>) -> Vec<Recipient> {
        let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
        let member = |text: &&str| Recipient {
            original: address("all@x"),
            owner: owner.map(address),
            ..Recipient::new(address(text), Target::Remote(address(text)))
        };
        names.iter().map(member).collect()
    }

    #[test]
    fn what_was_asked_of_an_address_is_asked_of_those_it_stands_for() {
        let set = |success, failure, delay| Some(Notify { success, failure, delay });
        let (orcpt, nothing) = (Some("rfc822;all@x"), (None, None));
        let expanded = |list| Some((Target::Expanded { list }, orcpt, set(true, false, false)));
        for (names, owner, notify, each, last) in [
            (&["a@x"][..], None, None, (orcpt, None), None),
            (&["a@x"], None, set(true, true, false), (orcpt, set(true, true, false)), None),
            (
                &["a@x", "b@x"],
                None,
                set(true, true, false),
                (orcpt, set(false, true, false)),
                expanded(false),
            ),
            (&["a@x", "b@x"], None, Some(Notify::NEVER), (orcpt, Some(Notify::NEVER)), None),
            (&["a@x"], Some("owner-all@x"), set(true, false, false), nothing, expanded(true)),
            (&["a@x", "b@x"], Some("owner-all@x"), Some(Notify::NEVER), nothing, None),
        ] {
            let mut recipients = members(names, owner);
            asked(&mut recipients, orcpt, notify);
            let told = recipients.split_off(names.len()).pop();
            for one in &recipients {
                assert_eq!((one.orcpt.as_deref(), one.notify), each, "{names:?} {notify:?}");
            }
            if let Some(one) = &told {
                assert_eq!((&one.address.to_string()[..], one.owner.as_ref()), ("all@x", None));
            }
            let told = told.as_ref().map(|one| (one.target.clone(), one.orcpt.as_deref(), one.notify));
            assert_eq!(told, last, "{names:?} {notify:?}");
        }
    }
}
