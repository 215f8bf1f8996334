//! BINARYMIME on its way to lines, and eight bits on theirs to seven: the same however they are cut, nothing changed but what says so,
//! and that not at all once it is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::recode::{Recoder, To};
use std::convert::Infallible;

const HEADER: &[u8] = b"Content-Transfer-Encoding: binary\r\n\r\n";
const MIXED: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";

fn recode(pieces: &[&[u8]]) -> Vec<u8> {
    recode_to(To::Lines, pieces)
}

fn recode_to(to: To, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut recoder, mut stored) = (Recoder::new(to), Vec::new());
    let mut to = |octets: &[u8]| {
        stored.extend_from_slice(octets);
        Ok::<(), Infallible>(())
    };
    for piece in pieces {
        let Ok(()) = recoder.write(piece, &mut to);
    }
    let Ok(()) = recoder.end(&mut to);
    stored
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
    let stored = recode(&[message]);
    let (front, back) = message.split_at(usize::from(cut).min(message.len()));
    assert_eq!(recode(&[front, back]), stored);
    assert_eq!(recode(&message.chunks(1).collect::<Vec<_>>()), stored);
    assert!(has(message, b"binary") || stored == message);
    // Nothing is left to be done.
    assert_eq!(recode(&[&stored]), stored);

    let sent = recode_to(To::SevenBits, &[message]);
    assert_eq!(recode_to(To::SevenBits, &[front, back]), sent);
    assert_eq!(recode_to(To::SevenBits, &[&sent]), sent);
    assert!(has(message, b"binary") || has(message, b"8bit") || sent == message);
    let text = recode_to(To::SevenBits, &[b"Content-Transfer-Encoding: 8bit\r\n\r\n", message]);
    // No line may look like a boundary that was none.
    let is_good = |line: &[u8]| line.len() <= 77 && line.first() != Some(&b'-');
    assert!(text.is_ascii() && text.split(|octet| *octet == b'\n').all(is_good));

    // A part that is binary, alone and between boundaries.
    let header = b"Content-Transfer-Encoding: base64\r\n\r\n";
    let alone = recode(&[HEADER, message]);
    assert_eq!(decode(alone.strip_prefix(header).expect("a header")), message);
    if !has(message, b"\r\n--b") && !message.starts_with(b"--b") {
        let stored = recode(&[MIXED, HEADER, message, b"\r\n--b--\r\n"]);
        let part = stored.strip_prefix(&[MIXED, header].concat()[..]).expect("a header");
        let part = part.strip_suffix(b"\r\n--b--\r\n").expect("a boundary");
        assert_eq!(decode(part), message);
    }
});
