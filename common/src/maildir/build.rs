//! Putting a mailbox together: directories, uidlist and known octets become one sorted list; new messages get UIDs.
//!
//! Nothing is locked as long as every file is already in the uidlist. Otherwise the uidlist's lock is taken, whatever
//! changed meanwhile is read again, and new messages are numbered and recorded before anybody is shown a UID.
//! When recording is not possible (full, read-only), messages without a UID stay hidden until it is: a UID that is
//! different next time would make every client fetch everything again. If that would hide them all, one message is
//! shown under a unique-id of its own, so that the user can make room; in IMAP, which can say so, all of them.
//!
//! A file that comes back under the base name of an expunged message (restored from a backup, moved back) gets a new UID,
//! as with Dovecot: IMAP clients have been told that the old one is gone, and it must not come back (RFC 3501 section
//! 2.3.1.1). The index knows which UIDs these are. Without an index nobody has been told anything, and the line in the
//! uidlist counts.

mod built;
mod record;

pub(super) use built::{Built, VANISHED_MAX, forget_vanished};

use super::error::{ErrorKind, StorageError};
use super::index::{Index, hash_of_base};
use super::options::Options;
use super::scan::{self, Listing};
use super::sizes::Sizes;
use super::uidlist::UidList;
use super::uidlist_file::{self, OnDisk, Stamp};
use super::{Maildir, name, restore};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// No record.
pub(super) const NONE: u32 = u32::MAX;
/// How often the directories are read again when they change while they are read.
pub(super) const RESCANS: u32 = 3;
/// That many messages are counted at once, even if nobody asked for octets yet.
const COUNTED_EARLY: usize = 32;
/// Nobody has been told much of a mailbox whose uidlist is so young.
const YOUNG_MILLISECONDS: u64 = 60_000;
/// Time stamps this close together may belong to different changes.
pub(super) const RACY_NANOSECONDS: i64 = 2_000_000_000;

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
    let contradicted = match (old, &on_disk.list) {
        (Some(old), Some(list)) => contradicts(old, list, &listing),
        _ => Ok(false),
    };
    let contradicted = contradicted.map_err(StorageError::at("read", maildir.path()))?;
    // The numbers that it has given stay given, whatever they were for.
    let disbelieved = old.filter(|_| contradicted).map(|old| &old.header);
    let old = old.filter(|_| !contradicted);
    let least_modseq = disbelieved.map_or(0, |header| header.highest_modseq.saturating_add(1));
    let mut work = Work {
        maildir,
        options,
        listing,
        first_modseq: first_modseq(options, on_disk.list.is_some(), on_disk.stamp).max(least_modseq),
        on_disk,
        given: disbelieved.map(|header| (header.uid_validity, header.next_uid)),
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
    let mut built = work.finish(sizes, incomplete, old)?;
    built.unwritten = unwritten;
    Ok(built)
}

/// Whether a UID is another message's in the index: a backup was restored, and UIDs that had been given since were given once
/// more, or the index is another mailbox's. Then what it says of messages is not to be believed. A line of the list without a
/// file may be damaged, and tells nothing.
fn contradicts(old: &Index, list: &UidList, listing: &Listing) -> io::Result<bool> {
    if old.header.uid_validity != list.uid_validity {
        return Ok(false);
    }
    let mut i = 0;
    for record in 0..list.len() {
        while i < old.header.count && old.uid(i)? < list.uid(record) {
            i += 1;
        }
        if i == old.header.count {
            break;
        }
        let (row, base) = (old.row(i)?, list.base(record));
        let is_another = row.uid == list.uid(record) && row.base_hash != hash_of_base(base);
        if is_another && listing.find(base).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The mailbox while it is put together.
pub(super) struct Work<'a> {
    pub maildir: &'a Maildir,
    pub options: &'a Options<'a>,
    pub listing: Listing,
    pub on_disk: OnDisk,
    /// See [`first_modseq`].
    first_modseq: u64,
    /// UIDVALIDITY and next UID of an index that is not believed.
    given: Option<(u32, u32)>,
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
        let Some(list) = &mut self.on_disk.list else { return };
        if let Some((_, next_uid)) = self.given.filter(|given| given.0 == list.uid_validity) {
            list.needs_rewrite |= list.next_uid < next_uid;
            list.next_uid = list.next_uid.max(next_uid);
        }
        let Some(old) = old else { return };
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

    /// Where the message at this place of the listing is.
    pub fn path(&self, place: u32) -> std::path::PathBuf {
        let in_new = self.listing.entry(place).is_some_and(|entry| entry.in_new);
        let directory = self.maildir.path().join(if in_new { "new" } else { "cur" });
        directory.join(OsStr::from_bytes(self.listing.name(place)))
    }
}

/// The modification sequence that a mailbox begins with of which there is no index. Where there has been one, greater ones have been
/// told of it, and they must not go down under one UIDVALIDITY (RFC 7162 section 3.1): so it goes on from what no count of changes
/// has come to, the milliseconds since 1970. That may have been so if our lock was there, or another program's uidlist that is not
/// of the last minute.
pub(super) fn first_modseq(options: &Options<'_>, has_uidlist: bool, uidlist: Stamp) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(1).max(1);
    let made = u64::try_from(uidlist.mtime / 1_000_000).unwrap_or(0);
    let was_here = has_uidlist && (options.had_lock || now.saturating_sub(made) > YOUNG_MILLISECONDS);
    // Where there is no clock yet, later than the last change is late enough.
    if was_here { now.max(made) } else { 1 }
}

/// Whether a time stamp is so recent, or so wrong, that the host's clock cannot rule out a change right after it.
pub(super) fn is_recent(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_sub(stamp.mtime) < RACY_NANOSECONDS
}
