//! What is different between two states of a mailbox, as entries of the log.

use super::super::build::Built;
use super::super::index::{self, Index};
use super::Mailbox;
use super::log::Entry;
use super::view::View;
use std::io;

impl Mailbox {
    /// What leads from this view to the other.
    pub(super) fn differences(&self, other: &View) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut theirs = 0;
        let modseq = other.highest_modseq;
        let mut last = 0;
        for row in 0..self.view.rows() {
            let mine = self.view.row(row)?;
            last = mine.uid;
            while theirs < other.rows() && other.row(theirs)?.uid < mine.uid {
                theirs += 1;
            }
            if self.view.is_gone(row) || self.view.dead.contains(row) {
                continue;
            }
            let found = if theirs < other.rows() { Some(other.row(theirs)?) } else { None };
            match found.filter(|found| found.uid == mine.uid && !other.is_gone(theirs)) {
                None => entries.push(Entry::Expunged { uid: mine.uid, modseq }),
                Some(found)
                    if (found.mail_flags, found.modseq, found.flags & index::IN_NEW)
                        != (mine.mail_flags, mine.modseq, mine.flags & index::IN_NEW) =>
                {
                    let (flags, place) = (found.mail_flags, found.flags & index::IN_NEW);
                    entries.push(Entry::Flags { uid: mine.uid, modseq: found.modseq, flags, place });
                }
                Some(_) => {}
            }
        }
        let mut name = Vec::new();
        for row in other.at_or_after(last.saturating_add(1))?..other.rows() {
            if other.is_gone(row) {
                continue;
            }
            let found = other.row(row)?;
            other.name(row, &found, &mut name)?;
            let (uid, modseq, octets, date) = (found.uid, found.modseq, found.octets, found.date);
            let place = found.flags & index::IN_NEW;
            entries.push(Entry::Added { uid, modseq, octets, date, place, name: name.as_slice().into() });
        }
        Ok(entries)
    }
}

/// What is different, as entries of the log; `None` if that is much, or cannot be said there.
pub(super) fn few_differences(old: &Index, built: &Built) -> io::Result<Option<Vec<Entry>>> {
    let header = built.header();
    let limit = 256 + old.header.count as usize / 32;
    if old.header.uid_validity != header.uid_validity || !built.extras.order.is_empty() {
        return Ok(None);
    }
    let (mut entries, mut i, mut sayable) = (Vec::new(), 0, true);
    let (mut space, modseq) = (Vec::new(), header.highest_modseq);
    built
        .messages(&mut |new| {
            while i < old.header.count && old.row(i)?.uid < new.uid {
                entries.push(Entry::Expunged { uid: old.row(i)?.uid, modseq });
                i += 1;
            }
            let row = if i < old.header.count { Some(old.row(i)?) } else { None };
            match row.filter(|row| row.uid == new.uid) {
                Some(row) => {
                    i += 1;
                    let before = old.parts(&row, &mut space)?;
                    sayable &= (before.unique_id, before.guid) == (new.unique_id, new.guid);
                    let now = new.row(0);
                    let place = new.flags & (index::IN_NEW | index::RECENT);
                    if now.mail_flags != row.mail_flags || place != row.flags & index::IN_NEW {
                        let (uid, modseq, flags) = (new.uid, new.modseq, now.mail_flags);
                        entries.push(Entry::Flags { uid, modseq, flags, place });
                    } else {
                        // Letters in another order, or such as mean nothing; octets that were counted.
                        sayable &= before.name == new.name && row.octets == new.octets;
                    }
                }
                None => {
                    sayable &= new.unique_id.is_none() && new.guid.is_none() && i >= old.header.count;
                    let (uid, modseq, octets, date) = (new.uid, new.modseq, new.octets, new.date);
                    let place = new.flags & (index::IN_NEW | index::RECENT);
                    entries.push(Entry::Added { uid, modseq, octets, date, place, name: new.name.into() });
                }
            }
            if sayable && entries.len() <= limit { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
        })
        .or_else(|error| if error.kind() == io::ErrorKind::Other { Ok(()) } else { Err(error) })?;
    while i < old.header.count && entries.len() <= limit {
        entries.push(Entry::Expunged { uid: old.row(i)?.uid, modseq });
        i += 1;
    }
    Ok((sayable && entries.len() <= limit).then_some(entries))
}
