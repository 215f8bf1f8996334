//! What a whole report looks like is tested where it is made: `runner/attempt_tests.rs`.

use super::*;
use crate::queue::tests::{Scratch, add, envelope, open, queue};

struct Into(Vec<u8>);

impl Sink for Into {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(String::new())
    }
}

#[test]
fn headers_end_at_the_empty_line() {
    let long = format!("A: {}\r\n", "x".repeat(9000));
    for (message, want) in [
        ("A: b\r\nC: d\r\n\r\nbody\r\n", "A: b\r\nC: d\r\n"),
        ("A: b\r\n", "A: b\r\n"),
        ("A: cut", ""),
        ("", ""),
        ("\r\nbody", ""),
        (long.as_str(), ""),
    ] {
        let mut sink = Into(Vec::new());
        copy_header(&mut message.as_bytes(), &mut sink).unwrap();
        assert_eq!(String::from_utf8(sink.0).unwrap(), want);
    }
    let many = "A: b\r\n".repeat(100_000);
    let mut sink = Into(Vec::new());
    copy_header(&mut many.as_bytes(), &mut sink).unwrap();
    assert!(sink.0.len() <= HEADER_MAX && sink.0.ends_with(b"\r\n"));
}

fn notification<'a>(
    queued: &'a Queued,
    id: &'a Id,
    to: &'a Address,
    reports: Vec<Report<'a>>,
    now: SystemTime,
) -> Notification<'a> {
    let (host, size_limit) = ("mx.example", 50_000);
    Notification { queued, id, to, host, double: false, nobody: None, reports, size_limit, now, until: None }
}

/// The notification of a failure, for a message whose envelope says that it is 7bit.
fn labels(message: &[u8], ret: Option<Ret>, to: &str) -> (Body, Vec<String>) {
    let scratch = Scratch::new("labels");
    let directory = queue(&scratch);
    let mut envelope = envelope(&["a@x"]);
    let to = Address::parse(to.as_bytes()).unwrap();
    (envelope.ret, envelope.body, envelope.reverse_path) = (ret, Body::SevenBit, Some(to.clone()));
    let id = add(&directory, &envelope, message);
    let queued = open(&directory, &id);
    let failed = Report { recipient: &queued.envelope().recipients[0], action: Action::Failed, note: None };
    let notification = notification(&queued, &id, &to, vec![failed], SystemTime::UNIX_EPOCH);
    let body = notification.body().unwrap();
    let mut out = Into(Vec::new());
    notification.write(&mut out, body).unwrap();
    let text = String::from_utf8_lossy(&out.0).into_owned();
    let is_field = |line: &&str| line.starts_with("Content-Transfer-Encoding: ");
    let fields = text.lines().filter(is_field).map(|line| line.rsplit_once(' ').unwrap().1.to_owned());
    (body, fields.collect())
}

#[test]
fn what_is_returned_is_labelled_as_what_it_is() {
    let (plain, header, body) = (
        &b"Subject: x\r\n\r\nx\r\n"[..],
        &b"Subject: \xe4\r\n\r\nx\r\n"[..],
        &b"Subject: x\r\n\r\n\xe4\r\n"[..],
    );
    let (seven, eight) = (Body::SevenBit, Body::EightBitMime);
    for (message, ret, to, want) in [
        (plain, None, "s@x", (seven, ["7bit", "7bit", "7bit", "7bit"])),
        // RFC 2045 section 6.4: the whole is labelled as its widest part; the others keep what they are.
        (header, None, "s@x", (eight, ["8bit", "7bit", "7bit", "8bit"])),
        (body, None, "s@x", (eight, ["8bit", "7bit", "7bit", "8bit"])),
        (header, Some(Ret::Headers), "s@x", (eight, ["8bit", "7bit", "7bit", "8bit"])),
        // The body stays here.
        (body, Some(Ret::Headers), "s@x", (seven, ["7bit", "7bit", "7bit", "7bit"])),
        // RFC 6533 section 3: all of it may have UTF-8.
        (plain, None, "\u{e4}@x", (eight, ["8bit", "8bit", "8bit", "8bit"])),
    ] {
        let (body, fields) = labels(message, ret, to);
        assert_eq!(
            (body, fields),
            (want.0, want.1.map(str::to_owned).to_vec()),
            "{ret:?} {}",
            message.escape_ascii()
        );
    }
}

#[test]
fn who_cannot_be_told_is_named() {
    let scratch = Scratch::new("nobody");
    let directory = queue(&scratch);
    let mut envelope = envelope(&["a@x"]);
    let to = Address::parse(b"postmaster@here.example").unwrap();
    let sender = Address::parse(b"gone@here.example").unwrap();
    envelope.reverse_path = Some(sender.clone());
    let id = add(&directory, &envelope, b"A: b\r\n\r\nbody\r\n");
    let queued = open(&directory, &id);
    let told = |nobody: &[u8], why: &Status, action| {
        let nobody = Address::parse(nobody).unwrap();
        let report = Report { recipient: &queued.envelope().recipients[0], action, note: None };
        let notification = Notification {
            nobody: Some((&nobody, why)),
            double: true,
            ..notification(&queued, &id, &to, vec![report], SystemTime::UNIX_EPOCH)
        };
        let mut text = String::new();
        notification.part_for_people(&mut text, "b");
        text.replace("\r\n", " ")
    };
    let unknown = Status::new(550, Enhanced(5, 1, 1), "User unknown");
    let disabled = Status::new(550, Enhanced(5, 2, 1), "Mailbox disabled");
    for (nobody, why, want) in [
        ("gone@here.example", &unknown, "its sender <gone@here.example> does not exist here. It is attached"),
        (
            "gone@here.example",
            &disabled,
            "its sender <gone@here.example> gets no mail: Mailbox disabled. It is",
        ),
        ("owner-l@here.example", &unknown, "its list's owner <owner-l@here.example> does not exist here. It"),
        (
            "gr\u{fc}n@here.example",
            &unknown,
            "its list's owner <gr\\x{FC}n@here.example> does not exist here. It",
        ),
    ] {
        let text = told(nobody.as_bytes(), why, Action::Failed);
        assert!(text.contains(&format!("A message could not be delivered, and {want}")), "{text}");
    }
    assert!(!told(b"gone@here.example", &unknown, Action::Delivered).contains("could not be delivered"));
}

#[test]
fn what_people_are_told() {
    let scratch = Scratch::new("people");
    let directory = queue(&scratch);
    let mut envelope = envelope(&["a@x", "b@x"]);
    let to = Address::parse(b"anna@here.example").unwrap();
    (envelope.ret, envelope.reverse_path) = (Some(Ret::Headers), Some(to.clone()));
    let id = add(&directory, &envelope, b"A: b\r\n\r\nbody\r\n");
    let queued = open(&directory, &id);
    let note = |recipient, code, text: &str| {
        let status = Status::new(code, Enhanced((code / 100) as u8, 1, 1), text);
        Note { recipient, at: 0, status, relay: "none".into(), diagnostic: None, relayed: true }
    };
    let notes = [note(0, 550, "<a@x>: User unknown"), note(1, 451, "no answer")];
    let report = |at: usize| Report {
        recipient: &queued.envelope().recipients[at],
        action: Action::Failed,
        note: Some(&notes[at]),
    };
    let now = queued.head().arrived + std::time::Duration::from_secs(5 * 86_400 + 7);
    let notification = notification(&queued, &id, &to, vec![report(0), report(1)], now);
    let mut text = String::new();
    notification.part_for_people(&mut text, "b");
    for line in [
        "Its header is attached below.",
        "<a@x>: User unknown",
        "<b@x>: tried for 5 days without success: no answer",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
    assert_eq!([119, 120, 7200, 172_799].map(span), ["a short time", "2 minutes", "2 hours", "47 hours"]);
}
