//! Telling the client, in the order and at the moments that RFC 3501 allows, and writing a new index when the log has become
//! long.

use super::super::StorageError;
use super::super::snapshot::INDEX_NAME;
use super::super::temp_index::TempIndex;
use super::lock::IndexLock;
use super::{Event, Mailbox};
use crate::sys::fs as sys;

/// A log of so many octets is worth a new index once it is as long as a part of that.
const LOG_MAX: u64 = 64 * 1024;
/// So many dates, and a fourth of all, are worth a new index.
const LEARNED_MIN: usize = 64;
/// More of them than this are not kept in mind.
const LEARNED_MAX: usize = 1024;
/// The part: one sixteenth.
pub(super) const LOG_PART: u64 = 16;

impl Mailbox {
    /// Learns what others did and tells what the client has not been told yet, in the order in which it has to be told.
    /// Without `may_expunge` EXPUNGEs wait (RFC 3501 section 7.4.1).
    pub fn sync(&mut self, may_expunge: bool, report: &mut dyn FnMut(Event)) -> Result<(), StorageError> {
        self.tell(may_expunge, true, report)
    }

    /// The same without new messages, which wait for another time.
    pub fn sync_what_is_there(
        &mut self,
        may_expunge: bool,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), StorageError> {
        self.tell(may_expunge, false, report)
    }

    fn tell(
        &mut self,
        may_expunge: bool,
        new_messages: bool,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), StorageError> {
        self.directories = None;
        // The command is over: others may have use of what was kept, and the session has none for the memory.
        if let Some(cache) = &mut self.cache {
            cache.flush();
        }
        self.refresh()?;
        if new_messages {
            self.take_arrived()?;
        }
        if may_expunge && !self.view.is_unread() {
            self.view.bury().into_iter().for_each(|msn| report(Event::Expunge(msn)));
        }
        if new_messages {
            let grown = !self.view.is_unread() && self.view.announce();
            if grown {
                report(Event::Exists(self.view.len()));
            }
            if grown || std::mem::take(&mut self.untold.recent) {
                report(Event::Recent(self.recent()));
            }
        }
        if std::mem::take(&mut self.untold.keywords) {
            report(Event::Keywords);
        }
        for row in self.untold.flags.take() {
            self.view.msn_of(row).into_iter().for_each(|msn| report(Event::Flags(msn)));
        }
        for row in self.untold.modseqs.take() {
            self.view.msn_of(row).into_iter().for_each(|msn| report(Event::Modseq(msn)));
        }
        self.settle_view();
        self.trim_learned();
        Ok(())
    }

    /// Whether [`Mailbox::tidy`] would do something: to be called when the client has its answer.
    pub fn is_untidy(&self) -> bool {
        self.untaken.is_some() || self.wants_new_index()
    }

    /// Moves to `cur` what [`Mailbox::open`] has left in `new`, and writes a new index if the log has become long. A session
    /// that ends before that leaves both to the next.
    pub fn tidy(&mut self) {
        self.take_new();
        self.trim_learned();
        self.compact();
    }

    fn wants_new_index(&self) -> bool {
        self.in_file
            && (self.log_is_long() || self.has_learned_much())
            && self.fresh.is_none()
            && (self.view.is_unread() || self.view.dead.is_empty())
    }

    fn log_is_long(&self) -> bool {
        self.log.offset() > LOG_MAX && self.log.offset() > self.view.index().length() as u64 / LOG_PART
    }

    fn has_learned_much(&self) -> bool {
        let learned = if self.view.is_unread() { 0 } else { self.view.learned.len() };
        learned >= LEARNED_MIN && learned >= self.view.rows() as usize / 4
    }

    /// Dates of many messages are for a new index: whoever asks for them once asks again. Of few, some are kept in mind.
    fn trim_learned(&mut self) {
        if self.view.is_unread() {
            return;
        }
        self.view.learned.sort_unstable();
        self.view.learned.dedup_by_key(|&mut (row, _)| row);
        if !self.has_learned_much() {
            self.view.learned.truncate(LEARNED_MAX);
        }
    }

    /// Once everything has been told, the newer index replaces the one with the lists of changes.
    pub(super) fn settle_view(&mut self) {
        if self.view.is_unread() || !self.view.is_settled() {
            return;
        }
        if let Some(mut fresh) = self.fresh.take() {
            fresh.bury();
            fresh.announce();
            self.view = fresh.into();
        }
    }

    /// What was kept of messages that are gone takes room.
    fn tidy_cache(&mut self) {
        if !self.cache_file().is_some_and(|cache| cache.may_be_tidied()) {
            return;
        }
        let lives = |row: &u32| !self.view.is_gone(*row) && !self.view.dead.contains(*row);
        let uid = |row| self.view.row(row).map(|row| row.uid);
        let Ok(uids) = (0..self.view.rows()).filter(lives).map(uid).collect::<Result<Vec<u32>, _>>() else {
            return;
        };
        if let Some(cache) = &mut self.cache {
            cache.tidy(&uids);
        }
    }

    /// Writes a new index if the log has become long. Another session that is at it, or a full disk, is no matter.
    pub(super) fn compact(&mut self) {
        if !self.wants_new_index() {
            return;
        }
        let Ok(_lock) = IndexLock::take(self.index_directory(), std::time::Duration::ZERO) else { return };
        // Somebody may have appended just now: then another time.
        let offset = self.log.offset();
        if self.follow(false).is_err() || self.fresh.is_some() || self.log.offset() != offset {
            return;
        }
        let Some(temp) = TempIndex::begin(self.index_directory()) else { return };
        let path = self.index_directory().join(INDEX_NAME);
        let published =
            temp.publish_made(&path, self.stamps.made, |file| self.view.write(file, &self.stamps));
        if let Err(error) = published {
            temp.discard();
            // The next look makes it anew.
            let _ = self.damaged(error);
            return;
        }
        drop(temp);
        self.view.learned = Vec::new();
        self.tidy_cache();
        let _ = self.follow(false);
        self.settle_view();
        sys::release_free_memory();
    }
}
