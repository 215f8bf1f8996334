//! Programs whose conversation has no session: the guard stays, answers the front to the end, and starts a helper process
//! where something is to be done with a user's rights.
//!
//! ```text
//!  front  --- questions, answers --->  guard: the service  --- commands, results --->  helper (some user's rights)
//!     \--- data socket: what is too large for a question ----------------------------------/
//! ```
//!
//! Questions come from the front and are as hostile as everything that does. What they mean is the protocol's own affair.

use super::channel::Why;
use super::front::Facts;
use super::handoff::{DESCRIPTOR, Handoff};
use super::{Program, environment};
use crate::auth::Account;
use crate::cli;
use crate::config::Config;
use crate::exit::Exit;
use crate::log::Log;
use crate::peer::Peer;
use crate::sys::process::{self, Fork};
use crate::sys::{entry, fd, processor};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Where a helper finds its socket to the guard.
const COMMANDS: i32 = 11;
/// Where a helper finds what the front sends.
const DATA: i32 = 12;
/// Where it finds a file that several helpers share.
const SHARED: i32 = 13;

/// What the guard knows of the conversation.
pub struct Ground<'a> {
    /// The program that is served.
    pub program: &'static Program,
    /// The settings.
    pub config: &'a Rc<Config>,
    /// The log.
    pub log: &'a Log,
    /// The client's addresses. A service that changes them (XCLIENT) changes whom logins are checked for.
    pub peer: &'a mut Peer,
    /// What the front was told.
    pub facts: &'a Facts,
    /// A handshake was signed: the front speaks TLS.
    pub tls: bool,
    /// This process has had a key or a password in memory: what is forked from it with a user's rights has to start afresh.
    pub had_secrets: bool,
    /// Who has logged in.
    pub account: Option<&'a Account>,
    /// The mechanism of the last login.
    pub method: &'a str,
    /// The guard's end of the data socket. The guard itself never reads from it.
    pub data: &'a OwnedFd,
    /// The front's process; 0: it is not there yet.
    pub front: i32,
}

/// The guard's part of a protocol.
pub trait Service {
    /// What the front has to know before it asks anything. Asked before the front is there, unless a proxy has yet to say who
    /// the client is.
    fn welcome(&mut self, ground: &mut Ground<'_>) -> io::Result<Vec<u8>>;

    /// What the service waits for besides questions, if it waits.
    fn watched(&self) -> Option<BorrowedFd<'_>>;

    /// There is something to read where it waits: what the front, which waits for it, is told. An error ends the conversation.
    fn stirred(&mut self, ground: &mut Ground<'_>) -> io::Result<Vec<u8>>;

    /// Answers one question; `None`: that has no answer. An error ends the conversation: the front has broken the rules.
    fn answer(&mut self, ground: &mut Ground<'_>, question: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// The answer is on its way to the client. What nobody waits for can be done while the client reads it, and what will be asked
    /// for next can be begun.
    fn at_leisure(&mut self, ground: &mut Ground<'_>);

    /// A login was refused, for the log. `user` is empty unless there is such a user; `guessed`: the password was wrong.
    fn refused(&mut self, ground: &Ground<'_>, method: &str, user: &str, guessed: bool);

    /// The conversation is over, for the log. `counts` is what the front has to say of it.
    fn ended(&mut self, ground: &Ground<'_>, why: Why, detail: &str, counts: &str);
}

/// A helper process, as its parent sees it.
pub struct Helper {
    /// Its process id.
    pub pid: i32,
    /// The socket to it.
    pub commands: OwnedFd,
}

/// A helper process, as it sees itself.
pub struct Helping {
    /// The settings. Not a copy where the guard's are at hand: pages that nobody writes to are shared.
    pub config: Rc<Config>,
    /// The log.
    pub log: Log,
    /// The socket to the guard. Its end means that there is nothing more to do.
    pub commands: OwnedFd,
    /// What the front sends.
    pub data: OwnedFd,
    /// A file that several helpers share.
    pub shared: Option<OwnedFd>,
}

/// Whose rights a helper has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id; never root's.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Ground<'_> {
    /// Guard and front take turns with this helper, and go to the processor on which it stays.
    pub fn follow(&self, helper: i32) {
        processor::follow_with(self.front, helper);
    }

    /// Nanoseconds for which the guard had to wait for others, since it began.
    pub fn waited(&self) -> u64 {
        processor::waited().unwrap_or_default()
    }

    /// Each of them has much to do: they need not stay on one processor.
    pub fn roam(&self) {
        processor::roam_with(self.front);
    }

    /// Starts a helper with the rights of `user`, which without root has to be this process's own. `argument` is the hidden
    /// one with which [`Program::others`] knows the helper, should it have to be executed afresh; `run` is what it does.
    /// `shared` is a file for it.
    pub fn start_helper(
        &self,
        user: &User,
        argument: &'static str,
        shared: Option<&OwnedFd>,
        run: fn(Helping) -> Exit,
    ) -> io::Result<Helper> {
        let (ours, theirs) = fd::socketpair()?;
        match process::fork()? {
            Fork::Parent(pid) => Ok(Helper { pid, commands: ours }),
            Fork::Child => {
                drop(ours);
                let code = match self.become_helper(user, argument, theirs, shared) {
                    Ok(helping) => run(helping),
                    Err(error) => {
                        self.log.error(format_args!("helper: {error}"));
                        Exit::Temporary
                    }
                };
                process::exit_now(code.code());
            }
        }
    }

    /// In the child: leaves behind what is the guard's.
    fn become_helper(
        &self,
        user: &User,
        argument: &str,
        commands: OwnedFd,
        shared: Option<&OwnedFd>,
    ) -> io::Result<Helping> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        fd::replace(0, &null)?;
        fd::replace(1, &null)?;
        drop(null);
        // A guard that has several helpers has descriptors at these numbers itself, and one of the three may be at another's.
        let first_free = SHARED.saturating_add(1);
        let moved_commands = fd::duplicate_above(&commands, first_free)?;
        drop(commands);
        let moved_data = fd::duplicate_above(self.data, first_free)?;
        let moved_shared = shared.map(|shared| fd::duplicate_above(shared, first_free)).transpose()?;
        fd::replace(COMMANDS, &moved_commands)?;
        fd::replace(DATA, &moved_data)?;
        drop((moved_commands, moved_data));
        let mut kept = vec![0, 1, 2, self.log.number(), COMMANDS, DATA];
        if let Some(shared) = moved_shared {
            fd::replace(SHARED, &shared)?;
            kept.push(SHARED);
        }
        fd::close_all_but(&kept)?;
        if process::is_root() {
            process::become_user(user.uid, user.gid, &user.groups)?;
        } else if process::user_and_group().0 != user.uid {
            return Err(io::Error::other(format!("only root can work for uid {}", user.uid)));
        }
        process::no_new_privileges()?;
        process::private_umask();
        if !self.had_secrets {
            process::not_dumpable();
            let [commands, data] = [inherited(COMMANDS)?, inherited(DATA)?];
            let shared = shared.map(|_| inherited(SHARED)).transpose()?;
            let (config, log) = (self.config.clone(), self.log.clone());
            log.catch_panics();
            return Ok(Helping { config, log, commands, data, shared });
        }
        self.log.keep_over_exec(true)?;
        let handoff = Handoff {
            settings: self.config.changed_pairs().collect(),
            log: self.log.number(),
            session_id: self.log.tag().to_owned(),
            ..Handoff::default()
        };
        let pipe = handoff.send()?;
        fd::replace(DESCRIPTOR, &pipe.as_fd())?;
        let arguments =
            [process::c_string(self.program.line.name.as_bytes())?, process::c_string(argument.as_bytes())?];
        Err(process::exec_self(&arguments, &environment(&handoff)?))
    }
}

/// A helper that was executed afresh: takes over what the guard left for it.
pub fn helping(program: &'static Program) -> io::Result<Helping> {
    if let Ok(name) = process::c_string(program.line.name.as_bytes()) {
        process::set_name(&name);
    }
    let (handoff, config) = receive(&program.line)?;
    let log = Log::inherit(handoff.log, &config, handoff.session_id)?;
    log.keep_over_exec(false)?;
    log.catch_panics();
    process::ignore_pipe_signal();
    process::private_umask();
    process::not_dumpable();
    let [commands, data] = [inherited(COMMANDS)?, inherited(DATA)?];
    Ok(Helping { config: Rc::new(config), log, commands, data, shared: inherited(SHARED).ok() })
}

fn receive(program: &cli::Program) -> io::Result<(Handoff, Config)> {
    let handoff = Handoff::receive()?;
    let pairs = handoff.settings.iter().map(String::as_str);
    let config = Config::from_pairs(program, pairs).map_err(|error| io::Error::other(error.to_string()))?;
    Ok((handoff, config))
}

/// The settings that [`start_detached`] left for this process.
pub fn handed_over(program: &cli::Program) -> io::Result<Config> {
    receive(program).map(|(_, config)| config)
}

fn inherited(number: i32) -> io::Result<OwnedFd> {
    let fd = fd::adopt(number)?;
    fd::close_at_exec(&fd)?;
    Ok(fd)
}

/// Starts this program with other arguments, in a process group of its own, to go on when the conversation is over. It has
/// this process's rights, and of its descriptors only standard error. It gets the settings by [`handed_over`]: there may be
/// passwords among them, and arguments are for everybody on this host to read.
pub fn start_detached(log: &Log, name: &str, arguments: &[&str], config: &Config) -> io::Result<()> {
    let Fork::Child = process::fork_twice()? else { return Ok(()) };
    let started = || -> io::Result<()> {
        process::own_session()?;
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        fd::replace(0, &null)?;
        fd::replace(1, &null)?;
        drop(null);
        fd::close_from(3)?;
        let handoff = Handoff { settings: config.changed_pairs().collect(), ..Handoff::default() };
        let pipe = handoff.send()?;
        fd::replace(DESCRIPTOR, &pipe.as_fd())?;
        let mut words = vec![process::c_string(name.as_bytes())?];
        for argument in arguments {
            words.push(process::c_string(argument.as_bytes())?);
        }
        Err(process::exec_self(&words, &environment(&handoff)?))
    };
    if let Err(error) = started() {
        log.error(format_args!("{name} {}: {error}", arguments.first().unwrap_or(&"")));
    }
    process::exit_now(Exit::Temporary.code());
}

/// Whether this process was started as a helper: the program to run then.
pub(super) fn other(program: &'static Program) -> Option<fn(&'static Program) -> Exit> {
    let first = entry::arguments().nth(1)?;
    program.others.iter().find(|(argument, _)| first == *argument).map(|(_, run)| *run)
}
