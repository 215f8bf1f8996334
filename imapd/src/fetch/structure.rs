//! BODYSTRUCTURE (RFC 3501 section 7.4.2), from a message's parts, and BODY from a BODYSTRUCTURE.
//!
//! What a part does not say is filled in as RFC 2045 assumes it: text/plain in us-ascii, 7bit; message/rfc822 in a digest. A
//! multipart in which there are no parts is text, so that nothing in it is hidden; what lies too deep is data.

use super::envelope;
use crate::grammar::print;
use crate::printed;
use common::mime::address::Reader;
use common::mime::content::{self, MediaType, Parameter};
use common::mime::header::{Name, unfold};
use common::mime::tree::{Kind, Part, Tree};

/// Levels of lists that are followed in a printed structure: two for each level of parts.
const LEVELS_MAX: usize = 220;

/// Prints the structure of a message.
pub fn print(tree: &Tree, out: &mut Vec<u8>) {
    // Multiparts and messages whose parts are being printed.
    let mut open: Vec<usize> = Vec::new();
    for (number, part) in tree.parts().iter().enumerate() {
        match part.kind {
            Kind::Leaf => leaf(tree, number, part, out),
            Kind::Multipart => {
                out.push(b'(');
                open.push(number);
            }
            Kind::Message => {
                message(tree, number, part, out);
                open.push(number);
            }
        }
        while let Some(&last) = open.last() {
            let Some(part) = tree.parts().get(last) else { break };
            if part.next as usize != number + 1 {
                break;
            }
            open.pop();
            end(tree, last, part, out);
        }
    }
}

/// What a field says, unfolded.
macro_rules! value {
    ($tree:expr, $part:expr, $name:expr) => {
        $tree.field($part, $name).map(|value| unfold(value))
    };
}

fn leaf(tree: &Tree, number: usize, part: &Part, out: &mut Vec<u8>) {
    let value = value!(tree, number, Name::ContentType);
    let media = value.as_deref().and_then(MediaType::parse);
    let looked_into = |media: &MediaType<'_>| {
        media.kind.eq_ignore_ascii_case(b"multipart") || media.is("message", "rfc822")
    };
    let (kind, subtype, parameters): (&[u8], &[u8], _) = match media {
        _ if part.is_opaque => (b"application", b"octet-stream", Vec::new()),
        Some(media) if !looked_into(&media) => (media.kind, media.subtype, media.parameters()),
        _ => (b"text", b"plain", Vec::new()),
    };
    let is_text = kind.eq_ignore_ascii_case(b"text");
    out.push(b'(');
    print::string(out, kind);
    out.push(b' ');
    print::string(out, subtype);
    out.push(b' ');
    let is_charset = |parameter: &Parameter<'_>| parameter.name.eq_ignore_ascii_case(b"charset");
    let charset = is_text && !parameters.iter().any(is_charset);
    print_parameters(&parameters, charset, out);
    out.push(b' ');
    fields(tree, number, part, out);
    if is_text {
        out.push(b' ');
        print::number(out, part.body_lines());
    }
    out.push(b' ');
    md5(tree, number, out);
    extension(tree, number, out);
    out.push(b')');
}

/// A message/rfc822 up to where the message's own structure stands.
fn message(tree: &Tree, number: usize, part: &Part, out: &mut Vec<u8>) {
    let value = value!(tree, number, Name::ContentType);
    let media = value.as_deref().and_then(MediaType::parse);
    let (kind, subtype, parameters): (&[u8], &[u8], _) = match media {
        Some(media) => (media.kind, media.subtype, media.parameters()),
        None => (b"message", b"rfc822", Vec::new()),
    };
    out.push(b'(');
    print::string(out, kind);
    out.push(b' ');
    print::string(out, subtype);
    out.push(b' ');
    print_parameters(&parameters, false, out);
    out.push(b' ');
    fields(tree, number, part, out);
    out.push(b' ');
    envelope::print(tree, number + 1, &mut Reader::default(), out);
    out.push(b' ');
}

/// What follows the parts of a multipart, or the structure of a message.
fn end(tree: &Tree, number: usize, part: &Part, out: &mut Vec<u8>) {
    if part.kind == Kind::Message {
        out.push(b' ');
        print::number(out, part.body_lines());
        out.push(b' ');
        md5(tree, number, out);
    } else {
        let value = value!(tree, number, Name::ContentType);
        let media = value.as_deref().and_then(MediaType::parse);
        out.push(b' ');
        print::string(out, media.map_or(b"mixed", |media| media.subtype));
        out.push(b' ');
        print_parameters(&media.map(|media| media.parameters()).unwrap_or_default(), false, out);
    }
    extension(tree, number, out);
    out.push(b')');
}

/// Id, description, encoding, octets.
fn fields(tree: &Tree, number: usize, part: &Part, out: &mut Vec<u8>) {
    for name in [Name::ContentId, Name::ContentDescription] {
        let value = value!(tree, number, name);
        print::nstring(out, value.as_deref().filter(|value| !value.is_empty()));
        out.push(b' ');
    }
    let value = value!(tree, number, Name::ContentTransferEncoding);
    print::string(out, value.as_deref().and_then(content::token).unwrap_or(b"7bit"));
    out.push(b' ');
    print::number(out, part.body_octets());
}

fn md5(tree: &Tree, number: usize, out: &mut Vec<u8>) {
    let value = value!(tree, number, Name::ContentMd5);
    print::nstring(out, value.as_deref().filter(|value| !value.is_empty()));
}

/// Disposition, languages, location.
fn extension(tree: &Tree, number: usize, out: &mut Vec<u8>) {
    out.push(b' ');
    let value = value!(tree, number, Name::ContentDisposition);
    match value.as_deref().and_then(content::disposition) {
        Some((kind, parameters)) => {
            out.push(b'(');
            // RFC 2183 section 2.8: one that is not known is an attachment.
            print::string(out, kind.unwrap_or(b"attachment"));
            out.push(b' ');
            print_parameters(&parameters, false, out);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let value = value!(tree, number, Name::ContentLanguage);
    let languages = value.as_deref().map(content::tokens).unwrap_or_default();
    match languages.split_first() {
        Some((first, more)) => {
            out.push(b'(');
            print::string(out, first);
            for language in more {
                out.push(b' ');
                print::string(out, language);
            }
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let value = value!(tree, number, Name::ContentLocation);
    print::nstring(out, value.as_deref().filter(|value| !value.is_empty()));
}

/// Names and values, or NIL; with the charset that text without one has.
fn print_parameters(parameters: &[Parameter<'_>], charset: bool, out: &mut Vec<u8>) {
    if parameters.is_empty() && !charset {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (at, parameter) in parameters.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        print::string(out, &parameter.name);
        out.push(b' ');
        print::string(out, &parameter.value);
    }
    if charset {
        if !parameters.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(b"\"charset\" \"us-ascii\"");
    }
    out.push(b')');
}

/// One list of a printed structure that is being copied.
struct Level<'a> {
    values: printed::Values<'a>,
    /// Values copied so far.
    copied: usize,
    /// How many there are to copy: what follows is extension data.
    wanted: usize,
    is_multipart: bool,
}

/// Prints BODY: a structure as [`print()`] made it, without its extension data. Of a damaged one what can be copied.
pub fn print_body(structure: &[u8], out: &mut Vec<u8>) {
    let mut levels = vec![level(structure)];
    out.push(b'(');
    while let Some(last) = levels.last_mut() {
        let value = if last.copied < last.wanted { last.values.next() } else { None };
        let Some(value) = value else {
            out.push(b')');
            levels.pop();
            continue;
        };
        let is_part = if last.is_multipart { value.starts_with(b"(") } else { last.copied == 8 };
        // The subtype is the last of a multipart that counts.
        if last.is_multipart && !is_part {
            last.wanted = 0;
        }
        if last.copied > 0 && !(last.is_multipart && is_part) {
            out.push(b' ');
        }
        last.copied += 1;
        if is_part && value.starts_with(b"(") && levels.len() < LEVELS_MAX {
            out.push(b'(');
            levels.push(level(value));
        } else {
            out.extend_from_slice(value);
        }
    }
}

fn level(text: &[u8]) -> Level<'_> {
    let values = printed::list(text);
    let mut ahead = values.clone();
    let (kind, subtype) = (ahead.next().unwrap_or_default(), ahead.next().unwrap_or_default());
    let is_multipart = kind.starts_with(b"(");
    let wanted = match () {
        () if is_multipart => usize::MAX,
        () if kind.eq_ignore_ascii_case(b"\"text\"") => 8,
        () if kind.eq_ignore_ascii_case(b"\"message\"") && subtype.eq_ignore_ascii_case(b"\"rfc822\"") => 10,
        () => 7,
    };
    Level { values, copied: 0, wanted, is_multipart }
}
