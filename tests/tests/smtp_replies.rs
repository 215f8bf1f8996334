//! Every reply of smtpd's stands word for word in a transcript, or in the test that is named here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use regex_lite::Regex;
use std::fs;
use std::path::Path;
use tinmail_tests::transcript::{Expected, Step, Transcript};

/// Those that no transcript can bring about, and who does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("BEGIN_TLS", "tests/tests/smtp_matrix.rs"),
    ("TLS_TWICE", "tests/tests/smtp_matrix.rs"),
    ("OUT_OF_ORDER", "tests/tests/smtp_matrix.rs"),
    ("AUTH_EXPIRED", "tests/e2e/test_smtp_codes.py"),
    ("DISK_FULL", "tests/e2e/test_smtp_codes.py"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What the server says in transcripts, a line each. What is only the begin of a reply is none of them.
fn said() -> String {
    let mut lines = String::new();
    for entry in fs::read_dir(root().join("tests/transcripts/smtp")).unwrap() {
        for line in Transcript::read(&entry.unwrap().path()).unwrap().lines {
            match line.step {
                Step::Expect(Expected::Exact(octets)) => lines.push_str(&String::from_utf8_lossy(&octets)),
                Step::Expect(Expected::Computed(text)) => lines.push_str(&text),
                Step::Expect(Expected::Pattern(text)) => lines.push_str(&text.replace(['\\', '^', '$'], "")),
                _ => {}
            }
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn every_reply_is_somewhere() {
    let source = fs::read_to_string(root().join("smtpd/src/reply.rs")).unwrap();
    let constant =
        Regex::new(r#"pub const ([A-Z0-9_]+): Reply =\s+reply\((\d+), (\d), (\d+), (\d+), "([^"]+)"\);"#)
            .unwrap();
    let replies: Vec<_> = constant
        .captures_iter(&source)
        .map(|found| {
            let [name, code, class, subject, detail, text] = found.extract().1;
            (name, code, format!("{class}.{subject}.{detail} {text}"))
        })
        .collect();
    assert_eq!(replies.len(), source.matches("pub const ").count() - 1, "all but HELP");
    let said = said();
    let mut missing = Vec::new();
    for (name, code, words) in &replies {
        let whole = format!("{code} {words}");
        let is_said = said.lines().any(|line| line == whole);
        let is_found = match ELSEWHERE.iter().find(|(elsewhere, _)| elsewhere == name) {
            Some(_) if is_said => panic!("{name} is in a transcript: it need not be named here"),
            Some((_, file)) => {
                let text = fs::read_to_string(root().join(file)).unwrap();
                text.lines().any(|line| line.contains(*code) && line.contains(words))
            }
            None => is_said,
        };
        if !is_found {
            missing.push(format!("{name}: {whole}"));
        }
    }
    assert!(missing.is_empty(), "nowhere:\n{}", missing.join("\n"));
}
