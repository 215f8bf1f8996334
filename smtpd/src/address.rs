//! Mail addresses (RFC 5321 section 4.1.2), with RFC 6531's UTF-8. What is parsed here comes from strangers.
//!
//! ```text
//! Mailbox        = Local-part "@" ( Domain / address-literal )
//! Local-part     = Dot-string / Quoted-string
//! Domain         = sub-domain *("." sub-domain)
//! ```

use std::fmt::{self, Write as _};

/// Octets of a local-part. RFC 5321 section 4.5.3.1.1 wants at least 64; bounce addresses with another one in them (SRS, VERP) are longer.
pub const LOCAL_PART_MAX: usize = 254;
/// Octets of a domain (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// Octets of a path with its brackets (RFC 5321 section 4.5.3.1.3); source routes count.
pub const PATH_MAX: usize = 256;

/// A mailbox: what stands between the brackets of a path.
///
/// The local-part is kept without quotes and backslashes, the domain as it was written. Two addresses are equal if their
/// local-parts are the same and their domains differ in the case of ASCII letters at most.
#[derive(Debug, Clone)]
pub struct Address {
    local: Box<str>,
    domain: Box<str>,
}

/// Why octets are no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnAddress(pub &'static str);

/// A reverse-path (RFC 5321 section 4.1.2): `None` is the null one, `<>`.
pub type ReversePath = Option<Address>;

impl Address {
    /// Reads a whole text as `Mailbox`.
    pub fn parse(text: &[u8]) -> Result<Address, NotAnAddress> {
        let text = std::str::from_utf8(text).map_err(|_| NotAnAddress("it is not UTF-8"))?;
        let (local, rest) = parse_local_part(text)?;
        let domain = rest.strip_prefix('@').ok_or(NotAnAddress("a domain is missing"))?;
        Address::new(local, domain)
    }

    /// An address of these parts; the local-part without quotes.
    pub fn new(local: impl Into<Box<str>>, domain: &str) -> Result<Address, NotAnAddress> {
        let local = local.into();
        if local.len() > LOCAL_PART_MAX {
            return Err(NotAnAddress("the local-part is too long"));
        }
        if local.chars().any(|c| c.is_control()) {
            return Err(NotAnAddress("the local-part has a control character"));
        }
        if !is_domain(domain) {
            return Err(NotAnAddress("the domain is malformed"));
        }
        Ok(Address { local, domain: domain.into() })
    }

    /// The local-part, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain, or the address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether SMTPUTF8 is not needed to say it.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_ascii()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.local == other.local && self.domain.eq_ignore_ascii_case(&other.domain)
    }
}

impl Eq for Address {}

/// As it stands on the wire, quoted where it has to be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        write!(f, "@{}", self.domain)
    }
}

/// The local-part at the beginning of the text, unquoted, and what follows it.
///
/// A quoted local-part ends at its own quote, so that an `@` in it separates nothing.
pub fn parse_local_part(text: &str) -> Result<(String, &str), NotAnAddress> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_atext(c) && c != '.').unwrap_or(text.len());
        let (local, rest) = text.split_at(end);
        return match is_dot_string(local) {
            true => Ok((local.to_owned(), rest)),
            false => Err(NotAnAddress("the local-part is malformed")),
        };
    };
    let mut local = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((local, chars.as_str())),
            '\\' => match chars.next() {
                Some(escaped) if !escaped.is_control() => local.push(escaped),
                _ => return Err(NotAnAddress("the local-part is malformed")),
            },
            c if c.is_control() => return Err(NotAnAddress("the local-part has a control character")),
            c => local.push(c),
        }
    }
    Err(NotAnAddress("a quote is missing"))
}

/// Whether it is a domain or an address literal.
pub fn is_domain(text: &str) -> bool {
    if text.is_empty() || text.len() > DOMAIN_MAX {
        return false;
    }
    if let Some(literal) = text.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(is_literal);
    }
    text.split('.').all(|label| {
        // RFC 1035 has 63 octets; RFC 6531 section 3.3 adds UTF-8. The underscore is in many a host's name.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (c as u32) >= 0xa0;
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// RFC 5321 section 4.1.3; a tag other than `IPv6` is nobody's address.
fn is_literal(text: &str) -> bool {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            text.get(5..).is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        _ => text.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 section 3.2.3 atext, and RFC 6531 section 3.3 UTF8-non-ascii.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (c as u32) >= 0xa0
}

/// Decodes `\x{...}`. What is malformed stays as it is, all of it.
pub fn from_unitext(text: &str) -> String {
    fn decode(text: &str) -> Option<String> {
        let mut pieces = text.split('\\');
        let mut out = pieces.next()?.to_owned();
        for piece in pieces {
            let (digits, rest) = piece.strip_prefix("x{")?.split_once('}')?;
            let is_point = (2..=6).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
            let point = u32::from_str_radix(digits, 16).ok().filter(|_| is_point)?;
            out.push(char::from_u32(point)?);
            out.push_str(rest);
        }
        Some(out)
    }
    decode(text).unwrap_or_else(|| text.to_owned())
}

/// What is not ASCII as `\x{...}`: RFC 6533 section 3, for places that have no room for UTF-8.
pub fn unitext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:X}}}", c as u32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for (text, local, domain) in [
            ("a@example.org", "a", "example.org"),
            ("a.b+c@Example.ORG", "a.b+c", "Example.ORG"),
            ("\"a b\"@x", "a b", "x"),
            ("\"a\\\"@b\"@x.y", "a\"@b", "x.y"),
            ("\"\"@x", "", "x"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"),
            ("grün@bücher.example", "grün", "bücher.example"),
        ] {
            let address = Address::parse(text.as_bytes()).unwrap();
            assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
            assert_eq!(Address::parse(address.to_string().as_bytes()).unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "a",
            "@x",
            "a@",
            "a@@x",
            "a@x@y",
            ".a@x",
            "a.@x",
            "a..b@x",
            "a b@x",
            "a@x..y",
            "a@-x",
            "a@x-",
            "a@x y",
            "\"a@x",
            "\"a\"b@x",
            "a\"b\"@x",
            "a@[]",
            "a@[1.2.3]",
            "a@[IPv6:x]",
            "a@[tag:1]",
            "a\0@x",
            "a@x\r\n",
            "\"a\r\n\"@x",
            "\"a\\\n\"@x",
            "a@x\0",
            "a<b>@x",
            "a@x>",
            "a,b@x",
            "a:b@x",
            "a(b)@x",
        ] {
            assert!(Address::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Address::parse(b"\xff@x").is_err());
        assert!(Address::parse(format!("{}@x", "a".repeat(LOCAL_PART_MAX + 1)).as_bytes()).is_err());
        assert!(Address::parse(format!("a@{}", "a".repeat(64)).as_bytes()).is_err());
        assert!(Address::parse(format!("a@{}", "a.".repeat(130)).as_bytes()).is_err());
    }

    #[test]
    fn case_matters_in_the_local_part_only() {
        let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
        assert_eq!(address("a@X.org"), address("a@x.ORG"));
        assert_ne!(address("A@x"), address("a@x"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(local in "[ -~äß]{0,20}", domain in "[a-z0-9]{1,9}(\\.[a-z]{1,9}){0,3}") {
            let address = Address::new(local.as_str(), &domain).unwrap();
            let again = Address::parse(address.to_string().as_bytes()).unwrap();
            prop_assert_eq!(again.local(), local.as_str());
            prop_assert_eq!(again, address);
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Address::parse(&text);
        }
    }
}
