//! Mail data: from `354` to `CRLF . CRLF`, and chunks of BDAT. Every octet of it is a stranger's.
//!
//! There is one machine for all clients. The end is `CRLF . CRLF` and nothing else (RFC 5321 section 4.1.1.4): no setting,
//! network or login changes that, so nothing that another server takes for the end can hide a second message in here. CR
//! or LF alone, NUL, and lines that are too long make the message one that is refused; what follows is read to the true end
//! and thrown away.
//!
//! ```text
//!            CR        LF        .        CR         LF
//!  Within ------> Cr -----> Start ---> Dot ---> DotCr ---> the end
//!    ^  other      |          |          |          |
//!    +-------------+----------+----------+----------+   (other octets; after Cr and DotCr they are a fault)
//! ```

use crate::reply;
use crate::status::Status;

/// Octets of a line of mail data with its line end. RFC 5321 section 4.5.3.1.6 has 1,000; longer ones are common. None is
/// ever split: that would break signatures.
pub const LINE_MAX: usize = 4096;

/// Why a message is refused for what it is made of. The first fault counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// An octet of zero.
    Nul,
    /// A line of more than [`LINE_MAX`] octets.
    LineTooLong,
}

impl Fault {
    /// What the client is told after the end of the data.
    pub fn status(self) -> Status {
        match self {
            Fault::BareCr => reply::BARE_CR.into(),
            Fault::BareLf => reply::BARE_LF.into(),
            Fault::Nul => reply::NUL.into(),
            Fault::LineTooLong => reply::LINE_TOO_LONG.into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a line: of the data, or behind CR LF.
    Start,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind CR after such a dot.
    DotCr,
    /// Within a line.
    Within,
    /// Behind CR.
    Cr,
}

/// How the data are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// DATA: dots are doubled, and one alone is the end.
    Dots,
    /// BDAT: counted.
    Chunks,
}

/// The machine. What it lets through is the message in wire form, each line with CR LF.
#[derive(Debug)]
pub struct Machine {
    state: State,
    framing: Framing,
    fault: Option<Fault>,
    /// Octets of the current line.
    line: usize,
    /// LF alone counts as a line end, for devices that know no better. It is never part of the end of the data.
    normalize: bool,
    /// The current line began behind LF alone: a dot on it is not the end.
    behind_bare_lf: bool,
}

impl Machine {
    /// For DATA. `normalize`: LF alone becomes CR LF.
    pub fn for_data(normalize: bool) -> Machine {
        Machine {
            state: State::Start,
            framing: Framing::Dots,
            fault: None,
            line: 0,
            normalize,
            behind_bare_lf: false,
        }
    }

    /// For the text in chunks of BDAT.
    pub fn for_chunks(normalize: bool) -> Machine {
        Machine {
            state: State::Start,
            framing: Framing::Chunks,
            fault: None,
            line: 0,
            normalize,
            behind_bare_lf: false,
        }
    }

    /// What is wrong with the data so far.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the last line has its end. A message in chunks may lack it.
    pub fn is_at_line_start(&self) -> bool {
        self.state == State::Start
    }

    /// The chunks are over: CR at the very end stands alone.
    pub fn end_of_chunks(&mut self) {
        if self.state == State::Cr {
            self.fault.get_or_insert(Fault::BareCr);
        }
    }

    /// Reads octets and hands on those of the message. Returns how many were read, and whether the end was among them; what
    /// follows the end is not touched. An error of `out` stops the machine for good.
    pub fn feed<E>(
        &mut self,
        input: &[u8],
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(usize, bool), E> {
        // Octets before `kept` are with `out`; those from there to the current one belong to the message too.
        let (mut at, mut kept) = (0, 0);
        while let Some(&octet) = input.get(at) {
            match (self.state, octet) {
                (State::Start, b'.') if self.framing == Framing::Dots => {
                    // RFC 5321 section 4.5.2: this dot is not the message's, whatever follows.
                    self.flush(input, kept, at, out)?;
                    kept = at + 1;
                    self.state = State::Dot;
                }
                (State::Dot, b'\r') => {
                    self.flush(input, kept, at, out)?;
                    kept = at + 1;
                    self.state = State::DotCr;
                }
                (State::DotCr, b'\n') if self.behind_bare_lf => {
                    if self.fault.is_none() {
                        out(b".\r\n")?;
                    }
                    kept = at + 1;
                    self.end_of_line(2, false);
                }
                (State::DotCr, b'\n') => return Ok((at + 1, true)),
                (State::DotCr, _) => {
                    self.fault.get_or_insert(Fault::BareCr);
                    self.state = State::Within;
                    continue;
                }
                (State::Cr, b'\n') => self.end_of_line(1, false),
                (State::Cr, _) => {
                    self.fault.get_or_insert(Fault::BareCr);
                    self.state = State::Within;
                    continue;
                }
                (_, b'\r') => {
                    self.count(1);
                    self.state = State::Cr;
                }
                (state, b'\n') => {
                    if self.normalize {
                        self.flush(input, kept, at, out)?;
                        // A dot alone on such a line is text: the dot was taken off, and comes back.
                        let line_end: &[u8] = if state == State::Dot { b".\r\n" } else { b"\r\n" };
                        if self.fault.is_none() {
                            out(line_end)?;
                        }
                        kept = at + 1;
                        self.end_of_line(2, true);
                    } else {
                        self.fault.get_or_insert(Fault::BareLf);
                        self.state = State::Within;
                    }
                }
                (_, 0) => {
                    self.fault.get_or_insert(Fault::Nul);
                    self.state = State::Within;
                }
                (_, _) => {
                    // Everything up to the next octet that means something is text.
                    let rest = input.get(at..).unwrap_or_default();
                    let text = text_length(rest);
                    self.count(text);
                    self.state = State::Within;
                    at += text;
                    continue;
                }
            }
            at += 1;
        }
        self.flush(input, kept, at, out)?;
        Ok((at, false))
    }

    fn flush<E>(
        &self,
        input: &[u8],
        from: usize,
        to: usize,
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match input.get(from..to) {
            Some(octets) if !octets.is_empty() && self.fault.is_none() => out(octets),
            _ => Ok(()),
        }
    }

    fn count(&mut self, octets: usize) {
        self.line = self.line.saturating_add(octets);
        if self.line > LINE_MAX - 1 {
            self.fault.get_or_insert(Fault::LineTooLong);
        }
    }

    fn end_of_line(&mut self, octets: usize, bare: bool) {
        self.line = self.line.saturating_add(octets);
        if self.line > LINE_MAX {
            self.fault.get_or_insert(Fault::LineTooLong);
        }
        (self.state, self.line, self.behind_bare_lf) = (State::Start, 0, bare);
    }
}

/// Octets up to the next CR, LF or NUL; at least one is text.
fn text_length(octets: &[u8]) -> usize {
    memchr::memchr3(b'\r', b'\n', 0, octets).unwrap_or(octets.len())
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
