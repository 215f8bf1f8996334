//! Telling the client what has changed in the selected mailbox (RFC 3501 sections 5.2 and 7.4.1, RFC 7162 section 3.2).

use crate::context::{Context, Selected};
use crate::grammar::{bits, print};
use crate::mailbox::{Event, Flags, Mailbox};
use crate::reply::Failure;
use common::io::Conn;

/// The flags that a client can set.
const SETTABLE: u8 = bits::ANSWERED | bits::FLAGGED | bits::DELETED | bits::SEEN | bits::DRAFT;
/// Keywords that a mailbox can have: Maildir has one letter for each.
const KEYWORDS_MAX: usize = 26;

impl Context<'_> {
    /// Says what is new in the selected mailbox, if there is one. `may_expunge`: this is a moment at which EXPUNGE may be
    /// said. `uid`: FETCH responses have UIDs.
    pub fn sync(&mut self, may_expunge: bool, uid: bool) -> Result<(), Failure> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let mut events = Vec::new();
        selected.mailbox.sync(may_expunge, &mut |event| events.push(event))?;
        let mut out = Vec::new();
        let mut expunged_later = expunges_behind(&events);
        for event in &events {
            match event {
                Event::Exists(n) => print::text(&mut out, format_args!("* {n} EXISTS\r\n")),
                Event::Recent(n) => print::text(&mut out, format_args!("* {n} RECENT\r\n")),
                Event::Expunge(msn) => {
                    print::text(&mut out, format_args!("* {msn} EXPUNGE\r\n"));
                    expunged_later.pop();
                }
                Event::Keywords => keywords(&mut out, selected),
                Event::Flags(msn) => {
                    // The mailbox knows the message by the number it has when all has been said.
                    if let Some(now) = number_behind(*msn, &expunged_later) {
                        let shown = Shown { msn: *msn, now, uid, condstore: self.enabled.condstore };
                        fetch_flags(&mut out, &selected.mailbox, &shown)?;
                    }
                }
            }
            push_when_full(self.conn, &mut out)?;
        }
        self.conn.push(&out)?;
        Ok(())
    }
}

/// Output is pushed in pieces, so that a large report needs no large buffer.
fn push_when_full(conn: &mut Conn, out: &mut Vec<u8>) -> Result<(), Failure> {
    if out.len() >= 4096 {
        conn.push(out)?;
        out.clear();
    }
    Ok(())
}

/// The messages expunged behind the first report of flags, the next one last. Usually none.
fn expunges_behind(events: &[Event]) -> Vec<u32> {
    let Some(first) = events.iter().position(|event| matches!(event, Event::Flags(_))) else {
        // Without flags nobody asks; the list only has to be long enough to be taken from.
        return Vec::new();
    };
    let behind = events.iter().skip(first).rev();
    behind.filter_map(|event| if let Event::Expunge(msn) = event { Some(*msn) } else { None }).collect()
}

/// The number of a message after these expunges; `None` if it is one of them.
fn number_behind(msn: u32, expunged: &[u32]) -> Option<u32> {
    expunged.iter().rev().try_fold(msn, |msn, gone| match msn.cmp(gone) {
        std::cmp::Ordering::Less => Some(msn),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(msn - 1),
    })
}

/// One message whose flags are told.
pub struct Shown {
    /// The number to say.
    pub msn: u32,
    /// The number by which the mailbox knows it.
    pub now: u32,
    /// Whether UID is said.
    pub uid: bool,
    /// Whether MODSEQ is said.
    pub condstore: bool,
}

/// `* n FETCH (FLAGS (...))`
pub fn fetch_flags(out: &mut Vec<u8>, mailbox: &Mailbox, shown: &Shown) -> Result<(), Failure> {
    let info = mailbox.info(shown.now)?;
    print::text(out, format_args!("* {} FETCH (", shown.msn));
    if shown.uid {
        print::text(out, format_args!("UID {} ", info.uid));
    }
    out.extend_from_slice(b"FLAGS ");
    flags(out, mailbox, info.flags);
    if shown.condstore {
        print::text(out, format_args!(" MODSEQ ({})", info.modseq));
    }
    out.extend_from_slice(b")\r\n");
    Ok(())
}

/// A message's flags with their parentheses.
pub fn flags(out: &mut Vec<u8>, mailbox: &Mailbox, flags: Flags) {
    let named = mailbox.keywords().iter().take(32).enumerate();
    let set = named.filter(|(at, name)| flags.keywords >> at & 1 == 1 && !name.is_empty());
    print::flags(out, flags.bits, set.map(|(_, name)| &**name));
}

/// `FLAGS` and `PERMANENTFLAGS`: which there are, and which can be set for good.
pub fn keywords(out: &mut Vec<u8>, selected: &Selected) {
    let names = || selected.mailbox.keywords().iter().map(|name| &**name).filter(|name| !name.is_empty());
    out.extend_from_slice(b"* FLAGS ");
    print::flags(out, SETTABLE, names());
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    if selected.read_only {
        out.extend_from_slice(b"()] Nothing can be changed.\r\n");
        return;
    }
    // A client may make further keywords as long as there are letters for them.
    let more = (names().count() < KEYWORDS_MAX).then_some("\\*");
    print::flags(out, SETTABLE, names().chain(more));
    out.extend_from_slice(b"] Flags that stay.\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_messages_behind_expunges() {
        let events =
            [Event::Flags(5), Event::Expunge(2), Event::Flags(4), Event::Expunge(4), Event::Expunge(1)];
        let mut later = expunges_behind(&events);
        assert_eq!(later, [1, 4, 2]);
        assert_eq!(number_behind(5, &later), None);
        assert_eq!(number_behind(6, &later), Some(3));
        assert_eq!(number_behind(2, &later), None);
        assert_eq!(number_behind(1, &later), None);
        later.pop();
        assert_eq!(number_behind(5, &later), Some(3));
        assert_eq!(expunges_behind(&[Event::Expunge(1), Event::Flags(1)]), [0u32; 0]);
    }
}
