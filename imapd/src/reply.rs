//! How a command ends: the tagged completion (RFC 3501 section 7.1), and what keeps it from one.

use common::io::Ending;
use common::maildir::{ErrorKind, StorageError};
use std::borrow::Cow;

/// The three kinds of tagged completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Done.
    Ok,
    /// Understood, not done.
    No,
    /// Not understood, or out of place.
    Bad,
}

/// A tagged completion without its tag. Texts hold no line ends and never what a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which kind.
    pub condition: Condition,
    /// The response code without its brackets; empty: none.
    pub code: Cow<'static, str>,
    /// For people.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// `OK text`
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { condition: Condition::Ok, code: Cow::Borrowed(""), text: text.into() }
    }

    /// `NO text`
    pub fn no(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { condition: Condition::No, code: Cow::Borrowed(""), text: text.into() }
    }

    /// `BAD text`
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { condition: Condition::Bad, code: Cow::Borrowed(""), text: text.into() }
    }

    /// The same with a response code (`TRYCREATE`, `APPENDUID 1 2`).
    #[must_use]
    pub fn with_code(self, code: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code: code.into(), ..self }
    }
}

/// Why a command has no completion of its own.
#[derive(Debug)]
pub enum Failure {
    /// The store failed: logged, and answered with [`storage`].
    Storage(StorageError),
    /// The conversation is over.
    Ending(Ending),
    /// The command is refused: a completion after all, for `?`.
    Refused(Reply),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure::Storage(error)
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Failure {
        Failure::Ending(ending)
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Refused(reply)
    }
}

/// What a command ends with.
pub type Completion = Result<Reply, Failure>;

/// What the client is told when the store failed.
pub fn storage(error: &StorageError) -> Reply {
    of_kind(error.kind)
}

/// What it is told when something could not be done with some of the messages, and was done with the others.
pub fn partly(text: &'static str, kind: ErrorKind) -> Reply {
    Reply { text: text.into(), ..of_kind(kind) }
}

/// NO to a command with message sequence numbers, since messages that it names are gone and the client has not heard of it yet
/// (RFC 2180 section 4, RFC 5530 section 3).
pub fn gone() -> Reply {
    Reply::no("Some of the messages are no longer there.").with_code("EXPUNGEISSUED")
}

/// RFC 5530 section 3.
fn of_kind(kind: ErrorKind) -> Reply {
    match kind {
        ErrorKind::NotFound => Reply::no("There is no such mailbox or message now.").with_code("NONEXISTENT"),
        ErrorKind::NoPerm => Reply::no("Permission denied.").with_code("NOPERM"),
        ErrorKind::Full => Reply::no("There is no room for that.").with_code("OVERQUOTA"),
        ErrorKind::ReadOnly => {
            Reply::no("The disk is read-only now; nothing can be changed.").with_code("UNAVAILABLE")
        }
        ErrorKind::InUse => Reply::no("The mailbox is in use; try again later.").with_code("INUSE"),
        ErrorKind::Temp => Reply::no("Out of order; try again later.").with_code("UNAVAILABLE"),
        ErrorKind::Corrupt => {
            Reply::no("A file of the mailbox is damaged; the log says which.").with_code("CORRUPTION")
        }
    }
}
