//! RETR and TOP: a message as a multi-line response, streamed.
//!
//! The message was written by strangers; nothing of it is kept, so a message of any size costs one buffer.

use crate::maildrop::Maildrop;
use crate::transaction::Failure;
use common::config::Config;
use common::config::keyword::Workaround;
use common::io::dot::DotStuffer;
use common::io::{Conn, Ending};
use common::maildir::{Message, StorageError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

/// Octets of room in the reply that are worth filling; with less it is written first.
const ROOM: usize = 512;

/// How far it came.
pub enum Sent {
    /// The response is complete.
    Whole,
    /// Not a single octet was sent, so this can still be answered with -ERR.
    Nothing(StorageError),
}

/// RETR.
pub fn retr(
    conn: &mut Conn,
    config: &Config,
    maildrop: &Maildrop,
    message: &Message,
) -> Result<Sent, Failure> {
    send(conn, config, maildrop, message, None)
}

/// TOP: the header, the blank line, and this many lines of the body.
pub fn top(
    conn: &mut Conn,
    config: &Config,
    maildrop: &Maildrop,
    message: &Message,
    lines: u32,
) -> Result<Sent, Failure> {
    send(conn, config, maildrop, message, Some(lines))
}

/// Opens the message. What is not a file is none: a FIFO without a writer would look like an empty message.
pub fn open(maildrop: &Maildrop, message: &Message) -> Result<File, StorageError> {
    let (file, place) = maildrop.open_message(message)?;
    let failed = |error| {
        let directory = maildrop.path().join(if place.in_new { "new" } else { "cur" });
        StorageError::new("read", directory.join(std::ffi::OsStr::from_bytes(&place.name)), error)
    };
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(file),
        Ok(_) => Err(failed(io::Error::other("not a file"))),
        Err(error) => Err(failed(error)),
    }
}

fn send(
    conn: &mut Conn,
    config: &Config,
    maildrop: &Maildrop,
    message: &Message,
    lines: Option<u32>,
) -> Result<Sent, Failure> {
    let file = match open(maildrop, message) {
        Ok(file) => file,
        Err(error) => return Ok(Sent::Nothing(error)),
    };
    let mut chunk = match conn.borrow_scratch() {
        Ok(chunk) => chunk,
        Err(error) => return Ok(Sent::Nothing(StorageError::new("read", maildrop.path(), error))),
    };
    let sent = stream(conn, config, file, &mut chunk, message.octets.unwrap_or(0), lines);
    conn.give_back(chunk);
    match sent {
        Ok(None) => Ok(Sent::Whole),
        Ok(Some(error)) => {
            let name = std::ffi::OsStr::from_bytes(&message.name);
            Ok(Sent::Nothing(StorageError::new("read", maildrop.path().join(name), error)))
        }
        Err(ending) => Err(ending.into()),
    }
}

/// `Ok(Some)`: the file could not be read and nothing has been sent.
fn stream(
    conn: &mut Conn,
    config: &Config,
    mut file: File,
    chunk: &mut [u8],
    octets: u64,
    lines: Option<u32>,
) -> Result<Option<io::Error>, Ending> {
    // The first read is before the +OK: what fails now can still be refused.
    let (size, mut filled) = match file.metadata().and_then(|meta| Ok((meta.len(), read(&mut file, chunk)?)))
    {
        Ok(begun) => begun,
        Err(error) => return Ok(Some(error)),
    };
    let mut seen = filled as u64;
    match lines {
        None => conn.push_fmt(format_args!("+OK {octets} octets\r\n"))?,
        Some(_) => conn.push_line("+OK")?,
    }
    let mut stuffer = DotStuffer::new(config.pop3_client_workarounds.contains(Workaround::OutlookNoNuls));
    let mut position = Position { in_body: false, left: lines };
    'message: while filled > 0 {
        let mut rest = chunk.get(..filled).unwrap_or_default();
        while !rest.is_empty() {
            let room = conn.room(ROOM)?;
            let progress = stuffer.stuff(rest, room, &mut |blank| position.after(blank));
            conn.advance(progress.written);
            rest = rest.get(progress.read..).unwrap_or_default();
            if progress.stopped {
                break 'message;
            }
        }
        // A read that does not fill the buffer has reached the end of the file, if that still is where it was.
        if filled < chunk.len() && seen >= size {
            break;
        }
        // Half a message must not look like a whole one: on an error the connection breaks without the final dot.
        filled = read(&mut file, chunk).map_err(|error| broken(&error))?;
        if filled == 0 && seen < size {
            return Err(broken(&"it has become shorter"));
        }
        seen += filled as u64;
    }
    conn.push(stuffer.end_line())?;
    if !position.in_body && config.pop3_client_workarounds.contains(Workaround::OeNsEoh) {
        conn.push(b"\r\n")?;
    }
    conn.push(b".\r\n")?;
    Ok(None)
}

fn read(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn broken(why: &dyn std::fmt::Display) -> Ending {
    Ending::Failed(io::Error::other(format!("A message could not be read to its end: {why}")))
}

/// Where in the message we are: TOP stops after so many lines of the body, and some clients want to see the header's end.
struct Position {
    in_body: bool,
    /// Lines of the body still wanted; `None`: all.
    left: Option<u32>,
}

impl Position {
    /// After a line: whether more is wanted.
    fn after(&mut self, blank: bool) -> bool {
        if !self.in_body {
            self.in_body = blank;
            return !(blank && self.left == Some(0));
        }
        match &mut self.left {
            None => true,
            Some(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
        }
    }
}
