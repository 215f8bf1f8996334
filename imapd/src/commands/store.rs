//! STORE (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3).

use crate::context::Context;
use crate::grammar::{StoreArguments, StoreHow, print};
use crate::mailbox::{FlagChange, How};
use crate::reply::{Completion, Reply};

/// STORE and UID STORE. The new flags are said by the sync before the completion.
pub fn store(context: &mut Context<'_>, uid: bool, arguments: &StoreArguments) -> Completion {
    context.selected_for_change()?;
    context.check_keywords(&arguments.flags)?;
    let which = context.messages(&arguments.messages, uid)?;
    if arguments.unchanged_since.is_some() {
        context.check_modseqs()?;
        context.enable_condstore();
    }
    if which.is_empty() {
        return Ok(Reply::ok("There are no such messages."));
    }
    let keywords: Vec<&str> = arguments.flags.keywords.iter().map(|keyword| &**keyword).collect();
    let change = FlagChange {
        how: match arguments.how {
            StoreHow::Replace => How::Replace,
            StoreHow::Add => How::Add,
            StoreHow::Remove => How::Remove,
        },
        bits: arguments.flags.bits,
        keywords: &keywords,
        silent: arguments.silent,
    };
    let mailbox = &mut context.selected_for_change()?.mailbox;
    let stored = mailbox.store_flags(&which, &change, arguments.unchanged_since)?;
    if stored.too_many_keywords {
        return Ok(Reply::no("The mailbox has no room for another keyword.").with_code("LIMIT"));
    }
    if stored.modified.is_empty() {
        return Ok(Reply::ok("Store completed."));
    }
    // RFC 7162 section 3.1.3: in the numbers that the command used.
    let mailbox = &context.selected()?.mailbox;
    let mut numbers = Vec::with_capacity(stored.modified.len());
    for msn in stored.modified {
        numbers.push(if uid { mailbox.uid(msn)? } else { msn });
    }
    let mut code = b"MODIFIED ".to_vec();
    print::ranges(&mut code, print::runs(numbers));
    let code = String::from_utf8_lossy(&code).into_owned();
    Ok(Reply::ok("Some messages have changed meanwhile.").with_code(code))
}
