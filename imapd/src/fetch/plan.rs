//! What a FETCH asks for, made ready for many messages.

use super::section;
use crate::grammar::{BodySection, FetchArguments, FetchItem, Section, SectionText};

/// The items of one FETCH.
pub(super) struct Plan<'a> {
    /// What is said in the response's first part, in the client's order.
    pub items: Vec<Item>,
    /// Pieces of the text, in the client's order.
    pub sections: Vec<Piece<'a>>,
    /// FLAGS is among the items.
    pub flags: bool,
    /// MODSEQ is.
    pub modseq: bool,
    /// ENVELOPE, BODY or BODYSTRUCTURE is.
    pub digest: bool,
    /// RFC822.SIZE is.
    pub size: bool,
    /// INTERNALDATE is.
    pub internal_date: bool,
    /// A section needs the message's parts.
    pub tree: bool,
    /// A section needs the message's size.
    pub octets: bool,
    /// `\Seen` is set by it.
    pub sets_seen: bool,
    /// Only messages that have changed since.
    pub changed_since: Option<u64>,
}

/// An item that is no piece of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(super) enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    ModSeq,
    Envelope,
    Body,
    BodyStructure,
}

/// A piece of the text.
pub(super) struct Piece<'a> {
    /// What the response calls it, with a blank behind.
    pub label: Vec<u8>,
    /// What it is.
    pub item: std::borrow::Cow<'a, BodySection>,
}

impl<'a> Plan<'a> {
    pub fn new(arguments: &'a FetchArguments, uid: bool) -> Plan<'a> {
        let mut items = Vec::new();
        let mut sections = Vec::new();
        let mut sets_seen = false;
        // RFC 3501 section 6.4.8: UID FETCH says UIDs.
        if uid {
            items.push(Item::Uid);
        }
        for item in &arguments.items {
            let mut add = |item| {
                if !items.contains(&item) {
                    items.push(item);
                }
            };
            let mut old = |label: &str, text, peek| {
                let section = Section { part: Vec::new(), text };
                let item = std::borrow::Cow::Owned(BodySection { peek, section, partial: None });
                sections.push(Piece { label: label.into(), item });
                sets_seen |= !peek;
            };
            match item {
                FetchItem::Uid => add(Item::Uid),
                FetchItem::Flags => add(Item::Flags),
                FetchItem::InternalDate => add(Item::InternalDate),
                FetchItem::Size => add(Item::Size),
                FetchItem::ModSeq => add(Item::ModSeq),
                FetchItem::Envelope => add(Item::Envelope),
                FetchItem::Body => add(Item::Body),
                FetchItem::BodyStructure => add(Item::BodyStructure),
                FetchItem::Rfc822 => old("RFC822 ", SectionText::Whole, false),
                FetchItem::Rfc822Header => old("RFC822.HEADER ", SectionText::Header, true),
                FetchItem::Rfc822Text => old("RFC822.TEXT ", SectionText::Text, false),
                FetchItem::BodySection(item) => {
                    let mut label = Vec::new();
                    section::label(item, &mut label);
                    label.push(b' ');
                    sections.push(Piece { label, item: std::borrow::Cow::Borrowed(item) });
                    sets_seen |= !item.peek;
                }
            }
        }
        // RFC 7162 section 3.1.4.1.
        if arguments.changed_since.is_some() && !items.contains(&Item::ModSeq) {
            items.push(Item::ModSeq);
        }
        let has = |wanted: &[Item]| items.iter().any(|item| wanted.contains(item));
        Plan {
            flags: has(&[Item::Flags]),
            modseq: has(&[Item::ModSeq]),
            digest: has(&[Item::Envelope, Item::Body, Item::BodyStructure]),
            size: has(&[Item::Size]),
            internal_date: has(&[Item::InternalDate]),
            tree: sections.iter().any(|piece| section::needs_tree(&piece.item.section)),
            octets: sections.iter().any(|piece| section::needs_octets(&piece.item.section)),
            sets_seen,
            changed_since: arguments.changed_since,
            items,
            sections,
        }
    }

    /// Whether there is a partial fetch among the sections: the same message will be asked for again.
    pub fn is_partial(&self) -> bool {
        self.sections.iter().any(|piece| piece.item.partial.is_some())
    }
}
