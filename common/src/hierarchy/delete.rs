//! DELETE (RFC 3501 section 6.3.4): the mailbox goes, those below it stay, and with them its name as a level.
//!
//! Who has the mailbox open meanwhile finds its directory gone.

use super::gone;
use super::{Hierarchy, HierarchyError, Name, NameError};
use crate::maildir::{ErrorKind, Maildir, StorageError, quota, uidlist_file, uidvalidity};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

impl Hierarchy {
    /// Deletes a mailbox: at once for everybody who looks, then its files. Its subscription stays (section 6.3.6).
    pub fn delete(&self, name: &Name) -> Result<(), HierarchyError> {
        if name.is_inbox() {
            return Err(NameError::Invalid("INBOX cannot be deleted.").into());
        }
        let lock = if_there_is_room(self.lock())?;
        let directory = self.find(name)?.ok_or(HierarchyError::NotFound)?;
        let path = self.root().join(&directory);
        if_there_is_room(self.remember_uid_validity(&directory))?;
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            fs::remove_file(&path).map_err(StorageError::at("unlink", &path))?;
            self.sync_root()?;
            let _ = self.record_uses(name, &[]);
            return Ok(());
        }
        let buried = self.bury(self.root(), &directory)?.ok_or(HierarchyError::NotFound)?;
        self.sync_root()?;
        let mut all = vec![buried];
        for base in self.side_directories() {
            all.extend(self.bury(base, &directory)?);
        }
        // A use of nothing is none.
        let _ = self.record_uses(name, &[]);
        quota::recount(&self.location);
        // Nobody has to wait for the rest. What fails now is left over.
        drop(lock);
        for gone in all {
            let _ = gone::remove(&gone);
        }
        Ok(())
    }

    /// A mailbox of the same name must get a higher one (RFC 3501 section 2.3.1.1), also where this one's was not drawn
    /// from the common sequence.
    fn remember_uid_validity(&self, directory: &OsStr) -> Result<(), StorageError> {
        let maildir = Maildir::at(&self.location, self.root().join(directory), directory);
        let Some(used) = first_line_uid_validity(maildir.control()) else { return Ok(()) };
        let shared = maildir.shared();
        uidvalidity::remember(shared, used, self.fsync).map_err(StorageError::at("write", shared))
    }
}

/// On a full disk nothing new can be written, but deleting must work: it is what makes room.
fn if_there_is_room<T>(outcome: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match outcome {
        Err(error) if error.kind == ErrorKind::Full => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// What the mailbox's uidlist says, of whatever version; `None` if it has none or a damaged one.
fn first_line_uid_validity(control: &Path) -> Option<u32> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = sys::open_control(&control.join(uidlist_file::NAME)).ok()?;
    file.take(256).read_to_end(&mut start).ok()?;
    let text = String::from_utf8(start).ok()?;
    let mut words = text.lines().next()?.split(' ');
    match words.next()? {
        "1" => words.next()?.parse().ok(),
        _ => words.find_map(|word| word.strip_prefix('V'))?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_mailbox_itself_goes() {
        let place = Place::new();
        for name in ["a", "a.b", "c"] {
            place.create(name).unwrap();
        }
        place.dir.write("m/.a/cur/1.x:2,S", "message");
        place.delete("a").unwrap();
        assert_eq!(place.listed(), ["INBOX", "a-+", "a.b", "c"]);
        assert_eq!(place.directories(), [".a.b", ".c"]);
        assert!(matches!(place.delete("a"), Err(HierarchyError::NotFound)));
        assert!(matches!(place.delete("none"), Err(HierarchyError::NotFound)));
        assert!(matches!(place.delete("inbox"), Err(HierarchyError::Name(_))));
        place.delete("a.b").unwrap();
        assert_eq!(place.listed(), ["INBOX", "c"]);
    }

    #[test]
    fn who_has_it_open_does_not_bring_it_back() {
        let place = Place::new();
        place.create("a").unwrap();
        let maildir = place.hierarchy.open(&place.name("a")).unwrap();
        place.delete("a").unwrap();
        let error = Maildir::open_below(&place.hierarchy.location, OsStr::new(".a")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(!maildir.path().exists());
        assert_eq!(place.hierarchy.open(&place.name("a")).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn control_and_index_go_along() {
        let place = Place::with(":CONTROL=%/c:INDEX=%/i", &[]);
        place.create("a").unwrap();
        place.hierarchy.open(&place.name("a")).unwrap();
        assert_eq!(
            (place.entries("c"), place.entries("i")),
            (vec![".INBOX".into(), ".a".into()], vec![".INBOX".into(), ".a".into()])
        );
        place.delete("a").unwrap();
        assert_eq!(
            (place.entries("c"), place.entries("i")),
            (vec![".INBOX".to_owned()], vec![".INBOX".to_owned()])
        );
    }

    #[test]
    fn of_a_link_only_the_link_goes() {
        let place = Place::new();
        place.create("a").unwrap();
        place.dir.write("m/.a/cur/1.x:2,S", "message");
        symlink(".a", place.dir.path().join("m/.link")).unwrap();
        place.delete("link").unwrap();
        assert_eq!(place.listed(), ["INBOX", "a"]);
        assert_eq!(place.dir.list("m/.a/cur"), ["1.x:2,S"]);
    }

    #[test]
    fn uid_validities_that_were_used_are_known() {
        for (list, next) in [
            ("3 V4000000000 N7 G0123\n", Some(4_000_000_001)),
            ("1 4000000000 7\n", Some(4_000_000_001)),
            ("3 V20 N7 G0123\n", None),
            ("garbage", None),
        ] {
            let place = Place::new();
            place.create("a").unwrap();
            let before = uidvalidity::next(&place.dir.path().join("m"), 0, false).unwrap();
            place.dir.write("m/.a/dovecot-uidlist", list);
            place.delete("a").unwrap();
            let after = uidvalidity::next(&place.dir.path().join("m"), 0, false).unwrap();
            assert_eq!(after, next.unwrap_or(before + 1), "{list}");
        }
    }

    #[test]
    fn who_changes_directories_waits_for_the_others() {
        let place = Place::new();
        place.create("a").unwrap();
        let lock = place.hierarchy.lock().unwrap();
        for outcome in [place.create("b"), place.delete("a"), place.rename("a", "b")] {
            let Err(HierarchyError::Storage(error)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(error.kind, ErrorKind::InUse);
        }
        drop(lock);
        place.rename("a", "b").unwrap();
        assert_eq!(place.directories(), [".b"]);
    }
}
