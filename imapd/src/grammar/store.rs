//! What STORE changes (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3).

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
