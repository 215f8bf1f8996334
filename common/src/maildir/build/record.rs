//! Giving new messages their UIDs and writing them down, before anybody is shown one.

use super::super::courier;
use super::super::dotlock::Dotlock;
use super::super::error::StorageError;
use super::super::index::Index;
use super::super::options::Locked;
use super::super::sizes::Sizes;
use super::super::uidlist::{UID_LIMIT, UidList};
use super::super::uidlist_file::{self, Stamp};
use super::super::{name, restore, uidvalidity};
use super::{NONE, RACY_NANOSECONDS, Work};

/// Rewrite the uidlist when less than this part of its lines is still alive. Dovecot's value.
const ALIVE_PERCENT: usize = 75;

impl Work<'_> {
    /// Gives new messages their UIDs and writes them down, under the lock.
    pub fn record(&mut self, sizes: &mut Sizes, old: Option<&Index>) -> Result<(), StorageError> {
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
        // What was only a session's own is not for the time after it.
        let old = old.filter(|_| !self.options.had_own_uids);
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
}

/// Whether the directory changed so shortly before the lock was taken that a change may have gone unseen.
fn is_racy(directory: Stamp, lock: &Dotlock) -> bool {
    lock.created().saturating_sub(directory.mtime) < RACY_NANOSECONDS
}
