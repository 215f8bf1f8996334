//! Patterns of LIST and LSUB (RFC 3501 section 6.3.8): `*` is anything, `%` anything within one level.
//!
//! Pattern and name are both hostile, and a command has many patterns for many names. The time is bounded by the product of
//! their lengths: all places in the pattern where the name may have got to are followed at once, and nothing is tried twice.
//! Each place is a bit, so that 64 of them are one step. A pattern with more octets than any name can have is not kept.

/// A pattern, ready to be compared with many names.
#[derive(Debug, Clone)]
pub struct Pattern {
    steps: Vec<Step>,
    separator: u8,
    /// Octets that a name must have at least.
    literals: usize,
    /// Octets that a name must begin with.
    start: Vec<u8>,
    /// The places that the name has got to: one more than steps, 64 in a word.
    places: Vec<u64>,
    /// The places of `*` and of `%`.
    anything: Vec<u64>,
    level: Vec<u64>,
    /// The octets of the pattern, and for each of them a row of words: the places where it stands. The first row is that of all
    /// other octets, and empty.
    octets: Vec<u8>,
    rows: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Octet(u8),
    AnythingInLevel,
    Anything,
}

const INBOX: &[u8] = b"INBOX";

/// Octets that no name has, whatever stands before it: see [`super::name`].
const LITERALS_MAX: usize = 4096;

/// Places in a word.
const WORD: usize = u64::BITS as usize;

impl Pattern {
    /// The pattern with the reference before it, as a client sees names.
    pub fn new(reference: &[u8], pattern: &[u8], separator: u8) -> Pattern {
        let mut steps: Vec<Step> = Vec::new();
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
        // No name is so long: the rows of such a one would be hundreds of times as long as the command that it came with.
        if literals > LITERALS_MAX {
            steps = Vec::new();
        }
        let start = steps.iter().map_while(|step| match step {
            Step::Octet(octet) => Some(*octet),
            _ => None,
        });
        let start = start.collect();
        let words = steps.len() / WORD + 1;
        let none = vec![0; words];
        let (mut anything, mut level, mut octets, mut rows) =
            (none.clone(), none.clone(), Vec::new(), none.clone());
        for (at, step) in steps.iter().enumerate() {
            let (words, at) = match *step {
                Step::Anything => (&mut anything, at),
                Step::AnythingInLevel => (&mut level, at),
                Step::Octet(octet) => {
                    let row = memchr::memchr(octet, &octets).unwrap_or_else(|| {
                        octets.push(octet);
                        rows.extend_from_slice(&none);
                        octets.len() - 1
                    });
                    (&mut rows, (row + 1) * words * WORD + at)
                }
            };
            if let Some(word) = words.get_mut(at / WORD) {
                *word |= 1 << (at % WORD);
            }
        }
        Pattern { start, separator, literals, places: none, anything, level, octets, rows, steps }
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
        let Pattern { places, anything, level, octets, rows, steps, separator, .. } = self;
        let words = places.len();
        let row = |octet: u8| -> &[u64] {
            let at = memchr::memchr(octet, octets).map_or(0, |at| at + 1) * words;
            rows.get(at..at + words).unwrap_or_default()
        };
        places.fill(0);
        if let (Some(places), Some(anything), Some(level)) =
            (places.first_mut(), anything.first(), level.first())
        {
            // A wildcard may stand for nothing. Behind a wildcard is no other.
            *places = 1 | (1 & (anything | level)) << 1;
        }
        for (at, &octet) in name.iter().enumerate() {
            let (one, other) = match at < folded {
                true => (octet.to_ascii_lowercase(), octet.to_ascii_uppercase()),
                false => (octet, octet),
            };
            let in_level = if octet == *separator { 0 } else { u64::MAX };
            let (mut carried, mut alive) = (0, 0);
            let wildcards = anything.iter().zip(&*level);
            for ((places, (anything, level)), (one, other)) in
                places.iter_mut().zip(wildcards).zip(row(one).iter().zip(row(other)))
            {
                let stay = *places & (anything | level & in_level);
                let go = *places & (one | other);
                let next = stay | go << 1 | carried;
                let at_wildcard = next & (anything | level);
                *places = next | at_wildcard << 1;
                carried = (go | at_wildcard) >> (WORD - 1);
                alive |= *places;
            }
            if alive == 0 {
                return false;
            }
        }
        places.last().is_some_and(|last| last >> (steps.len() % WORD) & 1 == 1)
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

    /// Nanoseconds of this thread on a processor.
    fn spent() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    #[test]
    fn many_hostile_patterns_for_many_names_take_little_time() {
        let begun = spent();
        for _ in 0..6 {
            let mut pattern = Pattern::new(b"", "*a".repeat(199).as_bytes(), b'.');
            for number in 0..1000 {
                assert!(!pattern.matches(format!("{}{number}", "a".repeat(196)).as_bytes()));
                assert!(pattern.matches("a".repeat(199 + number % 2).as_bytes()));
            }
        }
        // One place after the other it would be a thousand million steps.
        assert!(spent() - begun < 4_000_000_000, "{}", spent() - begun);
    }

    #[test]
    fn what_is_longer_than_any_name_takes_no_memory() {
        let reference: Vec<u8> = (0..60_000u32).map(|at| (at % 251) as u8 | 1).collect();
        let mut pattern = Pattern::new(&reference, b"*", b'.');
        assert!(pattern.rows.len() + pattern.steps.capacity() < 100, "{}", pattern.rows.len());
        assert!(!pattern.matches(&reference) && !pattern.matches(b"") && !pattern.matches(b"a"));
        // The longest that are kept.
        let pattern = Pattern::new(&[], &reference[..LITERALS_MAX], b'.');
        assert!(pattern.rows.len() * size_of::<u64>() < 300 << 10, "{}", pattern.rows.len());
    }

    #[test]
    fn places_beyond_the_first_word() {
        for literals in [61, 62, 63, 64, 65, 127, 128, 129, 300] {
            for wildcard in ["*", "%"] {
                for before in 0..4 {
                    let (a, b) = ("a".repeat(literals - before), "b".repeat(before + 3));
                    let pattern = format!("{a}{wildcard}{b}{wildcard}c");
                    assert!(
                        matches(&pattern, &format!("{a}{b}c")) && matches(&pattern, &format!("{a}xy{b}zc"))
                    );
                    assert!(
                        !matches(&pattern, &format!("{a}xy{b}zd")) && !matches(&pattern, &format!("{a}{b}"))
                    );
                    assert_eq!(matches(&pattern, &format!("{a}x.y{b}c")), wildcard == "*");
                }
            }
        }
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
