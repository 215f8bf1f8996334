//! The pass over a message that finds its parts.
//!
//! Boundaries are found as RFC 2046 section 5.1.1 has it: a line that begins with `--` and a boundary of an open multipart, the
//! longest that fits, and of two that are alike the inner one. Whatever is open inside ends there. The line end before belongs to
//! the boundary. A multipart in which no boundary is found has no parts.

use super::{DEPTH_MAX, FIELD_MAX, FIELDS_MAX, KEPT_MAX, Kind, PARTS_MAX, Part, Tree};
use crate::mime::content::{self, MediaType};
use crate::mime::header::{self, Name};
use crate::mime::position::{Counter, Position};
use std::io::{self, Read};

/// A multipart whose end has not been seen.
struct Open {
    boundary: Vec<u8>,
    part: usize,
    is_digest: bool,
}

/// What a part's header says is in it.
enum Content {
    Leaf,
    Multipart { boundary: Vec<u8>, is_digest: bool },
    Message { says_so: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Body,
    /// In the rest of a boundary line, behind which a part begins.
    BoundaryLine,
    /// In the rest of the last boundary line of a multipart.
    LastBoundaryLine,
}

/// What to do with a line that begins with `--`.
enum Found {
    /// There is not enough of it.
    Unknown,
    Nothing,
    /// Octets up to the boundary's end; whether it is a last one.
    Boundary {
        open: usize,
        length: usize,
        last: bool,
    },
}

pub(super) struct Scanner<'t> {
    tree: &'t mut Tree,
    /// Parts that have not ended, each within the one before.
    path: Vec<usize>,
    open: Vec<Open>,
    state: State,
    counter: Counter,
    /// Whether the field that is being read is kept.
    keeping: bool,
}

impl Scanner<'_> {
    pub(super) fn new(tree: &mut Tree) -> Scanner<'_> {
        let mut path = std::mem::take(&mut tree.path);
        path.clear();
        let mut scanner = Scanner {
            tree,
            path,
            open: Vec::new(),
            state: State::Header,
            counter: Counter::default(),
            keeping: false,
        };
        scanner.begin_part(Position::default(), false);
        scanner
    }

    pub(super) fn run(mut self, message: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
        let (mut start, mut end, mut at_end) = (0usize, 0usize, false);
        loop {
            let data = buffer.get(start..end).unwrap_or_default();
            let used = self.step(data, at_end, start == 0 && end == buffer.len());
            start += used.min(data.len());
            if used > 0 {
                continue;
            }
            if at_end {
                break;
            }
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let room = buffer.get_mut(end..).unwrap_or_default();
            match message.read(room) {
                Ok(0) => at_end = true,
                Ok(length) => end += length.min(room.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.end();
        Ok(())
    }

    /// As much of the data as goes at once. Nothing: there has to be more of it. `full`: there cannot be.
    pub(super) fn step(&mut self, data: &[u8], at_end: bool, full: bool) -> usize {
        match self.state {
            State::Header => self.header(data, at_end, full),
            State::Body => self.body(data, at_end),
            State::BoundaryLine | State::LastBoundaryLine => self.boundary_line(data),
        }
    }

    pub(super) fn end(mut self) {
        // A boundary at the very end still begins a part.
        if self.state == State::BoundaryLine {
            self.begin_part_of_multipart();
        }
        let position = self.counter.position;
        self.close(0, position);
        self.tree.path = self.path;
    }

    /// One line of a header. How much of the data that is; nothing if there has to be more of it.
    fn header(&mut self, data: &[u8], at_end: bool, full: bool) -> usize {
        let line = match memchr::memchr(b'\n', data) {
            Some(at) => data.get(..=at).unwrap_or_default(),
            None if at_end || full => data,
            None => return 0,
        };
        let begins = self.counter.is_at_line_start();
        if begins && !self.open.is_empty() && line.starts_with(b"--") {
            if let Found::Boundary { open, length, last } = self.find(line, true) {
                self.boundary(open, last);
                return self.pass_boundary(line, length);
            }
        }
        if begins && matches!(line, b"\n" | b"\r\n") {
            self.counter.advance_line(line);
            self.end_header(self.counter.position);
            return line.len();
        }
        if !begins || matches!(line.first(), Some(b' ' | b'\t')) {
            if self.keeping {
                self.keep(line);
            }
        } else {
            self.begin_field(line);
        }
        self.counter.advance_line(line);
        line.len()
    }

    fn begin_field(&mut self, line: &[u8]) {
        self.keeping = false;
        let Some((name, value)) = header::split(line) else { return };
        let Some(name) = Name::of(name) else { return };
        let Some(part) = self.path.last().and_then(|&part| self.tree.parts.get(part)) else { return };
        let is_message = part.depth == 0 || self.parent_kind() == Some(Kind::Message);
        if !(is_message || name.is_content())
            || self.tree.text.len() >= KEPT_MAX
            || self.tree.fields.len() >= FIELDS_MAX
        {
            return;
        }
        let at = index(self.tree.text.len());
        self.tree.fields.push((name, at..at));
        self.keeping = true;
        self.keep(value);
    }

    /// Adds to the value of the field that was begun last.
    fn keep(&mut self, text: &[u8]) {
        let Some((_, range)) = self.tree.fields.last_mut() else { return };
        let room = FIELD_MAX.saturating_sub((range.end - range.start) as usize);
        let text = text.get(..room).unwrap_or(text);
        self.tree.text.extend_from_slice(text);
        range.end = index(self.tree.text.len());
    }

    fn parent_kind(&self) -> Option<Kind> {
        let parent = self.path.len().checked_sub(2).and_then(|at| self.path.get(at))?;
        self.tree.parts.get(*parent).map(|part| part.kind)
    }

    /// A part of the innermost open multipart begins here.
    fn begin_part_of_multipart(&mut self) {
        let in_digest = self.open.last().is_some_and(|open| open.is_digest);
        self.begin_part(self.counter.position, in_digest);
    }

    /// A part begins, within the last one of the path.
    fn begin_part(&mut self, position: Position, in_digest: bool) {
        let fields = index(self.tree.fields.len());
        let number = self.tree.parts.len();
        self.tree.parts.push(Part {
            kind: Kind::Leaf,
            depth: u16::try_from(self.path.len()).unwrap_or(u16::MAX),
            is_digest_message: in_digest,
            is_opaque: false,
            next: index(number + 1),
            header: position,
            body: position,
            end: position,
            fields: fields..fields,
        });
        self.path.push(number);
        self.state = State::Header;
        self.keeping = false;
    }

    /// Behind the header that ended here: what the part is.
    fn end_header(&mut self, position: Position) {
        self.state = State::Body;
        let fields = index(self.tree.fields.len());
        let depth = self.path.len();
        let Some(&number) = self.path.last() else { return };
        let Some(part) = self.tree.parts.get_mut(number) else { return };
        part.body = position;
        part.end = position;
        part.fields.end = fields;
        let content = self.content_of(number);
        let is_full = depth > DEPTH_MAX || self.tree.parts.len() >= PARTS_MAX;
        let Some(part) = self.tree.parts.get_mut(number) else { return };
        part.is_opaque = is_full && !matches!(content, Content::Leaf);
        match content {
            _ if is_full => part.is_digest_message = false,
            Content::Leaf => part.is_digest_message = false,
            Content::Multipart { boundary, is_digest } => {
                (part.kind, part.is_digest_message) = (Kind::Multipart, false);
                self.open.push(Open { boundary, part: number, is_digest });
            }
            Content::Message { says_so } => {
                part.kind = Kind::Message;
                part.is_digest_message = !says_so;
                self.begin_part(position, false);
            }
        }
    }

    fn content_of(&self, number: usize) -> Content {
        let in_digest = self.tree.parts.get(number).is_some_and(|part| part.is_digest_message);
        let Some(value) = self.tree.field(number, Name::ContentType) else {
            return if in_digest { Content::Message { says_so: false } } else { Content::Leaf };
        };
        let value = header::unfold(value);
        let Some(media) = MediaType::parse(&value) else { return Content::Leaf };
        if media.is("message", "rfc822") {
            return Content::Message { says_so: true };
        }
        if !media.kind.eq_ignore_ascii_case(b"multipart") {
            return Content::Leaf;
        }
        let boundary = content::boundary(&media);
        match boundary.len() {
            1..=content::BOUNDARY_MAX => {
                Content::Multipart { boundary, is_digest: media.is("multipart", "digest") }
            }
            _ => Content::Leaf,
        }
    }

    /// As much of a body as goes at once.
    fn body(&mut self, data: &[u8], at_end: bool) -> usize {
        if self.open.is_empty() {
            self.counter.advance(data);
            return data.len();
        }
        if self.counter.is_at_line_start() {
            match data {
                [b'-', b'-', ..] => match self.find(data, at_end) {
                    Found::Unknown => return 0,
                    Found::Boundary { open, length, last } => {
                        self.boundary(open, last);
                        return self.pass_boundary(data, length);
                    }
                    Found::Nothing => {}
                },
                [b'-'] if !at_end => return 0,
                _ => {}
            }
        }
        let found = memchr::memmem::find(data, b"\n--").map(|at| at + 1);
        // A dash behind the last line end may be the first of two.
        let used = found.unwrap_or(match data {
            [.., b'\n', b'-'] => data.len() - 1,
            _ => data.len(),
        });
        let (passed, _) = data.split_at_checked(used).unwrap_or((data, b""));
        self.counter.advance(passed);
        passed.len()
    }

    /// Whether the line at the start of the data is a boundary of an open multipart.
    fn find(&self, data: &[u8], at_end: bool) -> Found {
        let line = data.get(2..).unwrap_or_default();
        let longest = self.open.iter().map(|open| open.boundary.len()).max().unwrap_or(0);
        if !at_end && line.len() < longest + 2 && memchr::memchr(b'\n', line).is_none() {
            return Found::Unknown;
        }
        let mut best: Option<(usize, usize)> = None;
        for (at, open) in self.open.iter().enumerate() {
            let length = open.boundary.len();
            if line.starts_with(&open.boundary) && best.is_none_or(|(_, longest)| length >= longest) {
                best = Some((at, length));
            }
        }
        let Some((open, length)) = best else { return Found::Nothing };
        let last = line.get(length..).is_some_and(|rest| rest.starts_with(b"--"));
        // No room for another part: what would be one is the rest of this one.
        if !last && self.tree.parts.len() >= PARTS_MAX {
            return Found::Nothing;
        }
        Found::Boundary { open, length: 2 + length + if last { 2 } else { 0 }, last }
    }

    /// A boundary: everything within its multipart ends before it.
    fn boundary(&mut self, open: usize, last: bool) {
        let Some(part) = self.open.get(open).map(|open| open.part) else { return };
        let depth = self.path.iter().position(|&other| other == part).unwrap_or(0);
        self.close(depth + 1, self.counter.line_end);
        self.open.truncate(if last { open } else { open + 1 });
        self.state = if last { State::LastBoundaryLine } else { State::BoundaryLine };
    }

    fn pass_boundary(&mut self, data: &[u8], length: usize) -> usize {
        let length = length.min(data.len());
        self.counter.advance_line(data.get(..length).unwrap_or_default());
        length
    }

    /// The rest of a boundary line.
    fn boundary_line(&mut self, data: &[u8]) -> usize {
        let length = memchr::memchr(b'\n', data).map_or(data.len(), |at| at + 1);
        let line = data.get(..length).unwrap_or_default();
        self.counter.advance_line(line);
        if line.last() == Some(&b'\n') {
            match self.state {
                State::BoundaryLine => self.begin_part_of_multipart(),
                _ => self.state = State::Body,
            }
        }
        length
    }

    /// Ends the parts of the path from this level on, the inner ones first.
    fn close(&mut self, level: usize, mut at: Position) {
        // A header without a blank line ends here, and so does the one of a message that it may have announced.
        for _ in 0..2 {
            if self.state == State::Header && self.path.len() > level {
                let begun =
                    self.path.last().and_then(|&part| self.tree.parts.get(part)).map(|part| part.header);
                self.end_header(begun.map_or(at, |begun| at.max(begun)));
            }
        }
        let next = index(self.tree.parts.len());
        while self.path.len() > level {
            let Some(number) = self.path.pop() else { return };
            let Some(part) = self.tree.parts.get_mut(number) else { return };
            // A header may have ended with the line end that belongs to the boundary.
            part.end = at.max(part.body);
            part.next = next;
            at = part.end;
            // Nothing was found in it: then it is text.
            if part.kind == Kind::Multipart && part.next as usize == number + 1 {
                part.kind = Kind::Leaf;
            }
        }
        self.state = State::Body;
    }
}

/// A number of something of which there are far less than 2^32.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
