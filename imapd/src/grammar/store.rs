//! What STORE changes (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3).

use super::cursor::{Cursor, Parsed, bad};
use super::{FlagList, SequenceSet};

/// The arguments of STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreArguments {
    /// Which messages.
    pub messages: SequenceSet,
    /// Leave those alone that have changed since this modification sequence.
    pub unchanged_since: Option<u64>,
    /// What is done with the flags.
    pub how: StoreHow,
    /// `.SILENT`: do not tell the new flags.
    pub silent: bool,
    /// The flags.
    pub flags: FlagList,
}

/// What STORE does with the flags it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreHow {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

impl StoreArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<StoreArguments> {
        let messages = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let mut unchanged_since = None;
        if cursor.peek() == Some(b'(') {
            cursor.open()?;
            if !cursor.eat_word(b"UNCHANGEDSINCE") {
                return bad("Unknown modifier.");
            }
            cursor.space()?;
            unchanged_since = Some(cursor.number()?);
            if !cursor.closes()? {
                return bad("Unknown modifier.");
            }
            cursor.space()?;
        }
        let how = if cursor.eat(b'+') {
            StoreHow::Add
        } else if cursor.eat(b'-') {
            StoreHow::Remove
        } else {
            StoreHow::Replace
        };
        let silent = match cursor.word().as_bytes() {
            b"FLAGS" => false,
            b"FLAGS.SILENT" => true,
            _ => return bad("Only flags can be stored."),
        };
        cursor.space()?;
        let flags = FlagList::parse(cursor)?;
        Ok(StoreArguments { messages, unchanged_since, how, silent, flags })
    }
}
