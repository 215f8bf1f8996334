//! Lists of flags (RFC 3501 section 2.3.2).

use super::cursor::{Cursor, Parsed, bad, is_atom_char};

/// The system flags as bits.
pub mod bits {
    /// `\Seen`
    pub const SEEN: u8 = crate::mailbox::Flags::SEEN;
    /// `\Answered`
    pub const ANSWERED: u8 = crate::mailbox::Flags::ANSWERED;
    /// `\Flagged`
    pub const FLAGGED: u8 = crate::mailbox::Flags::FLAGGED;
    /// `\Deleted`
    pub const DELETED: u8 = crate::mailbox::Flags::DELETED;
    /// `\Draft`
    pub const DRAFT: u8 = crate::mailbox::Flags::DRAFT;
    /// `\Recent`: none that the store keeps with a message, it belongs to a session.
    pub const RECENT: u8 = 1 << 7;
}

/// Flags that a client gives to messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagList {
    /// System flags, of [`bits`]; `\Recent` is never among them, since a client cannot set it.
    pub bits: u8,
    /// Keywords, each once (they have no case), as they were first written.
    pub keywords: Vec<Box<str>>,
}

/// The system flags with their names.
pub const SYSTEM_FLAGS: [(u8, &str); 6] = [
    (bits::ANSWERED, "\\Answered"),
    (bits::FLAGGED, "\\Flagged"),
    (bits::DELETED, "\\Deleted"),
    (bits::SEEN, "\\Seen"),
    (bits::DRAFT, "\\Draft"),
    (bits::RECENT, "\\Recent"),
];

/// Keywords in one list at most: a mailbox has 26.
const KEYWORDS_MAX: usize = 100;

impl FlagList {
    /// `"(" [flag *(SP flag)] ")"`
    pub(super) fn parse_list(cursor: &mut Cursor<'_>) -> Parsed<FlagList> {
        Self::list(cursor, true)
    }

    fn list(cursor: &mut Cursor<'_>, is_new: bool) -> Parsed<FlagList> {
        let mut flags = FlagList::default();
        cursor.open()?;
        let mut closed = cursor.eat(b')');
        while !closed {
            flags.flag(cursor, is_new)?;
            closed = cursor.closes()?;
        }
        Ok(flags)
    }

    /// A list, or the flags without parentheses up to the end, as STORE takes them.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<FlagList> {
        if cursor.peek() == Some(b'(') {
            return Self::list(cursor, false);
        }
        let mut flags = FlagList::default();
        loop {
            flags.flag(cursor, false)?;
            if cursor.is_at_end() {
                return Ok(flags);
            }
            cursor.space()?;
        }
    }

    /// `is_new`: of a message that is added.
    fn flag(&mut self, cursor: &mut Cursor<'_>, is_new: bool) -> Parsed<()> {
        let system = cursor.eat(b'\\');
        let name = cursor.run(is_atom_char);
        if system {
            let known = |(_, known): &&(u8, &str)| {
                known.as_bytes().get(1..).is_some_and(|k| k.eq_ignore_ascii_case(name))
            };
            return match SYSTEM_FLAGS.iter().find(known) {
                // Clients copy it from FETCH to APPEND; there is nothing to be set.
                Some((bits::RECENT, _)) if is_new => Ok(()),
                // RFC 3501 section 2.3.2: FLAGS (\Recent) would take all others away.
                Some((bits::RECENT, _)) => bad("\\Recent cannot be changed."),
                Some((bit, _)) => {
                    self.bits |= bit;
                    Ok(())
                }
                None => bad("Unknown system flag."),
            };
        }
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()) else {
            return bad("A flag is missing.");
        };
        if !self.keywords.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            if self.keywords.len() >= KEYWORDS_MAX {
                return bad("Too many keywords.");
            }
            self.keywords.push(name.into());
        }
        Ok(())
    }
}
