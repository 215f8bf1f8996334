//! `imap_emptytrash`: messages that have been in a mailbox for too long are removed, at most once a day.
//!
//! What counts is the time since the file was last changed in that directory (ctime): that is when it was moved there, or
//! its flags changed. A message that was delivered later than that limit, which its file name tells, cannot be older and
//! costs no further look. "Now" is the file system's clock; a time from before any clock was set removes nothing.

use super::{Hierarchy, StorageError, special_use};
use crate::maildir::quota;
use crate::maildir::uidvalidity::CLOCK_FLOOR;
use crate::sys::fs as sys;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Its modification time says when that was done last.
const STAMP: &str = "tinmail-emptytrash";
const DAY: i64 = 86_400;

impl Hierarchy {
    /// Removes what is too old by the setting's rules, mailboxes and days, unless that was done today. Returns how many
    /// messages there were. A mailbox that is not there is none that could be emptied.
    pub fn empty_trash(&self, rules: &[(String, u32)]) -> Result<u32, StorageError> {
        let stamp = self.shared().join(STAMP);
        // The host's clock decides only whether to look.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        let today = |meta: fs::Metadata| meta.mtime().abs_diff(now) < DAY.unsigned_abs();
        if rules.is_empty() || fs::symlink_metadata(&stamp).is_ok_and(today) {
            return Ok(0);
        }
        self.make_shared()?;
        let touch = || -> io::Result<i64> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(&stamp)?;
            sys::touch(&file)?;
            Ok(file.metadata()?.mtime())
        };
        let now = touch().map_err(StorageError::at("write", &stamp))?;
        self.empty_trash_at(rules, now)
    }

    fn empty_trash_at(&self, rules: &[(String, u32)], now: i64) -> Result<u32, StorageError> {
        let mut removed = 0u32;
        for (text, days) in rules {
            let text = if text.is_empty() { &*self.trash } else { text.as_str() };
            let Some(name) = special_use::configured(text, &self.namespace) else { continue };
            let path = match self.find(&name)? {
                Some(directory) => self.root().join(directory),
                None if name.is_inbox() => self.location.inbox.clone(),
                None => continue,
            };
            let limit = now.saturating_sub(i64::from(*days).saturating_mul(DAY));
            for directory in ["cur", "new"] {
                let path = path.join(directory);
                let count = remove_older(&path, limit).map_err(StorageError::at("read", &path))?;
                removed = removed.saturating_add(count);
            }
        }
        if removed > 0 {
            quota::recount(&self.location);
        }
        Ok(removed)
    }
}

fn remove_older(directory: &Path, limit: i64) -> io::Result<u32> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0u32;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") || delivered(name.as_bytes()).is_some_and(|time| time > limit) {
            continue;
        }
        let Ok(meta) = entry.metadata() else { continue };
        let known = meta.ctime() >= i64::from(CLOCK_FLOOR);
        if meta.is_file() && known && meta.ctime() < limit && fs::remove_file(entry.path()).is_ok() {
            removed = removed.saturating_add(1);
        }
    }
    Ok(removed)
}

/// The seconds since 1970 that a message's file name begins with.
fn delivered(name: &[u8]) -> Option<i64> {
    let digits = name.split(|&octet| octet == b'.').next()?;
    std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    fn rules() -> Vec<(String, u32)> {
        vec![
            ("Trash".to_owned(), 7),
            ("Entw\u{fc}rfe".to_owned(), 30),
            ("None".to_owned(), 1),
            ("a/b".to_owned(), 1),
        ]
    }

    #[test]
    fn what_is_older_than_its_days_goes() {
        let place = Place::new();
        for name in ["Trash", "Entw&APw-rfe", "Other"] {
            place.create(name).unwrap();
            let directory = place.name(name).directory().into_string().unwrap();
            place.dir.write(&format!("m/{directory}/cur/1000000000.a.b:2,S"), "old name");
            place.dir.write(&format!("m/{directory}/new/odd"), "no time");
        }
        let now = fs::metadata(place.dir.path().join("m/.Trash/new/odd")).unwrap().ctime();
        place.dir.write(&format!("m/.Trash/cur/{}.later:2,", now + 2 * DAY), "delivered later");
        place.dir.write("m/.Trash/cur/.hidden", "");
        place.mkdir("m/.Trash/cur/directory");
        let empty = |now| place.hierarchy.empty_trash_at(&rules(), now).unwrap();
        assert_eq!(empty(now + 7 * DAY), 0);
        assert_eq!(empty(now + 7 * DAY + 5), 2);
        let mut left = place.dir.list("m/.Trash/cur");
        left.sort();
        assert_eq!(
            left,
            [".hidden".to_owned(), format!("{}.later:2,", now + 2 * DAY), "directory".to_owned()]
        );
        assert_eq!(empty(now + 31 * DAY), 3);
        assert_eq!(place.dir.list("m/.Other/cur").len() + place.dir.list("m/.Other/new").len(), 2);
    }

    #[test]
    fn days_without_a_name_are_those_of_the_trash() {
        let place = Place::with("", &["imap_trashfoldername=Deleted Items"]);
        for name in ["Trash", "Deleted Items"] {
            place.create(name).unwrap();
            place.dir.write(&format!("m/.{name}/cur/1000000000.a.b:2,"), "old");
        }
        let now = fs::metadata(place.dir.path().join("m/.Trash/cur/1000000000.a.b:2,")).unwrap().ctime();
        assert_eq!(place.hierarchy.empty_trash_at(&[(String::new(), 1)], now + 2 * DAY).unwrap(), 1);
        assert_eq!(
            (place.dir.list("m/.Deleted Items/cur").len(), place.dir.list("m/.Trash/cur").len()),
            (0, 1)
        );
    }

    #[test]
    fn once_a_day() {
        let place = Place::new();
        assert_eq!(place.hierarchy.empty_trash(&[]).unwrap(), 0);
        assert_eq!(place.directories(), [""; 0]);
        let stamp = place.dir.path().join("m").join(STAMP);
        place.hierarchy.empty_trash(&rules()).unwrap();
        let first = fs::metadata(&stamp).unwrap().mtime_nsec();
        place.hierarchy.empty_trash(&rules()).unwrap();
        assert_eq!(fs::metadata(&stamp).unwrap().mtime_nsec(), first);
        let file = OpenOptions::new().write(true).open(&stamp).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(2 * 86_400)).unwrap();
        place.hierarchy.empty_trash(&rules()).unwrap();
        assert!(
            SystemTime::now()
                .duration_since(fs::metadata(&stamp).unwrap().modified().unwrap())
                .unwrap()
                .as_secs()
                < 60
        );
    }
}
