use super::*;
use crate::queue::Queued;

#[test]
fn lists_upon_lists_have_an_end() {
    let members: Vec<String> = (0..900).map(|n| format!("m{n}@x.example")).collect();
    let scratch = crate::testing::Scratch::new();
    let list = members.join(", ");
    let lists: String = (0..20).map(|n| format!("list{n}: {list}\n")).collect();
    let aliases = scratch.file("aliases", lists);
    let config = Config { alias_maps: format!("hash:{}", aliases.display()).into(), ..Config::DEFAULT };
    let mut rules = Rules::load(&config).unwrap();
    let log = Log::open(&config, "test".to_owned());
    let id = Id::new(SystemTime::now()).unwrap();
    for (times, fits) in [(1, true), (20, false)] {
        let recipients = (0..times).map(|n| format!("list{n}")).collect();
        let wanted = Wanted { recipients, ..Wanted::default() };
        let result = envelope(&wanted, &mut rules, &log, &id);
        assert_eq!(result.is_ok(), fits, "{times} {:?}", result.err());
    }
}

#[test]
fn each_place_gets_it_once_and_what_is_not_known_yet_waits_in_the_queue() {
    let scratch = crate::testing::Scratch::new();
    let aliases = scratch.file("aliases", "one: a@x.example, b@x.example\ntwo: b@x.example, c@x.example\n");
    let config = Config { alias_maps: format!("hash:{}", aliases.display()).into(), ..Config::DEFAULT };
    let (mut rules, log) = (Rules::load(&config).unwrap(), Log::open(&config, "test".to_owned()));
    let id = Id::new(SystemTime::now()).unwrap();
    for (named, want) in [
        (
            &["one", "two", "One", "a@x.example", "one"][..],
            &["a@x.example", "b@x.example", "c@x.example"][..],
        ),
        (&["d@x.example"; 500], &["d@x.example"]),
        (&["postmaster", "postmaster"], &["postmaster"]),
        (&["nobody here", "nobody-here", "one"], &["nobody-here", "a@x.example", "b@x.example"]),
    ] {
        let recipients = named.iter().map(|&name| name.to_owned()).collect();
        let wanted = Wanted { recipients, ..Wanted::default() };
        let envelope = envelope(&wanted, &mut rules, &log, &id).unwrap();
        let got: Vec<String> =
            envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        assert_eq!(got.len(), want.len(), "{got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| got.starts_with(want)), "{got:?} {want:?}");
    }
}

#[test]
fn a_reader_that_was_stopped_is_not_waited_for() {
    let (from, to) = fd::pipe().unwrap();
    File::from(to.try_clone().unwrap()).write_all(b"12\n").unwrap();
    let until = Instant::now() + Duration::from_millis(50);
    let error = read_head(from, until).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(to);
}

/// What the queue has of a message of a user's once it has been picked up, which comes in pieces of so many octets.
fn picked_up(directory: &QueueDirectory, to: &[&str], message: &[u8], piece: usize) -> (Id, Queued) {
    let config = Config { myhostname: "mail.example.org".into(), ..Config::DEFAULT };
    let (rules, log) = (Rules::load(&config).unwrap(), Log::open(&config, "test".to_owned()));
    let id = Id::new(SystemTime::now()).unwrap();
    let envelope = crate::queue::tests::envelope(to);
    let recipients = to.iter().map(|&to| to.to_owned()).collect();
    let wanted = Wanted { sender: "a@b.example".into(), recipients, ..Wanted::default() };
    let length = message.len() as u64;
    let dropped = Dropped {
        config: &config,
        uid: 1000,
        id: &id,
        wanted: &wanted,
        envelope: &envelope,
        refused: None,
        length,
    };
    let (from, pipe) = fd::pipe().unwrap();
    let from = Patient { from: File::from(from), until: Instant::now() + Duration::from_secs(60) };
    let mut pipe = File::from(pipe);
    std::thread::scope(|scope| {
        scope.spawn(move || message.chunks(piece).for_each(|piece| pipe.write_all(piece).unwrap()));
        dropped.queue(directory, &rules, &log, from).unwrap();
    });
    let id = id.derived("u1000").unwrap();
    let queued = crate::queue::tests::open(directory, &id);
    (id, *queued)
}

#[test]
fn who_is_no_longer_there_to_be_refused_gets_it_back() {
    let scratch = crate::queue::tests::Scratch::new("refused");
    let directory = crate::queue::tests::queue(&scratch);
    let many: Vec<String> = (0..9000).map(|n| format!("{}{n}@x.example", "x".repeat(50))).collect();
    let all: Vec<&str> = many.iter().map(String::as_str).collect();
    let (circle, plain) = ("Received: x\r\n".repeat(51), "Subject: x\r\n\r\nb\r\n");
    // Also if the head of its file is on the disk by then.
    let long = format!("{circle}\r\n{}", "x\r\n".repeat(30_000));
    for (message, to, why, count) in [
        (circle.as_str(), &all[..2], "Too many hops", 2),
        (&long, &all[..700], "Too many hops", 700),
        (plain, &all, "Too many recipients", TOLD_MAX),
    ] {
        let (id, queued) = picked_up(&directory, to, message.as_bytes(), message.len());
        assert_eq!(queued.in_state(crate::queue::queued::State::Failed).len(), count, "{why}");
        assert_eq!(queued.envelope().recipients.len(), count);
        let notes = crate::queue::notes::read(&directory, crate::queue::Place::Queue, &id);
        assert!(notes.len() == count && notes.iter().all(|note| note.status.to_string().contains(why)));
        let mut text = Vec::new();
        queued.message().read_to_end(&mut text).unwrap();
        assert!(text.len() > message.len());
    }
}

#[test]
fn names_in_a_from_field() {
    let config = Config { myhostname: "mail.example.org".into(), ..Config::DEFAULT };
    let rules = Rules::load(&config).unwrap();
    let envelope = crate::queue::tests::envelope(&["a@x.example"]);
    let long = format!("=?utf-8?q?{}?=\r\n =?utf-8?q?{}?= ", "=C3=A4".repeat(10), "=C3=A4".repeat(2));
    for (full_name, want) in [
        ("", ""),
        ("Anna B", "Anna B "),
        ("A. \"B\"", "\"A. \\\"B\\\"\" "),
        ("Jörg (x)", "=?utf-8?q?J=C3=B6rg_=28x=29?= "),
        (&"ä".repeat(12), &long),
    ] {
        let wanted = Wanted { full_name: full_name.to_owned(), ..Wanted::default() };
        let field = from_field(&wanted, &envelope, &rules);
        assert!(field.strip_prefix(want).is_some_and(|rest| rest.contains('@')), "{field:?}");
    }
}

#[test]
fn what_lies_in_the_queue_is_in_wire_form() {
    let scratch = crate::queue::tests::Scratch::new("wireform");
    let directory = crate::queue::tests::queue(&scratch);
    let hostile = b"Subject: x\r\nFrom: a@b\nDate: now\rMessage-ID: <x@y>\r\n\r\nA\n.\nMAIL FROM:<c@d>\n\0\n\r.\r\nlast\r";
    for piece in [hostile.len(), 1] {
        let (_, queued) = picked_up(&directory, &["a@x.example"], hostile, piece);
        let mut text = Vec::new();
        queued.message().read_to_end(&mut text).unwrap();
        assert!(
            text.ends_with(b"\r\n\r\nA\r\n.\r\nMAIL FROM:<c@d>\r\n\r\n .\r\nlast\r\n"),
            "{}",
            text.escape_ascii()
        );
        for (at, octet) in text.iter().enumerate() {
            assert!(*octet != 0 && (*octet != b'\r' || text.get(at + 1) == Some(&b'\n')), "{at}");
            assert!(*octet != b'\n' || at > 0 && text[at - 1] == b'\r', "{at}");
        }
    }
}
