//! Search keys compiled: leaves that a message is asked about, and operators behind their operands.
//!
//! The keys are a client's: the grammar bounds how many they are and how deep. Whatever is not known of a message yet is
//! [`Verdict::Unknown`], so that cheap leaves decide before expensive ones are looked at; nothing here recurses.

use super::messages::Messages;
use crate::casemap;
use crate::charset;
use crate::digest::EnvelopeField;
use crate::grammar::{Date, SearchKey, SequenceSet, bits};
use common::maildir::StorageError;
use encoding_rs::Encoding;
use memchr::memmem::Finder;
use std::ops::RangeInclusive;

/// Whether a message matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Not known yet.
    Unknown,
}

impl From<bool> for Verdict {
    fn from(yes: bool) -> Verdict {
        if yes { Verdict::Yes } else { Verdict::No }
    }
}

/// Where it is found out whether a leaf matches, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The store's row of the message; a size or a date may be unknown there.
    Row,
    /// The cached digest.
    Digest,
    /// The message's file.
    File,
}

/// A text to look for, folded.
#[derive(Debug)]
pub struct Needle(pub Finder<'static>);

impl Needle {
    /// Whether `text`, folded, has it.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.0.find(text).is_some()
    }

    /// Whether it is in everything.
    pub fn is_empty(&self) -> bool {
        self.0.needle().is_empty()
    }
}

/// One question about a message.
#[derive(Debug)]
pub enum Leaf {
    /// Always this.
    Constant(bool),
    /// Whether a flag is set or not.
    #[allow(missing_docs)]
    Flag { bit: u8, set: bool },
    /// Whether the message is recent or not.
    Recent(bool),
    /// Whether one of these keywords is set or not.
    #[allow(missing_docs)]
    Keyword { bits: u32, set: bool },
    /// Message sequence numbers, ascending.
    Messages(Vec<RangeInclusive<u32>>),
    /// UIDs, ascending.
    Uids(Vec<RangeInclusive<u32>>),
    /// At least this modification sequence.
    ModSeq(u64),
    /// A size in octets, both ends included.
    Octets(RangeInclusive<u64>),
    /// The internal date, both ends included: seconds since 1970 UTC.
    InternalDate(RangeInclusive<i64>),
    /// The day of the Date: header, both ends included: days since 1970.
    SentDay(RangeInclusive<i64>),
    /// A text in a field of the envelope.
    Envelope(EnvelopeField, Needle),
    /// A text in a header field of this name.
    Header(Vec<u8>, Needle),
    /// A text in the body.
    Body(Needle),
    /// A text in header or body.
    Text(Needle),
}

impl Leaf {
    /// Where it is found out.
    pub fn source(&self) -> Source {
        match self {
            Leaf::Header(..) | Leaf::Body(_) | Leaf::Text(_) => Source::File,
            Leaf::SentDay(_) | Leaf::Envelope(..) => Source::Digest,
            _ => Source::Row,
        }
    }
}

/// What is done with the verdicts before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// Ask this leaf.
    Leaf(usize),
    /// All of so many.
    And(usize),
    /// One of two.
    Or,
    /// The opposite.
    Not,
}

/// A compiled key.
#[derive(Debug)]
pub struct Program {
    ops: Vec<Op>,
    /// The leaves, in the order of the key.
    pub leaves: Vec<Leaf>,
    /// Octets of the longest text to look for in files.
    pub longest: usize,
    /// Whether such a text has a line end in it.
    pub has_line_ends: bool,
    /// Whether modification sequences were asked for (RFC 7162 section 3.1.5).
    pub has_modseq: bool,
}

/// Why a key cannot be compiled.
#[derive(Debug)]
pub enum CompileError {
    /// A text is not in the charset that the command named.
    NotInCharset,
    /// The store.
    Storage(StorageError),
}

impl From<StorageError> for CompileError {
    fn from(error: StorageError) -> CompileError {
        CompileError::Storage(error)
    }
}

impl Program {
    /// Compiles `key` for a mailbox as it is now. Texts are in `encoding`; `now` is in seconds since 1970 UTC.
    pub fn compile(
        key: &SearchKey,
        encoding: &'static Encoding,
        now: i64,
        messages: &impl Messages,
    ) -> Result<Program, CompileError> {
        enum Work<'k> {
            Key(&'k SearchKey),
            Op(Op),
        }
        let mut program = Program {
            ops: Vec::new(),
            leaves: Vec::new(),
            longest: 0,
            has_line_ends: false,
            has_modseq: false,
        };
        let mut work = vec![Work::Key(key)];
        while let Some(next) = work.pop() {
            let key = match next {
                Work::Key(key) => key,
                Work::Op(op) => {
                    program.ops.push(op);
                    continue;
                }
            };
            match key {
                SearchKey::And(keys) => {
                    work.push(Work::Op(Op::And(keys.len())));
                    work.extend(keys.iter().map(Work::Key));
                }
                SearchKey::Or(pair) => {
                    work.extend([Work::Op(Op::Or), Work::Key(&pair.0), Work::Key(&pair.1)])
                }
                SearchKey::Not(key) => work.extend([Work::Op(Op::Not), Work::Key(key)]),
                key => {
                    let leaf = leaf(key, encoding, now, messages)?;
                    program.note(&leaf);
                    program.ops.push(Op::Leaf(program.leaves.len()));
                    program.leaves.push(leaf);
                }
            }
        }
        Ok(program)
    }

    fn note(&mut self, leaf: &Leaf) {
        match leaf {
            Leaf::ModSeq(_) => self.has_modseq = true,
            Leaf::Body(Needle(finder)) | Leaf::Text(Needle(finder)) => {
                self.longest = self.longest.max(finder.needle().len());
                self.has_line_ends |= finder.needle().contains(&b'\n');
            }
            _ => {}
        }
    }

    /// Whether any leaf needs this.
    pub fn asks(&self, source: Source) -> bool {
        self.leaves.iter().any(|leaf| leaf.source() == source)
    }

    /// The whole key's verdict, given those of the leaves. `stack` is lent.
    pub fn evaluate(&self, leaves: &[Verdict], stack: &mut Vec<Verdict>) -> Verdict {
        use Verdict::{No, Unknown, Yes};
        stack.clear();
        for op in &self.ops {
            let verdict = match *op {
                Op::Leaf(at) => leaves.get(at).copied().unwrap_or(Unknown),
                Op::Not => match stack.pop() {
                    Some(Yes) => No,
                    Some(No) => Yes,
                    _ => Unknown,
                },
                Op::Or => match (stack.pop(), stack.pop()) {
                    (Some(Yes), _) | (_, Some(Yes)) => Yes,
                    (Some(No), Some(No)) => No,
                    _ => Unknown,
                },
                Op::And(count) => {
                    let operands = stack.len().saturating_sub(count);
                    let of_them = stack.get(operands..).unwrap_or_default();
                    let verdict = if of_them.contains(&No) {
                        No
                    } else if of_them.contains(&Unknown) {
                        Unknown
                    } else {
                        Yes
                    };
                    stack.truncate(operands);
                    verdict
                }
            };
            stack.push(verdict);
        }
        stack.pop().unwrap_or(Yes)
    }
}

fn leaf(
    key: &SearchKey,
    encoding: &'static Encoding,
    now: i64,
    messages: &impl Messages,
) -> Result<Leaf, CompileError> {
    let needle = |text: &[u8]| needle(text, encoding);
    Ok(match key {
        SearchKey::Flag { bit: bits::RECENT, set } => Leaf::Recent(*set),
        SearchKey::Flag { bit, set } => Leaf::Flag { bit: *bit, set: *set },
        SearchKey::Keyword { name, set } => {
            let same = |other: &str| !other.is_empty() && other.eq_ignore_ascii_case(name);
            let bits = messages.keywords().iter().take(32).enumerate();
            let bits = bits.filter(|(_, other)| same(other)).fold(0, |bits, (at, _)| bits | 1 << at);
            Leaf::Keyword { bits, set: *set }
        }
        // Numbers beyond the mailbox find nothing; only FETCH and its like have to refuse them.
        SearchKey::Messages(set) => Leaf::Messages(set.resolve(messages.len())),
        SearchKey::Uids(set) => Leaf::Uids(uids(set, messages)?),
        SearchKey::From(text) => Leaf::Envelope(EnvelopeField::From, needle(text)?),
        SearchKey::To(text) => Leaf::Envelope(EnvelopeField::To, needle(text)?),
        SearchKey::Cc(text) => Leaf::Envelope(EnvelopeField::Cc, needle(text)?),
        SearchKey::Bcc(text) => Leaf::Envelope(EnvelopeField::Bcc, needle(text)?),
        SearchKey::Subject(text) => Leaf::Envelope(EnvelopeField::Subject, needle(text)?),
        SearchKey::Header { name, text } => {
            let needle = needle(text)?;
            match in_envelope(name) {
                // An empty text asks whether the field is there, and an empty field is none in the envelope.
                Some(field) if !needle.is_empty() => Leaf::Envelope(field, needle),
                _ => Leaf::Header(name.clone(), needle),
            }
        }
        SearchKey::Body(text) | SearchKey::Text(text) if text.is_empty() => Leaf::Constant(true),
        SearchKey::Body(text) => Leaf::Body(needle(text)?),
        SearchKey::Text(text) => Leaf::Text(needle(text)?),
        SearchKey::Larger(octets) => match octets.checked_add(1) {
            Some(least) => Leaf::Octets(least..=u64::MAX),
            None => Leaf::Constant(false),
        },
        SearchKey::Smaller(octets) => match octets.checked_sub(1) {
            Some(most) => Leaf::Octets(0..=most),
            None => Leaf::Constant(false),
        },
        SearchKey::Before(date) => Leaf::InternalDate(i64::MIN..=midnight(*date) - 1),
        SearchKey::On(date) => Leaf::InternalDate(midnight(*date)..=midnight(*date) + 86_399),
        SearchKey::Since(date) => Leaf::InternalDate(midnight(*date)..=i64::MAX),
        SearchKey::SentBefore(date) => Leaf::SentDay(i64::MIN..=date.days() - 1),
        SearchKey::SentOn(date) => Leaf::SentDay(date.days()..=date.days()),
        SearchKey::SentSince(date) => Leaf::SentDay(date.days()..=i64::MAX),
        SearchKey::Older(seconds) => Leaf::InternalDate(i64::MIN..=now.saturating_sub(i64::from(*seconds))),
        SearchKey::Younger(seconds) => Leaf::InternalDate(now.saturating_sub(i64::from(*seconds))..=i64::MAX),
        SearchKey::ModSeq(least) => Leaf::ModSeq(*least),
        // Operators are not leaves: the caller has taken them apart.
        SearchKey::All | SearchKey::And(_) | SearchKey::Or(_) | SearchKey::Not(_) => Leaf::Constant(true),
    })
}

/// The first second of a day. Internal dates are shown in UTC, and so they are compared.
fn midnight(date: Date) -> i64 {
    date.days() * 86_400
}

/// UIDs of messages, `*` being the largest.
fn uids(set: &SequenceSet, messages: &impl Messages) -> Result<Vec<RangeInclusive<u32>>, StorageError> {
    let largest = match messages.len() {
        0 => 0,
        len => messages.info(len)?.uid,
    };
    Ok(set.resolve(largest))
}

/// Fields of which the envelope has the whole text, and of which a message has one: clients look for copies by them.
fn in_envelope(name: &[u8]) -> Option<EnvelopeField> {
    if name.eq_ignore_ascii_case(b"Message-ID") {
        Some(EnvelopeField::MessageId)
    } else if name.eq_ignore_ascii_case(b"In-Reply-To") {
        Some(EnvelopeField::InReplyTo)
    } else if name.eq_ignore_ascii_case(b"Subject") {
        Some(EnvelopeField::Subject)
    } else {
        None
    }
}

fn needle(text: &[u8], encoding: &'static Encoding) -> Result<Needle, CompileError> {
    let text = charset::key(encoding, text).ok_or(CompileError::NotInCharset)?;
    let mut folded = casemap::folded(&String::from_utf8_lossy(&text));
    // Lines end with LF in what is searched.
    if folded.contains(&b'\n') {
        folded.retain(|octet| *octet != b'\r');
    }
    Ok(Needle(Finder::new(&folded).into_owned()))
}

/// Whether a number is in one of the ranges, which are ascending.
pub fn is_in<T: PartialOrd>(ranges: &[RangeInclusive<T>], number: T) -> bool {
    let behind = ranges.partition_point(|range| *range.start() <= number);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| *range.end() >= number)
}
