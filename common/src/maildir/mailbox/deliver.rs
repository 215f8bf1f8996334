//! APPEND, COPY and MOVE: messages that this session puts into a mailbox.
//!
//! They are complete in `tmp` first. Then, under the locks, all of them get their UIDs and their places, and only then is
//! the client told: a crash before leaves files in `tmp`, a crash in between leaves messages that some session gives UIDs
//! to. With `fsync` the files, their directory and the uidlist are on the disk before that.

use super::super::dotlock::Dotlock;
use super::super::error::{ErrorKind, StorageError};
use super::super::flags::Flags;
use super::super::index::{self, Source};
use super::super::lf_text::LfText;
use super::super::quota::{self, Amount, Verdict};
use super::super::uidlist::UID_LIMIT;
use super::super::uidlist_file::{self, Stamp};
use super::super::{Maildir, make_file, name};
use super::change::BATCH;
use super::courier_keywords;
use super::log::{Entry, Stamps};
use super::ready::{Ready, ReadyList};
use super::{Mailbox, OpenOptions};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a uidlist is looked at again that is not the one that was read, though nobody has changed it since the time before.
const ATTEMPTS: u32 = 3;

/// Messages on their way into a mailbox. Dropped before [`Append::finish`], they leave nothing behind.
#[derive(Debug)]
pub struct Append {
    pub(super) mailbox: Mailbox,
    pub(super) ready: ReadyList,
    current: Option<Current>,
}

/// The message that is being written.
#[derive(Debug)]
pub(super) struct Current {
    ready: Ready<'static>,
    temp: Temp,
    text: LfText,
    date: Option<i64>,
}

/// The file in `tmp`: removed unless it became complete.
#[derive(Debug)]
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Where the messages are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// First and last UID of each run, in the order of the messages.
    pub uids: Vec<(u32, u32)>,
}

impl Append {
    /// Nothing is written yet.
    ///
    /// Errors: the mailbox cannot be opened.
    pub fn begin(maildir: &Maildir, options: &OpenOptions) -> Result<Append, StorageError> {
        // Before a keyword is made here.
        courier_keywords::take_over(maildir, options)?;
        let options = OpenOptions { read_only: true, ..*options };
        let ready = ReadyList::new(maildir.path());
        Ok(Append { mailbox: Mailbox::load(maildir, &options)?, ready, current: None })
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
        let Mailbox { keywords: known, maildir, options, .. } = &mut self.mailbox;
        let (letters, enough) = known.bits_for(keywords, maildir, options.lock_timeout)?;
        let flags = Flags { bits: bits & Flags::ALL, keywords: letters };
        self.current = Some(Current::begin(&self.mailbox.maildir, flags, internal_date)?);
        Ok(enough)
    }

    /// Adds octets to the message. On disk a line ends in LF alone, as Dovecot and local programs have it.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StorageError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.text.write(octets).map_err(StorageError::at("write", &current.temp.0))
    }

    fn complete(&mut self) -> Result<(), StorageError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let path = current.temp.0.clone();
        let ready = current.complete(self.mailbox.options.fsync).map_err(StorageError::at("write", &path))?;
        self.ready.push(&ready)
    }

    /// Whether the quota has room for a message of so many octets beside those that are complete.
    ///
    /// Error: `Full`.
    pub fn check_room(&mut self, octets: u64) -> Result<(), StorageError> {
        self.complete()?;
        let mut more = self.ready.amount();
        more.count(octets, Flags::default(), 1);
        self.check_amount(more)
    }

    pub(super) fn check_amount(&self, more: Amount) -> Result<(), StorageError> {
        match quota::check_amount(&self.mailbox.maildir, more)? {
            Verdict::Ok | Verdict::Uncounted => Ok(()),
            Verdict::Over => Err(quota::over(&self.mailbox.maildir)),
        }
    }

    /// Puts all the messages into the mailbox, or none.
    ///
    /// Errors: `Full` also where the quota has no room.
    pub fn finish(mut self) -> Result<Appended, StorageError> {
        self.complete()?;
        let amount = self.ready.amount();
        self.check_amount(amount)?;
        let uids = self.mailbox.take_in(&mut self.ready, None)?;
        quota::add_amount(&self.mailbox.maildir, amount);
        Ok(Appended { uid_validity: self.mailbox.uid_validity(), uids })
    }
}

impl Current {
    pub(super) fn begin(maildir: &Maildir, flags: Flags, date: Option<i64>) -> Result<Current, StorageError> {
        let base = name::generate();
        let path = maildir.path().join("tmp").join(OsStr::from_bytes(&base));
        let file = make_file(&path).map_err(StorageError::at("create", &path))?;
        let (ready, temp) = (Ready::new(base, flags), Temp(path));
        Ok(Current { ready, temp, text: LfText::new(file), date })
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.text.write(octets)
    }

    pub(super) fn complete(self, fsync: bool) -> io::Result<Ready<'static>> {
        let Current { mut ready, mut temp, mut text, date } = self;
        text.flush()?;
        ready.octets = text.octets;
        complete_file(&text.file, &mut ready, text.size, date, fsync)?;
        temp.0 = PathBuf::new();
        Ok(ready)
    }
}

/// Gives the file its time, waits for the disk, and puts the sizes into the name-to-be.
fn complete_file(
    file: &File,
    ready: &mut Ready<'_>,
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
    ready.base.to_mut().extend_from_slice(format!(",S={size},W={}", ready.octets).as_bytes());
    Ok(())
}

impl Mailbox {
    /// Puts complete files into the mailbox: all or none. `from` is where those are that move. The view knows nothing of
    /// them afterwards: whoever looks next reads of them in the log.
    pub(super) fn take_in(
        &mut self,
        ready: &mut ReadyList,
        from: Option<&Mailbox>,
    ) -> Result<Vec<(u32, u32)>, StorageError> {
        let lock = self.lock()?;
        let give_up = Instant::now() + self.options.lock_timeout;
        let (mut seen, mut attempts) = (Stamp::default(), 0);
        while attempts < ATTEMPTS {
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
                // One who does so all the time is waited for like one who has the lock.
                let goes_on = current != seen && current != Stamp::default() && Instant::now() < give_up;
                (seen, attempts) = (current, if goes_on { 1 } else { attempts + 1 });
                continue;
            }
            return self.take_in_locked(ready, from, &dotlock, current);
        }
        let path = self.maildir.control().join(uidlist_file::NAME);
        Err(StorageError::with_kind(ErrorKind::Temp, "append", path, "the file keeps changing"))
    }

    fn take_in_locked(
        &mut self,
        ready: &mut ReadyList,
        from: Option<&Mailbox>,
        dotlock: &Dotlock,
        uidlist: Stamp,
    ) -> Result<Vec<(u32, u32)>, StorageError> {
        let first = self.next_uid();
        let next = first.checked_add(ready.len()).filter(|&next| next != UID_LIMIT);
        let Some(next) = next else {
            let path = self.maildir.control().join(uidlist_file::NAME);
            return Err(StorageError::with_kind(ErrorKind::Temp, "append", path, "no UIDs are left"));
        };
        // Others must not take the lock of somebody who works on.
        let used = ready.put_in_place(from, &|| _ = dotlock.refresh())?;
        let (control, fsync) = (self.maildir.control(), self.options.fsync);
        if fsync {
            for (directory, _) in ["cur", "new"].iter().zip(used).filter(|(_, used)| *used) {
                sync(&self.maildir.path().join(directory))?;
            }
        }
        let (mut messages, mut uids) = (ready.iter(), first..);
        uidlist_file::append_lines(control, uidlist, dotlock, fsync, &mut |lines| {
            let message = messages.next().map_err(|error| error.source)?;
            if let (Some(message), Some(uid)) = (&message, uids.next()) {
                let _ = write!(lines, "{uid} :");
                lines.extend_from_slice(&message.base);
                lines.push(b'\n');
            }
            Ok(message.is_some())
        })?;
        ready.keep(from.is_some());
        // They are there. What cannot be said of it the others find out from the directories.
        if self.in_file && self.say_added(ready, first, next).is_err() {
            self.in_file = false;
        }
        Ok(if next > first { vec![(first, next - 1)] } else { Vec::new() })
    }

    /// Says in the log that they came.
    fn say_added(&mut self, ready: &ReadyList, first: u32, next: u32) -> Result<(), StorageError> {
        let modseq = self.view.highest_modseq().saturating_add(1);
        let mut summary = self.summary().map_err(|error| self.damaged(error))?;
        let (mut messages, mut uids) = (ready.iter(), first..);
        let mut entries = Vec::new();
        while let (Some(message), Some(uid)) = (messages.next()?, uids.next()) {
            let (octets, date) = (message.octets, message.date);
            let place = if message.goes_to_new() { index::IN_NEW } else { index::UNTOLD };
            let name: Box<[u8]> = message.name().into();
            let source = Source { uid, modseq, octets, date, flags: place, name: &name, ..Source::default() };
            summary.add(&source.row(0));
            entries.push(Entry::Added { uid, modseq, octets, date, place, name });
            if entries.len() >= BATCH {
                self.say(&entries)?;
                entries.clear();
            }
        }
        summary.next_uid = next;
        entries.push(Entry::Stamps(Stamps { next_uid: next, ..self.stamps_now()? }));
        entries.push(Entry::Summary(summary));
        self.say(&entries)
    }

    fn say(&mut self, entries: &[Entry]) -> Result<(), StorageError> {
        self.log.append(entries).map_err(StorageError::at("append", self.maildir.path()))
    }
}

fn sync(path: &Path) -> Result<(), StorageError> {
    sys::sync_directory(path).map_err(StorageError::at("fsync", path))
}
