//! Charsets by their names in MIME (RFC 2978), and texts in them as UTF-8.
//!
//! The names are a client's or a stranger's. Texts that are not what their charset says are read as far as they can be.

use encoding_rs::{DecoderResult, Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// The response code for a charset that we do not know (RFC 3501 section 7.1): some that we do.
pub const BADCHARSET: &str = "BADCHARSET (UTF-8 US-ASCII ISO-8859-1 ISO-8859-2 ISO-8859-15 WINDOWS-1252 KOI8-R \
                              GB18030 BIG5 EUC-JP ISO-2022-JP SHIFT_JIS EUC-KR)";

/// The charset of this name. US-ASCII is taken for UTF-8, which it is a part of; what is in the name behind a `*` is a
/// language (RFC 2231 section 5).
pub fn encoding(name: &[u8]) -> Option<&'static Encoding> {
    let name = name.split(|&octet| octet == b'*').next().unwrap_or_default().trim_ascii();
    if [&b"us-ascii"[..], b"ascii", b"ansi_x3.4-1968", b"646"]
        .iter()
        .any(|ascii| name.eq_ignore_ascii_case(ascii))
    {
        return Some(UTF_8);
    }
    // Names that are not the web's, but mail's.
    for (alias, name_of) in ALIASES {
        if name.eq_ignore_ascii_case(alias) {
            return Encoding::for_label(name_of);
        }
    }
    // What the web refuses to read is mapped to REPLACEMENT.
    Encoding::for_label(name).filter(|encoding| *encoding != REPLACEMENT)
}

const ALIASES: &[(&[u8], &[u8])] = &[
    (b"cp932", b"shift_jis"),
    (b"cp936", b"gbk"),
    (b"cp949", b"euc-kr"),
    (b"cp950", b"big5"),
    (b"ks_c_5601", b"euc-kr"),
    (b"utf8", b"utf-8"),
    (b"utf-16", b"utf-16be"),
    (b"iso-2022-jp-2", b"iso-2022-jp"),
    (b"iso-2022-jp-ms", b"iso-2022-jp"),
    (b"euc-cn", b"gbk"),
    (b"big5-eten", b"big5"),
    (b"iso-8859-8-e", b"iso-8859-8"),
    (b"koi8-ru", b"koi8-u"),
];

/// Whether octets below 128 may be something else than ASCII in it.
pub fn is_stateful(encoding: &'static Encoding) -> bool {
    !encoding.is_ascii_compatible()
}

/// Whether its characters are made of pairs of octets, any of which may be NUL.
pub fn is_utf16(encoding: &'static Encoding) -> bool {
    [UTF_16BE, UTF_16LE].contains(&encoding)
}

/// `octets` in a charset as UTF-8; what cannot be read becomes U+FFFD.
pub fn to_utf8<'a>(encoding: &'static Encoding, octets: &'a [u8]) -> Cow<'a, str> {
    encoding.decode_without_bom_handling(octets).0
}

/// Octets of a header or a client that name no charset: UTF-8 if they can be (RFC 6532), or else what was usual before.
pub fn guess(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => to_utf8(WINDOWS_1252, octets),
    }
}

/// The text of a search key in UTF-8. `None`: it is not in the charset.
pub fn key(encoding: &'static Encoding, octets: &[u8]) -> Option<Vec<u8>> {
    // What is called UTF-16 may begin with a mark that tells the order of its octets (RFC 2781 section 3.2).
    let mut decoder = match is_utf16(encoding) {
        true => encoding.new_decoder(),
        false => encoding.new_decoder_without_bom_handling(),
    };
    let room = decoder.max_utf8_buffer_length_without_replacement(octets.len())?;
    let mut text = vec![0; room];
    match decoder.decode_to_utf8_without_replacement(octets, &mut text, true) {
        (DecoderResult::InputEmpty, _, written) => {
            text.truncate(written);
            Some(text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            (&b"utf-8"[..], Some("UTF-8")),
            (b" UTF8 ", Some("UTF-8")),
            (b"US-ASCII", Some("UTF-8")),
            (b"ISO-8859-1", Some("windows-1252")),
            (b"iso-8859-1*de", Some("windows-1252")),
            (b"latin2", Some("ISO-8859-2")),
            (b"KOI8-R", Some("KOI8-R")),
            (b"cp932", Some("Shift_JIS")),
            (b"UTF-16", Some("UTF-16BE")),
            (b"iso-2022-kr", None),
            (b"", None),
            (b"x-unknown", None),
            (b"utf-8\0", None),
        ] {
            assert_eq!(encoding(name).map(Encoding::name), want, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_name_in_the_response_code_is_known() {
        let names = BADCHARSET.split(['(', ')']).nth(1).unwrap();
        for name in names.split(' ') {
            assert!(encoding(name.as_bytes()).is_some(), "{name}");
        }
        assert!(!BADCHARSET.contains("  "));
    }

    #[test]
    fn texts() {
        let latin = encoding(b"iso-8859-1").unwrap();
        assert_eq!(key(latin, b"caf\xe9").as_deref(), Some("caf\u{e9}".as_bytes()));
        assert_eq!(key(UTF_8, b"caf\xe9"), None);
        let utf16 = encoding(b"utf-16").unwrap();
        for octets in [&b"\0c\0\xe9"[..], b"\xfe\xff\0c\0\xe9", b"\xff\xfec\0\xe9\0"] {
            assert_eq!(key(utf16, octets).as_deref(), Some("c\u{e9}".as_bytes()));
        }
        assert_eq!(key(utf16, b"\0c\0"), None);
        assert_eq!(
            key(encoding(b"iso-2022-jp").unwrap(), b"\x1b$B%\"\x1b(B").unwrap(),
            "\u{30a2}".as_bytes()
        );
        assert_eq!(guess(b"caf\xe9"), "caf\u{e9}");
        assert_eq!(guess("caf\u{e9}".as_bytes()), "caf\u{e9}");
        assert!(
            is_stateful(encoding(b"utf-16le").unwrap()) && is_stateful(encoding(b"iso-2022-jp").unwrap())
        );
        assert!(!is_stateful(latin) && !is_stateful(encoding(b"gb18030").unwrap()));
    }
}
