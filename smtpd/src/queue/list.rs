//! The queue for people: mailq, `tinmail queue list` and `show`.
//!
//! What is shown was said by strangers: nothing of it may steer a terminal.

use super::format::Head;
use super::notes::{self, Note};
use super::queued::{self, State, peek};
use super::{Id, Place, QueueDirectory, scan, submitted_by};
use common::log;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Columns of an ID and its mark: one of what sendmail gave ends in its user's number, `-u65534`.
const ID_WIDTH: usize = 22;
/// Octets of a reason in a list, and where one message is shown.
const REASON_MAX: usize = 500;
const SHOWN_MAX: usize = 8000;

/// Prints every message, or those that a user of this host has submitted, the oldest first. What is on hold has a `!` behind its
/// ID, what is being tried a `*`.
pub fn print(directory: &QueueDirectory, of: Option<u32>, out: &mut dyn Write) -> io::Result<()> {
    let submitter = of.map(submitted_by);
    let mut total = (0_u64, 0_u64);
    for (place, mark) in [(Place::Queue, ' '), (Place::Hold, '!')] {
        // Names alone, at most some hundred KiB for ten thousand: sorted, they are the order of arrival.
        let mut ids = Vec::new();
        scan::all(directory, place, &mut |id| ids.push(id))?;
        ids.sort_unstable();
        for id in ids {
            match peek(directory, place, &id)? {
                Some(Ok(head)) => {
                    if submitter.as_ref().is_some_and(|submitter| *submitter != head.from) {
                        continue;
                    }
                    if total.0 == 0 {
                        writeln!(out, "{:<ID_WIDTH$} {:>10}  {:<20} Sender", "ID", "Size", "Arrived (UTC)")?;
                    }
                    total = (total.0 + 1, total.1.saturating_add(head.size));
                    let mark = if mark == ' ' && queued::is_busy(directory, &id) { '*' } else { mark };
                    print_message(out, directory, place, &id, &head, mark)?;
                }
                // Whose it is cannot be said.
                Some(Err(why)) if submitter.is_none() => writeln!(out, "{id}  is damaged: {}", why.0)?,
                Some(Err(_)) | None => {}
            }
        }
    }
    match total {
        (0, _) if submitter.is_some() => writeln!(out, "The queue has none of your messages"),
        (0, _) => writeln!(out, "The queue is empty"),
        (count, size) => {
            writeln!(out, "{count} message{}, {} KiB", if count == 1 { "" } else { "s" }, size.div_ceil(1024))
        }
    }
}

fn print_message(
    out: &mut dyn Write,
    directory: &QueueDirectory,
    place: Place,
    id: &Id,
    head: &Head,
    mark: char,
) -> io::Result<()> {
    let sender =
        head.envelope.reverse_path.as_ref().map_or_else(|| "MAILER-DAEMON".to_owned(), ToString::to_string);
    let name = format!("{id}{mark}");
    writeln!(out, "{name:<ID_WIDTH$} {:>10}  {:<20} {}", head.size, stamp(head.arrived), address(&sender))?;
    let notes = notes::read(directory, place, id);
    for (at, (recipient, (state, _))) in head.envelope.recipients.iter().zip(&head.states).enumerate() {
        if matches!(state, State::Delivered | State::Done) {
            continue;
        }
        if let Some(note) = notes.iter().find(|note| note.recipient == at) {
            writeln!(out, "    ({})", readable(&note.status.reason()).up_to(REASON_MAX))?;
        }
        writeln!(out, "    {}", address(&recipient.address.to_string()))?;
    }
    Ok(())
}

/// Everything that is known of a message. `Ok(false)`: it is not there.
pub fn show(directory: &QueueDirectory, id: &Id, now: SystemTime, out: &mut dyn Write) -> io::Result<bool> {
    for place in [Place::Queue, Place::Hold] {
        let Some(head) = peek(directory, place, id)? else { continue };
        let head = match head {
            Ok(head) => head,
            Err(why) => {
                writeln!(out, "{id} is damaged: {}", why.0)?;
                return Ok(true);
            }
        };
        let envelope = &head.envelope;
        let counters = head.counters;
        let sender = envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "ID:        {id}{}", if place == Place::Hold { " (on hold)" } else { "" })?;
        writeln!(out, "Sender:    <{}>", address(&sender))?;
        writeln!(out, "Arrived:   {} UTC, {}", stamp(head.arrived), readable(&head.from))?;
        writeln!(out, "Size:      {} octets", head.size)?;
        writeln!(out, "Attempts:  {}", counters.attempts)?;
        let wait = counters.next.saturating_sub(super::schedule::seconds(now));
        match (place, wait) {
            (Place::Hold, _) => writeln!(out, "Next:      when it is released: tinmail queue release {id}")?,
            (_, 0) => writeln!(out, "Next:      with the next queue run")?,
            (_, wait) => writeln!(out, "Next:      in {} min", wait.div_ceil(60))?,
        }
        let notes = notes::read(directory, place, id);
        for (at, (recipient, (state, _))) in envelope.recipients.iter().zip(&head.states).enumerate() {
            let word = match state {
                State::Pending => "waiting",
                State::Delivered | State::Done => "done",
                State::Failed => "failed",
            };
            writeln!(out, "Recipient: <{}> {word}", address(&recipient.address.to_string()))?;
            if recipient.original != recipient.address {
                writeln!(out, "           for <{}>", address(&recipient.original.to_string()))?;
            }
            if let Some(note) = notes.iter().find(|note| note.recipient == at) {
                print_note(out, note)?;
            }
        }
        return Ok(true);
    }
    Ok(false)
}

fn print_note(out: &mut dyn Write, note: &Note) -> io::Result<()> {
    let at = UNIX_EPOCH + std::time::Duration::from_secs(note.at.min(u64::from(u32::MAX)));
    let reason = note.status.reason();
    let text = readable(&reason).up_to(SHOWN_MAX);
    writeln!(out, "           {} {}: {text}", stamp(at), readable(&note.relay))
}

/// Whole: one that was cut would be another one.
fn address(text: &str) -> log::Escaped<'_> {
    readable(text).up_to(SHOWN_MAX)
}

fn readable(text: &str) -> log::Escaped<'_> {
    log::readable(text.as_bytes())
}

fn stamp(time: SystemTime) -> String {
    let text = log::stamp(time);
    text.trim_end_matches('Z').replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, add, envelope, open, queue};
    use super::*;
    use crate::queue::Counters;
    use crate::status::{Enhanced, Status};

    fn shown(run: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        run(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_queue_says_so() {
        let scratch = Scratch::new("listempty");
        let directory = queue(&scratch);
        let list = shown(|out| print(&directory, Some(1001), out).unwrap());
        assert_eq!(list, "The queue has none of your messages\n");
        assert_eq!(shown(|out| print(&directory, None, out).unwrap()), "The queue is empty\n");
    }

    #[test]
    fn messages_and_why_they_wait() {
        let scratch = Scratch::new("list");
        let directory = queue(&scratch);
        let id = add(&directory, &envelope(&["a@x", "b@y"]), &[b'x'; 2000]);
        let status = Status::new(450, Enhanced(4, 2, 0), "host mx[1] said: \u{1b}[2J later");
        let note = Note {
            recipient: 1,
            at: 1_700_000_100,
            status,
            relay: "mx[1]:25".into(),
            diagnostic: None,
            relayed: false,
        };
        notes::write(&directory, Place::Queue, &id, &[note]).unwrap();
        let mut queued = open(&directory, &id);
        queued.mark(0, State::Done).unwrap();
        queued.set_counters(Counters { attempts: 1, next: 1_700_000_700, ..queued.counters() }).unwrap();
        let list = shown(|out| print(&directory, None, out).unwrap());
        assert!(list.contains(&format!("{id}* ")), "{list}");
        drop(queued);
        let list = shown(|out| print(&directory, None, out).unwrap());
        let want = format!(
            "{:<ID_WIDTH$} {:>10}  2023-11-14 22:13:20  sender@example.org\n    (host mx[1] said: \\x1B[2J later)\n    b@y\n1 message, 2 KiB\n",
            id.as_str(),
            2000
        );
        assert!(list.ends_with(&want), "{list}\n{want}");
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_160);
        let text = shown(|out| assert!(show(&directory, &id, now, out).unwrap()));
        for line in
            ["Next:      in 9 min", "Recipient: <a@x> done", "Recipient: <b@y> waiting", "Attempts:  1"]
        {
            assert!(text.contains(&format!("{line}\n")), "{text}");
        }
        let long = format!("{} the end", "x ".repeat(600));
        let status = Status::new(450, Enhanced(4, 2, 0), long.clone());
        let (relay, diagnostic) = ("mx[1]:25".into(), None);
        notes::write(
            &directory,
            Place::Queue,
            &id,
            &[Note { recipient: 1, at: 0, status, relay, diagnostic, relayed: false }],
        )
        .unwrap();
        assert!(
            shown(|out| print(&directory, None, out).unwrap()).contains(&format!("({}...)", &long[..500]))
        );
        assert!(shown(|out| assert!(show(&directory, &id, now, out).unwrap())).contains(&long));
        open(&directory, &id).move_to(Place::Hold).unwrap();
        assert!(shown(|out| print(&directory, None, out).unwrap()).contains(&format!("{id}! ")));
        assert!(shown(|out| assert!(show(&directory, &id, now, out).unwrap())).contains("(on hold)"));
        let none = Id::parse("none").unwrap();
        assert!(!show(&directory, &none, now, &mut Vec::new()).unwrap());
    }
}
