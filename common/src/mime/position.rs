//! Places in a message, counted in the file and as they are sent.

/// A place in a message: what is before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// Octets in the file.
    pub offset: u64,
    /// Octets as they are sent: where no CR is before a LF, one counts with it.
    pub octets: u64,
    /// Line ends.
    pub lines: u64,
}

/// Counts what it is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Behind all of it.
    pub position: Position,
    /// Before the line end that was the last thing in what was shown at one time.
    pub line_end: Position,
    previous: u8,
}

impl Counter {
    /// At a place behind this octet.
    pub fn after(previous: u8) -> Counter {
        Counter { previous, ..Counter::default() }
    }

    /// Counts further octets.
    pub fn advance(&mut self, octets: &[u8]) {
        let Some(&last) = octets.last() else { return };
        let (lines, bare) = line_feeds(octets, self.previous == b'\r');
        self.pass(octets, last, lines, bare);
    }

    /// Counts a piece of a line, of which only the last octet may be a LF.
    pub fn advance_line(&mut self, line: &[u8]) {
        let Some(&last) = line.last() else { return };
        let ends = last == b'\n';
        let bare = ends && self.before_last(line) != b'\r';
        self.pass(line, last, u64::from(ends), u64::from(bare));
    }

    fn before_last(&self, octets: &[u8]) -> u8 {
        octets.len().checked_sub(2).and_then(|at| octets.get(at)).copied().unwrap_or(self.previous)
    }

    fn pass(&mut self, octets: &[u8], last: u8, lines: u64, bare: u64) {
        let length = octets.len() as u64;
        self.position.offset += length;
        self.position.octets += length + bare;
        self.position.lines += lines;
        if last == b'\n' {
            let length = if self.before_last(octets) == b'\r' { 2 } else { 1 };
            self.line_end = Position {
                offset: self.position.offset.saturating_sub(length),
                octets: self.position.octets.saturating_sub(2),
                lines: self.position.lines.saturating_sub(1),
            };
        }
        self.previous = last;
    }

    /// Whether the next octet is the first of a line.
    pub fn is_at_line_start(&self) -> bool {
        self.previous == b'\n' || self.position.offset == 0
    }
}

/// How many LF there are, and how many of them without a CR; `after_cr` tells of the octet before.
fn line_feeds(octets: &[u8], after_cr: bool) -> (u64, u64) {
    if !after_cr && memchr::memchr(b'\r', octets).is_none() {
        let all = memchr::memchr_iter(b'\n', octets).count() as u64;
        return (all, all);
    }
    let (mut all, mut bare) = (0, 0);
    for at in memchr::memchr_iter(b'\n', octets) {
        let has_cr = match at.checked_sub(1) {
            Some(before) => octets.get(before) == Some(&b'\r'),
            None => after_cr,
        };
        all += 1;
        bare += u64::from(!has_cr);
    }
    (all, bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_line_feed_counts_two() {
        for (text, want) in [
            (&b""[..], (0, 0)),
            (b"a", (1, 0)),
            (b"\n", (2, 1)),
            (b"\r\n", (2, 1)),
            (b"\r", (1, 0)),
            (b"a\nb\r\nc\r\r\n\n\rd", (14, 4)),
        ] {
            for cut in 0..=text.len() {
                let mut counter = Counter::default();
                counter.advance(&text[..cut]);
                counter.advance(&text[cut..]);
                let at = counter.position;
                assert_eq!((at.octets, at.lines), want, "{} cut at {cut}", text.escape_ascii());
                assert_eq!(at.offset, text.len() as u64);
                assert_eq!(counter.is_at_line_start(), text.is_empty() || text.ends_with(b"\n"));
            }
        }
    }

    proptest! {
        #[test]
        fn line_by_line_is_the_same(text in "[\\r\\na]{0,40}") {
            let (mut whole, mut lines) = (Counter::default(), Counter::default());
            whole.advance(text.as_bytes());
            text.as_bytes().split_inclusive(|&octet| octet == b'\n').for_each(|line| lines.advance_line(line));
            prop_assert_eq!(whole.position, lines.position);
            if text.ends_with('\n') {
                prop_assert_eq!(whole.line_end, lines.line_end);
            }
        }
    }
}
