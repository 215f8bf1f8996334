//! SUBSCRIBE and UNSUBSCRIBE (RFC 3501 sections 6.3.6 and 6.3.7).

use crate::context::Context;
use crate::grammar::MailboxName;
use crate::names::{existing, refusal};
use crate::reply::{Completion, Reply};

/// `SUBSCRIBE mailbox`: only what exists, as with Dovecot.
pub fn subscribe(context: &mut Context<'_>, mailbox: &MailboxName) -> Completion {
    let hierarchy = &context.hierarchy;
    let name = existing(hierarchy, mailbox).map_err(refusal)?;
    hierarchy.subscribe(&name).map_err(refusal)?;
    Ok(Reply::ok("Subscribed."))
}

/// `UNSUBSCRIBE mailbox`: also what does not exist any more.
pub fn unsubscribe(context: &mut Context<'_>, mailbox: &MailboxName) -> Completion {
    let hierarchy = &context.hierarchy;
    let name = existing(hierarchy, mailbox).map_err(refusal)?;
    hierarchy.unsubscribe(&name)?;
    Ok(Reply::ok("Unsubscribed."))
}
