//! The selected mailbox as searching, sorting and threading see it.
//!
//! A digest that is missing is made here and kept, so that the next time needs no file. What has vanished from the disk
//! meanwhile is no error.

use super::messages::Messages;
use crate::digest::Digest;
use crate::fetch::digester::Digester;
use common::mailbox::{Info, Mailbox};
use common::maildir::{ErrorKind, StorageError};
use std::fs::File;
use std::ops::{ControlFlow, RangeInclusive};

/// Octets read at a time to make a digest.
const BUFFER: usize = 32 * 1024;

/// A mailbox, and what making digests needs.
pub struct Selected<'a> {
    mailbox: &'a mut Mailbox,
    digester: Digester,
    buffer: Vec<u8>,
}

impl<'a> Selected<'a> {
    /// Of this mailbox.
    pub fn new(mailbox: &'a mut Mailbox) -> Selected<'a> {
        Selected { mailbox, digester: Digester::default(), buffer: Vec::new() }
    }

    /// Makes a digest and keeps it. `false`: the message is gone.
    fn make(&mut self, msn: u32) -> Result<bool, StorageError> {
        let date = self.mailbox.internal_date(msn);
        let (Some(date), Some(mut file)) = (if_there(date)?, self.open(msn)?) else { return Ok(false) };
        self.buffer.resize(BUFFER, 0);
        self.digester
            .digest(&mut file, &mut self.buffer, date)
            .map_err(|error| self.mailbox.unreadable(msn, error))?;
        self.mailbox.cache(msn, self.digester.last());
        Ok(true)
    }
}

/// A message that is gone is none.
fn if_there<T>(result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Messages for Selected<'_> {
    type File = File;

    fn len(&self) -> u32 {
        self.mailbox.len()
    }

    fn keeps_modseqs(&self) -> bool {
        self.mailbox.keeps_modseq()
    }

    fn keywords(&self) -> &[Box<str>] {
        self.mailbox.keywords()
    }

    fn info(&self, msn: u32) -> Result<Info, StorageError> {
        self.mailbox.info(msn)
    }

    fn for_each(
        &self,
        msns: RangeInclusive<u32>,
        visit: impl FnMut(u32, &Info) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.mailbox.for_each(msns, visit)
    }

    fn octets(&mut self, msn: u32) -> Result<Option<u64>, StorageError> {
        if_there(self.mailbox.octets(msn))
    }

    fn internal_date(&mut self, msn: u32) -> Result<Option<i64>, StorageError> {
        // Where the row does not know it a digest may, which is cheaper than the file.
        if self.mailbox.info(msn)?.internal_date.is_none() {
            let known =
                self.mailbox.cached(msn).and_then(Digest::decode).map(|digest| digest.internal_date());
            if let Some(date) = known {
                self.mailbox.learn_date(msn, date);
                return Ok(known);
            }
        }
        if_there(self.mailbox.internal_date(msn))
    }

    fn digest<T>(
        &mut self,
        msn: u32,
        show: impl FnOnce(&Digest<'_>) -> T,
    ) -> Result<Option<T>, StorageError> {
        if let Some(digest) = self.mailbox.cached(msn).and_then(Digest::decode) {
            return Ok(Some(show(&digest)));
        }
        if !self.make(msn)? {
            return Ok(None);
        }
        Ok(Digest::decode(self.digester.last()).map(|digest| show(&digest)))
    }

    fn open(&mut self, msn: u32) -> Result<Option<File>, StorageError> {
        if_there(self.mailbox.open_message(msn))
    }
}
