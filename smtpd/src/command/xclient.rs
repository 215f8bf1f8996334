//! XCLIENT: a host that is listed says who its own client is. The attributes and their words are Postfix's.

use std::net::IpAddr;

/// What was said. `None`: that attribute was not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `NAME`; `Some("unknown")` where it is not known.
    pub name: Option<String>,
    /// `ADDR`; `Some(None)`: `[UNAVAILABLE]`.
    pub address: Option<Option<IpAddr>>,
    /// `PORT`.
    pub port: Option<u16>,
    /// `HELO`.
    pub helo: Option<String>,
    /// `PROTO`: ESMTP or not.
    pub esmtp: Option<bool>,
    /// `LOGIN`; `Some("")`: nobody.
    pub login: Option<String>,
    /// `DESTADDR`.
    pub local_address: Option<IpAddr>,
    /// `DESTPORT`.
    pub local_port: Option<u16>,
}

/// The attributes, for EHLO.
pub const NAMES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

impl Attributes {
    /// `NAME=value NAME=value`: at least one, none twice, values in xtext.
    pub(super) fn parse(text: &str) -> Option<Attributes> {
        let mut attributes = Attributes::default();
        let mut seen = Vec::new();
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=')?;
            let name = name.to_ascii_uppercase();
            if seen.contains(&name) {
                return None;
            }
            attributes.take(&name, &decoded(value)?)?;
            seen.push(name);
        }
        (!seen.is_empty()).then_some(attributes)
    }

    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        let is_known =
            !value.eq_ignore_ascii_case("[UNAVAILABLE]") && !value.eq_ignore_ascii_case("[TEMPUNAVAIL]");
        let known = is_known.then_some(value);
        match name {
            "NAME" => self.name = Some(known.unwrap_or("unknown").to_owned()),
            "ADDR" => {
                let parse = |text: &str| -> Option<IpAddr> {
                    let tagged = text.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPV6:"));
                    if tagged { text.get(5..)?.parse().ok() } else { text.parse().ok() }
                };
                self.address = Some(match known {
                    None => None,
                    Some(text) => Some(parse(text)?),
                });
            }
            "PORT" => self.port = Some(known.map_or(Some(0), |text| text.parse().ok())?),
            "HELO" => self.helo = Some(known.unwrap_or("").to_owned()),
            "PROTO" => match value.to_ascii_uppercase().as_str() {
                "SMTP" => self.esmtp = Some(false),
                "ESMTP" => self.esmtp = Some(true),
                _ => return None,
            },
            "LOGIN" => self.login = Some(known.unwrap_or("").to_owned()),
            "DESTADDR" => self.local_address = known.and_then(|text| text.parse().ok()),
            "DESTPORT" => self.local_port = known.and_then(|text| text.parse().ok()),
            _ => return None,
        }
        Some(())
    }
}

/// xtext, without control characters.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(c) = octets.next() {
        match c {
            b'+' => {
                let digit = |c: u8| char::from(c).to_digit(16);
                let (high, low) = (digit(octets.next()?)?, digit(octets.next()?)?);
                out.push(u8::try_from(16 * high + low).ok()?);
            }
            _ => out.push(c),
        }
    }
    let text = String::from_utf8(out).ok()?;
    (!text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control)).then_some(text)
}
