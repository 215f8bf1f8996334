//! The mail store: Maildir, its UIDs in Dovecot's files, and reading messages from it.
//!
//! Everything here runs with the mail user's uid. File names and message texts come from strangers; the control files
//! are the user's own and may be damaged. Nothing read from either ends in a panic or in unbounded work. Failures are
//! [`StorageError`]s.
//!
//! ```text
//! name       file names            scan, places   what is in new and cur
//! uidlist    UIDs, in memory       uidlist_file, uidvalidity, dotlock   UIDs, on disk
//! courier    first take-over       build, options, sizes   all of it together
//! first_look, sorter   the same for a large mailbox in little memory   numbered  a base name's row
//! index, blocks   the result, compact   snapshot what a session sees; recount its octets, later
//! child, temp_index   making the index where its memory does not stay   restore  UIDs from the index
//! mailbox    what an IMAP session sees, and how sessions tell each other
//! quota      maildirsize
//! delivery   a message that arrives, without the mailbox
//! message, directories   one message's file    rights   of new files
//! lock, tmp, location, octets, header_md5   what the words say
//! ```

mod blocks;
mod build;
mod child;
mod courier;
mod delivery;
mod directories;
pub mod dotlock;
mod error;
mod failures;
mod first_look;
mod flags;
#[doc(hidden)]
pub mod fuzzing;
mod header_md5;
mod index;
mod lf_text;
mod location;
mod lock;
pub mod mailbox;
mod message;
pub mod name;
mod numbered;
mod octets;
mod options;
mod places;
pub mod quota;
mod recount;
mod restore;
mod rights;
mod scan;
mod sizes;
mod snapshot;
mod sorter;
mod temp_index;
#[cfg(test)]
pub(crate) mod testing;
mod tmp;
pub mod uidlist;
pub mod uidlist_file;
pub mod uidvalidity;

pub use courier::DefaultUniqueId;
pub use delivery::{Delivery, Room};
pub use error::{ErrorKind, StorageError};
pub use failures::Failures;
pub use flags::{Flags, KEYWORDS};
pub use header_md5::header_md5;
pub use index::Source as MessageRef;
pub use location::{IndexPlace, Location, LocationError, User};
pub use lock::{HEARTBEAT, Method as LockMethod, SessionLock};
pub use message::{FileName, Removed};
pub use octets::COUNT_TIME;
pub use options::Options;
pub use rights::{create_one, make_anew, make_file, open_or_make, take_over_rights};
pub use snapshot::{INDEX_NAME, Message, Snapshot};
pub use tmp::{EVERY as CLEAN_TMP_EVERY, clean as clean_tmp};

use crate::sys::fs as sys;
use rights::create;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// One mailbox's directories. Opening it reads nothing.
#[derive(Debug, Clone)]
pub struct Maildir {
    path: PathBuf,
    control: PathBuf,
    index: Option<PathBuf>,
    /// The directory of `dovecot-uidvalidity`, which all of a user's mailboxes share.
    shared: PathBuf,
    /// Where renamed messages are, once one was missing from its place.
    moved: Arc<Mutex<Option<message::Moved>>>,
    quota: Option<Box<quota::Quota>>,
}

impl Maildir {
    /// The Maildir at `path`; it, `cur`, `new` and `tmp` are created with mode 0700 where missing. That they cannot be
    /// created is an error only if they are not there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Maildir, StorageError> {
        let path = path.into();
        let maildir = Maildir {
            control: path.clone(),
            index: Some(path.clone()),
            shared: path.clone(),
            path,
            moved: Arc::default(),
            quota: None,
        };
        maildir.create_directories(true)?;
        Ok(maildir)
    }

    /// The INBOX of a location, with its control and index directories. What of it is missing is made; with `fsync` it is on
    /// the disk then, but for the index.
    pub fn open_location(location: &Location, fsync: bool) -> Result<Maildir, StorageError> {
        let maildir = Maildir::at(location, location.inbox.clone(), OsStr::new(".INBOX"));
        maildir.create_directories(fsync)?;
        Ok(maildir)
    }

    /// Another mailbox than INBOX, by the name of its directory below the location's root. A directory that is missing
    /// is not made: whoever has a mailbox open that somebody else deletes must not bring it back. Error: `NotFound`.
    pub fn open_below(location: &Location, directory: &OsStr) -> Result<Maildir, StorageError> {
        Maildir::there(Maildir::at(location, location.root.join(directory), directory))
    }

    /// The INBOX of somebody else, or of nobody: like [`Maildir::open_below`].
    pub fn open_inbox_of_others(location: &Location) -> Result<Maildir, StorageError> {
        let maildir = Maildir::at(location, location.inbox.clone(), OsStr::new(".INBOX"));
        fs::metadata(maildir.path.join("cur")).map_err(StorageError::at("open", &maildir.path))?;
        Maildir::there(maildir)
    }

    fn there(maildir: Maildir) -> Result<Maildir, StorageError> {
        for name in ["cur", "new", "tmp"] {
            let path = maildir.path.join(name);
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                _ => create_one(&path)?,
            }
        }
        maildir.create_control_and_index(true)?;
        Ok(maildir)
    }

    /// As Dovecot lays it out: beside each other below CONTROL= and INDEX= are directories named like the mailboxes',
    /// also one for INBOX.
    pub(crate) fn at(location: &Location, path: PathBuf, directory: &OsStr) -> Maildir {
        let below = |base: &Option<PathBuf>| match base {
            Some(base) => base.join(directory),
            None => path.clone(),
        };
        let shared = location.control.as_ref().unwrap_or(&location.root).clone();
        Maildir {
            control: below(&location.control),
            index: match &location.index {
                IndexPlace::Inbox => Some(path.clone()),
                IndexPlace::At(base) => Some(base.join(directory)),
                IndexPlace::Memory => None,
            },
            shared,
            path,
            moved: Arc::default(),
            quota: Some(Box::new(quota::Quota::of(location, directory))),
        }
    }

    /// The directory that holds `cur`, `new` and `tmp`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether flags of messages can be changed and messages removed.
    pub fn is_writable(&self) -> bool {
        sys::may_write(&self.path.join("cur")).is_ok()
    }

    /// The directory of `dovecot-uidlist`.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// The directory of the index; `None`: it stays in memory.
    pub fn index(&self) -> Option<&Path> {
        self.index.as_deref()
    }

    /// The directory of `dovecot-uidvalidity`: where the user's mailboxes draw their UIDVALIDITY from.
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    fn create_directories(&self, fsync: bool) -> Result<(), StorageError> {
        if !["cur", "new", "tmp"].iter().all(|name| self.path.join(name).is_dir()) {
            self.make(fsync)?;
        }
        self.create_control_and_index(fsync)?;
        let is_there = self.path.starts_with(&self.shared) || self.control.starts_with(&self.shared);
        if is_there || self.shared.is_dir() { Ok(()) } else { create(&self.shared, fsync) }
    }

    /// `tmp` is made last: whoever finds it finds the others on the disk, also where this is killed.
    fn make(&self, fsync: bool) -> Result<(), StorageError> {
        create(&self.path, fsync)?;
        for name in ["cur", "new"] {
            create(&self.path.join(name), false)?;
        }
        if fsync {
            sys::sync_directory(&self.path).map_err(StorageError::at("fsync", &self.path))?;
        }
        create(&self.path.join("tmp"), false)
    }

    /// Once the mailbox itself is there. Mostly they are that, and nobody has to look.
    fn create_control_and_index(&self, fsync: bool) -> Result<(), StorageError> {
        let is_there = |directory: &Path| self.path.starts_with(directory) || directory.is_dir();
        if !is_there(&self.control) {
            create(&self.control, fsync)?;
        }
        // Without an index the mailbox is served from memory.
        let _ = self.index().filter(|index| !is_there(index)).map(|index| create(index, false));
        Ok(())
    }
}
