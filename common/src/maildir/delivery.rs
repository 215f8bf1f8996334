//! A message that arrives: written to `tmp`, placed in `new`, and nothing else of the mailbox looked at. The cost does
//! not depend on what is in there.
//!
//! One file, and with `fsync` two calls of it: for the file, and for the directory `new` that names it. (What opening the
//! [`Maildir`] had to make was on the disk before.) Whatever happens
//! before the name is in `new` leaves at most a file in `tmp`, which [`super::tmp::clean`] removes after 36 hours.

use super::lf_text::LfText;
use super::quota::{self, Verdict};
use super::{Maildir, StorageError, name, rights};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Names that are tried where another delivery has the same one. Only a wrong clock can make that happen.
const ATTEMPTS: u32 = 3;

/// A message on its way into a Maildir. Dropped before [`Delivery::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Delivery {
    maildir: Maildir,
    temp: Temp,
    base: Vec<u8>,
    text: LfText,
    inode: u64,
    /// Whether messages are counted here, as it was found at first: who begins to count after that has not got this one.
    counted: bool,
}

/// A file in `tmp`, removed with this unless it got another name.
#[derive(Debug)]
struct Temp(Option<PathBuf>);

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// A Maildir whose quota has room for a message.
#[derive(Debug)]
pub struct Room {
    maildir: Maildir,
    counted: bool,
}

impl Room {
    /// Looks whether there is any. Else the error's source is `QuotaExceeded`.
    pub fn of(maildir: Maildir) -> Result<Room, StorageError> {
        let counted = has_room(&maildir, 1)?;
        Ok(Room { maildir, counted })
    }

    /// A new file in `tmp`. The message's name will contain `mark`: letters, digits, `-`, `_`.
    pub fn begin(self, mark: &str) -> Result<Delivery, StorageError> {
        let Room { maildir, counted } = self;
        let mut attempt = 1;
        loop {
            let base = name::generate_marked(mark);
            let path = maildir.path().join("tmp").join(OsStr::from_bytes(&base));
            match rights::make_known_file(&path) {
                Ok((file, made)) => {
                    let (temp, text, inode) = (Temp(Some(path)), LfText::new(file), made.ino());
                    return Ok(Delivery { maildir, temp, base, text, inode, counted });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(StorageError::new("create", &path, error)),
            }
        }
    }
}

impl Delivery {
    /// A new file in `tmp` of a Maildir that has [`Room`].
    pub fn begin(maildir: Maildir) -> Result<Delivery, StorageError> {
        Room::of(maildir)?.begin("")
    }

    /// The name of a message that was delivered with this mark and is still in the mailbox. With `fsync` it is on the disk
    /// then: who delivered it may have died before that. This one call looks at every name.
    pub fn find(maildir: &Maildir, mark: &str, fsync: bool) -> Result<Option<Vec<u8>>, StorageError> {
        let finder = memchr::memmem::Finder::new(mark);
        // Whoever moves it meanwhile moves it from new to cur.
        for place in ["new", "cur"] {
            let path = maildir.path().join(place);
            let mut found = None;
            sys::for_each_name(&path, &mut |name, _| {
                if found.is_none() && finder.find(name).is_some() {
                    found = Some(name.to_vec());
                }
            })
            .map_err(StorageError::at("look through", &path))?;
            if found.is_some() {
                if fsync {
                    sys::sync_directory(&path).map_err(StorageError::at("fsync", &path))?;
                }
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Adds octets with CRLF at the ends of lines, which become LF on disk; a CR or an LF alone stays what it is.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StorageError> {
        self.text.write(octets).map_err(|error| self.failed("write", error))
    }

    /// How many octets it has on disk so far.
    pub fn size(&self) -> u64 {
        self.text.size
    }

    /// Puts the message into `new`, if the quota has room for it. With `fsync` it and its name are on the disk afterwards.
    /// Returns the name.
    pub fn finish(mut self, fsync: bool) -> Result<Vec<u8>, StorageError> {
        self.text.flush().map_err(|error| self.failed("write", error))?;
        if self.counted {
            has_room(&self.maildir, self.text.size)?;
        }
        if fsync {
            self.text.file.sync_all().map_err(|error| self.failed("fsync", error))?;
        }
        let name = name::with_inode(&self.base, self.inode, self.text.size, self.text.octets);
        let new = self.maildir.path().join("new");
        let path = new.join(OsStr::from_bytes(&name));
        if let Some(temp) = &self.temp.0 {
            sys::rename_without_overwriting(temp, &path).map_err(StorageError::at("rename", &path))?;
        }
        self.temp.0 = None;
        if fsync {
            if let Err(error) = sys::sync_directory(&new) {
                // The sender will be told that it failed, and will come again.
                let _ = fs::remove_file(&path);
                return Err(StorageError::new("fsync", &new, error));
            }
        }
        if self.counted {
            quota::add(&self.maildir, i64::try_from(self.text.size).unwrap_or(i64::MAX), 1);
        }
        Ok(name)
    }

    fn failed(&self, op: &'static str, error: io::Error) -> StorageError {
        StorageError::new(op, self.temp.0.as_deref().unwrap_or(self.maildir.path()), error)
    }
}

/// Whether messages are counted, if there is room for so many octets on the disk.
fn has_room(maildir: &Maildir, octets: u64) -> Result<bool, StorageError> {
    match quota::check(maildir, octets)? {
        Verdict::Ok => Ok(true),
        Verdict::Uncounted => Ok(false),
        Verdict::Over => Err(quota::over(maildir)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;

    fn deliver(dir: &TempDir, pieces: &[&[u8]]) -> Vec<u8> {
        let mut delivery = Delivery::begin(Maildir::open(dir.path()).unwrap()).unwrap();
        pieces.iter().for_each(|piece| delivery.write(piece).unwrap());
        delivery.finish(true).unwrap()
    }

    #[test]
    fn what_was_delivered_with_a_mark_is_found_wherever_it_lies() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        for mark in ["K1_0_", "K1_10_"] {
            assert_eq!(Delivery::find(&maildir, mark, true).unwrap(), None);
            let mut delivery = Room::of(maildir.clone()).unwrap().begin(mark).unwrap();
            delivery.write(b"x\r\n").unwrap();
            // In tmp it does not count.
            assert_eq!(Delivery::find(&maildir, mark, true).unwrap(), None);
            let name = delivery.finish(true).unwrap();
            assert_eq!(Delivery::find(&maildir, mark, true).unwrap(), Some(name.clone()));
            let name = String::from_utf8(name).unwrap();
            let seen = format!("{name}:2,S");
            fs::rename(dir.path().join("new").join(&name), dir.path().join("cur").join(&seen)).unwrap();
            assert_eq!(Delivery::find(&maildir, mark, true).unwrap(), Some(seen.into_bytes()));
        }
        assert_eq!(Delivery::find(&maildir, "K1_1_", true).unwrap(), None);
    }

    #[test]
    fn a_message_is_in_new_with_lf_and_its_sizes() {
        let dir = TempDir::new();
        let base = deliver(&dir, &[b"A: b\r\n\r", b"\nbo", b"dy\r", b"\n"]);
        let names = dir.list("new");
        assert_eq!([String::from_utf8(base.clone()).unwrap()], *names);
        assert_eq!(dir.read(&format!("new/{}", names[0])), "A: b\n\nbody\n");
        assert_eq!((name::size_hint(&base, b'S'), name::size_hint(&base, b'W')), (Some(11), Some(14)));
        assert!(dir.list("tmp").is_empty() && dir.list("cur").is_empty());
        // Nothing of the index was touched.
        let mut all = dir.list("");
        all.sort();
        assert_eq!(all, ["cur", "new", "tmp"]);
    }

    #[test]
    fn many_at_once_make_the_maildir_and_deliver() {
        const ROUNDS: usize = 50;
        const AT_ONCE: usize = 8;
        let dir = TempDir::new();
        let start = std::sync::Barrier::new(AT_ONCE);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        let root = dir.path().join(format!("home{round}/Maildir"));
                        let location = super::super::Location {
                            control: Some(root.join("control")),
                            size_limit: 1 << 20,
                            ..super::super::Location::plain(root)
                        };
                        start.wait();
                        let maildir = Maildir::open_location(&location, true).unwrap();
                        let mut delivery = Delivery::begin(maildir).unwrap();
                        delivery.write(b"x\r\n").unwrap();
                        delivery.finish(false).unwrap();
                    }
                });
            }
        });
        for round in 0..ROUNDS {
            assert_eq!(dir.list(&format!("home{round}/Maildir/new")).len(), AT_ONCE);
        }
    }

    #[test]
    fn the_directories_are_made_wherever_they_are() {
        use super::super::{Location, User};
        for (setting, want) in [
            ("maildir:~/m", &["m"][..]),
            ("maildir:~/m:INBOX=~/m/.IN", &["m", "m/.IN"]),
            ("maildir:~/m:INBOX=~/in", &["in", "m"]),
            ("maildir:~/m:CONTROL=~/c", &["c", "c/.INBOX", "m"]),
            ("maildir:~/m:INDEX=~/i:CONTROL=~/m", &["i", "i/.INBOX", "m", "m/.INBOX"]),
            ("maildir:~/m:INDEX=~/c:CONTROL=~/c", &["c", "c/.INBOX", "m"]),
        ] {
            let dir = TempDir::new();
            let location = Location::parse(setting, User { name: "ann", home: dir.path() }).unwrap();
            for _ in 0..2 {
                Delivery::begin(Maildir::open_location(&location, true).unwrap())
                    .unwrap()
                    .finish(true)
                    .unwrap();
            }
            let mut made = Vec::new();
            for top in dir.list("") {
                let below = dir.list(&top).into_iter().filter(|name| name.starts_with('.'));
                made.extend(below.map(|name| format!("{top}/{name}")));
                made.push(top);
            }
            made.sort();
            assert_eq!(made, want, "{setting}");
        }
    }

    #[test]
    fn lone_crs_and_lfs_stay() {
        let dir = TempDir::new();
        let base = deliver(&dir, &[b"a\rb\r", b"\r\nc\nd\r"]);
        let text = dir.read(&format!("new/{}", dir.list("new")[0]));
        assert_eq!(text, "a\rb\r\nc\nd\r");
        assert_eq!((name::size_hint(&base, b'S'), name::size_hint(&base, b'W')), (Some(9), Some(11)));
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let dir = TempDir::new();
        let maildir = Maildir::open(dir.path()).unwrap();
        let mut delivery = Delivery::begin(maildir.clone()).unwrap();
        delivery.write(b"half").unwrap();
        assert_eq!(dir.list("tmp").len(), 1);
        drop(delivery);
        // A directory that vanished under our eyes.
        let delivery = Delivery::begin(maildir.clone()).unwrap();
        fs::remove_dir(dir.path().join("new")).unwrap();
        assert_eq!(delivery.finish(true).unwrap_err().kind, super::super::ErrorKind::NotFound);
        assert!(dir.list("tmp").is_empty());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\r\n]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..5)) {
            let dir = TempDir::maildir();
            let maildir = Maildir::open(dir.path()).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut delivery = Delivery::begin(maildir.clone()).unwrap();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                delivery.write(&text.as_bytes()[from..cut]).unwrap();
                from = cut;
            }
            let base = delivery.finish(false).unwrap();
            let stored = dir.read(&format!("new/{}", dir.list("new")[0]));
            prop_assert_eq!(&stored, &text.replace("\r\n", "\n"));
            let octets = stored.len() + stored.matches('\n').count();
            prop_assert_eq!(name::size_hint(&base, b'S'), Some(stored.len() as u64));
            prop_assert_eq!(name::size_hint(&base, b'W'), Some(octets as u64));
        }
    }
}
