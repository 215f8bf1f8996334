//! What LIST and STATUS ask for (RFC 3501, RFC 5258, RFC 5819, RFC 6154).

use super::cursor::{Cursor, Parsed, bad, is_list_char};

/// Patterns in one LIST at most.
const PATTERNS_MAX: usize = 100;

/// The arguments of LIST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListArguments {
    /// Which mailboxes.
    pub selection: ListSelection,
    /// The reference name.
    pub reference: Vec<u8>,
    /// The patterns, at least one.
    pub patterns: Vec<Vec<u8>>,
    /// What to say of them.
    pub returns: ListReturn,
    /// Whether anything of RFC 5258's syntax was used: only then `(LIST "" "")` is no question for the delimiter.
    pub extended: bool,
}

/// Selection options (RFC 5258 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListSelection {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `REMOTE`: there are none, so it changes nothing.
    pub remote: bool,
    /// `RECURSIVEMATCH`; never the only one but for `REMOTE`.
    pub recursive_match: bool,
    /// `SPECIAL-USE` (RFC 6154 section 2).
    pub special_use: bool,
}

/// Return options (RFC 5258 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (...)` (RFC 5819); empty: not asked for.
    pub status: StatusItems,
}

/// One figure of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT`
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `HIGHESTMODSEQ` (RFC 7162 section 3.1.7)
    HighestModSeq,
    /// `SIZE` (RFC 8438)
    Size,
    /// `DELETED` (RFC 9051 section 6.3.11)
    Deleted,
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
}

impl StatusItem {
    /// All of them with their names.
    pub const ALL: [(StatusItem, &'static str); 9] = [
        (StatusItem::Messages, "MESSAGES"),
        (StatusItem::Recent, "RECENT"),
        (StatusItem::UidNext, "UIDNEXT"),
        (StatusItem::UidValidity, "UIDVALIDITY"),
        (StatusItem::Unseen, "UNSEEN"),
        (StatusItem::HighestModSeq, "HIGHESTMODSEQ"),
        (StatusItem::Size, "SIZE"),
        (StatusItem::Deleted, "DELETED"),
        (StatusItem::AppendLimit, "APPENDLIMIT"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// A set of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusItems(u16);

impl StatusItems {
    /// Adds one.
    pub fn insert(&mut self, item: StatusItem) {
        self.0 |= 1 << item as u16;
    }

    /// Whether it is among them.
    pub fn contains(self, item: StatusItem) -> bool {
        self.0 & (1 << item as u16) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in it, in the order of [`StatusItem::ALL`].
    pub fn iter(self) -> impl Iterator<Item = StatusItem> {
        StatusItem::ALL.into_iter().map(|(item, _)| item).filter(move |item| self.contains(*item))
    }
}

impl StatusItems {
    /// `"(" item *(SP item) ")"`
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<StatusItems> {
        let mut items = StatusItems::default();
        cursor.open()?;
        loop {
            let word = cursor.word();
            match StatusItem::ALL.iter().find(|(_, name)| word.is(name.as_bytes())) {
                Some((item, _)) => items.insert(*item),
                None => return bad("Unknown status item."),
            }
            if cursor.closes()? {
                return Ok(items);
            }
        }
    }
}

impl ListArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<ListArguments> {
        let mut list = ListArguments::default();
        if cursor.peek() == Some(b'(') {
            list.extended = true;
            list.selection = ListSelection::parse(cursor)?;
            cursor.space()?;
        }
        list.reference = cursor.string_or(is_list_char)?;
        cursor.space()?;
        if cursor.peek() == Some(b'(') {
            list.extended = true;
            cursor.open()?;
            loop {
                if list.patterns.len() >= PATTERNS_MAX {
                    return bad("Too many patterns.");
                }
                list.patterns.push(cursor.string_or(is_list_char)?);
                if cursor.closes()? {
                    break;
                }
            }
        } else {
            list.patterns.push(cursor.string_or(is_list_char)?);
        }
        if !cursor.is_at_end() {
            list.extended = true;
            cursor.space()?;
            if !cursor.eat_word(b"RETURN") {
                return bad("Too many arguments.");
            }
            cursor.space()?;
            list.returns = ListReturn::parse(cursor)?;
        }
        Ok(list)
    }
}

impl ListSelection {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<ListSelection> {
        let mut selection = ListSelection::default();
        cursor.open()?;
        let mut closed = cursor.eat(b')');
        while !closed {
            match cursor.word().as_bytes() {
                b"SUBSCRIBED" => selection.subscribed = true,
                b"REMOTE" => selection.remote = true,
                b"RECURSIVEMATCH" => selection.recursive_match = true,
                b"SPECIAL-USE" => selection.special_use = true,
                _ => return bad("Unknown selection option."),
            }
            closed = cursor.closes()?;
        }
        // RFC 5258 section 3.1: it needs a base option, which REMOTE is not.
        if selection.recursive_match && !(selection.subscribed || selection.special_use) {
            return bad("RECURSIVEMATCH needs another selection option.");
        }
        Ok(selection)
    }
}

impl ListReturn {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
        let mut returns = ListReturn::default();
        cursor.open()?;
        let mut closed = cursor.eat(b')');
        while !closed {
            match cursor.word().as_bytes() {
                b"SUBSCRIBED" => returns.subscribed = true,
                b"CHILDREN" => returns.children = true,
                b"SPECIAL-USE" => returns.special_use = true,
                b"STATUS" => {
                    cursor.space()?;
                    returns.status = StatusItems::parse(cursor)?;
                }
                _ => return bad("Unknown return option."),
            }
            closed = cursor.closes()?;
        }
        Ok(returns)
    }
}
