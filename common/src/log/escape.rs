//! Text from outside, made harmless for one line of a log.

use std::fmt;

/// Most octets of foreign text in one place of a log line.
pub const FOREIGN_LIMIT: usize = 100;

/// Shows foreign octets: readable text stays, everything that could forge or hide a part of a line becomes `\xNN`,
/// and what does not fit into [`FOREIGN_LIMIT`] is replaced by `...`.
pub fn escape(octets: &[u8]) -> Escaped<'_> {
    Escaped { octets, plain: "", limit: FOREIGN_LIMIT }
}

/// Likewise for what the administrator wrote: `<`, `>`, `"` and `\` stay as they are. Such a text stands in no line that
/// has a user's name or an address to forge, and is to be found again in the file it came from.
pub fn readable(octets: &[u8]) -> Escaped<'_> {
    Escaped { octets, plain: "<>\"\\", limit: FOREIGN_LIMIT }
}

impl Escaped<'_> {
    /// The same with room for so many octets: for a text that stands alone, or at the end of its line.
    pub fn up_to(self, limit: usize) -> Self {
        Escaped { limit, ..self }
    }
}

/// See [`escape`] and [`readable`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    octets: &'a [u8],
    /// Characters that stay as they are.
    plain: &'static str,
    /// Most octets that it is shown with.
    limit: usize,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = Room { left: self.limit, out: f };
        for chunk in self.octets.utf8_chunks() {
            for c in chunk.valid().chars() {
                let mut encoded = [0; 4];
                let encoded = c.encode_utf8(&mut encoded);
                let stays = is_harmless(c) || self.plain.contains(c);
                let fits = if stays { room.plain(encoded)? } else { room.hex(encoded.as_bytes())? };
                if !fits {
                    return f.write_str("...");
                }
            }
            for octet in chunk.invalid() {
                if !room.hex(&[*octet])? {
                    return f.write_str("...");
                }
            }
        }
        Ok(())
    }
}

/// `<` and `>` delimit the user in our lines, `"` a text; the rest would move the cursor, the line or its direction.
fn is_harmless(c: char) -> bool {
    match c {
        '\\' | '<' | '>' | '"' => false,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => false,
        _ => !c.is_control(),
    }
}

struct Room<'a, 'b> {
    left: usize,
    out: &'a mut fmt::Formatter<'b>,
}

impl Room<'_, '_> {
    fn take(&mut self, octets: usize) -> bool {
        match self.left.checked_sub(octets) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    fn plain(&mut self, text: &str) -> Result<bool, fmt::Error> {
        if !self.take(text.len()) {
            return Ok(false);
        }
        self.out.write_str(text).map(|()| true)
    }

    fn hex(&mut self, octets: &[u8]) -> Result<bool, fmt::Error> {
        if !self.take(4 * octets.len()) {
            return Ok(false);
        }
        octets.iter().try_for_each(|octet| write!(self.out, "\\x{octet:02X}")).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_text_stays_on_its_line_and_in_its_place() {
        let rows: [(&[u8], &str); 7] = [
            (b"joe", "joe"),
            ("jürgen".as_bytes(), "jürgen"),
            (b"a\r\nb\0", "a\\x0D\\x0Ab\\x00"),
            (b"j\xfcrgen\\", "j\\xFCrgen\\x5C"),
            (b"x>, rip=192.0.2.1", "x\\x3E, rip=192.0.2.1"),
            ("\u{202e}\u{85}".as_bytes(), "\\xE2\\x80\\xAE\\xC2\\x85"),
            (b"\x1b[2J", "\\x1B[2J"),
        ];
        for (octets, want) in rows {
            assert_eq!(escape(octets).to_string(), want);
        }
    }

    #[test]
    fn what_the_administrator_wrote_is_found_again() {
        assert_eq!(readable(b"</etc/\"a\" > b\\c").to_string(), "</etc/\"a\" > b\\c");
        assert_eq!(readable(b"\x1b[2J\xff").to_string(), "\\x1B[2J\\xFF");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escape(&[b'a'; 100]).to_string(), "a".repeat(100));
        assert_eq!(escape(&[b'a'; 101]).to_string(), format!("{}...", "a".repeat(100)));
        assert_eq!(escape(&[b'a'; 501]).up_to(500).to_string(), format!("{}...", "a".repeat(500)));
        assert_eq!(escape(&[0; 26]).to_string(), format!("{}...", "\\x00".repeat(25)));
    }

    proptest! {
        #[test]
        fn escaped_text_is_short_plain_and_unambiguous(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = escape(&octets).to_string();
            prop_assert!(shown.len() <= FOREIGN_LIMIT + 3);
            let plain = shown.chars().all(|c| !c.is_control() && !"<>\"".contains(c));
            prop_assert!(plain);
            if !shown.ends_with("...") {
                prop_assert_eq!(unescape(&shown), octets);
            }
        }
    }

    fn unescape(shown: &str) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), shown.as_bytes());
        while let [first, after @ ..] = rest {
            if *first == b'\\' {
                let digits = std::str::from_utf8(&after[1..3]).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[3..];
            } else {
                out.push(*first);
                rest = after;
            }
        }
        out
    }
}
