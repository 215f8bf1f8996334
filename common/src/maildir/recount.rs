//! Octets that nobody asked for when the mailbox was opened, counted later for the same messages.

use super::Maildir;
use super::build::RESCANS;
use super::child::{self, Outcome};
use super::error::{ErrorKind, StorageError};
use super::index::{self, Index, Row};
use super::mailbox::lock::IndexLock;
use super::mailbox::refresh::Loaded;
use super::name;
use super::octets::{Counted, Counter};
use super::options::{Locked, Options};
use super::scan::Listing;
use super::snapshot::Snapshot;
use super::temp_index::TempIndex;
use super::uidlist_file::{self, Stamp};
use crate::sys::fs as sys;
use std::io;
use std::time::Duration;

/// A message that could not be counted. No file is that large.
const GONE: u64 = u64::MAX - 1;

impl Snapshot {
    /// Counts the octets of all messages whose octets are unknown, and records them in the uidlist and the index as
    /// far as these can be written. A message that is gone has 0 octets from then on and is marked.
    ///
    /// Errors: `Temp` when the time is over before all are counted; the next call goes on from there.
    ///
    /// Where the index is a file, a child does that: this process then only opens the new one, which has the same
    /// messages.
    pub fn ensure_sizes(&mut self, maildir: &Maildir, options: &Options<'_>) -> Result<(), StorageError> {
        if self.index.header.unknown == 0 {
            return Ok(());
        }
        let lock = self
            .index
            .file()
            .and(maildir.index())
            .and_then(|index| IndexLock::take(index, Duration::ZERO).ok());
        // What an IMAP session has logged would be lost with the index that it belongs to.
        let logged = Loaded::read(maildir).is_none_or(|loaded| !loaded.log.is_empty());
        let temp = lock.as_ref().filter(|_| !logged).and(maildir.index()).and_then(TempIndex::begin);
        if let Some(temp) = temp {
            let outcome = child::run(|| match self.count_into(&temp, maildir, options) {
                Ok(()) => Outcome::Written,
                Err(_) => Outcome::Failed,
            });
            if outcome == Outcome::Written {
                if let Some(index) = temp.into_index().filter(|new| new.header.count == self.len()) {
                    self.index = index;
                    sys::release_free_memory();
                    return self.all_counted(maildir);
                }
            } else {
                temp.discard();
            }
        }
        let counted = self.count(maildir, options)?;
        let mut bytes = Vec::with_capacity(self.index.length());
        let uidlist = self.index.header.uidlist;
        self.index.write_changed(&mut bytes, uidlist, changes(&counted)).map_err(|e| self.damaged(e))?;
        let damaged = || self.damaged(io::Error::from(io::ErrorKind::InvalidData));
        let index = Index::in_memory(bytes).ok_or_else(damaged)?;
        let _ = record(maildir, options, &self.index, &counted);
        self.index = index;
        drop(counted);
        sys::release_free_memory();
        self.all_counted(maildir)
    }

    fn all_counted(&self, maildir: &Maildir) -> Result<(), StorageError> {
        match self.index.header.unknown {
            0 => Ok(()),
            left => {
                let why = format!("{left} messages are still to be counted, and time is over for now");
                Err(StorageError::with_kind(ErrorKind::Temp, "count", maildir.path(), &why))
            }
        }
    }

    /// Counts, records, and writes the new index.
    fn count_into(
        &self,
        temp: &TempIndex,
        maildir: &Maildir,
        options: &Options<'_>,
    ) -> Result<(), StorageError> {
        let counted = self.count(maildir, options)?;
        // That it cannot be recorded is no reason to count again.
        let uidlist = record(maildir, options, &self.index, &counted).unwrap_or(self.index.header.uidlist);
        let Some(old) = self.index.file() else { return Ok(()) };
        let write = |file: &_| self.index.write_changed(file, uidlist, changes(&counted));
        temp.publish_instead(old, &self.path, write).map_err(StorageError::at("write", &self.path))
    }

    /// For each row its octets, if they had to be counted, or [`GONE`]; else [`index::UNKNOWN`].
    fn count(&self, maildir: &Maildir, options: &Options<'_>) -> Result<Vec<u64>, StorageError> {
        let failed = |error| StorageError::new("read", maildir.path(), error);
        let mut counter = Counter::new(maildir.path(), options.patience())?;
        let mut counted = vec![index::UNKNOWN; self.len() as usize];
        let (mut missing, mut failure) = (Vec::new(), None);
        let mut row = 0;
        let visited = self.index.for_each(&mut |message| {
            let i = row;
            row += 1;
            let Some(slot) = counted.get_mut(i as usize).filter(|_| message.octets == index::UNKNOWN) else {
                return Ok(());
            };
            match counter.count(message.flags & index::IN_NEW != 0, message.name) {
                Ok(counted) => *slot = octets_of(counted),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(i),
                Err(error) => failure = Some(error),
            }
            if failure.is_none() { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
        });
        if failure.is_none() {
            visited.map_err(|error| self.damaged(error))?;
        }
        // Files that moved. All of them are looked for at once, however many there are.
        for _ in 1..RESCANS {
            if missing.is_empty() || failure.is_some() {
                break;
            }
            let listing = Listing::read(maildir.path())?;
            let (mut still, mut space) = (Vec::new(), Vec::new());
            for i in missing {
                let Some(slot) = counted.get_mut(i as usize) else { continue };
                let message = self.index.row(i).and_then(|row| self.index.parts(&row, &mut space));
                let message = message.map_err(|error| self.damaged(error))?;
                let place = listing.find(name::base(message.name));
                let Some((place, entry)) = place.and_then(|place| Some((place, listing.entry(place)?)))
                else {
                    *slot = GONE;
                    continue;
                };
                match counter.count(entry.in_new, listing.name(place)) {
                    Ok(counted) => *slot = octets_of(counted),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => still.push(i),
                    Err(error) => failure = Some(error),
                }
            }
            missing = still;
        }
        for i in missing {
            counted.get_mut(i as usize).into_iter().for_each(|slot| *slot = GONE);
        }
        failure.map_or(Ok(counted), |error| Err(failed(error)))
    }
}

fn octets_of(counted: Counted) -> u64 {
    match counted {
        Counted::Octets(octets) => octets,
        Counted::Unreadable => GONE,
        Counted::Later => index::UNKNOWN,
    }
}

/// What the counted octets make of a row.
fn changes(counted: &[u64]) -> impl Fn(u32, Row) -> Row + '_ {
    |i, row| match counted.get(i as usize).copied().unwrap_or(index::UNKNOWN) {
        index::UNKNOWN => row,
        GONE => row.with(0, row.flags | index::VANISHED),
        octets => row.with(octets, row.flags),
    }
}

/// Writes `W` fields for what was counted, under the uidlist's lock. Returns the state of the uidlist that the index
/// describes from now on: the new one, if the one before was the index's.
fn record(
    maildir: &Maildir,
    options: &Options<'_>,
    index: &Index,
    counted: &[u64],
) -> Result<Stamp, StorageError> {
    let header = &index.header;
    let lock = Locked::take(maildir, options)?;
    let on_disk = uidlist_file::read(maildir.control())?;
    let list = on_disk.list.filter(|list| list.uid_validity == header.uid_validity);
    let Some(mut list) = list else { return Ok(header.uidlist) };
    let mut by_uid: Vec<(u32, u32)> = Vec::new();
    for (i, _) in (0u32..).zip(counted).filter(|&(_, &octets)| octets < GONE) {
        by_uid.push((index.row(i).map_err(StorageError::at("read", maildir.path()))?.uid, i));
    }
    by_uid.sort_unstable();
    let mut found = false;
    for i in 0..list.len() {
        let at = by_uid.binary_search_by_key(&list.uid(i), |&(uid, _)| uid);
        let place = at.ok().and_then(|at| by_uid.get(at)).map(|&(_, place)| place);
        if let Some(octets) = place.and_then(|place| counted.get(place as usize)) {
            found |= list.set_field(i, b'W', octets.to_string().as_bytes());
        }
    }
    if !found {
        return Ok(header.uidlist);
    }
    drop(by_uid);
    let stamp = uidlist_file::rewrite(maildir.control(), &list, &lock, options.fsync)?;
    Ok(if on_disk.stamp == header.uidlist { stamp } else { header.uidlist })
}
