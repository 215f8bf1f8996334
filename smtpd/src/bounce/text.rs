//! Making words of strangers harmless for a field of a notification.

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
    fn long_lines_are_folded() {
        let text = format!("Diagnostic-Code: smtp; {}{}", "word ".repeat(40), "y".repeat(2000));
        let out = folded(&text, "    ");
        assert!(out.split("\r\n").all(|line| line.len() <= 998));
        assert!(out.split("\r\n").skip(1).all(|line| line.starts_with("    ")));
        assert_eq!(folded("a  b", " "), "a b");
    }
}
