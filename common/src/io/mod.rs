//! The connection with the client: lines in, replies out, and the clock over both.
//!
//! Input is hostile. A line is bounded before it is looked at, and whatever a client sends or withholds ends in an
//! [`Ending`], never in growth. Replies gather in one buffer that is written exactly when the client is waited for, so
//! that pipelined commands are answered in one write (RFC 2449 6.6) and no answer leaves in pieces.

pub mod dot;
pub mod gather;

use crate::sys::fd::{self, Interest, Pages};
use crate::tls;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Octets of input held at most: room for a few pipelined commands.
const INPUT_OCTETS: usize = 8 * 1024;
/// Octets of replies held before they are written although the client is not waited for.
const OUTPUT_OCTETS: usize = 64 * 1024;
/// Octets of one over-long line that are read and thrown away before the connection is given up.
pub const DISCARD_MAX: usize = 64 * 1024;
/// After this long without a word from the client the memory that only a busy session needs goes back.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// How long, and for how many octets, a closing connection listens on so that the last reply is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 256 * 1024;

/// Why a conversation is over.
#[derive(Debug)]
pub enum Ending {
    /// The client said goodbye, or the server did after its last reply.
    Quit,
    /// The client closed the connection.
    Disconnected,
    /// The client sent nothing for the idle time.
    Idle,
    /// The client did not take a reply in time.
    NotReading,
    /// The session has lasted as long as it may.
    SessionLimit,
    /// More refused commands than a client that means well sends.
    TooManyBadCommands,
    /// The connection failed; or, in words of our own (an error of kind `Other`), something else did without which the
    /// conversation cannot go on.
    Failed(io::Error),
    /// TLS failed, in the library's words.
    Tls(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Quit => f.write_str("Logged out"),
            Ending::Disconnected => f.write_str("Connection closed"),
            Ending::Idle => f.write_str("Inactivity"),
            Ending::NotReading => f.write_str("Client does not read"),
            Ending::SessionLimit => f.write_str("Session time is over"),
            Ending::TooManyBadCommands => f.write_str("Too many bad commands"),
            Ending::Failed(error) if error.kind() == io::ErrorKind::Other => write!(f, "{error}"),
            Ending::Failed(error) => write!(f, "Connection failed: {error}"),
            Ending::Tls(what) => write!(f, "TLS: {what}"),
        }
    }
}

/// How long the client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For its next command.
    pub idle: Duration,
    /// To take a reply: the time without any progress of a write.
    pub reply: Duration,
    /// For everything.
    pub deadline: Option<Instant>,
}

/// One line from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Its octets without the line end. They may be a password.
    Complete(Zeroizing<Vec<u8>>),
    /// It was longer than allowed; all of it has been thrown away.
    TooLong,
}

/// What ended a [wait](Conn::wait).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The client sent something, or is gone: the next read says which.
    Input,
    /// The other descriptor is readable.
    Other,
    /// The time is over.
    Time,
}

enum Transport {
    Clear { socket: bool },
    Tls(Box<tls::Stream>),
}

/// Something to do every so often, whether the client is silent or busy (a lock's heartbeat).
pub struct Heartbeat {
    /// How often.
    pub every: Duration,
    /// What. `false`: what was to be kept alive is lost, and the conversation ends.
    pub beat: Box<dyn FnMut() -> bool>,
}

/// The heartbeat, if there is one, and when it is due.
struct Pulse(Option<(Heartbeat, Instant)>);

impl Pulse {
    /// Beats if it is time to. How long until the next time.
    fn check(&mut self) -> Result<Option<Duration>, Ending> {
        let Some((heartbeat, due)) = &mut self.0 else { return Ok(None) };
        let now = Instant::now();
        if now >= *due {
            if !(heartbeat.beat)() {
                // It stays due: nothing more is written or read.
                return Err(Ending::Failed(io::Error::other("The session's lock was lost to somebody else")));
            }
            *due = now + heartbeat.every;
        }
        Ok(Some(due.saturating_duration_since(now)))
    }
}

/// The connection: standard input and output, in clear or under TLS.
pub struct Conn {
    transport: Transport,
    input: Pages,
    start: usize,
    end: usize,
    output: Pages,
    filled: usize,
    /// Lent to whoever reads files to send them; made when first asked for.
    scratch: Option<Pages>,
    /// Octets of the current over-long line thrown away so far; 0 when the current line is not too long.
    discarded: usize,
    limits: Limits,
    /// Since when the next line is waited for: a client that sends an octet now and then is idle too.
    line_since: Option<Instant>,
    /// Whether freed heap goes back when the client is quiet.
    trims_heap: bool,
    /// Whoever must be there while we wait for the client.
    watched: Option<BorrowedFd<'static>>,
    pulse: Pulse,
    received: u64,
    sent: u64,
}

impl Conn {
    /// A connection in clear on standard input and output. `unread` is what an earlier process read but did not use.
    pub fn new(limits: Limits, unread: &[u8]) -> io::Result<Conn> {
        let mut input = Pages::new(INPUT_OCTETS)?;
        let Some(room) = input.get_mut(..unread.len()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        room.copy_from_slice(unread);
        Ok(Conn {
            transport: Transport::Clear { socket: fd::is_socket(fd::STDIN) && fd::is_socket(fd::STDOUT) },
            input,
            start: 0,
            end: unread.len(),
            output: Pages::new(OUTPUT_OCTETS)?,
            filled: 0,
            scratch: None,
            discarded: 0,
            limits,
            line_since: None,
            trims_heap: false,
            watched: None,
            pulse: Pulse(None),
            received: unread.len() as u64,
            sent: 0,
        })
    }

    /// Other times from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        (self.limits, self.line_since) = (limits, None);
    }

    /// Gives freed heap back when the client is quiet. Not for a process that shares its pages with another after a fork: there
    /// it would write to them.
    pub fn trim_heap_when_quiet(&mut self) {
        self.trims_heap = true;
    }

    /// Ends the conversation when the process at the other end of this socket is gone.
    pub fn watch(&mut self, socket: BorrowedFd<'static>) {
        self.watched = Some(socket);
    }

    /// Does something regularly: while the client is waited for, and between pieces of what is sent to it.
    pub fn set_heartbeat(&mut self, heartbeat: Heartbeat) {
        let due = Instant::now() + heartbeat.every;
        self.pulse = Pulse(Some((heartbeat, due)));
    }

    /// No more of it.
    pub fn stop_heartbeat(&mut self) {
        self.pulse = Pulse(None);
    }

    /// The times in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Octets received and sent so far, as the protocol sees them (under TLS: the plaintext).
    pub fn counts(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    /// Octets sent so far, those included that wait in the buffer.
    pub fn replied(&self) -> u64 {
        self.sent + self.filled as u64
    }

    /// What has been received and not yet been used.
    pub fn unread(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// The TLS session, when there is one.
    pub fn tls(&self) -> Option<&tls::Stream> {
        match &self.transport {
            Transport::Clear { .. } => None,
            Transport::Tls(stream) => Some(stream),
        }
    }

    /// The next line of at most `limit` octets, its end included.
    ///
    /// A line ends with LF; a CR before it belongs to the end. Writes the gathered replies before it waits.
    pub fn read_line(&mut self, limit: usize) -> Result<Line, Ending> {
        loop {
            let pending = self.unread();
            match memchr::memchr(b'\n', pending) {
                Some(at) => {
                    let line = pending.get(..at).unwrap_or_default();
                    let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                    self.consume(at + 1);
                    let too_long = self.discarded > 0 || at + 1 > limit;
                    (self.discarded, self.line_since) = (0, None);
                    return Ok(if too_long { Line::TooLong } else { Line::Complete(Zeroizing::new(line)) });
                }
                None if pending.len() >= limit => {
                    let scrap = pending.len();
                    self.discarded += scrap;
                    self.consume(scrap);
                    if self.discarded > DISCARD_MAX {
                        return Err(Ending::TooManyBadCommands);
                    }
                }
                None => self.fill()?,
            }
        }
    }

    /// At least one octet of input, or what there is already, without taking it: for what comes before lines.
    pub fn peek(&mut self, more_than: usize) -> Result<&[u8], Ending> {
        while self.unread().len() <= more_than {
            self.fill()?;
        }
        Ok(self.unread())
    }

    /// Uses up octets of the input, and overwrites them: they may be a password.
    pub fn consume(&mut self, octets: usize) {
        let until = self.end.min(self.start + octets);
        if let Some(used) = self.input.get_mut(self.start..until) {
            used.fill(0);
        }
        self.start = until;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn fill(&mut self) -> Result<(), Ending> {
        self.flush()?;
        if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            let room = self.input.get_mut(self.end..).unwrap_or_default();
            // Under TLS a record may have been decrypted beyond what the last read had room for.
            if let Transport::Tls(stream) = &mut self.transport {
                match stream.read(room) {
                    Ok(0) => return Err(Ending::Disconnected),
                    Ok(n) => {
                        self.end += n;
                        self.received += n as u64;
                        return Ok(());
                    }
                    Err(error) if is_retryable(&error) => {}
                    Err(error) => {
                        let _ = flush_tls(stream, &self.limits, &mut self.pulse);
                        return Err(stream.ending(error));
                    }
                }
                // What TLS has to say of its own accord (a key update) goes out before we wait.
                flush_tls(stream, &self.limits, &mut self.pulse)?;
            }
            self.wait_for_input()?;
            if let Transport::Clear { .. } = self.transport {
                let room = self.input.get_mut(self.end..).unwrap_or_default();
                match fd::read(fd::STDIN, room) {
                    Ok(0) => return Err(Ending::Disconnected),
                    Ok(n) => {
                        self.end += n;
                        self.received += n as u64;
                        return Ok(());
                    }
                    Err(error) if is_retryable(&error) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
    }

    /// Waits until the client has sent something, for as long as it may take.
    fn wait_for_input(&mut self) -> Result<(), Ending> {
        self.wait_for(None, None).map(drop)
    }

    /// Writes the gathered replies and waits until the client has sent something, `other` is readable or `at_most` is over:
    /// for a session in clear or behind its front, which has no TLS of its own. How long the client may be silent counts on
    /// from its last line.
    pub fn wait(&mut self, other: Option<BorrowedFd<'_>>, at_most: Duration) -> Result<Woken, Ending> {
        if !self.unread().is_empty() {
            return Ok(Woken::Input);
        }
        self.flush()?;
        self.wait_for(other, Some(at_most))
    }

    fn wait_for(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        at_most: Option<Duration>,
    ) -> Result<Woken, Ending> {
        let begun = Instant::now();
        let since = *self.line_since.get_or_insert(begun);
        let mut quiet = false;
        loop {
            let now = Instant::now();
            let idle = self.limits.idle.saturating_sub(now - since);
            if idle.is_zero() {
                return Err(Ending::Idle);
            }
            let mut wait = self.pulse.check()?.map_or(idle, |until_beat| idle.min(until_beat));
            if let Some(deadline) = self.limits.deadline {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    return Err(Ending::SessionLimit);
                }
                wait = wait.min(left);
            }
            if let Some(at_most) = at_most {
                let left = at_most.saturating_sub(now - begun);
                if left.is_zero() && now > begun {
                    return Ok(Woken::Time);
                }
                wait = wait.min(left);
            }
            if !quiet {
                wait = wait.min(QUIET_AFTER);
            }
            let watched = self.watched.map_or((fd::STDIN, Interest::None), |fd| (fd, Interest::HangUp));
            let other = other.map_or((fd::STDIN, Interest::None), |fd| (fd, Interest::Read));
            let [ready, lost, stirred] = fd::poll([(fd::STDIN, Interest::Read), watched, other], Some(wait))
                .map_err(Ending::Failed)?;
            if ready.read {
                return Ok(Woken::Input);
            }
            if lost.hangup {
                return Err(Ending::Failed(io::ErrorKind::BrokenPipe.into()));
            }
            if stirred.read {
                return Ok(Woken::Other);
            }
            if !quiet && begun.elapsed() >= QUIET_AFTER {
                self.go_quiet();
                quiet = true;
            }
        }
    }

    /// Gives back what only a busy session needs. Input that is waiting stays.
    fn go_quiet(&mut self) {
        self.output.discard();
        if let Some(scratch) = &mut self.scratch {
            scratch.discard();
        }
        if self.start == self.end {
            self.input.discard();
            (self.start, self.end) = (0, 0);
        }
        if self.trims_heap {
            crate::sys::fs::release_free_memory();
        }
    }

    /// Adds octets to the reply. They are written when the buffer is full or the client is waited for.
    pub fn push(&mut self, mut octets: &[u8]) -> Result<(), Ending> {
        loop {
            let room = self.output.get_mut(self.filled..).unwrap_or_default();
            let n = room.len().min(octets.len());
            let (now, later) = octets.split_at(n);
            if let Some(room) = room.get_mut(..n) {
                room.copy_from_slice(now);
            }
            self.filled += n;
            if later.is_empty() {
                return Ok(());
            }
            octets = later;
            self.flush()?;
        }
    }

    /// A buffer of 64 KiB to read a file into, which goes back when the client is quiet. To be [put back](Conn::give_back)
    /// for the next file: its pages are warm.
    pub fn borrow_scratch(&mut self) -> io::Result<Pages> {
        self.scratch.take().map_or_else(|| Pages::new(OUTPUT_OCTETS), Ok)
    }

    /// See [`Conn::borrow_scratch`].
    pub fn give_back(&mut self, scratch: Pages) {
        self.scratch = Some(scratch);
    }

    /// Room for at least so many octets of the reply, for those who write into it themselves. They say how many they
    /// have written with [`Conn::advance`]. `at_least` is small beside the buffer.
    pub fn room(&mut self, at_least: usize) -> Result<&mut [u8], Ending> {
        if self.output.len() - self.filled < at_least {
            self.flush()?;
        }
        Ok(self.output.get_mut(self.filled..).unwrap_or_default())
    }

    /// See [`Conn::room`].
    pub fn advance(&mut self, octets: usize) {
        self.filled = self.output.len().min(self.filled + octets);
    }

    /// Adds one line, CR LF included.
    pub fn push_line(&mut self, line: &str) -> Result<(), Ending> {
        self.push(line.as_bytes())?;
        self.push(b"\r\n")
    }

    /// Adds formatted text; no line end is added.
    pub fn push_fmt(&mut self, arguments: fmt::Arguments<'_>) -> Result<(), Ending> {
        struct Sink<'a>(&'a mut Conn, Option<Ending>);
        impl fmt::Write for Sink<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.push(text.as_bytes()).map_err(|ending| {
                    self.1 = Some(ending);
                    fmt::Error
                })
            }
        }
        let mut sink = Sink(self, None);
        match fmt::write(&mut sink, arguments) {
            Ok(()) => Ok(()),
            Err(_) => Err(sink.1.unwrap_or(Ending::Disconnected)),
        }
    }

    /// Writes the gathered replies.
    pub fn flush(&mut self) -> Result<(), Ending> {
        // A client that takes a long message as fast as it comes is never waited for.
        self.pulse.check()?;
        let filled = std::mem::take(&mut self.filled);
        let octets = self.output.get(..filled).unwrap_or_default();
        if octets.is_empty() {
            return Ok(());
        }
        match &mut self.transport {
            Transport::Clear { socket } => {
                write_all(fd::STDOUT, octets, *socket, &self.limits, &mut self.pulse)?;
            }
            Transport::Tls(stream) => {
                stream.queue(octets).map_err(failed)?;
                flush_tls(stream, &self.limits, &mut self.pulse)?;
            }
        }
        self.sent += filled as u64;
        Ok(())
    }

    /// Speaks TLS from here on: writes what is gathered in clear and shakes hands.
    ///
    /// Octets that have been read already are taken for TLS records, never for commands: whoever allows commands in clear
    /// before TLS has to refuse what follows the one that begins it.
    pub fn start_tls(&mut self, mut stream: tls::Stream) -> Result<(), Ending> {
        self.flush()?;
        self.line_since = None;
        let preloaded = stream.preload(self.unread());
        self.consume(self.end);
        // From here on nothing leaves in clear, whatever becomes of the handshake.
        self.transport = Transport::Tls(Box::new(stream));
        if let (Err(error), Transport::Tls(stream)) = (preloaded, &mut self.transport) {
            let _ = flush_tls(stream, &self.limits, &mut self.pulse);
            return Err(stream.ending(error));
        }
        while self.shake_hands()? {
            self.wait_for_input()?;
        }
        self.line_since = None;
        crate::sys::fs::release_free_memory();
        Ok(())
    }

    /// Goes on with the handshake as far as it goes without waiting. Whether it wants more from the client.
    fn shake_hands(&mut self) -> Result<bool, Ending> {
        let Transport::Tls(stream) = &mut self.transport else { return Ok(false) };
        let received = if stream.is_handshaking() { stream.receive() } else { Ok(()) };
        // Also after an error: the alert tells the client what was wrong with its hello.
        flush_tls(stream, &self.limits, &mut self.pulse)?;
        match received {
            Err(error) if !is_retryable(&error) => Err(stream.ending(error)),
            _ => Ok(stream.is_handshaking()),
        }
    }

    /// The TLS session, taken out for the byte pump.
    pub fn into_tls(self) -> Option<Box<tls::Stream>> {
        match self.transport {
            Transport::Clear { .. } => None,
            Transport::Tls(stream) => Some(stream),
        }
    }

    /// The end: writes what is gathered, says goodbye under TLS, and reads on for a moment, because closing with input
    /// unread would reset the connection and could take the last reply with it.
    pub fn close(mut self) {
        if self.flush().is_err() {
            return;
        }
        if let Transport::Tls(stream) = &mut self.transport {
            stream.say_goodbye();
            let _ = flush_tls(stream, &self.limits, &mut self.pulse);
        }
        linger();
    }
}

/// Tells the client that nothing more will come and waits, briefly, until it has closed too.
// Inlined, its buffer would stretch the stack of a front that only waits.
#[inline(never)]
pub fn linger() {
    if fd::shutdown_write(fd::STDOUT).is_err() {
        return;
    }
    let until = Instant::now() + LINGER;
    let mut seen = 0;
    let mut scrap = [0; 1024];
    while seen < LINGER_OCTETS {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match fd::poll([(fd::STDIN, Interest::Read)], Some(left)) {
            Ok([ready]) if ready.read => {}
            _ => return,
        }
        match fd::receive(fd::STDIN, &mut scrap) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen += n,
        }
    }
}

/// Writes everything, waiting for the client as long as it makes progress within the reply time.
fn write_all(
    to: BorrowedFd<'_>,
    mut octets: &[u8],
    socket: bool,
    limits: &Limits,
    pulse: &mut Pulse,
) -> Result<(), Ending> {
    while !octets.is_empty() {
        let result = if socket {
            fd::send(to, octets)
        } else {
            // A pipe: after poll(2) says there is room, PIPE_BUF octets never block.
            wait_for_room(to, limits, pulse)?;
            fd::write(to, octets.get(..4096).unwrap_or(octets))
        };
        match result {
            Ok(n) => octets = octets.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(to, limits, pulse)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn flush_tls(stream: &mut tls::Stream, limits: &Limits, pulse: &mut Pulse) -> Result<(), Ending> {
    while stream.wants_write() {
        match stream.send() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for_room(fd::STDOUT, limits, pulse)?
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn wait_for_room(to: BorrowedFd<'_>, limits: &Limits, pulse: &mut Pulse) -> Result<(), Ending> {
    let until = Instant::now() + limits.reply;
    let until = limits.deadline.map_or(until, |deadline| until.min(deadline));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ending::NotReading);
        }
        let wait = pulse.check()?.map_or(left, |until_beat| left.min(until_beat));
        let [ready] = fd::poll([(to, Interest::Write)], Some(wait)).map_err(Ending::Failed)?;
        if ready.write || ready.hangup {
            return Ok(());
        }
    }
}

fn is_retryable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A peer that went away is an ordinary end, not a failure.
pub(crate) fn failed(error: io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            Ending::Disconnected
        }
        _ => Ending::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn conn(every: Duration, beats: &Rc<Cell<u32>>, last: u32) -> Conn {
        let minute = Duration::from_secs(60);
        let mut conn =
            Conn::new(Limits { idle: minute, reply: minute, deadline: None }, b"NOOP\r\n").unwrap();
        let beats = beats.clone();
        let beat = Box::new(move || {
            beats.set(beats.get() + 1);
            beats.get() < last
        });
        conn.set_heartbeat(Heartbeat { every, beat });
        conn
    }

    #[test]
    fn a_busy_conversation_beats_too() {
        let beats = Rc::new(Cell::new(0));
        let mut conn = conn(Duration::from_millis(40), &beats, u32::MAX);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            conn.flush().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!((3..=7).contains(&beats.get()), "{}", beats.get());
        conn.stop_heartbeat();
        let before = beats.get();
        std::thread::sleep(Duration::from_millis(50));
        conn.flush().unwrap();
        assert_eq!(beats.get(), before);
    }

    #[test]
    fn a_lost_lock_ends_the_conversation() {
        let beats = Rc::new(Cell::new(0));
        let mut conn = conn(Duration::ZERO, &beats, 2);
        conn.flush().unwrap();
        let ending = conn.flush().unwrap_err();
        assert_eq!(ending.to_string(), "The session's lock was lost to somebody else");
        assert!(matches!(conn.wait_for_input(), Err(Ending::Failed(_))));
        assert!(wait_for_room(fd::STDOUT, &conn.limits, &mut conn.pulse).is_err());
        assert!(conn.push(&vec![b'x'; OUTPUT_OCTETS + 1]).is_err());
    }
}
