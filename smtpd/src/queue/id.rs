//! Queue IDs: names of messages in the log, in `Received` and on the disk.
//!
//! They begin with the time, so that they sort by arrival, and never come twice: seconds, microseconds and random bits.

use common::sys::process;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

/// Longest ID, those of forwarded messages and bounces included.
pub const ID_MAX: usize = 48;

/// Digits without vowels, so that no words come up.
const DIGITS: &[u8; 32] = b"0123456789BCDFGHJKLMNPQRSTVWXYZb";

/// A queue ID: letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Box<str>);

impl Id {
    /// One that nobody has had.
    pub fn new(now: SystemTime) -> io::Result<Id> {
        let mut random = [0; 4];
        process::random(&mut random)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut text = String::with_capacity(14);
        push(&mut text, since.as_secs(), 7);
        push(&mut text, since.subsec_micros().into(), 4);
        push(&mut text, u32::from_ne_bytes(random).into(), 3);
        Ok(Id(text.into()))
    }

    /// Reads one: from a file name or a command line.
    pub fn parse(text: &str) -> Option<Id> {
        let is_clean = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let begins = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        (is_clean && begins && text.len() <= ID_MAX).then(|| Id(text.into()))
    }

    /// The ID of what is made of this message once: its forwarding for a recipient (`f3`), its bounce (`b`). The same each
    /// time, so that a repetition after a crash does not make two. `None`: it has been derived from too often, which only a
    /// loop does.
    pub fn derived(&self, what: &str) -> Option<Id> {
        Id::parse(&format!("{}-{what}", self.0))
    }

    /// Whether a message has it that was made of another one, to be sent on in its place (`f`).
    pub fn is_forwarded(&self) -> bool {
        self.0.rsplit_once('-').is_some_and(|(_, what)| what.starts_with('f'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn push(text: &mut String, number: u64, digits: u32) {
    for at in (0..digits).rev() {
        let digit = (number >> (5 * at)) & 31;
        text.push(DIGITS.get(digit as usize).copied().unwrap_or(b'0').into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let at = |seconds| Id::new(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        let ids = [at(0), at(1_700_000_000), at(1_700_000_001), at(4_000_000_000)];
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        for id in &ids {
            assert_eq!(Id::parse(id.as_str()).as_ref(), Some(id));
            assert_eq!(id.as_str().len(), 14);
        }
        let now = SystemTime::now();
        let many: std::collections::HashSet<Id> = (0..50).map(|_| Id::new(now).unwrap()).collect();
        assert!(many.len() >= 48, "15 random bits");
    }

    #[test]
    fn what_is_none() {
        for text in ["", ".", "..", "a/b", "a.log", "-x", "a b", "a\0", "ä", &"a".repeat(49)] {
            assert!(Id::parse(text).is_none(), "{text:?}");
        }
        let mut id = Id::parse("abc").unwrap();
        assert_eq!(id.derived("f3").unwrap().as_str(), "abc-f3");
        assert!((0..30).any(|_| match id.derived("f3") {
            Some(next) => {
                id = next;
                false
            }
            None => true,
        }));
    }
}
