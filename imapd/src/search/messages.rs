//! What searching, sorting and threading ask of a mailbox. The selected mailbox answers it, and in tests a list does.

use crate::digest::Digest;
use common::io::Ending;
use common::mailbox::Info;
use common::maildir::StorageError;
use std::io::{self, Read};
use std::ops::{ControlFlow, RangeInclusive};

/// An open mailbox. Messages have message sequence numbers from 1 to [`len`](Messages::len). One that has vanished from the
/// disk meanwhile, or cannot be read, is `None`.
pub trait Messages {
    /// A message's file.
    type File: Read;

    /// How many messages there are.
    fn len(&self) -> u32;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether modification sequences can be asked for.
    fn keeps_modseqs(&self) -> bool {
        true
    }
    /// The names of the keywords, by their bits; an unused one is empty.
    fn keywords(&self) -> &[Box<str>];
    /// What the store's own rows say of a message.
    fn info(&self, msn: u32) -> Result<Info, StorageError>;
    /// The same of many, in order.
    fn for_each(
        &self,
        msns: RangeInclusive<u32>,
        visit: impl FnMut(u32, &Info) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;
    /// RFC822.SIZE.
    fn octets(&mut self, msn: u32) -> Result<Option<u64>, StorageError>;
    /// The internal date, seconds since 1970 UTC.
    fn internal_date(&mut self, msn: u32) -> Result<Option<i64>, StorageError>;
    /// Shows a message's digest, which is made if there is none yet.
    fn digest<T>(&mut self, msn: u32, show: impl FnOnce(&Digest<'_>) -> T)
    -> Result<Option<T>, StorageError>;
    /// A message's octets, of which [`Messages::unreadable`] has to hear if they end in an error.
    fn open(&mut self, msn: u32) -> Result<Option<Self::File>, StorageError>;
    /// A message could not be read to its end.
    fn unreadable(&mut self, msn: u32, error: io::Error);
    /// Behind each message that took time: whether anybody still waits for the answer.
    fn look(&mut self) -> Result<(), Ending>;
}
