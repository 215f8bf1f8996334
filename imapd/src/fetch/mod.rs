//! FETCH (RFC 3501 section 6.4.5, RFC 7162 section 3.1.4).
//!
//! One message after the other, in pieces: what is asked of it is found first, so that a message that cannot be read is left out
//! whole and its neighbours are sent all the same. Once a literal's size has been said, so many octets follow or the connection
//! ends.
//!
//! ```text
//! plan       what the items mean                    answer     one message's response
//! source     a message's file through one buffer    section    which octets a section is
//! wire       text as it is sent                     digester   what is kept of a message
//! envelope   ENVELOPE                               structure  BODYSTRUCTURE, BODY
//! items      everything else
//! ```

mod answer;
pub mod digester;
pub mod envelope;
mod items;
mod plan;
mod section;
pub(crate) mod source;
pub mod structure;
mod wire;

pub use answer::Recall;

use crate::context::{Context, Selected};
use crate::grammar::FetchArguments;
use crate::mailbox::{FlagChange, Flags, How, Info, Mailbox, MsnSet};
use crate::reply::{Completion, Condition, Failure, Reply, gone};
use crate::waiting::Clock;
use answer::{Answer, CUT_SHORT, Stop};
use common::io::Ending;
use common::maildir::{ErrorKind, Failures, StorageError};
use digester::Digester;
use plan::Plan;
use source::Source;
use std::io;
use std::ops::ControlFlow;
use wire::Sink;

/// Messages whose data are looked up at once.
const BATCH: u32 = 256;
/// Messages that get `\Seen` at once, before they are sent: so many may be seen that a broken connection kept from the client.
const SEEN_BATCH: u32 = 16;

/// FETCH and UID FETCH.
pub fn fetch(context: &mut Context<'_>, uid: bool, arguments: &FetchArguments) -> Completion {
    let which = context.messages(&arguments.messages, uid)?;
    let plan = Plan::new(arguments, uid);
    if plan.modseq || plan.changed_since.is_some() {
        context.check_modseqs()?;
        context.enable_condstore();
    }
    let mut scratch = context.conn.borrow_scratch().map_err(Ending::Failed)?;
    let condstore = context.enabled.condstore;
    let log = context.log;
    let mut error = |error: &dyn std::fmt::Display| log.error(&error.to_string());
    let fetched = match &mut context.selected {
        Some(selected) => run(selected, condstore, &plan, &which, (context.conn, &mut scratch), &mut error),
        None => Ok(Outcome::default()),
    };
    context.conn.give_back(scratch);
    Ok(fetched?.reply(uid))
}

/// What kept messages out of the responses.
#[derive(Debug, Default)]
struct Outcome {
    /// Some are no longer there.
    gone: bool,
    /// Others are there and could not be read.
    unreadable: Failures,
}

impl Outcome {
    fn reply(&self, uid: bool) -> Reply {
        let unreadable = || Reply::no("Some messages could not be read; the log says which.");
        match (self.unreadable.kind(), self.gone) {
            // RFC 5530 section 3: nobody may read it, or it is no message at all; the rest may be different the next time.
            (Some(ErrorKind::NoPerm), _) => unreadable().with_code("NOPERM"),
            (Some(ErrorKind::Corrupt), _) => unreadable().with_code("CORRUPTION"),
            (Some(_), _) => unreadable().with_code("UNAVAILABLE"),
            // RFC 3501 section 6.4.8: a UID that is not there is no error. The EXPUNGE comes before the completion.
            (None, true) if uid => Reply { condition: Condition::Ok, ..gone() },
            // RFC 2180 section 4.1.2: the client still counts with the number.
            (None, true) => gone(),
            (None, false) => Reply::ok("Fetch completed."),
        }
    }
}

/// Says in the log what cannot be read, even where the connection ends before all is sent.
fn run(
    selected: &mut Selected,
    condstore: bool,
    plan: &Plan<'_>,
    which: &MsnSet,
    to: (&mut impl Sink, &mut [u8]),
    log: &mut dyn FnMut(&dyn std::fmt::Display),
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let sent = send(selected, condstore, plan, which, to, &mut outcome, log);
    outcome.unreadable.say("could not be read", log);
    sent.map(|()| outcome)
}

fn send(
    selected: &mut Selected,
    condstore: bool,
    plan: &Plan<'_>,
    which: &MsnSet,
    (sink, scratch): (&mut impl Sink, &mut [u8]),
    outcome: &mut Outcome,
    log: &mut dyn FnMut(&dyn std::fmt::Display),
) -> Result<(), Failure> {
    let Selected { mailbox, recall, read_only, .. } = selected;
    let sets_seen = plan.sets_seen && !*read_only && !mailbox.is_read_only();
    let batch = if sets_seen { SEEN_BATCH } else { BATCH };
    let mut answer = Answer::new(plan, condstore && mailbox.keeps_modseq(), recall);
    let mut infos: Vec<(u32, Info)> = Vec::new();
    let clock = Clock::default();
    for range in which {
        let mut first = *range.start();
        while first <= *range.end() {
            let last = first.saturating_add(batch - 1).min(*range.end());
            infos.clear();
            mailbox.for_each(first..=last, |msn, info| {
                if plan.changed_since.is_none_or(|since| info.modseq > since) {
                    infos.push((msn, *info));
                }
                ControlFlow::Continue(())
            })?;
            let seen = if sets_seen { set_seen(mailbox, &mut infos, log)? } else { Vec::new() };
            let mut unread = MsnSet::new();
            for (msn, info) in &infos {
                let newly_seen = seen.contains(msn);
                match answer.send(mailbox, (*msn, info, newly_seen), sink, &clock, scratch) {
                    Ok(()) if newly_seen => mailbox.has_told_modseq(*msn),
                    Ok(()) => {}
                    Err(Stop::Over(ending)) => {
                        return Err(match ending {
                            Ending::Failed(error) if error.kind() == CUT_SHORT => {
                                log(&mailbox.unreadable(*msn, error));
                                Ending::Failed(io::Error::other("A message could not be read to its end"))
                            }
                            ending => ending,
                        }
                        .into());
                    }
                    Err(Stop::Skip(error)) if error.kind == ErrorKind::NotFound => outcome.gone = true,
                    Err(Stop::Skip(error)) => {
                        outcome.unreadable.add(error);
                        if newly_seen {
                            unread.push(*msn..=*msn);
                        }
                    }
                }
            }
            // Nobody has seen them, and no response has said that they were.
            if !unread.is_empty() {
                let change = FlagChange { how: How::Remove, ..SEEN };
                mailbox.store_flags(&unread, &change, None)?.failures.say("could not be changed", log);
            }
            let Some(next) = last.checked_add(1) else { break };
            first = next;
        }
    }
    Ok(())
}

/// `\Seen`, which the responses say, with the modification sequence where the client wants these: it need not be told again.
const SEEN: FlagChange<'_> = FlagChange { how: How::Add, bits: Flags::SEEN, keywords: &[], silent: true };

/// Gives `\Seen` to those that lack it, and says which these are. That it cannot be set keeps nothing from being read.
fn set_seen(
    mailbox: &mut Mailbox,
    infos: &mut [(u32, Info)],
    log: &mut dyn FnMut(&dyn std::fmt::Display),
) -> Result<Vec<u32>, StorageError> {
    let unseen = infos.iter().filter(|(_, info)| info.flags.bits & Flags::SEEN == 0);
    let mut unseen: Vec<u32> = unseen.map(|(msn, _)| *msn).collect();
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let which: MsnSet = unseen.iter().map(|&msn| msn..=msn).collect();
    match mailbox.store_flags(&which, &SEEN, None) {
        Ok(stored) => stored.failures.say("could not be changed", log),
        Err(error) => log(&error),
    }
    // What has got it is to be said in any case.
    unseen.retain(|&msn| mailbox.info(msn).is_ok_and(|info| info.flags.bits & Flags::SEEN != 0));
    for (msn, info) in infos.iter_mut() {
        *info = mailbox.info(*msn)?;
    }
    Ok(unseen)
}

/// Makes the digest of a message that has none yet, keeps it, and leaves it in the digester. The buffer is to read through, of
/// at least [`common::mime::tree::BUFFER_MIN`] octets.
///
/// Errors: `NotFound` if the message is gone; those of reading it.
pub fn make_digest(
    mailbox: &mut Mailbox,
    msn: u32,
    digester: &mut Digester,
    buffer: &mut [u8],
) -> Result<(), StorageError> {
    let known = mailbox.info(msn)?.internal_date;
    let file = mailbox.open_message(msn)?;
    let parsed = Source::new(file, buffer, &|| Ok(())).and_then(|mut source| {
        source.parse(&mut digester.tree)?;
        Ok(source.modified())
    });
    let modified = parsed.map_err(|error| mailbox.unreadable(msn, error))?;
    let internal_date = known.unwrap_or_else(|| {
        mailbox.learn_date(msn, modified);
        modified
    });
    mailbox.cache(msn, digester.of_tree(internal_date));
    Ok(())
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
