//! Header texts as people read them: unfolded (RFC 5322 section 2.2.3), encoded words decoded (RFC 2047), UTF-8.
//!
//! The octets are a stranger's. Nothing here fails: what is no encoded word is kept as it is, and a header's length bounds the
//! work. Adjacent encoded words of one charset are decoded together, because senders split characters between them.

use super::transfer::{Base64, quoted_word};
use crate::{casemap, charset};
use encoding_rs::Encoding;
use memchr::memmem;

/// Appends the text of a header's value to `out`, `scratch` being lent.
pub fn decode(raw: &[u8], out: &mut String, scratch: &mut Vec<u8>) {
    let mut rest = raw;
    // Encoded words are rare, line ends too; plain ASCII is copied.
    while let Some(at) = memchr::memchr3(b'=', b'\n', b'\r', rest) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        match from.first() {
            Some(b'=') => {
                if let Some((word, behind)) = Word::parse(from) {
                    push(plain, out);
                    rest = words(word, behind, out, scratch);
                } else {
                    let (plain, behind) = rest.split_at_checked(at + 1).unwrap_or((rest, &[]));
                    push(plain, out);
                    rest = behind;
                }
            }
            // A fold with the blanks around it is one blank, as in the envelope.
            _ => {
                push(plain.trim_ascii_end(), out);
                rest = from.trim_ascii_start();
                if !rest.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
        }
    }
    push(rest, out);
}

/// Appends the folded text of a header's value to `folded`. `text` and `scratch` are lent; `text` is empty before and after.
pub fn fold(raw: &[u8], folded: &mut Vec<u8>, text: &mut String, scratch: &mut Vec<u8>) {
    // Most values hold nothing that has to be decoded.
    if raw.is_ascii() && memchr::memchr3(b'=', b'\n', b'\r', raw).is_none() {
        return casemap::fold_ascii(raw, folded);
    }
    decode(raw, text, scratch);
    casemap::fold(text, folded);
    text.clear();
}

fn push(plain: &[u8], out: &mut String) {
    match std::str::from_utf8(plain) {
        Ok(text) => out.push_str(text),
        Err(_) => out.push_str(&charset::guess(plain)),
    }
}

/// Decodes a word and those that follow it with nothing but blanks between (RFC 2047 section 6.2). What is behind them.
fn words<'a>(first: Word<'a>, behind: &'a [u8], out: &mut String, octets: &mut Vec<u8>) -> &'a [u8] {
    octets.clear();
    first.decode(octets);
    let (mut encoding, mut rest) = (first.encoding, behind);
    loop {
        let next = rest.trim_ascii_start();
        match Word::parse(next) {
            Some((word, behind)) => {
                if word.encoding != encoding {
                    out.push_str(&charset::to_utf8(encoding, octets));
                    octets.clear();
                    encoding = word.encoding;
                }
                word.decode(octets);
                rest = behind;
            }
            None => break,
        }
    }
    out.push_str(&charset::to_utf8(encoding, octets));
    rest
}

/// An encoded word.
#[derive(Clone, Copy)]
struct Word<'a> {
    encoding: &'static Encoding,
    base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// The word at the start of `octets`, and what is behind it. One in a charset that is not known is none: its octets are
    /// shown. Blanks within the text are taken as some senders mean them.
    fn parse(octets: &'a [u8]) -> Option<(Word<'a>, &'a [u8])> {
        let inner = octets.strip_prefix(b"=?")?;
        let name_end = inner.iter().take(80).position(|&octet| octet == b'?')?;
        let (name, inner) = inner.split_at_checked(name_end)?;
        let (base64, text) = match inner {
            [b'?', b'b' | b'B', b'?', text @ ..] => (true, text),
            [b'?', b'q' | b'Q', b'?', text @ ..] => (false, text),
            _ => return None,
        };
        let end = memmem::find(text, b"?=")?;
        // `=?utf-8?q?=41?=`: the first octet of the text may look like the end.
        let (word, behind) = (text.get(..end)?, text.get(end + 2..)?);
        if memchr::memchr2(b'\n', b'?', word).is_some() {
            return None;
        }
        Some((Word { encoding: charset::encoding(name)?, base64, text: word }, behind))
    }

    fn decode(&self, octets: &mut Vec<u8>) {
        match self.base64 {
            true => Base64::default().decode(self.text, octets),
            false => quoted_word(self.text, octets),
        }
    }
}

/// The values of RFC 2231's extended parameters in a field (`filename*0*=utf-8''...`), decoded and appended to `out`, each
/// behind a blank, so that they can be found too. Continuations are joined in the order in which they stand.
pub fn decode_parameters(raw: &[u8], out: &mut String) {
    let mut encoding = encoding_rs::UTF_8;
    let mut octets = Vec::new();
    let mut joined: &[u8] = b"";
    let mut flush = |octets: &mut Vec<u8>, encoding| {
        if !octets.is_empty() {
            out.push(' ');
            out.push_str(&charset::to_utf8(encoding, octets));
            octets.clear();
        }
    };
    for parameter in raw.split(|&octet| octet == b';').skip(1) {
        let Some(equals) = memchr::memchr(b'=', parameter) else { continue };
        let (name, value) = parameter.split_at_checked(equals).unwrap_or((parameter, &[]));
        let (name, value) = (name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii());
        let Some(star) = memchr::memchr(b'*', name) else { continue };
        let (base, section) = name.split_at_checked(star).unwrap_or((name, &[]));
        let first = matches!(section, b"*" | b"*0" | b"*0*");
        if first || !base.eq_ignore_ascii_case(joined) {
            flush(&mut octets, encoding);
            (joined, encoding) = (base, encoding_rs::UTF_8);
        }
        if !section.ends_with(b"*") {
            octets.extend_from_slice(
                value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value),
            );
            continue;
        }
        let mut text = value;
        if first {
            let mut pieces = value.splitn(3, |&octet| octet == b'\'');
            if let (Some(name), Some(_), Some(rest)) = (pieces.next(), pieces.next(), pieces.next()) {
                encoding = charset::encoding(name).unwrap_or(encoding_rs::UTF_8);
                text = rest;
            }
        }
        super::transfer::hex_escapes(text, b'%', &mut octets);
    }
    flush(&mut octets, encoding);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &[u8]) -> String {
        let mut out = String::new();
        decode(raw, &mut out, &mut Vec::new());
        out
    }

    #[test]
    fn encoded_words() {
        for (raw, want) in [
            (&b""[..], ""),
            (b"plain", "plain"),
            (b"a = b =? c", "a = b =? c"),
            (b"folded\r\n  text\n\tmore", "folded text more"),
            // RFC 2047 section 8.
            (b"=?ISO-8859-1?Q?a?=", "a"),
            (b"=?ISO-8859-1?Q?a?= b", "a b"),
            (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a?=  \r\n    =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a_b?=", "a b"),
            (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            (b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
            (b"=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?=", "Keld J\u{f8}rn Simonsen"),
            (
                b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
                "If you can read this you understand the example.",
            ),
            // One character in two words.
            (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "\u{e9}"),
            (b"=?utf-8?b?w6k?=", "\u{e9}"),
            (b"=?utf-8*en?q?=C3=A9?=x", "\u{e9}x"),
            (b"=?x-none?q?a?=", "=?x-none?q?a?="),
            (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
            (b"=?utf-8?q?open", "=?utf-8?q?open"),
            (b"=?utf-8?q?=41?=", "A"),
            (b"caf\xc3\xa9", "caf\u{e9}"),
            (b"caf\xe9", "caf\u{e9}"),
            (b"=?iso-2022-jp?b?GyRCJSIbKEI=?=", "\u{30a2}"),
        ] {
            assert_eq!(text(raw), want, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn extended_parameters() {
        for (raw, want) in [
            (&b"attachment; filename=a.txt"[..], ""),
            (b"attachment; filename*=utf-8''na%C3%AFve.txt", " na\u{ef}ve.txt"),
            (b"a; title*0*=us-ascii'en'This%20is; title*1*=%2Aall; title*2=\" fun\"", " This is*all fun"),
            (b"a; b*=x; c*=y", " x y"),
            (b"a; b*=bad%zz%4", " bad%zz%4"),
        ] {
            let mut out = String::new();
            decode_parameters(raw, &mut out);
            assert_eq!(out, want, "{}", raw.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(raw in "[=?utf8qQbB_ \r\nA\\-0*';%]{0,80}") {
            text(raw.as_bytes());
            decode_parameters(raw.as_bytes(), &mut String::new());
        }

        #[test]
        fn utf8_survives(text_in in "\\PC{0,30}") {
            let mut raw = b"=?utf-8?q?".to_vec();
            for octet in text_in.bytes() {
                raw.extend_from_slice(format!("={octet:02X}").as_bytes());
            }
            raw.extend_from_slice(b"?=");
            prop_assert_eq!(text(&raw), text_in);
        }
    }
}
