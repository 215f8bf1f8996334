//! `tinmail-cache`: what was made of messages once, for the sessions to come.
//!
//! The content is the caller's affair. Two files: in `tinmail-cache` the pieces one after the other, each with its UID and
//! a checksum; in `tinmail-cache.map` where the piece of each UID begins, at the place that the UID gives. Either may be
//! deleted, cut or of another time: a piece that is not what it should be is not there. Nor is one of another message, which
//! had the UID before a backup was restored: the [number](super::super::index::base_hash) of its base name is in the checksum.

mod tidy;

use super::super::blocks::checksum;
use super::super::index::Decoder;
use super::super::open_or_make;
use crate::sys::fs as sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const NAME: &str = "tinmail-cache";
const MAP_NAME: &str = "tinmail-cache.map";
const MAGIC: &[u8; 8] = b"tincach3";
/// Magic, UIDVALIDITY, first UID.
const HEAD: u64 = 16;
const PIECE_HEAD: usize = 12;
/// UIDs further from the first one are not kept: the map has eight octets for each.
const SPAN: u32 = 4 << 20;
/// A larger piece is not kept.
const PIECE_MAX: usize = 256 * 1024;
/// Read at once: neighbours are asked for one after the other.
const WINDOW: usize = 32 * 1024;
/// Written at once.
const WRITE_MAX: usize = 64 * 1024;
/// The file does not grow beyond this.
const FILE_MAX: u64 = 4 << 30;

/// The cache of one mailbox.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    uid_validity: u32,
    first_uid: u32,
    files: Option<Files>,
    window: Window,
    map_window: Window,
    /// Pieces that are not written yet, and where in it each begins.
    unwritten: Vec<u8>,
    places: Vec<(u32, usize)>,
}

#[derive(Debug)]
struct Files {
    pieces: File,
    map: File,
    first_uid: u32,
    writable: bool,
}

#[derive(Debug, Default)]
struct Window {
    start: u64,
    /// Of them the first `filled` are the file's.
    bytes: Vec<u8>,
    filled: usize,
    /// Where the file ended when that was seen. What others append since then is found after [`Window::forget`].
    end: Option<u64>,
}

impl Window {
    /// `length` octets at `start` of the file, if it has them.
    fn get(&mut self, file: &File, start: u64, length: usize) -> Option<&[u8]> {
        let until = start.checked_add(length as u64)?;
        // Of messages that are asked for one after the other and are not there, the first one costs a look.
        if self.end.is_some_and(|end| until > end) {
            return None;
        }
        let inside = start >= self.start && until <= self.start + self.filled as u64;
        if !inside {
            if self.bytes.len() < length.max(WINDOW) {
                self.bytes.resize(length.max(WINDOW), 0);
            }
            (self.start, self.filled) = (start, 0);
            while let Some(rest) = self.bytes.get_mut(self.filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, start + self.filled as u64) {
                    Ok(0) => {
                        self.end = Some(start + self.filled as u64);
                        break;
                    }
                    Ok(read) => self.filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        let at = usize::try_from(start - self.start).ok()?;
        self.bytes.get(..self.filled)?.get(at..at + length)
    }

    fn clear(&mut self) {
        (self.filled, self.end) = (0, None);
    }

    fn forget(&mut self) {
        *self = Window::default();
    }
}

impl Cache {
    /// The cache in this directory, for UIDs from `first_uid` on. Nothing is created before something is kept.
    pub fn open(directory: &Path, uid_validity: u32, first_uid: u32) -> Cache {
        let mut cache = Cache {
            path: directory.to_owned(),
            uid_validity,
            first_uid,
            files: None,
            window: Window::default(),
            map_window: Window::default(),
            unwritten: Vec::new(),
            places: Vec::new(),
        };
        cache.files = cache.open_files(false);
        cache
    }

    fn open_files(&self, create: bool) -> Option<Files> {
        let open = |name: &str, write: bool| {
            let mut options = OpenOptions::new();
            options.read(true).write(write).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let path = self.path.join(name);
            if write && create { open_or_make(&mut options, &path) } else { options.open(&path) }
        };
        let both = |write| Some((open(NAME, write).ok()?, open(MAP_NAME, write).ok()?));
        let (pieces, map, writable) = match both(true) {
            Some((pieces, map)) => (pieces, map, true),
            None => both(false).map(|(pieces, map)| (pieces, map, false))?,
        };
        let mut files = Files { pieces, map, first_uid: self.first_uid, writable };
        let is_ours = |head: [u8; HEAD as usize]| {
            let mut fields = Decoder(head.strip_prefix(MAGIC)?);
            (fields.u32() == self.uid_validity).then(|| fields.u32())
        };
        match read_head(&files.pieces).and_then(is_ours) {
            Some(first_uid) if read_head(&files.map).and_then(is_ours) == Some(first_uid) => {
                files.first_uid = first_uid;
                Some(files)
            }
            _ if create && writable => {
                let _ = sys::try_flock(&files.pieces).ok().filter(|held| *held)?;
                let mut head = MAGIC.to_vec();
                head.extend_from_slice(&self.uid_validity.to_le_bytes());
                head.extend_from_slice(&self.first_uid.to_le_bytes());
                for file in [&files.map, &files.pieces] {
                    file.set_len(0).and_then(|()| file.write_all_at(&head, 0)).ok()?;
                }
                // The lock goes with the descriptor that took it: a fresh one has none.
                drop(files);
                self.open_files(false)
            }
            _ => None,
        }
    }

    /// What was kept for this UID, of the message with this base.
    pub fn get(&mut self, uid: u32, base: u64) -> Option<&[u8]> {
        let uid_validity = self.uid_validity;
        if let Some(&(_, start)) = self.places.iter().rev().find(|(other, _)| *other == uid) {
            return piece_in(self.unwritten.get(start..)?, uid_validity, uid, base);
        }
        piece_in(self.whole(uid)?, uid_validity, uid, base)
    }

    /// What is in the files for this UID, with its head.
    fn whole(&mut self, uid: u32) -> Option<&[u8]> {
        let files = self.files.as_ref()?;
        let place = map_place(uid, files.first_uid)?;
        let start = u64::from_le_bytes(self.map_window.get(&files.map, place, 8)?.try_into().ok()?);
        if start < HEAD {
            return None;
        }
        let mut head = Decoder(self.window.get(&files.pieces, start, PIECE_HEAD)?);
        let (theirs, length) = (head.u32(), head.u32() as usize);
        if theirs != uid || length > PIECE_MAX {
            return None;
        }
        self.window.get(&files.pieces, start, PIECE_HEAD + length)
    }

    /// Keeps a piece; it is written sooner or later.
    pub fn put(&mut self, uid: u32, base: u64, piece: &[u8]) {
        if piece.len() > PIECE_MAX {
            return;
        }
        self.places.push((uid, self.unwritten.len()));
        self.unwritten.extend_from_slice(&uid.to_le_bytes());
        self.unwritten.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        self.unwritten.extend_from_slice(&seal(piece, self.uid_validity, uid, base).to_le_bytes());
        self.unwritten.extend_from_slice(piece);
        if self.unwritten.len() >= WRITE_MAX {
            self.write_all();
            self.window.clear();
            self.map_window.clear();
        }
    }

    /// Writes what is not written yet, and keeps no memory. If that cannot be done it is forgotten.
    pub fn flush(&mut self) {
        self.write_all();
        (self.places, self.unwritten) = (Vec::new(), Vec::new());
        self.window.forget();
        self.map_window.forget();
    }

    fn write_all(&mut self) {
        if self.places.is_empty() {
            return;
        }
        if self.files.is_none() {
            self.files = self.open_files(true);
        }
        let _ = self.write();
        self.places.clear();
        self.unwritten.clear();
    }

    fn write(&mut self) -> io::Result<()> {
        // Shortened by somebody else: there are others in their place.
        let nameless = |files: &Files| files.pieces.metadata().is_ok_and(|meta| meta.nlink() == 0);
        if self.files.as_ref().is_some_and(nameless) {
            self.files = self.open_files(true);
        }
        let Some(files) = self.files.as_ref().filter(|files| files.writable) else { return Ok(()) };
        // Whoever comes second at the same moment does without.
        if !sys::try_flock(&files.pieces)? {
            return Ok(());
        }
        let end = files.pieces.metadata()?.size().max(HEAD);
        let written = if end < FILE_MAX { self.write_at(files, end) } else { Ok(()) };
        sys::unlock(&files.pieces)?;
        written
    }

    fn write_at(&self, files: &Files, end: u64) -> io::Result<()> {
        if let Err(error) = files.pieces.write_all_at(&self.unwritten, end) {
            let _ = files.pieces.set_len(end);
            return Err(error);
        }
        // Runs of UIDs one after the other are written at once.
        let mut run: Vec<u8> = Vec::new();
        let (mut begin, mut next) = (0, 0);
        for &(uid, start) in &self.places {
            let Some(place) = map_place(uid, files.first_uid) else { continue };
            if place != next || run.is_empty() {
                files.map.write_all_at(&run, begin)?;
                run.clear();
                begin = place;
            }
            run.extend_from_slice(&(end + start as u64).to_le_bytes());
            next = place + 8;
        }
        files.map.write_all_at(&run, begin)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
    }
}

fn map_place(uid: u32, first_uid: u32) -> Option<u64> {
    let distance = uid.checked_sub(first_uid).filter(|&distance| distance < SPAN)?;
    Some(HEAD + u64::from(distance) * 8)
}

fn read_head(file: &File) -> Option<[u8; HEAD as usize]> {
    let mut head = [0; HEAD as usize];
    file.read_exact_at(&mut head, 0).ok()?;
    Some(head)
}

fn seal(piece: &[u8], uid_validity: u32, uid: u32, base: u64) -> u32 {
    checksum(piece, (u64::from(uid) << 32 | u64::from(uid_validity)) ^ base)
}

/// The piece at the beginning of `bytes`, if it is whole and belongs to the UID, and that to the message.
fn piece_in(bytes: &[u8], uid_validity: u32, uid: u32, base: u64) -> Option<&[u8]> {
    let mut head = Decoder(bytes.get(..PIECE_HEAD)?);
    let (theirs, length, sum) = (head.u32(), head.u32() as usize, head.u32());
    let piece = bytes.get(PIECE_HEAD..PIECE_HEAD.checked_add(length)?)?;
    (theirs == uid && seal(piece, uid_validity, uid, base) == sum).then_some(piece)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TempDir;
    use super::*;

    const BASE: u64 = 0x1234_5678_9abc_def0;

    fn piece(uid: u32) -> Vec<u8> {
        vec![uid as u8; uid as usize % 700]
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let dir = TempDir::new();
        let mut cache = Cache::open(dir.path(), 5, 10);
        assert_eq!(cache.get(10, BASE), None);
        assert!(dir.list("").is_empty());
        (10..3000).filter(|uid| uid % 3 != 0).for_each(|uid| cache.put(uid, BASE, &piece(uid)));
        assert_eq!(cache.get(2999, BASE).unwrap(), piece(2999));
        drop(cache);
        let mut cache = Cache::open(dir.path(), 5, 99);
        for uid in 0..3100 {
            let want = ((10..3000).contains(&uid) && uid % 3 != 0).then(|| piece(uid));
            assert_eq!(cache.get(uid, BASE).map(<[u8]>::to_vec), want, "{uid}");
        }
        cache.put(11, BASE, b"newer");
        cache.flush();
        assert_eq!(cache.get(11, BASE), Some(&b"newer"[..]));
        assert_eq!(Cache::open(dir.path(), 6, 10).get(11, BASE), None);
        // Another message has the UID now.
        assert_eq!(Cache::open(dir.path(), 5, 10).get(11, BASE + 1), None);
    }

    #[test]
    fn what_others_keep_is_seen_after_the_command() {
        let dir = TempDir::new();
        let (mut one, mut other) = (Cache::open(dir.path(), 5, 1), Cache::open(dir.path(), 5, 1));
        one.put(1, BASE, b"first");
        one.flush();
        other.put(2, BASE, b"second");
        assert_eq!(one.get(1, BASE), Some(&b"first"[..]));
        assert_eq!(one.get(2, BASE), None);
        other.flush();
        other.put(3, BASE, b"third");
        other.flush();
        assert_eq!(one.get(2, BASE), None);
        one.flush();
        assert_eq!(one.get(3, BASE), Some(&b"third"[..]));
        assert_eq!(one.get(2, BASE), Some(&b"second"[..]));
    }

    #[test]
    fn a_place_beyond_every_file_is_nothing_kept() {
        let dir = TempDir::new();
        let mut cache = Cache::open(dir.path(), 5, 1);
        cache.put(1, BASE, b"piece");
        drop(cache);
        let mut map = std::fs::read(dir.path().join(MAP_NAME)).unwrap();
        for place in [u64::MAX, u64::MAX - 11, u64::MAX - 40_000, 1 << 62] {
            map[HEAD as usize..].copy_from_slice(&place.to_le_bytes());
            std::fs::write(dir.path().join(MAP_NAME), &map).unwrap();
            assert_eq!(Cache::open(dir.path(), 5, 1).get(1, BASE), None);
        }
    }

    #[test]
    fn damage_is_nothing_kept() {
        let dir = TempDir::new();
        let mut cache = Cache::open(dir.path(), 5, 1);
        (1..50).for_each(|uid| cache.put(uid, BASE, &piece(uid)));
        drop(cache);
        for name in [NAME, MAP_NAME] {
            let whole = std::fs::read(dir.path().join(name)).unwrap();
            for at in 0..whole.len() {
                let mut broken = whole.clone();
                broken[at] ^= 0x40;
                std::fs::write(dir.path().join(name), &broken).unwrap();
                let mut cache = Cache::open(dir.path(), 5, 1);
                for uid in 1..50 {
                    let found = cache.get(uid, BASE).map(<[u8]>::to_vec);
                    assert!(found.is_none() || found == Some(piece(uid)), "{name} {at} {uid}");
                }
            }
            std::fs::write(dir.path().join(name), &whole[..whole.len() / 2]).unwrap();
            let mut cache = Cache::open(dir.path(), 5, 1);
            (1..50).for_each(|uid| assert!(cache.get(uid, BASE).is_none_or(|found| found == piece(uid))));
            std::fs::write(dir.path().join(name), &whole).unwrap();
        }
    }
}
