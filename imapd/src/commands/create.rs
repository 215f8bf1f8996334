//! CREATE (RFC 3501 section 6.3.3), with what the mailbox is for (RFC 6154 section 3).

use crate::context::Context;
use crate::grammar::{MailboxName, SpecialUse};
use crate::names::refusal;
use crate::reply::{Completion, Reply};

/// `CREATE mailbox [(USE (...))]`
pub fn create(context: &mut Context<'_>, mailbox: &MailboxName, special_use: &[SpecialUse]) -> Completion {
    let located = context.locate(mailbox).map_err(|error| refusal(error.into()))?;
    located.create(special_use).map_err(refusal)?;
    Ok(Reply::ok("Created."))
}
