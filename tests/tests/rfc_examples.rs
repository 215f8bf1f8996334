//! The examples of RFCs 3501, 4731, 5256, 5819, 6851 and 7162 are replayed: each that `rfc-examples.txt` lists stands in its transcript,
//! and what is different has its reason beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use tinmail_tests::transcript::{Expected, Step, Transcript};
use tinmail_tests::{Place, Server, program, tls};

/// What is said in a transcript: by the client without tags, and by the server.
type Said = (Vec<String>, Vec<String>);

fn said(transcript: &Transcript) -> Said {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    for line in &transcript.lines {
        match &line.step {
            Step::Send(octets) => client.extend(text(octets).split("\r\n").map(without_tag)),
            Step::SendComputed(text) => client.push(without_tag(text)),
            Step::Expect(Expected::Exact(octets)) => server.push(text(octets)),
            Step::Expect(Expected::Computed(text)) => server.push(text.clone()),
            Step::Expect(Expected::Pattern(pattern)) => {
                let any_number = pattern.replace("[1-9][0-9]*", "1");
                server.push(any_number.replace(['\\', '^', '$'], ""));
            }
            _ => {}
        }
    }
    (client, server)
}

fn without_tag(line: &str) -> String {
    line.split_once(' ').map_or("", |(_, command)| command).to_owned()
}

/// Whether one of the lines is this one, in which `#` stands for a number or a set of them.
fn has(lines: &[String], wanted: &str) -> bool {
    let special = Regex::new(r"[\\.+*?()|\[\]{}^$]").unwrap();
    let pattern = special.replace_all(wanted, |found: &regex_lite::Captures<'_>| format!("\\{}", &found[0]));
    // `#news` is a name.
    let pattern = Regex::new("#([^a-z]|$)").unwrap().replace_all(&pattern, "[0-9:,]+$1").into_owned();
    let pattern = Regex::new(&format!("^(?i){pattern}$")).unwrap();
    lines.iter().any(|line| pattern.is_match(line))
}

#[test]
fn each_stands_in_its_transcript() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("rfc-examples.txt")).unwrap();
    let (mut wrong, mut count, mut rfcs) = (Vec::new(), 0, BTreeSet::new());
    let mut current: Option<(String, Option<Said>)> = None;
    let mut needs_reason = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (what, rest) = line.split_once(' ').unwrap();
        match what {
            "rfc" => {
                wrong.extend(
                    current.take().filter(|_| needs_reason).map(|(about, _)| format!("{about}: why?")),
                );
                let [rfc, _, name] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                rfcs.insert(rfc.to_owned());
                needs_reason = name == "-";
                let lines = (name != "-").then(|| {
                    let path = root.join(format!("transcripts/imap/{name}.txt"));
                    let head = fs::read_to_string(&path).unwrap();
                    let cited = head.lines().find(|line| line.starts_with("rfc:")).unwrap();
                    if !cited.contains(rfc) && name.starts_with("rfc") {
                        wrong.push(format!("{name} does not cite RFC {rfc}"));
                    }
                    said(&Transcript::read(&path).unwrap())
                });
                current = Some((rest.to_owned(), lines));
            }
            "C" | "S" => {
                count += 1;
                let Some((about, Some((client, server)))) = &current else { continue };
                if !has(if what == "C" { client } else { server }, rest) {
                    wrong.push(format!("{about}: {line}"));
                }
            }
            "why" => needs_reason = false,
            _ => panic!("{line}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 240 && rfcs.len() == 6, "{count} lines of {rfcs:?}");
}

/// RFC 3501 sections 6.1.1 and 6.2.1: what is offered before STARTTLS and under TLS.
#[test]
fn starttls() {
    let place = Place::new();
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &fs::read(tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    let server = Server::new(&place)
        .program(program::imapd())
        .set(&place.passdb("joe", "{PLAIN}password", ""))
        .set("ssl=required")
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
        .client_at("192.0.2.1");
    let (mut child, mut socket) = server.start_raw();
    let mut lines = BufReader::new(socket.try_clone().unwrap());
    let line = |lines: &mut dyn BufRead| {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    };
    let greeting = line(&mut lines);
    assert!(greeting.contains(" STARTTLS LOGINDISABLED] ") && !greeting.contains("AUTH="), "{greeting}");
    socket.write_all(b"a001 CAPABILITY\r\n").unwrap();
    let offered = line(&mut lines);
    assert!(
        offered.starts_with("* CAPABILITY IMAP4rev1 ")
            && offered.ends_with(" STARTTLS LOGINDISABLED\r\n")
            && !offered.contains("AUTH="),
        "{offered}"
    );
    assert_eq!(line(&mut lines), "a001 OK Capability completed.\r\n");
    socket.write_all(b"a002 STARTTLS\r\n").unwrap();
    assert!(line(&mut lines).starts_with("a002 OK "));
    let mut under_tls = BufReader::new(tls::connect(socket));
    let ask = |stream: &mut BufReader<tls::Stream>, command: &str| {
        stream.get_mut().write_all(command.as_bytes()).unwrap();
        line(stream)
    };
    let offered = ask(&mut under_tls, "a003 CAPABILITY\r\n");
    assert!(
        offered.contains(" AUTH=PLAIN")
            && !offered.contains("STARTTLS")
            && !offered.contains("LOGINDISABLED")
    );
    assert_eq!(line(&mut under_tls), "a003 OK Capability completed.\r\n");
    assert!(ask(&mut under_tls, "a004 LOGIN joe password\r\n").starts_with("a004 OK [CAPABILITY IMAP4rev1 "));
    assert!(ask(&mut under_tls, "a005 LOGOUT\r\n").starts_with("* BYE "));
    drop(under_tls);
    assert!(child.wait().unwrap().success(), "{}", place.log());
}
