//! What a session holds while it lasts, and keeps alive for those who look at it from other hosts.

use common::maildir::dotlock::Dotlock;
use common::maildir::{HEARTBEAT, SessionLock};
use std::cell::Cell;
use std::time::Instant;

/// The locks. Dropping them gives them back.
pub struct Locks {
    /// A second session is told [IN-USE].
    session: SessionLock,
    /// Where `pop3_lock_session` wants other programs kept out too.
    pub uidlist: Option<Dotlock>,
    due: Cell<Instant>,
}

impl Locks {
    /// Just taken.
    pub fn new(session: SessionLock, uidlist: Option<Dotlock>) -> Locks {
        Locks { session, uidlist, due: Cell::new(Instant::now() + HEARTBEAT) }
    }

    /// Whether anybody looks at how old they are.
    pub fn need_heartbeat(&self) -> bool {
        self.session.needs_heartbeat() || self.uidlist.is_some()
    }

    /// Shows that the session lives. `false`: a lock was taken over.
    pub fn beat(&self) -> bool {
        self.due.set(Instant::now() + HEARTBEAT);
        // What cannot be touched but still is there under its name has not been taken over yet.
        let mut held = self.session.touch().unwrap_or(true);
        if let Some(lock) = &self.uidlist {
            let _ = lock.refresh();
            held &= lock.is_held();
        }
        held
    }

    /// Beats if it is time to: for work that takes long while nobody waits for the client.
    pub fn keep(&self) -> bool {
        !self.need_heartbeat() || Instant::now() < self.due.get() || self.beat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::maildir::{LockMethod, Maildir};
    use std::time::{Duration, SystemTime};

    #[test]
    fn long_work_keeps_the_lock_alive_and_notices_its_loss() {
        let dir = std::env::temp_dir().join(format!("tinmail-locks-{}", std::process::id()));
        let maildir = Maildir::open(&dir).unwrap();
        let locks = Locks::new(SessionLock::take(&maildir, LockMethod::File).unwrap(), None);
        let path = dir.join("tinmail-session.lock");
        let old = SystemTime::now() - Duration::from_secs(100);
        let is_old = || std::fs::metadata(&path).unwrap().modified().unwrap() <= old;
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(locks.keep() && is_old(), "it is not time yet");
        locks.due.set(Instant::now());
        assert!(locks.keep() && !is_old());
        std::fs::remove_file(&path).unwrap();
        assert!(locks.keep(), "it is not time yet");
        locks.due.set(Instant::now());
        assert!(!locks.keep());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_locked_directory_needs_no_heartbeat() {
        let dir = std::env::temp_dir().join(format!("tinmail-locks-dir-{}", std::process::id()));
        let maildir = Maildir::open(&dir).unwrap();
        let locks = Locks::new(SessionLock::take(&maildir, LockMethod::Directory).unwrap(), None);
        locks.due.set(Instant::now());
        assert!(!locks.need_heartbeat() && locks.keep() && locks.beat());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
