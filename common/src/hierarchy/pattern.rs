//! Patterns of LIST and LSUB (RFC 3501 section 6.3.8): `*` is anything, `%` anything within one level.
//!
//! Pattern and name are both hostile. The time is bounded by the product of their lengths: all places in the pattern
//! where the name may have got to are followed at once, and nothing is tried twice.

/// A pattern, ready to be compared with many names.
#[derive(Debug, Clone)]
pub struct Pattern {
    steps: Vec<Step>,
    separator: u8,
    /// Octets that a name must have at least.
    literals: usize,
    /// Octets that a name must begin with.
    start: Vec<u8>,
    /// The places that the name has got to, and those after its next octet; one more than steps.
    now: Vec<bool>,
    next: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Octet(u8),
    AnythingInLevel,
    Anything,
}

const INBOX: &[u8] = b"INBOX";

impl Pattern {
    /// The pattern with the reference before it, as a client sees names.
    pub fn new(reference: &[u8], pattern: &[u8], separator: u8) -> Pattern {
        let mut steps: Vec<Step> = Vec::with_capacity(reference.len() + pattern.len());
        for &octet in reference.iter().chain(pattern) {
            let step = match octet {
                b'*' => Step::Anything,
                b'%' => Step::AnythingInLevel,
                _ => Step::Octet(octet),
            };
            match (steps.last_mut(), step) {
                // Of wildcards in a row the strongest does what all of them would.
                (Some(Step::Anything), Step::Anything | Step::AnythingInLevel) => {}
                (Some(last @ Step::AnythingInLevel), Step::Anything | Step::AnythingInLevel) => *last = step,
                _ => steps.push(step),
            }
        }
        let literals = steps.iter().filter(|step| matches!(step, Step::Octet(_))).count();
        let start = steps.iter().map_while(|step| match step {
            Step::Octet(octet) => Some(*octet),
            _ => None,
        });
        let none = vec![false; steps.len() + 1];
        Pattern { start: start.collect(), separator, literals, now: none.clone(), next: none, steps }
    }

    /// Whether it ends with `%`: then levels of the hierarchy that are no mailboxes count too (RFC 3501 section 6.3.8).
    pub fn ends_with_level(&self) -> bool {
        self.steps.last() == Some(&Step::AnythingInLevel)
    }

    /// Whether the name is one of those the pattern means. INBOX, as the first level, is compared in any case.
    pub fn matches(&mut self, name: &[u8]) -> bool {
        if self.literals > name.len() {
            return false;
        }
        let folded = if is_inbox_or_below(name, self.separator) { INBOX.len() } else { 0 };
        let same = |at: usize, a: u8, b: u8| a == b || at < folded && a.eq_ignore_ascii_case(&b);
        if !self.start.iter().zip(name).enumerate().all(|(at, (&a, &b))| same(at, a, b)) {
            return false;
        }
        match self.steps.as_slice() {
            [Step::Anything] => return true,
            [Step::AnythingInLevel] => return memchr::memchr(self.separator, name).is_none(),
            steps if steps.len() == self.start.len() => return steps.len() == name.len(),
            _ => {}
        }
        self.now.fill(false);
        reach(&mut self.now, &self.steps, 0);
        for (at, &octet) in name.iter().enumerate() {
            self.next.fill(false);
            let mut alive = false;
            for (place, step) in self.steps.iter().enumerate() {
                if self.now.get(place) != Some(&true) {
                    continue;
                }
                let to = match *step {
                    Step::Anything => place,
                    Step::AnythingInLevel if octet != self.separator => place,
                    Step::Octet(wanted) if same(at, wanted, octet) => place + 1,
                    _ => continue,
                };
                reach(&mut self.next, &self.steps, to);
                alive = true;
            }
            if !alive {
                return false;
            }
            std::mem::swap(&mut self.now, &mut self.next);
        }
        self.now.last() == Some(&true)
    }
}

/// A place in the pattern is reached, and with it the one behind a wildcard, which may stand for nothing. Behind a
/// wildcard is no other.
fn reach(places: &mut [bool], steps: &[Step], place: usize) {
    let behind = usize::from(matches!(steps.get(place), Some(Step::Anything | Step::AnythingInLevel)));
    for place in place..=place + behind {
        if let Some(reached) = places.get_mut(place) {
            *reached = true;
        }
    }
}

fn is_inbox_or_below(name: &[u8], separator: u8) -> bool {
    let first = name.split(|&octet| octet == separator).next();
    first.is_some_and(|first| first.eq_ignore_ascii_case(INBOX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(b"", pattern.as_bytes(), b'.').matches(name.as_bytes())
    }

    #[test]
    fn patterns_and_names() {
        for (pattern, yes, no) in [
            ("*", &["a", "a.b", "INBOX", ""][..], &[][..]),
            ("%", &["a", "INBOX", ""], &["a.b", "."]),
            ("%.%", &["a.b", "."], &["a", "a.b.c"]),
            ("a.%", &["a.b", "a."], &["a", "b.c", "a.b.c"]),
            ("a*", &["a", "ab", "a.b"], &["b", "ba"]),
            ("a%*", &["a", "a.b.c"], &["b"]),
            ("a*%", &["a", "a.b.c"], &["b"]),
            ("%%%", &["a"], &["a.b"]),
            ("*b", &["b", "a.b", "bb", "abab"], &["ba"]),
            ("%b%.*c", &["b.c", "abba.x.c", "ab.c.c"], &["b", "x.b.c", "b.cd"]),
            ("*a%b", &["ab", "a.ab", "axb", "a.a.axxb"], &["a.b", "ab.c"]),
            ("inbox", &["INBOX", "inbox"], &["INBOXES", "INBOX.a"]),
            ("InB%", &["INBOX", "InBetween"], &["inbetween", "INBOX.a"]),
            ("inbox.Sent", &["INBOX.Sent"], &["INBOX.sent"]),
            ("%X", &["INBOX"], &["x"]),
            ("%x", &["INBOX", "x"], &["X"]),
            ("", &[""], &["a"]),
            ("Sent", &["Sent"], &["sent", "Sen", "Sents"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
        assert!(Pattern::new(b"a.", b"%", b'.').matches(b"a.b"));
        assert!(Pattern::new(b"a", b"/%", b'/').matches(b"a/b.c"));
        assert!(Pattern::new(b"", b"a.%", b'.').ends_with_level());
        assert!(!Pattern::new(b"", b"%*", b'.').ends_with_level());
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "*a%".repeat(300);
        let name = "a.".repeat(500);
        let begun = std::time::Instant::now();
        assert!(!matches(&pattern, &"b".repeat(1000)) && !matches(&format!("{pattern}b"), &name));
        assert!(begun.elapsed().as_secs() < 2);
    }

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
            (Some((b'%', rest)), _) => {
                let level = name.iter().position(|&octet| octet == b'.').unwrap_or(name.len());
                (0..=level).any(|skip| naive(rest, &name[skip..]))
            }
            (Some(_), None) => false,
            (Some((a, pattern)), Some((b, name))) => a == b && naive(pattern, name),
        }
    }

    proptest! {
        #[test]
        fn a_naive_matcher_agrees(pattern in "[ab.*%]{0,10}", name in "[ab.]{0,12}") {
            prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
