//! CREATE (RFC 3501 section 6.3.3). Levels above need no directories: they are there because of what is below.

use super::gone::{self, NEW};
use super::{Hierarchy, HierarchyError, Name, SpecialUse, name};
use crate::maildir::{StorageError, create_one, make_file};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

/// Tells delivery programs that the quota is counted one level up (Maildir++).
const MAILDIRFOLDER: &str = "maildirfolder";

impl Hierarchy {
    /// Makes a mailbox, which is there whole or not at all, and remembers what it is for.
    pub fn create(&self, name: &Name, uses: &[SpecialUse]) -> Result<(), HierarchyError> {
        let name = name.without_trailing_separator();
        if name.is_inbox() {
            return Err(HierarchyError::Exists);
        }
        name.check_new()?;
        let _lock = self.lock()?;
        if self.find(&name)?.is_some() {
            return Err(HierarchyError::Exists);
        }
        self.check_uses(uses)?;
        // First, so that a failure leaves no mailbox that was to be for something and is not.
        self.record_uses(&name, uses)?;
        self.create_locked(&name)
    }

    pub(super) fn create_locked(&self, name: &Name) -> Result<(), HierarchyError> {
        let directory = self.new_directory(name)?;
        if directory.len() > name::FILE_NAME_MAX {
            return Err(name::NameError::Invalid("The name is too long.").into());
        }
        // What a mailbox of this name has left behind when it was deleted by somebody else: its UIDs are not ours.
        for base in self.side_directories() {
            if let Some(old) = self.bury(base, &directory)? {
                let _ = gone::remove(&old);
            }
        }
        let new = self.unused(self.root(), NEW);
        let made = self.fill(&new).and_then(|()| self.publish(&new, &directory));
        if made.is_err() {
            let _ = gone::remove(&new);
        }
        made
    }

    fn fill(&self, new: &Path) -> Result<(), HierarchyError> {
        create_one(new)?;
        for name in ["cur", "new", "tmp"] {
            create_one(&new.join(name))?;
        }
        let path = new.join(MAILDIRFOLDER);
        make_file(&path).map_err(StorageError::at("create", &path))?;
        if self.fsync {
            sys::sync_directory(new).map_err(StorageError::at("fsync", new))?;
        }
        Ok(())
    }

    fn publish(&self, new: &Path, directory: &OsStr) -> Result<(), HierarchyError> {
        let path = self.root().join(directory);
        match sys::rename_without_overwriting(new, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.in_the_way(&path)),
            Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                return Err(name::NameError::Invalid("The name is too long.").into());
            }
            Err(error) => return Err(StorageError::new("rename", path, error).into()),
        }
        self.sync_root()?;
        Ok(())
    }

    /// What stands in a new mailbox's place: another, or something that is none.
    pub(super) fn in_the_way(&self, path: &Path) -> HierarchyError {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => HierarchyError::Exists,
            _ => name::NameError::Invalid("A file that is no mailbox has this name.").into(),
        }
    }

    pub(super) fn sync_root(&self) -> Result<(), StorageError> {
        match self.fsync {
            true => sys::sync_directory(self.root()).map_err(StorageError::at("fsync", self.root())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_mailbox_is_a_directory_with_dovecot_s_files() {
        let place = Place::new();
        for name in ["a", "b.c.", "Entw&APw-rfe", "inbox.x", "x y*z%", "cur"] {
            place.create(name).unwrap();
        }
        let want = [".Entw&APw-rfe", ".INBOX.x", ".a", ".b.c", ".cur", ".x y*z%"];
        assert_eq!(place.directories(), want);
        assert_eq!(place.dir.list("m/.b.c"), ["cur", "maildirfolder", "new", "tmp"]);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let place = Place::new();
        place.create("a").unwrap();
        place.dir.write("m/.file", "");
        for name in ["a", "inbox", "INBOX.", "a."] {
            assert!(matches!(place.create(name), Err(HierarchyError::Exists)), "{name}");
        }
        for name in ["file", "a..b", "~a", "a..", &"x".repeat(300)] {
            assert!(matches!(place.create(name), Err(HierarchyError::Name(_))), "{name}");
        }
        assert_eq!(place.directories(), [".a", ".file"]);
    }

    #[test]
    fn modes_are_those_of_the_root() {
        for mode in [0o700, 0o750, 0o2770] {
            let place = Place::new();
            let path = |below: &str| place.dir.path().join("m").join(below);
            fs::set_permissions(path(""), fs::Permissions::from_mode(mode)).unwrap();
            place.create("a").unwrap();
            place.hierarchy.open(&place.name("a")).unwrap();
            for (below, want) in [(".a", mode), (".a/tmp", mode), (".a/maildirfolder", mode & 0o660)] {
                let found = fs::metadata(path(below)).unwrap().permissions().mode() & 0o7777;
                assert_eq!(found, want, "{below} {found:o}");
            }
        }
    }

    #[test]
    fn new_directories_are_in_utf_8_where_the_others_are() {
        let place = Place::new();
        place.mkdir("m/.M\u{fc}ll");
        place.create("Entw&APw-rfe.R&-D").unwrap();
        assert_eq!(place.directories(), [".Entw\u{fc}rfe.R&D", ".M\u{fc}ll"]);
        assert!(matches!(place.create("M&APw-ll"), Err(HierarchyError::Exists)));
        place.mkdir("m/.&APY-");
        place.create("&AOQ-").unwrap();
        assert_eq!(place.directories(), [".&AOQ-", ".&APY-", ".Entw\u{fc}rfe.R&D", ".M\u{fc}ll"]);
    }

    #[test]
    fn what_would_be_another_name_in_utf_8_is_in_modified_utf_7() {
        let place = Place::new();
        place.mkdir("m/.Gel\u{f6}scht");
        place.mkdir("m/.R&D");
        // In UTF-8 it is what stands for another letter.
        place.create("x&-AOk-").unwrap();
        place.create("x&AOk-").unwrap();
        assert_eq!(place.directories(), [".Gel\u{f6}scht", ".R&D", ".x&-AOk-", ".x\u{e9}"]);
        for name in ["x&-AOk-", "x&AOk-"] {
            assert!(matches!(place.create(name), Err(HierarchyError::Exists)), "{name}");
        }
    }

    #[test]
    fn control_and_index_directories_are_dovecot_s() {
        let place = Place::with(":CONTROL=%/c:INDEX=%/i", &[]);
        // Left by a mailbox that somebody else deleted.
        place.mkdir("c/.a.b");
        place.dir.write("c/.a.b/dovecot-uidlist", "3 V1 N5 Gx");
        place.create("a.b").unwrap();
        assert_eq!(place.entries("c"), [".INBOX"]);
        let maildir = place.hierarchy.open(&place.name("a.b")).unwrap();
        let path = |below: &str| place.dir.path().join(below);
        assert_eq!((maildir.path(), maildir.control()), (&*path("m/.a.b"), &*path("c/.a.b")));
        assert_eq!((maildir.index(), maildir.shared()), (Some(&*path("i/.a.b")), &*path("c")));
        let inbox = place.hierarchy.open(&Name::inbox()).unwrap();
        assert_eq!((inbox.control(), inbox.index()), (&*path("c/.INBOX"), Some(&*path("i/.INBOX"))));
        assert_eq!((inbox.path(), inbox.shared()), (&*path("m"), &*path("c")));
    }
}
