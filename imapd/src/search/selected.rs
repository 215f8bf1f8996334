//! The selected mailbox as searching, sorting and threading see it.
//!
//! A digest that is missing is made here and kept, so that the next time needs no file. What has vanished from the disk
//! meanwhile is no error. Neither is a message that cannot be read: one of them would keep all others from being found or sorted,
//! for good. It is found by nothing that has to read it, and said in the log and in the completion.

use super::messages::Messages;
use crate::digest::Digest;
use crate::fetch::digester::Digester;
use crate::waiting::{Waiting, Watched};
use common::io::Ending;
use common::mailbox::{Info, Mailbox};
use common::maildir::{ErrorKind, Failures, StorageError};
use common::sys::fs as sys;
use std::collections::BTreeSet;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};

/// Octets read at a time to make a digest.
const BUFFER: usize = 32 * 1024;
/// So many messages that cannot be read are counted.
const COUNTED_MAX: usize = 1000;

/// A mailbox, and what making digests needs.
pub struct Selected<'a> {
    mailbox: &'a mut Mailbox,
    waiting: &'a Waiting<'a>,
    digester: Digester,
    buffer: Vec<u8>,
    /// What could not be read, by number, too: one may be asked for more than once.
    unreadable: (BTreeSet<u32>, Failures),
}

impl<'a> Selected<'a> {
    /// Of this mailbox, for this client.
    pub fn new(mailbox: &'a mut Mailbox, waiting: &'a Waiting<'a>) -> Selected<'a> {
        Selected {
            mailbox,
            waiting,
            digester: Digester::default(),
            buffer: Vec::new(),
            unreadable: Default::default(),
        }
    }

    /// Those that could not be read so far.
    pub fn into_unreadable(self) -> Failures {
        self.unreadable.1
    }

    fn note(&mut self, msn: u32, error: StorageError) {
        let (msns, failures) = &mut self.unreadable;
        if msns.len() < COUNTED_MAX && msns.insert(msn) {
            failures.add(error);
        }
    }

    /// Makes a digest and keeps it. `false`: the message is gone, or cannot be read.
    fn make(&mut self, msn: u32) -> Result<bool, StorageError> {
        let date = self.mailbox.internal_date(msn);
        let (Some(date), Some(mut file)) = (self.if_there(msn, date)?, self.open(msn)?) else {
            return Ok(false);
        };
        self.buffer.resize(BUFFER, 0);
        if let Err(error) = self.digester.digest(&mut file, &mut self.buffer, date) {
            self.unreadable(msn, error);
            return Ok(false);
        }
        self.mailbox.cache(msn, self.digester.last());
        Ok(true)
    }

    /// A message that is gone is none, nor is one that cannot be read.
    fn if_there<T>(&mut self, msn: u32, result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::Corrupt | ErrorKind::Temp) => {
                self.note(msn, error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl<'a> Messages for Selected<'a> {
    type File = Watched<'a>;

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
        let octets = self.mailbox.octets(msn, &|| self.waiting.goes_on());
        if self.waiting.is_over() {
            return Ok(None);
        }
        self.if_there(msn, octets)
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
        let date = self.mailbox.internal_date(msn);
        self.if_there(msn, date)
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

    fn open(&mut self, msn: u32) -> Result<Option<Watched<'a>>, StorageError> {
        let file = self.mailbox.open_message(msn);
        let Some(file) = self.if_there(msn, file)? else { return Ok(None) };
        match sys::regular(&file) {
            Ok(_) => Ok(Some(self.waiting.beside(file))),
            Err(error) => {
                self.unreadable(msn, error);
                Ok(None)
            }
        }
    }

    fn unreadable(&mut self, msn: u32, error: io::Error) {
        if !self.waiting.is_over() {
            let error = self.mailbox.unreadable(msn, error);
            self.note(msn, error);
        }
    }

    fn look(&mut self) -> Result<(), Ending> {
        self.waiting.look()
    }
}
