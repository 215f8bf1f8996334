//! When a message is tried again and when it is given up. Pure: times come in, times go out.
//!
//! A machine without a clock of its own starts in 1970, or at the time it was switched off, and jumps when it has asked the
//! network. Age is therefore not `now - arrival`: each attempt adds what the clock says has passed since the one before,
//! nothing if it went backwards, and at most twice `maximal_backoff_time`. A jump forward of fifty years is an hour or two.

use common::config::Config;
use std::time::{Duration, SystemTime};

/// The figures of a message that change with each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Attempts that did not finish it.
    pub attempts: u32,
    /// Seconds that it has been here, as far as is certain.
    pub age: u64,
    /// When the last attempt was, or when it came, or was on hold no more: seconds since 1970.
    pub last: u64,
    /// When it is due: seconds since 1970.
    pub next: u64,
    /// The sender has been told that it takes longer.
    pub warned: bool,
}

/// The settings that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// `minimal_backoff_time`.
    pub minimal_backoff: Duration,
    /// `maximal_backoff_time`.
    pub maximal_backoff: Duration,
    /// `maximal_queue_lifetime`.
    pub lifetime: Duration,
    /// `bounce_queue_lifetime`.
    pub bounce_lifetime: Duration,
    /// `delay_warning_time`; zero: never.
    pub delay_warning: Duration,
}

impl Schedule {
    /// From the settings.
    pub fn of(config: &Config) -> Schedule {
        Schedule {
            minimal_backoff: config.minimal_backoff_time,
            maximal_backoff: config.maximal_backoff_time.max(config.minimal_backoff_time),
            lifetime: config.maximal_queue_lifetime,
            bounce_lifetime: config.bounce_queue_lifetime,
            delay_warning: config.delay_warning_time,
        }
    }

    /// The counters before an attempt at this time: older, by a step that is bounded.
    pub fn older(&self, counters: Counters, now: SystemTime) -> Counters {
        let now = seconds(now);
        let step = now.saturating_sub(counters.last).min(self.maximal_backoff.as_secs().saturating_mul(2));
        Counters { age: counters.age.saturating_add(step), last: now, ..counters }
    }

    /// The counters after an attempt that has to be repeated: the pause is as long as the message has been here, within
    /// the bounds, so that it doubles each time.
    pub fn after(&self, counters: Counters) -> Counters {
        let least = self.minimal_backoff.as_secs().max(1);
        let doubled = least.checked_shl(counters.attempts.min(20)).unwrap_or(u64::MAX);
        let pause = doubled.clamp(least, self.maximal_backoff.as_secs().max(least));
        Counters {
            attempts: counters.attempts.saturating_add(1),
            next: counters.last.saturating_add(pause),
            ..counters
        }
    }

    /// Whether it is time for another attempt. A time that no attempt can have set is a wrong clock's.
    pub fn is_due(&self, next: u64, now: SystemTime) -> bool {
        let now = seconds(now);
        let furthest = self.maximal_backoff.max(self.minimal_backoff).as_secs().max(1);
        next <= now || next - now > furthest
    }

    /// Whether it has been here too long.
    pub fn is_expired(&self, counters: Counters, is_bounce: bool) -> bool {
        let lifetime = if is_bounce { self.bounce_lifetime } else { self.lifetime };
        counters.age >= lifetime.as_secs()
    }

    /// Whether its sender should be told of the delay.
    pub fn is_delayed(&self, counters: Counters) -> bool {
        !self.delay_warning.is_zero() && !counters.warned && counters.age >= self.delay_warning.as_secs()
    }
}

/// Seconds since 1970; before it, none.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn schedule() -> Schedule {
        Schedule {
            minimal_backoff: Duration::from_secs(300),
            maximal_backoff: Duration::from_secs(4000),
            lifetime: Duration::from_secs(5 * 24 * HOUR),
            bounce_lifetime: Duration::from_secs(24 * HOUR),
            delay_warning: Duration::from_secs(4 * HOUR),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_between_their_bounds() {
        let (schedule, mut counters) = (schedule(), Counters { last: 1_000_000, ..Counters::default() });
        let mut pauses = Vec::new();
        for _ in 0..7 {
            counters = schedule.after(counters);
            pauses.push(counters.next - counters.last);
            counters = schedule.older(counters, at(counters.next));
        }
        assert_eq!(pauses, [300, 600, 1200, 2400, 4000, 4000, 4000]);
        let many = Counters { attempts: u32::MAX, ..counters };
        assert_eq!(schedule.after(many).next - many.last, 4000);
        assert_eq!(schedule.after(many).attempts, u32::MAX);
    }

    #[test]
    fn a_true_clock_expires_after_the_lifetime() {
        let (schedule, mut counters) = (schedule(), Counters { last: 1_000_000, ..Counters::default() });
        let mut now = 1_000_000;
        while !schedule.is_expired(counters, false) {
            counters = schedule.after(schedule.older(counters, at(now)));
            now = counters.next;
        }
        let passed = now - 1_000_000;
        assert!((5 * 24 * HOUR..5 * 24 * HOUR + 8001).contains(&passed), "{passed}");
        assert!(schedule.is_expired(counters, true));
    }

    #[test]
    fn a_wrong_clock_expires_nothing() {
        let schedule = schedule();
        let mut counters = Counters { last: 1_700_000_000, ..Counters::default() };
        // Off and on again, with 1970, the true time, and 2100 in turn: each step adds two hours and a bit at most.
        for now in [100, 1_700_000_300, 200, 4_100_000_000, 300, 1_700_000_600] {
            counters = schedule.after(schedule.older(counters, at(now)));
            assert!(schedule.is_due(counters.next, at(counters.next)));
        }
        assert_eq!(counters.age, 3 * 8000);
        assert!(!schedule.is_expired(counters, false));
        assert!(!schedule.is_expired(counters, true));
        // Before 1970 there is no time either.
        let early = schedule.older(counters, SystemTime::UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!((early.age, early.last), (counters.age, 0));
    }

    #[test]
    fn a_due_time_of_a_wrong_clock_does_not_keep_a_message_back() {
        let schedule = schedule();
        let now = at(1_700_000_000);
        for (next, due) in [
            (0, true),
            (1_700_000_000, true),
            (1_700_000_001, false),
            (1_700_004_000, false),
            (1_700_004_001, true),
            (u64::MAX, true),
        ] {
            assert_eq!(schedule.is_due(next, now), due, "{next}");
        }
    }

    #[test]
    fn the_warning_comes_once() {
        let schedule = schedule();
        let counters = |age, warned| Counters { age, warned, ..Counters::default() };
        assert!(!schedule.is_delayed(counters(4 * HOUR - 1, false)));
        assert!(schedule.is_delayed(counters(4 * HOUR, false)));
        assert!(!schedule.is_delayed(counters(4 * HOUR, true)));
        let never = Schedule { delay_warning: Duration::ZERO, ..schedule };
        assert!(!never.is_delayed(counters(u64::MAX, false)));
    }
}
