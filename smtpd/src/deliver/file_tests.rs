use super::*;
use crate::testing::Scratch;
use common::config::value::Size;
use proptest::prelude::*;

fn trace(sender: Option<&str>) -> Trace {
    let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
    let to = address("list@example.org");
    Trace {
        reverse_path: sender.map(address),
        original: to.clone(),
        delivered_to: to,
        received: String::new(),
        is_binary: false,
        once: None,
    }
}

fn append(config: &Config, path: &Path, pieces: &[&[u8]]) -> Result<String, Status> {
    let mut sink = begin(config, path.to_str().unwrap(), &trace(Some("a@x.example")))?;
    for piece in pieces {
        sink.write(piece)?;
    }
    sink.finish()
}

#[test]
fn messages_follow_each_other() {
    let scratch = Scratch::new();
    let path = scratch.path().join("mbox");
    append(&Config::DEFAULT, &path, &[b"A: b\r\n\r\nFrom here\r\n>From there\r\nend\r\n"]).unwrap();
    append(&Config::DEFAULT, &path, &[b"A: b\r\n\r", b"\nno end"]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let trace =
        "Return-Path: <a@x.example>\nX-Original-To: list@example.org\nDelivered-To: list@example.org\n";
    let parts: Vec<&str> = text.split_inclusive("\n\n").collect();
    assert_eq!(parts.len(), 4, "{text}");
    assert!(
        parts[0].starts_with("From a@x.example ")
            && parts[0].ends_with(&format!(" \n{trace}A: b\n\n").replace(" \n", "\n"))
    );
    assert_eq!(parts[1], ">From here\n>From there\nend\n\n");
    assert_eq!(parts[3], "no end\n\n");
    assert!(!path.with_extension("lock").exists());
}

#[test]
fn a_file_without_a_line_end_gets_one() {
    let scratch = Scratch::new();
    let path = scratch.file("mbox", "cut off");
    append(&Config::DEFAULT, &path, &[b"\r\nx\r\n"]).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("cut off\nFrom "));
}

#[test]
fn what_fails_or_is_given_up_leaves_the_file_as_it_was() {
    let scratch = Scratch::new();
    let path = scratch.file("mbox", "before\n");
    let config = Config { mailbox_size_limit: Size(100_000), ..Config::DEFAULT };
    let large = vec![b'x'; 40_000];
    let status = append(&config, &path, &[&large, &large, &large]).unwrap_err();
    assert_eq!((status.code, status.enhanced), (552, Enhanced(5, 2, 2)));
    let config = Config { quota_full_tempfail: true, ..config };
    assert_eq!(append(&config, &path, &[&large, &large, &large]).unwrap_err().code, 452);
    let mut sink = begin(&config, path.to_str().unwrap(), &trace(None)).unwrap();
    sink.write(&large).unwrap();
    drop(sink);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\n");
}

#[test]
fn other_kinds() {
    let scratch = Scratch::new();
    assert_eq!(append(&Config::DEFAULT, Path::new("/dev/null"), &[b"x"]).unwrap(), "/dev/null");
    let maildir = format!("{}/new/box/", scratch.path().display());
    append(&Config::DEFAULT, Path::new(&maildir), &[b"x\r\n"]).unwrap();
    assert_eq!(std::fs::read_dir(format!("{maildir}new")).unwrap().count(), 1);
    let path = scratch.file("real", "");
    std::os::unix::fs::symlink(&path, scratch.path().join("link")).unwrap();
    std::fs::hard_link(&path, scratch.path().join("second")).unwrap();
    for name in ["link", "second", "."] {
        let result = append(&Config::DEFAULT, &scratch.path().join(name), &[b"x"]);
        assert!(result.unwrap_err().is_temporary(), "{name}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[test]
fn from_lines() {
    let sender = Address::parse(b"\"a b\"@x.example").unwrap();
    assert_eq!(from_line(None, 0), "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n");
    assert_eq!(from_line(Some(&sender), 1_795_262_400), "From \"a_b\"@x.example Sat Nov 21 12:00:00 2026\n");
}

proptest! {
    #[test]
    fn no_line_begins_another_message(text in "[From \r\nx]{0,60}", cut in 0usize..60) {
        let scratch = Scratch::new();
        let path = scratch.path().join("mbox");
        let (front, back) = text.as_bytes().split_at(cut.min(text.len()));
        append(&Config::DEFAULT, &path, &[front, back]).unwrap();
        let stored = std::fs::read_to_string(&path).unwrap();
        prop_assert_eq!(stored.matches("\nFrom ").count(), 0);
        prop_assert!(stored.ends_with("\n\n"));
    }
}
