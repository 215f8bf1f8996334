//! DELETE (RFC 3501 section 6.3.4). Other sessions that have the mailbox selected find it gone at their next look.

use crate::context::Context;
use crate::grammar::MailboxName;
use crate::names::refusal;
use crate::reply::{Completion, Reply};

/// `DELETE mailbox`
pub fn delete(context: &mut Context<'_>, mailbox: &MailboxName) -> Completion {
    let located = context.existing(mailbox).map_err(refusal)?;
    located.delete().map_err(refusal)?;
    context.close_if_selected(&located, false)?;
    Ok(Reply::ok("Deleted."))
}
