//! A sink in front of another one: looks at the header as it passes.
//!
//! A field is held until its end is known, the body goes straight on. What is held is bounded: of a longer field the beginning
//! is compared, and the rest shares its fate. A header that does not end is refused, so that nothing hides behind it.

use super::{Action, HeaderChecks};
use crate::deliver::Sink;
use crate::queue::Id;
use crate::reply;
use crate::status::{Enhanced, Status};
use common::log::escape;
use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

/// Octets of a field that are compared.
const FIELD_MAX: usize = 8 * 1024;
/// Octets of a header that is looked at.
const HEADER_MAX: usize = 1024 * 1024;

/// Where in the message we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line of the header.
    Start,
    /// Behind CR at the start of a line.
    Cr,
    Line,
    Body,
}

/// What becomes of the rest of a field that was too long to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Undecided,
    Passes,
    Goes,
}

/// A sink that looks at the header. [`checked`] makes one where there is something to look for.
pub struct Checked<'a> {
    checks: Rc<HeaderChecks>,
    /// `None`: the message is to be discarded.
    sink: Option<Box<dyn Sink>>,
    warn: &'a dyn Fn(&str),
    discarded: &'a Cell<bool>,
    at: At,
    field: Vec<u8>,
    rest: Rest,
    seen: usize,
}

/// The sink itself, or, where there is something to look for, one that looks. `warn` gets a line for the log;
/// `discarded` is set where nobody will get the message.
pub fn checked<'a>(
    checks: &Rc<HeaderChecks>,
    sink: Box<dyn Sink>,
    warn: &'a dyn Fn(&str),
    discarded: &'a Cell<bool>,
) -> Box<dyn Sink + 'a> {
    if checks.is_empty() {
        return sink;
    }
    Box::new(Checked::new(checks, sink, warn, discarded))
}

impl<'a> Checked<'a> {
    /// See [`checked`].
    pub fn new(
        checks: &Rc<HeaderChecks>,
        sink: Box<dyn Sink>,
        warn: &'a dyn Fn(&str),
        discarded: &'a Cell<bool>,
    ) -> Checked<'a> {
        let checks = checks.clone();
        let (field, rest) = (Vec::new(), Rest::Undecided);
        Checked { checks, sink: Some(sink), warn, discarded, at: At::Start, field, rest, seen: 0 }
    }

    /// The header is over.
    pub fn is_through(&self) -> bool {
        self.at == At::Body
    }
}

impl Checked<'_> {
    fn put(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(octets))
    }

    /// One octet of the header.
    fn step(&mut self, octet: u8) -> Result<(), Status> {
        self.seen += 1;
        if self.seen > HEADER_MAX {
            return Err(Status::new(554, Enhanced(5, 6, 0), "The header is too large to be checked"));
        }
        match (self.at, octet) {
            (At::Start, b'\r') => {
                self.at = At::Cr;
                return Ok(());
            }
            (At::Start, b' ' | b'\t') => {}
            (At::Start, _) => self.field_ends()?,
            (At::Cr, b'\n') => {
                self.field_ends()?;
                self.at = At::Body;
                return self.put(b"\r\n");
            }
            // No line end: a field that begins with CR.
            (At::Cr, _) => {
                self.field_ends()?;
                self.keep(b'\r')?;
            }
            (At::Line | At::Body, _) => {}
        }
        self.at = if octet == b'\n' { At::Start } else { At::Line };
        self.keep(octet)
    }

    fn keep(&mut self, octet: u8) -> Result<(), Status> {
        match self.rest {
            Rest::Undecided => {
                self.field.push(octet);
                if self.field.len() < FIELD_MAX {
                    return Ok(());
                }
                self.rest = if self.decide()? { Rest::Passes } else { Rest::Goes };
                Ok(())
            }
            Rest::Passes => {
                self.field.push(octet);
                if self.field.len() < FIELD_MAX { Ok(()) } else { self.flush() }
            }
            Rest::Goes => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Status> {
        let field = std::mem::take(&mut self.field);
        let result = self.put(&field);
        self.field = field;
        self.field.clear();
        result
    }

    fn field_ends(&mut self) -> Result<(), Status> {
        match self.rest {
            Rest::Undecided if self.field.is_empty() => {}
            Rest::Undecided => {
                self.decide()?;
            }
            Rest::Passes => self.flush()?,
            Rest::Goes => {}
        }
        self.rest = Rest::Undecided;
        Ok(())
    }

    /// Looks at the field that is held, and passes it on. `false`: it is left out.
    fn decide(&mut self) -> Result<bool, Status> {
        // RFC 5322 section 2.2.3: unfolded.
        let unfolded: Vec<u8> =
            self.field.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
        let checks = self.checks.clone();
        let shown = || escape(&unfolded).to_string();
        let with = |text: &str| if text.is_empty() { String::new() } else { format!(": {text}") };
        match checks.find(&unfolded) {
            None | Some(Action::Dunno) => {}
            Some(Action::Warn(text)) => (self.warn)(&format!("warning: header {}{}", shown(), with(text))),
            Some(Action::Reject(status)) => {
                (self.warn)(&format!("reject: header {}{}", shown(), with(&status.text)));
                return Err(status.clone());
            }
            Some(Action::Discard(text)) => {
                if self.sink.take().is_some() {
                    self.discarded.set(true);
                    (self.warn)(&format!("discard: header {}{}", shown(), with(text)));
                }
            }
            Some(Action::Ignore) => {
                self.field.clear();
                return Ok(false);
            }
            Some(Action::Prepend(text)) => self.put(format!("{text}\r\n").as_bytes())?,
        }
        self.flush()?;
        Ok(true)
    }
}

impl Sink for Checked<'_> {
    fn prepare(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.prepare();
        }
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        let mut rest = octets;
        while self.at != At::Body {
            let Some((octet, behind)) = rest.split_first() else { return Ok(()) };
            self.step(*octet)?;
            rest = behind;
        }
        self.put(rest)
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        if self.at != At::Body {
            let cr = self.at == At::Cr;
            self.field_ends()?;
            if cr {
                self.put(b"\r")?;
            }
        }
        match self.sink {
            Some(sink) => sink.finish(),
            // The client must not see a difference.
            None => match Id::new(SystemTime::now()) {
                Ok(id) => Ok(id.as_str().to_owned()),
                Err(_) => Err(reply::LOCAL_PROBLEM.into()),
            },
        }
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
