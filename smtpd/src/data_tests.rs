use super::*;
use proptest::prelude::*;
use std::convert::Infallible;

/// What came out, the fault, and what was left of the input behind the end; `None`: it has not come.
type Result = (Vec<u8>, Option<Fault>, Option<Vec<u8>>);

fn run(mut machine: Machine, input: &[u8], piece: usize) -> Result {
    let mut out = Vec::new();
    let mut used = 0;
    for chunk in input.chunks(piece.max(1)) {
        let (read, done) = machine
            .feed(chunk, &mut |octets: &[u8]| {
                out.extend_from_slice(octets);
                Ok::<(), Infallible>(())
            })
            .unwrap();
        used += read;
        if done {
            return (out, machine.fault(), Some(input[used..].to_vec()));
        }
        assert_eq!(read, chunk.len());
    }
    (out, machine.fault(), None)
}

fn data(input: &[u8]) -> Result {
    let result = run(Machine::for_data(false), input, usize::MAX);
    for piece in 1..5 {
        let again = run(Machine::for_data(false), input, piece);
        assert_eq!((again.1, &again.2), (result.1, &result.2), "{:?}", input.escape_ascii().to_string());
        if result.1.is_none() {
            assert_eq!(again.0, result.0);
        }
    }
    result
}

#[test]
fn messages() {
    let rows: [(&[u8], &[u8], &[u8]); 8] = [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"a\r\n..\r\n...b\r\n.\r\n", b"a\r\n.\r\n..b\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a.\r\n.b.\r\n.\r\n", b"a.\r\nb.\r\n", b""),
        (b"\xff\x01\t\r\n.\r\n", b"\xff\x01\t\r\n", b""),
        (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
    ];
    for (input, out, rest) in rows {
        assert_eq!(data(input), (out.to_vec(), None, Some(rest.to_vec())), "{}", input.escape_ascii());
    }
}

#[test]
fn nothing_else_is_the_end() {
    // The sequences with which messages were smuggled through other servers (CVE-2023-51764, -51765, -51766 and kin).
    for (input, fault) in [
        (&b"a\n.\nMAIL"[..], Fault::BareLf),
        (b"a\n.\r\nMAIL", Fault::BareLf),
        (b"a\r\n.\nMAIL", Fault::BareLf),
        (b"a\r.\rMAIL", Fault::BareCr),
        (b"a\r.\r\nMAIL", Fault::BareCr),
        (b"a\r\n.\rMAIL", Fault::BareCr),
        (b"a\r\n\r.\r\nMAIL", Fault::BareCr),
        (b"a\r\n.\r\r\nMAIL", Fault::BareCr),
        (b"a\r\r\n.\r\rMAIL", Fault::BareCr),
        (b"a\r\n\0.\r\nMAIL", Fault::Nul),
        (b"a\r\n.\0\r\nMAIL", Fault::Nul),
        (b"a\r\n.\r\0\nMAIL", Fault::BareCr),
    ] {
        assert_eq!(data(input).1, Some(fault), "{}", input.escape_ascii());
        assert_eq!(data(input).2, None, "{}", input.escape_ascii());
        let with_end = [input, b"\r\n.\r\nrest"].concat();
        assert_eq!(data(&with_end).2, Some(b"rest".to_vec()), "{}", input.escape_ascii());
    }
}

#[test]
fn lines_up_to_a_limit() {
    let line = |length: usize| [vec![b'x'; length - 2], b"\r\n.\r\n".to_vec()].concat();
    assert_eq!(data(&line(LINE_MAX)).1, None);
    assert_eq!(data(&line(LINE_MAX + 1)).1, Some(Fault::LineTooLong));
    assert_eq!(data(&line(LINE_MAX + 1)).2, Some(Vec::new()));
    let two = [vec![b'x'; 3000], b"\r\n".to_vec(), vec![b'y'; 3000], b"\r\n.\r\n".to_vec()].concat();
    assert_eq!(data(&two).1, None);
}

#[test]
fn devices_that_know_no_better() {
    let rows: [(&[u8], &[u8]); 5] = [
        (b"a\nb\n\n..c\n.d\r\n.\r\n", b"a\r\nb\r\n\r\n.c\r\nd\r\n"),
        // A dot on such a line is text, never the end.
        (b"a\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b"\n.\r\n.\r\n", b"\r\n.\r\n"),
        (b".\n.\r\n.\r\n", b".\r\n.\r\n"),
    ];
    for (input, out) in rows {
        for piece in [1, 2, 3, usize::MAX] {
            let (heard, fault, rest) = run(Machine::for_data(true), input, piece);
            assert_eq!(
                (heard.as_slice(), fault, rest),
                (out, None, Some(Vec::new())),
                "{}",
                input.escape_ascii()
            );
        }
    }
    assert_eq!(run(Machine::for_data(true), b"a\rb\r\n.\r\n", 1).1, Some(Fault::BareCr));
}

#[test]
fn chunks_have_no_dots() {
    let chunk = |input: &[u8]| {
        let mut machine = Machine::for_chunks(false);
        let mut out = Vec::new();
        let fed = machine.feed(input, &mut |octets: &[u8]| {
            out.extend_from_slice(octets);
            Ok::<(), Infallible>(())
        });
        assert_eq!(fed, Ok((input.len(), false)));
        machine.end_of_chunks();
        (out, machine.fault(), machine.is_at_line_start())
    };
    assert_eq!(chunk(b"a\r\n.\r\n..b\r\n"), (b"a\r\n.\r\n..b\r\n".to_vec(), None, true));
    assert_eq!(chunk(b"a"), (b"a".to_vec(), None, false));
    assert_eq!(chunk(b"a\nb").1, Some(Fault::BareLf));
    assert_eq!(chunk(b"a\r").1, Some(Fault::BareCr));
    assert_eq!(chunk(b"a\0").1, Some(Fault::Nul));
}

proptest! {
    #[test]
    fn chunks_are_taken_as_they_are_or_not_at_all(
        input in proptest::collection::vec(
            prop::sample::select(vec!["\r\n", "\r\n.\r\n", ".", "a", "\r", "\n", "\0", "LONG"]),
            0..12,
        ),
        piece in 1usize..9,
        normalize: bool,
    ) {
        let input = input.concat().replace("LONG", &"x".repeat(LINE_MAX - 3)).into_bytes();
        let mut machine = Machine::for_chunks(normalize);
        let mut out = Vec::new();
        for chunk in input.chunks(piece) {
            let fed = machine.feed(chunk, &mut |octets: &[u8]| {
                out.extend_from_slice(octets);
                Ok::<(), Infallible>(())
            });
            prop_assert_eq!(fed, Ok((chunk.len(), false)));
        }
        machine.end_of_chunks();
        let text = String::from_utf8(input).unwrap();
        let normal = if normalize { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text };
        let lines = normal.split("\r\n");
        // The last one may lack its end.
        let most = |line: &str| if line.ends_with("\r\n") { LINE_MAX } else { LINE_MAX - 1 };
        let is_long = normal.split_inclusive("\r\n").any(|line| line.len() > most(line));
        let is_clean = !is_long && lines.clone().all(|line| !line.contains(['\r', '\n', '\0']));
        prop_assert_eq!(machine.fault().is_none(), is_clean);
        if is_clean {
            prop_assert_eq!(machine.is_at_line_start(), lines.last() == Some(""));
            prop_assert_eq!(String::from_utf8(out).unwrap(), normal);
        }
    }
}

/// RFC 5321 section 4.5.2, as a client does it.
fn dotted(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message.split_inclusive(|&c| c == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

proptest! {
    #[test]
    fn what_was_dotted_comes_back(lines in proptest::collection::vec("[.a-c \u{e4}]{0,6}", 0..8), piece in 1usize..9) {
        let message: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        let input = [dotted(&message), b"NOOP\r\n".to_vec()].concat();
        let result = run(Machine::for_data(false), &input, usize::MAX);
        prop_assert_eq!(&result, &(message, None, Some(b"NOOP\r\n".to_vec())));
        prop_assert_eq!(run(Machine::for_data(false), &input, piece), result);
    }

    #[test]
    fn only_one_thing_is_the_end(input in proptest::collection::vec(prop::sample::select(vec![b'\r', b'\n', b'.', b'a', 0]), 0..40)) {
        for normalize in [false, true] {
            let result = run(Machine::for_data(normalize), &input, usize::MAX);
            // What came is as if CR LF stood before it.
            let whole = [b"\r\n", input.as_slice()].concat();
            let end = whole.windows(5).position(|window| window == b"\r\n.\r\n");
            let rest = end.map(|at| whole[at + 5..].to_vec());
            prop_assert_eq!(result.2, rest);
            for line in result.0.split_inclusive(|&c| c == b'\n').filter(|_| result.1.is_none()) {
                prop_assert!(!line.ends_with(b"\n") || line.ends_with(b"\r\n"));
            }
        }
    }
}
