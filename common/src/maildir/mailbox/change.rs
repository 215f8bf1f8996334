//! STORE and EXPUNGE: renaming and removing files, and saying so in the log.

use super::super::error::{ErrorKind, StorageError};
use super::super::failures::Failures;
use super::super::flags::Flags;
use super::super::index;
use super::super::quota::Tally;
use super::super::uidlist_file::{self, Stamp};
use super::log::{Entry, Stamps};
use super::summary::Summary;
use super::unchanged::Unchanged;
use super::view::View;
use super::{Mailbox, MsnSet};
use std::io;

/// So many changes are gathered before they are said.
pub(super) const BATCH: usize = 1024;

/// What to do with flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// FLAGS
    Replace,
    /// +FLAGS
    Add,
    /// -FLAGS
    Remove,
}

/// A change of flags.
#[derive(Debug, Clone, Copy)]
pub struct FlagChange<'a> {
    /// What to do with them.
    pub how: How,
    /// System flags.
    pub bits: u8,
    /// Keywords.
    pub keywords: &'a [&'a str],
    /// The client does not ask for the outcome.
    pub silent: bool,
}

/// Which messages are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remove {
    /// Those with `\Deleted`.
    Deleted,
    /// All.
    All,
    /// All; their files are gone already.
    Moved,
}

/// What a change of flags came to.
#[derive(Debug, Default)]
pub struct Stored {
    /// Message sequence numbers, ascending, of those that had been changed after `unchanged_since` and were left.
    /// Where flags are added or removed, only a change of one of them counts, as far as the log knows.
    pub modified: Vec<u32>,
    /// Some keywords could not be kept: all letters are taken.
    pub too_many_keywords: bool,
    /// Some of the messages are gone, and the client may not know.
    pub gone: bool,
    /// What could not be changed is as it was.
    pub failures: Failures,
}

impl Mailbox {
    /// Changes flags. What changed is told by the next [`Mailbox::sync`]: as flags, or where it is `silent` as a
    /// modification sequence. Messages changed since `unchanged_since` are left as they are (RFC 7162 section 3.1.3), and
    /// named in [`Stored::modified`].
    pub fn store_flags(
        &mut self,
        which: &MsnSet,
        change: &FlagChange<'_>,
        unchanged_since: Option<u64>,
    ) -> Result<Stored, StorageError> {
        let mut stored = Stored::default();
        let lock = self.lock()?;
        self.refresh_locked(lock.as_ref())?;
        let mut keyword_bits = 0;
        if change.how == How::Remove {
            // What the mailbox does not have need not be taken away.
            for keyword in change.keywords {
                keyword_bits |= self.keywords.bit(keyword).unwrap_or(0);
            }
        } else if !change.keywords.is_empty() {
            let known = self.keywords.names.clone();
            let timeout = self.options.lock_timeout;
            let (bits, enough) = self.keywords.bits_for(change.keywords, &self.maildir, timeout)?;
            (keyword_bits, stored.too_many_keywords) = (bits, !enough);
            self.untold.keywords |= self.keywords.names != known;
        }
        let wanted = Flags { bits: change.bits & Flags::ALL, keywords: keyword_bits };
        let mut unchanged = unchanged_since.map(|since| Unchanged::new(since, change, wanted));
        self.hold_directories();
        let mut batch = Batch::begin(self);
        // What has \Deleted is not counted any more (Maildir++).
        let counts = change.how == How::Replace || change.bits & Flags::DELETED != 0;
        let mut tally = if counts { Tally::begin(&self.maildir) } else { Tally::default() };
        let changed =
            self.change_flags(which, change, wanted, &mut unchanged, (&mut batch, &mut tally), &mut stored);
        // Whatever has been changed is said.
        tally.end(&self.maildir);
        batch.silent = change.silent;
        batch.end(self)?;
        changed.map(|()| stored)
    }

    fn change_flags(
        &mut self,
        which: &MsnSet,
        change: &FlagChange<'_>,
        wanted: Flags,
        unchanged: &mut Option<Unchanged>,
        (batch, tally): (&mut Batch, &mut Tally),
        stored: &mut Stored,
    ) -> Result<(), StorageError> {
        let mut space = Vec::new();
        for msn in which.iter().cloned().flatten() {
            if msn == 0 || msn > self.len() {
                continue;
            }
            let row = self.view.row_of(msn);
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            // Gone, but the client does not know yet: the others are done (RFC 2180 section 4.2).
            if self.view.dead.contains(row) {
                stored.gone = true;
                continue;
            }
            let (uid, before) = (data.uid, data.mail_flags);
            if unchanged.as_mut().is_some_and(|it| !it.allows(self, uid, before, data.modseq.max(1))) {
                stored.modified.push(msn);
                continue;
            }
            // What somebody else has done to the flags is told even so, and its modification sequence with it.
            match change.silent && !self.untold.flags.contains(row) {
                true => self.untold.modseqs.insert(row),
                false => self.untold.flags.insert(row),
            }
            if changed(before, wanted, change.how) == before {
                continue;
            }
            let modseq = batch.modseq;
            let message = self.message_in(row, &data, space)?;
            let flagged = |before| changed(before, wanted, change.how);
            match self.maildir.set_flags(self.directories.as_ref(), &message, flagged) {
                Ok(flags) => {
                    match (before.bits & Flags::DELETED, flags.bits & Flags::DELETED) {
                        (0, 1..) => tally.note_anyway(&self.maildir, &message, -1),
                        (1.., 0) => tally.note_anyway(&self.maildir, &message, 1),
                        _ => {}
                    }
                    batch.entries.push(Entry::Flags { uid, modseq, flags, place: 0 });
                }
                Err(error) if error.kind == ErrorKind::NotFound => {
                    stored.gone = true;
                    batch.entries.push(Entry::Expunged { uid, modseq });
                }
                // The others may be different: each stands for itself (RFC 3501 section 6.4.6).
                Err(error) => stored.failures.add(error),
            }
            space = message.name;
            batch.flush_if_full(self, change.silent)?;
        }
        Ok(())
    }

    /// Removes those of the messages that have `\Deleted`. The next [`Mailbox::sync`] that may say EXPUNGE does so. Returns what
    /// could not be removed, and is still there.
    pub fn expunge(&mut self, which: &MsnSet) -> Result<Failures, StorageError> {
        let lock = self.lock()?;
        self.refresh_locked(lock.as_ref())?;
        self.remove(which, Remove::Deleted)
    }

    /// Removes messages, under the lock. Of the quota what has `\Deleted` was taken off when it got that; of others the
    /// caller says it.
    pub(super) fn remove(&mut self, which: &MsnSet, what: Remove) -> Result<Failures, StorageError> {
        let (mut batch, mut failures) = (Batch::begin(self), Failures::default());
        let removed = self.remove_files(which, what, &mut batch, &mut failures);
        batch.end(self)?;
        removed.map(|()| failures)
    }

    fn remove_files(
        &mut self,
        which: &MsnSet,
        what: Remove,
        batch: &mut Batch,
        failures: &mut Failures,
    ) -> Result<(), StorageError> {
        for msn in which.iter().cloned().flatten() {
            if msn == 0 || msn > self.len() {
                continue;
            }
            let row = self.view.row_of(msn);
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            let deleted = data.mail_flags.bits & Flags::DELETED != 0;
            if self.view.dead.contains(row) || (what == Remove::Deleted && !deleted) {
                continue;
            }
            if what != Remove::Moved {
                let message = self.message(row, &data)?;
                let removed = match what {
                    Remove::Deleted => self.maildir.remove_deleted(&message),
                    _ => self.maildir.remove(&message).map(Some),
                };
                match removed {
                    Ok(Some(_)) => {}
                    // It has no \Deleted any more, and whoever took it away did not know of us.
                    Ok(None) => continue,
                    Err(error) => {
                        failures.add(error);
                        continue;
                    }
                }
            }
            batch.entries.push(Entry::Expunged { uid: data.uid, modseq: batch.modseq });
            batch.flush_if_full(self, true)?;
        }
        Ok(())
    }

    /// What the directories are after this session changed them, if nobody else did before: then the log keeps
    /// describing them. They are young, so somebody will look at them once more.
    pub(super) fn stamps_now(&self) -> Result<Stamps, StorageError> {
        let (path, control) = (self.maildir.path(), self.maildir.control());
        let (new, cur) = (Stamp::at(&path.join("new"))?, Stamp::at(&path.join("cur"))?);
        Ok(Stamps {
            new,
            cur,
            uidlist: Stamp::at(&control.join(uidlist_file::NAME))?,
            keywords: self.keywords.stamp,
            made: new.mtime.max(cur.mtime),
            next_uid: self.view.next_uid(),
        })
    }
}

fn changed(before: Flags, wanted: Flags, how: How) -> Flags {
    let kept = before.bits & !Flags::ALL;
    match how {
        How::Replace => Flags { bits: kept | wanted.bits, ..wanted },
        How::Add => Flags { bits: before.bits | wanted.bits, keywords: before.keywords | wanted.keywords },
        How::Remove => {
            Flags { bits: before.bits & !wanted.bits, keywords: before.keywords & !wanted.keywords }
        }
    }
}

/// Changes on their way into the log.
pub(super) struct Batch {
    pub entries: Vec<Entry>,
    /// That of all of them (RFC 7162 section 3.1: one command may give one to all its messages).
    pub modseq: u64,
    silent: bool,
    any: bool,
}

impl Batch {
    pub fn begin(mailbox: &Mailbox) -> Batch {
        let modseq = mailbox.view.highest_modseq().saturating_add(1);
        Batch { entries: Vec::new(), modseq, silent: true, any: false }
    }

    pub fn flush_if_full(&mut self, mailbox: &mut Mailbox, silent: bool) -> Result<(), StorageError> {
        self.silent = silent;
        if self.entries.len() < BATCH { Ok(()) } else { self.flush(mailbox) }
    }

    fn flush(&mut self, mailbox: &mut Mailbox) -> Result<(), StorageError> {
        self.any |= !self.entries.is_empty();
        mailbox.append(&self.entries);
        let entries = std::mem::take(&mut self.entries);
        self.take(entries, mailbox)
    }

    fn take(&mut self, entries: Vec<Entry>, mailbox: &mut Mailbox) -> Result<(), StorageError> {
        for entry in entries {
            let silent = self.silent;
            let told = std::mem::take(&mut mailbox.untold.flags);
            mailbox.take(entry, true)?;
            let by_this = std::mem::replace(&mut mailbox.untold.flags, told);
            if !silent {
                by_this.as_slice().iter().for_each(|&row| mailbox.untold.flags.insert(row));
            }
        }
        Ok(())
    }

    /// Says the rest, and what the directories are now.
    pub fn end(mut self, mailbox: &mut Mailbox) -> Result<(), StorageError> {
        if self.entries.is_empty() && !self.any {
            return Ok(());
        }
        // Flags and removals leave the uidlist as it is. If it is another one now, somebody has given UIDs since it was read, and they
        // must not be given once more.
        let stamps = Stamps { uidlist: mailbox.stamps.uidlist, ..mailbox.stamps_now()? };
        self.entries.push(Entry::Stamps(stamps));
        let mut entries = std::mem::take(&mut self.entries);
        self.take(entries.clone(), mailbox)?;
        entries.extend(mailbox.summary().map(Entry::Summary));
        mailbox.append(&entries);
        Ok(())
    }
}

impl Mailbox {
    /// Says something in the log. What cannot be said the others find out from the directories.
    fn append(&mut self, entries: &[Entry]) {
        if self.in_file && self.log.append(entries).is_err() {
            self.in_file = false;
        }
    }

    /// Takes the last entries of a change into account, the stamps behind them, and says them and what they come to.
    pub(super) fn conclude(&mut self, mut entries: Vec<Entry>) -> Result<(), StorageError> {
        for entry in entries.clone() {
            self.take(entry, true)?;
        }
        entries.extend(self.summary().map(Entry::Summary));
        self.append(&entries);
        Ok(())
    }

    /// The state of now, for the end of the log: that of the view which the log belongs to.
    pub(super) fn summary(&self) -> io::Result<Summary> {
        match &self.fresh {
            Some(fresh) => fresh.summary(),
            None => self.view.summary(),
        }
    }

    /// The view that the log belongs to.
    pub(super) fn newest(&self) -> &View {
        self.fresh.as_ref().unwrap_or(&self.view)
    }
}

/// Whether the message was in `new` when that was written.
pub(super) fn place_of(in_new: bool) -> u16 {
    if in_new { index::IN_NEW } else { 0 }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
