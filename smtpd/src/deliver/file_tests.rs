use super::*;
use crate::deliver::Once;
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

/// What an attempt appends that comes after another one.
fn append_again(config: &Config, path: &Path, message: &[u8]) -> Result<String, Status> {
    let size = message.len() as u64;
    let once = Some(Once { mark: "K1_0_".to_owned(), again: true, size });
    let trace = Trace { once, ..trace(Some("a@x.example")) };
    let mut sink = begin(config, path.to_str().unwrap(), &trace)?;
    message.chunks(5000).try_for_each(|piece| sink.write(piece))?;
    sink.finish()
}

fn message(id: &str, lines: usize) -> Vec<u8> {
    let received = format!("Received: from x by y\r\n\tid {id}; now\r\nSubject: x\r\n\r\n");
    (received + &"Foo\r\nFrom bar\r\n".repeat(lines) + "end\r\n").into_bytes()
}

/// What is in a file to which this was appended, with the date of another day.
fn stored(message: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.path().join("mbox");
    append(&Config::DEFAULT, &path, &message.chunks(5000).collect::<Vec<_>>()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    format!("From a@x.example Thu Jan  1 00:00:00 1970\n{rest}").into_bytes()
}

/// What is in the file, without the dates.
fn read(path: &Path) -> String {
    undated(&std::fs::read(path).unwrap())
}

fn undated(text: &[u8]) -> String {
    let text = std::str::from_utf8(text).unwrap();
    let is_from = |line: &str| line.starts_with("From a@x.example ") && line.len() == 42;
    text.split_inclusive('\n').map(|line| if is_from(line) { "From a@x.example\n" } else { line }).collect()
}

const OTHER: &[u8] = b"From b@x.example Thu Jan  1 00:00:00 1970\nSubject: other\n\nother\n\n";

#[test]
fn what_is_there_is_not_written_again() {
    let scratch = Scratch::new();
    for lines in [1, 10_000] {
        let message = message("1-a", lines);
        let whole = stored(&message);
        for content in
            [whole.clone(), [OTHER, &whole, OTHER].concat(), [b"no end\n", &whole[..], b"From "].concat()]
        {
            let path = scratch.file("mbox", &content);
            // It has its room already.
            let limit = Size(content.len() as u64);
            let config = Config { mailbox_size_limit: limit, ..Config::DEFAULT };
            assert_eq!(append_again(&config, &path, &message).unwrap(), path.to_str().unwrap());
            assert!(std::fs::read(&path).unwrap() == content, "{lines}");
            append(&Config::DEFAULT, &path, &[&message]).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() > limit.0, "a first attempt does not look");
        }
    }
}

#[test]
fn a_part_at_the_end_gets_its_rest() {
    let scratch = Scratch::new();
    for lines in [3, 10_000] {
        let message = message("1-a", lines);
        let whole = stored(&message);
        let last = whole.len() - 1;
        let cuts: Vec<usize> = match lines {
            3 => (0..=last).collect(),
            _ => {
                vec![1, 30, 100, 200, 32_000, 32_767, 32_768, 33_000, 34_000, 65_536, 120_000, last - 1, last]
            }
        };
        for (cut, front) in cuts.into_iter().flat_map(|cut| [(cut, &b""[..]), (cut, OTHER), (cut, b"x\n")]) {
            let path = scratch.file("mbox", [front, &whole[..cut]].concat());
            append_again(&Config::DEFAULT, &path, &message).unwrap();
            assert!(read(&path) == undated(&[front, &whole].concat()), "{lines} {cut} {}", read(&path));
        }
    }
}

#[test]
fn behind_a_part_and_another_s_message_it_comes_whole() {
    let scratch = Scratch::new();
    for lines in [3, 10_000] {
        let message = message("1-a", lines);
        let whole = stored(&message);
        let last = whole.len() - 1;
        for cut in [10, 50, 100, 150, 32_767, 32_768, 40_000, 65_536, 100_000, last] {
            let part = &whole[..cut.min(last)];
            let part = [part, if part.ends_with(b"\n") { b"" } else { b"\n" }].concat();
            // The last one is a second attempt that was killed, too.
            let ends = [&whole[..0], &whole[..20], &whole[..cut.min(20_000).min(last)]];
            for end in ends {
                let path = scratch.file("mbox", [&part, OTHER, end].concat());
                append_again(&Config::DEFAULT, &path, &message).unwrap();
                let want = undated(&[&part, OTHER, &whole].concat());
                assert!(read(&path) == want, "{lines} {cut} {}", end.len());
            }
        }
    }
}

#[test]
fn what_only_looks_like_it_is_another_message() {
    let scratch = Scratch::new();
    let message = message("1-a", 3);
    let whole = stored(&message);
    let quoted = [b"Subject: x\r\n\r\n", &whole[..]].concat();
    let text = String::from_utf8(whole.clone()).unwrap();
    for content in [
        stored(&quoted),
        stored(&self::message("1-b", 3)),
        stored(&self::message("1-a", 4)),
        text.replace("a@x", "b@x").into_bytes(),
        text.replace("1970\n", "1970\n\n").into_bytes(),
        text.replace(" 1970\n", "\n1970\n").into_bytes(),
        text.replace("From a", " From a").into_bytes(),
        vec![0; 100_000],
        b"\n".repeat(100_000),
        b"From ".repeat(20_000),
        b"From a@x.example \n".repeat(20_000),
        b"no line end".to_vec(),
        Vec::new(),
    ] {
        let path = scratch.file("mbox", &content);
        append_again(&Config::DEFAULT, &path, &message).unwrap();
        let lf: &[u8] = if content.last().is_none_or(|last| *last == b'\n') { b"" } else { b"\n" };
        assert!(read(&path) == undated(&[&content, lf, &whole].concat()), "{}", read(&path));
    }
    let path = scratch.path().join("new");
    append_again(&Config::DEFAULT, &path, &message).unwrap();
    assert_eq!(read(&path), undated(&whole));
}

#[test]
fn no_more_than_the_end_of_a_file_is_looked_at() {
    let scratch = Scratch::new();
    let message = message("1-a", 3);
    let whole = stored(&message);
    for (behind, times) in [(1_000_000, 1), (1_100_000, 2)] {
        let others: Vec<u8> = OTHER.iter().copied().cycle().take(behind).collect();
        let path = scratch.file("mbox", [&whole, &others[..]].concat());
        append_again(&Config::DEFAULT, &path, &message).unwrap();
        assert_eq!(read(&path).matches("id 1-a").count(), times);
    }
}

#[test]
fn a_part_goes_whose_rest_has_no_room() {
    let scratch = Scratch::new();
    let config = |limit| Config { mailbox_size_limit: Size(limit), ..Config::DEFAULT };
    for (lines, cuts) in [(3, [0, 10, 100]), (10_000, [10, 1000, 50_000])] {
        let message = message("1-a", lines);
        let whole = stored(&message);
        let all = (OTHER.len() + whole.len()) as u64;
        for cut in cuts {
            let path = scratch.file("mbox", [OTHER, &whole[..cut]].concat());
            assert_eq!(append_again(&config(all - 1), &path, &message).unwrap_err().code, 552);
            assert_eq!(std::fs::read(&path).unwrap(), OTHER);
            let path = scratch.file("mbox", [OTHER, &whole[..cut]].concat());
            append_again(&config(all), &path, &message).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), all);
        }
    }
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
    fn whatever_is_there_it_is_there_once_more_at_most(
        pieces in proptest::collection::vec((0u8..5, 0usize..400), 0..6),
    ) {
        let scratch = Scratch::new();
        let message = message("1-a", 2);
        let whole = stored(&message);
        let mut content = Vec::new();
        for (kind, cut) in pieces {
            content.extend_from_slice(match kind {
                0 => &whole[..cut.min(whole.len())],
                1 => &whole[whole.len().saturating_sub(cut)..],
                2 => OTHER,
                3 => b"\n",
                _ => b"F",
            });
        }
        let path = scratch.file("mbox", &content);
        let count = |text: &str| text.matches(&undated(&whole)).count();
        append_again(&Config::DEFAULT, &path, &message).unwrap();
        let first = read(&path);
        prop_assert!(count(&first) >= 1 && count(&first) <= count(&undated(&content)) + 1, "{}", first);
        append_again(&Config::DEFAULT, &path, &message).unwrap();
        prop_assert_eq!(first, read(&path));
    }

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
