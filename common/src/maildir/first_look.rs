//! The first look at a large mailbox: there is no index of it yet, and no uidlist, or one without peculiarities.
//!
//! Comes to the same as [`build`](super::build), in memory that hardly grows with the mailbox: names are sorted in pieces, and
//! the result waits in a file without a name until the index is written. Whatever is not plain is left to `build`: two files
//! with one base, fields or damage in the uidlist, Courier's lists, a directory that changes meanwhile, a disk on which
//! nothing can be written.
//!
//! Messages in `new` stay there for the moment. The index has them where they will be, as the session's recent ones, and time
//! stamps with which nobody takes it for current. The session moves them when it has answered its client, and says so in the
//! log; if it dies before that, whoever comes next finds them in `new`.

mod known;

use super::build::{first_modseq, is_recent};
use super::error::StorageError;
use super::index::{self, Extras, Header, Source, base_hash};
use super::mailbox::spool::Spool;
use super::options::{Locked, Options};
use super::scan::is_message_name;
use super::sorter::{RUN, Sorted, Sorter};
use super::uidlist::{UID_LIMIT, UidList, print_plain_line};
use super::uidlist_file::{self, Stamp};
use super::{Maildir, name, uidvalidity};
use crate::sys::fs as sys;
use known::Known;
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

/// Messages without a UID have this bit in their key, and the time in their name; others have their UID there.
const UNNUMBERED: u64 = 1 << 63;
/// The file is in `new`.
const IN_NEW: u8 = 1;
/// That many messages of one second are put in order in memory.
const GROUP_MAX: usize = 8192;
/// The uidlist is written anew when less than this part of its lines is still alive: see `build`.
const ALIVE_PERCENT: u64 = 75;

/// What was found, ready to be written as an index.
#[derive(Debug)]
pub(super) struct FirstLook {
    header: Header,
    /// UID, mark and name.
    messages: Spool,
}

/// The time stamps of `new` and `cur`.
pub(super) fn stamps(maildir: &Maildir) -> Result<(Stamp, Stamp), StorageError> {
    Ok((Stamp::at(&maildir.path().join("new"))?, Stamp::at(&maildir.path().join("cur"))?))
}

/// Looks, and gives new messages their UIDs. `None`: something is not plain, or the directories are no longer as they were at
/// `before`.
///
/// Errors: nothing can be read or written; `InUse`.
pub(super) fn look(
    maildir: &Maildir,
    options: &Options<'_>,
    before: (Stamp, Stamp),
) -> Result<Option<FirstLook>, StorageError> {
    let Some(directory) = maildir.index() else { return Ok(None) };
    let Some(known) = Known::read(maildir)? else { return Ok(None) };
    let mut sorter = Sorter::new(directory, RUN);
    let mut count = Count::default();
    for (below, in_new) in [("new", true), ("cur", false)] {
        let path = maildir.path().join(below);
        let mut pushed = Ok(());
        let read = sys::for_each_name(&path, &mut |file_name, is_directory| {
            if pushed.is_ok() && !is_directory && is_message_name(file_name) {
                let uid = known.uid(base_hash(file_name));
                let key =
                    uid.map_or_else(|| UNNUMBERED | name::seconds(file_name).min(UNNUMBERED - 1), u64::from);
                pushed = sorter.push(key, if in_new { IN_NEW } else { 0 }, file_name);
                count.add(uid.is_some(), in_new);
            }
        });
        read.map_err(StorageError::at("readdir", &path))?;
        pushed.map_err(StorageError::at("write", directory))?;
    }
    // A file that is renamed while its directory is read may not be listed at all.
    let some_are_missing = count.known < known.len();
    if some_are_missing && (is_recent(before.0) || is_recent(before.1)) || stamps(maildir)? != before {
        return Ok(None);
    }
    let sorted = sorter.finish().map_err(StorageError::at("read", directory))?;
    let takes = options.recent_of.is_some();
    let messages = Numbering::new(sorted, Spool::new(directory), known.next_uid(), takes);
    let mut look = Look { maildir, options, before, known, count, messages };
    let first_modseq = first_modseq(options, look.known.list.is_some(), look.known.stamp);
    let Some(uidlist) = look.number()? else { return Ok(None) };
    let mut header = Header::default();
    (header.uid_validity, header.next_uid) = (look.known.uid_validity(), look.messages.next_uid);
    header.uidlist = uidlist;
    (header.highest_modseq, header.vanished_since) = (first_modseq, first_modseq);
    header.recent_of = options.recent_of.unwrap_or(0);
    if !takes || count.in_new == 0 {
        (header.new, header.cur) = before;
    }
    Ok(Some(FirstLook { header, messages: look.messages.messages }))
}

impl FirstLook {
    /// Writes the index.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        index::write(out, self.header, &Extras::default(), |visit| {
            let mut reader = self.messages.reader();
            while let Some(record) = reader.next().map_err(|error| error.source)? {
                let Some(([uid @ .., mark], name)) = record.split_first_chunk::<5>() else { continue };
                visit(&Source {
                    uid: u32::from_le_bytes(*uid),
                    octets: name::size_hint(name, b'W').unwrap_or(index::UNKNOWN),
                    modseq: self.header.highest_modseq,
                    flags: u16::from(*mark),
                    name,
                    ..Source::default()
                })?;
            }
            Ok(())
        })
    }
}

/// Files that were listed.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    known: u64,
    unnumbered: u64,
    in_new: u64,
}

impl Count {
    fn add(&mut self, is_known: bool, in_new: bool) {
        self.known += u64::from(is_known);
        self.unnumbered += u64::from(!is_known);
        self.in_new += u64::from(in_new);
    }
}

struct Look<'a> {
    maildir: &'a Maildir,
    options: &'a Options<'a>,
    before: (Stamp, Stamp),
    known: Known,
    count: Count,
    messages: Numbering,
}

impl Look<'_> {
    /// Writes down which UID each message has. Returns the uidlist's stamp; `None`: something is not plain.
    fn number(&mut self) -> Result<Option<Stamp>, StorageError> {
        let numbered = self.number_in_file();
        if self.messages.odd { Ok(None) } else { numbered }
    }

    fn number_in_file(&mut self) -> Result<Option<Stamp>, StorageError> {
        let (control, fsync) = (self.maildir.control(), self.options.fsync);
        self.messages.pass_numbered().map_err(StorageError::at("write", control))?;
        if self.count.unnumbered == 0 && self.known.list.is_some() {
            return Ok(Some(self.known.stamp));
        }
        let lines = self.known.len() + self.count.unnumbered;
        if self.messages.odd || (self.count.known + self.count.unnumbered) * 100 < lines * ALIVE_PERCENT {
            return Ok(None);
        }
        let lock = Locked::take(self.maildir, self.options)?;
        let path = control.join(uidlist_file::NAME);
        if Stamp::at(&path)? != self.known.stamp || stamps(self.maildir)? != self.before {
            return Ok(None);
        }
        if u64::from(UID_LIMIT - self.known.next_uid()) <= self.count.unnumbered {
            return Ok(None);
        }
        let messages = &mut self.messages;
        if self.known.list.is_some() {
            let print = &mut |lines: &mut Vec<u8>| messages.number_some(lines);
            return uidlist_file::append_lines(control, self.known.stamp, &lock, fsync, print).map(Some);
        }
        let shared = self.maildir.shared();
        let fresh = uidvalidity::next(shared, 0, fsync).map_err(StorageError::at("create", shared))?;
        let mut list = UidList::new(fresh, uidvalidity::new_guid(control));
        list.next_uid =
            list.next_uid.saturating_add(u32::try_from(self.count.unnumbered).unwrap_or(UID_LIMIT));
        let mut lines = Vec::new();
        let written = uidlist_file::rewrite_lines(control, &lock, fsync, &mut |out| {
            list.print_header(out)?;
            while messages.number_some(&mut lines)? {
                out.write_all(&lines)?;
                lines.clear();
            }
            out.write_all(&lines)
        });
        self.known.list = Some(list);
        written.map(Some)
    }
}

/// Goes through the sorted names and gives UIDs to those that have none.
struct Numbering {
    sorted: Sorted,
    /// Key and mark of the name that comes next.
    ahead: Option<(u64, u8)>,
    name: Vec<u8>,
    /// Names with one key, one after the other; where each begins and ends, and its mark.
    text: Vec<u8>,
    group: Vec<(u32, u32, u8)>,
    next_uid: u32,
    takes: bool,
    messages: Spool,
    /// Two files have one base.
    odd: bool,
}

impl Numbering {
    fn new(sorted: Sorted, messages: Spool, next_uid: u32, takes: bool) -> Numbering {
        let (name, text, group) = (Vec::new(), Vec::new(), Vec::new());
        Numbering { sorted, ahead: None, name, text, group, next_uid, takes, messages, odd: false }
    }

    /// Those that have UIDs come first.
    fn pass_numbered(&mut self) -> io::Result<()> {
        self.ahead = self.sorted.next(&mut self.name)?;
        let mut last = 0;
        while let Some((key, mark)) = self.ahead.filter(|&(key, _)| key < UNNUMBERED) {
            self.odd |= key == last;
            last = key;
            let name = placed(&self.name, mark, self.takes);
            push(&mut self.messages, key as u32, self.takes, mark, &name)?;
            self.ahead = self.sorted.next(&mut self.name)?;
        }
        Ok(())
    }

    /// Numbers the messages of the next second and adds their lines. `false`: there are none any more.
    fn number_some(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let Some((key, _)) = self.ahead else { return Ok(false) };
        self.text.clear();
        self.group.clear();
        while let Some((_, mark)) = self.ahead.filter(|&(other, _)| other == key) {
            let begin = self.text.len() as u32;
            // The order is that of the names that they will have.
            self.text.extend_from_slice(&placed(&self.name, mark, self.takes));
            self.group.push((begin, self.text.len() as u32, mark));
            self.odd |= self.group.len() > GROUP_MAX;
            if self.odd {
                return Err(io::Error::other("it is not plain"));
            }
            self.ahead = self.sorted.next(&mut self.name)?;
        }
        let text = &self.text;
        let name =
            |(begin, end, _): (u32, u32, u8)| text.get(begin as usize..end as usize).unwrap_or_default();
        if self.group.len() > 1 {
            name::sort_by_delivery(&mut self.group, &name);
            let bases: HashSet<&[u8]> = self.group.iter().map(|&entry| name::base(name(entry))).collect();
            if bases.len() != self.group.len() {
                self.odd = true;
                return Err(io::Error::other("it is not plain"));
            }
        }
        for &entry in &self.group {
            let (uid, name) = (self.next_uid, name(entry));
            self.next_uid = uid.saturating_add(1);
            print_plain_line(uid, name::base(name), lines);
            push(&mut self.messages, uid, self.takes, entry.2, name)?;
        }
        Ok(true)
    }
}

/// The name of a file. With `takes` one in `new` has the name that it will have in `cur`.
fn placed(name: &[u8], mark: u8, takes: bool) -> Cow<'_, [u8]> {
    match mark & IN_NEW != 0 && takes {
        true => name::with_flags(name, b"", b"").into(),
        false => name.into(),
    }
}

/// Adds a message, with the name that it has or will have.
fn push(messages: &mut Spool, uid: u32, takes: bool, mark: u8, name: &[u8]) -> io::Result<()> {
    let in_new = mark & IN_NEW != 0;
    let place = match in_new {
        true if takes => index::RECENT,
        true => index::IN_NEW,
        false => 0,
    };
    let pushed = messages.push(|out| {
        out.extend_from_slice(&uid.to_le_bytes());
        out.push(place as u8);
        out.extend_from_slice(name);
    });
    pushed.map_err(|error| error.source)
}

#[cfg(test)]
#[path = "first_look_tests.rs"]
mod tests;
