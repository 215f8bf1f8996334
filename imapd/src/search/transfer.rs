//! Content-Transfer-Encodings (RFC 2045 section 6), read piece by piece as far as they make sense.
//!
//! The octets are a stranger's. Each decoder keeps a few octets between pieces and writes no more than it reads.

/// What stands in the table for octets that are none of base64's.
const NONE: u8 = 0xFF;

/// Octets in which the end of a line is looked for.
const NEAR: usize = 256;

/// The value of each octet in base64.
static BASE64: [u8; 256] = {
    let mut table = [NONE; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        #[allow(clippy::indexing_slicing)]
        {
            table[alphabet[value] as usize] = value as u8;
        }
        value += 1;
    }
    table
};

/// base64: what is not of the alphabet is passed over. Padding ends a group, and another may follow.
#[derive(Default, Clone, Copy, Debug)]
pub struct Base64 {
    bits: u32,
    count: u8,
}

impl Base64 {
    /// Appends what the next piece decodes to.
    pub fn decode(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while !rest.is_empty() {
            // Whole groups of four to the end of the line; line ends and the like are stepped over one octet at a time.
            if self.count == 0 && rest.len() >= 4 {
                // Not far: what is none of base64's is looked at once more for each of its octets.
                let near = rest.get(..NEAR).unwrap_or(rest);
                let line = memchr::memchr2(b'\n', b'\r', near).unwrap_or(near.len());
                let groups = groups(near.get(..line).unwrap_or_default(), out);
                rest = rest.get(groups * 4..).unwrap_or_default();
            }
            let Some((&octet, behind)) = rest.split_first() else { return };
            rest = behind;
            let value = value(octet);
            if value == NONE {
                if octet == b'=' {
                    *self = Base64::default();
                }
                continue;
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            // Of the first two values one octet is whole, and so on.
            match self.count {
                2 => out.push((self.bits >> 4) as u8),
                3 => out.push((self.bits >> 2) as u8),
                4 => {
                    out.push(self.bits as u8);
                    *self = Base64::default();
                }
                _ => {}
            }
        }
    }
}

/// Appends what whole groups of four decode to, as far as all of an octet's group is of the alphabet. How many these are.
fn groups(line: &[u8], out: &mut Vec<u8>) -> usize {
    let from = out.len();
    out.resize(from + line.len() / 4 * 3, 0);
    let mut done = 0;
    let room = out.get_mut(from..).unwrap_or_default().chunks_exact_mut(3);
    for (group, to) in line.chunks_exact(4).zip(room) {
        let Some(group) = group.first_chunk::<4>() else { break };
        let [a, b, c, d] = group.map(value);
        // Values have six bits.
        if (a | b | c | d) & 0x80 != 0 {
            break;
        }
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, octets @ ..] = bits.to_be_bytes();
        to.copy_from_slice(&octets);
        done += 1;
    }
    out.truncate(from + done * 3);
    done
}

#[inline(always)]
fn value(octet: u8) -> u8 {
    BASE64.get(usize::from(octet)).copied().unwrap_or(NONE)
}

/// quoted-printable. What is no escape stands for itself.
#[derive(Default, Clone, Debug)]
pub struct QuotedPrintable {
    /// The escape that the last piece ended in.
    pending: Vec<u8>,
}

/// Blanks between the `=` of a soft line break and the line's end: no line is longer (RFC 2045 section 6.7, rule 5).
const BLANKS_MAX: usize = 76;

/// What begins with a `=`.
enum Escape {
    /// There is not enough of it.
    Unknown,
    /// An octet, written with three.
    Octet(u8),
    /// A soft line break of so many octets.
    SoftBreak(usize),
    /// The `=` stands for itself.
    None,
}

impl Escape {
    fn of(octets: &[u8]) -> Escape {
        let behind = octets.get(1..).unwrap_or_default();
        match behind {
            [b'\n', ..] => return Escape::SoftBreak(2),
            [high, low, ..] => {
                if let Some(octet) = escape(*high, *low) {
                    return Escape::Octet(octet);
                }
            }
            [one] if one.is_ascii_hexdigit() => return Escape::Unknown,
            _ => {}
        }
        // Blanks at the end of a line were added on the way (rule 3).
        let blanks = behind.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).take(BLANKS_MAX).count();
        match behind.get(blanks..).unwrap_or_default() {
            [] | [b'\r'] => Escape::Unknown,
            [b'\n', ..] => Escape::SoftBreak(blanks + 2),
            [b'\r', b'\n', ..] => Escape::SoftBreak(blanks + 3),
            _ => Escape::None,
        }
    }
}

impl QuotedPrintable {
    /// Appends what the next piece decodes to.
    pub fn decode(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while !self.pending.is_empty() {
            let Some((&octet, behind)) = rest.split_first() else { return };
            self.pending.push(octet);
            match Escape::of(&self.pending) {
                Escape::Unknown => {
                    rest = behind;
                    continue;
                }
                Escape::Octet(decoded) => {
                    out.push(decoded);
                    rest = behind;
                }
                Escape::SoftBreak(_) => rest = behind,
                // This octet may begin another one.
                Escape::None => {
                    self.pending.pop();
                    out.extend_from_slice(&self.pending);
                }
            }
            self.pending.clear();
        }
        while let Some(at) = memchr::memchr(b'=', rest) {
            let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            out.extend_from_slice(plain);
            // What nearly all of them are goes first.
            rest = match from {
                [_, b'\n', behind @ ..] | [_, b'\r', b'\n', behind @ ..] => behind,
                [_, high, low, behind @ ..] => match escape(*high, *low) {
                    Some(decoded) => {
                        out.push(decoded);
                        behind
                    }
                    None => self.odd(from, out),
                },
                _ => self.odd(from, out),
            };
        }
        out.extend_from_slice(rest);
    }

    /// What begins with a `=` and is no ordinary escape, or not all there. What is behind it.
    fn odd<'o>(&mut self, octets: &'o [u8], out: &mut Vec<u8>) -> &'o [u8] {
        let used = match Escape::of(octets) {
            Escape::SoftBreak(length) => length,
            Escape::Unknown => {
                self.pending.extend_from_slice(octets);
                octets.len()
            }
            // An octet is none here.
            Escape::None | Escape::Octet(_) => {
                out.push(b'=');
                1
            }
        };
        octets.get(used..).unwrap_or_default()
    }

    /// The end: an escape that was not finished stands for itself.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.pending);
    }
}

fn escape(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Appends `text` with its escapes (`mark` and two hexadecimal digits) decoded.
pub fn hex_escapes(text: &[u8], mark: u8, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if octet == mark {
            if let [high, low, after @ ..] = behind {
                if let Some(decoded) = escape(*high, *low) {
                    out.push(decoded);
                    rest = after;
                    continue;
                }
            }
        }
        out.push(octet);
    }
}

/// The `Q` encoding of RFC 2047 section 4.2: `_` is a blank.
pub fn quoted_word(text: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'_', b'=', rest) {
        let (plain, behind) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        rest = match behind {
            [b'=', high, low, after @ ..] if escape(*high, *low).is_some() => {
                out.extend(escape(*high, *low));
                after
            }
            [b'_', after @ ..] => {
                out.push(b' ');
                after
            }
            [octet, after @ ..] => {
                out.push(*octet);
                after
            }
            [] => behind,
        };
    }
    out.extend_from_slice(rest);
    debug_assert!(out.len() - from <= text.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64 as Reference, Encoding};
    use proptest::prelude::*;

    fn base64(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut decoder, mut out) = (Base64::default(), Vec::new());
        pieces.iter().for_each(|piece| decoder.decode(piece, &mut out));
        out
    }

    fn quoted(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut decoder, mut out) = (QuotedPrintable::default(), Vec::new());
        pieces.iter().for_each(|piece| decoder.decode(piece, &mut out));
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn strange_base64() {
        for (text, want) in [
            (&b""[..], &b""[..]),
            (b"QQ==", b"A"),
            (b"QQ", b"A"),
            (b"Q", b""),
            (b"QUI=\r\nQUI=", b"ABAB"),
            (b"Q!U-I", b"AB"),
            (b"QUJD\r\nREVG\r\n", b"ABCDEF"),
        ] {
            assert_eq!(base64(&[text]), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn strange_quoted_printable() {
        for (text, want) in [
            (&b""[..], &b""[..]),
            (b"a=3Db", b"a=b"),
            (b"a=3db=C3=A9", b"a=b\xc3\xa9"),
            (b"soft=\r\nline=\nend", b"softlineend"),
            (b"blanks= \t \nbehind=\t\r\nit=  not= \r =41", b"blanksbehindit=  not= \r A"),
            (b"a= ", b"a= "),
            (b"a= =41", b"a= A"),
            (b"a=b", b"a=b"),
            (b"a=", b"a="),
            (b"a=4", b"a=4"),
            (b"a==41", b"a=A"),
            (b"a=\rb", b"a=\rb"),
            (b"=XX=-", b"=XX=-"),
            (b"=4\n=41", b"=4\nA"),
        ] {
            assert_eq!(quoted(&[text]), want, "{}", text.escape_ascii());
            for at in 0..=text.len() {
                let (a, b) = text.split_at(at);
                assert_eq!(quoted(&[a, b]), want, "{} at {at}", text.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn base64_of_everything(octets in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300, width in 4usize..80) {
            let line = Reference::encode_string(&octets);
            let mut text = Vec::new();
            for piece in line.as_bytes().chunks(width) {
                text.extend_from_slice(piece);
                text.extend_from_slice(b"\r\n");
            }
            let (a, b) = text.split_at(at.min(text.len()));
            prop_assert_eq!(base64(&[a, b]), octets);
        }

        #[test]
        fn pieces_make_no_difference(text in "[=A-F0-9\r\n \tx]{0,60}", at in 0usize..60, to in 0usize..60) {
            let text = text.as_bytes();
            let (at, to) = (at.min(text.len()), to.min(text.len()));
            let (at, to) = (at.min(to), at.max(to));
            let pieces: [&[u8]; 3] = [&text[..at], &text[at..to], &text[to..]];
            prop_assert_eq!(quoted(&pieces), quoted(&[text]));
            prop_assert_eq!(base64(&pieces), base64(&[text]));
        }
    }
}
