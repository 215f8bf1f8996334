//! What can go wrong in the store, sorted by what a server has to tell its client.

use crate::log::escape;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The outcomes that a caller treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The message or the mailbox is not there (any more).
    NotFound,
    /// The user's uid may not do that.
    NoPerm,
    /// No space or no quota: nothing new can be written.
    Full,
    /// The file system is read-only, by somebody's will or because its disk is failing.
    ReadOnly,
    /// Somebody else holds the lock.
    InUse,
    /// Anything that may be different the next time.
    Temp,
    /// A file does not hold what it should, or something that is no file is in its place.
    Corrupt,
}

/// A failed operation on the store: for the log in full, for the client only its [`kind`](StorageError::kind).
#[derive(Debug)]
pub struct StorageError {
    /// What the caller decides by.
    pub kind: ErrorKind,
    /// The operation, as a word for the log: `open`, `rename`, `lock`.
    pub op: &'static str,
    /// The file or directory it was about.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl StorageError {
    /// An error whose kind follows from the system's reason.
    pub fn new(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> StorageError {
        StorageError { kind: kind_of(&source), op, path: path.as_ref().to_owned(), source }
    }

    /// An error whose kind the caller knows better than errno does.
    pub fn with_kind(kind: ErrorKind, op: &'static str, path: impl AsRef<Path>, why: &str) -> StorageError {
        StorageError { kind, op, path: path.as_ref().to_owned(), source: io::Error::other(why.to_owned()) }
    }

    /// For `map_err`: the same as [`StorageError::new`] with the reason coming last.
    pub fn at<'a>(op: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
        move |source| StorageError::new(op, path, source)
    }

    /// A second copy, for one that is kept and one that is returned.
    pub fn duplicate(&self) -> StorageError {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        StorageError { kind: self.kind, op: self.op, path: self.path.clone(), source }
    }

    /// Whether the store cannot be written now though it can be read: full, over quota, read-only, not ours.
    pub fn is_unwritable(&self) -> bool {
        matches!(self.kind, ErrorKind::Full | ErrorKind::ReadOnly | ErrorKind::NoPerm)
    }

    /// Whether a file cannot be used the next time either: it is none, or not ours to read.
    pub fn is_unusable(&self) -> bool {
        matches!(self.kind, ErrorKind::Corrupt | ErrorKind::NoPerm)
    }
}

/// Which kind the system's reason is.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => ErrorKind::NotFound,
        Some(libc::EACCES | libc::EPERM) => ErrorKind::NoPerm,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::Full,
        Some(libc::EROFS) => ErrorKind::ReadOnly,
        // A link to itself, or one where we follow none; a directory; a FIFO that nobody reads, or a socket.
        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => ErrorKind::Corrupt,
        Some(_) => ErrorKind::Temp,
        None => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
            _ => ErrorKind::Temp,
        },
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Anybody may have chosen the name of a file. That of its directory is shown apart, so that neither hides the other.
        let shown = |text: &OsStr| escape(text.as_bytes()).to_string();
        match (self.path.parent(), self.path.file_name()) {
            (Some(parent), Some(name)) if parent.parent().is_some() => {
                write!(f, "{}({}/{}): {}", self.op, shown(parent.as_os_str()), shown(name), self.source)
            }
            _ => write!(f, "{}({}): {}", self.op, shown(self.path.as_os_str()), self.source),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_read_only_one_are_not_the_same() {
        for (code, kind) in [(libc::ENOSPC, ErrorKind::Full), (libc::EROFS, ErrorKind::ReadOnly)] {
            let error = StorageError::new("open", "/a", io::Error::from_raw_os_error(code));
            assert!(error.kind == kind && error.is_unwritable());
        }
    }

    #[test]
    fn a_line_of_the_log_cannot_be_forged_and_names_the_file() {
        let shown = |path: &str| StorageError::with_kind(ErrorKind::Temp, "open", path, "why").to_string();
        assert_eq!(shown("/mail/ann/cur/1.a:2,S"), "open(/mail/ann/cur/1.a:2,S): why");
        assert_eq!(
            shown("/mail/cur/a\n<b>\u{202e}"),
            "open(/mail/cur/a\\x0A\\x3Cb\\x3E\\xE2\\x80\\xAE): why"
        );
        assert_eq!(shown("/a"), "open(/a): why");
        assert_eq!(shown(""), "open(): why");
        let long = "x".repeat(200);
        assert_eq!(shown(&format!("/{long}/1.a")), format!("open(/{}.../1.a): why", "x".repeat(99)));
    }
}
