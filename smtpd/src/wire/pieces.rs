//! The message itself on the data socket: pieces of a length and so many octets, then one of two marks.
//!
//! The socket outlives the message and the writer: the next message is the next writer's. It is not sent before the guard has
//! said what became of this one, so nothing of it can be read too early; a front that sends it nevertheless is not ours.

use common::io::Ending;
use common::sys::fd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What a writer says to the front on the same socket when the message is on disk: random octets that it has from the guard.
pub type Token = [u8; 8];

/// Octets of a piece.
pub const PIECE_MAX: usize = 64 * 1024;
/// The message is complete.
const COMPLETE: u32 = 0;
/// It is not, and nothing more of it will come.
const ABANDONED: u32 = u32::MAX;

/// How long the front waits at most for a writer that does not read: one that waits for a disk, most likely, or that its user has
/// stopped. The client waits for three minutes (RFC 5321 section 4.5.3.2.5).
pub const PATIENCE_MAX: Duration = Duration::from_secs(150);

/// Octets that the front gathers before they leave: what it has read of the client at once fits.
const GATHERED_MAX: usize = 16 * 1024;
/// Octets that a writer takes at once.
const BUFFER: usize = 16 * 1024;
/// Octets of a length or a mark.
const HEAD: usize = 4;

/// Waits until the writer can take something. `false`: the guard has said before what becomes of the message, so nobody will.
pub type Room = Box<dyn Fn() -> io::Result<bool>>;

/// The front's end.
pub struct Pieces {
    room: Room,
    /// A piece that has not left yet, behind the place of its length.
    gathered: Vec<u8>,
}

impl Pieces {
    /// A message's start.
    pub fn new(room: Room) -> Pieces {
        Pieces { room, gathered: Vec::new() }
    }

    /// Adds octets. They leave with [`Pieces::flush`] or when there are many. `TimedOut`: nobody takes them.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), Ending> {
        for part in octets.chunks(GATHERED_MAX) {
            if self.gathered.len().saturating_add(part.len()) > GATHERED_MAX + HEAD {
                self.flush()?;
            }
            if self.gathered.is_empty() {
                self.gathered.extend_from_slice(&[0; HEAD]);
            }
            self.gathered.extend_from_slice(part);
        }
        Ok(())
    }

    /// Sends what has been gathered: nothing more comes for now.
    pub fn flush(&mut self) -> Result<(), Ending> {
        self.close_piece();
        let sent = send_all(fd::DATA, &self.gathered, &self.room);
        self.gathered.clear();
        sent.map_err(Ending::Failed)
    }

    /// The message is complete, or will never be.
    pub fn end(mut self, complete: bool) -> Result<(), Ending> {
        if !complete {
            self.gathered.clear();
        }
        self.close_piece();
        let mark = if complete { COMPLETE } else { ABANDONED };
        self.gathered.extend_from_slice(&mark.to_be_bytes());
        send_all(fd::DATA, &self.gathered, &self.room).map_err(Ending::Failed)
    }

    fn close_piece(&mut self) {
        let length = self.gathered.len().saturating_sub(HEAD) as u32;
        if let Some(head) = self.gathered.first_chunk_mut() {
            *head = length.to_be_bytes();
        }
    }
}

/// The writer says that the message is on disk. A front that does not listen will hear it from the guard.
pub fn say_token(to: &impl AsFd, token: Token) {
    let _ = fd::send(to.as_fd(), &token);
}

/// Front: whether this was said. Another one was of a message of which the guard has said something else by then.
pub fn hear_token(from: BorrowedFd<'_>, token: Token) -> Result<bool, Ending> {
    let mut said = Token::default();
    loop {
        match fd::receive(from, &mut said) {
            Ok(n) if n == said.len() && said == token => return Ok(true),
            Ok(n) if n == said.len() => {}
            Ok(_) => return Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(Ending::Failed(error)),
        }
    }
}

fn send_all(to: BorrowedFd<'_>, octets: &[u8], room: &dyn Fn() -> io::Result<bool>) -> io::Result<()> {
    let mut rest = octets;
    while !rest.is_empty() {
        match fd::send(to, rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !room()? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What came next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Octets of the message.
    Octets(&'a [u8]),
    /// Its end.
    Complete,
    /// It will never be complete: the front said so, or is gone.
    Abandoned,
}

/// The writer's end.
pub struct Source<'a> {
    socket: BorrowedFd<'a>,
    buffer: &'a mut Vec<u8>,
    /// What has been read and not handed out.
    start: usize,
    end: usize,
    /// Octets of the current piece that are yet to be handed out.
    left: usize,
}

impl<'a> Source<'a> {
    /// A message's start. The buffer is the last message's: its pages are warm.
    pub fn new(socket: &'a impl AsFd, buffer: &'a mut Vec<u8>) -> Source<'a> {
        buffer.resize(BUFFER, 0);
        Source { socket: socket.as_fd(), buffer, start: 0, end: 0, left: 0 }
    }

    /// Waits for the next octets. After a mark there are none.
    pub fn next_piece(&mut self) -> io::Result<Piece<'_>> {
        while self.left == 0 || self.start == self.end {
            let there = self.buffer.get(self.start..self.end).unwrap_or_default();
            let Some(&head) = there.first_chunk::<HEAD>().filter(|_| self.left == 0) else {
                if !self.fill()? {
                    return Ok(Piece::Abandoned);
                }
                continue;
            };
            self.start += HEAD;
            let is_last = self.start == self.end;
            match u32::from_be_bytes(head) {
                COMPLETE | ABANDONED if !is_last => return Err(io::ErrorKind::InvalidData.into()),
                COMPLETE => return Ok(Piece::Complete),
                ABANDONED => return Ok(Piece::Abandoned),
                length => self.left = usize::try_from(length).unwrap_or(usize::MAX),
            }
            if self.left > PIECE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let from = self.start;
        let octets = self.left.min(self.end - from);
        self.start += octets;
        self.left -= octets;
        Ok(Piece::Octets(self.buffer.get(from..self.start).unwrap_or_default()))
    }

    /// Reads what is there. `false`: the front is gone.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        loop {
            match fd::read(self.socket, self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads to the mark. Whether the message was complete.
    pub fn drain(&mut self) -> io::Result<bool> {
        loop {
            match self.next_piece()? {
                Piece::Octets(_) => {}
                Piece::Complete => return Ok(true),
                Piece::Abandoned => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
