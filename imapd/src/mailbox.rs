//! The open mailbox of a session. Stands in for `common::mailbox` until that is there; then this file goes.
#![allow(missing_docs)]

use common::maildir::{ErrorKind, Maildir, StorageError};
use std::convert::Infallible;
use std::fs::File;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::time::Duration;

pub type MsnSet = Vec<RangeInclusive<u32>>;

#[derive(Debug)]
pub struct Mailbox(Infallible);
pub struct OpenOptions {
    pub read_only: bool,
    pub fsync: bool,
    pub lock_timeout: Duration,
}
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags {
    pub bits: u8,
    pub keywords: u32,
}
impl Flags {
    pub const SEEN: u8 = 1;
    pub const ANSWERED: u8 = 2;
    pub const FLAGGED: u8 = 4;
    pub const DELETED: u8 = 8;
    pub const DRAFT: u8 = 16;
    pub const RECENT: u8 = 32;
}
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub uid: u32,
    pub flags: Flags,
    pub modseq: u64,
    pub octets: Option<u64>,
    pub internal_date: Option<i64>,
}
pub enum Event {
    Exists(u32),
    Recent(u32),
    Expunge(u32),
    Flags(u32),
    Keywords,
}
pub enum How {
    Replace,
    Add,
    Remove,
}
pub struct FlagChange<'a> {
    pub how: How,
    pub bits: u8,
    pub keywords: &'a [&'a str],
    pub silent: bool,
}
pub struct Stored {
    pub modified: Vec<u32>,
    pub modseq: u64,
    pub too_many_keywords: bool,
}
pub struct Copied {
    pub uid_validity: u32,
    pub source: Vec<u32>,
    pub destination: Vec<(u32, u32)>,
}

fn missing(maildir: &Maildir) -> StorageError {
    StorageError::with_kind(ErrorKind::Temp, "open", maildir.path(), "there is no store yet")
}

impl Mailbox {
    pub fn open(maildir: &Maildir, _: &OpenOptions) -> Result<Mailbox, StorageError> {
        Err(missing(maildir))
    }
    pub fn uid_validity(&self) -> u32 {
        match self.0 {}
    }
    pub fn next_uid(&self) -> u32 {
        match self.0 {}
    }
    pub fn highest_modseq(&self) -> u64 {
        match self.0 {}
    }
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        match self.0 {}
    }
    pub fn recent(&self) -> u32 {
        match self.0 {}
    }
    pub fn unseen(&self) -> u32 {
        match self.0 {}
    }
    pub fn first_unseen(&self) -> Option<u32> {
        match self.0 {}
    }
    pub fn is_read_only(&self) -> bool {
        match self.0 {}
    }
    pub fn keywords(&self) -> &[Box<str>] {
        match self.0 {}
    }
    pub fn uid(&self, _msn: u32) -> Result<u32, StorageError> {
        match self.0 {}
    }
    pub fn msn_at_or_after(&self, _uid: u32) -> Result<u32, StorageError> {
        match self.0 {}
    }
    pub fn info(&self, _msn: u32) -> Result<Info, StorageError> {
        match self.0 {}
    }
    pub fn for_each(
        &self,
        _msns: RangeInclusive<u32>,
        _visit: impl FnMut(u32, &Info) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        match self.0 {}
    }
    pub fn octets(&mut self, _msn: u32) -> Result<u64, StorageError> {
        match self.0 {}
    }
    pub fn internal_date(&mut self, _msn: u32) -> Result<i64, StorageError> {
        match self.0 {}
    }
    pub fn open_message(&mut self, _msn: u32) -> Result<File, StorageError> {
        match self.0 {}
    }
    pub fn cached(&mut self, _msn: u32) -> Option<&[u8]> {
        match self.0 {}
    }
    pub fn cache(&mut self, _msn: u32, _digest: &[u8]) {
        match self.0 {}
    }
    pub fn store_flags(
        &mut self,
        _which: &MsnSet,
        _change: &FlagChange<'_>,
        _unchanged_since: Option<u64>,
    ) -> Result<Stored, StorageError> {
        match self.0 {}
    }
    pub fn expunge(&mut self, _which: &MsnSet) -> Result<(), StorageError> {
        match self.0 {}
    }
    pub fn copy_to(
        &mut self,
        _which: &MsnSet,
        _to: &Maildir,
        _and_remove: bool,
    ) -> Result<Copied, StorageError> {
        match self.0 {}
    }
    pub fn sync(&mut self, _may_expunge: bool, _report: &mut dyn FnMut(Event)) -> Result<(), StorageError> {
        match self.0 {}
    }
    pub fn watch_paths(&self) -> [&Path; 3] {
        match self.0 {}
    }
}

pub struct Append(Infallible);
pub struct Appended {
    pub uid_validity: u32,
    pub uids: Vec<(u32, u32)>,
}
impl Append {
    pub fn begin(maildir: &Maildir, _: &OpenOptions) -> Result<Append, StorageError> {
        Err(missing(maildir))
    }
    pub fn message(
        &mut self,
        _flags: u8,
        _keywords: &[&str],
        _internal_date: Option<i64>,
    ) -> Result<(), StorageError> {
        match self.0 {}
    }
    pub fn write(&mut self, _octets: &[u8]) -> Result<(), StorageError> {
        match self.0 {}
    }
    pub fn finish(self) -> Result<Appended, StorageError> {
        match self.0 {}
    }
}
pub struct Status {
    pub messages: u32,
    pub recent: u32,
    pub next_uid: u32,
    pub uid_validity: u32,
    pub unseen: u32,
    pub highest_modseq: u64,
    pub size: Option<u64>,
    pub deleted: u32,
}
pub fn status(maildir: &Maildir, _: &OpenOptions, _with_size: bool) -> Result<Status, StorageError> {
    Err(missing(maildir))
}
