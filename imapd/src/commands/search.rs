//! SEARCH (RFC 3501 section 6.4.4), SORT and THREAD (RFC 5256) on the selected mailbox.

use crate::context::Context;
use crate::grammar::{SearchArguments, SortArguments, Tag, ThreadArguments};
use crate::reply::{Completion, Failure, Reply};
use crate::search::selected::{Selected, Unreadable};
use crate::{search, sort, thread};
use common::io::Conn;

/// SEARCH; the answer of RFC 4731 names the command by its tag. One that asks for modification sequences switches them on
/// (RFC 7162 section 3.1).
pub fn search(context: &mut Context<'_>, tag: &Tag, uid: bool, arguments: &SearchArguments) -> Completion {
    let (mut messages, conn) = selected(context)?;
    let with_modseq =
        search::answer(&mut messages, tag.as_bytes(), uid, arguments, &mut |octets| conn.push(octets))?;
    let unreadable = messages.into_unreadable();
    if with_modseq {
        context.enable_condstore();
    }
    Ok(completed(context, &unreadable, "Search completed."))
}

/// SORT.
pub fn sort(context: &mut Context<'_>, uid: bool, arguments: &SortArguments) -> Completion {
    let (mut messages, conn) = selected(context)?;
    sort::answer(&mut messages, uid, arguments, &mut |octets| conn.push(octets))?;
    let unreadable = messages.into_unreadable();
    Ok(completed(context, &unreadable, "Sort completed."))
}

/// THREAD.
pub fn thread(context: &mut Context<'_>, uid: bool, arguments: &ThreadArguments) -> Completion {
    let (mut messages, conn) = selected(context)?;
    thread::answer(&mut messages, uid, arguments, &mut |octets| conn.push(octets))?;
    let unreadable = messages.into_unreadable();
    Ok(completed(context, &unreadable, "Thread completed."))
}

/// The completion of what may have been done without some of the messages.
fn completed(context: &Context<'_>, unreadable: &Unreadable, text: &'static str) -> Reply {
    match unreadable.say(&mut |error| context.log.error(&error.to_string())) {
        true => Reply::ok("Done as far as the messages can be read; the log says which cannot."),
        false => Reply::ok(text),
    }
}

/// The selected mailbox and, beside it, the client.
fn selected<'c>(context: &'c mut Context<'_>) -> Result<(Selected<'c>, &'c mut Conn), Failure> {
    match &mut context.selected {
        Some(selected) => Ok((Selected::new(&mut selected.mailbox), &mut *context.conn)),
        None => Err(Reply::bad("No mailbox is selected.").into()),
    }
}
