//! EXPUNGE and UID EXPUNGE (RFC 3501 section 6.4.3, RFC 4315 section 2.1).

use crate::context::Context;
use crate::grammar::SequenceSet;
use crate::reply::{Completion, Reply};

/// Removes the messages with `\Deleted`, or those of them that a set of UIDs names. The EXPUNGE responses are those of the
/// sync before the completion.
pub fn expunge(context: &mut Context<'_>, uids: Option<&SequenceSet>) -> Completion {
    let len = context.selected_for_change()?.mailbox.len();
    let which = match uids {
        Some(set) => context.messages(set, true)?,
        None if len == 0 => Vec::new(),
        None => vec![1..=len],
    };
    let done = Reply::ok("Expunge completed.");
    if which.is_empty() {
        return Ok(done);
    }
    let failures = context.selected_for_change()?.mailbox.expunge(&which)?;
    const LEFT: &str = "Some messages could not be removed; the log says which.";
    Ok(context.completion(done, &failures, "could not be removed", LEFT))
}
