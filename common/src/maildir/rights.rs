//! Who may read and write files and directories that are made here: as Dovecot does it, who can do so in the directory that
//! they are in.

use super::StorageError;
use crate::sys::fs as sys;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::Path;

/// Set-group-ID: what is made in the directory gets its group.
const SHARED: u32 = 0o2000;

/// Opens a file that is made if it is missing, with the rights that its directory gives. `open` has everything but the
/// creation.
pub fn open_or_make(open: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match open.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    made_in(open.clone().create(true), path).map(|(file, _)| file)
}

/// Makes a file that must not be there yet; else like [`open_or_make`].
pub fn make_file(path: &Path) -> io::Result<File> {
    make_known_file(path).map(|(file, _)| file)
}

/// The same, with what is known of the file as it was made.
pub(super) fn make_known_file(path: &Path) -> io::Result<(File, fs::Metadata)> {
    made_in(OpenOptions::new().write(true).create_new(true), path)
}

/// Makes a file for writing and reading, under a name that only the holder of some lock uses. Whatever a crash, or anybody, left
/// there goes.
pub fn make_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => fs::remove_dir(path)?,
        Ok(()) => {}
    }
    made_in(OpenOptions::new().read(true).write(true).create_new(true), path).map(|(file, _)| file)
}

fn made_in(open: &mut OpenOptions, path: &Path) -> io::Result<(File, fs::Metadata)> {
    let file = open.mode(0o600).open(path)?;
    let made = file.metadata()?;
    if let Ok(directory) = fs::metadata(path.parent().unwrap_or(Path::new("."))) {
        // Everybody may read it only where the directory is made for sharing: many a home is open to be looked into, and a
        // Maildir in it by no more than a umask.
        let most = if directory.mode() & SHARED == 0 { 0o660 } else { 0o664 };
        share(&file, &made, directory.mode() & most, directory.gid());
    }
    Ok((file, made))
}

/// Gives a file that was made just now to take another's place the rights and the group of that.
pub fn take_over_rights(file: &File, before: &fs::Metadata) -> io::Result<()> {
    share(file, &file.metadata()?, before.mode() & 0o664, before.gid());
    Ok(())
}

/// Nobody but the owner has rights where the file cannot have that group.
fn share(file: &File, made: &fs::Metadata, mode: u32, group: u32) {
    let mode = mode | 0o600;
    if made.mode() & 0o7777 == mode {
        return;
    }
    if made.gid() == group || fchown(file, None, Some(group)).is_ok() {
        // A file that somebody else has made meanwhile is not ours to change.
        let _ = file.set_permissions(fs::Permissions::from_mode(mode));
    }
}

/// Creates one directory with the rights and the group of the one that it is in, whatever the umask is. That it is there already
/// is no error. Where it cannot have the group, the group has no rights.
pub fn create_one(path: &Path) -> Result<(), StorageError> {
    let above = path.parent().unwrap_or(Path::new("."));
    let above = fs::metadata(above).map_err(StorageError::at("stat", above))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(StorageError::new("mkdir", path, error)),
    }
    let made = fs::metadata(path).map_err(StorageError::at("stat", path))?;
    let has_group = made.gid() == above.gid() || chown(path, None, Some(above.gid())).is_ok();
    let mode = above.mode() & if has_group { SHARED | 0o777 } else { 0 } | 0o700;
    if made.mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(StorageError::at("chmod", path))?;
    }
    Ok(())
}

/// Creates a directory and those above it, if it is missing. With `fsync` each is on the disk before anything is made in it: in one
/// that the disk does not know of, it might be lost. So who finds something in a directory need not look above it, also where this
/// was killed.
pub(super) fn create(path: &Path, fsync: bool) -> Result<(), StorageError> {
    if path.is_dir() && !fsync {
        return Ok(());
    }
    // Above a name alone is the current directory.
    let is_there = |above: &&Path| above.as_os_str().is_empty() || above.is_dir();
    let there = path.ancestors().find(is_there).unwrap_or(path);
    let sync = |path: &Path| match fsync {
        true => sys::sync_name(path).map_err(StorageError::at("fsync the directory of", path)),
        false => Ok(()),
    };
    sync(there)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|above| *above != there).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StorageError::new("mkdir", directory, error));
            }
            _ => sync(directory)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn rights_are_those_of_the_directory() {
        let rows = [
            (0o700, 0o600),
            (0o711, 0o600),
            (0o750, 0o640),
            (0o755, 0o640),
            (0o770, 0o660),
            (0o777, 0o660),
            (0o2750, 0o640),
            (0o2755, 0o644),
            (0o2775, 0o664),
            (0o2777, 0o664),
        ];
        for (directory, want) in rows {
            let dir = TempDir::new();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(directory)).unwrap();
            make_file(&dir.path().join("file")).unwrap();
            open_or_make(OpenOptions::new().write(true), &dir.path().join("other")).unwrap();
            create_one(&dir.path().join("below")).unwrap();
            for (name, want) in [("file", want), ("other", want), ("below", directory)] {
                assert_eq!(mode(&dir.path().join(name)), want, "{name} in {directory:o}");
            }
        }
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let dir = TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2775)).unwrap();
        let file = dir.path().join("file");
        dir.write("file", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        open_or_make(OpenOptions::new().write(true), &file).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(make_file(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_that_takes_another_s_place_is_like_that() {
        let dir = TempDir::new();
        dir.write("before", "x");
        for (before, want) in [(0o600, 0o600), (0o644, 0o644), (0o660, 0o660), (0o4777, 0o664)] {
            let path = dir.path().join("before");
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            let new = dir.path().join(format!("new{before:o}"));
            take_over_rights(&make_file(&new).unwrap(), &fs::metadata(&path).unwrap()).unwrap();
            assert_eq!(mode(&new), want, "{before:o}");
        }
    }

    /// Only root has groups to give away here; as somebody else it is the end-to-end tests that see this.
    #[test]
    fn the_group_is_the_directory_s() {
        let dir = TempDir::new();
        if chown(dir.path(), None, Some(12345)).is_err() {
            return;
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        make_file(&dir.path().join("file")).unwrap();
        create_one(&dir.path().join("below")).unwrap();
        for name in ["file", "below"] {
            assert_eq!(fs::metadata(dir.path().join(name)).unwrap().gid(), 12345, "{name}");
        }
    }
}
