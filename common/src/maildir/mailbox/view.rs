//! What a session's client has been told of a mailbox, and what it has not been told yet.
//!
//! The index at the time of SELECT, and little lists of what changed since. *Rows* number the messages of the index and
//! those that came later, by UID; a message keeps its row while the view lives. Message sequence numbers leave out the
//! rows whose EXPUNGE the client has been told.

use super::super::build::{VANISHED_MAX, forget_vanished};
use super::super::flags::Flags;
use super::super::index::{self, Extras, Index, Row, Source, Vanished};
use super::ascending::Ascending;
use super::log::{Entry, Log, Stamps};
use super::summary::{Summary, Tally};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// A message that came after the index.
#[derive(Debug, Clone)]
struct Added {
    row: Row,
    name: Box<[u8]>,
}

/// What is different in a row of the index, in 16 octets: a STORE to everything makes one for each message.
#[derive(Debug, Clone, Copy)]
struct Changed {
    row: u32,
    /// Six bits of flags, above them the 26 of keywords.
    flags: u32,
    /// The modification sequence (RFC 7162 section 3.1 has 63 bits; 61 last as long), then a bit each for the places.
    rest: u64,
}

const _: () = assert!(size_of::<Changed>() == 16);

impl Changed {
    const BITS: u8 = 63;

    fn new(row: u32, flags: Flags, place: u16, modseq: u64) -> Changed {
        let bit = |bit: u16| u64::from(place & bit != 0);
        Changed {
            row,
            flags: u32::from(flags.bits & Changed::BITS) | flags.keywords << 6,
            rest: modseq << 3 | bit(index::UNTOLD) << 2 | bit(index::IN_NEW) << 1 | bit(index::RECENT),
        }
    }

    fn flags(&self) -> Flags {
        Flags { bits: self.flags as u8 & Changed::BITS, keywords: self.flags >> 6 }
    }

    fn place(&self) -> u16 {
        let bit = |at: u32, bit: u16| if self.rest >> at & 1 != 0 { bit } else { 0 };
        bit(2, index::UNTOLD) | bit(1, index::IN_NEW) | bit(0, index::RECENT)
    }

    fn modseq(&self) -> u64 {
        self.rest >> 3
    }
}

/// What an entry of the log did to the view.
pub(in super::super) enum Effect {
    /// Nothing that a client would be told.
    None,
    /// The flags of this row are others now.
    Flags(u32),
    /// A message is gone.
    Expunged,
    /// There is a new last row.
    Added,
}

#[derive(Debug)]
pub(in super::super) struct View {
    pub index: Rc<Index>,
    added: Vec<Added>,
    changed: Vec<Changed>,
    /// Where in that list was looked last.
    near: Cell<usize>,
    /// Rows whose EXPUNGE the client has been told, or which it never was told of.
    gone: Ascending,
    /// Rows whose messages are gone, but not for the client yet.
    pub dead: Ascending,
    /// Rows below this have been announced by EXISTS.
    pub announced: u32,
    /// Dates that the index does not know, by row: for the next index. Many of them are worth one.
    pub learned: Vec<(u32, i64)>,
    /// What was expunged since the index was written, the last of it.
    vanished: Vec<Vanished>,
    /// What was expunged up to here is not in that list.
    vanished_since: u64,
    /// No change here has a greater one.
    pub highest_modseq: u64,
    /// Greater than every UID in the mailbox.
    pub next_uid: u32,
    /// Of the messages that are there.
    tally: Tally,
    /// Up to this UID some client has been told of all messages.
    told: u32,
    /// All rows before this one have `\Seen`, or are gone.
    seen_up_to: Cell<u32>,
    /// What has been told of it cannot be found: so many rows.
    broken: Option<u32>,
}

impl View {
    /// Everything in the index, announced.
    pub fn new(index: Index) -> View {
        View::shared(Rc::new(index))
    }

    /// The same of an index that another view has too.
    pub fn shared(index: Rc<Index>) -> View {
        View {
            announced: index.header.count,
            highest_modseq: index.header.highest_modseq,
            next_uid: index.header.next_uid,
            tally: Tally::of(&index.header),
            told: 0,
            seen_up_to: Cell::new(index.header.first_unseen.min(index.header.count)),
            broken: None,
            index,
            added: Vec::new(),
            changed: Vec::new(),
            near: Cell::new(0),
            gone: Ascending::default(),
            dead: Ascending::default(),
            vanished: Vec::new(),
            vanished_since: 0,
            learned: Vec::new(),
        }
    }

    /// Rows in all.
    pub fn rows(&self) -> u32 {
        self.broken.unwrap_or_else(|| self.index.header.count.saturating_add(self.added.len() as u32))
    }

    /// Reads on in the log, up to `end`, and tells each entry before it is taken into account.
    pub fn read_on(&mut self, log: &mut Log, end: u64, tell: &mut dyn FnMut(&Entry)) -> io::Result<()> {
        let mut taken = Ok(());
        log.read(end, &mut |entry| {
            tell(&entry);
            if taken.is_ok() {
                taken = self.apply(entry).map(drop);
            }
        })?;
        taken
    }

    /// Has no rows any more that could be read, but as many as were told of.
    pub fn break_down(&mut self, told: &Summary) {
        *self = View {
            broken: Some(told.messages),
            announced: told.messages,
            next_uid: told.next_uid,
            highest_modseq: told.highest_modseq,
            ..View::shared(self.index.clone())
        };
    }

    /// Whether the client has been told of all that is known.
    pub fn is_settled(&self) -> bool {
        self.dead.is_empty() && self.announced == self.rows()
    }

    /// Of the messages that are there.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The messages that are there, whatever the client has been told.
    pub fn summary(&self) -> io::Result<Summary> {
        let rows = self.rows();
        let gone = (self.gone.len() + self.dead.len()) as u32;
        Ok(Summary {
            rows,
            messages: rows.saturating_sub(gone),
            first_unseen: self.first_unseen()?,
            tally: self.tally,
            next_uid: self.next_uid,
            highest_modseq: self.highest_modseq,
        })
    }

    /// The first message that is there and has no `\Seen`, counted from 1; 0: there is none.
    fn first_unseen(&self) -> io::Result<u32> {
        if self.tally.unseen == 0 {
            return Ok(0);
        }
        let lives = |row| !self.gone.contains(row) && !self.dead.contains(row);
        let mut row = self.seen_up_to.get();
        while row < self.rows() && (!lives(row) || self.row(row)?.mail_flags.bits & Flags::SEEN != 0) {
            row += 1;
        }
        self.seen_up_to.set(row);
        let before = || row.saturating_sub(self.gone.below(row)).saturating_sub(self.dead.below(row));
        Ok(if row < self.rows() { before() + 1 } else { 0 })
    }

    /// Messages, as the client has been told.
    pub fn len(&self) -> u32 {
        self.announced - self.gone.below(self.announced)
    }

    /// Rows that are gone for the client too.
    pub fn is_gone(&self, row: u32) -> bool {
        self.gone.contains(row)
    }

    /// The row of a message sequence number, which must be within 1..=len.
    pub fn row_of(&self, msn: u32) -> u32 {
        let wanted = msn.saturating_sub(1);
        // The number of gone rows before the wanted one: gone[k] - k is how many rows are left before gone[k].
        let (mut low, mut high) = (0usize, self.gone.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let left = self.gone.as_slice().get(middle).map_or(u32::MAX, |&row| row - middle as u32);
            if left <= wanted { low = middle + 1 } else { high = middle }
        }
        wanted.saturating_add(low as u32)
    }

    /// The message sequence number of a row, if the client knows of it.
    pub fn msn_of(&self, row: u32) -> Option<u32> {
        (row < self.announced && !self.gone.contains(row)).then(|| row - self.gone.below(row) + 1)
    }

    /// The message sequence number of the first message in or after a row; one more than there are, if none is.
    pub fn msn_at_or_after(&self, row: u32) -> u32 {
        let row = row.min(self.announced);
        row - self.gone.below(row) + 1
    }

    /// All rows before this one have `\Seen`, or their messages are gone.
    pub fn seen_up_to(&self) -> u32 {
        self.seen_up_to.get()
    }

    /// What is known of the message in a row.
    pub fn row(&self, row: u32) -> io::Result<Row> {
        self.check()?;
        let mut data = match row.checked_sub(self.index.header.count) {
            None => self.index.row(row)?,
            Some(later) => self.added.get(later as usize).ok_or(io::ErrorKind::InvalidInput)?.row,
        };
        if let Some(changed) = self.changed_at(row) {
            data.mail_flags = changed.flags();
            data.modseq = changed.modseq();
            data.flags = data.flags & !index::STATE | changed.place();
        }
        if data.uid <= self.told {
            data.flags &= !index::UNTOLD;
        }
        Ok(data)
    }

    fn check(&self) -> io::Result<()> {
        if self.broken.is_some() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    /// What is different in this row. Rows are mostly gone through in order.
    fn changed_at(&self, row: u32) -> Option<&Changed> {
        if self.changed.last()?.row < row {
            return None;
        }
        let mut at = self.near.get();
        let near = self.changed.get(at).zip(self.changed.get(at + 1));
        let found = match near {
            Some((changed, _)) if changed.row == row => Some(at),
            Some((_, next)) if next.row == row => Some(at + 1),
            Some((changed, next)) if changed.row < row && row < next.row => return None,
            _ => match self.changed.binary_search_by_key(&row, |changed| changed.row) {
                Ok(found) => Some(found),
                Err(next) => {
                    at = next.saturating_sub(1);
                    None
                }
            },
        };
        self.near.set(found.unwrap_or(at));
        self.changed.get(found?)
    }

    /// The file name of the message in a row, as far as is known.
    pub fn name(&self, row: u32, data: &Row, space: &mut Vec<u8>) -> io::Result<()> {
        match row.checked_sub(self.index.header.count) {
            None => {
                let length = self.index.parts(data, space)?.name.len();
                space.truncate(length);
            }
            Some(later) => {
                let added = self.added.get(later as usize).ok_or(io::ErrorKind::InvalidInput)?;
                space.clear();
                space.extend_from_slice(&added.name);
            }
        }
        let as_known = data.flags & index::IN_NEW != 0 || Flags::of_name(space) == data.mail_flags;
        if !as_known || (data.flags & index::IN_NEW == 0 && !space.contains(&b':')) {
            *space = data.mail_flags.in_name(space);
        }
        Ok(())
    }

    /// The first row whose UID is `uid` or greater; the number of rows if there is none.
    pub fn at_or_after(&self, uid: u32) -> io::Result<u32> {
        self.check()?;
        let count = self.index.header.count;
        let row = self.index.at_or_after(uid)?;
        if row < count {
            return Ok(row);
        }
        Ok(count + self.added.partition_point(|added| added.row.uid < uid) as u32)
    }

    /// The row with this UID.
    pub fn find(&self, uid: u32) -> io::Result<Option<u32>> {
        let row = self.at_or_after(uid)?;
        Ok(if row < self.rows() && self.uid(row)? == uid { Some(row) } else { None })
    }

    fn uid(&self, row: u32) -> io::Result<u32> {
        match row.checked_sub(self.index.header.count) {
            None => self.index.uid(row),
            Some(later) => Ok(self.added.get(later as usize).ok_or(io::ErrorKind::InvalidInput)?.row.uid),
        }
    }

    /// Takes an entry of the log into account.
    pub fn apply(&mut self, entry: Entry) -> io::Result<Effect> {
        self.check()?;
        match entry {
            Entry::Flags { uid, modseq, flags, place } => {
                self.highest_modseq = self.highest_modseq.max(modseq);
                let Some(row) = self.find(uid)?.filter(|&row| !self.gone.contains(row)) else {
                    return Ok(Effect::None);
                };
                let before = self.row(row)?;
                let place = self.place_of(uid, place);
                let later = row.checked_sub(self.index.header.count);
                match later.and_then(|later| self.added.get_mut(later as usize)) {
                    Some(Added { row, .. }) => {
                        (row.mail_flags, row.modseq) = (flags, modseq);
                        row.flags = row.flags & !index::STATE | place;
                    }
                    None => self.change(Changed::new(row, flags, place, modseq)),
                }
                if !self.dead.contains(row) {
                    self.tally.remove(&before);
                    self.tally.add_as(&before, flags, place);
                }
                if flags.bits & Flags::SEEN == 0 {
                    self.seen_up_to.set(self.seen_up_to.get().min(row));
                }
                Ok(if before.mail_flags == flags { Effect::None } else { Effect::Flags(row) })
            }
            Entry::Added { uid, modseq, octets, date, place, name } => {
                self.highest_modseq = self.highest_modseq.max(modseq);
                self.next_uid = self.next_uid.max(uid.saturating_add(1));
                let last = self.rows().checked_sub(1).map(|last| self.row(last)).transpose()?;
                if last.is_some_and(|last| last.uid >= uid) {
                    return Ok(Effect::None);
                }
                let flags = self.place_of(uid, place);
                let source = Source { uid, octets, modseq, date, flags, name: &name, ..Source::default() };
                let row = source.row(0);
                self.tally.add(&row);
                self.added.push(Added { row, name });
                Ok(Effect::Added)
            }
            Entry::Expunged { uid, modseq } => {
                self.highest_modseq = self.highest_modseq.max(modseq);
                let row = self.find(uid)?.filter(|&row| !self.gone.contains(row) && !self.dead.contains(row));
                let Some(row) = row else { return Ok(Effect::None) };
                let before = self.row(row)?;
                self.tally.remove(&before);
                self.vanished.push(Vanished { uid, modseq });
                // No index remembers more.
                if self.vanished.len() >= 2 * VANISHED_MAX {
                    forget_vanished(&mut self.vanished, &mut self.vanished_since);
                }
                self.dead.insert(row);
                Ok(Effect::Expunged)
            }
            Entry::Told { uid } => {
                self.told = self.told.max(uid);
                self.tally.untold = self.untold_after(self.told)?;
                Ok(Effect::None)
            }
            Entry::Known { .. } => Ok(Effect::None),
            Entry::Summary(summary) => {
                // Whoever wrote it has told it to a client, even where nothing here has it any more.
                self.highest_modseq = self.highest_modseq.max(summary.highest_modseq);
                Ok(Effect::None)
            }
            Entry::Stamps(stamps) => {
                self.next_uid = self.next_uid.max(stamps.next_uid);
                Ok(Effect::None)
            }
        }
    }

    /// Where a message is, without what is over by now.
    fn place_of(&self, uid: u32, place: u16) -> u16 {
        let told = if uid <= self.told { index::UNTOLD } else { 0 };
        index::settled(place & index::STATE) & !told
    }

    /// How many untold messages come after this UID: none, as a rule.
    fn untold_after(&self, uid: u32) -> io::Result<u32> {
        let mut count = 0;
        for row in self.at_or_after(uid.saturating_add(1))?..self.rows() {
            let lives = !self.gone.contains(row) && !self.dead.contains(row);
            count += u32::from(lives && self.row(row)?.flags & index::UNTOLD != 0);
        }
        Ok(count)
    }

    fn change(&mut self, change: Changed) {
        match self.changed.last() {
            Some(last) if last.row >= change.row => {
                match self.changed.binary_search_by_key(&change.row, |changed| changed.row) {
                    Ok(at) => self.changed.get_mut(at).into_iter().for_each(|changed| *changed = change),
                    Err(at) => self.changed.insert(at, change),
                }
            }
            _ => self.changed.push(change),
        }
    }

    /// The dead are gone for the client too from now on. Returns the message sequence numbers to say, in the order in
    /// which to say them.
    pub fn bury(&mut self) -> Vec<u32> {
        let dead = self.dead.take();
        let known: Vec<u32> = dead.iter().rev().filter_map(|&row| self.msn_of(row)).collect();
        self.gone.unite(&dead);
        known
    }

    /// Announces all rows. Those that are dead already never were.
    pub fn announce(&mut self) -> bool {
        let before = self.len();
        let unheard: Vec<u32> =
            self.dead.as_slice().iter().copied().filter(|&row| row >= self.announced).collect();
        self.gone.unite(&unheard);
        self.dead.retain(|row| unheard.binary_search(&row).is_err());
        self.announced = self.rows();
        self.len() != before
    }

    /// Gives all living messages to `visit`, by UID, as they are now.
    pub fn messages(&self, visit: index::Visit<'_>) -> io::Result<()> {
        let (mut space, mut parts) = (Vec::new(), Vec::new());
        for row in 0..self.rows() {
            if self.gone.contains(row) || self.dead.contains(row) {
                continue;
            }
            let data = self.row(row)?;
            self.name(row, &data, &mut space)?;
            let mut source = Source::default();
            if row < self.index.header.count {
                source = self.index.parts(&data, &mut parts)?;
            }
            let flags = data.flags & !index::RECENT;
            let (uid, octets, modseq, mut date) = (data.uid, data.octets, data.modseq, data.date);
            if let Ok(at) = self.learned.binary_search_by_key(&row, |&(row, _)| row) {
                date = self.learned.get(at).map_or(date, |&(_, learned)| learned);
            }
            visit(&Source { uid, octets, modseq, date, flags, name: &space, ..source })?;
        }
        Ok(())
    }

    /// Writes an index of the living messages as they are now.
    pub fn write(&self, out: impl io::Write, stamps: &Stamps) -> io::Result<()> {
        self.check()?;
        let mut extras = self.index.extras()?;
        let mut since = self.index.header.vanished_since.max(self.vanished_since);
        extras.vanished.extend_from_slice(&self.vanished);
        forget_vanished(&mut extras.vanished, &mut since);
        self.renumber(&mut extras);
        let mut header = self.index.header;
        header.next_uid = self.next_uid;
        header.highest_modseq = self.highest_modseq;
        header.vanished_since = since;
        header.recent_of = 0;
        (header.new, header.cur) = (stamps.new, stamps.cur);
        (header.uidlist, header.keywords) = (stamps.uidlist, stamps.keywords);
        index::write(out, header, &extras, |visit| self.messages(visit))
    }

    /// POP3's order without those that are no more; what came later comes last.
    fn renumber(&self, extras: &mut Extras) {
        if extras.order.is_empty() {
            return;
        }
        let lives = |&row: &u32| !self.gone.contains(row) && !self.dead.contains(row);
        extras.order.extend(self.index.header.count..self.rows());
        extras.order.retain(lives);
        for row in &mut extras.order {
            *row -= self.gone.below(*row) + self.dead.below(*row);
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
