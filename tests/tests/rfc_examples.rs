//! The examples of RFCs 3501, 4731, 5256, 5819, 6851 and 7162 are replayed: each that `rfc-examples.txt` lists stands in its transcript,
//! in the same order and with its result, and what is different has its reason beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use tinmail_tests::transcript::{Expected, Step, Transcript};
use tinmail_tests::{Place, Server, program, tls};

/// A line of a transcript.
struct Line {
    connection: usize,
    /// The client's tag; `None`: the server says it.
    tag: Option<String>,
    /// Of the client without the tag.
    text: String,
}

fn said(transcript: &Transcript) -> Vec<Line> {
    let mut said = Vec::new();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    for line in &transcript.lines {
        let connection = line.connection;
        let of_client = |line: &str| {
            let (tag, command) = line.split_once(' ').unwrap_or_default();
            Line { connection, tag: Some(tag.to_owned()), text: command.to_owned() }
        };
        let of_server = |text| Line { connection, tag: None, text };
        match &line.step {
            Step::Send(octets) => said.extend(text(octets).split("\r\n").map(of_client)),
            Step::SendComputed(text) => said.push(of_client(text)),
            Step::Expect(Expected::Exact(octets)) => said.push(of_server(text(octets))),
            Step::Expect(Expected::Computed(text)) => said.push(of_server(text.clone())),
            Step::Expect(Expected::Pattern(pattern)) => {
                let any_number = pattern.replace("[1-9][0-9]*", "1");
                said.push(of_server(any_number.replace(['\\', '^', '$'], "")));
            }
            _ => {}
        }
    }
    said
}

/// Whether the line is this one, in which `#` stands for a number or a set of them.
fn is(line: &str, wanted: &str) -> bool {
    let special = Regex::new(r"[\\.+*?()|\[\]{}^$]").unwrap();
    let pattern = special.replace_all(wanted, |found: &regex_lite::Captures<'_>| format!("\\{}", &found[0]));
    // `#news` is a name.
    let pattern = Regex::new("#([^a-z]|$)").unwrap().replace_all(&pattern, "[0-9:,]+$1").into_owned();
    Regex::new(&format!("^(?i){pattern}$")).unwrap().is_match(line)
}

/// An example as its transcript replays it.
struct Example {
    about: String,
    /// `None`: there is no transcript.
    said: Option<Vec<Line>>,
    /// Where the last command stands in it.
    at: Option<usize>,
    needs_reason: bool,
}

impl Example {
    /// The client says so, behind what it has said before; the result of it is this one.
    fn client(&mut self, wanted: &str, result: &str) -> Result<(), String> {
        let Some(said) = &self.said else { return Ok(()) };
        let from = self.at.map_or(0, |at| at + 1);
        let found = said.iter().skip(from).position(|line| line.tag.is_some() && is(&line.text, wanted));
        let at = from + found.ok_or("is not said, or not in this order")?;
        self.at = Some(at);
        let Line { connection, tag, .. } = &said[at];
        // An empty line has none.
        let Some(tag) = tag.as_deref().filter(|tag| !tag.is_empty()) else { return Ok(()) };
        let tag = format!("{tag} ");
        let of_server = |line: &&Line| line.tag.is_none() && line.connection == *connection;
        let completion = said[at..].iter().filter(of_server).find_map(|line| line.text.strip_prefix(&tag));
        match completion {
            Some(text) if text.split(' ').next() == Some(result) => Ok(()),
            other => Err(format!("its result is {other:?}, not {result}")),
        }
    }

    /// The server says so: to the last command, or anywhere if there was none.
    fn server(&self, wanted: &str) -> Result<(), String> {
        let Some(said) = &self.said else { return Ok(()) };
        let from = self.at.map_or(0, |at| at + 1);
        let command = self.at.map(|at| &said[at]);
        let end = command.and_then(|command| {
            let tag = format!("{} ", command.tag.as_deref().unwrap_or_default());
            said[from..].iter().position(|line| {
                line.tag.is_none() && line.connection == command.connection && line.text.starts_with(&tag)
            })
        });
        let answer = &said[from..end.map_or(said.len(), |end| from + end)];
        let found = answer.iter().any(|line| {
            line.tag.is_none()
                && command.is_none_or(|command| command.connection == line.connection)
                && is(&line.text, wanted)
        });
        if found { Ok(()) } else { Err("is not said there".to_owned()) }
    }
}

#[test]
fn each_stands_in_its_transcript() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("rfc-examples.txt")).unwrap();
    let (mut wrong, mut count, mut rfcs) = (Vec::new(), 0, BTreeSet::new());
    let mut current: Option<Example> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (what, rest) = line.split_once(' ').unwrap();
        if what == "rfc" {
            let before = current.take().filter(|example| example.needs_reason);
            wrong.extend(before.map(|example| format!("{}: why?", example.about)));
            let [rfc, _, name] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            rfcs.insert(rfc.to_owned());
            let said = (name != "-").then(|| {
                let path = root.join(format!("transcripts/imap/{name}.txt"));
                let head = fs::read_to_string(&path).unwrap();
                let cited = head.lines().find(|line| line.starts_with("rfc:")).unwrap();
                if !cited.contains(rfc) && name.starts_with("rfc") {
                    wrong.push(format!("{name} does not cite RFC {rfc}"));
                }
                said(&Transcript::read(&path).unwrap())
            });
            current = Some(Example { about: rest.to_owned(), needs_reason: said.is_none(), said, at: None });
            continue;
        }
        let example = current.as_mut().unwrap();
        let result = match what {
            "C" => example.client(rest, "OK"),
            "C-NO" => example.client(rest, "NO"),
            "C-BAD" => example.client(rest, "BAD"),
            "S" => example.server(rest),
            "why" => {
                example.needs_reason = false;
                continue;
            }
            _ => panic!("{line}"),
        };
        count += 1;
        wrong.extend(result.err().map(|why| format!("{}: {line}: {why}", example.about)));
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
