//! Every command and every response code that imapd can send stands in a transcript: of one connection, of two, and of three. So does
//! every word of an argument, in one at least.
//! `cargo test -p tinmail-tests --test codes -- --nocapture` says in which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use regex_lite::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tinmail_tests::transcript::{Expected, Step, Transcript};

/// Those that no transcript can bring about, and who does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("INUSE", "e2e: test_imap_codes: half a minute of waiting"),
    ("EXPIRED", "e2e: test_imap_codes: an expired password of shadow(5)"),
];

/// Transcripts by the number of connections that are open at that moment: one, two, three or more.
type Stock = BTreeMap<String, [BTreeSet<String>; 3]>;

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

/// Looks what is said in the transcripts of IMAP: `find` names what a line of the client's, or of the server's, has.
fn take_stock(wanted: &BTreeSet<String>, client: bool, find: impl Fn(&str) -> Vec<String>) -> Stock {
    let mut stock: Stock = wanted.iter().map(|name| (name.clone(), Default::default())).collect();
    for entry in fs::read_dir(root().join("tests/transcripts/imap")).unwrap() {
        let transcript = Transcript::read(&entry.unwrap().path()).unwrap();
        let mut open = BTreeSet::new();
        for line in &transcript.lines {
            let said = match &line.step {
                Step::Send(octets) => String::from_utf8_lossy(octets).into_owned(),
                Step::SendComputed(text) => text.clone(),
                Step::Expect(Expected::Exact(octets)) => String::from_utf8_lossy(octets).into_owned(),
                Step::Expect(Expected::Computed(text)) => text.clone(),
                Step::Expect(Expected::Pattern(pattern)) => pattern.replace('\\', ""),
                _ => String::new(),
            };
            let is_client = matches!(line.step, Step::Send(_) | Step::SendComputed(_));
            open.insert(line.connection);
            if is_client == client {
                for name in said.split("\r\n").flat_map(&find) {
                    if let Some(places) = stock.get_mut(&name) {
                        places[open.len().min(3) - 1].insert(transcript.name.clone());
                    }
                }
            }
            if matches!(line.step, Step::Eof) || !is_client && said.starts_with("* BYE") {
                open.remove(&line.connection);
            }
        }
    }
    stock
}

/// Says where everything is; fails if anything is nowhere.
fn check(stock: &Stock) {
    let mut missing = Vec::new();
    for (name, places) in stock {
        let counts = places.each_ref().map(BTreeSet::len);
        let some = places.each_ref().map(|names| names.first().map_or("-", |name| name));
        println!("{name:<22} {counts:>3?}  {}", some.join(", "));
        missing.extend((1..=3).filter(|at| counts[at - 1] == 0).map(|at| format!("{name} with {at}")));
    }
    assert!(missing.is_empty(), "in no transcript with so many connections: {missing:?}");
}

/// The words of the grammar: the file, what the block that reads them begins with, and the part of a client's line that can hold them.
/// `None`: what is asked of each message, behind everything else.
const WORDS: &[(&str, &str, &str, Option<&str>)] = &[
    ("SEARCH RETURN", "search.rs", "impl SearchReturn {", Some(r" SEARCH RETURN \(([^)]*)\)")),
    ("SORT", "search.rs", "impl SortArguments {", Some(r" SORT \(([^)]*)\)")),
    ("THREAD", "search.rs", "impl ThreadArguments {", Some(r" THREAD (\S+) ")),
    ("SEARCH", "search.rs", "impl SearchKey {", None),
    ("SEARCH", "search.rs", "fn simple(", None),
    ("FETCH", "fetch.rs", "impl FetchItem {", Some(r" FETCH \S+ (.*)")),
    ("FETCH", "fetch.rs", "fn spelt_out(", Some(r" FETCH \S+ (\S+)")),
    ("FETCH []", "fetch.rs", "impl Section {", Some(r" FETCH .*\[([^\]]*)\]")),
    ("STORE", "store.rs", "impl StoreArguments {", Some(r" STORE \S+ (.*)")),
    ("LIST", "list.rs", "impl ListSelection {", Some(r" LIST \(([^)]*)\)")),
    ("LIST RETURN", "list.rs", "impl ListReturn {", Some(r" LIST .* RETURN \((.*)\)")),
    ("STATUS", "list.rs", "impl StatusItem {", Some(r" STATUS .*\(([^)]*)\)")),
];

/// What a search looks for, without its texts in quotation marks.
fn search_keys(line: &str) -> Option<String> {
    let before =
        r"^\S+ (?:UID )?(?:SEARCH(?: RETURN \([^)]*\))?(?: CHARSET \S+)?|SORT \([^)]*\) \S+|THREAD \S+ \S+) ";
    let behind = Regex::new(before).unwrap().find(line)?.end();
    Some(Regex::new(r#""[^"]*""#).unwrap().replace_all(&line[behind..], "").into_owned())
}

#[test]
fn every_word_is_in_transcripts() {
    let mut words = BTreeSet::new();
    let word = Regex::new(r#""([A-Z][A-Z0-9.-]+)""#).unwrap();
    for (command, file, begin, _) in WORDS {
        let text = fs::read_to_string(root().join("imapd/src/grammar").join(file)).unwrap();
        let (_, block) = text.split_once(&format!("\n{begin}")).or(text.split_once(begin)).unwrap();
        let block = block.split("\n}\n").next().unwrap();
        let before = words.len();
        words.extend(word.captures_iter(block).map(|word| format!("{command} {}", &word[1])));
        assert!(words.len() > before, "no word in {file}: {begin}");
    }
    let stock = take_stock(&words, true, |line| {
        let line = line.to_ascii_uppercase();
        let said = |(command, _, _, part): &(&str, &str, &str, Option<&str>)| {
            let said = match part {
                Some(part) => Regex::new(part).unwrap().captures(&line).map(|found| found[1].to_owned()),
                None => search_keys(&line),
            };
            let is_word = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
            let said = said.unwrap_or_default();
            // The numbers of a part stand before what is asked of it.
            let words =
                said.split(|c| !is_word(c)).map(|word| word.trim_start_matches(|c| !char::is_alphabetic(c)));
            words.map(|word| format!("{command} {word}")).collect::<Vec<_>>()
        };
        WORDS.iter().flat_map(said).collect()
    });
    let missing: Vec<_> = stock.iter().filter(|(_, places)| places.iter().all(BTreeSet::is_empty)).collect();
    assert!(missing.is_empty(), "in no transcript: {missing:?}");
    assert!(words.len() >= 90, "{words:?}");
}

#[test]
fn every_response_code_is_in_transcripts() {
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
    for (code, _) in ELSEWHERE {
        assert!(codes.remove(*code), "never sent: {code}");
    }
    let code = Regex::new(r"^\^?\S+ (?:OK|NO|BAD|BYE|PREAUTH) \[([A-Z-]+)[ \](]").unwrap();
    check(&take_stock(&codes, false, |line| {
        code.captures(line).map(|code| code[1].to_owned()).into_iter().collect()
    }));
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
    let said = Regex::new(r"^[A-Z0-9.]+ ((?:UID )?[A-Z]+)(?: |$)").unwrap();
    check(&take_stock(&commands, true, |line| {
        said.captures(&line.to_ascii_uppercase()).map(|said| said[1].to_owned()).into_iter().collect()
    }));
}
