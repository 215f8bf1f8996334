//! RENAME (RFC 3501 section 6.3.5): with everything below, or not at all. INBOX stays: its messages move.
//!
//! A renamed mailbox keeps its UIDs and its UIDVALIDITY: all of a user's are drawn from one sequence, so that the new name
//! never had it with other messages.

use super::gone;
use super::name::FILE_NAME_MAX;
use super::{Hierarchy, HierarchyError, Name, NameError};
use crate::maildir::{ErrorKind, Maildir, StorageError, quota, uidlist_file};
use crate::sys::fs as sys;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// File names of INBOX that are held in memory at a time.
const BATCH: usize = 1000;

/// A directory's old name and its new one.
type Move = (OsString, OsString);

impl Hierarchy {
    /// Renames a mailbox and all below it; of INBOX, moves the messages into a new mailbox.
    pub fn rename(&self, from: &Name, to: &Name) -> Result<(), HierarchyError> {
        let to = &to.without_trailing_separator();
        if to.is_inbox() || to == from {
            return Err(HierarchyError::Exists);
        }
        to.check_new()?;
        let _lock = self.lock()?;
        if self.find(to)?.is_some() {
            return Err(HierarchyError::Exists);
        }
        if from.is_inbox() {
            return self.rename_inbox(to);
        }
        if to.below(from).is_some() {
            return Err(NameError::Invalid("A mailbox cannot be renamed to a name below itself.").into());
        }
        let moves = self.moves(from, to)?;
        if moves.is_empty() {
            return Err(HierarchyError::NotFound);
        }
        self.rename_all(self.root(), &moves, true)?;
        self.sync_root()?;
        for base in self.side_directories() {
            for (_, new) in &moves {
                // Of a mailbox that somebody else deleted.
                if let Some(old) = self.bury(base, new)? {
                    let _ = gone::remove(&old);
                }
            }
            self.rename_all(base, &moves, false)?;
            if self.fsync {
                sys::sync_directory(base).map_err(StorageError::at("fsync", base))?;
            }
        }
        // The Trash is not counted.
        if from.as_bytes() == b"Trash" || to.as_bytes() == b"Trash" {
            quota::recount(&self.location);
        }
        // It is done. On a full disk a use falls back to what settings and usual names say.
        let _ = self.rename_uses(from, to);
        Ok(())
    }

    /// The mailbox and those below it, whatever their directories are written in; levels below keep their octets.
    fn moves(&self, from: &Name, to: &Name) -> Result<Vec<Move>, HierarchyError> {
        let beginning = self.new_directory(to)?;
        let (mut moves, mut too_long) = (Vec::new(), false);
        self.each_directory(|directory, name, _| {
            if name != *from && name.below(from).is_none() {
                return;
            }
            let mut new = beginning.as_bytes().to_vec();
            // Behind the first dot, which is the one of Maildir++.
            let levels = directory.as_bytes().get(1..).unwrap_or_default().split(|&octet| octet == b'.');
            for level in levels.skip(from.levels()) {
                new.push(b'.');
                new.extend_from_slice(level);
            }
            too_long |= new.len() > FILE_NAME_MAX;
            moves.push((directory.to_owned(), OsString::from_vec(new)));
        })?;
        if too_long {
            return Err(NameError::Invalid("A name below would be too long.").into());
        }
        Ok(moves)
    }

    /// All of them or, after an error, none. Not all need to be there where `must_exist` does not say so.
    fn rename_all(&self, base: &Path, moves: &[Move], must_exist: bool) -> Result<(), HierarchyError> {
        for (done, (old, new)) in moves.iter().enumerate() {
            let path = base.join(new);
            // Whoever puts messages into it is let finish: half of them would be there, and the client told that none is.
            // Where no lock can be made, as on a full disk, nothing can be put there either.
            let _held = match uidlist_file::lock(&base.join(old), self.lock_timeout) {
                Err(error) if must_exist && error.kind == ErrorKind::InUse => {
                    self.rename_back(base, moves, done);
                    return Err(error.into());
                }
                held => held.ok(),
            };
            let error = match sys::rename_without_overwriting(&base.join(old), &path) {
                Ok(()) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => continue,
                Err(error) => error,
            };
            self.rename_back(base, moves, done);
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => self.in_the_way(&path),
                _ => StorageError::new("rename", path, error).into(),
            });
        }
        Ok(())
    }

    fn rename_back(&self, base: &Path, moves: &[Move], done: usize) {
        for (old, new) in moves.iter().take(done).rev() {
            let _ = sys::rename_without_overwriting(&base.join(new), &base.join(old));
        }
    }

    /// The messages move one by one: after a crash each of them is in one of the two mailboxes.
    fn rename_inbox(&self, to: &Name) -> Result<(), HierarchyError> {
        let inbox = self.open(&Name::inbox())?;
        self.create_locked(to)?;
        let moved = self.open(to).and_then(|new| {
            copy_keywords(&inbox, &new)?;
            move_messages(&inbox, &new).inspect_err(|_| drop(move_messages(&new, &inbox)))?;
            if self.fsync {
                for directory in [new.path(), inbox.path()] {
                    for name in ["cur", "new"] {
                        let path = directory.join(name);
                        sys::sync_directory(&path).map_err(StorageError::at("fsync", &path))?;
                    }
                }
            }
            Ok(())
        });
        match moved {
            Ok(()) => Ok(()),
            Err(error) => {
                // Only if it is empty again.
                let _ = self.remove_if_empty(to);
                Err(error.into())
            }
        }
    }

    fn remove_if_empty(&self, name: &Name) -> Result<(), StorageError> {
        let maildir = self.open(name)?;
        for directory in ["cur", "new"] {
            let path = maildir.path().join(directory);
            fs::remove_dir(&path).map_err(StorageError::at("rmdir", &path))?;
        }
        if let Some(directory) = self.find(name)? {
            if let Some(gone) = self.bury(self.root(), &directory)? {
                let _ = gone::remove(&gone);
            }
        }
        Ok(())
    }
}

/// The letters in the names of the files mean the same keywords there.
fn copy_keywords(from: &Maildir, to: &Maildir) -> Result<(), StorageError> {
    const NAME: &str = "dovecot-keywords";
    let path = from.control().join(NAME);
    match sys::read_control(&path) {
        Ok(octets) => super::subscriptions::replace(to.control(), NAME, &octets, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::new("read", &path, error)),
    }
}

fn move_messages(from: &Maildir, to: &Maildir) -> Result<(), StorageError> {
    for name in ["cur", "new"] {
        let (old, new) = (from.path().join(name), to.path().join(name));
        loop {
            let batch = some_files(&old).map_err(StorageError::at("read", &old))?;
            let mut moved = false;
            for file in &batch {
                match fs::rename(old.join(file), new.join(file)) {
                    Ok(()) => moved = true,
                    // Somebody else has changed its flags or expunged it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(StorageError::new("rename", old.join(file), error)),
                }
            }
            if !moved {
                break;
            }
        }
    }
    Ok(())
}

fn some_files(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_message = !entry.file_name().as_bytes().starts_with(b".");
        if is_message && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            names.push(entry.file_name());
        }
        if names.len() >= BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn everything_below_goes_along() {
        let place = Place::with(":CONTROL=%/c", &[]);
        for name in ["a.b", "a.b.c", "a.b.Entw&APw-rfe", "a.bc"] {
            place.create(name).unwrap();
            place.hierarchy.open(&place.name(name)).unwrap();
        }
        place.mkdir("c/.x.y.c");
        place.dir.write("c/.a.b.c/dovecot-uidlist", "moved");
        place.dir.write("c/.x.y.c/dovecot-uidlist", "left over");
        place.rename("a.b", "x.y.").unwrap();
        let want = [".a.bc", ".x.y", ".x.y.Entw&APw-rfe", ".x.y.c"];
        assert_eq!(place.directories(), want);
        assert_eq!(place.entries("c")[1..], want);
        assert_eq!(place.dir.read("c/.x.y.c/dovecot-uidlist"), "moved");
        // A level that is no mailbox.
        place.rename("x", "z").unwrap();
        assert_eq!(place.listed(), ["INBOX", "a-+", "a.bc", "z-+", "z.y+", "z.y.Entw&APw-rfe", "z.y.c"]);
    }

    #[test]
    fn who_puts_messages_into_it_is_waited_for() {
        let mut place = Place::new();
        place.hierarchy.lock_timeout = std::time::Duration::from_millis(30);
        for name in ["a", "a.x"] {
            place.create(name).unwrap();
        }
        let held =
            uidlist_file::lock(&place.dir.path().join("m/.a.x"), place.hierarchy.lock_timeout).unwrap();
        assert!(matches!(place.rename("a", "b"), Err(HierarchyError::Storage(_))));
        assert_eq!(place.directories(), [".a", ".a.x"]);
        drop(held);
        place.rename("a", "b").unwrap();
        assert_eq!(place.directories(), [".b", ".b.x"]);
        for name in [".b", ".b.x"] {
            assert!(!place.dir.list(&format!("m/{name}")).iter().any(|file| file.contains("lock")), "{name}");
        }
    }

    #[test]
    fn other_encodings_stay_what_they_are() {
        let place = Place::new();
        for directory in [".M\u{fc}ll.R&D", ".M\u{fc}ll"] {
            place.mkdir(&format!("m/{directory}"));
        }
        place.rename("M&APw-ll", "&APY-.x").unwrap();
        assert_eq!(place.directories(), [".\u{f6}.x", ".\u{f6}.x.R&D"]);
    }

    #[test]
    fn what_cannot_be_renamed_is_refused() {
        let place = Place::new();
        for name in ["a", "a.x", "b"] {
            place.create(name).unwrap();
        }
        for (from, to) in [("a", "b"), ("a", "inbox"), ("a", "a"), ("a", "a."), ("inbox", "b")] {
            assert!(matches!(place.rename(from, to), Err(HierarchyError::Exists)), "{from} {to}");
        }
        for (from, to) in [("a", "a.y"), ("a", "a.x.y"), ("a", "~"), ("a", &*"x".repeat(253))] {
            assert!(matches!(place.rename(from, to), Err(HierarchyError::Name(_))), "{from} {to}");
        }
        assert!(matches!(place.rename("none", "c"), Err(HierarchyError::NotFound)));
        assert_eq!(place.directories(), [".a", ".a.x", ".b"]);
    }

    #[test]
    fn a_failure_in_the_middle_undoes_what_was_done() {
        let place = Place::new();
        for name in ["a", "a.x", "a.y", "a.z", "b.y"] {
            place.create(name).unwrap();
        }
        assert!(matches!(place.rename("a", "b"), Err(HierarchyError::Exists)));
        assert_eq!(place.directories(), [".a", ".a.x", ".a.y", ".a.z", ".b.y"]);
    }

    #[test]
    fn inbox_stays_and_its_messages_move() {
        let place = Place::new();
        place.create("INBOX.sub").unwrap();
        for i in 0..2500 {
            place.dir.write(&format!("m/cur/{i}.x:2,Sa"), "m");
        }
        place.dir.write("m/new/3000.x", "n");
        place.dir.write("m/dovecot-keywords", "0 $Label1\n");
        place.rename("inbox", "INBOX.old").unwrap();
        assert_eq!(place.listed(), ["INBOX+", "INBOX.old", "INBOX.sub"]);
        assert_eq!((place.dir.list("m/cur").len(), place.dir.list("m/new").len()), (0, 0));
        assert_eq!(place.dir.list("m/.INBOX.old/cur").len(), 2500);
        assert_eq!(place.dir.list("m/.INBOX.old/new"), ["3000.x"]);
        assert_eq!(place.dir.read("m/.INBOX.old/dovecot-keywords"), "0 $Label1\n");
    }
}
