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
//! where its user could not, and by then the name may be another's: it tells nobody but a listener that has its own uid.
//! Names and sockets are hostile: who asks may never listen or never read, and may stop the process that has his uid. So all has
//! an end in time, users are answered side by side and in turn, and each by one run at a time. Who has [`AT_ONCE`] uids can
//! still make others wait, for some seconds.

use super::UNFINISHED;
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
use std::collections::HashMap;
use std::fs::{File, FileType, Metadata};
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
/// How long an answer waits in all for a user who does not read it.
const READ_TIME: Duration = Duration::from_secs(5);
/// How long it waits until what the user has just submitted is in the queue.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Octets of the longest list that who asks reads.
const LIST_MAX: u64 = 64 << 20;
/// Users whom one run answers at once. The others wait until one of these has ended.
const AT_ONCE: usize = 10;
/// Sockets of one user; what is beyond goes.
const SOCKETS_MAX: usize = 50;

/// Whether somebody asks by this name.
pub(super) fn is_question(name: &str, kind: FileType) -> bool {
    kind.is_socket() && name.strip_prefix(ASK).is_some_and(|id| Id::parse(id).is_some())
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
    let mut name = Name(PathBuf::from(format!("{UNFINISHED}{id}")));
    let listener = UnixListener::bind(&name.0).map_err(failed)?;
    // Not before somebody listens: who is answered then has no second answer.
    let asks = PathBuf::from(format!("{ASK}{id}"));
    std::fs::rename(&name.0, &asks).map_err(failed)?;
    name.0 = asks;
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

/// The users whom a run is answering, each by a process of its own.
#[derive(Debug, Default)]
pub struct Answers {
    serving: Vec<i32>,
    /// Somebody may ask whom nobody is going to answer: there was no place, or whoever had the lock has ended.
    wanted: bool,
}

impl Answers {
    /// Begins to answer those who ask now. Nobody waits for it.
    pub fn begin(&mut self, config: &Config, directory: &QueueDirectory, log: &Log) {
        self.wanted = false;
        // Without root there is nobody but the queue's owner, who sees it.
        if !process::is_root() {
            return;
        }
        let path = directory.place(Place::Drop);
        if let Err(error) = askers(&path).and_then(|askers| self.begin_for(askers, config, directory, log)) {
            log.error(format_args!("{}: {error}", path.display()));
        }
    }

    fn begin_for(
        &mut self,
        askers: Vec<u32>,
        config: &Config,
        directory: &QueueDirectory,
        log: &Log,
    ) -> io::Result<()> {
        for uid in askers {
            if self.serving.len() >= AT_ONCE {
                self.wanted = true;
                break;
            }
            // One run at a time, which will look again: who stops an answer has no second one meanwhile. Our child keeps the lock.
            let lock = Locks::open(directory, "ask")?;
            if !lock.try_take(uid)? {
                continue;
            }
            match process::fork()? {
                Fork::Parent(pid) => self.serving.push(pid),
                Fork::Child => {
                    if let Err(error) = serve(config, directory, log, uid) {
                        log.error(format_args!("drop: uid={uid} asks for the queue: {error}"));
                    }
                    process::exit_now(0);
                }
            }
        }
        Ok(())
    }

    /// This child has ended. If it was one of these, whoever has asked meanwhile relies on us.
    pub fn ended(&mut self, pid: i32) {
        let before = self.serving.len();
        self.serving.retain(|serves| *serves != pid);
        self.wanted |= self.serving.len() < before;
    }

    /// Nobody is being answered.
    pub fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// It is time for [`Answers::begin`].
    pub fn is_wanted(&self) -> bool {
        self.wanted && self.serving.len() < AT_ONCE
    }
}

/// Answers one user, once: the next turn is others'.
fn serve(config: &Config, directory: &QueueDirectory, log: &Log, uid: u32) -> io::Result<()> {
    let path = directory.place(Place::Drop);
    settle(&path, uid);
    let asker = claim(&path, uid)?;
    if asker.names.is_empty() {
        return Ok(());
    }
    let result = one(config, directory, log, &asker);
    asker.names.iter().for_each(|name| _ = std::fs::remove_file(path.join(name)));
    result
}

/// A user who is answered, and the names by which.
#[derive(Debug, PartialEq, Eq)]
struct Asker {
    uid: u32,
    gid: u32,
    names: Vec<String>,
}

fn for_each_question(drop: &Path, tell: &mut dyn FnMut(&str, &Metadata)) -> io::Result<()> {
    fs::for_each_name(drop, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Ok(meta) = drop.join(name).symlink_metadata() else { return };
        if is_question(name, meta.file_type()) {
            tell(name, &meta);
        }
    })
}

/// Who asks, by the names alone; who has waited longest is the first.
fn askers(drop: &Path) -> io::Result<Vec<u32>> {
    let mut askers = HashMap::new();
    for_each_question(drop, &mut |name, meta| {
        // Root sees the queue itself.
        if meta.uid() == 0 {
            let _ = std::fs::remove_file(drop.join(name));
            return;
        }
        // The time of its last change: the other one is its owner's to set.
        let since = (meta.ctime(), meta.ctime_nsec());
        let first = askers.entry(meta.uid()).or_insert(since);
        *first = since.min(*first);
    })?;
    let mut askers: Vec<_> = askers.into_iter().collect();
    askers.sort_unstable_by_key(|(_, since)| *since);
    Ok(askers.into_iter().map(|(uid, _)| uid).collect())
}

/// Takes a user's questions: by their new names, which nobody can know before, they are no other run's. The lock is ours.
fn claim(drop: &Path, uid: u32) -> io::Result<Asker> {
    let (mut names, mut gid) = (Vec::new(), uid);
    for_each_question(drop, &mut |name, meta| {
        if meta.uid() == uid {
            gid = meta.gid();
            names.push(name.to_owned());
        }
    })?;
    let mut asker = Asker { uid, gid, names: Vec::new() };
    for name in names {
        let name = drop.join(name);
        if asker.names.len() == SOCKETS_MAX {
            let _ = std::fs::remove_file(name);
            continue;
        }
        let mut random = [0; 16];
        process::random(&mut random)?;
        let told = format!("{TOLD}{:032x}", u128::from_ne_bytes(random));
        match std::fs::rename(&name, drop.join(&told)) {
            Ok(()) => asker.names.push(told),
            // Who asked has gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let _ = std::fs::remove_file(&name);
                return Err(error);
            }
        }
    }
    Ok(asker)
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
    // It has the user's uid, so the user may stop it: then that is all.
    if !process::wait_within_while_it_runs(copier, ANSWER_TIME) {
        log.warning(format_args!(
            "drop: uid={} asks for the queue: the answer was stopped or takes too long",
            asker.uid
        ));
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
        (socket::listener_uid(&to).ok()? == asker.uid).then_some(to)
    });
    let (mut all, mut list): (Vec<UnixStream>, _) = (connected.collect(), File::from(list));
    let (mut buffer, mut patience) = ([0; 16 * 1024], READ_TIME);
    while !all.is_empty() {
        let length = list.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let octets = buffer.get(..length).unwrap_or_default();
        all.retain_mut(|to| write_within(to, octets, &mut patience).is_ok());
    }
    Ok(())
}

/// Writes what has room within this time, and takes what that took from it.
fn write_within(to: &mut UnixStream, octets: &[u8], patience: &mut Duration) -> io::Result<()> {
    let begun = Instant::now();
    // Zero would be for ever.
    to.set_write_timeout(Some((*patience).max(Duration::from_millis(1))))?;
    let written = to.write_all(octets);
    *patience = patience.saturating_sub(begun.elapsed());
    written
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
