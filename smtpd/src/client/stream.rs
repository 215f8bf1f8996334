//! One connection to a remote server: octets out, replies in, each with a deadline. What comes in is hostile and bounded.
//!
//! Commands are gathered in one buffer and written when a reply is waited for, so that a pipelined group is one write.

use super::reply::{LINE_MAX, Malformed, Partial, Reply};
use common::sys::fd::{self, Interest, Pages};
use common::tls::client::{Session, Trust};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Octets that are gathered before they are written.
const OUTPUT_OCTETS: usize = 64 * 1024;
/// Octets of input taken at once.
const INPUT_OCTETS: usize = 2 * LINE_MAX;

/// Why a connection cannot go on.
#[derive(Debug)]
pub enum Trouble {
    /// The server closed it, or the network did.
    Lost,
    /// Nothing came, or nothing was taken, in time.
    TimedOut,
    /// What came was no SMTP.
    Malformed(&'static str),
    /// TLS failed, in words of rustls.
    Tls(String),
    /// The system failed.
    System(io::Error),
}

const TOO_LONG: Trouble = Trouble::Malformed("a line of its reply is too long");

/// See the module.
pub struct Stream {
    socket: OwnedFd,
    tls: Option<Box<Session>>,
    input: Vec<u8>,
    /// What of `input` is not used up yet.
    unread: std::ops::Range<usize>,
    output: Pages,
    filled: usize,
    /// Then all of it has to be over, however much time a single answer has.
    until: Option<Instant>,
}

impl Stream {
    /// Over a connected socket, which this takes over.
    pub fn new(socket: OwnedFd) -> io::Result<Stream> {
        Ok(Stream {
            socket,
            tls: None,
            input: vec![0; INPUT_OCTETS],
            unread: 0..0,
            output: Pages::new(OUTPUT_OCTETS)?,
            filled: 0,
            until: None,
        })
    }

    /// Bounds the time of everything that comes now.
    pub fn end_within(&mut self, time: Option<Duration>) {
        self.until = time.and_then(|time| Instant::now().checked_add(time));
    }

    fn deadline(&self, time: Duration) -> Instant {
        let deadline = Instant::now() + time;
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    /// Whether what is sent is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Protocol version and cipher, if there is TLS.
    pub fn tls_description(&self) -> Option<String> {
        self.tls.as_ref().map(|session| session.description())
    }

    /// Does the handshake of TLS. Whatever was said in clear and has not been read is an attempt to put words into the
    /// encrypted conversation (CVE-2011-0411 and its kin).
    pub fn start_tls(&mut self, host: &str, trust: &Trust, time: Duration) -> Result<(), Trouble> {
        let deadline = self.deadline(time);
        if !self.unread.is_empty() {
            return Err(Trouble::Malformed("it went on in clear after STARTTLS"));
        }
        let mut session =
            Box::new(Session::new(host, trust).map_err(|error| Trouble::Tls(error.to_string()))?);
        while session.is_handshaking() || session.wants_write() {
            let result = match session.wants_write() {
                true => session.send(self.socket.as_fd()),
                false => session.receive(self.socket.as_fd()),
            };
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = if session.wants_write() { Interest::Write } else { Interest::Read };
                    wait(&self.socket, interest, deadline)?;
                }
                Err(error) => {
                    // The alert that tells the server why.
                    let _ = session.send(self.socket.as_fd());
                    return Err(tls_trouble(error));
                }
            }
        }
        self.tls = Some(session);
        Ok(())
    }

    /// Adds octets to what is written next; writes when the buffer is full.
    pub fn push(&mut self, mut octets: &[u8], time: Duration) -> Result<(), Trouble> {
        while !octets.is_empty() {
            let room = self.output.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = octets.split_at(room.len().min(octets.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.filled += now.len();
            octets = later;
            if !octets.is_empty() {
                self.flush(time)?;
            }
        }
        Ok(())
    }

    /// Writes what was gathered.
    pub fn flush(&mut self, time: Duration) -> Result<(), Trouble> {
        let filled = std::mem::take(&mut self.filled);
        let mut octets = self.output.get(..filled).unwrap_or_default();
        if octets.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline(time);
        if let Some(session) = &mut self.tls {
            session.queue(octets).map_err(Trouble::System)?;
            while session.wants_write() {
                match session.send(self.socket.as_fd()) {
                    Ok(()) => {}
                    Err(error) => wait_or_fail(error, &self.socket, Interest::Write, deadline)?,
                }
            }
            return Ok(());
        }
        while !octets.is_empty() {
            match fd::send(self.socket.as_fd(), octets) {
                Ok(n) => octets = octets.get(n..).unwrap_or_default(),
                Err(error) => wait_or_fail(error, &self.socket, Interest::Write, deadline)?,
            }
        }
        Ok(())
    }

    /// Writes what was gathered and reads the next reply, which has to be complete in time.
    pub fn reply(&mut self, time: Duration) -> Result<Reply, Trouble> {
        self.flush(time)?;
        let deadline = self.deadline(time);
        let mut partial = Partial::default();
        loop {
            let unread = self.input.get(self.unread.clone()).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', unread) else {
                self.fill(deadline)?;
                continue;
            };
            if end >= LINE_MAX {
                return Err(TOO_LONG);
            }
            let line = unread.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let taken = partial.line(line);
            self.unread.start += end + 1;
            match taken {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(Malformed(what)) => return Err(Trouble::Malformed(what)),
            }
        }
    }

    /// Whether the server has said something, or closed, that nobody asked for: an idle connection to try no more.
    pub fn is_stirred(&self) -> bool {
        let ready = fd::poll([(self.socket.as_fd(), Interest::Read)], Some(Duration::ZERO));
        !self.unread.is_empty() || ready.map_or(true, |[ready]| ready.read)
    }

    /// Takes in what comes. There is no line end in what is unread.
    fn fill(&mut self, deadline: Instant) -> Result<(), Trouble> {
        if self.unread.len() >= LINE_MAX {
            return Err(TOO_LONG);
        }
        self.input.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        loop {
            let room = self.input.get_mut(self.unread.end..).unwrap_or_default();
            let received = match &mut self.tls {
                None => fd::receive(self.socket.as_fd(), room),
                Some(session) => session.read(self.socket.as_fd(), room),
            };
            match received {
                Ok(0) => return Err(Trouble::Lost),
                Ok(n) => {
                    self.unread.end += n;
                    return Ok(());
                }
                Err(error) => {
                    // A key update, an alert.
                    if let Some(session) = self.tls.as_mut().filter(|session| session.wants_write()) {
                        let _ = session.send(self.socket.as_fd());
                    }
                    wait_or_fail(error, &self.socket, Interest::Read, deadline)?;
                }
            }
        }
    }

    /// Tells the server that nothing more comes, if it can be told without waiting.
    pub fn close(mut self) {
        if let Some(session) = &mut self.tls {
            session.say_goodbye();
            let _ = session.send(self.socket.as_fd());
        }
    }
}

fn wait_or_fail(
    error: io::Error,
    socket: &OwnedFd,
    interest: Interest,
    deadline: Instant,
) -> Result<(), Trouble> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => wait(socket, interest, deadline),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Err(Trouble::Lost)
        }
        io::ErrorKind::TimedOut => Err(Trouble::TimedOut),
        _ => Err(tls_trouble(error)),
    }
}

fn tls_trouble(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Trouble::Lost
        }
        io::ErrorKind::Other => Trouble::Tls(error.to_string()),
        _ => Trouble::System(error),
    }
}

fn wait(socket: &OwnedFd, interest: Interest, deadline: Instant) -> Result<(), Trouble> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::TimedOut);
        }
        let [ready] = fd::poll([(socket.as_fd(), interest)], Some(left)).map_err(Trouble::System)?;
        if ready.read || ready.write || ready.hangup {
            return Ok(());
        }
    }
}

/// What happened, as the middle of a sentence: `lost connection`.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Lost => f.write_str("lost connection"),
            Trouble::TimedOut => f.write_str("conversation timed out"),
            Trouble::Malformed(what) => write!(f, "protocol error: {what}"),
            Trouble::Tls(what) => write!(f, "TLS failed: {what}"),
            Trouble::System(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
