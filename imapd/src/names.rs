//! From the names that a client uses to mailboxes of the store, and from the store's refusals to completions.

use crate::context::Context;
use crate::grammar::MailboxName;
use crate::reply::{Failure, Reply};
use common::hierarchy::{Hierarchy, HierarchyError, Name, NameError};
use common::io::Ending;
use common::maildir::{ErrorKind, Maildir};

impl Context<'_> {
    /// Closes the selected mailbox if it is the one that this session has just deleted or renamed, or below that. Sessions
    /// of others are disconnected at their next look; this one knows what it does.
    pub fn close_if_selected(&mut self, name: &Name, or_below: bool) -> Result<(), Ending> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let Ok(open) = self.hierarchy.name(selected.name.as_bytes()) else { return Ok(()) };
        if open == *name || or_below && open.below(name).is_some() {
            self.selected = None;
            self.conn.push_line("* OK [CLOSED] The mailbox is closed.")?;
        }
        Ok(())
    }
}

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
        HierarchyError::UseRefused => Reply::no("No mailbox can be made for that.").with_code("USEATTR"),
        HierarchyError::Storage(error) => return Failure::Storage(error),
    };
    Failure::Refused(reply)
}
