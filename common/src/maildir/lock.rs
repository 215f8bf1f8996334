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

    /// Says who holds it. On a full disk it does not: who cannot make room there could never log in again.
    fn sign(&self) -> io::Result<()> {
        let content = format!("{}:{}", std::process::id(), sys::hostname());
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(content.as_bytes(), 0));
        match written {
            Err(error) if !is_full(&error) => Err(error),
            _ => sys::touch(&self.file),
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
        open.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let (file, created) = match open.clone().create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open.open(&path) {
                Ok(file) => (file, false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StorageError::new("open", &path, error)),
            },
            Err(error) => return Err(StorageError::new("create", &path, error)),
        };
        let who = sys::read_control(&path).unwrap_or_default();
        let locked = sys::try_record_lock(&file);
        if matches!(locked, Ok(false)) {
            return Err(in_use(&who));
        }
        // Somebody may hold it where our fcntl does not reach: then only the age tells.
        if !created && !is_left_over(&path, &file, &who, locked.is_ok()) {
            return Err(in_use(&who));
        }
        let ino = match file.metadata() {
            Ok(meta) => meta.ino(),
            Err(error) => {
                if created {
                    let _ = fs::remove_file(&path);
                }
                return Err(StorageError::new("stat", &path, error));
            }
        };
        // Whoever held it may have removed it after we opened it: then this lock locks nothing.
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.ino() == ino) {
            continue;
        }
        // From here on dropping it removes the file, whatever goes wrong.
        let lock = SessionLock { file, lock_file: Some((path.clone(), ino)) };
        lock.sign().map_err(StorageError::at("write", &path))?;
        return Ok(lock);
    }
    Err(StorageError::with_kind(ErrorKind::Temp, "lock", &path, "the lock file keeps being replaced"))
}

/// Whether nobody holds the lock file. With the record lock in our hands (`locked`) nobody on this host does: its process
/// id may have gone to another process since, after a reboot for example.
fn is_left_over(path: &std::path::Path, file: &File, who: &[u8], locked: bool) -> bool {
    let owner = std::str::from_utf8(who).ok().and_then(|text| text.split_once(':'));
    if let Some((pid, host)) = owner {
        if host == sys::hostname() {
            return locked || pid.parse().is_ok_and(|pid: u32| !sys::process_exists(pid));
        }
    }
    let age = dotlock::file_system_now(path)
        .zip(file.metadata().ok())
        .map(|(now, meta)| now.saturating_sub(meta.mtime()));
    age.is_some_and(|age| age > STALE_SECONDS)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
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
    fn a_process_id_that_went_to_another_process_locks_nobody_out() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write(NAME, &format!("1:{}", sys::hostname()));
        let lock = SessionLock::take(&maildir, Method::File).unwrap();
        assert_eq!(dir.read(NAME), format!("{}:{}", std::process::id(), sys::hostname()));
        drop(lock);
        assert_eq!(dir.list(""), ["cur", "new", "tmp"]);
    }

    #[test]
    fn a_full_disk_does_not_keep_the_user_out() {
        for (code, fits) in
            [(libc::ENOSPC, true), (libc::EDQUOT, true), (libc::EIO, false), (libc::EROFS, false)]
        {
            assert_eq!(is_full(&io::Error::from_raw_os_error(code)), fits);
        }
    }

    #[test]
    fn a_time_stamp_out_of_this_world_is_only_old_or_new() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write(NAME, "77:some-other-host");
        let file = File::options().write(true).open(dir.path().join(NAME)).unwrap();
        if file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40)).is_ok() {
            SessionLock::take(&maildir, Method::File).unwrap();
        }
    }

    #[test]
    fn a_lock_file_of_a_dead_process_counts_for_nothing() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write(NAME, &format!("4194305:{}", sys::hostname()));
        SessionLock::take(&maildir, Method::File).unwrap();
    }
}
