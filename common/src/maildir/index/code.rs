//! Rows and headers as octets, and what a header counts.

use super::super::name;
use super::{Flags, HEADER, Header, IN_NEW, MAGIC, ROW, Row, Stamp, UNKNOWN, UNTOLD};

impl Row {
    pub(super) fn encode(&self) -> [u8; ROW as usize] {
        let mut out = Fields::<{ ROW as usize }>::default();
        out.put(&self.uid.to_le_bytes()).put(&self.parts_start.to_le_bytes());
        out.put(&self.octets.to_le_bytes()).put(&self.modseq.to_le_bytes()).put(&self.date.to_le_bytes());
        out.put(&self.mail_flags.keywords.to_le_bytes());
        out.put(&self.name_length.to_le_bytes()).put(&self.unique_id_length.to_le_bytes());
        out.put(&self.guid_length.to_le_bytes()).put(&self.flags.to_le_bytes()).put(&[self.mail_flags.bits]);
        out.put(&[0; 3]).put(&self.base_hash.to_le_bytes());
        out.bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Row {
        let mut fields = Decoder(bytes);
        let (uid, parts_start) = (fields.u32(), fields.u32());
        let (octets, modseq, date, keywords) =
            (fields.u64(), fields.u64(), fields.u64() as i64, fields.u32());
        let (name_length, unique_id_length) = (fields.u16(), fields.u16());
        let (guid_length, flags, [bits, ..]) = (fields.u16(), fields.u16(), fields.take::<4>());
        let base_hash = fields.u64();
        Row {
            uid,
            octets,
            modseq,
            date,
            mail_flags: Flags { bits, keywords },
            flags,
            base_hash,
            parts_start,
            name_length,
            unique_id_length,
            guid_length,
        }
    }
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER as usize] {
        let mut out = Fields::<{ HEADER as usize }>::default();
        out.put(MAGIC);
        for number in [
            self.count,
            self.uid_validity,
            self.next_uid,
            self.unknown,
            self.seen,
            self.deleted,
            self.first_unseen,
            self.in_new,
            self.vanished,
            self.ordered,
            self.untold,
        ] {
            out.put(&number.to_le_bytes());
        }
        for number in [
            self.total_octets,
            self.parts_length,
            self.nonce,
            self.highest_modseq,
            self.vanished_since,
            self.recent_of,
        ] {
            out.put(&number.to_le_bytes());
        }
        for stamp in [self.new, self.cur, self.uidlist, self.keywords] {
            out.put(&stamp.encode());
        }
        out.bytes
    }

    pub(in super::super) fn decode(bytes: &[u8]) -> Option<Header> {
        let mut fields = Decoder(bytes.strip_prefix(MAGIC)?);
        let mut number = || fields.u32();
        let (count, uid_validity, next_uid, unknown) = (number(), number(), number(), number());
        let (seen, deleted, first_unseen, in_new) = (number(), number(), number(), number());
        let (vanished, ordered, untold) = (number(), number(), number());
        let mut number = || fields.u64();
        let (total_octets, parts_length, nonce) = (number(), number(), number());
        let (highest_modseq, vanished_since, recent_of) = (number(), number(), number());
        let mut stamp = || Stamp::decode(fields.take());
        let (new, cur, uidlist, keywords) = (stamp(), stamp(), stamp(), stamp());
        Some(Header {
            count,
            uid_validity,
            next_uid,
            unknown,
            total_octets,
            seen,
            deleted,
            first_unseen,
            in_new,
            untold,
            highest_modseq,
            vanished_since,
            recent_of,
            new,
            cur,
            uidlist,
            keywords,
            vanished,
            ordered,
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

pub(in super::super) struct Decoder<'a>(pub &'a [u8]);

impl Decoder<'_> {
    #[inline]
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *first
    }

    #[inline]
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    #[inline]
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    #[inline]
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// A number for the part of a file name that identifies the message.
pub fn base_hash(file_name: &[u8]) -> u64 {
    hash_of_base(name::base(file_name))
}

/// The same of that part alone.
pub fn hash_of_base(base: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let words = base.chunks_exact(8);
    let rest = words.remainder();
    let words = words.filter_map(|word| word.first_chunk().copied()).map(u64::from_le_bytes);
    let mut mixed = words.fold(base.len() as u64 ^ FACTOR, mix);
    if !rest.is_empty() {
        mixed = mix(mixed, rest.iter().rev().fold(0, |word, &octet| word << 8 | u64::from(octet)));
    }
    (mixed ^ (mixed >> 31)).wrapping_mul(FACTOR)
}

impl Header {
    /// The same without any message.
    pub(super) fn emptied(self) -> Header {
        Header {
            count: 0,
            unknown: 0,
            total_octets: 0,
            seen: 0,
            deleted: 0,
            first_unseen: u32::MAX,
            in_new: 0,
            untold: 0,
            parts_length: 0,
            ..self
        }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, row: &Row) {
        if row.octets == UNKNOWN {
            self.unknown += 1;
        } else {
            self.total_octets = self.total_octets.saturating_add(row.octets);
        }
        if row.mail_flags.bits & Flags::SEEN != 0 {
            self.seen += 1;
        } else {
            self.first_unseen = self.first_unseen.min(self.count);
        }
        self.deleted += u32::from(row.mail_flags.bits & Flags::DELETED != 0);
        self.in_new += u32::from(row.flags & IN_NEW != 0);
        self.untold += u32::from(row.flags & UNTOLD != 0);
        self.highest_modseq = self.highest_modseq.max(row.modseq);
        self.count += 1;
    }
}
