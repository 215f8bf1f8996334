//! Every command of SMTP in every state: the code of the reply, and whether a message can still be sent afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tinmail_tests::client::Client;
use tinmail_tests::{Place, Server, program};

/// How a client comes into each state, and its name.
const STATES: [(&str, &[&str]); 6] = [
    ("connected", &[]),
    ("helo", &["HELO a"]),
    ("ehlo", &["EHLO a"]),
    ("mail", &["EHLO a", "MAIL FROM:<>"]),
    ("rcpt", &["EHLO a", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"]),
    ("bdat", &["EHLO a", "MAIL FROM:<>", "RCPT TO:<alice@example.org>", "BDAT 3\r\nabc"]),
];

/// A command, and the reply's code in each state. 354 is followed by a message.
const COMMANDS: [(&str, [&str; 6]); 27] = [
    ("HELO b", ["250", "250", "250", "250", "250", "250"]),
    ("EHLO b", ["250", "250", "250", "250", "250", "250"]),
    ("LHLO b", ["500", "500", "500", "500", "500", "500"]),
    ("HELO", ["501", "501", "501", "501", "501", "501"]),
    ("MAIL FROM:<a@b.example>", ["503", "250", "250", "503", "503", "503"]),
    ("MAIL FROM:<a@b.example> SIZE=1", ["503", "555", "250", "503", "503", "503"]),
    ("MAIL FROM:<a@b.example> FOO=1", ["555", "555", "555", "555", "555", "555"]),
    ("MAIL FROM:a", ["501", "501", "501", "501", "501", "501"]),
    ("RCPT TO:<alice@example.org>", ["503", "503", "503", "250", "250", "503"]),
    ("RCPT TO:<alice@example.org> NOTIFY=NEVER", ["503", "503", "503", "250", "250", "503"]),
    ("RCPT TO:<nobody@example.org>", ["503", "503", "503", "550", "550", "503"]),
    ("RCPT TO:<>", ["501", "501", "501", "501", "501", "501"]),
    ("DATA", ["503", "503", "503", "503", "354", "503"]),
    ("DATA now", ["501", "501", "501", "501", "501", "501"]),
    ("BDAT 0 LAST", ["503", "503", "503", "503", "250", "250"]),
    ("BDAT x", ["501", "501", "501", "501", "501", "501"]),
    ("RSET", ["250", "250", "250", "250", "250", "250"]),
    ("NOOP", ["250", "250", "250", "250", "250", "250"]),
    ("HELP", ["214", "214", "214", "214", "214", "214"]),
    ("VRFY a", ["252", "252", "252", "252", "252", "252"]),
    ("EXPN a", ["502", "502", "502", "502", "502", "502"]),
    ("ETRN a", ["502", "502", "502", "502", "502", "502"]),
    ("STARTTLS", ["502", "502", "502", "502", "502", "502"]),
    ("AUTH PLAIN AGFsaWNlAHNlY3JldA==", ["503", "503", "235", "503", "503", "503"]),
    ("XCLIENT NAME=a", ["550", "550", "550", "550", "550", "550"]),
    ("FOO", ["500", "500", "500", "500", "500", "500"]),
    ("QUIT", ["221", "221", "221", "221", "221", "221"]),
];

/// The last line of the reply to a command.
fn say(client: &mut Client, command: &str) -> String {
    client.send(if command.contains('\n') { command.to_owned() } else { format!("{command}\r\n") });
    reply(client)
}

fn reply(client: &mut Client) -> String {
    loop {
        let line = client.line();
        if line.as_bytes().get(3) != Some(&b'-') {
            return line;
        }
    }
}

fn server(place: &Place) -> Server {
    let queue = format!("queue_directory={}", place.path().join("queue").display());
    Server::login(place)
        .program(program::smtpd())
        .set("myhostname=mx.example.org")
        .set("mydestination=example.org")
        .set("smtpd_sasl_auth_enable=yes")
        .set(&queue)
}

#[test]
fn every_command_in_every_state() {
    let mut wrong = Vec::new();
    for (at, (state, way)) in STATES.iter().enumerate() {
        for (command, codes) in &COMMANDS {
            let place = Place::new();
            let mut client = server(&place).start();
            assert!(reply(&mut client).starts_with("220 mx.example.org "));
            for step in *way {
                assert!(say(&mut client, step).starts_with("250"), "{state}: {step}");
            }
            let heard = say(&mut client, command);
            if !heard.starts_with(codes[at]) {
                wrong.push(format!("{state}: {command}: {heard}, wanted {}", codes[at]));
                continue;
            }
            let mut delivered = usize::from(*command == "BDAT 0 LAST" && heard.starts_with("250"));
            if heard.starts_with("354") {
                assert!(say(&mut client, "Subject: x\r\n.\r\n").starts_with("250"), "{state}: {command}");
                delivered += 1;
            }
            if *command != "QUIT" {
                // Whatever it was, a message can be sent.
                for step in ["RSET", "EHLO c", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"] {
                    assert!(say(&mut client, step).starts_with("250"), "{state}: {command}, then {step}");
                }
                assert!(say(&mut client, "DATA").starts_with("354"), "{state}: {command}, then DATA");
                assert!(say(&mut client, ".\r\n").starts_with("250"), "{state}: {command}, then the end");
                delivered += 1;
                assert!(say(&mut client, "QUIT").starts_with("221"));
            }
            assert!(client.finish().success());
            assert_eq!(place.listing().len(), delivered, "{state}: {command}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Times: each ends the conversation with its own words.
#[test]
fn silence() {
    for (settings, option, steps) in [
        (&["smtpd_timeout=2"][..], None, &["EHLO a"][..]),
        (&["smtpd_timeout=2"], None, &["EHLO a", "MAIL FROM:<>", "RCPT TO:<alice@example.org>", "DATA"]),
        (&["session_timeout=2"], None, &["EHLO a"]),
        (&["login_timeout=2"], Some("--submission"), &["EHLO a"]),
    ] {
        let place = Place::new();
        let mut server = server(&place);
        for setting in settings {
            server = server.set(setting);
        }
        if let Some(option) = option {
            server = server.argument(option);
        }
        let mut client = server.start();
        reply(&mut client);
        for step in steps {
            say(&mut client, step);
        }
        let heard = reply(&mut client);
        assert!(heard.starts_with("421 4.4.2 "), "{settings:?}: {heard}");
        assert!(client.finish().success());
        assert_eq!(place.listing().len(), 0);
        assert!(place.log().contains("timeout after "), "{}", place.log());
    }
}

/// A login has no such limit any more.
#[test]
fn a_login_lasts() {
    let place = Place::new();
    let mut client = server(&place).set("login_timeout=3").argument("--submission").start();
    reply(&mut client);
    say(&mut client, "EHLO a");
    assert!(say(&mut client, "AUTH PLAIN AGFsaWNlAHNlY3JldA==").starts_with("235"));
    std::thread::sleep(std::time::Duration::from_millis(3500));
    assert!(say(&mut client, "NOOP").starts_with("250"));
    assert!(say(&mut client, "QUIT").starts_with("221"));
}

/// What is too long is read to its end, and the conversation goes on, but not for ever.
#[test]
fn lengths() {
    let place = Place::new();
    let mut client = server(&place).start();
    reply(&mut client);
    say(&mut client, "EHLO a");
    // RFC 4954 section 4: what is too long has a code of its own.
    for (octets, code) in [(4096, "501 5.5.2 "), (4097, "500 5.5.6 "), (60_000, "500 5.5.6 ")] {
        assert!(say(&mut client, "AUTH PLAIN").starts_with("334"));
        assert!(say(&mut client, &"A".repeat(octets - 2)).starts_with(code), "{octets}");
    }
    for (octets, code) in [(2048, "250"), (2049, "500"), (65_536, "500"), (90_000, "421")] {
        let line = format!("NOOP {}", "x".repeat(octets - 7));
        assert!(say(&mut client, &line).starts_with(code), "{octets}");
    }
    assert!(client.finish().success());
    // Nobody wants the chunk.
    for (octets, code) in [(1 << 20, "503"), ((1 << 30) + 1, "421")] {
        let mut client = server(&place).start();
        reply(&mut client);
        let chunk = if code == "503" { "x".repeat(octets) } else { String::new() };
        client.send(format!("BDAT {octets} LAST\r\n{chunk}"));
        assert!(reply(&mut client).starts_with(code), "{octets}");
    }
}
