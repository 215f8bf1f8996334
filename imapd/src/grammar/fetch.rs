//! What FETCH asks for (RFC 3501 section 6.4.5, RFC 7162 section 3.1.4).

use super::SequenceSet;
use super::cursor::{Cursor, Parsed, bad};

/// Different things in one FETCH at most.
const ITEMS_MAX: usize = 1000;

/// The arguments of FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchArguments {
    /// Which messages.
    pub messages: SequenceSet,
    /// What of them, in the client's order; the macros ALL, FAST and FULL are spelt out.
    pub items: Vec<FetchItem>,
    /// RFC 7162 3.1.4.1: only messages whose modification sequence is greater. 0 is accepted, as clients send it.
    pub changed_since: Option<u64>,
}

/// One thing to know of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `RFC822`: answered under this name, sets `\Seen`.
    Rfc822,
    /// `RFC822.HEADER`: answered under this name, does not set `\Seen`.
    Rfc822Header,
    /// `RFC822.TEXT`: answered under this name, sets `\Seen`.
    Rfc822Text,
    /// `BODY` without a section: the structure without its extensions.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `UID`
    Uid,
    /// `MODSEQ`
    ModSeq,
    /// `BODY[...]` and `BODY.PEEK[...]`. Outlook's `RFC822.PEEK` is one of these.
    BodySection(BodySection),
}

/// A part of the message's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySection {
    /// Whether `\Seen` stays as it is.
    pub peek: bool,
    /// Which part.
    pub section: Section,
    /// Which octets of it.
    pub partial: Option<Partial>,
}

/// `<origin.octets>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Octets to leave out.
    pub origin: u64,
    /// At most so many, at least 1.
    pub octets: u64,
}

/// What stands between the brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Part numbers, none of them 0; empty: the message itself. At most [`PART_DEPTH_MAX`] of them.
    pub part: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
}

/// Part numbers in one section at most: deeper parts are opaque (DESIGN.md section 8).
pub const PART_DEPTH_MAX: usize = 100;

/// What of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// All of it.
    Whole,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS`, or `HEADER.FIELDS.NOT`: names as they were sent, at least one.
    #[allow(missing_docs)]
    HeaderFields { not: bool, names: Vec<Box<[u8]>> },
    /// `TEXT`
    Text,
    /// `MIME`; only with part numbers.
    Mime,
}

impl FetchArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<FetchArguments> {
        let messages = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let mut items = Vec::new();
        if cursor.peek() == Some(b'(') {
            cursor.open()?;
            loop {
                let item = FetchItem::parse(cursor)?;
                add(&mut items, item)?;
                if cursor.closes()? {
                    break;
                }
            }
        } else if let Some(spelt_out) = spelt_out(cursor) {
            items.extend_from_slice(spelt_out);
        } else {
            items.push(FetchItem::parse(cursor)?);
        }
        let mut changed_since = None;
        if !cursor.is_at_end() {
            cursor.space()?;
            cursor.open()?;
            if !cursor.eat_word(b"CHANGEDSINCE") {
                return bad("Unknown modifier.");
            }
            cursor.space()?;
            changed_since = Some(cursor.number()?);
            if !cursor.closes()? {
                return bad("Unknown modifier.");
            }
        }
        Ok(FetchArguments { messages, items, changed_since })
    }
}

/// A macro.
fn spelt_out(cursor: &mut Cursor<'_>) -> Option<&'static [FetchItem]> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
    if cursor.eat_word(b"ALL") {
        Some(&[Flags, InternalDate, Size, Envelope])
    } else if cursor.eat_word(b"FAST") {
        Some(&[Flags, InternalDate, Size])
    } else if cursor.eat_word(b"FULL") {
        Some(&[Flags, InternalDate, Size, Envelope, Body])
    } else {
        None
    }
}

/// What is asked for twice is answered once.
fn add(items: &mut Vec<FetchItem>, item: FetchItem) -> Parsed<()> {
    if items.contains(&item) {
        return Ok(());
    }
    if items.len() >= ITEMS_MAX {
        return bad("FETCH asks for too much at once.");
    }
    items.push(item);
    Ok(())
}

impl FetchItem {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
        let whole = |text| {
            let section = Section { part: Vec::new(), text };
            FetchItem::BodySection(BodySection { peek: true, section, partial: None })
        };
        let word = cursor.word();
        Ok(match word.as_bytes() {
            b"ENVELOPE" => FetchItem::Envelope,
            b"FLAGS" => FetchItem::Flags,
            b"INTERNALDATE" => FetchItem::InternalDate,
            b"RFC822.SIZE" => FetchItem::Size,
            b"RFC822" => FetchItem::Rfc822,
            b"RFC822.HEADER" => FetchItem::Rfc822Header,
            b"RFC822.TEXT" => FetchItem::Rfc822Text,
            // IMAP2bis; Outlook still says it.
            b"RFC822.PEEK" => whole(SectionText::Whole),
            b"RFC822.TEXT.PEEK" => whole(SectionText::Text),
            b"BODYSTRUCTURE" => FetchItem::BodyStructure,
            b"UID" => FetchItem::Uid,
            b"MODSEQ" => FetchItem::ModSeq,
            b"BODY" | b"BODY.PEEK" if cursor.eat(b'[') => {
                let section = Section::parse(cursor)?;
                let partial = if cursor.eat(b'<') { Some(Partial::parse(cursor)?) } else { None };
                FetchItem::BodySection(BodySection { peek: word.is(b"BODY.PEEK"), section, partial })
            }
            b"BODY" => FetchItem::Body,
            b"" => return bad("A fetch item is missing."),
            _ => return bad("Unknown fetch item."),
        })
    }
}

impl Partial {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Partial> {
        let origin = cursor.number()?;
        if !cursor.eat(b'.') {
            return bad("A partial is <origin.octets>.");
        }
        let octets = cursor.number()?;
        match octets {
            0 => bad("0 is no number here."),
            _ if !cursor.eat(b'>') => bad("A partial is <origin.octets>."),
            _ => Ok(Partial { origin, octets }),
        }
    }
}

impl Section {
    /// What stands behind the bracket, and the bracket that closes it.
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Section> {
        let mut part = Vec::new();
        while cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
            if part.len() >= PART_DEPTH_MAX {
                return bad("A section has too many part numbers.");
            }
            part.push(cursor.positive()?);
            if cursor.peek() == Some(b']') {
                cursor.eat(b']');
                return Ok(Section { part, text: SectionText::Whole });
            }
            if !cursor.eat(b'.') {
                return bad("The section is none.");
            }
        }
        let text = match cursor.word().as_bytes() {
            // Behind part numbers there was a dot.
            b"" if part.is_empty() => SectionText::Whole,
            b"HEADER" => SectionText::Header,
            b"TEXT" => SectionText::Text,
            b"MIME" if !part.is_empty() => SectionText::Mime,
            b"HEADER.FIELDS" => SectionText::HeaderFields { not: false, names: names(cursor)? },
            b"HEADER.FIELDS.NOT" => SectionText::HeaderFields { not: true, names: names(cursor)? },
            _ => return bad("The section is none."),
        };
        match cursor.eat(b']') {
            true => Ok(Section { part, text }),
            false => bad("The section is none."),
        }
    }
}

/// Names of header fields at most in one section.
const NAMES_MAX: usize = 1000;

fn names(cursor: &mut Cursor<'_>) -> Parsed<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    cursor.space()?;
    cursor.open()?;
    loop {
        if names.len() >= NAMES_MAX {
            return bad("A section has too many names.");
        }
        names.push(cursor.astring()?.into());
        if cursor.closes()? {
            return Ok(names);
        }
    }
}
