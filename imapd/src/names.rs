//! From the names that a client uses to mailboxes of the store, and from the store's refusals to completions.

use crate::context::Context;
use crate::reply::{Failure, Reply};
use common::hierarchy::{HierarchyError, Located, NameError};
use common::io::Ending;
use common::maildir::{ErrorKind, Maildir};

impl Context<'_> {
    /// Closes the selected mailbox if it is the one that this session has just deleted or renamed, or below that. Sessions
    /// of others are disconnected at their next look; this one knows what it does.
    pub fn close_if_selected(&mut self, mailbox: &Located, or_below: bool) -> Result<(), Ending> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let Ok(open) = self.locate(&selected.name) else { return Ok(()) };
        if open.is(mailbox) || or_below && open.is_below(mailbox) {
            self.selected = None;
            self.conn.push_line("* OK [CLOSED] The mailbox is closed.")?;
        }
        Ok(())
    }
}

/// The directories of a mailbox.
pub fn open(mailbox: &Located) -> Result<Maildir, HierarchyError> {
    mailbox.open().map_err(|error| match error.kind {
        ErrorKind::NotFound if !mailbox.is_own_inbox() => HierarchyError::NotFound,
        _ => HierarchyError::Storage(error),
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
