//! Which message has a base name, found by the number made of it ([`base_hash`](super::index::base_hash)): 18 octets for each
//! message at most, whatever its name.
//!
//! Names come from strangers, but the part that identifies a message is made by who delivers it. Where two of them have one
//! number, there is no table.

/// Marks a free slot.
const FREE: u32 = u32::MAX;

/// From so many rows on the table is filled more densely: finding takes longer, and memory counts.
const LARGE: usize = 1 << 16;

/// Rows by number.
#[derive(Debug)]
pub(super) struct Numbered {
    slots: Vec<u32>,
    hashes: Vec<u64>,
    mask: usize,
}

impl Numbered {
    /// A table of rows that have these numbers; 0 stands for a row that is not to be found. `None`: two have the same.
    pub fn of(hashes: Vec<u64>) -> Option<Numbered> {
        let room = if hashes.len() < LARGE { hashes.len() * 2 } else { hashes.len() + hashes.len() / 4 };
        let size = room.next_power_of_two().max(16);
        let mut table = Numbered { slots: vec![FREE; size], hashes, mask: size - 1 };
        for row in 0..table.hashes.len() as u32 {
            let Some(&hash) = table.hashes.get(row as usize) else { break };
            if hash == 0 {
                continue;
            }
            match table.slot(hash) {
                (_, Some(_)) => return None,
                (slot, None) => *table.slots.get_mut(slot)? = row,
            }
        }
        Some(table)
    }

    /// The row with this number.
    pub fn find(&self, hash: u64) -> Option<u32> {
        self.slot(hash).1
    }

    /// Their numbers, by row.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn slot(&self, hash: u64) -> (usize, Option<u32>) {
        let mut slot = (hash >> 7) as usize & self.mask;
        loop {
            match self.slots.get(slot) {
                Some(&FREE) | None => return (slot, None),
                Some(&row) if self.hashes.get(row as usize) == Some(&hash) => return (slot, Some(row)),
                Some(_) => slot = (slot + 1) & self.mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_numbers_and_two_of_one_are_refused() {
        let hashes: Vec<u64> = (0..1000).map(|i| u64::from(i % 7 != 0) * (i << 40 | 0x80)).collect();
        let table = Numbered::of(hashes.clone()).unwrap();
        for (row, &hash) in (0..).zip(&hashes) {
            assert_eq!(table.find(hash), (hash != 0).then_some(row));
        }
        assert_eq!((table.find(5), table.hashes()), (None, &hashes[..]));
        assert!(Numbered::of(vec![1, 2, 1]).is_none());
        assert_eq!(Numbered::of(Vec::new()).unwrap().find(1), None);
    }
}
