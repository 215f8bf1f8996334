//! `dovecot-uidlist`: which UID each message has, shared with Dovecot. Reading and changing it in memory; writing is
//! in [`super::uidlist_file`].
//!
//! ```text
//! 3 V<uidvalidity> N<next uid> G<mailbox guid> [<K><value> ...]
//! <uid> [<K><value> ...] :<base name>
//! ```
//! Keys are capital letters: `S` size on disk, `W` octets, `P` POP3 unique-id, `O` POP3 order, `G` message GUID; others
//! are kept. A value holds no space. Version 1, which is also Courier's `courierimapuiddb`, is read:
//! `1 <uidvalidity> <next uid>`, then `<uid> <file name>`. File names may carry `:2,FLAGS`.
//!
//! The file is the user's own and may be damaged. A broken header makes the file worthless, as for Dovecot. A broken
//! line (no UID, a UID not greater than the one before, a name with `/`, no name) is dropped and the file marked for
//! rewriting. Dovecot throws the whole file away then, so that every client fetches everything again; what can be
//! kept is kept here. A last line without line end is one that is being, or was not completely, written: dropped.
//! Of two lines with the same base name the later one counts, as in Dovecot ([`UidList::forget`] by the caller).

use super::name;
use crate::number;
use std::io::{self, Write};

/// No message has this UID.
pub const UID_LIMIT: u32 = u32::MAX;

/// A part of [`UidList::text`].
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

/// One message's line.
#[derive(Debug, Clone, Copy)]
struct Record {
    uid: u32,
    /// `K<value>` fields with single spaces between them.
    fields: Span,
    name: Span,
}

/// The list in memory: the file's own text plus what was added, and where each record's parts lie in it.
#[derive(Debug, Clone, Default)]
pub struct UidList {
    /// UIDVALIDITY; 0 until one is chosen.
    pub uid_validity: u32,
    /// The UID of the next message; greater than every UID ever given.
    pub next_uid: u32,
    /// The mailbox's GUID, 32 hex digits; empty when the file had none.
    pub guid: Vec<u8>,
    /// Header fields with other keys, with single spaces between them.
    pub header_fields: Vec<u8>,
    /// Whether the file has to be written anew: damaged lines, an older version, no GUID.
    pub needs_rewrite: bool,
    /// Lines that were dropped as broken, for the log.
    pub broken_lines: u32,
    text: Vec<u8>,
    records: Vec<Record>,
}

/// The header is not one: nothing in the file can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenHeader;

impl UidList {
    /// An empty list with its UIDVALIDITY and GUID, as for a mailbox that never had one.
    pub fn new(uid_validity: u32, guid: Vec<u8>) -> UidList {
        UidList { uid_validity, next_uid: 1, guid, needs_rewrite: true, ..UidList::default() }
    }

    /// Reads a list, keeping `text` as the memory the records point into.
    pub fn parse(text: Vec<u8>) -> Result<UidList, BrokenHeader> {
        let mut list = UidList { text, ..UidList::default() };
        if u32::try_from(list.text.len()).is_err() {
            return Err(BrokenHeader);
        }
        let header_end = memchr::memchr(b'\n', &list.text).ok_or(BrokenHeader)?;
        let version = list.parse_header(header_end)?;
        list.records.reserve(list.text.len() / 64);
        let text = std::mem::take(&mut list.text);
        let mut start = header_end + 1;
        while let Some(length) = memchr::memchr(b'\n', text.get(start..).unwrap_or_default()) {
            let line = text.get(start..start + length).unwrap_or_default();
            let previous = list.records.last().map_or(0, |record| record.uid);
            match parse_line(line, start, version).filter(|(record, _)| record.uid > previous) {
                Some((record, flawless)) => {
                    list.records.push(record);
                    list.needs_rewrite |= !flawless;
                }
                None => list.broken_lines = list.broken_lines.saturating_add(1),
            }
            start += length + 1;
        }
        list.broken_lines = list.broken_lines.saturating_add(u32::from(start < text.len()));
        list.text = text;
        let last = list.records.last().map_or(0, |record| record.uid);
        list.next_uid = list.next_uid.max(last.saturating_add(1));
        list.needs_rewrite |= version != 3 || list.guid.is_empty() || list.broken_lines > 0;
        Ok(list)
    }

    fn parse_header(&mut self, end: usize) -> Result<u8, BrokenHeader> {
        let line = self.text.get(..end).unwrap_or_default();
        let mut words = line.split(|&c| c == b' ').filter(|word| !word.is_empty());
        let version = words.next().ok_or(BrokenHeader)?;
        if version == b"1" {
            self.uid_validity = words.next().and_then(name::decimal32).ok_or(BrokenHeader)?;
            self.next_uid = words.next().and_then(name::decimal32).ok_or(BrokenHeader)?;
        } else if version == b"3" {
            for word in words {
                let (key, value) = word.split_at(1);
                match key {
                    b"V" => self.uid_validity = name::decimal32(value).ok_or(BrokenHeader)?,
                    b"N" => self.next_uid = name::decimal32(value).ok_or(BrokenHeader)?,
                    b"G" if value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit) => {
                        self.guid = value.to_vec();
                    }
                    // Without its GUID the list still has the UIDs: it gets a new one when it is written.
                    b"G" if value.is_empty() => {}
                    b"G" => return Err(BrokenHeader),
                    _ => {
                        if !self.header_fields.is_empty() {
                            self.header_fields.push(b' ');
                        }
                        self.header_fields.extend_from_slice(word);
                    }
                }
            }
        } else {
            return Err(BrokenHeader);
        }
        if self.uid_validity == 0 || self.next_uid == 0 { Err(BrokenHeader) } else { Ok(version[0] - b'0') }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The UID of record `i`, 0 if there is no such record.
    pub fn uid(&self, i: usize) -> u32 {
        self.records.get(i).map_or(0, |record| record.uid)
    }

    /// The base name of record `i`.
    pub fn base(&self, i: usize) -> &[u8] {
        name::base(self.records.get(i).map_or(&[], |record| self.span(record.name)))
    }

    /// The value of record `i`'s field `key`; `Some` of an empty value is not the same as `None`.
    pub fn field(&self, i: usize, key: u8) -> Option<&[u8]> {
        self.fields(i).split(|&c| c == b' ').find_map(|field| field.strip_prefix(&[key]))
    }

    /// All fields of record `i` as they stand in the line.
    fn fields(&self, i: usize) -> &[u8] {
        self.records.get(i).map_or(&[], |record| self.span(record.fields))
    }

    /// Sets or replaces a field of record `i`. A value that cannot stand in the file (space, control character) is
    /// refused: `false`.
    pub fn set_field(&mut self, i: usize, key: u8, value: &[u8]) -> bool {
        if value.iter().any(|&c| c <= b' ') || !key.is_ascii_uppercase() || i >= self.records.len() {
            return false;
        }
        let mut fields: Vec<u8> = Vec::new();
        for field in self.fields(i).split(|&c| c == b' ').filter(|f| !f.is_empty() && f.first() != Some(&key))
        {
            fields.extend_from_slice(field);
            fields.push(b' ');
        }
        fields.push(key);
        fields.extend_from_slice(value);
        let span = self.store(&fields);
        if let Some(record) = self.records.get_mut(i) {
            record.fields = span;
        }
        self.needs_rewrite = true;
        true
    }

    /// Adds a message with the next UID, which is returned; its index is [`UidList::len`] - 1. `None` when the UIDs of
    /// this UIDVALIDITY are used up or the name cannot stand in the file (`/`, CR, LF, empty base).
    pub fn add(&mut self, file_name: &[u8]) -> Option<u32> {
        let uid = self.next_uid;
        self.add_with_uid(file_name, uid, None).then_some(uid)
    }

    /// Adds a message with a given UID, and its octets as the `W` field. UIDs must ascend. `false`: not possible.
    pub fn add_with_uid(&mut self, file_name: &[u8], uid: u32, octets: Option<u64>) -> bool {
        let base = name::base(file_name);
        let last = self.records.last().map_or(0, |record| record.uid);
        let usable = !base.is_empty() && !base.iter().any(|c| matches!(c, b'/' | b'\r' | b'\n' | 0));
        if !usable || uid == UID_LIMIT || uid <= last {
            return false;
        }
        let name = self.store(base);
        let fields = octets.map_or(Span::default(), |octets| self.store(format!("W{octets}").as_bytes()));
        self.records.push(Record { uid, fields, name });
        self.next_uid = self.next_uid.max(uid + 1);
        true
    }

    /// Gives every message a new UID, counted from 1 in the same order, under another UIDVALIDITY.
    pub fn renumber(&mut self, uid_validity: u32) {
        self.uid_validity = uid_validity;
        self.next_uid = 1;
        for record in &mut self.records {
            record.uid = self.next_uid;
            self.next_uid += 1;
        }
        self.needs_rewrite = true;
    }

    /// Drops the records for which `keep` says no. The dropped UIDs are not given again.
    pub fn forget(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let before = self.records.len();
        let mut i = 0;
        self.records.retain(|_| {
            i += 1;
            keep(i - 1)
        });
        self.needs_rewrite |= self.records.len() != before;
    }

    /// Writes the whole file as text.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        self.print_header(out)?;
        self.print_records(0, out)
    }

    /// Writes the first line.
    pub fn print_header(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "3 V{} N{}", self.uid_validity, self.next_uid)?;
        if !self.guid.is_empty() {
            out.write_all(b" G")?;
            out.write_all(&self.guid)?;
        }
        if !self.header_fields.is_empty() {
            out.write_all(b" ")?;
            out.write_all(&self.header_fields)?;
        }
        out.write_all(b"\n")
    }

    /// Writes the lines of the records from `first` on.
    pub fn print_records(&self, first: usize, out: &mut impl Write) -> io::Result<()> {
        (first..self.records.len()).try_for_each(|i| self.print_record(i, out))
    }

    /// Writes the line of a record, if there is one with this number.
    pub fn print_record(&self, i: usize, out: &mut impl Write) -> io::Result<()> {
        if i >= self.records.len() {
            return Ok(());
        }
        let mut digits = [0; number::LONGEST];
        out.write_all(number::decimal(u64::from(self.uid(i)), &mut digits))?;
        for part in [self.fields(i), b":"] {
            if !part.is_empty() {
                out.write_all(b" ")?;
                out.write_all(part)?;
            }
        }
        out.write_all(self.base(i))?;
        out.write_all(b"\n")
    }

    fn span(&self, span: Span) -> &[u8] {
        self.text.get(span.start as usize..(span.start as usize + span.length as usize)).unwrap_or_default()
    }

    /// Keeps bytes for a record. Text beyond 4 GiB (no real list) becomes empty.
    fn store(&mut self, bytes: &[u8]) -> Span {
        let (start, length) = (u32::try_from(self.text.len()), u32::try_from(bytes.len()));
        let (Ok(start), Ok(length)) = (start, length) else { return Span::default() };
        if start.checked_add(length).is_none() {
            return Span::default();
        }
        self.text.extend_from_slice(bytes);
        Span { start, length }
    }
}

/// Writes the line of a message without fields.
pub(super) fn print_plain_line(uid: u32, base: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; number::LONGEST];
    out.extend_from_slice(number::decimal(u64::from(uid), &mut digits));
    out.extend_from_slice(b" :");
    out.extend_from_slice(base);
    out.push(b'\n');
}

/// UID and base name of such a line, which is given without its end. `None`: it is another one, or broken.
pub(super) fn parse_plain_line(line: &[u8]) -> Option<(u32, &[u8])> {
    let (record, flawless) = parse_line(line, 0, 3)?;
    let name = line.get(record.name.start as usize..)?;
    let plain = flawless && record.fields.length == 0 && !name.contains(&b':');
    plain.then_some((record.uid, name))
}

/// Reads one record; `offset` is where the line starts in the text. `false` beside it: fields were dropped or
/// untidily spaced, so the file should be written again.
fn parse_line(line: &[u8], offset: usize, version: u8) -> Option<(Record, bool)> {
    let digits = line.iter().position(|c| !c.is_ascii_digit())?;
    let uid = name::decimal32(line.get(..digits)?).filter(|&uid| uid != 0 && uid != UID_LIMIT)?;
    if line.get(digits) != Some(&b' ') {
        return None;
    }
    let mut at = skip_spaces(line, digits);
    let (fields_start, mut fields_end, mut flawless) = (at, at, true);
    if version == 3 {
        while let Some(&key) = line.get(at).filter(|&&c| c != b':') {
            let end = memchr::memchr(b' ', line.get(at..)?).map_or(line.len(), |length| at + length);
            if !key.is_ascii_uppercase() {
                return None;
            }
            fields_end = end;
            at = skip_spaces(line, end);
            flawless &= at == end + 1;
        }
        if line.get(at) != Some(&b':') {
            return None;
        }
        at += 1;
    }
    let file_name = line.get(at..)?;
    let broken = |c: &u8| matches!(c, b'/' | b'\r' | 0);
    if name::base(file_name).is_empty() || file_name.iter().any(broken) {
        return None;
    }
    let span = |start: usize, end: usize| -> Option<Span> {
        Some(Span { start: u32::try_from(offset + start).ok()?, length: u32::try_from(end - start).ok()? })
    };
    Some((Record { uid, fields: span(fields_start, fields_end)?, name: span(at, line.len())? }, flawless))
}

fn skip_spaces(line: &[u8], mut at: usize) -> usize {
    while line.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

#[cfg(test)]
#[path = "uidlist_tests.rs"]
mod tests;
