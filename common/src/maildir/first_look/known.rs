//! A uidlist in which each line has a UID and a base name and nothing else: which UID a base name has, in 24 octets for each.

use super::super::index::base_hash;
use super::super::numbered::Numbered;
use super::super::uidlist::{UidList, parse_plain_line};
use super::super::uidlist_file::{self, Stamp};
use super::super::{Maildir, StorageError};
use crate::sys::fs as sys;
use std::io::{self, BufRead, BufReader};

/// Octets of the uidlist that are read at a time.
const PIECE: usize = 64 * 1024;
/// What a Courier mailbox has instead.
const COURIERS: [&str; 2] = ["courierimapuiddb", "courierpop3dsizelist"];

/// The uidlist.
#[derive(Debug)]
pub(super) struct Known {
    /// Its first line; `None` if there is no list.
    pub list: Option<UidList>,
    pub stamp: Stamp,
    uids: Vec<u32>,
    rows: Numbered,
}

impl Known {
    /// Reads it. `None`: it is broken or not plain, or there is something to be taken over.
    ///
    /// Errors: it cannot be read.
    pub fn read(maildir: &Maildir) -> Result<Option<Known>, StorageError> {
        let path = maildir.control().join(uidlist_file::NAME);
        let (file, stamp) = match sys::open_control(&path) {
            Ok(file) => {
                let meta = file.metadata().map_err(StorageError::at("stat", &path))?;
                (Some(file), Stamp::of(&meta))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Stamp::default()),
            Err(error) => return Err(StorageError::new("open", &path, error)),
        };
        let Some(file) = file else {
            if COURIERS.iter().any(|name| maildir.path().join(name).exists()) {
                return Ok(None);
            }
            let rows = Numbered::of(Vec::new());
            return Ok(rows.map(|rows| Known { list: None, stamp, uids: Vec::new(), rows }));
        };
        let mut lines = BufReader::with_capacity(PIECE, file);
        let (mut uids, mut hashes) = (Vec::new(), Vec::new());
        let list = read_lines(&mut lines, &mut uids, &mut hashes).map_err(StorageError::at("read", &path))?;
        let Some(rows) = list.as_ref().and_then(|_| Numbered::of(hashes)) else { return Ok(None) };
        Ok(Some(Known { list, stamp, uids, rows }))
    }

    /// Lines.
    pub fn len(&self) -> u64 {
        self.uids.len() as u64
    }

    /// UIDVALIDITY; 0 if there is none.
    pub fn uid_validity(&self) -> u32 {
        self.list.as_ref().map_or(0, |list| list.uid_validity)
    }

    /// What the next message gets.
    pub fn next_uid(&self) -> u32 {
        let next = self.list.as_ref().map_or(1, |list| list.next_uid);
        next.max(self.uids.last().map_or(0, |last| last.saturating_add(1)))
    }

    /// The UID of the message whose base name has this number.
    pub fn uid(&self, hash: u64) -> Option<u32> {
        self.uids.get(self.rows.find(hash)? as usize).copied()
    }
}

/// The first line; its UIDs and the numbers of its base names are added to the lists.
fn read_lines(
    lines: &mut impl BufRead,
    uids: &mut Vec<u32>,
    hashes: &mut Vec<u64>,
) -> io::Result<Option<UidList>> {
    let mut line = Vec::new();
    if !next_line(lines, &mut line)? {
        return Ok(None);
    }
    line.push(b'\n');
    let Some(list) = UidList::parse(line.clone()).ok().filter(|list| !list.needs_rewrite) else {
        return Ok(None);
    };
    while !lines.fill_buf()?.is_empty() {
        if !next_line(lines, &mut line)? {
            return Ok(None);
        }
        let last = uids.last().copied().unwrap_or(0);
        let Some((uid, base)) = parse_plain_line(&line).filter(|&(uid, _)| uid > last) else {
            return Ok(None);
        };
        uids.push(uid);
        hashes.push(base_hash(base));
    }
    Ok(Some(list))
}

/// A line without its end. `false`: it is longer than any should be, or has none.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let held = lines.fill_buf()?;
        let end = memchr::memchr(b'\n', held);
        line.extend_from_slice(held.get(..end.unwrap_or(held.len())).unwrap_or_default());
        let (taken, empty) = (end.map_or(held.len(), |end| end + 1), held.is_empty());
        lines.consume(taken);
        if end.is_some() || empty || line.len() > PIECE {
            return Ok(end.is_some() && line.len() <= PIECE);
        }
    }
}
