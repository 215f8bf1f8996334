//! An index that cannot be read: it only repeats what is said elsewhere, so it is taken away and made anew.
//!
//! A session that has told its client of messages whose rows are lost goes on if it can be sure which they were: UIDs ascend, and
//! no message comes to stand between two others, so where there still are as many between two known ones they are the same.

use super::super::error::{ErrorKind, StorageError};
use super::super::{INDEX_NAME, Maildir};
use super::log::Stamps;
use super::{Mailbox, OpenOptions, courier_keywords};
use std::fs;
use std::io;

impl Mailbox {
    /// Opens it. New messages get their UIDs; unless it is read-only they move to `cur` and are recent here.
    ///
    /// Errors: the directories cannot be read; `InUse`.
    pub fn open(maildir: &Maildir, options: &OpenOptions) -> Result<Mailbox, StorageError> {
        if !options.read_only {
            courier_keywords::take_over(maildir, options)?;
        }
        let is_damage = |error: &StorageError| {
            error.kind == ErrorKind::Corrupt && error.path.file_name().is_some_and(|name| name == INDEX_NAME)
        };
        // Nobody has been told of the messages before, so they may as well be others.
        let is_replaced =
            |error: &StorageError| error.kind == ErrorKind::NotFound && error.path == maildir.path();
        let mut opened = Mailbox::load_and_look(maildir, options);
        // It has been taken away; where that cannot be done it is left alone.
        for index in [maildir.index(), None] {
            let Err(error) = &opened else { break };
            let is_damage = is_damage(error);
            if !is_damage && !is_replaced(error) {
                break;
            }
            let maildir = Maildir { index: index.map(ToOwned::to_owned), ..maildir.clone() };
            opened = Mailbox::load_and_look(&maildir, options);
            opened.iter_mut().for_each(|mailbox| mailbox.gave_up_index = is_damage);
        }
        opened
    }

    fn load_and_look(maildir: &Maildir, options: &OpenOptions) -> Result<Mailbox, StorageError> {
        let mut mailbox = Mailbox::load(maildir, options)?;
        mailbox.refresh_first()?;
        mailbox.keeps_modseq = mailbox.in_file;
        Ok(mailbox)
    }

    /// What the log has to be told, once, where the index was damaged and is made anew.
    pub fn mended(&mut self) -> Option<StorageError> {
        let path = self.maildir.path().join(INDEX_NAME);
        let path = self.maildir.index().map_or(path, |directory| directory.join(INDEX_NAME));
        std::mem::take(&mut self.gave_up_index).then(|| {
            StorageError::with_kind(ErrorKind::Corrupt, "read", path, "it was damaged, and is made anew")
        })
    }

    /// An index that cannot be read is taken away, so that a new one is made; not if that has happened.
    pub(super) fn damaged(&self, error: io::Error) -> StorageError {
        let path = self.index_directory().join(INDEX_NAME);
        if is_damage(&error) {
            // With a newer one in place the damage is in one that has gone already.
            if self.fresh.is_none() && self.has_index_in_place() {
                let _ = fs::remove_file(&path);
            }
            self.is_damaged.set(true);
        }
        StorageError::new("read", path, error)
    }

    /// The same of one that somebody else has just put in its place.
    pub(super) fn damaged_anew(&self, error: io::Error) -> StorageError {
        let path = self.index_directory().join(INDEX_NAME);
        if is_damage(&error) {
            let _ = fs::remove_file(&path);
            self.is_damaged.set(true);
        }
        StorageError::new("read", path, error)
    }

    /// Does `refresh`, and once more without the index where that turns out to be damaged, or has been found so since the last
    /// time.
    pub(super) fn with_mending(
        &mut self,
        refresh: impl Fn(&mut Mailbox) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.give_up_index();
        let refreshed = refresh(self);
        if self.give_up_index() { refresh(self) } else { refreshed }
    }

    /// If it is damaged: whether it was.
    fn give_up_index(&mut self) -> bool {
        if !self.is_damaged.take() {
            return false;
        }
        self.gave_up_index = true;
        // Where it cannot be removed the session has its own.
        self.in_file &= !self.has_index_in_place();
        self.stamps = Stamps::default();
        true
    }
}

/// Whether that is what reading a damaged file comes to.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
#[path = "mend_tests.rs"]
mod tests;
