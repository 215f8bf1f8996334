use super::*;
use base64ct::{Base64, Encoding as _};
use common::mime::tree::{Kind, Tree};
use proptest::prelude::*;
use std::convert::Infallible;
use std::io::Read as _;

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

fn recoded(message: &[u8]) -> Vec<u8> {
    let whole = recode(&[message]);
    let single: Vec<&[u8]> = message.chunks(1).collect();
    assert_eq!(recode(&single), whole, "{}", message.escape_ascii());
    whole
}

/// With `=` for base64 of octets as they stand between two of them.
fn with_base64(text: &str) -> String {
    let mut pieces = text.split('=');
    let mut out = pieces.next().unwrap().to_owned();
    while let (Some(octets), Some(plain)) = (pieces.next(), pieces.next()) {
        out.push_str(&Base64::encode_string(octets.as_bytes()));
        out.push_str(plain);
    }
    out
}

/// Fields by short names.
fn with_fields(text: &str) -> String {
    const FIELDS: [(&str, &str); 12] = [
        ("<7bit>", "Content-Transfer-Encoding: 7bit\r\n"),
        ("<quoted>", "Content-Transfer-Encoding: quoted-printable\r\n"),
        ("<text>", "Content-Type: text/plain; charset=utf-8\r\n"),
        ("<png>", "Content-Type: image/png\r\n"),
        ("<binary>", "Content-Transfer-Encoding: binary\r\n"),
        ("<base64>", "Content-Transfer-Encoding: base64\r\n"),
        ("<8bit>", "Content-Transfer-Encoding: 8bit\r\n"),
        ("<mixed b>", "Content-Type: multipart/mixed; boundary=b\r\n"),
        ("<mixed bb>", "Content-Type: multipart/mixed;\r\n boundary=\"bb\"\r\n"),
        ("<digest b>", "Content-Type: multipart/digest; boundary=b\r\n"),
        ("<message>", "Content-Type: message/rfc822\r\n"),
        ("<global>", "Content-Type: message/GLOBAL\r\n"),
    ];
    FIELDS.iter().fold(text.to_owned(), |text, (name, field)| text.replace(name, field))
}

#[test]
fn what_is_binary_becomes_base64_and_nothing_else_changes() {
    for (message, stored) in [
        // A message that is one part.
        (
            "<binary>\r\nA\nB\r\nC\rD\0E\r\n\r\n.\r\nF\n\n",
            "<base64>\r\n=A\nB\r\nC\rD\0E\r\n\r\n.\r\nF\n\n=\r\n",
        ),
        ("A: b\r\n<binary>C: d\r\n\r\nx", "A: b\r\nC: d\r\n<base64>\r\n=x=\r\n"),
        ("<binary>\r\n", "<base64>\r\n"),
        ("<binary>", "<base64>"),
        ("<binary>A: b", "A: b\r\n<base64>"),
        ("content-transfer-encoding :\r\n (a) BINARY (b)\r\nA: b\r\n\r\nx", "A: b\r\n<base64>\r\n=x=\r\n"),
        ("Content-Transfer-Encoding: Binary\n\nx\n", "<base64>\n=x\n=\r\n"),
        ("Content-Transfer-Encoding: binary", "<base64>"),
        // The first one counts, and no other contradicts what took its place.
        ("<binary><8bit>\r\n\0", "<base64>\r\n=\0=\r\n"),
        ("<8bit><binary>\r\n\0", "<8bit><binary>\r\n\0"),
        // Not binary, or not said to be.
        ("A: b\r\n\r\nx\ny\r\0\r\n", "A: b\r\n\r\nx\ny\r\0\r\n"),
        ("<8bit>\r\nx\ny\r\0", "<8bit>\r\nx\ny\r\0"),
        ("A: b\r\n\r\n<binary>\r\nx", "A: b\r\n\r\n<binary>\r\nx"),
        ("A: b\r\n <binary>\r\nx", "A: b\r\n <binary>\r\nx"),
        ("X-<binary>\r\nx", "X-<binary>\r\nx"),
        ("Content-Transfer-Encoding: binary8\r\n\r\nx", "Content-Transfer-Encoding: binary8\r\n\r\nx"),
        ("", ""),
        // Parts.
        (
            "<mixed b><binary>\r\npre\0\r\n--b\r\n<binary>\r\nx\r\n\r\n--b\r\n<8bit>\r\ny\r\n--b \r\n<binary>\r\n\r\n--b--\r\nepi\n",
            "<mixed b><8bit>\r\npre\0\r\n--b\r\n<base64>\r\n=x\r\n=\r\n--b\r\n<8bit>\r\ny\r\n--b \r\n<base64>\r\n\r\n--b--\r\nepi\n",
        ),
        ("<mixed b>\r\n--b\r\n<binary>\r\nx", "<mixed b>\r\n--b\r\n<base64>\r\n=x=\r\n"),
        ("<mixed b>\r\n--b\r\n<binary>\r\n--b--", "<mixed b>\r\n--b\r\n<base64>\r\n--b--"),
        ("<mixed b>\r\n--b\r\n<binary>--b--\r\n", "<mixed b>\r\n--b\r\n<base64>--b--\r\n"),
        (
            "<mixed b>\r\n--b\r\n--b\r\n<binary>\r\nx\r\n--b--\r\n",
            "<mixed b>\r\n--b\r\n--b\r\n<base64>\r\n=x=\r\n--b--\r\n",
        ),
        // Only CR LF is before a boundary.
        (
            "<mixed b>\r\n--b\r\n<binary>\r\nx\n--b\n\r--b\r\n-b\r\n--c\r\n--b--\r\n",
            "<mixed b>\r\n--b\r\n<base64>\r\n=x\n--b\n\r--b\r\n-b\r\n--c=\r\n--b--\r\n",
        ),
        // A boundary that begins with another one, inside of it, and an inner multipart that the outer one ends.
        (
            "<mixed b>\r\n--b\r\n<mixed bb>\r\n--bb\r\n<binary>\r\nx\r\n--bb--\r\n--b\r\n<binary>\r\ny\r\n--b--\r\n",
            "<mixed b>\r\n--b\r\n<mixed bb>\r\n--bb\r\n<base64>\r\n=x=\r\n--bb--\r\n--b\r\n<base64>\r\n=y=\r\n--b--\r\n",
        ),
        (
            "<mixed bb>\r\n--bb\r\n<mixed b><binary>\r\n--b\r\n<binary>\r\nx\r\n--bb\r\n<binary>\r\ny\r\n--b\r\n",
            "<mixed bb>\r\n--bb\r\n<mixed b><8bit>\r\n--b\r\n<base64>\r\n=x=\r\n--bb\r\n<base64>\r\n=y\r\n--b\r\n=\r\n",
        ),
        // Messages in messages.
        ("<message><binary>\r\nA: b\r\n<binary>\r\nx\n", "<message><8bit>\r\nA: b\r\n<base64>\r\n=x\n=\r\n"),
        ("<message>\r\n<message>\r\n<binary>\r\nx\n", "<message>\r\n<message>\r\n<base64>\r\n=x\n=\r\n"),
        ("<message><base64>\r\n<binary>\r\nx\n", "<message><base64>\r\n<binary>\r\nx\n"),
        (
            "<digest b>\r\n--b\r\n<binary>\r\n<binary>\r\nx\r\n--b--",
            "<digest b>\r\n--b\r\n<8bit>\r\n<base64>\r\n=x=\r\n--b--",
        ),
        (
            "<digest b>\r\n--b\r\n\r\n<binary>\r\nx\r\n--b--",
            "<digest b>\r\n--b\r\n\r\n<base64>\r\n=x=\r\n--b--",
        ),
        // Composite, but nobody knows how: as it is.
        (
            "Content-Type: multipart/mixed\r\n<binary>\r\n<binary>\r\n",
            "Content-Type: multipart/mixed\r\n<8bit>\r\n<binary>\r\n",
        ),
        (
            "Content-Type: message/partial\r\n<binary>\r\n<binary>\r\n",
            "Content-Type: message/partial\r\n<8bit>\r\n<binary>\r\n",
        ),
        // RFC 6532 section 3.7.
        ("<global><binary>\r\nx\r\n", "<global><base64>\r\n=x\r\n=\r\n"),
    ] {
        let (message, stored) = (with_fields(message), with_fields(&with_base64(stored)));
        let got = recoded(message.as_bytes());
        assert_eq!(String::from_utf8(got).unwrap(), stored, "{message:?}");
    }
}

#[test]
fn for_seven_bits_text_is_quoted_and_the_rest_base64() {
    for (message, sent) in [
        ("<8bit>\r\nf\u{fc}r = \r\n.\r\n", "<quoted>\r\nf=C3=BCr =3D=20\r\n.\r\n"),
        ("<text><8bit>A: b\r\n\r\n\u{fc}", "<text>A: b\r\n<quoted>\r\n=C3=BC"),
        ("Content-Type: nonsense\r\n<8bit>\r\n\u{fc}", "Content-Type: nonsense\r\n<quoted>\r\n=C3=BC"),
        ("<png><8bit>\r\n\u{fc}\r\n", "<png><base64>\r\nw7wNCg==\r\n"),
        ("<text><binary>\r\n\u{fc}\n", "<text><base64>\r\nw7wK\r\n"),
        ("<8bit><base64>\r\n\u{fc}", "<quoted>\r\n=C3=BC"),
        ("<global><8bit>\r\n\u{fc}", "<global><base64>\r\nw7w=\r\n"),
        // Nobody has said what it is.
        ("<text>\r\n\u{fc}\r\n", "<text>\r\n\u{fc}\r\n"),
        ("<7bit><8bit>\r\n\u{fc} \r\n", "<7bit><8bit>\r\n\u{fc} \r\n"),
        ("<quoted>\r\n\u{fc} \r\n", "<quoted>\r\n\u{fc} \r\n"),
        (
            "<mixed b><8bit>\r\npre\u{fc}\r\n--b\r\n<text><8bit>\r\n\u{fc} \r\n--b\r\n<png><8bit>\r\n\u{fc}\r\n--b\r\n\r\n=\r\n--b--\r\n",
            "<mixed b><7bit>\r\npre\u{fc}\r\n--b\r\n<text><quoted>\r\n=C3=BC=20\r\n--b\r\n<png><base64>\r\nw7w=\r\n--b\r\n\r\n=\r\n--b--\r\n",
        ),
        ("<message><8bit>\r\n<8bit>\r\n\u{fc}", "<message><7bit>\r\n<quoted>\r\n=C3=BC"),
        (
            "Content-Type: multipart/mixed\r\n<8bit>\r\n\u{fc}",
            "Content-Type: multipart/mixed\r\n<quoted>\r\n=C3=BC",
        ),
        (
            "<mixed b><8bit>\r\n--b\r\nContent-Type: message/delivery-status\r\n<8bit>\r\nA: \u{fc}\r\n--b--",
            "<mixed b><7bit>\r\n--b\r\nContent-Type: message/delivery-status\r\n<quoted>\r\nA: =C3=BC\r\n--b--",
        ),
        // For other readers the header ends with a line that is no field.
        ("<text><8bit>>From x\r\nA: b\r\n\r\n= \u{fc}", "<text><8bit>>From x\r\nA: b\r\n\r\n= \u{fc}"),
        (">From x\r\n<text><8bit>\r\n\u{fc}", ">From x\r\n<text><quoted>\r\n=C3=BC"),
    ] {
        let (message, sent) = (with_fields(message), with_fields(sent));
        let single: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
        for pieces in [&[message.as_bytes()][..], &single] {
            assert_eq!(String::from_utf8(recode_to(To::SevenBits, pieces)).unwrap(), sent, "{message:?}");
        }
        // And as it is read.
        for to in [To::SevenBits, To::Lines] {
            let mut read = Vec::new();
            Recoded::new(message.as_bytes(), to).read_to_end(&mut read).unwrap();
            assert_eq!(read, recode_to(to, &[message.as_bytes()]));
        }
        assert_eq!(has_eight_bits(&mut message.as_bytes()).unwrap(), !message.is_ascii());
    }
    // More than is held.
    let (line, quoted) = ("gr\u{fc}n\r\n".repeat(20_000), "gr=C3=BCn\r\n".repeat(20_000));
    let mut read = String::new();
    let message = with_fields(&format!("<8bit>\r\n{line}"));
    Recoded::new(message.as_bytes(), To::SevenBits).read_to_string(&mut read).unwrap();
    assert_eq!(read, with_fields(&format!("<quoted>\r\n{quoted}")));
}

#[test]
fn lines_have_76_columns() {
    for length in [0, 1, 56, 57, 58, 114, 115, 40_000] {
        let octets: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        let stored = recoded(&[with_fields("<binary>\r\n").as_bytes(), &octets].concat());
        let stored = String::from_utf8(stored).unwrap();
        let lines: Vec<&str> = stored.lines().skip(2).collect();
        assert!(lines.iter().rev().skip(1).all(|line| line.len() == 76), "{stored}");
        assert!(lines.iter().all(|line| line.len() <= 76) && !stored.replace("\r\n", "").contains('\n'));
        assert_eq!(Base64::decode_vec(&lines.concat()).unwrap(), octets);
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_no_harm() {
    // A field without an end, whose beginning counts.
    let long = "x".repeat(300_000);
    for field in ["A: ", "Content-Type: a/b; ", "Content-Transfer-Encoding: 8bit; ", ""] {
        let message = format!("{field}{long}\r\nB: c\r\n\r\nx\n");
        assert_eq!(recode(&[message.as_bytes()]), message.as_bytes());
    }
    let message = format!("{}; {long}\r\n {long}\r\nB: c\r\n\r\nx", "Content-Transfer-Encoding: binary");
    let stored = String::from_utf8(recode(&[message.as_bytes()])).unwrap();
    assert_eq!(stored, with_fields("B: c\r\n<base64>\r\neA==\r\n"));
    let message = with_fields(&format!("Content-Type: multipart/mixed; boundary={long}\r\n<binary>\r\n\0"));
    assert!(recode(&[message.as_bytes()]).ends_with(with_fields("<8bit>\r\n\0").as_bytes()));
    // The deepest multipart is that of `imapd`.
    for levels in [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1] {
        let mut message = String::new();
        for level in 0..levels {
            message += &format!("Content-Type: multipart/mixed; boundary={level}!\r\n\r\n--{level}!\r\n");
        }
        message += &with_fields("<binary>\r\nx");
        let stored = recode(&[message.as_bytes()]);
        assert_eq!(stored.ends_with(b"eA==\r\n"), levels <= DEPTH_MAX, "{levels}");
    }
    for levels in [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1] {
        let message = with_fields(&("<message>\r\n".repeat(levels) + "<binary>\r\nx"));
        let stored = recode(&[message.as_bytes()]);
        assert_eq!(stored.ends_with(b"eA==\r\n"), levels <= DEPTH_MAX, "{levels}");
    }
    let mut recoder = Recoder::new(To::Lines);
    let message = with_fields("<binary>Content-Type: multipart/mixed; boundary=b") + &long + "\r\n--" + &long;
    for piece in message.repeat(20).as_bytes().chunks(1000) {
        let Ok(()) = recoder.write(piece, &mut |_| Ok::<(), Infallible>(()));
        let held = recoder.held.len() + recoder.out.len() + recoder.header.kind.as_ref().map_or(0, Vec::len);
        assert!(held < TYPE_MAX + 2 * PIECE, "{held}");
    }
}

/// What a message's leaves mean.
fn meant(message: &[u8]) -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    tree.read_whole(message);
    let leaves = tree.parts().iter().enumerate().filter(|(_, part)| part.kind == Kind::Leaf);
    leaves
        .map(|(number, part)| {
            let body = &message[part.body.offset as usize..part.end.offset as usize];
            let encoding = tree.field(number, Name::ContentTransferEncoding).unwrap_or_default().trim_ascii();
            match encoding {
                b"quoted-printable" => encoder::tests::decoded(std::str::from_utf8(body).unwrap()),
                b"base64" => Base64::decode_vec(&String::from_utf8_lossy(body).replace("\r\n", "")).unwrap(),
                _ => body.to_vec(),
            }
        })
        .collect()
}

#[test]
fn no_line_becomes_a_boundary() {
    let part = |boundary: &str, body: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{}{body}\r\n--{boundary}--\r\n",
            with_fields("<text><8bit>\r\n")
        )
    };
    let injected = "--b\r\n<text>\r\ninjected";
    let mut table: Vec<(&str, Vec<u8>)> = vec![
        ("a=FC", part("a=FC", "--a?\r\nrest").replace('?', "\0").into_bytes()),
        ("b=3D", part("b=3D", "\u{fc}\r\n--b=\r\nrest").into_bytes()),
        ("=2D", part("=2D", "\u{fc}\r\n---\r\nrest").into_bytes()),
    ];
    table[0].1.iter_mut().for_each(|octet| *octet = if *octet == 0 { 0xfc } else { *octet });
    // Wherever the soft line breaks fall.
    table.extend(
        (0..80).map(|length| ("b", part("b", &format!("\u{fc}{}{injected}", "x".repeat(length))).into())),
    );
    for (boundary, message) in table {
        let sent = recode_to(To::SevenBits, &[&message]);
        assert!(sent.is_ascii());
        assert_eq!(meant(&sent), meant(&message), "{boundary}: {}", sent.escape_ascii());
    }
}

/// A part, and the octets of the leaves in it.
#[derive(Clone, Debug)]
enum Part {
    Leaf(Vec<u8>),
    Message(Box<Part>),
    Multipart(Vec<Part>),
}

impl Part {
    fn print(&self, level: usize, message: &mut Vec<u8>, leaves: &mut Vec<Vec<u8>>) {
        let name = ["outer", "out", "in", "inner", "innermost"][level % 5];
        match self {
            Part::Leaf(octets) => {
                message.extend(with_fields("X: y\r\n<binary>\r\n").bytes());
                message.extend(octets);
                leaves.push(octets.clone());
            }
            Part::Message(inner) => {
                message.extend(with_fields("<message><binary>\r\n").bytes());
                inner.print(level, message, leaves);
            }
            Part::Multipart(parts) => {
                let head = format!("<binary>Content-Type: multipart/x; boundary=\"{name}\"\r\n\r\npre");
                message.extend(with_fields(&head).bytes());
                for part in parts {
                    message.extend(format!("\r\n--{name}\r\n").bytes());
                    part.print(level + 1, message, leaves);
                }
                message.extend(format!("\r\n--{name}--\r\nepi\n").bytes());
            }
        }
    }
}

fn leaf() -> impl Strategy<Value = Part> {
    let octets = prop_oneof![
        "(\r|\n|-|--|\0|x|\r\n|\r\n--|--x){0,40}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..300),
    ];
    let is_free =
        |octets: &Vec<u8>| [&b"--o"[..], b"--i"].iter().all(|start| memmem::find(octets, start).is_none());
    octets.prop_filter("a boundary", is_free).prop_map(Part::Leaf)
}

fn part() -> impl Strategy<Value = Part> {
    leaf().prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Part::Message(Box::new(part))),
            proptest::collection::vec(inner, 1..4).prop_map(Part::Multipart),
        ]
    })
}

/// What a reader finds who has the message with LF, as it is on the disk.
fn leaves_of(stored: &[u8]) -> Vec<Vec<u8>> {
    let on_disk = String::from_utf8(stored.to_vec()).unwrap().replace("\r\n", "\n");
    assert!(!on_disk.contains(['\r', '\0']) && on_disk.is_ascii());
    let mut tree = Tree::new();
    tree.read_whole(on_disk.as_bytes());
    let mut leaves = Vec::new();
    for (number, part) in tree.parts().iter().enumerate() {
        let encoding = tree.field(number, Name::ContentTransferEncoding).map(<[u8]>::trim_ascii);
        if part.kind == Kind::Leaf {
            assert_eq!(encoding, Some(&b"base64"[..]));
            let body = &on_disk[part.body.offset as usize..part.end.offset as usize];
            leaves.push(Base64::decode_vec(&body.replace('\n', "")).unwrap());
        } else {
            assert_eq!(encoding, Some(&b"8bit"[..]));
        }
    }
    leaves
}

proptest! {
    #[test]
    fn each_part_decodes_to_what_was_sent(part in part(), cuts in proptest::collection::vec(1usize..200, 1..20)) {
        let (mut message, mut leaves) = (Vec::new(), Vec::new());
        part.print(0, &mut message, &mut leaves);
        let stored = recode(&[&message]);
        prop_assert_eq!(leaves_of(&stored), leaves);
        let mut pieces = Vec::new();
        let mut rest = &message[..];
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(recode(&pieces), stored);
    }

    #[test]
    fn anything_goes(lines in proptest::collection::vec(0usize..14, 0..30), cut in 0usize..200) {
        let words = [
            "<binary>", "<8bit>", "<base64>", "<mixed b>", "<mixed bb>", "<digest b>", "<message>", "\r\n", "\n",
            "\r\n--b\r\n", "\r\n--bb--\r\n", "--b", "\0 x", "\r",
        ];
        let message: String = lines.iter().map(|at| words[*at]).collect();
        let message = with_fields(&message).into_bytes();
        let stored = recoded(&message);
        let (front, back) = message.split_at(cut.min(message.len()));
        prop_assert_eq!(&recode(&[front, back]), &stored);
        // Nothing is left to be done.
        prop_assert_eq!(recode(&[&stored]), stored.clone());
        let sent = recode_to(To::SevenBits, &[&message]);
        prop_assert_eq!(&recode_to(To::SevenBits, &[front, back]), &sent);
        prop_assert_eq!(&recode_to(To::SevenBits, &[&sent]), &sent);
        if memmem::find(&message, b"binary").is_none() {
            prop_assert_eq!(message, stored);
        }
    }

    #[test]
    fn the_parts_mean_the_same_in_seven_bits(
        texts in proptest::collection::vec("(x{1,76}|--|-|b|bb|=| |\t|\u{fc}|\r\n|\r\n--x|b=3D){0,40}", 1..5), kinds in 0usize..1000
    ) {
        let mut message = with_fields("<mixed bb><8bit>\r\npre").into_bytes();
        for (at, text) in texts.iter().enumerate() {
            let kind = ["<text><8bit>", "<8bit>", "<png><8bit>", "<text>", "<message><8bit>\r\n<8bit>"][(kinds >> at) % 5];
            message.extend(with_fields(&format!("\r\n--bb\r\n{kind}\r\n")).bytes());
            message.extend(text.replace("\r\n--b", "\r\n-b").trim_start_matches('-').bytes());
        }
        message.extend(b"\r\n--bb--\r\n");
        prop_assert_eq!(meant(&recode_to(To::SevenBits, &[&message])), meant(&message));
    }
}
