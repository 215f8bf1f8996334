//! Unique-ids (RFC 1939 section 7, UIDL) as `pop3_uidl_format` makes them, so that a site can change servers without any
//! client downloading its mail again.

use crate::maildrop::{Maildrop, Marks};
use common::config::Config;
use common::config::format::expand;
use common::maildir::{Message, MessageRef, StorageError, header_md5, name};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};

/// Octets of a unique-id at most.
const MAX: usize = 70;
/// The digest of nothing: the message has none of the fields that count.
const EMPTY_DIGEST: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// Octets of a header in which X-UIDL is looked for.
const HEADER_MAX: u64 = 256 * 1024;

/// Makes unique-ids for one maildrop.
pub struct UniqueIds {
    format: String,
    uid_validity: u32,
    reuse_xuidl: bool,
    /// The format has the digest, so that each message has to be read.
    needs_message: bool,
    can_collide: bool,
}

impl UniqueIds {
    /// As the settings say.
    pub fn new(config: &Config, uid_validity: u32) -> UniqueIds {
        UniqueIds::of_format(config.pop3_uidl_format.as_str(), uid_validity, config.pop3_reuse_xuidl)
    }

    fn of_format(format: &str, uid_validity: u32, reuse_xuidl: bool) -> UniqueIds {
        let (mut unique, mut needs_message) = (false, false);
        let _ = expand(format, |variable| {
            // What is cut off may be what two messages differ in, and so may be the case of a file name.
            let whole = variable.width == 0 || variable.zeros;
            let as_it_is = !variable.lower && !variable.upper;
            unique |= whole && (variable.name == 'u' || variable.name == 'f' && as_it_is);
            needs_message |= variable.name == 'm';
            String::new()
        });
        UniqueIds {
            format: format.to_owned(),
            uid_validity,
            reuse_xuidl,
            needs_message,
            can_collide: reuse_xuidl || !unique,
        }
    }

    /// Whether two messages may come to have one unique-id, because it is made of what a stranger wrote.
    pub fn can_collide(&self) -> bool {
        self.can_collide
    }

    /// The messages that have to make do with [`UniqueIds::uid_form`], because an earlier one has their unique-id already
    /// or they cannot be read. Deleted messages count too: a unique-id does not change within a session.
    pub fn duplicates(&self, maildrop: &Maildrop) -> Result<Marks, StorageError> {
        use std::hash::{BuildHasher, RandomState};
        let mut marks = Marks::default();
        // Hashes take less than the unique-ids; no two of them are the same by chance.
        let (state, mut seen) = (RandomState::new(), HashSet::new());
        // What the uidlist says stands, wherever it stands.
        let snapshot = &maildrop.snapshot;
        snapshot.for_each(0, |_, message| {
            if let Some(id) = message.unique_id {
                seen.insert(state.hash_one(&presentable(id)[..]));
            }
            true
        })?;
        let mut id = Vec::new();
        snapshot.for_each(0, |index, message| {
            if message.unique_id.is_some() {
                return true;
            }
            id.clear();
            let made = self.write_ref(maildrop, message, &mut id);
            if made.is_err() || !seen.insert(state.hash_one(&id[..])) {
                marks.insert(index, snapshot.len());
            }
            true
        })?;
        Ok(marks)
    }

    /// The unique-id that is a message's own whatever is in it: UID and UIDVALIDITY.
    pub fn uid_form(&self, uid: u32, out: &mut Vec<u8>) {
        uid_form(self.uid_validity, uid, out);
    }

    /// Appends the unique-id of a message.
    pub fn write(
        &self,
        maildrop: &Maildrop,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        // What dovecot-uidlist says (from an earlier server, say) stands above any format.
        if let Some(id) = &message.unique_id {
            out.extend_from_slice(&presentable(id));
            return Ok(());
        }
        if self.reuse_xuidl {
            let (file, _) = maildrop.open_message(message)?;
            let id = x_uidl(file).map_err(StorageError::at("read", maildrop.path()))?;
            if let Some(id) = id {
                out.extend_from_slice(&id);
                return Ok(());
            }
        }
        let digest = match self.needs_message {
            false => String::new(),
            true => {
                let (file, _) = maildrop.open_message(message)?;
                header_md5(&file).map_err(StorageError::at("read", maildrop.path()))?
            }
        };
        if self.can_collide && digest == EMPTY_DIGEST {
            self.uid_form(message.uid, out);
        } else {
            self.format(self.uid_validity, message.uid, message.base(), &digest, out);
        }
        Ok(())
    }

    /// [`UniqueIds::write`] for a message in passing, without a copy of it unless it has to be read.
    pub fn write_ref(
        &self,
        maildrop: &Maildrop,
        message: &MessageRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        if message.unique_id.is_some() || self.reuse_xuidl || self.needs_message {
            return self.write(maildrop, &Message::from(message), out);
        }
        self.format(self.uid_validity, message.uid, name::base(message.name), "", out);
        Ok(())
    }

    /// What the format alone makes of a message; `None` if the message would have to be read.
    pub fn default_of(&self, uid_validity: u32, uid: u32, base: &[u8]) -> Option<Vec<u8>> {
        if self.needs_message {
            return None;
        }
        let mut id = Vec::new();
        self.format(uid_validity, uid, base, "", &mut id);
        Some(id)
    }

    fn format(&self, uid_validity: u32, uid: u32, base: &[u8], digest: &str, out: &mut Vec<u8>) {
        // The default, without going through the formatter: 100,000 of them are asked for at once.
        if self.format == "%08Xu%08Xv" {
            return uid_form(uid_validity, uid, out);
        }
        let id = expand(&self.format, |variable| match variable.name {
            'u' => variable.print_number(u64::from(uid)),
            'v' => variable.print_number(u64::from(uid_validity)),
            'f' => variable.print_text(String::from_utf8_lossy(base).into_owned()),
            'm' => variable.print_text(digest.to_owned()),
            _ => String::new(),
        });
        out.extend_from_slice(&presentable(id.as_bytes()));
    }
}

/// `%08Xu%08Xv`
fn uid_form(uid_validity: u32, uid: u32, out: &mut Vec<u8>) {
    for number in [uid, uid_validity] {
        for shift in (0..8).rev() {
            let digit = (number >> (4 * shift)) & 0xf;
            out.push(b"0123456789abcdef".get(digit as usize).copied().unwrap_or(b'0'));
        }
    }
}

/// The unique-id in the message's own X-UIDL field, if it has a usable one.
fn x_uidl(file: impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut header = BufReader::with_capacity(4096, file.take(HEADER_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        if header.read_until(b'\n', &mut line)? == 0 || line.trim_ascii().is_empty() {
            return Ok(None);
        }
        if let Some((name, value)) = line.split_at_checked(7) {
            if name.eq_ignore_ascii_case(b"X-UIDL:") {
                let id = value.trim_ascii();
                return Ok(is_unique_id(id).then(|| id.to_vec()));
            }
        }
    }
}

/// RFC 1939: one to 70 characters in the range 0x21 to 0x7E.
fn is_unique_id(octets: &[u8]) -> bool {
    (1..=MAX).contains(&octets.len()) && octets.iter().all(|octet| octet.is_ascii_graphic())
}

/// What a file name has that a unique-id may not have becomes `+XX`. A name that is too long keeps its length: clients take
/// it, and a shorter one could not be told from another message's.
///
/// Courier writes `'`, `"` and `+` this way too. Here they stay: Dovecot's `%f` has them as they are, and what was taken over
/// from Courier is in the uidlist with Courier's `+XX` in it already.
fn presentable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for &octet in octets {
        if octet.is_ascii_graphic() {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("+{octet:02X}").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unique_ids_have_a_form() {
        assert!(is_unique_id(b"!"));
        assert!(is_unique_id(&[b'~'; 70]));
        assert!(!is_unique_id(&[b'~'; 71]));
        assert!(!is_unique_id(b""));
        assert!(!is_unique_id(b"a b"));
        assert_eq!(presentable(b"1.a b\xff"), b"1.a+20b+FF");
        assert_eq!(presentable(b"a+2Bb'\""), b"a+2Bb'\"");
    }

    #[test]
    fn formats_of_other_servers() {
        let table = [
            ("%08Xu%08Xv", "0000002a499602d2"),
            ("%08Xv%08Xu", "499602d20000002a"),
            ("%u", "42"),
            ("%v.%u", "1234567890.42"),
            ("%f", "1.a,S=5"),
            ("UID%u-%v", "UID42-1234567890"),
            ("%m", "0123"),
            // As one variable prints, so does any other, and only the digest takes reading the message.
            ("%Lm%%", "0123%"),
            ("%06m-%Um", "000123-0123"),
            ("%%m%u", "%m42"),
            ("%Uf", "1.A,S=5"),
            ("%06Xu.%Xv", "00002a.499602d2"),
            ("%1u", "4"),
            ("%3f", "1.a"),
        ];
        for (format, want) in table {
            let ids = UniqueIds::of_format(format, 0, false);
            let has_digest = ["%m", "%Lm%%", "%06m-%Um"].contains(&format);
            assert_eq!(ids.needs_message, has_digest, "{format}");
            assert_eq!(ids.default_of(1_234_567_890, 42, b"1.a,S=5").is_none(), has_digest, "{format}");
            let can_collide = has_digest || ["%Uf", "%1u", "%3f"].contains(&format);
            assert_eq!(ids.can_collide(), can_collide, "{format}");
            let mut id = Vec::new();
            ids.format(1_234_567_890, 42, b"1.a,S=5", "0123", &mut id);
            assert_eq!(String::from_utf8_lossy(&id), want, "{format}");
        }
    }

    #[test]
    fn x_uidl_of_a_header() {
        let table = [
            ("X-UIDL: a1\n\n", Some("a1")),
            ("Subject: x\r\nx-uidl:\tb \r\n\r\nX-UIDL: no\r\n", Some("b")),
            ("Subject: x\n\nX-UIDL: in the body\n", None),
            ("X-UIDL: two words\n\n", None),
            ("X-UIDL:\n\n", None),
            ("X-UIDL", None),
            ("X-UIDL-Old: a\n\n", None),
            ("", None),
        ];
        for (header, want) in table {
            let got = x_uidl(header.as_bytes()).unwrap();
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{header:?}");
        }
    }

    proptest! {
        /// Whatever the format, the file name and the message: a unique-id can be said in a line, and there is one.
        #[test]
        fn every_format_makes_something_that_can_be_said(
            format in "[a ]{0,2}(%0?[1-9]?[XLU]{0,2}[uvfm]|%%){1,4}", uid in 1u32.., uid_validity in 1u32..,
            base in prop::collection::vec(any::<u8>(), 1..100), digest in "[0-9a-f]{32}",
        ) {
            let ids = UniqueIds::of_format(&format, 0, false);
            let mut id = Vec::new();
            ids.format(uid_validity, uid, &base, &digest, &mut id);
            prop_assert!(!id.is_empty() && id.iter().all(u8::is_ascii_graphic), "{}", id.escape_ascii());
        }

        /// Nothing that a message says in X-UIDL comes out unless it is a unique-id.
        #[test]
        fn no_header_panics(noise: Vec<u8>, value in "[ -~\t\u{e4}]{0,80}") {
            let field = format!("X-UIDL:{value}\n\n");
            for header in [&noise[..], field.as_bytes()] {
                if let Some(id) = x_uidl(header).unwrap() {
                    prop_assert!(is_unique_id(&id));
                }
            }
            prop_assert_eq!(x_uidl(field.as_bytes()).unwrap().is_some(), is_unique_id(value.as_bytes().trim_ascii()));
        }
    }
}
