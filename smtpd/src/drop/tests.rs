use super::format::{Asked, RECIPIENTS_MAX, Wanted, address};
use super::*;
use crate::envelope::{Body, Notify, Ret};
use crate::queue::Id;
use crate::rules::Rules;
use crate::testing::Scratch;
use common::config::Config;
use proptest::prelude::*;
use std::io::Read;
use std::time::SystemTime;

fn full() -> Wanted {
    Wanted {
        sender: "ann".into(),
        full_name: "Ann \"x\" %".into(),
        envid: Some("id+2B".into()),
        ret: Some(Ret::Headers),
        notify: Some(Notify { success: true, failure: false, delay: true }),
        body: Body::EightBitMime,
        recipients: vec!["b@example.org".into(), "root".into(), "\"a\tb\"@x".into()],
        asked: vec![
            Asked::default(),
            Asked { notify: Some(Notify::NEVER), orcpt: Some("rfc822;x+2By".into()) },
        ],
    }
}

#[test]
fn what_is_printed_is_read_again_and_the_message_is_left() {
    for wanted in [full(), Wanted { recipients: vec!["x".into()], ..Wanted::default() }] {
        let text = format!("{}Subject: x\r\n\r\n\n\r\n", wanted.print());
        let mut from = text.as_bytes();
        assert_eq!(Wanted::read(&mut from).unwrap(), wanted);
        let mut rest = String::new();
        from.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "Subject: x\r\n\r\n\n\r\n");
    }
}

#[test]
fn what_is_no_submission() {
    let head = "tinmail drop 1\nB7\nFx\n";
    let many = "Rx\n".repeat(RECIPIENTS_MAX + 1);
    let rows = [
        String::new(),
        "hello\n".into(),
        head.into(),
        format!("{head}\n"),
        format!("{head}Rx"),
        format!("{head}Rx\nZ\n\n"),
        format!("{head}Rx\nEa b\n\n"),
        format!("{head}Rx\nEa%0d%0ab\n\n"),
        format!("{head}Rx\nE{}\n\n", "x".repeat(101)),
        format!("{head}Rx\nEa+0Ab\n\n"),
        format!("{head}Rx\nEa=b\n\n"),
        format!("{head}R%zz\n\n"),
        format!("{head}{many}\n"),
        format!("{head}R{}\n\n", "x".repeat(2 << 20)),
        "tinmail drop 2\nB7\nFx\nRx\n\n".into(),
    ];
    for text in rows {
        let error = Wanted::read(&mut text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{:.40}", text);
    }
    assert!(Wanted::read(&mut &b"tinmail drop 1\nR\xff\n\n"[..]).is_err());
    let wanted = Wanted::read(&mut format!("{head}GA%0d%0aBcc: b%00\nRx\n\n").as_bytes()).unwrap();
    assert_eq!(wanted.full_name, "ABcc: b");
}

#[test]
fn addresses_get_a_domain() {
    let config =
        Config::from_pairs(&crate::PROGRAM.line, ["myhostname=mail.example.org", "myorigin=example.org"]);
    let rules = Rules::load(&config.unwrap()).unwrap();
    for (text, want) in [
        ("ann", Some("ann@example.org")),
        (" <ann> ", Some("ann@example.org")),
        ("ann@x", Some("ann@x")),
        ("<ann@x>", Some("ann@x")),
        ("\"a b\"", Some("\"a b\"@example.org")),
        ("", None),
        ("<>", None),
        ("a b", None),
        ("a@@x", None),
        ("a\r\nb@x", None),
        ("|/bin/sh", Some("|/bin/sh@example.org")),
        ("../../etc/passwd", None),
    ] {
        let got = address(text, &rules).ok().map(|address| address.to_string());
        assert_eq!(got.as_deref(), want, "{text:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut text = b"tinmail drop 1\n".to_vec();
        text.extend(octets);
        let _ = Wanted::read(&mut text.as_slice());
    }
}

#[test]
fn only_messages_wait() {
    let scratch = Scratch::new();
    assert!(!is_waiting(scratch.path()), "there is no drop directory");
    let id = |seconds| Id::new(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    scratch.file(&format!("drop/{UNFINISHED}{}", id(1_800_000_000).as_str()), "");
    scratch.file("drop/rub bish", "");
    scratch.file(&format!("drop/{}/x", id(1_800_000_001).as_str()), "");
    let link = scratch.path().join("drop").join(id(1_800_000_002).as_str());
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    assert!(!is_waiting(scratch.path()), "anybody may leave such things for ever");
    scratch.file(&format!("drop/{}", id(1_800_000_003).as_str()), "");
    assert!(is_waiting(scratch.path()));
}
