//! The header for `-t`: recipients are taken from To, Cc and Bcc, and Bcc is taken out. Of a message that is sent once more
//! (RFC 5322 section 3.6.6) they are those of Resent-To, Resent-Cc and Resent-Bcc: the others have it.
//!
//! The message is the caller's own. Its header is kept in memory and bounded.

use crate::drop::format::RECIPIENTS_MAX;
use common::mime::address::{self, Entry};
use std::ops::ControlFlow;

/// Octets of the longest header with `-t`.
pub const HEADER_MAX: usize = 1 << 20;

/// What a header says of recipients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The header without Bcc.
    pub header: Vec<u8>,
    /// The recipients.
    pub recipients: Vec<String>,
}

/// Where the header ends: behind its empty line.
pub fn end(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = octets.get(at..)?;
        let length = memchr::memchr(b'\n', rest)? + 1;
        let line = rest.get(..length)?;
        if line == b"\r\n" {
            return Some(at + length);
        }
        at += length;
    }
}

/// Reads a header in wire form.
pub fn recipients(header: &[u8]) -> Found {
    let mut found = Found::default();
    let (mut resent, mut is_resent) = (Vec::new(), false);
    for field in fields(header) {
        let name_end = memchr::memchr(b':', field).unwrap_or(0);
        let name = field.get(..name_end).unwrap_or_default().trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let again = is("Resent-To") || is("Resent-Cc") || is("Resent-Bcc");
        is_resent |= again;
        if again || is("To") || is("Cc") || is("Bcc") {
            let value = field.get(name_end + 1..).unwrap_or_default();
            let unfolded: Vec<u8> = value.iter().copied().filter(|c| !matches!(c, b'\r' | b'\n')).collect();
            addresses(&unfolded, if again { &mut resent } else { &mut found.recipients });
        }
        if !is("Bcc") && !is("Resent-Bcc") {
            found.header.extend_from_slice(field);
        }
    }
    if is_resent {
        found.recipients = resent;
    }
    found
}

/// Each field with its continuation lines and line ends.
fn fields(mut header: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut end = 0;
        loop {
            let Some(line) = memchr::memchr(b'\n', header.get(end..)?) else {
                end = header.len();
                break;
            };
            end += line + 1;
            // RFC 5322 section 2.2.3: a line that begins with a blank belongs to the one before.
            if !matches!(header.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, rest) = header.split_at_checked(end).filter(|(field, _)| !field.is_empty())?;
        header = rest;
        Some(field)
    })
}

/// The addresses of a list, as `user@domain` or `user`. If there are more than [`RECIPIENTS_MAX`], one more is found, so that
/// they are refused: none is left out without a word.
pub fn addresses(list: &[u8], into: &mut Vec<String>) {
    address::parse_all(list, &mut |entry| {
        if let Entry::Mailbox { local, domain, .. } = entry {
            let local = quoted(&String::from_utf8_lossy(local));
            let domain = String::from_utf8_lossy(domain);
            let text = if domain.is_empty() { local } else { format!("{local}@{domain}") };
            if !text.is_empty() && !into.contains(&text) {
                into.push(text);
            }
        }
        if into.len() > RECIPIENTS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// The same of an argument. One that is an address and nothing else is taken by its letters, so that a slip is told as one.
pub fn of_argument(list: &str, into: &mut Vec<String>) {
    let bare = list.strip_prefix('<').and_then(|list| list.strip_suffix('>')).unwrap_or(list);
    let is_one = !bare.contains(|c: char| c.is_whitespace() || c.is_control() || "\"(),:;<>[]\\".contains(c));
    match is_one {
        true if into.iter().any(|known| known == bare) || bare.is_empty() => {}
        true => into.push(bare.to_owned()),
        false => addresses(list.as_bytes(), into),
    }
}

/// A local-part with quotes where it needs them.
fn quoted(local: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii();
    if local.chars().all(plain) && !local.starts_with('.') && !local.ends_with('.') && !local.contains("..") {
        return local.to_owned();
    }
    format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_found_and_bcc_is_gone() {
        let header = b"From: a@x\r\nTo: B <b@x>, c\r\nBCC: d@x,\r\n\te@x\r\nSubject: To: f@x\r\nCc : \"G, H\" <\"g h\"@x>,\r\n b@x\r\n\r\n";
        let found = recipients(header);
        assert_eq!(found.recipients, ["b@x", "c", "d@x", "e@x", "\"g h\"@x"]);
        let want =
            "From: a@x\r\nTo: B <b@x>, c\r\nSubject: To: f@x\r\nCc : \"G, H\" <\"g h\"@x>,\r\n b@x\r\n\r\n";
        assert_eq!(String::from_utf8(found.header).unwrap(), want);
    }

    #[test]
    fn arguments() {
        for (argument, want) in [
            ("a@x", &["a@x"][..]),
            ("<a@x>", &["a@x"]),
            ("anna", &["anna"]),
            ("<a@@x>", &["a@@x"]),
            ("a@x@y", &["a@x@y"]),
            ("a..b@x", &["a..b@x"]),
            ("a@x, Bert <b@x>", &["a@x", "b@x"]),
            ("\"a b\"@x", &["\"a b\"@x"]),
            ("a@[192.0.2.1]", &["a@[192.0.2.1]"]),
            ("<>", &[]),
            ("", &[]),
        ] {
            let mut found = Vec::new();
            of_argument(argument, &mut found);
            of_argument(argument, &mut found);
            assert_eq!(found, want, "{argument}");
        }
    }

    #[test]
    fn odd_headers() {
        for (header, recipients_wanted, kept) in [
            ("", &[][..], ""),
            ("\r\n", &[], "\r\n"),
            ("To: a", &["a"], "To: a"),
            ("no field\r\nTo: a\r\n\r\n", &["a"], "no field\r\nTo: a\r\n\r\n"),
            ("Bcc: a\r\n", &["a"], ""),
            ("To: undisclosed-recipients:;\r\n\r\n", &[], "To: undisclosed-recipients:;\r\n\r\n"),
            ("To: x: a@b, c@d;\r\n\r\n", &["a@b", "c@d"], "To: x: a@b, c@d;\r\n\r\n"),
            ("To: a\r\nresent-to: b\r\nCc: c\r\n", &["b"], "To: a\r\nresent-to: b\r\nCc: c\r\n"),
            ("Resent-Bcc: b\r\nTo: a\r\nBcc: c\r\n", &["b"], "To: a\r\n"),
            (
                "To: demo bert@x\r\nCc: Demo <a@x>\r\n",
                &["demo", "bert@x", "a@x"],
                "To: demo bert@x\r\nCc: Demo <a@x>\r\n",
            ),
            ("Resent-From: b\r\nTo: a\r\n", &["a"], "Resent-From: b\r\nTo: a\r\n"),
        ] {
            let found = recipients(header.as_bytes());
            assert_eq!(found.recipients, recipients_wanted, "{header:?}");
            assert_eq!(found.header, kept.as_bytes());
        }
    }

    #[test]
    fn none_of_very_many_is_left_out() {
        let of = |count: usize| {
            let list: Vec<String> = (0..count).map(|n| format!("a{n}@x")).collect();
            recipients(format!("To: g: {};\r\n\r\n", list.join(", ")).as_bytes()).recipients.len()
        };
        // The group is an entry, too.
        assert_eq!(of(RECIPIENTS_MAX), RECIPIENTS_MAX);
        assert_eq!(of(RECIPIENTS_MAX + 2000), RECIPIENTS_MAX + 1);
        // The same one again is none.
        let many = format!("To: {}z\r\n\r\n", "x, ".repeat(RECIPIENTS_MAX + 100));
        assert_eq!(recipients(many.as_bytes()).recipients, ["x", "z"]);
    }

    #[test]
    fn the_end_of_the_header() {
        for (text, want) in [("a: b\r\n\r\nx", Some(8)), ("\r\nx", Some(2)), ("a: b\r\n", None), ("", None)] {
            assert_eq!(end(text.as_bytes()), want);
        }
    }
}
