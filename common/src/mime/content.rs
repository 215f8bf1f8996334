//! What a part's header says of its content: Content-Type and Content-Disposition with their parameters (RFC 2045 section 5.1,
//! RFC 2183, RFC 2231), and lists of tokens. All functions take unfolded values.

use super::Decode;
use super::boundary::LENGTH_MAX;
use super::token::{Cursor, Ends, TSPECIALS};
use std::borrow::Cow;

/// Parameters of a field that are looked at.
const PARAMETERS_MAX: usize = 256;

/// A media type with what follows it.
#[derive(Clone, Copy, Debug)]
pub struct MediaType<'a> {
    /// The type, as written.
    pub kind: &'a [u8],
    /// The subtype, as written.
    pub subtype: &'a [u8],
    rest: &'a [u8],
}

impl<'a> MediaType<'a> {
    /// `None` for what is none: then the content is text/plain in us-ascii (RFC 2045 section 5.2). A lone `text` or
    /// `multipart`, which some programs write, gets the subtype that its readers assume.
    pub fn parse(value: &'a [u8]) -> Option<MediaType<'a>> {
        let mut cursor = Cursor::new(value);
        let mut comment = Vec::new();
        cursor.skip_cfws(&mut comment);
        let kind = cursor.run(TSPECIALS);
        cursor.skip_cfws(&mut comment);
        if !cursor.take(b'/') {
            let subtype: &[u8] = match kind {
                _ if !matches!(cursor.peek(), None | Some(b';')) => return None,
                _ if kind.eq_ignore_ascii_case(b"text") => b"plain",
                _ if kind.eq_ignore_ascii_case(b"multipart") => b"mixed",
                _ => return None,
            };
            return Some(MediaType { kind, subtype, rest: cursor.rest() });
        }
        cursor.skip_cfws(&mut comment);
        let subtype = cursor.run(TSPECIALS);
        let is_valid = !kind.is_empty() && !subtype.is_empty();
        is_valid.then(|| MediaType { kind, subtype, rest: cursor.rest() })
    }

    /// Whether it is this one, in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// Its parameters.
    pub fn parameters(&self) -> Vec<Parameter<'a>> {
        parameters(self.rest)
    }
}

/// What a part's header says is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing that is looked into.
    Leaf,
    /// Parts.
    Multipart {
        /// What is between them.
        boundary: Vec<u8>,
        /// They are messages unless they say more (RFC 2046 section 5.1.5).
        is_digest: bool,
    },
    /// A message with a header of its own.
    Message {
        /// It is not only that of a digest.
        says_so: bool,
    },
}

impl Content {
    /// By the Content-Type, if there is one, of a part that may be directly in a digest.
    pub fn of(content_type: Option<&[u8]>, in_digest: bool) -> Content {
        let Some(value) = content_type else {
            return if in_digest { Content::Message { says_so: false } } else { Content::Leaf };
        };
        let Some(media) = MediaType::parse(value) else { return Content::Leaf };
        if media.is("message", "rfc822") {
            return Content::Message { says_so: true };
        }
        if !media.kind.eq_ignore_ascii_case(b"multipart") {
            return Content::Leaf;
        }
        let boundary = boundary(&media);
        match boundary.len() {
            1..=LENGTH_MAX => Content::Multipart { boundary, is_digest: media.is("multipart", "digest") },
            _ => Content::Leaf,
        }
    }
}

/// The boundary of a multipart; empty if there is none. It does not end with a blank (RFC 2046 section 5.1.1).
pub fn boundary(media: &MediaType<'_>) -> Vec<u8> {
    let parameters = media.parameters();
    let found = parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(b"boundary"));
    found.map(|parameter| parameter.value.trim_ascii_end().to_vec()).unwrap_or_default()
}

/// A disposition's type and its parameters. A type that is none is left out; with neither type nor parameters it is `None`.
pub fn disposition(value: &[u8]) -> Option<(Option<&[u8]>, Vec<Parameter<'_>>)> {
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws(&mut Vec::new());
    let kind = cursor.run(TSPECIALS);
    cursor.skip_cfws(&mut Vec::new());
    let is_valid = !kind.is_empty() && matches!(cursor.peek(), None | Some(b';')) || kind_with_noise(kind);
    let parameters = parameters(cursor.rest());
    let kind = is_valid.then_some(kind);
    (kind.is_some() || !parameters.is_empty()).then_some((kind, parameters))
}

/// The two that matter are believed whatever follows.
fn kind_with_noise(kind: &[u8]) -> bool {
    kind.eq_ignore_ascii_case(b"attachment") || kind.eq_ignore_ascii_case(b"inline")
}

/// The first token of a value (Content-Transfer-Encoding); `None` if there is none.
pub fn token(value: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws(&mut Vec::new());
    let token = cursor.run(TSPECIALS);
    (!token.is_empty()).then_some(token)
}

/// The tokens of a list with commas (Content-Language, RFC 3282).
pub fn tokens(value: &[u8]) -> Vec<&[u8]> {
    let mut cursor = Cursor::new(value);
    let mut found = Vec::new();
    while found.len() < PARAMETERS_MAX {
        cursor.skip_cfws(&mut Vec::new());
        let token = cursor.run(TSPECIALS);
        if !token.is_empty() {
            found.push(token);
        }
        match memchr::memchr(b',', cursor.rest()) {
            Some(at) => cursor.skip(at + 1),
            None => break,
        }
    }
    found
}

/// A parameter. What RFC 2231 spread over several is one again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// As written, with a `*` at the end if the value is extended.
    pub name: Cow<'a, [u8]>,
    /// What it means; of an extended one as written: `charset'language'`, then octets with `%`.
    pub value: Cow<'a, [u8]>,
}

/// One parameter as it stands in the field.
struct Raw<'a> {
    name: &'a [u8],
    /// The name without what RFC 2231 adds to it.
    base: &'a [u8],
    section: Option<u32>,
    is_extended: bool,
    value: Cow<'a, [u8]>,
    is_used: bool,
}

fn parameters(rest: &[u8]) -> Vec<Parameter<'_>> {
    let mut raws = Vec::new();
    let mut cursor = Cursor::new(rest);
    while raws.len() < PARAMETERS_MAX && pass_semicolon(&mut cursor) {
        if let Some((name, value)) = parameter(&mut cursor) {
            raws.push(raw(name, value));
        }
    }
    let mut merged = Vec::with_capacity(raws.len());
    for at in 0..raws.len() {
        let Some(first) = raws.get_mut(at) else { break };
        if std::mem::replace(&mut first.is_used, true) {
            continue;
        }
        let (name, base, value) = (first.name, first.base, std::mem::take(&mut first.value));
        merged.push(match first.section {
            None => Parameter { name: Cow::Borrowed(name), value },
            Some(section) => match join(&mut raws, at, section, value, base) {
                Ok(whole) => whole,
                Err(value) => Parameter { name: Cow::Borrowed(name), value },
            },
        });
    }
    merged
}

/// Passes everything up to the next semicolon outside of quoted strings. `false`: there is none.
fn pass_semicolon(cursor: &mut Cursor<'_>) -> bool {
    let mut scrap = Vec::new();
    loop {
        scrap.clear();
        cursor.skip_cfws(&mut scrap);
        match cursor.peek() {
            None => return false,
            Some(b';') => {
                cursor.skip(1);
                return true;
            }
            Some(b'"') if cursor.quoted(&mut scrap) => {}
            Some(_) => {
                cursor.skip(1);
                cursor.run(const { &Ends::of(b";\"(") });
            }
        }
    }
}

fn parameter<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], Cow<'a, [u8]>)> {
    let mut comment = Vec::new();
    cursor.skip_cfws(&mut comment);
    let name = cursor.run(TSPECIALS);
    cursor.skip_cfws(&mut comment);
    if name.is_empty() || !cursor.take(b'=') {
        return None;
    }
    cursor.skip_cfws(&mut comment);
    let mut quoted = Vec::new();
    if cursor.quoted(&mut quoted) {
        return Some((name, Cow::Owned(quoted)));
    }
    // A quote that is not closed: all the rest.
    if cursor.take(b'"') {
        let value = cursor.rest();
        cursor.skip(value.len());
        return Some((name, Cow::Borrowed(value)));
    }
    // Programs that do not quote write anything: encoded words, slashes, names of files with blanks.
    let whole = cursor.rest();
    let mut value = cursor.run(const { &Ends::of(b";(\"") });
    loop {
        let begun = whole.len() - cursor.rest().len();
        cursor.skip_blanks();
        let more = cursor.run(const { &Ends::of(b";(\"") });
        if more.is_empty() || more.contains(&b'=') {
            let passed = whole.get(begun..).unwrap_or_default();
            *cursor = Cursor::new(passed);
            break;
        }
        value = whole.get(..whole.len() - cursor.rest().len()).unwrap_or(value);
    }
    Some((name, Cow::Borrowed(value)))
}

/// Takes the name of a parameter apart: `name`, `name*`, `name*0`, `name*0*`.
fn raw<'a>(name: &'a [u8], value: Cow<'a, [u8]>) -> Raw<'a> {
    let plain = Raw { name, base: name, section: None, is_extended: false, value, is_used: false };
    let (inner, is_extended) = match name.strip_suffix(b"*") {
        Some(inner) => (inner, true),
        None => (name, false),
    };
    let Some(star) = memchr::memrchr(b'*', inner) else { return plain };
    let (base, digits) = inner.split_at_checked(star).unwrap_or((inner, b""));
    let digits = digits.get(1..).unwrap_or_default();
    let is_number = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.iter().all(u8::is_ascii_digit);
    let section =
        std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
    match section {
        Some(section) if !base.is_empty() => Raw { base, section: Some(section), is_extended, ..plain },
        _ => plain,
    }
}

/// Joins the sections of one value (RFC 2231 section 3), the one at `at` among them, whose value is handed in. `Err` gives that back:
/// the first section is missing.
fn join<'a>(
    raws: &mut [Raw<'a>],
    at: usize,
    section: u32,
    value: Cow<'a, [u8]>,
    base: &'a [u8],
) -> Result<Parameter<'a>, Cow<'a, [u8]>> {
    if let Some(first) = raws.get_mut(at) {
        (first.is_used, first.value) = (false, value);
    }
    let is = |raw: &Raw<'_>, wanted| {
        !raw.is_used && raw.section == Some(wanted) && raw.base.eq_ignore_ascii_case(base)
    };
    let Some(begin) = raws.iter().position(|raw| is(raw, 0)) else {
        let Some(first) = raws.get_mut(at) else { return Err(Cow::Borrowed(b"")) };
        first.is_used = true;
        return Err(std::mem::take(&mut first.value));
    };
    let is_extended = raws.get(begin).is_some_and(|raw| raw.is_extended);
    let mut whole = Vec::new();
    let mut wanted = 0u32;
    while let Some(next) = raws.iter_mut().find(|raw| is(raw, wanted)) {
        next.is_used = true;
        if is_extended && !next.is_extended {
            escape(&next.value, &mut whole);
        } else {
            whole.extend_from_slice(&next.value);
        }
        wanted = wanted.saturating_add(1);
    }
    // Behind a gap: it does not belong to the value, and is lost with what announced it.
    if section >= wanted {
        if let Some(first) = raws.get_mut(at) {
            first.is_used = true;
        }
    }
    let mut name = base.to_vec();
    if is_extended {
        name.push(b'*');
    }
    Ok(Parameter { name: Cow::Owned(name), value: Cow::Owned(whole) })
}

/// Writes a plain section as part of an extended value.
fn escape(value: &[u8], whole: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &octet in value {
        if octet.is_ascii_graphic() && !matches!(octet, b'%' | b'\'' | b'*') && !TSPECIALS.has(octet) {
            whole.push(octet);
        } else {
            let digit = |value: u8| HEX.get(usize::from(value & 15)).copied().unwrap_or(b'0');
            whole.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet)]);
        }
    }
}

/// The text of a parameter's value, decoded if it is extended or has encoded words in it, as some programs write them. `name`
/// tells which, as [`Parameter::name`] does.
pub fn decode_parameter(name: &[u8], value: &[u8], decode: Decode<'_>) -> String {
    let mut text = String::new();
    if !name.ends_with(b"*") {
        super::encoded_word::decode(value, decode, &mut text);
        return text;
    }
    let mut fields = value.splitn(3, |&octet| octet == b'\'');
    let (charset, escaped) = match (fields.next(), fields.next(), fields.next()) {
        (Some(charset), Some(_), Some(escaped)) => (charset, escaped),
        _ => (&b""[..], value),
    };
    let mut octets = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        let hex = behind.first_chunk::<2>().and_then(|digits| super::encoded_word::hex(*digits));
        match (octet, hex) {
            (b'%', Some(value)) => {
                octets.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => octets.push(octet),
        }
    }
    super::encoded_word::decode_octets(charset, &octets, decode, &mut text);
    text
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
