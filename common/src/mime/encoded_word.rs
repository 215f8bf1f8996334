//! Encoded words (RFC 2047), and the decoding of octets in a charset that goes with them.

use super::Decode;

/// What a charset is called whose name nobody wrote: octets above 127 without any announcement.
pub const UNKNOWN: &[u8] = b"unknown-8bit";

/// Adds the text of an unfolded value, encoded words decoded. Those of one charset that follow each other are decoded together:
/// programs cut characters in two. What is none stays as it is.
pub fn decode(value: &[u8], decode: Decode<'_>, text: &mut String) {
    let mut rest = value;
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at_checked(at).unwrap_or((rest, b""));
        let Some(word) = Word::parse(word) else {
            flush(&mut pending, decode, text);
            let (plain, behind) = rest.split_at_checked(at + 2).unwrap_or((rest, b""));
            decode_octets(UNKNOWN, plain, decode, text);
            rest = behind;
            continue;
        };
        // Blanks between two encoded words are not part of the text (RFC 2047 section 6.2).
        if pending.is_none() || !before.trim_ascii().is_empty() {
            flush(&mut pending, decode, text);
            decode_octets(UNKNOWN, before, decode, text);
        }
        match &mut pending {
            Some((charset, octets)) if charset.eq_ignore_ascii_case(word.charset) => word.decode(octets),
            _ => {
                flush(&mut pending, decode, text);
                let mut octets = Vec::with_capacity(word.text.len());
                word.decode(&mut octets);
                pending = Some((word.charset, octets));
            }
        }
        rest = rest.get(at + word.length..).unwrap_or_default();
    }
    flush(&mut pending, decode, text);
    decode_octets(UNKNOWN, rest, decode, text);
}

fn flush(pending: &mut Option<(&[u8], Vec<u8>)>, decode: Decode<'_>, text: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        decode_octets(charset, &octets, decode, text);
    }
}

/// Adds octets in a charset as text. What is UTF-8 needs no decoder; a charset that nobody knows is read as UTF-8 with U+FFFD where
/// it is none.
pub fn decode_octets(charset: &[u8], octets: &[u8], decode: Decode<'_>, text: &mut String) {
    if octets.is_empty() {
        return;
    }
    // RFC 2231 section 5: a language may follow.
    let charset = charset.split(|&octet| octet == b'*').next().unwrap_or_default();
    let is = |name: &str| charset.eq_ignore_ascii_case(name.as_bytes());
    if charset.is_empty() || is("utf-8") || is("us-ascii") || charset == UNKNOWN {
        if let Ok(valid) = std::str::from_utf8(octets) {
            text.push_str(valid);
            return;
        }
    }
    if !decode(charset, octets, text) {
        text.push_str(&String::from_utf8_lossy(octets));
    }
}

struct Word<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
    /// All of it.
    length: usize,
}

impl<'a> Word<'a> {
    /// The encoded word at the start, if it is one.
    fn parse(from: &'a [u8]) -> Option<Word<'a>> {
        let inner = from.strip_prefix(b"=?")?;
        // A name is short; what is not must not be looked through again and again.
        let charset = inner.get(..memchr::memchr(b'?', inner.get(..80).unwrap_or(inner))?)?;
        let is_base64 = match inner.get(charset.len() + 1)? {
            b'B' | b'b' => true,
            b'Q' | b'q' => false,
            _ => return None,
        };
        let text = inner.get(charset.len() + 2..)?.strip_prefix(b"?")?;
        // In base64 there is no question mark; in Q programs leave them, so the end is "?=" only.
        let end = match is_base64 {
            true => memchr::memchr(b'?', text).filter(|&at| text.get(at + 1) == Some(&b'='))?,
            false => end_of_q(text)?,
        };
        let text = text.get(..end)?;
        let is_name = charset.iter().all(|octet| octet.is_ascii_graphic());
        (is_name && !charset.is_empty()).then_some(Word {
            charset,
            is_base64,
            text,
            length: 2 + charset.len() + 3 + end + 2,
        })
    }

    fn decode(&self, octets: &mut Vec<u8>) {
        if self.is_base64 { base64(self.text, octets) } else { q(self.text, octets) }
    }
}

/// Where the text of a Q word ends. Words are 75 octets; some programs write longer ones, but none of thousands.
fn end_of_q(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text.get(..2000).unwrap_or(text), b"?=")
}

fn q(text: &[u8], octets: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        match (octet, behind.first_chunk::<2>().and_then(|digits| hex(*digits))) {
            (b'_', _) => octets.push(b' '),
            (b'=', Some(value)) => {
                octets.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => octets.push(octet),
        }
    }
}

/// The octet that two hexadecimal digits are.
pub(super) fn hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// Decodes base64, passing over what is none, up to the padding.
fn base64(text: &[u8], octets: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u32, 0u32);
    for &octet in text {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = bits << 6 & 0xff_ffff | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Knows Latin-1 and one charset of two octets a character.
    fn charsets(charset: &[u8], octets: &[u8], text: &mut String) -> bool {
        match charset.to_ascii_lowercase().as_slice() {
            b"iso-8859-1" => text.extend(octets.iter().map(|&octet| char::from(octet))),
            b"x-double" => text.extend(octets.chunks(2).map(|pair| char::from(pair[0]))),
            _ => return false,
        }
        true
    }

    fn decoded(value: &[u8]) -> String {
        let mut text = String::new();
        decode(value, &mut charsets, &mut text);
        text
    }

    #[test]
    fn words() {
        for (value, want) in [
            // RFC 2047 section 8.
            (&b"=?ISO-8859-1?Q?a?="[..], "a"),
            (b"=?ISO-8859-1?Q?a?= b", "a b"),
            (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a?=   =?iso-8859-1?q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a_b?=", "a b"),
            (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?_b?=", "a b"),
            (b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
            (b"Re: =?utf-8?q?J=C3=B6rg?=, x", "Re: J\u{f6}rg, x"),
            (b"=?utf-8?b?w7bDtg==?=", "\u{f6}\u{f6}"),
            // Characters cut in two, with padding in the middle and without.
            (b"=?utf-8?q?=C3?= =?utf-8?q?=B6?=", "\u{f6}"),
            (b"=?utf-8?b?ww==?= =?UTF-8?b?tg==?=", "\u{f6}"),
            (b"=?x-double?q?ax?= =?iso-8859-1?q?=F6?=", "a\u{f6}"),
            (b"=?utf-8*en?q?a?=", "a"),
            // None of them.
            (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
            (b"=?utf-8?q?open", "=?utf-8?q?open"),
            (b"=?utf-8?q?open =?utf-8?q?b?=", "open =?utf-8?q?b"),
            (b"=??q?a?=", "=??q?a?="),
            (b"a =? b", "a =? b"),
            (b"=?", "=?"),
            (b"=?utf-8?q?=zz=4?=", "=zz=4"),
            (b"=?utf-8?q?a b?=", "a b"),
            (b"=?nobody-knows?q?a=FF?=", "a\u{fffd}"),
            (b"\xc3\xb6 \xff", "\u{f6} \u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(decoded(value), want, "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn plain_text_stays(value in "[a-z ,.?=]{0,30}") {
            prop_assume!(!value.contains("=?"));
            prop_assert_eq!(decoded(value.as_bytes()), value);
        }

        #[test]
        fn nothing_is_too_strange(value in "(=[?]|utf-8|[?]q[?]|[?]b[?]|[?]=|[a-zA-Z0-9=_ ]){0,20}") {
            prop_assert!(decoded(value.as_bytes()).len() <= 3 * value.len());
        }
    }
}
