//! RENAME (RFC 3501 section 6.3.5).

use crate::context::Context;
use crate::grammar::MailboxName;
use crate::names::refusal;
use crate::reply::{Completion, Reply};

/// `RENAME mailbox mailbox`
pub fn rename(context: &mut Context<'_>, from: &MailboxName, to: &MailboxName) -> Completion {
    let from = context.existing(from).map_err(refusal)?;
    let to = context.locate(to).map_err(|error| refusal(error.into()))?;
    context.namespaces.rename(&from, &to).map_err(refusal)?;
    // INBOX stays, and what has moved is expunged from it.
    if !from.name.is_inbox() {
        context.close_if_selected(&from, true)?;
    }
    Ok(Reply::ok("Renamed."))
}
