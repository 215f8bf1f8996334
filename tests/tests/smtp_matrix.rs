//! Every command of SMTP, submission and LMTP in every state: the code of the reply, and whether a message can still be sent
//! afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use tinmail_tests::client::{Client, PATIENCE};
use tinmail_tests::{Place, Server, program, tls};

/// A name, the address that the client comes from, and how it comes into the state.
type State = (&'static str, &'static str, &'static [&'static str]);

/// Who is trusted, and who is not.
const NEAR: &str = "127.0.0.1";
const FAR: &str = "192.0.2.1";
/// Who may say XCLIENT, and is not trusted otherwise.
const PROXY: &str = "192.0.2.7";

const ALICE: &str = "RCPT TO:<alice@example.org>";
/// A message that is delivered as it is.
const CHUNK: &str = "BDAT 3 LAST\r\nabc";
const LOGIN: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";

const SMTP_STATES: [State; 17] = [
    ("connected", NEAR, &[]),
    ("helo", NEAR, &["HELO a"]),
    ("ehlo", NEAR, &["EHLO a"]),
    ("mail", NEAR, &["EHLO a", "MAIL FROM:<>"]),
    ("rcpt", NEAR, &["EHLO a", "MAIL FROM:<>", ALICE]),
    ("bdat", NEAR, &["EHLO a", "MAIL FROM:<>", ALICE, "BDAT 3\r\nabc"]),
    ("login", NEAR, &["EHLO a", LOGIN]),
    ("tls", FAR, &["STARTTLS"]),
    ("tls, ehlo", FAR, &["STARTTLS", "EHLO a"]),
    ("tls, rcpt", FAR, &["STARTTLS", "EHLO a", "MAIL FROM:<>", ALICE]),
    ("tls, login, rcpt", FAR, &["EHLO a", "STARTTLS", "EHLO a", LOGIN, "MAIL FROM:<>", ALICE]),
    ("334", NEAR, &["EHLO a", "AUTH PLAIN"]),
    ("delivered", NEAR, &["EHLO a", "MAIL FROM:<>", ALICE, CHUNK]),
    ("proxy", PROXY, &["EHLO a"]),
    ("proxy, rcpt", PROXY, &["EHLO a", "MAIL FROM:<>", ALICE]),
    ("xclient", PROXY, &["EHLO a", "XCLIENT ADDR=127.0.0.1"]),
    ("xclient, rcpt", PROXY, &["EHLO a", "XCLIENT ADDR=127.0.0.1", "EHLO a", "MAIL FROM:<>", ALICE]),
];

/// A command, and the reply's code in each state. 354 is followed by a message, 220 by TLS.
const SMTP: [(&str, [u16; 17]); 28] = [
    ("HELO b", [250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 501, 250, 250, 250, 250, 250]),
    ("EHLO b", [250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 501, 250, 250, 250, 250, 250]),
    ("LHLO b", [500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 501, 500, 500, 500, 500, 500]),
    ("HELO", [501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501]),
    (
        "MAIL FROM:<a@b.example>",
        [503, 250, 250, 503, 503, 503, 250, 503, 250, 503, 503, 501, 250, 250, 503, 503, 503],
    ),
    (
        "MAIL FROM:<a@b.example> SIZE=1",
        [503, 555, 250, 503, 503, 503, 250, 503, 250, 503, 503, 501, 250, 250, 503, 503, 503],
    ),
    (
        "MAIL FROM:<a@b.example> FOO=1",
        [555, 555, 555, 555, 555, 555, 555, 555, 555, 555, 555, 501, 555, 555, 555, 555, 555],
    ),
    ("MAIL FROM:a", [501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501]),
    (
        "RCPT TO:<alice@example.org>",
        [503, 503, 503, 250, 250, 503, 503, 503, 503, 250, 250, 501, 503, 503, 250, 503, 250],
    ),
    (
        "RCPT TO:<alice@example.org> NOTIFY=NEVER",
        [503, 503, 503, 250, 250, 503, 503, 503, 503, 250, 250, 501, 503, 503, 250, 503, 250],
    ),
    (
        "RCPT TO:<nobody@example.org>",
        [503, 503, 503, 550, 550, 503, 503, 503, 503, 550, 550, 501, 503, 503, 550, 503, 550],
    ),
    (
        "RCPT TO:<u@far.example>",
        [503, 503, 503, 250, 250, 503, 503, 503, 503, 550, 250, 501, 503, 503, 550, 503, 250],
    ),
    ("RCPT TO:<>", [501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501]),
    ("DATA", [503, 503, 503, 503, 354, 503, 503, 503, 503, 354, 354, 501, 503, 503, 354, 503, 354]),
    ("DATA now", [501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501]),
    ("BDAT 0 LAST", [503, 503, 503, 503, 250, 250, 503, 503, 503, 250, 250, 501, 503, 503, 250, 503, 250]),
    ("BDAT x", [501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501, 501]),
    ("RSET", [250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 501, 250, 250, 250, 250, 250]),
    ("NOOP", [250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 501, 250, 250, 250, 250, 250]),
    ("HELP", [214, 214, 214, 214, 214, 214, 214, 214, 214, 214, 214, 501, 214, 214, 214, 214, 214]),
    ("VRFY a", [252, 252, 252, 252, 252, 252, 252, 252, 252, 252, 252, 501, 252, 252, 252, 252, 252]),
    ("EXPN a", [502, 502, 502, 502, 502, 502, 502, 502, 502, 502, 502, 501, 502, 502, 502, 502, 502]),
    ("ETRN a", [502, 502, 502, 502, 502, 502, 502, 502, 502, 502, 502, 501, 502, 502, 502, 502, 502]),
    ("STARTTLS", [220, 220, 220, 220, 220, 220, 220, 554, 554, 554, 554, 501, 220, 220, 220, 220, 220]),
    (
        "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
        [503, 503, 235, 503, 503, 503, 503, 503, 235, 503, 503, 501, 235, 538, 503, 503, 503],
    ),
    ("XCLIENT NAME=a", [550, 550, 550, 550, 550, 550, 550, 550, 550, 550, 550, 501, 550, 220, 503, 550, 550]),
    ("FOO", [500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 501, 500, 500, 500, 500, 500]),
    ("QUIT", [221, 221, 221, 221, 221, 221, 221, 221, 221, 221, 221, 501, 221, 221, 221, 221, 221]),
];

/// Of strangers: everything has to wait for TLS, and MAIL for the login.
const SUBMISSION_STATES: [State; 8] = [
    ("connected", FAR, &[]),
    ("ehlo", FAR, &["EHLO a"]),
    ("tls", FAR, &["EHLO a", "STARTTLS"]),
    ("tls, ehlo", FAR, &["STARTTLS", "EHLO a"]),
    ("tls, login", FAR, &["STARTTLS", "EHLO a", LOGIN]),
    ("tls, login, rcpt", FAR, &["STARTTLS", "EHLO a", LOGIN, "MAIL FROM:<>", ALICE]),
    ("tls, 334", FAR, &["STARTTLS", "EHLO a", "AUTH PLAIN"]),
    ("tls, delivered", FAR, &["STARTTLS", "EHLO a", LOGIN, "MAIL FROM:<>", ALICE, CHUNK]),
];

const SUBMISSION: [(&str, [u16; 8]); 28] = [
    ("HELO b", [250, 250, 250, 250, 250, 250, 501, 250]),
    ("EHLO b", [250, 250, 250, 250, 250, 250, 501, 250]),
    ("LHLO b", [530, 530, 500, 500, 500, 500, 501, 500]),
    ("HELO", [501, 501, 501, 501, 501, 501, 501, 501]),
    ("MAIL FROM:<a@b.example>", [530, 530, 503, 530, 250, 503, 501, 250]),
    ("MAIL FROM:<a@b.example> SIZE=1", [530, 530, 503, 530, 250, 503, 501, 250]),
    ("MAIL FROM:<a@b.example> FOO=1", [555, 555, 555, 555, 555, 555, 501, 555]),
    ("MAIL FROM:a", [501, 501, 501, 501, 501, 501, 501, 501]),
    ("RCPT TO:<alice@example.org>", [530, 530, 503, 503, 503, 250, 501, 503]),
    ("RCPT TO:<alice@example.org> NOTIFY=NEVER", [530, 530, 503, 503, 503, 250, 501, 503]),
    ("RCPT TO:<nobody@example.org>", [530, 530, 503, 503, 503, 550, 501, 503]),
    ("RCPT TO:<u@far.example>", [530, 530, 503, 503, 503, 250, 501, 503]),
    ("RCPT TO:<>", [501, 501, 501, 501, 501, 501, 501, 501]),
    ("DATA", [530, 530, 503, 503, 503, 354, 501, 503]),
    ("DATA now", [501, 501, 501, 501, 501, 501, 501, 501]),
    ("BDAT 0 LAST", [530, 530, 503, 503, 503, 250, 501, 503]),
    ("BDAT x", [501, 501, 501, 501, 501, 501, 501, 501]),
    ("RSET", [250, 250, 250, 250, 250, 250, 501, 250]),
    ("NOOP", [250, 250, 250, 250, 250, 250, 501, 250]),
    ("HELP", [530, 530, 214, 214, 214, 214, 501, 214]),
    ("VRFY a", [530, 530, 252, 252, 252, 252, 501, 252]),
    ("EXPN a", [530, 530, 502, 502, 502, 502, 501, 502]),
    ("ETRN a", [530, 530, 502, 502, 502, 502, 501, 502]),
    ("STARTTLS", [220, 220, 554, 554, 554, 554, 501, 554]),
    ("AUTH PLAIN AGFsaWNlAHNlY3JldA==", [530, 530, 503, 235, 503, 503, 501, 503]),
    ("XCLIENT NAME=a", [530, 530, 550, 550, 550, 550, 501, 550]),
    ("FOO", [500, 500, 500, 500, 500, 500, 501, 500]),
    ("QUIT", [221, 221, 221, 221, 221, 221, 501, 221]),
];

const LMTP_STATES: [State; 6] = [
    ("connected", NEAR, &[]),
    ("lhlo", NEAR, &["LHLO a"]),
    ("mail", NEAR, &["LHLO a", "MAIL FROM:<>"]),
    ("rcpt", NEAR, &["LHLO a", "MAIL FROM:<>", ALICE]),
    ("bdat", NEAR, &["LHLO a", "MAIL FROM:<>", ALICE, "BDAT 3\r\nabc"]),
    ("delivered", NEAR, &["LHLO a", "MAIL FROM:<>", ALICE, CHUNK]),
];

const LMTP: [(&str, [u16; 6]); 28] = [
    ("HELO b", [500, 500, 500, 500, 500, 500]),
    ("EHLO b", [500, 500, 500, 500, 500, 500]),
    ("LHLO b", [250, 250, 250, 250, 250, 250]),
    ("HELO", [501, 501, 501, 501, 501, 501]),
    ("MAIL FROM:<a@b.example>", [503, 250, 503, 503, 503, 250]),
    ("MAIL FROM:<a@b.example> SIZE=1", [503, 250, 503, 503, 503, 250]),
    ("MAIL FROM:<a@b.example> FOO=1", [555, 555, 555, 555, 555, 555]),
    ("MAIL FROM:a", [501, 501, 501, 501, 501, 501]),
    ("RCPT TO:<alice@example.org>", [503, 503, 250, 250, 503, 503]),
    ("RCPT TO:<alice@example.org> NOTIFY=NEVER", [503, 503, 250, 250, 503, 503]),
    ("RCPT TO:<nobody@example.org>", [503, 503, 550, 550, 503, 503]),
    ("RCPT TO:<u@far.example>", [503, 503, 550, 550, 503, 503]),
    ("RCPT TO:<>", [501, 501, 501, 501, 501, 501]),
    ("DATA", [503, 503, 503, 354, 503, 503]),
    ("DATA now", [501, 501, 501, 501, 501, 501]),
    ("BDAT 0 LAST", [503, 503, 503, 250, 250, 503]),
    ("BDAT x", [501, 501, 501, 501, 501, 501]),
    ("RSET", [250, 250, 250, 250, 250, 250]),
    ("NOOP", [250, 250, 250, 250, 250, 250]),
    ("HELP", [214, 214, 214, 214, 214, 214]),
    ("VRFY a", [252, 252, 252, 252, 252, 252]),
    ("EXPN a", [502, 502, 502, 502, 502, 502]),
    ("ETRN a", [502, 502, 502, 502, 502, 502]),
    ("STARTTLS", [220, 220, 220, 220, 220, 220]),
    ("AUTH PLAIN AGFsaWNlAHNlY3JldA==", [502, 502, 502, 502, 502, 502]),
    ("XCLIENT NAME=a", [550, 550, 550, 550, 550, 550]),
    ("FOO", [500, 500, 500, 500, 500, 500]),
    ("QUIT", [221, 221, 221, 221, 221, 221]),
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

trait Octets: Read + Write {}
impl<T: Read + Write> Octets for T {}

/// A connection in clear, and from STARTTLS on under TLS.
struct Wire {
    child: Child,
    socket: UnixStream,
    octets: BufReader<Box<dyn Octets>>,
    is_encrypted: bool,
}

impl Wire {
    fn new(server: &Server) -> Wire {
        let (child, socket) = server.start_raw();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let octets = BufReader::new(Box::new(socket.try_clone().unwrap()) as Box<dyn Octets>);
        let mut wire = Wire { child, socket, octets, is_encrypted: false };
        assert!(wire.reply().starts_with("220 mx.example.org "));
        wire
    }

    /// The last line of a reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.octets.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end_matches("\r\n").to_owned();
            }
        }
    }

    fn say(&mut self, command: &str) -> String {
        let line = if command.contains('\n') { command.to_owned() } else { format!("{command}\r\n") };
        self.octets.get_mut().write_all(line.as_bytes()).unwrap();
        let heard = self.reply();
        if command == "STARTTLS" && heard.starts_with("220 ") {
            self.octets = BufReader::new(Box::new(tls::connect(self.socket.try_clone().unwrap())));
            self.is_encrypted = true;
        }
        heard
    }

    /// Whatever was before, a message can be sent.
    fn send_message(&mut self, option: &str, about: &str) {
        let mut steps = vec!["RSET"];
        if option == "--submission" && !self.is_encrypted {
            steps.push("STARTTLS");
        }
        steps.push(if option == "--lmtp" { "LHLO c" } else { "EHLO c" });
        for step in steps {
            let heard = self.say(step);
            assert!(heard.starts_with("250") || step == "STARTTLS", "{about}, then {step}: {heard}");
        }
        if option == "--submission" {
            // It may have logged in before.
            let heard = self.say(LOGIN);
            assert!(heard.starts_with("235") || heard.starts_with("503"), "{about}, then {LOGIN}: {heard}");
        }
        for (step, code) in [("MAIL FROM:<>", "250"), (ALICE, "250"), ("DATA", "354"), (".\r\n", "250")] {
            let heard = self.say(step);
            assert!(heard.starts_with(code), "{about}, then {step}: {heard}");
        }
        assert!(self.say("QUIT").starts_with("221"), "{about}, then QUIT");
    }

    fn finish(mut self) -> ExitStatus {
        drop((self.octets, self.socket));
        self.child.wait().unwrap()
    }
}

/// A server of strangers' and others' mail, with TLS.
fn with_tls(place: &Place) -> Server {
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &std::fs::read(tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    server(place)
        .set("ssl=yes")
        .set(&format!("smtpd_authorized_xclient_hosts={PROXY}"))
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
}

fn check<const N: usize>(option: &str, states: &[State; N], commands: &[(&str, [u16; N])]) {
    let mut wrong = Vec::new();
    for (at, (state, address, way)) in states.iter().enumerate() {
        for (command, codes) in commands {
            let about = format!("{state}: {command}");
            let place = Place::new();
            let mut server = with_tls(&place).client_at(address);
            if !option.is_empty() {
                server = server.argument(option);
            }
            if option == "--submission" {
                server = server.set("ssl=required");
            }
            let mut wire = Wire::new(&server);
            for step in *way {
                let heard = wire.say(step);
                assert!(heard.starts_with('2') || heard.starts_with("334 "), "{state}: {step}: {heard}");
            }
            let heard = wire.say(command);
            if !heard.starts_with(&format!("{} ", codes[at])) {
                wrong.push(format!("{about}: {heard}, wanted {}", codes[at]));
                continue;
            }
            let mut delivered = usize::from(*command == "BDAT 0 LAST" && heard.starts_with("250"));
            delivered += way.iter().filter(|&&step| step == CHUNK).count();
            if heard.starts_with("354") {
                assert!(wire.say("Subject: x\r\n.\r\n").starts_with("250"), "{about}");
                delivered += 1;
            }
            if !heard.starts_with("221") {
                wire.send_message(option, &about);
                delivered += 1;
            }
            assert!(wire.finish().success(), "{about}");
            assert_eq!(place.listing().len(), delivered, "{about}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_of_smtp_in_every_state() {
    check("", &SMTP_STATES, &SMTP);
}

#[test]
fn every_command_of_submission_in_every_state() {
    check("--submission", &SUBMISSION_STATES, &SUBMISSION);
}

#[test]
fn every_command_of_lmtp_in_every_state() {
    check("--lmtp", &LMTP_STATES, &LMTP);
}

/// RFC 3207 section 4.2: what was said in clear is forgotten: EHLO, the login and the transaction.
#[test]
fn starttls_forgets() {
    let place = Place::new();
    let mut wire = Wire::new(&with_tls(&place));
    for step in ["EHLO a", LOGIN, "MAIL FROM:<>", ALICE] {
        assert!(wire.say(step).starts_with('2'), "{step}");
    }
    for (command, heard) in [
        ("STARTTLS", "220 2.0.0 Ready to start TLS"),
        ("DATA", "503 5.5.1 Need MAIL command"),
        (LOGIN, "503 5.5.1 Send HELO or EHLO first"),
        ("MAIL FROM:<>", "503 5.5.1 Send HELO or EHLO first"),
        ("STARTTLS", "554 5.5.1 TLS is already active"),
        ("EHLO a", "250 HELP"),
        ("DATA", "503 5.5.1 Need MAIL command"),
        (LOGIN, "235 2.7.0 Authentication successful"),
        (LOGIN, "503 5.5.1 Already authenticated"),
        ("QUIT", "221 2.0.0 Bye"),
    ] {
        assert_eq!(wire.say(command), heard, "{command}");
    }
    assert!(wire.finish().success());
}

/// Without the guard nothing can go on; the client is told so.
#[test]
fn a_guard_that_dies() {
    let place = Place::new();
    let mut wire = Wire::new(&with_tls(&place));
    assert!(wire.say("EHLO a").starts_with("250"));
    wire.child.kill().unwrap();
    assert_eq!(wire.say("VRFY a"), "421 4.3.0 Server error; try again later");
    assert!(!wire.finish().success());
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
