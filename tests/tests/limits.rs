//! The limits of DESIGN.md section 8, for POP3: each by its name, with its refusal. Lengths of lines and the number of bad
//! commands are transcripts as well (`line-too-long`, `auth-line-too-long`, `bad-commands-*`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tinmail_tests::{Place, Server, maildirs, memory};

const GREETING: &str = "+OK tinmail ready.";

#[test]
fn command_line_255_octets() {
    let place = Place::new();
    let mut client = Server::preauth(&place).start();
    client.line();
    for (octets, wanted) in
        [(254, "+OK"), (255, "+OK"), (256, "-ERR Line too long."), (2049, "-ERR Line too long.")]
    {
        let line = format!("NOOP{}", " ".repeat(octets - 6));
        assert_eq!(client.ask(&line), wanted, "{octets}");
    }
    assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
}

#[test]
fn auth_line_2048_octets() {
    let place = Place::new();
    let mut client = Server::login(&place).set("max_bad_commands=100").start();
    assert_eq!(client.line(), GREETING);
    for (octets, wanted) in [(2048, "-ERR [AUTH] Malformed response."), (2049, "-ERR Line too long.")] {
        let line = format!("AUTH PLAIN {}", "A".repeat(octets - 13));
        assert_eq!(client.ask(&line), wanted, "{octets}");
    }
    // A response line is another way to the same limit; what is too long does not become the next command.
    for octets in [2048, 2049, 9000, 60_000] {
        assert_eq!(client.ask("AUTH PLAIN"), "+ ");
        assert_eq!(client.ask(&"A".repeat(octets - 2)), "-ERR [AUTH] Malformed response.", "{octets}");
    }
    assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
}

#[test]
fn max_bad_commands_20() {
    for server in [Server::login as fn(&Place) -> Server, Server::preauth] {
        let place = Place::new();
        let mut client = server(&place).start();
        client.line();
        for _ in 0..19 {
            assert_eq!(client.ask("BAD"), "-ERR Unknown command.");
        }
        assert_eq!(client.ask("CAPA"), "+OK", "after 19");
        client.lines_to_dot();
        assert_eq!(client.ask("BAD"), "-ERR Unknown command.");
        assert_eq!(client.line(), "-ERR Too many bad commands, closing.");
        assert!(client.rest().is_empty());
        assert!(client.finish().success());
    }
}

/// In one write: what is behind the twentieth is not looked at.
#[test]
fn max_bad_commands_pipelined() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let mut client = Server::preauth(&place).start();
    client.send(format!("DELE 1\r\n{}QUIT\r\n", "BAD\r\n".repeat(1000)));
    let text = String::from_utf8(client.rest()).unwrap();
    assert_eq!(text.lines().filter(|line| *line == "-ERR Unknown command.").count(), 20);
    assert!(text.ends_with("-ERR Too many bad commands, closing.\r\n"), "{text}");
    assert!(client.finish().success());
    assert_eq!(place.listing().len(), 2);
}

#[test]
fn login_timeout() {
    let place = Place::new();
    let mut client = Server::login(&place).set("login_timeout=2s").start();
    let begun = Instant::now();
    assert_eq!(client.line(), GREETING);
    // It is the time for the whole login: a command every so often does not lengthen it.
    let mut last = String::new();
    while let Ok(Some(line)) = {
        std::thread::sleep(Duration::from_millis(150));
        client.command("CAPA");
        client.try_line()
    } {
        last = String::from_utf8(line).unwrap();
        if last.starts_with("-ERR") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        client.lines_to_dot_or_end(&mut last);
        if last.starts_with("-ERR") {
            break;
        }
    }
    assert!(["-ERR Time is over, closing.", "-ERR Idle for too long, closing."].contains(&&*last), "{last}");
    assert!(client.finish().success());
    assert!(place.log().contains("Inactivity"), "{}", place.log());
}

#[test]
fn login_timeout_in_silence() {
    let place = Place::new();
    let mut client = Server::login(&place).set("login_timeout=2s").start();
    assert_eq!(client.line(), GREETING);
    let line = client.line();
    assert!(["-ERR Time is over, closing.", "-ERR Idle for too long, closing."].contains(&&*line), "{line}");
    assert!(client.rest().is_empty());
    assert!(client.finish().success());
    let log = place.log();
    assert!(log.contains("Disconnected: Inactivity (no auth attempts in "), "{log}");
}

#[test]
fn login_timeout_of_a_silent_tls_client() {
    let place = Place::new();
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &std::fs::read(tinmail_tests::tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    let client = Server::login(&place)
        .set("ssl=yes")
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
        .set("login_timeout=2s")
        .argument("--tls")
        .start();
    let begun = Instant::now();
    let mut client = client;
    client.rest();
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    assert!(client.finish().success());
}

#[test]
fn pop3_idle_timeout() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let mut client = Server::preauth(&place).set("pop3_idle_timeout=3s").start();
    client.line();
    let begun = Instant::now();
    // Other than the time to log in, it begins again with each command.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(900));
        assert_eq!(client.ask("NOOP"), "+OK");
    }
    assert_eq!(client.ask("DELE 1"), "+OK Marked for deletion.");
    assert_eq!(client.line(), "-ERR Idle for too long, closing.");
    assert!(begun.elapsed() >= Duration::from_millis(6500));
    assert!(client.rest().is_empty());
    assert!(client.finish().success());
    assert_eq!(place.listing().len(), 2, "nothing is deleted without QUIT");
    assert!(place.log().contains("Disconnected: Inactivity"), "{}", place.log());
}

/// An octet every now and then that never becomes a command is no command.
#[test]
fn pop3_idle_timeout_counts_lines() {
    let place = Place::new();
    let mut client = Server::preauth(&place).set("pop3_idle_timeout=1s").set("session_timeout=60s").start();
    client.line();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(80) && !client.has_ended() {
        client.send("N");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "a drop every 100 ms kept the session for {:?}",
        begun.elapsed()
    );
}

#[test]
fn session_timeout() {
    let place = Place::new();
    let mut client = Server::preauth(&place).set("session_timeout=1s").start();
    client.line();
    let mut line = String::from("+OK");
    while line == "+OK" {
        std::thread::sleep(Duration::from_millis(100));
        line = client.ask("NOOP");
    }
    assert_eq!(line, "-ERR Time is over, closing.");
    assert!(client.finish().success());
}

/// A client that does not read is given up, and with it what it marked.
#[test]
fn reply_timeout() {
    let place = Place::new();
    place.deliver(
        "new/1.big.host",
        &b"Subject: big\n\n".iter().copied().chain(vec![b'x'; 4 << 20]).collect::<Vec<u8>>(),
    );
    let (mut child, mut socket) = Server::preauth(&place).set("reply_timeout=1s").start_raw();
    socket.write_all(b"DELE 1\r\nRSET\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n").unwrap();
    let begun = Instant::now();
    let status = child.wait().unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(60), "{took:?}");
    assert!(status.success());
    assert_eq!(place.listing(), ["new/1.big.host"]);
    assert!(place.log().contains("Disconnected: Client does not read"), "{}", place.log());
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text);
    assert!(
        !text.ends_with(b"\r\n.\r\n") && !text.ends_with(b"closing.\r\n"),
        "half a message must look like one"
    );
}

/// As long as it reads at all, it may be slow.
#[test]
fn reply_timeout_is_for_no_progress() {
    let place = Place::new();
    place.deliver(
        "new/1.big.host",
        &b"Subject: big\n\n".iter().copied().chain(vec![b'x'; 1 << 20]).collect::<Vec<u8>>(),
    );
    let (mut child, mut socket) = Server::preauth(&place).set("reply_timeout=2s").start_raw();
    socket.write_all(b"RETR 1\r\nQUIT\r\n").unwrap();
    let mut text = Vec::new();
    let mut buffer = vec![0; 96 * 1024];
    let begun = Instant::now();
    loop {
        let n = socket.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..n]);
        std::thread::sleep(Duration::from_millis(400));
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "the test is too fast to show anything");
    assert!(text.ends_with(b"\r\n.\r\n+OK Goodbye.\r\n"));
    assert!(child.wait().unwrap().success());
}

/// Limit and use of address space of the front. Growing beyond it is death, which the guard survives.
#[test]
fn login_memory_limit() {
    let place = Place::new();
    let mut client = Server::login(&place).set("login_memory_limit=48M").start();
    assert_eq!(client.line(), GREETING);
    let family = memory::family(client.child.id());
    assert_eq!(family.len(), 2, "guard and front");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", family[1])).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max address space"), (48 << 20).to_string());
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max file size"), "0");
    assert_eq!(limit("Max processes"), "0");
    assert_eq!(limit("Max open files"), "4");
    client.log_in_after_greeting();
    assert_eq!(memory::family(client.child.id()).len(), 1, "one process remains in clear");
}

/// The front allocates next to nothing in clear: even with no memory to get, a login works. TLS does not; then the
/// connection ends, the guard lives to say why, and nothing hangs.
#[test]
fn login_memory_limit_reached() {
    let place = Place::new();
    // In clear hardly anything is needed: how little depends on the C library.
    let mut client = Server::login(&place).set("login_memory_limit=4M").start();
    client.log_in();
    assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
    assert!(client.finish().success());

    for name in ["cert.pem", "key.pem"] {
        place.write(name, &std::fs::read(tinmail_tests::tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    let (mut child, mut socket) = Server::login(&place)
        .set("login_memory_limit=64K")
        .set("ssl=yes")
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
        .start_raw();
    socket.write_all(b"STLS\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"now.\r\n") {
        let mut octet = [0];
        if socket.read(&mut octet).unwrap() == 0 {
            break;
        }
        seen.extend(octet);
    }
    let mut stream = tinmail_tests::tls::connect(socket);
    let _ = stream.write_all(b"QUIT\r\n");
    let _ = stream.read_to_end(&mut Vec::new());
    drop(stream);
    child.wait().unwrap();
    assert!(place.log().lines().count() >= 3, "the log says something about it: {}", place.log());
}

#[test]
fn session_memory_limit() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let mut client = Server::login(&place).set("session_memory_limit=64M").start();
    client.log_in();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", client.child.id()));
    // The process hides itself from others of its user; root sees it all the same.
    if let Ok(limits) = limits {
        let line = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(line.contains(&(64 << 20).to_string()), "{line}");
    }
    assert_eq!(client.ask("STAT"), "+OK 2 320");
    assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
}

/// Where it is too small the refusal is a temporary one.
#[test]
fn session_memory_limit_too_small() {
    let place = Place::new();
    let mut client = Server::login(&place).set("session_memory_limit=64K").start();
    assert_eq!(client.line(), GREETING);
    assert_eq!(client.ask("USER alice"), "+OK");
    client.command("PASS secret");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.starts_with("-ERR [SYS/TEMP]"), "the client hears {text:?}; log: {}", place.log());
    assert_eq!(client.finish().code(), Some(111));
}

#[test]
fn auth_max_attempts() {
    let place = Place::new();
    for (attempts, method) in [(1, "user"), (3, "user"), (3, "sasl"), (3, "scram")] {
        let mut client = Server::login(&place)
            .set(&format!("auth_max_attempts={attempts}"))
            .set("auth_mechanisms=plain scram-sha-256")
            .start();
        assert_eq!(client.line(), GREETING);
        for attempt in 1..=attempts {
            let last = match method {
                "user" => {
                    assert_eq!(client.ask("USER alice"), "+OK");
                    client.ask("PASS wrong")
                }
                "sasl" => {
                    client.ask(&format!("AUTH PLAIN {}", tinmail_tests::proof::base64("\0alice\0wrong")))
                }
                _ => {
                    let mut scram = tinmail_tests::proof::Scram::new(true, "alice", "wrong");
                    let challenge = client.ask(&format!("AUTH SCRAM-SHA-256 {}", scram.first()));
                    client.ask(&scram.last(challenge.strip_prefix("+ ").unwrap()))
                }
            };
            let wanted = if attempt == attempts {
                "-ERR [AUTH] Too many attempts."
            } else {
                "-ERR [AUTH] Authentication failed."
            };
            assert_eq!(last, wanted, "{method}, attempt {attempt} of {attempts}");
        }
        assert!(client.rest().is_empty());
        assert!(client.finish().success());
    }
}

/// The refusal comes late, the success at once, and a burst of pipelined attempts is answered one after the other.
#[test]
fn auth_failure_delay() {
    let place = Place::new();
    let mut client = Server::login(&place).set("auth_failure_delay=300 msecs").start();
    assert_eq!(client.line(), GREETING);
    let begun = Instant::now();
    client.send("USER alice\r\nPASS wrong\r\nUSER nobody\r\nPASS wrong\r\n");
    for _ in 0..2 {
        assert_eq!(client.line(), "+OK");
        assert_eq!(client.line(), "-ERR [AUTH] Authentication failed.");
    }
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    client.log_in_after_greeting();
}

#[test]
fn haproxy_timeout() {
    let place = Place::new();
    let server = Server::login(&place).set("haproxy_trusted_networks=127.0.0.0/8").set("haproxy_timeout=3s");
    let mut client = server.start();
    let begun = Instant::now();
    let text = client.rest();
    assert!(begun.elapsed() >= Duration::from_millis(2900) && begun.elapsed() < Duration::from_secs(60));
    assert!(text.is_empty(), "no word before the header: {}", text.escape_ascii());
    // And with a header that comes in pieces.
    let mut client = server.start();
    for part in ["PRO", "XY TCP4 192.0.2.7 192.0", ".2.1 5", "5 110\r", "\nQUIT\r\n"] {
        client.send(part);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.line(), GREETING);
    assert_eq!(client.line(), "+OK Goodbye.");
    assert!(client.finish().success());
    assert!(place.log().contains("rip=192.0.2.7"), "{}", place.log());
}
