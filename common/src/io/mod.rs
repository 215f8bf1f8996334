//! The connection with the client: lines in, replies out, and the clock over both.
//!
//! Input is hostile. A line is bounded before it is looked at, and whatever a client sends or withholds ends in an
//! [`Ending`], never in growth. Replies gather in one buffer that is written exactly when the client is waited for, so
//! that pipelined commands are answered in one write (RFC 2449 6.6) and no answer leaves in pieces.

pub mod dot;
pub mod gather;
mod heartbeat;
mod input;
mod output;

pub use crate::sys::fd::OtherEnd;
pub use heartbeat::Heartbeat;
pub use output::linger;

use crate::sys::fd::{self, Pages};
use crate::tls;
use heartbeat::Pulse;
use output::flush_tls;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Octets of input held at most: room for a few pipelined commands.
const INPUT_OCTETS: usize = 8 * 1024;
/// Octets of replies held before they are written although the client is not waited for.
const OUTPUT_OCTETS: usize = 128 * 1024;
/// Octets of a file that are read at once.
const SCRATCH_OCTETS: usize = 64 * 1024;
/// Octets of one over-long line that are read and thrown away before the connection is given up.
pub const DISCARD_MAX: usize = 64 * 1024;
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
    /// The last line ended with LF alone.
    bare: bool,
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
            bare: false,
            limits,
            line_since: None,
            trims_heap: false,
            watched: None,
            pulse: Pulse::NONE,
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
        self.pulse = Pulse::of(heartbeat);
    }

    /// No more of it.
    pub fn stop_heartbeat(&mut self) {
        self.pulse = Pulse::NONE;
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

    /// Whether the last line ended with LF alone, for protocols that care.
    pub fn line_was_bare(&self) -> bool {
        self.bare
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
    use super::output::wait_for_room;
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
        while beats.get() < 4 && begun.elapsed() < Duration::from_secs(60) {
            conn.flush().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(beats.get(), 4);
        assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
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
