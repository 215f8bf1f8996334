//! Lines and counted octets gathered into one text, for protocols whose commands are longer than the input buffer, and
//! counted octets that are only passed on. Hostile input: how much is gathered is the caller's to bound.

use super::{Conn, DISCARD_MAX, Ending};
use zeroize::{Zeroize, Zeroizing};

/// Octets that are kept from one command to the next.
const KEEP_OCTETS: usize = 1024;
/// Octets of the end of an over-long line that are told.
const TAIL_OCTETS: usize = 32;

/// A text that grows. It may hold a password: what it leaves behind in memory is overwritten.
#[derive(Debug, Default)]
pub struct Text(Zeroizing<Vec<u8>>);

impl Text {
    /// What has been gathered.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Empties and overwrites it. A large one gives its memory back.
    pub fn clear(&mut self) {
        if self.0.capacity() > KEEP_OCTETS {
            self.0 = Zeroizing::default();
        } else {
            self.0.zeroize();
        }
    }

    /// Adds octets.
    pub fn extend(&mut self, octets: &[u8]) {
        let wanted = self.0.len().saturating_add(octets.len());
        if wanted > self.0.capacity() {
            // The vector itself would leave a copy behind when it moves.
            let room = wanted.max(self.0.capacity().saturating_mul(2));
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(octets);
    }
}

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Gathered {
    /// As it should: it is in the text, without its end.
    Line,
    /// It was longer than allowed. Its first octets are in the text; this is its end, and what is between was thrown away.
    TooLong(Vec<u8>),
}

impl Conn {
    /// Adds the next line to `text` without its end, which is LF or CR LF. At most `limit` octets of it, a CR included,
    /// are added.
    pub fn gather_line(&mut self, text: &mut Text, limit: usize) -> Result<Gathered, Ending> {
        let begins = text.0.len();
        let mut tail: Vec<u8> = Vec::new();
        let mut discarded = 0usize;
        loop {
            let pending = self.unread();
            if pending.is_empty() {
                self.fill()?;
                continue;
            }
            let (piece, ended) = match memchr::memchr(b'\n', pending) {
                Some(at) => (pending.get(..at).unwrap_or_default(), 1),
                None => (pending, 0),
            };
            let left = limit.saturating_sub(text.0.len().saturating_sub(begins));
            let (fits, over) = piece.split_at_checked(left).unwrap_or((piece, b""));
            text.extend(fits);
            if !over.is_empty() {
                if discarded == 0 {
                    tail.extend_from_slice(last(text.0.get(begins..).unwrap_or_default()));
                }
                discarded = discarded.saturating_add(over.len());
                tail.extend_from_slice(last(over));
                tail = last(&tail).to_vec();
            }
            let used = piece.len() + ended;
            self.consume(used);
            if discarded > DISCARD_MAX {
                return Err(Ending::TooManyBadCommands);
            }
            if ended == 0 {
                continue;
            }
            self.line_since = None;
            if discarded > 0 {
                let tail = tail.strip_suffix(b"\r").unwrap_or(&tail);
                return Ok(Gathered::TooLong(tail.to_vec()));
            }
            if text.0.len() > begins && text.0.last() == Some(&b'\r') {
                text.0.pop();
            }
            return Ok(Gathered::Line);
        }
    }

    /// Adds the next `octets` octets to `text`, whatever they are.
    pub fn gather(&mut self, text: &mut Text, octets: usize) -> Result<(), Ending> {
        let mut left = octets;
        while left > 0 {
            let piece = self.piece(left as u64)?;
            let length = piece.len();
            text.extend(piece);
            self.consume(length);
            left = left.saturating_sub(length);
        }
        Ok(())
    }

    /// What comes next, at least one octet and at most `most`, as much as is there. To be used up with
    /// [`Conn::consume`]. Each piece is a sign of life: only the pieces' distance is bounded by the idle time.
    pub fn piece(&mut self, most: u64) -> Result<&[u8], Ending> {
        if self.unread().is_empty() {
            self.fill()?;
        }
        self.line_since = None;
        let pending = self.unread();
        Ok(pending.get(..usize::try_from(most).unwrap_or(usize::MAX)).unwrap_or(pending))
    }

    /// Throws the next `octets` octets away.
    pub fn skip(&mut self, octets: u64) -> Result<(), Ending> {
        let mut left = octets;
        while left > 0 {
            let length = self.piece(left)?.len();
            self.consume(length);
            left = left.saturating_sub(length as u64);
        }
        Ok(())
    }
}

/// The end of it.
fn last(octets: &[u8]) -> &[u8] {
    octets.get(octets.len().saturating_sub(TAIL_OCTETS)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Limits;
    use std::time::Duration;

    fn conn(unread: &[u8]) -> Conn {
        let minute = Duration::from_secs(60);
        Conn::new(Limits { idle: minute, reply: minute, deadline: None }, unread).unwrap()
    }

    #[test]
    fn lines_lose_their_ends() {
        let mut conn = conn(b"a b\r\n\n\r\nc\r\r\nlong{7+}\r\nrest\n12345678");
        let mut text = Text::default();
        for (limit, want, gathered) in [
            (9, "a b", Gathered::Line),
            (9, "", Gathered::Line),
            (9, "", Gathered::Line),
            (9, "c\r", Gathered::Line),
            (3, "lon", Gathered::TooLong(b"long{7+}".to_vec())),
            (4, "rest", Gathered::Line),
        ] {
            text.clear();
            assert_eq!(conn.gather_line(&mut text, limit).unwrap(), gathered);
            assert_eq!(text.as_bytes(), want.as_bytes());
        }
        text.clear();
        conn.skip(2).unwrap();
        assert_eq!(conn.piece(3).unwrap(), b"345");
        conn.gather(&mut text, 4).unwrap();
        assert_eq!(text.as_bytes(), b"3456");
        assert_eq!(conn.unread(), b"78");
    }

    #[test]
    fn what_was_gathered_before_is_no_part_of_the_line() {
        let mut conn = conn(b"\nx\r\n");
        let mut text = Text::default();
        text.extend(b"12\r");
        assert_eq!(conn.gather_line(&mut text, 1).unwrap(), Gathered::Line);
        assert_eq!(conn.gather_line(&mut text, 2).unwrap(), Gathered::Line);
        assert_eq!(text.as_bytes(), b"12\rx");
    }

    #[test]
    fn a_line_without_an_end_ends_the_conversation() {
        let mut conn = conn(&[b'x'; 8000]);
        let mut text = Text::default();
        for _ in 0..9 {
            // Nothing can be read in a test, but what is there is thrown away before more is waited for.
            conn.input.get_mut(..8000).unwrap().fill(b'x');
            (conn.start, conn.end) = (0, 8000);
            conn.limits.idle = Duration::ZERO;
            let _ = conn.gather_line(&mut text, 10);
            assert!(text.as_bytes().len() <= 90);
        }
    }
}
