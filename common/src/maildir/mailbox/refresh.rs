//! Noticing what others did: sessions of ours through the log, other programs through the directories' time stamps.

use super::super::build::{self, Built};
use super::super::child::{self, Outcome};
use super::super::first_look;
use super::super::index::{self, Index};
use super::super::scan;
use super::super::snapshot::{self, INDEX_NAME};
use super::super::temp_index::TempIndex;
use super::super::uidlist_file::{self, Stamp};
use super::super::{ErrorKind, Maildir, Options, StorageError};
use super::differ::few_differences;
use super::late::Late;
use super::lock::{self, IndexLock};
use super::log::{Entry, Log, Stamps};
use super::mend::is_damage;
use super::tell::LOG_PART;
use super::view::{Effect, View};
use super::{Keywords, Mailbox, OpenOptions, Untold};
use crate::sys::fs as sys;
use std::cell::Cell;
use std::io;
use std::time::Duration;

/// From so many messages on a child reads the directories, and takes its memory along.
const CHILD_FROM: u32 = 1000;
/// So many octets of a log, of some 10,000 messages, are made one with their index by a child: what is in the log is in
/// every reader's memory.
const LONG_LOG: u64 = 1 << 20;

/// An index and its log, read to the end.
pub(in super::super) struct Loaded {
    pub view: View,
    pub log: Log,
    pub stamps: Stamps,
}

impl Loaded {
    /// What the files say; `None` if there is no index, or a damaged one.
    pub fn read(maildir: &Maildir) -> Option<Loaded> {
        Loaded::begin(maildir)?.end_soon(maildir)
    }

    /// With the log, which is made short first if it is long.
    fn end_soon(self, maildir: &Maildir) -> Option<Loaded> {
        if !self.log.is_long(&self.view.index) {
            return self.end();
        }
        match child::run(|| rewrite(maildir).unwrap_or(Outcome::Failed)) {
            Outcome::Written => Loaded::begin(maildir)?.end(),
            _ => self.end(),
        }
    }

    /// What the files say, with the log unread if it ends with a summary.
    pub(super) fn late(maildir: &Maildir) -> Option<(Late, Log, Stamps)> {
        let mut loaded = Loaded::begin(maildir)?;
        if !loaded.log.is_long(&loaded.view.index) {
            if let Some((stamps, summary)) = loaded.log.skip_to_summary() {
                return Some((Late::new(loaded.view, summary, &loaded.log), loaded.log, stamps));
            }
        }
        let Loaded { view, log, stamps } = loaded.end_soon(maildir)?;
        Some((view.into(), log, stamps))
    }

    /// The index alone.
    fn begin(maildir: &Maildir) -> Option<Loaded> {
        let directory = maildir.index()?;
        let index = snapshot::open_index(&directory.join(INDEX_NAME))?;
        let made = Stamp::of(&index.file()?.metadata().ok()?).mtime;
        let header = &index.header;
        let stamps = Stamps {
            new: header.new,
            cur: header.cur,
            uidlist: header.uidlist,
            keywords: header.keywords,
            made,
            next_uid: header.next_uid,
        };
        let log = Log::of(directory, index.nonce());
        Some(Loaded { view: View::new(index), log, stamps })
    }

    /// With the log.
    fn end(self) -> Option<Loaded> {
        let Loaded { mut view, mut log, mut stamps } = self;
        let read = view.read_on(&mut log, u64::MAX, &mut |entry| {
            if let Entry::Stamps(latest) = entry {
                stamps = *latest;
            }
        });
        read.ok()?;
        log.vouch();
        view.bury();
        view.announce();
        Some(Loaded { view, log, stamps })
    }

    /// All of it as one index in memory.
    pub fn merged(&self) -> io::Result<Option<Index>> {
        merged(&self.view, &self.stamps)
    }
}

/// Makes one index of the index and its log. Not where somebody is at work on them: then another time.
fn rewrite(maildir: &Maildir) -> Option<Outcome> {
    let directory = maildir.index()?;
    let _lock = IndexLock::take(directory, Duration::ZERO).ok()?;
    let loaded = Loaded::begin(maildir)?.end()?;
    let temp = TempIndex::begin(directory)?;
    let write = |file: &std::fs::File| loaded.view.write(file, &loaded.stamps);
    match temp.publish_made(&directory.join(INDEX_NAME), loaded.stamps.made, write) {
        Ok(()) => Some(Outcome::Written),
        Err(_) => {
            temp.discard();
            None
        }
    }
}

fn merged(view: &View, stamps: &Stamps) -> io::Result<Option<Index>> {
    let mut bytes = Vec::new();
    view.write(&mut bytes, stamps)?;
    Ok(Index::in_memory(bytes))
}

impl Log {
    /// Whether there is so much to be read on that a new index is worth it.
    fn is_long(&self, index: &Index) -> bool {
        let unread = self.length().saturating_sub(self.offset());
        unread > LONG_LOG && unread > index.length() as u64 / LOG_PART
    }
}

impl Mailbox {
    /// What the files say, without a look at the directories.
    pub(super) fn load(maildir: &Maildir, options: &OpenOptions) -> Result<Mailbox, StorageError> {
        let loaded = Loaded::late(maildir);
        let in_file = loaded.is_some();
        let (view, log, stamps) = match loaded {
            Some(loaded) => loaded,
            None => {
                let Loaded { view, log, stamps } = empty(maildir)?;
                (view.into(), log, stamps)
            }
        };
        Ok(Mailbox {
            maildir: maildir.clone(),
            options: *options,
            view,
            fresh: None,
            log,
            stamps,
            in_file,
            unwritten: None,
            keeps_modseq: in_file,
            keywords: Keywords::read(maildir.control())?,
            untold: Untold::default(),
            recent: Default::default(),
            token: super::super::blocks::nonce(),
            cache: None,
            directories: None,
            untaken: None,
            arrived: Default::default(),
            has_own_uids: false,
            had_lock: maildir.index().is_some_and(lock::is_there),
            is_damaged: Cell::new(false),
            gave_up_index: false,
        })
    }

    /// The first look: everything found is simply there.
    pub(super) fn refresh_first(&mut self) -> Result<(), StorageError> {
        if self.has_new_to_take() || self.view.uid_is_unset() || !self.is_current()? {
            let lock = self.lock()?;
            self.rescan_locked(lock.as_ref(), true)?;
        }
        self.take_untold()?;
        self.untold = Untold::default();
        self.arrived = Default::default();
        if !self.view.is_unread() {
            self.view.bury();
            self.view.announce();
        }
        self.settle_view();
        self.compact();
        Ok(())
    }

    /// Learns what others did.
    pub(super) fn refresh(&mut self) -> Result<(), StorageError> {
        self.with_mending(|mailbox| {
            mailbox.follow(false)?;
            if mailbox.is_current()? {
                return Ok(());
            }
            let lock = mailbox.lock()?;
            mailbox.rescan_locked(lock.as_ref(), false)
        })
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
        self.with_mending(|mailbox| {
            mailbox.follow(false)?;
            if mailbox.is_current()? { Ok(()) } else { mailbox.rescan_locked(lock, false) }
        })
    }

    fn rescan_locked(&mut self, lock: Option<&IndexLock>, first: bool) -> Result<(), StorageError> {
        self.follow(false)?;
        let nothing_to_take = !(first && self.has_new_to_take());
        if nothing_to_take && !self.view.uid_is_unset() && self.is_current()? {
            return Ok(());
        }
        // Since the lock was taken the index may have been given up.
        match lock.filter(|_| self.in_file || self.view.uid_is_unset()) {
            Some(_) if self.rescan_quickly()? => sys::release_free_memory(),
            Some(_) => self.rescan_into_file()?,
            None => self.rescan_into_memory()?,
        }
        Ok(())
    }

    /// Reads on in the log. `mine`: what is new there was found by this session.
    pub(super) fn follow(&mut self, mine: bool) -> Result<(), StorageError> {
        if !self.in_file {
            return Ok(());
        }
        if !self.has_index_in_place() || (self.log.is_long(self.newest_index()) && self.rewrite_index()) {
            return self.follow_to_new_index(mine);
        }
        self.read_on_in_log(mine)
    }

    /// What others have written into the log since the last time, and we.
    pub(super) fn read_on_in_log(&mut self, mine: bool) -> Result<(), StorageError> {
        let path = self.index_directory().join(INDEX_NAME);
        let mut log = std::mem::replace(&mut self.log, Log::nowhere());
        let mut taken = Ok(());
        let read = log.read(u64::MAX, &mut |entry| {
            if taken.is_ok() {
                taken = self.take(entry, mine);
            }
        });
        self.log = log;
        read.map_err(StorageError::at("read", &path))?;
        taken
    }

    /// The index that the log belongs to.
    fn newest_index(&self) -> &Index {
        self.fresh.as_ref().map_or(self.view.index(), |fresh| &fresh.index)
    }

    /// Whether that still is the file in the index directory.
    pub(super) fn has_index_in_place(&self) -> bool {
        let ours = self.newest_index().file().and_then(|file| file.metadata().ok());
        let now = Stamp::at(&self.index_directory().join(INDEX_NAME));
        ours.is_some_and(|ours| now.is_ok_and(|now| now.ino == Stamp::of(&ours).ino))
    }

    /// Not where this session holds the lock: then what is in the log is read.
    fn rewrite_index(&self) -> bool {
        child::run(|| rewrite(&self.maildir).unwrap_or(Outcome::Failed)) == Outcome::Written
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
        } else if let Entry::Added { place, .. } = &entry {
            if place & index::FRESH != 0 && !self.options.read_only {
                self.arrived.insert(uid);
            }
        }
        if let Some(fresh) = &mut self.fresh {
            let applied = fresh.apply(entry.clone());
            applied.map_err(|error| self.damaged_anew(error))?;
        }
        match self.view.apply(entry).map_err(|error| self.damaged(error))? {
            Effect::Flags(row) => self.untold.flags.insert(row),
            Effect::Expunged | Effect::Added | Effect::None => {}
        }
        Ok(())
    }

    fn build_options(&self) -> Options<'static> {
        Options {
            fsync: self.options.fsync,
            count_octets: false,
            lock_timeout: self.options.lock_timeout,
            own_uids: true,
            had_own_uids: self.has_own_uids,
            had_lock: self.had_lock || !self.view.uid_is_unset(),
            recent_of: (!self.options.read_only).then_some(self.token),
            ..Options::default()
        }
    }

    /// Reads the directories. What is different goes into the log; where that is much, into a new index.
    fn rescan_into_file(&mut self) -> Result<(), StorageError> {
        let Some(temp) = TempIndex::begin(self.index_directory()) else { return self.rescan_into_memory() };
        let large = self.view.rows() >= CHILD_FROM || scan::holds_at_least(self.maildir.path(), CHILD_FROM);
        let first = match large && self.view.uid_is_unset() {
            true => Some(first_look::stamps(&self.maildir)?),
            false => None,
        };
        let work = || self.rescan_into(&temp, first).unwrap_or(Outcome::Failed);
        let outcome = if large { child::run(work) } else { work() };
        match outcome {
            Outcome::Written => {
                self.in_file = true;
                self.follow(true)?;
                let is_untaken = self.stamps.cur == Stamp::default() && !self.options.read_only;
                self.untaken = first.filter(|_| is_untaken);
            }
            Outcome::Unchanged => {
                temp.discard();
                self.follow(true)?;
                self.conclude(vec![Entry::Stamps(self.stamps)])?;
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
            Outcome::Damaged => {
                temp.discard();
                return Err(self.damaged(io::ErrorKind::InvalidData.into()));
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

    /// `first`: nobody has an index of it, and this is what the directories are.
    fn rescan_into(&self, temp: &TempIndex, first: Option<(Stamp, Stamp)>) -> io::Result<Outcome> {
        let path = self.index_directory().join(INDEX_NAME);
        let found = first.map(|before| first_look::look(&self.maildir, &self.build_options(), before));
        match found {
            Some(Ok(Some(found))) => {
                temp.publish(&path, |file| found.write(file))?;
                return Ok(Outcome::Written);
            }
            Some(Err(error)) if error.kind == ErrorKind::InUse => return Ok(Outcome::Locked),
            // The other way does without a file, or says what is wrong.
            Some(Ok(None) | Err(_)) | None => {}
        }
        let old = match merged(&self.view, &self.stamps) {
            _ if self.view.uid_is_unset() => None,
            // Once it has been taken away it is made of what is there.
            Err(error) if is_damage(&error) && !self.has_index_in_place() => None,
            Err(error) if is_damage(&error) => return Ok(Outcome::Damaged),
            old => old?,
        };
        let built = build::build(&self.maildir, &self.build_options(), old.as_ref());
        let built = built.map_err(|error| error.source)?;
        match &built.incomplete {
            Some(error) if error.kind == ErrorKind::InUse => return Ok(Outcome::Locked),
            Some(_) => return Ok(Outcome::Failed),
            None => {}
        }
        // A UIDVALIDITY that stands nowhere else would be another one the next time.
        if built.unwritten.is_some() && built.header().uidlist == Stamp::default() {
            return Ok(Outcome::Failed);
        }
        // The log of an index that was removed is read by nobody.
        if let Some(old) = old.filter(|_| self.in_file && self.has_index_in_place()) {
            if let Some(mut entries) = few_differences(&old, &built)? {
                entries.push(Entry::Stamps(self.stamps_of(&built, temp.began())));
                Log::of(self.index_directory(), self.log_nonce())
                    .append_after(self.log.offset(), &entries)?;
                return Ok(Outcome::Unchanged);
            }
        }
        temp.publish(&path, |file| snapshot::write_built(file, &built))?;
        Ok(Outcome::Written)
    }

    fn log_nonce(&self) -> u64 {
        self.newest_index().nonce()
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
        let mut built = build::build(&self.maildir, &self.build_options(), old.as_ref())?;
        self.unwritten = built.unwritten.take();
        self.has_own_uids |= built.has_own_uids();
        let mut bytes = Vec::new();
        let path = self.maildir.path();
        snapshot::write_built(&mut bytes, &built).map_err(StorageError::at("read", path))?;
        let stamps = self.stamps_of(&built, built.header().new.mtime.max(built.header().cur.mtime));
        drop((old, built));
        let too_large =
            || StorageError::with_kind(ErrorKind::Corrupt, "read", path, "the mailbox is too large");
        let view = View::new(Index::in_memory(bytes).ok_or_else(too_large)?);
        self.adopt(Loaded { view, log: Log::nowhere(), stamps })?;
        sys::release_free_memory();
        Ok(())
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
    let log = maildir.index().map_or_else(Log::nowhere, |directory| Log::of(directory, index.nonce()));
    Ok(Loaded { view: View::new(index), log, stamps: Stamps::default() })
}
