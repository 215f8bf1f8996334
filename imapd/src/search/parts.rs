//! A message's parts as they come from its file: fields of headers and pieces of bodies, in one pass, for SEARCH.
//!
//! The file is a stranger's: its header may have no end, its parts may be nested without end or have no end lines. Memory is
//! the one buffer and at most [`NESTING_MAX`] boundaries. Where a part's type is wrong or missing, the defaults of RFC 2045
//! section 5.2 hold. Lines end with LF; a CR before it belongs to the end. Parts begin, end and are what FETCH says of them
//! ([`common::mime::tree`]): what a client is shown can be found.

use crate::charset;
use common::mime::boundary::{self, Found};
use common::mime::content::{self, Content, MediaType};
use common::mime::header::{self, Name};
use encoding_rs::{Encoding, UTF_8};
use memchr::memmem;
use std::io::{self, Read};
use std::ops::ControlFlow;

/// Multiparts in each other that are told apart (DESIGN.md section 8); what is deeper is passed over.
pub const NESTING_MAX: usize = 100;
/// Octets read at first, enough for most messages, and at most held: a longer field comes in pieces.
const FIRST_READ: usize = 8 * 1024;
const BUFFER: usize = 64 * 1024;

/// Which header a field is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// The message's own.
    Message,
    /// A part's, or the one of a message in the message.
    Inner,
}

/// How a body's octets become text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// As they are.
    Identity,
    /// `base64`
    Base64,
    /// `quoted-printable`
    QuotedPrintable,
}

/// A body that is text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Its charset.
    pub encoding: &'static Encoding,
    /// Its transfer encoding.
    pub transfer: Transfer,
}

/// Who looks at what is found. Any of them may end it.
pub trait Visitor {
    /// A field; `value` is what stands behind the colon, line ends and all but the last one. A field too long for the buffer
    /// comes in several pieces, and a line that is no field has an empty name.
    fn field(&mut self, header: Header, name: &[u8], value: &[u8]) -> ControlFlow<()>;
    /// A header is over.
    fn header_end(&mut self, header: Header) -> ControlFlow<()>;
    /// A body begins that is text.
    fn text_begin(&mut self, text: Text);
    /// Octets of it.
    fn text(&mut self, octets: &[u8]) -> ControlFlow<()>;
    /// It is over.
    fn text_end(&mut self) -> ControlFlow<()>;
}

/// A buffer for [`walk`], used again for one message after another.
#[derive(Default)]
pub struct Buffer(Vec<u8>);

/// Shows a message to `visitor`. An error is the reader's.
pub fn walk(reader: &mut impl Read, buffer: &mut Buffer, visitor: &mut impl Visitor) -> io::Result<()> {
    let mut walk = Walk {
        visitor,
        mode: Mode::Header(Header::Message),
        line_start: true,
        kind: Kind::new(false),
        passing: false,
        long_field: None,
        boundaries: Vec::new(),
        delimiter: memmem::Finder::new(b"\n--"),
    };
    let (mut start, mut end, mut room) = (0usize, 0usize, FIRST_READ);
    loop {
        if start > 0 {
            buffer.0.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
        if buffer.0.len() < room {
            buffer.0.resize(room, 0);
        }
        let count = match reader.read(buffer.0.get_mut(end..room).unwrap_or_default()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        (room, end) = (BUFFER, end + count);
        let full = end == BUFFER;
        let data = buffer.0.get(..end).unwrap_or_default();
        match walk.data(data, count == 0, full) {
            ControlFlow::Break(()) => return Ok(()),
            ControlFlow::Continue(used) => start = used,
        }
        if count == 0 {
            let _ = walk.end();
            return Ok(());
        }
    }
}

/// Where in the message we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Header(Header),
    /// In a body that is text.
    Text,
    /// In a body that is none, before the first part or behind the last.
    Opaque,
}

/// What the header at hand has said about its body so far.
struct Kind {
    content: Content,
    /// The charset of what is not looked into; `None`: it is no text.
    encoding: Option<&'static Encoding>,
    /// `None`: nothing has been said.
    transfer: Option<Transfer>,
    /// Whether there has been a Content-Type.
    has_type: bool,
}

impl Kind {
    /// Of a header of which nothing has been seen.
    fn new(in_digest: bool) -> Kind {
        Kind { content: Content::of(None, in_digest), encoding: Some(UTF_8), transfer: None, has_type: false }
    }
}

struct Walk<'v, V> {
    visitor: &'v mut V,
    mode: Mode,
    /// Whether a body begins with what comes next.
    line_start: bool,
    kind: Kind,
    /// Whether the rest of a delimiter's line comes first.
    passing: bool,
    /// The name of the field whose first piece has been shown already.
    long_field: Option<Vec<u8>>,
    /// Of the multiparts around us, outermost first: the boundary, and whether its parts are messages unless they say more.
    boundaries: Vec<(Vec<u8>, bool)>,
    delimiter: memmem::Finder<'static>,
}

impl<V: Visitor> Walk<'_, V> {
    /// Uses what it can of `data`. How much that is: the rest comes again, with more behind it.
    fn data(&mut self, data: &[u8], is_end: bool, is_full: bool) -> ControlFlow<(), usize> {
        let mut used = 0;
        loop {
            let rest = data.get(used..).unwrap_or_default();
            if self.passing {
                let line = memchr::memchr(b'\n', rest).map(|at| at + 1);
                used += line.unwrap_or(rest.len());
                if line.is_none() {
                    return ControlFlow::Continue(used);
                }
                self.passing = false;
                continue;
            }
            let before = (used, self.mode);
            used += match self.mode {
                // The buffer is full for this step only if it can not be made emptier first.
                Mode::Header(header) => self.field(header, rest, is_end, is_full && used == 0)?,
                Mode::Text | Mode::Opaque => self.body(rest, is_end)?,
            };
            if (used, self.mode) == before {
                return ControlFlow::Continue(used);
            }
        }
    }

    fn end(&mut self) -> ControlFlow<()> {
        match self.mode {
            Mode::Header(header) => self.visitor.header_end(header),
            Mode::Text => self.visitor.text_end(),
            Mode::Opaque => ControlFlow::Continue(()),
        }
    }

    /// One field of a header, or its end.
    fn field(&mut self, header: Header, data: &[u8], is_end: bool, is_full: bool) -> ControlFlow<(), usize> {
        let mut end = 0;
        loop {
            let rest = data.get(end..).unwrap_or_default();
            let line = memchr::memchr(b'\n', rest).map(|at| at + 1);
            match line {
                // A field is over when the next line does not begin with a blank: that octet has to be there.
                Some(line) => {
                    if end == 0 {
                        let text = rest.get(..line).unwrap_or_default();
                        if let Some(used) = self.header_line(header, text)? {
                            return ControlFlow::Continue(used);
                        }
                    }
                    end += line;
                    match data.get(end) {
                        Some(b' ' | b'\t') => continue,
                        Some(_) => break,
                        None if is_end => break,
                        None if is_full => {}
                        None => return ControlFlow::Continue(0),
                    }
                }
                None if is_end || is_full => {
                    if end == 0 {
                        if let Some(used) = self.header_line(header, rest)? {
                            return ControlFlow::Continue(used);
                        }
                    }
                }
                None => return ControlFlow::Continue(0),
            }
            // What is there has to do. The last octet comes again: if it ends a line, the next one tells whether the field.
            if is_end {
                end = data.len();
                break;
            }
            end = data.len().saturating_sub(1);
            let piece = data.get(..end).unwrap_or_default();
            match &self.long_field {
                Some(name) => self.visitor.field(header, name, piece)?,
                None => {
                    let (name, value) = split(piece);
                    self.kind.learn(name, value);
                    self.visitor.field(header, name, value)?;
                    self.long_field = Some(name.to_vec());
                }
            }
            return ControlFlow::Continue(end);
        }
        let field = data.get(..end).unwrap_or_default();
        let field = field.strip_suffix(b"\n").unwrap_or(field);
        let field = field.strip_suffix(b"\r").unwrap_or(field);
        if let Some(name) = self.long_field.take() {
            self.visitor.field(header, &name, field)?;
        } else if !field.is_empty() {
            let (name, value) = split(field);
            self.kind.learn(name, value);
            self.visitor.field(header, name, value)?;
        }
        ControlFlow::Continue(end)
    }

    /// Whether the header is over with this line. If so, the octets that were used.
    fn header_line(&mut self, header: Header, line: &[u8]) -> ControlFlow<(), Option<usize>> {
        if self.long_field.is_some() {
            return ControlFlow::Continue(None);
        }
        if matches!(line, b"\n" | b"\r\n") {
            self.visitor.header_end(header)?;
            self.body_begins();
            return ControlFlow::Continue(Some(line.len()));
        }
        // A part without the empty line behind its header.
        if line.starts_with(b"--") {
            if let Found::Boundary { open, last, .. } = self.find(line, true) {
                self.visitor.header_end(header)?;
                self.part_ends(open, last, line);
                return ControlFlow::Continue(Some(line.len()));
            }
        }
        ControlFlow::Continue(None)
    }

    fn body_begins(&mut self) {
        let Kind { content, encoding, transfer, .. } = std::mem::replace(&mut self.kind, Kind::new(false));
        self.line_start = true;
        self.mode = match (content, encoding) {
            // It cannot be encoded (RFC 2046 section 5.2.1), whatever its header says.
            (Content::Message { .. }, _) => Mode::Header(Header::Inner),
            (Content::Multipart { boundary, is_digest }, _) => {
                if self.boundaries.len() < NESTING_MAX {
                    self.boundaries.push((boundary, is_digest));
                }
                Mode::Opaque
            }
            (Content::Leaf, Some(encoding)) => {
                let transfer = transfer.unwrap_or(Transfer::Identity);
                self.visitor.text_begin(Text { encoding, transfer });
                Mode::Text
            }
            (Content::Leaf, None) => Mode::Opaque,
        };
    }

    /// With the line of this open multipart's boundary, or with what is there of the line.
    fn part_ends(&mut self, open: usize, last: bool, line: &[u8]) {
        self.line_start = true;
        self.passing = !line.ends_with(b"\n");
        self.boundaries.truncate(if last { open } else { open + 1 });
        let in_digest = self.boundaries.last().is_some_and(|(_, is_digest)| *is_digest);
        self.kind = Kind::new(in_digest && !last);
        self.mode = if last { Mode::Opaque } else { Mode::Header(Header::Inner) };
    }

    /// Octets of a body, up to the next delimiter or to the end of what is there.
    fn body(&mut self, data: &[u8], is_end: bool) -> ControlFlow<(), usize> {
        if self.boundaries.is_empty() {
            if self.mode == Mode::Opaque {
                return ControlFlow::Break(());
            }
            self.visitor.text(data)?;
            return ControlFlow::Continue(data.len());
        }
        // A delimiter's line may begin here, but not all of it be there.
        if self.line_start && !is_end && data.len() < 2 && b"--".starts_with(data) {
            return ControlFlow::Continue(0);
        }
        let mut from = 0;
        loop {
            // Where the line begins, and where the line end before it, which is the delimiter's (RFC 2046 section 5.1.1).
            let (at, before) = match self.line_start && data.starts_with(b"--") {
                true => (0, 0),
                false => match data.get(from..).and_then(|rest| self.delimiter.find(rest)) {
                    Some(found) => (from + found + 1, from + found),
                    None => break,
                },
            };
            let line = data.get(at..).unwrap_or_default();
            match self.find(line, is_end) {
                Found::Unknown => {
                    self.show(data, before)?;
                    self.line_start &= before == 0;
                    return ControlFlow::Continue(before);
                }
                Found::Nothing => (from, self.line_start) = (at, false),
                Found::Boundary { open, last, .. } => {
                    self.show(data, before)?;
                    if self.mode == Mode::Text {
                        self.visitor.text_end()?;
                    }
                    let length = memchr::memchr(b'\n', line).map_or(line.len(), |end| end + 1);
                    self.part_ends(open, last, line.get(..length).unwrap_or_default());
                    return ControlFlow::Continue(at + length);
                }
            }
        }
        // What may be the beginning of a delimiter comes again.
        let held = match data {
            _ if is_end => 0,
            [.., b'\n', b'-'] => 2,
            [.., b'\n'] => 1,
            _ => 0,
        };
        let until = data.len() - held;
        self.show(data, until)?;
        self.line_start &= until == 0;
        ControlFlow::Continue(until)
    }

    fn show(&mut self, data: &[u8], until: usize) -> ControlFlow<()> {
        match data.get(..until) {
            Some(octets) if self.mode == Mode::Text && !octets.is_empty() => self.visitor.text(octets),
            _ => ControlFlow::Continue(()),
        }
    }

    fn find(&self, line: &[u8], is_end: bool) -> Found {
        boundary::find(self.boundaries.iter().map(|(boundary, _)| boundary.as_slice()), line, is_end)
    }
}

/// A field's name and value. A line without a colon is a value without a name.
fn split(field: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr2(b':', b'\n', field) {
        Some(at) if field.get(at) == Some(&b':') => {
            let (name, value) = field.split_at_checked(at).unwrap_or((field, &[]));
            let value = value.get(1..).unwrap_or_default();
            (name.trim_ascii_end(), value.strip_prefix(b" ").unwrap_or(value))
        }
        _ => (b"", field),
    }
}

impl Kind {
    /// What a field says about the body. Of several with one name the first counts.
    fn learn(&mut self, name: &[u8], value: &[u8]) {
        match Name::of(name) {
            Some(Name::ContentTransferEncoding) if self.transfer.is_none() => {
                let value = header::unfold(value);
                let is = |name: &[u8]| {
                    content::token(&value).is_some_and(|token| token.eq_ignore_ascii_case(name))
                };
                self.transfer = Some(match () {
                    () if is(b"base64") => Transfer::Base64,
                    () if is(b"quoted-printable") => Transfer::QuotedPrintable,
                    () => Transfer::Identity,
                });
            }
            Some(Name::ContentType) if !self.has_type => {
                self.has_type = true;
                let value = header::unfold(value);
                self.content = Content::of(Some(&value), false);
                // What is no type is text (RFC 2045 section 5.2).
                self.encoding = MediaType::parse(&value).map_or(Some(UTF_8), |media| text_of(&media));
            }
            _ => {}
        }
    }
}

/// The charset of what is not looked into: text, multiparts and messages are text then.
fn text_of(media: &MediaType<'_>) -> Option<&'static Encoding> {
    let is = |kind: &[u8]| media.kind.eq_ignore_ascii_case(kind);
    if !is(b"text") && !is(b"message") && !is(b"multipart") {
        return None;
    }
    let parameters = media.parameters();
    let charset = parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(b"charset"));
    Some(charset.and_then(|charset| charset::encoding(&charset.value)).unwrap_or(UTF_8))
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
