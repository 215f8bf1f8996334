//! The transcripts of `tests/transcripts`. `TRANSCRIPT=name` runs only those whose names contain it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tinmail_tests::transcript::Transcript;
use tinmail_tests::{many, run};

#[test]
fn pop3() {
    tinmail_tests::program::pop3d();
    run_directory("pop3");
}

#[test]
fn imap() {
    tinmail_tests::program::imapd();
    run_directory("imap");
}

#[test]
fn smtp() {
    tinmail_tests::program::smtpd();
    run_directory("smtp");
}

fn run_directory(directory: &str) {
    let only = std::env::var("TRANSCRIPT").unwrap_or_default();
    let outcomes = many::each(directory, &only, |path| {
        Transcript::read(path).and_then(|transcript| run::run_all(&transcript))
    });
    assert!(!outcomes.is_empty() || !only.is_empty(), "no transcript");
    let count = outcomes.len();
    let mut failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    failures.sort();
    assert!(failures.is_empty(), "{} of {count} failed\n\n{}", failures.len(), failures.join("\n\n"));
}
