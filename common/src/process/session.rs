//! The session: the program after the login, as the user, with nothing of the guard's in its memory.

use super::handoff::Handoff;
use super::{After, Program, log_and_refuse};
use crate::config::Config;
use crate::exit::Exit;
use crate::io::{Conn, Ending, Limits};
use crate::log::{Log, session_tag};
use crate::sys::process::{self, Resource};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A session, ready to speak.
pub struct Session {
    /// The client, in clear or through the front's pump.
    pub conn: Conn,
    /// The settings.
    pub config: Config,
    /// The log, with the user's name on each line.
    pub log: SessionLog,
    /// Who has logged in.
    pub user: String,
    /// Their home directory.
    pub home: PathBuf,
    /// Where their mail is: `mail_location`, or what the user database says.
    pub mail_location: String,
    /// What the protocol carried over from before the login.
    pub state: Vec<u8>,
    /// `user 192.0.2.1`, for `systemctl status`.
    title: String,
}

/// The log of one session.
pub struct SessionLog(Log);

impl SessionLog {
    /// Something an administrator may have to look at.
    pub fn error(&self, what: &str) {
        self.0.error(format_args!("{what}"));
    }

    /// Something worth knowing that is nobody's fault.
    pub fn warning(&self, what: &str) {
        self.0.warning(format_args!("{what}"));
    }

    /// The summary at the end.
    pub fn info(&self, what: &str) {
        self.0.info(format_args!("{what}"));
    }
}

impl Session {
    /// Says in `systemctl status` what this session does, where systemd listens for it.
    pub fn status(&self, what: &str) {
        let _ =
            sd_notify::notify(false, &[sd_notify::NotifyState::Status(&format!("{}: {what}", self.title))]);
    }
}

/// The times of a session whose protocol lets a client be silent for `idle`.
pub fn limits(config: &Config, idle: Duration) -> Limits {
    let deadline = match config.session_timeout {
        Duration::ZERO => None,
        time => Instant::now().checked_add(time),
    };
    Limits { idle, reply: config.reply_timeout, deadline }
}

/// The program was started by its guard: takes over what was handed over and speaks.
pub(super) fn main(program: &Program) -> Exit {
    // Executed through /proc, it would be listed as "exe".
    if let Ok(name) = process::c_string(program.line.name.as_bytes()) {
        process::set_name(&name);
    }
    let handoff = match Handoff::receive() {
        Ok(handoff) => handoff,
        Err(error) => return log_and_refuse(program, &[format!("session without its guard: {error}")]),
    };
    let pairs = handoff.settings.iter().map(String::as_str);
    let config = match Config::from_pairs(&program.line, pairs) {
        Ok(config) => config,
        Err(error) => return log_and_refuse(program, &[error.to_string()]),
    };
    let tag = session_tag(program.protocol, &handoff.user, std::process::id(), &handoff.session_id);
    let log = match Log::inherit(handoff.log, &config, tag) {
        Ok(log) => log,
        Err(error) => return log_and_refuse(program, &[format!("log: {error}")]),
    };
    let _ = log.keep_over_exec(false);
    if process::is_root() {
        log.error(format_args!("a session must not run as root"));
        return Exit::Temporary;
    }
    let mail_location = handoff.mail.unwrap_or_else(|| config.mail_location.text().to_owned());
    let start = Start {
        title: format!("{} {}", handoff.user, handoff.remote),
        user: handoff.user,
        home: handoff.home,
        mail_location,
        state: handoff.state,
        unread: handoff.unread,
    };
    run(program, config, log, start)
}

/// `--preauth`: the calling user's own mail, no login, no other process.
pub(super) fn preauth(program: &Program, config: Config, log: Log, user: String, home: PathBuf) -> Exit {
    let mail_location = config.mail_location.text().to_owned();
    let title = user.clone();
    run(
        program,
        config,
        log,
        Start { title, user, home, mail_location, state: Vec::new(), unread: Vec::new() },
    )
}

struct Start {
    title: String,
    user: String,
    home: PathBuf,
    mail_location: String,
    state: Vec<u8>,
    unread: Vec<u8>,
}

fn run(program: &Program, config: Config, log: Log, start: Start) -> Exit {
    let After::Session { speak, idle_timeout } = program.after else {
        log.error(format_args!("{} has no sessions", program.line.name));
        return super::refuse(program);
    };
    log.catch_panics();
    process::private_umask();
    process::not_dumpable();
    if config.session_memory_limit.0 > 0 {
        if let Err(error) = process::limit(Resource::AddressSpace, config.session_memory_limit.0) {
            log.error(format_args!("session_memory_limit: {error}"));
            return super::refuse(program);
        }
    }
    let idle = idle_timeout(&config);
    let mut conn = match Conn::new(limits(&config, idle), &start.unread) {
        Ok(conn) => conn,
        Err(error) => {
            log.error(format_args!("connection: {error}"));
            return super::refuse(program);
        }
    };
    conn.trim_heap_when_quiet();
    let log = SessionLog(log);
    let Start { title, user, home, mail_location, state, .. } = start;
    let mut session = Session { conn, config, log, user, home, mail_location, state, title };
    let ending = speak(&mut session);
    session.conn.close();
    match ending {
        Ending::Failed(_) => Exit::Temporary,
        _ => Exit::Success,
    }
}
