//! Lexical tokens of structured fields (RFC 5322 section 3.2, RFC 2045 section 5.1), read leniently from an unfolded value.

/// Where one is in a value.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// A quote that is never closed has been seen: from there on quotes are ordinary octets.
    stray_quotes: bool,
}

/// Octets that end an atom: the specials of RFC 5322 without the dot, and blanks.
pub(super) const SPECIALS: &Ends = &Ends::of(b"()<>[]:;@\\,\"");
/// Octets that end a token (RFC 2045), and blanks.
pub(super) const TSPECIALS: &Ends = &Ends::of(b"()<>@,;:\\\"/[]?=");

/// Octets that end a run, blanks among them; a bit for each. Every octet of a header is looked up in one.
pub(super) struct Ends([u32; 8]);

impl Ends {
    /// These and blanks.
    pub const fn of(octets: &[u8]) -> Ends {
        Ends([0; 8]).and(b" \t\n\x0c\r").and(octets)
    }

    const fn and(self, octets: &[u8]) -> Ends {
        let Ends(mut bits) = self;
        let mut at = 0;
        while at < octets.len() {
            bits[(octets[at] >> 5) as usize] |= 1 << (octets[at] & 31);
            at += 1;
        }
        Ends(bits)
    }

    /// Whether this is one of them.
    pub fn has(&self, octet: u8) -> bool {
        self.0.get(usize::from(octet >> 5)).is_some_and(|bits| bits >> (octet & 31) & 1 == 1)
    }
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: text, stray_quotes: false }
    }

    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn skip(&mut self, octets: usize) {
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    /// Passes this octet if it is the next one.
    pub fn take(&mut self, octet: u8) -> bool {
        let is_next = self.peek() == Some(octet);
        if is_next {
            self.skip(1);
        }
        is_next
    }

    pub fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Passes blanks and comments. The text of the last comment, its inner parentheses included, goes to `comment` if there
    /// is one. Whether there was anything.
    pub fn skip_cfws(&mut self, comment: &mut Vec<u8>) -> bool {
        let before = self.rest.len();
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'(') {
                return self.rest.len() < before;
            }
            comment.clear();
            self.comment(comment);
        }
    }

    /// A comment. One that is never closed goes to the end.
    fn comment(&mut self, text: &mut Vec<u8>) {
        let mut depth = 0usize;
        while let Some(octet) = self.peek() {
            self.skip(1);
            match octet {
                b'(' => {
                    depth += 1;
                    if depth == 1 {
                        continue;
                    }
                }
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'\\' => {
                    text.extend(self.peek());
                    self.skip(1);
                    continue;
                }
                _ => {}
            }
            text.push(octet);
        }
        let length = text.trim_ascii_end().len();
        text.truncate(length);
        let blanks = text.len() - text.trim_ascii_start().len();
        text.drain(..blanks);
    }

    /// Octets up to one of these. Possibly none.
    pub fn run(&mut self, until: &Ends) -> &'a [u8] {
        let length = self.rest.iter().position(|&octet| until.has(octet)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, b""));
        self.rest = rest;
        run
    }

    /// A quoted string, if one is next and closed; what it means is added to `text`.
    pub fn quoted(&mut self, text: &mut Vec<u8>) -> bool {
        if self.stray_quotes || self.peek() != Some(b'"') {
            return false;
        }
        let begun = text.len();
        let mut rest = self.rest.get(1..).unwrap_or_default();
        while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
            let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, b""));
            text.extend_from_slice(plain);
            match special {
                [b'\\', escaped, behind @ ..] => {
                    text.push(*escaped);
                    rest = behind;
                }
                [b'"', behind @ ..] => {
                    self.rest = behind;
                    return true;
                }
                _ => break,
            }
        }
        text.truncate(begun);
        self.stray_quotes = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_blanks_and_what_was_named() {
        let ends = Ends::of(b"\x00@\x7f\xff");
        for octet in 0..=255u8 {
            let want = octet.is_ascii_whitespace() || matches!(octet, 0 | b'@' | 0x7f | 0xff);
            assert_eq!(ends.has(octet), want, "{octet}");
        }
    }

    #[test]
    fn comments_nest_and_may_be_open() {
        for (text, comment, rest) in [
            (&b" x"[..], &b""[..], &b"x"[..]),
            (b"(a) x", b"a", b"x"),
            (b"(a)( b(c\\)\\() d )x", b"b(c)() d", b"x"),
            (b"(open (a) x", b"open (a) x", b""),
            (b"(\\", b"", b""),
            (b"()x", b"", b"x"),
            (b")x", b"", b")x"),
        ] {
            let (mut cursor, mut got) = (Cursor::new(text), Vec::new());
            cursor.skip_cfws(&mut got);
            assert_eq!((&got[..], cursor.rest()), (comment, rest), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn quoted_strings() {
        for (text, want, rest) in [
            (&b"\"a b\"c"[..], Some(&b"a b"[..]), &b"c"[..]),
            (b"\"\"", Some(b""), b""),
            (b"\"a\\\"\\\\b\"", Some(b"a\"\\b"), b""),
            (b"\"open", None, b"\"open"),
            (b"\"open\\\"", None, b"\"open\\\""),
            (b"\"open\\", None, b"\"open\\"),
            (b"x", None, b"x"),
        ] {
            let (mut cursor, mut got) = (Cursor::new(text), Vec::new());
            let is_quoted = cursor.quoted(&mut got);
            assert_eq!((is_quoted.then_some(&got[..]), cursor.rest()), (want, rest));
        }
    }
}
