//! One mail transaction (RFC 5321 section 3.3): MAIL, RCPT for each recipient, the message, and what became of each.
//!
//! Where the server does PIPELINING (RFC 2920), MAIL, RCPT and DATA leave in one write, as far as they fit into a group whose
//! replies cannot fill both directions of the connection.

mod commands;

use super::data::Stuffer;
use super::reply::Reply;
use super::stream::Trouble;
use super::{Connection, broken};
use crate::address::Address;
use crate::envelope::{Body, Envelope};
use crate::status::{Enhanced, Status};
use commands::is_ascii;
use common::sys::fd::Pages;
use std::io::{self, Read};
use std::time::Duration;

/// RCPT commands of one pipelined group: with 64 of them, at most some 50 KiB are on their way before replies are read,
/// which the buffers of both ends take even if nobody reads.
const GROUP: usize = 64;
/// Octets of the message that are read at once.
pub(super) const PIECE_OCTETS: usize = 64 * 1024;
/// How long a server that has hung up while it was sent a message may take to say why, if it has not yet.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which one of the envelope's.
    pub recipient: usize,
    /// Accepted (2xx), worth another attempt (4xx) or refused (5xx). Its text is for people: who said what to what.
    pub status: Status,
    /// It was accepted by a server that has no DSN, and so tells nobody of success: whoever asked for that is told by us
    /// (RFC 3461 section 5.2.2, `relayed`).
    pub relayed: bool,
    /// What the server itself said, `550 5.1.1 No such user`; `None` where the status is ours alone.
    pub diagnostic: Option<String>,
    /// It has the whole message, and has not said whether it takes it.
    pub unsure: bool,
}

/// A message that is being sent.
struct Transaction<'a> {
    connection: &'a mut Connection,
    envelope: &'a Envelope,
    /// Recipients that are still in it, and whether the server has taken them.
    open: Vec<(usize, bool)>,
    settled: Vec<Outcome>,
    utf8: bool,
    size: u64,
    body: Body,
    /// The end of the message was sent.
    ended: bool,
}

/// Why all recipients that are still open get the same status.
struct Stop {
    status: Status,
    diagnostic: Option<String>,
}

impl Stop {
    fn ours(code: u16, enhanced: Enhanced, text: String) -> Stop {
        Stop { status: Status::new(code, enhanced, text), diagnostic: None }
    }
}

impl Connection {
    /// Sends one message of `size` octets, in wire form, to these of the envelope's recipients; no more than
    /// [`Connection::recipients_max`], and all with the same reverse-path. Each of them is in the result once. `body` is the
    /// envelope's, unless the message was made another one for this server ([`Connection::recoding`]).
    pub fn send(
        &mut self,
        envelope: &Envelope,
        recipients: &[usize],
        message: &mut dyn Read,
        size: u64,
        body: Body,
    ) -> Vec<Outcome> {
        self.mails += 1;
        let patience = self.times.transaction(size);
        if let Some(stream) = &mut self.stream {
            stream.end_within(Some(patience));
        }
        let open = recipients.iter().map(|&recipient| (recipient, false)).collect();
        let mut scratch = self.scratch.take();
        let mut transaction = Transaction {
            connection: self,
            envelope,
            open,
            settled: Vec::new(),
            utf8: false,
            size,
            body,
            ended: false,
        };
        let stop = match &mut scratch {
            Some(scratch) => transaction.run(message, scratch),
            None => Err(Stop::ours(451, Enhanced(4, 3, 0), "no memory".to_owned())),
        };
        if let Err(stop) = stop {
            transaction.settle_all(&stop.status, stop.diagnostic.as_deref());
        }
        let settled = transaction.settled;
        self.scratch = scratch;
        if let Some(stream) = &mut self.stream {
            stream.end_within(None);
        }
        settled
    }

    /// Adds a command to the group that is written next.
    fn say(&mut self, command: &str, time: Duration) -> Result<(), Stop> {
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        let result = stream.push(command.as_bytes(), time);
        result.map_err(|trouble| self.stopped(&trouble, "sending commands"))
    }

    /// The reply to the oldest command that has none. 421: the server closes (RFC 5321 section 3.8), whatever it was asked.
    fn hear(&mut self, time: Duration, command: &str) -> Result<Reply, Stop> {
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        let reply = match stream.reply(time) {
            Ok(reply) => reply,
            Err(trouble) => {
                return Err(self.stopped(&trouble, &format!("waiting for the reply to {command}")));
            }
        };
        if reply.code == 421 {
            self.stream = None;
            return Err(self.refused(&reply, command));
        }
        Ok(reply)
    }

    fn stopped(&mut self, trouble: &Trouble, during: &str) -> Stop {
        Stop { status: self.broken(trouble, during), diagnostic: None }
    }

    fn closed(&self) -> Stop {
        Stop { status: broken(&self.remote, &Trouble::Lost, "sending the next message"), diagnostic: None }
    }

    fn refused(&self, reply: &Reply, command: &str) -> Stop {
        Stop { status: reply.failure(&self.remote.to_string(), command), diagnostic: Some(reply.said()) }
    }
}

impl Transaction<'_> {
    fn run(&mut self, message: &mut dyn Read, scratch: &mut Pages) -> Result<(), Stop> {
        let first = read_piece(message, scratch).map_err(|error| unreadable(&error))?;
        self.check(scratch.get(..first).unwrap_or_default())?;
        let chunked = self.body == Body::BinaryMime;
        let mut goes_on = match self.connection.extensions.pipelining {
            true => self.envelope_in_groups(!chunked)?,
            false => self.envelope_one_by_one()?,
        };
        if !self.open.iter().any(|(_, taken)| *taken) {
            if goes_on {
                // RFC 2920 section 3.1: DATA was taken although no recipient was. An empty message goes to nobody.
                self.connection.say(".\r\n", self.connection.times.data_xfer)?;
                self.connection.hear(self.connection.times.data_done, END_OF_DATA)?;
                self.connection.needs_reset = false;
            }
            return Ok(());
        }
        if !goes_on && !chunked {
            self.connection.say("DATA\r\n", self.connection.times.data_init)?;
            let reply = self.connection.hear(self.connection.times.data_init, "DATA")?;
            goes_on = self.take_data(&reply)?;
            if !goes_on {
                return Ok(());
            }
        }
        self.message(message, scratch, first, chunked)
    }

    /// What the server has to be able to, for this message.
    fn check(&mut self, beginning: &[u8]) -> Result<(), Stop> {
        let extensions = &self.connection.extensions;
        let remote = &self.connection.remote;
        if let Some(max) = extensions.size.filter(|&max| max > 0 && max < self.size) {
            let text = format!("message of {} octets exceeds the limit of {max} of host {remote}", self.size);
            return Err(Stop::ours(552, Enhanced(5, 3, 4), text));
        }
        // RFC 3030 section 3: it was to be converted, or comes back.
        if self.body == Body::BinaryMime && !(extensions.chunking && extensions.binary_mime) {
            let text = format!("host {remote} does not take BINARYMIME");
            return Err(Stop::ours(554, Enhanced(5, 6, 3), text));
        }
        // RFC 6531 section 3.4: what needs UTF-8 goes only to servers that say they take it. Header fields in it are of no
        // account where the client did not ask for SMTPUTF8: many programs send them so.
        let sender_is_utf8 = self.reverse_path().is_some_and(|path| !path.is_ascii());
        let header_end = memchr::memmem::find(beginning, b"\r\n\r\n").unwrap_or(beginning.len());
        let header_is_utf8 =
            self.envelope.smtputf8 && !beginning.get(..header_end).unwrap_or_default().is_ascii();
        let offered = extensions.smtputf8;
        let text = || format!("host {remote} does not take SMTPUTF8");
        if (sender_is_utf8 || header_is_utf8) && !offered {
            return Err(Stop::ours(550, Enhanced(5, 6, 7), text()));
        }
        let mut needs_it = sender_is_utf8 || header_is_utf8;
        let envelope = self.envelope;
        let without: Vec<usize> = match offered {
            true => Vec::new(),
            false => self.open.iter().map(|(at, _)| *at).filter(|&at| !is_ascii(envelope, at)).collect(),
        };
        let status = Status::new(553, Enhanced(5, 6, 7), text());
        for at in without {
            self.settle(at, &status, None);
        }
        needs_it |= self.open.iter().any(|(at, _)| !is_ascii(envelope, *at));
        self.utf8 = offered && (needs_it || envelope.smtputf8);
        if self.open.is_empty() { Err(Stop::ours(451, Enhanced(4, 3, 0), String::new())) } else { Ok(()) }
    }

    /// `true`: the server waits for the data.
    fn envelope_in_groups(&mut self, with_data: bool) -> Result<bool, Stop> {
        let times = self.connection.times.clone();
        let everybody: Vec<usize> = self.open.iter().map(|(at, _)| *at).collect();
        let mut groups = everybody.chunks(GROUP).peekable();
        let mut is_first = true;
        while let Some(group) = groups.next() {
            let resets = is_first && self.connection.needs_reset;
            if resets {
                self.connection.say("RSET\r\n", times.rset)?;
            }
            if is_first {
                let mail = self.mail();
                self.connection.say(&mail, times.mail)?;
            }
            for &at in group {
                let rcpt = self.rcpt(at);
                self.connection.say(&rcpt, times.rcpt)?;
            }
            let is_last = groups.peek().is_none();
            if is_last && with_data {
                self.connection.say("DATA\r\n", times.data_init)?;
            }
            if resets {
                self.connection.hear(times.rset, "RSET")?;
            }
            let mut mail_stop = None;
            if is_first {
                let reply = self.connection.hear(times.mail, "MAIL FROM")?;
                mail_stop = self.take_mail(&reply).err();
                is_first = false;
            }
            for &at in group {
                let heard = self.connection.hear(times.rcpt, "RCPT TO");
                match (&mail_stop, heard) {
                    (Some(_), Ok(_)) => {}
                    // What came first is the reason.
                    (Some(_), Err(_)) => break,
                    (None, heard) => self.take_rcpt(at, &heard?),
                }
            }
            if is_last && with_data {
                return self.data_of_group(mail_stop);
            }
            if let Some(stop) = mail_stop {
                return Err(stop);
            }
        }
        Ok(false)
    }

    /// The reply to a DATA that was sent before anything was known.
    fn data_of_group(&mut self, mail_stop: Option<Stop>) -> Result<bool, Stop> {
        let times = self.connection.times.clone();
        let heard = self.connection.hear(times.data_init, "DATA");
        match mail_stop {
            Some(stop) => {
                if heard.is_ok_and(|reply| reply.is_intermediate()) {
                    let _ = self.connection.say(".\r\n", times.data_xfer);
                    let _ = self.connection.hear(times.data_done, END_OF_DATA);
                }
                Err(stop)
            }
            None if self.open.is_empty() => Ok(heard.is_ok_and(|reply| reply.is_intermediate())),
            None => self.take_data(&heard?),
        }
    }

    fn envelope_one_by_one(&mut self) -> Result<bool, Stop> {
        let times = self.connection.times.clone();
        if self.connection.needs_reset {
            self.connection.say("RSET\r\n", times.rset)?;
            self.connection.hear(times.rset, "RSET")?;
        }
        let mail = self.mail();
        self.connection.say(&mail, times.mail)?;
        let reply = self.connection.hear(times.mail, "MAIL FROM")?;
        self.take_mail(&reply)?;
        let everybody: Vec<usize> = self.open.iter().map(|(at, _)| *at).collect();
        for at in everybody {
            let rcpt = self.rcpt(at);
            self.connection.say(&rcpt, times.rcpt)?;
            let reply = self.connection.hear(times.rcpt, "RCPT TO")?;
            self.take_rcpt(at, &reply);
        }
        Ok(false)
    }

    fn take_mail(&mut self, reply: &Reply) -> Result<(), Stop> {
        self.connection.needs_reset = reply.is_positive();
        if reply.is_positive() { Ok(()) } else { Err(self.connection.refused(reply, "MAIL FROM")) }
    }

    fn take_rcpt(&mut self, at: usize, reply: &Reply) {
        if !reply.is_positive() {
            let mut stop = self.connection.refused(reply, "RCPT TO");
            // RFC 5321 section 4.5.3.1.10: 552 for too many recipients is an old 452. What else it may be about, such as a full
            // mailbox, only its enhanced code says.
            if reply.code == 552 {
                let enhanced = reply
                    .enhanced()
                    .map_or(Enhanced(4, 5, 3), |Enhanced(_, subject, detail)| Enhanced(4, subject, detail));
                (stop.status.code, stop.status.enhanced) = (452, enhanced);
            }
            self.settle(at, &stop.status, stop.diagnostic.as_deref());
        } else if let Some((_, taken)) = self.open.iter_mut().find(|(open, _)| *open == at) {
            *taken = true;
        }
    }

    fn take_data(&mut self, reply: &Reply) -> Result<bool, Stop> {
        if reply.is_intermediate() { Ok(true) } else { Err(self.connection.refused(reply, "DATA")) }
    }

    /// The message itself, of which the first octets are in `scratch`, and what the server says to it.
    fn message(
        &mut self,
        message: &mut dyn Read,
        scratch: &mut Pages,
        first: usize,
        chunked: bool,
    ) -> Result<(), Stop> {
        let times = self.connection.times.clone();
        if chunked {
            self.connection.say(&format!("BDAT {} LAST\r\n", self.size), times.data_xfer)?;
        }
        let Some(stream) = &mut self.connection.stream else { return Err(self.connection.closed()) };
        let mut stuffer = Stuffer::new();
        let (mut filled, mut sent) = (first, 0_u64);
        let mut result = Ok(());
        while filled > 0 && result.is_ok() {
            sent = sent.saturating_add(filled as u64);
            if sent > self.size {
                break;
            }
            let piece = scratch.get(..filled).unwrap_or_default();
            result = match chunked {
                true => stream.push(piece, times.data_xfer),
                false => stuffer.piece(piece, &mut |octets| stream.push(octets, times.data_xfer)),
            };
            filled = match read_piece(message, scratch) {
                Ok(filled) => filled,
                Err(error) => {
                    // Without the final dot the server forgets what it has.
                    self.connection.stream = None;
                    return Err(unreadable(&error));
                }
            };
        }
        if result.is_ok() && sent != self.size {
            self.connection.stream = None;
            let text = format!("the queue file has not the {} octets that it should", self.size);
            return Err(Stop::ours(451, Enhanced(4, 3, 0), text));
        }
        if result.is_ok() && !chunked {
            result = stream.push(stuffer.end(), times.data_xfer);
        }
        if let Err(trouble) = result {
            return Err(self.last_words(&trouble));
        }
        self.ended = true;
        // Who gives up now may send it again to somebody who has it: this answer has all of its time.
        if let Some(stream) = &mut self.connection.stream {
            stream.end_within(None);
        }
        let reply = match self.connection.hear(times.data_done, END_OF_DATA) {
            Ok(reply) => reply,
            Err(mut stop) if stop.diagnostic.is_none() => {
                stop.status.text.push_str(" -- message may be sent more than once");
                return Err(stop);
            }
            Err(stop) => return Err(stop),
        };
        self.connection.needs_reset = false;
        if !reply.is_positive() {
            return Err(self.connection.refused(&reply, END_OF_DATA));
        }
        let enhanced = reply.enhanced().unwrap_or(Enhanced(2, 0, 0));
        let said = reply.said();
        let code_and_enhanced = format!("{} {enhanced}", reply.code);
        let text = said.strip_prefix(&code_and_enhanced).or(said.get(3..)).unwrap_or(&said).trim();
        self.settle_all(&Status::new(reply.code, enhanced, text), Some(&said));
        Ok(())
    }

    /// A server that hangs up in the middle of a message may have said why: it is too large, say.
    fn last_words(&mut self, trouble: &Trouble) -> Stop {
        let said = match (trouble, &mut self.connection.stream) {
            (Trouble::Lost, Some(stream)) => stream.reply(LAST_WORDS).ok(),
            _ => None,
        };
        match said.filter(|reply| reply.code >= 400) {
            Some(reply) => {
                self.connection.stream = None;
                self.connection.refused(&reply, "the message")
            }
            None => self.connection.stopped(trouble, "sending the message"),
        }
    }

    fn settle(&mut self, recipient: usize, status: &Status, diagnostic: Option<&str>) {
        self.open.retain(|(at, _)| *at != recipient);
        let relayed = status.is_positive() && !self.connection.extensions.dsn;
        let (status, diagnostic) = (status.clone(), diagnostic.map(str::to_owned));
        let unsure = self.ended && diagnostic.is_none();
        self.settled.push(Outcome { recipient, status, relayed, diagnostic, unsure });
    }

    fn settle_all(&mut self, status: &Status, diagnostic: Option<&str>) {
        for (at, _) in std::mem::take(&mut self.open) {
            self.settle(at, status, diagnostic);
        }
    }

    /// All recipients of one transaction have the same.
    fn reverse_path(&self) -> Option<&Address> {
        let first = self.open.first().and_then(|(at, _)| self.envelope.recipients.get(*at));
        first.map_or(self.envelope.reverse_path.as_ref(), |first| self.envelope.reverse_path_for(first))
    }
}

const END_OF_DATA: &str = "end of DATA command";

/// As much of the message as fits, unless it ends before. 0: it has ended.
fn read_piece(message: &mut dyn Read, scratch: &mut Pages) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = scratch.get_mut(filled..).filter(|room| !room.is_empty()) {
        match message.read(room) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn unreadable(error: &io::Error) -> Stop {
    Stop::ours(451, Enhanced(4, 3, 0), format!("the queue file cannot be read: {error}"))
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
