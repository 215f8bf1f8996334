//! What became of the last attempt, for people and for bounces: `queue/ID.log` beside the message.
//!
//! It is rewritten at each attempt that leaves something to do, never flushed, and may be lost or damaged: then a bounce
//! says less. What it quotes came from remote hosts.

use super::format::{escape, unescape};
use super::{Id, Place, QueueDirectory};
use crate::status::{Enhanced, Status};
use common::sys::fs;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;

/// Octets of such a file that are read at most.
const NOTES_MAX: u64 = 1 << 20;
/// Characters of a remote host's words that are kept.
const TEXT_MAX: usize = 2000;
/// And where there are many, so that all have room.
const TEXT_OF_MANY: usize = 500;
const MANY: usize = 100;

/// What is known of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The number of the recipient.
    pub recipient: usize,
    /// When it was tried: seconds since 1970.
    pub at: u64,
    /// How it went.
    pub status: Status,
    /// Who was spoken to: `mx.example.org[192.0.2.1]:25`, `local`, `none`.
    pub relay: String,
    /// What they said, word for word.
    pub diagnostic: Option<String>,
    /// It went to a server that tells nobody of success.
    pub relayed: bool,
}

/// Writes them. A failure is no loss.
pub fn write(directory: &QueueDirectory, place: Place, id: &Id, notes: &[Note]) -> io::Result<()> {
    let mut text = String::new();
    let most = if notes.len() > MANY { TEXT_OF_MANY } else { TEXT_MAX };
    for note in notes {
        let Enhanced(class, subject, detail) = note.status.enhanced;
        let _ = write!(
            text,
            "{}\t{}\t{}\t{class}\t{subject}\t{detail}\t{}\t",
            note.recipient,
            note.at,
            note.status.code,
            if note.relayed { 'r' } else { '-' }
        );
        let Status { text: said, cause, .. } = &note.status;
        let diagnostic = note.diagnostic.as_deref().unwrap_or("");
        for value in [&note.relay, said, diagnostic, cause.as_deref().unwrap_or("")] {
            escape(
                &mut text,
                value.char_indices().nth(most).and_then(|(end, _)| value.get(..end)).unwrap_or(value),
            );
            text.push('\t');
        }
        text.push('\n');
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT);
    options.open(directory.log_file(place, id))?.write_all(text.as_bytes())
}

/// Reads them. What is not there or not readable is left out.
pub fn read(directory: &QueueDirectory, place: Place, id: &Id) -> Vec<Note> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT);
    let Ok(file) = options.open(directory.log_file(place, id)) else { return Vec::new() };
    let mut text = Vec::new();
    if !file.metadata().is_ok_and(|meta| meta.is_file())
        || file.take(NOTES_MAX).read_to_end(&mut text).is_err()
    {
        return Vec::new();
    }
    String::from_utf8_lossy(&text).lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Note> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let (recipient, at) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let code = next()?.parse().ok()?;
    let enhanced = Enhanced(next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let relayed = next()? == "r";
    let relay = unescape(next()?).ok()?;
    let mut status = Status::new(code, enhanced, unescape(next()?).ok()?);
    let diagnostic = Some(unescape(next()?).ok()?).filter(|text| !text.is_empty());
    if let Some(cause) = next().and_then(|cause| unescape(cause).ok()).filter(|cause| !cause.is_empty()) {
        status = status.because(cause);
    }
    Some(Note { recipient, at, status, relay, diagnostic, relayed })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, queue};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn notes_come_back() {
        let scratch = Scratch::new("notes");
        let (directory, id) = (queue(&scratch), Id::parse("abc").unwrap());
        let note = |recipient, text: &str| Note {
            recipient,
            at: 1_700_000_000,
            status: Status::new(450, Enhanced(4, 2, 0), text),
            relay: "mx\t[1]".into(),
            diagnostic: (recipient > 0).then(|| "450 x".to_owned()),
            relayed: recipient > 0,
        };
        let mut notes = [note(0, "a\tb\nc%"), note(7, "ä"), note(8, "closed")];
        notes[2].status = notes[2].status.clone().because("/home/anna: Permission denied");
        write(&directory, Place::Queue, &id, &notes).unwrap();
        assert_eq!(read(&directory, Place::Queue, &id), notes);
        let long = note(1, &"ä".repeat(3000));
        for (count, kept) in [(1, TEXT_MAX), (MANY + 1, TEXT_OF_MANY)] {
            write(&directory, Place::Queue, &id, &vec![long.clone(); count]).unwrap();
            assert_eq!(read(&directory, Place::Queue, &id)[0].status.text, "ä".repeat(kept));
        }
        std::fs::write(directory.log_file(Place::Queue, &id), b"\xff\n1\tx\n\n\t\t\t").unwrap();
        assert!(read(&directory, Place::Queue, &id).is_empty());
        assert!(read(&directory, Place::Hold, &id).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_a_note_or_none(
            line in "[0-9]{0,3}\t[0-9]{0,2}\t[0-9]{3}\t[245]\t[0-9]{1,3}\t[0-9]{1,2}\t[r-]?\
                (\t(%[0-9A-Fa-f]{0,2}|[a-c]){0,4}){0,6}|[0-9r%\t-]{0,40}",
        ) {
            let Some(note) = parse(&line) else { return Ok(()) };
            let scratch = Scratch::new("any-notes");
            let (directory, id) = (queue(&scratch), Id::parse("abc").unwrap());
            write(&directory, Place::Queue, &id, std::slice::from_ref(&note)).unwrap();
            prop_assert_eq!(read(&directory, Place::Queue, &id), [note]);
        }

        #[test]
        fn any_words_come_back(
            text in any::<String>(),
            relay in any::<String>(),
            diagnostic in any::<String>(),
            numbers: (usize, u64, u16),
        ) {
            let scratch = Scratch::new("words");
            let (directory, id) = (queue(&scratch), Id::parse("abc").unwrap());
            let (recipient, at, code) = numbers;
            let status = Status::new(code, Enhanced(4, 0, 0), text);
            let diagnostic = Some(diagnostic).filter(|text| !text.is_empty());
            let note = Note { recipient, at, status, relay, diagnostic, relayed: code % 2 == 0 };
            write(&directory, Place::Queue, &id, &[note.clone(), note.clone()]).unwrap();
            prop_assert_eq!(read(&directory, Place::Queue, &id), [note.clone(), note]);
        }
    }
}
