//! `dovecot-keywords`: which letter of the file names is which keyword, shared with Dovecot.
//!
//! Lines `NUMBER NAME`, number 0 is the letter `a`. It is replaced by rename, under the uidlist's lock. The file is the
//! user's own and may be damaged: lines that make no sense are passed over, and come back never.

use super::super::dotlock::Dotlock;
use super::super::error::{ErrorKind, StorageError};
use super::super::flags::{Flags, KEYWORDS};
use super::super::uidlist_file::Stamp;
use super::super::{Maildir, make_anew, name};
use crate::sys::fs as sys;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// The file's name in the control directory.
pub(super) const NAME: &str = "dovecot-keywords";
const TEMP_NAME: &str = "dovecot-keywords.tmp";

/// Octets of the file that are read at most: thousands of names, though there are few letters.
const SIZE_MAX: u64 = 1 << 20;

/// The keywords of a mailbox.
#[derive(Debug, Default, Clone)]
pub(super) struct Keywords {
    /// By letter; empty where the letter has no name.
    pub names: Vec<Box<str>>,
    pub stamp: Stamp,
    /// The file is there, but nobody knows what it says: no letter has a name, and none may get one.
    unknown: Option<ErrorKind>,
}

impl Keywords {
    /// Reads the file. One that cannot be used is no reason to refuse the mailbox.
    pub fn read(control: &Path) -> Result<Keywords, StorageError> {
        let path = control.join(NAME);
        let stamp = Stamp::at(&path)?;
        if stamp == Stamp::default() {
            return Ok(Keywords::default());
        }
        match read_file(&path) {
            Ok(text) => Ok(Keywords { names: parse(&text), stamp, unknown: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Keywords::default()),
            Err(error) => match StorageError::new("read", &path, error) {
                error if error.is_unusable() => {
                    Ok(Keywords { names: Vec::new(), stamp, unknown: Some(error.kind) })
                }
                error => Err(error),
            },
        }
    }

    /// Whether there can be another one.
    pub fn has_room(&self) -> bool {
        self.unknown.is_none() && self.names.iter().filter(|name| !name.is_empty()).count() < KEYWORDS
    }

    /// The bit of a keyword. Keywords are compared without regard to case (RFC 3501 section 9, "atom" of flag-keyword).
    pub fn bit(&self, keyword: &str) -> Option<u32> {
        let at = self.names.iter().position(|name| name.eq_ignore_ascii_case(keyword))?;
        Some(1 << at)
    }

    /// The bits of all these keywords; those without a letter get one, as long as there are letters. `false` beside
    /// it: there were not enough. Letters that files have already, though nobody knows what they mean, are not given: their
    /// messages would have the keyword.
    pub fn bits_for(
        &mut self,
        keywords: &[&str],
        maildir: &Maildir,
        timeout: Duration,
    ) -> Result<(u32, bool), StorageError> {
        let control = maildir.control();
        let mut bits = 0;
        let mut missing = Vec::new();
        for keyword in keywords {
            match self.bit(keyword) {
                Some(bit) => bits |= bit,
                None => missing.push(*keyword),
            }
        }
        if missing.is_empty() {
            return Ok((bits, true));
        }
        let lock = super::super::uidlist_file::lock(control, timeout)?;
        *self = Keywords::read(control)?;
        if let Some(kind) = self.unknown {
            return Err(StorageError::with_kind(
                kind,
                "read",
                control.join(NAME),
                "its keywords are not known",
            ));
        }
        let (mut enough, mut added, known) = (true, false, self.names.clone());
        let in_use = letters_in_use(maildir.path())?;
        for keyword in missing {
            if let Some(bit) = self.bit(keyword) {
                bits |= bit;
                continue;
            }
            let is_free =
                |at: &usize| self.names.get(*at).is_none_or(|name| name.is_empty()) && in_use & 1 << at == 0;
            let Some(free) = (0..KEYWORDS).find(is_free) else {
                enough = false;
                continue;
            };
            if free >= self.names.len() {
                self.names.resize(free + 1, Box::default());
            }
            if let Some(slot) = self.names.get_mut(free) {
                *slot = keyword.into();
            }
            bits |= 1 << free;
            added = true;
        }
        if added {
            if let Err(error) = self.write(control, &lock) {
                self.names = known;
                return Err(error);
            }
        }
        Ok((bits, enough))
    }

    pub fn write(&mut self, control: &Path, lock: &Dotlock) -> Result<(), StorageError> {
        let (path, temp) = (control.join(NAME), control.join(TEMP_NAME));
        let mut text = Vec::new();
        for (number, name) in self.names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let _ = writeln!(text, "{number} {name}");
        }
        let written = make_anew(&temp).and_then(|mut file| {
            file.write_all(&text)?;
            self.make_newer(&file)?;
            file.sync_data()?;
            if !lock.is_held() {
                return Err(io::Error::other("the lock was taken over by somebody else"));
            }
            fs::rename(&temp, &path)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&temp);
            StorageError::new("write", &path, error)
        })?;
        self.stamp = Stamp::at(&path)?;
        Ok(())
    }

    /// Dovecot looks at the seconds of the file's time alone, and would not see that it has changed again.
    fn make_newer(&self, file: &fs::File) -> io::Result<()> {
        let before =
            UNIX_EPOCH + Duration::from_secs(u64::try_from(self.stamp.mtime / 1_000_000_000).unwrap_or(0));
        let next = before + Duration::from_secs(1);
        if file.metadata()?.modified()? < next { file.set_modified(next) } else { Ok(()) }
    }
}

/// The letters in the names of all files, whether they mean something or not.
fn letters_in_use(maildir: &Path) -> Result<u32, StorageError> {
    let mut letters = 0;
    for below in ["new", "cur"] {
        let directory = maildir.join(below);
        let read = sys::for_each_name(&directory, &mut |file_name, is_directory| {
            if !is_directory {
                letters |= Flags::of_name(file_name).keywords;
            }
        });
        read.map_err(StorageError::at("readdir", &directory))?;
    }
    Ok(letters)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match sys::open_control(path)?.take(SIZE_MAX).read_to_end(&mut text)? as u64 {
        SIZE_MAX => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(text),
    }
}

pub(super) fn parse(text: &[u8]) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for line in text.split(|&octet| octet == b'\n') {
        let Some(blank) = line.iter().position(|&octet| octet == b' ') else { continue };
        let (number, keyword) = line.split_at(blank);
        let number = name::decimal32(number).and_then(|number| usize::try_from(number).ok());
        let keyword = keyword.get(1..).and_then(|keyword| std::str::from_utf8(keyword).ok());
        let (Some(number), Some(keyword)) = (number.filter(|&number| number < KEYWORDS), keyword) else {
            continue;
        };
        if !is_keyword(keyword) || names.iter().any(|name| name.eq_ignore_ascii_case(keyword)) {
            continue;
        }
        if names.len() <= number {
            names.resize(number + 1, Box::default());
        }
        if let Some(slot) = names.get_mut(number) {
            *slot = keyword.into();
        }
    }
    names
}

/// Whether this can be said as a flag-keyword: an atom of RFC 3501 section 9, or at least harmless.
pub(super) fn is_keyword(keyword: &str) -> bool {
    let harmless =
        |c: char| !c.is_control() && !matches!(c, ' ' | '(' | ')' | '{' | '"' | '\\' | '%' | '*' | ']');
    !keyword.is_empty() && keyword.len() <= 255 && keyword.chars().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TempDir, each_oddity};
    use super::*;

    fn maildir() -> (TempDir, Maildir) {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        (dir, maildir)
    }

    #[test]
    fn dovecots_file_is_read_and_kept() {
        let (dir, maildir) = maildir();
        dir.write(NAME, "0 $Forwarded\n2 Work\nx y\n26 TooHigh\n3 a(b\n4 work\n");
        let mut keywords = Keywords::read(dir.path()).unwrap();
        assert_eq!(keywords.names, ["$Forwarded".into(), "".into(), Box::<str>::from("Work")]);
        assert_eq!(keywords.bit("WORK"), Some(4));
        let bits = keywords.bits_for(&["$forwarded", "New", "Other"], &maildir, Duration::ZERO).unwrap();
        assert_eq!(bits, (1 | 2 | 8, true));
        assert_eq!(dir.read(NAME), "0 $Forwarded\n1 New\n2 Work\n3 Other\n");
        assert_eq!(dir.list(""), ["cur", NAME, "new", "tmp"]);
        assert_eq!(Keywords::read(dir.path()).unwrap().stamp, keywords.stamp);
    }

    #[test]
    fn each_change_has_a_second_of_its_own() {
        let (dir, maildir) = maildir();
        let mut keywords = Keywords::read(dir.path()).unwrap();
        let mut last = 0;
        for name in ["one", "two", "three", "four"] {
            assert!(keywords.bits_for(&[name], &maildir, Duration::ZERO).unwrap().1);
            let second = keywords.stamp.mtime / 1_000_000_000;
            assert!(second > last, "{name}: {second} after {last}");
            last = second;
        }
    }

    #[test]
    fn a_name_that_cannot_be_written_is_not_there() {
        let (dir, maildir) = maildir();
        let mut keywords = Keywords::read(dir.path()).unwrap();
        // Nothing takes the place of a directory that is not empty.
        fs::create_dir_all(dir.path().join(TEMP_NAME).join("x")).unwrap();
        assert!(keywords.bits_for(&["one"], &maildir, Duration::ZERO).is_err());
        assert_eq!((keywords.bit("one"), &keywords.names), (None, &Vec::new()));
        fs::remove_dir_all(dir.path().join(TEMP_NAME)).unwrap();
        assert_eq!(keywords.bits_for(&["one"], &maildir, Duration::ZERO).unwrap(), (1, true));
        assert_eq!(dir.read(NAME), "0 one\n");
    }

    #[test]
    fn letters_that_files_have_are_given_to_nobody_else() {
        let (dir, maildir) = maildir();
        for name in ["cur/1.a:2,Sa", "cur/2.b:2,b", "cur/3.c:2,", "new/4.d:2,d"] {
            dir.write(name, "");
        }
        let mut keywords = Keywords::default();
        let bits = keywords.bits_for(&["$Junk", "$NotJunk"], &maildir, Duration::ZERO).unwrap();
        assert_eq!((bits, dir.read(NAME).as_str()), ((1 << 2 | 1 << 4, true), "2 $Junk\n4 $NotJunk\n"));
        // Once no file has it any more, it is free.
        fs::remove_file(dir.path().join("cur/2.b:2,b")).unwrap();
        assert_eq!(keywords.bits_for(&["Work"], &maildir, Duration::ZERO).unwrap(), (2, true));
    }

    #[test]
    fn where_nobody_knows_which_letters_are_taken_none_gets_a_name() {
        let (dir, maildir) = maildir();
        each_oddity(&dir.path().join(NAME), |what| {
            let mut keywords = Keywords::read(dir.path()).unwrap();
            assert!(keywords.names.is_empty() && !keywords.has_room(), "{what}");
            let error = keywords.bits_for(&["new"], &maildir, Duration::ZERO).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{what}");
        });
        assert!(Keywords::read(dir.path()).unwrap().has_room());
        // What is left where the new file is made is in nobody's way.
        each_oddity(&dir.path().join(TEMP_NAME), |what| {
            let mut keywords = Keywords::default();
            assert!(keywords.bits_for(&[what], &maildir, Duration::ZERO).unwrap().1, "{what}");
        });
        assert_eq!(Keywords::read(dir.path()).unwrap().names.len(), 5);
    }

    #[test]
    fn there_are_only_so_many_letters() {
        let (_dir, maildir) = maildir();
        let mut keywords = Keywords::default();
        let names: Vec<String> = (0..30).map(|i| format!("k{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (bits, enough) = keywords.bits_for(&names, &maildir, Duration::ZERO).unwrap();
        assert_eq!((bits, enough), ((1 << 26) - 1, false));
        assert_eq!(keywords.bits_for(&["k3"], &maildir, Duration::ZERO).unwrap(), (8, true));
    }
}
