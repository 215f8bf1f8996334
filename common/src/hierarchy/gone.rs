//! Directories that are no mailboxes any more, or not yet: entries of the root whose names begin with `tinmail-`.

use super::{Hierarchy, StorageError};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is being removed.
pub(super) const GONE: &str = "tinmail-gone.";
/// What is being made.
pub(super) const NEW: &str = "tinmail-new.";
/// Nobody needs that long to make a mailbox.
const NEW_SECONDS: u64 = 60 * 60;

pub(super) fn is_leftover(directory: &OsStr) -> bool {
    [GONE, NEW].iter().any(|kind| directory.as_bytes().starts_with(kind.as_bytes()))
}

/// Removes what crashes have left. Best effort: what stays is seen again.
pub(super) fn clean(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let making = name.as_bytes().starts_with(NEW.as_bytes());
        if is_leftover(&name) && !(making && is_young(&entry.path())) {
            let _ = remove(&entry.path());
        }
    }
}

fn is_young(path: &Path) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    // A clock that was set back says nothing.
    fs::symlink_metadata(path).is_ok_and(|meta| meta.ctime().abs_diff(now) < NEW_SECONDS)
}

impl Hierarchy {
    /// Takes a directory out of sight with one rename; the place it has now. `None`: it was not there.
    pub(super) fn bury(&self, base: &Path, directory: &OsStr) -> Result<Option<PathBuf>, StorageError> {
        let path = base.join(directory);
        let gone = self.unused(base, GONE);
        match sys::rename_without_overwriting(&path, &gone) {
            Ok(()) => Ok(Some(gone)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::new("rename", &path, error)),
        }
    }
}

/// Removes a directory and everything in it, a symbolic link only as such.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.last().cloned() {
        let (mut below, mut removed) = (false, false);
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
                below = true;
                continue;
            }
            match fs::remove_file(entry.path()) {
                Ok(()) => removed = true,
                // Somebody else cleans too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if below {
            continue;
        }
        match fs::remove_dir(&directory) {
            // A file system whose list changed under our hands has not told of all: once more.
            Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) && removed => continue,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        pending.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn trees_go_and_what_links_point_to_stays() {
        let place = Place::new();
        for directory in ["t/cur/a/b", "t/new", "t/courierimapkeywords", "kept"] {
            place.mkdir(directory);
        }
        for file in ["t/cur/1", "t/cur/a/b/2", "t/x", "kept/3"] {
            place.dir.write(file, "");
        }
        symlink(place.dir.path().join("kept"), place.dir.path().join("t/cur/link")).unwrap();
        symlink(place.dir.path().join("kept"), place.dir.path().join("link")).unwrap();
        remove(&place.dir.path().join("t")).unwrap();
        remove(&place.dir.path().join("link")).unwrap();
        assert_eq!(place.dir.list(""), ["kept", "m"]);
        assert_eq!(place.dir.list("kept"), ["3"]);
        assert!(remove(&place.dir.path().join("t")).is_err());
    }

    #[test]
    fn a_listing_removes_what_a_crash_has_left() {
        let place = Place::new();
        place.mkdir("m/tinmail-gone.1/cur");
        place.mkdir("m/tinmail-new.1/cur");
        assert_eq!(place.listed(), ["INBOX"]);
        assert_eq!(place.directories(), ["tinmail-new.1"]);
    }
}
