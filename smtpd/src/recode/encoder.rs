//! base64 and quoted-printable (RFC 2045 section 6), as the octets come.

use base64ct::{Base64, Encoding as _};

/// Octets that make a line of 76 in base64 (RFC 2045 section 6.8).
pub(super) const LINE: usize = 57;
/// Columns of a line of quoted-printable, without the `=` of a soft line break (RFC 2045 section 6.7).
const COLUMNS: usize = 75;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// As it comes.
    Identity,
    /// In lines, without an end behind the last one: it may be the one before a boundary.
    Base64,
    /// Lines stay lines.
    QuotedPrintable,
}

/// Writes one body after another.
#[derive(Default)]
pub(super) struct Encoder {
    base64: Base64Lines,
    quoted: Quoted,
}

impl Encoder {
    /// Octets of a body.
    pub fn push(&mut self, encoding: Encoding, octets: &[u8], out: &mut Vec<u8>) {
        match encoding {
            Encoding::Identity => out.extend_from_slice(octets),
            Encoding::Base64 => self.base64.push(octets, out),
            Encoding::QuotedPrintable => self.quoted.push(octets, out),
        }
    }

    /// The body is over. Whether it needs a line end that is not its own.
    pub fn end(&mut self, out: &mut Vec<u8>) -> bool {
        self.quoted.end(out);
        self.base64.end(out)
    }
}

#[derive(Default)]
struct Base64Lines {
    /// What is less than a line.
    rest: Vec<u8>,
    begun: bool,
}

impl Base64Lines {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let room = if self.rest.is_empty() { 0 } else { LINE.saturating_sub(self.rest.len()) };
        let (first, behind) = octets.split_at_checked(room).unwrap_or((octets, b""));
        self.rest.extend_from_slice(first);
        if self.rest.len() == LINE {
            self.put_rest(out);
        }
        let mut lines = behind.chunks_exact(LINE);
        for line in &mut lines {
            self.put_line(line, out);
        }
        self.rest.extend_from_slice(lines.remainder());
    }

    /// Whether there was anything.
    fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.rest.is_empty() {
            self.put_rest(out);
        }
        std::mem::take(&mut self.begun)
    }

    fn put_rest(&mut self, out: &mut Vec<u8>) {
        let mut rest = std::mem::take(&mut self.rest);
        self.put_line(&rest, out);
        rest.clear();
        self.rest = rest;
    }

    fn put_line(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"\r\n");
        }
        let mut text = [0; LINE / 3 * 4];
        // There is room for a whole line.
        out.extend_from_slice(Base64::encode(octets, &mut text).unwrap_or_default().as_bytes());
    }
}

#[derive(Default)]
struct Quoted {
    column: usize,
    /// A blank that may be the last octet of its line, where it would be lost on the way, or a CR that may be half of a line end;
    /// or both.
    blank: Option<u8>,
    cr: bool,
}

impl Quoted {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            if std::mem::take(&mut self.cr) {
                if octet == b'\n' {
                    self.put_blank_quoted(out);
                    out.extend_from_slice(b"\r\n");
                    self.column = 0;
                    continue;
                }
                self.put_blank(out);
                self.put_quoted(b'\r', out);
            }
            match octet {
                b'\r' => self.cr = true,
                b' ' | b'\t' => {
                    self.put_blank(out);
                    self.blank = Some(octet);
                }
                b'!'..=b'<' | b'>'..=b'~' => {
                    self.put_blank(out);
                    // No line may begin like a boundary that was none before, for a soft line break or for what a `=` makes of it.
                    match octet == b'-' && matches!(self.column, 0 | COLUMNS) {
                        true => self.put_quoted(octet, out),
                        false => self.put(&[octet], out),
                    }
                }
                _ => {
                    self.put_blank(out);
                    self.put_quoted(octet, out);
                }
            }
        }
    }

    /// The last line has no end of its own.
    fn end(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.cr) {
            true => {
                self.put_blank(out);
                self.put_quoted(b'\r', out);
            }
            false => self.put_blank_quoted(out),
        }
        self.column = 0;
    }

    fn put_blank(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.put(&[blank], out);
        }
    }

    fn put_blank_quoted(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.put_quoted(blank, out);
        }
    }

    fn put_quoted(&mut self, octet: u8, out: &mut Vec<u8>) {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
        self.put(&[b'=', digit(octet >> 4), digit(octet & 15)], out);
    }

    /// Octets that stay together.
    fn put(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.column + octets.len() > COLUMNS {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        out.extend_from_slice(octets);
        self.column += octets.len();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(encoding: Encoding, pieces: &[&[u8]]) -> String {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        for piece in pieces {
            encoder.push(encoding, piece, &mut out);
        }
        encoder.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// RFC 2045 section 6.7, read strictly.
    pub fn decoded(text: &str) -> Vec<u8> {
        let (mut octets, mut is_whole) = (Vec::new(), false);
        for line in text.split("\r\n") {
            assert!(line.len() <= 76 && !line.ends_with([' ', '\t']), "{line}");
            if std::mem::replace(&mut is_whole, !line.ends_with('=')) {
                octets.extend_from_slice(b"\r\n");
            }
            let mut rest = line.strip_suffix('=').unwrap_or(line).as_bytes();
            while let [first, behind @ ..] = rest {
                rest = behind;
                match (first, behind) {
                    (b'=', [high, low, behind @ ..]) => {
                        let digits = [*high, *low];
                        let digits = std::str::from_utf8(&digits).unwrap();
                        assert_eq!(digits, digits.to_uppercase());
                        octets.push(u8::from_str_radix(digits, 16).unwrap());
                        rest = behind;
                    }
                    (b' ' | b'\t' | b'!'..=b'<' | b'>'..=b'~', _) => octets.push(*first),
                    _ => panic!("{first} in {line}"),
                }
            }
        }
        octets
    }

    #[test]
    fn quoted_printable() {
        for (text, want) in [
            ("", ""),
            ("gr\u{fc}n = 1\r\n", "gr=C3=BCn =3D 1\r\n"),
            ("a \r\nb\t\r\n \r\n", "a=20\r\nb=09\r\n=20\r\n"),
            ("a  \r\n", "a =20\r\n"),
            ("a ", "a=20"),
            ("a\r", "a=0D"),
            (" \r", " =0D"),
            (" \ra", " =0Da"),
            ("\r\r\n", "=0D\r\n"),
            ("a\nb\0", "a=0Ab=00"),
            ("\r\n\r\n", "\r\n\r\n"),
            ("--a-\r\n -\r\n-", "=2D-a-\r\n -\r\n=2D"),
        ] {
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(encoded(Encoding::QuotedPrintable, &[text.as_bytes()]), want, "{text:?}");
            assert_eq!(encoded(Encoding::QuotedPrintable, &single), want, "{text:?}");
        }
        let long = encoded(Encoding::QuotedPrintable, &["x".repeat(151).as_bytes()]);
        assert_eq!(long, format!("{}=\r\n{}=\r\nx", "x".repeat(75), "x".repeat(75)));
        let long = encoded(Encoding::QuotedPrintable, &[format!("{}\u{fc}", "x".repeat(73)).as_bytes()]);
        assert_eq!(long, format!("{}=\r\n=C3=BC", "x".repeat(73)));
    }

    proptest! {
        #[test]
        fn what_is_quoted_means_the_same(octets in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(x|-| |\t|=|\r\n|\r|\n|\u{fc}){0,200}".prop_map(String::into_bytes),
        ], cut in 0usize..300) {
            let (front, back) = octets.split_at(cut.min(octets.len()));
            let text = encoded(Encoding::QuotedPrintable, &[front, back]);
            prop_assert_eq!(&text, &encoded(Encoding::QuotedPrintable, &[&octets]));
            prop_assert!(!text.starts_with('-') && !text.contains("\n-"));
            prop_assert_eq!(decoded(&text), octets);
        }
    }
}
