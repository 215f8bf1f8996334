//! The process model: guard, front, session (DESIGN.md).
//!
//! [`main`] is the guard: it reads the configuration, forks the [front] behind its [walls], answers
//! its requests over the [channel], and after a login executes the program afresh as the [session]. The protocols
//! supply what is spoken in the front and in the session and know nothing of processes. Where there is no session, the
//! guard answers to the end: a [service].

pub mod channel;
pub mod front;
mod front_life;
mod guard;
mod handoff;
pub mod login;
mod pump;
pub mod sasl;
pub mod service;
pub mod session;
mod terminal;
pub mod walls;

use crate::auth::checkpassword;
use crate::cli::{self, CommandLine, Mode};
use crate::config::Config;
use crate::config::check::Finding;
use crate::config::keyword::Ssl;
use crate::exit::Exit;
use crate::io::Ending;
use crate::log::{self, Level, Log};
use crate::peer::Peer;
use crate::sys::process::{self as sysproc, Fork, Resource};
use crate::sys::{entry, fd, fs};
use crate::tls::key::{Identity, KeyError};
use channel::Request;
use front::{Facts, Front};
use front_life::Begun;
use service::Service;
use session::Session;
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use walls::{RootWalls, Walls};

/// The hidden argument with which the guard starts a session.
const SESSION: &str = "--session";

/// What a server is made of.
pub struct Program {
    /// Name, version and options.
    pub line: cli::Program,
    /// What it is with another command line, which is read elsewhere.
    pub beside: Option<cli::Beside>,
    /// `pop3`: for log tags and the user database.
    pub protocol: &'static str,
    /// The reply with which the protocol says that it is out of order for now, its line end included.
    pub out_of_order: &'static str,
    /// Speaks until the login, from the greeting on. `Ok`: what the session must know of it.
    pub front: fn(&mut Front) -> Result<Vec<u8>, Ending>,
    /// What there is beside the front.
    pub after: After,
    /// Hidden first arguments, and what the program then is instead of a server.
    pub others: &'static [Other],
    /// What only this protocol can find wrong with its settings, for `--check`. Nothing is changed.
    pub check: fn(&Config) -> Vec<Finding>,
}

/// A hidden first argument, and what the program is with it.
pub type Other = (&'static str, fn(&'static Program) -> Exit);

/// What a server has beside its front.
pub enum After {
    /// A session after the login, with the rights of who has logged in.
    Session {
        /// Speaks. The connection is closed afterwards.
        speak: fn(&mut Session) -> Ending,
        /// How long a client may be silent.
        idle_timeout: fn(&Config) -> Duration,
    },
    /// No session: the front speaks to the end, and the guard answers it.
    Service {
        /// The guard's part. Errors: settings with which it cannot go on.
        begin: fn(&Config) -> io::Result<Box<dyn Service>>,
        /// The log's tag.
        tag: fn(u32) -> String,
    },
}

/// The whole program.
pub fn main(program: &'static Program) -> u8 {
    if !entry::descriptors_are_open() {
        return Exit::Temporary.code();
    }
    sysproc::return_large_memory();
    // Under a checkpassword program nothing of ours is open, and the reply is all there is to do.
    if entry::arguments().nth(1).is_some_and(|first| first == checkpassword::REPLY_ARGUMENT) {
        return checkpassword::reply_main().code();
    }
    run(program).code()
}

fn run(program: &'static Program) -> Exit {
    // Under xinetd standard error is the client. Nothing may be written before this.
    if log::guard_stderr().is_err() {
        return Exit::Temporary;
    }
    if entry::arguments().nth(1).is_some_and(|first| first == SESSION) {
        return session::main(program);
    }
    if let Some(run) = service::other(program) {
        return run(program);
    }
    let line = match CommandLine::parse(&program.line, entry::arguments().skip(1).map(OsString::from)) {
        Ok(line) => line,
        Err(error) => return terminal::usage(program, None, &[error.to_string()]),
    };
    match line.mode {
        Mode::Help => return help(program),
        Mode::Version => return version(program),
        Mode::Serve | Mode::ShowChanged | Mode::Check => {}
    }
    let (config, wrong) = Config::load_what_is_right(&program.line, &line);
    if !wrong.is_empty() {
        if line.mode == Mode::Check {
            return terminal::check_the_rest(program, &config, &line, wrong.all_lines().collect());
        }
        return terminal::usage(program, Some(line.mode), &wrong.lines().collect::<Vec<_>>());
    }
    match line.mode {
        Mode::ShowChanged => terminal::print(|out| cli::print_changed(&config, out)),
        Mode::Check => terminal::print_check(program, &config, &line),
        _ if line.preauth && line.tls => {
            let what = "--preauth and --tls exclude each other".to_owned();
            terminal::usage(program, Some(line.mode), &[what])
        }
        _ if line.preauth => preauth(program, config),
        _ => match begin_service(program, &config, &line) {
            Ok(service) => serve(program, config, &line, service),
            Err(exit) => exit,
        },
    }
}

/// `--help`.
pub fn help(program: &Program) -> Exit {
    terminal::print(|out| cli::print_help(&program.line, program.beside.as_ref(), out))
}

/// `--version`.
pub fn version(program: &Program) -> Exit {
    terminal::print(|out| cli::print_version(&program.line, out))
}

/// The guard's part of a protocol that has one. If its settings are wrong, the log has it and the client is told to come again.
fn begin_service(
    program: &Program,
    config: &Config,
    line: &CommandLine,
) -> Result<Option<Box<dyn Service>>, Exit> {
    let After::Service { begin, .. } = program.after else { return Ok(None) };
    begin(config).map(Some).map_err(|error| {
        terminal::say(program, &[error.to_string()]);
        Log::open(config, login_tag(program, line.flags)).error(format_args!("{error}"));
        refuse_usage(program)
    })
}

/// Serves one connection on standard input and output.
fn serve(
    program: &'static Program,
    config: Config,
    line: &CommandLine,
    service: Option<Box<dyn Service>>,
) -> Exit {
    // This process will have the key and the password hashes: nobody looks into it, and it leaves no core.
    sysproc::not_dumpable();
    take_listen_fds();
    // The front may not make files grow (RLIMIT_FSIZE): it would be killed at its first word.
    if fd::is_regular_file(fd::STDOUT) {
        let what = "standard output must be a socket, pipe or terminal, not a file".to_owned();
        return terminal::usage(program, Some(Mode::Serve), &[what]);
    }
    // What a launcher left open is not for us, still less for the front and the session.
    let closed = sysproc::limit(Resource::Core, 0).and_then(|()| fd::close_from(3));
    let log = Log::open(&config, login_tag(program, line.flags));
    if let Err(error) = closed {
        log.error(format_args!("descriptors: {error}"));
        return refuse(program);
    }
    catch_panics(&log);
    sysproc::ignore_pipe_signal();
    fd::set_nodelay(fd::STDIN);
    fd::set_keepalive(fd::STDIN);
    match try_serve(program, config, line, &log, service) {
        Ok(exit) => exit,
        Err(error) => {
            log.error(format_args!("{error}"));
            refuse(program);
            Exit::Temporary
        }
    }
}

/// A panic of the guard goes to the log. The front has none: the guard writes what it is told.
fn catch_panics(log: &Log) {
    let (log, guard) = (log.clone(), std::process::id());
    std::panic::set_hook(Box::new(move |panic| {
        let what = log::panic_line(panic);
        if std::process::id() == guard {
            log.write(Level::Critical, format_args!("{what}"));
        } else {
            let _ = fd::write(fd::GUARD, &Request::Panicked { what }.encode());
        }
    }));
}

fn try_serve(
    program: &'static Program,
    config: Config,
    line: &CommandLine,
    log: &Log,
    service: Option<Box<dyn Service>>,
) -> io::Result<Exit> {
    let implicit_tls = line.tls;
    let peer = Peer::of(&fd::STDIN);
    let proxied = peer.is_in(&config.haproxy_trusted_networks);
    let facts = facts(&config, &peer, proxied, line.flags)?;
    if implicit_tls && !facts.tls_available {
        return Err(io::Error::other("--tls, but ssl = no or there is no certificate (ssl_cert_file)"));
    }
    let root = if sysproc::is_root() { Some(root_walls(&config)?) } else { None };
    let mut walls = Walls::prepare(root, config.login_memory_limit.0)?;
    let mut patience = config.login_timeout + config.auth_failure_delay + Duration::from_secs(60);
    let (ours, theirs) = fd::socketpair()?;
    let mut data = (None, None);
    if service.is_some() {
        let (reader, writer) = fd::socketpair()?;
        data = (Some(reader), Some(writer));
        walls = walls.with_data_descriptor();
        // Guard, front and writer take turns.
        crate::sys::processor::stay();
        // What is to be on disk may have to wait for others there.
        patience = config.ipc_timeout.max(Duration::from_secs(1));
    }
    let (data, data_for_front) = data;
    // One copy for each of them, made before the fork: a count or a move would write to pages that they share.
    let config = Rc::new(config);
    let (for_front, facts_for_front) = (config.clone(), Box::new(facts.clone()));
    let mut guard =
        guard::Guard::new(program, config, log.clone(), peer, Box::new(facts), proxied, service.zip(data))?;
    let welcome = guard.welcome()?;
    match sysproc::fork()? {
        Fork::Child => {
            drop((ours, guard.data.take()));
            let begun = Begun {
                config: for_front,
                facts: facts_for_front,
                proxied,
                implicit_tls,
                patience,
                data: data_for_front,
                welcome,
            };
            sysproc::exit_now(front_life::live(program, begun, theirs, walls));
        }
        Fork::Parent(child) => {
            drop((theirs, data_for_front));
            // Until one of them writes to it, guard and front share every page: nothing is freed that need not be.
            std::mem::forget((walls, for_front, facts_for_front, welcome));
            guard.front = child;
            Ok(guard.serve(ours))
        }
    }
}

/// What the guard knows before it forks.
fn facts(config: &Config, peer: &Peer, proxied: bool, flags: u32) -> io::Result<Facts> {
    let mut random = [0; 8];
    sysproc::random(&mut random)?;
    let session_id = random.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    });
    let host = match config.myhostname.as_ref() {
        "" => fs::hostname(),
        name => name.to_owned(),
    };
    Ok(Facts {
        // Behind a proxy it is the way to the proxy that counts, and only its header can tell.
        trusted_way: !proxied && is_trusted_way(config, peer),
        tls_available: config.ssl != Ssl::No
            && config.ssl_cert_file.get().is_some_and(std::path::Path::exists),
        secrets_stored: login::may_store_secrets(config),
        users_known: login::may_look_up(config),
        timestamp: crate::auth::challenge(&host)?,
        session_id,
        flags,
    })
}

fn is_trusted_way(config: &Config, peer: &Peer) -> bool {
    peer.is_loopback() || peer.is_in(&config.login_trusted_networks)
}

fn root_walls(config: &Config) -> io::Result<RootWalls> {
    let (uid, gid) = login::login_user(config)?;
    let base = config.base_dir.get().ok_or_else(|| io::Error::other("base_dir is empty"))?;
    let empty_directory = base.join("empty");
    fs::make_empty_directory(base, &empty_directory)?;
    Ok(RootWalls { uid, gid, empty_directory })
}

fn load_identity(config: &Config) -> Result<Identity, KeyError> {
    let none = std::path::Path::new("");
    Identity::load(config.ssl_cert_file.get().unwrap_or(none), config.ssl_key_file.get().unwrap_or(none))
}

/// systemd's other way: the connection as descriptor 3 instead of standard input and output.
fn take_listen_fds() {
    let Ok(mut fds) = sd_notify::listen_fds() else { return };
    if let Some(connection) = fds.next().and_then(|number| fd::adopt(number).ok()) {
        let _ = fd::replace(0, &connection);
        let _ = fd::replace(1, &connection);
    }
}

fn preauth(program: &Program, config: Config) -> Exit {
    let closed = fd::close_from(3);
    let log = Log::open(&config, login_tag(program, 0));
    if let Err(error) = closed {
        log.error(format_args!("descriptors: {error}"));
        return refuse(program);
    }
    if sysproc::is_root() {
        log.error(format_args!("--preauth is refused for root"));
        return refuse_usage(program);
    }
    if Peer::of(&fd::STDIN).on_network || Peer::of(&fd::STDOUT).on_network {
        log.error(format_args!("--preauth is refused on a network connection: anybody could be there"));
        return refuse_usage(program);
    }
    sysproc::ignore_pipe_signal();
    let (uid, _) = sysproc::user_and_group();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| uid.to_string());
    let log = log.tagged(log::session_tag(program.protocol, &user, std::process::id(), "preauth"));
    session::preauth(program, config, log, user, home)
}

/// The environment of a session: what it needs and nothing that the launcher happened to have.
fn environment(handoff: &handoff::Handoff) -> io::Result<Vec<CString>> {
    use std::os::unix::ffi::OsStrExt;
    let variable = |name: &str, value: &[u8]| sysproc::c_string(&[name.as_bytes(), b"=", value].concat());
    let mut environment = vec![
        variable("HOME", handoff.home.as_os_str().as_bytes())?,
        variable("USER", handoff.user.as_bytes())?,
        variable("LOGNAME", handoff.user.as_bytes())?,
    ];
    for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            environment.push(variable(name, value.as_bytes())?);
        }
    }
    Ok(environment)
}

fn login_tag(program: &Program, flags: u32) -> String {
    match program.after {
        After::Session { .. } => format!("{}-login", program.protocol),
        After::Service { tag, .. } => tag(flags),
    }
}

/// Tells the client that the server is out of order.
fn refuse(program: &Program) -> Exit {
    let _ = fd::write(fd::STDOUT, program.out_of_order.as_bytes());
    Exit::Temporary
}

/// The same where the administrator has to change something before another try can succeed.
fn refuse_usage(program: &Program) -> Exit {
    refuse(program);
    Exit::Usage
}

/// Before there is a configuration there is only the default log.
fn log_and_refuse(program: &Program, faults: &[String]) -> Exit {
    let log = Log::open(&Config::DEFAULT, login_tag(program, 0));
    faults.iter().for_each(|what| log.error(format_args!("{what}")));
    refuse(program)
}
