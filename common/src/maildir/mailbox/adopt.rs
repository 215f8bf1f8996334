//! Going over to an index that was written anew.

use super::super::error::{ErrorKind, StorageError};
use super::super::index;
use super::Mailbox;
use super::ascending::Ascending;
use super::differ::{Differences, Unreadable};
use super::log::Stamps;
use super::refresh::Loaded;
use super::view::View;
use std::io;

impl Mailbox {
    /// The index was replaced: the differences are what changed.
    pub(super) fn follow_to_new_index(&mut self, mine: bool) -> Result<(), StorageError> {
        let Some(loaded) = Loaded::read(&self.maildir) else {
            // It was removed. The view is all that is left; the next look at the directories makes a new one. The modification
            // sequences that others have told since our last look must not come again.
            self.stamps = Stamps::default();
            let read = self.read_on_in_log(mine);
            self.stamps = Stamps::default();
            return read;
        };
        self.adopt(loaded)
    }

    pub(super) fn adopt(&mut self, loaded: Loaded) -> Result<(), StorageError> {
        if self.view.uid_is_unset() {
            self.note_recent(&loaded.view)?;
            (self.view, self.log, self.stamps) = (loaded.view.into(), loaded.log, loaded.stamps);
            self.view.announced = 0;
            return Ok(());
        }
        if loaded.view.index.header.uid_validity != self.uid_validity() {
            let path = self.maildir.path();
            let why = "the mailbox was replaced by another one";
            return Err(StorageError::with_kind(ErrorKind::NotFound, "read", path, why));
        }
        self.note_recent(&loaded.view)?;
        if let Some(changed) = self.known_rows(&loaded.view).map_err(|error| self.damaged_anew(error))? {
            self.go_over(loaded, changed);
            return Ok(());
        }
        self.fresh = None;
        let mut differences = Differences::new(&self.view, &loaded.view);
        loop {
            let entries = differences.next(&self.view).map_err(|error| match error {
                Unreadable::Mine(error) => self.damaged(error),
                Unreadable::Other(error) => self.damaged_anew(error),
            })?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                self.take(entry, false)?;
            }
        }
        self.view.highest_modseq = self.view.highest_modseq.max(loaded.view.highest_modseq);
        self.view.next_uid = self.view.next_uid.max(loaded.view.next_uid);
        (self.log, self.stamps) = (loaded.log, loaded.stamps);
        self.fresh = Some(loaded.view);
        Ok(())
    }

    fn note_recent(&mut self, view: &View) -> Result<(), StorageError> {
        if view.index.header.recent_of != self.token || self.options.read_only {
            return Ok(());
        }
        for row in 0..view.rows() {
            let data = view.row(row).map_err(|error| self.damaged_anew(error))?;
            if data.flags & index::RECENT != 0 && !self.recent.contains(data.uid) {
                self.recent.insert(data.uid);
                self.untold.recent = true;
            }
        }
        Ok(())
    }

    /// If the first messages of the other view are those that the client knows, and all of them: which of them have other
    /// flags there, by row. Rows that cannot be read any more are the same if as many are there: see [`mend`](super::mend).
    fn known_rows(&self, other: &View) -> io::Result<Option<Ascending>> {
        let (mut changed, mut theirs, mut last) = (Ascending::default(), 0, 0);
        let mut some_are_lost = false;
        for row in 0..self.view.announced {
            let mine = self.view.row(row).ok();
            some_are_lost |= mine.is_none();
            last = mine.map_or(last, |mine| mine.uid);
            if self.view.is_gone(row) {
                continue;
            }
            if theirs >= other.rows() {
                return Ok(None);
            }
            let found = other.row(theirs)?;
            // What the other's log has expunged already is there for this client.
            if mine.is_some_and(|mine| mine.uid != found.uid) || found.uid < last || other.is_gone(theirs) {
                return Ok(None);
            }
            last = found.uid;
            // Nobody knows which flags the client has been told of a lost one.
            if mine.is_none_or(|mine| mine.mail_flags != found.mail_flags) {
                changed.insert(theirs);
            }
            theirs += 1;
        }
        let next = if theirs < other.rows() { Some(other.row(theirs)?.uid) } else { None };
        if some_are_lost {
            // Those that came after the index was made are not in it, and can be read as a rule.
            let later = match self.view.row(self.view.announced) {
                Ok(row) => row.uid,
                Err(_) if self.view.announced >= self.view.rows() => self.view.next_uid,
                Err(_) => return Ok(None),
            };
            return Ok((last < later && next.is_none_or(|next| next >= later)).then_some(changed));
        }
        // What the client knows to be gone must not come back.
        Ok(next.is_none_or(|next| next > last).then_some(changed))
    }

    /// The other view takes the place of this one, whose lists of changes may be long. What is not told yet stays so.
    fn go_over(&mut self, loaded: Loaded, mut changed: Ascending) {
        // The client's message sequence numbers are the rows there, from 1 on.
        let rows = |view: &View, untold: &Ascending| -> Vec<u32> {
            untold.as_slice().iter().filter_map(|&row| view.msn_of(row)).map(|msn| msn - 1).collect()
        };
        changed.unite(&rows(&self.view, &self.untold.flags));
        let mut modseqs = Ascending::default();
        modseqs.unite(&rows(&self.view, &self.untold.modseqs));
        (self.untold.flags, self.untold.modseqs) = (changed, modseqs);
        let (known, modseq, next_uid) = (self.view.len(), self.view.highest_modseq, self.view.next_uid);
        self.fresh = None;
        (self.view, self.log, self.stamps) = (loaded.view.into(), loaded.log, loaded.stamps);
        self.view.announced = known;
        let later = (known..self.view.rows()).filter_map(|row| self.view.row(row).ok());
        let fresh = later.filter(|data| data.flags & index::FRESH != 0 && !self.options.read_only);
        let arrived: Vec<u32> = fresh.map(|data| data.uid).collect();
        arrived.into_iter().for_each(|uid| self.arrived.insert(uid));
        self.view.highest_modseq = self.view.highest_modseq.max(modseq);
        self.view.next_uid = self.view.next_uid.max(next_uid);
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
