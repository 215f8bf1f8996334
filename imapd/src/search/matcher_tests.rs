use super::super::testing::{Dribble, Fake};
use super::*;
use crate::grammar::SearchKey;
use base64ct::{Base64 as Encoder, Encoding as _};
use proptest::prelude::*;

/// Charsets with letters of theirs: some have states, in some the second octet of a letter is one of ASCII, or ends a line.
const CHARSETS: [(&str, &str); 8] = [
    ("iso-2022-jp", "aB\u{30a2}\u{6f22}\u{5b57}"),
    ("utf-16", "aB\u{e9}\u{a0a}\u{1f600}"),
    ("utf-16le", "aB\u{e9}\u{a0a}\u{2d2d}"),
    ("shift_jis", "aB\u{30bd}\u{8868}\u{80fd}"),
    ("gb18030", "aB\u{e9}\u{4e02}\u{1f600}"),
    ("big5", "aB\u{529f}\u{8a31}\u{4e00}"),
    ("euc-kr", "aB\u{ac00}\u{b098}\u{c73c}"),
    ("utf-8", "aB\u{e9}\u{6f22}\u{1f600}"),
];

fn encoded(charset: &str, text: &str) -> Vec<u8> {
    match charset {
        "utf-16" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        _ => {
            let (octets, _, has_failed) = charset::encoding(charset.as_bytes()).unwrap().encode(text);
            assert!(!has_failed, "{charset}: {text}");
            octets.into_owned()
        }
    }
}

/// A message with this body, as it is, in base64 or as quoted-printable.
fn message(charset: &str, transfer: u8, body: &[u8]) -> Vec<u8> {
    let (name, body) = match transfer {
        0 => ("binary", body.to_vec()),
        1 => {
            let text = Encoder::encode_string(body).into_bytes();
            ("base64", text.chunks(10).collect::<Vec<_>>().join(&b"\r\n"[..]))
        }
        _ => (
            "quoted-printable",
            body.iter().map(|octet| format!("={octet:02X}=\r\n")).collect::<String>().into(),
        ),
    };
    let head =
        format!("Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {name}\r\n\r\n");
    [head.into_bytes(), body].concat()
}

fn is_found(message: &[u8], step: usize, wanted: &str) -> bool {
    let key = SearchKey::Body(wanted.as_bytes().to_vec());
    let program = super::super::compile(&key, Some(b"UTF-8"), &Fake::default()).unwrap();
    let mut leaves = vec![Verdict::Unknown; program.leaves.len()];
    let mut reader = Dribble(message, step);
    let verdict = search(&program, &mut leaves, &mut Vec::new(), &mut Scratch::default(), &mut reader);
    verdict.unwrap() == Verdict::Yes
}

/// Whether it is in the text when all of that is there at once.
fn has(text: &str, wanted: &str) -> bool {
    memchr::memmem::find(&casemap::folded(text), &casemap::folded(wanted)).is_some()
}

proptest! {
    #[test]
    fn texts_are_found_however_they_are_cut(
        charset in prop::sample::select(CHARSETS.to_vec()),
        letters in proptest::collection::vec(0usize..5, 1..40),
        wanted in proptest::collection::vec(0usize..5, 1..4),
        transfer in 0u8..3,
        step in 1usize..24,
    ) {
        let (charset, alphabet) = charset;
        let alphabet: Vec<char> = alphabet.chars().collect();
        let spelt = |letters: &[usize]| letters.iter().map(|&letter| alphabet[letter]).collect::<String>();
        let (text, wanted) = (spelt(&letters), spelt(&wanted));
        let message = message(charset, transfer, &encoded(charset, &text));
        prop_assert_eq!(is_found(&message, step, &wanted), has(&text, &wanted), "{} in {}", wanted, text);
        // And its own end, whatever stands before it.
        let end: String = text.chars().skip(letters.len() / 2).collect();
        prop_assert!(is_found(&message, step, &end), "{} in {}", end, text);
    }

    /// What is no text of its charset: escape sequences that are none, halves of letters.
    #[test]
    fn pieces_of_anything_are_the_whole(
        charset in prop::sample::select(CHARSETS.to_vec()),
        parts in proptest::collection::vec(prop_oneof![
            prop::sample::select(vec![
                &b"\x1b$B"[..], b"\x1b(B", b"\x1b(J", b"\x1b", b"$B", b"%\"", b"a", b"B", b"\0", b"\n", b"\xd8\x3d", b"\xfe\xff",
            ])
                .prop_map(<[u8]>::to_vec),
            proptest::collection::vec(any::<u8>(), 1..3),
        ], 1..24),
        wanted in "[aB\u{30a2}\u{fffd}\u{e9}%\"]{1,2}",
        transfer in 1u8..3,
        step in 1usize..24,
    ) {
        let body = parts.concat();
        let encoding = charset::encoding(charset.0.as_bytes()).unwrap();
        let text = match charset::is_stateful(encoding) {
            true => encoding.decode(&body).0,
            false => encoding.decode_without_bom_handling(&body).0,
        };
        let message = message(charset.0, transfer, &body);
        prop_assert_eq!(is_found(&message, step, &wanted), has(&text, &wanted), "{:?} in {:?}", wanted, text);
    }
}
