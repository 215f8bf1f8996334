//! Single messages: opening, marking, removing. Between snapshot and now another program may have renamed the file
//! (flags, `new` to `cur`); then it is found by its base name.

use super::directories::Directories;
use super::error::{ErrorKind, StorageError};
use super::flags::Flags;
use super::scan::Listing;
use super::snapshot::Message;
use super::{Maildir, name, scan};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a file that keeps being renamed is looked for.
const ATTEMPTS: u32 = 5;

/// The listing for renamed messages is read again at most this often. A directory that changed longer ago than that when
/// it was read had no change that its time stamp does not tell.
const REFRESH: Duration = Duration::from_secs(3);

/// Where all messages were when one was missing from its place: a program that moves one often moves them all.
#[derive(Debug)]
pub(super) struct Moved {
    listing: Listing,
    /// Places by base name.
    order: Vec<u32>,
    read: Instant,
    /// What is not in it and not in a later state of the directories is gone.
    settled: bool,
}

impl Moved {
    fn read(maildir: &Maildir) -> Result<Moved, StorageError> {
        let listing = Listing::read(maildir.path())?;
        let mut order: Vec<u32> = (0u32..).take(listing.len()).collect();
        order.sort_unstable_by(|&a, &b| name::base(listing.name(a)).cmp(name::base(listing.name(b))));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let changed = listing.new.mtime.max(listing.cur.mtime);
        let settled = i128::from(now) - i128::from(changed) > REFRESH.as_nanos() as i128;
        Ok(Moved { listing, order, read: Instant::now(), settled })
    }

    fn find(&self, base: &[u8]) -> Option<FileName> {
        let at = self.order.binary_search_by(|&place| name::base(self.listing.name(place)).cmp(base)).ok()?;
        let place = self.order.get(at).copied()?;
        let in_new = self.listing.entry(place)?.in_new;
        Some(FileName { in_new, name: self.listing.name(place).to_vec() })
    }
}

/// Where a message's file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// In `new`, not in `cur`.
    pub in_new: bool,
    /// With flags.
    pub name: Vec<u8>,
}

/// What removing a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Its file is gone by our doing.
    Now,
    /// It was gone already.
    Before,
}

impl Maildir {
    /// Opens the message for reading and says what it is called now.
    ///
    /// Errors: `NotFound` if it is gone; `NoPerm`, `Temp`.
    pub fn open_message(&self, message: &Message) -> Result<(File, FileName), StorageError> {
        self.at_its_place(message, "open", |place| Ok((self.open_place(place)?, place.clone())))
    }

    /// The same through directories that are open already.
    pub(super) fn open_message_in(
        &self,
        directories: Option<&Directories>,
        message: &Message,
    ) -> Result<File, StorageError> {
        // They may be others by now: only the first attempt. What is wrong the second one says.
        match directories.map(|directories| directories.open_message(message.in_new, &message.name)) {
            Some(Ok(file)) => Ok(file),
            _ => self.at_its_place(message, "open", |place| self.open_place(place)),
        }
    }

    fn open_place(&self, place: &FileName) -> io::Result<File> {
        let mut options = File::options();
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let path = self.path_of(place);
        // The first reading would write the file's access time, which nobody looks at. Only its owner may leave it.
        match options.read(true).custom_flags(flags | libc::O_NOATIME).open(&path) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                options.custom_flags(flags).open(&path)
            }
            // With what is added to a name that has no flags it may be longer than any: it is called otherwise.
            Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                Err(io::ErrorKind::NotFound.into())
            }
            opened => opened,
        }
    }

    /// When the message's file was last modified: seconds since 1970.
    pub(super) fn modified(&self, message: &Message) -> Result<i64, StorageError> {
        self.at_its_place(message, "stat", |place| Ok(fs::metadata(self.path_of(place))?.mtime()))
    }

    /// Removes the message.
    pub fn remove(&self, message: &Message) -> Result<Removed, StorageError> {
        match self.at_its_place(message, "unlink", |place| fs::remove_file(self.path_of(place))) {
            Ok(()) => Ok(Removed::Now),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Removed::Before),
            Err(error) => Err(error),
        }
    }

    /// Removes the message if it has the flag `T`. `None`: somebody has renamed it just now, and it has it no more.
    pub(super) fn remove_deleted(&self, message: &Message) -> Result<Option<Removed>, StorageError> {
        let removed = self.at_its_place(message, "unlink", |place| {
            if Flags::of_name(&place.name).bits & Flags::DELETED == 0 {
                return Ok(None);
            }
            fs::remove_file(self.path_of(place)).map(|()| Some(Removed::Now))
        });
        match removed {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Some(Removed::Before)),
            removed => removed,
        }
    }

    /// Sets the flag `S` and moves the message to `cur`. No other file is ever overwritten.
    ///
    /// Errors: `NotFound` if it is gone; `Full`, `NoPerm`, `Temp`.
    pub fn mark_seen(&self, message: &Message) -> Result<FileName, StorageError> {
        self.at_its_place(message, "rename", |place| {
            let new = FileName { in_new: false, name: name::with_flags(&place.name, b"S", b"") };
            if new != *place {
                sys::rename_without_overwriting(&self.path_of(place), &self.path_of(&new))?;
            }
            Ok(new)
        })
    }

    /// Gives the message other flags, made of those it has, and moves it to `cur`. No other file is ever overwritten.
    /// Returns what it has now.
    ///
    /// Errors: as for [`Maildir::mark_seen`].
    pub(super) fn set_flags(
        &self,
        directories: Option<&Directories>,
        message: &Message,
        change: impl Fn(Flags) -> Flags,
    ) -> Result<Flags, StorageError> {
        if let Some(directories) = directories {
            let flags = change(Flags::of_name(&message.name));
            let name = flags.in_name(&message.name);
            if !message.in_new && name == message.name {
                return Ok(flags);
            }
            // As for opening.
            if let Ok(true) = directories.rename(message.in_new, &message.name, &name) {
                return Ok(flags);
            }
        }
        self.at_its_place(message, "rename", |place| {
            let flags = change(Flags::of_name(&place.name));
            let new = FileName { in_new: false, name: flags.in_name(&place.name) };
            if new != *place {
                sys::rename_without_overwriting(&self.path_of(place), &self.path_of(&new))?;
            }
            Ok(flags)
        })
    }

    /// Makes a second link to the message's file at `to`, where the file system and the file allow it, and returns the
    /// file's octets and time. `None`: it has to be copied.
    pub(super) fn link_message(
        &self,
        message: &Message,
        to: &Path,
    ) -> Result<Option<(u64, i64)>, StorageError> {
        self.at_its_place(message, "link", |place| match fs::hard_link(self.path_of(place), to) {
            Ok(()) => {
                let meta = fs::metadata(to).and_then(|meta| match meta.is_file() {
                    true => Ok(meta),
                    false => Err(sys::no_file()),
                });
                if meta.is_err() {
                    let _ = fs::remove_file(to);
                }
                meta.map(|meta| Some((meta.len(), meta.mtime())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // Another file system, or one without links, or too many of them.
            Err(_) => Ok(None),
        })
    }

    /// Makes a second link to the message's file in another mailbox: `false` where that cannot be, and it has to be copied.
    pub(super) fn link_between(
        &self,
        directories: &Directories,
        message: &Message,
        to: (&Directories, &FileName),
    ) -> Result<bool, StorageError> {
        self.at_its_place(message, "link", |place| match directories.link(place, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(false),
        })
    }

    /// Octets of the message's file, and its time in seconds since 1970.
    pub(super) fn size_and_time(
        &self,
        directories: &Directories,
        message: &Message,
    ) -> Result<(u64, i64), StorageError> {
        self.at_its_place(message, "stat", |place| directories.size_and_time(place))
    }

    /// Octets of the message's file.
    pub(super) fn size_on_disk(&self, message: &Message) -> Result<u64, StorageError> {
        self.at_its_place(message, "stat", |place| fs::metadata(self.path_of(place)).map(|meta| meta.len()))
    }

    /// Gives the message's file another name, in a directory of the same file system. Returns its name before.
    pub(super) fn move_message(&self, message: &Message, to: &Path) -> Result<PathBuf, StorageError> {
        self.at_its_place(message, "rename", |place| {
            let from = self.path_of(place);
            sys::rename_without_overwriting(&from, to)?;
            Ok(from)
        })
    }

    /// Waits until removals and renames in `cur` and `new` are on the disk.
    pub fn sync_directories(&self) -> Result<(), StorageError> {
        for name in ["cur", "new"] {
            let path = self.path().join(name);
            sys::sync_directory(&path).map_err(StorageError::at("fsync", &path))?;
        }
        Ok(())
    }

    /// Where the message's file was when the message was looked for.
    pub(super) fn path_of_message(&self, message: &Message) -> PathBuf {
        self.path_of(&FileName { in_new: message.in_new, name: message.name.clone() })
    }

    pub(super) fn path_of(&self, place: &FileName) -> PathBuf {
        let directory = self.path().join(if place.in_new { "new" } else { "cur" });
        directory.join(OsStr::from_bytes(&place.name))
    }

    /// Where the file with this base is, other than at the place where it was looked for.
    fn find(&self, base: &[u8], tried: &FileName) -> Result<Option<FileName>, StorageError> {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = match &*moved {
            None => true,
            Some(moved) if moved.read.elapsed() < REFRESH => false,
            Some(moved) => !moved.settled || moved.listing.is_outdated(self.path())?,
        };
        if stale {
            *moved = Some(Moved::read(self)?);
        }
        if let Some(moved) = &*moved {
            match moved.find(base) {
                Some(found) if found != *tried => return Ok(Some(found)),
                None if moved.settled && !moved.listing.is_outdated(self.path())? => return Ok(None),
                _ => {}
            }
        }
        let found = scan::find_by_base(self.path(), base);
        let found = found.map_err(StorageError::at("readdir", self.path()))?;
        Ok(found.map(|(name, in_new)| FileName { in_new, name }))
    }

    /// Does something with the message's file where the snapshot says it is, else where it is found to be.
    fn at_its_place<T>(
        &self,
        message: &Message,
        op: &'static str,
        mut act: impl FnMut(&FileName) -> io::Result<T>,
    ) -> Result<T, StorageError> {
        let mut place = FileName { in_new: message.in_new, name: message.name.clone() };
        for _ in 0..ATTEMPTS {
            match act(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result.map_err(|error| StorageError::new(op, self.path_of(&place), error)),
            }
            match self.find(message.base(), &place)? {
                Some(found) => place = found,
                None => {
                    let gone = "the message is gone";
                    return Err(StorageError::with_kind(ErrorKind::NotFound, op, self.path_of(&place), gone));
                }
            }
        }
        let why = "the file keeps being renamed";
        Err(StorageError::with_kind(ErrorKind::Temp, op, self.path_of(&place), why))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use std::io::Read;

    fn message(name: &str, in_new: bool) -> Message {
        let name = name.as_bytes().to_vec();
        Message { uid: 1, octets: None, vanished: false, in_new, name, unique_id: None, guid: None }
    }

    #[test]
    fn a_renamed_message_is_found() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write("cur/1.a:2,FS", "text");
        let (mut file, place) = maildir.open_message(&message("1.a", true)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), place.in_new, &place.name[..]), ("text", false, &b"1.a:2,FS"[..]));
        let error = maildir.open_message(&message("2.b", true)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    #[test]
    fn one_whose_name_has_no_room_for_flags_is_found() {
        let dir = TempDir::maildir();
        let (maildir, name) = (Maildir::open(dir.path()).unwrap(), "x".repeat(255));
        dir.write(&format!("cur/{name}"), "text");
        let (_, place) = maildir.open_message(&message(&format!("{name}:2,"), false)).unwrap();
        assert_eq!(place.name, name.as_bytes());
    }

    #[test]
    fn many_renamed_messages_cost_one_listing() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        (0..3000).for_each(|i| dir.write(&format!("cur/{i}.a:2,S"), ""));
        let begun = Instant::now();
        for i in 0..3000 {
            maildir.open_message(&message(&format!("{i}.a"), true)).unwrap();
        }
        let listed = maildir.moved.lock().unwrap().as_ref().map(|moved| moved.listing.len());
        assert_eq!(listed, Some(3000));
        // 3000 scans of 3000 names take many times that.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        // What moves on after the listing is found all the same, and what is gone is gone.
        fs::rename(dir.path().join("cur/7.a:2,S"), dir.path().join("cur/7.a:2,RS")).unwrap();
        assert_eq!(maildir.open_message(&message("7.a", true)).unwrap().1.name, b"7.a:2,RS");
        dir.write("new/late", "");
        assert!(maildir.open_message(&message("late", false)).unwrap().1.in_new);
        fs::remove_file(dir.path().join("cur/8.a:2,S")).unwrap();
        assert_eq!(maildir.open_message(&message("8.a", true)).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn seen_messages_move_to_cur_with_the_flag() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        for name in ["new/1.a", "cur/2.b:2,F", "cur/3.c:2,S", "cur/4.d:2,RTa"] {
            dir.write(name, "x");
        }
        maildir.mark_seen(&message("1.a", true)).unwrap();
        for name in ["2.b:2,F", "3.c:2,S", "4.d:2,T"] {
            maildir.mark_seen(&message(name, false)).unwrap();
        }
        assert_eq!(dir.list("cur"), ["1.a:2,S", "2.b:2,FS", "3.c:2,S", "4.d:2,RSTa"]);
        maildir.sync_directories().unwrap();
    }

    #[test]
    fn marking_never_overwrites() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write("new/1.a", "one");
        dir.write("cur/1.a:2,S", "two");
        assert!(maildir.mark_seen(&message("1.a", true)).is_err());
        assert_eq!((dir.read("new/1.a"), dir.read("cur/1.a:2,S")), ("one".into(), "two".into()));
    }

    #[test]
    fn removing_twice_is_no_error() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write("new/1.a", "x");
        assert_eq!(maildir.remove(&message("1.a", false)).unwrap(), Removed::Now);
        assert_eq!(maildir.remove(&message("1.a", false)).unwrap(), Removed::Before);
    }
}
