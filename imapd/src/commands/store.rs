//! STORE (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3).

use crate::context::Context;
use crate::grammar::{StoreArguments, StoreHow, print};
use crate::mailbox::{FlagChange, How};
use crate::reply::{Completion, Condition, Reply, gone};

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
    const LEFT: &str = "Some messages could not be changed; the log says which.";
    let done = match (stored.too_many_keywords, stored.gone) {
        (true, _) => Reply::no("The mailbox has no room for another keyword.").with_code("LIMIT"),
        // RFC 2180 sections 4.2.2 and 4.2.3: who does not ask for the new flags need not hear that there are none.
        (false, true) if !uid && !arguments.silent => gone(),
        (false, _) => Reply::ok("Store completed."),
    };
    let reply = context.completion(done, &stored.failures, "could not be changed", LEFT);
    if stored.modified.is_empty() {
        return Ok(reply);
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
    // What else was wrong the text says: there is one code.
    Ok(match reply.condition {
        Condition::Ok => Reply::ok("Some messages have changed meanwhile.").with_code(code),
        _ => reply.with_code(code),
    })
}
