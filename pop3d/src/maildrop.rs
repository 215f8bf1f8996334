//! The maildrop of one session: the messages as they were at login, and the marks the client makes on them.
//!
//! Nothing here changes the store. What can is handed out for a [`Quit`], which only the client's QUIT makes (RFC 1939
//! section 6): deleting in another state does not compile.

use crate::command::{MessageNumber, Quit};
use crate::locks::Locks;
use common::maildir::{ErrorKind, FileName, Maildir, Message, MessageRef, Options, Snapshot, StorageError};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// Unreadable messages that the log names in one session at most.
const UNREADABLE_LOGGED: usize = 10;

/// A set of messages, one bit each, with no memory until the first is put in.
#[derive(Default)]
pub struct Marks {
    words: Vec<u64>,
    count: u32,
}

impl Marks {
    /// Puts one in. `false`: it was there already.
    pub fn insert(&mut self, index: u32, len: u32) -> bool {
        if self.words.is_empty() {
            self.words = vec![0; (len as usize).div_ceil(64)];
        }
        let Some(word) = self.words.get_mut(index as usize / 64) else { return false };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(new);
        new
    }

    /// Whether it is in.
    pub fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// How many are in.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes all out and gives the memory back.
    pub fn clear(&mut self) {
        *self = Marks::default();
    }
}

/// The messages and what the client has said about them.
pub struct Maildrop {
    /// Where they are: for nobody who could change them, see [`Maildrop::store`].
    maildir: Maildir,
    /// How they were at login.
    pub snapshot: Snapshot,
    /// Marked by DELE.
    pub deleted: Marks,
    /// Sent by RETR.
    pub retrieved: Marks,
    /// Messages whose unique-id would be another's too, once somebody has asked for one that can be.
    pub renamed: Option<Marks>,
    fsync: bool,
    /// What the session holds.
    pub locks: Rc<Locks>,
    last: u32,
    /// Whether somebody has looked for messages that cannot be read.
    looked: bool,
}

/// Why a message-number does not lead to a message.
pub enum NoMessage {
    /// There is no such number.
    OutOfRange,
    /// It is marked for deletion.
    Deleted,
    /// The store failed.
    Storage(StorageError),
}

impl From<StorageError> for NoMessage {
    fn from(error: StorageError) -> NoMessage {
        NoMessage::Storage(error)
    }
}

impl Maildrop {
    /// A maildrop without any marks.
    pub fn new(maildir: Maildir, snapshot: Snapshot, fsync: bool, locks: Rc<Locks>) -> Maildrop {
        Maildrop {
            maildir,
            snapshot,
            fsync,
            locks,
            deleted: Marks::default(),
            retrieved: Marks::default(),
            renamed: None,
            last: 0,
            looked: false,
        }
    }

    /// The store, in which messages can be removed.
    pub fn store(&self, _: &Quit) -> &Maildir {
        &self.maildir
    }

    /// Opens a message for reading, wherever it is by now.
    pub fn open_message(&self, message: &Message) -> Result<(File, FileName), StorageError> {
        self.maildir.open_message(message)
    }

    /// The directory, for the log.
    pub fn path(&self) -> &Path {
        self.maildir.path()
    }

    /// The message of this number, unless it is marked for deletion.
    pub fn message(&self, number: MessageNumber) -> Result<Message, NoMessage> {
        if number.index() >= self.snapshot.len() {
            return Err(NoMessage::OutOfRange);
        }
        if self.deleted.contains(number.index()) {
            return Err(NoMessage::Deleted);
        }
        Ok(self.snapshot.get(number.index())?)
    }

    /// How many messages are not marked, and their octets together.
    pub fn stat(&mut self) -> Result<(u32, u64), StorageError> {
        self.count_octets()?;
        let octets = self.snapshot.total_octets().saturating_sub(self.deleted_octets());
        Ok((self.snapshot.len() - self.deleted.count(), octets))
    }

    /// Makes the octets of every message known: those that nobody has counted yet are counted now.
    pub fn count_octets(&mut self) -> Result<(), StorageError> {
        let keep = || self.locks.keep();
        let options = Options {
            fsync: self.fsync,
            held_lock: self.locks.uidlist.as_ref(),
            keep: Some(&keep),
            ..Options::default()
        };
        self.snapshot.ensure_sizes(&self.maildir, &options)
    }

    /// Once in a session, after the octets are known: why messages, some of them at least, are shown with 0 octets though
    /// they are still there. For the log.
    pub fn unreadable(&mut self) -> Vec<StorageError> {
        if self.looked || self.snapshot.unknown_octets() > 0 {
            return Vec::new();
        }
        self.looked = true;
        let mut suspects = Vec::new();
        let _ = self.snapshot.for_each(0, |_, message| {
            if message.octets == 0 {
                suspects.push(Message::from(message));
                suspects.retain(|message| message.vanished);
            }
            suspects.len() < UNREADABLE_LOGGED
        });
        let open = |message: &Message| match crate::retrieve::open(self, message) {
            Err(error) => Some(error),
            Ok(file) => file.metadata().is_ok_and(|meta| meta.len() > 0).then(|| {
                let path = self.path().join(std::ffi::OsStr::from_bytes(&message.name));
                StorageError::with_kind(ErrorKind::Temp, "count", path, "too large to be counted in time")
            }),
        };
        suspects.iter().filter_map(open).filter(|error| error.kind != ErrorKind::NotFound).collect()
    }

    /// Calls `visit` for each message that is not marked, in order, until it fails.
    pub fn visit<E: From<StorageError>>(
        &self,
        mut visit: impl FnMut(MessageNumber, &MessageRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.snapshot.for_each(0, |index, message| match MessageNumber::from_index(index) {
            Some(number) if !self.deleted.contains(index) => {
                failed = visit(number, message).err();
                failed.is_none()
            }
            _ => true,
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Message-numbers and octets of all messages that are not marked: what LIST shows.
    pub fn visit_octets<E: From<StorageError>>(
        &self,
        mut visit: impl FnMut(MessageNumber, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in (0..self.snapshot.len()).filter(|&index| !self.deleted.contains(index)) {
            let (_, octets) = self.snapshot.uid_and_octets(index)?;
            if let Some(number) = MessageNumber::from_index(index) {
                visit(number, octets.unwrap_or(0))?;
            }
        }
        Ok(())
    }

    /// DELE.
    pub fn delete(&mut self, number: MessageNumber) -> Result<(), NoMessage> {
        self.message(number)?;
        self.deleted.insert(number.index(), self.snapshot.len());
        self.last = self.last.max(number.get());
        Ok(())
    }

    /// A message has been sent whole.
    pub fn was_retrieved(&mut self, number: MessageNumber) {
        self.retrieved.insert(number.index(), self.snapshot.len());
        self.last = self.last.max(number.get());
    }

    /// RSET: RFC 1939 unmarks the deleted; RFC 1460 also forgets the last one accessed.
    pub fn reset(&mut self) {
        self.deleted.clear();
        self.last = 0;
    }

    /// LAST: the highest message-number accessed, 0 when none was.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Octets of all messages marked, as far as they are known: deleting takes no counting.
    pub fn deleted_octets(&self) -> u64 {
        if self.deleted.count() == 0 {
            return 0;
        }
        let marked = (0..self.snapshot.len()).filter(|&index| self.deleted.contains(index));
        let octets = marked.filter_map(|index| self.snapshot.uid_and_octets(index).ok()?.1);
        octets.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let mut marks = Marks::default();
        assert!(!marks.contains(0));
        assert!(marks.insert(0, 130));
        assert!(marks.insert(129, 130));
        assert!(!marks.insert(129, 130));
        assert!(!marks.insert(100_000, 130), "beyond the end is ignored");
        assert!(marks.contains(0) && marks.contains(129) && !marks.contains(64) && !marks.contains(100_000));
        assert_eq!(marks.count(), 2);
        marks.clear();
        assert!(!marks.contains(0) && marks.count() == 0);
    }
}
