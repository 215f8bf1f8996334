//! `mailq` of users without rights: they ask in the drop directory, and a queue run answers.
//!
//! ```text
//! sendmail -bp (the user)   listens on a socket of its own, drop/ask.ID, and sees to it that a queue run begins
//! guard (root)              looks at names and owners only, and starts a process for each user who asks, and that two:
//!   mail_owner              makes the list: what this uid has submitted, or everything (authorized_mailq_users)
//!   the user                connects to the user's sockets and copies the list, which ends with [`END`]
//! ```
//!
//! Whose list it is the file system says, as it says whose a message is. The process that goes where a name leads can go nowhere
//! where its user could not, and tells what that user may know: who puts another's socket there makes him a present of a list.
//! Names and sockets are hostile: who asks may never listen or never read, and may stop the process that has his uid. So all has
//! an end in time, users are answered side by side, and each by one run at a time.

use super::turns::Locks;
use crate::queue::{Id, Place, QueueDirectory, list};
use common::auth::passwd;
use common::config::Config;
use common::config::value::WhichUsers;
use common::log::Log;
use common::sys::fd::{self, Interest};
use common::sys::fs;
use common::sys::process::{self, Fork};
use common::sys::socket;
use std::fs::{File, FileType};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// What names of sockets begin with, and those that are being answered: no other run does that again.
const ASK: &str = "ask.";
const TOLD: &str = "told.";
/// The octet behind a list that is whole; there is none in a list.
const END: u8 = 0;
/// How long who asks waits for a run: one that is at work looks every few seconds.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Time for one user's answer: some hundred thousand messages.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long an answer waits for a user who does not read it.
const READ_TIME: Duration = Duration::from_secs(5);
/// How long it waits until what the user has just submitted is in the queue.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Octets of the longest list that who asks reads.
const LIST_MAX: u64 = 64 << 20;
/// Users who are answered in one run, and at once. The others hear the next run.
const USERS_MAX: usize = 100;
const AT_ONCE: usize = 10;
/// Sockets of one user; what is beyond goes.
const SOCKETS_MAX: usize = 50;

/// Whether somebody asks by this name.
pub(super) fn is_question(name: &str, kind: FileType) -> bool {
    kind.is_socket() && name.strip_prefix(ASK).is_some_and(|id| Id::parse(id).is_some())
}

/// Whether by this name somebody is being answered.
pub(super) fn is_answered(name: &str, kind: FileType) -> bool {
    kind.is_socket() && name.starts_with(TOLD)
}

/// A user's list. `wake` sees to it that somebody looks. Errors: `TimedOut`, nobody has answered; `UnexpectedEof`, the list was cut
/// off or has more than [`LIST_MAX`] octets; the drop directory's.
pub fn ask(config: &Config, patience: Duration, wake: &dyn Fn()) -> io::Result<Vec<u8>> {
    let queue = config.queue_directory.get().unwrap_or(Path::new(""));
    let id = Id::new(SystemTime::now())?;
    let drop = queue.join(Place::Drop.name());
    let failed = |error: io::Error| super::unusable(&drop, &error);
    // An address of a socket has 107 octets: not every path fits.
    std::env::set_current_dir(&drop).map_err(failed)?;
    // Only this user's processes may connect.
    process::private_umask();
    let name = Name(PathBuf::from(format!("{ASK}{id}")));
    let listener = UnixListener::bind(&name.0).map_err(failed)?;
    wake();
    let mut until = Instant::now() + patience;
    let (mut kind, mut why) = (io::ErrorKind::TimedOut, NOBODY);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let [ready] = fd::poll([(listener.as_fd(), Interest::Read)], Some(left))?;
        if ready.read {
            let (answer, _) = listener.accept()?;
            answer.set_read_timeout(Some(ANSWER_TIME))?;
            let mut list = Vec::new();
            if answer.take(LIST_MAX + 1).read_to_end(&mut list).is_ok() && list.pop() == Some(END) {
                return Ok(list);
            }
            kind = io::ErrorKind::UnexpectedEof;
            why = if list.len() as u64 == LIST_MAX { TOO_LONG } else { CUT_OFF };
            // Another run may be about to answer, too.
            until = until.min(Instant::now() + READ_TIME);
        } else if Instant::now() >= until {
            return Err(io::Error::new(kind, why));
        }
    }
}

const NOBODY: &str = "no queue run has answered: does smtpd listen on port 25, or does systemd's tinmail-queue.path look there?";
const CUT_OFF: &str = "the list was cut off: the log may say why";
const TOO_LONG: &str = "the list has more than 64 MiB: root and mail_owner can read it";

/// Removed with it. Of who is killed the next run removes it.
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts a process that answers everybody who asks, and ends. `None`: nobody asks.
pub fn answer(config: &Config, directory: &QueueDirectory, log: &Log) -> Option<i32> {
    // Without root there is nobody but the queue's owner, who sees it.
    if !process::is_root() {
        return None;
    }
    let path = directory.place(Place::Drop);
    let failed = |error: io::Error| log.error(format_args!("{}: {error}", path.display()));
    let askers = askers(&path).map_err(failed).ok().filter(|askers| !askers.is_empty())?;
    match process::fork() {
        Ok(Fork::Parent(child)) => return Some(child),
        Ok(Fork::Child) => {}
        Err(error) => {
            failed(error);
            return None;
        }
    }
    let mut busy = 0;
    for asker in askers {
        if busy == AT_ONCE && process::wait_for_any().is_ok() {
            busy -= 1;
        }
        match process::fork() {
            Ok(Fork::Parent(_)) => busy += 1,
            Ok(Fork::Child) => {
                let uid = asker.uid;
                if let Err(error) = serve(config, directory, log, asker) {
                    log.error(format_args!("drop: uid={uid} asks for the queue: {error}"));
                }
                process::exit_now(0);
            }
            Err(error) => failed(error),
        }
    }
    while process::wait_for_any().is_ok() {}
    process::exit_now(0)
}

/// Answers one user, if no other run is doing that: who stops an answer has no second one meanwhile.
fn serve(config: &Config, directory: &QueueDirectory, log: &Log, mut asker: Asker) -> io::Result<()> {
    let path = directory.place(Place::Drop);
    let locks = Locks::open(directory, "ask")?;
    if !locks.try_take(asker.uid)? {
        return Ok(());
    }
    settle(&path, asker.uid);
    // From here on it is ours: what another run has taken has another name.
    asker.names = asker.names.iter().filter_map(|name| claim(&path, name)).collect();
    if asker.names.is_empty() {
        return Ok(());
    }
    let result = one(config, directory, log, &asker);
    asker.names.iter().for_each(|name| _ = std::fs::remove_file(path.join(name)));
    result
}

fn claim(drop: &Path, name: &str) -> Option<String> {
    let told = format!("{TOLD}{}", name.strip_prefix(ASK)?);
    std::fs::rename(drop.join(name), drop.join(&told)).ok().map(|()| told)
}

/// A user who asks.
#[derive(Debug, PartialEq, Eq)]
struct Asker {
    uid: u32,
    gid: u32,
    /// Since when, by the file system's clock: seconds and nanoseconds.
    since: (i64, i64),
    names: Vec<String>,
}

/// Who asks, by the names alone; who has waited longest is the first.
fn askers(path: &Path) -> io::Result<Vec<Asker>> {
    let mut askers: Vec<Asker> = Vec::new();
    fs::for_each_name(path, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Ok(meta) = path.join(name).symlink_metadata() else { return };
        if !is_question(name, meta.file_type()) {
            return;
        }
        let (uid, gid) = (meta.uid(), meta.gid());
        // That of its last change: the other one is its owner's to set.
        let since = (meta.ctime(), meta.ctime_nsec());
        let known = askers.iter_mut().find(|asker| asker.uid == uid);
        // Root sees the queue itself; with a second name it may be another's socket.
        let is_too_many = known.as_ref().is_some_and(|asker| asker.names.len() == SOCKETS_MAX);
        if uid == 0 || meta.nlink() != 1 || is_too_many {
            let _ = std::fs::remove_file(path.join(name));
        } else if let Some(asker) = known {
            asker.since = asker.since.min(since);
            asker.names.push(name.to_owned());
        } else {
            askers.push(Asker { uid, gid, since, names: vec![name.to_owned()] });
        }
    })?;
    askers.sort_by_key(|asker| asker.since);
    askers.truncate(USERS_MAX);
    Ok(askers)
}

/// One list for one user.
fn one(config: &Config, directory: &QueueDirectory, log: &Log, asker: &Asker) -> io::Result<()> {
    let (maker, list) = begin_list(config, directory, log, asker.uid)?;
    let given = give(&directory.place(Place::Drop), log, asker, list);
    // Nobody reads what it still has.
    process::terminate(maker);
    process::wait_within(maker, READ_TIME);
    given
}

/// Starts the process that makes the list: its number, and where the list can be read.
fn begin_list(
    config: &Config,
    directory: &QueueDirectory,
    log: &Log,
    uid: u32,
) -> io::Result<(i32, OwnedFd)> {
    let (list, list_to) = fd::pipe()?;
    if let Fork::Parent(maker) = process::fork()? {
        return Ok((maker, list));
    }
    drop(list);
    match make(config, directory, uid, list_to) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log.error(format_args!("drop: uid={uid} asks for the queue: {error}"));
        }
        _ => {}
    }
    process::exit_now(0)
}

/// Has a process of the user's give the list to the user, who may have gone, or not read it: that is not worth a line.
fn give(drop: &Path, log: &Log, asker: &Asker, list: OwnedFd) -> io::Result<()> {
    let copier = match process::fork()? {
        Fork::Parent(copier) => copier,
        Fork::Child => {
            let _ = copy(drop, asker, list);
            process::exit_now(0);
        }
    };
    // It has the user's uid, so the user may have stopped it.
    if !process::wait_within(copier, ANSWER_TIME) {
        log.warning(format_args!("drop: uid={} asks for the queue: it takes too long", asker.uid));
        process::terminate(copier);
        process::wait_within(copier, READ_TIME);
    }
    Ok(())
}

/// What the user has submitted before asking is to be in the list: another process takes it in.
fn settle(drop: &Path, uid: u32) {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(10);
    let has_message = || {
        let mut found = false;
        let look = fs::for_each_name(drop, &mut |name, _| {
            let id = std::str::from_utf8(name).ok().filter(|_| !found).and_then(Id::parse);
            let is_ours = |meta: std::fs::Metadata| meta.is_file() && meta.uid() == uid;
            found |= id.is_some_and(|id| drop.join(id.as_str()).symlink_metadata().is_ok_and(is_ours));
        });
        look.is_ok() && found
    };
    while begun.elapsed() < SETTLE_TIME && has_message() {
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// In a child: becomes mail_owner and makes the list.
fn make(config: &Config, directory: &QueueDirectory, uid: u32, to: OwnedFd) -> io::Result<()> {
    let all = sees_all(config, uid);
    let (owner, group) = directory.owner();
    process::become_user(owner, group, &[])?;
    process::no_new_privileges()?;
    process::not_dumpable();
    let mut to = BufWriter::new(File::from(to));
    list::print(directory, if all { None } else { Some(uid) }, &mut to)?;
    to.write_all(&[END])?;
    to.flush()
}

/// Whether `authorized_mailq_users` has this user. A name that nobody has gives nobody a right.
fn sees_all(config: &Config, uid: u32) -> bool {
    let passwd_path = config.passwd_path.get().unwrap_or(Path::new(""));
    config.authorized_mailq_users.iter().any(|user| match user {
        WhichUsers::Anyone => true,
        WhichUsers::Named(name) => match name.parse::<u32>() {
            Ok(number) => number == uid,
            Err(_) => matches!(passwd::find_user(passwd_path, name), Ok(Some(user)) if user.uid == uid),
        },
    })
}

/// Names of `authorized_mailq_users` that nobody has.
pub(crate) fn unknown_users(config: &Config) -> Vec<&str> {
    let passwd_path = config.passwd_path.get().unwrap_or(Path::new(""));
    let is_unknown = |name: &&str| matches!(passwd::find_user(passwd_path, name), Ok(None));
    let named = config.authorized_mailq_users.iter().filter_map(|user| match user {
        WhichUsers::Named(name) if name.parse::<u32>().is_err() => Some(name.as_str()),
        WhichUsers::Named(_) | WhichUsers::Anyone => None,
    });
    named.filter(is_unknown).collect()
}

/// In a child: becomes who asks, and goes where that user says.
fn copy(drop: &Path, asker: &Asker, list: OwnedFd) -> io::Result<()> {
    std::env::set_current_dir(drop)?;
    process::become_user(asker.uid, asker.gid.max(1), &[])?;
    process::no_new_privileges()?;
    process::not_dumpable();
    // Connected at once: who asks knows that it will be answered, however long the list takes.
    let connected = asker.names.iter().filter_map(|name| {
        let to = socket::connect_local(Path::new(name)).ok()?;
        to.set_write_timeout(Some(READ_TIME)).ok()?;
        Some(to)
    });
    let (mut all, mut list): (Vec<UnixStream>, _) = (connected.collect(), File::from(list));
    let mut buffer = [0; 16 * 1024];
    while !all.is_empty() {
        let length = list.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let octets = buffer.get(..length).unwrap_or_default();
        all.retain_mut(|to| to.write_all(octets).is_ok());
    }
    Ok(())
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
