//! Modified UTF-7, in which mailbox names are sent and stored (RFC 3501 section 5.1.3).
//!
//! The input is hostile. Of the many ways to write a name only the one that the RFC allows is valid: printable ASCII
//! stands for itself, everything else is in as few shifts as possible, and padding bits are zero. So two valid names are
//! the same name exactly when their octets are the same.

use memchr::memchr;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// The text of a name; `None` if it is not valid.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        match octet {
            b'&' => {
                let (encoded, behind) = behind.split_at_checked(memchr(b'-', behind)?)?;
                rest = behind.get(1..)?;
                if encoded.is_empty() {
                    text.push('&');
                } else {
                    decode_shifted(encoded, &mut text)?;
                }
            }
            b' '..=b'~' => text.push(char::from(octet)),
            _ => return None,
        }
    }
    // What another spelling would be is not worth knowing: it has to be the only one.
    (encode(&text) == name).then_some(text)
}

/// What stands between `&` and `-`: UTF-16 in base64. Left-over bits are found by encoding again.
fn decode_shifted(encoded: &[u8], text: &mut String) -> Option<()> {
    let (mut bits, mut count) = (0u32, 0u32);
    let mut units = Vec::with_capacity(encoded.len());
    for octet in encoded {
        let digit = memchr(*octet, DIGITS)?;
        bits = (bits & 0xffff) << 6 | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count & 0xffff) as u16);
        }
    }
    for character in char::decode_utf16(units) {
        text.push(character.ok()?);
    }
    Some(())
}

/// The name of a text. Every text has one.
pub fn encode(text: &str) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '&' => name.extend_from_slice(b"&-"),
            ' '..='~' => name.push(character as u8),
            _ => {
                name.push(b'&');
                let (mut bits, mut count) = (0u32, 0u32);
                let mut units = [0; 2];
                let mut next = Some(character);
                while let Some(shifted) = next {
                    for unit in shifted.encode_utf16(&mut units) {
                        bits = (bits & 0x3f) << 16 | u32::from(*unit);
                        count += 16;
                        while count >= 6 {
                            count -= 6;
                            name.push(digit(bits >> count));
                        }
                    }
                    next = characters.next_if(|next| !(' '..='~').contains(next));
                }
                if count > 0 {
                    name.push(digit(bits << (6 - count)));
                }
                name.push(b'-');
            }
        }
    }
    name
}

fn digit(bits: u32) -> u8 {
    DIGITS.get(bits as usize & 0x3f).copied().unwrap_or(b'A')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_their_texts() {
        for (name, text) in [
            ("", ""),
            ("INBOX", "INBOX"),
            ("&-", "&"),
            ("a&-&-b", "a&&b"),
            ("Entw&APw-rfe", "Entw\u{fc}rfe"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}"),
            ("&Jjo-!", "\u{263a}!"),
            ("&AOQA9gD8-", "\u{e4}\u{f6}\u{fc}"),
            ("&AOQ-&-&AOQ-", "\u{e4}&\u{e4}"),
            ("&2D3cAg-", "\u{1f402}"),
            ("&AAEAfw-", "\u{1}\u{7f}"),
        ] {
            assert_eq!(decode(name.as_bytes()).as_deref(), Some(text), "{name}");
            assert_eq!(encode(text), name.as_bytes());
        }
    }

    #[test]
    fn other_spellings_are_no_names() {
        for name in [
            &b"&"[..],
            b"a&",
            b"&APw",
            b"&APw.-",
            b"&AP=-",
            b"&APx-",      // a bit set behind the last unit
            b"&APwA-",     // half a unit more
            b"&A-",        // half a unit
            b"&AGE-",      // an a
            b"&ACY-",      // &
            b"&AC8-",      // /
            b"&AOQ-&APY-", // two shifts where one does
            b"&2D0-",      // half of a pair
            b"&3AI-",      // the other half
            b"&2D0A5A-",   // half of a pair before something else
            b"&AP/-",      // / is written ,
            b"Entw\xc3\xbcrfe",
            b"a\nb",
            b"a\x7f",
            b"&-&",
        ] {
            assert_eq!(decode(name), None, "{}", name.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let name = encode(&text);
            prop_assert!(name.iter().all(|octet| (b' '..=b'~').contains(octet)));
            prop_assert_eq!(decode(&name), Some(text));
        }

        #[test]
        fn what_decodes_encodes_to_the_same(name in "[&A-C,+/2D0cAg -]{0,12}") {
            if let Some(text) = decode(name.as_bytes()) {
                prop_assert_eq!(encode(&text), name.as_bytes());
            }
        }

        #[test]
        fn nothing_is_too_strange(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&name);
        }
    }
}
