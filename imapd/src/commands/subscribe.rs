//! SUBSCRIBE and UNSUBSCRIBE (RFC 3501 sections 6.3.6 and 6.3.7).

use crate::context::Context;
use crate::grammar::MailboxName;
use crate::names::refusal;
use crate::reply::{Completion, Reply};

/// `SUBSCRIBE mailbox`: only what exists, as with Dovecot.
pub fn subscribe(context: &mut Context<'_>, mailbox: &MailboxName) -> Completion {
    let located = context.existing(mailbox).map_err(refusal)?;
    context.namespaces.subscribe(&located).map_err(refusal)?;
    Ok(Reply::ok("Subscribed."))
}

/// `UNSUBSCRIBE mailbox`: also what does not exist any more.
pub fn unsubscribe(context: &mut Context<'_>, mailbox: &MailboxName) -> Completion {
    let located = context.existing(mailbox).map_err(refusal)?;
    context.namespaces.unsubscribe(&located).map_err(refusal)?;
    Ok(Reply::ok("Unsubscribed."))
}
