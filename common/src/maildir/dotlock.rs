//! Dovecot's lock file convention: `FILE.lock`, created exclusively, holding `pid:host`.
//!
//! A lock is taken over when its process is known to be gone (same host, no such process), or when neither the lock nor the file
//! it protects changed for two minutes by the clock of the file system and no process of this host can be its owner: none has
//! its number, or one that has begun since. The host's clock is not asked: on a shared file system it may be any hour. An empty
//! lock, as a power cut leaves it, need not be that old where no other host could have made it and this one has been started
//! since.

use super::error::{ErrorKind, StorageError};
use super::uidlist_file::Stamp;
use super::{make_anew, make_file};
use crate::sys::{clock, fs as sys};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Nothing changed for that long by the file system's clock: the lock's owner is gone. Dovecot's value.
const STALE_SECONDS: i64 = 120;
/// A process id is trusted only once the lock is older than this: its content may still be on the way.
const PID_SECONDS: i64 = 2;

/// A lock that is held. Dropping it removes the lock file, if it still is the one that was created.
#[derive(Debug)]
pub struct Dotlock {
    path: PathBuf,
    /// The directory it is in: a mailbox can be renamed meanwhile, and a lock left in it with the number of a process that
    /// lives would lock it for as long as that one does.
    directory: Option<File>,
    file: File,
    dev: u64,
    ino: u64,
    created: i64,
}

impl Dotlock {
    /// Takes `FILE.lock`, waiting up to `timeout` for another holder.
    ///
    /// Errors: `InUse` when the wait was in vain; otherwise what creating the file said (`Full`, `NoPerm`, ...).
    pub fn take(protected: &Path, timeout: Duration) -> Result<Dotlock, StorageError> {
        let mut path = protected.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let give_up = Instant::now() + timeout;
        let mut pause = Duration::from_millis(10);
        loop {
            match create(&path) {
                Ok(lock) => return Ok(lock),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StorageError::new("create", &path, error)),
            }
            if let Some(dead) = abandoned(&path, protected) {
                take_away(&path, dead);
                continue;
            }
            if Instant::now() >= give_up {
                let holder = sys::read_control(&path).unwrap_or_default();
                let why = format!("locked by {}", holder.escape_ascii());
                return Err(StorageError::with_kind(ErrorKind::InUse, "lock", &path, &why));
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }

    /// Shows the others that the holder lives. To be called at least every minute of a long operation.
    pub fn refresh(&self) -> io::Result<()> {
        sys::touch(&self.file)
    }

    /// When the lock was taken, by the clock of its file system: nanoseconds since 1970.
    pub fn created(&self) -> i64 {
        self.created
    }

    /// Whether the lock file still is ours and not another's who found us too slow.
    pub fn is_held(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.ino && meta.dev() == self.dev)
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        match (&self.directory, self.path.file_name()) {
            (Some(directory), Some(name)) => {
                let _ = sys::remove_below(directory, name.as_bytes(), self.dev, self.ino);
            }
            _ if self.is_held() => _ = fs::remove_file(&self.path),
            _ => {}
        }
    }
}

/// Makes the lock, with its holder's number in it from the first moment: an empty one left by a process that was killed
/// could only be told from a living one's by its age.
fn create(path: &Path) -> io::Result<Dotlock> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let content = format!("{}:{}", std::process::id(), sys::hostname());
    let prepared = sibling(path, "new");
    let mut file = make_anew(&prepared)?;
    // A full disk has no room for the number: then the lock becomes stale by its age.
    let _ = file.write_all(content.as_bytes());
    let linked = fs::hard_link(&prepared, path);
    let _ = fs::remove_file(&prepared);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // A file system without hard links.
        Err(_) => {
            file = make_file(path)?;
            let _ = file.write_all(content.as_bytes());
        }
        Ok(()) => {}
    }
    let meta = file.metadata()?;
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    Ok(Dotlock {
        path: path.to_owned(),
        directory: path.parent().and_then(|parent| open.open(parent).ok()),
        file,
        dev: meta.dev(),
        ino: meta.ino(),
        created: Stamp::of(&meta).mtime,
    })
}

/// The inode of the lock, if its owner is gone. Every doubt means that it is not.
fn abandoned(path: &Path, protected: &Path) -> Option<u64> {
    let meta = fs::symlink_metadata(path).ok()?;
    let now = file_system_now(path)?;
    let age = |meta: &fs::Metadata| now.saturating_sub(meta.mtime().max(meta.ctime()));
    let is_quiet = || match fs::metadata(protected) {
        Ok(file) => age(&file) > STALE_SECONDS,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let age = age(&meta);
    let is_old = || age > STALE_SECONDS && is_quiet();
    let gone = match local_pid(path).filter(|_| age >= PID_SECONDS) {
        // Our own number is somebody's, too: the lock may be ours, taken by somebody further up. A clock that was set ahead
        // makes a lock older than it is: by less than those two minutes whoever lives keeps his.
        Some(pid) => !sys::process_exists(pid) || is_anothers(pid, age) && is_old(),
        None => meta.len() == 0 && is_local(path) && is_from_before_the_start(age) || is_old(),
    };
    let unchanged = fs::symlink_metadata(path).is_ok_and(|again| again.ino() == meta.ino());
    (gone && unchanged).then_some(meta.ino())
}

/// Whether the process that has this number now has begun after a lock was changed last: after a restart, of a container too, the
/// same few numbers belong to others. Of other users' processes that may not be seen; then only the start of the host tells.
fn is_anothers(pid: u32, age: i64) -> bool {
    clock::run_time(pid).is_some_and(|time| is_longer(age, time)) || is_from_before_the_start(age)
}

fn is_from_before_the_start(age: i64) -> bool {
    clock::up().is_ok_and(|up| is_longer(age, up))
}

/// Longer by more than what two clocks may differ.
fn is_longer(age: i64, time: Duration) -> bool {
    age > seconds(time).saturating_add(PID_SECONDS)
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Whether no other host has this file system mounted itself.
fn is_local(path: &Path) -> bool {
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW);
    open.open(path).and_then(|file| sys::is_local_file_system(&file)).unwrap_or(false)
}

/// The process id in the lock, if it is one of this host.
fn local_pid(path: &Path) -> Option<u32> {
    let mut content = Vec::new();
    sys::open_control(path).ok()?.take(512).read_to_end(&mut content).ok()?;
    let text = String::from_utf8(content).ok()?;
    let (pid, host) = text.trim_end_matches('\n').split_once(':')?;
    if host == sys::hostname() { pid.parse().ok() } else { None }
}

/// What time it is for the file system that holds `path`, in seconds: the time stamp of a file just made there.
pub(super) fn file_system_now(path: &Path) -> Option<i64> {
    let probe = sibling(path, "now");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe).ok()?;
    let time = file.metadata().ok().map(|meta| meta.mtime());
    let _ = fs::remove_file(&probe);
    time
}

/// Moves a dead lock aside and removes it. Of several processes only one can rename it; one that comes late and so
/// moved a new owner's lock puts it back.
fn take_away(path: &Path, dead: u64) {
    let aside = sibling(path, "dead");
    if fs::rename(path, &aside).is_err() {
        return;
    }
    let moved = fs::symlink_metadata(&aside).map(|meta| meta.ino());
    if moved.is_ok_and(|ino| ino != dead) && sys::rename_without_overwriting(&aside, path).is_ok() {
        return;
    }
    let _ = fs::remove_file(&aside);
}

/// A name beside `path` that only this process uses.
fn sibling(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    name.extend_from_slice(format!(".{what}.{}.{}", std::process::id(), sys::hostname()).as_bytes());
    path.with_file_name(std::ffi::OsStr::from_bytes(&name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[test]
    fn a_second_taker_waits_and_gives_up() {
        let dir = TempDir::new();
        let file = dir.path().join("dovecot-uidlist");
        let lock = Dotlock::take(&file, SHORT).unwrap();
        let content = fs::read_to_string(dir.path().join("dovecot-uidlist.lock")).unwrap();
        assert_eq!(content, format!("{}:{}", std::process::id(), sys::hostname()));
        let error = Dotlock::take(&file, SHORT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(error.to_string().contains("locked by"));
        drop(lock);
        Dotlock::take(&file, SHORT).unwrap();
        assert_eq!(dir.list(""), Vec::<String>::new());
    }

    #[test]
    fn a_dead_process_s_lock_is_taken_over_once_it_is_old_enough() {
        let dir = TempDir::new();
        let (file, lock) = (dir.path().join("f"), dir.path().join("f.lock"));
        fs::write(&lock, format!("4194305:{}", sys::hostname())).unwrap();
        assert_eq!(Dotlock::take(&file, SHORT).unwrap_err().kind, ErrorKind::InUse);
        let taken = Dotlock::take(&file, Duration::from_secs(60)).unwrap();
        assert!(taken.is_held());
    }

    #[test]
    fn numbers_come_again() {
        let ours = std::process::id();
        let age = |time: Option<Duration>| seconds(time.unwrap());
        let run_time = age(clock::run_time(ours));
        assert!(!is_anothers(ours, 0) && !is_anothers(ours, run_time));
        assert!(is_anothers(ours, run_time + PID_SECONDS + 2));
        // The first process began with everything.
        assert!(!is_anothers(1, age(clock::run_time(1)) - 1));
        let up = age(clock::up().ok());
        assert!(is_anothers(1, up + PID_SECONDS + 2) && is_from_before_the_start(up + PID_SECONDS + 2));
        assert!(!is_from_before_the_start(up - 1));
    }

    #[test]
    fn a_process_does_not_destroy_its_own_lock() {
        let dir = TempDir::new();
        let file = dir.path().join("f");
        let lock = Dotlock::take(&file, SHORT).unwrap();
        std::thread::sleep(Duration::from_millis(2100));
        assert_eq!(Dotlock::take(&file, Duration::from_millis(1200)).unwrap_err().kind, ErrorKind::InUse);
        assert!(lock.is_held());
    }

    #[test]
    fn the_lock_of_a_renamed_directory_is_removed() {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("a")).unwrap();
        let lock = Dotlock::take(&dir.path().join("a/f"), SHORT).unwrap();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        // And another mailbox has its place, with a lock of its own.
        fs::create_dir(dir.path().join("a")).unwrap();
        let other = Dotlock::take(&dir.path().join("a/f"), SHORT).unwrap();
        drop(lock);
        assert_eq!(dir.list("b"), Vec::<String>::new());
        assert!(other.is_held());
    }

    #[test]
    fn another_s_lock_is_never_removed() {
        let dir = TempDir::new();
        let file = dir.path().join("f");
        let lock = Dotlock::take(&file, SHORT).unwrap();
        fs::remove_file(dir.path().join("f.lock")).unwrap();
        fs::write(dir.path().join("f.lock"), "1:elsewhere").unwrap();
        assert!(!lock.is_held());
        drop(lock);
        assert_eq!(dir.list(""), ["f.lock"]);
    }

    #[test]
    fn a_late_taker_puts_a_living_lock_back() {
        let dir = TempDir::new();
        let file = dir.path().join("f");
        let lock = Dotlock::take(&file, SHORT).unwrap();
        take_away(&dir.path().join("f.lock"), lock.ino + 1);
        assert!(lock.is_held());
    }
}
