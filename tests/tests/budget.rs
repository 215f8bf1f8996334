//! Octets and memory, against `tests/budget.txt`. Who makes them grow has to say why, in the commit that changes the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::Child;
use std::time::Duration;
use tinmail_tests::{Place, Server, memory, namespace, place, program, tls};

/// Names and their limits.
fn budget() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/budget.txt")).unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
}

fn check(measured: &[(&str, u64)]) {
    let budget = budget();
    let mut over = Vec::new();
    for (name, value) in measured {
        let limit = budget[*name];
        println!("{name}: {value} of {limit}");
        if *value > limit || *value == 0 {
            over.push(format!("{name}: {value}, budget {limit}"));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}

#[test]
fn octets_of_the_program() {
    if std::env::var_os("TINMAIL_POP3D_RELEASE").is_none() && std::env::consts::ARCH != "x86_64" {
        return namespace::skipped("octets_of_the_program", "the budget is for x86-64");
    }
    check(&[("pop3d_octets", fs::metadata(program::pop3d_release()).unwrap().len())]);
}

/// A Maildir of 1,000 messages whose sizes are known.
fn thousand() -> Place {
    let place = Place::new();
    for number in 0..1000 {
        let name = format!("cur/{}.M{number}P1.host,S=20,W=23:2,S", 1_000_000_000 + number);
        place.deliver(&name, b"Subject: many\n\nbody\n");
    }
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &fs::read(tls::certificates().join(name)).unwrap());
    }
    place
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn say(wire: &mut dyn Wire, command: &str, until: &str) {
    wire.write_all(command.as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(until.as_bytes()) {
        let mut octet = [0];
        wire.read_exact(&mut octet).unwrap_or_else(|error| panic!("{error}: {}", seen.escape_ascii()));
        seen.extend(octet);
    }
}

/// The mean of all, KiB. After a second of silence what only a busy session needs is given back: where others compute, that takes
/// its time, so it is waited for until it does not become less.
fn in_silence(all: &[(Place, Child, Box<dyn Wire>)]) -> u64 {
    let mean =
        || all.iter().map(|(_, child, _)| memory::family_kib(child.id())).sum::<u64>() / all.len() as u64;
    let mut last = u64::MAX;
    loop {
        std::thread::sleep(Duration::from_millis(1500));
        let now = mean();
        if now >= last {
            return last;
        }
        last = now;
    }
}

/// Several of the same at once, so that pages of the program are nobody's own; the mean before and after the login.
fn private(under_tls: bool) -> (u64, u64) {
    const COUNT: u64 = 10;
    let mut all: Vec<(Place, Child, Box<dyn Wire>)> = Vec::new();
    for _ in 0..COUNT {
        let place = thousand();
        let file = |name: &str| place.path().join(name).display().to_string();
        let mut server = Server::login(&place)
            .program(program::pop3d_release())
            .set("ssl=yes")
            .set(&format!("ssl_cert_file={}", file("cert.pem")))
            .set(&format!("ssl_key_file={}", file("key.pem")));
        if under_tls {
            server = server.argument("--tls");
        }
        let (child, socket) = server.start_raw();
        let mut wire: Box<dyn Wire> =
            if under_tls { Box::new(tls::connect(socket)) } else { Box::new(socket) };
        say(&mut *wire, "", "ready.\r\n");
        all.push((place, child, wire));
    }
    let before = in_silence(&all);
    for (_, _, wire) in &mut all {
        say(wire, "USER alice\r\nPASS secret\r\nSTAT\r\n", "+OK 1000 23000\r\n");
    }
    let after = in_silence(&all);
    for (_, child, wire) in &mut all {
        say(wire, "QUIT\r\n", "+OK Goodbye.\r\n");
        // The server waits for the client to close.
        *wire = Box::new(std::io::Cursor::new(Vec::new()));
        assert!(child.wait().unwrap().success());
    }
    (before, after)
}

#[test]
fn private_memory_in_clear() {
    if !place::is_root() {
        return namespace::skipped(
            "private_memory_in_clear",
            "needs root: the processes hide from their own user",
        );
    }
    let (before, after) = private(false);
    check(&[("clear_before_login_kib", before), ("clear_after_login_kib", after)]);
}

#[test]
fn private_memory_under_tls() {
    if !place::is_root() {
        return namespace::skipped(
            "private_memory_under_tls",
            "needs root: the processes hide from their own user",
        );
    }
    let (before, after) = private(true);
    check(&[("tls_before_login_kib", before), ("tls_after_login_kib", after)]);
}

/// SMTP after EHLO: guard and front, the mean of ten connections in silence. As root, as it is installed.
fn private_smtp(under_tls: bool) -> u64 {
    const COUNT: u64 = 10;
    let base = std::env::temp_dir().join(format!("tinmail-budget.{}", std::process::id()));
    let mut all: Vec<(Place, Child, Box<dyn Wire>)> = Vec::new();
    for _ in 0..COUNT {
        let place = thousand();
        let file = |name: &str| place.path().join(name).display().to_string();
        let mut server = Server::login(&place)
            .program(program::smtpd_release())
            .through(&["/usr/bin/env"], true)
            .set(&format!("base_dir={}", base.display()))
            .set("myhostname=mx.example.org")
            .set("ssl=yes")
            .set(&format!("ssl_cert_file={}", file("cert.pem")))
            .set(&format!("ssl_key_file={}", file("key.pem")));
        if under_tls {
            server = server.argument("--tls");
        }
        let (child, socket) = server.start_raw();
        let mut wire: Box<dyn Wire> =
            if under_tls { Box::new(tls::connect(socket)) } else { Box::new(socket) };
        say(&mut *wire, "", "tinmail\r\n");
        say(&mut *wire, "EHLO client.example\r\n", "HELP\r\n");
        all.push((place, child, wire));
    }
    let mean = in_silence(&all);
    for (_, child, wire) in &mut all {
        say(wire, "QUIT\r\n", "Bye\r\n");
        *wire = Box::new(std::io::Cursor::new(Vec::new()));
        assert!(child.wait().unwrap().success());
    }
    let _ = fs::remove_dir_all(base);
    mean
}

#[test]
fn private_memory_of_smtp() {
    if !place::is_root() {
        return namespace::skipped(
            "private_memory_of_smtp",
            "needs root: the processes hide from their own user",
        );
    }
    check(&[
        ("smtp_clear_after_ehlo_kib", private_smtp(false)),
        ("smtp_tls_after_ehlo_kib", private_smtp(true)),
    ]);
}
