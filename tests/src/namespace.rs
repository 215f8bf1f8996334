//! Tests that mount something: they run again, alone, in a mount namespace of their own.

use crate::place::{Place, ids, is_root};
use std::path::Path;
use std::process::Command;

/// Set in the process that runs in the namespace.
const INSIDE: &str = "TINMAIL_TEST_INSIDE";

/// Runs the test of this name in a mount namespace of its own. Only root can; anybody else is told so.
pub fn run(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    if !is_root() {
        skipped(name, "needs root");
        return;
    }
    let mut command = Command::new("unshare");
    command.arg("-m").arg(std::env::current_exe().expect("own path")).args(["--exact", name, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A visible line about a test that could not run.
#[allow(clippy::print_stderr)]
pub fn skipped(name: &str, why: &str) {
    eprintln!("SKIPPED {name}: {why}");
}

fn mount(arguments: &[&str], on: &Path) {
    let status = Command::new("mount").args(arguments).arg(on).status().expect("mount");
    assert!(status.success(), "mount {arguments:?} {}", on.display());
}

/// Mounts a small file system over the place's Maildir, which must be empty. `limit`: `size=64k`, `nr_inodes=20`.
pub fn small_maildir(place: &Place, limit: &str) {
    let (uid, gid) = ids();
    let options = format!("{limit},uid={uid},gid={gid},mode=700");
    mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &place.maildir());
    for directory in ["Maildir/new", "Maildir/cur", "Maildir/tmp"] {
        place.make_directory(directory);
    }
}

/// Nothing can be written to the place's Maildir from here on. It must have been mounted.
pub fn make_read_only(place: &Place) {
    mount(&["-o", "remount,ro"], &place.maildir());
}

/// Takes everything away that was mounted there.
pub fn unmount(place: &Place) {
    let _ = Command::new("umount").arg("-l").arg(place.maildir()).status();
}
