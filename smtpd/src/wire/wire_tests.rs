use super::job::{Commands, Deliver, Job, Outcome, Queue, Submission, Written};
use super::*;
use crate::envelope::{Envelope, Recipient, Target};
use common::auth::Account;
use proptest::prelude::*;

fn address(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

fn questions() -> Vec<Question> {
    let mail = Mail {
        helo: "a.example".into(),
        with: With { lmtp: false, esmtp: true, utf8: true, tls: true, login: false },
        tls: "TLSv1.3".into(),
        path: Some(ForwardPath::Mailbox(address("\"a b\"@c.example"))),
        size: Some(7),
        body: Body::BinaryMime,
        ret: Some(Ret::Headers),
        envid: Some("x+2By".into()),
    };
    let notify = Some(Notify { success: true, failure: false, delay: true });
    vec![
        Question::Hello,
        Question::Begun,
        Question::Mail(Box::new(Mail { path: None, size: None, ret: None, envid: None, ..mail.clone() })),
        Question::Mail(Box::new(Mail { path: Some(ForwardPath::Local("root".into())), ..mail.clone() })),
        Question::Mail(Box::new(mail.clone())),
        Question::Rcpt {
            mail: Some(Box::new(mail)),
            path: ForwardPath::Mailbox(address("a@b")),
            orcpt: Some("rfc822;a@b".into()),
            notify,
            more: true,
        },
        Question::Rcpt {
            mail: None,
            path: ForwardPath::Local("postmaster".into()),
            orcpt: None,
            notify: None,
            more: false,
        },
        Question::Rcpt {
            mail: None,
            path: ForwardPath::Local("a".into()),
            orcpt: None,
            notify: Some(Notify { success: false, failure: false, delay: false }),
            more: false,
        },
        Question::Data,
        Question::Overdue,
        Question::Next,
        Question::Vrfy("joe".into()),
        Question::Xclient(Attributes {
            name: Some("a".into()),
            address: Some(Some("192.0.2.1".parse().unwrap())),
            port: Some(1),
            helo: Some("h".into()),
            esmtp: Some(true),
            login: Some(String::new()),
            local_address: Some("::1".parse().unwrap()),
            local_port: Some(25),
        }),
        Question::Xclient(Attributes { address: Some(None), esmtp: Some(false), ..Attributes::default() }),
        Question::Note(Note::Pipelining, "DATA x".into()),
        Question::Note(Note::Tls, "TLSv1.3".into()),
    ]
}

#[test]
fn a_front_cannot_send_what_its_grammar_forbids() {
    let mail = |change: &dyn Fn(&mut Mail)| {
        let mut mail = questions().into_iter().find_map(|question| match question {
            Question::Mail(mail) => Some(mail),
            _ => None,
        });
        mail.as_mut().into_iter().for_each(|mail| change(mail));
        Question::Mail(mail.unwrap())
    };
    let rcpt = |orcpt: &str| Question::Rcpt {
        mail: None,
        path: ForwardPath::Local("a".into()),
        orcpt: Some(orcpt.into()),
        notify: None,
        more: false,
    };
    let long = "x".repeat(5000);
    for bad in ["", "a b", "a\r\nRCPT TO:<b@c>", "a\0", "a+0D", "a+zz", "a=b", "\u{e9}", &long[..101]] {
        assert_eq!(Question::decode(&mail(&|mail| mail.envid = Some(bad.into())).encode()), None, "{bad:?}");
    }
    for bad in [
        "",
        "rfc822",
        ";a",
        "rfc822;",
        "rfc822;a b",
        "rfc822;a\r\nDATA",
        "rfc822;a+0A",
        "r c;a",
        "utf-8;a\u{85}",
    ] {
        assert_eq!(Question::decode(&rcpt(bad).encode()), None, "{bad:?}");
    }
    assert_eq!(Question::decode(&rcpt(&format!("rfc822;{}", &long[..500])).encode()), None);
    for bad in ["a\r\nX: y", "\0", &long] {
        assert_eq!(Question::decode(&mail(&|mail| mail.helo = bad.into()).encode()), None, "{bad:.20}");
        assert_eq!(Question::decode(&mail(&|mail| mail.tls = bad.into()).encode()), None, "{bad:.20}");
        let attributes = Attributes { helo: Some(bad.into()), ..Attributes::default() };
        assert_eq!(Question::decode(&Question::Xclient(attributes).encode()), None, "{bad:.20}");
    }
}

fn recipients() -> Vec<Recipient> {
    let recipient = |target| Recipient {
        address: address("a@b"),
        original: address("c@d"),
        orcpt: Some("rfc822;c@d".into()),
        notify: None,
        owner: Some(address("owner-c@d")),
        target,
    };
    vec![
        recipient(Target::Remote(address("a@b"))),
        recipient(Target::Mailbox { user: "a".into(), extension: "x".into(), direct: true }),
        recipient(Target::File { path: "/x/".into(), owner: None }),
        recipient(Target::Command { words: vec!["/bin/x".into(), String::new()], owner: Some("a".into()) }),
        recipient(Target::Expanded { list: false }),
        recipient(Target::Expanded { list: true }),
        Recipient { orcpt: None, owner: None, ..recipient(Target::Remote(address("a@b"))) },
    ]
}

fn jobs() -> Vec<Job> {
    let account = Account {
        name: "a".into(),
        uid: 1000,
        gid: 100,
        groups: vec![],
        home: "/home/a".into(),
        mail: Some("maildir:/x".into()),
        master: None,
    };
    let submission = Some(Submission { from: "<a@b>".into(), domain: "b".into() });
    let envelope = Envelope {
        reverse_path: Some(address("s@t")),
        envid: Some("e".into()),
        ret: None,
        body: Body::EightBitMime,
        smtputf8: true,
        sender_login: Some("s".into()),
        recipients: recipients(),
    };
    vec![
        Job::Deliver(Box::new(Deliver {
            account,
            recipient: recipients().remove(1),
            reverse_path: None,
            received: "Received: from x\r\n".into(),
            is_binary: true,
            submission: submission.clone(),
            spooled: true,
            token: Some(*b"a secret"),
        })),
        Job::Queue(Box::new(Queue {
            envelope,
            received: "id \0".into(),
            from: "client=x".into(),
            submission: None,
            spooled: false,
        })),
        Job::Spool,
        Job::Withdraw,
        Job::Refuse,
    ]
}

fn answers() -> Vec<Answer> {
    let welcome = Welcome {
        banner: "a ESMTP".into(),
        host: "a".into(),
        xclient: true,
        normalize: false,
        trusted_way: true,
        logged_in: false,
    };
    vec![
        Answer::Go,
        Answer::Promise(Promise { token: [7; 8], status: Status::new(250, Enhanced(2, 0, 0), "Ok") }),
        Answer::Ahead(
            Status::new(250, Enhanced(2, 1, 5), "Ok"),
            Promise { token: [8; 8], status: Status::new(250, Enhanced(2, 0, 0), "Ok") },
        ),
        Answer::Welcome(welcome),
        Answer::Status(Status::new(452, Enhanced(4, 300, 1), "No space")),
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Ready,
        Outcome::Forward(vec!["a@b".into(), "|x".into()]),
        Outcome::Refused(crate::reply::DISK_FULL.into()),
        Outcome::Written(Written { name: "id".into(), octets: 7, message_id: "a@b".into() }),
        Outcome::Discarded("id".into()),
        Outcome::Failed(crate::reply::LOCAL_PROBLEM.into()),
        Outcome::Abandoned,
    ]
}

#[test]
fn everything_survives_the_way_and_nothing_that_was_cut() {
    for question in questions() {
        let octets = question.encode();
        assert_eq!(Question::decode(&octets), Some(question.clone()));
        (5..octets.len()).for_each(|cut| assert_eq!(Question::decode(&octets[..cut]), None, "{question:?}"));
    }
    for answer in answers() {
        let octets = answer.encode();
        assert_eq!(Answer::decode(&octets), Some(answer.clone()));
        (5..octets.len()).for_each(|cut| assert_eq!(Answer::decode(&octets[..cut]), None, "{answer:?}"));
    }
    for job in jobs() {
        let octets = job.encode();
        assert_eq!(Job::decode(&octets), Some(job.clone()));
        (5..octets.len()).for_each(|cut| assert_eq!(Job::decode(&octets[..cut]), None, "{job:?}"));
    }
    for outcome in outcomes() {
        assert_eq!(Outcome::decode(&outcome.encode()), Some(outcome));
    }
}

#[test]
fn what_no_front_of_ours_would_send_is_not_understood() {
    let field = |text: &[u8]| Writer::new(7).field(text).finish();
    assert!(Question::decode(&field(b"joe")).is_some());
    assert_eq!(Question::decode(&field(b"\xff")), None);
    assert_eq!(Question::decode(&Writer::new(99).finish()), None);
    assert_eq!(Question::decode(b""), None);
    // An address that is none, a status that cannot be said.
    let rcpt = |path: &[u8]| {
        let writer = Writer::new(3).field(b"m").field(path).field(&[0]).field(b"");
        writer.field(&[0]).field(&[0]).field(&[0]).finish()
    };
    assert!(Question::decode(&rcpt(b"a@b")).is_some());
    assert_eq!(Question::decode(&rcpt(b"a@b\r\nDATA")), None);
    let status = Status::new(250, Enhanced(2, 0, 0), "a\r\n250 b");
    assert_eq!(Answer::decode(&Answer::Status(status).encode()), None);
    assert_eq!(Answer::decode(&Answer::Status(Status::new(99, Enhanced(2, 0, 0), "")).encode()), None);
}

#[test]
fn messages_pass_through_a_socket() {
    let pair = || {
        let (ours, theirs) = common::sys::fd::socketpair().unwrap();
        let patience = std::time::Duration::from_secs(5);
        (Commands::new(ours, Some(patience)).unwrap(), Commands::new(theirs, Some(patience)).unwrap())
    };
    let (ours, mut theirs) = pair();
    for job in jobs() {
        ours.send(&job.encode()).unwrap();
        assert_eq!(Job::decode(&theirs.receive().unwrap().unwrap()), Some(job));
    }
    // Several in a row, and one that does not come at once.
    let together = outcomes().iter().flat_map(Outcome::encode).chain(vec![4, 0, 0]).collect::<Vec<u8>>();
    ours.send(&together).unwrap();
    for outcome in outcomes() {
        assert_eq!(Outcome::decode(&theirs.receive().unwrap().unwrap()), Some(outcome));
    }
    let sender = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let written = Written { name: "x".repeat(5000), octets: 7, message_id: String::new() };
        let long = Outcome::Written(written).encode();
        ours.send(&long[3..]).unwrap();
        ours
    });
    assert!(Outcome::decode(&theirs.receive().unwrap().unwrap()).is_some());
    let ours = sender.join().unwrap();
    theirs.set_patience(std::time::Duration::from_secs(1)).unwrap();
    assert_eq!(theirs.receive().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    drop(ours);
    assert_eq!(theirs.receive().unwrap(), None);
    let (ours, mut theirs) = pair();
    ours.send(&[1, 255, 255, 255, 255]).unwrap();
    assert!(theirs.receive().is_err());
}

proptest! {
    #[test]
    fn nothing_panics(kind in 0u8..12, body in proptest::collection::vec(any::<u8>(), 0..80)) {
        let message = [&[kind, 0, 0, 0, 0][..], &body].concat();
        let _ = (Question::decode(&message), Answer::decode(&message));
        let _ = (Job::decode(&message), Outcome::decode(&message));
    }
}
