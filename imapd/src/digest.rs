//! What is kept of a message so that its file need not be opened again: one blob for the mailbox's cache, made in one reading.
//!
//! It answers ENVELOPE, BODY, BODYSTRUCTURE, and what SORT, THREAD and SEARCH ask of a message. Texts are kept as they are
//! printed. The blob lies in a file of the user's and may be damaged: [`Digest::decode`] checks the frame, and whatever the
//! texts hold, reading them ends in less, never in a panic. Nothing is allocated to read one.
//!
//! ```text
//! octet 0      version
//! octet 1      which of the values are known
//! octets 2..4  number of references
//! 4..12        internal date, seconds since 1970 UTC, signed
//! 12..20       RFC822.SIZE
//! 20..28       sent date, seconds since 1970 UTC, signed
//! 28..32       sent day as written, days since 1970-01-01, signed
//! 32..40       Message-ID, hashed
//! 40..44       octets of the envelope
//! then 8 octets for each reference, the envelope, and to the end the body structure. All little-endian.
//! ```

use crate::printed;

/// Another layout, or other words in the texts, is another version: what was kept before is made again.
const VERSION: u8 = 1;
const HEAD: usize = 44;
const HAS_SENT: u8 = 1;
const HAS_MESSAGE_ID: u8 = 2;

/// References kept at most: the first, which roots the thread, and the last ones, which say where in it.
pub const REFERENCES_MAX: usize = 128;

/// A field of the ENVELOPE, in the order of RFC 3501 section 7.4.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeField {
    /// `Date`, an nstring.
    Date,
    /// `Subject`, an nstring.
    Subject,
    /// `From`, addresses.
    From,
    /// `Sender`, or From's addresses.
    Sender,
    /// `Reply-To`, or From's addresses.
    ReplyTo,
    /// `To`, addresses.
    To,
    /// `Cc`, addresses.
    Cc,
    /// `Bcc`, addresses.
    Bcc,
    /// `In-Reply-To`, an nstring.
    InReplyTo,
    /// `Message-ID`, an nstring.
    MessageId,
}

/// What goes into a digest.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// INTERNALDATE, seconds since 1970 UTC.
    pub internal_date: i64,
    /// RFC822.SIZE.
    pub octets: u64,
    /// The `Date` field: seconds since 1970 UTC, and the day it names in its own zone as days since 1970-01-01.
    pub sent: Option<(i64, i32)>,
    /// See [`Digest::message_id`].
    pub message_id: Option<u64>,
    /// See [`Digest::references`]; of more than [`REFERENCES_MAX`] the first and the last are kept.
    pub references: &'a [u64],
    /// As printed, with its parentheses.
    pub envelope: &'a [u8],
    /// As printed for BODYSTRUCTURE, with its parentheses.
    pub structure: &'a [u8],
}

/// Writes a digest to the end of `out`.
pub fn encode(parts: &Parts<'_>, out: &mut Vec<u8>) {
    let (first, last) = match parts.references {
        [first, rest @ ..] => {
            (Some(first), rest.get(rest.len().saturating_sub(REFERENCES_MAX - 1)..).unwrap_or_default())
        }
        [] => (None, &[][..]),
    };
    let count = last.len() + usize::from(first.is_some());
    let known =
        (u8::from(parts.sent.is_some()) * HAS_SENT) | (u8::from(parts.message_id.is_some()) * HAS_MESSAGE_ID);
    let (sent, day) = parts.sent.unwrap_or_default();
    out.reserve(HEAD + 8 * count + parts.envelope.len() + parts.structure.len());
    out.extend_from_slice(&[VERSION, known]);
    out.extend_from_slice(&u16::try_from(count).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&parts.internal_date.to_le_bytes());
    out.extend_from_slice(&parts.octets.to_le_bytes());
    out.extend_from_slice(&sent.to_le_bytes());
    out.extend_from_slice(&day.to_le_bytes());
    out.extend_from_slice(&parts.message_id.unwrap_or_default().to_le_bytes());
    // An envelope of 4 GiB cannot be: the header it is made from is bounded.
    out.extend_from_slice(&u32::try_from(parts.envelope.len()).unwrap_or(0).to_le_bytes());
    for reference in first.into_iter().chain(last) {
        out.extend_from_slice(&reference.to_le_bytes());
    }
    out.extend_from_slice(parts.envelope);
    out.extend_from_slice(parts.structure);
}

/// A digest that is read.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    known: u8,
    internal_date: i64,
    octets: u64,
    sent: i64,
    sent_day: i32,
    message_id: u64,
    references: &'a [u8],
    envelope: &'a [u8],
    structure: &'a [u8],
}

impl<'a> Digest<'a> {
    /// `None` for what is none, or one of another version.
    pub fn decode(blob: &'a [u8]) -> Option<Digest<'a>> {
        let (head, rest) = blob.split_first_chunk::<HEAD>()?;
        let [version, known, ..] = *head;
        let count = usize::from(u16::from_le_bytes(array(head, 2)?));
        let envelope = usize::try_from(u32::from_le_bytes(array(head, 40)?)).ok()?;
        if version != VERSION || count > REFERENCES_MAX {
            return None;
        }
        let (references, rest) = rest.split_at_checked(8 * count)?;
        let (envelope, structure) = rest.split_at_checked(envelope)?;
        let parenthesised = |text: &[u8]| text.first() == Some(&b'(') && text.last() == Some(&b')');
        if !parenthesised(envelope) || !parenthesised(structure) {
            return None;
        }
        Some(Digest {
            known,
            internal_date: i64::from_le_bytes(array(head, 4)?),
            octets: u64::from_le_bytes(array(head, 12)?),
            sent: i64::from_le_bytes(array(head, 20)?),
            sent_day: i32::from_le_bytes(array(head, 28)?),
            message_id: u64::from_le_bytes(array(head, 32)?),
            references,
            envelope,
            structure,
        })
    }

    /// INTERNALDATE, seconds since 1970 UTC.
    pub fn internal_date(&self) -> i64 {
        self.internal_date
    }

    /// RFC822.SIZE.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The sent date, seconds since 1970 UTC; `None` if the message has none that can be read (RFC 5256 section 2.2 takes
    /// the internal date then).
    pub fn sent(&self) -> Option<i64> {
        (self.known & HAS_SENT != 0).then_some(self.sent)
    }

    /// The day that the `Date` field names, in days since 1970-01-01: SENTSINCE and its like disregard time and zone
    /// (RFC 3501 section 6.4.4).
    pub fn sent_day(&self) -> Option<i32> {
        (self.known & HAS_SENT != 0).then_some(self.sent_day)
    }

    /// The Message-ID, normalised as RFC 5256 section 3 compares it and hashed.
    pub fn message_id(&self) -> Option<u64> {
        (self.known & HAS_MESSAGE_ID != 0).then_some(self.message_id)
    }

    /// The message's references in order, hashed like Message-IDs: those of `References`, or the first of `In-Reply-To` where
    /// there are none (RFC 5256 section 3).
    pub fn references(&self) -> impl ExactSizeIterator<Item = u64> + Clone + use<'a> {
        self.references.chunks_exact(8).map(|octets| array(octets, 0).map_or(0, u64::from_le_bytes))
    }

    /// The ENVELOPE as printed, with its parentheses.
    pub fn envelope(&self) -> &'a [u8] {
        self.envelope
    }

    /// The envelope's fields as printed, in the order of [`EnvelopeField`]. [`printed`] reads them.
    pub fn envelope_parts(&self) -> printed::Values<'a> {
        printed::list(self.envelope)
    }

    /// One of the envelope's fields as printed; `NIL` if the digest is damaged.
    pub fn envelope_part(&self, field: EnvelopeField) -> &'a [u8] {
        self.envelope_parts().nth(field as usize).unwrap_or(b"NIL")
    }

    /// The BODYSTRUCTURE as printed, with its parentheses.
    pub fn structure(&self) -> &'a [u8] {
        self.structure
    }
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &[u8] =
        b"(\"Mon, 7 Feb 1994\" {5}\r\nh(\xe9)\" ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL \"<x@y>\" \"<z\\\"@y>\")";

    fn parts(references: &[u64]) -> Parts<'_> {
        Parts {
            internal_date: -5,
            octets: 1 << 40,
            sent: Some((760_000_000, 8796)),
            message_id: Some(7),
            references,
            envelope: ENVELOPE,
            structure: b"(\"text\" \"plain\")",
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut blob = Vec::new();
        encode(&parts(&[1, u64::MAX]), &mut blob);
        let digest = Digest::decode(&blob).unwrap();
        assert_eq!((digest.internal_date(), digest.octets()), (-5, 1 << 40));
        assert_eq!((digest.sent(), digest.sent_day()), (Some(760_000_000), Some(8796)));
        assert_eq!((digest.message_id(), digest.references().collect()), (Some(7), vec![1, u64::MAX]));
        assert_eq!((digest.envelope(), digest.structure()), (ENVELOPE, &b"(\"text\" \"plain\")"[..]));
        assert_eq!(digest.envelope_part(EnvelopeField::Subject), b"{5}\r\nh(\xe9)\"");
        assert_eq!(digest.envelope_part(EnvelopeField::From), b"((NIL NIL \"a\" \"b\"))");
        assert_eq!(digest.envelope_part(EnvelopeField::MessageId), b"\"<z\\\"@y>\"");
        assert_eq!(digest.envelope_parts().count(), 10);
    }

    #[test]
    fn unknown_values_are_none() {
        let mut blob = Vec::new();
        encode(&Parts { sent: None, message_id: None, ..parts(&[]) }, &mut blob);
        let digest = Digest::decode(&blob).unwrap();
        assert_eq!((digest.sent(), digest.sent_day(), digest.message_id()), (None, None, None));
        assert_eq!(digest.references().len(), 0);
    }

    #[test]
    fn of_many_references_the_first_and_the_last_stay() {
        let mut blob = Vec::new();
        let many: Vec<u64> = (0..1000).collect();
        encode(&parts(&many), &mut blob);
        let kept: Vec<u64> = Digest::decode(&blob).unwrap().references().collect();
        assert_eq!((kept.len(), kept[0], kept[1], kept[127]), (REFERENCES_MAX, 0, 873, 999));
    }

    #[test]
    fn damage_is_seen_or_harmless() {
        let mut blob = Vec::new();
        encode(&parts(&[1, 2, 3]), &mut blob);
        for end in 0..blob.len() {
            if let Some(digest) = Digest::decode(&blob[..end]) {
                digest.envelope_parts().for_each(drop);
            }
        }
        for at in 0..blob.len() {
            for octet in [0, b'(', b')', b'"', b'{', 255] {
                let mut damaged = blob.clone();
                damaged[at] = octet;
                if let Some(digest) = Digest::decode(&damaged) {
                    assert!(digest.envelope_parts().count() <= ENVELOPE.len());
                    assert!(digest.references().len() <= REFERENCES_MAX);
                }
            }
        }
    }
}
