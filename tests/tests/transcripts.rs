//! The transcripts of `tests/transcripts`. `TRANSCRIPT=name` runs only those whose names contain it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tinmail_tests::run;
use tinmail_tests::transcript::Transcript;

#[test]
fn pop3() {
    tinmail_tests::program::pop3d();
    run_directory("transcripts/pop3");
}

#[test]
fn imap() {
    tinmail_tests::program::imapd();
    run_directory("transcripts/imap");
}

#[test]
fn smtp() {
    tinmail_tests::program::smtpd();
    run_directory("transcripts/smtp");
}

fn run_directory(directory: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let only = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    paths.retain(|path| path.file_stem().is_some_and(|name| name.to_string_lossy().contains(&only)));
    paths.sort();
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = Transcript::read(path).and_then(|transcript| run::run_all(&transcript));
                    failures.lock().unwrap().extend(result.err());
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(!paths.is_empty() || !only.is_empty(), "no transcript");
    assert!(failures.is_empty(), "{} of {} failed\n\n{}", failures.len(), paths.len(), failures.join("\n\n"));
}
