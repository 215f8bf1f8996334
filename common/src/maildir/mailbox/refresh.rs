//! Noticing what others did: sessions of ours through the log, other programs through the directories' time stamps.

use super::super::build::{self, Built, RACY_NANOSECONDS};
use super::super::child::{self, Outcome};
use super::super::index::{self, Index};
use super::super::scan;
use super::super::snapshot::{self, INDEX_NAME};
use super::super::temp_index::TempIndex;
use super::super::uidlist_file::{self, Stamp};
use super::super::{ErrorKind, Maildir, Options, StorageError};
use super::lock::IndexLock;
use super::log::{Entry, Log, Stamps};
use super::view::{Effect, View};
use super::{Event, Keywords, Mailbox, OpenOptions, Untold};
use crate::sys::fs as sys;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// From so many messages on a child reads the directories, and takes its memory along.
const CHILD_FROM: u32 = 1000;
/// A log of so many octets is worth a new index once it is as long as a part of that.
const LOG_MAX: u64 = 64 * 1024;
/// So many dates, and a fourth of all, are worth a new index.
const LEARNED_MIN: usize = 64;
/// More of them than this are not kept in mind.
const LEARNED_MAX: usize = 1024;
/// The part: one sixteenth.
const LOG_PART: u64 = 16;

/// An index and its log, read to the end.
pub(in super::super) struct Loaded {
    pub view: View,
    pub log: Log,
    pub stamps: Stamps,
}

impl Loaded {
    /// What the files say; `None` if there is no index, or a damaged one.
    pub fn read(maildir: &Maildir) -> Option<Loaded> {
        let directory = maildir.index()?;
        let index = snapshot::open_index(&directory.join(INDEX_NAME))?;
        let made = Stamp::of(&index.file()?.metadata().ok()?).mtime;
        let header = &index.header;
        let mut stamps = Stamps {
            new: header.new,
            cur: header.cur,
            uidlist: header.uidlist,
            keywords: header.keywords,
            made,
            next_uid: header.next_uid,
        };
        let mut log = Log::of(directory, index.nonce());
        let mut view = View::new(index);
        let mut damaged = false;
        let read = log.read(u64::MAX, &mut |entry| {
            if let Entry::Stamps(latest) = &entry {
                stamps = *latest;
            }
            damaged |= view.apply(entry).is_err();
        });
        if read.is_err() || damaged {
            return None;
        }
        view.bury();
        view.announce();
        Some(Loaded { view, log, stamps })
    }

    /// All of it as one index in memory.
    pub fn merged(&self) -> io::Result<Option<Index>> {
        merged(&self.view, &self.stamps)
    }
}

fn merged(view: &View, stamps: &Stamps) -> io::Result<Option<Index>> {
    let mut bytes = Vec::new();
    view.write(&mut bytes, stamps)?;
    Ok(Index::in_memory(bytes))
}

impl Mailbox {
    /// What the files say, without a look at the directories.
    pub(super) fn load(maildir: &Maildir, options: &OpenOptions) -> Result<Mailbox, StorageError> {
        let loaded = Loaded::read(maildir);
        let in_file = loaded.is_some();
        let loaded = match loaded {
            Some(loaded) => loaded,
            None => empty(maildir)?,
        };
        Ok(Mailbox {
            maildir: maildir.clone(),
            options: *options,
            view: loaded.view,
            fresh: None,
            log: loaded.log,
            stamps: loaded.stamps,
            in_file,
            keywords: Keywords::read(maildir.control())?,
            untold: Untold::default(),
            recent: Default::default(),
            token: super::super::blocks::nonce(),
            cache: None,
        })
    }

    /// The first look: everything found is simply there.
    pub(super) fn refresh_first(&mut self) -> Result<(), StorageError> {
        if self.has_new_to_take() || self.view.uid_is_unset() || !self.is_current()? {
            let lock = self.lock()?;
            self.rescan_locked(lock.as_ref(), true)?;
        }
        self.untold = Untold::default();
        self.view.bury();
        self.view.announce();
        self.settle_view();
        self.compact();
        Ok(())
    }

    /// Learns what others did.
    pub(super) fn refresh(&mut self) -> Result<(), StorageError> {
        self.follow(false)?;
        if self.is_current()? {
            return Ok(());
        }
        let lock = self.lock()?;
        self.rescan_locked(lock.as_ref(), false)
    }

    /// The lock under which files change; `None` where they cannot.
    pub(super) fn lock(&mut self) -> Result<Option<IndexLock>, StorageError> {
        if self.maildir.index().is_none() || (!self.in_file && !self.view.uid_is_unset()) {
            return Ok(None);
        }
        match IndexLock::take(self.index_directory(), self.options.lock_timeout) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind == ErrorKind::InUse => Err(error),
            Err(_) => {
                self.in_file = false;
                Ok(None)
            }
        }
    }

    /// Brings the view up to date under the lock.
    pub(super) fn refresh_locked(&mut self, lock: Option<&IndexLock>) -> Result<(), StorageError> {
        self.follow(false)?;
        if self.is_current()? { Ok(()) } else { self.rescan_locked(lock, false) }
    }

    fn rescan_locked(&mut self, lock: Option<&IndexLock>, first: bool) -> Result<(), StorageError> {
        self.follow(false)?;
        let nothing_to_take = !(first && self.has_new_to_take());
        if nothing_to_take && !self.view.uid_is_unset() && self.is_current()? {
            return Ok(());
        }
        match lock {
            Some(_) if self.rescan_quickly()? => sys::release_free_memory(),
            Some(_) => self.rescan_into_file()?,
            None => self.rescan_into_memory()?,
        }
        Ok(())
    }

    /// Whether messages lie in `new` that this session will move.
    fn has_new_to_take(&self) -> bool {
        let known = self.view.index.header.in_new > 0 || self.view.weight() > 0;
        known && !self.options.read_only && scan::has_new(self.maildir.path())
    }

    /// Whether nothing changed but what is known: the time stamps are the same, and old enough, seen from when they were
    /// taken, that no later change can have the same. Those that are too young wait until they are not.
    fn is_current(&mut self) -> Result<bool, StorageError> {
        let path = self.maildir.path();
        let (new, cur) = (Stamp::at(&path.join("new"))?, Stamp::at(&path.join("cur"))?);
        if cur == Stamp::default() || new == Stamp::default() {
            let why = "the mailbox is no more";
            return Err(StorageError::with_kind(ErrorKind::NotFound, "stat", path, why));
        }
        let control = self.maildir.control();
        let keywords = Stamp::at(&control.join(super::keywords::NAME))?;
        if keywords != self.keywords.stamp {
            let before = std::mem::replace(&mut self.keywords, Keywords::read(control)?);
            self.untold.keywords |= before.names != self.keywords.names;
        }
        let stamps = &self.stamps;
        if (stamps.new, stamps.cur) != (new, cur)
            || stamps.uidlist != Stamp::at(&control.join(uidlist_file::NAME))?
        {
            return Ok(false);
        }
        let changed = new.mtime.max(cur.mtime);
        if stamps.made.saturating_sub(changed) >= RACY_NANOSECONDS {
            return Ok(true);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        Ok((0..RACY_NANOSECONDS).contains(&now.saturating_sub(changed)))
    }

    /// Reads on in the log. `mine`: what is new there was found by this session.
    pub(super) fn follow(&mut self, mine: bool) -> Result<(), StorageError> {
        if !self.in_file {
            return Ok(());
        }
        let path = self.index_directory().join(INDEX_NAME);
        let ours = |index: &Index| index.file().and_then(|file| file.metadata().ok());
        let index = self.fresh.as_ref().map_or(&self.view.index, |fresh| &fresh.index);
        let same =
            ours(index).is_some_and(|meta| Stamp::at(&path).is_ok_and(|now| now.ino == Stamp::of(&meta).ino));
        if !same {
            return self.follow_to_new_index();
        }
        let mut entries = Vec::new();
        let read = self.log.read(u64::MAX, &mut |entry| entries.push(entry));
        read.map_err(StorageError::at("read", &path))?;
        for entry in entries {
            self.take(entry, mine)?;
        }
        Ok(())
    }

    /// Takes one change into account, and notes what the client has to be told of it.
    pub(super) fn take(&mut self, entry: Entry, mine: bool) -> Result<(), StorageError> {
        if let Entry::Stamps(stamps) = &entry {
            self.stamps = *stamps;
        }
        let (uid, recent) = match &entry {
            Entry::Flags { uid, place, .. } | Entry::Added { uid, place, .. } => {
                (*uid, mine && place & index::RECENT != 0)
            }
            _ => (0, false),
        };
        if recent {
            self.recent.insert(uid);
            self.untold.recent = true;
        }
        if let Some(fresh) = &mut self.fresh {
            let applied = fresh.apply(entry.clone());
            applied.map_err(|error| self.damaged(error))?;
        }
        match self.view.apply(entry).map_err(|error| self.damaged(error))? {
            Effect::Flags(row) => self.untold.flags.insert(row),
            Effect::Expunged | Effect::Added | Effect::None => {}
        }
        Ok(())
    }

    /// The index was replaced: the differences are what changed.
    fn follow_to_new_index(&mut self) -> Result<(), StorageError> {
        let Some(loaded) = Loaded::read(&self.maildir) else {
            // It was removed. The view is all that is left; the next look at the directories makes a new one.
            self.stamps = Stamps::default();
            return Ok(());
        };
        self.adopt(loaded)
    }

    pub(super) fn adopt(&mut self, loaded: Loaded) -> Result<(), StorageError> {
        if self.view.uid_is_unset() {
            self.note_recent(&loaded.view)?;
            (self.view, self.log, self.stamps) = (loaded.view, loaded.log, loaded.stamps);
            self.view.announced = 0;
            return Ok(());
        }
        if loaded.view.index.header.uid_validity != self.uid_validity() {
            let path = self.maildir.path();
            let why = "the mailbox was replaced by another one";
            return Err(StorageError::with_kind(ErrorKind::NotFound, "read", path, why));
        }
        self.note_recent(&loaded.view)?;
        let entries = self.differences(&loaded.view).map_err(|error| self.damaged(error))?;
        self.fresh = None;
        for entry in entries {
            self.take(entry, false)?;
        }
        self.view.highest_modseq = self.view.highest_modseq.max(loaded.view.highest_modseq);
        self.view.next_uid = self.view.next_uid.max(loaded.view.next_uid);
        (self.log, self.stamps) = (loaded.log, loaded.stamps);
        self.fresh = Some(loaded.view);
        Ok(())
    }

    fn note_recent(&mut self, view: &View) -> Result<(), StorageError> {
        if view.index.header.recent_of != self.token || self.options.read_only {
            return Ok(());
        }
        for row in 0..view.rows() {
            let data = view.row(row).map_err(|error| self.damaged(error))?;
            if data.flags & index::RECENT != 0 && !self.recent.contains(data.uid) {
                self.recent.insert(data.uid);
                self.untold.recent = true;
            }
        }
        Ok(())
    }

    /// What leads from this view to the other.
    fn differences(&self, other: &View) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut theirs = 0;
        let modseq = other.highest_modseq;
        let mut last = 0;
        for row in 0..self.view.rows() {
            let mine = self.view.row(row)?;
            last = mine.uid;
            while theirs < other.rows() && other.row(theirs)?.uid < mine.uid {
                theirs += 1;
            }
            if self.view.is_gone(row) || self.view.dead.contains(row) {
                continue;
            }
            let found = if theirs < other.rows() { Some(other.row(theirs)?) } else { None };
            match found.filter(|found| found.uid == mine.uid) {
                None => entries.push(Entry::Expunged { uid: mine.uid, modseq }),
                Some(found)
                    if (found.mail_flags, found.modseq, found.flags & index::IN_NEW)
                        != (mine.mail_flags, mine.modseq, mine.flags & index::IN_NEW) =>
                {
                    let (flags, place) = (found.mail_flags, found.flags & index::IN_NEW);
                    entries.push(Entry::Flags { uid: mine.uid, modseq: found.modseq, flags, place });
                }
                Some(_) => {}
            }
        }
        let mut name = Vec::new();
        for row in other.at_or_after(last.saturating_add(1))?..other.rows() {
            let found = other.row(row)?;
            other.name(row, &found, &mut name)?;
            let (uid, modseq, octets, date) = (found.uid, found.modseq, found.octets, found.date);
            let place = found.flags & index::IN_NEW;
            entries.push(Entry::Added { uid, modseq, octets, date, place, name: name.as_slice().into() });
        }
        Ok(entries)
    }

    fn build_options(&self) -> Options<'static> {
        Options {
            fsync: self.options.fsync,
            count_octets: false,
            lock_timeout: self.options.lock_timeout,
            recent_of: (!self.options.read_only).then_some(self.token),
            ..Options::default()
        }
    }

    /// Reads the directories. What is different goes into the log; where that is much, into a new index.
    fn rescan_into_file(&mut self) -> Result<(), StorageError> {
        let Some(temp) = TempIndex::begin(self.index_directory()) else { return self.rescan_into_memory() };
        let large = self.view.rows() >= CHILD_FROM || scan::holds_at_least(self.maildir.path(), CHILD_FROM);
        let work = || self.rescan_into(&temp).unwrap_or(Outcome::Failed);
        let outcome = if large { child::run(work) } else { work() };
        match outcome {
            Outcome::Written => {
                self.in_file = true;
                self.follow(true)?;
            }
            Outcome::Unchanged => {
                temp.discard();
                self.follow(true)?;
            }
            Outcome::Locked => {
                temp.discard();
                return Err(StorageError::with_kind(
                    ErrorKind::InUse,
                    "lock",
                    self.maildir.control().join(uidlist_file::NAME),
                    "another program",
                ));
            }
            Outcome::Failed => {
                temp.discard();
                return self.rescan_into_memory();
            }
        }
        if !large {
            sys::release_free_memory();
        }
        Ok(())
    }

    fn rescan_into(&self, temp: &TempIndex) -> io::Result<Outcome> {
        let old = if self.view.uid_is_unset() { None } else { merged(&self.view, &self.stamps)? };
        let built = build::build(&self.maildir, &self.build_options(), old.as_ref());
        let built = built.map_err(|error| error.source)?;
        match &built.incomplete {
            Some(error) if error.kind == ErrorKind::InUse => return Ok(Outcome::Locked),
            Some(_) => return Ok(Outcome::Failed),
            None => {}
        }
        if let Some(old) = old.filter(|_| self.in_file) {
            if let Some(mut entries) = few_differences(&old, &built)? {
                entries.push(Entry::Stamps(self.stamps_of(&built, temp.began())));
                Log::of(self.index_directory(), self.log_nonce())
                    .append_after(self.log.offset(), &entries)?;
                return Ok(Outcome::Unchanged);
            }
        }
        let path = self.index_directory().join(INDEX_NAME);
        temp.publish(&path, |file| snapshot::write_built(file, &built))?;
        Ok(Outcome::Written)
    }

    fn log_nonce(&self) -> u64 {
        self.fresh.as_ref().map_or(self.view.index.nonce(), |fresh| fresh.index.nonce())
    }

    fn stamps_of(&self, built: &Built, made: i64) -> Stamps {
        let header = built.header();
        Stamps {
            new: header.new,
            cur: header.cur,
            uidlist: header.uidlist,
            keywords: self.keywords.stamp,
            made,
            next_uid: header.next_uid,
        }
    }

    /// The same without a file to write to.
    fn rescan_into_memory(&mut self) -> Result<(), StorageError> {
        self.in_file = false;
        let old =
            if self.view.uid_is_unset() { None } else { merged(&self.view, &self.stamps).ok().flatten() };
        let built = build::build(&self.maildir, &self.build_options(), old.as_ref())?;
        let mut bytes = Vec::new();
        let path = self.maildir.path();
        snapshot::write_built(&mut bytes, &built).map_err(StorageError::at("read", path))?;
        let stamps = self.stamps_of(&built, built.header().new.mtime.max(built.header().cur.mtime));
        drop((old, built));
        let too_large =
            || StorageError::with_kind(ErrorKind::Corrupt, "read", path, "the mailbox is too large");
        let view = View::new(Index::in_memory(bytes).ok_or_else(too_large)?);
        let log = Log::of(Path::new(""), 0);
        self.adopt(Loaded { view, log, stamps })?;
        sys::release_free_memory();
        Ok(())
    }

    /// Learns what others did and tells what the client has not been told yet, in the order in which it has to be told.
    /// Without `may_expunge` EXPUNGEs wait (RFC 3501 section 7.4.1).
    pub fn sync(&mut self, may_expunge: bool, report: &mut dyn FnMut(Event)) -> Result<(), StorageError> {
        self.refresh()?;
        if may_expunge {
            self.view.bury().into_iter().for_each(|msn| report(Event::Expunge(msn)));
        }
        let grown = self.view.announce();
        if grown {
            report(Event::Exists(self.view.len()));
        }
        if grown || std::mem::take(&mut self.untold.recent) {
            report(Event::Recent(self.recent()));
        }
        if std::mem::take(&mut self.untold.keywords) {
            report(Event::Keywords);
        }
        for row in self.untold.flags.take() {
            self.view.msn_of(row).into_iter().for_each(|msn| report(Event::Flags(msn)));
        }
        for row in self.untold.modseqs.take() {
            self.view.msn_of(row).into_iter().for_each(|msn| report(Event::Modseq(msn)));
        }
        self.settle_view();
        self.compact();
        Ok(())
    }

    /// Once everything has been told, the newer index replaces the one with the lists of changes.
    fn settle_view(&mut self) {
        if !self.view.dead.is_empty() || self.view.announced != self.view.rows() {
            return;
        }
        if let Some(mut fresh) = self.fresh.take() {
            fresh.bury();
            fresh.announce();
            self.view = fresh;
        }
    }

    /// Writes a new index if the log has become long. Another session that is at it, or a full disk, is no matter.
    fn compact(&mut self) {
        let long =
            self.log.offset() > LOG_MAX && self.log.offset() > self.view.index.length() as u64 / LOG_PART;
        // Dates of many messages: whoever asks for them once asks again.
        self.view.learned.sort_unstable();
        self.view.learned.dedup_by_key(|&mut (row, _)| row);
        let learned = self.view.learned.len();
        let much = learned >= LEARNED_MIN && learned >= self.view.rows() as usize / 4;
        if !much {
            self.view.learned.truncate(LEARNED_MAX);
        }
        if !self.in_file || !(long || much) || self.fresh.is_some() || !self.view.dead.is_empty() {
            return;
        }
        let Ok(_lock) = IndexLock::take(self.index_directory(), std::time::Duration::ZERO) else { return };
        // Somebody may have appended just now: then another time.
        let offset = self.log.offset();
        if self.follow(false).is_err() || self.fresh.is_some() || self.log.offset() != offset {
            return;
        }
        let Some(temp) = TempIndex::begin(self.index_directory()) else { return };
        let path = self.index_directory().join(INDEX_NAME);
        let published =
            temp.publish_made(&path, self.stamps.made, |file| self.view.write(file, &self.stamps));
        if published.is_err() {
            temp.discard();
            return;
        }
        drop(temp);
        self.view.learned = Vec::new();
        let _ = self.follow(false);
        self.settle_view();
        sys::release_free_memory();
    }
}

impl View {
    /// Nothing has been read yet.
    pub(super) fn uid_is_unset(&self) -> bool {
        self.index.header.uid_validity == 0
    }
}

/// The view of a mailbox that nobody has looked at.
fn empty(maildir: &Maildir) -> Result<Loaded, StorageError> {
    let mut bytes = Vec::new();
    let header = index::Header::default();
    let written = index::write(&mut bytes, header, &index::Extras::default(), |_| Ok(()));
    let index = written.ok().and_then(|()| Index::in_memory(bytes));
    let index = index
        .ok_or_else(|| StorageError::with_kind(ErrorKind::Temp, "read", maildir.path(), "no empty index"))?;
    let log = Log::of(maildir.index().unwrap_or(Path::new("")), index.nonce());
    Ok(Loaded { view: View::new(index), log, stamps: Stamps::default() })
}

/// What is different, as entries of the log; `None` if that is much, or cannot be said there.
fn few_differences(old: &Index, built: &Built) -> io::Result<Option<Vec<Entry>>> {
    let header = built.header();
    let limit = 256 + old.header.count as usize / 32;
    if old.header.uid_validity != header.uid_validity || !built.extras.order.is_empty() {
        return Ok(None);
    }
    let (mut entries, mut i, mut sayable) = (Vec::new(), 0, true);
    let (mut space, modseq) = (Vec::new(), header.highest_modseq);
    built
        .messages(&mut |new| {
            while i < old.header.count && old.row(i)?.uid < new.uid {
                entries.push(Entry::Expunged { uid: old.row(i)?.uid, modseq });
                i += 1;
            }
            let row = if i < old.header.count { Some(old.row(i)?) } else { None };
            match row.filter(|row| row.uid == new.uid) {
                Some(row) => {
                    i += 1;
                    let before = old.parts(&row, &mut space)?;
                    sayable &= (before.unique_id, before.guid) == (new.unique_id, new.guid);
                    let now = new.row(0);
                    let place = new.flags & (index::IN_NEW | index::RECENT);
                    if now.mail_flags != row.mail_flags || place != row.flags & index::IN_NEW {
                        let (uid, modseq, flags) = (new.uid, new.modseq, now.mail_flags);
                        entries.push(Entry::Flags { uid, modseq, flags, place });
                    } else {
                        // Letters in another order, or such as mean nothing; octets that were counted.
                        sayable &= before.name == new.name && row.octets == new.octets;
                    }
                }
                None => {
                    sayable &= new.unique_id.is_none() && new.guid.is_none() && i >= old.header.count;
                    let (uid, modseq, octets, date) = (new.uid, new.modseq, new.octets, new.date);
                    let place = new.flags & (index::IN_NEW | index::RECENT);
                    entries.push(Entry::Added { uid, modseq, octets, date, place, name: new.name.into() });
                }
            }
            if sayable && entries.len() <= limit { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
        })
        .or_else(|error| if error.kind() == io::ErrorKind::Other { Ok(()) } else { Err(error) })?;
    while i < old.header.count && entries.len() <= limit {
        entries.push(Entry::Expunged { uid: old.row(i)?.uid, modseq });
        i += 1;
    }
    Ok((sayable && entries.len() <= limit).then_some(entries))
}
