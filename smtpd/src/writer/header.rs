//! What happens to a message's header as it passes: Received fields are counted, and what a submission lacks is added.
//!
//! The message is a stranger's. Only the beginnings of lines are looked at; a line is never held, and nothing grows.

use super::fields::Fields;
use crate::status::{Enhanced, Status};
use crate::wire::job::Submission;
use common::mime::date;
use common::sys::process;
use std::fmt::Write as _;
use std::time::SystemTime;

/// Received fields with which a message has gone in circles for long enough (RFC 5321 section 6.3).
const HOPS_MAX: u32 = 50;
/// Octets of the longest name that is looked for, with its colon.
const NAME_MAX: usize = 11;
/// Octets of a Message-ID that are kept, for the log.
const ID_MAX: usize = 250;

/// Where in the message we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line of the header, or within what may be a name that is looked for.
    Name,
    /// Behind CR at the start of a line: it is held back.
    Cr,
    /// Within a line whose beginning says nothing more.
    Line,
    /// In the body.
    Body,
}

/// The header on its way through.
#[derive(Debug)]
pub struct Header<'a> {
    submission: Option<&'a Submission>,
    /// Those of a submission are told from its text. Of other mail Return-Path goes, and otherwise only the first line counts: a text
    /// without any field would stand in the header that begins with our Received, and one that begins with a blank would continue that.
    fields: Option<Fields>,
    at: At,
    name: [u8; NAME_MAX],
    filled: usize,
    hops: u32,
    /// Nobody is there to be refused.
    is_taken: bool,
    has_from: bool,
    has_date: bool,
    has_message_id: bool,
    message_id: Vec<u8>,
    /// What comes is its value.
    in_message_id: bool,
}

impl<'a> Header<'a> {
    /// At a message's first octet.
    pub fn new(submission: Option<&'a Submission>) -> Header<'a> {
        Header {
            submission,
            fields: Some(submission.map_or_else(Fields::received, |_| Fields::default())),
            at: At::Name,
            name: [0; NAME_MAX],
            filled: 0,
            hops: 0,
            is_taken: false,
            has_from: false,
            has_date: false,
            has_message_id: false,
            message_id: Vec::new(),
            in_message_id: false,
        }
    }

    /// Of a message that was taken already: one in a circle passes, and is said to be one at its end.
    pub fn of_taken(submission: &'a Submission) -> Header<'a> {
        Header { is_taken: true, ..Header::new(Some(submission)) }
    }

    /// Whether it goes in circles.
    pub fn refusal(&self) -> Option<Status> {
        (self.hops > HOPS_MAX).then(|| Status::new(554, Enhanced(5, 4, 6), "Too many hops"))
    }

    /// The Message-ID as far as it has come, without `<` and `>` around it; empty: there is none. It is a stranger's.
    pub fn message_id(&self) -> String {
        let id = String::from_utf8_lossy(&self.message_id);
        id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(&id).to_owned()
    }

    /// Passes octets on, with what has to stand between them.
    pub fn pass(
        &mut self,
        octets: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let Some(mut fields) = self.fields.take() else { return self.look(octets, out) };
        let result = fields.pass(octets, &mut |octets| self.look(octets, out));
        self.fields = Some(fields);
        result
    }

    fn look(
        &mut self,
        octets: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let mut rest = octets;
        // Octets of `octets` that are with `out`.
        let mut passed = 0;
        while let (Some((&octet, behind)), true) = (rest.split_first(), self.at != At::Body) {
            let here = octets.len() - rest.len();
            if self.at == At::Name && self.filled == 0 {
                if let Some(line) = self.past_name(rest)? {
                    (rest, self.at) = (line, At::Line);
                    continue;
                }
                // An empty line where nothing is missing.
                if rest.starts_with(b"\r\n") && self.lacks_nothing() {
                    self.at = At::Body;
                    break;
                }
            }
            match (self.at, octet) {
                (At::Cr, b'\n') => {
                    // The empty line: what is missing comes before it.
                    self.add_what_is_missing(out)?;
                    out(b"\r")?;
                    (self.at, passed) = (At::Body, here);
                }
                (At::Cr, _) => {
                    out(b"\r")?;
                    passed = here;
                    self.at = At::Line;
                    continue;
                }
                (At::Name, b'\r') if self.filled == 0 => {
                    out(octets.get(passed..here).unwrap_or_default())?;
                    (self.at, passed) = (At::Cr, here + 1);
                }
                (At::Name, b':') => {
                    let name = self.name;
                    self.name_ends(name.get(..self.filled).unwrap_or_default())?;
                    self.at = At::Line;
                }
                (At::Name, b' ' | b'\t') if self.filled == 0 && self.in_message_id => {
                    self.at = At::Line;
                    continue;
                }
                (At::Name, _) => match self.name.get_mut(self.filled) {
                    Some(place) => {
                        self.in_message_id &= self.filled > 0;
                        *place = octet;
                        self.filled += 1;
                    }
                    None if octet == b'\n' => {}
                    None => self.at = At::Line,
                },
                (At::Line, _) => {
                    let end = memchr::memchr(b'\n', rest);
                    if self.in_message_id {
                        self.keep(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
                    }
                    match end.and_then(|end| rest.get(end + 1..)) {
                        Some(next) => {
                            rest = next;
                            (self.at, self.filled) = (At::Name, 0);
                        }
                        None => rest = &[],
                    }
                    continue;
                }
                (At::Body, _) => {}
            }
            if self.at == At::Name && octet == b'\n' {
                self.filled = 0;
            }
            rest = behind;
        }
        match octets.get(passed..) {
            Some(rest) if !rest.is_empty() => out(rest),
            _ => Ok(()),
        }
    }

    /// The message is over. One that is all header gets what is missing, too.
    pub fn end(&mut self, out: &mut dyn FnMut(&[u8]) -> Result<(), Status>) -> Result<(), Status> {
        if let Some(mut fields) = self.fields.take() {
            fields.end(&mut |octets| self.look(octets, out))?;
        }
        match self.at {
            At::Body => Ok(()),
            At::Cr => out(b"\r"),
            At::Name if self.filled == 0 => self.add_what_is_missing(out),
            At::Name | At::Line => Ok(()),
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        for word in octets.split(u8::is_ascii_whitespace) {
            let room = ID_MAX.saturating_sub(self.message_id.len());
            self.message_id.extend_from_slice(word.get(..word.len().min(room)).unwrap_or_default());
        }
    }

    /// What follows the name at the start of a line. `None`: it is not all there, or is none.
    fn past_name<'o>(&mut self, line: &'o [u8]) -> Result<Option<&'o [u8]>, Status> {
        let Some(b'!'..=b'~') = line.first() else { return Ok(None) };
        let front = line.get(..line.len().min(NAME_MAX + 1)).unwrap_or_default();
        self.in_message_id = false;
        match front.iter().position(|octet| matches!(octet, b':' | b'\n')) {
            Some(end) if front.get(end) == Some(&b':') => {
                self.name_ends(front.get(..end).unwrap_or_default())?;
                Ok(line.get(end + 1..))
            }
            // It is longer than those that are looked for.
            None if front.len() > NAME_MAX => Ok(line.get(NAME_MAX..)),
            _ => Ok(None),
        }
    }

    fn name_ends(&mut self, name: &[u8]) -> Result<(), Status> {
        // RFC 5322 section 4.5: blanks before the colon are obsolete but there.
        let name = name.trim_ascii_end();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Received") {
            self.hops = self.hops.saturating_add(1);
            if let Some(status) = self.refusal().filter(|_| !self.is_taken) {
                return Err(status);
            }
        }
        self.has_from |= is("From");
        self.has_date |= is("Date");
        self.in_message_id = is("Message-ID") && !self.has_message_id;
        self.has_message_id |= self.in_message_id;
        Ok(())
    }

    fn lacks_nothing(&self) -> bool {
        let has_all = |ours: &Submission| {
            self.has_message_id && self.has_date && (self.has_from || ours.from.is_empty())
        };
        self.submission.is_none_or(has_all)
    }

    /// RFC 6409 section 8: a submission server adds what the client left out.
    fn add_what_is_missing(
        &mut self,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let Some(submission) = self.submission.take() else { return Ok(()) };
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut fields = String::new();
        if !self.has_message_id {
            let mut random = [0; 8];
            process::random(&mut random)
                .map_err(|_| Status::new(451, Enhanced(4, 3, 0), "Local error in processing"))?;
            let random = u64::from_be_bytes(random);
            let seconds = since.as_secs();
            let id = format!("<{seconds:x}.{random:016x}@{}>", submission.domain);
            let _ = write!(fields, "Message-ID: {id}\r\n");
            self.message_id = id.into_bytes();
        }
        if !self.has_date {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            let _ = write!(fields, "Date: {}\r\n", date::print(seconds));
        }
        if !self.has_from && !submission.from.is_empty() {
            let _ = write!(fields, "From: {}\r\n", submission.from);
        }
        out(fields.as_bytes())
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
