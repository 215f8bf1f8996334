//! SEARCH (RFC 3501 section 6.4.4), with ESEARCH (RFC 4731), WITHIN (RFC 5032) and MODSEQ (RFC 7162 section 3.1.5).
//!
//! ```text
//! program    keys compiled            engine     over the mailbox, cheap questions first
//! messages   what a mailbox answers   selected   the selected mailbox as that
//! matcher    texts in a file          parts, transfer, words   the file, its bodies and its headers as text
//! found      the result
//! ```

pub mod engine;
pub mod found;
pub mod matcher;
pub mod messages;
pub mod parts;
pub mod program;
pub mod selected;
pub mod transfer;
pub mod words;

use crate::charset::{self, BADCHARSET};
use crate::context::no_modseqs;
use crate::grammar::{SearchArguments, SearchKey, SearchReturn};
use crate::reply::{Failure, Reply};
use common::io::Ending;
use common::maildir::StorageError;
use common::number;
use engine::Extent;
use found::Found;
use messages::Messages;
use program::{CompileError, Program};
use std::ops::{ControlFlow, RangeInclusive};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a response goes, piece by piece.
pub type Show<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Ending>;

/// Compiles a key whose texts are in this charset; `None` is US-ASCII.
pub fn compile(
    key: &SearchKey,
    charset: Option<&[u8]>,
    messages: &impl Messages,
) -> Result<Program, Failure> {
    let encoding = charset::encoding(charset.unwrap_or(b"US-ASCII"))
        .ok_or_else(|| Reply::no("This charset is not known here.").with_code(BADCHARSET))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let program = Program::compile(key, encoding, now, messages).map_err(|error| match error {
        CompileError::NotInCharset => Reply::no("The text is not in the charset that was named.").into(),
        CompileError::Storage(error) => Failure::from(error),
    })?;
    match program.has_modseq && !messages.keeps_modseqs() {
        true => Err(no_modseqs()),
        false => Ok(program),
    }
}

/// Searches, and shows the untagged response to the command with this tag. Whether it was about modification sequences.
pub fn answer(
    messages: &mut impl Messages,
    tag: &[u8],
    uid: bool,
    arguments: &SearchArguments,
    show: Show<'_>,
) -> Result<bool, Failure> {
    let program = compile(&arguments.key, arguments.charset.as_deref(), messages)?;
    let extent = match arguments.returns {
        Some(SearchReturn { min: true, max: false, all: false, count: false }) => Extent::First,
        Some(SearchReturn { min: false, max: true, all: false, count: false }) => Extent::Last,
        _ => Extent::All,
    };
    let found = engine::search(messages, &program, extent)?;
    match &arguments.returns {
        None => simple(messages, &found, uid, program.has_modseq, show)?,
        Some(returns) => extended(messages, &found, tag, uid, returns, program.has_modseq, show)?,
    }
    Ok(program.has_modseq)
}

/// `* SEARCH`, RFC 3501 section 7.2.5.
fn simple(
    messages: &impl Messages,
    found: &Found,
    uid: bool,
    with_modseq: bool,
    show: Show<'_>,
) -> Result<(), Failure> {
    show(b"* SEARCH")?;
    numbers(messages, found, uid, |number| {
        show(b" ")?;
        show(number::decimal(u64::from(number), &mut [0; number::LONGEST]))
    })?;
    modseq(messages, found, with_modseq, show)?;
    Ok(show(b"\r\n")?)
}

/// What ends `* SEARCH` and `* SORT` if modification sequences were asked about: the highest of those found (RFC 7162 section
/// 3.1.6).
pub fn modseq(
    messages: &impl Messages,
    found: &Found,
    with_modseq: bool,
    show: Show<'_>,
) -> Result<(), Failure> {
    if with_modseq && !found.is_empty() {
        let modseq = highest_modseq(messages, found.ranges())?;
        show(format!(" (MODSEQ {modseq})").as_bytes())?;
    }
    Ok(())
}

/// `* ESEARCH`, RFC 4731 section 3.1; what there is none of is left out.
fn extended(
    messages: &impl Messages,
    found: &Found,
    tag: &[u8],
    uid: bool,
    returns: &SearchReturn,
    with_modseq: bool,
    show: Show<'_>,
) -> Result<(), Failure> {
    show(b"* ESEARCH (TAG \"")?;
    for octet in tag {
        // A tag may hold what a quoted string has to quote.
        if matches!(octet, b'"' | b'\\') {
            show(b"\\")?;
        }
        show(&[*octet])?;
    }
    show(if uid { b"\") UID" } else { b"\")" })?;
    let number = |msn: u32| if uid { messages.info(msn).map(|info| info.uid) } else { Ok(msn) };
    if let (true, Some(first)) = (returns.min, found.first()) {
        show(format!(" MIN {}", number(first)?).as_bytes())?;
    }
    if let (true, Some(last)) = (returns.max, found.last()) {
        show(format!(" MAX {}", number(last)?).as_bytes())?;
    }
    if returns.all && !found.is_empty() {
        show(b" ALL ")?;
        all(messages, found, uid, show)?;
    }
    if returns.count {
        show(format!(" COUNT {}", found.count()).as_bytes())?;
    }
    if with_modseq && !found.is_empty() {
        // RFC 7162 section 3.1.10: of the messages that are named.
        let modseq = if returns.all || returns.count {
            highest_modseq(messages, found.ranges())?
        } else {
            let first = found.first().filter(|_| returns.min);
            let last = found.last().filter(|_| returns.max);
            highest_modseq(messages, first.into_iter().chain(last).map(|msn| msn..=msn))?
        };
        show(format!(" MODSEQ {modseq}").as_bytes())?;
    }
    Ok(show(b"\r\n")?)
}

/// The numbers as a sequence set.
fn all(messages: &impl Messages, found: &Found, uid: bool, show: Show<'_>) -> Result<(), Failure> {
    let mut pending: Option<(u32, u32)> = None;
    let mut is_first = true;
    let mut range = |(first, last): (u32, u32)| {
        if !std::mem::take(&mut is_first) {
            show(b",")?;
        }
        show(number::decimal(u64::from(first), &mut [0; number::LONGEST]))?;
        if last > first {
            show(b":")?;
            show(number::decimal(u64::from(last), &mut [0; number::LONGEST]))?;
        }
        Ok::<(), Ending>(())
    };
    numbers(messages, found, uid, |number| {
        match &mut pending {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                if let Some(before) = pending.replace((number, number)) {
                    range(before)?;
                }
            }
        }
        Ok(())
    })?;
    if let Some(before) = pending {
        range(before)?;
    }
    Ok(())
}

/// Each message's number as the client counts: its UID or its message sequence number.
fn numbers(
    messages: &impl Messages,
    found: &Found,
    uid: bool,
    mut show: impl FnMut(u32) -> Result<(), Ending>,
) -> Result<(), Failure> {
    if !uid {
        return Ok(found.iter().try_for_each(show)?);
    }
    let mut result = Ok(());
    for range in found.ranges() {
        messages.for_each(range, |_, info| {
            result = show(info.uid);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if result.is_err() {
            break;
        }
    }
    Ok(result?)
}

fn highest_modseq(
    messages: &impl Messages,
    ranges: impl Iterator<Item = RangeInclusive<u32>>,
) -> Result<u64, StorageError> {
    let mut highest = 0;
    for range in ranges {
        messages.for_each(range, |_, info| {
            highest = highest.max(info.modseq);
            ControlFlow::Continue(())
        })?;
    }
    Ok(highest)
}

/// What messages are called in an answer, by their places among those found.
pub fn names(messages: &impl Messages, found: &Found, uid: bool) -> Result<Vec<u32>, Failure> {
    let mut names = Vec::with_capacity(found.count() as usize);
    numbers(messages, found, uid, |number| {
        names.push(number);
        Ok(())
    })?;
    Ok(names)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
