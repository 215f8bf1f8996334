//! State by command: in which class each command is answered. A cell that is missing here is a decision not taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use tinmail_tests::{Place, Server, maildirs, proof, tls};

/// The classes a command is answered in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// `+OK` in one line.
    Ok,
    /// `+OK` and lines up to a dot.
    List,
    /// `-ERR` without a response code.
    Err,
    /// `-ERR [AUTH]`.
    Auth,
    /// `+ ` and a challenge.
    Challenge,
    /// `+OK`, and the next thing is TLS.
    Tls,
    /// `+OK`, and the connection ends.
    Bye,
}
use Class::{Auth, Bye, Challenge, Err, List, Ok, Tls};

/// Command; then its class: before the login in clear where passwords are not taken, where they are, under TLS; after the
/// login.
const MATRIX: &[(&str, [Class; 4])] = &[
    ("QUIT", [Bye, Bye, Bye, Bye]),
    ("CAPA", [List, List, List, List]),
    ("NOOP", [Err, Err, Err, Ok]),
    ("LANG", [List, List, List, List]),
    ("LANG en", [Ok, Ok, Ok, Ok]),
    ("LANG xx", [Err, Err, Err, Err]),
    ("UTF8", [Ok, Ok, Ok, Err]),
    ("STLS", [Tls, Tls, Err, Err]),
    ("USER alice", [Auth, Ok, Ok, Err]),
    ("PASS secret", [Err, Err, Err, Err]),
    ("APOP alice 0123", [Auth, Auth, Auth, Err]),
    ("AUTH", [List, List, List, Err]),
    ("AUTH PLAIN", [Auth, Challenge, Challenge, Err]),
    ("AUTH LOGIN", [Auth, Challenge, Challenge, Err]),
    ("AUTH CRAM-MD5", [Challenge, Challenge, Challenge, Err]),
    ("AUTH SCRAM-SHA-1", [Challenge, Challenge, Challenge, Err]),
    ("AUTH SCRAM-SHA-256", [Challenge, Challenge, Challenge, Err]),
    ("AUTH SCRAM-SHA-256-PLUS", [Auth, Auth, Challenge, Err]),
    ("AUTH SCRAM-SHA-1-PLUS", [Auth, Auth, Challenge, Err]),
    ("AUTH EXTERNAL", [Auth, Auth, Auth, Err]),
    ("AUTH X", [Auth, Auth, Auth, Err]),
    ("STAT", [Err, Err, Err, Ok]),
    ("LIST", [Err, Err, Err, List]),
    ("LIST 1", [Err, Err, Err, Ok]),
    ("LIST 9", [Err, Err, Err, Err]),
    ("UIDL", [Err, Err, Err, List]),
    ("UIDL 1", [Err, Err, Err, Ok]),
    ("UIDL 9", [Err, Err, Err, Err]),
    ("RETR 1", [Err, Err, Err, List]),
    ("RETR 9", [Err, Err, Err, Err]),
    ("TOP 1 0", [Err, Err, Err, List]),
    ("TOP 9 0", [Err, Err, Err, Err]),
    ("DELE 1", [Err, Err, Err, Ok]),
    ("DELE 9", [Err, Err, Err, Err]),
    ("RSET", [Err, Err, Err, Ok]),
    ("LAST", [Err, Err, Err, Ok]),
    ("XTND XMIT", [Err, Err, Err, Err]),
    ("", [Err, Err, Err, Err]),
];

fn server(place: &Place) -> Server {
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &std::fs::read(tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    Server::login(place)
        .set("ssl=yes")
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
        .set("auth_mechanisms=plain login cram-md5 scram-sha-1 scram-sha-256 apop")
        .set("pop3_enable_last=yes")
}

/// A connection in clear or under TLS.
struct Wire<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Wire<S> {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn log_in(&mut self) {
        self.say("USER alice");
        assert_eq!(self.line(), "+OK\r\n");
        self.say("PASS secret");
        assert_eq!(self.line(), "+OK Logged in.\r\n");
    }

    fn class_of(&mut self, command: &str, wanted: Class) -> String {
        self.say(command);
        let line = self.line();
        let class = if line.starts_with("+ ") {
            Challenge
        } else if line.starts_with("-ERR [AUTH] ") {
            Auth
        } else if line.starts_with("-ERR ") && !line.starts_with("-ERR [") {
            Err
        } else if line.starts_with("+OK") {
            // What follows +OK cannot be seen in it.
            if matches!(wanted, List | Tls | Bye | Ok) { wanted } else { Ok }
        } else {
            return format!("a line of no class: {line:?}");
        };
        if class != wanted {
            return format!("{class:?}: {line:?}");
        }
        match class {
            Challenge => {
                self.say("*");
                let line = self.line();
                if !line.starts_with("-ERR ") {
                    return format!("cancelled with {line:?}");
                }
            }
            List => while !matches!(self.line().as_str(), ".\r\n" | "") {},
            Bye => {
                let rest = self.line();
                return if rest.is_empty() { String::new() } else { format!("behind the goodbye: {rest:?}") };
            }
            Tls => return String::new(),
            Ok | Err | Auth => {}
        }
        // It must have been one reply, after which the conversation goes on.
        self.say("XYZZY");
        let line = self.line();
        if line == "-ERR Unknown command.\r\n" {
            String::new()
        } else {
            format!("behind the reply: {line:?}")
        }
    }
}

fn raw(server: &Server) -> (std::process::Child, Wire<UnixStream>) {
    let (child, socket) = server.start_raw();
    socket.set_read_timeout(Some(tinmail_tests::client::PATIENCE)).unwrap();
    let mut wire = Wire(BufReader::new(socket));
    assert!(wire.line().starts_with("+OK "));
    (child, wire)
}

fn under_tls(server: &Server) -> (std::process::Child, Wire<tls::Stream>) {
    let (child, mut clear) = raw(server);
    clear.say("STLS");
    assert!(clear.line().starts_with("+OK "));
    let stream = tls::connect(clear.0.into_inner());
    (child, Wire(BufReader::new(stream)))
}

fn check(column: usize, what: &str) {
    let mut wrong = Vec::new();
    for (command, classes) in MATRIX {
        let place = Place::new();
        maildirs::fill(&place, "two-messages");
        let server = server(&place);
        let wanted = classes[column.min(3)];
        let (mut child, difference) = match column {
            0 => {
                let (child, mut wire) = raw(&server.client_at("192.0.2.1"));
                (child, wire.class_of(command, wanted))
            }
            1 => {
                let (child, mut wire) = raw(&server);
                (child, wire.class_of(command, wanted))
            }
            2 => {
                let (child, mut wire) = under_tls(&server.client_at("192.0.2.1"));
                (child, wire.class_of(command, wanted))
            }
            3 => {
                let (child, mut wire) = raw(&server);
                wire.log_in();
                (child, wire.class_of(command, wanted))
            }
            _ => {
                let (child, mut wire) = under_tls(&server.client_at("192.0.2.1"));
                wire.log_in();
                (child, wire.class_of(command, wanted))
            }
        };
        if !difference.is_empty() {
            wrong.push(format!("{what}: {command:?}: wanted {wanted:?}, {difference}"));
        }
        let status = child.wait().unwrap();
        if !status.success() {
            wrong.push(format!("{what}: {command:?}: {status}\n{}", place.log()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn authorization_in_clear() {
    check(0, "AUTHORIZATION in clear");
}

#[test]
fn authorization_on_a_trusted_way() {
    check(1, "AUTHORIZATION on a trusted way");
}

#[test]
fn authorization_under_tls() {
    check(2, "AUTHORIZATION under TLS");
}

#[test]
fn transaction() {
    check(3, "TRANSACTION");
}

#[test]
fn transaction_under_tls() {
    check(4, "TRANSACTION under TLS");
}

/// RFC 2595 section 4: what was said in clear is forgotten.
#[test]
fn stls_forgets_the_user_and_utf8() {
    let place = Place::new();
    let server = server(&place);
    let (mut child, mut clear) = raw(&server);
    clear.say("USER alice");
    assert_eq!(clear.line(), "+OK\r\n");
    clear.say("STLS");
    assert!(clear.line().starts_with("+OK "));
    let mut wire = Wire(BufReader::new(tls::connect(clear.0.into_inner())));
    wire.say("PASS secret");
    assert_eq!(wire.line(), "-ERR USER first.\r\n");
    wire.say("STLS");
    assert_eq!(wire.line(), "-ERR TLS is already active.\r\n");
    wire.log_in();
    wire.say("CAPA");
    assert_eq!(wire.line(), "+OK\r\n");
    drop(wire);
    assert!(child.wait().unwrap().success());
    assert!(place.log().contains(", TLS, "), "{}", place.log());
}

/// The whole of a session under TLS, with everything pipelined behind the login.
#[test]
fn a_session_under_tls() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let (mut child, mut wire) = under_tls(&server(&place).client_at("192.0.2.1"));
    let plain = proof::base64("\0alice\0secret");
    wire.say(&format!("AUTH PLAIN {plain}\r\nSTAT\r\nRETR 1\r\nDELE 2\r\nQUIT"));
    let mut text = String::new();
    wire.0.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("+OK Logged in.\r\n+OK 2 320\r\n+OK 120 octets\r\nFrom: a@example.org\r\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\r\n.\r\n+OK Marked for deletion.\r\n+OK Goodbye, marked messages deleted.\r\n"),
        "{text}"
    );
    assert!(child.wait().unwrap().success());
    assert_eq!(place.listing(), ["cur/1000000001.a.host:2,S"]);
}

/// The same with TLS from the first octet.
#[test]
fn a_session_under_tls_from_the_first_octet() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let (mut child, socket) = server(&place).client_at("192.0.2.1").argument("--tls").start_raw();
    let mut wire = Wire(BufReader::new(tls::connect(socket)));
    // The client speaks first in TLS.
    wire.0.get_mut().flush().unwrap();
    assert!(wire.line().starts_with("+OK tinmail ready. <"));
    wire.log_in();
    wire.say("STAT");
    assert_eq!(wire.line(), "+OK 2 320\r\n");
    drop(wire);
    assert!(child.wait().unwrap().success());
    assert_eq!(place.listing(), ["cur/1000000001.a.host:2,", "new/1000000002.b.host"]);
}
