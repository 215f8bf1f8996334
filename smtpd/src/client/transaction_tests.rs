use super::super::testing::{envelope, talk, talk_in_pieces};
use super::*;
use crate::envelope::{Notify, Ret};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";
const PLAIN: [&str; 2] = ["220 mx.test ESMTP", "250 mx.test"];
const PIPELINING: [&str; 3] = ["220 mx.test ESMTP", "250-mx.test", "250 PIPELINING"];

/// What became of the recipients, and what was said after EHLO.
fn send(script: &[&str], envelope: &Envelope) -> (Vec<Outcome>, String) {
    let everybody: Vec<usize> = (0..envelope.recipients.len()).collect();
    let mut outcomes = Vec::new();
    let said = talk(script, |connection| {
        let mut connection = connection.unwrap();
        outcomes = connection.send(envelope, &everybody, &mut &*MESSAGE, MESSAGE.len() as u64, envelope.body);
        connection.quit();
    });
    outcomes.sort_by_key(|outcome| outcome.recipient);
    (outcomes, said.strip_prefix("EHLO me.test\n").unwrap_or(&said).to_owned())
}

fn codes(outcomes: &[Outcome]) -> Vec<(u16, String)> {
    outcomes.iter().map(|outcome| (outcome.status.code, outcome.status.enhanced.to_string())).collect()
}

fn code(code: u16, enhanced: &str) -> (u16, String) {
    (code, enhanced.to_owned())
}

fn script<'a>(greeting: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [greeting, rest].concat()
}

#[test]
fn one_recipient_without_pipelining() {
    let rest = ["250 Ok", "250 Ok", "354 Go", "250 2.0.0 Ok: queued as 4711"];
    let (outcomes, said) = send(&script(&PLAIN, &rest), &envelope(&["a@b.test"]));
    assert_eq!(said, "MAIL FROM:<from@me.test>\nRCPT TO:<a@b.test>\nDATA\nSubject: x\n\n..dot\n.\nQUIT\n");
    let want = Outcome {
        recipient: 0,
        status: Status::new(250, Enhanced(2, 0, 0), "Ok: queued as 4711"),
        relayed: true,
        diagnostic: Some("250 2.0.0 Ok: queued as 4711".to_owned()),
        unsure: false,
    };
    assert_eq!(outcomes, [want]);
}

#[test]
fn what_a_server_takes() {
    use crate::recode::To;
    for (offers, plain, binary) in [
        ("250 mx.test", Some(To::SevenBits), Some(To::SevenBits)),
        ("250-mx.test\r\n250 8BITMIME", None, Some(To::Lines)),
        ("250-mx.test\r\n250-8BITMIME\r\n250 CHUNKING", None, Some(To::Lines)),
        ("250-mx.test\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 BINARYMIME", None, None),
    ] {
        let script: Vec<&str> = ["220 mx.test"].into_iter().chain(offers.split("\r\n")).collect();
        talk(&script, |connection| {
            let connection = connection.unwrap();
            for (body, want) in
                [(Body::SevenBit, None), (Body::EightBitMime, plain), (Body::BinaryMime, binary)]
            {
                assert_eq!(connection.recoding(body), want, "{body:?} {offers}");
            }
            connection.quit();
        });
    }
}

#[test]
fn recipients_are_judged_one_by_one() {
    for greeting in [&PLAIN[..], &PIPELINING] {
        let rest = ["250 Ok", "250 Ok", "550 5.1.1 No", "452 4.2.2 Full", "552 Too many", "354 Go", "250 Ok"];
        let (outcomes, said) =
            send(&script(greeting, &rest), &envelope(&["a@b.test", "c@b.test", "d@b.test", "e@b.test"]));
        assert!(said.ends_with("DATA\nSubject: x\n\n..dot\n.\nQUIT\n"), "{said}");
        let want = [code(250, "2.0.0"), code(550, "5.1.1"), code(452, "4.2.2"), code(452, "4.5.3")];
        assert_eq!(codes(&outcomes), want);
        assert_eq!(outcomes[1].status.text, "host mx.test said: 550 5.1.1 No (in reply to RCPT TO)");
    }
}

#[test]
fn what_a_552_is_about_is_kept() {
    for (reply, want) in [
        ("552 Full", "4.5.3"),
        ("552 5.5.3 Many", "4.5.3"),
        ("552 5.2.2 Full", "4.2.2"),
        ("552 4.2.2 x", "4.5.3"),
    ] {
        let (outcomes, _) = send(&script(&PLAIN, &["250 Ok", reply]), &envelope(&["a@b.test"]));
        assert_eq!(codes(&outcomes), [code(452, want)], "{reply}");
    }
}

#[test]
fn a_refused_sender_is_everybodys() {
    for (greeting, rest, said_want) in [
        (&PLAIN[..], &["550 5.7.1 No"][..], "MAIL FROM:<from@me.test>\nQUIT\n"),
        (
            &PIPELINING,
            &["550 5.7.1 No", "503 First MAIL", "503 First MAIL", "503 First MAIL"],
            "MAIL FROM:<from@me.test>\nRCPT TO:<a@b.test>\nRCPT TO:<c@b.test>\nDATA\nQUIT\n",
        ),
        // It goes on nevertheless: nothing is sent but the end.
        (
            &PIPELINING,
            &["550 5.7.1 No", "250 Ok", "250 Ok", "354 Go", "250 Ok"],
            "MAIL FROM:<from@me.test>\nRCPT TO:<a@b.test>\nRCPT TO:<c@b.test>\nDATA\n.\nQUIT\n",
        ),
        // It hangs up.
        (
            &PIPELINING,
            &["550 5.7.1 No"],
            "MAIL FROM:<from@me.test>\nRCPT TO:<a@b.test>\nRCPT TO:<c@b.test>\nDATA\n",
        ),
    ] {
        let (outcomes, said) = send(&script(greeting, rest), &envelope(&["a@b.test", "c@b.test"]));
        assert_eq!(said, said_want, "{rest:?}");
        assert_eq!(codes(&outcomes), [code(550, "5.7.1"), code(550, "5.7.1")], "{rest:?}");
        assert!(outcomes[0].status.text.ends_with("(in reply to MAIL FROM)"));
    }
}

#[test]
fn nobody_is_left() {
    for (rest, said_want) in [
        (&["250 Ok", "550 No", "554 No valid recipients"][..], "DATA\nQUIT\n"),
        (&["250 Ok", "550 No", "354 Go", "250 Ok"], "DATA\n.\nQUIT\n"),
        (&["250 Ok", "550 No"], "DATA\n"),
    ] {
        let (outcomes, said) = send(&script(&PIPELINING, rest), &envelope(&["a@b.test"]));
        assert_eq!(codes(&outcomes), [code(550, "5.0.0")], "{rest:?}");
        assert!(said.ends_with(said_want), "{said}");
    }
    let (outcomes, said) = send(&script(&PLAIN, &["250 Ok", "450 No"]), &envelope(&["a@b.test"]));
    assert_eq!(codes(&outcomes), [code(450, "4.0.0")]);
    assert!(said.ends_with("RCPT TO:<a@b.test>\nQUIT\n"), "{said}");
}

#[test]
fn broken_conversations() {
    for (rest, want, text) in [
        (
            &[][..],
            code(421, "4.4.2"),
            "lost connection with mx.test while waiting for the reply to MAIL FROM",
        ),
        (
            &["250 Ok"],
            code(421, "4.4.2"),
            "lost connection with mx.test while waiting for the reply to RCPT TO",
        ),
        (&["421 4.3.2 Bye"], code(421, "4.3.2"), "host mx.test said: 421 4.3.2 Bye (in reply to MAIL FROM)"),
        (&["250 Ok", "421 Bye"], code(421, "4.0.0"), "host mx.test said: 421 Bye (in reply to RCPT TO)"),
        (&["250 Ok", "250 Ok", "554 No"], code(554, "5.0.0"), "host mx.test said: 554 No (in reply to DATA)"),
        (
            &["250 Ok", "250 Ok", "250 Odd"],
            code(451, "4.0.0"),
            "host mx.test said: 250 Odd (in reply to DATA)",
        ),
        (
            &["250-a", "251 b"],
            code(451, "4.5.0"),
            "protocol error: the lines of its reply have different codes with mx.test while waiting for the reply to MAIL FROM",
        ),
        (
            &["junk"],
            code(451, "4.5.0"),
            "protocol error: what it said is no reply with mx.test while waiting for the reply to MAIL FROM",
        ),
        (
            &["250 Ok", "250 Ok", "354 Go"],
            code(421, "4.4.2"),
            "lost connection with mx.test while waiting for the reply to end of DATA command -- message may be sent more than once",
        ),
        (
            &["250 Ok", "250 Ok", "354 Go", "354 Odd"],
            code(451, "4.0.0"),
            "host mx.test said: 354 Odd (in reply to end of DATA command)",
        ),
        (
            &["250 Ok", "250 Ok", "354 Go", "552 5.3.4 Too big"],
            code(552, "5.3.4"),
            "host mx.test said: 552 5.3.4 Too big (in reply to end of DATA command)",
        ),
    ] {
        for greeting in [&PLAIN[..], &PIPELINING] {
            let (outcomes, _) = send(&script(greeting, rest), &envelope(&["a@b.test"]));
            assert_eq!((&codes(&outcomes)[0], &*outcomes[0].status.text), (&want, text));
            assert_eq!(outcomes[0].unsure, text.ends_with("sent more than once"), "{text}");
        }
    }
}

#[test]
fn the_next_message_begins_with_rset_where_one_was_not_ended() {
    let replies =
        ["250 Ok", "550 No", "554 No", "250 Reset", "250 Ok", "250 Ok", "354 Go", "250 Ok", "250 Ok"];
    let rest = [&replies[..], &["250 Ok", "354 Go", "250 Ok"]].concat();
    let mut codes = Vec::new();
    let said = talk(&script(&PIPELINING, &rest), |connection| {
        let mut connection = connection.unwrap();
        for _ in 0..3 {
            let outcomes =
                connection.send(&envelope(&["a@b.test"]), &[0], &mut &b"x\r\n"[..], 3, Body::SevenBit);
            codes.push(outcomes[0].status.code);
        }
        connection.quit();
    });
    let transaction = "MAIL FROM:<from@me.test>\nRCPT TO:<a@b.test>\nDATA\n";
    let want = format!("EHLO me.test\n{transaction}RSET\n{transaction}x\n.\n{transaction}x\n.\nQUIT\n");
    assert_eq!((said, codes), (want, vec![550, 250, 250]));
}

#[test]
fn many_recipients_go_in_groups() {
    let names: Vec<String> = (0..150).map(|n| format!("u{n}@b.test")).collect();
    let envelope = envelope(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let rest = [vec!["250 Ok"; 151], vec!["354 Go", "250 Ok"]].concat();
    let (outcomes, said) = send(&script(&PIPELINING, &rest), &envelope);
    assert!(outcomes.len() == 150 && outcomes.iter().all(|outcome| outcome.status.code == 250));
    assert_eq!(said.lines().filter(|line| line.starts_with("RCPT")).count(), 150);
    assert_eq!(said.lines().filter(|line| *line == "DATA").count(), 1);
}

#[test]
fn extensions_are_used() {
    let mut envelope = envelope(&["a@b.test", "c@b.test"]);
    envelope.body = Body::EightBitMime;
    envelope.ret = Some(Ret::Headers);
    envelope.envid = Some("QQ+2B1".to_owned());
    envelope.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
    envelope.recipients[0].orcpt = Some("rfc822;a@b.test".to_owned());
    envelope.recipients[1].notify = Some(Notify::NEVER);
    envelope.recipients[1].orcpt = Some("rfc822;x\r\nRSET".to_owned());
    let greeting = ["220 x", "250-x", "250-DSN", "250-8bitmime", "250-SMTPUTF8", "250 SIZE 1000"];
    let rest = ["250 Ok", "250 Ok", "250 Ok", "354 Go", "250 Ok"];
    let (outcomes, said) = send(&script(&greeting, &rest), &envelope);
    let want = "MAIL FROM:<from@me.test> SIZE=20 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1\n\
                RCPT TO:<a@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b.test\nRCPT TO:<c@b.test> NOTIFY=NEVER\n";
    assert!(said.starts_with(want), "{said}");
    assert!(outcomes.iter().all(|outcome| !outcome.relayed));

    // RFC 3461 section 5.2.7.1: what a list sends on has another sender, who asked for nothing.
    let mut list = envelope.clone();
    list.recipients.truncate(1);
    list.recipients[0].owner = Some(Address::parse(b"owner-list@me.test").unwrap());
    let (_, said) = send(&script(&greeting, &["250 Ok", "250 Ok", "354 Go", "250 Ok"]), &list);
    assert!(said.starts_with("MAIL FROM:<owner-list@me.test> SIZE=20 BODY=8BITMIME\n"), "{said}");

    let (outcomes, said) = send(&["220 x", "250-x", "250 SIZE 19"], &envelope);
    assert_eq!((codes(&outcomes)[0].clone(), &*said), (code(552, "5.3.4"), "QUIT\n"));
}

#[test]
fn utf8_goes_only_where_it_is_taken() {
    let rest = ["250 Ok", "250 Ok", "354 Go", "250 Ok"];
    let both = envelope(&["gr\u{fc}n@b.test", "a@b.test"]);
    let (outcomes, said) = send(&script(&PLAIN, &rest), &both);
    assert_eq!(codes(&outcomes), [code(553, "5.6.7"), code(250, "2.0.0")]);
    assert!(said.contains("RCPT TO:<a@b.test>\n") && !said.contains("SMTPUTF8"));

    let greeting = ["220 x", "250-x", "250 SMTPUTF8"];
    let (outcomes, said) =
        send(&script(&greeting, &["250 Ok", "250 Ok", "250 Ok", "354 Go", "250 Ok"]), &both);
    assert!(outcomes.iter().all(|outcome| outcome.status.is_positive()));
    assert!(said.starts_with("MAIL FROM:<from@me.test> SMTPUTF8\nRCPT TO:<gr\u{fc}n@b.test>\n"), "{said}");

    let mut header = envelope(&["a@b.test"]);
    header.smtputf8 = true;
    let message = "Subject: \u{fc}\r\n\r\n".as_bytes();
    let mut outcomes = Vec::new();
    talk(&PLAIN, |connection| {
        outcomes = connection.unwrap().send(&header, &[0], &mut &*message, message.len() as u64, header.body);
    });
    assert_eq!(codes(&outcomes), [code(550, "5.6.7")]);
    // An ASCII header needs nothing.
    assert_eq!(codes(&send(&script(&PLAIN, &rest), &header).0), [code(250, "2.0.0")]);
    let mut sender = envelope(&["a@b.test"]);
    sender.reverse_path = Some(super::super::testing::address("\u{fc}@me.test"));
    assert_eq!(codes(&send(&PLAIN, &sender).0), [code(550, "5.6.7")]);
}

#[test]
fn binary_goes_in_a_chunk_or_not_at_all() {
    let mut binary = envelope(&["a@b.test"]);
    binary.body = Body::BinaryMime;
    assert_eq!(codes(&send(&PLAIN, &binary).0), [code(554, "5.6.3")]);
    let message = b"Subject: x\r\n\r\n.\n\r\0.";
    let greeting = ["220 x", "250-x", "250-CHUNKING", "250-PIPELINING", "250 BINARYMIME"];
    let mut outcomes = Vec::new();
    let said =
        talk_in_pieces(&script(&greeting, &["250 Ok", "250 Ok", "250 Ok"]), usize::MAX, |connection| {
            outcomes =
                connection.unwrap().send(&binary, &[0], &mut &message[..], message.len() as u64, binary.body);
        });
    assert_eq!(codes(&outcomes), [code(250, "2.0.0")]);
    assert!(
        said.ends_with("BODY=BINARYMIME\r\nRCPT TO:<a@b.test>\r\nBDAT 19 LAST\r\nSubject: x\r\n\r\n.\n\r\0."),
        "{said:?}"
    );
}

#[test]
fn a_message_that_is_not_whole_is_not_ended() {
    let rest = ["250 Ok", "250 Ok", "354 Go", "250 Ok"];
    for size in [MESSAGE.len() as u64 - 1, MESSAGE.len() as u64 + 1] {
        let mut outcomes = Vec::new();
        let said = talk(&script(&PLAIN, &rest), |connection| {
            let mut connection = connection.unwrap();
            outcomes = connection.send(&envelope(&["a@b.test"]), &[0], &mut &*MESSAGE, size, Body::SevenBit);
            assert!(!connection.is_open());
        });
        assert_eq!(codes(&outcomes), [code(451, "4.3.0")]);
        assert!(!said.contains("\n.\n"), "{said}");
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let mut outcomes = Vec::new();
    let said = talk(&PLAIN, |connection| {
        outcomes = connection.unwrap().send(&envelope(&["a@b.test"]), &[0], &mut Broken, 20, Body::SevenBit);
    });
    assert_eq!((codes(&outcomes), &*said), (vec![code(451, "4.3.0")], "EHLO me.test\n"));
}

#[test]
fn replies_may_come_in_pieces() {
    let rest = ["250-Ok", "250 Ok", "250 Ok", "354 Go", "250-2.0.0 a", "250 2.0.0 b"];
    for piece in [1, 2, 3, 7] {
        let mut outcomes = Vec::new();
        talk_in_pieces(&script(&PIPELINING, &rest), piece, |connection| {
            outcomes =
                connection.unwrap().send(&envelope(&["a@b.test"]), &[0], &mut &*MESSAGE, 20, Body::SevenBit);
        });
        assert_eq!(outcomes[0].status, Status::new(250, Enhanced(2, 0, 0), "a b"));
    }
}

#[test]
fn greetings() {
    for (script, want, said_want) in [
        (&["220 x", "250 x"][..], None, "EHLO me.test\n"),
        (&["220 x", "502 ?", "250 x"], None, "EHLO me.test\nHELO me.test\n"),
        (&["220 x", "502 ?", "550 No"], Some(code(550, "5.0.0")), "EHLO me.test\nHELO me.test\nQUIT\n"),
        (&["220 x", "450 4.7.1 Later"], Some(code(450, "4.7.1")), "EHLO me.test\nQUIT\n"),
        (&["554 5.7.1 No service"], Some(code(451, "4.7.1")), "QUIT\n"),
        (&["421 Busy"], Some(code(421, "4.0.0")), ""),
        (&[], Some(code(421, "4.4.2")), ""),
        (&["220-x", "HTTP"], Some(code(451, "4.5.0")), "QUIT\n"),
    ] {
        let mut got = None;
        let said = talk(script, |connection| {
            got = connection.err().map(|status| (status.code, status.enhanced.to_string()));
        });
        assert_eq!((got, &*said), (want, said_want), "{script:?}");
    }
    let long = "x".repeat(3000);
    let mut got = None;
    talk(&["220 x", &format!("250 {long}")], |connection| got = connection.err());
    assert_eq!(got.map(|status| status.code), Some(451));
}

#[test]
fn a_server_that_takes_its_time_with_everything_is_left() {
    use std::io::Write;
    let (ours, theirs) = common::sys::fd::socketpair().unwrap();
    let mut server = std::fs::File::from(theirs);
    let slow = std::thread::spawn(move || {
        let _ = server.write_all(b"220 mx.test\r\n250 mx.test\r\n");
        // An octet at a time, each answer well within its own time.
        for octet in b"250 Ok\r\n".repeat(400) {
            std::thread::sleep(Duration::from_millis(10));
            if server.write_all(&[octet]).is_err() {
                break;
            }
        }
    });
    let second = Duration::from_millis(700);
    let config = common::config::Config {
        smtp_helo_name: "me.test".into(),
        smtp_rset_timeout: Duration::ZERO,
        smtp_mail_timeout: second,
        smtp_rcpt_timeout: second,
        smtp_data_init_timeout: Duration::ZERO,
        smtp_data_xfer_timeout: Duration::ZERO,
        smtp_data_done_timeout: Duration::ZERO,
        ..common::config::Config::DEFAULT
    };
    let stream = super::super::stream::Stream::new(ours).unwrap();
    let remote = super::super::Remote { name: "mx.test".to_owned(), address: None };
    let client = super::super::Client::new(&config);
    let mut connection = super::super::testing::open(&client, stream, remote, None).unwrap();
    let names: Vec<String> = (0..90).map(|n| format!("u{n}@b.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (envelope, begun) = (envelope(&names), std::time::Instant::now());
    let everybody: Vec<usize> = (0..90).collect();
    let outcomes =
        connection.send(&envelope, &everybody, &mut &*MESSAGE, MESSAGE.len() as u64, envelope.body);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(
        outcomes.len() == 90 && outcomes.iter().all(|outcome| outcome.status.code == 421),
        "{outcomes:?}"
    );
    assert!(!connection.is_open());
    drop(connection);
    slow.join().unwrap();
}
