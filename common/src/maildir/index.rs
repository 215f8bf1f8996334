//! `tinmail-index`: a mailbox as one binary file that a session reads through a small window.
//!
//! It only repeats what the directories, the file names and `dovecot-uidlist` say, so it may be deleted at any time.
//! A session opens it and keeps the descriptor: a later replacement by rename leaves its view as it was. It is read
//! with pread, not mapped: mapped pages would count as the session's own memory.
//!
//! Layout: blocks of 4,096 bytes, each 4,092 bytes of content and a checksum over them, the block's number and the
//! file's nonce. The content is a header, then one row of fixed size for each message in POP3 order, then the
//! variable parts (file name, unique-id, GUID). Truncated, mixed, older or foreign files do not pass; they are
//! rebuilt. Messages in memory, for small mailboxes, have the same layout.

use super::blocks::{self, BLOCK, Blocks, CONTENT, Store, Window};
use super::uidlist_file::Stamp;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};

/// A message whose octets nobody counted yet.
pub const UNKNOWN: u64 = u64::MAX;
/// The file is in `new`.
pub const IN_NEW: u16 = 1;
/// The file was gone when its octets were to be counted.
pub const VANISHED: u16 = 2;
/// The POP3 unique-id is not the default one.
pub const HAS_UNIQUE_ID: u16 = 4;
/// The message has a GUID that is not its base name.
pub const HAS_GUID: u16 = 8;

const MAGIC: &[u8; 8] = b"tinmail1";
const HEADER: u64 = 160;
const ROW: u64 = 24;

/// What the index says about the mailbox as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Messages.
    pub count: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Greater than any UID in use.
    pub next_uid: u32,
    /// Messages whose octets are [`UNKNOWN`].
    pub unknown: u32,
    /// Sum of the octets that are known.
    pub total_octets: u64,
    /// `new`, `cur` and the uidlist when they were read.
    pub new: Stamp,
    /// See `new`.
    pub cur: Stamp,
    /// See `new`.
    pub uidlist: Stamp,
    parts_length: u64,
    nonce: u64,
}

/// The fixed part of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// UID.
    pub uid: u32,
    /// Octets or [`UNKNOWN`].
    pub octets: u64,
    /// [`IN_NEW`] and so on.
    pub flags: u16,
    parts_start: u32,
    name_length: u16,
    unique_id_length: u16,
    guid_length: u16,
}

/// One message's data on its way into or out of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// UID.
    pub uid: u32,
    /// Octets or [`UNKNOWN`].
    pub octets: u64,
    /// [`IN_NEW`] and [`VANISHED`].
    pub flags: u16,
    /// File name with flags.
    pub name: &'a [u8],
    /// POP3 unique-id where it is not the default.
    pub unique_id: Option<&'a [u8]>,
    /// GUID where it is not the base name.
    pub guid: Option<&'a [u8]>,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    store: Store,
    /// The mailbox as a whole.
    pub header: Header,
    rows: RefCell<Window>,
    parts: RefCell<Window>,
}

impl Index {
    /// Takes the file over if it is a whole index of this version; `None` for anything else.
    pub fn open(file: File) -> Option<Index> {
        let length = file.metadata().ok()?.len();
        Index::from_store(Store::File(file), length)
    }

    /// The same for an index in memory.
    pub fn in_memory(bytes: Vec<u8>) -> Option<Index> {
        let length = bytes.len() as u64;
        Index::from_store(Store::Memory(bytes), length)
    }

    fn from_store(store: Store, length: u64) -> Option<Index> {
        let mut index =
            Index { store, header: Header::default(), rows: RefCell::default(), parts: RefCell::default() };
        let mut bytes = [0u8; HEADER as usize];
        index.read_at(&index.rows, 0, &mut bytes).ok()?;
        index.header = Header::decode(&bytes)?;
        // A length at the end of the numbers would be believed of a file of no length at all.
        let whole = length == index.length() as u64 && index.header.parts_length <= length;
        whole.then_some(index)
    }

    /// The file, if the index is in one.
    pub fn file(&self) -> Option<&File> {
        match &self.store {
            Store::File(file) => Some(file),
            Store::Memory(_) => None,
        }
    }

    /// Bytes of the whole index.
    pub fn length(&self) -> usize {
        // The header may be damaged.
        let fixed = HEADER + u64::from(self.header.count) * ROW;
        let blocks = fixed.saturating_add(self.header.parts_length).div_ceil(CONTENT as u64);
        usize::try_from(blocks.saturating_mul(BLOCK as u64)).unwrap_or(usize::MAX)
    }

    /// The fixed part of message `i`, counted from 0.
    pub fn row(&self, i: u32) -> io::Result<Row> {
        if i >= self.header.count {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut bytes = [0u8; ROW as usize];
        self.read_at(&self.rows, HEADER + u64::from(i) * ROW, &mut bytes)?;
        Ok(Row::decode(&bytes))
    }

    /// The variable parts of a message into `out`, which is emptied first.
    pub fn parts<'b>(&self, row: &Row, out: &'b mut Vec<u8>) -> io::Result<Source<'b>> {
        let (name, unique_id, guid) =
            (usize::from(row.name_length), usize::from(row.unique_id_length), usize::from(row.guid_length));
        let start = HEADER + u64::from(self.header.count) * ROW + u64::from(row.parts_start);
        out.clear();
        out.resize(name + unique_id + guid, 0);
        self.read_at(&self.parts, start, out)?;
        let (name, rest) = out.split_at(name);
        let (unique_id, guid) = rest.split_at(unique_id);
        Ok(Source {
            uid: row.uid,
            octets: row.octets,
            flags: row.flags & (IN_NEW | VANISHED),
            name,
            unique_id: (row.flags & HAS_UNIQUE_ID != 0).then_some(unique_id),
            guid: (row.flags & HAS_GUID != 0).then_some(guid),
        })
    }

    /// Writes this index once more, with other octets and flags: `change` is given each row in turn, twice. `uidlist` is
    /// the uidlist's new state. It takes no memory to speak of.
    pub fn write_changed(
        &self,
        out: impl Write,
        uidlist: Stamp,
        change: impl Fn(u32, Row) -> Row,
    ) -> io::Result<()> {
        let mut header =
            Header { nonce: blocks::nonce(), uidlist, unknown: 0, total_octets: 0, ..self.header };
        for i in 0..header.count {
            header.add_octets(change(i, self.row(i)?).octets);
        }
        let mut out = Blocks::new(out, header.nonce);
        out.push(&header.encode())?;
        for i in 0..header.count {
            out.push(&change(i, self.row(i)?).encode())?;
        }
        let mut position = HEADER + u64::from(header.count) * ROW;
        let end = position.saturating_add(header.parts_length);
        let mut piece = [0u8; 1024];
        while position < end {
            let length = piece.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
            let (piece, _) = piece.split_at_mut(length);
            self.read_at(&self.parts, position, piece)?;
            out.push(piece)?;
            position += length as u64;
        }
        out.finish()
    }

    fn read_at(&self, window: &RefCell<Window>, mut position: u64, mut out: &mut [u8]) -> io::Result<()> {
        let mut window = window.borrow_mut();
        while !out.is_empty() {
            let available = window.seek(&self.store, position, self.header.nonce)?;
            let take = available.len().min(out.len());
            let (now, later) = out.split_at_mut(take);
            now.copy_from_slice(available.get(..take).unwrap_or_default());
            out = later;
            position += take as u64;
        }
        Ok(())
    }
}

/// Writes an index: `messages` is gone through twice. `header.count`, `unknown`, `total_octets` are filled in here.
pub fn write<'a, I>(out: impl Write, header: Header, messages: impl Fn() -> I) -> io::Result<()>
where
    I: Iterator<Item = Source<'a>>,
{
    let mut header = Header { nonce: blocks::nonce(), ..header };
    (header.count, header.unknown, header.total_octets, header.parts_length) = (0, 0, 0, 0);
    for message in messages() {
        header.count += 1;
        header.add_octets(message.octets);
        header.parts_length = header.parts_length.saturating_add(message.parts_length());
    }
    if u32::try_from(header.parts_length).is_err() {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut out = Blocks::new(out, header.nonce);
    out.push(&header.encode())?;
    let mut parts_start = 0;
    for message in messages() {
        out.push(&message.row(parts_start).encode())?;
        parts_start += message.parts_length() as u32;
    }
    for message in messages() {
        out.push(message.name)?;
        out.push(message.unique_id.unwrap_or_default())?;
        out.push(message.guid.unwrap_or_default())?;
    }
    out.finish()
}

impl Source<'_> {
    fn parts_length(&self) -> u64 {
        let lengths = self.row(0);
        u64::from(lengths.name_length) + u64::from(lengths.unique_id_length) + u64::from(lengths.guid_length)
    }

    /// Parts longer than a u16 cannot come from a file name or a uidlist that was accepted; they would be cut.
    fn row(&self, parts_start: u32) -> Row {
        let length = |part: &[u8]| u16::try_from(part.len()).unwrap_or(u16::MAX);
        let mut flags = self.flags & (IN_NEW | VANISHED);
        flags |= if self.unique_id.is_some() { HAS_UNIQUE_ID } else { 0 };
        flags |= if self.guid.is_some() { HAS_GUID } else { 0 };
        Row {
            uid: self.uid,
            octets: self.octets,
            flags,
            parts_start,
            name_length: length(self.name),
            unique_id_length: self.unique_id.map_or(0, length),
            guid_length: self.guid.map_or(0, length),
        }
    }
}

impl Row {
    /// The same message with other octets and flags.
    pub fn with(self, octets: u64, flags: u16) -> Row {
        Row { octets, flags, ..self }
    }

    fn encode(&self) -> [u8; ROW as usize] {
        let mut out = Fields::<{ ROW as usize }>::default();
        out.put(&self.uid.to_le_bytes()).put(&self.parts_start.to_le_bytes()).put(&self.octets.to_le_bytes());
        out.put(&self.name_length.to_le_bytes()).put(&self.unique_id_length.to_le_bytes());
        out.put(&self.guid_length.to_le_bytes()).put(&self.flags.to_le_bytes());
        out.bytes
    }

    fn decode(bytes: &[u8]) -> Row {
        let mut fields = Decoder(bytes);
        Row {
            uid: fields.u32(),
            parts_start: fields.u32(),
            octets: fields.u64(),
            name_length: fields.u16(),
            unique_id_length: fields.u16(),
            guid_length: fields.u16(),
            flags: fields.u16(),
        }
    }
}

impl Header {
    fn add_octets(&mut self, octets: u64) {
        if octets == UNKNOWN {
            self.unknown += 1;
        } else {
            self.total_octets = self.total_octets.saturating_add(octets);
        }
    }

    fn encode(&self) -> [u8; HEADER as usize] {
        let mut out = Fields::<{ HEADER as usize }>::default();
        out.put(MAGIC);
        for number in [self.count, self.uid_validity, self.next_uid, self.unknown] {
            out.put(&number.to_le_bytes());
        }
        for number in [self.total_octets, self.parts_length, self.nonce] {
            out.put(&number.to_le_bytes());
        }
        for stamp in [self.new, self.cur, self.uidlist] {
            out.put(&stamp.ino.to_le_bytes()).put(&stamp.mtime.to_le_bytes()).put(&stamp.size.to_le_bytes());
        }
        out.bytes
    }

    fn decode(bytes: &[u8]) -> Option<Header> {
        let mut fields = Decoder(bytes.strip_prefix(MAGIC)?);
        let (count, uid_validity, next_uid, unknown) =
            (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let (total_octets, parts_length, nonce) = (fields.u64(), fields.u64(), fields.u64());
        let mut stamp = || Stamp { ino: fields.u64(), mtime: fields.u64() as i64, size: fields.u64() };
        let (new, cur, uidlist) = (stamp(), stamp(), stamp());
        Some(Header {
            count,
            uid_validity,
            next_uid,
            unknown,
            total_octets,
            new,
            cur,
            uidlist,
            parts_length,
            nonce,
        })
    }
}

/// Little-endian numbers one after the other.
struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Default for Fields<N> {
    fn default() -> Self {
        Fields { bytes: [0; N], at: 0 }
    }
}

impl<const N: usize> Fields<N> {
    fn put(&mut self, value: &[u8]) -> &mut Self {
        let place = self.bytes.iter_mut().skip(self.at);
        place.zip(value).for_each(|(to, from)| *to = *from);
        self.at += value.len();
        self
    }
}

struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
