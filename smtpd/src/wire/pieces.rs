//! The message itself on the data socket: pieces of a length and so many octets, then one of two marks.
//!
//! The socket outlives the message and the writer: the next message is the next writer's. So nobody reads beyond a mark.

use common::io::Ending;
use common::sys::fd::{self, Interest};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Octets of a piece.
pub const PIECE_MAX: usize = 64 * 1024;
/// The message is complete.
const COMPLETE: u32 = 0;
/// It is not, and nothing more of it will come.
const ABANDONED: u32 = u32::MAX;

/// How long the front waits for a writer that does not read: one that waits for a disk, most likely.
const PATIENCE: Duration = Duration::from_secs(300);

/// The front's end.
#[derive(Debug, Default)]
pub struct Pieces;

impl Pieces {
    /// Sends octets.
    pub fn send(&mut self, octets: &[u8]) -> Result<(), Ending> {
        for piece in octets.chunks(PIECE_MAX) {
            send_all(fd::DATA, &(piece.len() as u32).to_be_bytes(), piece).map_err(Ending::Failed)?;
        }
        Ok(())
    }

    /// The message is complete, or will never be.
    pub fn end(self, complete: bool) -> Result<(), Ending> {
        let mark = if complete { COMPLETE } else { ABANDONED };
        send_all(fd::DATA, &mark.to_be_bytes(), b"").map_err(Ending::Failed)
    }
}

fn send_all(to: BorrowedFd<'_>, head: &[u8], body: &[u8]) -> io::Result<()> {
    let total = head.len() + body.len();
    let mut sent = 0;
    while sent < total {
        let rest_of_head = head.get(sent..).unwrap_or_default();
        let rest_of_body = body.get(sent.saturating_sub(head.len())..).unwrap_or_default();
        match fd::send_vectored(to, &[IoSlice::new(rest_of_head), IoSlice::new(rest_of_body)]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let [ready] = fd::poll([(to, Interest::Write)], Some(PATIENCE))?;
                if !ready.write && !ready.hangup {
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
    buffer: Vec<u8>,
    /// The length of the next piece, which came with the last one.
    next: Option<u32>,
}

impl<'a> Source<'a> {
    /// A message's start.
    pub fn new(socket: &'a impl AsFd) -> Source<'a> {
        Source { socket: socket.as_fd(), buffer: Vec::new(), next: None }
    }

    /// Waits for the next piece. After a mark there is none.
    pub fn next_piece(&mut self) -> io::Result<Piece<'_>> {
        let length = match self.next.take() {
            Some(length) => length,
            None => {
                let mut head = [0; 4];
                if !read_exact(self.socket, &mut head)? {
                    return Ok(Piece::Abandoned);
                }
                u32::from_be_bytes(head)
            }
        };
        let octets = match length {
            COMPLETE => return Ok(Piece::Complete),
            ABANDONED => return Ok(Piece::Abandoned),
            length => usize::try_from(length).unwrap_or(usize::MAX),
        };
        if octets > PIECE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Behind a piece there is always another one's length, or a mark.
        self.buffer.resize(octets + 4, 0);
        if !read_exact(self.socket, &mut self.buffer)? {
            return Ok(Piece::Abandoned);
        }
        let (octets, next) = self.buffer.split_last_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
        self.next = Some(u32::from_be_bytes(*next));
        Ok(Piece::Octets(octets))
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

fn read_exact(socket: BorrowedFd<'_>, mut buffer: &mut [u8]) -> io::Result<bool> {
    while !buffer.is_empty() {
        match fd::read(socket, buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => buffer = buffer.get_mut(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
