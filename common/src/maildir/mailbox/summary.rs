//! What SELECT and STATUS say of a mailbox, kept up to date change by change and written as the last thing in the log: who
//! only asks for that reads neither the rows nor the log.

use super::super::flags::Flags;
use super::super::index::{self, Decoder, Header, Row};

/// The messages of a mailbox, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Tally {
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Messages in `new`.
    pub in_new: u32,
    /// Messages in `cur` of which no client has been told ([`index::UNTOLD`]).
    pub untold: u32,
    /// Messages whose octets nobody counted.
    pub unknown: u32,
    /// Sum of those that are known.
    pub octets: u64,
}

impl Tally {
    /// Of an index that nothing was added to.
    pub fn of(header: &Header) -> Tally {
        Tally {
            unseen: header.count.saturating_sub(header.seen),
            deleted: header.deleted,
            in_new: header.in_new,
            untold: header.untold,
            unknown: header.unknown,
            octets: header.total_octets,
        }
    }

    /// Of one message.
    fn one(flags: Flags, place: u16, octets: u64) -> Tally {
        let is_known = octets != index::UNKNOWN;
        Tally {
            unseen: u32::from(flags.bits & Flags::SEEN == 0),
            deleted: u32::from(flags.bits & Flags::DELETED != 0),
            in_new: u32::from(place & index::IN_NEW != 0),
            untold: u32::from(place & index::UNTOLD != 0),
            unknown: u32::from(!is_known),
            octets: if is_known { octets } else { 0 },
        }
    }

    /// Counts one more.
    pub fn add(&mut self, row: &Row) {
        self.add_as(row, row.mail_flags, row.flags);
    }

    /// The same with other flags at another place.
    pub fn add_as(&mut self, row: &Row, flags: Flags, place: u16) {
        let one = Tally::one(flags, place, row.octets);
        self.unseen = self.unseen.saturating_add(one.unseen);
        self.deleted = self.deleted.saturating_add(one.deleted);
        self.in_new = self.in_new.saturating_add(one.in_new);
        self.untold = self.untold.saturating_add(one.untold);
        self.unknown = self.unknown.saturating_add(one.unknown);
        self.octets = self.octets.saturating_add(one.octets);
    }

    /// Counts one less. The index may be damaged, and have counted wrong.
    pub fn remove(&mut self, row: &Row) {
        let one = Tally::one(row.mail_flags, row.flags, row.octets);
        self.unseen = self.unseen.saturating_sub(one.unseen);
        self.deleted = self.deleted.saturating_sub(one.deleted);
        self.in_new = self.in_new.saturating_sub(one.in_new);
        self.untold = self.untold.saturating_sub(one.untold);
        self.unknown = self.unknown.saturating_sub(one.unknown);
        self.octets = self.octets.saturating_sub(one.octets);
    }
}

/// The state that an index and its log describe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Summary {
    /// Messages of the index and those that came later, with those that are gone.
    pub rows: u32,
    /// Messages that are there.
    pub messages: u32,
    /// The first of them without `\Seen`, counted from 1; 0: there is none.
    pub first_unseen: u32,
    /// See [`Tally`].
    pub tally: Tally,
    /// Greater than any UID in use.
    pub next_uid: u32,
    /// No change has a greater one.
    pub highest_modseq: u64,
}

impl Summary {
    /// Octets of an encoded one.
    pub const LENGTH: usize = 52;

    /// One more message, at the end.
    pub fn add(&mut self, row: &Row) {
        self.rows = self.rows.saturating_add(1);
        self.messages = self.messages.saturating_add(1);
        self.tally.add(row);
        if self.first_unseen == 0 && row.mail_flags.bits & Flags::SEEN == 0 {
            self.first_unseen = self.messages;
        }
        self.next_uid = self.next_uid.max(row.uid.saturating_add(1));
        self.highest_modseq = self.highest_modseq.max(row.modseq);
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let Tally { unseen, deleted, in_new, untold, unknown, octets } = self.tally;
        let first = [self.rows, self.messages, self.first_unseen, self.next_uid];
        for number in first.into_iter().chain([unseen, deleted, in_new, untold, unknown]) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [octets, self.highest_modseq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub fn decode(fields: &mut Decoder<'_>) -> Summary {
        let (rows, messages, first_unseen, next_uid) =
            (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let (unseen, deleted, in_new) = (fields.u32(), fields.u32(), fields.u32());
        let (untold, unknown) = (fields.u32(), fields.u32());
        let (octets, highest_modseq) = (fields.u64(), fields.u64());
        let tally = Tally { unseen, deleted, in_new, untold, unknown, octets };
        Summary { rows, messages, first_unseen, tally, next_uid, highest_modseq }
    }
}
