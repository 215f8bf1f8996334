//! The head of a queue file: a text of lines, from the first octet to an empty line; the message follows.
//!
//! ```text
//! tinmail queue 1 0000010a 0000000000000423     octets of the head, octets of the message (hexadecimal)
//! C 00000002 0000001200 001763740000 001763740600 -     attempts, age, last, next, warned
//! T1763740000.123456   when it came, perhaps whole       I...   from whom, for people
//! Ffrom@example.org    reverse-path; empty: null        L...   who had logged in
//! E...  ENVID          HF or HH  RET                    B7, B8, BB  BODY          U  SMTPUTF8
//! R.<TAB>address<TAB>original<TAB>ORCPT<TAB>NOTIFY<TAB>owner<TAB>target...     one for each recipient; the octet after R is its state
//! ```
//!
//! The first two lines have a fixed length, so that sizes, counters and states are overwritten in place. Control
//! characters and `%` are written as `%` and two hexadecimal digits: no value can end its field or line. What is read may be
//! damaged: anything that is not exactly this is an error, but for counters, which start again then.

use super::queued::State;
use super::schedule::Counters;
use crate::address::Address;
use crate::envelope::{Body, Envelope, Notify, Recipient, Ret, Target};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Octets of the longest head: some thousand recipients.
pub const HEAD_MAX: usize = 1 << 20;

const MAGIC: &str = "tinmail queue 1 ";
/// Octets of the first line.
pub const SIZES_LEN: usize = MAGIC.len() + 8 + 1 + 16 + 1;
/// Octets of the second line.
pub const COUNTERS_LEN: usize = 2 + 8 + 1 + 10 + 1 + 12 + 1 + 12 + 1 + 1 + 1;

/// Why octets are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Everything that a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Octets of the head: where the message begins.
    pub length: usize,
    /// Octets of the message.
    pub size: u64,
    /// What changes with each attempt.
    pub counters: Counters,
    /// When the message came.
    pub arrived: SystemTime,
    /// Where it came from, for people.
    pub from: String,
    /// The envelope.
    pub envelope: Envelope,
    /// The state of each recipient and the offset of its octet.
    pub states: Vec<(State, usize)>,
}

/// The first line.
pub fn print_sizes(head: usize, message: u64) -> String {
    format!("{MAGIC}{head:08x} {message:016x}\n")
}

/// The second line.
pub fn print_counters(counters: &Counters) -> String {
    format!(
        "C {:08} {:010} {:012} {:012} {}\n",
        counters.attempts.min(99_999_999),
        counters.age.min(9_999_999_999),
        counters.last.min(999_999_999_999),
        counters.next.min(999_999_999_999),
        if counters.warned { 'w' } else { '-' }
    )
}

/// A head for a message of `size` octets. `Err`: there are too many recipients for one file.
pub fn print(
    envelope: &Envelope,
    counters: &Counters,
    arrived: SystemTime,
    from: &str,
    size: u64,
) -> Result<String, Malformed> {
    let mut text = print_sizes(0, size);
    text.push_str(&print_counters(counters));
    let since = arrived.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let _ = writeln!(text, "T{}.{:06}", since.as_secs(), since.subsec_micros());
    line(&mut text, 'I', from);
    line(&mut text, 'F', &envelope.reverse_path.as_ref().map(Address::to_string).unwrap_or_default());
    if let Some(login) = &envelope.sender_login {
        line(&mut text, 'L', login);
    }
    if let Some(envid) = &envelope.envid {
        line(&mut text, 'E', envid);
    }
    match envelope.ret {
        Some(Ret::Full) => text.push_str("HF\n"),
        Some(Ret::Headers) => text.push_str("HH\n"),
        None => {}
    }
    text.push_str(match envelope.body {
        Body::SevenBit => "B7\n",
        Body::EightBitMime => "B8\n",
        Body::BinaryMime => "BB\n",
    });
    if envelope.smtputf8 {
        text.push_str("U\n");
    }
    for recipient in &envelope.recipients {
        print_recipient(&mut text, recipient);
        if text.len() > HEAD_MAX {
            return Err(Malformed("there are too many recipients"));
        }
    }
    text.push('\n');
    let sizes = print_sizes(text.len(), size);
    text.replace_range(..SIZES_LEN, &sizes);
    Ok(text)
}

fn line(text: &mut String, key: char, value: &str) {
    text.push(key);
    escape(text, value);
    text.push('\n');
}

/// A recipient's line, still pending.
pub fn print_recipient(text: &mut String, recipient: &Recipient) {
    text.push('R');
    text.push(State::Pending.octet().into());
    let mut field = |value: &str| {
        text.push('\t');
        escape(text, value);
    };
    field(&recipient.address.to_string());
    field(&recipient.original.to_string());
    field(&optional(recipient.orcpt.as_deref()));
    field(&notify(recipient.notify));
    field(&recipient.owner.as_ref().map(Address::to_string).unwrap_or_default());
    match &recipient.target {
        Target::Remote(address) => ["remote", &address.to_string()].into_iter().for_each(&mut field),
        Target::Mailbox { user, extension, direct } => {
            let word = if *direct { "direct" } else { "mailbox" };
            [word, user, extension].into_iter().for_each(&mut field);
        }
        Target::File { path, owner } => {
            ["file", &optional(owner.as_deref()), path].into_iter().for_each(&mut field);
        }
        Target::Command { words, owner } => {
            ["command", &optional(owner.as_deref())].into_iter().for_each(&mut field);
            words.iter().for_each(|word| field(word));
        }
        Target::Expanded { list } => {
            ["expanded", if *list { "list" } else { "" }].into_iter().for_each(&mut field);
        }
    }
    text.push('\n');
}

/// A value that may be missing: `=` stands before one that is not.
fn optional(value: Option<&str>) -> String {
    value.map(|value| format!("={value}")).unwrap_or_default()
}

fn notify(notify: Option<Notify>) -> String {
    let Some(notify) = notify else { return String::new() };
    let mut letters = String::from("=");
    for (set, letter) in [(notify.success, 's'), (notify.failure, 'f'), (notify.delay, 'd')] {
        if set {
            letters.push(letter);
        }
    }
    letters
}

pub(crate) fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        if c == '%' || c.is_ascii_control() {
            let _ = write!(text, "%{:02x}", c as u32);
        } else {
            text.push(c);
        }
    }
}

pub(crate) fn unescape(value: &str) -> Result<String, Malformed> {
    let mut text = String::with_capacity(value.len());
    let mut pieces = value.split('%');
    text.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or(Malformed("an escape is cut off"))?;
        let octet = hexadecimal(digits).ok_or(Malformed("an escape has no digits"))?;
        text.push(char::from(u8::try_from(octet).ok().filter(u8::is_ascii).ok_or(Malformed("an escape"))?));
        text.push_str(rest);
    }
    Ok(text)
}

/// Like from_str_radix, without its `+`.
fn hexadecimal(text: &str) -> Option<u64> {
    let clean = !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit());
    clean.then(|| u64::from_str_radix(text, 16).ok())?
}

fn decimal(text: &str) -> Option<u64> {
    let clean = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    clean.then(|| text.parse().ok())?
}

/// Seconds, as they were once written, or seconds and microseconds.
fn duration(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.split_once('.').unwrap_or((text, "000000"));
    let micros = decimal(micros).filter(|_| micros.len() == 6)?;
    Duration::from_secs(decimal(seconds)?).checked_add(Duration::from_micros(micros))
}

/// The first line: octets of head and message.
pub fn parse_sizes(octets: &[u8]) -> Result<(usize, u64), Malformed> {
    let bad = Malformed("it does not begin as a queue file does");
    let line = octets.get(..SIZES_LEN).and_then(|line| std::str::from_utf8(line).ok()).ok_or(bad)?;
    let rest = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix('\n')).ok_or(bad)?;
    let (head, message) = rest.split_once(' ').ok_or(bad)?;
    let head = hexadecimal(head).and_then(|head| usize::try_from(head).ok()).ok_or(bad)?;
    if !(SIZES_LEN + COUNTERS_LEN..=HEAD_MAX + 64).contains(&head) {
        return Err(Malformed("the head has an impossible length"));
    }
    Ok((head, hexadecimal(message).ok_or(bad)?))
}

/// The second line. A damaged one is as good as new: a message is rather tried too often than lost.
pub fn parse_counters(octets: &[u8]) -> Counters {
    fn parse(octets: &[u8]) -> Option<Counters> {
        let line = std::str::from_utf8(octets.get(..COUNTERS_LEN)?).ok()?;
        let mut fields = line.strip_prefix("C ")?.strip_suffix('\n')?.split(' ');
        let mut number = || fields.next().and_then(decimal);
        let (attempts, age, last, next) = (number()?, number()?, number()?, number()?);
        let warned = fields.next()? == "w";
        Some(Counters { attempts: u32::try_from(attempts).ok()?, age, last, next, warned })
    }
    parse(octets).unwrap_or_default()
}

/// Reads a head, whole: exactly the octets that the first line counts.
pub fn parse(octets: &[u8]) -> Result<Head, Malformed> {
    let (length, size) = parse_sizes(octets)?;
    if octets.len() != length {
        return Err(Malformed("the head is cut off"));
    }
    let counters = parse_counters(octets.get(SIZES_LEN..).unwrap_or_default());
    let mut head = Head {
        length,
        size,
        counters,
        arrived: SystemTime::UNIX_EPOCH,
        from: String::new(),
        envelope: Envelope::default(),
        states: Vec::new(),
    };
    let mut at = SIZES_LEN + COUNTERS_LEN;
    let mut has_sender = false;
    loop {
        let rest = octets.get(at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).ok_or(Malformed("the head has no end"))?;
        let line = rest.get(..end).and_then(|line| std::str::from_utf8(line).ok());
        let line = line.ok_or(Malformed("a line is not UTF-8"))?;
        let Some(key) = line.chars().next() else { break };
        let value = line.get(key.len_utf8()..).unwrap_or("");
        match key {
            'F' => {
                has_sender = true;
                head.envelope.reverse_path =
                    if value.is_empty() { None } else { Some(address(&unescape(value)?)?) };
            }
            'R' => {
                let (state, recipient) = parse_recipient(value)?;
                head.states.push((state, at + 1));
                head.envelope.recipients.push(recipient);
            }
            _ => head.option(key, value)?,
        }
        at += end + 1;
    }
    match () {
        () if at + 1 != length => Err(Malformed("something follows the head's end")),
        () if !has_sender => Err(Malformed("the reverse-path is missing")),
        () if head.states.is_empty() => Err(Malformed("there is no recipient")),
        () => Ok(head),
    }
}

impl Head {
    fn option(&mut self, key: char, value: &str) -> Result<(), Malformed> {
        match (key, value) {
            ('T', value) => {
                let since = duration(value).and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
                self.arrived = since.ok_or(Malformed("the time of arrival"))?;
            }
            ('I', value) => self.from = unescape(value)?,
            ('L', value) => self.envelope.sender_login = Some(unescape(value)?),
            ('E', value) => self.envelope.envid = Some(unescape(value)?),
            ('H', "F") => self.envelope.ret = Some(Ret::Full),
            ('H', "H") => self.envelope.ret = Some(Ret::Headers),
            ('B', "7") => self.envelope.body = Body::SevenBit,
            ('B', "8") => self.envelope.body = Body::EightBitMime,
            ('B', "B") => self.envelope.body = Body::BinaryMime,
            ('U', "") => self.envelope.smtputf8 = true,
            _ => return Err(Malformed("a line is of no known kind")),
        }
        Ok(())
    }
}

/// What follows the `R`, without the line's end.
pub fn parse_recipient(value: &str) -> Result<(State, Recipient), Malformed> {
    let bad = Malformed("a recipient is malformed");
    let mut fields = value.split('\t');
    // It is overwritten in place, so it is the octet itself and no escape of it.
    let [octet] = fields.next().unwrap_or_default().as_bytes() else { return Err(bad) };
    let state = State::of_octet(*octet).ok_or(bad)?;
    let mut next = || unescape(fields.next().ok_or(bad)?);
    let (recipient, original) = (address(&next()?)?, address(&next()?)?);
    let orcpt = parse_optional(&next()?)?;
    let notify = match parse_optional(&next()?)? {
        None => None,
        Some(letters) if letters.chars().all(|letter| "sfd".contains(letter)) => Some(Notify {
            success: letters.contains('s'),
            failure: letters.contains('f'),
            delay: letters.contains('d'),
        }),
        Some(_) => return Err(bad),
    };
    let owner = next()?;
    let owner = if owner.is_empty() { None } else { Some(address(&owner)?) };
    let target = match next()?.as_str() {
        "remote" => Target::Remote(address(&next()?)?),
        word @ ("mailbox" | "direct") => {
            Target::Mailbox { user: next()?, extension: next()?, direct: word == "direct" }
        }
        "file" => {
            let whose = parse_optional(&next()?)?;
            Target::File { owner: whose, path: next()? }
        }
        "command" => {
            let whose = parse_optional(&next()?)?;
            let words = fields.by_ref().map(unescape).collect::<Result<Vec<_>, _>>()?;
            Target::Command { words, owner: whose }
        }
        "expanded" => Target::Expanded { list: next()? == "list" },
        _ => return Err(bad),
    };
    match fields.next() {
        None => Ok((state, Recipient { address: recipient, original, orcpt, notify, owner, target })),
        Some(_) => Err(bad),
    }
}

fn parse_optional(value: &str) -> Result<Option<String>, Malformed> {
    match value.strip_prefix('=') {
        Some(value) => Ok(Some(value.to_owned())),
        None if value.is_empty() => Ok(None),
        None => Err(Malformed("an optional value is malformed")),
    }
}

fn address(text: &str) -> Result<Address, Malformed> {
    Address::parse(text.as_bytes()).map_err(|_| Malformed("an address is malformed"))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
