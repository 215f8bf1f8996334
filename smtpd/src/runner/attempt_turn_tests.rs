//! Who only waits for his turn.

use super::*;

/// The same script; nobody has a place for those called busy.
struct Busy(Script);

impl World for Busy {
    fn groups(&mut self, queued: &Queued, open: &[usize]) -> Vec<Vec<usize>> {
        self.0.groups(queued, open)
    }

    fn deliver(&mut self, queued: &Queued, group: &[usize]) -> Vec<Outcome> {
        let mut outcomes = self.0.deliver(queued, group);
        for outcome in &mut outcomes {
            if queued.envelope().recipients[outcome.recipient].address.local() == "busy" {
                outcome.status = Status::new(451, Enhanced(4, 3, 2), "others are first");
                outcome.relay = TURN.to_owned();
            }
        }
        outcomes
    }

    fn late(&mut self, queued: &Queued) -> Vec<Outcome> {
        self.0.late(queued)
    }

    fn expand(&mut self, address: &Address) -> Result<Vec<Recipient>, Status> {
        self.0.expand(address)
    }

    fn now(&mut self) -> SystemTime {
        self.0.now()
    }

    fn log(&mut self, line: Arguments<'_>) {
        self.0.log(line);
    }
}

#[test]
fn who_waits_for_his_turn_is_not_put_off() {
    let scratch = Scratch::new("turn");
    let directory = queue(&scratch);
    for (answers, attempts) in [(&[][..], 0), (&[("c@z", 450)], 1)] {
        let id = add(&directory, &envelope(&["a@x", "busy@y", "c@z"]), MESSAGE);
        let mut world = Busy(Script::new(answers));
        let before = open(&directory, &id).counters();
        assert_eq!(attempt(open(&directory, &id), &mut world, &policy()).unwrap(), Left::Deferred);
        let queued = open(&directory, &id);
        assert_eq!(queued.counters().attempts, attempts, "{answers:?}");
        assert_eq!(queued.counters() == before, attempts == 0, "it is still due");
        assert_eq!(crate::runner::slots::has_come(&directory), attempts == 0, "who is through looks again");
        assert!(!world.0.log.iter().any(|line| line.contains("busy@y")), "{:?}", world.0.log);
        drop(queued);
        attempt(open(&directory, &id), &mut world, &policy()).unwrap();
        assert_eq!(world.0.log.iter().filter(|line| line.ends_with("(queue active)")).count(), 1);
        crate::runner::slots::has_come(&directory);
        let notes = notes::read(&directory, Place::Queue, &id);
        assert!(notes.iter().any(|note| note.recipient == 1 && note.status.text == "others are first"));
    }
}

#[test]
fn who_waits_for_his_turn_does_not_expire_by_it() {
    let scratch = Scratch::new("turn-old");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["busy@y"]), MESSAGE);
    let old = policy().schedule.lifetime.as_secs();
    let counters = Counters { age: old, ..open(&directory, &id).counters() };
    open(&directory, &id).set_counters(counters).unwrap();
    let mut world = Busy(Script::new(&[]));
    assert_eq!(attempt(open(&directory, &id), &mut world, &policy()).unwrap(), Left::Deferred);
    assert_eq!((ids(&directory), world.0.log.len()), (vec![id.to_string()], 0));
    assert_eq!(open(&directory, &id).in_state(State::Pending), [0]);
}
