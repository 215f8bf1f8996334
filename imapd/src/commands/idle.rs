//! IDLE (RFC 2177): says what is new in the mailbox as it happens.
//!
//! Where the kernel has inotify and lets the user have another instance, the process sleeps until something happens; else it
//! looks every `mailbox_idle_check_interval`. The client may be silent for `imap_idle_timeout`, IDLE or not: it is to begin
//! afresh every 29 minutes (RFC 2177 section 3).

use super::Rules;
use crate::context::Context;
use crate::grammar::Command;
use crate::reply::{Completion, Reply};
use common::io::Woken;
use common::io::gather::{Gathered, Text};
use common::sys::inotify::Watch;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long after a change others are waited for: mail comes in batches, and so do flags.
const SETTLE: Duration = Duration::from_millis(200);
/// How long after the moment from which on a look is worth it.
const MARGIN: Duration = Duration::from_millis(10);
/// The longest wait where nothing is to be done at its end.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// Octets of the line that ends it.
const LINE_MAX: usize = 1024;

/// IDLE, up to DONE.
pub fn idle(context: &mut Context<'_>, text: &mut Text) -> Completion {
    context.conn.push_line("+ idling")?;
    let watch = watch(context);
    let notify = match context.config.imap_idle_notify_interval {
        Duration::ZERO => LONG,
        interval => interval,
    };
    let look = match (&watch, context.selected.is_some()) {
        (None, true) => context.config.mailbox_idle_check_interval.max(Duration::from_secs(1)),
        _ => LONG,
    };
    let mut said = Instant::now();
    loop {
        // What changed before the watch, or meanwhile, is said first.
        if let Some(watch) = &watch {
            watch.drain();
        }
        let before = context.conn.replied();
        context.sync(Rules::of(&Command::Idle))?;
        if context.conn.replied() != before {
            said = Instant::now();
        }
        context.tidy()?;
        // A change at the same moment as one that was seen wakes nobody once more.
        let again = context.selected.as_ref().and_then(|selected| selected.mailbox.looks_again_in());
        let again = again.map_or(LONG, |again| again + MARGIN);
        let wait = look.min(again).min(notify.saturating_sub(said.elapsed()));
        match context.conn.wait(watch.as_ref().map(Watch::as_fd), wait)? {
            Woken::Input => return done(context, text),
            Woken::Other => {
                if context.conn.wait(None, SETTLE)? == Woken::Input {
                    return done(context, text);
                }
            }
            Woken::Time if said.elapsed() >= notify => {
                context.conn.push_line("* OK Still here.")?;
                said = Instant::now();
            }
            Woken::Time => {}
        }
    }
}

/// Watches the selected mailbox; `None` where that cannot be.
fn watch(context: &Context<'_>) -> Option<Watch> {
    let selected = context.selected.as_ref()?;
    let watch = Watch::new().ok()?;
    for path in selected.mailbox.watch_paths() {
        // One that is not there, as an index on a read-only disk, says nothing anyway.
        match watch.add(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return None,
            _ => {}
        }
    }
    Some(watch)
}

fn done(context: &mut Context<'_>, text: &mut Text) -> Completion {
    text.clear();
    let gathered = context.conn.gather_line(text, LINE_MAX)?;
    Ok(match gathered {
        Gathered::Line if text.as_bytes().trim_ascii().eq_ignore_ascii_case(b"DONE") => {
            Reply::ok("Idle completed.")
        }
        _ => Reply::bad("DONE was expected."),
    })
}
