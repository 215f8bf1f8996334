//! `~/.forward`, read by the user's own process.
//!
//! The file steers what happens with the user's rights, so it counts only if nobody else can have put it there; otherwise
//! mail goes into the mailbox, and the log says why. The extension in its name is a stranger's.

use crate::aliases::{Item, items_at_home};
use crate::envelope::{Recipient, Target};
use crate::expand::RECIPIENTS_MAX;
use crate::status::{Enhanced, Status};
use crate::values::words;
use common::auth::Account;
use common::config::Config;
use common::sys::trusted;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Octets of the file, and of each that it includes.
const SIZE_MAX: u64 = 256 * 1024;
/// Octets that there is room for at first in the name of one.
const PATH_ROOM: usize = 64;
/// How deep files may include files.
const DEPTH_MAX: usize = 10;
/// Files that are read for one recipient, and their octets: each of them may include many, and those again.
const FILES_MAX: usize = 100;
const TOTAL_MAX: usize = 1 << 20;

/// The entries of the user's file, as they were written. `None`: there is none, or none that counts. Status: that cannot be
/// said now. `warn` gets lines for the log.
pub(super) fn read(
    config: &Config,
    account: &Account,
    recipient: &Recipient,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Vec<String>>, Status> {
    let Target::Mailbox { extension, direct: false, .. } = &recipient.target else { return Ok(None) };
    for path in paths(config, account, recipient, extension) {
        // Nearly nobody has one: the way to it need not be walked for that.
        if path.symlink_metadata().is_err_and(|error| is_absent(&error)) {
            continue;
        }
        match read_file(&path, account.uid) {
            Ok(text) => {
                let mut reading = Reading { account, entries: Vec::new(), files: 0, octets: 0 };
                reading.add(&text, &path, 0, warn)?;
                // An empty one means the mailbox.
                return Ok((!reading.entries.is_empty()).then_some(reading.entries));
            }
            Err(error) if is_absent(&error) => {}
            Err(error) if error.raw_os_error().is_none() => {
                warn(format!("{}: not followed: {error}", path.display()));
                return Ok(None);
            }
            Err(error) => {
                warn(format!("{}: {error}", path.display()));
                return Err(Status::new(451, Enhanced(4, 3, 0), "The .forward file cannot be read now"));
            }
        }
    }
    Ok(None)
}

/// Whether the user's file names the file or program that is this recipient's target.
pub(super) fn names(
    config: &Config,
    account: &Account,
    recipient: &Recipient,
    warn: &mut dyn FnMut(String),
) -> Result<bool, Status> {
    let wanted = match &recipient.target {
        Target::File { path, .. } => Item::File(path.clone()),
        Target::Command { words, .. } => Item::Command(words.clone()),
        Target::Mailbox { .. } | Target::Remote(_) | Target::Expanded { .. } => return Ok(true),
    };
    let local = recipient.address.local().to_lowercase();
    let cut = local.char_indices().skip(1).find(|(_, c)| config.recipient_delimiter.contains(*c));
    let extension = cut.and_then(|(at, c)| local.get(at + c.len_utf8()..)).unwrap_or_default();
    // A user's name may have the delimiter in it.
    for extension in [extension, ""] {
        let (user, extension) = (account.name.clone(), extension.to_owned());
        let target = Target::Mailbox { user, extension, direct: false };
        let asked = Recipient { target, ..recipient.clone() };
        let entries = read(config, account, &asked, warn)?.unwrap_or_default();
        if entries.iter().any(|entry| crate::aliases::item(entry).as_ref() == Ok(&wanted)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Where it may be, by `forward_path`.
fn paths(config: &Config, account: &Account, recipient: &Recipient, extension: &str) -> Vec<PathBuf> {
    // `.forward+../x` would be another's directory.
    let safe = |c: char| if c.is_alphanumeric() || "-_.+=".contains(c) { c } else { '_' };
    let extension: String = extension.chars().map(safe).collect();
    let delimiter = match extension.as_str() {
        "" => String::new(),
        _ => delimiter_of(config, recipient),
    };
    let home = account.home.to_string_lossy();
    let values = [
        ("recipient_delimiter", delimiter.as_str()),
        ("extension", extension.as_str()),
        ("user", account.name.as_str()),
        ("home", &*home),
    ];
    let mut paths: Vec<PathBuf> = Vec::new();
    for word in words(&config.forward_path) {
        let path = PathBuf::from(with_values(word, &values));
        if path.is_absolute() && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// A word of `forward_path` with values in the places of `$name` and `${name}`. What a value says is no name.
fn with_values(word: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(PATH_ROOM);
    let mut rest = word;
    while let Some((front, behind)) = rest.split_once('$') {
        out.extend(front.split('}'));
        let behind = behind.strip_prefix('{').unwrap_or(behind);
        let mut found = values.iter().filter_map(|(name, value)| Some((behind.strip_prefix(name)?, value)));
        let (after, value) = found.next().unwrap_or((behind, &"$"));
        out.push_str(value);
        rest = after;
    }
    out.extend(rest.split('}'));
    out
}

/// The delimiter that stands in the address.
fn delimiter_of(config: &Config, recipient: &Recipient) -> String {
    let found = recipient.address.local().chars().skip(1).find(|c| config.recipient_delimiter.contains(*c));
    found.or_else(|| config.recipient_delimiter.chars().next()).map(String::from).unwrap_or_default()
}

fn read_file(path: &Path, uid: u32) -> io::Result<String> {
    let trusted = trusted::open(path, Some(uid))?;
    let mut text = Vec::new();
    trusted.file.take(SIZE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(io::Error::other("too large"));
    }
    String::from_utf8(text).map_err(|_| io::Error::other("not UTF-8"))
}

/// What has been read so far.
struct Reading<'a> {
    account: &'a Account,
    entries: Vec<String>,
    files: usize,
    octets: usize,
}

impl Reading<'_> {
    /// Adds the entries of a file, with those of the files that it includes.
    fn add(
        &mut self,
        text: &str,
        path: &Path,
        depth: usize,
        warn: &mut dyn FnMut(String),
    ) -> Result<(), Status> {
        let broken = |warn: &mut dyn FnMut(String), why: &str| {
            warn(format!("{}: {why}", path.display()));
            Status::new(451, Enhanced(4, 3, 5), "The .forward file is damaged")
        };
        self.files += 1;
        self.octets = self.octets.saturating_add(text.len());
        if self.files > FILES_MAX || self.octets > TOTAL_MAX {
            return Err(broken(warn, "too many files are included, or too large ones"));
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            for found in items_at_home(line, &self.account.home.to_string_lossy()) {
                match found {
                    Ok(Item::Include(included)) => {
                        if depth >= DEPTH_MAX {
                            return Err(broken(warn, "files include each other in a circle"));
                        }
                        let included = PathBuf::from(included);
                        let text = read_file(&included, self.account.uid).map_err(|error| {
                            broken(warn, &format!(":include:{}: {error}", included.display()))
                        })?;
                        self.add(&text, &included, depth + 1, warn)?;
                    }
                    Ok(found) => self.entries.push(printed(&found)),
                    Err(why) => return Err(broken(warn, &why)),
                }
                if self.entries.len() > RECIPIENTS_MAX {
                    return Err(broken(warn, "too many entries"));
                }
            }
        }
        Ok(())
    }
}

/// An entry in the one form that [`crate::aliases::item`] reads again.
fn printed(entry: &Item) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match entry {
        Item::Address(address) => address.to_string(),
        Item::Name(name) => name.clone(),
        Item::Own(name) => format!("\\{name}"),
        Item::Include(path) => quoted(&format!(":include:{path}")),
        Item::File(path) => quoted(path),
        Item::Command(words) => {
            let words: Vec<String> =
                words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
            quoted(&format!("|{}", words.join(" ")))
        }
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
