//! Replies out: gathered, written when the client is waited for, and for as long as it takes them.

use super::heartbeat::Pulse;
use super::{Conn, Ending, Limits, SCRATCH_OCTETS, Transport, failed};
use crate::sys::fd::{self, Interest, Pages};
use crate::tls;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How long, and for how many octets, a closing connection listens on so that the last reply is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 256 * 1024;

impl Conn {
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
        self.scratch.take().map_or_else(|| Pages::new(SCRATCH_OCTETS), Ok)
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

pub(super) fn flush_tls(stream: &mut tls::Stream, limits: &Limits, pulse: &mut Pulse) -> Result<(), Ending> {
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

pub(super) fn wait_for_room(to: BorrowedFd<'_>, limits: &Limits, pulse: &mut Pulse) -> Result<(), Ending> {
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
