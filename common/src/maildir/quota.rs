//! Maildir++ quota: `maildirsize`, which Courier, maildrop, Exim and Dovecot keep too.
//!
//! The first line says what is allowed (`10000000S,1000C`: octets, messages), each other one what was added or removed
//! (`2000 1`, `-2000 -1`); their sum is what there is. Lines are appended without a lock, 14 octets long as Courier has
//! them. When the file has become long, makes no sense, or says that there is no room and may be wrong, everything is
//! counted again. Messages with the flag `T` and those in the mailbox Trash are not counted: a user who has no room left
//! can still throw away.
//!
//! `mailbox_size_limit` is the octets of the first line. Without that setting a file that is there is obeyed and kept in
//! step; one that is not there is not made. It stands in the root, or in the directory that CONTROL= gives. The file is
//! the user's own and may hold anything. Programs that do not know it change the mailbox without it: what it says is true
//! after the next counting only.

use super::error::{ErrorKind, StorageError};
use super::flags::Flags;
use super::{Location, Maildir, Message, make_anew, name};
use crate::sys::fs as sys;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The file's name.
pub const NAME: &str = "maildirsize";
/// A file of so many octets is counted anew.
const LENGTH_MAX: u64 = 5120;
/// That there is no room is believed of a counting that is not older than this.
const BELIEVED: Duration = Duration::from_secs(15 * 60);
/// Octets of a line.
const LINE: usize = 14;
/// The one mailbox that is not counted.
const TRASH: &[u8] = b".Trash";

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is.
    Ok,
    /// There is not.
    Over,
    /// There is, and nobody counts.
    Uncounted,
}

/// Where the mail of a user is counted, and what it may take.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    file: PathBuf,
    root: PathBuf,
    inbox: PathBuf,
    /// Octets; 0: as the file says.
    limit: u64,
    /// Whether this mailbox counts.
    counted: bool,
}

/// Octets and messages, of what is there or of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub octets: i64,
    pub messages: i64,
}

impl Amount {
    pub(super) fn add(&mut self, octets: i64, messages: i64) {
        self.octets = self.octets.saturating_add(octets);
        self.messages = self.messages.saturating_add(messages);
    }

    pub(super) fn negative(self) -> Amount {
        Amount { octets: self.octets.saturating_neg(), messages: self.messages.saturating_neg() }
    }

    /// Counts a message more, or with `-1` less. Those with `\Deleted` are not counted.
    pub(super) fn count(&mut self, size: u64, flags: Flags, sign: i64) {
        if flags.bits & Flags::DELETED == 0 {
            self.add(sign.saturating_mul(i64::try_from(size).unwrap_or(i64::MAX)), sign);
        }
    }
}

/// What is allowed; `None`: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Definition {
    octets: Option<u64>,
    messages: Option<u64>,
}

impl Definition {
    /// `None`: that is no definition.
    fn parse(line: &[u8]) -> Option<Definition> {
        let mut definition = Definition::default();
        for part in line.trim_ascii().split(|&octet| octet == b',').filter(|part| !part.is_empty()) {
            let (&kind, digits) = part.split_last()?;
            // Nothing allowed means nothing forbidden, as with Courier.
            let number = Some(name::decimal(digits)?).filter(|&number| number != 0);
            match kind {
                b'S' => definition.octets = number,
                b'C' => definition.messages = number,
                // Something that others may know.
                _ => {}
            }
        }
        Some(definition)
    }

    fn print(self) -> String {
        let part = |number: Option<u64>, kind| number.map(|number| format!("{number}{kind}"));
        let parts = [part(self.octets, 'S'), part(self.messages, 'C')];
        parts.into_iter().flatten().collect::<Vec<_>>().join(",")
    }

    fn has_room(self, there: Amount) -> bool {
        let fits =
            |most: Option<u64>, is: i64| most.is_none_or(|most| u64::try_from(is).unwrap_or(0) <= most);
        fits(self.octets, there.octets) && fits(self.messages, there.messages)
    }
}

/// The file as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    definition: Definition,
    there: Amount,
    /// Lines behind the first.
    lines: usize,
    /// It has to be counted anew.
    worn: bool,
}

impl Kept {
    fn parse(text: &[u8]) -> Kept {
        let mut lines = text.split(|&octet| octet == b'\n');
        let definition = lines.next().and_then(Definition::parse);
        let mut kept = Kept {
            definition: definition.unwrap_or_default(),
            there: Amount::default(),
            lines: 0,
            worn: definition.is_none() || text.len() as u64 >= LENGTH_MAX,
        };
        for line in lines.filter(|line| !line.is_empty()) {
            let mut numbers = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(signed);
            match (numbers.next().flatten(), numbers.next().flatten(), numbers.next()) {
                (Some(octets), Some(messages), None) => kept.there.add(octets, messages),
                _ => kept.worn = true,
            }
            kept.lines += 1;
        }
        kept.worn |= kept.lines == 0 || kept.there.octets < 0 || kept.there.messages < 0;
        kept
    }
}

/// For `fuzz/`: what is printed of what was read says the same.
pub(super) fn read_again(text: &[u8]) {
    let kept = Kept::parse(text);
    let again = Kept::parse(format!("{}\n{}", kept.definition.print(), line(kept.there)).as_bytes());
    assert_eq!((again.definition, again.there), (kept.definition, kept.there), "{}", text.escape_ascii());
}

fn signed(digits: &[u8]) -> Option<i64> {
    let (sign, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, digits),
    };
    Some(sign * i64::try_from(name::decimal(digits)?).ok()?)
}

fn line(amount: Amount) -> String {
    let width = LINE - 1;
    format!("{:<width$}\n", format!("{} {}", amount.octets, amount.messages))
}

/// Whether one message more of so many octets on the disk may be put into the mailbox.
pub fn check(maildir: &Maildir, octets: u64) -> Result<Verdict, StorageError> {
    check_amount(maildir, Amount { octets: i64::try_from(octets).unwrap_or(i64::MAX), messages: 1 })
}

/// Says that messages came, or with negative numbers that they are gone. That it could not be written is no matter: the
/// next counting finds out.
pub fn add(maildir: &Maildir, octets: i64, messages: i64) {
    add_amount(maildir, Amount { octets, messages });
}

pub(super) fn check_amount(maildir: &Maildir, more: Amount) -> Result<Verdict, StorageError> {
    match maildir.quota.as_deref() {
        Some(quota) if quota.counted && more != Amount::default() => {
            quota.check(more).map_err(StorageError::at("read", &quota.file))
        }
        _ => Ok(Verdict::Uncounted),
    }
}

pub(super) fn add_amount(maildir: &Maildir, more: Amount) {
    if let Some(quota) = maildir.quota.as_deref().filter(|quota| quota.counted && more != Amount::default()) {
        let _ = quota.append(more);
    }
}

/// Whether both mailboxes are counted, and in the same file: then moving from one into the other changes nothing.
pub(super) fn is_shared(a: &Maildir, b: &Maildir) -> bool {
    match (&a.quota, &b.quota) {
        (Some(a), Some(b)) => a.counted && b.counted && a.file == b.file,
        _ => false,
    }
}

/// Messages that come and go in one mailbox, said all at once.
#[derive(Debug, Default)]
pub struct Tally {
    kept: bool,
    amount: Amount,
}

impl Tally {
    /// Nothing yet.
    pub fn begin(maildir: &Maildir) -> Tally {
        let kept = |quota: &Quota| quota.counted && fs::symlink_metadata(&quota.file).is_ok();
        Tally { kept: maildir.quota.as_deref().is_some_and(kept), amount: Amount::default() }
    }

    /// Notes a message that will be removed, or with `1` one that counts again. It must still be there.
    pub fn note(&mut self, maildir: &Maildir, message: &Message, sign: i64) {
        if self.kept && Flags::of_name(&message.name).bits & Flags::DELETED == 0 {
            self.note_anyway(maildir, message, sign);
        }
    }

    /// The same whatever flags it has.
    pub(super) fn note_anyway(&mut self, maildir: &Maildir, message: &Message, sign: i64) {
        if self.kept {
            let size = name::size_hint(&message.name, b'S').or_else(|| maildir.size_on_disk(message).ok());
            self.amount.count(size.unwrap_or(0), Flags::default(), sign);
        }
    }

    /// Says it.
    pub fn end(self, maildir: &Maildir) {
        add_amount(maildir, self.amount);
    }
}

/// Counts everything again where a file is kept: after whole mailboxes came or went.
pub fn recount(location: &Location) {
    let quota = Quota::of(location, OsStr::new(""));
    if let Ok(Some((kept, _))) = quota.read() {
        let _ = quota.count(quota.definition(Some(kept)));
    }
}

/// The error of what is too much.
pub(super) fn over(maildir: &Maildir) -> StorageError {
    let path = maildir.quota.as_ref().map_or(maildir.path(), |quota| quota.file.as_path());
    let source = io::Error::new(io::ErrorKind::QuotaExceeded, "over quota");
    StorageError { kind: ErrorKind::Full, op: "append", path: path.to_owned(), source }
}

impl Quota {
    /// That of the mailbox with this directory.
    pub(super) fn of(location: &Location, directory: &OsStr) -> Quota {
        Quota {
            file: location.control.as_ref().unwrap_or(&location.root).join(NAME),
            root: location.root.clone(),
            inbox: location.inbox.clone(),
            limit: location.size_limit,
            counted: directory.as_bytes() != TRASH,
        }
    }

    fn check(&self, more: Amount) -> io::Result<Verdict> {
        let (kept, young) = match self.read()? {
            Some((kept, modified)) => {
                let age = SystemTime::now().duration_since(modified).unwrap_or_default();
                (Some(kept), age < BELIEVED)
            }
            None if self.limit == 0 => return Ok(Verdict::Uncounted),
            None => (None, false),
        };
        let definition = self.definition(kept);
        let with = |mut there: Amount| {
            there.add(more.octets, more.messages);
            match definition.has_room(there) {
                true => Verdict::Ok,
                false => Verdict::Over,
            }
        };
        if let Some(kept) = kept.filter(|kept| !kept.worn && kept.definition == definition) {
            let verdict = with(kept.there);
            if verdict == Verdict::Ok || kept.lines == 1 && young {
                return Ok(verdict);
            }
        }
        Ok(with(self.count(definition)?))
    }

    /// What is allowed: octets as the setting says, everything else as the file has it.
    fn definition(&self, kept: Option<Kept>) -> Definition {
        let of_file = kept.map_or(Definition::default(), |kept| kept.definition);
        match self.limit {
            0 => of_file,
            limit => Definition { octets: Some(limit), ..of_file },
        }
    }

    fn read(&self) -> io::Result<Option<(Kept, SystemTime)>> {
        let file = match sys::open_control(&self.file).map_err(StorageError::at("open", &self.file)) {
            Ok(file) => file,
            // One that cannot be used is as good as none: what it is made from can be counted.
            Err(error) if error.kind == ErrorKind::NotFound || error.is_unusable() => return Ok(None),
            Err(error) => return Err(error.source),
        };
        let modified = file.metadata()?.modified()?;
        let mut text = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut text)?;
        Ok(Some((Kept::parse(&text), modified)))
    }

    fn append(&self, more: Amount) -> io::Result<()> {
        self.open_to_append()?.write_all(line(more).as_bytes())
    }

    fn open_to_append(&self) -> io::Result<File> {
        OpenOptions::new().append(true).custom_flags(sys::NO_FOLLOW | sys::NO_WAIT).open(&self.file)
    }

    /// Counts everything and writes the file anew. Directories that changed meanwhile make it worth nothing: it is taken
    /// away, and the next one counts again.
    fn count(&self, definition: Definition) -> io::Result<Amount> {
        let mut there = Amount::default();
        let mut looked_at = Vec::new();
        for maildir in self.maildirs()? {
            for below in ["new", "cur"] {
                let directory = maildir.join(below);
                let Ok(stamp) = changed(&directory) else { continue };
                looked_at.push((directory.clone(), stamp));
                count_directory(&directory, &mut there)?;
            }
        }
        let written = self.write(definition, there);
        let same = |(directory, stamp): &(PathBuf, _)| changed(directory).is_ok_and(|now| now == *stamp);
        if written.is_ok() && !looked_at.iter().all(same) {
            // Without a setting the definition would be lost with it: then it is counted anew by a line that is none.
            let _ = match self.limit {
                0 => self.append_worn(),
                _ => fs::remove_file(&self.file),
            };
        }
        Ok(there)
    }

    fn append_worn(&self) -> io::Result<()> {
        self.open_to_append()?.write_all(b"recount\n")
    }

    fn maildirs(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = vec![self.inbox.clone()];
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let octets = name.as_bytes();
            if octets.starts_with(b".") && !matches!(octets, b"." | b"..") && octets != TRASH {
                all.push(self.root.join(name));
            }
        }
        Ok(all)
    }

    fn write(&self, definition: Definition, there: Amount) -> io::Result<()> {
        let temp =
            self.file.with_file_name(format!("{NAME}.tinmail.{}.{}", std::process::id(), sys::hostname()));
        let text = format!("{}\n{}", definition.print(), line(there));
        let written = make_anew(&temp)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&temp, &self.file));
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written
    }
}

fn changed(directory: &Path) -> io::Result<(i64, i64)> {
    fs::metadata(directory).map(|meta| (meta.mtime(), meta.mtime_nsec()))
}

fn count_directory(directory: &Path, there: &mut Amount) -> io::Result<()> {
    let mut unknown: Vec<Box<[u8]>> = Vec::new();
    sys::for_each_name(directory, &mut |file_name, is_directory| {
        if is_directory || !super::scan::is_message_name(file_name) {
            return;
        }
        let flags = Flags::of_name(file_name);
        match name::size_hint(file_name, b'S') {
            Some(size) => there.count(size, flags, 1),
            None if flags.bits & Flags::DELETED == 0 => unknown.push(file_name.into()),
            None => {}
        }
    })?;
    for file_name in unknown {
        // One that is gone meanwhile has no size.
        if let Ok(meta) = fs::symlink_metadata(directory.join(OsStr::from_bytes(&file_name))) {
            there.count(meta.len(), Flags::default(), 1);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
