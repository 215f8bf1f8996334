//! A file in the drop directory: what the sender wants, in lines, an empty line, and the message.
//!
//! ```text
//! tinmail drop 1
//! B7                    or B8: seven or eight bits, at a fixed place because it is known last
//! Fuser@example.org     reverse-path, a name without a domain, or nothing
//! GFull Name            for a From field, if there is none
//! N-sfd E... HF         NOTIFY, ENVID, RET
//! n-sfd O...            NOTIFY and ORCPT of the next recipient alone
//! Ruser                 a recipient, with or without a domain
//! ```
//!
//! The message has CRLF line ends. Whoever reads this believes nothing: every line is bounded, every address is parsed.

use crate::address::{Address, NotAnAddress};
use crate::command::parameters::{is_envid, is_orcpt};
use crate::envelope::{Body, Notify, Ret};
use crate::queue::format::{escape, unescape};
use crate::rules::Rules;
use std::io::{self, BufRead, Read};

/// The first line.
pub const MAGIC: &str = "tinmail drop 1\n";
/// Octets of the longest head.
pub const HEAD_MAX: usize = 1 << 20;
/// Recipients of one file.
pub const RECIPIENTS_MAX: usize = 10_000;

/// What a user wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The reverse-path as it was given; empty is the null one.
    pub sender: String,
    /// The full name for a From field.
    pub full_name: String,
    /// ENVID.
    pub envid: Option<String>,
    /// RET.
    pub ret: Option<Ret>,
    /// NOTIFY, for all recipients.
    pub notify: Option<Notify>,
    /// Eight bits.
    pub body: Body,
    /// Recipients as they were given.
    pub recipients: Vec<String>,
    /// What was asked about each of them; about those at the end that it does not have, nothing.
    pub asked: Vec<Asked>,
}

/// What was asked about one recipient (RFC 3461).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// NOTIFY, in place of that for all.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub orcpt: Option<String>,
}

/// The second line.
pub fn print_body(body: Body) -> &'static str {
    if body == Body::SevenBit { "B7\n" } else { "B8\n" }
}

impl Wanted {
    /// The head.
    pub fn print(&self) -> String {
        let mut text = format!("{MAGIC}{}", print_body(self.body));
        let mut line = |key: char, value: &str| {
            text.push(key);
            escape(&mut text, value);
            text.push('\n');
        };
        line('F', &self.sender);
        line('G', &self.full_name);
        if let Some(envid) = &self.envid {
            line('E', envid);
        }
        match self.ret {
            Some(Ret::Full) => line('H', "F"),
            Some(Ret::Headers) => line('H', "H"),
            None => {}
        }
        if let Some(notify) = self.notify {
            line('N', &letters(notify));
        }
        for (at, recipient) in self.recipients.iter().enumerate() {
            if let Some(notify) = self.asked.get(at).and_then(|asked| asked.notify) {
                line('n', &letters(notify));
            }
            if let Some(orcpt) = self.asked.get(at).and_then(|asked| asked.orcpt.as_deref()) {
                line('O', orcpt);
            }
            line('R', recipient);
        }
        text.push('\n');
        text
    }

    /// Reads a head; the message follows in `from`. `Err(InvalidData)`: it is none.
    pub fn read(from: &mut dyn BufRead) -> io::Result<Wanted> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let (mut wanted, mut left, mut asked) = (Wanted::default(), HEAD_MAX, Asked::default());
        for number in 0.. {
            let mut line = Vec::new();
            let limit = u64::try_from(left).unwrap_or(0);
            Read::take(&mut *from, limit).read_until(b'\n', &mut line)?;
            left = left.saturating_sub(line.len());
            let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
            let line = line.ok_or_else(bad)?;
            if number == 0 {
                if line != MAGIC.trim_end() {
                    return Err(bad());
                }
                continue;
            }
            let mut chars = line.chars();
            let key = chars.next();
            let value = || unescape(chars.as_str()).map_err(|_| bad());
            match key {
                None => break,
                Some('B') => wanted.body = if value()? == "7" { Body::SevenBit } else { Body::EightBitMime },
                Some('F') => wanted.sender = value()?,
                Some('G') => wanted.full_name = value()?,
                Some('E') => wanted.envid = Some(value()?),
                Some('H') => {
                    wanted.ret = Some(if value()? == "F" { Ret::Full } else { Ret::Headers });
                }
                Some('N') => wanted.notify = Some(notify(&value()?)),
                Some('n') => asked.notify = Some(notify(&value()?)),
                Some('O') => asked.orcpt = Some(value()?).filter(|orcpt| is_orcpt(orcpt)),
                Some('R') if wanted.recipients.len() < RECIPIENTS_MAX => {
                    if asked != Asked::default() {
                        wanted.asked.resize(wanted.recipients.len(), Asked::default());
                        wanted.asked.push(std::mem::take(&mut asked));
                    }
                    wanted.recipients.push(value()?);
                }
                Some(_) => return Err(bad()),
            }
        }
        // RFC 3461 section 4.4: xtext is printable ASCII; it will stand in a command.
        if wanted.envid.as_ref().is_some_and(|envid| !is_envid(envid)) || wanted.recipients.is_empty() {
            return Err(bad());
        }
        wanted.full_name.retain(|c| !c.is_control());
        Ok(wanted)
    }
}

fn letters(notify: Notify) -> String {
    let letters = [(notify.success, 's'), (notify.failure, 'f'), (notify.delay, 'd')];
    letters.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect()
}

fn notify(letters: &str) -> Notify {
    let has = |letter| letters.contains(letter);
    Notify { success: has('s'), failure: has('f'), delay: has('d') }
}

/// An address as programs and people give it: `user@domain`, `<user@domain>`, `user`.
pub fn address(text: &str, rules: &Rules) -> Result<Address, NotAnAddress> {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    if let Ok(address) = Address::parse(text.as_bytes()) {
        return Ok(address);
    }
    let (local, rest) = crate::address::parse_local_part(text)?;
    if !rest.is_empty() || local.is_empty() {
        return Err(NotAnAddress("it is malformed"));
    }
    rules.qualified(&local).ok_or(NotAnAddress("it has no domain"))
}
