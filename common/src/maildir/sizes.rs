//! Every message's octets: from its name, the uidlist, an earlier index, or by counting.

use super::build::{NONE, RESCANS, Work};
use super::error::StorageError;
use super::index::{self, Index};
use super::name;
use super::octets::{Counted, Counter};
use std::io;

/// Octets by place in the listing.
#[derive(Default)]
pub(super) struct Sizes {
    pub octets: Vec<u64>,
    /// Counted in this session and not in any name: worth recording.
    counted: Vec<u32>,
    /// One of them belongs to a message that already has a record.
    pub counted_recorded: bool,
    /// Places, ascending, of messages that could not be counted.
    pub vanished: Vec<u32>,
    /// From an earlier state of the directories, by base name.
    earlier: std::collections::HashMap<Vec<u8>, u64>,
}

impl Sizes {
    /// What names, uidlist and an old index know.
    pub fn known(work: &Work<'_>, old: Option<&Index>) -> Sizes {
        let mut unknown = false;
        let octets = (0u32..).zip(&work.record_of).map(|(place, &record)| {
            let in_name = name::size_hint(work.listing.name(place), b'W');
            let in_list = || work.on_disk.list.as_ref()?.field(record as usize, b'W').and_then(name::decimal);
            let size = in_name.or_else(in_list).filter(|&size| size != index::UNKNOWN);
            unknown |= size.is_none();
            size.unwrap_or(index::UNKNOWN)
        });
        let mut sizes = Sizes { octets: octets.collect(), ..Sizes::default() };
        if let (true, Some(old)) = (unknown, old) {
            sizes.take_from(work, old);
        }
        sizes
    }

    fn take_from(&mut self, work: &Work<'_>, old: &Index) {
        let mut space = Vec::new();
        for i in 0..old.header.count {
            let Ok(row) = old.row(i) else { return };
            if row.octets == index::UNKNOWN || row.flags & index::VANISHED != 0 {
                continue;
            }
            let Ok(message) = old.parts(&row, &mut space) else { return };
            let place = work.listing.find(name::base(message.name));
            let slot = place.and_then(|place| self.octets.get_mut(place as usize));
            if let Some(slot) = slot.filter(|slot| **slot == index::UNKNOWN) {
                *slot = row.octets;
            }
        }
    }

    /// How many are not known.
    pub fn unknown(&self) -> usize {
        self.octets.iter().filter(|&&octets| octets == index::UNKNOWN).count()
    }

    /// Counts in one pass what is still unknown. Files that moved meanwhile are looked for in a fresh listing; what is
    /// gone then has 0 octets. What there is no time for stays unknown.
    pub fn count(&mut self, work: &mut Work<'_>, old: Option<&Index>) -> Result<(), StorageError> {
        for attempt in 0..RESCANS {
            let missing = self.count_once(work)?;
            if missing.is_empty() {
                return Ok(());
            }
            if attempt + 1 == RESCANS {
                for &place in &missing {
                    if let Some(slot) = self.octets.get_mut(place as usize) {
                        *slot = 0;
                    }
                }
                self.vanished.extend(missing);
                self.vanished.sort_unstable();
                return Ok(());
            }
            let before = std::mem::take(self).remembered(work);
            work.rescan(false)?;
            *self = Sizes::known(work, old);
            self.merge(before);
        }
        Ok(())
    }

    /// Counts every unknown message that can be read; returns the places of those that are not there.
    fn count_once(&mut self, work: &Work<'_>) -> Result<Vec<u32>, StorageError> {
        let mut missing = Vec::new();
        if !self.octets.contains(&index::UNKNOWN) {
            return Ok(missing);
        }
        let options = work.options;
        let patience = if options.count_octets { options.patience() } else { options.early_patience() };
        let mut counter = Counter::new(work.maildir.path(), patience)?;
        for (place, slot) in (0u32..).zip(&mut self.octets) {
            if *slot != index::UNKNOWN {
                continue;
            }
            if let Some(&size) = self.earlier.get(name::base(work.listing.name(place))) {
                *slot = size;
            } else {
                let in_new = work.listing.entry(place).is_some_and(|entry| entry.in_new);
                match counter.count(in_new, work.listing.name(place)) {
                    Ok(Counted::Octets(size)) => *slot = size,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        missing.push(place);
                        continue;
                    }
                    Ok(Counted::Later) => continue,
                    // Unreadable for us: shown with 0 octets; fetching it will say why.
                    Ok(Counted::Unreadable) => {
                        *slot = 0;
                        self.vanished.push(place);
                        continue;
                    }
                    Err(error) => return Err(StorageError::new("read", work.path(place), error)),
                }
            }
            self.counted.push(place);
            self.counted_recorded |= work.record_of.get(place as usize).is_some_and(|&record| record != NONE);
        }
        Ok(missing)
    }

    /// The counted sizes by base name, for when the places change.
    pub fn remembered(mut self, work: &Work<'_>) -> Sizes {
        for &place in &self.counted {
            if let Some(&size) = self.octets.get(place as usize) {
                self.earlier.insert(name::base(work.listing.name(place)).to_vec(), size);
            }
        }
        self
    }

    /// Keeps what was counted before the places changed.
    pub fn merge(&mut self, before: Sizes) {
        self.earlier = before.earlier;
    }

    /// The octets to write into the uidlist for this message, if they were counted.
    pub fn to_record(&self, place: u32) -> Option<u64> {
        self.counted.binary_search(&place).ok()?;
        self.octets.get(place as usize).copied()
    }
}
