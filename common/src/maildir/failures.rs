//! What could not be done with some of many messages, while the rest was done.

use super::error::{ErrorKind, StorageError};
use std::fmt;

/// Messages of one command that are named in the log; how many more there are is said behind them.
const NAMED_MAX: usize = 10;

/// The reasons, as many as are worth a line of the log, and how many there were.
#[derive(Debug, Default)]
pub struct Failures {
    named: Vec<StorageError>,
    count: u32,
}

impl Failures {
    /// One more.
    pub fn add(&mut self, error: StorageError) {
        self.count = self.count.saturating_add(1);
        if self.named.len() < NAMED_MAX {
            self.named.push(error);
        }
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What was wrong with the first one; `None`: nothing went wrong.
    pub fn kind(&self) -> Option<ErrorKind> {
        self.named.first().map(|error| error.kind)
    }

    /// Says so in the log: which, and of how many more `what` is so ("could not be read").
    pub fn say(&self, what: &str, log: &mut dyn FnMut(&dyn fmt::Display)) {
        self.named.iter().for_each(|error| log(error));
        if let more @ 1.. = self.count.saturating_sub(self.named.len() as u32) {
            log(&format_args!("{more} more messages {what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_named_and_the_rest_counted() {
        let mut failures = Failures::default();
        failures.say("are none", &mut |_| panic!("there are none"));
        assert_eq!((failures.kind(), failures.count()), (None, 0));
        for number in 1..=25 {
            let kind = if number == 1 { ErrorKind::NoPerm } else { ErrorKind::Temp };
            failures.add(StorageError::with_kind(kind, "open", format!("/m/{number}"), "why"));
        }
        let mut said = Vec::new();
        failures.say("could not be read", &mut |line| said.push(line.to_string()));
        assert_eq!((said.len(), &*said[0], &*said[9]), (11, "open(/m/1): why", "open(/m/10): why"));
        assert_eq!(said[10], "15 more messages could not be read");
        assert_eq!((failures.kind(), failures.count()), (Some(ErrorKind::NoPerm), 25));
    }
}
