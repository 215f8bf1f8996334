//! The queue run, `smtpd -q`: what is due is tried once, and everybody is told who has to be.
//!
//! ```text
//! guard (root)          picks up what users have dropped; answers workers: becomes a recipient for a local delivery
//!   runner (mail_owner) goes through the queue, a pipe of IDs for each destination
//!     worker...         a message at a time: connection, client, marks, notifications
//! ```
//!
//! No process of a run is needed by another run, and none is resident. Every message is locked while somebody works on it,
//! slots bound the processes for a destination: any number of runs at once is safe.

mod ask;
pub mod attempt;
mod circles;
pub mod dispatch;
mod here;
mod lines;
mod local;
mod options;
mod slots;
mod ways;
mod worker;

use crate::address::Address;
use crate::drop::{self, Answers};
use crate::queue::QueueDirectory;
use crate::queue::schedule::Schedule;
use crate::values;
use attempt::Policy;
use common::config::Config;
use common::exit::Exit;
use common::log::{self, Log};
use common::process::service;
use common::process::walls::SenderWalls;
use common::sys::process::{self, Fork};
use common::sys::{entry, fd, pass};
use dispatch::Selection;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use ways::Ways;

pub use options::{HANDED_OVER, Options, is_asked_for};

/// Octets of what went wrong with a run.
const WRONG_MAX: u64 = 4096;
/// Rounds of one run: what is left at the end of one has another at once.
const ROUNDS_MAX: u32 = 100;
/// What the runner says when nothing has.
const WELL: &str = "\n";

/// What all processes of a run have.
pub struct Run {
    /// The settings.
    pub config: Config,
    /// The queue.
    pub directory: QueueDirectory,
    /// The log.
    pub log: Log,
    /// When again, and who is told.
    pub policy: Policy,
    /// Which way a recipient's mail goes.
    pub ways: Ways,
    /// Where workers ask for what only root can do.
    pub guard: OwnedFd,
    /// What is around each worker: other hosts speak with it.
    pub walls: SenderWalls,
}

/// `smtpd -q`, and `sendmail -q`.
pub fn main() -> u8 {
    if log::guard_stderr().is_err() {
        return Exit::Temporary.code();
    }
    match Options::parse(entry::arguments().skip(1).map(OsString::from)) {
        Ok(options) => start(options).code(),
        Err(what) => complain(&what).code(),
    }
}

/// Runs with these options.
pub fn start(options: Options) -> Exit {
    let config = match options.handed_over {
        true => service::handed_over(&options::PROGRAM).map_err(|error| error.to_string()),
        false => Config::load(&options::PROGRAM, &options.line).map_err(|error| error.to_string()),
    };
    let config = match config {
        Ok(config) => config,
        Err(what) => return complain(&what),
    };
    // Who started us may go away; what a launcher left open is not for us.
    if let Err(error) = fd::close_from(3) {
        return complain(&error.to_string());
    }
    let log = Log::open(&config, format!("postfix/smtpd/queue[{}]", std::process::id()));
    log.catch_panics();
    process::ignore_pipe_signal();
    process::heed_child_signal();
    process::lift_descriptor_limit();
    process::private_umask();
    process::return_large_memory();
    let (mut selection, mut wrong) = (options.selection, String::new());
    let mut answers = Answers::default();
    // Users who always leave something at its end must not make it go on for ever, with settings of long ago.
    for _ in 0..ROUNDS_MAX {
        match run(&config, &log, selection, &mut answers) {
            Ok((again, said)) => {
                wrong = if said.is_empty() { wrong } else { said };
                if !again {
                    break;
                }
            }
            Err(error) => {
                wrong = error.to_string();
                break;
            }
        }
        // What was dropped at its end.
        selection = Selection::Due;
    }
    if wrong.is_empty() {
        return Exit::Success;
    }
    log.error(format_args!("queue run: {wrong}"));
    complain(&wrong);
    Exit::Temporary
}

/// For a person at a terminal, or the launcher's journal.
fn complain(what: &str) -> Exit {
    let _ = writeln!(io::stderr(), "smtpd -q: {what}");
    Exit::Usage
}

/// Whether there is something for another run, and what went wrong with this one (or nothing). `answers` go on in it.
fn run(
    config: &Config,
    log: &Log,
    selection: Selection,
    answers: &mut Answers,
) -> io::Result<(bool, String)> {
    let directory = QueueDirectory::open(config)?;
    answers.begin(config, &directory, log);
    let picked = drop::pick_up(config, &directory, log, false);
    let (ours, theirs) = pass::message_pair()?;
    let (hears, says) = fd::pipe()?;
    match process::fork()? {
        Fork::Child => {
            drop((ours, hears));
            let (uid, gid) = directory.owner();
            let become_owner = || -> io::Result<()> {
                if process::is_root() {
                    process::become_user(uid, gid, &[])?;
                }
                // A run for some IDs goes on with what was found here.
                if picked.any {
                    slots::look_again(&directory);
                }
                process::no_new_privileges()?;
                process::not_dumpable();
                Ok(())
            };
            let result = become_owner()
                .and_then(|()| Run::new(config.clone(), directory, log, theirs))
                .and_then(|run| dispatch::dispatch(&run, &selection).and_then(|()| run.ways.unread()));
            let said = result.err().map_or(WELL.to_owned(), |error| error.to_string());
            let _ = File::from(says).write_all(said.as_bytes());
            // The guard is told in words; nobody looks at this.
            process::exit_now(Exit::Success.code())
        }
        Fork::Parent(_) => {
            drop((theirs, says));
            let again = local::serve(&ours, config, &directory, log, picked.slow, answers)?;
            // Nobody of the run is left; what went wrong is said once, and by the one who is waited for.
            let mut said = String::new();
            File::from(hears).take(WRONG_MAX).read_to_string(&mut said)?;
            let wrong = match said.as_str() {
                WELL => String::new(),
                "" => "the runner was killed".to_owned(),
                _ => said,
            };
            Ok((again, wrong))
        }
    }
}

impl Run {
    fn new(config: Config, directory: QueueDirectory, log: &Log, guard: OwnedFd) -> io::Result<Run> {
        let host = values::myhostname(&config);
        let postmaster = match config.double_bounce_notice_recipient.as_ref() {
            "" => None,
            name => {
                let text = match name.contains('@') {
                    true => name.to_owned(),
                    false => format!("{name}@{}", values::myorigin(&config)?),
                };
                let wrong = |error: crate::address::NotAnAddress| {
                    io::Error::other(format!("double_bounce_notice_recipient = {name}: {}", error.0))
                };
                Some(Address::parse(text.as_bytes()).map_err(wrong)?)
            }
        };
        let policy = Policy {
            schedule: Schedule::of(&config),
            host,
            bounce_size_limit: config.bounce_size_limit.0,
            postmaster,
        };
        let ways = Ways::load(&config, log);
        let walls = SenderWalls::prepare(config.session_memory_limit.0)?;
        Ok(Run { config, directory, log: log.clone(), policy, ways, guard, walls })
    }
}
