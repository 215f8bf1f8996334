//! An index being written, before it is put in its place.

use super::index::Index;
use super::open_or_make;
use super::uidlist_file::Stamp;
use crate::sys::fs as sys;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The file's name in the index directory.
pub(super) const TEMP_NAME: &str = "tinmail-index.tmp";

/// The file, open in this process and in the child that writes it. It is locked (flock), so that two sessions do not
/// write one; whoever comes second does without.
pub(super) struct TempIndex {
    file: File,
    path: PathBuf,
    /// When it was begun, by the file system's clock: nanoseconds since 1970.
    began: i64,
}

impl TempIndex {
    /// Makes an empty one. `None`: another session writes one, or nothing can be written here.
    pub fn begin(directory: &Path) -> Option<TempIndex> {
        let path = directory.join(TEMP_NAME);
        let file = open_own(&path).ok()?;
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
        // One that another user of the mailbox left behind cannot be given its time.
        if set_time(&file, began).is_err() {
            let _ = fs::remove_file(&path);
            return None;
        }
        Some(TempIndex { file, path, began })
    }

    /// Writes the index of a mailbox that was read since [`TempIndex::begin`], and puts it in its place.
    pub fn publish(&self, path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        write(&self.file)?;
        set_time(&self.file, self.began)?;
        fs::rename(&self.path, path)
    }

    /// When it was begun, by the file system's clock: nanoseconds since 1970.
    pub fn began(&self) -> i64 {
        self.began
    }

    /// Writes an index that says what was known at another time, and puts it in its place.
    pub fn publish_made(
        &self,
        path: &Path,
        made: i64,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        write(&self.file)?;
        set_time(&self.file, made)?;
        fs::rename(&self.path, path)
    }

    /// Writes an index that says the same as `old` in more detail, and puts it in old's place: unless another session
    /// has replaced or removed that. It is then only ours.
    pub fn publish_instead(
        &self,
        old: &File,
        path: &Path,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let old = Stamp::of(&old.metadata()?);
        write(&self.file)?;
        // Nobody looked at the directories again.
        set_time(&self.file, old.mtime)?;
        if Stamp::at(path).is_ok_and(|now| now.ino == old.ino) {
            return fs::rename(&self.path, path);
        }
        self.discard();
        Ok(())
    }

    /// The old index is right: gives it the time at which this was found.
    pub fn settle(&self, old: &Index) {
        if let Some(file) = old.file() {
            let _ = set_time(file, self.began);
        }
        self.discard();
    }

    /// Takes its name away, unless it is another's by now.
    pub fn discard(&self) {
        let ours = self.file.metadata().map_or(0, |meta| Stamp::of(&meta).ino);
        if Stamp::at(&self.path).is_ok_and(|now| now.ino == ours && ours != 0) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// What was written, whatever is in its place now.
    pub fn into_index(self) -> Option<Index> {
        Index::open(self.file)
    }
}

/// A file of ours that is there from now on, whatever is in it.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    open_or_make(&mut open, path)
}

/// What time it is for the file system that holds the index directory: nanoseconds since 1970.
pub(super) fn clock(directory: &Path) -> Option<i64> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = open.open(directory.join(super::mailbox::lock::NAME)).ok()?;
    sys::touch(&file).ok()?;
    Some(Stamp::of(&file.metadata().ok()?).mtime)
}

fn set_time(file: &File, nanoseconds: i64) -> io::Result<()> {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    file.set_modified(UNIX_EPOCH + since)
}
