//! A header's fields, and which of them are looked at (RFC 5322 section 2.2, RFC 3501 section 7.4.2).

use std::borrow::Cow;

/// The fields that tell of a message's envelope or of a part's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Name {
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    References,
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentDisposition,
    ContentMd5,
    ContentLanguage,
    ContentLocation,
}

/// Their names, in the order of [`Name`].
const NAMES: [(&[u8], Name); 19] = [
    (b"date", Name::Date),
    (b"subject", Name::Subject),
    (b"from", Name::From),
    (b"sender", Name::Sender),
    (b"reply-to", Name::ReplyTo),
    (b"to", Name::To),
    (b"cc", Name::Cc),
    (b"bcc", Name::Bcc),
    (b"in-reply-to", Name::InReplyTo),
    (b"message-id", Name::MessageId),
    (b"references", Name::References),
    (b"content-type", Name::ContentType),
    (b"content-transfer-encoding", Name::ContentTransferEncoding),
    (b"content-id", Name::ContentId),
    (b"content-description", Name::ContentDescription),
    (b"content-disposition", Name::ContentDisposition),
    (b"content-md5", Name::ContentMd5),
    (b"content-language", Name::ContentLanguage),
    (b"content-location", Name::ContentLocation),
];

impl Name {
    /// The field called so, in any case, if it is one of them.
    pub fn of(name: &[u8]) -> Option<Name> {
        // Most fields of a message are none of them, and begin with another letter.
        if !matches!(name.first()? | 0x20, b'd' | b's' | b'f' | b'r' | b't' | b'c' | b'b' | b'i' | b'm') {
            return None;
        }
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, name)| name)
    }

    /// Whether it tells of a part's content, not of a message.
    pub fn is_content(self) -> bool {
        self as u8 >= Name::ContentType as u8
    }
}

/// One field of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// As written, without blanks before the colon; empty for a line without a colon.
    pub name: &'a [u8],
    /// As written, folds included, without the last line end.
    pub value: &'a [u8],
    /// All of the field, its line ends included.
    pub raw: &'a [u8],
}

/// The fields of a header in memory, up to the blank line. Lines may end with LF or CR LF.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

/// See [`Fields`].
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields(header)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if matches!(self.0, [] | [b'\n', ..] | [b'\r', b'\n', ..]) {
            return None;
        }
        let mut end = 0;
        loop {
            let rest = self.0.get(end..).unwrap_or_default();
            end += memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            if !matches!(self.0.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (raw, rest) = self.0.split_at(end);
        self.0 = rest;
        let (name, value) = split(raw).unwrap_or((b"", raw));
        Some(Field { name, value: without_line_end(value), raw })
    }
}

/// The name and the value of a field, or of its first line. `None` without a colon in the first line, or with nothing before.
pub fn split(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr2(b':', b'\n', field)?;
    let (name, value) = field.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    (!name.is_empty()).then_some((name, value.strip_prefix(b":")?))
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// A field's value on one line: a fold with the blanks around it is one blank, a lone CR too. NUL, which no protocol can carry,
/// is U+FFFD. Blanks at both ends are gone.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
        let (before, behind) = rest.split_at(at);
        if behind.first() == Some(&0) {
            line.extend_from_slice(before);
            line.extend_from_slice("\u{fffd}".as_bytes());
            rest = behind.get(1..).unwrap_or_default();
        } else {
            line.extend_from_slice(before.trim_ascii_end());
            if line.last() != Some(&b' ') {
                line.push(b' ');
            }
            rest = behind.trim_ascii_start();
        }
    }
    line.extend_from_slice(rest);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_in_any_case() {
        for (at, (name, known)) in NAMES.iter().enumerate() {
            assert_eq!(*known as usize, at);
            assert_eq!(Name::of(name), Some(*known));
            assert_eq!(Name::of(&name.to_ascii_uppercase()), Some(*known));
            assert_eq!(Name::of(&name[..name.len() - 1]), None);
        }
        assert_eq!(Name::of(b""), None);
        assert!(Name::ContentLocation.is_content() && !Name::References.is_content());
    }

    #[test]
    fn a_header_in_fields() {
        let header = b"From x y\nA: 1\r\nB :2\n two\r\n\tthree\n: none\nno colon\n C: 3\nD:\n\nE: body\n";
        let got: Vec<(&[u8], &[u8])> = fields(header).map(|field| (field.name, field.value)).collect();
        let want: [(&[u8], &[u8]); 6] = [
            (b"", b"From x y"),
            (b"A", b" 1"),
            (b"B", b"2\n two\r\n\tthree"),
            (b"", b": none"),
            (b"", b"no colon\n C: 3"),
            (b"D", b""),
        ];
        assert_eq!(got, want);
        let raw: Vec<u8> = fields(header).flat_map(|field| field.raw.to_vec()).collect();
        assert_eq!(raw, header[..header.len() - 9]);
    }

    #[test]
    fn values_on_one_line() {
        for (value, want) in [
            (&b" a b "[..], &b"a b"[..]),
            (b"", b""),
            (b" one \n two\r\n\tthree\n  four  \n \n five", b"one two three four five"),
            (b"a\rb\0c\0", "a b\u{fffd}c\u{fffd}".as_bytes()),
            (b"\n a", b"a"),
            (b"a\r\n ", b"a"),
        ] {
            assert_eq!(unfold(value), want, "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn fields_cover_the_header(header in "[a: \\r\\n\\x00]{0,60}") {
            let header = header.as_bytes();
            let mut octets = 0;
            for field in fields(header) {
                prop_assert_eq!(field.raw, &header[octets..octets + field.raw.len()]);
                prop_assert!(!field.raw.is_empty());
                octets += field.raw.len();
                let line = unfold(field.value);
                prop_assert!(!line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
            }
            prop_assert!(matches!(header[octets..], [] | [b'\n', ..] | [b'\r', b'\n', ..]));
        }
    }
}
