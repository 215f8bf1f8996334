//! What FETCH asks for (RFC 3501 section 6.4.5, RFC 7162 section 3.1.4).

use super::SequenceSet;

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
