//! What SEARCH, SORT and THREAD look for (RFC 3501 section 6.4.4, RFC 4731, RFC 5032, RFC 5256, RFC 5957, RFC 7162).

use super::{Date, SequenceSet};

/// Levels of nested keys at most (DESIGN.md section 8).
pub const DEPTH_MAX: usize = 100;
/// Keys in one command at most.
pub const KEYS_MAX: usize = 1000;

/// The arguments of SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchArguments {
    /// RFC 4731: what to answer with ESEARCH; `None`: the old answer. `RETURN ()` means ALL and is spelt so.
    pub returns: Option<SearchReturn>,
    /// The charset of the texts in the key, as it was sent; `None`: US-ASCII.
    pub charset: Option<Vec<u8>>,
    /// What is looked for.
    pub key: SearchKey,
}

/// Result options of RFC 4731.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchReturn {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
}

/// What is looked for. Texts are octets in the charset of the command, as they were sent; an empty one matches
/// everything that has the field. At most [`KEYS_MAX`] keys in all, nested at most [`DEPTH_MAX`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// `SEEN`, `UNSEEN`, ... `RECENT`, `OLD`: one of [`super::bits`] is set or not. (`NEW` is two of them.)
    #[allow(missing_docs)]
    Flag { bit: u8, set: bool },
    /// `KEYWORD`, `UNKEYWORD`. Keywords have no case.
    #[allow(missing_docs)]
    Keyword { name: Box<str>, set: bool },
    /// Message sequence numbers.
    Messages(SequenceSet),
    /// `UID`
    Uids(SequenceSet),
    /// `FROM`
    From(Vec<u8>),
    /// `TO`
    To(Vec<u8>),
    /// `CC`
    Cc(Vec<u8>),
    /// `BCC`
    Bcc(Vec<u8>),
    /// `SUBJECT`
    Subject(Vec<u8>),
    /// `HEADER name text`
    #[allow(missing_docs)]
    Header { name: Vec<u8>, text: Vec<u8> },
    /// `BODY`
    Body(Vec<u8>),
    /// `TEXT`
    Text(Vec<u8>),
    /// `LARGER`: more octets than this.
    Larger(u64),
    /// `SMALLER`: fewer octets than this.
    Smaller(u64),
    /// `BEFORE`: the internal date.
    Before(Date),
    /// `ON`
    On(Date),
    /// `SINCE`
    Since(Date),
    /// `SENTBEFORE`: the Date: header, in its own time zone.
    SentBefore(Date),
    /// `SENTON`
    SentOn(Date),
    /// `SENTSINCE`
    SentSince(Date),
    /// `OLDER`: the internal date is so many seconds ago or more (RFC 5032).
    Older(u32),
    /// `YOUNGER`: the internal date is so many seconds ago or less.
    Younger(u32),
    /// `MODSEQ`: this modification sequence or a greater one (RFC 7162 3.1.5); what entry it is of makes no difference here.
    ModSeq(u64),
    /// All of them; at least one.
    And(Vec<SearchKey>),
    /// `OR`: one of the two.
    Or(Box<(SearchKey, SearchKey)>),
    /// `NOT`
    Not(Box<SearchKey>),
}

/// The arguments of SORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortArguments {
    /// By what, the most important first; each kind at most once, since a second time it decides nothing.
    pub criteria: Vec<SortCriterion>,
    /// The charset of the texts in the key, as it was sent.
    pub charset: Vec<u8>,
    /// Which messages.
    pub key: SearchKey,
}

/// One criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// Largest first.
    pub reverse: bool,
    /// By what.
    pub key: SortKey,
}

/// What messages are sorted by (RFC 5256 section 3, RFC 5957).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// `ARRIVAL`: the internal date.
    Arrival,
    /// `CC`
    Cc,
    /// `DATE`: the Date: header.
    Date,
    /// `FROM`
    From,
    /// `SIZE`
    Size,
    /// `SUBJECT`: the base subject.
    Subject,
    /// `TO`
    To,
    /// `DISPLAYFROM`
    DisplayFrom,
    /// `DISPLAYTO`
    DisplayTo,
}

/// The arguments of THREAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadArguments {
    /// How.
    pub algorithm: ThreadAlgorithm,
    /// The charset of the texts in the key, as it was sent.
    pub charset: Vec<u8>,
    /// Which messages.
    pub key: SearchKey,
}

/// How messages are threaded (RFC 5256 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// `ORDEREDSUBJECT`
    OrderedSubject,
    /// `REFERENCES`
    References,
    /// `REFS`: references alone, threads by their latest message.
    Refs,
}
