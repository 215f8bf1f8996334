//! Waiting for changes of directories and files: inotify(7).

use super::cerr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Becomes readable when something changes in what it watches.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// One that watches nothing yet. Error: the kernel has none, or the user has as many as may be.
    pub fn new() -> io::Result<Watch> {
        // SAFETY: the call takes no pointers; a descriptor that it returns is open and nobody else's.
        let fd = cerr(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Watch(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a directory for files that come and go, or a file for being written or replaced.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        let path = super::process::c_string(path.as_os_str().as_bytes())?;
        let what = libc::IN_CREATE
            | libc::IN_DELETE
            | libc::IN_MOVED_FROM
            | libc::IN_MOVED_TO
            | libc::IN_CLOSE_WRITE
            | libc::IN_DELETE_SELF
            | libc::IN_MOVE_SELF;
        // SAFETY: the path is a string that ends in NUL and outlives the call.
        cerr(unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), what) }).map(drop)
    }

    /// Forgets what has been seen, so that only what changes from now on is.
    pub fn drain(&self) {
        let mut events = [0u8; 4096];
        while matches!(super::fd::read(self.0.as_fd(), &mut events), Ok(1..)) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::{Interest, poll};
    use std::time::Duration;

    #[test]
    fn what_changes_is_seen_once() {
        let directory = std::env::temp_dir().join(format!("tinmail-inotify.{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let watch = Watch::new().unwrap();
        watch.add(&directory).unwrap();
        let seen = || poll([(watch.as_fd(), Interest::Read)], Some(Duration::ZERO)).unwrap()[0].read;
        assert!(!seen());
        std::fs::write(directory.join("a"), b"x").unwrap();
        assert!(seen() && seen());
        watch.drain();
        assert!(!seen());
        std::fs::rename(directory.join("a"), directory.join("b")).unwrap();
        assert!(seen());
        assert!(watch.add(&directory.join("none")).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
