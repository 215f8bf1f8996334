//! /etc/passwd and /etc/group (passwd(5), group(5)), read directly: a static program has no name service.
//!
//! The files are the system's. A line that does not parse is as if it were not there.

use super::lines::{Lines, is_for, number};
use std::fs::File;
use std::io;
use std::path::Path;

/// Most supplementary groups that are collected (Linux allows 65,536; nobody's mail needs more than this).
pub const MAX_GROUPS: usize = 256;

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdEntry {
    /// Login name.
    pub name: String,
    /// The password field: a hash, or `x` for "in the shadow file". Secret.
    pub password: zeroize::Zeroizing<String>,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory; may be empty.
    pub home: String,
}

impl PasswdEntry {
    /// Reads `name:password:uid:gid:gecos:home:shell`. `None`: not such a line (a comment, an NIS `+` line, a number
    /// that is none, less than six fields).
    pub fn parse(line: &[u8]) -> Option<PasswdEntry> {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let password = fields.next()?;
        let uid = fields.next().and_then(number_field)?;
        let gid = fields.next().and_then(number_field)?;
        let _gecos = fields.next()?;
        let home = fields.next()?;
        Some(PasswdEntry {
            name: name.to_owned(),
            password: zeroize::Zeroizing::new(password.to_owned()),
            uid,
            gid,
            home: home.to_owned(),
        })
    }
}

/// An id: -1 means "no change" to chown and setuid, so it is nobody's.
fn number_field(text: &str) -> Option<u32> {
    if text.is_empty() { None } else { number(text).filter(|&id| id != u32::MAX) }
}

/// Finds a user's line. The first one counts, as for getpwnam(3). Errors: the file cannot be read.
pub fn find_user(path: &Path, name: &str) -> io::Result<Option<PasswdEntry>> {
    let file = File::open(path)?;
    let mut lines = Lines::new(&file);
    while let Some(line) = lines.next()? {
        if is_for(line, name) {
            if let Some(entry) = PasswdEntry::parse(line) {
                return Ok(Some(entry));
            }
        }
    }
    Ok(None)
}

/// Finds the name of a user id; the first line counts. Errors: the file cannot be read.
pub fn find_name(path: &Path, uid: u32) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    let mut lines = Lines::new(&file);
    while let Some(line) = lines.next()? {
        if let Some(entry) = PasswdEntry::parse(line).filter(|entry| entry.uid == uid) {
            return Ok(Some(entry.name));
        }
    }
    Ok(None)
}

/// User and group of `login_user`, a name or a number; a number is both. Errors: there is no such user, it is root, or
/// the file cannot be read.
pub fn login_ids(path: &Path, user: &str) -> io::Result<(u32, u32)> {
    let (uid, gid) = match user.parse::<u32>() {
        Ok(id) => (id, id),
        Err(_) => {
            let entry = find_user(path, user)?.ok_or_else(|| io::Error::other("no such user"))?;
            (entry.uid, entry.gid)
        }
    };
    if uid == 0 || gid == 0 { Err(io::Error::other("must not be root")) } else { Ok((uid, gid)) }
}

/// Finds the number of a group. Errors: the file cannot be read.
pub fn find_group(path: &Path, name: &str) -> io::Result<Option<u32>> {
    let file = File::open(path)?;
    let mut lines = Lines::new(&file);
    while let Some(line) = lines.next()? {
        if is_for(line, name) {
            if let Some((gid, _)) = parse_group(line) {
                return Ok(Some(gid));
            }
        }
    }
    Ok(None)
}

/// The groups a user is listed as a member of, besides the primary one; at most [`MAX_GROUPS`]. Group 0 is left out:
/// mail is never read with root's group. Errors: the file cannot be read.
pub fn groups_of(path: &Path, user: &str) -> io::Result<Vec<u32>> {
    let file = File::open(path)?;
    let mut lines = Lines::new(&file);
    let mut groups = Vec::new();
    while let Some(line) = lines.next()? {
        // Nobody is in most of a system's groups.
        if line.ends_with(b":") {
            continue;
        }
        let Some((gid, members)) = parse_group(line) else { continue };
        let listed = members.split(',').any(|member| member == user);
        if listed && !user.is_empty() && gid != 0 && groups.len() < MAX_GROUPS && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok(groups)
}

/// `name:password:gid:members`: the number and the members.
fn parse_group(line: &[u8]) -> Option<(u32, &str)> {
    let mut fields = std::str::from_utf8(line).ok()?.split(':');
    fields.next().filter(|name| !name.is_empty())?;
    let _password = fields.next()?;
    let gid = fields.next().and_then(number_field)?;
    Some((gid, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::Scratch;
    use proptest::prelude::*;

    #[test]
    fn a_user_s_line() {
        let scratch = Scratch::new();
        let path = scratch.file(
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\n#anna:x:7:7::/:\nanna:x:bad:7::/:\nannabel:x:8:8::/b:/bin/sh\n\
             anna:$1$h:1000:1001:A. N. Na,,,:/home/anna:/usr/sbin/nologin\nanna:x:9:9::/second:\n+::::::\nlast:x:5:6:g:/h",
        );
        let anna = find_user(&path, "anna").unwrap().unwrap();
        assert_eq!(
            (anna.uid, anna.gid, anna.home.as_str(), anna.password.as_str()),
            (1000, 1001, "/home/anna", "$1$h")
        );
        assert_eq!(find_user(&path, "last").unwrap().unwrap().uid, 5);
        assert_eq!(find_name(&path, 1000).unwrap().as_deref(), Some("anna"));
        assert_eq!(find_name(&path, 1001).unwrap(), None);
        for unknown in ["ann", "annab", "#anna", "+", ""] {
            assert_eq!(find_user(&path, unknown).unwrap(), None, "{unknown}");
        }
        assert!(find_user(&scratch.path().join("none"), "anna").is_err());
    }

    #[test]
    fn ids_that_are_none() {
        for line in [
            "a:x:-1:1:g:/h:",
            "a:x:4294967295:1:g:/h:",
            "a:x:4294967296:1:g:/h:",
            "a:x::1:g:/h:",
            "a:x:1:1:g",
        ] {
            assert_eq!(PasswdEntry::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn groups() {
        let scratch = Scratch::new();
        let path = scratch
            .file("group", "root:x:0:anna\nmail:x:8:bert,anna\nvmail:x:5000:\nstaff:x:50:anna\nodd:x:51\n");
        assert_eq!(groups_of(&path, "anna").unwrap(), [8, 50]);
        assert_eq!(groups_of(&path, "ann").unwrap(), []);
        assert_eq!(groups_of(&path, "").unwrap(), []);
        assert_eq!(find_group(&path, "vmail").unwrap(), Some(5000));
        assert_eq!(find_group(&path, "mai").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = PasswdEntry::parse(&line);
            let _ = parse_group(&line);
        }
    }
}
