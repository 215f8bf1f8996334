//! A session's unchanging view of a mailbox.
//!
//! Opening it costs a few system calls when the index on disk still describes the directories; else the mailbox is
//! read anew and the index replaced. Either way the session then holds two small windows on the index and nothing
//! else, however many messages there are.

use super::build::{self, Built, Options, RACY_NANOSECONDS};
use super::error::{ErrorKind, StorageError};
use super::index::{self, Index, Source};
use super::uidlist_file::{self, Stamp};
use super::{Maildir, octets};
use crate::sys::fs as sys;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The index's name in the index directory.
pub const INDEX_NAME: &str = "tinmail-index";
const TEMP_NAME: &str = "tinmail-index.tmp";
/// Two directories that together are larger than this probably hold enough messages for an index file.
const LARGE_DIRECTORIES: u64 = 8192;

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
    index: Index,
    path: PathBuf,
    incomplete: Option<StorageError>,
}

impl Snapshot {
    /// Opens the mailbox. New messages get their UIDs now.
    ///
    /// Errors: the directories or the uidlist cannot be read. That nothing can be written is no error: see
    /// [`Snapshot::incomplete`].
    pub fn open(maildir: &Maildir, options: &Options<'_>) -> Result<Snapshot, StorageError> {
        let path = maildir.index().join(INDEX_NAME);
        let old = open_index(&path);
        if let Some(index) = old {
            if is_current(&index, maildir)? && (index.header.unknown == 0 || !options.count_octets) {
                return Ok(Snapshot { index, path, incomplete: None });
            }
            return Snapshot::rebuild(maildir, options, path, Some(index));
        }
        Snapshot::rebuild(maildir, options, path, None)
    }

    fn rebuild(
        maildir: &Maildir,
        options: &Options<'_>,
        path: PathBuf,
        old: Option<Index>,
    ) -> Result<Snapshot, StorageError> {
        // Before the directories are read, so that its time stamp tells when that began.
        let mut temp =
            if old.is_some() || is_large(maildir) { TempIndex::begin(maildir.index()) } else { None };
        let built = match build::build(maildir, options, old.as_ref()) {
            Ok(built) => built,
            Err(error) => {
                TempIndex::discard(temp);
                return Err(error);
            }
        };
        let in_file = built.incomplete.is_none() && built.len() >= options.index_from as usize;
        let mut index = None;
        if in_file {
            if temp.is_none() {
                // Too late to be trusted without another look: the next session takes it.
                temp = TempIndex::begin(maildir.index()).map(|temp| TempIndex { began: 0, ..temp });
            }
            index = match (old, temp) {
                (Some(old), Some(temp)) if says_the_same(&old, &built) => Some(temp.settle(old)),
                (_, Some(temp)) => temp.finish(&path, &built).ok(),
                (_, None) => None,
            };
        } else {
            TempIndex::discard(temp);
            if old.is_some() && built.incomplete.is_none() {
                let _ = fs::remove_file(&path);
            }
        }
        let index = match index {
            Some(index) => index,
            None => in_memory(&built, &path)?,
        };
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
        let row = self.index.row(i).map_err(|error| self.damaged(error))?;
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

    /// Counts the octets of all messages whose octets are unknown, and records them in the uidlist and the index as
    /// far as these can be written. A message that is gone has 0 octets from then on and is marked.
    pub fn ensure_sizes(&mut self, maildir: &Maildir, options: &Options<'_>) -> Result<(), StorageError> {
        if self.index.header.unknown == 0 {
            return Ok(());
        }
        let (mut counted, mut rows) = (Vec::new(), Vec::with_capacity(self.len() as usize));
        let mut buffer = vec![0u8; octets::BUFFER];
        for i in 0..self.len() {
            let mut message = self.get(i)?;
            if message.octets.is_none() {
                match maildir.open_message(&message) {
                    Ok((file, _)) => {
                        let size = octets::count(&file, &mut buffer)
                            .map_err(StorageError::at("read", maildir.path()))?;
                        counted.push((message.uid, size));
                        message.octets = Some(size);
                    }
                    Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::NoPerm) => {
                        (message.octets, message.vanished) = (Some(0), true);
                    }
                    Err(error) => return Err(error),
                }
            }
            rows.push(message);
        }
        let mut bytes = Vec::new();
        index::write(&mut bytes, self.index.header, || rows.iter().map(source_of))
            .map_err(|e| self.damaged(e))?;
        let damaged = || StorageError::with_kind(ErrorKind::Corrupt, "read", &self.path, "not an index");
        let new = Index::in_memory(bytes).ok_or_else(damaged)?;
        self.index = new;
        drop((rows, buffer));
        let _ = record_octets(maildir, options, &counted);
        sys::release_free_memory();
        Ok(())
    }

    fn read<T>(
        &self,
        i: u32,
        space: &mut Vec<u8>,
        use_it: impl FnOnce(&Source<'_>) -> T,
    ) -> Result<T, StorageError> {
        let row = self.index.row(i).map_err(|error| self.damaged(error))?;
        let message = self.index.parts(&row, space).map_err(|error| self.damaged(error))?;
        Ok(use_it(&message))
    }

    fn damaged(&self, error: io::Error) -> StorageError {
        if error.kind() == io::ErrorKind::InvalidInput {
            return StorageError::with_kind(ErrorKind::NotFound, "read", &self.path, "no such message");
        }
        if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
            let _ = fs::remove_file(&self.path);
        }
        StorageError::new("read", &self.path, error)
    }
}

fn known(octets: u64) -> Option<u64> {
    (octets != index::UNKNOWN).then_some(octets)
}

fn source_of(message: &Message) -> Source<'_> {
    let in_new = if message.in_new { index::IN_NEW } else { 0 };
    Source {
        uid: message.uid,
        octets: message.octets.unwrap_or(index::UNKNOWN),
        flags: in_new | if message.vanished { index::VANISHED } else { 0 },
        name: &message.name,
        unique_id: message.unique_id.as_deref(),
        guid: message.guid.as_deref(),
    }
}

/// Writes `W` fields for the messages with these UIDs, under the uidlist's lock.
fn record_octets(
    maildir: &Maildir,
    options: &Options<'_>,
    counted: &[(u32, u64)],
) -> Result<(), StorageError> {
    let lock = uidlist_file::lock(maildir.control(), options.lock_timeout)?;
    let Some(mut list) = uidlist_file::read(maildir.control())?.list else { return Ok(()) };
    let mut sorted = counted.to_vec();
    sorted.sort_unstable();
    for i in 0..list.len() {
        let found = sorted.binary_search_by_key(&list.uid(i), |&(uid, _)| uid);
        if let Some(&(_, octets)) = found.ok().and_then(|at| sorted.get(at)) {
            list.set_field(i, b'W', octets.to_string().as_bytes());
        }
    }
    uidlist_file::rewrite(maildir.control(), &list, &lock, options.fsync).map(drop)
}

fn open_index(path: &Path) -> Option<Index> {
    let open = |write| OpenOptions::new().read(true).write(write).custom_flags(libc::O_NOFOLLOW).open(path);
    Index::open(open(true).or_else(|_| open(false)).ok()?)
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

fn is_large(maildir: &Maildir) -> bool {
    let size = |name| fs::metadata(maildir.path().join(name)).map_or(0, |meta| meta.len());
    size("new").saturating_add(size("cur")) > LARGE_DIRECTORIES
}

/// Whether the old index, though not to be trusted yet, turned out to be right in everything.
fn says_the_same(old: &Index, built: &Built) -> bool {
    let header = built.header();
    let same_header = old.header.uid_validity == header.uid_validity
        && old.header.next_uid == header.next_uid
        && (old.header.new, old.header.cur, old.header.uidlist) == (header.new, header.cur, header.uidlist)
        && old.header.count as usize == built.len();
    let mut space = Vec::new();
    same_header
        && (0u32..).zip(built.messages()).all(|(i, new)| {
            let Ok(row) = old.row(i) else { return false };
            old.parts(&row, &mut space).is_ok_and(|old| old == new)
        })
}

fn in_memory(built: &Built, path: &Path) -> Result<Index, StorageError> {
    let mut bytes = Vec::new();
    index::write(&mut bytes, built.header(), || built.messages()).map_err(StorageError::at("write", path))?;
    bytes.shrink_to_fit();
    Index::in_memory(bytes)
        .ok_or_else(|| StorageError::with_kind(ErrorKind::Corrupt, "write", path, "the mailbox is too large"))
}

/// An index being written. The file is locked (flock), so that two sessions do not write one; whoever comes second
/// does without.
struct TempIndex {
    file: File,
    path: PathBuf,
    /// When it was begun, by the file system's clock: nanoseconds since 1970.
    began: i64,
}

impl TempIndex {
    fn begin(directory: &Path) -> Option<TempIndex> {
        let path = directory.join(TEMP_NAME);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = open.open(&path).ok()?;
        if !sys::try_flock(&file).ok()? {
            return None;
        }
        // The writer before us may have renamed the file away between our open and our lock.
        if Stamp::at(&path).ok()?.ino != Stamp::of(&file.metadata().ok()?).ino {
            return None;
        }
        file.set_len(0).ok()?;
        sys::touch(&file).ok()?;
        let began = Stamp::of(&file.metadata().ok()?).mtime;
        Some(TempIndex { file, path, began })
    }

    /// Writes the index and puts it in its place.
    fn finish(self, path: &Path, built: &Built) -> io::Result<Index> {
        let written = index::write(&self.file, built.header(), || built.messages())
            .and_then(|()| set_time(&self.file, self.began))
            .and_then(|()| fs::rename(&self.path, path))
            .and_then(|()| self.file.try_clone());
        match written {
            Ok(file) => Index::open(file).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
            Err(error) => {
                let _ = fs::remove_file(&self.path);
                Err(error)
            }
        }
    }

    /// The old index is right: gives it the time at which this was found.
    fn settle(self, old: Index) -> Index {
        if let Some(file) = old.file() {
            let _ = set_time(file, self.began);
        }
        TempIndex::discard(Some(self));
        old
    }

    fn discard(temp: Option<TempIndex>) {
        if let Some(temp) = temp {
            let _ = fs::remove_file(&temp.path);
        }
    }
}

fn set_time(file: &File, nanoseconds: i64) -> io::Result<()> {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    file.set_modified(UNIX_EPOCH + since)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
