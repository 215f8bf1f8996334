//! Messages in other transfer encodings than they came in, part by part: for those who keep lines, and for servers that take less
//! than a client had to be offered.
//!
//! ```text
//!                                 To::Lines         To::SevenBits
//! text that says 8bit             as it is          quoted-printable
//! anything else that says 8bit    as it is          base64
//! what says binary                base64            base64
//! multipart/..., message/rfc822   8bit              7bit (RFC 2045 section 6.4); what is in them is looked at
//! message/..., no boundary        8bit              quoted-printable
//! everything else, preambles and epilogues          as it is
//! ```
//! The message is a stranger's. What is held of it is a line's beginning, one Content-Type, what may be a boundary, and the boundaries
//! of [`DEPTH_MAX`] multiparts; deeper ones are passed on as they are. Lines of headers may end with LF, because whoever
//! reads the message later takes them for lines; a boundary is one behind CR LF only (RFC 2046 section 5.1.1), for LF is content.

mod encoder;
mod reader;

pub use reader::{Recoded, has_eight_bits};

use common::mime::boundary::{self, Found};
use common::mime::content::{self, Content, MediaType};
use common::mime::header::{self, Name};
use common::mime::tree::DEPTH_MAX;
use encoder::{Encoder, Encoding};
use memchr::memmem;

/// Octets that are worked on at once.
const PIECE: usize = 16 * 1024;
/// Octets of a header's line that are looked at: the name of a field, or a boundary.
const LOOK_MAX: usize = 1100;
/// Octets of a Content-Type that are looked at, and of a Content-Transfer-Encoding.
const TYPE_MAX: usize = 64 * 1024;
const ENCODING_MAX: usize = 1024;

/// What the message is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// Who keeps lines, and knows no line ends but one.
    Lines,
    /// A server without 8BITMIME (RFC 6152 section 3).
    SevenBits,
    /// Somebody who wants to know whether it can be made lines: as [`To::Lines`], but all of a header is there.
    Judge,
}

/// Gives parts of a message another encoding.
pub struct Recoder {
    to: To,
    state: State,
    header: Header,
    /// How many parts the one at hand is within, itself among them.
    depth: usize,
    /// The multiparts around, outermost first.
    open: Vec<Open>,
    encoder: Encoder,
    line_and_dashes: memmem::Finder<'static>,
    /// What has come and cannot be judged yet.
    held: Vec<u8>,
    /// What is to be written, and whether all before it ends with a line.
    out: Vec<u8>,
    ends_line: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// At the beginning of a header's line.
    Header,
    /// Within a long one.
    HeaderLine,
    /// At the very beginning of a body there may be a boundary.
    Body { at_start: bool, encoding: Encoding },
    /// In the rest of a boundary line, behind which a part begins unless it is the last one.
    BoundaryLine { last: bool },
}

struct Open {
    boundary: Vec<u8>,
    is_digest: bool,
    depth: usize,
}

/// What a part's header has said so far. Of fields that are there more than once the first one counts, as for `imapd`.
#[derive(Default)]
struct Header {
    in_digest: bool,
    field: Field,
    /// The Content-Type, its name and folds included.
    kind: Option<Vec<u8>>,
    /// The beginning of the Content-Transfer-Encoding that is being read. It is written when it is known to be one that stays.
    held: Vec<u8>,
    transfer: Option<Transfer>,
}

/// What the line at hand belongs to.
#[derive(Default, Clone, Copy)]
enum Field {
    #[default]
    Other,
    ContentType,
    TransferEncoding,
    /// One that is left out: another takes its place at the header's end, where the Content-Type is known.
    Dropped,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    /// `7bit`, or unknown.
    Plain,
    EightBit,
    /// `base64` or `quoted-printable`.
    Encoded,
    Binary,
}

impl Recoder {
    /// At the start of a message.
    pub fn new(to: To) -> Recoder {
        Recoder {
            to,
            state: State::Header,
            header: Header::default(),
            depth: 1,
            open: Vec::new(),
            encoder: Encoder::default(),
            line_and_dashes: memmem::Finder::new(b"\r\n--"),
            held: Vec::new(),
            out: Vec::new(),
            ends_line: true,
        }
    }

    /// The next octets of the message.
    pub fn write<E>(&mut self, octets: &[u8], to: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for piece in octets.chunks(PIECE) {
            let mut held = std::mem::take(&mut self.held);
            if held.is_empty() {
                let used = self.pass(piece, false);
                held.extend_from_slice(piece.get(used..).unwrap_or_default());
            } else {
                held.extend_from_slice(piece);
                let used = self.pass(&held, false);
                held.drain(..used.min(held.len()));
            }
            self.held = held;
            self.flush(to)?;
        }
        Ok(())
    }

    /// There are no more.
    pub fn end<E>(&mut self, to: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let held = std::mem::take(&mut self.held);
        self.pass(&held, true);
        match self.state {
            State::Header | State::HeaderLine => self.end_header(b""),
            State::Body { .. } if self.encoder.end(&mut self.out) => self.out.extend_from_slice(b"\r\n"),
            State::Body { .. } | State::BoundaryLine { .. } => {}
        }
        self.flush(to)
    }

    fn flush<E>(&mut self, to: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some(last) = self.out.last() else { return Ok(()) };
        self.ends_line = *last == b'\n';
        let written = to(&self.out);
        self.out.clear();
        written
    }

    /// Works on what can be judged. How much of the data that is.
    fn pass(&mut self, data: &[u8], at_end: bool) -> usize {
        let mut used = 0;
        while let Some(rest) = data.get(used..).filter(|rest| !rest.is_empty()) {
            let passed = match self.state {
                State::Header => self.header(rest, at_end),
                State::HeaderLine => self.header_line(rest),
                State::Body { at_start, encoding } => self.body(rest, at_start, encoding, at_end),
                State::BoundaryLine { last } => self.boundary_line(rest, last),
            };
            if passed == 0 {
                break;
            }
            used += passed;
        }
        used
    }

    /// A line of a header, or the beginning of a long one.
    fn header(&mut self, data: &[u8], at_end: bool) -> usize {
        let look = data.get(..LOOK_MAX).unwrap_or(data);
        let line = match memchr::memchr(b'\n', look) {
            Some(at) => look.get(..=at).unwrap_or_default(),
            None if at_end || look.len() == LOOK_MAX => look,
            None => return 0,
        };
        // A part without the empty line behind its header.
        if line.starts_with(b"--") {
            if let Found::Boundary { open, length, last } = self.find(line, true) {
                self.end_header(b"");
                return self.boundary(line, open, length, last);
            }
        }
        if matches!(line, b"\n" | b"\r\n") {
            self.end_header(line);
            return line.len();
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            self.begin_field(line);
        }
        self.put_field(line);
        if line.last() != Some(&b'\n') {
            self.state = State::HeaderLine;
        }
        line.len()
    }

    fn header_line(&mut self, data: &[u8]) -> usize {
        let end = memchr::memchr(b'\n', data);
        let line = end.and_then(|end| data.get(..=end)).unwrap_or(data);
        self.put_field(line);
        if end.is_some() {
            self.state = State::Header;
        }
        line.len()
    }

    fn begin_field(&mut self, line: &[u8]) {
        self.end_field();
        let split = header::split(line);
        // There are readers for whom the header is over here: what it has said has to stand before it.
        if split.is_none() && self.to == To::SevenBits && self.header.transfer == Some(Transfer::EightBit) {
            self.out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n");
            self.header.transfer = Some(Transfer::Plain);
        }
        let name = split.and_then(|(name, _)| Name::of(name));
        self.header.field = match (name, self.header.transfer) {
            (Some(Name::ContentType), _) if self.header.kind.is_none() => {
                self.header.kind = Some(Vec::new());
                Field::ContentType
            }
            (Some(Name::ContentTransferEncoding), None) => Field::TransferEncoding,
            (Some(Name::ContentTransferEncoding), Some(transfer)) if self.drops(transfer) => Field::Dropped,
            _ => Field::Other,
        };
    }

    /// Octets of the field at hand.
    fn put_field(&mut self, octets: &[u8]) {
        match self.header.field {
            Field::Other => self.out.extend_from_slice(octets),
            Field::ContentType => {
                self.out.extend_from_slice(octets);
                if let Some(kind) = &mut self.header.kind {
                    let room = TYPE_MAX.saturating_sub(kind.len());
                    kind.extend_from_slice(octets.get(..room).unwrap_or(octets));
                }
            }
            Field::TransferEncoding => {
                let room = ENCODING_MAX.saturating_sub(self.header.held.len());
                let (now, later) = octets.split_at_checked(room).unwrap_or((octets, b""));
                self.header.held.extend_from_slice(now);
                if !later.is_empty() {
                    self.judge_encoding();
                    self.put_field(later);
                }
            }
            Field::Dropped => {}
        }
    }

    fn end_field(&mut self) {
        if matches!(self.header.field, Field::TransferEncoding) {
            self.judge_encoding();
        }
        self.header.field = Field::Other;
    }

    fn judge_encoding(&mut self) {
        let field = std::mem::take(&mut self.header.held);
        let value = header::unfold(header::split(&field).unwrap_or_default().1);
        let token = content::token(&value).unwrap_or_default().to_ascii_lowercase();
        let transfer = match token.as_slice() {
            b"binary" => Transfer::Binary,
            b"8bit" => Transfer::EightBit,
            b"base64" | b"quoted-printable" => Transfer::Encoded,
            _ => Transfer::Plain,
        };
        self.header.transfer = Some(transfer);
        self.header.field = match self.drops(transfer) {
            true => Field::Dropped,
            false => {
                self.out.extend_from_slice(&field);
                Field::Other
            }
        };
    }

    /// Whether that is left out where the part says so.
    fn drops(&self, transfer: Transfer) -> bool {
        self.to != To::Judge && self.changes(transfer)
    }

    /// Whether a part that says so is given another encoding.
    fn changes(&self, transfer: Transfer) -> bool {
        match transfer {
            Transfer::Binary => true,
            Transfer::EightBit => self.to == To::SevenBits,
            Transfer::Plain | Transfer::Encoded => false,
        }
    }

    /// The header is over, with this empty line if there is one.
    fn end_header(&mut self, empty_line: &[u8]) {
        self.end_field();
        let Header { in_digest, kind, transfer, .. } = std::mem::take(&mut self.header);
        let kind = kind.map(|field| header::unfold(header::split(&field).unwrap_or_default().1).into_owned());
        let content = Content::of(kind.as_deref(), in_digest);
        let mut encoding = Encoding::Identity;
        if let Some(transfer) = transfer.filter(|transfer| self.changes(*transfer)) {
            if !self.out.last().map_or(self.ends_line, |last| *last == b'\n') {
                self.out.extend_from_slice(b"\r\n");
            }
            let is_text = kind.as_deref().and_then(MediaType::parse).is_none_or(|media| is(&media, b"text"));
            let name = match (is_composite(&content, kind.as_deref()), transfer) {
                // What is in it is seven bits then, unless somebody has left it unsaid that it is not.
                (true, _) if self.to == To::SevenBits && is_looked_into(&content, self.depth) => "7bit",
                (true, _) if self.to != To::SevenBits || self.depth > DEPTH_MAX => "8bit",
                // No encoding is provided for, but readers know what it means, and 8bit would be untrue of what is around it.
                (true, _) => {
                    encoding = Encoding::QuotedPrintable;
                    "quoted-printable"
                }
                (false, Transfer::EightBit) if is_text => {
                    encoding = Encoding::QuotedPrintable;
                    "quoted-printable"
                }
                (false, _) => {
                    encoding = Encoding::Base64;
                    "base64"
                }
            };
            self.out.extend_from_slice(format!("Content-Transfer-Encoding: {name}\r\n").as_bytes());
        }
        self.out.extend_from_slice(empty_line);
        self.state = State::Body { at_start: true, encoding };
        match content {
            _ if !is_looked_into(&content, self.depth) => {}
            Content::Multipart { boundary, is_digest } => {
                self.open.push(Open { boundary, is_digest, depth: self.depth });
            }
            // What is encoded is not a message yet (RFC 2046 section 5.2.1).
            Content::Message { .. } if transfer != Some(Transfer::Encoded) => {
                self.begin_part(self.depth, false)
            }
            _ => {}
        }
    }

    fn begin_part(&mut self, within: usize, in_digest: bool) {
        self.header = Header { in_digest, ..Header::default() };
        self.depth = within + 1;
        self.state = State::Header;
    }

    /// Octets of a body, up to a boundary or to what may be one.
    fn body(&mut self, data: &[u8], at_start: bool, encoding: Encoding, at_end: bool) -> usize {
        if self.open.is_empty() {
            self.encoder.push(encoding, data, &mut self.out);
            return data.len();
        }
        if at_start {
            // The line end before it is the one of the empty line, or of another boundary.
            match data {
                [b'-', b'-', ..] => match self.find(data, at_end) {
                    Found::Unknown => return 0,
                    Found::Nothing => {}
                    Found::Boundary { open, length, last } => return self.boundary(data, open, length, last),
                },
                [b'-'] if !at_end => return 0,
                _ => {}
            }
        }
        let mut from = 0;
        let used = loop {
            let rest = data.get(from..).unwrap_or_default();
            let Some(at) = self.line_and_dashes.find(rest).map(|found| from + found) else {
                break data.len() - if at_end { 0 } else { line_and_dashes_begun(data) };
            };
            // The line end belongs to the boundary.
            let line = data.get(at + 2..).unwrap_or_default();
            match self.find(line, at_end) {
                Found::Unknown => break at,
                Found::Nothing => from = at + 2,
                Found::Boundary { open, length, last } => {
                    self.encoder.push(encoding, data.get(..at).unwrap_or_default(), &mut self.out);
                    self.encoder.end(&mut self.out);
                    self.out.extend_from_slice(b"\r\n");
                    return at + 2 + self.boundary(line, open, length, last);
                }
            }
        };
        self.encoder.push(encoding, data.get(..used).unwrap_or_default(), &mut self.out);
        self.state = State::Body { at_start: at_start && used == 0, encoding };
        used
    }

    fn find(&self, data: &[u8], at_end: bool) -> Found {
        boundary::find(self.open.iter().map(|open| open.boundary.as_slice()), data, at_end)
    }

    /// A boundary at the start of the line: what is open within its multipart ends. The octets of it that are there.
    fn boundary(&mut self, line: &[u8], open: usize, length: usize, last: bool) -> usize {
        self.open.truncate(if last { open } else { open + 1 });
        let line = line.get(..length).unwrap_or(line);
        self.out.extend_from_slice(line);
        self.state = State::BoundaryLine { last };
        line.len()
    }

    fn boundary_line(&mut self, data: &[u8], last: bool) -> usize {
        let end = memchr::memchr(b'\n', data);
        let line = end.and_then(|end| data.get(..=end)).unwrap_or(data);
        self.out.extend_from_slice(line);
        if end.is_some() {
            match self.open.last().map(|open| (open.depth, open.is_digest)) {
                Some((depth, is_digest)) if !last => self.begin_part(depth, is_digest),
                _ => self.state = State::Body { at_start: true, encoding: Encoding::Identity },
            }
        }
        line.len()
    }
}

/// Whether its encoding can only be `7bit`, `8bit` or `binary` (RFC 2045 section 6.4). What is UTF-8 in its header, message/global and
/// those named after it, may have any (RFC 6532 section 3.7, RFC 6533).
fn is_composite(content: &Content, kind: Option<&[u8]>) -> bool {
    *content != Content::Leaf
        || kind.and_then(MediaType::parse).is_some_and(|media| {
            let is_global = media.subtype.get(..6).is_some_and(|name| name.eq_ignore_ascii_case(b"global"));
            is(&media, b"multipart") || is(&media, b"message") && !is_global
        })
}

fn is_looked_into(content: &Content, depth: usize) -> bool {
    *content != Content::Leaf && depth <= DEPTH_MAX
}

fn is(media: &MediaType<'_>, kind: &[u8]) -> bool {
    media.kind.eq_ignore_ascii_case(kind)
}

/// How many octets at the end may be the beginning of CR LF and two dashes.
fn line_and_dashes_begun(data: &[u8]) -> usize {
    match data {
        [.., b'\r', b'\n', b'-'] => 3,
        [.., b'\r', b'\n'] => 2,
        [.., b'\r'] => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
