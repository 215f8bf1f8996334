//! The processor on which a writer waits for the disk.
//!
//! To flush a file and its directory is to wait some seven times for a write, and each time the processor that the disk
//! interrupts has to wake the writer's. Where that is the same one, a message takes up to a third less time. Which one it is no
//! interface says, and disks with a queue for each processor have none: so the first messages of a connection are timed.

use common::sys::processor;
use std::time::Duration;

/// Messages that are timed on each processor. The shortest time counts: the others have waited for somebody else as well.
const TIMED: u32 = 3;
/// Processors that are tried besides the first.
const OTHERS: usize = 3;
/// Octets of a message beyond which it is its size that counts.
pub(crate) const SMALL: u64 = 64 * 1024;

/// What is known of the processors.
pub(super) struct Post {
    here: usize,
    /// Those that have not been tried.
    untried: Vec<usize>,
    /// Messages timed here, and the shortest time.
    timed: u32,
    shortest: Duration,
    /// The best one so far.
    best: Option<(usize, Duration)>,
    settled: bool,
}

impl Post {
    /// Where the guard is, or was when it began this writer.
    pub fn new() -> Post {
        processor::stay();
        let (here, others) = processor::post().unwrap_or_default();
        Post::at(here, others)
    }

    fn at(here: usize, mut untried: Vec<usize>) -> Post {
        untried.truncate(OTHERS);
        untried.reverse();
        let settled = untried.is_empty();
        Post { here, untried, timed: 0, shortest: Duration::MAX, best: None, settled }
    }

    /// A message of so many octets was flushed in this time.
    pub fn note(&mut self, octets: u64, took: Duration) {
        self.note_and_go(octets, took, &mut processor::stay_at);
    }

    fn note_and_go(&mut self, octets: u64, took: Duration, go: &mut dyn FnMut(usize) -> bool) {
        if self.settled || octets > SMALL {
            return;
        }
        self.shortest = self.shortest.min(took);
        self.timed = self.timed.saturating_add(1);
        if self.timed < TIMED {
            return;
        }
        // Less than a tenth is chance.
        if self.best.is_none_or(|(_, best)| self.shortest < best.saturating_sub(best / 10)) {
            self.best = Some((self.here, self.shortest));
        }
        (self.timed, self.shortest) = (0, Duration::MAX);
        while let Some(next) = self.untried.pop() {
            if go(next) {
                self.here = next;
                return;
            }
        }
        self.settled = true;
        if let Some((best, _)) = self.best.filter(|&(best, _)| best != self.here) {
            go(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a writer is for each of twenty messages that take so long on each processor.
    fn places(begin: usize, took: &[u64], refused: Option<usize>) -> Vec<usize> {
        let others = (0..took.len()).filter(|&other| other != begin).collect();
        let (mut post, mut at) = (Post::at(begin, others), begin);
        let message = |_| {
            let place = at;
            post.note_and_go(4096, Duration::from_micros(took[place]), &mut |next| {
                let goes = refused != Some(next);
                at = if goes { next } else { at };
                goes
            });
            place
        };
        (0..20).map(message).collect()
    }

    #[test]
    fn it_ends_where_the_disk_answers_soonest() {
        assert_eq!(places(0, &[900, 600], None)[..8], [0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(places(1, &[900, 600], None)[..8], [1, 1, 1, 0, 0, 0, 1, 1]);
        assert_eq!(places(2, &[600, 900, 800, 850], None).last(), Some(&0));
        assert_eq!(places(0, &[900, 900, 900, 300], None).last(), Some(&3));
    }

    #[test]
    fn what_could_be_chance_moves_nobody() {
        assert_eq!(places(0, &[600, 550], None).last(), Some(&0));
        assert_eq!(places(1, &[600, 600, 600], None).last(), Some(&1));
    }

    #[test]
    fn one_processor_is_no_choice_and_of_many_only_some_are_tried() {
        assert_eq!(places(0, &[600], None), [0; 20]);
        assert_eq!(places(0, &[900, 900, 900, 900, 100], None).last(), Some(&0));
        assert_eq!(places(0, &[900, 100, 300], Some(1)).last(), Some(&2));
    }

    #[test]
    fn what_is_large_is_not_compared() {
        let mut post = Post::at(0, vec![1]);
        for _ in 0..20 {
            post.note_and_go(SMALL + 1, Duration::from_millis(1), &mut |_| panic!("moved"));
        }
        assert_eq!((post.timed, post.settled), (0, false));
    }
}
