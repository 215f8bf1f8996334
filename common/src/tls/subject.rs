//! Whom a certificate names: its subject (RFC 5280 4.1.2.6), for a user name and for the log.
//!
//! A user name is only taken of a certificate that was verified; the log also names others, so the octets are hostile.

use super::der::{
    Der, IA5_STRING, INTEGER, OID, PRINTABLE_STRING, SEQUENCE, SET, TELETEX_STRING, UTF8_STRING, VERSION,
};
use crate::config::keyword::CertUsernameField;
use std::fmt;

/// Octets of a subject that are shown at most.
const SHOWN_MAX: usize = 200;

/// The attributes that have a name here, in DER without tag and length, as OpenSSL shows them.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (EMAIL_ADDRESS, "emailAddress"),
    (USER_ID, "UID"),
];
/// 1.2.840.113549.1.9.1
const EMAIL_ADDRESS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
/// 0.9.2342.19200300.100.1.1
const USER_ID: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1];

/// Why there is no user name in a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoName {
    /// It does not have the attribute.
    Missing,
    /// It has it more than once: nobody could say which counts.
    Ambiguous,
    /// It is no text: an encoding that nobody uses, or a NUL, with which somebody wants to be taken for somebody else.
    Text,
}

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoName::Missing => "not in the subject",
            NoName::Ambiguous => "more than once in the subject",
            NoName::Text => "not a text",
        })
    }
}

/// The subject of a certificate in DER, as it stands there with its tag left away.
pub fn of(certificate: &[u8]) -> Option<&[u8]> {
    let mut fields = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    let _version = fields.take(VERSION);
    let _serial = fields.take(INTEGER)?;
    let _signature_issuer_validity = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
    fields.take(SEQUENCE)
}

/// The one value of an attribute.
pub fn user_name(certificate: &[u8], field: CertUsernameField) -> Result<String, NoName> {
    let oid: &[u8] = match field {
        CertUsernameField::CommonName => &[0x55, 4, 3],
        CertUsernameField::EmailAddress => EMAIL_ADDRESS,
        CertUsernameField::UserId => USER_ID,
        CertUsernameField::SerialNumber => &[0x55, 4, 5],
        CertUsernameField::X500UniqueIdentifier => &[0x55, 4, 45],
    };
    let mut found = None;
    for attribute in Attributes::of(of(certificate).unwrap_or_default()) {
        if attribute.oid == oid && found.replace(attribute).is_some() {
            return Err(NoName::Ambiguous);
        }
    }
    let text = found.ok_or(NoName::Missing)?.text().ok_or(NoName::Text)?;
    if text.is_empty() || text.contains('\0') { Err(NoName::Text) } else { Ok(text.to_owned()) }
}

/// The whole subject in one line, as OpenSSL and Dovecot's log show it: `/O=Example/CN=anna`. Not escaped.
pub fn shown(certificate: &[u8]) -> String {
    let mut line = String::new();
    for attribute in Attributes::of(of(certificate).unwrap_or_default()) {
        let name = NAMES.iter().find(|(oid, _)| *oid == attribute.oid).map(|(_, name)| *name);
        let (Some(name), Some(text)) = (name, attribute.text()) else { continue };
        if line.len() + name.len() + text.len() > SHOWN_MAX {
            break;
        }
        line.extend(["/", name, "=", text]);
    }
    if line.is_empty() { "no subject".to_owned() } else { line }
}

/// One attribute of a name.
#[derive(Clone, Copy)]
struct Attribute<'a> {
    oid: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Its value, where it is text in an encoding that is UTF-8 or a part of it.
    fn text(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.value).ok()?;
        match self.tag {
            UTF8_STRING => Some(text),
            PRINTABLE_STRING | IA5_STRING | TELETEX_STRING => text.is_ascii().then_some(text),
            _ => None,
        }
    }
}

/// The attributes of a name in their order, up to the first damage.
struct Attributes<'a> {
    sets: Der<'a>,
    set: Der<'a>,
}

impl<'a> Attributes<'a> {
    fn of(name: &'a [u8]) -> Attributes<'a> {
        Attributes { sets: Der(name), set: Der(&[]) }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        while self.set.tag().is_none() {
            self.set = Der(self.sets.take(SET)?);
        }
        let mut attribute = Der(self.set.take(SEQUENCE)?);
        let oid = attribute.take(OID)?;
        let tag = attribute.tag()?;
        Some(Attribute { oid, tag, value: attribute.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        assert!(content.len() < 0x80);
        [&[tag, content.len() as u8], &*content].concat()
    }

    /// An attribute in a set of its own.
    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        der(SET, &[&der(SEQUENCE, &[&der(OID, &[oid]), &der(tag, &[value])])])
    }

    fn certificate(subject: &[Vec<u8>]) -> Vec<u8> {
        let empty = der(SEQUENCE, &[]);
        let subject = der(SEQUENCE, &[&subject.concat()]);
        der(SEQUENCE, &[&der(SEQUENCE, &[&der(INTEGER, &[&[7]]), &empty, &empty, &empty, &subject])])
    }

    const CN: &[u8] = &[0x55, 4, 3];

    #[test]
    fn names_of_subjects() {
        let cn = |tag, value| certificate(&[attribute(CN, tag, value)]);
        let two_in_one_set = der(
            SET,
            &[
                &der(SEQUENCE, &[&der(OID, &[USER_ID]), &der(UTF8_STRING, &[b"a7"])]),
                &der(SEQUENCE, &[&der(OID, &[CN]), &der(UTF8_STRING, &[b"Anna"])]),
            ],
        );
        let email = attribute(EMAIL_ADDRESS, IA5_STRING, b"anna@example.org");
        let rows = [
            (cn(UTF8_STRING, b"anna"), CertUsernameField::CommonName, Ok("anna")),
            (cn(UTF8_STRING, "\u{e4}nna".as_bytes()), CertUsernameField::CommonName, Ok("\u{e4}nna")),
            (cn(PRINTABLE_STRING, b"anna"), CertUsernameField::CommonName, Ok("anna")),
            (cn(TELETEX_STRING, b"\xe4nna"), CertUsernameField::CommonName, Err(NoName::Text)),
            (cn(PRINTABLE_STRING, "\u{e4}".as_bytes()), CertUsernameField::CommonName, Err(NoName::Text)),
            // BMPString.
            (cn(0x1e, b"\0a\0n"), CertUsernameField::CommonName, Err(NoName::Text)),
            (cn(UTF8_STRING, b"anna\0.example"), CertUsernameField::CommonName, Err(NoName::Text)),
            (cn(UTF8_STRING, b""), CertUsernameField::CommonName, Err(NoName::Text)),
            (cn(UTF8_STRING, b"anna"), CertUsernameField::UserId, Err(NoName::Missing)),
            (
                certificate(&[attribute(CN, UTF8_STRING, b"anna"), attribute(CN, UTF8_STRING, b"bob")]),
                CertUsernameField::CommonName,
                Err(NoName::Ambiguous),
            ),
            (certificate(std::slice::from_ref(&two_in_one_set)), CertUsernameField::UserId, Ok("a7")),
            (certificate(&[two_in_one_set]), CertUsernameField::CommonName, Ok("Anna")),
            (certificate(&[email]), CertUsernameField::EmailAddress, Ok("anna@example.org")),
            (
                certificate(&[attribute(&[0x55, 4, 45], PRINTABLE_STRING, b"x1")]),
                CertUsernameField::X500UniqueIdentifier,
                Ok("x1"),
            ),
            (
                certificate(&[attribute(&[0x55, 4, 5], PRINTABLE_STRING, b"42")]),
                CertUsernameField::SerialNumber,
                Ok("42"),
            ),
            (Vec::new(), CertUsernameField::CommonName, Err(NoName::Missing)),
        ];
        for (certificate, field, want) in rows {
            assert_eq!(user_name(&certificate, field), want.map(str::to_owned), "{certificate:?}");
        }
    }

    #[test]
    fn subjects_are_shown_as_openssl_shows_them() {
        let subject =
            [attribute(&[0x55, 4, 10], UTF8_STRING, b"Example"), attribute(CN, UTF8_STRING, b"anna")];
        assert_eq!(shown(&certificate(&subject)), "/O=Example/CN=anna");
        assert_eq!(shown(&certificate(&[])), "no subject");
        assert_eq!(shown(b"rubbish"), "no subject");
    }

    proptest! {
        #[test]
        fn no_octets_panic(octets: Vec<u8>, at in 0usize..60, octet: u8) {
            let _ = shown(&octets);
            let mut damaged = certificate(&[attribute(CN, UTF8_STRING, b"anna"), attribute(CN, OID, b"x")]);
            let place = at % damaged.len();
            damaged[place] = octet;
            let _ = (shown(&damaged), user_name(&damaged, CertUsernameField::CommonName));
        }
    }
}
