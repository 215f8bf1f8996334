//! `tinmail-index`: a mailbox as one binary file that a session reads through a small window.
//!
//! It only repeats what the directories, the file names and `dovecot-uidlist` say, so it may be deleted at any time;
//! modification sequences go on from the clock then, and the list of vanished UIDs begins anew. A session opens it and keeps the descriptor: a
//! later replacement by rename leaves its view as it was. It is read with pread, not mapped: mapped pages would count as
//! the session's own memory.
//!
//! Layout: blocks of 4,096 bytes, each 4,092 bytes of content and a checksum over them, the block's number and the
//! file's nonce. The content is a header; one row of fixed size for each message, by UID; where POP3 has another order
//! its places; the UIDs that vanished; then the variable parts (file name, unique-id, GUID). Truncated, mixed, older or
//! foreign files do not pass; they are rebuilt. Messages in memory, for small mailboxes, have the same layout.

mod code;
mod write;

pub(super) use code::{Decoder, base_hash, hash_of_base};
pub use write::write;

use super::blocks::{BLOCK, CONTENT, Store, Window};
use super::flags::Flags;
use super::uidlist_file::Stamp;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write};

/// A message whose octets nobody counted yet.
pub const UNKNOWN: u64 = u64::MAX;
/// A message whose file's time nobody looked at yet.
pub const UNKNOWN_DATE: i64 = i64::MIN;
/// The file is in `new`.
pub const IN_NEW: u16 = 1;
/// The file was gone when its octets were to be counted.
pub const VANISHED: u16 = 2;
/// The POP3 unique-id is not the default one.
pub const HAS_UNIQUE_ID: u16 = 4;
/// The message has a GUID that is not its base name.
pub const HAS_GUID: u16 = 8;
/// Taken from `new` when this index was made, by the session that is named in the header.
pub const RECENT: u16 = 16;
/// It came to `cur`, with its flags, by APPEND or COPY, and no session has told its client of it: recent to the first that
/// does (RFC 3501 section 6.3.11).
pub const UNTOLD: u16 = 32;
/// What no client has been told of, wherever it is.
pub const FRESH: u16 = IN_NEW | UNTOLD;
/// Where it is, and who has been told of it.
pub const STATE: u16 = FRESH | RECENT;

/// Without the mark of one that somebody has put into `new`, or that a client was told of.
pub fn settled(state: u16) -> u16 {
    if state & (IN_NEW | RECENT) != 0 { state & !UNTOLD } else { state }
}

/// The flags that a message brings along.
const OWN: u16 = STATE | VANISHED;

const MAGIC: &[u8; 8] = b"tinmail5";
pub(super) const HEADER: u64 = 256;
const ROW: u64 = 56;
/// A vanished UID and when it vanished.
const GONE: u64 = 12;
/// A place in POP3's order.
const PLACE: u64 = 4;

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
    /// Messages with `\Seen`.
    pub seen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// The first row without `\Seen`; `count` if there is none.
    pub first_unseen: u32,
    /// Messages in `new`.
    pub in_new: u32,
    /// Messages that are [`UNTOLD`].
    pub untold: u32,
    /// No change has a greater modification sequence (RFC 7162).
    pub highest_modseq: u64,
    /// UIDs that vanished up to this modification sequence may have been forgotten.
    pub vanished_since: u64,
    /// The session whose messages marked [`RECENT`] are.
    pub recent_of: u64,
    /// `new`, `cur`, the uidlist and the keywords when they were read.
    pub new: Stamp,
    /// See `new`.
    pub cur: Stamp,
    /// See `new`.
    pub uidlist: Stamp,
    /// See `new`.
    pub keywords: Stamp,
    /// How many vanished UIDs are listed.
    pub vanished: u32,
    /// 1 if POP3's order is another than that of the UIDs.
    ordered: u32,
    parts_length: u64,
    pub(super) nonce: u64,
}

/// The fixed part of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// UID.
    pub uid: u32,
    /// Octets or [`UNKNOWN`].
    pub octets: u64,
    /// Modification sequence of the last change of its flags.
    pub modseq: u64,
    /// INTERNALDATE, seconds since 1970, or [`UNKNOWN_DATE`].
    pub date: i64,
    /// What the file name says.
    pub mail_flags: Flags,
    /// [`IN_NEW`] and so on.
    pub flags: u16,
    /// [`base_hash`] of the file name.
    pub base_hash: u64,
    parts_start: u32,
    name_length: u16,
    unique_id_length: u16,
    guid_length: u16,
}

/// One message's data on its way into or out of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// UID.
    pub uid: u32,
    /// Octets or [`UNKNOWN`].
    pub octets: u64,
    /// See [`Row::modseq`].
    pub modseq: u64,
    /// See [`Row::date`].
    pub date: i64,
    /// [`FRESH`], [`VANISHED`] and [`RECENT`].
    pub flags: u16,
    /// File name with flags.
    pub name: &'a [u8],
    /// POP3 unique-id where it is not the default.
    pub unique_id: Option<&'a [u8]>,
    /// GUID where it is not the base name.
    pub guid: Option<&'a [u8]>,
}

impl Default for Source<'_> {
    fn default() -> Self {
        Source {
            uid: 0,
            octets: UNKNOWN,
            modseq: 0,
            date: UNKNOWN_DATE,
            flags: 0,
            name: &[],
            unique_id: None,
            guid: None,
        }
    }
}

/// A message that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vanished {
    /// Its UID.
    pub uid: u32,
    /// When that was noticed.
    pub modseq: u64,
}

/// Goes through messages in the order of their UIDs, giving each to the visitor.
pub type Visit<'v> = &'v mut dyn FnMut(&Source<'_>) -> io::Result<()>;

/// An open index.
#[derive(Debug)]
pub struct Index {
    store: Store,
    /// The mailbox as a whole.
    pub header: Header,
    rows: RefCell<Window>,
    parts: RefCell<Window>,
    /// A row that was looked for lately, and its UID: the next one is often near.
    hint: Cell<(u32, u32)>,
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
        let mut index = Index {
            store,
            header: Header::default(),
            rows: RefCell::default(),
            parts: RefCell::default(),
            hint: Cell::new((u32::MAX, 0)),
        };
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
        let blocks = self.parts_begin().saturating_add(self.header.parts_length).div_ceil(CONTENT as u64);
        usize::try_from(blocks.saturating_mul(BLOCK as u64)).unwrap_or(usize::MAX)
    }

    /// Tells this index from any other.
    pub fn nonce(&self) -> u64 {
        self.header.nonce
    }

    fn order(&self) -> u64 {
        HEADER + u64::from(self.header.count) * ROW
    }

    fn vanished_list(&self) -> u64 {
        self.order() + if self.header.ordered == 1 { u64::from(self.header.count) * PLACE } else { 0 }
    }

    fn parts_begin(&self) -> u64 {
        self.vanished_list() + u64::from(self.header.vanished) * GONE
    }

    /// The fixed part of message `i`, counted from 0 by UID.
    pub fn row(&self, i: u32) -> io::Result<Row> {
        if i >= self.header.count {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let position = HEADER + u64::from(i) * ROW;
        // Most rows are within one block.
        let mut window = self.rows.borrow_mut();
        let available = window.seek(&self.store, position, self.header.nonce)?;
        if let Some(bytes) = available.first_chunk::<{ ROW as usize }>() {
            return Ok(Row::decode(bytes));
        }
        drop(window);
        let mut bytes = [0u8; ROW as usize];
        self.read_at(&self.rows, position, &mut bytes)?;
        Ok(Row::decode(&bytes))
    }

    /// Its UID alone.
    pub fn uid(&self, i: u32) -> io::Result<u32> {
        if i >= self.header.count {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut bytes = [0u8; 4];
        self.read_at(&self.rows, HEADER + u64::from(i) * ROW, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Whether POP3 has another order than that of the UIDs.
    pub fn is_ordered(&self) -> bool {
        self.header.ordered == 1
    }

    /// Which row is message `i`, counted from 0 in POP3's order.
    pub fn at_place(&self, i: u32) -> io::Result<u32> {
        if self.header.ordered != 1 || i >= self.header.count {
            return Ok(i);
        }
        let mut bytes = [0u8; PLACE as usize];
        self.read_at(&self.parts, self.order() + u64::from(i) * PLACE, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The first row whose UID is `uid` or greater; the count if there is none. UIDs are dense as a rule, so the place is
    /// guessed, and the guess is mostly near.
    pub fn at_or_after(&self, uid: u32) -> io::Result<u32> {
        // All rows before low have smaller UIDs, all from high on do not.
        let (mut low, mut high) = (0, self.header.count);
        let (mut low_uid, mut high_uid) = (0u64, u64::from(self.header.next_uid));
        let (hint, found) = self.hint.get();
        if found < uid && hint < high {
            (low, low_uid) = (hint + 1, u64::from(found) + 1);
        } else if found >= uid && hint < high {
            (high, high_uid) = (hint, u64::from(found));
        }
        let mut guesses = 0;
        while low < high {
            let width = u64::from(high - low);
            let span = high_uid.saturating_sub(low_uid).max(1);
            let guess = u64::from(uid).saturating_sub(low_uid).saturating_mul(width) / span;
            guesses += 1;
            // Where they are not dense, halving is the better guess.
            let guess = if guesses > 4 { width / 2 } else { guess.min(width - 1) };
            let middle = low + guess as u32;
            let found = self.uid(middle)?;
            self.hint.set((middle, found));
            if found < uid {
                (low, low_uid) = (middle + 1, u64::from(found) + 1);
            } else if found == uid {
                return Ok(middle);
            } else {
                (high, high_uid) = (middle, u64::from(found));
            }
        }
        Ok(low)
    }

    /// The `i`th of the vanished UIDs, in the order in which they vanished.
    pub fn vanished(&self, i: u32) -> io::Result<Vanished> {
        if i >= self.header.vanished {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut bytes = [0u8; GONE as usize];
        self.read_at(&self.parts, self.vanished_list() + u64::from(i) * GONE, &mut bytes)?;
        let mut fields = Decoder(&bytes);
        Ok(Vanished { uid: fields.u32(), modseq: fields.u64() })
    }

    /// The variable parts of a message into `out`, which is emptied first.
    pub fn parts<'b>(&self, row: &Row, out: &'b mut Vec<u8>) -> io::Result<Source<'b>> {
        let (name, unique_id, guid) =
            (usize::from(row.name_length), usize::from(row.unique_id_length), usize::from(row.guid_length));
        let start = self.parts_begin() + u64::from(row.parts_start);
        self.read_into(start, name + unique_id + guid, out)?;
        let (name, rest) = out.split_at(name);
        let (unique_id, guid) = rest.split_at(unique_id);
        Ok(Source {
            uid: row.uid,
            octets: row.octets,
            modseq: row.modseq,
            date: row.date,
            flags: row.flags & OWN,
            name,
            unique_id: (row.flags & HAS_UNIQUE_ID != 0).then_some(unique_id),
            guid: (row.flags & HAS_GUID != 0).then_some(guid),
        })
    }

    /// Gives all messages to `visit`, by UID.
    pub fn for_each(&self, visit: Visit<'_>) -> io::Result<()> {
        let mut space = Vec::new();
        for i in 0..self.header.count {
            let row = self.row(i)?;
            visit(&self.parts(&row, &mut space)?)?;
        }
        Ok(())
    }

    /// All that an index of the same messages repeats beside them: POP3's order and the vanished UIDs.
    pub fn extras(&self) -> io::Result<Extras> {
        let order = match self.header.ordered {
            1 => (0..self.header.count).map(|i| self.at_place(i)).collect::<io::Result<_>>()?,
            _ => Vec::new(),
        };
        let vanished = (0..self.header.vanished).map(|i| self.vanished(i)).collect::<io::Result<_>>()?;
        Ok(Extras { order, vanished })
    }

    /// Writes this index once more, with other octets and flags: `change` is given each row in turn. `uidlist` is the
    /// uidlist's new state.
    pub fn write_changed(
        &self,
        out: impl Write,
        uidlist: Stamp,
        change: impl Fn(u32, Row) -> Row,
    ) -> io::Result<()> {
        let header = Header { uidlist, ..self.header };
        write(out, header, &self.extras()?, |visit| {
            let mut space = Vec::new();
            for i in 0..self.header.count {
                let row = change(i, self.row(i)?);
                visit(&self.parts(&row, &mut space)?)?;
            }
            Ok(())
        })
    }

    /// So many of the parts' octets in place of what is in `out`.
    fn read_into(&self, mut position: u64, octets: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let mut window = self.parts.borrow_mut();
        out.clear();
        out.reserve(octets);
        while out.len() < octets {
            let available = window.seek(&self.store, position, self.header.nonce)?;
            let available = available.get(..octets - out.len()).unwrap_or(available);
            out.extend_from_slice(available);
            position += available.len() as u64;
        }
        Ok(())
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

/// What an index has beside its messages.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The rows in POP3's order; empty if that is the order of the UIDs.
    pub order: Vec<u32>,
    /// In the order in which they vanished.
    pub vanished: Vec<Vanished>,
}

impl Row {
    /// The same message with other octets and flags.
    pub fn with(self, octets: u64, flags: u16) -> Row {
        Row { octets, flags, ..self }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
