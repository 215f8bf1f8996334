//! The mailbox as it was found, by UID, ready to be written as an index.

use super::super::error::StorageError;
use super::super::flags::Flags;
use super::super::index::{self, Extras, Index, Source, Vanished};
use super::super::scan::Listing;
use super::super::sizes::Sizes;
use super::super::uidlist::UidList;
use super::super::uidlist_file::Stamp;
use super::super::{courier, name, restore};
use super::{NONE, Work};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// That many vanished UIDs are remembered.
pub(in super::super) const VANISHED_MAX: usize = 8192;

/// A message that is shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    place: u32,
    record: u32,
}

/// What messages are called that could not be recorded: no other message and no other time has these.
#[derive(Debug)]
struct Stopgap {
    /// The first UID, and the UIDVALIDITY in which there are no others: what is recorded in the end has another, so that no client takes one
    /// message for the other (RFC 3501 section 2.3.1.1).
    uid: u32,
    uid_validity: u32,
    /// The unique-id, where one message is shown.
    unique_id: Option<Vec<u8>>,
}

/// What is known of a message from before.
#[derive(Debug, Clone, Copy)]
struct History {
    /// When its flags last changed.
    modseq: u64,
    /// Its date, if known.
    date: i64,
    /// See [`index::UNTOLD`].
    untold: bool,
}

/// The mailbox as it was found, ready to be written as an index.
pub(in super::super) struct Built {
    listing: Listing,
    list: UidList,
    uidlist_stamp: Stamp,
    shown: Vec<Shown>,
    octets: Vec<u64>,
    vanished: Vec<u32>,
    /// For each message of `shown`.
    history: Vec<History>,
    highest_modseq: u64,
    vanished_since: u64,
    /// POP3's order and the UIDs that vanished.
    pub extras: Extras,
    recent_of: u64,
    /// When none has a recorded UID.
    stopgap: Option<Stopgap>,
    /// Why messages without a UID are hidden, if they are.
    pub incomplete: Option<StorageError>,
    /// Why `dovecot-uidlist` could not be written, whether messages are hidden or not.
    pub unwritten: Option<StorageError>,
}

impl Work<'_> {
    /// Sorts, and hides or replaces what has no UID.
    pub fn finish(
        mut self,
        sizes: Sizes,
        incomplete: Option<StorageError>,
        old: Option<&Index>,
    ) -> Result<Built, StorageError> {
        let recorded = self.on_disk.list.as_ref().map(|list| list.uid_validity);
        // What this session has numbered keeps its numbers.
        let own = old.filter(|_| self.options.had_own_uids && incomplete.is_some());
        if let Some(list) = own.and_then(|old| restore::uidlist(old, &self.listing, Vec::new())) {
            self.on_disk.list = Some(list);
            self.join();
        }
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
            if !self.options.own_uids {
                places.truncate(1);
                stopgap = places.first().map(|&place| self.stopgap(place, &list));
            } else {
                stopgap = Some(Stopgap { uid: 1, uid_validity: own_uid_validity(recorded), unique_id: None });
            }
            shown.extend(places.into_iter().map(|place| Shown { place, record: NONE }));
        }
        let first = self.first_modseq;
        let mut built = Built {
            listing: self.listing,
            uidlist_stamp: self.on_disk.stamp,
            list,
            shown,
            octets: sizes.octets,
            vanished: sizes.vanished,
            history: Vec::new(),
            highest_modseq: first,
            vanished_since: first,
            extras: Extras { order, vanished: Vec::new() },
            recent_of: self.options.recent_of.unwrap_or(0),
            stopgap,
            incomplete,
            unwritten: None,
        };
        built.continue_history(old).map_err(StorageError::at("read", self.maildir.path()))?;
        Ok(built)
    }

    fn stopgap(&self, place: u32, list: &UidList) -> Stopgap {
        let meta = fs::metadata(self.path(place));
        let (mtime, dev, ino) = meta.map_or((0, 0, 0), |meta| (meta.mtime(), meta.dev(), meta.ino()));
        let unique_id = format!("ENOMEM-{mtime}-{dev}-{ino}").into_bytes();
        let mut hasher = DefaultHasher::new();
        (&unique_id, list.uid_validity).hash(&mut hasher);
        // Above the times that are UIDVALIDITYs now, and no negative number to anybody.
        let uid_validity = 0x7000_0000 | (hasher.finish() as u32 & 0x0fff_ffff);
        let uid_validity = uid_validity ^ u32::from(uid_validity == list.uid_validity);
        Stopgap { uid: list.next_uid, uid_validity, unique_id: Some(unique_id) }
    }
}

/// The UIDVALIDITY of a session that cannot record any: its own, because its UIDs may be other messages' in the next one. It is less than
/// those that are recorded, which are times as a rule: what comes later must be greater (RFC 3501 section 2.3.1.1).
fn own_uid_validity(recorded: Option<u32>) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let own = u32::try_from(now).unwrap_or(u32::MAX).saturating_sub(1 << 30);
    if recorded == Some(own) { own.saturating_sub(1).max(1) } else { own.max(1) }
}

impl Built {
    /// Whether no UID of it will be the same the next time.
    pub fn has_own_uids(&self) -> bool {
        self.stopgap.is_some()
    }

    fn uid(&self, i: usize, shown: Shown) -> u32 {
        match &self.stopgap {
            Some(it) => it.uid.saturating_add(u32::try_from(i).unwrap_or(u32::MAX)),
            None => self.list.uid(shown.record as usize),
        }
    }

    /// How many messages are shown.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Compares with the state before: what is as it was keeps its modification sequence, everything else gets the next
    /// one (RFC 7162 section 3.1), and what is no more is noted.
    fn continue_history(&mut self, old: Option<&Index>) -> io::Result<()> {
        let old = old.filter(|old| old.header.uid_validity == self.list.uid_validity);
        let Some(old) = old else {
            let unknown = History { modseq: self.highest_modseq, date: index::UNKNOWN_DATE, untold: false };
            self.history = vec![unknown; self.shown.len()];
            return Ok(());
        };
        let next = old.header.highest_modseq.saturating_add(1);
        self.extras.vanished = old.extras()?.vanished;
        self.vanished_since = old.header.vanished_since;
        self.highest_modseq = old.header.highest_modseq;
        let mut history = Vec::with_capacity(self.shown.len());
        let mut vanished = |uid| self.extras.vanished.push(Vanished { uid, modseq: next });
        let mut i = 0;
        for (at, &shown) in self.shown.iter().enumerate() {
            let uid = match &self.stopgap {
                Some(it) => it.uid.saturating_add(u32::try_from(at).unwrap_or(u32::MAX)),
                None => self.list.uid(shown.record as usize),
            };
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
            let same = before.filter(|row| row.mail_flags == flags);
            history.push(History {
                modseq: same.map_or(next, |row| row.modseq),
                date: before.map_or(index::UNKNOWN_DATE, |row| row.date),
                untold: before.is_some_and(|row| row.flags & index::UNTOLD != 0),
            });
        }
        while i < old.header.count {
            vanished(old.row(i)?.uid);
            i += 1;
        }
        let changed = history.iter().any(|it| it.modseq == next)
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
        (header.uid_validity, header.next_uid) = match &self.stopgap {
            Some(it) => {
                let count = u32::try_from(self.shown.len()).unwrap_or(u32::MAX);
                (it.uid_validity, it.uid.saturating_add(count))
            }
            None => (self.list.uid_validity, self.list.next_uid),
        };
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
        let unknown = History { modseq: 1, date: index::UNKNOWN_DATE, untold: false };
        let History { modseq, date, untold } = self.history.get(i).copied().unwrap_or(unknown);
        Source {
            uid: self.uid(i, shown),
            octets: self.octets.get(shown.place as usize).copied().unwrap_or(index::UNKNOWN),
            modseq,
            date,
            flags: if in_new { index::IN_NEW } else { 0 }
                | if untold && !in_new && !recent { index::UNTOLD } else { 0 }
                | if vanished { index::VANISHED } else { 0 }
                | if recent { index::RECENT } else { 0 },
            name: file_name,
            unique_id: self.stopgap.as_ref().map_or(unique_id, |it| it.unique_id.as_deref()),
            guid: self.list.field(record, b'G').filter(|guid| !guid.is_empty()),
        }
    }
}

/// Keeps the list of vanished UIDs within its limit, and remembers up to when it is no longer whole.
pub(in super::super) fn forget_vanished(vanished: &mut Vec<Vanished>, since: &mut u64) {
    let surplus = vanished.len().saturating_sub(VANISHED_MAX);
    if let Some(last) = surplus.checked_sub(1).and_then(|last| vanished.get(last)) {
        *since = (*since).max(last.modseq);
        vanished.drain(..surplus);
    }
}
