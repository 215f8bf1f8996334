//! APPEND, COPY and MOVE: messages that this session puts into a mailbox.
//!
//! They are complete in `tmp` first. Then, under the locks, all of them get their UIDs and their places, and only then is
//! the client told: a crash before leaves files in `tmp`, a crash in between leaves messages that some session gives UIDs
//! to. With `fsync` the files, their directory and the uidlist are on the disk before that.

use super::super::dotlock::Dotlock;
use super::super::error::{ErrorKind, StorageError};
use super::super::flags::Flags;
use super::super::index;
use super::super::lf_text::LfText;
use super::super::quota::{self, Amount, Verdict};
use super::super::uidlist::UID_LIMIT;
use super::super::uidlist_file::{self, Stamp};
use super::super::{Maildir, make_file, name};
use super::change::{Batch, Remove, place_of};
use super::courier_keywords;
use super::log::Entry;
use super::{Mailbox, Message, MsnSet, OpenOptions};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Octets of a message that are copied at a time.
const BUFFER: usize = 32 * 1024;
/// How often a uidlist that changes under our eyes is looked at again.
const ATTEMPTS: u32 = 3;

/// Messages on their way into a mailbox. Dropped before [`Append::finish`], they leave nothing behind.
#[derive(Debug)]
pub struct Append {
    mailbox: Mailbox,
    ready: Vec<Ready>,
    current: Option<Current>,
}

/// A complete file in `tmp`.
#[derive(Debug)]
struct Ready {
    temp: PathBuf,
    /// Base name in the mailbox.
    base: Vec<u8>,
    flags: Flags,
    octets: u64,
    /// Octets of the file.
    size: u64,
    date: i64,
    /// It is a second link to this message of the mailbox that it is moved from.
    moves: Option<Message>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        // It has its place where that is empty.
        if !self.temp.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// The message that is being written.
#[derive(Debug)]
struct Current {
    ready: Ready,
    text: LfText,
    date: Option<i64>,
}

/// Where the messages are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// First and last UID of each run, in the order of the messages.
    pub uids: Vec<(u32, u32)>,
}

/// What was copied where (RFC 4315).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// UIDVALIDITY of the mailbox that the copies are in.
    pub uid_validity: u32,
    /// UIDs of the messages that were copied, in order.
    pub source: Vec<u32>,
    /// First and last UID of each run of copies, in the same order.
    pub destination: Vec<(u32, u32)>,
}

impl Append {
    /// Nothing is written yet.
    ///
    /// Errors: the mailbox cannot be opened.
    pub fn begin(maildir: &Maildir, options: &OpenOptions) -> Result<Append, StorageError> {
        // Before a keyword is made here.
        courier_keywords::take_over(maildir, options)?;
        let options = OpenOptions { read_only: true, ..*options };
        Ok(Append { mailbox: Mailbox::load(maildir, &options)?, ready: Vec::new(), current: None })
    }

    /// Begins the next message. `internal_date` is in seconds since 1970; without it the message is of now. `false`:
    /// not all keywords could be kept.
    pub fn message(
        &mut self,
        bits: u8,
        keywords: &[&str],
        internal_date: Option<i64>,
    ) -> Result<bool, StorageError> {
        self.complete()?;
        let control = self.mailbox.maildir.control().to_owned();
        let timeout = self.mailbox.options.lock_timeout;
        let (letters, enough) = self.mailbox.keywords.bits_for(keywords, &control, timeout)?;
        let flags = Flags { bits: bits & Flags::ALL, keywords: letters };
        let (ready, file) = begin_file(&self.mailbox.maildir, flags)?;
        self.current = Some(Current { ready, text: LfText::new(file), date: internal_date });
        Ok(enough)
    }

    /// Adds octets to the message. On disk a line ends in LF alone, as Dovecot and local programs have it.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StorageError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.text.write(octets).map_err(StorageError::at("write", &current.ready.temp))
    }

    fn complete(&mut self) -> Result<(), StorageError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let temp = current.ready.temp.clone();
        let ready = current.complete(self.mailbox.options.fsync).map_err(StorageError::at("write", &temp))?;
        self.ready.push(ready);
        Ok(())
    }

    /// Whether the quota has room for a message of so many octets beside those that are complete.
    ///
    /// Error: `Full`.
    pub fn check_room(&mut self, octets: u64) -> Result<(), StorageError> {
        self.complete()?;
        let mut more = self.amount();
        more.count(octets, Flags::default(), 1);
        self.check_amount(more)
    }

    fn amount(&self) -> Amount {
        let mut amount = Amount::default();
        self.ready.iter().for_each(|ready| amount.count(ready.size, ready.flags, 1));
        amount
    }

    fn check_amount(&self, more: Amount) -> Result<(), StorageError> {
        match quota::check_amount(&self.mailbox.maildir, more)? {
            Verdict::Ok => Ok(()),
            Verdict::Over => Err(quota::over(&self.mailbox.maildir)),
        }
    }

    /// Puts all the messages into the mailbox, or none.
    ///
    /// Errors: `Full` also where the quota has no room.
    pub fn finish(mut self) -> Result<Appended, StorageError> {
        self.complete()?;
        let amount = self.amount();
        self.check_amount(amount)?;
        let uids = self.mailbox.take_in(&mut self.ready, None)?;
        quota::add_amount(&self.mailbox.maildir, amount);
        Ok(Appended { uid_validity: self.mailbox.uid_validity(), uids })
    }
}

/// Whose files are made in a directory, and who may read them.
fn rights_in(directory: &Path) -> Result<(u32, u32, u32), StorageError> {
    let meta = fs::metadata(directory).map_err(StorageError::at("stat", directory))?;
    Ok((meta.mode() & 0o2777, meta.uid(), meta.gid()))
}

fn begin_file(maildir: &Maildir, flags: Flags) -> Result<(Ready, File), StorageError> {
    let base = name::generate();
    let temp = maildir.path().join("tmp").join(OsStr::from_bytes(&base));
    let file = make_file(&temp).map_err(StorageError::at("create", &temp))?;
    Ok((Ready { temp, base, flags, octets: 0, size: 0, date: 0, moves: None }, file))
}

impl Current {
    fn complete(self, fsync: bool) -> io::Result<Ready> {
        let Current { mut ready, mut text, date } = self;
        text.flush()?;
        ready.octets = text.octets;
        complete_file(&text.file, &mut ready, text.size, date, fsync)?;
        Ok(ready)
    }
}

/// Gives the file its time, waits for the disk, and puts the sizes into the name-to-be.
fn complete_file(
    file: &File,
    ready: &mut Ready,
    size: u64,
    date: Option<i64>,
    fsync: bool,
) -> io::Result<()> {
    if let Some(date) = date {
        let since = Duration::from_secs(date.unsigned_abs());
        let time = if date < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
        file.set_modified(time.unwrap_or_else(SystemTime::now))?;
    }
    if fsync {
        file.sync_all()?;
    }
    ready.size = size;
    ready.date = file.metadata()?.mtime();
    ready.base.extend_from_slice(format!(",S={size},W={}", ready.octets).as_bytes());
    Ok(())
}

/// A message in its place.
struct Placed {
    path: PathBuf,
    /// Where it was before, if it is not a new one.
    was: Option<PathBuf>,
}

impl Placed {
    fn undo(&self) {
        let _ = match &self.was {
            Some(was) => sys::rename_without_overwriting(&self.path, was),
            None => fs::remove_file(&self.path),
        };
    }
}

impl Ready {
    fn put(&self, from: Option<&Maildir>, path: PathBuf) -> Result<Placed, StorageError> {
        if let (Some(message), Some(from)) = (&self.moves, from) {
            match from.move_message(message, &path) {
                Ok(was) => return Ok(Placed { path, was: Some(was) }),
                // Somebody has expunged it just now; the link is left.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let renamed = sys::rename_without_overwriting(&self.temp, &path);
        renamed.map_err(StorageError::at("rename", &path))?;
        Ok(Placed { path, was: None })
    }
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
        let mut append = Append::begin(to, &self.options)?;
        // A link has the rights of the other file.
        let may_link = rights_in(self.maildir.path())? == rights_in(to.path())?;
        let (mut source, mut renamed, mut copied) = (Vec::new(), MsnSet::new(), MsnSet::new());
        for msn in which.iter().cloned().flatten() {
            if msn == 0 || msn > self.len() {
                continue;
            }
            let row = self.view.row_of(msn);
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            let mut message = self.message(row, &data)?;
            message.octets = Some(data.octets).filter(|&octets| octets != index::UNKNOWN);
            let keywords = self.names_of(data.mail_flags.keywords);
            let keywords: Vec<&str> = keywords.iter().map(|keyword| &**keyword).collect();
            let path = append.mailbox.maildir.control().to_owned();
            let timeout = append.mailbox.options.lock_timeout;
            let (letters, _) = append.mailbox.keywords.bits_for(&keywords, &path, timeout)?;
            let flags = Flags { bits: data.mail_flags.bits, keywords: letters };
            let msns = match self.copy_file(&message, &append.mailbox.maildir, flags, may_link) {
                Ok((mut ready, is_link)) => {
                    ready.moves = (and_remove && is_link).then_some(message);
                    append.ready.push(ready);
                    if is_link { &mut renamed } else { &mut copied }
                }
                // RFC 2180 section 4.4.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            source.push(data.uid);
            match msns.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(msn) => *last = *last.start()..=msn,
                _ => msns.push(msn..=msn),
            }
        }
        let amount = append.amount();
        // What only changes its place takes no more room: who has none left can still put things in order.
        let stays = and_remove && quota::is_shared(&self.maildir, to);
        if !stays {
            append.check_amount(amount)?;
        }
        let destination = append.mailbox.take_in(&mut append.ready, Some(&self.maildir))?;
        if !stays {
            quota::add_amount(to, amount);
        }
        if and_remove && !stays {
            quota::add_amount(&self.maildir, amount.negative());
        }
        if and_remove {
            let lock = self.lock()?;
            self.refresh_locked(lock.as_ref())?;
            self.remove(&renamed, Remove::Moved)?;
            self.remove(&copied, Remove::All)?;
        }
        Ok(Copied { uid_validity: append.mailbox.uid_validity(), source, destination })
    }

    fn names_of(&self, bits: u32) -> Vec<Box<str>> {
        let named =
            (0u32..).zip(&self.keywords.names).filter(|(bit, name)| bits & 1 << bit != 0 && !name.is_empty());
        named.map(|(_, name)| name.clone()).collect()
    }

    /// A second link to the file (`true`), or a copy of it, in the other mailbox's `tmp`.
    fn copy_file(
        &self,
        message: &Message,
        to: &Maildir,
        flags: Flags,
        may_link: bool,
    ) -> Result<(Ready, bool), StorageError> {
        let mut base = name::generate();
        let temp = to.path().join("tmp").join(OsStr::from_bytes(&base));
        let linked = if may_link { self.maildir.link_message(message, &temp)? } else { None };
        if let Some(date) = linked {
            for (key, size) in [(b'S', name::size_hint(&message.name, b'S')), (b'W', message.octets)] {
                if let Some(size) = size {
                    base.extend_from_slice(format!(",{}={size}", char::from(key)).as_bytes());
                }
            }
            let size = match name::size_hint(&message.name, b'S') {
                Some(size) => size,
                None => fs::metadata(&temp).map_err(StorageError::at("stat", &temp))?.len(),
            };
            let octets = message.octets.unwrap_or(index::UNKNOWN);
            return Ok((Ready { temp, base, flags, octets, size, date, moves: None }, true));
        }
        let (mut from, _) = self.maildir.open_message(message)?;
        let date = from.metadata().map_err(StorageError::at("stat", self.maildir.path()))?.mtime();
        let (ready, file) = begin_file(to, flags)?;
        let temp = ready.temp.clone();
        let mut current = Current { ready, text: LfText::new(file), date: Some(date) };
        let copied = (|| -> io::Result<Ready> {
            let mut buffer = vec![0; BUFFER];
            loop {
                let length = from.read(&mut buffer)?;
                if length == 0 {
                    break current.complete(self.options.fsync);
                }
                current.text.write(buffer.get(..length).unwrap_or_default())?;
            }
        })();
        copied.map(|ready| (ready, false)).map_err(StorageError::at("copy", &temp))
    }

    /// Puts complete files into the mailbox: all or none. `from` is where those are that move.
    fn take_in(
        &mut self,
        ready: &mut Vec<Ready>,
        from: Option<&Maildir>,
    ) -> Result<Vec<(u32, u32)>, StorageError> {
        let lock = self.lock()?;
        for _ in 0..ATTEMPTS {
            self.unwritten = None;
            self.refresh_locked(lock.as_ref())?;
            // Without a uidlist there are no UIDs to be had: a full disk, most likely.
            if let Some(error) = self.unwritten.take() {
                return Err(error);
            }
            let control = self.maildir.control().to_owned();
            let dotlock = uidlist_file::lock(&control, self.options.lock_timeout)?;
            // Another program may have given UIDs since.
            let current = Stamp::at(&control.join(uidlist_file::NAME))?;
            if current != self.stamps.uidlist || current == Stamp::default() {
                self.stamps = Default::default();
                continue;
            }
            return self.take_in_locked(ready, from, &dotlock, current);
        }
        let path = self.maildir.control().join(uidlist_file::NAME);
        Err(StorageError::with_kind(ErrorKind::Temp, "append", path, "the file keeps changing"))
    }

    fn take_in_locked(
        &mut self,
        ready: &mut Vec<Ready>,
        from: Option<&Maildir>,
        dotlock: &Dotlock,
        uidlist: Stamp,
    ) -> Result<Vec<(u32, u32)>, StorageError> {
        let first = self.next_uid();
        let last = u32::try_from(ready.len()).ok().and_then(|count| first.checked_add(count));
        if last.is_none_or(|last| last == UID_LIMIT) {
            let path = self.maildir.control().join(uidlist_file::NAME);
            return Err(StorageError::with_kind(ErrorKind::Temp, "append", path, "no UIDs are left"));
        }
        let mut placed: Vec<Placed> = Vec::with_capacity(ready.len());
        let put = self.put_in_place(ready, from, &mut placed).and_then(|entries| {
            let mut lines = Vec::new();
            for (uid, message) in (first..).zip(ready.iter()) {
                let _ = write!(lines, "{uid} :");
                lines.extend_from_slice(&message.base);
                lines.push(b'\n');
            }
            let (control, fsync) = (self.maildir.control(), self.options.fsync);
            uidlist_file::append_lines(control, &lines, uidlist, dotlock, fsync)?;
            Ok(entries)
        });
        let entries = match put {
            Ok(entries) => entries,
            Err(error) => {
                placed.iter().for_each(Placed::undo);
                return Err(error);
            }
        };
        // What is still in tmp goes: the second links to messages that have moved.
        for (mut message, placed) in ready.drain(..).zip(placed) {
            if placed.was.is_none() {
                message.temp.clear();
            }
        }
        let mut batch = Batch::begin(self);
        let modseq = batch.modseq;
        for (uid, mut entry) in (first..).zip(entries) {
            if let Entry::Added { uid: its, modseq: when, .. } = &mut entry {
                (*its, *when) = (uid, modseq);
            }
            batch.entries.push(entry);
            batch.flush_if_full(self, true)?;
        }
        batch.end(self)?;
        let last = self.next_uid().saturating_sub(1);
        Ok(if last >= first { vec![(first, last)] } else { Vec::new() })
    }

    /// Renames the files from `tmp` to where they belong; those that move, from where they are. Without flags that is
    /// `new`, as after a delivery.
    fn put_in_place(
        &self,
        ready: &[Ready],
        from: Option<&Maildir>,
        placed: &mut Vec<Placed>,
    ) -> Result<Vec<Entry>, StorageError> {
        let (mut entries, mut used) = (Vec::with_capacity(ready.len()), [false; 2]);
        for message in ready {
            let in_new = message.flags == Flags::default();
            let name = if in_new { message.base.clone() } else { message.flags.in_name(&message.base) };
            let directory = self.maildir.path().join(if in_new { "new" } else { "cur" });
            let path = directory.join(OsStr::from_bytes(&name));
            placed.push(message.put(from, path)?);
            used[usize::from(in_new)] = true;
            entries.push(Entry::Added {
                uid: 0,
                modseq: 0,
                octets: message.octets,
                date: message.date,
                place: place_of(in_new),
                name: name.into(),
            });
        }
        if self.options.fsync {
            for (directory, _) in ["cur", "new"].iter().zip(used).filter(|(_, used)| *used) {
                sync(&self.maildir.path().join(directory))?;
            }
        }
        Ok(entries)
    }
}

fn sync(path: &Path) -> Result<(), StorageError> {
    sys::sync_directory(path).map_err(StorageError::at("fsync", path))
}
