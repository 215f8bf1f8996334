//! SORT (RFC 5256), with the display names of RFC 5957.
//!
//! The messages are sorted by one criterion after the other: those that are equal so far make a group, and the next criterion
//! is asked about groups of more than one only. So one criterion's keys are in memory at a time, and of long texts one
//! piece at a time; memory is bounded by the number of messages and [`BUDGET`]. Texts are strangers'.

use crate::casemap;
use crate::charset;
use crate::digest::{Digest, EnvelopeField};
use crate::grammar::{SortArguments, SortCriterion, SortKey};
use crate::number;
use crate::printed;
use crate::reply::Failure;
use crate::search::engine::{self, Extent};
use crate::search::found::Found;
use crate::search::messages::Messages;
use crate::search::{self, Show, words};
use crate::thread::{Subjects, sent};
use common::maildir::StorageError;

/// Octets of texts held at a time.
const BUDGET: usize = 6 * 1024 * 1024;
/// Octets of a text that are compared; what differs behind them only is as equal.
const TEXT_MAX: usize = 4096;

/// Searches and sorts what was found, and shows the untagged response.
pub fn answer(
    messages: &mut impl Messages,
    uid: bool,
    arguments: &SortArguments,
    show: Show<'_>,
) -> Result<(), Failure> {
    let program = search::compile(&arguments.key, Some(&arguments.charset), messages)?;
    let found = engine::search(messages, &program, Extent::All)?;
    let order = sort(messages, &found, &arguments.criteria, BUDGET)?;
    show(b"* SORT")?;
    for msn in order {
        let name = if uid { messages.info(msn)?.uid } else { msn };
        show(b" ")?;
        show(number::decimal(name, &mut [0; 10]))?;
    }
    Ok(show(b"\r\n")?)
}

/// The messages found, in the order of the criteria; of equal ones the one with the lower number is first.
pub fn sort(
    messages: &mut impl Messages,
    found: &Found,
    criteria: &[SortCriterion],
    budget: usize,
) -> Result<Vec<u32>, StorageError> {
    let mut order: Vec<u32> = found.iter().collect();
    // Places in the order where a group begins.
    let mut starts = Found::new(order.len() as u32);
    starts.insert(0);
    let mut texts = Texts { budget, ..Texts::default() };
    for criterion in criteria {
        let mut from = 0;
        while from < order.len() {
            let next = (from as u32).checked_add(1).and_then(|place| starts.at_or_after(place));
            let until = next.map_or(order.len(), |place| place as usize).min(order.len());
            let group = order.get_mut(from..until).unwrap_or_default();
            if group.len() > 1 {
                match is_number(criterion.key) {
                    true => by_number(messages, *criterion, group, from, &mut starts)?,
                    false => texts.sort(messages, *criterion, group, from, &mut starts)?,
                }
            }
            from = until;
        }
    }
    Ok(order)
}

fn is_number(key: SortKey) -> bool {
    matches!(key, SortKey::Arrival | SortKey::Date | SortKey::Size)
}

/// Sorts a group by a number, and marks where new groups begin.
fn by_number(
    messages: &mut impl Messages,
    criterion: SortCriterion,
    group: &mut [u32],
    from: usize,
    starts: &mut Found,
) -> Result<(), StorageError> {
    let mut keys: Vec<(u64, u32)> = Vec::with_capacity(group.len());
    for &msn in group.iter() {
        let key = number(messages, criterion.key, msn)?;
        keys.push((if criterion.reverse { !key } else { key }, msn));
    }
    keys.sort_unstable();
    let mut before = None;
    for (place, (slot, (key, msn))) in group.iter_mut().zip(keys).enumerate() {
        *slot = msn;
        if before.replace(key) != Some(key) {
            starts.insert((from + place) as u32);
        }
    }
    Ok(())
}

fn number(messages: &mut impl Messages, key: SortKey, msn: u32) -> Result<u64, StorageError> {
    // Negative ones first.
    let ordered = |seconds: i64| seconds as u64 ^ 1 << 63;
    Ok(match key {
        SortKey::Size => match messages.info(msn)?.octets {
            Some(octets) => octets,
            None => messages.octets(msn)?.unwrap_or_default(),
        },
        SortKey::Date => ordered(messages.digest(msn, sent)?.unwrap_or_default()),
        _ => ordered(match messages.info(msn)?.internal_date {
            Some(date) => date,
            None => messages.internal_date(msn)?.unwrap_or_default(),
        }),
    })
}

/// A message's text: its first octets to compare quickly, and where the others are.
#[derive(Clone, Copy)]
struct Entry {
    first: u64,
    start: u32,
    end: u32,
    msn: u32,
}

/// Memory for texts, used again for each group.
#[derive(Default)]
struct Texts {
    budget: usize,
    octets: Vec<u8>,
    entries: Vec<Entry>,
    subjects: Subjects,
    text: String,
    raw: Vec<u8>,
    folded: Vec<u8>,
}

impl Texts {
    /// Sorts a group by a text, and marks where new groups begin.
    fn sort(
        &mut self,
        messages: &mut impl Messages,
        criterion: SortCriterion,
        group: &mut [u32],
        from: usize,
        starts: &mut Found,
    ) -> Result<(), StorageError> {
        // Ranges of the group that are equal in so many octets.
        let mut work = vec![(0, group.len(), 0)];
        while let Some((begin, end, skip)) = work.pop() {
            let part = group.get_mut(begin..end).unwrap_or_default();
            let piece = (self.budget / part.len().max(1)).clamp(16, TEXT_MAX);
            self.read(messages, criterion.key, part, skip, piece)?;
            let octets = &self.octets;
            let text =
                |entry: &Entry| octets.get(entry.start as usize..entry.end as usize).unwrap_or_default();
            self.entries.sort_unstable_by(|a, b| {
                let order = a.first.cmp(&b.first).then_with(|| text(a).cmp(text(b)));
                let order = if criterion.reverse { order.reverse() } else { order };
                order.then(a.msn.cmp(&b.msn))
            });
            let mut place = begin;
            for equal in self.entries.chunk_by(|a, b| text(a) == text(b)) {
                starts.insert((from + place) as u32);
                let is_cut = equal.first().is_some_and(|entry| text(entry).len() == piece);
                if equal.len() > 1 && is_cut && skip + piece < TEXT_MAX {
                    work.push((place, place + equal.len(), skip + piece));
                }
                place += equal.len();
            }
            for (slot, entry) in part.iter_mut().zip(&self.entries) {
                *slot = entry.msn;
            }
        }
        Ok(())
    }

    /// Reads a piece of the text of each message.
    fn read(
        &mut self,
        messages: &mut impl Messages,
        key: SortKey,
        msns: &[u32],
        skip: usize,
        piece: usize,
    ) -> Result<(), StorageError> {
        self.octets.clear();
        self.entries.clear();
        for &msn in msns {
            let start = self.octets.len();
            messages.digest(msn, |digest| {
                let text = match key {
                    SortKey::Subject => self.subjects.base(digest).text,
                    _ => {
                        address(digest, key, &mut self.text, &mut self.raw);
                        self.folded.clear();
                        casemap::fold(&self.text, &mut self.folded);
                        &self.folded
                    }
                };
                let text = text.get(skip..).unwrap_or_default();
                self.octets.extend_from_slice(text.get(..piece).unwrap_or(text));
            })?;
            let text = self.octets.get(start..).unwrap_or_default();
            let mut first = [0; 8];
            for (to, from) in first.iter_mut().zip(text) {
                *to = *from;
            }
            let (start, end) = (start as u32, self.octets.len() as u32);
            self.entries.push(Entry { first: u64::from_be_bytes(first), start, end, msn });
        }
        Ok(())
    }
}

/// What a message is sorted by of its addresses: of the first one the mailbox (RFC 5256 section 3), or the display name, and
/// where there is none the address (RFC 5957 section 3). Of a group it is the group's name.
fn address(digest: &Digest<'_>, key: SortKey, text: &mut String, raw: &mut Vec<u8>) {
    text.clear();
    let field = match key {
        SortKey::Cc => EnvelopeField::Cc,
        SortKey::To | SortKey::DisplayTo => EnvelopeField::To,
        _ => EnvelopeField::From,
    };
    let Some(address) = printed::addresses(digest.envelope_part(field)).next() else { return };
    let mailbox = printed::nstring(address.mailbox).unwrap_or_default();
    if matches!(key, SortKey::DisplayFrom | SortKey::DisplayTo) {
        let name = printed::nstring(address.name).unwrap_or_default();
        if !name.is_empty() {
            return words::decode(&name, text, raw);
        }
        words::decode(&mailbox, text, raw);
        if let Some(host) = printed::nstring(address.host) {
            text.push('@');
            text.push_str(&charset::guess(&host));
        }
        return;
    }
    text.push_str(&charset::guess(&mailbox));
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
