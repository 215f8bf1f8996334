//! BINARYMIME on its way to lines, and eight bits on theirs to seven: the same however they are cut, nothing changed but what says so,
//! and that not at all once it is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::recode::{Recoded, To};
use std::io::Read;

const HEADER: &[u8] = b"Content-Transfer-Encoding: binary\r\n\r\n";
const MIXED: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";

/// What is read of a message that comes in two pieces.
fn recode(to: To, front: &[u8], back: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    Recoded::new(front.chain(back), to).read_to_end(&mut octets).expect("memory");
    octets
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// What lines of 76 columns mean.
fn decode(lines: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(lines).expect("base64");
    assert!(text.split("\r\n").all(|line| line.len() <= 76));
    let mut octets = Vec::new();
    let digits: Vec<u8> = text.bytes().filter(|octet| !b"\r\n".contains(octet)).collect();
    assert_eq!(digits.len() % 4, 0);
    for group in digits.chunks(4) {
        let value = group.iter().fold(0u32, |value, octet| {
            value << 6
                | match octet {
                    b'A'..=b'Z' => u32::from(octet - b'A'),
                    b'a'..=b'z' => u32::from(octet - b'a') + 26,
                    b'0'..=b'9' => u32::from(octet - b'0') + 52,
                    b'+' => 62,
                    b'/' => 63,
                    _ => 0,
                }
        });
        let padding = group.iter().filter(|octet| **octet == b'=').count();
        octets.extend_from_slice(&value.to_be_bytes()[1..4 - padding]);
    }
    octets
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, message) = input;
    let (front, back) = message.split_at(usize::from(cut).min(message.len()));
    let [stored, sent] = [To::Lines, To::SevenBits].map(|to| {
        let recoded = recode(to, message, b"");
        assert_eq!(recode(to, front, back), recoded);
        // Nothing is left to be done.
        assert_eq!(recode(to, &recoded, b""), recoded);
        recoded
    });
    assert!(has(message, b"binary") || stored == message);
    assert!(has(message, b"binary") || has(message, b"8bit") || sent == message);

    // Text of eight bits: no line may look like a boundary that was none.
    let text = recode(To::SevenBits, b"Content-Transfer-Encoding: 8bit\r\n\r\n", message);
    let is_good = |line: &[u8]| line.len() <= 77 && line.first() != Some(&b'-');
    assert!(text.is_ascii() && text.split(|octet| *octet == b'\n').all(is_good));

    // A part that is binary, alone and between boundaries.
    let header = b"Content-Transfer-Encoding: base64\r\n\r\n";
    let alone = recode(To::Lines, HEADER, message);
    assert_eq!(decode(alone.strip_prefix(header).expect("a header")), message);
    if !has(message, b"\r\n--b") && !message.starts_with(b"--b") {
        let stored = recode(To::Lines, &[MIXED, HEADER, message].concat(), b"\r\n--b--\r\n");
        let part = stored.strip_prefix(&[MIXED, header].concat()[..]).expect("a header");
        let part = part.strip_suffix(b"\r\n--b--\r\n").expect("a boundary");
        assert_eq!(decode(part), message);
    }
});
