//! Which octets of a message a section means (RFC 3501 section 6.4.5), and its name in the response.

use super::source::Source;
use crate::grammar::{BodySection, Section, SectionText, print};
use common::mime::position::{Counter, Position};
use common::mime::tree::{Kind, Tree};
use std::io;

/// What a section is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such part: NIL.
    Nothing,
    /// Octets of the file, from and to, and how many they are as they are sent.
    Text(Extent),
    /// Fields of the header that is there, and how many octets they are as they are sent.
    #[allow(missing_docs)]
    Fields { header: Extent, octets: u64 },
}

/// A piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first octet.
    pub from: u64,
    /// Behind its last octet.
    pub to: u64,
    /// Octets as they are sent.
    pub octets: u64,
}

impl Extent {
    fn between(from: Position, to: Position) -> Extent {
        Extent { from: from.offset, to: to.offset, octets: to.octets.saturating_sub(from.octets) }
    }
}

/// Whether the message's parts have to be known to find the section.
pub fn needs_tree(section: &Section) -> bool {
    !section.part.is_empty()
}

/// Whether the message's size has to be known to find the section.
pub fn needs_octets(section: &Section) -> bool {
    section.part.is_empty() && matches!(section.text, SectionText::Whole | SectionText::Text)
}

/// Whether it is the whole message.
pub fn is_whole(section: &Section) -> bool {
    section.part.is_empty() && matches!(section.text, SectionText::Whole)
}

/// Finds a section. `octets` is the size of the whole message as it is sent, where [that](needs_octets) is needed; the tree is
/// the message's, where [that](needs_tree) is.
pub fn find(source: &mut Source<'_>, tree: &Tree, octets: u64, section: &Section) -> io::Result<Found> {
    let whole = Position { offset: source.length(), octets, lines: 0 };
    if needs_tree(section) {
        return of_part(source, tree, section);
    }
    let start = Position::default();
    Ok(match &section.text {
        SectionText::Whole => Found::Text(Extent::between(start, whole)),
        SectionText::Header | SectionText::Mime => Found::Text(Extent::between(start, source.header_end()?)),
        SectionText::Text => Found::Text(Extent::between(source.header_end()?, whole)),
        SectionText::HeaderFields { not, names } => {
            let header = Extent::between(start, source.header_end()?);
            fields(source, header, names, *not)?
        }
    })
}

fn fields(source: &mut Source<'_>, header: Extent, names: &[Box<[u8]>], not: bool) -> io::Result<Found> {
    let mut counter = Counter::default();
    source.fields(header.from..header.to, names, not, &mut |line| {
        counter.advance(line);
        Ok::<(), io::Error>(())
    })?;
    Ok(Found::Fields { header, octets: counter.position.octets })
}

fn of_part(source: &mut Source<'_>, tree: &Tree, section: &Section) -> io::Result<Found> {
    let Some(number) = part(tree, &section.part) else { return Ok(Found::Nothing) };
    let Some(part) = tree.parts().get(number) else { return Ok(Found::Nothing) };
    // Only a message has a header and a text of its own.
    let message = match part.kind {
        Kind::Message => tree.parts().get(number + 1),
        _ => None,
    };
    Ok(match (&section.text, message) {
        (SectionText::Whole, _) => Found::Text(Extent::between(part.body, part.end)),
        (SectionText::Mime, _) => Found::Text(Extent::between(part.header, part.body)),
        (SectionText::Header, Some(message)) => Found::Text(Extent::between(message.header, message.body)),
        (SectionText::Text, Some(message)) => Found::Text(Extent::between(message.body, message.end)),
        (SectionText::HeaderFields { not, names }, Some(message)) => {
            fields(source, Extent::between(message.header, message.body), names, *not)?
        }
        (_, None) => Found::Nothing,
    })
}

/// The part with this number. Part 1 of a message that is no multipart is its body.
pub fn part(tree: &Tree, path: &[u32]) -> Option<usize> {
    let nth = |of: usize, number: u32| tree.children(of).nth(usize::try_from(number.checked_sub(1)?).ok()?);
    let of_message = |root: usize, number: u32| match tree.parts().get(root)?.kind {
        Kind::Multipart => nth(root, number),
        _ => (number == 1).then_some(root),
    };
    let (first, rest) = path.split_first()?;
    let mut at = of_message(0, *first)?;
    for &number in rest {
        at = match tree.parts().get(at)?.kind {
            Kind::Multipart => nth(at, number)?,
            Kind::Message => of_message(at + 1, number)?,
            Kind::Leaf => return None,
        };
    }
    Some(at)
}

/// Prints `BODY[...]<origin>`.
pub fn label(item: &BodySection, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BODY[");
    for (at, number) in item.section.part.iter().enumerate() {
        print::text(out, format_args!("{}{number}", if at > 0 { "." } else { "" }));
    }
    let text: &[u8] = match &item.section.text {
        SectionText::Whole => b"",
        SectionText::Header => b"HEADER",
        SectionText::HeaderFields { not: false, .. } => b"HEADER.FIELDS (",
        SectionText::HeaderFields { not: true, .. } => b"HEADER.FIELDS.NOT (",
        SectionText::Text => b"TEXT",
        SectionText::Mime => b"MIME",
    };
    if !text.is_empty() && !item.section.part.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(text);
    if let SectionText::HeaderFields { names, .. } = &item.section.text {
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            print::astring(out, name);
        }
        out.push(b')');
    }
    out.push(b']');
    if let Some(partial) = item.partial {
        print::text(out, format_args!("<{}>", partial.origin));
    }
}

/// Which octets of so many are sent: where they begin, and how many (RFC 3501 section 6.4.5: what is beyond the end is not there).
pub fn clamp(item: &BodySection, octets: u64) -> (u64, u64) {
    match item.partial {
        None => (0, octets),
        Some(partial) => {
            let origin = partial.origin.min(octets);
            (origin, partial.octets.min(octets - origin))
        }
    }
}
