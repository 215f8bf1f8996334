//! Prints a Maildir as the store sees it: `maildir_list DIR [COMMAND]...`
//!
//! Without a command: UIDVALIDITY, then UID, octets, unique-id (`-` for the default) and file name of each message.
//! `quiet` prints only the sums. `time` adds how long opening took, `memory` the process's private memory afterwards,
//! `seen N` and `remove N` change message N (from 1), `walk` reads all messages' data, `md5` prints header fingerprints
//! as unique-ids, `later` counts octets only after opening, `hold` waits for a line at the end.

use common::maildir::{Maildir, Options, Snapshot, header_md5};
use std::io::{self, Write};

fn main() -> io::Result<()> {
    // As the servers do.
    common::sys::process::return_large_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let out = &mut io::BufWriter::new(io::stdout().lock());
    let directory = arguments.first().cloned().unwrap_or_else(|| ".".to_owned());
    let start = std::time::Instant::now();
    let maildir = Maildir::open(directory).map_err(io::Error::other)?;
    let options = Options { count_octets: !has("later"), ..Options::default() };
    let mut snapshot = Snapshot::open(&maildir, &options).map_err(io::Error::other)?;
    snapshot.ensure_sizes(&maildir, &options).map_err(io::Error::other)?;
    let opened = start.elapsed();
    if let Some(error) = snapshot.incomplete() {
        writeln!(out, "incomplete {error}")?;
    }
    if has("time") {
        writeln!(out, "opened in {:.3} ms", opened.as_secs_f64() * 1e3)?;
    }
    writeln!(out, "{} {} {}", snapshot.uid_validity(), snapshot.len(), snapshot.total_octets())?;
    let mut failed = Ok(());
    if !has("quiet") || has("walk") {
        let walk = snapshot.for_each(0, |i, message| {
            if !has("quiet") {
                let mut unique_id =
                    message.unique_id.map_or("-".to_owned(), |id| id.escape_ascii().to_string());
                if has("md5") {
                    let file = snapshot.get(i).and_then(|message| maildir.open_message(&message));
                    unique_id = file.ok().and_then(|(file, _)| header_md5(&file).ok()).unwrap_or_default();
                }
                let name = message.name.escape_ascii();
                failed = writeln!(out, "{} {} {unique_id} {name}", message.uid, message.octets);
            }
            failed.is_ok()
        });
        walk.map_err(io::Error::other)?;
    }
    failed?;
    for pair in arguments.windows(2) {
        let [command, number] = pair else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        let message = snapshot.get(number.saturating_sub(1)).map_err(io::Error::other)?;
        match command.as_str() {
            "seen" => drop(maildir.mark_seen(&message).map_err(io::Error::other)?),
            "remove" => drop(maildir.remove(&message).map_err(io::Error::other)?),
            _ => {}
        }
    }
    if has("memory") {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
        for line in rollup.lines().filter(|line| line.starts_with("Private") || line.starts_with("Rss")) {
            writeln!(out, "{line}")?;
        }
    }
    if has("hold") {
        out.flush()?;
        io::stdin().read_line(&mut String::new())?;
    }
    out.flush()
}
