//! COPY and MOVE: messages of one mailbox, in another.
//!
//! What is kept in memory of each message is its UID, and that by runs: 100,000 are copied by a session no larger than
//! for one.

use super::super::error::{ErrorKind, StorageError};
use super::super::failures::Failures;
use super::super::flags::Flags;
use super::super::index;
use super::super::quota;
use super::super::{Maildir, name};
use super::change::Remove;
use super::deliver::{Append, Current};
use super::ready::{Ready, Way};
use super::{Mailbox, Message, MsnSet};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Octets of a message that are copied at a time.
const BUFFER: usize = 32 * 1024;

/// What was copied where (RFC 4315).
#[derive(Debug, Default)]
pub struct Copied {
    /// UIDVALIDITY of the mailbox that the copies are in.
    pub uid_validity: u32,
    /// First and last UID of each run of messages that were copied, in order.
    pub source: Vec<(u32, u32)>,
    /// First and last UID of each run of copies, in the same order.
    pub destination: Vec<(u32, u32)>,
    /// What was to be moved and could only be copied: it is in both mailboxes.
    pub failures: Failures,
}

/// Whose files are made in a directory, and who may read them.
fn rights_in(directory: &Path) -> Result<(u32, u32, u32), StorageError> {
    let meta = fs::metadata(directory).map_err(StorageError::at("stat", directory))?;
    Ok((meta.mode() & 0o2777, meta.uid(), meta.gid()))
}

impl Mailbox {
    /// Copies messages into another mailbox, or into this one: all or none. With `and_remove` they are moved (RFC 6851):
    /// the next [`Mailbox::sync`] says EXPUNGE for them. Messages that are gone already are passed over. Where both mailboxes
    /// are on one file system a message that is moved is in one of them at any moment (RFC 6851 section 3.3).
    pub fn copy_to(
        &mut self,
        which: &MsnSet,
        to: &Maildir,
        and_remove: bool,
    ) -> Result<Copied, StorageError> {
        Ok(self.copy(which, to, and_remove, false)?.unwrap_or_default())
    }

    /// [`Mailbox::copy_to`] for a client that named messages by their numbers: if some are gone none is copied, and the
    /// answer is `None` (RFC 2180 section 4.4.1).
    pub fn copy_all_to(
        &mut self,
        which: &MsnSet,
        to: &Maildir,
        and_remove: bool,
    ) -> Result<Option<Copied>, StorageError> {
        self.copy(which, to, and_remove, true)
    }

    /// `all`: all of them, or `None`.
    fn copy(
        &mut self,
        which: &MsnSet,
        to: &Maildir,
        and_remove: bool,
        all: bool,
    ) -> Result<Option<Copied>, StorageError> {
        // A copy has the flags that its message has (RFC 3501 section 6.4.7), not those that this session has heard of.
        self.refresh()?;
        // A link has the rights of the other file.
        let may_link = rights_in(self.maildir.path())? == rights_in(to.path())?;
        if may_link && !and_remove {
            let mut append = Append::begin(to, &self.options)?;
            match self.copy_by(&mut append, which, to, (false, all), Some(Way::Linked)) {
                // Another file system, too many links, or one was expunged at that moment: what has its place loses it again.
                Err(_) if append.ready.is_unlinked() => {}
                copied => return copied,
            }
        }
        let mut append = Append::begin(to, &self.options)?;
        let way = if and_remove { Way::Moved } else { Way::New };
        self.copy_by(&mut append, which, to, (and_remove, all), may_link.then_some(way))
    }

    /// `way`: how those get their places that are linked; `None`: all are copied.
    fn copy_by(
        &mut self,
        append: &mut Append,
        which: &MsnSet,
        to: &Maildir,
        (and_remove, all): (bool, bool),
        way: Option<Way>,
    ) -> Result<Option<Copied>, StorageError> {
        self.hold_directories();
        let (mut source, mut renamed, mut copied) = (Vec::new(), MsnSet::new(), MsnSet::new());
        // Most messages have the keywords of the one before.
        let mut letters = (0, 0);
        for msn in which.iter().cloned().flatten() {
            if msn == 0 || msn > self.len() {
                continue;
            }
            let row = self.view.row_of(msn);
            if self.view.dead.contains(row) {
                match all {
                    true => return Ok(None),
                    false => continue,
                }
            }
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            let mut message = self.message(row, &data)?;
            message.octets = Some(data.octets).filter(|&octets| octets != index::UNKNOWN);
            if letters.0 != data.mail_flags.keywords {
                letters = (data.mail_flags.keywords, self.letters_in(append, data.mail_flags.keywords)?);
            }
            let flags = Flags { bits: data.mail_flags.bits, keywords: letters.1 };
            let msns = match self.ready_to_copy(row, &message, &append.mailbox.maildir, flags, way) {
                Ok(ready) => {
                    append.ready.push(&ready)?;
                    if ready.row.is_some() { &mut renamed } else { &mut copied }
                }
                // What has been made ready goes with the list of it.
                Err(error) if error.kind == ErrorKind::NotFound && all => return Ok(None),
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match source.last_mut() {
                Some((_, last)) if u32::checked_add(*last, 1) == Some(data.uid) => *last = data.uid,
                _ => source.push((data.uid, data.uid)),
            }
            match msns.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(msn) => *last = *last.start()..=msn,
                _ => msns.push(msn..=msn),
            }
        }
        let amount = append.ready.amount();
        // What only changes its place takes no more room: who has none left can still put things in order.
        let stays = and_remove && quota::is_shared(&self.maildir, to);
        if !stays {
            append.check_amount(amount)?;
        }
        let destination = append.mailbox.take_in(&mut append.ready, Some(&*self))?;
        if !stays {
            quota::add_amount(to, amount);
        }
        if and_remove && !stays {
            quota::add_amount(&self.maildir, amount.negative());
        }
        let mut failures = Failures::default();
        if and_remove {
            let _lock = self.lock()?;
            // The directories are others by our own doing, and what somebody else did meanwhile is found soon: their time
            // stamps are young.
            self.follow(false)?;
            self.remove(&renamed, Remove::Moved)?;
            failures = self.remove(&copied, Remove::All)?;
        }
        Ok(Some(Copied { uid_validity: append.mailbox.uid_validity(), source, destination, failures }))
    }

    /// The letters of the other mailbox for the keywords that are these here.
    fn letters_in(&self, append: &mut Append, keywords: u32) -> Result<u32, StorageError> {
        let keywords = self.names_of(keywords);
        let keywords: Vec<&str> = keywords.iter().map(|keyword| &**keyword).collect();
        let Mailbox { keywords: known, maildir, options, .. } = &mut append.mailbox;
        let (letters, _) = known.bits_for(&keywords, maildir, options.lock_timeout)?;
        Ok(letters)
    }

    fn names_of(&self, bits: u32) -> Vec<Box<str>> {
        let named =
            (0u32..).zip(&self.keywords.names).filter(|(bit, name)| bits & 1 << bit != 0 && !name.is_empty());
        named.map(|(_, name)| name.clone()).collect()
    }

    /// What gives the message in this row a place in the other mailbox: in `tmp` is a second link to its file, or a copy of
    /// it, or nothing yet where it is to be linked to its place.
    pub(super) fn ready_to_copy(
        &self,
        row: u32,
        message: &Message,
        to: &Maildir,
        flags: Flags,
        way: Option<Way>,
    ) -> Result<Ready<'static>, StorageError> {
        let mut ready = Ready::new(name::generate(), flags);
        let temp = to.path().join("tmp").join(OsStr::from_bytes(&ready.base));
        let (linked, way) = match (way, &self.directories) {
            (Some(Way::Linked), Some(directories)) => {
                (Some(self.maildir.size_and_time(directories, message)?), Way::Linked)
            }
            (Some(Way::Moved), _) => (self.maildir.link_message(message, &temp)?, Way::Moved),
            (Some(_), _) => (self.maildir.link_message(message, &temp)?, Way::New),
            (None, _) => (None, Way::New),
        };
        if let Some((size, date)) = linked {
            let hint = name::size_hint(&message.name, b'S');
            for (key, size) in [(b'S', hint), (b'W', message.octets)] {
                if let Some(size) = size {
                    let hint = format!(",{}={size}", char::from(key));
                    ready.base.to_mut().extend_from_slice(hint.as_bytes());
                }
            }
            ready.size = hint.unwrap_or(size);
            ready.octets = message.octets.unwrap_or(index::UNKNOWN);
            (ready.date, ready.row, ready.way) = (date, Some(row), way);
            return Ok(ready);
        }
        let (mut from, place) = self.maildir.open_message(message)?;
        let meta = sys::regular(&from);
        let date =
            meta.map_err(|error| StorageError::new("copy", self.maildir.path_of(&place), error))?.mtime();
        let mut current = Current::begin(to, flags, Some(date))?;
        let copied = (|| -> io::Result<Ready<'static>> {
            let mut buffer = vec![0; BUFFER];
            loop {
                let length = from.read(&mut buffer)?;
                if length == 0 {
                    break current.complete(self.options.fsync);
                }
                current.write(buffer.get(..length).unwrap_or_default())?;
            }
        })();
        copied.map_err(StorageError::at("copy", &temp))
    }
}
