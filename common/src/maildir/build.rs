//! Putting a mailbox together: directories, uidlist and known octets become one sorted list; new messages get UIDs.
//!
//! Nothing is locked as long as every file is already in the uidlist. Otherwise the uidlist's lock is taken, whatever
//! changed meanwhile is read again, and new messages are numbered and recorded before anybody is shown a UID.
//! When recording is not possible (full, read-only), messages without a UID stay hidden until it is: a UID that is
//! different next time would make every client fetch everything again. If that would hide them all, one message is
//! shown under a unique-id of its own, so that the user can make room.
//!
//! A file that comes back under the base name of an expunged message (restored from a backup, moved back) gets a new UID,
//! as with Dovecot: IMAP clients have been told that the old one is gone, and it must not come back (RFC 3501 section
//! 2.3.1.1). The index knows which UIDs these are. Without an index nobody has been told anything, and the line in the
//! uidlist counts.

use super::courier::{self, DefaultUniqueId};
use super::dotlock::Dotlock;
use super::error::{ErrorKind, StorageError};
use super::flags::Flags;
use super::index::{self, Extras, Index, Source, Vanished};
use super::octets::{COUNT_TIME, EARLY_TIME, Patience};
use super::scan::{self, Listing};
use super::sizes::Sizes;
use super::uidlist::{UID_LIMIT, UidList};
use super::uidlist_file::{self, OnDisk, Stamp};
use super::{Maildir, name, restore, uidvalidity};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No record.
pub(super) const NONE: u32 = u32::MAX;
/// How often the directories are read again when they change while they are read.
pub(super) const RESCANS: u32 = 3;
/// Rewrite the uidlist when less than this part of its lines is still alive. Dovecot's value.
const ALIVE_PERCENT: usize = 75;
/// That many vanished UIDs are remembered.
const VANISHED_MAX: usize = 8192;
/// That many messages are counted at once, even if nobody asked for octets yet.
const COUNTED_EARLY: usize = 32;
/// Time stamps this close together may belong to different changes.
pub(super) const RACY_NANOSECONDS: i64 = 2_000_000_000;

/// How to open a mailbox.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Wait for the disk after writing the uidlist.
    pub fsync: bool,
    /// Count the octets of messages whose size nobody knows. Without it they stay unknown.
    pub count_octets: bool,
    /// For how long, at one go.
    pub count_time: Duration,
    /// Called now and then while octets are counted: keeps locks alive. `false`: one is lost, and counting ends.
    pub keep: Option<&'a dyn Fn() -> bool>,
    /// How long to wait for another program's lock on the uidlist.
    pub lock_timeout: Duration,
    /// The lock on the uidlist, where the caller holds it already: nobody can take it twice, not even a child of the
    /// holder.
    pub held_lock: Option<&'a Dotlock>,
    /// From this many messages on the snapshot is a file.
    pub index_from: u32,
    /// Messages in `new` are moved to `cur`, and are this session's recent ones. `None`: they stay.
    pub recent_of: Option<u64>,
    /// For taking over Courier's unique-ids: what they would be without an override.
    pub default_unique_id: Option<&'a DefaultUniqueId<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            fsync: true,
            count_octets: true,
            count_time: COUNT_TIME,
            keep: None,
            lock_timeout: Duration::from_secs(30),
            held_lock: None,
            index_from: 128,
            recent_of: None,
            default_unique_id: None,
        }
    }
}

impl<'a> Options<'a> {
    /// For octets that somebody asked for.
    pub(super) fn patience(&self) -> Patience<'a> {
        Patience { time: self.count_time, gives_up: true, keep: self.keep }
    }

    /// For those that nobody may want.
    pub(super) fn early_patience(&self) -> Patience<'a> {
        Patience { time: self.count_time.min(EARLY_TIME), gives_up: false, keep: self.keep }
    }
}

/// The uidlist's lock: the caller's, or one for the moment.
pub(super) enum Locked<'a> {
    Held(&'a Dotlock),
    Taken(Dotlock),
}

impl<'a> Locked<'a> {
    /// Takes it if the caller does not hold it.
    pub fn take(maildir: &Maildir, options: &Options<'a>) -> Result<Locked<'a>, StorageError> {
        match options.held_lock {
            Some(lock) => Ok(Locked::Held(lock)),
            None => uidlist_file::lock(maildir.control(), options.lock_timeout).map(Locked::Taken),
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Dotlock;

    fn deref(&self) -> &Dotlock {
        match self {
            Locked::Held(lock) => lock,
            Locked::Taken(lock) => lock,
        }
    }
}

/// A message that is shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    place: u32,
    record: u32,
}

/// The mailbox as it was found, ready to be written as an index.
pub(super) struct Built {
    listing: Listing,
    list: UidList,
    uidlist_stamp: Stamp,
    shown: Vec<Shown>,
    octets: Vec<u64>,
    vanished: Vec<u32>,
    /// For each message of `shown` when its flags last changed, and its date if known.
    history: Vec<(u64, i64)>,
    highest_modseq: u64,
    vanished_since: u64,
    /// POP3's order and the UIDs that vanished.
    pub extras: Extras,
    recent_of: u64,
    /// UID, unique-id of the one message shown when none has a recorded UID.
    stopgap: Option<(u32, Vec<u8>)>,
    /// Why messages without a UID are hidden, if they are.
    pub incomplete: Option<StorageError>,
    /// Why `dovecot-uidlist` could not be written, whether messages are hidden or not.
    pub unwritten: Option<StorageError>,
}

/// Reads the mailbox. `old` is an index of it that is out of date.
pub(super) fn build(
    maildir: &Maildir,
    options: &Options<'_>,
    old: Option<&Index>,
) -> Result<Built, StorageError> {
    let mut taken = Vec::new();
    if options.recent_of.is_some() {
        scan::take_new(maildir.path(), &mut |file_name| taken.push(name::base(file_name).to_vec()));
    }
    let mut listing = Listing::read(maildir.path())?;
    listing.mark_recent(&taken);
    let (on_disk, unreadable) = match uidlist_file::read(maildir.control()) {
        // What the index says is true all the same.
        Err(error) if error.kind == ErrorKind::NoPerm && old.is_some() => {
            let stamp = Stamp::at(&maildir.control().join(uidlist_file::NAME))?;
            (OnDisk { stamp, ..OnDisk::default() }, Some(error))
        }
        read => (read?, None),
    };
    let mut work = Work {
        maildir,
        options,
        listing,
        on_disk,
        taken,
        record_of: Vec::new(),
        alive: Vec::new(),
        expunged: Vec::new(),
    };
    work.continue_after(old);
    work.note_expunged(old).map_err(StorageError::at("read", maildir.path()))?;
    work.join();
    for attempt in 0..RESCANS {
        if !(work.has_dead_records() && work.may_have_missed_a_rename(attempt)?) {
            break;
        }
        work.rescan(true)?;
    }
    let mut sizes = Sizes::known(&work, old);
    if work.counts_now(&sizes, old) {
        sizes.count(&mut work, old)?;
    }
    let (mut incomplete, mut unwritten) = (None, None);
    let recorded = match unreadable {
        Some(error) => Err(error),
        None if work.needs_recording(&sizes) => work.record(&mut sizes, old),
        None => Ok(()),
    };
    match recorded {
        Ok(()) => {}
        Err(error)
            if error.is_unwritable()
                || error.kind == ErrorKind::InUse
                || (error.kind == ErrorKind::Corrupt && old.is_some()) =>
        {
            unwritten = Some(error.duplicate());
            incomplete = Some(error).filter(|_| work.has_new_files());
        }
        Err(error) => return Err(error),
    }
    let built = work.finish(sizes, incomplete, old)?;
    Ok(Built { unwritten, ..built })
}

/// The mailbox while it is put together.
pub(super) struct Work<'a> {
    pub maildir: &'a Maildir,
    pub options: &'a Options<'a>,
    pub listing: Listing,
    pub on_disk: OnDisk,
    /// Bases of the messages that were moved from `new` just now.
    taken: Vec<Vec<u8>>,
    /// For each place of the listing its record, or NONE.
    pub record_of: Vec<u32>,
    /// For each record whether a file belongs to it.
    alive: Vec<bool>,
    /// UIDs of messages that are said to be gone, ascending.
    expunged: Vec<u32>,
}

impl Work<'_> {
    /// Brings files and records together. Of two records with one base the later one counts.
    fn join(&mut self) {
        self.record_of = vec![NONE; self.listing.len()];
        let records = self.on_disk.list.as_ref().map_or(0, UidList::len);
        self.alive = vec![false; records];
        let Some(list) = &self.on_disk.list else { return };
        for (i, record) in (0..records).zip(0u32..) {
            let Some(place) = self.listing.find(list.base(i)) else { continue };
            if !self.expunged.is_empty() && self.expunged.binary_search(&list.uid(i)).is_ok() {
                continue;
            }
            let Some(slot) = self.record_of.get_mut(place as usize) else { continue };
            let earlier = std::mem::replace(slot, record);
            if let Some(alive) = self.alive.get_mut(earlier as usize) {
                *alive = false;
            }
            if let Some(alive) = self.alive.get_mut(i) {
                *alive = true;
            }
        }
    }

    /// A uidlist that lost its end must not give the lost UIDs to other messages: the old index may know of them.
    fn continue_after(&mut self, old: Option<&Index>) {
        let (Some(list), Some(old)) = (&mut self.on_disk.list, old) else { return };
        if list.uid_validity == old.header.uid_validity {
            if list.broken_lines > 0 {
                restore::lost_end(list, old);
            }
            list.next_uid = list.next_uid.max(old.header.next_uid);
        }
    }

    fn note_expunged(&mut self, old: Option<&Index>) -> io::Result<()> {
        let validity = self.on_disk.list.as_ref().map(|list| list.uid_validity);
        if let Some(old) = old.filter(|old| Some(old.header.uid_validity) == validity) {
            self.expunged = old.extras()?.vanished.iter().map(|vanished| vanished.uid).collect();
            self.expunged.sort_unstable();
        }
        Ok(())
    }

    /// Reads the directories again. A file that is renamed just then may be in neither listing; with `keep`, messages
    /// that have a UID and were listed before stay, and are looked for by their base name when somebody opens them.
    pub fn rescan(&mut self, keep: bool) -> Result<(), StorageError> {
        let before = std::mem::replace(&mut self.listing, Listing::read(self.maildir.path())?);
        if keep {
            let known =
                (0u32..).zip(&self.record_of).filter(|&(_, &record)| record != NONE).map(|(place, _)| place);
            self.listing.adopt(&before, known);
        }
        self.listing.mark_recent(&self.taken);
        self.join();
        Ok(())
    }

    fn has_dead_records(&self) -> bool {
        self.alive.contains(&false)
    }

    /// A file that is renamed while its directory is read may not be listed at all. Whether that can have happened:
    /// the directory changed meanwhile, or so recently that its time stamp would not tell.
    fn may_have_missed_a_rename(&self, attempt: u32) -> Result<bool, StorageError> {
        let recent = attempt == 0 && (is_recent(self.listing.new) || is_recent(self.listing.cur));
        Ok(recent || self.listing.is_outdated(self.maildir.path())?)
    }

    fn has_new_files(&self) -> bool {
        self.record_of.contains(&NONE)
    }

    fn needs_recording(&self, sizes: &Sizes) -> bool {
        let rewrite = self.on_disk.list.as_ref().is_none_or(|list| list.needs_rewrite);
        rewrite || self.has_new_files() || self.listing.has_duplicates() || sizes.counted_recorded
    }

    /// Whether octets are counted before anybody asks for them: what somebody will ask for soon is written once this
    /// way, not twice. So in mailboxes where that has been done before, and in small ones, if it does not take long.
    fn counts_now(&self, sizes: &Sizes, old: Option<&Index>) -> bool {
        let small = self.listing.len() < self.options.index_from as usize;
        let usual = small || old.is_some_and(|old| old.header.unknown == 0);
        self.options.count_octets || (usual && sizes.unknown() <= COUNTED_EARLY)
    }

    /// Gives new messages their UIDs and writes them down, under the lock.
    fn record(&mut self, sizes: &mut Sizes, old: Option<&Index>) -> Result<(), StorageError> {
        let control = self.maildir.control();
        let lock = Locked::take(self.maildir, self.options)?;
        let repaired = self.listing.has_duplicates() && self.listing.repair_duplicates(self.maildir.path());
        let list_changed = Stamp::at(&control.join(uidlist_file::NAME))? != self.on_disk.stamp;
        let files_changed = repaired || self.listing.is_outdated(self.maildir.path())?;
        let before = if list_changed || files_changed {
            std::mem::take(sizes).remembered(self)
        } else {
            Sizes::default()
        };
        if list_changed {
            self.on_disk = uidlist_file::read(control)?;
            self.continue_after(old);
        }
        if files_changed {
            self.rescan(!repaired)?;
        }
        if list_changed || files_changed {
            self.join();
            *sizes = Sizes::known(self, old);
            sizes.merge(before);
            let _ = lock.refresh();
            if self.counts_now(sizes, old) {
                sizes.count(self, old)?;
            }
        }
        if self.on_disk.list.is_none() {
            let list = self.first_list(old)?;
            self.on_disk.list = Some(list);
            self.join();
        }
        let mut new: Vec<u32> = (0u32..)
            .zip(&self.record_of)
            .filter(|&(_, &record)| record == NONE)
            .map(|(place, _)| place)
            .collect();
        name::sort_by_delivery(&mut new, &|place| self.listing.name(place));
        let Some(list) = &mut self.on_disk.list else { return Ok(()) };
        let recorded = list.len();
        if UID_LIMIT - list.next_uid <= u32::try_from(new.len()).unwrap_or(UID_LIMIT) {
            // The UIDs are used up: the same messages under a new UIDVALIDITY.
            let fresh = uidvalidity::next(self.maildir.shared(), list.uid_validity, self.options.fsync)
                .map_err(StorageError::at("create", control))?;
            list.renumber(fresh);
        }
        for (place, &record) in (0u32..).zip(&self.record_of) {
            if let Some(octets) = sizes.to_record(place).filter(|_| record != NONE) {
                list.set_field(record as usize, b'W', octets.to_string().as_bytes());
            }
        }
        let rewrite = list.needs_rewrite || self.on_disk.stamp == Stamp::default();
        for place in new {
            let (uid, record) = (list.next_uid, u32::try_from(list.len()).unwrap_or(NONE));
            let added = list.add_with_uid(self.listing.name(place), uid, sizes.to_record(place));
            if let Some(slot) = self.record_of.get_mut(place as usize).filter(|_| added) {
                *slot = record;
                self.alive.push(true);
            }
        }
        list.needs_rewrite = rewrite;
        let alive = self.alive.iter().filter(|&&alive| alive).count();
        let compact = alive * 100 < list.len() * ALIVE_PERCENT;
        let fsync = self.options.fsync;
        let mut gives_up = false;
        let written = if rewrite || compact {
            // Only where no rename can have hidden a file from us are records without a file given up.
            let settled = !is_racy(self.listing.new, &lock) && !is_racy(self.listing.cur, &lock);
            if list.guid.is_empty() {
                list.guid = uidvalidity::new_guid(control);
            }
            gives_up = settled && self.alive.contains(&false);
            if gives_up {
                let mut tidy = list.clone();
                tidy.forget(|i| self.alive.get(i).copied().unwrap_or(true));
                let stamp = uidlist_file::rewrite(control, &tidy, &lock, fsync);
                stamp.inspect(|_| *list = tidy)
            } else {
                uidlist_file::rewrite(control, list, &lock, fsync)
            }
        } else {
            uidlist_file::append(control, list, recorded, self.on_disk.stamp, &lock, fsync)
        };
        match written {
            Ok(stamp) => {
                list.needs_rewrite = false;
                self.on_disk.stamp = stamp;
                if gives_up {
                    self.join();
                }
                Ok(())
            }
            Err(error) => {
                list.forget(|i| i < recorded);
                self.join();
                Err(error)
            }
        }
    }

    /// The uidlist of a mailbox that has none: what the index knows of a lost one, Courier's, or an empty one.
    fn first_list(&self, old: Option<&Index>) -> Result<UidList, StorageError> {
        let (control, shared) = (self.maildir.control(), self.maildir.shared());
        let guid = uidvalidity::new_guid(control);
        if let Some(list) = old.and_then(|old| restore::uidlist(old, &self.listing, guid.clone())) {
            return Ok(list);
        }
        let fresh =
            || uidvalidity::next(shared, 0, self.options.fsync).map_err(StorageError::at("create", shared));
        let taken = courier::take_over(
            self.maildir.path(),
            &self.listing,
            guid.clone(),
            fresh,
            self.options.default_unique_id,
        )?;
        match taken {
            Some(list) => Ok(list),
            None => Ok(UidList::new(fresh()?, guid)),
        }
    }

    /// Sorts, and hides or replaces what has no UID.
    fn finish(
        mut self,
        sizes: Sizes,
        incomplete: Option<StorageError>,
        old: Option<&Index>,
    ) -> Result<Built, StorageError> {
        if self.on_disk.list.is_none() {
            let restored = old.and_then(|old| restore::uidlist(old, &self.listing, Vec::new()));
            let list = restored.unwrap_or_else(|| {
                // Nothing could be recorded. Courier's numbers are still the same next time.
                let none = || Ok::<u32, ()>(1);
                let usual = self.options.default_unique_id;
                let taken = courier::take_over(self.maildir.path(), &self.listing, Vec::new(), none, usual);
                taken.ok().flatten().unwrap_or_else(|| UidList::new(1, Vec::new()))
            });
            self.on_disk.list = Some(list);
            self.join();
        }
        let list = self.on_disk.list.take().unwrap_or_default();
        let mut shown: Vec<(u64, Shown)> = Vec::with_capacity(self.record_of.len());
        for (place, &record) in (0u32..).zip(&self.record_of) {
            if record != NONE {
                let order = list.field(record as usize, b'O').and_then(name::decimal);
                shown.push((order.unwrap_or(u64::from(u32::MAX)), Shown { place, record }));
            }
        }
        // Records ascend by UID.
        shown.sort_unstable_by_key(|&(_, shown)| shown.record);
        let mut order = Vec::new();
        if !shown.is_sorted_by_key(|&(order, _)| order) {
            order = (0u32..).take(shown.len()).collect();
            order.sort_by_key(|&row| shown.get(row as usize).map_or(0, |&(order, _)| order));
        }
        let mut shown: Vec<Shown> = shown.into_iter().map(|(_, shown)| shown).collect();
        let mut stopgap = None;
        if shown.is_empty() && !self.record_of.is_empty() && incomplete.is_some() {
            let mut places: Vec<u32> = (0u32..).zip(&self.record_of).map(|(place, _)| place).collect();
            name::sort_by_delivery(&mut places, &|place| self.listing.name(place));
            if let Some(&place) = places.first() {
                stopgap = Some((list.next_uid, self.stopgap_unique_id(place)));
                shown.push(Shown { place, record: NONE });
            }
        }
        let mut built = Built {
            listing: self.listing,
            uidlist_stamp: self.on_disk.stamp,
            list,
            shown,
            octets: sizes.octets,
            vanished: sizes.vanished,
            history: Vec::new(),
            highest_modseq: 1,
            vanished_since: 1,
            extras: Extras { order, vanished: Vec::new() },
            recent_of: self.options.recent_of.unwrap_or(0),
            stopgap,
            incomplete,
            unwritten: None,
        };
        built.continue_history(old).map_err(StorageError::at("read", self.maildir.path()))?;
        Ok(built)
    }

    /// A unique-id for a message that cannot be recorded: no other message and no other time has it.
    fn stopgap_unique_id(&self, place: u32) -> Vec<u8> {
        let meta = fs::metadata(self.path(place));
        let (mtime, dev, ino) = meta.map_or((0, 0, 0), |meta| (meta.mtime(), meta.dev(), meta.ino()));
        format!("ENOMEM-{mtime}-{dev}-{ino}").into_bytes()
    }

    /// Where the message at this place of the listing is.
    pub fn path(&self, place: u32) -> std::path::PathBuf {
        let in_new = self.listing.entry(place).is_some_and(|entry| entry.in_new);
        let directory = self.maildir.path().join(if in_new { "new" } else { "cur" });
        directory.join(OsStr::from_bytes(self.listing.name(place)))
    }
}

/// Whether the directory changed so shortly before the lock was taken that a change may have gone unseen.
fn is_racy(directory: Stamp, lock: &Dotlock) -> bool {
    lock.created().saturating_sub(directory.mtime) < RACY_NANOSECONDS
}

impl Built {
    /// How many messages are shown.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Compares with the state before: what is as it was keeps its modification sequence, everything else gets the next
    /// one (RFC 7162 section 3.1), and what is no more is noted.
    fn continue_history(&mut self, old: Option<&Index>) -> io::Result<()> {
        let old = old.filter(|old| old.header.uid_validity == self.list.uid_validity);
        let Some(old) = old else {
            self.history = vec![(1, index::UNKNOWN_DATE); self.shown.len()];
            return Ok(());
        };
        let next = old.header.highest_modseq.saturating_add(1);
        self.extras.vanished = old.extras()?.vanished;
        self.vanished_since = old.header.vanished_since;
        self.highest_modseq = old.header.highest_modseq;
        let mut history = Vec::with_capacity(self.shown.len());
        let mut vanished = |uid| self.extras.vanished.push(Vanished { uid, modseq: next });
        let mut i = 0;
        for &shown in &self.shown {
            let uid = self.stopgap.as_ref().map_or(self.list.uid(shown.record as usize), |&(uid, _)| uid);
            let mut before = None;
            while i < old.header.count {
                let row = old.row(i)?;
                if row.uid > uid {
                    break;
                }
                if row.uid == uid {
                    before = Some(row)
                } else {
                    vanished(row.uid)
                }
                i += 1;
            }
            let flags = Flags::of_name(self.listing.name(shown.place));
            history.push(match before {
                Some(row) if row.mail_flags == flags => (row.modseq, row.date),
                Some(row) => (next, row.date),
                None => (next, index::UNKNOWN_DATE),
            });
        }
        while i < old.header.count {
            vanished(old.row(i)?.uid);
            i += 1;
        }
        let changed = history.iter().any(|&(modseq, _)| modseq == next)
            || self.extras.vanished.last().is_some_and(|last| last.modseq == next);
        if changed {
            self.highest_modseq = next;
        }
        self.history = history;
        forget_vanished(&mut self.extras.vanished, &mut self.vanished_since);
        Ok(())
    }

    /// What an index of this mailbox begins with.
    pub fn header(&self) -> index::Header {
        let mut header = index::Header::default();
        (header.uid_validity, header.next_uid) = (self.list.uid_validity, self.list.next_uid);
        (header.new, header.cur, header.uidlist) = (self.listing.new, self.listing.cur, self.uidlist_stamp);
        (header.highest_modseq, header.vanished_since) = (self.highest_modseq, self.vanished_since);
        header.recent_of = self.recent_of;
        header
    }

    /// Gives the messages to `visit`, by UID.
    pub fn messages(&self, visit: index::Visit<'_>) -> io::Result<()> {
        for (i, &shown) in self.shown.iter().enumerate() {
            visit(&self.source(i, shown))?;
        }
        Ok(())
    }

    fn source(&self, i: usize, shown: Shown) -> Source<'_> {
        let (file_name, record) = (self.listing.name(shown.place), shown.record as usize);
        let entry = self.listing.entry(shown.place);
        let (in_new, recent) = entry.map_or((false, false), |entry| (entry.in_new, entry.recent));
        let vanished = self.vanished.binary_search(&shown.place).is_ok();
        // An empty P means the base name.
        let unique_id = self.list.field(record, b'P');
        let unique_id = unique_id.map(|id| if id.is_empty() { name::base(file_name) } else { id });
        let (modseq, date) = self.history.get(i).copied().unwrap_or((1, index::UNKNOWN_DATE));
        Source {
            uid: self.stopgap.as_ref().map_or(self.list.uid(record), |&(uid, _)| uid),
            octets: self.octets.get(shown.place as usize).copied().unwrap_or(index::UNKNOWN),
            modseq,
            date,
            flags: if in_new { index::IN_NEW } else { 0 }
                | if vanished { index::VANISHED } else { 0 }
                | if recent { index::RECENT } else { 0 },
            name: file_name,
            unique_id: self.stopgap.as_ref().map_or(unique_id, |(_, id)| Some(id)),
            guid: self.list.field(record, b'G').filter(|guid| !guid.is_empty()),
        }
    }
}

/// Keeps the list of vanished UIDs within its limit, and remembers up to when it is no longer whole.
pub(crate) fn forget_vanished(vanished: &mut Vec<Vanished>, since: &mut u64) {
    let surplus = vanished.len().saturating_sub(VANISHED_MAX);
    if let Some(last) = surplus.checked_sub(1).and_then(|last| vanished.get(last)) {
        *since = (*since).max(last.modseq);
        vanished.drain(..surplus);
    }
}

/// Whether a time stamp is so recent, or so wrong, that the host's clock cannot rule out a change right after it.
fn is_recent(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_sub(stamp.mtime) < RACY_NANOSECONDS
}
