//! STATUS: a mailbox that is not selected.

use super::super::flags::Flags;
use super::super::{ErrorKind, Maildir, StorageError};
use super::{Mailbox, OpenOptions};
use std::ops::ControlFlow;

/// What STATUS can be asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// MESSAGES
    pub messages: u32,
    /// RECENT
    pub recent: u32,
    /// UIDNEXT
    pub next_uid: u32,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// UNSEEN
    pub unseen: u32,
    /// DELETED (RFC 9051)
    pub deleted: u32,
    /// HIGHESTMODSEQ (RFC 7162)
    pub highest_modseq: u64,
    /// SIZE (RFC 8438): octets of all messages; only if it was asked for.
    pub size: Option<u64>,
}

/// Looks at a mailbox without changing anything in it. Octets that nobody knows are counted as long as `goes_on` says that
/// somebody waits for them.
///
/// Errors: `Temp` if nobody does. `mended` is what [`Mailbox::mended`] says.
pub fn status(
    maildir: &Maildir,
    options: &OpenOptions,
    with_size: bool,
    goes_on: &dyn Fn() -> bool,
    mended: &mut dyn FnMut(&StorageError),
) -> Result<Status, StorageError> {
    let mut mailbox = Mailbox::open(maildir, &OpenOptions { read_only: true, ..*options })?;
    mailbox.mended().iter().for_each(mended);
    mailbox.status(with_size, goes_on)
}

impl Mailbox {
    /// The same for one that is open.
    pub fn status(&mut self, with_size: bool, goes_on: &dyn Fn() -> bool) -> Result<Status, StorageError> {
        let mut status = Status {
            messages: self.len(),
            recent: self.recent(),
            next_uid: self.next_uid(),
            uid_validity: self.uid_validity(),
            // RFC 7162 section 3.1.7: 0 where they are not kept.
            highest_modseq: if self.keeps_modseq() { self.highest_modseq() } else { 0 },
            ..Status::default()
        };
        // What the client has not been told yet has been counted too.
        let (counted, tally) = (self.view.is_unread() || self.view.is_settled(), self.view.tally());
        if counted && (!with_size || tally.unknown == 0) {
            (status.unseen, status.deleted) = (tally.unseen, tally.deleted);
            status.size = with_size.then_some(tally.octets);
            return Ok(status);
        }
        let (mut unknown, mut size) = (Vec::new(), 0u64);
        self.for_each(1..=self.len(), |msn, info| {
            status.unseen += u32::from(info.flags.bits & Flags::SEEN == 0);
            status.deleted += u32::from(info.flags.bits & Flags::DELETED != 0);
            match info.octets {
                Some(octets) => size = size.saturating_add(octets),
                None if with_size => unknown.push(msn),
                None => {}
            }
            ControlFlow::Continue(())
        })?;
        if with_size {
            // One that is gone meanwhile has no size.
            for msn in unknown {
                size = size.saturating_add(self.octets(msn, goes_on).unwrap_or(0));
                if !goes_on() {
                    let path = self.maildir.path();
                    return Err(StorageError::with_kind(
                        ErrorKind::Temp,
                        "count",
                        path,
                        "nobody waits for it",
                    ));
                }
            }
            status.size = Some(size);
        }
        Ok(status)
    }
}
