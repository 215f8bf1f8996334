//! SORT (RFC 5256), with the display names of RFC 5957.
//!
//! The messages are sorted by one criterion after the other: those that are equal so far make a group, and the next criterion
//! is asked about groups of more than one only. So one criterion's keys are in memory at a time, and of long texts one
//! piece at a time; memory is bounded by the number of messages and [`BUDGET`]. Texts are strangers'.

use crate::casemap;
use crate::charset;
use crate::digest::{Digest, EnvelopeField};
use crate::grammar::{SortArguments, SortCriterion, SortKey};
use crate::printed;
use crate::reply::Failure;
use crate::search::engine::{self, Extent};
use crate::search::found::Found;
use crate::search::messages::Messages;
use crate::search::{self, Show, words};
use crate::thread::{Subjects, sent};
use common::maildir::StorageError;
use common::number;
use std::ops::ControlFlow;

/// Octets of texts held at a time.
const BUDGET: usize = 6 * 1024 * 1024;
/// Octets of a text that are compared; what differs behind them only is as equal.
const TEXT_MAX: usize = 4096;

/// Searches and sorts what was found, and shows the untagged response. Whether it was about modification sequences.
pub fn answer(
    messages: &mut impl Messages,
    uid: bool,
    arguments: &SortArguments,
    show: Show<'_>,
) -> Result<bool, Failure> {
    let program = search::compile(&arguments.key, Some(&arguments.charset), messages)?;
    let found = engine::search(messages, &program, Extent::All)?;
    let order = sort(messages, &found, &arguments.criteria, BUDGET)?;
    let mut uids = Vec::new();
    if uid {
        // Read in the order of the mailbox, which is how they are kept.
        uids.reserve(messages.len() as usize);
        messages.for_each(1..=messages.len(), |_, info| {
            uids.push(info.uid);
            ControlFlow::Continue(())
        })?;
    }
    show(b"* SORT")?;
    for msn in order {
        let name = uids.get(msn as usize - 1).copied().unwrap_or(msn);
        show(b" ")?;
        show(number::decimal(u64::from(name), &mut [0; number::LONGEST]))?;
    }
    // RFC 7162 section 3.1.9.
    search::modseq(messages, &found, program.has_modseq, show)?;
    show(b"\r\n")?;
    Ok(program.has_modseq)
}

/// The messages found, in the order of the criteria; of equal ones the one with the lower number is first.
pub fn sort(
    messages: &mut impl Messages,
    found: &Found,
    criteria: &[SortCriterion],
    budget: usize,
) -> Result<Vec<u32>, Failure> {
    let mut order: Vec<u32> = found.iter().collect();
    // Places in the order where a group begins.
    let mut starts = Found::new(order.len() as u32);
    starts.insert(0);
    let mut texts = Texts { budget, ..Texts::default() };
    for criterion in criteria {
        // Keys are read in the order of the mailbox, which is how they are kept.
        let mut open = Found::new(messages.len());
        for (from, until) in groups(order.len(), &starts) {
            order.get(from..until).unwrap_or_default().iter().for_each(|msn| open.insert(*msn));
        }
        if open.is_empty() {
            break;
        }
        let before = starts.clone();
        if is_number(criterion.key) {
            let mut keys = vec![0u64; messages.len() as usize + 1];
            for msn in open.iter() {
                let key = number(messages, criterion.key, msn)?;
                messages.look()?;
                if let Some(place) = keys.get_mut(msn as usize) {
                    *place = if criterion.reverse { !key } else { key };
                }
            }
            for (from, until) in groups(order.len(), &before) {
                by_number(&keys, order.get_mut(from..until).unwrap_or_default(), from, &mut starts);
            }
        } else {
            texts.read(messages, criterion.key, open.iter(), open.count() as usize, 0)?;
            for (from, until) in groups(order.len(), &before) {
                let group = order.get_mut(from..until).unwrap_or_default();
                texts.sort(*criterion, group, from, &mut starts);
            }
            texts.sort_longer(messages, *criterion, &mut order, &mut starts)?;
        }
    }
    Ok(order)
}

/// Where groups of more than one begin and end.
fn groups(len: usize, starts: &Found) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        while from < len {
            let next = (from as u32).checked_add(1).and_then(|place| starts.at_or_after(place));
            let until = next.map_or(len, |place| place as usize).min(len);
            let group = (from, until);
            from = until;
            if group.1 - group.0 > 1 {
                return Some(group);
            }
        }
        None
    })
}

fn is_number(key: SortKey) -> bool {
    matches!(key, SortKey::Arrival | SortKey::Date | SortKey::Size)
}

/// Sorts a group by numbers, which are at the places of the messages, and marks where new groups begin.
fn by_number(keys: &[u64], group: &mut [u32], from: usize, starts: &mut Found) {
    let key = |msn: u32| keys.get(msn as usize).copied().unwrap_or_default();
    group.sort_unstable_by_key(|msn| (key(*msn), *msn));
    let mut before = None;
    for (place, msn) in group.iter().enumerate() {
        let key = key(*msn);
        if before.replace(key) != Some(key) {
            starts.insert((from + place) as u32);
        }
    }
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

/// A message's text: its first octets to compare quickly, and where all of them are.
#[derive(Clone, Copy, Default)]
struct Entry {
    first: u64,
    start: u32,
    end: u32,
}

/// Memory for texts, used again for each criterion.
#[derive(Default)]
struct Texts {
    budget: usize,
    /// Octets that are held of a text, and which ones: those behind so many.
    piece: usize,
    skip: usize,
    octets: Vec<u8>,
    /// At the places of the messages.
    entries: Vec<Entry>,
    /// Ranges of the order that are equal as far as was read, and how far that is.
    longer: Vec<(usize, usize, usize)>,
    subjects: Subjects,
    text: String,
    raw: Vec<u8>,
    folded: Vec<u8>,
}

impl Texts {
    fn entry(&self, msn: u32) -> Entry {
        self.entries.get(msn as usize).copied().unwrap_or_default()
    }

    fn text(&self, entry: Entry) -> &[u8] {
        self.octets.get(entry.start as usize..entry.end as usize).unwrap_or_default()
    }

    /// Sorts a group by the texts that were read, and marks where new groups begin.
    fn sort(&mut self, criterion: SortCriterion, group: &mut [u32], from: usize, starts: &mut Found) {
        group.sort_unstable_by(|a, b| {
            let (left, right) = (self.entry(*a), self.entry(*b));
            let order = left.first.cmp(&right.first).then_with(|| self.text(left).cmp(self.text(right)));
            let order = if criterion.reverse { order.reverse() } else { order };
            order.then(a.cmp(b))
        });
        let mut longer = std::mem::take(&mut self.longer);
        let mut place = from;
        for equal in group.chunk_by(|a, b| self.text(self.entry(*a)) == self.text(self.entry(*b))) {
            starts.insert(place as u32);
            let until = place + equal.len();
            let is_cut = equal.first().is_some_and(|msn| self.text(self.entry(*msn)).len() == self.piece);
            let read = self.skip + self.piece;
            if equal.len() > 1 && is_cut && read < TEXT_MAX {
                longer.push((place, until, read));
            }
            place = until;
        }
        self.longer = longer;
    }

    /// Goes on with those that are equal in all octets that were read of them, and longer.
    fn sort_longer(
        &mut self,
        messages: &mut impl Messages,
        criterion: SortCriterion,
        order: &mut [u32],
        starts: &mut Found,
    ) -> Result<(), Failure> {
        while let Some((from, until, skip)) = self.longer.pop() {
            let group = order.get_mut(from..until).unwrap_or_default();
            self.read(messages, criterion.key, group.iter().copied(), group.len(), skip)?;
            self.sort(criterion, group, from, starts);
        }
        Ok(())
    }

    /// Reads a piece of the text of each of so many messages.
    fn read(
        &mut self,
        messages: &mut impl Messages,
        key: SortKey,
        msns: impl Iterator<Item = u32>,
        count: usize,
        skip: usize,
    ) -> Result<(), Failure> {
        self.piece = (self.budget / count.max(1)).clamp(16, TEXT_MAX);
        self.skip = skip;
        self.octets.clear();
        self.entries.resize(messages.len() as usize + 1, Entry::default());
        for msn in msns {
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
                self.octets.extend_from_slice(text.get(..self.piece).unwrap_or(text));
            })?;
            messages.look()?;
            let text = self.octets.get(start..).unwrap_or_default();
            let mut first = [0; 8];
            first.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
            let entry = Entry {
                first: u64::from_be_bytes(first),
                start: start as u32,
                end: self.octets.len() as u32,
            };
            if let Some(place) = self.entries.get_mut(msn as usize) {
                *place = entry;
            }
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
