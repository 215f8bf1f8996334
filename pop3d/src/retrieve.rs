//! RETR and TOP: a message as a multi-line response, streamed.
//!
//! The message was written by strangers; nothing of it is kept, so a message of any size costs one buffer.

use crate::transaction::Failure;
use common::config::Config;
use common::config::keyword::Workaround;
use common::io::dot::DotStuffer;
use common::io::{Conn, Ending};
use common::maildir::{Maildir, Message, StorageError};
use common::sys::fd::Pages;
use std::io::Read;

/// Octets of a message that are read at a time.
const CHUNK_OCTETS: usize = 64 * 1024;

/// How far it came.
pub enum Sent {
    /// The response is complete.
    Whole,
    /// Not a single octet was sent, so this can still be answered with -ERR.
    Nothing(StorageError),
}

/// RETR.
pub fn retr(conn: &mut Conn, config: &Config, maildir: &Maildir, message: &Message) -> Result<Sent, Failure> {
    send(conn, config, maildir, message, None)
}

/// TOP: the header, the blank line, and this many lines of the body.
pub fn top(
    conn: &mut Conn,
    config: &Config,
    maildir: &Maildir,
    message: &Message,
    lines: u32,
) -> Result<Sent, Failure> {
    send(conn, config, maildir, message, Some(lines))
}

fn send(
    conn: &mut Conn,
    config: &Config,
    maildir: &Maildir,
    message: &Message,
    lines: Option<u32>,
) -> Result<Sent, Failure> {
    let mut file = match maildir.open_message(message) {
        Ok((file, _)) => file,
        Err(error) => return Ok(Sent::Nothing(error)),
    };
    let mut chunk = Pages::new(CHUNK_OCTETS).map_err(Ending::Failed)?;
    // The first read is before the +OK: what fails now can still be refused.
    let mut filled = match file.read(&mut chunk) {
        Ok(n) => n,
        Err(error) => return Ok(Sent::Nothing(StorageError::new("read", maildir.path(), error))),
    };
    match lines {
        None => conn.push_fmt(format_args!("+OK {} octets\r\n", message.octets.unwrap_or(0)))?,
        Some(_) => conn.push_line("+OK")?,
    }
    let mut stuffer = DotStuffer::new(config.pop3_client_workarounds.contains(Workaround::OutlookNoNuls));
    let mut position = Position::new(lines);
    while filled > 0 {
        let octets = chunk.get(..filled).unwrap_or_default();
        let on = stuffer.feed(octets, &mut |piece| conn.push(piece), &mut |line| position.after(line))?;
        if !on {
            break;
        }
        position.unfinished(octets);
        filled = match file.read(&mut chunk) {
            Ok(n) => n,
            // Half a message must not look like a whole one: the connection breaks without the final dot.
            Err(error) => return Err(Ending::Failed(error).into()),
        };
    }
    stuffer.end_line(&mut |piece| conn.push(piece))?;
    if !position.in_body && config.pop3_client_workarounds.contains(Workaround::OeNsEoh) {
        conn.push(b"\r\n")?;
    }
    conn.push(b".\r\n")?;
    Ok(Sent::Whole)
}

/// Where in the message we are: TOP stops after so many lines of the body, and some clients want to see the header's end.
struct Position {
    in_body: bool,
    /// Octets of the current line that came in earlier chunks.
    line_begun: bool,
    /// Lines of the body still wanted; `None`: all.
    left: Option<u32>,
}

impl Position {
    fn new(left: Option<u32>) -> Position {
        Position { in_body: false, line_begun: false, left }
    }

    /// After a line (`line`: what of it was in this chunk): whether more is wanted.
    fn after(&mut self, line: &[u8]) -> bool {
        let blank = !self.line_begun && (line.is_empty() || line == b"\r");
        self.line_begun = false;
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

    /// After a chunk: whether it ended within a line.
    fn unfinished(&mut self, chunk: &[u8]) {
        let tail = chunk.rsplit(|&octet| octet == b'\n').next().unwrap_or_default();
        // A lone CR at the end may yet be half of a blank line's end.
        self.line_begun |= !tail.is_empty() && tail != b"\r";
    }
}
