//! A uidlist from an index, for when the uidlist is lost or broken: without it every client would fetch every message
//! once more.
//!
//! The index has the same UIDVALIDITY, UIDs, unique-ids and octets, but perhaps not the last ones: another program may
//! have numbered messages since. So if the directories changed since the index was written, a wide gap is left before
//! the next UID, and nobody sees another message under a UID that he knows. The mailbox's GUID and unknown fields are
//! lost. Whoever wants new UIDs removes both files.

use super::index::{self, Index};
use super::name;
use super::scan::Listing;
use super::uidlist::UidList;
use std::collections::HashSet;

/// More messages than another program can have numbered between two of our sessions.
const GAP: u32 = 1 << 20;

/// Puts back the lines that a list with broken ones lost at its end, as far as the index knows them.
pub(super) fn lost_end(list: &mut UidList, index: &Index) {
    let last = list.len().checked_sub(1).map_or(0, |last| list.uid(last));
    let mut lost: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut space = Vec::new();
    for i in 0..index.header.count {
        let Ok(row) = index.row(i) else { return };
        if row.uid > last {
            let Ok(message) = index.parts(&row, &mut space) else { return };
            lost.push((row.uid, message.name.to_vec()));
        }
    }
    lost.sort_unstable();
    let listed: HashSet<&[u8]> = (0..list.len()).map(|i| list.base(i)).collect();
    lost.retain(|(_, file_name)| !listed.contains(name::base(file_name)));
    for (uid, file_name) in lost {
        list.add_with_uid(&file_name, uid, None);
    }
}

/// The list, if the whole index can be read and is about this mailbox: its directories or at least one of its messages
/// are those of the listing.
pub(super) fn uidlist(index: &Index, listing: &Listing, guid: Vec<u8>) -> Option<UidList> {
    let header = &index.header;
    let mut place_of = vec![0u32; header.count as usize];
    let order = index.extras().ok()?.order;
    for (place, &row) in (0u32..).zip(&order) {
        *place_of.get_mut(row as usize)? = place;
    }
    let mut is_this = header.new.ino == listing.new.ino && header.cur.ino == listing.cur.ino;
    let mut list = UidList::new(header.uid_validity, guid);
    let mut space = Vec::new();
    for (i, place) in (0..header.count).zip(place_of) {
        let row = index.row(i).ok()?;
        let message = index.parts(&row, &mut space).ok()?;
        is_this |= listing.find(name::base(message.name)).is_some();
        let counted = message.octets != index::UNKNOWN && message.flags & index::VANISHED == 0;
        let octets =
            Some(message.octets).filter(|_| counted && name::size_hint(message.name, b'W').is_none());
        if !list.add_with_uid(message.name, message.uid, octets) {
            return None;
        }
        let record = list.len() - 1;
        let place = format!("{}", u64::from(place) + 1);
        let place = (!order.is_empty()).then_some(place.as_bytes());
        for (key, value) in [(b'O', place), (b'P', message.unique_id), (b'G', message.guid)] {
            if let Some(value) = value {
                list.set_field(record, key, value);
            }
        }
    }
    let unchanged = (header.new, header.cur) == (listing.new, listing.cur);
    let gap = if unchanged { 0 } else { GAP };
    list.next_uid = list.next_uid.max(header.next_uid).saturating_add(gap);
    is_this.then_some(list)
}
