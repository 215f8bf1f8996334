//! The list of subscriptions: Dovecot's file `subscriptions`, in both of its versions.
//!
//! Version 2, which is what a new file gets, begins with `V<TAB>2` and an empty line; in each line the levels of a name are
//! separated by TABs, octets that would be in the way are escaped with 0x01. Version 1 has one name in each line, with
//! `.` between the levels. A file keeps its version, its order and the lines that mean nothing to us. It is replaced by
//! rename under Dovecot's dotlock. Names have no prefix of the namespace; they are there whether the mailboxes are or not
//! (RFC 3501 section 6.3.6).
//!
//! Where there is no such file, Courier's `courierimapsubscribed` is taken over once. All of them are the user's own files
//! and may hold anything.

use super::name::{self, Name, Namespace};
use crate::maildir::dotlock::Dotlock;
use crate::maildir::{StorageError, make_anew, take_over_rights};
use crate::sys::fs as sys;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

/// The file's name.
pub const NAME: &str = "subscriptions";
const COURIER: &str = "courierimapsubscribed";
const HEADER: &[u8] = b"V\t2\n\n";
/// Octets of the largest list that is read: a hundred thousand long names.
const SIZE_MAX: u64 = 16 << 20;

/// A list as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    /// The lines behind the header, the last one ended too.
    lines: Vec<u8>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Subscriptions {
    /// The list in the file's octets. Never fails: what is no name is passed over.
    pub fn parse(octets: &[u8]) -> Subscriptions {
        let (version, lines) = match octets.strip_prefix(b"V\t2\n") {
            Some(rest) => (Version::Two, rest.strip_prefix(b"\n").unwrap_or(rest)),
            // Nothing, or a header that was cut off.
            None if octets.is_empty() || octets == b"V\t2" => (Version::Two, &b""[..]),
            None => (Version::One, octets),
        };
        let mut lines = lines.to_vec();
        if !lines.is_empty() && !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
        Subscriptions { lines, version }
    }

    /// The file's octets.
    pub fn print(&self) -> Vec<u8> {
        match self.version {
            Version::One => self.lines.clone(),
            Version::Two => [HEADER, &self.lines].concat(),
        }
    }

    /// The names, in the file's order.
    pub fn names<'a>(&'a self, namespace: &'a Namespace) -> impl Iterator<Item = Name> + 'a {
        self.lines().filter_map(move |line| read_line(line, self.version, namespace))
    }

    /// Whether this name is in the list.
    pub fn contains(&self, name: &Name, namespace: &Namespace) -> bool {
        self.names(namespace).any(|other| other == *name)
    }

    /// Adds the name at the end.
    fn add(&mut self, name: &Name) {
        match self.version {
            Version::One => self.lines.extend_from_slice(name.as_bytes()),
            // Modified UTF-7 has nothing that would have to be escaped.
            Version::Two => {
                self.lines.extend(name.as_bytes().iter().map(|&o| if o == b'.' { b'\t' } else { o }))
            }
        }
        self.lines.push(b'\n');
    }

    /// Removes the name wherever it is.
    fn remove(&mut self, name: &Name, namespace: &Namespace) {
        let stays = |line: &&[u8]| read_line(line, self.version, namespace).as_ref() != Some(name);
        let kept: Vec<&[u8]> = self.lines().filter(stays).collect();
        self.lines = kept.iter().flat_map(|line| [line, &b"\n"[..]]).flatten().copied().collect();
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.strip_suffix(b"\n").into_iter().flat_map(|lines| lines.split(|&octet| octet == b'\n'))
    }
}

fn read_line(line: &[u8], version: Version, namespace: &Namespace) -> Option<Name> {
    let (line, separator) = match version {
        Version::One => (Cow::Borrowed(line), b'.'),
        Version::Two => (unescape(line), b'\t'),
    };
    if line.eq_ignore_ascii_case(b"INBOX") {
        return Some(Name::inbox());
    }
    // No mailbox has such a name.
    if line.starts_with(b".") || line.starts_with(b"\t") || line.contains(&b'/') {
        return None;
    }
    name::of_stored(&line, separator, namespace)
}

/// Undoes Dovecot's escapes. A TAB that was escaped stays a separator: no name of ours has one in a level.
fn unescape(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(1, line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut octets = Vec::with_capacity(line.len());
    let mut rest = line.iter();
    while let Some(&octet) = rest.next() {
        let meant = match octet {
            1 => match rest.next() {
                Some(b'0') => 0,
                Some(b'1') | None => 1,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(&other) => other,
            },
            _ => octet,
        };
        octets.push(meant);
    }
    Cow::Owned(octets)
}

/// Where the list is and how it is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub directory: &'a Path,
    pub namespace: &'a Namespace,
    pub lock_timeout: Duration,
    pub fsync: bool,
}

impl File<'_> {
    /// The list; an empty one if there is no file. Courier's is taken over on the way, if it can be written.
    pub fn read(&self) -> Result<Subscriptions, StorageError> {
        if let Some(list) = self.read_own()? {
            return Ok(list);
        }
        let Some(list) = self.read_courier()? else { return Ok(Subscriptions::parse(b"")) };
        // Without the lock it is taken over the next time.
        if let Ok(_held) = Dotlock::take(&self.directory.join(NAME), self.lock_timeout) {
            // Somebody may have written one just now.
            if let Some(own) = self.read_own()? {
                return Ok(own);
            }
            let _ = self.write(&list);
        }
        Ok(list)
    }

    /// Adds or removes a name. `false`: it was so already.
    pub fn set(&self, name: &Name, subscribed: bool) -> Result<bool, StorageError> {
        // What is right already needs no lock.
        if self.read()?.contains(name, self.namespace) == subscribed {
            return Ok(false);
        }
        let _lock = Dotlock::take(&self.directory.join(NAME), self.lock_timeout)?;
        let mut list = match self.read_own()? {
            Some(list) => list,
            None => self.read_courier()?.unwrap_or_else(|| Subscriptions::parse(b"")),
        };
        if list.contains(name, self.namespace) == subscribed {
            return Ok(false);
        }
        match subscribed {
            true => list.add(name),
            false => list.remove(name, self.namespace),
        }
        self.write(&list)?;
        Ok(true)
    }

    fn read_own(&self) -> Result<Option<Subscriptions>, StorageError> {
        Ok(self.octets(NAME)?.map(|octets| Subscriptions::parse(&octets)))
    }

    /// `INBOX.Folder` in each line, also without one; names of shared mailboxes (`#shared...`) are not ours.
    fn read_courier(&self) -> Result<Option<Subscriptions>, StorageError> {
        let octets = match self.octets(COURIER) {
            // There is no more to be had from it the next time.
            Err(error) if error.is_unusable() => return Ok(None),
            octets => octets?,
        };
        let Some(octets) = octets else { return Ok(None) };
        let mut list = Subscriptions::parse(b"");
        let mut seen = BTreeSet::new();
        for line in octets.split(|&octet| octet == b'\n') {
            let Some((first, rest)) = line.split_at_checked(5) else { continue };
            if !first.eq_ignore_ascii_case(b"INBOX") {
                continue;
            }
            let name = match rest.split_first() {
                None => Some(Name::inbox()),
                Some((b'.', levels)) if !levels.starts_with(b".") => {
                    name::of_stored(levels, b'.', self.namespace)
                }
                Some(_) => None,
            };
            if let Some(name) = name.filter(|name| !seen.contains(name)) {
                list.add(&name);
                seen.insert(name);
            }
        }
        Ok(Some(list))
    }

    fn octets(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.directory.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut octets = Vec::new();
            let file = sys::open_control(&path)?;
            if file.take(SIZE_MAX + 1).read_to_end(&mut octets)? as u64 > SIZE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(octets)
        };
        match read() {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::new("read", &path, error)),
        }
    }

    fn write(&self, list: &Subscriptions) -> Result<(), StorageError> {
        replace(self.directory, NAME, &list.print(), self.fsync)
    }
}

/// Replaces a small file by rename, with the rights of the one that was there. Its dotlock is held.
pub(super) fn replace(directory: &Path, name: &str, octets: &[u8], fsync: bool) -> Result<(), StorageError> {
    let path = directory.join(name);
    let temp = directory.join(format!("{name}.tinmail.{}.{}", std::process::id(), sys::hostname()));
    let write = || -> io::Result<()> {
        let mut file = make_anew(&temp)?;
        if let Ok(before) = fs::metadata(&path) {
            take_over_rights(&file, &before)?;
        }
        file.write_all(octets)?;
        if fsync {
            file.sync_all()?;
        }
        fs::rename(&temp, &path)?;
        if fsync { sys::sync_directory(directory) } else { Ok(()) }
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temp);
        StorageError::new("write", &path, error)
    })
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
