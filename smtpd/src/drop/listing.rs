//! `mailq` of users without rights: they ask in the drop directory, and a queue run answers.
//!
//! ```text
//! sendmail -bp (the user)   listens on a socket of its own, drop/ask.ID, and sees to it that a queue run begins
//! guard (root)              looks at names and owners only, and starts two processes for each that asks
//!   mail_owner              makes the list: what this uid has submitted, or everything (authorized_mailq_users)
//!   the user                connects to the socket and copies the list, which ends with [`END`]
//! ```
//!
//! So who asks is the file system's word, as it is for messages, and the process that goes where the name leads can go nowhere
//! where its user could not. Names and sockets are hostile: who asks may never listen or never read, so all has an end in time.

use crate::queue::{Id, Place, QueueDirectory, list};
use common::auth::passwd;
use common::config::Config;
use common::config::value::WhichUsers;
use common::log::Log;
use common::sys::fd::{self, Interest};
use common::sys::fs;
use common::sys::process::{self, Fork};
use std::collections::HashMap;
use std::fs::{File, FileType};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// What names of sockets begin with.
const ASK: &str = "ask.";
/// The octet behind a list that is whole; there is none in a list.
const END: u8 = 0;
/// How long who asks waits for a run: one that is at work looks every few seconds.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of the longest list that who asks reads.
const LIST_MAX: u64 = 64 << 20;
/// Answers of one run, and those to one user; other sockets of his go.
const ANSWERS_MAX: usize = 100;
const ANSWERS_TO_ONE: usize = 3;
/// Time for one answer, and for all answers of one run.
const ANSWER_TIME: Duration = Duration::from_secs(5);
const ANSWERS_TIME: Duration = Duration::from_secs(15);

/// Whether somebody asks by this name.
pub(super) fn is_question(name: &str, kind: FileType) -> bool {
    kind.is_socket() && name.strip_prefix(ASK).is_some_and(|id| Id::parse(id).is_some())
}

/// A user's list. `wake` sees to it that somebody looks. Errors: `TimedOut`, nobody has answered; the drop directory's.
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
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let [ready] = fd::poll([(listener.as_fd(), Interest::Read)], Some(left))?;
        if !ready.read {
            if Instant::now() >= until {
                let what = "no queue run has answered: does smtpd listen on port 25, or does systemd's tinmail-queue.path look there?";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            continue;
        }
        let (answer, _) = listener.accept()?;
        answer.set_read_timeout(Some(patience))?;
        let mut list = Vec::new();
        // What was cut off is no list: another run may have a whole one.
        if answer.take(LIST_MAX).read_to_end(&mut list).is_ok() && list.pop() == Some(END) {
            return Ok(list);
        }
    }
}

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
    let asked = questions(&path).map_err(failed).ok().filter(|asked| !asked.is_empty())?;
    match process::fork() {
        Ok(Fork::Parent(child)) => return Some(child),
        Ok(Fork::Child) => {}
        Err(error) => {
            failed(error);
            return None;
        }
    }
    let until = Instant::now() + ANSWERS_TIME;
    for Question { name, uid, gid, .. } in asked {
        // Who is left asks the next run.
        if Instant::now() >= until {
            break;
        }
        if let Err(error) = one(config, directory, log, &name, (uid, gid)) {
            log.error(format_args!("drop/{name}: uid={uid}: {error}"));
        }
        let _ = std::fs::remove_file(path.join(name));
    }
    process::exit_now(0)
}

/// Somebody who asks. They are sorted: everybody's first one before anybody's second.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    /// How many this user has before it.
    before: usize,
    name: String,
    uid: u32,
    gid: u32,
}

/// Who asks, by the names alone.
fn questions(path: &Path) -> io::Result<Vec<Question>> {
    let (mut asked, mut counts) = (Vec::new(), HashMap::<u32, usize>::new());
    fs::for_each_name(path, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Ok(meta) = path.join(name).symlink_metadata() else { return };
        if !is_question(name, meta.file_type()) || asked.len() == ANSWERS_MAX {
            return;
        }
        let (uid, gid) = (meta.uid(), meta.gid());
        let count = counts.entry(uid).or_default();
        // Root sees the queue itself; with a second name it may be another's socket.
        if uid == 0 || meta.nlink() != 1 || *count == ANSWERS_TO_ONE {
            let _ = std::fs::remove_file(path.join(name));
            return;
        }
        asked.push(Question { before: *count, name: name.to_owned(), uid, gid });
        *count += 1;
    })?;
    asked.sort();
    Ok(asked)
}

/// One list for one user. Who asks may have gone, or not read it: that is not worth a line.
fn one(
    config: &Config,
    directory: &QueueDirectory,
    log: &Log,
    name: &str,
    (uid, gid): (u32, u32),
) -> io::Result<()> {
    let (list, list_to) = fd::pipe()?;
    let maker = match process::fork()? {
        Fork::Child => {
            drop(list);
            let made = make(config, directory, uid, list_to);
            let cut = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
            if let Err(error) = made.as_ref().or_else(|error| if cut(error) { Ok(&()) } else { Err(error) }) {
                log.error(format_args!("drop/{name}: uid={uid}: {error}"));
            }
            process::exit_now(0);
        }
        Fork::Parent(child) => child,
    };
    drop(list_to);
    let copied = process::fork().map(|fork| match fork {
        Fork::Child => {
            let _ = copy(&directory.place(Place::Drop), name, (uid, gid), list);
            process::exit_now(0);
        }
        Fork::Parent(copier) => {
            drop(list);
            // It has the user's uid, so the user may have stopped it.
            if !process::wait_within(copier, ANSWER_TIME) {
                process::terminate(copier);
                process::wait_within(copier, ANSWER_TIME);
            }
        }
    });
    // Nobody reads what it still has.
    process::terminate(maker);
    process::wait(maker);
    copied
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
        WhichUsers::Named(name) => passwd::login_ids(passwd_path, name).is_ok_and(|(named, _)| named == uid),
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
fn copy(drop: &Path, name: &str, (uid, gid): (u32, u32), list: OwnedFd) -> io::Result<()> {
    std::env::set_current_dir(drop)?;
    process::become_user(uid, gid.max(1), &[])?;
    let mut to = UnixStream::connect(name)?;
    io::copy(&mut File::from(list), &mut to).map(|_| ())
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
