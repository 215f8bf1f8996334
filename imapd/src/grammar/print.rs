//! Writing what a server says: strings, flags, dates, sets and completions, into a `Vec<u8>` that is pushed afterwards.
//!
//! What is printed here comes from messages, mailbox names and clients: whatever it is, it never ends a line or a string
//! early.

use super::date::MONTHS;
use super::{Date, SYSTEM_FLAGS, Tag, is_astring_char};
use crate::reply::{Condition, Reply};
use common::number;
use std::io::Write as _;
use std::ops::RangeInclusive;

/// Octets of the longest quoted string that is written: longer ones are literals, as some clients have lines of 1,000.
pub const QUOTED_MAX: usize = 900;

/// Writes formatted text.
pub fn text(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(arguments);
}

/// A number in decimal. This runs for every message of a mailbox.
pub fn number(out: &mut Vec<u8>, number: u64) {
    digits(out, number, 1);
}

/// The same with so many digits at least.
fn digits(out: &mut Vec<u8>, number: u64, least: usize) {
    let mut room = [0; number::LONGEST];
    let printed = number::decimal(number, &mut room);
    out.extend(std::iter::repeat_n(b'0', least.saturating_sub(printed.len())));
    out.extend_from_slice(printed);
}

/// Whether a quoted string can hold it: RFC 3501 `quoted` has no CR, LF, NUL or octets above 127.
pub fn is_quotable(octets: &[u8]) -> bool {
    octets.len() <= QUOTED_MAX && octets.is_ascii() && memchr::memchr3(b'\r', b'\n', 0, octets).is_none()
}

/// A string: quoted if that can be, else a literal. A literal has no NUL either (RFC 3501 `CHAR8`): it becomes 0x80, which
/// is no character of ours.
pub fn string(out: &mut Vec<u8>, octets: &[u8]) {
    if is_quotable(octets) {
        return quoted(out, octets);
    }
    out.push(b'{');
    number(out, octets.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend(octets.iter().map(|&c| if c == 0 { 0x80 } else { c }));
}

/// A quoted string of octets that [are quotable](is_quotable).
fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    out.reserve(octets.len() + 2);
    out.push(b'"');
    let mut rest = octets;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(plain);
        out.push(b'\\');
        out.extend(special.first());
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A string, or `NIL` for none.
pub fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// An astring: unquoted if that can be. `NIL` is quoted, since some take it for none.
pub fn astring(out: &mut Vec<u8>, octets: &[u8]) {
    let bare = !octets.is_empty()
        && octets.len() <= QUOTED_MAX
        && octets.iter().all(|&c| is_astring_char(c))
        && !octets.eq_ignore_ascii_case(b"NIL");
    if bare { out.extend_from_slice(octets) } else { string(out, octets) }
}

/// A list of flags with its parentheses: the system flags of `bits`, then the keywords.
pub fn flags<'a>(out: &mut Vec<u8>, bits: u8, keywords: impl IntoIterator<Item = &'a str>) {
    out.push(b'(');
    let begins = out.len();
    let system = SYSTEM_FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    for name in system.chain(keywords) {
        if out.len() > begins {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b')');
}

/// A `date-time` with its quotes, in UTC, of seconds since 1970 UTC. Before the year 0 and after 9999 there is none: the
/// nearest is written.
pub fn date_time(out: &mut Vec<u8>, seconds: i64) {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let Date { year, month, day } = Date::from_days(days);
    let month = MONTHS.get(usize::from(month).saturating_sub(1)).unwrap_or(&"Jan");
    let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    out.push(b'"');
    digits(out, u64::from(day), 2);
    out.push(b'-');
    out.extend_from_slice(month.as_bytes());
    out.push(b'-');
    digits(out, u64::from(year), 4);
    for (separator, value) in [(b' ', hours), (b':', minutes), (b':', seconds)] {
        out.push(separator);
        digits(out, value.unsigned_abs(), 2);
    }
    out.extend_from_slice(b" +0000\"");
}

/// A sequence set of ranges; nothing for none.
pub fn ranges(out: &mut Vec<u8>, ranges: impl IntoIterator<Item = (u32, u32)>) {
    let begins = out.len();
    for (first, last) in ranges {
        if out.len() > begins {
            out.push(b',');
        }
        match first == last {
            true => text(out, format_args!("{first}")),
            false => text(out, format_args!("{first}:{last}")),
        }
    }
}

/// A sequence set of message sets.
pub fn set(out: &mut Vec<u8>, set: &[RangeInclusive<u32>]) {
    ranges(out, set.iter().map(|range| (*range.start(), *range.end())));
}

/// Numbers in their order as ranges: those that follow each other are one (RFC 4315 section 3, COPYUID).
pub fn runs(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = (u32, u32)> {
    let mut numbers = numbers.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = numbers.next()?;
        let mut last = first;
        while let Some(next) = numbers.next_if(|&next| last.checked_add(1) == Some(next)) {
            last = next;
        }
        Some((first, last))
    })
}

/// A completion with its tag, or an untagged one, and its line end.
pub fn completion(out: &mut Vec<u8>, tag: Option<&Tag>, reply: &Reply) {
    out.extend_from_slice(tag.map_or(b"*", Tag::as_bytes));
    out.extend_from_slice(match reply.condition {
        Condition::Ok => b" OK ",
        Condition::No => b" NO ",
        Condition::Bad => b" BAD ",
    });
    if !reply.code.is_empty() {
        text(out, format_args!("[{}] ", reply.code));
    }
    text(out, format_args!("{}\r\n", reply.text));
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
