//! SEARCH (RFC 3501 section 6.4.4), SORT and THREAD (RFC 5256) on the selected mailbox.

use crate::context::Context;
use crate::grammar::{SearchArguments, SortArguments, Tag, ThreadArguments};
use crate::reply::{Completion, Failure, Reply};
use crate::search::Show;
use crate::search::selected::Selected;
use crate::waiting::Waiting;
use crate::{search, sort, thread};

/// SEARCH; the answer of RFC 4731 names the command by its tag.
pub fn search(context: &mut Context<'_>, tag: &Tag, uid: bool, arguments: &SearchArguments) -> Completion {
    look_through(context, "Search completed.", |messages, show| {
        search::answer(messages, tag.as_bytes(), uid, arguments, show)
    })
}

/// SORT.
pub fn sort(context: &mut Context<'_>, uid: bool, arguments: &SortArguments) -> Completion {
    look_through(context, "Sort completed.", |messages, show| sort::answer(messages, uid, arguments, show))
}

/// THREAD.
pub fn thread(context: &mut Context<'_>, uid: bool, arguments: &ThreadArguments) -> Completion {
    look_through(context, "Thread completed.", |messages, show| {
        thread::answer(messages, uid, arguments, show)
    })
}

/// Answers from the messages of the selected mailbox, while the client waits; some of them may not be readable. What asks for
/// modification sequences switches them on (RFC 7162 section 3.1), and `answer` says whether it did.
fn look_through(
    context: &mut Context<'_>,
    text: &'static str,
    answer: impl FnOnce(&mut Selected<'_>, Show<'_>) -> Result<bool, Failure>,
) -> Completion {
    context.selected()?;
    let Context { selected, conn, log, .. } = context;
    let Some(selected) = selected else { return Ok(Reply::bad("No mailbox is selected.")) };
    let waiting = Waiting::new(conn);
    let mut messages = Selected::new(&mut selected.mailbox, &waiting);
    let with_modseq = answer(&mut messages, &mut |octets| waiting.push(octets))?;
    let unreadable = messages.into_unreadable();
    unreadable.say("could not be read", &mut |error| log.error(&error.to_string()));
    if with_modseq {
        context.enable_condstore();
    }
    Ok(match unreadable.kind() {
        Some(_) => Reply::ok("Done as far as the messages can be read; the log says which cannot."),
        None => Reply::ok(text),
    })
}
