//! The grammar of IMAP: what a client can say (RFC 3501 section 9 and what grew on it), as types.
//!
//! The octets are a stranger's, before the login and after it. What comes out of here is bounded: a command and its
//! literals have one budget of octets, nesting and counts have limits of their own. Nothing here knows a mailbox.

mod command;
mod cursor;
mod date;
mod fetch;
mod flags;
mod list;
pub mod print;
pub mod receive;
mod search;
mod sequence;
mod store;
#[cfg(test)]
mod testing;

pub use command::{BadCommand, LiteralHeader};
pub use common::hierarchy::SpecialUse;
pub use cursor::{SyntaxError, is_astring_char, is_atom_char};
pub use date::{Date, MONTHS};
pub use fetch::{BodySection, FetchArguments, FetchItem, PART_DEPTH_MAX, Partial, Section, SectionText};
pub use flags::{FlagList, SYSTEM_FLAGS, bits};
pub use list::{ListArguments, ListReturn, ListSelection, StatusItem, StatusItems};
pub use search::{
    DEPTH_MAX, KEYS_MAX, SearchArguments, SearchKey, SearchReturn, SortArguments, SortCriterion, SortKey,
    ThreadAlgorithm, ThreadArguments,
};
pub use sequence::{SequenceRange, SequenceSet};
pub use store::{StoreArguments, StoreHow};

use common::secret::Secret;

/// A tag: printable octets that need no quoting, at most [`TAG_MAX`] of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub(crate) Box<[u8]>);

/// Octets of the longest tag accepted. Clients use fewer than twenty.
pub const TAG_MAX: usize = 100;

impl Tag {
    /// Its octets: nothing in them ends a line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A mailbox name as the client sent it (modified UTF-7 is kept), with `INBOX` in capitals when it is that in any case
/// (RFC 3501 section 5.1). It may hold any octet but NUL: whoever looks for it decides whether it can exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<[u8]>);

impl MailboxName {
    /// The name with these octets.
    pub fn new(octets: &[u8]) -> MailboxName {
        let inbox = octets.eq_ignore_ascii_case(b"INBOX");
        MailboxName(if inbox { b"INBOX".as_slice().into() } else { octets.into() })
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the INBOX.
    pub fn is_inbox(&self) -> bool {
        *self.0 == *b"INBOX"
    }
}

/// One command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// RFC 3501 6.1.1.
    Capability,
    /// RFC 3501 6.1.2.
    Noop,
    /// RFC 3501 6.1.3.
    Logout,
    /// RFC 2971: what the client says of itself.
    Id(Vec<IdField>),
    /// RFC 3501 6.2.1.
    StartTls,
    /// RFC 3501 6.2.2, with the initial response of RFC 4959 as it was sent (base64, or `=`).
    #[allow(missing_docs)]
    Authenticate { mechanism: Vec<u8>, initial: Option<Secret> },
    /// RFC 3501 6.2.3.
    #[allow(missing_docs)]
    Login { user: Vec<u8>, password: Secret },
    /// RFC 5161: names of capabilities, in capitals.
    Enable(Vec<Box<[u8]>>),
    /// RFC 3501 6.3.1, or with `read_only` EXAMINE, 6.3.2; `condstore` is the parameter of RFC 7162 3.1.8.
    #[allow(missing_docs)]
    Select { mailbox: MailboxName, read_only: bool, condstore: bool },
    /// RFC 3501 6.3.3, with the special uses of RFC 6154 section 3.
    #[allow(missing_docs)]
    Create { mailbox: MailboxName, special_use: Vec<SpecialUse> },
    /// RFC 3501 6.3.4.
    Delete(MailboxName),
    /// RFC 3501 6.3.5.
    #[allow(missing_docs)]
    Rename { from: MailboxName, to: MailboxName },
    /// RFC 3501 6.3.6.
    Subscribe(MailboxName),
    /// RFC 3501 6.3.7.
    Unsubscribe(MailboxName),
    /// RFC 3501 6.3.8, RFC 5258, RFC 5819, RFC 6154.
    List(ListArguments),
    /// RFC 3501 6.3.9.
    #[allow(missing_docs)]
    Lsub { reference: Vec<u8>, pattern: Vec<u8> },
    /// RFC 2342.
    Namespace,
    /// RFC 3501 6.3.10, RFC 7162, RFC 7889, RFC 8438.
    #[allow(missing_docs)]
    Status { mailbox: MailboxName, items: StatusItems },
    /// RFC 3501 6.3.11 up to the first message, whose octets have not been read.
    #[allow(missing_docs)]
    Append { mailbox: MailboxName, message: AppendMessage },
    /// RFC 2177.
    Idle,
    /// RFC 3501 6.4.1.
    Check,
    /// RFC 3501 6.4.2.
    Close,
    /// RFC 3691.
    Unselect,
    /// RFC 3501 6.4.3, or with a set of UIDs RFC 4315 2.1.
    Expunge(Option<SequenceSet>),
    /// RFC 3501 6.4.4, RFC 4731, RFC 5032, RFC 7162.
    #[allow(missing_docs)]
    Search { uid: bool, arguments: SearchArguments },
    /// RFC 5256 SORT, RFC 5957.
    #[allow(missing_docs)]
    Sort { uid: bool, arguments: SortArguments },
    /// RFC 5256 THREAD.
    #[allow(missing_docs)]
    Thread { uid: bool, arguments: ThreadArguments },
    /// RFC 3501 6.4.5, RFC 7162.
    #[allow(missing_docs)]
    Fetch { uid: bool, arguments: FetchArguments },
    /// RFC 3501 6.4.6, RFC 7162.
    #[allow(missing_docs)]
    Store { uid: bool, arguments: StoreArguments },
    /// RFC 3501 6.4.7, or with `and_remove` MOVE, RFC 6851.
    #[allow(missing_docs)]
    Copy { uid: bool, messages: SequenceSet, mailbox: MailboxName, and_remove: bool },
}

/// A field of ID and its value; `None` is NIL.
pub type IdField = (Vec<u8>, Option<Vec<u8>>);

/// What stands before a message of APPEND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// Its flags.
    pub flags: FlagList,
    /// Its internal date, seconds since 1970 UTC.
    pub internal_date: Option<i64>,
    /// Octets of the literal.
    pub octets: u64,
    /// Whether the client waits for us before it sends them (RFC 3501 section 4.3).
    pub waits: bool,
}
