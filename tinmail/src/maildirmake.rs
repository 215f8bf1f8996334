//! `tinmail maildirmake`: makes Maildirs, folders in them and quotas, as Courier's program of this name does.
//!
//! Root becomes whoever owns the directory around it before it looks at anything: a user's directory is the user's, and may hold
//! links to anywhere.

use common::config::Config;
use common::hierarchy::{Hierarchy, Name, mutf7};
use common::maildir::{Location, Maildir, quota};
use common::sys::process;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Failed;

/// What is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted<'a> {
    folder: Option<&'a str>,
    quota: Option<String>,
    path: PathBuf,
}

/// Makes it.
pub fn run(config: &Config, words: &[&str]) -> Result<(), Failed> {
    let wanted = Wanted::parse(words).map_err(Failed::Usage)?;
    let path = &wanted.path;
    become_owner(path).map_err(|error| said(path, &error))?;
    process::private_umask();
    let is_there = path.join("cur").is_dir();
    match (is_there, &wanted) {
        (true, Wanted { folder: None, quota: None, .. }) => {
            return Err(said(path, &"there is a Maildir already"));
        }
        (false, Wanted { folder: Some(_), .. }) => return Err(said(path, &"there is no Maildir")),
        (true, _) => {}
        (false, _) if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) => {
            return Err(said(path, &"something else has this name"));
        }
        (false, _) => drop(Maildir::open(path).map_err(|error| said(path, &error))?),
    }
    if let Some(quota) = &wanted.quota {
        limit(path, quota).map_err(|error| said(path, &error))?;
    }
    match wanted.folder {
        Some(folder) => {
            make_folder(config, path, folder).map_err(|error| said(path, &format!("{folder}: {error}")))
        }
        None => Ok(()),
    }
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a str]) -> Result<Wanted<'a>, String> {
        let (mut wanted, mut path) = (Wanted::default(), None);
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
            match word {
                "-f" => wanted.folder = Some(value()?),
                "-q" => wanted.quota = Some(definition(value()?)?),
                _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
                _ if word.is_empty() || path.is_some() => return Err("want one directory".to_owned()),
                _ => path = Some(PathBuf::from(word)),
            }
        }
        wanted.path = path.ok_or("want a directory")?;
        Ok(wanted)
    }
}

/// The first line of `maildirsize`: octets and messages, `10000000S,1000C`.
fn definition(text: &str) -> Result<String, String> {
    let wrong = || format!("{text} is no quota: want OCTETSS, MESSAGESC or both, such as 10000000S,1000C");
    let mut parts: Vec<(char, u64)> = Vec::new();
    for part in text.split(',') {
        let kind = part.chars().last().filter(|kind| "SC".contains(*kind)).ok_or_else(wrong)?;
        let digits = part.strip_suffix(kind).unwrap_or_default();
        let number =
            digits.parse().ok().filter(|_| digits.bytes().all(|c| c.is_ascii_digit())).ok_or_else(wrong)?;
        if parts.iter().any(|(known, _)| *known == kind) {
            return Err(wrong());
        }
        parts.push((kind, number));
    }
    Ok(parts.into_iter().map(|(kind, number)| format!("{number}{kind}")).collect::<Vec<_>>().join(","))
}

fn said(path: &Path, what: &dyn std::fmt::Display) -> Failed {
    Failed::Said(format!("{}: {what}", path.display()))
}

fn become_owner(path: &Path) -> io::Result<()> {
    if !process::is_root() {
        return Ok(());
    }
    let around = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => return Err(io::Error::other("it is a link: name what it leads to")),
        Ok(meta) => meta,
        Err(_) => fs::metadata(around)?,
    };
    if meta.uid() == 0 { Ok(()) } else { process::become_user(meta.uid(), meta.gid(), &[]) }
}

/// Writes what is allowed, and counts what there is.
fn limit(path: &Path, definition: &str) -> io::Result<()> {
    let new = path.join(format!("tmp/{}.{}", quota::NAME, std::process::id()));
    let _ = fs::remove_file(&new);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(format!("{definition}\n").as_bytes()).and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&new, path.join(quota::NAME)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    quota::recount(&Location::plain(path.to_owned()));
    Ok(())
}

/// A folder's name is what people see, or what is stored; levels are divided by dots.
fn make_folder(config: &Config, path: &Path, folder: &str) -> Result<(), String> {
    let stored = folder.is_ascii() && mutf7::decode(folder.as_bytes()).is_some();
    let octets = if stored { folder.as_bytes().to_vec() } else { mutf7::encode(folder) };
    let config = Config { fsync_disable: config.fsync_disable, ..Config::DEFAULT };
    let hierarchy = Hierarchy::new(Location::plain(path.to_owned()), &config);
    let wrong = |error: common::hierarchy::HierarchyError| error.to_string();
    let name: Name = hierarchy.name(&octets).map_err(|error| wrong(error.into()))?;
    hierarchy.create(&name, &[]).map_err(wrong)
}

#[cfg(test)]
#[path = "maildirmake_tests.rs"]
mod tests;
