//! Reading what we have printed: strings, NIL, atoms and lists of them, as in an ENVELOPE or a BODYSTRUCTURE.
//!
//! The text is a digest's and may be damaged; it is read as far as it makes sense. Values are slices of it; nothing is
//! allocated but for a string with quoted specials in it.

use std::borrow::Cow;

/// The values in a row of them, each as printed.
#[derive(Clone, Debug)]
pub struct Values<'a>(&'a [u8]);

/// The values in the list that `text` is. Nothing, if it is none: `NIL` is a list without values.
pub fn list(text: &[u8]) -> Values<'_> {
    Values(text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")")).unwrap_or_default())
}

impl<'a> Values<'a> {
    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.strip_prefix(b" ").unwrap_or(self.0);
        let end = match text.first()? {
            b'(' => list_end(text),
            _ => scalar_end(text),
        };
        let (value, rest) = text.split_at_checked(end.max(1)).unwrap_or((text, b""));
        self.0 = rest;
        Some(value)
    }
}

/// Where the list at the start of `text` ends.
fn list_end(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0usize, 0usize);
    while let Some(rest) = text.get(at..) {
        match rest.first() {
            None => break,
            Some(b'(') => (at, depth) = (at + 1, depth + 1),
            Some(b')') => {
                (at, depth) = (at + 1, depth.saturating_sub(1));
                if depth == 0 {
                    break;
                }
            }
            Some(b' ') => at += 1,
            Some(_) => at += scalar_end(rest).max(1),
        }
    }
    at.min(text.len())
}

/// Where the string, number or atom at the start of `text` ends.
fn scalar_end(text: &[u8]) -> usize {
    match text.first() {
        Some(b'"') => {
            let mut at = 1;
            while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                match text.get(at + found) {
                    Some(b'"') => return at + found + 1,
                    _ => at += found + 2,
                }
            }
            text.len()
        }
        Some(b'{') => literal(text).map_or(text.len(), |(start, length)| start.saturating_add(length)),
        _ => text.iter().position(|octet| matches!(octet, b' ' | b'(' | b')')).unwrap_or(text.len()),
    }
}

/// Where a literal's octets start, and how many they are.
fn literal(text: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memchr(b'}', text)?;
    let digits = std::str::from_utf8(text.get(1..end)?).ok()?;
    let length = digits.parse().ok()?;
    (text.get(end + 1..end + 3)? == b"\r\n").then_some((end + 3, length))
}

/// The octets of an nstring; `None` for NIL and what is none.
pub fn nstring(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    match value.first()? {
        b'"' => {
            let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            if memchr::memchr(b'\\', inner).is_none() {
                return Some(Cow::Borrowed(inner));
            }
            let mut octets = Vec::with_capacity(inner.len());
            let mut rest = inner.iter();
            while let Some(&octet) = rest.next() {
                octets.push(if octet == b'\\' { rest.next().copied().unwrap_or(octet) } else { octet });
            }
            Some(Cow::Owned(octets))
        }
        b'{' => {
            let (start, length) = literal(value)?;
            Some(Cow::Borrowed(value.get(start..start.checked_add(length)?)?))
        }
        _ => None,
    }
}

/// An address of the ENVELOPE (RFC 3501 section 7.4.2): its four values as printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name, encoded words untouched.
    pub name: &'a [u8],
    /// The obsolete route.
    pub route: &'a [u8],
    /// The local part; in the row that starts a group its name, NIL in the one that ends it.
    pub mailbox: &'a [u8],
    /// The domain; NIL in the rows that start and end a group.
    pub host: &'a [u8],
}

/// The addresses of one of the envelope's fields.
pub fn addresses(field: &[u8]) -> impl Iterator<Item = Address<'_>> {
    list(field).filter_map(|row| {
        let mut values = list(row);
        Some(Address {
            name: values.next()?,
            route: values.next()?,
            mailbox: values.next()?,
            host: values.next()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_told_apart() {
        for (text, want) in [
            (&b"NIL"[..], &[][..]),
            (b"()", &[]),
            (b"(NIL 12 \"a b\")", &[&b"NIL"[..], b"12", b"\"a b\""]),
            (
                b"(\"a\\\"b\" {3}\r\n)\"( (a (b \")\")) \\Seen)",
                &[b"\"a\\\"b\"", b"{3}\r\n)\"(", b"(a (b \")\"))", b"\\Seen"],
            ),
            (b"((NIL)(NIL)\"x\")", &[b"(NIL)", b"(NIL)", b"\"x\""]),
            (b"(\"unterminated)", &[b"\"unterminated"]),
            (b"({99}\r\nab)", &[b"{99}\r\nab"]),
            (b"({x}ab)", &[b"{x}ab"]),
            (b"((a b)", &[b"(a b"]),
        ] {
            let got: Vec<&[u8]> = list(text).collect();
            assert_eq!(got, want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn strings() {
        for (value, want) in [
            (&b"NIL"[..], None),
            (b"\"\"", Some(&b""[..])),
            (b"\"a\\\\\\\"\"", Some(b"a\\\"")),
            (b"{2}\r\n\"x", Some(b"\"x")),
            (b"{3}\r\n\"x", None),
            (b"{18446744073709551615}\r\nx", None),
            (b"12", None),
            (b"", None),
        ] {
            assert_eq!(nstring(value).as_deref(), want, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn rows_of_addresses() {
        let field = b"((\"A\" NIL \"a\" \"b\")(NIL NIL \"group\" NIL)(NIL NIL NIL NIL)(\"short\"))";
        let rows: Vec<Address> = addresses(field).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].name, rows[0].host, rows[1].host), (&b"\"A\""[..], &b"\"b\""[..], &b"NIL"[..]));
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(text in "[(){}\"\\\\ 0-9aN\r\n]{0,60}") {
            let mut octets = 0;
            for value in list(text.as_bytes()) {
                prop_assert!(!value.is_empty());
                octets += value.len();
                nstring(value);
                addresses(value).for_each(drop);
            }
            prop_assert!(octets <= text.len());
        }
    }
}
