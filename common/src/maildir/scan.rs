//! Listing `new` and `cur` into compact memory.
//!
//! Names beginning with `.` and directories are passed over, as are names that cannot stand in the uidlist (CR or LF
//! in them, nothing before the `:`). A base seen in both directories, or twice in `cur` with different flags, is
//! nearly always one message that was renamed while the directory was read: it counts once, the later place wins
//! (`cur` after `new`). Whether it is a real duplicate is looked at in [`Listing::repair_duplicates`].

use super::directories::Directories;
use super::error::StorageError;
use super::name;
use super::places::Places;
use super::uidlist_file::Stamp;
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Two links to one file, unchanged for so long, are no longer somebody's rename in progress. Dovecot's value.
const LINKS_SETTLED_SECONDS: i64 = 30;

/// One message's file.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    start: u32,
    /// Of the base, see [`Places::hash`].
    hash: u32,
    length: u16,
    base_length: u16,
    /// In `new`, not in `cur`.
    pub in_new: bool,
    /// Taken from `new` just now.
    pub recent: bool,
}

/// All messages' files at one moment, with the directories' stamps from before it.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    places: Places,
    /// Pairs of places in `entries` that have one base, both in `cur` or both in `new`.
    duplicates: Vec<(u32, Entry)>,
    /// `new` before it was read.
    pub new: Stamp,
    /// `cur` before it was read.
    pub cur: Stamp,
}

impl Listing {
    /// Reads both directories of the Maildir.
    pub fn read(maildir: &Path) -> Result<Listing, StorageError> {
        let mut listing = Listing {
            new: Stamp::at(&maildir.join("new"))?,
            cur: Stamp::at(&maildir.join("cur"))?,
            ..Listing::default()
        };
        // new first: what moves to cur meanwhile is seen there.
        listing.read_directory(&maildir.join("new"), true)?;
        listing.read_directory(&maildir.join("cur"), false)?;
        listing.unite();
        Ok(listing)
    }

    /// Whether either directory changed since it was read, as far as its time stamp tells.
    pub fn is_outdated(&self, maildir: &Path) -> Result<bool, StorageError> {
        Ok(self.new != Stamp::at(&maildir.join("new"))? || self.cur != Stamp::at(&maildir.join("cur"))?)
    }

    fn read_directory(&mut self, path: &Path, in_new: bool) -> Result<(), StorageError> {
        let read = sys::for_each_name(path, &mut |bytes, is_directory| {
            if !is_directory && is_message_name(bytes) {
                self.push(bytes, in_new);
            }
        });
        read.map_err(StorageError::at("readdir", path))
    }

    fn push(&mut self, file_name: &[u8], in_new: bool) {
        let (start, length) = (u32::try_from(self.names.len()), u16::try_from(file_name.len()));
        let (Ok(start), Ok(length)) = (start, length) else { return };
        let base_length = name::base(file_name).len() as u16;
        self.names.extend_from_slice(file_name);
        self.entries.push(Entry { start, hash: 0, length, base_length, in_new, recent: false });
    }

    /// Leaves one entry for each base, and makes them easy to find.
    fn unite(&mut self) {
        let mut places = Places::with_room_for(self.entries.len());
        let mut kept = 0u32;
        for i in 0..self.entries.len() {
            let Some(mut entry) = self.entries.get(i).copied() else { break };
            entry.hash = places.hash(base_of(&self.names, entry));
            let found = places.find_or_insert(entry.hash, kept, |place| self.is_base_of(place, entry));
            let slot = found.unwrap_or(kept);
            if let Some(to) = self.entries.get_mut(slot as usize) {
                let earlier = std::mem::replace(to, entry);
                if found.is_none() {
                    kept += 1;
                } else if earlier.in_new == entry.in_new {
                    self.duplicates.push((slot, earlier));
                }
            }
        }
        self.entries.truncate(kept as usize);
        self.places = places;
    }

    fn is_base_of(&self, place: u32, entry: Entry) -> bool {
        let other = self.entries.get(place as usize);
        other.is_some_and(|other| {
            other.hash == entry.hash && base_of(&self.names, *other) == base_of(&self.names, entry)
        })
    }

    /// The place of the message with this base.
    pub fn find(&self, base: &[u8]) -> Option<u32> {
        let hash = self.places.hash(base);
        self.places.find(hash, |place| {
            self.entry(place).is_some_and(|entry| entry.hash == hash && base_of(&self.names, entry) == base)
        })
    }

    /// Marks the messages with these bases as recent.
    pub fn mark_recent(&mut self, bases: &[Vec<u8>]) {
        for base in bases {
            let entry = self.find(base).and_then(|place| self.entries.get_mut(place as usize));
            entry.into_iter().for_each(|entry| entry.recent = true);
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The message at place `i`.
    pub fn entry(&self, i: u32) -> Option<Entry> {
        self.entries.get(i as usize).copied()
    }

    /// The file name of the message at place `i`, with flags.
    pub fn name(&self, i: u32) -> &[u8] {
        self.entry(i).map_or(&[], |entry| name_of(&self.names, entry))
    }

    /// The base name of the message at place `i`.
    pub fn base(&self, i: u32) -> &[u8] {
        self.entry(i).map_or(&[], |entry| base_of(&self.names, entry))
    }

    /// Takes over, from the places given of an earlier listing, the messages whose bases are missing here.
    pub fn adopt(&mut self, earlier: &Listing, places: impl Iterator<Item = u32>) {
        let missing: Vec<u32> = places.filter(|&place| self.find(earlier.base(place)).is_none()).collect();
        for &place in &missing {
            let Some(entry) = earlier.entry(place) else { continue };
            self.push(earlier.name(place), entry.in_new);
        }
        if !missing.is_empty() {
            self.unite();
        }
    }

    /// Whether there may be two files with one base.
    pub fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// Looks at the files that share a base within one directory, under the uidlist lock, as Dovecot does: if both
    /// are still there and are different files, the one not listed becomes a new message in `new` under a new name,
    /// so that neither is lost; if they have been links to one file for a while, one link is removed. Returns
    /// whether anything changed, so that the directories have to be read again.
    pub fn repair_duplicates(&self, maildir: &Path) -> bool {
        let mut changed = false;
        for &(place, second) in &self.duplicates {
            let Some(first) = self.entry(place) else { continue };
            let path_of = |entry: Entry| -> PathBuf {
                let directory = maildir.join(if entry.in_new { "new" } else { "cur" });
                directory.join(OsStr::from_bytes(name_of(&self.names, entry)))
            };
            let (path, second_path) = (path_of(first), path_of(second));
            let (Ok(meta), Ok(second_meta)) = (fs::metadata(&path), fs::metadata(&second_path)) else {
                continue;
            };
            if (meta.dev(), meta.ino()) != (second_meta.dev(), second_meta.ino()) {
                let mut new_name = name::generate();
                for key in [b'S', b'W'] {
                    if let Some(size) = name::size_hint(name_of(&self.names, second), key) {
                        new_name.extend_from_slice(format!(",{}={size}", char::from(key)).as_bytes());
                    }
                }
                let target = maildir.join("new").join(OsStr::from_bytes(&new_name));
                changed |= sys::rename_without_overwriting(&second_path, &target).is_ok();
            } else if meta.nlink() > 1 && links_are_settled(&meta, &path) {
                changed |= fs::remove_file(&second_path).is_ok();
            }
        }
        changed
    }
}

fn links_are_settled(meta: &fs::Metadata, path: &Path) -> bool {
    let in_tmp = path.parent().and_then(Path::parent).map(|root| root.join("tmp").join("clock"));
    let now = in_tmp.and_then(|probe| super::dotlock::file_system_now(&probe));
    now.is_some_and(|now| now.saturating_sub(meta.ctime()) > LINKS_SETTLED_SECONDS)
}

fn name_of(names: &[u8], entry: Entry) -> &[u8] {
    let start = entry.start as usize;
    names.get(start..start + usize::from(entry.length)).unwrap_or_default()
}

fn base_of(names: &[u8], entry: Entry) -> &[u8] {
    let start = entry.start as usize;
    names.get(start..start + usize::from(entry.base_length)).unwrap_or_default()
}

/// Whether there are at least that many files, roughly: one that is listed twice counts twice. Reads no further than
/// it must. What cannot be read holds nothing; whoever reads it in earnest will say why.
pub fn holds_at_least(maildir: &Path, count: u32) -> bool {
    let names = |directory| fs::read_dir(maildir.join(directory)).into_iter().flatten().flatten();
    let visible = |entry: &fs::DirEntry| !entry.file_name().as_bytes().starts_with(b".");
    let found = names("new").chain(names("cur")).filter(visible).take(count as usize).count();
    found >= count as usize
}

/// Whether a file in `new` or `cur` can be a message: not hidden, and such that its name can stand in the uidlist.
pub fn is_message_name(file_name: &[u8]) -> bool {
    let odd = memchr::memchr2(b'\r', b'\n', file_name);
    !file_name.starts_with(b".") && !name::base(file_name).is_empty() && odd.is_none()
}

/// Whether there is a message in `new`.
pub fn has_new(maildir: &Path) -> bool {
    let entries = fs::read_dir(maildir.join("new"));
    entries.into_iter().flatten().flatten().any(|entry| !entry.file_name().as_bytes().starts_with(b"."))
}

/// Moves the messages in `new` to `cur`: somebody has been told of them now. What cannot be moved stays. Tells the new
/// names of those that this call has moved; another session may move others at the same time.
pub fn take_new(maildir: &Path, tell: &mut dyn FnMut(&[u8])) {
    let (new, cur) = (maildir.join("new"), maildir.join("cur"));
    let Ok(directories) = Directories::open(maildir) else { return };
    let _ = sys::for_each_name(&new, &mut |file_name, is_directory| {
        if is_directory || file_name.starts_with(b".") {
            return;
        }
        let by_path = || {
            let target = cur.join(OsStr::from_bytes(&name::with_flags(file_name, b"", b"")));
            sys::rename_without_overwriting(&new.join(OsStr::from_bytes(file_name)), &target).is_ok()
        };
        if directories.take(file_name) || by_path() {
            tell(&name::with_flags(file_name, b"", b""));
        }
    });
}

/// Finds the file that has this base now: `cur` first, then `new`, then `cur` again in case it moved between the two.
/// Returns its name and whether it is in `new`.
pub fn find_by_base(maildir: &Path, base: &[u8]) -> io::Result<Option<(Vec<u8>, bool)>> {
    for in_new in [false, true, false] {
        let directory = maildir.join(if in_new { "new" } else { "cur" });
        for entry in fs::read_dir(&directory)? {
            let file_name = entry?.file_name();
            if name::base(file_name.as_bytes()) == base {
                return Ok(Some((file_name.into_encoded_bytes(), in_new)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    fn names(listing: &Listing) -> Vec<(String, bool)> {
        let text = |i| String::from_utf8_lossy(listing.name(i)).into_owned();
        let mut all: Vec<_> =
            (0..listing.len() as u32).map(|i| (text(i), listing.entry(i).unwrap().in_new)).collect();
        all.sort();
        all
    }

    #[test]
    fn only_messages_are_listed_and_moved_ones_once() {
        let dir = TempDir::maildir();
        for name in
            ["new/1.a", "new/2.b", "cur/2.b:2,S", "cur/3.c:2,", "cur/.hidden", "cur/:2,S", "new/bad\nname"]
        {
            dir.write(name, "x");
        }
        fs::create_dir(dir.path().join("cur/directory")).unwrap();
        let listing = Listing::read(dir.path()).unwrap();
        assert_eq!(
            names(&listing),
            [("1.a".into(), true), ("2.b:2,S".into(), false), ("3.c:2,".into(), false)]
        );
        assert!(!listing.has_duplicates());
        assert_eq!(listing.name(listing.find(b"2.b").unwrap()), b"2.b:2,S");
        assert!(!listing.is_outdated(dir.path()).unwrap());
    }

    #[test]
    fn real_duplicates_become_two_messages() {
        let dir = TempDir::maildir();
        dir.write("cur/1.a,S=3:2,", "one");
        dir.write("cur/1.a,S=3:2,S", "two");
        let listing = Listing::read(dir.path()).unwrap();
        assert_eq!((listing.len(), listing.has_duplicates()), (1, true));
        assert!(listing.repair_duplicates(dir.path()));
        let listing = Listing::read(dir.path()).unwrap();
        assert_eq!((listing.len(), listing.has_duplicates()), (2, false));
        let new = dir.list("new");
        assert!(new.len() == 1 && new[0].ends_with(",S=3"), "{new:?}");
    }

    #[test]
    fn fresh_links_to_one_file_are_left_alone() {
        let dir = TempDir::maildir();
        dir.write("cur/1.a:2,", "one");
        fs::hard_link(dir.path().join("cur/1.a:2,"), dir.path().join("cur/1.a:2,S")).unwrap();
        let listing = Listing::read(dir.path()).unwrap();
        assert!(!listing.repair_duplicates(dir.path()));
        assert_eq!(dir.list("cur").len(), 2);
    }

    #[test]
    fn a_base_is_found_wherever_it_is() {
        let dir = TempDir::maildir();
        dir.write("cur/1.a:2,FS", "x");
        dir.write("new/2.b", "x");
        assert_eq!(find_by_base(dir.path(), b"1.a").unwrap(), Some((b"1.a:2,FS".to_vec(), false)));
        assert_eq!(find_by_base(dir.path(), b"2.b").unwrap(), Some((b"2.b".to_vec(), true)));
        assert_eq!(find_by_base(dir.path(), b"3.c").unwrap(), None);
    }
}
