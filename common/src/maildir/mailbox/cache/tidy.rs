//! Making `tinmail-cache` shorter once most of it belongs to messages that are gone.
//!
//! Two new files take the places of the old ones, the map last. Who has the old ones open reads on in them, and notices
//! at the next writing that they have no name any more. A crash between the two renames leaves a map that belongs to other
//! pieces: where the first UID is another one both are made anew, else what is read is not what it should be and counts
//! as not there, as always. Nothing is flushed to disk for this.

use super::super::super::make_anew;
use super::{Cache, Files, HEAD, MAGIC, MAP_NAME, NAME, SPAN, Window, map_place};
use crate::sys::fs as sys;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A shorter file is not worth it.
const LENGTH_MIN: u64 = 1 << 20;
/// Less than this part of it still in use is.
const IN_USE_PERCENT: u64 = 50;

impl Cache {
    /// Whether it is long enough to be looked at.
    pub fn may_be_tidied(&self) -> bool {
        let long = |files: &Files| files.pieces.metadata().is_ok_and(|meta| meta.size() >= LENGTH_MIN);
        self.files.as_ref().is_some_and(|files| files.writable && long(files))
    }

    /// Leaves out what belongs to none of these UIDs, which ascend, if that is much. Another session that writes just now
    /// is no matter.
    pub fn tidy(&mut self, uids: &[u32]) {
        self.flush();
        let tidied = self.tidy_files(uids);
        if tidied.unwrap_or(true) {
            self.files = self.open_files(false);
        }
        self.flush();
    }

    /// Whether there are other files now.
    fn tidy_files(&mut self, uids: &[u32]) -> io::Result<bool> {
        let Some(files) = &self.files else { return Ok(false) };
        let first = files.first_uid;
        let (mut total, mut live) = (0u64, 0u64);
        let length = files.map.metadata()?.size().min(HEAD + u64::from(SPAN) * 8);
        let mut uids_left = uids.iter().copied().peekable();
        let mut window = Window::default();
        for place in (HEAD..length).step_by(8) {
            let uid = first.saturating_add(((place - HEAD) / 8) as u32);
            while uids_left.next_if(|&other| other < uid).is_some() {}
            if window.get(&files.map, place, 8).is_some_and(|entry| entry != [0; 8]) {
                total += 1;
                live += u64::from(uids_left.peek() == Some(&uid));
            }
        }
        if live * 100 > total * IN_USE_PERCENT || !sys::try_flock(&files.pieces)? {
            return Ok(false);
        }
        // Somebody else did it already.
        if files.pieces.metadata()?.nlink() == 0 {
            return Ok(true);
        }
        let (pieces, map) = (Temp::of(&self.path, NAME), Temp::of(&self.path, MAP_NAME));
        self.copy(uids, pieces.create()?, map.create()?)?;
        pieces.publish()?;
        map.publish()?;
        Ok(true)
    }

    fn copy(&mut self, uids: &[u32], pieces: File, map: File) -> io::Result<()> {
        let first = uids.first().copied().unwrap_or(1);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&self.uid_validity.to_le_bytes());
        head.extend_from_slice(&first.to_le_bytes());
        let (mut pieces, mut map) = (BufWriter::new(pieces), BufWriter::new(map));
        pieces.write_all(&head)?;
        map.write_all(&head)?;
        let (mut end, mut next) = (HEAD, first);
        for &uid in uids {
            if map_place(uid, first).is_none() {
                break;
            }
            let Some(piece) = self.whole(uid) else { continue };
            // Nothing is kept of those between.
            for _ in next..uid {
                map.write_all(&[0; 8])?;
            }
            map.write_all(&end.to_le_bytes())?;
            pieces.write_all(piece)?;
            end += piece.len() as u64;
            next = uid.saturating_add(1);
        }
        pieces.flush()?;
        map.flush()
    }
}

/// A file on its way to its place.
struct Temp {
    temp: PathBuf,
    path: PathBuf,
}

impl Temp {
    fn of(directory: &Path, name: &str) -> Temp {
        let temp = format!("{name}.{}.{}", std::process::id(), sys::hostname());
        Temp { temp: directory.join(temp), path: directory.join(name) }
    }

    fn create(&self) -> io::Result<File> {
        make_anew(&self.temp)
    }

    fn publish(&self) -> io::Result<()> {
        fs::rename(&self.temp, &self.path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temp);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::testing::TempDir;
    use super::*;

    const BASE: u64 = 7;

    fn piece(uid: u32) -> Vec<u8> {
        vec![uid as u8; 800 + uid as usize % 100]
    }

    fn filled(dir: &TempDir, last: u32) -> Cache {
        let mut cache = Cache::open(dir.path(), 5, 1);
        (1..=last).for_each(|uid| cache.put(uid, BASE, &piece(uid)));
        cache.flush();
        cache
    }

    fn length(dir: &TempDir, name: &str) -> u64 {
        fs::metadata(dir.path().join(name)).unwrap().len()
    }

    #[test]
    fn what_is_gone_is_left_out() {
        let dir = TempDir::new();
        let mut cache = filled(&dir, 3000);
        let mut other = Cache::open(dir.path(), 5, 1);
        let (before, map_before) = (length(&dir, NAME), length(&dir, MAP_NAME));
        assert!(cache.may_be_tidied());
        // Most of it is in use.
        cache.tidy(&(1..=1501).collect::<Vec<_>>());
        assert_eq!(length(&dir, NAME), before);
        let left: Vec<u32> = (2000..=3000).filter(|uid| uid % 3 == 0).collect();
        cache.tidy(&left);
        assert!(length(&dir, NAME) < before / 8 && length(&dir, MAP_NAME) < map_before / 2);
        assert_eq!(dir.list("").len(), 2);
        for mut cache in [cache, Cache::open(dir.path(), 5, 7)] {
            for uid in 1..=3001 {
                let want = left.contains(&uid).then(|| piece(uid));
                assert_eq!(cache.get(uid, BASE).map(<[u8]>::to_vec), want, "{uid}");
            }
        }
        // Who had it open reads on, and writes where the others look.
        assert_eq!(other.get(1, BASE), Some(&piece(1)[..]));
        other.put(2500, BASE, b"new");
        other.flush();
        assert_eq!(Cache::open(dir.path(), 5, 1).get(2500, BASE), Some(&b"new"[..]));
        assert_eq!(Cache::open(dir.path(), 5, 1).get(2001, BASE), Some(&piece(2001)[..]));
    }

    #[test]
    fn a_crash_between_the_renames_loses_nothing_but_the_cache() {
        for first in [1, 2000] {
            let dir = TempDir::new();
            let mut cache = filled(&dir, 3000);
            let old_map = fs::read(dir.path().join(MAP_NAME)).unwrap();
            let left: Vec<u32> = (first..=3000).filter(|uid| *uid == first || uid % 7 == 0).collect();
            cache.tidy(&left);
            fs::write(dir.path().join(MAP_NAME), &old_map).unwrap();
            let mut cache = Cache::open(dir.path(), 5, 1);
            (1..=3000).for_each(|uid| {
                assert!(cache.get(uid, BASE).is_none_or(|found| found == piece(uid)), "{uid}")
            });
            cache.put(2100, BASE, b"again");
            cache.flush();
            assert_eq!(Cache::open(dir.path(), 5, 1).get(2100, BASE), Some(&b"again"[..]));
        }
    }

    #[test]
    fn nothing_left_and_little_there() {
        let dir = TempDir::new();
        assert!(!filled(&dir, 100).may_be_tidied());
        let dir = TempDir::new();
        let mut cache = filled(&dir, 3000);
        cache.tidy(&[]);
        assert_eq!((length(&dir, NAME), length(&dir, MAP_NAME), cache.get(1, BASE)), (HEAD, HEAD, None));
        // Somebody else is writing.
        let dir = TempDir::new();
        let mut cache = filled(&dir, 3000);
        let writing = File::open(dir.path().join(NAME)).unwrap();
        assert!(sys::try_flock(&writing).unwrap());
        let before = length(&dir, NAME);
        cache.tidy(&[1]);
        assert_eq!((length(&dir, NAME), dir.list("").len()), (before, 2));
    }
}
