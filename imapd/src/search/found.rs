//! Which messages were found: one bit for each message of the mailbox.

use std::ops::RangeInclusive;

/// A set of message sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    words: Vec<u64>,
}

impl Found {
    /// The empty set, with room for numbers up to `len`.
    pub fn new(len: u32) -> Found {
        Found { words: vec![0; len as usize / 64 + 1] }
    }

    /// Adds a number that there is room for.
    pub fn insert(&mut self, msn: u32) {
        if let Some(word) = self.words.get_mut(msn as usize / 64) {
            *word |= 1 << (msn % 64);
        }
    }

    /// Takes a number away.
    pub fn remove(&mut self, msn: u32) {
        if let Some(word) = self.words.get_mut(msn as usize / 64) {
            *word &= !(1 << (msn % 64));
        }
    }

    /// Whether the number is there.
    pub fn contains(&self, msn: u32) -> bool {
        self.words.get(msn as usize / 64).is_some_and(|word| word >> (msn % 64) & 1 != 0)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The lowest number.
    pub fn first(&self) -> Option<u32> {
        self.at_or_after(0)
    }

    /// The highest number.
    pub fn last(&self) -> Option<u32> {
        self.at_or_before(u32::MAX)
    }

    /// The highest number that is not above `msn`.
    pub fn at_or_before(&self, msn: u32) -> Option<u32> {
        let at = msn as usize / 64;
        if let Some(word) = self.words.get(at) {
            let word = word << (63 - msn % 64) >> (63 - msn % 64);
            if word != 0 {
                return Some(at as u32 * 64 + 63 - word.leading_zeros());
            }
        }
        let before = self.words.get(..at.min(self.words.len())).unwrap_or_default();
        let at = before.iter().rposition(|word| *word != 0)?;
        Some(at as u32 * 64 + 63 - before.get(at)?.leading_zeros())
    }

    /// The lowest number that is not below `msn`.
    pub fn at_or_after(&self, msn: u32) -> Option<u32> {
        self.find(msn, 0)
    }

    /// The lowest number that is not below `msn` and not in the set; there is room for one more at the end.
    fn gap_at_or_after(&self, msn: u32) -> u32 {
        self.find(msn, u64::MAX).unwrap_or(self.words.len() as u32 * 64)
    }

    fn find(&self, msn: u32, flip: u64) -> Option<u32> {
        let mut at = msn as usize / 64;
        let mut word = (self.words.get(at)? ^ flip) >> (msn % 64) << (msn % 64);
        while word == 0 {
            at += 1;
            word = self.words.get(at)? ^ flip;
        }
        Some(at as u32 * 64 + word.trailing_zeros())
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let found = self.at_or_after(next?)?;
            next = found.checked_add(1);
            Some(found)
        })
    }

    /// The numbers as ranges, ascending and apart from each other.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = self.at_or_after(next)?;
            next = self.gap_at_or_after(first);
            Some(first..=next - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(numbers in proptest::collection::vec(1u32..200, 0..120)) {
            let mut found = Found::new(199);
            let model: BTreeSet<u32> = numbers.iter().copied().collect();
            numbers.iter().for_each(|&msn| found.insert(msn));
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((found.first(), found.last()), (model.first().copied(), model.last().copied()));
            prop_assert_eq!((found.count() as usize, found.is_empty()), (model.len(), model.is_empty()));
            for msn in 0..300 {
                prop_assert_eq!(found.at_or_before(msn), model.range(..=msn).next_back().copied());
                prop_assert_eq!(found.at_or_after(msn), model.range(msn..).next().copied());
            }
            let ranges: Vec<_> = found.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
            prop_assert_eq!(ranges.into_iter().flatten().collect::<BTreeSet<u32>>(), model);
            prop_assert!((0..300).all(|msn| found.contains(msn) == numbers.contains(&msn)));
        }
    }

    #[test]
    fn full_words() {
        let mut found = Found::new(127);
        (1..=127).for_each(|msn| found.insert(msn));
        assert_eq!(found.ranges().collect::<Vec<_>>(), [1..=127]);
        assert_eq!(Found::new(0).ranges().count(), 0);
    }
}
