//! Circles through aliases. The copy that leaves this host for what an alias has made of an address begins with
//! `Delivered-To: alias`; a message that comes back with that line is refused for everybody behind the alias, as Postfix does, or
//! each round would bring them another copy.
//!
//! What is sent on in another message's place has been looked at in that one. Where it is a `~/.forward`'s, the line may be ours.

use crate::deliver;
use crate::envelope::{Recipient, Target};
use crate::queue::Queued;
use crate::status::Status;
use std::collections::HashSet;

/// What the header of a message says about the aliases of its recipients.
#[derive(Debug, Default)]
pub struct Circles {
    /// In small letters.
    seen: HashSet<String>,
    is_forwarded: bool,
}

impl Circles {
    /// Looks at the header, once for all recipients. One that cannot be read is found out when it is sent.
    pub fn of(queued: &Queued, open: &[usize]) -> Circles {
        let recipients = open.iter().filter_map(|&at| queued.envelope().recipients.get(at));
        let aliases: HashSet<String> =
            recipients.filter_map(Recipient::alias).map(deliver::in_small).collect();
        let seen = match aliases.is_empty() {
            true => HashSet::new(),
            false => deliver::delivered_to(&mut queued.message(), &aliases).unwrap_or_default(),
        };
        Circles { seen, is_forwarded: queued.id().is_forwarded() }
    }

    /// Why the message is refused for a recipient.
    pub fn refusal(&self, recipient: &Recipient) -> Option<Status> {
        let alias = recipient.alias().filter(|_| !self.is_forwarded)?;
        self.seen.contains(&deliver::in_small(alias)).then(|| deliver::circle(alias))
    }

    /// What a recipient's copy begins with when it leaves this host.
    pub fn line(&self, recipient: &Recipient) -> Option<String> {
        let alias = recipient.alias()?;
        let is_needed = matches!(recipient.target, Target::Remote(_));
        let is_there = self.seen.contains(&deliver::in_small(alias));
        (is_needed && !is_there).then(|| deliver::forward_line(alias))
    }
}
