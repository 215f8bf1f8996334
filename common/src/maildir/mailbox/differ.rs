//! What is different between two states of a mailbox, as entries of the log.

use super::super::build::Built;
use super::super::index::{self, Index, Row};
use super::change::BATCH;
use super::log::Entry;
use super::view::View;
use std::io;

/// Which of the two cannot be read.
pub(super) enum Unreadable {
    Mine(io::Error),
    Other(io::Error),
}

/// What leads from a view to another one, a piece at a time: all of it may be more than the session's memory.
pub(super) struct Differences<'o> {
    other: &'o View,
    /// Rows that have been compared.
    row: u32,
    rows: u32,
    theirs: u32,
    /// The last UID of those.
    last: u32,
}

impl<'o> Differences<'o> {
    pub fn new(view: &View, other: &'o View) -> Differences<'o> {
        Differences { other, row: 0, rows: view.rows(), theirs: 0, last: 0 }
    }

    /// The next of them; none: that was all. `view`: as it is when the ones before have been taken into account.
    pub fn next(&mut self, view: &View) -> Result<Vec<Entry>, Unreadable> {
        let mut entries = Vec::new();
        while self.row < self.rows && entries.len() < BATCH {
            let mine = view.row(self.row).map_err(Unreadable::Mine)?;
            entries.extend(self.compare(view, &mine).map_err(Unreadable::Other)?);
            self.row += 1;
            if self.row == self.rows {
                let behind = self.other.at_or_after(self.last.saturating_add(1));
                self.theirs = behind.map_err(Unreadable::Other)?;
            }
        }
        while self.row == self.rows && self.theirs < self.other.rows() && entries.len() < BATCH {
            entries.extend(self.added().map_err(Unreadable::Other)?);
            self.theirs += 1;
        }
        Ok(entries)
    }

    fn compare(&mut self, view: &View, mine: &Row) -> io::Result<Option<Entry>> {
        let (other, row) = (self.other, self.row);
        self.last = mine.uid;
        while self.theirs < other.rows() && other.row(self.theirs)?.uid < mine.uid {
            self.theirs += 1;
        }
        if view.is_gone(row) || view.dead.contains(row) {
            return Ok(None);
        }
        let found = if self.theirs < other.rows() { Some(other.row(self.theirs)?) } else { None };
        Ok(match found.filter(|found| found.uid == mine.uid && !other.is_gone(self.theirs)) {
            None => Some(Entry::Expunged { uid: mine.uid, modseq: other.highest_modseq }),
            Some(found)
                if (found.mail_flags, found.modseq, found.flags & index::FRESH)
                    != (mine.mail_flags, mine.modseq, mine.flags & index::FRESH) =>
            {
                let (flags, place) = (found.mail_flags, found.flags & index::FRESH);
                Some(Entry::Flags { uid: mine.uid, modseq: found.modseq, flags, place })
            }
            Some(_) => None,
        })
    }

    /// What came later.
    fn added(&self) -> io::Result<Option<Entry>> {
        if self.other.is_gone(self.theirs) {
            return Ok(None);
        }
        let mut name = Vec::new();
        let found = self.other.row(self.theirs)?;
        self.other.name(self.theirs, &found, &mut name)?;
        let (uid, modseq, octets, date) = (found.uid, found.modseq, found.octets, found.date);
        let place = found.flags & index::FRESH;
        Ok(Some(Entry::Added { uid, modseq, octets, date, place, name: name.into() }))
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
                    sayable &= now.base_hash == row.base_hash;
                    let place = new.flags & index::STATE;
                    if now.mail_flags != row.mail_flags || place != row.flags & index::FRESH {
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
                    let place = new.flags & index::STATE;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn view(messages: &[(u32, &str)]) -> View {
        let names: Vec<String> = messages.iter().map(|(uid, flags)| format!("{uid}.x:2,{flags}")).collect();
        let mut out = Vec::new();
        let written = index::write(&mut out, index::Header::default(), &index::Extras::default(), |visit| {
            let message = |(&(uid, _), name): (&(u32, &str), &String)| {
                visit(&index::Source { uid, name: name.as_bytes(), modseq: 1, ..Default::default() })
            };
            messages.iter().zip(&names).try_for_each(message)
        });
        written.unwrap();
        View::new(Index::in_memory(out).unwrap())
    }

    fn living(view: &View) -> Vec<(u32, u8)> {
        let rows = (0..view.rows()).filter(|&row| !view.is_gone(row) && !view.dead.contains(row));
        rows.map(|row| view.row(row).unwrap()).map(|data| (data.uid, data.mail_flags.bits)).collect()
    }

    #[test]
    fn pieces_of_any_number_lead_to_the_other_view() {
        let most = BATCH as u32;
        for (count, later) in [(0, 0), (0, 5), (7, 0), (most, 1), (3 * most, 2 * most), (5 * most + 3, 0)] {
            let before: Vec<_> = (1..=count).map(|uid| (uid, if uid % 4 == 0 { "S" } else { "" })).collect();
            let after: Vec<_> = (1..=count + later)
                .filter(|uid| uid % 3 != 0)
                .map(|uid| (uid, if uid % 5 == 0 { "F" } else { "" }))
                .collect();
            let (mut mine, other) = (view(&before), view(&after));
            let mut differences = Differences::new(&mine, &other);
            loop {
                let entries = differences.next(&mine).ok().unwrap();
                assert!(entries.len() <= BATCH);
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    mine.apply(entry).unwrap();
                }
            }
            assert_eq!(living(&mine), living(&other), "{count} and {later}");
        }
    }
}
