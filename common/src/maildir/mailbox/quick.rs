//! Looking at the directories again, when the uidlist is as it was: names are compared with what is known by a number
//! made of each, and only what is different costs more than that.
//!
//! Whatever is not plain (two files with one base, an order of POP3's own, messages in `new` that have UIDs already and are
//! not to be moved) is left to the slower way, which reads everything.

use super::super::build::RACY_NANOSECONDS;
use super::super::dotlock::Dotlock;
use super::super::error::StorageError;
use super::super::flags::Flags;
use super::super::index::{self, hash_of_base};
use super::super::name;
use super::super::numbered::Numbered;
use super::super::scan;
use super::super::uidlist::{UID_LIMIT, print_plain_line};
use super::super::uidlist_file::{self, Stamp};
use super::Mailbox;
use super::change::place_of;
use super::log::{Entry, Stamps};
use crate::sys::fs as sys;
use std::collections::{HashMap, HashSet};

/// How often the directories are read again while they change.
const PASSES: u32 = 3;
/// How long `cur` need not be read, in nanoseconds, while its time stamp is young and changes with each message that we take.
const UNREAD_MAX: i64 = 10_000_000_000;
/// More new messages than this at once are for the slower way, which needs no memory for them here.
const NEW_MAX: usize = 4096;

/// The known messages by the numbers of their base names.
struct Table {
    rows: Numbered,
    /// Directories are in no order, and reading rows here and there would take long.
    known: Vec<Known>,
}

/// What is known of a message, in eight octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    keywords: u32,
    bits: u8,
    /// [`index::STATE`].
    place: u8,
}

impl Known {
    fn of(flags: Flags, place: u16) -> Known {
        let place = (place & index::STATE) as u8;
        Known { keywords: flags.keywords, bits: flags.bits, place }
    }

    fn is(&self, place: u16) -> bool {
        u16::from(self.place) & place != 0
    }
}

/// What a look at the directories found.
#[derive(Default)]
struct Found {
    /// Row, flags and place of messages that are not as they were.
    changed: Vec<(u32, Flags, u16)>,
    /// Names of files that are not known, and their place.
    unknown: Vec<(Box<[u8]>, u16)>,
    seen: Rows,
    odd: bool,
}

/// A bit for each row: with an octet, a mailbox of 100,000 would be a tenth more.
#[derive(Default)]
struct Rows(Vec<u64>);

impl Rows {
    fn of(count: usize) -> Rows {
        Rows(vec![0; count.div_ceil(64)])
    }

    fn contains(&self, row: u32) -> bool {
        self.0.get(row as usize / 64).is_some_and(|bits| bits >> (row % 64) & 1 != 0)
    }

    /// Whether it was there already.
    fn insert(&mut self, row: u32) -> bool {
        let before = self.contains(row);
        self.0.get_mut(row as usize / 64).into_iter().for_each(|bits| *bits |= 1 << (row % 64));
        before
    }
}

impl Mailbox {
    /// Finds out what changed, under the lock, and says it in the log. `false`: it has to be done the slower way.
    pub(super) fn rescan_quickly(&mut self) -> Result<bool, StorageError> {
        let usable = self.in_file
            && self.fresh.is_none()
            && !self.view.uid_is_unset()
            && self.stamps.uidlist != Stamp::default()
            && !self.view.index().is_ordered();
        if !usable || self.stamps.uidlist != self.uidlist_stamp()? {
            return Ok(false);
        }
        let Some(began) = super::super::temp_index::clock(self.index_directory()) else { return Ok(false) };
        let Some(table) = self.table().map_err(|error| self.damaged(error))? else { return Ok(false) };
        let mut unread = self.cur_need_not_be_read(began)?;
        let mut taken = HashMap::new();
        if !self.options.read_only {
            scan::take_new(self.maildir.path(), &mut |file_name| {
                taken.insert(name::base(file_name).to_vec(), file_name.into());
            });
        }
        let mut found = Found { seen: Rows::of(self.view.rows() as usize), ..Found::default() };
        let mut stamps = self.look(&table, &taken, unread, &mut found)?;
        for _ in 1..PASSES {
            // A file that is renamed while its directory is read may not have been listed at all.
            let missing = self.missing(&table, &found).next().is_some();
            let path = self.maildir.path();
            let still =
                (stamps.0, stamps.1) == (Stamp::at(&path.join("new"))?, Stamp::at(&path.join("cur"))?);
            if !missing || (still && !unread && stamps.0.mtime.max(stamps.1.mtime) < began) {
                break;
            }
            found.changed.clear();
            found.unknown.clear();
            unread = false;
            stamps = self.look(&table, &taken, unread, &mut found)?;
        }
        if found.odd || found.unknown.len() > NEW_MAX {
            return Ok(false);
        }
        let modseq = self.view.highest_modseq().saturating_add(1);
        let mut entries = Vec::new();
        for row in self.missing(&table, &found) {
            let uid = self.view.row(row).map_err(|error| self.damaged(error))?.uid;
            entries.push(Entry::Expunged { uid, modseq });
        }
        for &(row, flags, place) in &found.changed {
            let data = self.view.row(row).map_err(|error| self.damaged(error))?;
            // That it moved from new to cur is no change of its flags.
            let modseq = if flags == data.mail_flags { data.modseq } else { modseq };
            entries.push(Entry::Flags { uid: data.uid, modseq, flags, place });
        }
        let Some((uidlist, next_uid)) = self.number(found.unknown, modseq, &mut entries)? else {
            return Ok(false);
        };
        entries.push(Entry::Stamps(Stamps {
            new: stamps.0,
            cur: stamps.1,
            uidlist,
            keywords: self.keywords.stamp,
            // With an old `made` the stamps stay doubtful, and `cur` is read once they have come of age.
            made: if unread { self.stamps.made } else { began },
            next_uid,
        }));
        self.conclude(entries)?;
        Ok(true)
    }

    /// Whether `cur` is as it was when its names were last looked at: then only what is moved there now is new in it. What
    /// somebody else does there at the same moment is seen later, when the new time stamp has come of age.
    fn cur_need_not_be_read(&self, began: i64) -> Result<bool, StorageError> {
        let Stamps { new, cur, made, .. } = self.stamps;
        let settled = made.saturating_sub(new.mtime.max(cur.mtime)) >= RACY_NANOSECONDS;
        let lately = (0..UNREAD_MAX).contains(&began.saturating_sub(made))
            && (0..RACY_NANOSECONDS).contains(&began.saturating_sub(cur.mtime));
        Ok((settled || lately) && cur == Stamp::at(&self.maildir.path().join("cur"))?)
    }

    fn uidlist_stamp(&self) -> Result<Stamp, StorageError> {
        Stamp::at(&self.maildir.control().join(uidlist_file::NAME))
    }

    fn table(&self) -> std::io::Result<Option<Table>> {
        let rows = self.view.rows() as usize;
        let (mut hashes, mut known) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..self.view.rows() {
            let lives = !self.view.is_gone(row) && !self.view.dead.contains(row);
            let data = self.view.row(row)?;
            // No base has the number 0 to speak of; it stands for nothing.
            hashes.push(if lives { data.base_hash } else { 0 });
            known.push(Known::of(data.mail_flags, data.flags));
        }
        Ok(Numbered::of(hashes).map(|rows| Table { rows, known }))
    }

    fn missing(&self, table: &Table, found: &Found) -> impl Iterator<Item = u32> {
        let rows = (0u32..).zip(table.rows.hashes());
        let is_missing = |(row, hash): &(u32, &u64)| **hash != 0 && !found.seen.contains(*row);
        let missing: Vec<u32> = rows.filter(is_missing).map(|(row, _)| row).collect();
        missing.into_iter()
    }

    /// Reads `new`, then `cur`: what moves meanwhile is seen there. `unread`: of `cur` only what was taken is new.
    fn look(
        &self,
        table: &Table,
        taken: &HashMap<Vec<u8>, Box<[u8]>>,
        unread: bool,
        found: &mut Found,
    ) -> Result<(Stamp, Stamp), StorageError> {
        let path = self.maildir.path();
        let stamps = (Stamp::at(&path.join("new"))?, Stamp::at(&path.join("cur"))?);
        let mut twice = Rows::of(table.known.len());
        let mut meet = |file_name: &[u8], in_new: bool| {
            let base = name::base(file_name);
            let row = table.rows.find(hash_of_base(base));
            // A base that is known has been found to be one. Most names have nothing but letters behind it.
            let letters = file_name.get(base.len()..).and_then(|info| info.strip_prefix(b":2,"));
            let letters = letters.filter(|letters| letters.iter().all(u8::is_ascii_alphabetic));
            if (row.is_none() || letters.is_none()) && !scan::is_message_name(file_name) {
                return;
            }
            let known = row.and_then(|row| table.known.get(row as usize)).copied();
            // Who wrote the index has told its client of those that it marked, whoever moves them.
            let told = known.is_some_and(|known| known.is(index::RECENT));
            let recent = !told && !taken.is_empty() && taken.contains_key(base);
            let untold = known.map_or(0, |known| u16::from(known.place) & index::UNTOLD);
            let place = index::settled(place_of(in_new) | untold | if recent { index::RECENT } else { 0 });
            let Some(row) = row else {
                if found.unknown.len() <= NEW_MAX {
                    found.unknown.push((file_name.into(), place));
                }
                return;
            };
            let flags = letters.map_or_else(|| Flags::of_name(file_name), Flags::of_letters);
            // In both directories, or twice in one: it was renamed just now, or there are two of them.
            found.odd |= twice.insert(row);
            found.seen.insert(row);
            let same = known == Some(Known::of(flags, place | if told { index::RECENT } else { 0 }));
            if !same {
                found.changed.push((row, flags, place));
            }
        };
        for (directory, in_new) in [("new", true), ("cur", false)] {
            if unread && !in_new {
                taken.values().for_each(|file_name| meet(file_name, false));
                continue;
            }
            let directory = path.join(directory);
            let read = sys::for_each_name(&directory, &mut |file_name, is_directory| {
                if !is_directory {
                    meet(file_name, in_new);
                }
            });
            read.map_err(StorageError::at("readdir", &directory))?;
        }
        if unread {
            let in_cur = (0u32..).zip(&table.known).filter(|(_, known)| !known.is(index::IN_NEW));
            in_cur.for_each(|(row, _)| _ = found.seen.insert(row));
        }
        Ok(stamps)
    }

    /// Gives new messages their UIDs, and records them in the uidlist. Returns its new stamp and the next UID; `None`
    /// if it cannot be done here.
    fn number(
        &self,
        mut unknown: Vec<(Box<[u8]>, u16)>,
        modseq: u64,
        entries: &mut Vec<Entry>,
    ) -> Result<Option<(Stamp, u32)>, StorageError> {
        let first = self.view.next_uid();
        if unknown.is_empty() {
            return Ok(Some((self.stamps.uidlist, first)));
        }
        let count = u32::try_from(unknown.len()).unwrap_or(UID_LIMIT);
        let bases: HashSet<&[u8]> = unknown.iter().map(|(file_name, _)| name::base(file_name)).collect();
        if bases.len() != unknown.len() || UID_LIMIT - first <= count {
            return Ok(None);
        }
        drop(bases);
        let lock = match uidlist_file::lock(self.maildir.control(), self.options.lock_timeout) {
            // The slower way does without.
            Err(error) if error.is_unwritable() => return Ok(None),
            lock => lock?,
        };
        if self.uidlist_stamp()? != self.stamps.uidlist {
            return Ok(None);
        }
        let mut order: Vec<usize> = (0..unknown.len()).collect();
        name::sort_by_delivery(&mut order, &|i| unknown.get(i).map_or(&[][..], |(file_name, _)| file_name));
        let mut lines = Vec::new();
        for (uid, i) in (first..).zip(order) {
            let Some((file_name, place)) = unknown.get_mut(i) else { continue };
            let file_name = std::mem::take(file_name);
            print_plain_line(uid, name::base(&file_name), &mut lines);
            let octets = name::size_hint(&file_name, b'W').unwrap_or(index::UNKNOWN);
            let (date, place) = (index::UNKNOWN_DATE, *place);
            entries.push(Entry::Added { uid, modseq, octets, date, place, name: file_name });
        }
        let stamp = self.append_to_uidlist(&lines, &lock)?;
        Ok(stamp.map(|stamp| (stamp, first + count)))
    }

    fn append_to_uidlist(&self, lines: &[u8], lock: &Dotlock) -> Result<Option<Stamp>, StorageError> {
        let (control, fsync) = (self.maildir.control(), self.options.fsync);
        let mut print = |out: &mut Vec<u8>| {
            out.extend_from_slice(lines);
            Ok(false)
        };
        match uidlist_file::append_lines(control, self.stamps.uidlist, lock, fsync, &mut print) {
            Ok(stamp) => Ok(Some(stamp)),
            // The slower way says what can be said of it.
            Err(_) => Ok(None),
        }
    }
}
