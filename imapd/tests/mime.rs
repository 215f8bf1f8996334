//! ENVELOPE, BODYSTRUCTURE and BODY of messages as they really come, in `tests/mime`: NAME.eml, and in NAME.fetch what is
//! printed of it. `X-Case` in a message says what is wrong with it; of those without a header the name does.
//!
//! `UPDATE_GOLDEN=1` writes the .fetch files anew.
#![allow(clippy::unwrap_used, clippy::panic)]

use imapd::digest::Digest;
use imapd::fetch::{digester::Digester, structure};
use std::fmt::Write as _;
use std::path::PathBuf;

fn corpus() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mime");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
    paths.sort();
    assert!(paths.len() >= 60, "{}", paths.len());
    paths
}

/// What cannot be read in an editor is escaped; a line of its own for each answer.
fn shown(octets: &[u8]) -> String {
    let mut text = String::new();
    for &octet in octets {
        match octet {
            b' '..=b'~' => text.push(char::from(octet)),
            _ => write!(text, "<{octet:02x}>").unwrap(),
        }
    }
    text
}

#[test]
fn printed_as_before() {
    let mut digester = Digester::default();
    let mut buffer = vec![0; 64 << 10];
    let mut wrong = Vec::new();
    for path in corpus() {
        let message = std::fs::read(&path).unwrap();
        let blob = digester.digest(&mut &message[..], &mut buffer, 0).unwrap();
        let digest = Digest::decode(blob).unwrap();
        let mut body = Vec::new();
        structure::print_body(digest.structure(), &mut body);
        let sent = digest.sent().map_or("none".to_owned(), |sent| sent.to_string());
        let got = format!(
            "RFC822.SIZE {}\nsent {sent}\nENVELOPE {}\nBODYSTRUCTURE {}\nBODY {}\n",
            digest.octets(),
            shown(digest.envelope()),
            shown(digest.structure()),
            shown(&body)
        );
        let golden = path.with_extension("fetch");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &got).unwrap();
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != want {
            wrong.push(format!("{}\n--- want\n{want}--- got\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
