//! How an index is written: the header, the rows, POP3's order, what vanished, the parts.

use super::{Extras, HAS_GUID, HAS_UNIQUE_ID, Header, OWN, Row, Source, Visit, base_hash};
use crate::maildir::blocks::{self, Blocks};
use crate::maildir::flags::Flags;
use std::io::{self, Write};

/// Writes an index: `messages` is gone through three times, by UID. What the header counts is filled in here.
pub fn write(
    out: impl Write,
    header: Header,
    extras: &Extras,
    messages: impl Fn(Visit<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut header = Header { nonce: blocks::nonce(), ..header }.emptied();
    header.ordered = u32::from(!extras.order.is_empty());
    header.vanished = u32::try_from(extras.vanished.len()).unwrap_or(0);
    messages(&mut |message| {
        header.add(&message.row_without_hash());
        header.parts_length = header.parts_length.saturating_add(message.parts_length());
        Ok(())
    })?;
    if u32::try_from(header.parts_length).is_err() {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut out = Blocks::new(out, header.nonce);
    out.push(&header.encode())?;
    let mut parts_start = 0u32;
    messages(&mut |message| {
        out.push(&message.row(parts_start).encode())?;
        parts_start = parts_start.wrapping_add(message.parts_length() as u32);
        Ok(())
    })?;
    for place in &extras.order {
        out.push(&place.to_le_bytes())?;
    }
    for gone in &extras.vanished {
        out.push(&gone.uid.to_le_bytes())?;
        out.push(&gone.modseq.to_le_bytes())?;
    }
    messages(&mut |message| {
        out.push(message.name)?;
        out.push(message.unique_id.unwrap_or_default())?;
        out.push(message.guid.unwrap_or_default())
    })?;
    out.finish()
}

/// Parts longer than a u16 cannot come from a file name or a uidlist that was accepted; they would be cut.
fn length16(part: &[u8]) -> u16 {
    u16::try_from(part.len()).unwrap_or(u16::MAX)
}

impl Source<'_> {
    fn parts_length(&self) -> u64 {
        let length = |part: Option<&[u8]>| part.map_or(0, |part| u64::from(length16(part)));
        length(Some(self.name)) + length(self.unique_id) + length(self.guid)
    }

    /// The fixed part.
    pub(in crate::maildir) fn row(&self, parts_start: u32) -> Row {
        Row { base_hash: base_hash(self.name), parts_start, ..self.row_without_hash() }
    }

    fn row_without_hash(&self) -> Row {
        let mut flags = self.flags & OWN;
        flags |= if self.unique_id.is_some() { HAS_UNIQUE_ID } else { 0 };
        flags |= if self.guid.is_some() { HAS_GUID } else { 0 };
        Row {
            uid: self.uid,
            octets: self.octets,
            modseq: self.modseq,
            date: self.date,
            mail_flags: Flags::of_name(self.name),
            flags,
            base_hash: 0,
            parts_start: 0,
            name_length: length16(self.name),
            unique_id_length: self.unique_id.map_or(0, length16),
            guid_length: self.guid.map_or(0, length16),
        }
    }
}
