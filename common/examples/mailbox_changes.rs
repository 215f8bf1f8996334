//! Changes all messages of a mailbox: `mailbox_changes FROM TO COMMAND...`
//!
//! `copy`, `move`, `store` and `expunge` are done in that order as they are given, with what the client would be told
//! afterwards, and each prints the most memory that the process had of its own meanwhile, in KiB, how much was told, how
//! many messages are left, and the most memory of a child. `expunge` removes what
//! has `\Deleted`, which `store` gives to all. `open` opens the other mailbox and closes it again. `uidlist` puts a copy of
//! `dovecot-uidlist` in its place, as another program that has written it anew. `wait` lets the time stamps of
//! the directories come of age: before, each look reads them again.

use common::maildir::Maildir;
use common::maildir::mailbox::{FlagChange, Flags, How, Mailbox, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

static PEAK: AtomicU64 = AtomicU64::new(0);
static CHILDREN: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

fn anonymous(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn watch() {
    while !STOP.load(Ordering::Relaxed) {
        PEAK.fetch_max(anonymous("self"), Ordering::Relaxed);
        let children = format!("/proc/self/task/{}/children", std::process::id());
        for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            CHILDREN.fetch_max(anonymous(child), Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn main() -> io::Result<()> {
    // As the servers do.
    common::sys::process::return_large_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, commands @ ..] = &arguments[..] else { return Err(io::ErrorKind::InvalidInput.into()) };
    let open = |path: &String| Maildir::open(path).map_err(io::Error::other);
    let (from, to) = (open(from)?, open(to)?);
    let options = OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_secs(5) };
    let mut mailbox = Mailbox::open(&from, &options).map_err(io::Error::other)?;
    let watcher = std::thread::spawn(watch);
    for command in commands {
        if command == "wait" {
            std::thread::sleep(Duration::from_millis(2200));
            continue;
        }
        PEAK.store(anonymous("self"), Ordering::Relaxed);
        CHILDREN.store(0, Ordering::Relaxed);
        let all = vec![1..=mailbox.len()];
        let done = match command.as_str() {
            "copy" | "move" => mailbox.copy_to(&all, &to, command == "move").map(drop),
            "store" => {
                let change = FlagChange { how: How::Add, bits: Flags::DELETED, keywords: &[], silent: true };
                mailbox.store_flags(&all, &change, None).map(drop)
            }
            "expunge" => mailbox.expunge(&all).map(drop),
            "uidlist" => {
                let from = from.path();
                std::fs::copy(from.join("dovecot-uidlist"), from.join("tmp/uidlist"))?;
                std::fs::rename(from.join("tmp/uidlist"), from.join("dovecot-uidlist"))?;
                Ok(())
            }
            _ => Mailbox::open(&to, &options).map(drop),
        };
        done.map_err(io::Error::other)?;
        let mut told = 0;
        mailbox.sync(true, &mut |_| told += 1).map_err(io::Error::other)?;
        // As a session does when its client has the answer.
        mailbox.tidy();
        let (peak, child) = (PEAK.load(Ordering::Relaxed), CHILDREN.load(Ordering::Relaxed));
        writeln!(io::stdout(), "{command} {peak} {told} {} {child}", mailbox.len())?;
    }
    STOP.store(true, Ordering::Relaxed);
    let _ = watcher.join();
    Ok(())
}
