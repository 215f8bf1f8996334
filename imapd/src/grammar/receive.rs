//! Receiving commands: lines and the literals between them (RFC 3501 section 4.3, RFC 7888).
//!
//! Hostile input, before the login a stranger's. A command and its literals have one budget of octets, and a literal that
//! does not fit is refused before it is read. The octets of a refused literal that the client does not wait to send are
//! thrown away, never taken for a command; where that would be too many the connection ends.

use super::{AppendMessage, BadCommand, Command, LiteralHeader, SyntaxError, Tag};
use common::io::gather::{Gathered, Text};
use common::io::{Conn, Ending};

/// Octets of a literal that is not waited for where LITERAL- is offered (RFC 7888 section 5).
pub const LITERAL_MINUS_MAX: u64 = 4096;
/// Octets of refused literals, but for messages, that are thrown away before the connection is given up.
const SKIP_MAX: u64 = 1024 * 1024;

/// What may be sent.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Octets of a command: its lines with their literals.
    pub command: usize,
    /// Before the login: octets of literals in the whole conversation that are left. `None`: no bound of their own.
    pub literals: Option<u64>,
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A command.
    Command(Tag, Command),
    /// Something else; the next command can be received.
    Bad(BadCommand),
    /// A literal that is not to be had: the last thing before the connection ends.
    Refused(BadCommand),
}

/// Receives the next command. Blank lines are none (Apple Mail sends them). `text` is room that is used again and again;
/// nothing in it is needed afterwards.
pub fn receive(conn: &mut Conn, text: &mut Text, budget: &mut Budget) -> Result<Received, Ending> {
    loop {
        text.clear();
        match conn.gather_line(text, budget.command)? {
            Gathered::TooLong(tail) => return too_long(conn, text, budget, &tail),
            Gathered::Line if text.as_bytes().iter().all(|&c| c == b' ') => {}
            Gathered::Line => break,
        }
    }
    let mut line = 0;
    loop {
        let so_far = text.as_bytes();
        let Some(literal) = so_far.get(line..).and_then(LiteralHeader::at_end) else { break };
        if budget.literals.is_none() && LiteralHeader::is_message(so_far) {
            return message(conn, so_far, literal);
        }
        let left = (budget.command as u64).saturating_sub(so_far.len() as u64).saturating_sub(2);
        let left = budget.literals.map_or(left, |literals| left.min(literals));
        let minus = budget.literals.is_some() && !literal.waits && literal.octets > LITERAL_MINUS_MAX;
        if literal.octets > left || minus {
            let refusal = BadCommand { tag: Tag::read(so_far), error: SyntaxError::Bad("Literal too long.") };
            return refuse(conn, budget, refusal, literal);
        }
        if let Some(literals) = &mut budget.literals {
            *literals = literals.saturating_sub(literal.octets);
        }
        if literal.waits {
            conn.push_line("+ OK")?;
        }
        text.extend(b"\r\n");
        // Both were bounded above.
        conn.gather(text, usize::try_from(literal.octets).unwrap_or(usize::MAX))?;
        line = text.as_bytes().len();
        if let Gathered::TooLong(tail) = conn.gather_line(text, budget.command.saturating_sub(line))? {
            return too_long(conn, text, budget, &tail);
        }
    }
    Ok(match Command::parse(text.as_bytes()) {
        Ok((tag, command)) => Received::Command(tag, command),
        Err(bad) => Received::Bad(bad),
    })
}

fn too_long(conn: &mut Conn, text: &Text, budget: &Budget, tail: &[u8]) -> Result<Received, Ending> {
    let refusal =
        BadCommand { tag: Tag::read(text.as_bytes()), error: SyntaxError::Bad("Command line too long.") };
    match LiteralHeader::at_end(tail) {
        Some(literal) => refuse(conn, budget, refusal, literal),
        None => Ok(Received::Bad(refusal)),
    }
}

/// A command whose last line so far ends in a literal that is not wanted.
fn refuse(
    conn: &mut Conn,
    budget: &Budget,
    refusal: BadCommand,
    literal: LiteralHeader,
) -> Result<Received, Ending> {
    // Before the login there is nobody to be patient with.
    if budget.literals.is_some() || !skip_rest(conn, literal, SKIP_MAX)? {
        return Ok(Received::Refused(refusal));
    }
    Ok(Received::Bad(refusal))
}

/// Throws away what the client sends of a command although a literal of it was refused: if it waits for us, nothing.
/// `false`: that is more than `most` octets.
fn skip_rest(conn: &mut Conn, mut literal: LiteralHeader, most: u64) -> Result<bool, Ending> {
    let mut left = most;
    let mut text = Text::default();
    while !literal.waits {
        left = match left.checked_sub(literal.octets) {
            Some(left) => left,
            None => return Ok(false),
        };
        conn.skip(literal.octets)?;
        text.clear();
        let next = match conn.gather_line(&mut text, LINE_MAX)? {
            Gathered::Line => LiteralHeader::at_end(text.as_bytes()),
            Gathered::TooLong(tail) => LiteralHeader::at_end(&tail),
        };
        match next {
            Some(next) => literal = next,
            None => break,
        }
    }
    Ok(true)
}

/// Octets of a line behind a message of APPEND: flags and a date.
const LINE_MAX: usize = 8192;

/// APPEND up to its first message.
fn message(conn: &mut Conn, text: &[u8], literal: LiteralHeader) -> Result<Received, Ending> {
    match Command::parse(text) {
        Ok((tag, command)) => Ok(Received::Command(tag, command)),
        Err(bad) => {
            let skipped = skip_rest(conn, literal, u64::MAX)?;
            Ok(if skipped { Received::Bad(bad) } else { Received::Refused(bad) })
        }
    }
}

/// What follows a message of APPEND.
#[derive(Debug, PartialEq, Eq)]
pub enum Behind {
    /// The end of the command.
    End,
    /// Another message (RFC 3502).
    Message(AppendMessage),
    /// Something else: the command is over.
    Bad(SyntaxError),
}

impl AppendMessage {
    /// Receives what follows a message whose octets have all been used.
    pub fn next(conn: &mut Conn, text: &mut Text) -> Result<Behind, Ending> {
        text.clear();
        let (tail, error) = match conn.gather_line(text, LINE_MAX)? {
            Gathered::TooLong(tail) => (tail, SyntaxError::Bad("Command line too long.")),
            Gathered::Line => match AppendMessage::behind(text.as_bytes()) {
                Ok(None) => return Ok(Behind::End),
                Ok(Some(message)) => return Ok(Behind::Message(message)),
                Err(error) => (text.as_bytes().to_vec(), error),
            },
        };
        if let Some(literal) = LiteralHeader::at_end(&tail) {
            skip_rest(conn, literal, u64::MAX)?;
        }
        Ok(Behind::Bad(error))
    }

    /// The message is not wanted: throws away what the client sends of it and of the command nevertheless.
    pub fn refuse(&self, conn: &mut Conn) -> Result<(), Ending> {
        let literal = LiteralHeader { octets: self.octets, waits: self.waits, begins: 0 };
        skip_rest(conn, literal, u64::MAX)?;
        Ok(())
    }

    /// The same when so many octets of it have been used already.
    pub fn refuse_rest(&self, conn: &mut Conn, used: u64) -> Result<(), Ending> {
        let octets = self.octets.saturating_sub(used);
        AppendMessage { octets, waits: false, ..self.clone() }.refuse(conn)
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
