//! COPY and MOVE (RFC 3501 section 6.4.7, RFC 6851, RFC 4315 section 3).

use crate::context::Context;
use crate::grammar::{MailboxName, SequenceSet, print};
use crate::mailbox::Copied;
use crate::reply::{Completion, Reply, gone};

/// COPY; with `and_remove` MOVE.
pub fn copy(
    context: &mut Context<'_>,
    uid: bool,
    messages: &SequenceSet,
    name: &MailboxName,
    and_remove: bool,
) -> Completion {
    if and_remove {
        context.selected_for_change()?;
    }
    let which = context.messages(messages, uid)?;
    let maildir = context.target(name)?;
    if which.is_empty() {
        return Ok(Reply::ok("There are no such messages."));
    }
    let mailbox = &mut context.selected()?.mailbox;
    // RFC 3501 section 6.4.8: a UID that is not there is no error.
    let copied = match uid {
        true => Some(mailbox.copy_to(&which, &maildir, and_remove)?),
        false => mailbox.copy_all_to(&which, &maildir, and_remove)?,
    };
    // RFC 2180 section 4.4.1: the EXPUNGE comes before the completion.
    let Some(copied) = copied else { return Ok(gone()) };
    let code = copy_uid(&copied);
    if !and_remove {
        return Ok(match code {
            Some(code) => Reply::ok("Copy completed.").with_code(code),
            None => Reply::ok("Copy completed."),
        });
    }
    // RFC 6851 section 4.3: COPYUID comes before the EXPUNGE responses, so not with the completion.
    if let Some(code) = code {
        context.conn.push_fmt(format_args!("* OK [{code}] Moved.\r\n"))?;
    }
    const LEFT: &str = "Some messages could only be copied; the log says which.";
    let done = Reply::ok("Move completed.");
    Ok(context.completion(done, &copied.failures, "could only be copied", LEFT))
}

/// `COPYUID`: which UIDs became which.
fn copy_uid(copied: &Copied) -> Option<String> {
    if copied.source.is_empty() {
        return None;
    }
    let mut code = format!("COPYUID {} ", copied.uid_validity).into_bytes();
    print::ranges(&mut code, copied.source.iter().copied());
    code.push(b' ');
    print::ranges(&mut code, copied.destination.iter().copied());
    String::from_utf8(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_told_in_the_order_of_the_copy() {
        let copied = Copied {
            uid_validity: 7,
            source: vec![(1, 3), (9, 9)],
            destination: vec![(100, 103)],
            ..Copied::default()
        };
        assert_eq!(copy_uid(&copied).as_deref(), Some("COPYUID 7 1:3,9 100:103"));
        let none = Copied { uid_validity: 7, ..Copied::default() };
        assert_eq!(copy_uid(&none), None);
    }
}
