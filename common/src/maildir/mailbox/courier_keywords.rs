//! Taking over keywords from Courier: on the first open they become letters in file names and `dovecot-keywords`.
//!
//! `courierimapkeywords/:list` has the names of all keywords, one per line, an empty line, and for each message that has
//! some a line `<base name>:<number> <number>`, numbers counting the names from 0. Beside it lie changes that no Courier
//! server has merged yet: files `<base name>`, and older ones `.<time>.<base name>`, with the names of all keywords that
//! the message has. All of it is the user's own, may be damaged, and is only read.
//!
//! Once there is a `dovecot-keywords` nothing is taken over any more: it is written last, so that a crash on the way
//! means beginning again.

use super::super::flags::{Flags, KEYWORDS};
use super::super::scan::is_message_name;
use super::super::uidlist_file::{self, Stamp};
use super::super::{Maildir, StorageError, name};
use super::OpenOptions;
use super::keywords::{self, Keywords, is_keyword};
use crate::sys::fs as sys;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIRECTORY: &str = "courierimapkeywords";
const LIST: &str = ":list";
/// Changes that are not merged; Courier merges them all the time.
const PENDING_MAX: usize = 10_000;

/// Takes over what there is, unless that was done or Dovecot has been here. Where nothing can be written it is left for
/// another time.
///
/// Errors: `InUse`; a directory cannot be read.
pub(super) fn take_over(maildir: &Maildir, options: &OpenOptions) -> Result<(), StorageError> {
    let control = maildir.control();
    let directory = maildir.path().join(DIRECTORY);
    if !directory.is_dir() || Stamp::at(&control.join(keywords::NAME))? != Stamp::default() {
        return Ok(());
    }
    let found = read(&directory);
    if found.is_empty() {
        return Ok(());
    }
    match take_over_locked(maildir, options, &found) {
        Err(error) if error.is_unwritable() => Ok(()),
        outcome => outcome,
    }
}

fn take_over_locked(maildir: &Maildir, options: &OpenOptions, found: &Found) -> Result<(), StorageError> {
    let control = maildir.control();
    let lock = uidlist_file::lock(control, options.lock_timeout)?;
    let mut keywords = Keywords::read(control)?;
    // Somebody was faster.
    if keywords.stamp != Stamp::default() {
        return Ok(());
    }
    for below in ["new", "cur"] {
        mark(&maildir.path().join(below), &maildir.path().join("cur"), found, &mut keywords.names)?;
    }
    if keywords.names.is_empty() {
        return Ok(());
    }
    if options.fsync {
        maildir.sync_directories()?;
    }
    keywords.write(control, &lock)
}

/// Keywords by base name.
type Found = HashMap<Vec<u8>, Vec<Box<str>>>;

fn read(directory: &Path) -> Found {
    let list = sys::read_control(&directory.join(LIST)).unwrap_or_default();
    let mut found = parse(&list);
    let mut pending: Vec<(u64, Vec<u8>)> = Vec::new();
    let _ = sys::for_each_name(directory, &mut |file_name, is_directory| {
        if let Some(pair) = pending_of(file_name).filter(|_| !is_directory && pending.len() < PENDING_MAX) {
            pending.push(pair);
        }
    });
    // The latest one counts.
    pending.sort_unstable();
    for (time, base) in pending {
        let file_name = match time {
            u64::MAX => base.clone(),
            time => [format!(".{time}.").as_bytes(), &base].concat(),
        };
        let Ok(text) = sys::read_control(&directory.join(OsStr::from_bytes(&file_name))) else { continue };
        let names = text.split(|&octet| octet == b'\n').filter_map(keyword).collect();
        found.insert(base, names);
    }
    found
}

/// When a change was made that this file tells of, and of which message.
fn pending_of(file_name: &[u8]) -> Option<(u64, Vec<u8>)> {
    if file_name.starts_with(b":") {
        return None;
    }
    let Some(rest) = file_name.strip_prefix(b".") else { return Some((u64::MAX, file_name.to_vec())) };
    let dot = memchr::memchr(b'.', rest)?;
    let (time, base) = (name::decimal(rest.get(..dot)?)?, rest.get(dot + 1..)?);
    (!base.is_empty() && time != u64::MAX).then(|| (time, base.to_vec()))
}

/// Reads the list. Never fails: what makes no sense is passed over.
pub(super) fn parse(text: &[u8]) -> Found {
    let mut lines = text.split(|&octet| octet == b'\n');
    let names: Vec<Option<Box<str>>> =
        lines.by_ref().take_while(|line| !line.is_empty()).map(keyword).collect();
    let mut found = Found::new();
    for line in lines {
        let Some(colon) = memchr::memrchr(b':', line) else { continue };
        let (base, numbers) = line.split_at(colon);
        let numbers = numbers.get(1..).unwrap_or_default().split(|&octet| octet == b' ');
        let number = |digits: &[u8]| usize::try_from(name::decimal(digits)?).ok();
        let keywords: Vec<Box<str>> =
            numbers.filter_map(|digits| names.get(number(digits)?)?.clone()).collect();
        if !keywords.is_empty() && !base.is_empty() {
            found.insert(base.to_vec(), keywords);
        }
    }
    found
}

fn keyword(line: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(line).ok().filter(|keyword| is_keyword(keyword)).map(Into::into)
}

/// Gives the messages of one directory their letters. Those of `new` move to `cur`, where names have flags.
fn mark(directory: &Path, cur: &Path, found: &Found, names: &mut Vec<Box<str>>) -> Result<(), StorageError> {
    let mut marked: Vec<Vec<u8>> = Vec::new();
    let read = sys::for_each_name(directory, &mut |file_name, is_directory| {
        if !is_directory && is_message_name(file_name) && found.contains_key(name::base(file_name)) {
            marked.push(file_name.to_vec());
        }
    });
    read.map_err(StorageError::at("readdir", directory))?;
    for file_name in marked {
        let keywords = found.get(name::base(&file_name)).map_or(&[][..], Vec::as_slice);
        let before = Flags::of_name(&file_name);
        let mut flags = before;
        for keyword in keywords {
            flags.keywords |= letter(keyword, names);
        }
        if flags == before {
            continue;
        }
        let from = directory.join(OsStr::from_bytes(&file_name));
        let to = cur.join(OsStr::from_bytes(&flags.in_name(&file_name)));
        match sys::rename_without_overwriting(&from, &to) {
            // Another program renamed it just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => renamed.map_err(StorageError::at("rename", &from))?,
        }
    }
    Ok(())
}

/// The bit of a keyword; 0 when all letters are others'.
fn letter(keyword: &str, names: &mut Vec<Box<str>>) -> u32 {
    if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(keyword)) {
        return 1 << at;
    }
    if names.len() >= KEYWORDS {
        return 0;
    }
    names.push(keyword.into());
    1 << (names.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::time::Duration;

    const OPTIONS: OpenOptions =
        OpenOptions { read_only: false, fsync: true, lock_timeout: Duration::from_millis(300) };

    fn courier(list: &str) -> (TempDir, Maildir) {
        let dir = TempDir::maildir();
        fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        dir.write("courierimapkeywords/:list", list);
        let maildir = Maildir::open(dir.path()).unwrap();
        (dir, maildir)
    }

    #[test]
    fn the_list_becomes_letters() {
        let (dir, maildir) =
            courier("$Forwarded\nNever\nwork\n\n1.a,S=3:2 0\n2.b:0\ngone:0\n3.c:1\nbad\n4.d:7\n");
        for name in ["cur/1.a,S=3:2,S", "cur/2.b:2,", "new/5.e", "cur/4.d:2,F"] {
            dir.write(name, "x: y\n");
        }
        take_over(&maildir, &OPTIONS).unwrap();
        let letters = |at: usize| dir.list("cur").get(at).unwrap().split_once(":2,").unwrap().1.len();
        assert_eq!([letters(0), letters(1), letters(2), dir.list("new").len()], [3, 1, 1, 1]);
        let mut names = Keywords::read(dir.path()).unwrap().names;
        names.sort();
        assert_eq!(names, ["$Forwarded".into(), Box::<str>::from("work")]);
    }

    #[test]
    fn changes_that_are_not_merged_count() {
        let (dir, maildir) = courier("old\n\n1.a:0\n2.b:0\n3.c:0\n");
        for (name, text) in [
            (".5.1.a", "five\n"),
            (".40.1.a", "forty\nx\n"),
            ("2.b", ""),
            (".9.3.c", "nine\n"),
            ("3.c", "now"),
            ("4.d", "new\n"),
        ] {
            dir.write(&format!("courierimapkeywords/{name}"), text);
        }
        for name in ["cur/1.a:2,", "cur/2.b:2,", "cur/3.c:2,", "new/4.d"] {
            dir.write(name, "x: y\n");
        }
        take_over(&maildir, &OPTIONS).unwrap();
        let names = Keywords::read(dir.path()).unwrap().names;
        let of = |base: &str| {
            let file = dir.list("cur").into_iter().find(|name| name.starts_with(base)).unwrap();
            let bits = Flags::of_name(file.as_bytes()).keywords;
            let set = (0u32..).zip(&names).filter(|(bit, _)| bits & 1 << bit != 0);
            set.map(|(_, name)| name.to_string()).collect::<Vec<_>>()
        };
        let mut first = of("1.a");
        first.sort();
        assert_eq!(
            (first, of("2.b"), of("3.c"), of("4.d")),
            (
                vec!["forty".to_owned(), "x".to_owned()],
                vec![],
                vec!["now".to_owned()],
                vec!["new".to_owned()],
            )
        );
        assert!(dir.list("new").is_empty());
    }

    #[test]
    fn once_and_not_after_dovecot() {
        let (dir, maildir) = courier("one\n\n1.a:0\n");
        dir.write("cur/1.a:2,", "x: y\n");
        dir.write("dovecot-keywords", "");
        take_over(&maildir, &OPTIONS).unwrap();
        assert_eq!(dir.list("cur"), ["1.a:2,"]);
        fs::remove_file(dir.path().join("dovecot-keywords")).unwrap();
        take_over(&maildir, &OPTIONS).unwrap();
        dir.write("courierimapkeywords/:list", "two\n\n1.a:0\n");
        take_over(&maildir, &OPTIONS).unwrap();
        assert_eq!(
            (dir.list("cur"), dir.read("dovecot-keywords")),
            (vec!["1.a:2,a".to_owned()], "0 one\n".to_owned())
        );
    }

    #[test]
    fn there_are_letters_for_26() {
        let names: String = (0..30).map(|i| format!("k{i}\n")).collect();
        let lines: String = (0..30).map(|i| format!("{i}.x:{i}\n")).collect();
        let (dir, maildir) = courier(&format!("{names}\n{lines}"));
        (0..30).for_each(|i| dir.write(&format!("cur/{i}.x:2,"), "x: y\n"));
        take_over(&maildir, &OPTIONS).unwrap();
        let marked = dir.list("cur").into_iter().filter(|name| !name.ends_with(',')).count();
        assert_eq!((marked, Keywords::read(dir.path()).unwrap().names.len()), (26, 26));
    }

    proptest! {
        #[test]
        fn no_list_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&text);
            pending_of(&text);
        }
    }
}
