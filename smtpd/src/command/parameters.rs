//! The parameters of MAIL and RCPT: each extension's, strictly, and nothing that is not offered.

use super::SyntaxError;
use crate::envelope::{Body, Notify, Ret};

/// Octets of ENVID (RFC 3461 section 4.4).
const ENVID_MAX: usize = 100;
/// Octets of ORCPT (RFC 3461 section 4.2).
const ORCPT_MAX: usize = 500;

/// Behind MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailParameters<'a> {
    /// RFC 1870: octets, as the client estimates them.
    pub size: Option<u64>,
    /// RFC 6152, RFC 3030; `None`: it was not given.
    pub body: Option<Body>,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461 section 4.3.
    pub ret: Option<Ret>,
    /// RFC 3461 section 4.4, xtext.
    pub envid: Option<&'a str>,
    /// RFC 4954 section 5, xtext or `<>`.
    pub auth: Option<&'a str>,
}

/// Behind RCPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RcptParameters<'a> {
    /// RFC 3461 section 4.1.
    pub notify: Option<Notify>,
    /// RFC 3461 section 4.2: `addr-type;xtext`.
    pub orcpt: Option<&'a str>,
}

impl<'a> MailParameters<'a> {
    pub(super) fn parse(text: &'a str) -> Result<MailParameters<'a>, SyntaxError> {
        let mut parameters = MailParameters::default();
        let p = &mut parameters;
        each(text, &OF_MAIL, |name, value| match name {
            "SIZE" => once(&mut p.size, value.and_then(decimal)),
            "BODY" => once(&mut p.body, value.and_then(body)),
            "SMTPUTF8" => match value {
                None if !p.smtputf8 => {
                    p.smtputf8 = true;
                    Some(())
                }
                _ => None,
            },
            "RET" => once(&mut p.ret, value.and_then(ret)),
            "ENVID" => once(&mut p.envid, value.filter(|envid| is_envid(envid))),
            // RFC 4954 section 5: 500 octets.
            "AUTH" => once(&mut p.auth, value.filter(|auth| *auth == "<>" || is_xtext(auth, ORCPT_MAX))),
            _ => None,
        })?;
        Ok(parameters)
    }
}

impl<'a> RcptParameters<'a> {
    pub(super) fn parse(text: &'a str) -> Result<RcptParameters<'a>, SyntaxError> {
        let mut parameters = RcptParameters::default();
        let p = &mut parameters;
        each(text, &OF_RCPT, |name, value| match name {
            "NOTIFY" => once(&mut p.notify, value.and_then(notify)),
            "ORCPT" => once(&mut p.orcpt, value.filter(|orcpt| is_orcpt(orcpt))),
            _ => None,
        })?;
        Ok(parameters)
    }
}

/// The names: an error names the parameter, and never the client's own words.
const OF_MAIL: [&str; 6] = ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"];
const OF_RCPT: [&str; 2] = ["NOTIFY", "ORCPT"];

/// Hands each parameter to `take`, which says `None` to a value that it does not take.
fn each<'a>(
    text: &'a str,
    names: &[&'static str],
    mut take: impl FnMut(&str, Option<&'a str>) -> Option<()>,
) -> Result<(), SyntaxError> {
    // A parameter has a blank before it, the first one too.
    if !text.is_empty() && !text.starts_with([' ', '\t']) {
        return Err(SyntaxError::UnknownParameter);
    }
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            None => (word, None),
            Some((name, value)) => (name, Some(value)),
        };
        let known = names.iter().find(|known| known.eq_ignore_ascii_case(name));
        let known = *known.ok_or(SyntaxError::UnknownParameter)?;
        // RFC 5321 section 4.1.2: esmtp-value is at least one character, without "=".
        if value.is_some_and(|value| value.is_empty() || value.contains('=') && known != "AUTH") {
            return Err(SyntaxError::Parameter(known));
        }
        take(known, value).ok_or(SyntaxError::Parameter(known))?;
    }
    Ok(())
}

/// RFC 5321 section 4.1.1.11 lets nobody say a thing twice.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value?);
    Some(())
}

/// A decimal number of at most 20 digits (RFC 1870 section 3). One that does not fit is larger than everything.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let is_number = (1..=20).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn body(text: &str) -> Option<Body> {
    let known =
        [("7BIT", Body::SevenBit), ("8BITMIME", Body::EightBitMime), ("BINARYMIME", Body::BinaryMime)];
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, body)| body)
}

fn ret(text: &str) -> Option<Ret> {
    let known = [("FULL", Ret::Full), ("HDRS", Ret::Headers)];
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, ret)| ret)
}

/// RFC 3461 section 4.1: NEVER, or a list without repetition.
fn notify(text: &str) -> Option<Notify> {
    if text.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in text.split(',') {
        let known = [
            ("SUCCESS", &mut notify.success),
            ("FAILURE", &mut notify.failure),
            ("DELAY", &mut notify.delay),
        ];
        let (_, flag) = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
        if std::mem::replace(flag, true) {
            return None;
        }
    }
    Some(notify)
}

/// RFC 3461 section 4.4: an ENVID.
pub(crate) fn is_envid(text: &str) -> bool {
    is_xtext(text, ENVID_MAX)
}

/// RFC 3461 section 4: `!` to `~` without `+` and `=`, or `+` and two upper-case hexadecimal digits.
///
/// What is encoded may not be a control character: this text is kept in files and sent on.
fn is_xtext(text: &str, max: usize) -> bool {
    let mut octets = text.bytes();
    let digit =
        |c: Option<u8>| c.and_then(|c| char::from(c).to_digit(16).filter(|_| !c.is_ascii_lowercase()));
    while let Some(c) = octets.next() {
        match c {
            b'+' => match (digit(octets.next()), digit(octets.next())) {
                (Some(high), Some(low)) if (0x20..0x7f).contains(&(16 * high + low)) => {}
                _ => return false,
            },
            b'!'..=b'~' if c != b'=' => {}
            _ => return false,
        }
    }
    !text.is_empty() && text.len() <= max
}

/// RFC 3461 section 4.2: `rfc822;xtext`, RFC 6533 section 3: `utf-8;` and UTF-8 as it is or as `\x{...}`.
pub(crate) fn is_orcpt(text: &str) -> bool {
    let Some((kind, address)) = text.split_once(';') else { return false };
    if text.len() > ORCPT_MAX || kind.is_empty() {
        return false;
    }
    if kind.eq_ignore_ascii_case("utf-8") {
        let allowed = |c: char| ('!'..='~').contains(&c) && c != '=' && c != '+' || (c as u32) >= 0xa0;
        return !address.is_empty() && address.chars().all(allowed);
    }
    kind.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') && is_xtext(address, ORCPT_MAX)
}
