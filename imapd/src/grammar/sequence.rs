//! Sequence sets (RFC 3501 `sequence-set`): message sequence numbers or UIDs, as the client wrote them.

use super::cursor::{Cursor, Parsed, bad};
use std::ops::RangeInclusive;

/// The number that `*` is kept as: the largest in the mailbox.
const LARGEST: u32 = 0;

/// Two numbers and all between them, in either order; 0 stands for `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    /// One end; 0 is `*`.
    pub first: u32,
    /// The other end; 0 is `*`.
    pub last: u32,
}

/// A set of numbers. Its size is bounded by the length of the command; neighbours are merged while it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SequenceSet(pub(super) Vec<SequenceRange>);

impl SequenceSet {
    /// The set of these ranges, in this order.
    pub fn new(ranges: Vec<SequenceRange>) -> SequenceSet {
        SequenceSet(ranges)
    }

    /// As it was written.
    pub fn ranges(&self) -> &[SequenceRange] {
        &self.0
    }

    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
        let mut set = SequenceSet::default();
        loop {
            let first = number(cursor)?;
            let last = if cursor.eat(b':') { number(cursor)? } else { first };
            set.push(SequenceRange { first, last });
            if !cursor.eat(b',') {
                return match cursor.peek() {
                    None | Some(b' ' | b')') => Ok(set),
                    _ => bad("The set of messages is none."),
                };
            }
        }
    }

    /// Adds what comes next in the text. `n` right behind `m:n-1`, and `m` again, cost nothing.
    pub fn push(&mut self, next: SequenceRange) {
        if let Some(before) = self.0.last_mut() {
            let ascending = |range: SequenceRange| {
                range.first != LARGEST && range.last != LARGEST && range.first <= range.last
            };
            if ascending(*before)
                && ascending(next)
                && next.first >= before.first
                && next.first <= before.last.saturating_add(1)
            {
                before.last = before.last.max(next.last);
                return;
            }
        }
        self.0.push(next);
    }

    /// The ranges in ascending order, apart from each other, where the largest number in the mailbox is `largest`: `*`
    /// means that, and `5:*` holds it even if it is less than 5 (RFC 3501, `seq-range`). Numbers beyond it stay.
    pub fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let number = |n: u32| if n == LARGEST { largest } else { n };
        let mut sorted: Vec<(u32, u32)> = self
            .0
            .iter()
            .map(|range| (number(range.first), number(range.last)))
            .map(|(a, b)| (a.min(b), a.max(b)))
            .filter(|range| range.1 != 0)
            .map(|(a, b)| (a.max(1), b))
            .collect();
        sorted.sort_unstable();
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some(before) if first <= before.end().saturating_add(1) => {
                    *before = *before.start()..=(*before.end()).max(last);
                }
                _ => ranges.push(first..=last),
            }
        }
        ranges
    }
}

/// `seq-number`
fn number(cursor: &mut Cursor<'_>) -> Parsed<u32> {
    if cursor.eat(b'*') { Ok(LARGEST) } else { cursor.positive() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_resolved_in_order() {
        let set = |pairs: &[(u32, u32)]| {
            let mut set = SequenceSet::default();
            for &(first, last) in pairs {
                set.push(SequenceRange { first, last });
            }
            set
        };
        for (pairs, largest, want) in [
            (&[(1, 1)][..], 9, &[(1, 1)][..]),
            (&[(5, 0)], 9, &[(5, 9)]),
            (&[(12, 0)], 9, &[(9, 12)]),
            (&[(0, 0)], 9, &[(9, 9)]),
            (&[(0, 0)], 0, &[]),
            (&[(1, 0)], 0, &[(1, 1)]),
            (&[(7, 3), (1, 2), (9, 9)], 9, &[(1, 7), (9, 9)]),
            (&[(4, 4), (1, 1), (2, 2)], 9, &[(1, 2), (4, 4)]),
            (&[(u32::MAX, u32::MAX), (u32::MAX, 1)], 9, &[(1, u32::MAX)]),
        ] {
            let want: Vec<_> = want.iter().map(|&(a, b)| a..=b).collect();
            assert_eq!(set(pairs).resolve(largest), want, "{pairs:?}");
        }
        assert_eq!(set(&[(1, 1), (2, 2), (3, 5), (4, 4), (7, 7), (6, 6)]).ranges().len(), 3);
        assert_eq!(set(&[(1, 0), (2, 2)]).ranges().len(), 2);
    }
}
