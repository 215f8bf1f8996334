//! Whose files are taken out of the drop directory, and when: users in turn, each for a bounded time.
//!
//! What a user left is read by processes that the user can stop, and may name ten thousand recipients. So each user has a lock of
//! his own, and only who shares that waits for him. Of one run's time a user gets [`BUDGET`]; a file that takes more than
//! [`READ_TIME`] is tried again beside the run, where nobody waits for it.

use super::UNFINISHED;
use super::listing::is_question;
use super::pickup::take;
use crate::queue::{Id, Place, QueueDirectory};
use crate::rules::Rules;
use common::config::Config;
use common::log::Log;
use common::sys::{fs, process};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Files of one user that are taken in one run; the others wait for the next.
const FILES_MAX: usize = 1000;
/// Users of one run.
const USERS_MAX: usize = 1000;
/// Looks at the directory in one run: what comes while it is at work is taken, too.
const LOOKS_MAX: usize = 100;
/// Time of one user in one run. A file that was begun is ended.
const BUDGET: Duration = Duration::from_secs(10);
/// How long the reading of one file may take at first, and how long in the end.
const READ_TIME: Duration = Duration::from_secs(5);
const LONG_READ_TIME: Duration = Duration::from_secs(60);
/// How long a run waits for other ones that are at the same user's files.
const WAIT: Duration = Duration::from_secs(2);
/// Age after which a file that was never finished goes.
const LEFT_OVER: Duration = Duration::from_secs(36 * 3600);

/// What is done with a file in this time. `false`: it is no message and goes.
type Take<'a> = dyn FnMut(&Id, u32, Duration) -> io::Result<bool> + 'a;

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picked {
    /// There was something.
    pub any: bool,
    /// Something takes long to read, and is left for somebody for whom nobody waits.
    pub slow: bool,
}

/// Takes everything that is complete. What goes wrong is logged; the file then waits for the next run, or goes if it cannot be a
/// message. `beside`: nobody waits for this process.
pub fn pick_up(config: &Config, directory: &QueueDirectory, log: &Log, beside: bool) -> Picked {
    let go = || -> io::Result<Picked> {
        let path = directory.place(Place::Drop);
        // A run of mail_owner's: what was dropped is for root's.
        if !process::is_root() && path.symlink_metadata()?.uid() == 0 {
            return Ok(Picked::default());
        }
        let mut turns = Turns::new(beside);
        let mut users = look(&path, &turns)?;
        if users.is_empty() {
            return Ok(Picked::default());
        }
        let locks = Locks::open(directory, "drop")?;
        let mut rules = Rules::load(config)?;
        let mut take = |id: &Id, uid: u32, time: Duration| {
            let file = path.join(id.as_str());
            let mut result = take(config, directory, log, &mut rules, &file, id, time);
            // If the process that queued it was killed after it had, it would go out, and come again with the next run.
            if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                result = take(config, directory, log, &mut rules, &file, id, time);
            }
            rules.take_warnings().iter().for_each(|what| log.warning(format_args!("{what}")));
            match &result {
                Ok(true) => {}
                Ok(false) => {
                    log.warning(format_args!("drop/{id}: refused and removed: it is no message"));
                    let _ = std::fs::remove_file(&file);
                }
                // Another run has taken it between our look and our lock.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log.error(format_args!("drop/{id}: uid={uid}: {error}")),
            }
            result
        };
        for _ in 0..LOOKS_MAX {
            turns.round(users, &locks, &mut take)?;
            users = look(&path, &turns)?;
            if users.is_empty() {
                break;
            }
        }
        Ok(turns.picked)
    };
    go().unwrap_or_else(|error| {
        log.error(format_args!("{}: {error}", directory.place(Place::Drop).display()));
        Picked::default()
    })
}

/// One user, with the names of files that have not been tried.
struct User {
    uid: u32,
    names: VecDeque<Id>,
}

/// A run's turns.
struct Turns {
    beside: bool,
    picked: Picked,
    tried: HashSet<Id>,
    spent: HashMap<u32, Duration>,
}

impl Turns {
    fn new(beside: bool) -> Turns {
        Turns { beside, picked: Picked::default(), tried: HashSet::new(), spent: HashMap::new() }
    }

    fn may(&self, uid: u32) -> bool {
        self.spent.get(&uid).is_none_or(|spent| *spent < BUDGET)
    }

    /// Gives everybody one turn after the other, until all files have been tried or their users have no time left.
    fn round(&mut self, users: Vec<User>, locks: &Locks, take: &mut Take<'_>) -> io::Result<()> {
        let (mut waiting, mut slow) = (users, Vec::new());
        let mut ours: VecDeque<User> = VecDeque::new();
        let begun = Instant::now();
        loop {
            // Of those whose files another run is at, it may have gone past what is here.
            for user in std::mem::take(&mut waiting) {
                match locks.try_take(user.uid)? {
                    true => ours.push_back(user),
                    false => waiting.push(user),
                }
            }
            if ours.is_empty() {
                if waiting.is_empty() || begun.elapsed() > WAIT {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            self.turns(&mut ours, &mut slow, locks, take);
        }
        waiting.iter().for_each(|user| self.tried.extend(user.names.iter().cloned()));
        self.picked.slow |= !slow.is_empty();
        for (uid, id) in slow {
            if self.beside {
                let _ = self.one(uid, &id, LONG_READ_TIME, take);
            }
            locks.give_back(uid);
        }
        Ok(())
    }

    fn turns(
        &mut self,
        ours: &mut VecDeque<User>,
        slow: &mut Vec<(u32, Id)>,
        locks: &Locks,
        take: &mut Take<'_>,
    ) {
        while let Some(mut user) = ours.pop_front() {
            let next = user.names.pop_front().filter(|_| self.may(user.uid));
            let in_time = next.as_ref().is_some_and(|id| self.one(user.uid, id, READ_TIME, take));
            match next {
                Some(_) if in_time => ours.push_back(user),
                // Nobody makes the others wait for more than one file of his.
                Some(id) => {
                    self.tried.extend(user.names);
                    slow.push((user.uid, id));
                }
                None => {
                    self.tried.extend(user.names);
                    locks.give_back(user.uid);
                }
            }
        }
    }

    /// `false`: it took too long.
    fn one(&mut self, uid: u32, id: &Id, time: Duration, take: &mut Take<'_>) -> bool {
        let begun = Instant::now();
        let result = take(id, uid, time);
        self.tried.insert(id.clone());
        *self.spent.entry(uid).or_default() += begun.elapsed();
        self.picked.any |= matches!(result, Ok(true));
        !result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }
}

/// What lies there and has not been tried. What is no message goes when it is old.
fn look(path: &Path, turns: &Turns) -> io::Result<Vec<User>> {
    let now = SystemTime::now();
    let mut users: Vec<User> = Vec::new();
    fs::for_each_name(path, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let file = path.join(name);
        let Ok(meta) = file.symlink_metadata() else { return };
        let age = meta.modified().ok().and_then(|time| now.duration_since(time).ok());
        // Who asks for the queue is answered, and removed then: what is older, a process that was killed has left. The other
        // time is its owner's to set.
        let changed = u64::try_from(meta.ctime()).map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let is_new = changed.is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age < LONG_READ_TIME));
        let is_asked = meta.file_type().is_socket() && is_new || is_question(name, meta.file_type());
        if is_asked && process::is_root() {
            return;
        }
        let id = Id::parse(name).filter(|_| !name.starts_with(UNFINISHED) && meta.is_file());
        let Some(id) = id else {
            // What is no file never will be one. Somebody's crash has left the rest, if it is old. A directory that is not empty
            // stays.
            if !meta.is_file() && !meta.is_dir() || age.is_some_and(|age| age > LEFT_OVER) {
                let _ = if meta.is_dir() { std::fs::remove_dir(&file) } else { std::fs::remove_file(&file) };
            }
            return;
        };
        if turns.tried.contains(&id) || !turns.may(meta.uid()) {
            return;
        }
        let at = match users.iter().position(|user| user.uid == meta.uid()) {
            Some(at) => at,
            None if users.len() < USERS_MAX => {
                users.push(User { uid: meta.uid(), names: VecDeque::new() });
                users.len() - 1
            }
            None => return,
        };
        match users.get_mut(at) {
            Some(user) if user.names.len() < FILES_MAX => user.names.push_back(id),
            _ => {}
        }
    })?;
    // Names begin with the time: what came first goes first.
    users.iter_mut().for_each(|user| user.names.make_contiguous().sort_unstable());
    users.sort_by(|a, b| a.names.front().cmp(&b.names.front()));
    Ok(users)
}

/// The locks of users, each an octet of one file. Who has them all has one descriptor for them; who is to keep one alone has a
/// descriptor of its own, and children with it.
pub(super) struct Locks(File);

impl Locks {
    pub(super) fn open(directory: &QueueDirectory, name: &str) -> io::Result<Locks> {
        let mut options = OpenOptions::new();
        // The directory is mail_owner's.
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(fs::NO_FOLLOW | fs::NO_WAIT);
        options.open(directory.place(Place::Lock).join(name)).map(Locks)
    }

    /// `false`: another run is at this user's files.
    pub(super) fn try_take(&self, uid: u32) -> io::Result<bool> {
        fs::try_record_lock_at(&self.0, u64::from(uid))
    }

    fn give_back(&self, uid: u32) {
        // What stays locked is free when the run ends.
        let _ = fs::unlock_record_at(&self.0, u64::from(uid));
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
