//! A message's parts: one pass over it, in pieces, whatever its size.

mod scanner;

use super::header::Name;
use super::position::Position;
use scanner::Scanner;
use std::io::{self, Read};
use std::ops::Range;

/// Levels of multiparts and messages within each other. Deeper ones are opaque.
pub const DEPTH_MAX: usize = 100;
/// Parts of a message. What follows the last is part of it.
pub const PARTS_MAX: usize = 10_000;
/// Octets of field values that are kept of a message, and of one field. The rest of them is not seen.
const KEPT_MAX: usize = 4 << 20;
const FIELD_MAX: usize = 256 << 10;
/// Fields that are kept of a message.
const FIELDS_MAX: usize = 100_000;
/// What the buffer for reading has at least: a boundary with everything around it.
pub const BUFFER_MIN: usize = 4096;

/// What is in a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing that is looked into.
    Leaf,
    /// Parts.
    Multipart,
    /// One part: a message with a header of its own.
    Message,
}

/// One part of a message. The first is the message itself.
#[derive(Clone, Debug)]
pub struct Part {
    /// What is in it.
    pub kind: Kind,
    /// How many parts it is within.
    pub depth: u16,
    /// Whether it is a message in a multipart/digest that does not say so itself (RFC 2046 section 5.1.5).
    pub is_digest_message: bool,
    /// Whether it would be looked into if it were not too deep or too late.
    pub is_opaque: bool,
    /// The number behind the last part within it.
    pub next: u32,
    /// Where its header starts.
    pub header: Position,
    /// Where its body starts: behind the blank line, if there is one.
    pub body: Position,
    /// Where it ends.
    pub end: Position,
    /// Which of the kept fields are its.
    fields: Range<u32>,
}

impl Part {
    /// Octets of the header as it is sent, the blank line included.
    pub fn header_octets(&self) -> u64 {
        self.body.octets.saturating_sub(self.header.octets)
    }

    /// Octets of the body as it is sent.
    pub fn body_octets(&self) -> u64 {
        self.end.octets.saturating_sub(self.body.octets)
    }

    /// Line ends in the body.
    pub fn body_lines(&self) -> u64 {
        self.end.lines.saturating_sub(self.body.lines)
    }
}

/// The parts of a message, each before those within it. To be used again for the next message.
#[derive(Default, Debug)]
pub struct Tree {
    parts: Vec<Part>,
    fields: Vec<(Name, Range<u32>)>,
    text: Vec<u8>,
    /// The scanner's, for the next message.
    path: Vec<usize>,
}

impl Tree {
    /// Without anything.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Reads a message. `buffer` is to read into, of at least [`BUFFER_MIN`] octets; more is faster.
    ///
    /// Errors: those of the reader, and `InvalidInput` for a buffer that is too small.
    pub fn read(&mut self, message: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
        self.parts.clear();
        self.fields.clear();
        self.text.clear();
        if buffer.len() < BUFFER_MIN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Scanner::new(self).run(message, buffer)
    }

    /// Reads a message that is in memory.
    pub fn read_whole(&mut self, message: &[u8]) {
        self.parts.clear();
        self.fields.clear();
        self.text.clear();
        let mut scanner = Scanner::new(self);
        let mut rest = message;
        while !rest.is_empty() {
            let used = scanner.step(rest, true, true);
            rest = rest.get(used.max(1)..).unwrap_or_default();
        }
        scanner.end();
    }

    /// Gives back memory beyond what an ordinary message needs.
    pub fn shrink(&mut self) {
        self.parts.shrink_to(64);
        self.fields.shrink_to(256);
        self.text.shrink_to(16 << 10);
        self.path.shrink_to(64);
    }

    /// All parts. There is at least one once a message has been read.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The numbers of the parts directly within a part.
    pub fn children(&self, of: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.parts.get(of).map_or(0, |part| part.next as usize);
        let first = (of + 1 < end).then_some(of + 1);
        std::iter::successors(first, move |&at| {
            self.parts.get(at).map(|part| part.next as usize).filter(|&next| next > at && next < end)
        })
    }

    /// The fields of a part that tell of it, in their order: the value as written, cut if it is very long.
    pub fn fields(&self, of: usize) -> impl Iterator<Item = (Name, &[u8])> {
        let range = self.parts.get(of).map(|part| part.fields.clone()).unwrap_or_default();
        let fields = self.fields.get(range.start as usize..range.end as usize).unwrap_or_default();
        fields
            .iter()
            .map(|(name, at)| (*name, self.text.get(at.start as usize..at.end as usize).unwrap_or_default()))
    }

    /// The first of a part's fields with this name.
    pub fn field(&self, of: usize, name: Name) -> Option<&[u8]> {
        self.fields(of).find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
