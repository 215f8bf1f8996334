use super::*;
use crate::mime::content::BOUNDARY_MAX;
use crate::mime::position::Counter;
use proptest::prelude::*;

/// Hands out pieces of at most so many octets.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(room.len()).min(self.0.len());
        let (now, later) = self.0.split_at(length);
        room[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

fn read(message: &[u8], piece: usize) -> Tree {
    let mut tree = Tree::new();
    tree.read(&mut Pieces(message, piece), &mut vec![0; BUFFER_MIN]).unwrap();
    tree
}

/// Each part: its depth, what it is, and its body in the file.
fn short(message: &str) -> Vec<(u16, char, String)> {
    let tree = read(message.as_bytes(), 1 << 20);
    check(&tree, message.as_bytes());
    let describe = |part: &Part| {
        let kind = match part.kind {
            _ if part.is_opaque => 'o',
            Kind::Leaf => 'l',
            Kind::Multipart => 'm',
            Kind::Message => 'r',
        };
        let body = &message[part.body.offset as usize..part.end.offset as usize];
        (part.depth, kind, if kind == 'm' { String::new() } else { body.to_owned() })
    };
    tree.parts().iter().map(describe).collect()
}

fn crlf(text: &[u8]) -> (u64, u64) {
    let mut counter = Counter::default();
    counter.advance(text);
    (counter.position.octets, counter.position.lines)
}

/// What is true of every tree: parts nest and are ordered, and sizes are those of the text.
fn check(tree: &Tree, message: &[u8]) {
    let parts = tree.parts();
    assert_eq!(parts[0].header, Position::default());
    assert_eq!(parts[0].end.offset as usize, message.len());
    assert_eq!((parts[0].end.octets, parts[0].end.lines), crlf(message));
    for (number, part) in parts.iter().enumerate() {
        assert!(part.header <= part.body && part.body <= part.end, "{number}: {part:?}");
        assert!(part.next as usize > number && part.next as usize <= parts.len());
        let mut after = part.body;
        for child in tree.children(number) {
            let inner = &parts[child];
            assert_eq!(inner.depth, part.depth + 1);
            assert!(inner.next <= part.next);
            assert!(inner.header.offset >= after.offset, "{number} {child}: {part:?} {inner:?}");
            assert!(inner.end.offset <= part.end.offset, "{number} {child}: {part:?} {inner:?}");
            after = inner.end;
        }
        let count = tree.children(number).count();
        match part.kind {
            Kind::Leaf => assert_eq!(count, 0),
            Kind::Multipart => assert!(count > 0),
            Kind::Message => {
                assert_eq!(count, 1);
                let inner = &parts[number + 1];
                assert_eq!((inner.header, inner.end), (part.body, part.end));
            }
        }
        let range = |from: Position, to: Position| &message[from.offset as usize..to.offset as usize];
        let body = range(part.body, part.end);
        // A piece that starts in the middle of a line end does not exist.
        assert!(!(body.first() == Some(&b'\n') && message[..part.body.offset as usize].ends_with(b"\r")));
        assert_eq!((part.body_octets(), part.body_lines()), crlf(body), "{number}");
        assert_eq!(part.header_octets(), crlf(range(part.header, part.body)).0, "{number}");
    }
}

fn with_boundary(boundary: &str, body: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary={boundary}\n\n{body}")
}

#[test]
fn parts_are_found() {
    let leaf = |depth: u16, body: &str| (depth, 'l', body.to_owned());
    let multi = |depth: u16| (depth, 'm', String::new());
    for (message, want) in [
        (String::new(), vec![leaf(0, "")]),
        ("\nbody".into(), vec![leaf(0, "body")]),
        ("A: b".into(), vec![leaf(0, "")]),
        ("A: b\n".into(), vec![leaf(0, "")]),
        ("A: b\r\n\r\nc".into(), vec![leaf(0, "c")]),
        ("A: b\n \nB: c\n\nd".into(), vec![leaf(0, "d")]),
        (
            with_boundary("b", "pre\n--b\n\none\n--b\n\ntwo\n--b--\npost"),
            vec![multi(0), leaf(1, "one"), leaf(1, "two")],
        ),
        (with_boundary("b", "--b\r\n\r\none\r\n\r\n--b--"), vec![multi(0), leaf(1, "one\r\n")]),
        (with_boundary("b", "--b\n\none"), vec![multi(0), leaf(1, "one")]),
        (with_boundary("b", "--b"), vec![multi(0), leaf(1, "")]),
        (with_boundary("b", "--b\n--b\n--b--"), vec![multi(0), leaf(1, ""), leaf(1, "")]),
        (with_boundary("b", "--b\nA: c\n--b\nA: d"), vec![multi(0), leaf(1, ""), leaf(1, "")]),
        (with_boundary("b", "only text\n"), vec![leaf(0, "only text\n")]),
        (with_boundary("b", "--b--\n"), vec![leaf(0, "--b--\n")]),
        (with_boundary("\"\"", "--\n\na"), vec![leaf(0, "--\n\na")]),
        (with_boundary("\"b \"", "--b \n\na\n--b\n\nc"), vec![multi(0), leaf(1, "a"), leaf(1, "c")]),
        (
            with_boundary("b", "--bxyz\n\na\n --b\nx--b\n--b--xyz\n--b\n"),
            vec![multi(0), leaf(1, "a\n --b\nx--b")],
        ),
        (
            with_boundary("b", &format!("--b\n{}--b--\n", with_boundary("bb", "--bb\n\none\n--bb--\n--x\n"))),
            vec![multi(0), multi(1), leaf(2, "one")],
        ),
        (
            with_boundary("b", &format!("--b\n{}--b\n\ntwo", with_boundary("b", "--b\n\none\n--b--\n"))),
            vec![multi(0), multi(1), leaf(2, "one"), leaf(1, "two")],
        ),
        (
            with_boundary("a", &format!("--a\n{}--a--\n--b\n\n", with_boundary("b", "--b\n\none\n"))),
            vec![multi(0), multi(1), leaf(2, "one")],
        ),
    ] {
        assert_eq!(short(&message), want, "{message}");
    }
}

#[test]
fn messages_in_messages() {
    let part = |depth: u16, kind: char, body: &str| (depth, kind, body.to_owned());
    let rfc822 = "Content-Type: message/rfc822\n";
    for (message, want) in [
        (format!("{rfc822}\nA: b\n\nc\n"), vec![part(0, 'r', "A: b\n\nc\n"), part(1, 'l', "c\n")]),
        (format!("{rfc822}\n"), vec![part(0, 'r', ""), part(1, 'l', "")]),
        (rfc822.into(), vec![part(0, 'r', ""), part(1, 'l', "")]),
        (format!("{rfc822}\n{rfc822}"), vec![part(0, 'r', rfc822), part(1, 'r', ""), part(2, 'l', "")]),
        ("Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\nc\n--b\nContent-Type: text/plain\n\nd\n--b--"
            .into(), vec![
            part(0, 'm', ""),
            part(1, 'r', "A: b\n\nc"),
            part(2, 'l', "c"),
            part(1, 'l', "d"),
        ]),
        ("Content-Type: multipart/digest; boundary=b\n\n--b\n--b--".into(), vec![
            part(0, 'm', ""),
            part(1, 'r', ""),
            part(2, 'l', ""),
        ]),
    ] {
        assert_eq!(short(&message), want, "{message}");
    }
    let tree =
        read(b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\n--b\n\nContent-Type: x/y\n", 9);
    assert!(tree.parts()[1].is_digest_message && !tree.parts()[0].is_digest_message);
}

#[test]
fn fields_are_kept_where_they_tell_something() {
    let message = b"X: 1\nSubject: top\n more\nReceived: x\nsubject : again\nContent-Type: multipart/mixed; boundary=b\n\n\
                    --b\nSubject: of no message\nContent-ID: <a>\n\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\n--b--";
    for piece in [1, 7, 4000] {
        let tree = read(message, piece);
        let of = |part: usize| -> Vec<(Name, String)> {
            tree.fields(part).map(|(name, value)| (name, value.escape_ascii().to_string())).collect()
        };
        assert_eq!(
            of(0),
            [
                (Name::Subject, " top\\n more\\n".into()),
                (Name::Subject, " again\\n".into()),
                (Name::ContentType, " multipart/mixed; boundary=b\\n".into()),
            ]
        );
        assert_eq!(of(1), [(Name::ContentId, " <a>\\n".into())]);
        assert_eq!(of(3), [(Name::Subject, " inner\\n".into())]);
        assert_eq!(tree.field(0, Name::Subject), Some(&b" top\n more\n"[..]));
        assert_eq!(tree.field(1, Name::Subject), None);
        assert_eq!(tree.field(99, Name::Subject), None);
    }
}

#[test]
fn limits() {
    // Nesting.
    let mut deep = String::new();
    for level in 0..300 {
        deep += &format!("Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n");
    }
    let tree = read(deep.as_bytes(), 4096);
    check(&tree, deep.as_bytes());
    assert_eq!(tree.parts().len(), DEPTH_MAX + 1);
    assert!(tree.parts()[DEPTH_MAX].is_opaque);
    let deep = "Content-Type: message/rfc822\n\n".repeat(300);
    let tree = read(deep.as_bytes(), 4096);
    check(&tree, deep.as_bytes());
    assert_eq!(tree.parts().len(), DEPTH_MAX + 1);
    // Number.
    let many = with_boundary("b", &"--b\n\nx\n".repeat(PARTS_MAX + 100));
    let tree = read(many.as_bytes(), 1 << 20);
    check(&tree, many.as_bytes());
    assert_eq!(tree.parts().len(), PARTS_MAX);
    // Fields and their lengths.
    let long = format!("Subject: {}\nX: y\nContent-Type: text/html\n\n", "a".repeat(1 << 20));
    let tree = read(long.as_bytes(), 1 << 20);
    check(&tree, long.as_bytes());
    assert_eq!(tree.field(0, Name::Subject).unwrap().len(), FIELD_MAX);
    assert_eq!(tree.field(0, Name::ContentType), Some(&b" text/html\n"[..]));
    let many = "To:a\n".repeat(200_000);
    assert_eq!(read(many.as_bytes(), 1 << 20).fields(0).count(), FIELDS_MAX);
    // Boundaries.
    for (length, parts) in [(BOUNDARY_MAX, 2), (BOUNDARY_MAX + 1, 1)] {
        let boundary = "b".repeat(length);
        let message = with_boundary(&boundary, &format!("--{boundary}\n\na"));
        assert_eq!(read(message.as_bytes(), 1 << 20).parts().len(), parts);
    }
    let mut tree = Tree::new();
    assert!(tree.read(&mut &b""[..], &mut [0; 100]).is_err());
}

#[test]
fn long_lines_and_buffers_of_any_size() {
    let long = "y".repeat(3 * BUFFER_MIN);
    for text in [
        with_boundary("b", &format!("--b\n\n{long}\n--b--\n")),
        with_boundary(
            "b",
            &format!("{long}--b\n--b\nX: {long}\nContent-Type: text/html\n\n{long}\n--b{long}\n\nz"),
        ),
        format!("{long}: x\n{long}\n\n{long}"),
        format!("X: {}\r\n\r\nbody", "y".repeat(BUFFER_MIN - 4)),
        format!("X: {}\r\n\r\nbody", "y".repeat(BUFFER_MIN - 5)),
    ] {
        let whole = read(text.as_bytes(), 1 << 20);
        check(&whole, text.as_bytes());
        for piece in [1, 2, 3, 1000, 4096] {
            let tree = read(text.as_bytes(), piece);
            check(&tree, text.as_bytes());
            let spans = |tree: &Tree| -> Vec<_> {
                tree.parts().iter().map(|part| (part.header, part.body, part.end)).collect()
            };
            assert_eq!(spans(&tree), spans(&whole));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn trees_are_sound_wherever_pieces_are_cut(
        lines in proptest::collection::vec(0usize..16, 0..40), piece in 1usize..40,
    ) {
        const LINES: [&str; 16] = [
            "Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/digest; boundary=\"bb\"\r\n",
            "Content-Type: message/rfc822\n", "\n", "\r\n", "--b\n", "--bb\r\n", "--b--\n", "--bb--\n", "text\n",
            " folded\n", "Subject: x\n", "no end", "\r", "-", "--",
        ];
        let message: String = lines.iter().map(|&line| LINES[line]).collect();
        let whole = read(message.as_bytes(), 1 << 20);
        check(&whole, message.as_bytes());
        let pieces = read(message.as_bytes(), piece);
        let spans = |tree: &Tree| -> Vec<_> {
            tree.parts().iter().map(|part| (part.kind, part.header, part.body, part.end, part.next)).collect()
        };
        prop_assert_eq!(spans(&whole), spans(&pieces));
        let mut memory = Tree::new();
        memory.read_whole(message.as_bytes());
        prop_assert_eq!(spans(&whole), spans(&memory));
    }
}
