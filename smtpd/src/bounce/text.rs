//! Making words of strangers harmless for a field of a notification.

use crate::address::{from_unitext, unitext};
use std::net::IpAddr;

/// Octets of a field, after which the rest is left out.
const FIELD_MAX: usize = 1500;
/// Characters after which a line is folded.
const FOLD: usize = 76;

/// Without control characters; without `utf8` in ASCII; not longer than a field may be.
pub fn clean(text: &str, utf8: bool) -> String {
    let mut out = String::with_capacity(text.len().min(FIELD_MAX));
    for c in text.chars() {
        if out.len() >= FIELD_MAX {
            out.push_str("...");
            break;
        }
        out.push(match c {
            '\t' => ' ',
            c if c.is_control() || !(utf8 || c.is_ascii()) => '?',
            c => c,
        });
    }
    out
}

/// Decodes xtext (RFC 3461 section 4): `+` and two hexadecimal digits. What is malformed stays as it is.
pub fn xtext(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits
            .filter(|digits| octet == b'+' && digits.bytes().all(|c| c.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(decoded) => {
                octets.push(decoded);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(octet);
                rest = behind;
            }
        }
    }
    String::from_utf8(octets).unwrap_or_else(|_| text.to_owned())
}

/// The address of ORCPT as its sender had it: xtext, or, of the type of UTF-8 addresses, unitext (RFC 6533 section 3), which
/// is kept where the report has no room for UTF-8.
pub fn original(kind: &str, address: &str, utf8: bool) -> String {
    match (kind.eq_ignore_ascii_case("utf-8"), utf8) {
        (false, _) => xtext(address),
        (true, true) => from_unitext(address),
        (true, false) => unitext(address),
    }
}

/// The name of a host in `name[address]:port`; one that has none is a domain literal (RFC 3461 section 9.3).
pub fn host_name(relay: &str) -> String {
    let name = relay.rsplit_once('[').map_or(relay, |(name, _)| name);
    match name.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => name.to_owned(),
    }
}

/// Broken at blanks into lines, all but the first with an indent. Words that are longer than a line are broken as well
/// before a line gets longer than RFC 5322 allows.
pub fn folded(text: &str, indent: &str) -> String {
    const LONGEST: usize = 900;
    let mut out = String::with_capacity(text.len() + text.len() / FOLD * (indent.len() + 2));
    let mut length = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if length > 0 && length + 1 + word.len() > FOLD {
            out.push_str("\r\n");
            out.push_str(indent);
            length = indent.len();
        } else if length > 0 {
            out.push(' ');
            length += 1;
        }
        for c in word.chars() {
            if length + c.len_utf8() > LONGEST {
                out.push_str("\r\n");
                out.push_str(indent);
                length = indent.len();
            }
            out.push(c);
            length += c.len_utf8();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_strangers_end_no_line() {
        for (text, utf8, want) in [
            ("a\r\nBcc: b\0", true, "a??Bcc: b?"),
            ("\u{85}\u{9b}ä\t", true, "??ä "),
            ("ä", false, "?"),
            ("550 5.1.1 <x>: no", false, "550 5.1.1 <x>: no"),
        ] {
            assert_eq!(clean(text, utf8), want);
        }
        assert_eq!(clean(&"x".repeat(5000), true).len(), FIELD_MAX + 3);
    }

    #[test]
    fn xtext_is_decoded_where_it_is_one() {
        for (text, want) in [
            ("abc", "abc"),
            ("a+2Bb+3D", "a+b="),
            ("+2", "+2"),
            ("+", "+"),
            ("+GG", "+GG"),
            ("++2B", "++"),
            ("+C3+A4", "ä"),
            ("+FF", "+FF"),
            ("+0D+0Ax", "\r\nx"),
        ] {
            assert_eq!(xtext(text), want, "{text}");
        }
    }

    #[test]
    fn addresses_in_utf8_are_written_as_the_report_can_have_them() {
        for (kind, address, utf8, want) in [
            ("rfc822", "a+2Bb@x", true, "a+b@x"),
            ("utf-8", r"gr\x{FC}n@x", true, "grün@x"),
            ("UTF-8", r"gr\x{FC}n@x", false, r"gr\x{FC}n@x"),
            ("utf-8", "grün@x", false, r"gr\x{FC}n@x"),
            ("utf-8", r"a\x{2B}\x{5C}b\x{1F40C}", true, "a+\\b\u{1f40c}"),
            ("utf-8", r"\x{D800}", true, r"\x{D800}"),
            ("utf-8", r"\x{FC}\x{F", true, r"\x{FC}\x{F"),
            ("utf-8", r"\y", true, r"\y"),
        ] {
            assert_eq!(original(kind, address, utf8), want, "{kind};{address}");
        }
    }

    #[test]
    fn hosts_are_named() {
        for (relay, want) in [
            ("mx.example[192.0.2.1]:25", "mx.example"),
            ("mx.example", "mx.example"),
            ("192.0.2.1[192.0.2.1]:25", "[192.0.2.1]"),
            ("::1[::1]:25", "[IPv6:::1]"),
            ("[192.0.2.1][192.0.2.1]:25", "[192.0.2.1]"),
        ] {
            assert_eq!(host_name(relay), want);
        }
    }

    #[test]
    fn long_lines_are_folded() {
        let text = format!("Diagnostic-Code: smtp; {}{}", "word ".repeat(40), "y".repeat(2000));
        let out = folded(&text, "    ");
        assert!(out.split("\r\n").all(|line| line.len() <= 998));
        assert!(out.split("\r\n").skip(1).all(|line| line.starts_with("    ")));
        assert_eq!(folded("a  b", " "), "a b");
    }
}
