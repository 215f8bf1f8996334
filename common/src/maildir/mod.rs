//! The mail store: Maildir, its UIDs in Dovecot's files, and reading messages from it.
//!
//! Everything here runs with the mail user's uid. File names and message texts come from strangers; the control files
//! are the user's own and may be damaged. Nothing read from either ends in a panic or in unbounded work. Failures are
//! [`StorageError`]s.
//!
//! ```text
//! name       file names            scan     what is in new and cur
//! uidlist    UIDs, in memory       uidlist_file, uidvalidity, dotlock   UIDs, on disk
//! courier    first take-over       build, sizes   all of it together
//! index, blocks   the result, compact   snapshot what a session sees; recount its octets, later
//! child, temp_index   making the index where its memory does not stay   restore  UIDs from the index
//! message    one message's file    lock, tmp, location, octets, header_md5   what the words say
//! ```

mod blocks;
mod build;
mod child;
mod courier;
pub mod dotlock;
mod error;
mod header_md5;
mod index;
mod location;
mod lock;
mod message;
pub mod name;
mod octets;
mod recount;
mod restore;
mod scan;
mod sizes;
mod snapshot;
mod temp_index;
#[cfg(test)]
mod testing;
mod tmp;
pub mod uidlist;
pub mod uidlist_file;
mod uidvalidity;

pub use build::Options;
pub use courier::DefaultUniqueId;
pub use error::{ErrorKind, StorageError};
pub use header_md5::header_md5;
pub use index::Source as MessageRef;
pub use location::{IndexPlace, Location, LocationError, User};
pub use lock::{HEARTBEAT, Method as LockMethod, SessionLock};
pub use message::{FileName, Removed};
pub use octets::COUNT_TIME;
pub use snapshot::{INDEX_NAME, Message, Snapshot};
pub use tmp::clean as clean_tmp;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// One mailbox's directories. Opening it reads nothing.
#[derive(Debug, Clone)]
pub struct Maildir {
    path: PathBuf,
    control: PathBuf,
    index: Option<PathBuf>,
    /// Where renamed messages are, once one was missing from its place.
    moved: Arc<Mutex<Option<message::Moved>>>,
}

impl Maildir {
    /// The Maildir at `path`; it, `cur`, `new` and `tmp` are created with mode 0700 where missing. That they cannot be
    /// created is an error only if they are not there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Maildir, StorageError> {
        let path = path.into();
        let maildir =
            Maildir { control: path.clone(), index: Some(path.clone()), path, moved: Arc::default() };
        maildir.create_directories()?;
        Ok(maildir)
    }

    /// The INBOX of a location, with its control and index directories.
    pub fn open_location(location: &Location) -> Result<Maildir, StorageError> {
        let index = match &location.index {
            IndexPlace::Inbox => Some(location.inbox.clone()),
            IndexPlace::At(path) => Some(path.clone()),
            IndexPlace::Memory => None,
        };
        let maildir = Maildir {
            path: location.inbox.clone(),
            control: location.control.clone().unwrap_or_else(|| location.inbox.clone()),
            index,
            moved: Arc::default(),
        };
        maildir.create_directories()?;
        Ok(maildir)
    }

    /// The directory that holds `cur`, `new` and `tmp`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of `dovecot-uidlist`.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// The directory of the index; `None`: it stays in memory.
    pub fn index(&self) -> Option<&Path> {
        self.index.as_deref()
    }

    fn create_directories(&self) -> Result<(), StorageError> {
        for name in ["cur", "new", "tmp"] {
            create(&self.path.join(name))?;
        }
        create(&self.control)?;
        // Without an index the mailbox is served from memory.
        let _ = self.index().map(create);
        Ok(())
    }
}

/// Creates a directory and those above it, if it is missing.
fn create(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StorageError::new("mkdir", path, error))
        }
        _ => Ok(()),
    }
}
