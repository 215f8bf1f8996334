use super::*;
use crate::header_checks::entry;
use proptest::prelude::*;
use std::cell::RefCell;

/// Keeps what it gets; an abandoned one says so.
#[derive(Default)]
struct Kept {
    octets: Vec<u8>,
    finished: bool,
}

struct Keeper(Rc<RefCell<Kept>>);

impl Sink for Keeper {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.0.borrow_mut().octets.extend_from_slice(octets);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        self.0.borrow_mut().finished = true;
        Ok("kept".to_owned())
    }
}

fn table(lines: &[&str]) -> Rc<HeaderChecks> {
    Rc::new(HeaderChecks { entries: lines.iter().map(|line| entry(line).unwrap()).collect() })
}

/// What arrives, what the log has, and how it ends.
fn send(checks: &Rc<HeaderChecks>, pieces: &[&[u8]]) -> (Kept, Vec<String>, Result<String, Status>) {
    let (kept, log) = (Rc::new(RefCell::new(Kept::default())), RefCell::new(Vec::new()));
    let warn = |line: &str| log.borrow_mut().push(line.to_owned());
    let result = {
        let discarded = Cell::new(false);
        let mut sink = checked(checks, Box::new(Keeper(kept.clone())), &warn, &discarded);
        pieces.iter().try_for_each(|piece| sink.write(piece)).and_then(|()| sink.finish())
    };
    let kept = kept.take();
    (kept, log.into_inner(), result)
}

const MESSAGE: &[u8] =
    b"From: a\r\nSubject: one\r\n two\r\n\tthree\r\nX-A: 1\r\n\r\nSubject: body\r\nX-A: 2\r\n";

#[test]
fn what_becomes_of_a_message() {
    let arrives = |line: &str| {
        let (kept, log, result) = send(&table(&[line]), &[MESSAGE]);
        let text = String::from_utf8(kept.octets).unwrap();
        (text, log, kept.finished, result.map_err(|status| status.to_string()))
    };
    let whole = String::from_utf8(MESSAGE.to_vec()).unwrap();
    for (line, want) in [
        ("/X-B: */ IGNORE", whole.clone()),
        ("/X-A: 1/ IGNORE", whole.replace("X-A: 1\r\n", "")),
        ("/X-A: 1/ DUNNO", whole.clone()),
        // The body is none of its business.
        ("/X-A: 2/ REJECT", whole.clone()),
        ("/Subject: *three/ IGNORE", whole.replace("Subject: one\r\n two\r\n\tthree\r\n", "")),
        ("/subject: one two\tthree/ PREPEND X-C: d", whole.replace("Subject: one", "X-C: d\r\nSubject: one")),
    ] {
        assert_eq!(arrives(line), (want, vec![], true, Ok("kept".to_owned())), "{line}");
    }
    let (text, log, finished, result) = arrives("/X-A: */ WARN look");
    assert_eq!((text, finished, result), (whole, true, Ok("kept".to_owned())));
    assert_eq!(log, ["warning: header X-A: 1: look"]);
    let (_, log, finished, result) = arrives("/Subject: */ REJECT 5.7.0 No");
    assert_eq!((finished, result), (false, Err("550 5.7.0 No".to_owned())));
    assert_eq!(log, ["reject: header Subject: one two\\x09three: No"]);
    let (_, log, finished, result) = arrives("/Subject: */ DISCARD");
    assert!(!finished && result.is_ok_and(|id| id != "kept"));
    assert_eq!(log.len(), 1);
}

#[test]
fn fields_at_the_edges() {
    let checks = table(&["/X: */ IGNORE", "/Y: */ WARN"]);
    for (message, want, lines) in [
        ("X: 1\r\n\r\n", "\r\n", 0),
        ("X: 1", "", 0),
        ("Y: 1", "Y: 1", 1),
        ("Y: 1\r\n\r", "Y: 1\r\n\r", 1),
        ("Y: 1\r\n", "Y: 1\r\n", 1),
        ("\r\nY: 1\r\n", "\r\nY: 1\r\n", 0),
        ("", "", 0),
        // BINARYMIME may have CR alone, and LF alone.
        ("\rA: b\r\nX: 1\r\n\r\n", "\rA: b\r\n\r\n", 0),
        ("A: b\nX: 1\nY: 2\n\r\n", "A: b\nY: 2\n\r\n", 1),
        // Folding in front of any field.
        (" X: 1\r\nX: 2\r\n\r\n", " X: 1\r\n\r\n", 0),
    ] {
        let (kept, log, result) = send(&checks, &[message.as_bytes()]);
        assert_eq!(String::from_utf8(kept.octets).unwrap(), want, "{message:?}");
        assert_eq!((log.len(), result.is_ok(), kept.finished), (lines, true, true), "{message:?}");
    }
}

#[test]
fn long_fields_and_long_headers() {
    let long = |name: &str| format!("{name}: {}", "x".repeat(70).repeat(1000));
    let message = format!("{}\r\n{}\r\nEnd: 1\r\n\r\nbody", long("X"), long("Y"));
    let checks = table(&["/X: */ IGNORE", "/Y: */ PREPEND Z: 1"]);
    let (kept, _, result) = send(&checks, &[message.as_bytes()]);
    assert!(result.is_ok());
    let want = format!("Z: 1\r\n{}\r\nEnd: 1\r\n\r\nbody", long("Y"));
    assert!(kept.octets == want.as_bytes());
    let endless = "A: b\r\n".repeat(HEADER_MAX / 6 + 1);
    let (kept, _, result) = send(&checks, &[endless.as_bytes()]);
    let status = result.unwrap_err().to_string();
    assert_eq!((status.as_str(), kept.finished), ("554 5.6.0 The header is too large to be checked", false));
}

#[test]
fn without_a_table_nothing_is_in_between() {
    let (kept, log, _) = send(&table(&[]), &[b"anything\r", b"at all"]);
    assert_eq!((kept.octets.as_slice(), log.len()), (&b"anything\rat all"[..], 0));
}

proptest! {
    /// Nothing is lost or added where no entry says so, however the message is cut.
    #[test]
    fn octet_for_octet(message in "[a: \t\r\n]{0,60}", cut in 0usize..60) {
        let (front, back) = message.as_bytes().split_at(cut.min(message.len()));
        let (kept, _, result) = send(&table(&["/never: */ REJECT"]), &[front, back]);
        prop_assert!(result.is_ok());
        prop_assert_eq!(kept.octets, message.into_bytes());
    }

    #[test]
    fn nothing_panics(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = send(&table(&["/a*: */ IGNORE", "/*:*/ WARN"]), &[&message]);
    }
}
