//! The lock under which the index and its log change.
//!
//! A file that is never removed, locked with flock; where other hosts may work on the same file system, with a record
//! lock. It guards nothing but our own files: Dovecot knows nothing of it, and messages are safe without it.

use super::super::error::{ErrorKind, StorageError};
use super::super::temp_index::open_own;
use crate::sys::fs as sys;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file's name in the index directory.
pub(in super::super) const NAME: &str = "tinmail-index.lock";

/// Whether somebody has taken it here before.
pub(in super::super) fn is_there(directory: &Path) -> bool {
    directory.join(NAME).exists()
}

/// The held lock. Dropping it gives it back, and so does the end of the process.
#[derive(Debug)]
pub(in super::super) struct IndexLock {
    _file: File,
}

impl IndexLock {
    /// Takes the lock in the index directory, waiting up to `timeout`.
    ///
    /// Errors: `InUse` when the wait was in vain; `Full`, `NoPerm` where no index can be kept.
    pub fn take(directory: &Path, timeout: Duration) -> Result<IndexLock, StorageError> {
        let path = directory.join(NAME);
        let file = open_own(&path).map_err(StorageError::at("open", &path))?;
        let shared = sys::is_shared_file_system(&file).unwrap_or(false);
        let give_up = Instant::now() + timeout;
        let mut pause = Duration::from_micros(200);
        loop {
            let held = if shared { sys::try_record_lock(&file) } else { sys::try_flock(&file) };
            if held.map_err(StorageError::at("lock", &path))? {
                return Ok(IndexLock { _file: file });
            }
            if Instant::now() >= give_up {
                return Err(StorageError::with_kind(ErrorKind::InUse, "lock", &path, "another session"));
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_millis(20));
        }
    }
}
