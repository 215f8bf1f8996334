//! A mailbox in memory, and messages that come in pieces, for tests.

use super::messages::Messages;
use crate::digest::Digest;
use crate::fetch::digester::Digester;
use common::io::Ending;
use common::mailbox::{Flags, Info};
use common::maildir::{ErrorKind, StorageError};
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};
use std::ops::{ControlFlow, RangeInclusive};

/// The mailbox.
#[derive(Default)]
pub struct Fake {
    pub mails: Vec<(Info, Vec<u8>)>,
    pub keywords: Vec<Box<str>>,
    /// Messages whose files are gone, by number.
    pub gone: BTreeSet<u32>,
    /// Numbers whose digests were made.
    pub digested: Vec<u32>,
    /// Numbers whose files were opened for something else.
    pub opened: Vec<u32>,
    /// Whether rows lack sizes and dates.
    pub is_new: bool,
    /// How often the client was looked at, and when it is gone; 0: never.
    pub looked: u32,
    pub left_after: u32,
}

impl Fake {
    /// Of messages with these texts (LF becomes CR LF), with UIDs 10, 20, and internal dates a day apart from 1970 on.
    pub fn new<T: AsRef<[u8]>>(texts: &[T]) -> Fake {
        let mut fake = Fake::default();
        for text in texts {
            fake.push(text.as_ref());
        }
        fake
    }

    pub fn push(&mut self, text: &[u8]) -> &mut Info {
        let mut octets = Vec::new();
        for octet in text {
            match octet {
                b'\n' => octets.extend_from_slice(b"\r\n"),
                octet => octets.push(*octet),
            }
        }
        let number = self.mails.len() as u32 + 1;
        let info = Info {
            uid: number * 10,
            flags: Flags::default(),
            recent: false,
            modseq: u64::from(number) * 100,
            octets: Some(octets.len() as u64),
            internal_date: Some(i64::from(number) * 86_400),
        };
        self.mails.push((info, octets));
        &mut self.mails.last_mut().unwrap().0
    }

    fn mail(&self, msn: u32) -> Result<&(Info, Vec<u8>), StorageError> {
        let mail = msn.checked_sub(1).and_then(|at| self.mails.get(at as usize));
        mail.ok_or_else(|| StorageError::with_kind(ErrorKind::NotFound, "read", "fake", "no such message"))
    }
}

impl Messages for Fake {
    type File = Cursor<Vec<u8>>;

    fn len(&self) -> u32 {
        self.mails.len() as u32
    }

    fn keywords(&self) -> &[Box<str>] {
        &self.keywords
    }

    fn info(&self, msn: u32) -> Result<Info, StorageError> {
        let info = self.mail(msn)?.0;
        Ok(match self.is_new {
            true => Info { octets: None, internal_date: None, ..info },
            false => info,
        })
    }

    fn for_each(
        &self,
        msns: RangeInclusive<u32>,
        mut visit: impl FnMut(u32, &Info) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for msn in msns {
            if visit(msn, &self.info(msn)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn octets(&mut self, msn: u32) -> Result<Option<u64>, StorageError> {
        Ok(self.mail(msn)?.0.octets.filter(|_| !self.gone.contains(&msn)))
    }

    fn internal_date(&mut self, msn: u32) -> Result<Option<i64>, StorageError> {
        Ok(self.mail(msn)?.0.internal_date.filter(|_| !self.gone.contains(&msn)))
    }

    fn digest<T>(
        &mut self,
        msn: u32,
        show: impl FnOnce(&Digest<'_>) -> T,
    ) -> Result<Option<T>, StorageError> {
        if self.gone.contains(&msn) {
            return Ok(None);
        }
        self.digested.push(msn);
        let (info, mut text) = self.mail(msn)?.clone();
        let mut digester = Digester::default();
        let date = info.internal_date.unwrap();
        digester.digest(&mut Cursor::new(&mut text), &mut vec![0; 1 << 16], date).unwrap();
        Ok(Some(show(&Digest::decode(digester.last()).unwrap())))
    }

    fn open(&mut self, msn: u32) -> Result<Option<Cursor<Vec<u8>>>, StorageError> {
        if self.gone.contains(&msn) {
            return Ok(None);
        }
        self.opened.push(msn);
        Ok(Some(Cursor::new(self.mail(msn)?.1.clone())))
    }

    fn unreadable(&mut self, msn: u32, error: io::Error) {
        panic!("message {msn}: {error}");
    }

    fn look(&mut self) -> Result<(), Ending> {
        self.looked += 1;
        match self.looked == self.left_after {
            true => Err(Ending::Disconnected),
            false => Ok(()),
        }
    }
}

/// Hands out so many octets at a time.
pub struct Dribble<'a>(pub &'a [u8], pub usize);

impl Read for Dribble<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = room.len().min(self.1).min(self.0.len());
        room[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}
