//! LMTP for several recipients: each is delivered to from the spool file, and what becomes of one is nothing to the others
//! (RFC 2033 section 4.2).
//!
//! A writer has its user's uid, so the user may stop it; what it waits for may be the user's doing as well. Nobody is waited for
//! longer than [`ASIDE_TIME`] while there are others: the writer goes on beside theirs. All of it together takes no longer than
//! the client waits.

use super::plan::{Offer, Place, Step, Taken};
use super::transaction::Transaction;
use super::writers;
use crate::status::{Enhanced, Status};
use common::process::service::User;
use common::sys::fd;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long one recipient is waited for before the next has its turn.
const ASIDE_TIME: Duration = Duration::from_secs(1);
/// Writers that are at it at once.
const ASIDE_MAX: usize = 8;

/// A recipient whose writer has the message, or was asked to take it.
struct Copy {
    /// Its number.
    at: usize,
    stage: Stage,
}

enum Stage {
    Offered(Offer),
    Taken(Taken),
}

impl Copy {
    fn user(&self) -> &User {
        match &self.stage {
            Stage::Offered(offer) => offer.user(),
            Stage::Taken(taken) => taken.user(),
        }
    }

    fn is_for_queue(&self) -> bool {
        match &self.stage {
            Stage::Offered(offer) => offer.is_for_queue(),
            Stage::Taken(taken) => matches!(taken, Taken::Queue(..)),
        }
    }
}

/// The recipients of a message, and how far they are.
struct Copies<'p, 'a, 'g> {
    place: &'p mut Place<'a, 'g>,
    transaction: &'p Transaction,
    results: Vec<Option<Status>>,
    open: Vec<Copy>,
    until: Instant,
}

impl Place<'_, '_> {
    /// Delivers what is in the spool file to every recipient. What is to be said of each.
    pub fn deliver_spooled(&mut self, transaction: &Transaction) -> VecDeque<Status> {
        let results = vec![None; transaction.groups().len()];
        let (open, until) = (Vec::new(), Instant::now() + writers::time(self.ground));
        let copies = Copies { place: self, transaction, results, open, until };
        copies.deliver().into_iter().map(|status| status.unwrap_or_else(too_long)).collect()
    }
}

impl Copies<'_, '_, '_> {
    fn deliver(mut self) -> Vec<Option<Status>> {
        let mut left: VecDeque<usize> = (0..self.results.len()).collect();
        // A writer has one message at a time.
        let mut postponed = VecDeque::new();
        loop {
            while self.open.len() >= ASIDE_MAX {
                self.hear_one();
            }
            let groups = self.transaction.groups();
            match left.pop_front().and_then(|at| Some((at, groups.get(at)?))) {
                Some((at, _)) if self.left().is_zero() => self.settle(at, Err(too_long())),
                Some((at, group)) if self.place.is_busy(self.transaction, group) => postponed.push_back(at),
                Some((at, group)) => match self.place.offer(self.transaction, group.clone(), true) {
                    Ok(offer) => self.hear(Copy { at, stage: Stage::Offered(offer) }, ASIDE_TIME),
                    Err(status) => self.settle(at, Err(status)),
                },
                None if self.open.is_empty() => return self.results,
                None => {
                    self.hear_one();
                    left.append(&mut postponed);
                }
            }
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn settle(&mut self, at: usize, result: Result<Status, Status>) {
        let status = result.unwrap_or_else(|status| {
            let Place { known, ground, .. } = &self.place;
            let first = self.transaction.groups().get(at).and_then(|group| group.first());
            known.log_refused_at_end(ground, self.transaction, first, &status);
            status
        });
        if let Some(place) = self.results.get_mut(at) {
            *place = Some(status);
        }
    }

    /// Hears what a writer has to say. If that takes longer, it is put aside.
    fn hear(&mut self, mut copy: Copy, patience: Duration) {
        loop {
            // The queue's writer is not its recipients', and there is only one.
            let patience = if copy.is_for_queue() { self.left() } else { patience.min(self.left()) };
            let Place { writers, ground, .. } = &mut *self.place;
            let Some(outcome) = writers.word(ground, copy.user(), patience) else {
                if copy.is_for_queue() {
                    writers.give_up(copy.user());
                    return self.settle(copy.at, Err(too_long()));
                }
                return self.open.push(copy);
            };
            copy.stage = match copy.stage {
                Stage::Taken(taken) => {
                    let status = self.place.settled(self.transaction, taken, outcome);
                    return self.settle(copy.at, Ok(status));
                }
                Stage::Offered(offer) => {
                    match self.place.after_first_word(self.transaction, offer, outcome, true) {
                        Ok(Step::Offered(offer)) => Stage::Offered(offer),
                        Ok(Step::Taken(taken)) => Stage::Taken(taken),
                        Err(status) => return self.settle(copy.at, Err(status)),
                    }
                }
            };
        }
    }

    /// Waits for one of those that were put aside. When the time is over, they are given up.
    fn hear_one(&mut self) {
        let left = self.left();
        let sockets: Vec<_> =
            self.open.iter().filter_map(|copy| self.place.writers.watched(copy.user())).collect();
        // What goes wrong here shows when they are heard.
        let _ = fd::wait_for_any(&sockets, left);
        for copy in std::mem::take(&mut self.open) {
            self.hear(copy, Duration::ZERO);
        }
        if self.left().is_zero() {
            for copy in std::mem::take(&mut self.open) {
                self.place.writers.give_up(copy.user());
                self.settle(copy.at, Err(too_long()));
            }
        }
    }
}

fn too_long() -> Status {
    Status::new(451, Enhanced(4, 3, 0), "The mailbox cannot be written now")
}
