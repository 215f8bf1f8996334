//! The log: syslog, a file or standard error, never the client.
//!
//! Under inetd, descriptor 2 is the client: [`guard_stderr`] is the first act of every server. Lines have Dovecot's
//! form, so that what reads its logs reads ours. Every octet from outside goes through [`escape`]; a line is built in
//! a buffer of fixed size and has no control characters, whatever it was made of. A log that cannot be written loses
//! lines; it never stops or delays the mail.

mod escape;
mod login;

pub use escape::{Escaped, FOREIGN_LIMIT, escape, readable};
pub use login::{Closing, LoginLine, Outcome, Security};

use crate::config::Config;
use crate::config::keyword::Facility;
use crate::config::value::Text;
use crate::sys::socket::{self, Endpoint, LastingFd};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime};

/// Longest line in octets, with everything that stands before and behind the message.
pub const LINE_LIMIT: usize = 1024;

/// Where syslog listens.
const SYSLOG_SOCKET: &str = "/dev/log";

/// How often a full syslog socket is tried again, and how long the wait is each time.
const SYSLOG_TRIES: u32 = 4;
const SYSLOG_PAUSE: Duration = Duration::from_millis(2);

/// How much a line matters: the numbers of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A bug: a panic.
    Critical = 2,
    /// Something an administrator has to mend.
    Error = 3,
    /// Something an administrator should know.
    Warning = 4,
    /// What happens all day.
    Info = 6,
    /// For those who look for a fault.
    Debug = 7,
}

/// A log. Copies are cheap and share the descriptor, which stays open as long as the process.
#[derive(Debug, Clone)]
pub struct Log {
    sink: Sink,
    facility: Facility,
    /// Stands before the tag in syslog; empty: nothing does.
    name: Text,
    tag: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Syslog(LastingFd),
    File(LastingFd),
    /// With a priority in front of the line if the journal reads it.
    Stderr {
        journal: bool,
    },
}

/// Sends standard error to /dev/null if it is the client: if it is an internet socket, or the same socket as
/// standard input or output, or closed. Returns whether it did.
pub fn guard_stderr() -> io::Result<bool> {
    let stderr = socket::standard_error();
    let is_client = match socket::local_end(&stderr) {
        Endpoint::NotSocket => socket::identity(&stderr).is_err(),
        Endpoint::Inet(_) | Endpoint::Unknown => true,
        Endpoint::Unix => [socket::standard_input(), socket::standard_output()]
            .iter()
            .any(|fd| socket::is_same(fd, &stderr)),
    };
    if is_client {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        socket::point_stderr_at(&null)?;
    }
    Ok(is_client)
}

impl Log {
    /// Opens the log that `log_path` names: a file, `/dev/stderr`, or, if empty, the journal where systemd connected
    /// it to standard error, else syslog. Before any chroot; with [`Config::DEFAULT`] where there is no
    /// configuration yet. A log that cannot be opened falls back to standard error, which is not the client after
    /// [`guard_stderr`].
    pub fn open(config: &Config, tag: impl Into<Cow<'static, str>>) -> Log {
        let mut log = Log::on(stderr_sink(), config, tag);
        match config.log_path.as_str() {
            "" if log.sink == (Sink::Stderr { journal: true }) => {}
            "" => {
                if let Ok(fd) = connect_syslog() {
                    log.sink = Sink::Syslog(LastingFd::new(fd));
                }
            }
            "/dev/stderr" => {}
            path => match OpenOptions::new().append(true).create(true).mode(0o600).open(path) {
                Ok(file) => log.sink = Sink::File(LastingFd::new(file.into())),
                Err(error) => log.error(format_args!("{path}: {error}")),
            },
        }
        log
    }

    /// The log that the program before this one opened and whose [`Log::number`] it told.
    pub fn inherit(number: RawFd, config: &Config, tag: impl Into<Cow<'static, str>>) -> io::Result<Log> {
        if number == 2 {
            return Ok(Log::on(stderr_sink(), config, tag));
        }
        let fd = LastingFd::inherited(number)?;
        let sink = match socket::local_end(&fd) {
            Endpoint::NotSocket => Sink::File(fd),
            _ => Sink::Syslog(fd),
        };
        Ok(Log::on(sink, config, tag))
    }

    fn on(sink: Sink, config: &Config, tag: impl Into<Cow<'static, str>>) -> Log {
        Log { sink, facility: config.syslog_facility, name: config.syslog_name.clone(), tag: tag.into() }
    }

    /// The descriptor's number, for [`Log::inherit`] in the next program.
    pub fn number(&self) -> RawFd {
        match self.sink {
            Sink::Syslog(fd) | Sink::File(fd) => fd.number(),
            Sink::Stderr { .. } => 2,
        }
    }

    /// What stands before each message.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether the descriptor stays open across the next exec. Off until asked for.
    pub fn keep_over_exec(&self, keep: bool) -> io::Result<()> {
        match self.sink {
            Sink::Syslog(fd) | Sink::File(fd) => fd.set_close_on_exec(!keep),
            Sink::Stderr { .. } => Ok(()),
        }
    }

    /// The same log with another tag: `pop3-login`, or [`session_tag`].
    pub fn tagged(&self, tag: impl Into<Cow<'static, str>>) -> Log {
        Log { tag: tag.into(), ..self.clone() }
    }

    /// Writes one line.
    pub fn write(&self, level: Level, message: fmt::Arguments<'_>) {
        let mut line = Line::new();
        // A line has no way to fail but to be full, and then its start is what counts.
        let _ = self.compose(&mut line, level, message);
        match self.sink {
            Sink::Syslog(fd) => send_to_syslog(fd, line.octets()),
            Sink::File(fd) => write_whole(|rest| fd.write(rest), line.with_newline()),
            Sink::Stderr { .. } => {
                use std::io::Write;
                write_whole(|rest| io::stderr().write(rest), line.with_newline());
            }
        }
    }

    /// Writes lines about what happens all day that belong together, each with its tag, with one system call.
    pub fn info_each<const N: usize>(&self, lines: [(fmt::Arguments<'_>, fmt::Arguments<'_>); N]) {
        let mut composed = [const { Line::new() }; N];
        for (line, (tag, message)) in composed.iter_mut().zip(lines) {
            let _ = self.compose_tagged(line, Level::Info, tag, message);
        }
        match self.sink {
            Sink::Syslog(fd) => {
                let sent = fd.send_all_now(composed.each_ref().map(Line::octets)).unwrap_or(0);
                composed.iter().skip(sent).for_each(|line| send_to_syslog(fd, line.octets()));
            }
            Sink::File(fd) => write_whole(|rest| fd.write(rest), &with_newlines(&mut composed)),
            Sink::Stderr { .. } => {
                use std::io::Write;
                write_whole(|rest| io::stderr().write(rest), &with_newlines(&mut composed));
            }
        }
    }

    fn compose(&self, line: &mut Line, level: Level, message: fmt::Arguments<'_>) -> fmt::Result {
        self.compose_tagged(line, level, format_args!("{}", self.tag), message)
    }

    fn compose_tagged(
        &self,
        line: &mut Line,
        level: Level,
        tag: fmt::Arguments<'_>,
        message: fmt::Arguments<'_>,
    ) -> fmt::Result {
        match self.sink {
            Sink::Syslog(_) => {
                write!(line, "<{}>", facility_code(self.facility) * 8 + level as u8)?;
                if !self.name.is_empty() {
                    write!(line, "{}: ", self.name)?;
                }
            }
            Sink::Stderr { journal: true } => write!(line, "<{}>", level as u8)?,
            Sink::Stderr { journal: false } => {}
            Sink::File(_) => write!(line, "{} ", Stamp(SystemTime::now()))?,
        }
        write!(line, "{tag}: {message}")
    }

    /// A line about something an administrator has to mend.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Error, message);
    }

    /// A line about something an administrator should know.
    pub fn warning(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Warning, message);
    }

    /// A line about what happens all day.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Info, message);
    }

    /// Lets a panic write one line to this log and nothing else anywhere.
    pub fn catch_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            log.write(Level::Critical, format_args!("{}", panic_line(panic)));
        }));
    }
}

/// Where a panic happened and what it says, harmless for a log.
pub fn panic_line(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let (file, line) = panic.location().map_or(("?", 0), |at| (at.file(), at.line()));
    format!("panic at {file}:{line}: {}", escape(safe_panic_text(panic.payload()).as_bytes()))
}

/// `pop3(user)<pid><session>`, Dovecot's tag for the lines of a session.
pub fn session_tag(protocol: &str, user: &str, pid: u32, session: &str) -> String {
    format!("{protocol}({})<{pid}><{}>", escape(user.as_bytes()), escape(session.as_bytes()))
}

/// A text that was made at run time may quote what a client sent, a password even. Only texts that the compiler
/// knew are shown, and those of std that contain nothing but numbers.
fn safe_panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    const ONLY_NUMBERS: [&str; 4] =
        ["index out of bounds", "range end index", "range start index", "slice index"];
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        return text;
    }
    let made =
        payload.downcast_ref::<String>().filter(|text| ONLY_NUMBERS.iter().any(|n| text.starts_with(n)));
    made.map_or("(text withheld)", String::as_str)
}

/// systemd says in JOURNAL_STREAM which device and inode its socket to the journal has.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else { return false };
    let named = (device.parse().ok(), inode.parse().ok());
    socket::identity(&socket::standard_error())
        .is_ok_and(|(device, inode)| named == (Some(device), Some(inode)))
}

fn stderr_sink() -> Sink {
    Sink::Stderr { journal: is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) }
}

fn connect_syslog() -> io::Result<OwnedFd> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    Ok(socket.into())
}

/// A full socket is tried a few times, a restarted syslog is looked for once; then the line is lost.
fn send_to_syslog(fd: LastingFd, line: &[u8]) {
    let mut may_reconnect = true;
    for _ in 0..SYSLOG_TRIES {
        let Err(error) = fd.send_now(line) else { return };
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => std::thread::sleep(SYSLOG_PAUSE),
            Some(libc::EINTR) => {}
            Some(libc::ECONNREFUSED | libc::ENOTCONN | libc::ECONNRESET) if may_reconnect => {
                may_reconnect = false;
                if connect_syslog().and_then(|socket| fd.replace(&socket)).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Nothing helps if the log itself fails.
fn write_whole(mut write: impl FnMut(&[u8]) -> io::Result<usize>, mut rest: &[u8]) {
    while !rest.is_empty() {
        match write(rest) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

fn facility_code(facility: Facility) -> u8 {
    match facility {
        Facility::User => 1,
        Facility::Mail => 2,
        Facility::Daemon => 3,
        Facility::Auth => 4,
        Facility::Authpriv => 10,
        Facility::Local0 => 16,
        Facility::Local1 => 17,
        Facility::Local2 => 18,
        Facility::Local3 => 19,
        Facility::Local4 => 20,
        Facility::Local5 => 21,
        Facility::Local6 => 22,
        Facility::Local7 => 23,
    }
}

/// A line of bounded length without control characters. What does not fit is dropped.
struct Line {
    buffer: [u8; LINE_LIMIT],
    length: usize,
}

fn with_newlines(lines: &mut [Line]) -> Vec<u8> {
    let mut all = Vec::with_capacity(lines.iter().map(|line| line.length.saturating_add(1)).sum());
    lines.iter_mut().for_each(|line| all.extend_from_slice(line.with_newline()));
    all
}

impl Line {
    const fn new() -> Line {
        Line { buffer: [0; LINE_LIMIT], length: 0 }
    }

    fn octets(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// One octet is always left for it.
    fn with_newline(&mut self) -> &[u8] {
        self.buffer[self.length] = b'\n';
        &self.buffer[..=self.length]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (begin, end) = (self.length, self.length + text.len());
        if end < LINE_LIMIT && text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) {
            self.buffer[begin..end].copy_from_slice(text.as_bytes());
            self.length = end;
            return Ok(());
        }
        for c in text.chars() {
            let c = if c.is_control() { '?' } else { c };
            let end = self.length + c.len_utf8();
            if end >= LINE_LIMIT {
                return Err(fmt::Error);
            }
            c.encode_utf8(&mut self.buffer[self.length..end]);
            self.length = end;
        }
        Ok(())
    }
}

/// RFC 3339 in UTC, to the second.
pub fn stamp(time: SystemTime) -> String {
    Stamp(time).to_string()
}

/// RFC 3339 in UTC, to the second.
pub(crate) struct Stamp(pub SystemTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Count from 1 March of year 0, so that the leap day is a year's last: 719,468 days before 1970.
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests;
