//! A session's unchanging view of a mailbox.
//!
//! Opening it costs a few system calls when the index on disk still describes the directories; else the mailbox is
//! read anew and the index replaced, by a child process if it is large enough for an index file. Either way the session
//! then holds two small windows on the index and nothing else, however many messages there are.
//!
//! What a POP3 session that asks for sizes writes, beside what its client deletes or marks (flash wears, disks wake up):
//! - nothing changed: nothing;
//! - new mail: the uidlist's lock, lines appended to the uidlist, one index. The first time in a mailbox, or when a great
//!   many messages have to be counted: the uidlist and the index once more, now with octets;
//! - messages deleted or marked by the session before, or by another program: one index;
//! - a session within two seconds of the change that the index shows: the one after it looks at the directories again and
//!   then only changes the index's time (the name of an empty temporary file comes and goes with that).
//!
//! Mailboxes with fewer than [`Options::index_from`] messages get no index here, nor does any with `INDEX=MEMORY`: only their
//! uidlist is written.

use super::build::{self, Built, RACY_NANOSECONDS};
use super::child::{self, Outcome};
use super::error::{ErrorKind, StorageError};
use super::index::{self, Index, Source};
use super::mailbox::lock::{self, IndexLock};
use super::mailbox::refresh::Loaded;
use super::options::Options;
use super::temp_index::TempIndex;
use super::uidlist_file::{self, Stamp};
use super::{Maildir, scan};
use crate::sys::fs as sys;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for IMAP sessions.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The index's name in the index directory.
pub const INDEX_NAME: &str = "tinmail-index";

/// One message of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// UID.
    pub uid: u32,
    /// Size on the wire, with CRLF line ends; `None` if nobody counted yet.
    pub octets: Option<u64>,
    /// The file was gone or unreadable when its octets were to be counted, or its size is not to be relied on.
    pub vanished: bool,
    /// In `new`, not in `cur`, when the snapshot was taken.
    pub in_new: bool,
    /// File name with flags, when the snapshot was taken.
    pub name: Vec<u8>,
    /// The POP3 unique-id, where it is not what the configured format gives.
    pub unique_id: Option<Vec<u8>>,
    /// The GUID, where it is not the base name.
    pub guid: Option<Vec<u8>>,
}

impl Message {
    /// The part of the file name that identifies the message.
    pub fn base(&self) -> &[u8] {
        super::name::base(&self.name)
    }
}

impl From<&Source<'_>> for Message {
    fn from(message: &Source<'_>) -> Message {
        Message {
            uid: message.uid,
            octets: known(message.octets),
            vanished: message.flags & index::VANISHED != 0,
            in_new: message.flags & index::IN_NEW != 0,
            name: message.name.to_vec(),
            unique_id: message.unique_id.map(<[u8]>::to_vec),
            guid: message.guid.map(<[u8]>::to_vec),
        }
    }
}

/// The view. It stays as it is while the mailbox changes.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) index: Index,
    pub(super) path: PathBuf,
    incomplete: Option<StorageError>,
}

impl Snapshot {
    /// Opens the mailbox. New messages get their UIDs now.
    ///
    /// Errors: the directories or the uidlist cannot be read. That nothing can be written is no error: see
    /// [`Snapshot::incomplete`].
    pub fn open(maildir: &Maildir, options: &Options<'_>) -> Result<Snapshot, StorageError> {
        // Where the index stays in memory, the path is only for messages.
        let path = maildir.index().unwrap_or(maildir.path()).join(INDEX_NAME);
        let old = maildir.index().and_then(|_| open_index(&path));
        match old {
            Some(index) if is_current(&index, maildir)? => {
                let mut snapshot = Snapshot { index, path, incomplete: None };
                if options.count_octets {
                    snapshot.ensure_sizes(maildir, options)?;
                }
                Ok(snapshot)
            }
            old => Snapshot::rebuild(maildir, options, path, old),
        }
    }

    fn rebuild(
        maildir: &Maildir,
        options: &Options<'_>,
        path: PathBuf,
        mut old: Option<Index>,
    ) -> Result<Snapshot, StorageError> {
        let had_lock = maildir.index().is_some_and(lock::is_there);
        let mut options = Options { had_lock, ..*options };
        let large = old.is_some() || scan::holds_at_least(maildir.path(), options.index_from);
        // An IMAP session may be changing it. Who cannot have the lock does without the file.
        let lock = maildir.index().filter(|_| large);
        let lock = lock.and_then(|index| IndexLock::take(index, LOCK_PATIENCE).ok());
        if let Some(loaded) = lock.as_ref().and_then(|_| Loaded::read(maildir)) {
            if !loaded.log.is_empty() {
                old = loaded.merged().ok().flatten();
            }
        }
        // Before the directories are read, so that its time stamp tells when that began.
        let temp = lock.as_ref().and(maildir.index()).and_then(TempIndex::begin);
        if let Some(temp) = temp {
            let outcome = child::run(|| build_into(&temp, maildir, &options, old.as_ref(), &path));
            let index = match outcome {
                Outcome::Written => temp.into_index(),
                Outcome::Unchanged => old.take(),
                Outcome::Locked | Outcome::Damaged | Outcome::Failed => {
                    temp.discard();
                    None
                }
            };
            if let Some(index) = index {
                drop(old);
                sys::release_free_memory();
                return Ok(Snapshot { index, path, incomplete: None });
            }
            if outcome == Outcome::Locked {
                // That has been waited for.
                options.lock_timeout = Duration::ZERO;
            }
        }
        let mut built = build::build(maildir, &options, old.as_ref());
        // An old index that cannot be read tells nothing, and is in the way of a new one.
        if old.is_some() && built.as_ref().is_err_and(|error| error.kind == ErrorKind::Corrupt) {
            let _ = fs::remove_file(&path);
            built = build::build(maildir, &options, None);
        }
        let built = built?;
        let index = in_memory(&built, &path)?;
        let incomplete = built.incomplete.as_ref().map(|error| error.duplicate());
        drop(built);
        sys::release_free_memory();
        Ok(Snapshot { index, path, incomplete })
    }

    /// Messages.
    pub fn len(&self) -> u32 {
        self.index.header.count
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// UIDVALIDITY of the UIDs.
    pub fn uid_validity(&self) -> u32 {
        self.index.header.uid_validity
    }

    /// The UID the next message will get, or a greater one.
    pub fn next_uid(&self) -> u32 {
        self.index.header.next_uid
    }

    /// Sum of the octets of all messages whose octets are known.
    pub fn total_octets(&self) -> u64 {
        self.index.header.total_octets
    }

    /// How many messages' octets are not known.
    pub fn unknown_octets(&self) -> u32 {
        self.index.header.unknown
    }

    /// Why messages are hidden: their UIDs could not be recorded. To be logged; the session goes on.
    pub fn incomplete(&self) -> Option<&StorageError> {
        self.incomplete.as_ref()
    }

    /// Message `i`, counted from 0 in POP3 order.
    ///
    /// Errors: `NotFound` if there is no such message; `Corrupt` if the index was damaged under the session (it is
    /// removed, so that the next session builds it anew).
    pub fn get(&self, i: u32) -> Result<Message, StorageError> {
        let mut space = Vec::new();
        self.read(i, &mut space, |message| Message::from(message))
    }

    /// UID and octets of message `i`: what a listing of sizes needs, without touching the names.
    pub fn uid_and_octets(&self, i: u32) -> Result<(u32, Option<u64>), StorageError> {
        let row = self.index.at_place(i).and_then(|row| self.index.row(row));
        let row = row.map_err(|error| self.damaged(error))?;
        Ok((row.uid, known(row.octets)))
    }

    /// Goes through the messages from `first` on, in order. `visit` gets the message's place and data; it returns
    /// whether to go on.
    pub fn for_each(
        &self,
        first: u32,
        mut visit: impl FnMut(u32, &Source<'_>) -> bool,
    ) -> Result<(), StorageError> {
        let mut space = Vec::new();
        for i in first..self.len() {
            if !self.read(i, &mut space, |message| visit(i, message))? {
                break;
            }
        }
        Ok(())
    }

    fn read<T>(
        &self,
        i: u32,
        space: &mut Vec<u8>,
        use_it: impl FnOnce(&Source<'_>) -> T,
    ) -> Result<T, StorageError> {
        let row = self.index.at_place(i).and_then(|row| self.index.row(row));
        let row = row.map_err(|error| self.damaged(error))?;
        let message = self.index.parts(&row, space).map_err(|error| self.damaged(error))?;
        Ok(use_it(&message))
    }

    pub(super) fn damaged(&self, error: io::Error) -> StorageError {
        if error.kind() == io::ErrorKind::InvalidInput {
            return StorageError::with_kind(ErrorKind::NotFound, "read", &self.path, "no such message");
        }
        let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        if damaged && self.index.file().is_some() {
            let _ = fs::remove_file(&self.path);
        }
        StorageError::new("read", &self.path, error)
    }
}

fn known(octets: u64) -> Option<u64> {
    (octets != index::UNKNOWN).then_some(octets)
}

pub(super) fn open_index(path: &Path) -> Option<Index> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(sys::NO_FOLLOW | sys::NO_WAIT);
    let file = options.clone().write(true).open(path).or_else(|_| options.open(path)).ok()?;
    if file.metadata().ok()?.is_file() { Index::open(file) } else { None }
}

/// Whether the mailbox still is what the index describes: nothing has another time stamp, and the directories'
/// stamps are old enough, seen from when the index was made, that no later change can have the same.
fn is_current(index: &Index, maildir: &Maildir) -> Result<bool, StorageError> {
    let header = &index.header;
    let made = index.file().and_then(|file| file.metadata().ok()).map_or(0, |meta| Stamp::of(&meta).mtime);
    Ok(made.saturating_sub(header.new.mtime.max(header.cur.mtime)) >= RACY_NANOSECONDS
        && header.new == Stamp::at(&maildir.path().join("new"))?
        && header.cur == Stamp::at(&maildir.path().join("cur"))?
        && header.uidlist == Stamp::at(&maildir.control().join(uidlist_file::NAME))?)
}

/// Reads the mailbox and writes its index.
fn build_into(
    temp: &TempIndex,
    maildir: &Maildir,
    options: &Options<'_>,
    old: Option<&Index>,
    path: &Path,
) -> Outcome {
    // Whatever fails here, the parent tries in memory, and says what is wrong if that fails too.
    let Ok(built) = build::build(maildir, options, old) else { return Outcome::Failed };
    match &built.incomplete {
        Some(error) if error.kind == ErrorKind::InUse => return Outcome::Locked,
        Some(_) => return Outcome::Failed,
        None => {}
    }
    if let Some(old) = old.filter(|old| says_the_same(old, &built)) {
        temp.settle(old);
        return Outcome::Unchanged;
    }
    match temp.publish(path, |file| write_built(file, &built)) {
        Ok(()) => Outcome::Written,
        Err(_) => Outcome::Failed,
    }
}

/// Whether the old index, though not to be trusted yet, turned out to be right in everything.
fn says_the_same(old: &Index, built: &Built) -> bool {
    let header = built.header();
    let same_header = old.header.uid_validity == header.uid_validity
        && old.header.next_uid == header.next_uid
        && (old.header.new, old.header.cur, old.header.uidlist) == (header.new, header.cur, header.uidlist)
        && old.header.highest_modseq == header.highest_modseq
        && old.header.count as usize == built.len();
    let (mut space, mut i) = (Vec::new(), 0);
    // The first difference ends it, as an error does.
    same_header
        && built
            .messages(&mut |new| {
                let row = old.row(i)?;
                i += 1;
                let mut before = old.parts(&row, &mut space)?;
                // Whose recent messages these were matters to nobody else.
                before.flags &= !index::RECENT;
                let same = before == *new;
                if same { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
            })
            .is_ok()
}

pub(super) fn write_built(out: impl io::Write, built: &Built) -> io::Result<()> {
    index::write(out, built.header(), &built.extras, |visit| built.messages(visit))
}

fn in_memory(built: &Built, path: &Path) -> Result<Index, StorageError> {
    let mut bytes = Vec::new();
    write_built(&mut bytes, built).map_err(StorageError::at("write", path))?;
    bytes.shrink_to_fit();
    Index::in_memory(bytes)
        .ok_or_else(|| StorageError::with_kind(ErrorKind::Corrupt, "write", path, "the mailbox is too large"))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
