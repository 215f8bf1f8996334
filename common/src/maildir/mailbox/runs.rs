//! Numbers that mostly come one after the other: UIDs of messages that came together.

use super::MsnSet;

/// Numbers as ascending runs that do not overlap.
#[derive(Debug, Default, Clone)]
pub(super) struct Runs(MsnSet);

impl Runs {
    pub fn insert(&mut self, number: u32) {
        let at = self.0.partition_point(|run| *run.end() < number);
        if self.0.get(at).is_some_and(|run| run.contains(&number)) {
            return;
        }
        let (mut first, mut last) = (number, number);
        let mut place = at..at;
        if let Some(run) = self.0.get(at).filter(|run| number.checked_add(1) == Some(*run.start())) {
            (last, place.end) = (*run.end(), at + 1);
        }
        let before = at.checked_sub(1).and_then(|before| self.0.get(before));
        if let Some(run) = before.filter(|run| run.end().checked_add(1) == Some(number)) {
            (first, place.start) = (*run.start(), at - 1);
        }
        self.0.splice(place, [first..=last]);
    }

    pub fn contains(&self, number: u32) -> bool {
        let at = self.0.partition_point(|run| *run.end() < number);
        self.0.get(at).is_some_and(|run| run.contains(&number))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_comes_in_order_is_one_run() {
        let mut runs = Runs::default();
        assert!(runs.is_empty());
        (5..1000).chain([u32::MAX - 1, u32::MAX]).for_each(|number| runs.insert(number));
        assert_eq!((runs.0.len(), runs.iter().count()), (2, 997));
        let mut runs = Runs::default();
        (5..1000).rev().for_each(|number| runs.insert(number));
        assert_eq!(runs.0, [5..=999]);
    }

    proptest! {
        #[test]
        fn as_a_set(numbers in proptest::collection::vec(0u32..30, 0..60)) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for number in numbers {
                runs.insert(number);
                set.insert(number);
            }
            prop_assert!(runs.iter().eq(set.iter().copied()));
            prop_assert!((0..31).all(|number| runs.contains(number) == set.contains(&number)));
        }
    }
}
