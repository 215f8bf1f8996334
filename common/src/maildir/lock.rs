//! One session at a time in a mailbox that asks for it.
//!
//! On a local file system the Maildir's directory itself is locked with flock: nothing is written, it works on a full
//! or read-only disk, and the kernel takes the lock back when the process dies in whatever way. On a file system that
//! other hosts share, flock may mean nothing to them: there the lock is a file that is locked with fcntl, says who
//! holds it, and is touched by its holder every half minute. Where even fcntl means nothing, the file's age decides.

use super::Maildir;
use super::dotlock;
use super::error::{ErrorKind, StorageError};
use crate::sys::fs as sys;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// The lock file's name, where one is needed.
pub const NAME: &str = "tinmail-session.lock";
/// How often the holder has to call [`SessionLock::touch`].
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// A lock file that nobody touched for so long, by the file system's clock, is left over.
const STALE_SECONDS: i64 = 120;

/// How to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the kind of the file system.
    Automatic,
    /// The directory, with flock.
    Directory,
    /// The lock file.
    File,
}

/// The held lock. Dropping it gives it back.
#[derive(Debug)]
pub struct SessionLock {
    file: File,
    /// The lock file and its inode; `None` when the directory is locked.
    lock_file: Option<(PathBuf, u64)>,
}

impl SessionLock {
    /// Takes the lock without waiting.
    ///
    /// Errors: `InUse` when another session holds it.
    pub fn take(maildir: &Maildir, method: Method) -> Result<SessionLock, StorageError> {
        let directory = File::open(maildir.path()).map_err(StorageError::at("open", maildir.path()))?;
        let shared = || sys::is_shared_file_system(&directory).unwrap_or(false);
        if method == Method::File || (method == Method::Automatic && shared()) {
            return take_file(maildir);
        }
        match sys::try_flock(&directory) {
            Ok(true) => Ok(SessionLock { file: directory, lock_file: None }),
            Ok(false) => {
                Err(StorageError::with_kind(ErrorKind::InUse, "flock", maildir.path(), "another session"))
            }
            Err(_) if method == Method::Automatic => take_file(maildir),
            Err(error) => Err(StorageError::new("flock", maildir.path(), error)),
        }
    }

    /// Shows other hosts that the session lives. `Ok(false)`: the lock was taken over, the session must end.
    pub fn touch(&self) -> io::Result<bool> {
        let Some((path, ino)) = &self.lock_file else { return Ok(true) };
        let touched = sys::touch(&self.file);
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.ino() == *ino => touched.map(|()| true),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether [`SessionLock::touch`] has to be called at all.
    pub fn needs_heartbeat(&self) -> bool {
        self.lock_file.is_some()
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        if let Some((path, ino)) = &self.lock_file {
            if fs::symlink_metadata(path).is_ok_and(|meta| meta.ino() == *ino) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn take_file(maildir: &Maildir) -> Result<SessionLock, StorageError> {
    let path = maildir.control().join(NAME);
    let in_use = |who: &[u8]| {
        let why = format!("another session: {}", who.escape_ascii());
        StorageError::with_kind(ErrorKind::InUse, "lock", &path, &why)
    };
    for _ in 0..3 {
        let mut open = OpenOptions::new();
        open.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let (file, created) = match open.clone().create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open.open(&path) {
                Ok(file) => (file, false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StorageError::new("open", &path, error)),
            },
            Err(error) => return Err(StorageError::new("create", &path, error)),
        };
        let who = fs::read(&path).unwrap_or_default();
        let locked = sys::try_record_lock(&file);
        if matches!(locked, Ok(false)) {
            return Err(in_use(&who));
        }
        // Somebody may hold it where our fcntl does not reach: then only the age tells. Left over on this host by a
        // process that is gone: its record lock is gone with it, and only its pid is left to be asked.
        if !created && !is_left_over(&path, &file, &who) {
            return Err(in_use(&who));
        }
        let content = format!("{}:{}", std::process::id(), sys::hostname());
        let written = file.set_len(0).and_then(|()| file.write_all_at(content.as_bytes(), 0));
        written.and_then(|()| sys::touch(&file)).map_err(StorageError::at("write", &path))?;
        let ino = file.metadata().map_err(StorageError::at("stat", &path))?.ino();
        // Whoever held it may have removed it after we opened it: then this lock locks nothing.
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.ino() == ino) {
            return Ok(SessionLock { file, lock_file: Some((path, ino)) });
        }
    }
    Err(StorageError::with_kind(ErrorKind::Temp, "lock", &path, "the lock file keeps being replaced"))
}

fn is_left_over(path: &std::path::Path, file: &File, who: &[u8]) -> bool {
    let owner = std::str::from_utf8(who).ok().and_then(|text| text.split_once(':'));
    if let Some((pid, host)) = owner {
        if host == sys::hostname() {
            return pid.parse().is_ok_and(|pid: u32| !sys::process_exists(pid));
        }
    }
    let age = dotlock::file_system_now(path).zip(file.metadata().ok()).map(|(now, meta)| now - meta.mtime());
    age.is_some_and(|age| age > STALE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_second_session_is_refused_until_the_first_ends() {
        for method in [Method::Automatic, Method::Directory, Method::File] {
            let dir = TempDir::maildir();
            let maildir = Maildir::open(dir.path()).unwrap();
            let first = SessionLock::take(&maildir, method).unwrap();
            assert!(first.touch().unwrap());
            assert_eq!(first.needs_heartbeat(), method == Method::File);
            assert_eq!(SessionLock::take(&maildir, method).unwrap_err().kind, ErrorKind::InUse);
            drop(first);
            SessionLock::take(&maildir, method).unwrap();
            assert_eq!(dir.list(""), ["cur", "new", "tmp"]);
        }
    }

    #[test]
    fn a_lock_file_of_another_host_counts_until_it_is_old() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write(NAME, "77:some-other-host");
        assert_eq!(SessionLock::take(&maildir, Method::File).unwrap_err().kind, ErrorKind::InUse);
        let file = File::options().write(true).open(dir.path().join(NAME)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(300)).unwrap();
        let lock = SessionLock::take(&maildir, Method::File).unwrap();
        fs::remove_file(dir.path().join(NAME)).unwrap();
        assert!(!lock.touch().unwrap());
    }

    #[test]
    fn a_lock_file_of_a_dead_process_counts_for_nothing() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write(NAME, &format!("4194305:{}", sys::hostname()));
        SessionLock::take(&maildir, Method::File).unwrap();
    }
}
