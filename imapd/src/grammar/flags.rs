//! Lists of flags (RFC 3501 section 2.3.2).

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
    /// `\Recent`
    pub const RECENT: u8 = crate::mailbox::Flags::RECENT;
}

/// Flags that a client gives to messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagList {
    /// System flags, of [`bits`]; `\Recent` is never among them, since a client cannot set it.
    pub bits: u8,
    /// Keywords, each once (they have no case), as they were first written.
    pub keywords: Vec<Box<str>>,
}
