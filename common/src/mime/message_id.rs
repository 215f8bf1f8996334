//! Message-ids (RFC 5322 section 3.6.4), compared as RFC 5256 section 3 wants it: by what they mean, not by how they are quoted.

use super::token::{Cursor, Ends};

/// The message-ids in an unfolded value, hashed. Text around them, which In-Reply-To had in old days, is passed over.
pub fn hashes(value: &[u8]) -> Hashes<'_> {
    Hashes { cursor: Cursor::new(value) }
}

/// See [`hashes`].
pub struct Hashes<'a> {
    cursor: Cursor<'a>,
}

impl Iterator for Hashes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            let begin = memchr::memchr(b'<', self.cursor.rest())?;
            self.cursor.skip(begin + 1);
            if let Some(hash) = message_id(&mut self.cursor) {
                return Some(hash);
            }
        }
    }
}

/// The message-id behind a `<`. `None`: it is not closed, or empty.
fn message_id(cursor: &mut Cursor<'_>) -> Option<u64> {
    // What has no quote in it means what it says.
    let text = cursor.rest();
    let plain = text.iter().position(|octet| matches!(octet, b'>' | b'<' | b'"' | b'(' | b' '));
    if let (Some(end), Some(b'>')) = (plain, plain.and_then(|end| text.get(end))) {
        cursor.skip(end + 1);
        let id = text.get(..end).unwrap_or_default();
        return (!id.is_empty()).then(|| hash(id));
    }
    let (mut id, mut comment) = (Vec::new(), Vec::new());
    loop {
        cursor.skip_cfws(&mut comment);
        match cursor.peek()? {
            b'>' => {
                cursor.skip(1);
                return (!id.is_empty()).then(|| hash(&id));
            }
            // Another one begins.
            b'<' => return None,
            b'"' if cursor.quoted(&mut id) => {}
            octet => {
                id.push(octet);
                cursor.skip(1);
                id.extend_from_slice(cursor.run(const { &Ends::of(b"<>(\"") }));
            }
        }
    }
}

/// FNV-1a with a last stir. Who wants two ids to collide can write the same id twice as well.
fn hash(octets: &[u8]) -> u64 {
    let sum = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| {
        (sum ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    });
    let sum = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum ^ (sum >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(value: &[u8]) -> Vec<u64> {
        hashes(value).collect()
    }

    #[test]
    fn ids_are_found_and_compared_by_meaning() {
        let (a, b) = (hash(b"a@b"), hash(b"c d@e"));
        for (value, want) in [
            (&b"<a@b>"[..], &[a][..]),
            (b"", &[]),
            (b"a@b", &[]),
            (b"<>", &[]),
            (b"<\"a\"@b>", &[a]),
            (b"< a (comment) @ b >", &[a]),
            (b"<\"c d\"@e><a@b>", &[b, a]),
            (b"Your message of Monday <a@b> \"x\" <a@b", &[a]),
            (b"<open <a@b>", &[a]),
            (b"<a@b> garbage > <\"c\\ d\"@e>", &[a, b]),
        ] {
            assert_eq!(all(value), want, "{}", value.escape_ascii());
        }
        assert_ne!(all(b"<A@b>"), [a]);
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(value in "[<>\"()a@ \\\\]{0,60}") {
            prop_assert!(all(value.as_bytes()).len() <= value.len());
        }
    }
}
