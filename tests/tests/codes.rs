//! Every command and every response code that imapd can send stands in a transcript.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use regex_lite::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Those that no transcript can bring about, and who does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("OVERQUOTA", "tests/e2e/test_imap_full.py: a full disk"),
    ("INUSE", "common: dotlock, mailbox: half a minute of waiting"),
    ("EXPIRED", "common: auth, shadow: an expired password of shadow(5)"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The sources of a program without their tests.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, text);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "testing.rs" {
            let source = fs::read_to_string(&path).unwrap();
            text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap());
        }
    }
}

/// What clients and servers say in the transcripts of IMAP.
fn transcripts() -> (String, String) {
    let (mut client, mut server) = (String::new(), String::new());
    for entry in fs::read_dir(root().join("tests/transcripts/imap")).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            match line.split_once(' ') {
                Some((from, said)) if from.starts_with('C') => client += &format!("{said}\n"),
                Some((from, said)) if from.starts_with('S') => {
                    server += &format!("{}\n", said.replace('\\', ""))
                }
                _ => {}
            }
        }
    }
    (client.to_ascii_uppercase(), server)
}

#[test]
fn every_response_code_is_in_a_transcript() {
    let mut text = String::new();
    sources(&root().join("imapd/src"), &mut text);
    let patterns = [
        r#"with_code\(\s*(?:format!\(\s*)?"([A-Z-]+)"#,
        r#"(?:OK|NO|BAD|BYE|PREAUTH) \[([A-Z-]+)"#,
        r#"b?"(APPENDUID|COPYUID|MODIFIED|BADCHARSET)[ "(]"#,
    ];
    let mut codes = BTreeSet::new();
    for pattern in patterns {
        let found = Regex::new(pattern).unwrap();
        codes.extend(found.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    assert!(codes.len() > 25 && codes.contains("CAPABILITY") && codes.contains("TOOBIG"), "{codes:?}");
    let (_, server) = transcripts();
    let missing: Vec<&String> = codes
        .iter()
        .filter(|code| !ELSEWHERE.iter().any(|(known, _)| known == code))
        .filter(|code| !Regex::new(&format!(r"\[{code}[ \](]")).unwrap().is_match(&server))
        .collect();
    assert!(missing.is_empty(), "in no transcript: {missing:?}");
    let unknown: Vec<_> = ELSEWHERE.iter().filter(|(code, _)| !codes.contains(*code)).collect();
    assert!(unknown.is_empty(), "never sent: {unknown:?}");
}

#[test]
fn every_command_is_in_transcripts() {
    let grammar = fs::read_to_string(root().join("imapd/src/grammar/command.rs")).unwrap();
    let arm = Regex::new(r#"(?m)^\s+((?:b"[A-Z]+"(?: \| )?)+) =>"#).unwrap();
    let name = Regex::new(r#"b"([A-Z]+)""#).unwrap();
    let mut commands: BTreeSet<String> = BTreeSet::new();
    for arm in arm.captures_iter(&grammar) {
        commands.extend(name.captures_iter(&arm[1]).map(|name| name[1].to_owned()));
    }
    for not_one in ["CONDSTORE", "UID", "CHARSET", "RETURN", "USE"] {
        commands.remove(not_one);
    }
    assert!(commands.len() >= 32 && commands.contains("THREAD"), "{commands:?}");
    for with_uid in ["FETCH", "STORE", "COPY", "MOVE", "SEARCH", "SORT", "THREAD", "EXPUNGE"] {
        commands.insert(format!("UID {with_uid}"));
    }
    let (client, _) = transcripts();
    let times: BTreeMap<&String, usize> = commands
        .iter()
        .map(|command| {
            let pattern = Regex::new(&format!(r"(?m)(^|RN)[A-Z0-9.]+ {command}( |\\|$)")).unwrap();
            (command, pattern.find_iter(&client).count())
        })
        .collect();
    let missing: Vec<_> =
        times.iter().filter(|(_, count)| **count == 0).map(|(command, _)| command).collect();
    assert!(missing.is_empty(), "in no transcript: {missing:?}");
}
