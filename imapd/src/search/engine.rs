//! Runs a program over a mailbox: the store's rows first, then what is left of it message by message, the cached digest
//! before the file.
//!
//! Memory is two bits for each message, and what reading one message needs.

use super::found::Found;
use super::matcher;
use super::messages::Messages;
use super::program::{Leaf, Program, Source, Verdict, is_in};
use super::words;
use crate::digest::{Digest, EnvelopeField};
use crate::printed;
use crate::reply::Failure;
use common::mailbox::Info;
use common::maildir::StorageError;
use std::ops::ControlFlow;

/// Which of the messages that match are wanted: looking for one of them can end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All.
    All,
    /// At least the first.
    First,
    /// At least the last.
    Last,
}

/// Finds the messages that match.
pub fn search(messages: &mut impl Messages, program: &Program, extent: Extent) -> Result<Found, Failure> {
    let len = messages.len();
    let (mut found, mut open) = (Found::new(len), Found::new(len));
    let mut state = State::new(program);
    if len > 0 && !state.asks_rows {
        state.begin();
        match state.decide() {
            Verdict::Yes => (1..=len).for_each(|msn| found.insert(msn)),
            Verdict::No => {}
            Verdict::Unknown => (1..=len).for_each(|msn| open.insert(msn)),
        }
    } else if len > 0 {
        messages.for_each(1..=len, |msn, info| {
            match state.rows(msn, info) {
                Verdict::Yes => found.insert(msn),
                Verdict::No => {}
                Verdict::Unknown => open.insert(msn),
            }
            ControlFlow::Continue(())
        })?;
    }
    let mut next = match extent {
        Extent::Last => open.last(),
        _ => open.first(),
    };
    while let Some(msn) = next {
        let is_decided = match extent {
            Extent::All => false,
            Extent::First => found.first().is_some_and(|first| first < msn),
            Extent::Last => found.last().is_some_and(|last| last > msn),
        };
        if is_decided {
            break;
        }
        if state.message(messages, msn)? == Verdict::Yes {
            found.insert(msn);
        }
        messages.look()?;
        next = match extent {
            Extent::Last => msn.checked_sub(1).and_then(|msn| open.at_or_before(msn)),
            _ => msn.checked_add(1).and_then(|msn| open.at_or_after(msn)),
        };
    }
    Ok(found)
}

/// What is known of the message at hand, and memory that is used again for the next.
struct State<'p> {
    program: &'p Program,
    leaves: Vec<Verdict>,
    stack: Vec<Verdict>,
    texts: Texts,
    scratch: matcher::Scratch,
    asks_rows: bool,
    asks_digest: bool,
}

impl<'p> State<'p> {
    fn new(program: &'p Program) -> State<'p> {
        State {
            program,
            leaves: vec![Verdict::Unknown; program.leaves.len()],
            stack: Vec::new(),
            texts: Texts::default(),
            scratch: matcher::Scratch::default(),
            asks_rows: program.leaves.iter().any(|leaf| match leaf {
                Leaf::Constant(_) => false,
                leaf => leaf.source() == Source::Row,
            }),
            asks_digest: program.asks(Source::Digest),
        }
    }

    /// Nothing is known of a message but what is always so.
    fn begin(&mut self) {
        for (leaf, verdict) in self.program.leaves.iter().zip(self.leaves.iter_mut()) {
            *verdict = match leaf {
                Leaf::Constant(value) => (*value).into(),
                _ => Verdict::Unknown,
            };
        }
    }

    fn decide(&mut self) -> Verdict {
        self.program.evaluate(&self.leaves, &mut self.stack)
    }

    /// Asks what the store's row knows.
    fn rows(&mut self, msn: u32, info: &Info) -> Verdict {
        for (leaf, verdict) in self.program.leaves.iter().zip(self.leaves.iter_mut()) {
            *verdict = row(leaf, msn, info);
        }
        self.decide()
    }

    /// Asks everything, as far as it is needed.
    fn message(&mut self, messages: &mut impl Messages, msn: u32) -> Result<Verdict, StorageError> {
        self.begin();
        if self.asks_rows {
            let info = messages.info(msn)?;
            let mut verdict = self.rows(msn, &info);
            if verdict == Verdict::Unknown {
                verdict = match self.counted(messages, msn)? {
                    true => self.decide(),
                    false => Verdict::No,
                };
            }
            if verdict != Verdict::Unknown {
                return Ok(verdict);
            }
        }
        if self.asks_digest {
            let State { program, leaves, texts, .. } = self;
            let shown = messages.digest(msn, |digest| {
                for (leaf, verdict) in program.leaves.iter().zip(leaves.iter_mut()) {
                    if let Some(known) = in_digest(leaf, digest, texts) {
                        *verdict = known.into();
                    }
                }
            })?;
            if shown.is_none() {
                return Ok(Verdict::No);
            }
            let verdict = self.decide();
            if verdict != Verdict::Unknown {
                return Ok(verdict);
            }
        }
        let Some(mut file) = messages.open(msn)? else { return Ok(Verdict::No) };
        let State { program, leaves, stack, scratch, .. } = self;
        Ok(matcher::search(program, leaves, stack, scratch, &mut file).unwrap_or_else(|error| {
            messages.unreadable(msn, error);
            Verdict::No
        }))
    }

    /// Asks for sizes and dates that the row did not know. `false`: the message is gone.
    fn counted(&mut self, messages: &mut impl Messages, msn: u32) -> Result<bool, StorageError> {
        for (leaf, verdict) in self.program.leaves.iter().zip(self.leaves.iter_mut()) {
            let known = match leaf {
                Leaf::Octets(range) if *verdict == Verdict::Unknown => {
                    messages.octets(msn)?.map(|octets| range.contains(&octets))
                }
                Leaf::InternalDate(range) if *verdict == Verdict::Unknown => {
                    messages.internal_date(msn)?.map(|date| range.contains(&date))
                }
                _ => continue,
            };
            match known {
                Some(known) => *verdict = known.into(),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn row(leaf: &Leaf, msn: u32, info: &Info) -> Verdict {
    match leaf {
        Leaf::Constant(value) => (*value).into(),
        Leaf::Flag { bit, set } => ((info.flags.bits & bit != 0) == *set).into(),
        Leaf::Recent(set) => (info.recent == *set).into(),
        Leaf::Keyword { bits, set } => ((info.flags.keywords & bits != 0) == *set).into(),
        Leaf::Messages(ranges) => is_in(ranges, msn).into(),
        Leaf::Uids(ranges) => is_in(ranges, info.uid).into(),
        Leaf::ModSeq(least) => (info.modseq >= *least).into(),
        Leaf::Octets(range) => info.octets.map_or(Verdict::Unknown, |octets| range.contains(&octets).into()),
        Leaf::InternalDate(range) => {
            info.internal_date.map_or(Verdict::Unknown, |date| range.contains(&date).into())
        }
        _ => Verdict::Unknown,
    }
}

/// Memory for the texts of envelopes.
#[derive(Default)]
pub struct Texts {
    raw: Vec<u8>,
    text: String,
    folded: Vec<u8>,
}

fn in_digest(leaf: &Leaf, digest: &Digest<'_>, texts: &mut Texts) -> Option<bool> {
    match leaf {
        // Without a date that can be read, the day is none.
        Leaf::SentDay(range) => Some(digest.sent_day().is_some_and(|day| range.contains(&i64::from(day)))),
        Leaf::Envelope(field, needle) => {
            let printed = digest.envelope_part(*field);
            if printed == b"NIL" {
                return Some(false);
            }
            texts.read(*field, printed);
            Some(needle.is_in(&texts.folded))
        }
        _ => None,
    }
}

impl Texts {
    /// The folded text of a field: addresses as `name <local-part@domain>`, with commas between.
    fn read(&mut self, field: EnvelopeField, printed: &[u8]) {
        self.folded.clear();
        match field {
            EnvelopeField::Date
            | EnvelopeField::Subject
            | EnvelopeField::InReplyTo
            | EnvelopeField::MessageId => self.push(printed),
            _ => {
                for address in printed::addresses(printed) {
                    self.address(&address);
                }
            }
        }
    }

    fn address(&mut self, address: &printed::Address<'_>) {
        if address.host == b"NIL" {
            // The name of a group, or its end.
            if address.mailbox != b"NIL" {
                self.push(address.mailbox);
                self.folded.extend_from_slice(b": ");
            }
            return;
        }
        if !self.folded.is_empty() && !self.folded.ends_with(b": ") {
            self.folded.extend_from_slice(b", ");
        }
        self.push(address.name);
        self.folded.extend_from_slice(if address.name == b"NIL" { b"<" } else { b" <" });
        self.push(address.mailbox);
        self.folded.push(b'@');
        self.push(address.host);
        self.folded.push(b'>');
    }

    fn push(&mut self, printed: &[u8]) {
        if let Some(octets) = printed::nstring(printed) {
            words::fold(&octets, &mut self.folded, &mut self.text, &mut self.raw);
        }
    }
}
