//! The process model: guard, front, session (DESIGN.md section 5).
//!
//! [`main`] is the guard: it reads the configuration, forks the [front] behind its [walls], answers
//! its requests over the [channel], and after a login executes the program afresh as the [session]. The protocols
//! supply what is spoken in the front and in the session and know nothing of processes.

pub mod channel;
pub mod front;
mod guard;
mod handoff;
mod login;
mod pump;
pub mod sasl;
pub mod session;
pub mod walls;

use crate::auth::checkpassword;
use crate::cli::{self, CommandLine, Mode};
use crate::config::keyword::Ssl;
use crate::config::{Config, check};
use crate::exit::Exit;
use crate::io::{Conn, Ending, Limits};
use crate::log::{self, Log};
use crate::peer::Peer;
use crate::proxy;
use crate::sys::fs::release_free_memory;
use crate::sys::process::{self as sysproc, Fork};
use crate::sys::{entry, fd, fs};
use crate::tls::key::{Identity, KeyError};
use channel::{Channel, Request, Why};
use front::{Asked, Facts, Front};
use session::Session;
use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use walls::{RootWalls, Walls};

/// The hidden argument with which the guard starts a session.
const SESSION: &str = "--session";

/// What a server is made of.
pub struct Program {
    /// Name, version and options.
    pub line: cli::Program,
    /// `pop3`: for log tags and the user database.
    pub protocol: &'static str,
    /// The reply with which the protocol says that it is out of order for now, its line end included.
    pub out_of_order: &'static str,
    /// Speaks until the login, from the greeting on. `Ok`: what the session must know of it.
    pub front: fn(&mut Front) -> Result<Vec<u8>, Ending>,
    /// Speaks after the login. The connection is closed afterwards.
    pub session: fn(&mut Session) -> Ending,
    /// How long a client may be silent after the login.
    pub idle_timeout: fn(&Config) -> Duration,
}

/// The whole program.
pub fn main(program: &'static Program) -> u8 {
    if !entry::descriptors_are_open() {
        return Exit::Temporary.code();
    }
    sysproc::return_large_memory();
    // Under a checkpassword program nothing of ours is open, and the reply is all there is to do.
    if std::env::args_os().nth(1).is_some_and(|first| first == checkpassword::REPLY_ARGUMENT) {
        return checkpassword::reply_main().code();
    }
    run(program).code()
}

fn run(program: &'static Program) -> Exit {
    // Under xinetd standard error is the client. Nothing may be written before this.
    if log::guard_stderr().is_err() {
        return Exit::Temporary;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == SESSION) {
        return session::main(program);
    }
    let line = match CommandLine::parse(&program.line, std::env::args_os().skip(1)) {
        Ok(line) => line,
        Err(error) => return usage(program, None, &error.to_string()),
    };
    match line.mode {
        Mode::Help => return print(|out| cli::print_help(&program.line, out)),
        Mode::Version => return print(|out| cli::print_version(&program.line, out)),
        Mode::Serve | Mode::ShowChanged | Mode::Check => {}
    }
    let config = match Config::load(&program.line, &line) {
        Ok(config) => config,
        Err(error) => return usage(program, Some(line.mode), &error.to_string()),
    };
    match line.mode {
        Mode::ShowChanged => print(|out| cli::print_changed(&config, out)),
        Mode::Check => print_check(&config, &line),
        _ if line.preauth => preauth(program, config),
        _ => serve(program, config, line.tls),
    }
}

/// Serves one connection on standard input and output.
fn serve(program: &'static Program, config: Config, implicit_tls: bool) -> Exit {
    take_listen_fds();
    // What a launcher left open is not for us, still less for the front and the session.
    fd::close_from(3);
    let log = Log::open(&config, login_tag(program));
    log.catch_panics();
    sysproc::ignore_child_and_pipe_signals();
    fd::set_nodelay(fd::STDIN);
    fd::set_keepalive(fd::STDIN);
    match try_serve(program, config, implicit_tls, &log) {
        Ok(exit) => exit,
        Err(error) => {
            log.error(format_args!("{error}"));
            refuse(program);
            Exit::Temporary
        }
    }
}

fn try_serve(program: &'static Program, config: Config, implicit_tls: bool, log: &Log) -> io::Result<Exit> {
    let peer = Peer::of(&fd::STDIN);
    let proxied = peer.is_in(&config.haproxy_trusted_networks);
    let facts = facts(&config, &peer, proxied)?;
    if implicit_tls && !facts.tls_available {
        return Err(io::Error::other("--tls, but ssl = no or there is no certificate (ssl_cert_file)"));
    }
    let root = if sysproc::is_root() { Some(root_walls(&config)?) } else { None };
    let walls = Walls::prepare(root, config.login_memory_limit.0)?;
    let patience = config.login_timeout + config.auth_failure_delay + Duration::from_secs(60);
    let (ours, theirs) = fd::socketpair()?;
    let mut guard = guard::Guard::new(program, config, log.clone(), peer, facts, proxied)?;
    match sysproc::fork()? {
        Fork::Child => {
            drop(ours);
            let code =
                be_front(program, guard.config, guard.facts, proxied, implicit_tls, theirs, walls, patience);
            sysproc::exit_now(code);
        }
        Fork::Parent(child) => {
            drop(theirs);
            drop(walls);
            guard.front = child;
            Ok(guard.serve(Channel::new(ours, patience)))
        }
    }
}

/// The front's whole life.
#[allow(clippy::too_many_arguments)]
fn be_front(
    program: &Program,
    config: Config,
    facts: Facts,
    proxied: bool,
    implicit_tls: bool,
    socket: std::os::fd::OwnedFd,
    walls: Walls,
    patience: Duration,
) -> u8 {
    let deadline = Instant::now().checked_add(config.login_timeout);
    let limits = Limits { idle: config.login_timeout, reply: config.reply_timeout, deadline };
    let prepared = Conn::new(limits, &[]).and_then(|conn| {
        fd::replace(walls::LAST_DESCRIPTOR, &socket)?;
        std::mem::forget(socket);
        fd::close_from(walls::LAST_DESCRIPTOR + 1);
        let socket = fd::adopt(walls::LAST_DESCRIPTOR)?;
        report_panics_to_guard();
        walls.enter()?;
        Ok((conn, Channel::new(socket, patience)))
    });
    let (conn, channel) = match prepared {
        Ok(prepared) => prepared,
        // The guard notices that we are gone.
        Err(_) => return Exit::Temporary.code(),
    };
    let mut front = Front::new(conn, config, facts, channel);
    let spoken = begin(&mut front, proxied, implicit_tls)
        .and_then(|()| (program.front)(&mut front))
        // What was pipelined before the login is answered before the session speaks.
        .and_then(|state| front.conn.flush().map(|()| state));
    match spoken {
        Ok(state) => {
            let reply = front.config.reply_timeout;
            let (conn, Some(channel)) = front.into_parts() else { return Exit::Temporary.code() };
            let unread = match conn.tls() {
                // Under TLS the pump hands on what has been decrypted already.
                Some(_) => Vec::new(),
                None => conn.unread().to_vec(),
            };
            if channel.tell(&Request::Handover { unread, state }).is_err() {
                return Exit::Temporary.code();
            }
            let rest = conn.unread().to_vec();
            let Some(tls) = conn.into_tls() else { return Exit::Success.code() };
            release_free_memory();
            match pump::run(tls, channel.into_socket(), &rest, reply) {
                Ok(()) => Exit::Success.code(),
                Err(_) => Exit::Temporary.code(),
            }
        }
        Err(ending) => {
            let (why, detail) = match ending {
                Ending::Tls(detail) => (Why::Handshake, detail),
                Ending::Idle | Ending::SessionLimit => (Why::Late, String::new()),
                Ending::TooManyBadCommands => (Why::TooManyBadCommands, String::new()),
                Ending::Failed(error) if error.kind() == io::ErrorKind::InvalidData => {
                    (Why::NoProxyHeader, String::new())
                }
                _ if front.refused_in_clear => (Why::InClear, String::new()),
                Ending::Quit => (Why::Left, String::new()),
                Ending::Disconnected | Ending::NotReading | Ending::Failed(_) => (Why::Closed, String::new()),
            };
            let tls = front.tls_description();
            front.tell(&Request::Ended { why, detail, tls });
            front.into_parts().0.close();
            Exit::Success.code()
        }
    }
}

/// The front has no log: the guard writes what it is told.
fn report_panics_to_guard() {
    std::panic::set_hook(Box::new(|panic| {
        let what = log::panic_line(panic);
        let _ = fd::write(fd::GUARD, &Request::Panicked { what }.encode());
    }));
}

/// What comes before the protocol: a proxy's header, and TLS where it is spoken from the first octet.
fn begin(front: &mut Front, proxied: bool, implicit_tls: bool) -> Result<(), Ending> {
    if proxied {
        take_proxy_header(front)?;
    }
    if implicit_tls {
        match front.ask_for_tls()? {
            Asked::Yes(offer) => front.shake_hands(offer)?,
            Asked::No(_) => return Err(Ending::Tls("the certificate or its key cannot be used".to_owned())),
        }
    }
    Ok(())
}

fn take_proxy_header(front: &mut Front) -> Result<(), Ending> {
    let usual = front.conn.limits();
    let deadline = Instant::now().checked_add(front.config.haproxy_timeout);
    front.conn.set_limits(Limits { idle: front.config.haproxy_timeout, deadline, ..usual });
    let mut seen = 0;
    loop {
        let octets = front.conn.peek(seen)?;
        seen = octets.len();
        match proxy::parse(octets) {
            proxy::Start::Incomplete => {}
            proxy::Start::Invalid(what) => {
                return Err(Ending::Failed(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("PROXY: {what}"),
                )));
            }
            proxy::Start::Header { length, origin, tls } => {
                front.conn.consume(length);
                front.conn.set_limits(usual);
                let proxy::Origin::Proxied { source, destination } = origin else { return Ok(()) };
                let request = Request::Proxied {
                    source: source.to_string(),
                    destination: destination.to_string(),
                    tls,
                };
                return match front.ask(&request)? {
                    channel::Answer::Way { trusted } => {
                        front.facts.trusted_way = trusted;
                        Ok(())
                    }
                    _ => Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
                };
            }
        }
    }
}

/// What the guard knows before it forks.
fn facts(config: &Config, peer: &Peer, proxied: bool) -> io::Result<Facts> {
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
        timestamp: crate::auth::challenge(&host)?,
        session_id,
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
    let log = Log::open(&config, login_tag(program));
    if sysproc::is_root() {
        log.error(format_args!("--preauth is refused for root"));
        return refuse(program);
    }
    if Peer::of(&fd::STDIN).on_network {
        log.error(format_args!("--preauth is refused on a network connection: anybody could be there"));
        return refuse(program);
    }
    sysproc::ignore_child_and_pipe_signals();
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

fn login_tag(program: &Program) -> String {
    format!("{}-login", program.protocol)
}

/// Tells the client that the server is out of order.
fn refuse(program: &Program) -> Exit {
    let _ = fd::write(fd::STDOUT, program.out_of_order.as_bytes());
    Exit::Temporary
}

/// Before there is a configuration there is only the default log.
fn log_and_refuse(program: &Program, what: &str) -> Exit {
    Log::open(&Config::DEFAULT, login_tag(program)).error(format_args!("{what}"));
    refuse(program)
}

/// The command line or the configuration is wrong: a person at a terminal reads it there, the administrator in the log.
fn usage(program: &Program, mode: Option<Mode>, what: &str) -> Exit {
    if mode.is_none_or(|mode| mode == Mode::Serve) && Peer::of(&fd::STDIN).on_network {
        log_and_refuse(program, what);
    } else {
        let _ = fd::write(fd::STDERR, format!("{}: {what}\n", program.line.name).as_bytes());
        if mode.is_none_or(|mode| mode == Mode::Serve) {
            log_and_refuse(program, what);
        }
    }
    Exit::Usage
}

fn print(text: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Exit {
    let mut out = Vec::new();
    if text(&mut out).is_err() {
        return Exit::Temporary;
    }
    let mut rest = out.as_slice();
    while !rest.is_empty() {
        match fd::write(fd::STDOUT, rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(_) => return Exit::Temporary,
        }
    }
    Exit::Success
}

fn print_check(config: &Config, line: &CommandLine) -> Exit {
    let mut findings = check::findings(config, line);
    let has_certificate = config.ssl_cert_file.get().is_some_and(std::path::Path::exists);
    if config.ssl != Ssl::No && has_certificate {
        if let Err(error) = load_identity(config) {
            findings.push(check::Finding::error(error.to_string(), "mend the file, or set ssl = no"));
        }
    }
    let mut exit = Exit::Temporary;
    let printed = print(|out| {
        exit = check::report(&findings, out)?;
        Ok(())
    });
    if printed == Exit::Success { exit } else { printed }
}
