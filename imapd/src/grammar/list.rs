//! What LIST and STATUS ask for (RFC 3501, RFC 5258, RFC 5819, RFC 6154).

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

/// A use that a mailbox is for (RFC 6154 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// All of them with their names.
    pub const ALL: [(SpecialUse, &'static str); 7] = [
        (SpecialUse::All, "\\All"),
        (SpecialUse::Archive, "\\Archive"),
        (SpecialUse::Drafts, "\\Drafts"),
        (SpecialUse::Flagged, "\\Flagged"),
        (SpecialUse::Junk, "\\Junk"),
        (SpecialUse::Sent, "\\Sent"),
        (SpecialUse::Trash, "\\Trash"),
    ];

    /// Its name, with the backslash.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
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
