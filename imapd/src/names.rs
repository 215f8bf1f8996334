//! From the names that a client uses to mailboxes of the store, and from the store's refusals to completions.

use crate::grammar::MailboxName;
use crate::reply::{Failure, Reply};
use common::hierarchy::{Hierarchy, HierarchyError, Name, NameError};
use common::maildir::{ErrorKind, Maildir};

/// The directories of a mailbox.
pub fn open_name(hierarchy: &Hierarchy, name: &Name) -> Result<Maildir, HierarchyError> {
    hierarchy.open(name).map_err(|error| match error.kind {
        ErrorKind::NotFound if !name.is_inbox() => HierarchyError::NotFound,
        _ => HierarchyError::Storage(error),
    })
}

/// The name of a mailbox that should be there. A name that none can have is one of none.
pub fn existing(hierarchy: &Hierarchy, mailbox: &MailboxName) -> Result<Name, HierarchyError> {
    hierarchy.name(mailbox.as_bytes()).map_err(|error| match error {
        NameError::Outside => HierarchyError::NotFound,
        error => HierarchyError::Name(error),
    })
}

/// What the client is told (RFC 5530 section 3, RFC 6154 section 3).
pub fn refusal(error: HierarchyError) -> Failure {
    let reply = match error {
        HierarchyError::Name(NameError::Invalid(why)) => Reply::no(why).with_code("CANNOT"),
        HierarchyError::Name(NameError::Outside) => {
            Reply::no("Names begin with what NAMESPACE says.").with_code("CANNOT")
        }
        HierarchyError::Exists => Reply::no("There is such a mailbox already.").with_code("ALREADYEXISTS"),
        HierarchyError::NotFound => Reply::no("There is no such mailbox.").with_code("NONEXISTENT"),
        HierarchyError::UseTaken => Reply::no("Another mailbox is for that.").with_code("USEATTR"),
        HierarchyError::Storage(error) => return Failure::Storage(error),
    };
    Failure::Refused(reply)
}
