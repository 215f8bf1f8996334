//! Moving messages from `new` to `cur`: many after the client has been answered, and some before it is told of them.
//!
//! Renaming takes longer than all else that a first look at a large mailbox does, and nothing in the answer depends on it: the
//! [first look](super::super::first_look) has said in the index where the messages will be. Until they are there, the index's
//! time stamps keep others from taking it for current.

use super::super::StorageError;
use super::super::first_look;
use super::super::flags::Flags;
use super::super::index::{self, Row};
use super::super::name;
use super::Mailbox;
use super::change::Batch;
use super::lock::IndexLock;
use super::log::{Entry, Stamps};
use super::runs::Runs;
use crate::sys::fs as sys;
use std::time::Duration;

impl Mailbox {
    /// Moves the recent messages from `new` to `cur`, if [`Mailbox::open`] has left them there. What goes wrong is found and
    /// mended by whoever looks at the directories next.
    pub(super) fn take_new(&mut self) {
        let Some(before) = self.untaken.take() else { return };
        let Ok(_lock) = IndexLock::take(self.index_directory(), Duration::ZERO) else { return };
        let offset = self.log.offset();
        let alone = self.follow(false).is_ok() && self.fresh.is_none() && self.log.offset() == offset;
        // Where somebody else was at work, time stamps of now would hide it.
        let mut settled = alone && first_look::stamps(&self.maildir).is_ok_and(|now| now == before);
        self.hold_directories();
        for uid in self.recent.iter() {
            settled &= self.take_one(uid);
        }
        self.directories = None;
        let stamps = first_look::stamps(&self.maildir).ok();
        let Some((new, cur)) = stamps.filter(|_| settled) else { return };
        let entries = vec![Entry::Stamps(Stamps {
            new,
            cur,
            uidlist: self.stamps.uidlist,
            keywords: self.keywords.stamp,
            // What others did meanwhile has the same time stamps: they are doubtful until they have come of age.
            made: self.stamps.made.min(cur.mtime),
            next_uid: self.view.next_uid(),
        })];
        let _ = self.conclude(entries);
        sys::release_free_memory();
    }

    /// The client is about to be told of messages that came with their flags: if no session has told its client of them, they
    /// are recent here.
    pub(super) fn take_untold(&mut self) -> Result<(), StorageError> {
        if self.options.read_only || self.view.tally().untold == 0 {
            return Ok(());
        }
        self.arrived = Runs::default();
        for row in 0..self.view.rows() {
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            if data.flags & index::UNTOLD != 0 {
                self.arrived.insert(data.uid);
            }
        }
        self.take_arrived()
    }

    /// The client is about to be told of fresh messages that another session has given UIDs: one that it has put there, or
    /// that it found and may not move. If no session has told its client of them they are recent here (RFC 3501 section 2.3.2),
    /// and move like all of which a client has been told.
    pub(super) fn take_arrived(&mut self) -> Result<(), StorageError> {
        if self.arrived.is_empty() {
            return Ok(());
        }
        let lock = match self.lock() {
            Ok(Some(lock)) => lock,
            // Where it is not to be had, it may be the next time.
            Err(_) => return Ok(()),
            Ok(None) => {
                self.arrived = Runs::default();
                return Ok(());
            }
        };
        self.refresh_locked(Some(&lock))?;
        self.hold_directories();
        let (mut batch, mut untold) = (Batch::begin(self), Runs::default());
        for uid in std::mem::take(&mut self.arrived).iter() {
            let row = self.view.find(uid).map_err(|error| self.damaged(error))?;
            let Some(row) = row.filter(|&row| !self.view.is_gone(row) && !self.view.dead.contains(row))
            else {
                continue;
            };
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            // Another session may have told its client meanwhile.
            if data.flags & index::UNTOLD != 0 {
                untold.insert(uid);
            } else if data.flags & index::IN_NEW != 0 && self.take_one(uid) {
                let (modseq, flags) = (data.modseq, data.mail_flags);
                batch.entries.push(Entry::Flags { uid, modseq, flags, place: index::RECENT });
                batch.flush_if_full(self, true)?;
            }
        }
        if !untold.is_empty() {
            batch.entries.push(Entry::Told { uid: self.view.next_uid.saturating_sub(1) });
            self.untold.recent = true;
            untold.iter().for_each(|uid| self.recent.insert(uid));
        }
        self.directories = None;
        batch.end(self)
    }

    /// `false`: it is not where it was, or cannot be moved.
    fn take_one(&self, uid: u32) -> bool {
        let read = || -> std::io::Result<Option<(Row, Vec<u8>)>> {
            let Some(row) = self.view.find(uid)? else { return Ok(None) };
            let (data, mut name) = (self.view.row(row)?, Vec::new());
            self.view.name(row, &data, &mut name)?;
            Ok(Some((data, name)))
        };
        let (Ok(Some((data, name))), Some(directories)) = (read(), &self.directories) else { return false };
        // In `new` a file has no flags, as a rule.
        let plain = data.mail_flags == Flags::default() && directories.take_as(name::base(&name), &name);
        plain || directories.take_as(&name, &name)
    }
}

#[cfg(test)]
#[path = "take_tests.rs"]
mod tests;
