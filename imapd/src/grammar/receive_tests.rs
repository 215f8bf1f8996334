use super::*;
use common::io::Limits;
use proptest::prelude::*;
use std::time::Duration;

/// A connection whose client has said all this and then nothing more.
fn conn(octets: &[u8]) -> Conn {
    let second = Duration::from_secs(1);
    Conn::new(Limits { idle: second, reply: second, deadline: None }, octets).unwrap()
}

fn after_login(command: usize) -> Budget {
    Budget { command, literals: None }
}

fn next(conn: &mut Conn, budget: &mut Budget) -> Received {
    receive(conn, &mut Text::default(), budget).unwrap()
}

fn noop(tag: &str) -> Received {
    Received::Command(Tag::read(tag.as_bytes()).unwrap(), Command::Noop)
}

fn why(received: Received) -> (Option<String>, &'static str, bool) {
    let (bad, last) = match received {
        Received::Bad(bad) => (bad, false),
        Received::Refused(bad) => (bad, true),
        other => panic!("{other:?}"),
    };
    let SyntaxError::Bad(why) = bad.error else { panic!("{bad:?}") };
    (bad.tag.map(|tag| String::from_utf8(tag.as_bytes().to_vec()).unwrap()), why, last)
}

fn some(tag: &str, text: &'static str, last: bool) -> (Option<String>, &'static str, bool) {
    (Some(tag.to_owned()), text, last)
}

#[test]
fn commands_come_one_after_the_other() {
    let mut conn = conn(b"\r\n  \r\na NOOP\r\nb LOGIN {1+}\r\nx {3+}\r\na\r\nrest\r\nc NOOP\r\n");
    let mut budget = after_login(100);
    assert_eq!(next(&mut conn, &mut budget), noop("a"));
    assert_eq!(why(next(&mut conn, &mut budget)), some("b", "Too many arguments.", false));
    assert_eq!(next(&mut conn, &mut budget), noop("c"));
    assert!(conn.unread().is_empty());
}

#[test]
fn a_literal_that_does_not_fit_is_no_command() {
    let mut budget = after_login(40);
    // 14 octets, 2 for the line end, 26 of the literal, 1 for the CR behind it.
    let mut fits = conn(&[b"a SELECT {26+}\r\n", &[b'x'; 24][..], b"\r\n\r\nb NOOP\r\n"].concat());
    let mut one_less = after_login(43);
    assert!(matches!(next(&mut fits, &mut one_less), Received::Command(..)));
    assert_eq!(next(&mut fits, &mut one_less), noop("b"));
    for (text, tag, reason) in [
        (
            &b"a SELECT {41+}\r\na LOGOUT\r\n0123456789012345678901234567890 {5+}\r\nabcde\r\n"[..],
            "a",
            "Literal too long.",
        ),
        (b"a SELECT {41}\r\n", "a", "Literal too long."),
        (b"a SELECT xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", "a", "Command line too long."),
        (
            b"a SELECT xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{10+}\r\na LOGOUT\r\n\r\n",
            "a",
            "Command line too long.",
        ),
        (
            b"a SELECT {5+}\r\n12345 xxxxxxxxxxxxxxxxxxxxxxxxxx{10+}\r\na LOGOUT\r\n\r\n",
            "a",
            "Command line too long.",
        ),
    ] {
        let mut conn = conn(&[text, b"b NOOP\r\n"].concat());
        assert_eq!(why(next(&mut conn, &mut budget)), some(tag, reason, false), "{text:?}");
        assert_eq!(next(&mut conn, &mut budget), noop("b"), "{text:?}");
    }
    let mut endless = conn(b"a SELECT {1048577+}\r\n");
    assert_eq!(why(next(&mut endless, &mut budget)), some("a", "Literal too long.", true));
}

#[test]
fn before_the_login_a_refused_literal_is_the_end() {
    let mut budget = Budget { command: 8192, literals: Some(10) };
    let mut conn = conn(b"a LOGIN {4+}\r\nuser {6+}\r\nsecret\r\nb LOGIN {1+}\r\nx y\r\n");
    assert!(matches!(next(&mut conn, &mut budget), Received::Command(_, Command::Login { .. })));
    assert_eq!(budget.literals, Some(0));
    assert_eq!(why(next(&mut conn, &mut budget)), some("b", "Literal too long.", true));
    // RFC 7888 section 5.
    let mut budget = Budget { command: 8192, literals: Some(8000) };
    let mut conn = self::conn(b"a LOGIN {4097+}\r\n");
    assert_eq!(why(next(&mut conn, &mut budget)), some("a", "Literal too long.", true));
    // APPEND is no exception here.
    let mut budget = Budget { command: 8192, literals: Some(10) };
    let mut conn = self::conn(b"a APPEND x {11}\r\n");
    assert_eq!(why(next(&mut conn, &mut budget)), some("a", "Literal too long.", true));
}

#[test]
fn messages_are_left_to_be_taken() {
    let mut budget = after_login(100);
    let mut text = Text::default();
    let mut conn = conn(
        b"a APPEND {1+}\r\nx (\\Seen) {5+}\r\n12345 {3+}\r\nabc\r\nb APPEND x {2+}\r\n12 FOO {2+}\r\nxx\r\nc APPEND x () y {10+}\r\nd LOGOUT\r\n {1+}\r\nz\r\ne NOOP\r\n",
    );
    let Received::Command(_, Command::Append { message, .. }) = next(&mut conn, &mut budget) else {
        panic!()
    };
    assert_eq!((message.octets, message.waits, message.flags.bits), (5, false, super::super::bits::SEEN));
    conn.skip(5).unwrap();
    let Behind::Message(second) = AppendMessage::next(&mut conn, &mut text).unwrap() else { panic!() };
    conn.skip(second.octets).unwrap();
    assert_eq!(AppendMessage::next(&mut conn, &mut text).unwrap(), Behind::End);
    let Received::Command(_, Command::Append { message, .. }) = next(&mut conn, &mut budget) else {
        panic!()
    };
    conn.skip(message.octets).unwrap();
    assert!(matches!(AppendMessage::next(&mut conn, &mut text).unwrap(), Behind::Bad(_)));
    assert_eq!(why(next(&mut conn, &mut budget)), some("c", "The message is no literal.", false));
    assert_eq!(next(&mut conn, &mut budget), noop("e"));
}

#[test]
fn refused_messages_are_thrown_away() {
    let mut budget = after_login(100);
    for (text, used) in [
        (&b"a APPEND x {5+}\r\n12345 {2+}\r\n\r\n\r\nb NOOP\r\n"[..], 0),
        (b"a APPEND x {5+}\r\n12345\r\nb NOOP\r\n", 3),
        (b"a APPEND x {5}\r\nb NOOP\r\n", 0),
        (b"a APPEND x {5}\r\n12345\r\nb NOOP\r\n", 2),
    ] {
        let mut conn = conn(text);
        let Received::Command(_, Command::Append { message, .. }) = next(&mut conn, &mut budget) else {
            panic!()
        };
        conn.skip(used).unwrap();
        match used {
            0 => message.refuse(&mut conn).unwrap(),
            used => message.refuse_rest(&mut conn, used).unwrap(),
        }
        assert_eq!(next(&mut conn, &mut budget), noop("b"), "{text:?}");
    }
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "a ",
        "APPEND ",
        "LOGIN ",
        "x ",
        "(\\Seen) ",
        "{3+}\r\n",
        "{3}\r\n",
        "{70+}\r\n",
        "{2000+}\r\n",
        "abc",
        "\r\n",
        "\n",
        "\0",
        "NOOP",
        "\"",
        " ",
        "{99999999999999999999+}\r\n",
        "UID FETCH 1 ALL",
        "LOGOUT",
    ]);
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    /// Whatever is sent, each command uses something up, stays within its budget, and the end of the input is the end.
    #[test]
    fn every_command_uses_something_up(octets in pieces(), literals in prop::option::of(Just(100u64))) {
        let mut conn = conn(&octets);
        let mut text = Text::default();
        let mut budget = Budget { command: 256, literals };
        while !conn.unread().is_empty() {
            let before = conn.unread().len();
            match receive(&mut conn, &mut text, &mut budget) {
                Ok(Received::Command(_, Command::Append { message, .. })) if message.octets % 2 == 0 => {
                    if message.refuse(&mut conn).is_err() {
                        break;
                    }
                }
                Ok(Received::Command(_, Command::Append { message, .. })) => {
                    prop_assert!(literals.is_none());
                    if conn.skip(message.octets).and_then(|()| AppendMessage::next(&mut conn, &mut text)).is_err() {
                        break;
                    }
                }
                Ok(_) => {}
                Err(Ending::Disconnected | Ending::TooManyBadCommands | Ending::Idle) => break,
                Err(other) => panic!("{other:?}"),
            }
            prop_assert!(conn.unread().len() < before);
        }
    }
}
