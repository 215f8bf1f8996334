//! Which place a base name has: a hash table of places beside names that are kept elsewhere, four octets for a slot.
//!
//! Names come from strangers. The hash has a secret of the process, so that nobody can choose names that collide.

use std::hash::BuildHasher;

const VACANT: u32 = u32::MAX;

/// The table. Who asks says whether a place has the name that is looked for.
#[derive(Debug, Default)]
pub(super) struct Places {
    secret: u64,
    /// A power of two, at most half of them taken.
    slots: Vec<u32>,
}

impl Places {
    /// An empty table for so many names.
    pub fn with_room_for(count: usize) -> Places {
        let slots = count.saturating_mul(2).checked_next_power_of_two().unwrap_or(0).max(2);
        Places { secret: std::hash::RandomState::new().hash_one(0), slots: vec![VACANT; slots] }
    }

    /// The hash of a name. Places with another one have another name.
    pub fn hash(&self, name: &[u8]) -> u32 {
        let words = name.chunks_exact(8);
        let rest = words.remainder().iter().rev().fold(0, |word, &octet| word << 8 | u64::from(octet));
        let words = words.filter_map(|word| word.first_chunk().copied()).map(u64::from_le_bytes);
        let sum = words.fold(self.secret ^ name.len() as u64, mix);
        let sum = mix(sum, rest);
        (sum ^ sum >> 32) as u32
    }

    /// The place with this hash that `has_name`.
    pub fn find(&self, hash: u32, has_name: impl Fn(u32) -> bool) -> Option<u32> {
        let place = *self.slots.get(self.slot(hash, has_name)?)?;
        (place != VACANT).then_some(place)
    }

    /// The same; if there is none, `place` is it from now on. There must be room.
    pub fn find_or_insert(&mut self, hash: u32, place: u32, has_name: impl Fn(u32) -> bool) -> Option<u32> {
        let slot = self.slot(hash, has_name).and_then(|slot| self.slots.get_mut(slot))?;
        if *slot == VACANT {
            *slot = place;
            return None;
        }
        Some(*slot)
    }

    /// The slot of the place that is looked for, or the vacant one where it would be.
    fn slot(&self, hash: u32, has_name: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        for _ in 0..=mask {
            match self.slots.get(at) {
                Some(&place) if place != VACANT && !has_name(place) => at = (at + 1) & mask,
                _ => return Some(at),
            }
        }
        None
    }
}

/// Both halves of the product: which octets differ must not be lost.
fn mix(sum: u64, word: u64) -> u64 {
    let product = u128::from(sum ^ word) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(Places::default().find(1, |_| true), None);
        assert_eq!(Places::with_room_for(0).find(1, |_| true), None);
    }

    #[test]
    fn names_that_differ_little_have_other_hashes() {
        let places = Places::with_room_for(1);
        let names: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"12345678", b"12345678\0", b"123456780"];
        for (i, a) in names.iter().enumerate() {
            for b in names.iter().skip(i + 1) {
                assert_ne!(places.hash(a), places.hash(b), "{a:?} {b:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_name_has_one_place(names in prop::collection::vec("[ab]{0,20}", 0..40), absent in "[ab]{0,20}") {
            let mut places = Places::with_room_for(names.len());
            let first = |name: &str| names.iter().position(|other| other == name).map(|i| i as u32);
            for (i, name) in (0u32..).zip(&names) {
                let hash = places.hash(name.as_bytes());
                let found = places.find_or_insert(hash, i, |place| &names[place as usize] == name);
                prop_assert_eq!(found, first(name).filter(|&place| place != i));
            }
            for name in names.iter().chain([&absent]) {
                let hash = places.hash(name.as_bytes());
                prop_assert_eq!(places.find(hash, |place| &names[place as usize] == name), first(name));
            }
        }
    }
}
