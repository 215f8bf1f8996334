use super::wire::testing::Memory;
use super::*;
use crate::digest::Digest;
use crate::grammar::{Command, MailboxName};
use crate::mailbox::OpenOptions;
use crate::reply::Condition;
use common::maildir::Maildir;
use std::path::PathBuf;
use std::time::Duration;

/// A Maildir and the session's view of it.
struct Site {
    root: PathBuf,
    selected: Selected,
    condstore: bool,
    logged: Vec<String>,
    is_gone: bool,
}

const HEADER: &str = "From: Ann <ann@example.com>\nSubject: one\n two\nX-Other: x\n";
const MULTIPART: &str = "Subject: m\nContent-Type: multipart/mixed; boundary=b\n\n--b\nX-Part: 1\n\none\nuno\n--b\n\
                         Content-Type: message/rfc822\n\nSubject: inner\nTo: a@b\n\ninner body\n--b\n\
                         Content-Type: multipart/mixed; boundary=c\n\n--c\n\n31\n--c\n\n32\n--c--\n--b--\n";

impl Site {
    fn new(name: &str, messages: &[&[u8]]) -> Site {
        let root = std::env::temp_dir().join(format!("tinmail-fetch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let maildir = Maildir::open(&root).unwrap();
        for (at, message) in messages.iter().enumerate() {
            std::fs::write(root.join(format!("cur/{}.m{at}.host:2,", 1_000_000_000 + at)), message).unwrap();
        }
        let options = OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_secs(5) };
        let mailbox = Mailbox::open(&maildir, &options).unwrap();
        let name = MailboxName::new(b"INBOX");
        let selected = Selected { recent: 0, mailbox, name, read_only: false, recall: Recall::default() };
        Site { root, selected, condstore: false, logged: Vec::new(), is_gone: false }
    }

    fn path(&self, number: usize) -> PathBuf {
        let wanted = format!(".m{number}.");
        let mut names = std::fs::read_dir(self.root.join("cur")).unwrap().map(|entry| entry.unwrap().path());
        names.find(|path| path.to_string_lossy().contains(&wanted)).unwrap()
    }

    fn try_fetch(&mut self, command: &str) -> Result<(Vec<u8>, Outcome), Failure> {
        let text = format!("a {command}");
        let Ok((_, Command::Fetch { uid, arguments })) = Command::parse(text.as_bytes()) else {
            panic!("{command}")
        };
        let plan = Plan::new(&arguments, uid);
        let which = arguments.messages.resolve(self.selected.mailbox.len());
        let mut sink = Memory::new(1000);
        sink.is_gone = self.is_gone;
        let logged = &mut self.logged;
        let mut log = |error: &dyn std::fmt::Display| logged.push(error.to_string());
        // Small, so that messages of some kilobytes are large.
        let mut scratch = vec![0; 4096];
        let selected = &mut self.selected;
        let outcome = run(selected, self.condstore, &plan, &which, (&mut sink, &mut scratch), &mut log)?;
        Ok((sink.take(), outcome))
    }

    fn fetch(&mut self, command: &str) -> String {
        let (octets, outcome) = self.try_fetch(command).unwrap();
        assert!(!outcome.gone && outcome.unreadable.kind().is_none());
        octets.iter().map(|&octet| char::from(octet)).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn literal(text: &str) -> String {
    format!("{{{}}}\r\n{text}", text.len())
}

#[test]
fn items() {
    let message = format!("{HEADER}\nbody\n");
    let mut site = Site::new("items", &[message.as_bytes()]);
    let time = std::fs::File::options().write(true).open(site.path(0)).unwrap();
    time.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(760_000_000)).unwrap();
    let envelope = "ENVELOPE (NIL \"one two\" ((\"Ann\" NIL \"ann\" \"example.com\")) ((\"Ann\" NIL \"ann\" \"example.com\")) \
                    ((\"Ann\" NIL \"ann\" \"example.com\")) NIL NIL NIL NIL NIL)";
    let body = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1";
    // The first time from the file, the second time from the digest.
    for _ in 0..2 {
        assert_eq!(
            site.fetch("FETCH 1 (UID FLAGS RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)"),
            format!(
                "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 69 {envelope} BODY {body}) BODYSTRUCTURE {body} NIL NIL NIL NIL))\r\n"
            )
        );
    }
    assert!(site.selected.mailbox.cached(1).is_some());
    assert!(site.fetch("FETCH 1 INTERNALDATE").contains("INTERNALDATE \""));
    assert_eq!(site.fetch("UID FETCH 1 RFC822.SIZE"), "* 1 FETCH (UID 1 RFC822.SIZE 69)\r\n");
    assert!(site.fetch("FETCH 1 MODSEQ").starts_with("* 1 FETCH (MODSEQ ("));
    assert!(site.fetch("FETCH 1 ALL").contains(envelope));
    assert!(site.logged.is_empty());
}

#[test]
fn sections_of_a_simple_message() {
    for crlf in [false, true] {
        let mut message = format!("{HEADER}\nbody\nmore");
        if crlf {
            message = message.replace('\n', "\r\n");
        }
        let mut site = Site::new("simple", &[message.as_bytes()]);
        let wire = message.replace("\r\n", "\n").replace('\n', "\r\n");
        let (header, body) = wire.split_at(wire.len() - 10);
        let from = "From: Ann <ann@example.com>\r\n";
        let subject = "Subject: one\r\n two\r\n";
        for (item, want) in [
            ("BODY.PEEK[]", format!("BODY[] {}", literal(&wire))),
            ("BODY.PEEK[HEADER]", format!("BODY[HEADER] {}", literal(header))),
            ("RFC822.HEADER", format!("RFC822.HEADER {}", literal(header))),
            ("BODY.PEEK[TEXT]", format!("BODY[TEXT] {}", literal(body))),
            ("BODY.PEEK[1]", format!("BODY[1] {}", literal(body))),
            ("BODY.PEEK[1.MIME]", format!("BODY[1.MIME] {}", literal(header))),
            ("BODY.PEEK[2]", "BODY[2] NIL".into()),
            ("BODY.PEEK[1.1]", "BODY[1.1] NIL".into()),
            ("BODY.PEEK[1.HEADER]", "BODY[1.HEADER] NIL".into()),
            (
                "BODY.PEEK[HEADER.FIELDS (subject FROM)]",
                format!("BODY[HEADER.FIELDS (subject FROM)] {}", literal(&format!("{from}{subject}\r\n"))),
            ),
            (
                "BODY.PEEK[HEADER.FIELDS.NOT (from x-other)]",
                format!("BODY[HEADER.FIELDS.NOT (from x-other)] {}", literal(&format!("{subject}\r\n"))),
            ),
            ("BODY.PEEK[HEADER.FIELDS (Bcc)]", format!("BODY[HEADER.FIELDS (Bcc)] {}", literal("\r\n"))),
            (
                "BODY.PEEK[HEADER.FIELDS (from)]<3.5>",
                format!("BODY[HEADER.FIELDS (from)]<3> {}", literal(&from[3..8])),
            ),
            ("BODY.PEEK[TEXT]<0.4>", format!("BODY[TEXT]<0> {}", literal("body"))),
            ("BODY.PEEK[TEXT]<4.3>", format!("BODY[TEXT]<4> {}", literal("\r\nm"))),
            ("BODY.PEEK[TEXT]<5.1>", format!("BODY[TEXT]<5> {}", literal("\n"))),
            ("BODY.PEEK[TEXT]<8.100>", format!("BODY[TEXT]<8> {}", literal("re"))),
            ("BODY.PEEK[TEXT]<100.1>", format!("BODY[TEXT]<100> {}", literal(""))),
        ] {
            assert_eq!(site.fetch(&format!("FETCH 1 {item}")), format!("* 1 FETCH ({want})\r\n"), "{item}");
        }
        assert_eq!(
            site.fetch("FETCH 1 (BODY.PEEK[TEXT] UID BODY.PEEK[2])"),
            format!("* 1 FETCH (UID 1 BODY[TEXT] {} BODY[2] NIL)\r\n", literal(body))
        );
    }
}

#[test]
fn sections_of_a_multipart() {
    let mut site = Site::new("multipart", &[MULTIPART.as_bytes()]);
    let inner = "Subject: inner\r\nTo: a@b\r\n\r\ninner body";
    for (section, want) in [
        ("1", Some("one\r\nuno")),
        ("1.MIME", Some("X-Part: 1\r\n\r\n")),
        ("1.1", None),
        ("1.TEXT", None),
        ("2", Some(inner)),
        ("2.HEADER", Some("Subject: inner\r\nTo: a@b\r\n\r\n")),
        ("2.TEXT", Some("inner body")),
        ("2.1", Some("inner body")),
        ("2.1.1", None),
        ("2.2", None),
        ("2.MIME", Some("Content-Type: message/rfc822\r\n\r\n")),
        ("2.1.MIME", Some("Subject: inner\r\nTo: a@b\r\n\r\n")),
        ("2.HEADER.FIELDS (To)", Some("To: a@b\r\n\r\n")),
        ("2.HEADER.FIELDS.NOT (To)", Some("Subject: inner\r\n\r\n")),
        ("3", Some("--c\r\n\r\n31\r\n--c\r\n\r\n32\r\n--c--")),
        ("3.1", Some("31")),
        ("3.2", Some("32")),
        ("3.3", None),
        ("3.MIME", Some("Content-Type: multipart/mixed; boundary=c\r\n\r\n")),
        ("4", None),
        ("4294967295", None),
    ] {
        let want = want.map_or("NIL".to_owned(), literal);
        assert_eq!(
            site.fetch(&format!("FETCH 1 BODY.PEEK[{section}]")),
            format!("* 1 FETCH (BODY[{section}] {want})\r\n")
        );
    }
}

#[test]
fn nul_is_never_sent() {
    let mut site = Site::new("nul", &[b"Subject: a\0b\n\nx\0y\n"]);
    assert_eq!(site.fetch("FETCH 1 BODY.PEEK[TEXT]"), "* 1 FETCH (BODY[TEXT] {5}\r\nx\u{80}y\r\n)\r\n");
    assert!(!site.fetch("FETCH 1 (ENVELOPE BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (subject)])").contains('\0'));
}

#[test]
fn reading_a_text_sets_seen() {
    let mut site = Site::new("seen", &[b"A: b\n\nc\n", b"A: b\n\nd\n"]);
    assert!(site.fetch("FETCH 1 BODY.PEEK[]").starts_with("* 1 FETCH (BODY[]"));
    assert_eq!(site.fetch("FETCH 1 BODY[TEXT]"), "* 1 FETCH (FLAGS (\\Seen) BODY[TEXT] {3}\r\nc\r\n)\r\n");
    // It has it: nothing to be said.
    assert_eq!(site.fetch("FETCH 1 BODY[TEXT]"), "* 1 FETCH (BODY[TEXT] {3}\r\nc\r\n)\r\n");
    assert!(site.path(0).to_string_lossy().ends_with(":2,S"));
    site.condstore = true;
    let answer = site.fetch("FETCH 1:2 RFC822.TEXT");
    assert!(
        answer.starts_with("* 1 FETCH (RFC822.TEXT {3}\r\nc\r\n)\r\n* 2 FETCH (FLAGS (\\Seen) MODSEQ ("),
        "{answer}"
    );
    // Not in a mailbox that is only looked at.
    let mut site = Site::new("unseen", &[b"A: b\n\nc\n"]);
    site.selected.read_only = true;
    assert_eq!(
        site.fetch("FETCH 1 (FLAGS RFC822)"),
        "* 1 FETCH (FLAGS () RFC822 {11}\r\nA: b\r\n\r\nc\r\n)\r\n"
    );
}

#[test]
fn only_what_has_changed() {
    let mut site = Site::new("changed", &[b"A: b\n\nc\n", b"A: b\n\nd\n"]);
    site.fetch("FETCH 2 BODY[]");
    let modseq = site.selected.mailbox.info(2).unwrap().modseq;
    assert!(modseq > site.selected.mailbox.info(1).unwrap().modseq);
    assert_eq!(
        site.fetch(&format!("FETCH 1:2 FLAGS (CHANGEDSINCE {})", modseq - 1)),
        format!("* 2 FETCH (FLAGS (\\Seen) MODSEQ ({modseq}))\r\n")
    );
    assert_eq!(site.fetch(&format!("FETCH 1:2 FLAGS (CHANGEDSINCE {modseq})")), "");
    assert_eq!(site.fetch("FETCH 1:2 FLAGS (CHANGEDSINCE 0)").lines().count(), 2);
}

#[test]
fn a_message_that_is_gone_takes_no_other_with_it() {
    let mut site = Site::new("gone", &[b"A: b\n\n1\n", b"A: b\n\n2\n", b"A: b\n\n3\n"]);
    std::fs::remove_file(site.path(1)).unwrap();
    let (octets, outcome) = site.try_fetch("FETCH 1:3 (UID BODY.PEEK[TEXT])").unwrap();
    assert!(outcome.gone && outcome.unreadable.kind().is_none());
    assert_eq!(outcome.reply(false).condition, Condition::No);
    assert_eq!((outcome.reply(true).condition, &*outcome.reply(true).code), (Condition::Ok, "EXPUNGEISSUED"));
    let text = String::from_utf8(octets).unwrap();
    let want = |n: u32| format!("* {n} FETCH (UID {n} BODY[TEXT] {{3}}\r\n{n}\r\n)\r\n");
    assert_eq!(text, want(1) + &want(3));
    // What is no file is not read, and said in the log.
    std::fs::remove_file(site.path(2)).unwrap();
    std::fs::create_dir(site.root.join("cur/1000000002.m2.host:2,")).unwrap();
    let (octets, outcome) = site.try_fetch("FETCH 1:3 (ENVELOPE)").unwrap();
    assert!(outcome.gone);
    assert_eq!((outcome.unreadable.kind(), outcome.unreadable.count()), (Some(ErrorKind::Corrupt), 1));
    assert_eq!(octets.iter().filter(|&&octet| octet == b'\n').count(), 1);
    assert!(site.logged[0].ends_with("/cur/1000000002.m2.host:2,): not a file"), "{:?}", site.logged);
}

#[test]
fn what_cannot_be_read_is_not_seen_and_the_log_stays_short() {
    let text = b"A: b\n\ntext\n".as_slice();
    let mut site = Site::new("unreadable", &[text; 40]);
    // A link to itself is there and cannot be opened, whoever asks.
    let to_itself = site.root.join("loop");
    std::os::unix::fs::symlink("loop", &to_itself).unwrap();
    for number in 1..39 {
        let path = site.path(number);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&to_itself, &path).unwrap();
    }
    let (octets, outcome) = site.try_fetch("FETCH 1:* BODY[TEXT]").unwrap();
    assert!(!outcome.gone);
    assert_eq!((outcome.unreadable.kind(), outcome.unreadable.count()), (Some(ErrorKind::Corrupt), 38));
    let text = String::from_utf8(octets).unwrap();
    let want = |n: u32| format!("* {n} FETCH (FLAGS (\\Seen) BODY[TEXT] {{6}}\r\ntext\r\n)\r\n");
    assert_eq!(text, want(1) + &want(40));
    let seen = |msn| site.selected.mailbox.info(msn).unwrap().flags.bits & Flags::SEEN != 0;
    assert_eq!((1..=40).filter(|&msn| seen(msn)).collect::<Vec<_>>(), [1, 40]);
    assert_eq!(site.logged.len(), 11);
    assert!(
        site.logged[0].contains("os error 40") && site.logged[10].starts_with("28 more"),
        "{:?}",
        site.logged
    );
}

#[test]
fn the_reply_says_why() {
    for (kind, code) in [
        (ErrorKind::NoPerm, "NOPERM"),
        (ErrorKind::Corrupt, "CORRUPTION"),
        (ErrorKind::Temp, "UNAVAILABLE"),
        (ErrorKind::Full, "UNAVAILABLE"),
    ] {
        for gone in [false, true] {
            let mut outcome = Outcome { gone, ..Outcome::default() };
            outcome.unreadable.add(StorageError::with_kind(kind, "open", "", "why"));
            let reply = outcome.reply(gone);
            assert_eq!((reply.condition, &*reply.code), (Condition::No, code));
        }
    }
}

#[test]
fn large_messages() {
    let body: String = (0..3000).map(|line| format!("line {line} of many\n")).collect();
    let message = format!(
        "Subject: large\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsmall\n--b\n\n{body}--b--\n"
    );
    let mut site = Site::new("large", &[message.as_bytes()]);
    let wire = message.replace('\n', "\r\n");
    assert_eq!(site.fetch("FETCH 1 BODY.PEEK[]"), format!("* 1 FETCH (BODY[] {})\r\n", literal(&wire)));
    let part = body.replace('\n', "\r\n");
    let part = part.trim_end();
    assert_eq!(site.fetch("FETCH 1 BODY.PEEK[2]"), format!("* 1 FETCH (BODY[2] {})\r\n", literal(part)));
    // In pieces, one after the other and in any order.
    let mut whole = String::new();
    let pieces = part.len().div_ceil(1001);
    for at in 0..pieces {
        let answer = site.fetch(&format!("FETCH 1 BODY.PEEK[2]<{}.1001>", at * 1001));
        let text = answer.split_once("\r\n").unwrap().1;
        whole += text.strip_suffix(")\r\n").unwrap();
        assert!(site.selected.recall.is_of(1));
    }
    assert_eq!(whole, part);
    for at in [30_000usize, 5000, 49_999, 0] {
        let want = literal(&part[at..at + 77]);
        assert_eq!(
            site.fetch(&format!("FETCH 1 BODY.PEEK[2]<{at}.77>")),
            format!("* 1 FETCH (BODY[2]<{at}> {want})\r\n")
        );
        let want = literal(&wire[at..at + 77]);
        assert_eq!(
            site.fetch(&format!("FETCH 1 BODY.PEEK[]<{at}.77>")),
            format!("* 1 FETCH (BODY[]<{at}> {want})\r\n")
        );
    }
}

#[test]
fn a_large_message_is_counted_once() {
    let message = "Subject: large\n\n".to_owned() + &"line\n".repeat(3000);
    let mut site = Site::new("counted", &[b"A: b\n\nx\n"]);
    std::fs::write(site.root.join("cur/1000000009.m9.host:2,"), &message).unwrap();
    site.selected.mailbox.sync(true, &mut |_| {}).unwrap();
    let want = format!("* 2 FETCH (BODY[] {})\r\n", literal(&message.replace('\n', "\r\n")));
    assert_eq!(site.selected.mailbox.info(2).unwrap().octets, None);
    assert_eq!(site.selected.mailbox.cached(2), None);
    assert_eq!(site.fetch("FETCH 2 BODY.PEEK[]"), want);
    let kept = site.selected.mailbox.cached(2).and_then(Digest::decode).map(|digest| digest.octets());
    assert_eq!(kept, Some((message.len() + 3002) as u64));
    assert_eq!(site.fetch("FETCH 2 BODY.PEEK[]"), want);
}

#[test]
fn a_long_header() {
    let header: String = (0..2000).map(|line| format!("X-{line}: value {line}\n")).collect();
    let message = format!("{header}Subject: at the end\nX: {}\n\nbody\n", "y".repeat(10_000));
    let mut site = Site::new("header", &[message.as_bytes()]);
    let wire = message.replace('\n', "\r\n");
    let head = wire.strip_suffix("body\r\n").unwrap();
    assert_eq!(
        site.fetch("FETCH 1 BODY.PEEK[HEADER]"),
        format!("* 1 FETCH (BODY[HEADER] {})\r\n", literal(head))
    );
    assert_eq!(
        site.fetch("FETCH 1 BODY.PEEK[HEADER.FIELDS (X-7 Subject)]"),
        "* 1 FETCH (BODY[HEADER.FIELDS (X-7 Subject)] {37}\r\nX-7: value 7\r\nSubject: at the end\r\n\r\n)\r\n"
    );
    let answer = site.fetch("FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (X-7)]");
    assert!(answer.contains(&"y".repeat(10_000)) && !answer.contains("X-7:"));
}

#[test]
fn a_wrong_size_ends_the_connection_and_is_mended() {
    let message = format!("A: b\n\n{}", "line\n".repeat(2000));
    let mut site = Site::new("size", &[b"A: b\n\nx\n"]);
    // S= and W= in the name of the file are somebody's word.
    let path = site.root.join("cur/1000000009.m9.host,S=10006,W=99999:2,");
    std::fs::write(&path, &message).unwrap();
    site.selected.mailbox.sync(true, &mut |_| {}).unwrap();
    assert_eq!(site.selected.mailbox.info(2).unwrap().octets, Some(99_999));
    let failure = site.try_fetch("FETCH 2 BODY.PEEK[]").err().unwrap();
    assert!(matches!(failure, Failure::Ending(Ending::Failed(_))));
    assert_eq!(site.logged.len(), 1);
    let wire = message.replace('\n', "\r\n");
    assert_eq!(site.fetch("FETCH 2 BODY.PEEK[]"), format!("* 2 FETCH (BODY[] {})\r\n", literal(&wire)));
}

/// Whether a message goes out in one piece or in several is nothing that anybody sees.
#[test]
fn whole_messages_of_any_length() {
    // So that the number of digits as it is sent is another one than that of the file, and neither.
    let lengths = [0, 1, 8, 9, 10, 97, 98, 99, 100, 500, 950, 995, 999, 1000, 1001, 4000, 5000];
    for line in
        ["\n", "text\n", "text\r\n", "a line of some length, as they are in most messages\n", "no end\0"]
    {
        let messages =
            lengths.map(|length| line.repeat(length / line.len() + 1).into_bytes()[..length].to_vec());
        let messages: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
        let mut site = Site::new("whole", &messages);
        for item in [
            "BODY.PEEK[]",
            "(UID BODY.PEEK[])",
            "(RFC822.SIZE BODY.PEEK[] FLAGS)",
            "(BODY.PEEK[] BODY.PEEK[9])",
        ] {
            let (got, _) = site.try_fetch(&format!("FETCH 1:* {item}")).unwrap();
            let mut want = Vec::new();
            for (at, message) in messages.iter().enumerate() {
                let sent =
                    String::from_utf8(message.to_vec()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n");
                let sent: Vec<u8> = sent.bytes().map(|octet| if octet == 0 { 0x80 } else { octet }).collect();
                let (msn, size) = (at + 1, sent.len());
                let before = match item {
                    "(UID BODY.PEEK[])" => format!("UID {msn} "),
                    "(RFC822.SIZE BODY.PEEK[] FLAGS)" => format!("RFC822.SIZE {size} FLAGS () "),
                    _ => String::new(),
                };
                want.extend_from_slice(format!("* {msn} FETCH ({before}BODY[] {{{size}}}\r\n").as_bytes());
                want.extend_from_slice(&sent);
                want.extend_from_slice(if item.contains("[9]") { b" BODY[9] NIL)\r\n" } else { b")\r\n" });
            }
            let differs = got.iter().zip(&want).position(|(got, want)| got != want);
            assert!(got == want, "{item} {line:?}: at {differs:?}, {} of {}", got.len(), want.len());
        }
    }
}

#[test]
fn a_message_without_end_is_left_when_the_client_is_gone() {
    let mut site = Site::new("endless", &[b"A: b\n\nx\n"]);
    let file = std::fs::File::create(site.root.join("cur/1000000009.m9.host:2,")).unwrap();
    // Holes: nothing on the disk, and hours to read.
    file.set_len(1 << 42).unwrap();
    site.selected.mailbox.sync(true, &mut |_| {}).unwrap();
    site.is_gone = true;
    let items = [
        "RFC822.SIZE",
        "BODYSTRUCTURE",
        "BODY.PEEK[]",
        "BODY.PEEK[HEADER]",
        "BODY.PEEK[1]",
        "BODY.PEEK[]<9999999999.9>",
    ];
    for items in items {
        let fetched = site.try_fetch(&format!("FETCH 1:2 {items}"));
        assert!(matches!(fetched, Err(Failure::Ending(Ending::Disconnected))), "{items}");
    }
    assert_eq!(site.logged, Vec::<String>::new());
}
