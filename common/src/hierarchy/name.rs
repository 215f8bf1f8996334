//! Mailbox names: as clients write them, as the store thinks of them, and as directories are called.
//!
//! A [`Name`] is modified UTF-7 with `.` between the levels of the hierarchy and without the namespace's prefix, because
//! that is what Dovecot's directories and subscriptions hold; most names go from the disk to the client as they are.
//! Clients' names are hostile: a name that was read from one is always the name of an entry in the root itself.
//!
//! Directories are somebody else's too. Each level of a directory's name is read for itself: what is valid modified UTF-7
//! is a name already, anything else is taken for UTF-8 (Courier 5 and later), and octets that are not even that become
//! characters of a private area. So every directory has a name that a client can use, whoever made it.

use super::mutf7;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Octets of the longest file name; what ext4, XFS, tmpfs and NFS allow.
pub const FILE_NAME_MAX: usize = 255;
/// Octets of the longest name that is looked for: any directory's fits, encoded.
const NAME_MAX: usize = 4 * FILE_NAME_MAX;
/// The octets 0x80 to 0xff that are not UTF-8, as characters.
const PRIVATE: u32 = 0xef00;

/// The name of a mailbox in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why a client's name is none; text for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// No mailbox can have this name.
    Invalid(&'static str),
    /// It does not begin with the namespace's prefix.
    Outside,
}

/// How the namespace writes names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// What other names than INBOX begin with, with the separator at its end; may be empty.
    pub prefix: Box<[u8]>,
    /// Between two levels: `.` or `/`.
    pub separator: u8,
    /// INBOX is a name behind the prefix and not the user's own.
    pub(super) has_inbox_inside: bool,
}

const INBOX: &[u8] = b"INBOX";

impl Namespace {
    /// A prefix gets the separator at its end, whichever the administrator wrote there.
    pub fn new(prefix: &str, separator: u8) -> Namespace {
        let mut octets = mutf7::encode(prefix.trim_end_matches(['.', '/']));
        for octet in &mut octets {
            if matches!(octet, b'.' | b'/') {
                *octet = separator;
            }
        }
        if !octets.is_empty() {
            octets.push(separator);
        }
        Namespace { prefix: octets.into(), separator, has_inbox_inside: false }
    }

    /// The name that a client means.
    pub fn name(&self, visible: &[u8]) -> Result<Name, NameError> {
        if visible.eq_ignore_ascii_case(INBOX) && !self.has_inbox_inside {
            return Ok(Name::inbox());
        }
        if visible.len() > NAME_MAX {
            return Err(NameError::Invalid("The name is too long."));
        }
        if mutf7::decode(visible).is_none() {
            return Err(NameError::Invalid("The name is not valid modified UTF-7."));
        }
        let below = self.strip_prefix(visible).ok_or(NameError::Outside)?;
        self.store_name(below)
    }

    /// The name of a mailbox of the namespace by what stands behind the prefix.
    pub fn store_name(&self, below: &[u8]) -> Result<Name, NameError> {
        let mut octets = below.to_vec();
        for octet in &mut octets {
            match *octet {
                octet_of if octet_of == self.separator => *octet = b'.',
                b'.' => return Err(NameError::Invalid("A dot cannot be in a name here.")),
                b'/' => return Err(NameError::Invalid("A slash cannot be in a name here.")),
                _ => {}
            }
        }
        if octets.is_empty() {
            return Err(NameError::Invalid("The name is empty."));
        }
        if octets.starts_with(b".") {
            return Err(NameError::Invalid("The name begins with the hierarchy separator."));
        }
        if self.has_inbox_inside && octets.eq_ignore_ascii_case(INBOX) {
            return Ok(Name::inbox());
        }
        if self.prefix.is_empty() {
            raise_inbox(&mut octets);
        } else if octets == INBOX {
            return Err(NameError::Invalid("There is one INBOX, and it has no prefix."));
        }
        Ok(Name(octets.into()))
    }

    /// RFC 3501 section 5.1: INBOX is INBOX in any case, also where the prefix begins with it.
    fn strip_prefix<'a>(&self, visible: &'a [u8]) -> Option<&'a [u8]> {
        let (head, below) = visible.split_at_checked(self.prefix.len())?;
        if *head == *self.prefix {
            return Some(below);
        }
        let first = self.prefix.get(..INBOX.len() + 1)?;
        let inbox = first.starts_with(INBOX) && first.ends_with(&[self.separator]);
        let rest = head.get(INBOX.len()..)?;
        let same = head.get(..INBOX.len())?.eq_ignore_ascii_case(INBOX) && self.prefix.ends_with(rest);
        (inbox && same && rest.len() + INBOX.len() == self.prefix.len()).then_some(below)
    }

    /// Adds the name as a client sees it.
    pub fn print(&self, name: &Name, visible: &mut Vec<u8>) {
        self.print_octets(&name.0, visible);
    }

    pub(super) fn print_octets(&self, name: &[u8], visible: &mut Vec<u8>) {
        if name != INBOX || self.has_inbox_inside {
            visible.extend_from_slice(&self.prefix);
        }
        let separator = self.separator;
        visible.extend(name.iter().map(|&octet| if octet == b'.' { separator } else { octet }));
    }
}

/// The first level is INBOX in any case.
fn raise_inbox(octets: &mut [u8]) {
    let end = memchr::memchr(b'.', octets).unwrap_or(octets.len());
    if let Some(first) = octets.get_mut(..end).filter(|first| first.eq_ignore_ascii_case(INBOX)) {
        first.make_ascii_uppercase();
    }
}

impl Name {
    /// The INBOX.
    pub fn inbox() -> Name {
        Name(INBOX.into())
    }

    /// Modified UTF-7, levels separated by `.`.
    pub(super) fn of_octets(octets: Vec<u8>) -> Name {
        Name(octets.into())
    }

    /// Whether it is the INBOX.
    pub fn is_inbox(&self) -> bool {
        *self.0 == *INBOX
    }

    /// Modified UTF-7, levels separated by `.`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What stands behind `ancestor` and a dot, if this is below it.
    pub fn below(&self, ancestor: &Name) -> Option<&[u8]> {
        self.0.strip_prefix(&*ancestor.0)?.strip_prefix(b".")
    }

    /// The name of a level below this one.
    pub(super) fn join(&self, below: &[u8]) -> Name {
        Name([&self.0, &b"."[..], below].concat().into())
    }

    /// Levels of the hierarchy.
    pub(super) fn levels(&self) -> usize {
        self.0.iter().filter(|&&octet| octet == b'.').count() + 1
    }

    /// Without a separator at the end (RFC 3501 section 6.3.3: there it only says that names below will follow).
    #[must_use]
    pub(super) fn without_trailing_separator(&self) -> Name {
        Name(self.0.strip_suffix(b".").unwrap_or(&self.0).into())
    }

    /// Whether a mailbox of this name may be made. Names that are there already are served whatever they look like.
    pub fn check_new(&self) -> Result<(), NameError> {
        let invalid = |why| Err(NameError::Invalid(why));
        let Some(text) = mutf7::decode(&self.0) else {
            return invalid("The name is not valid modified UTF-7.");
        };
        if self.0.split(|&octet| octet == b'.').any(<[u8]>::is_empty) {
            return invalid("A level of the name is empty.");
        }
        if text.starts_with('~') {
            return invalid("The name begins with a tilde.");
        }
        if text.contains(['/', '\0']) || text.chars().any(char::is_control) {
            return invalid("The name has a control character in it.");
        }
        if self.0.len() >= FILE_NAME_MAX {
            return invalid("The name is too long.");
        }
        Ok(())
    }

    /// Its directory below the root, as Dovecot would have it.
    pub fn directory(&self) -> OsString {
        OsString::from_vec([b".", &*self.0].concat())
    }

    /// Its directory where names are stored in UTF-8.
    pub(super) fn utf8_directory(&self) -> OsString {
        let text = mutf7::decode(&self.0);
        match text {
            Some(text) => OsString::from(format!(".{text}")),
            None => self.directory(),
        }
    }

    /// Whether a directory with other octets can have this name too.
    pub(super) fn is_ambiguous(&self) -> bool {
        memchr::memchr(b'&', &self.0).is_some() || self.0.starts_with(b"INBOX.")
    }
}

/// The name of a directory in the root, if it is a mailbox's: not INBOX itself, nothing that begins with two dots.
pub fn of_directory(directory: &OsStr, namespace: &Namespace) -> Option<Name> {
    let levels = directory.as_bytes().strip_prefix(b".").filter(|rest| !rest.starts_with(b"."))?;
    of_stored(levels, b'.', namespace)
}

/// The name that was stored as these octets, with this separator: in a directory's name or a list of subscriptions.
pub fn of_stored(stored: &[u8], separator: u8, namespace: &Namespace) -> Option<Name> {
    if stored.is_empty() {
        return None;
    }
    let mut octets = Vec::with_capacity(stored.len());
    for (at, level) in stored.split(|&octet| octet == separator).enumerate() {
        if at > 0 {
            octets.push(b'.');
        }
        octets.extend_from_slice(&level_name(level));
    }
    if namespace.prefix.is_empty() {
        raise_inbox(&mut octets);
    }
    (octets != INBOX && octets.len() <= NAME_MAX).then(|| Name(octets.into()))
}

fn level_name(stored: &[u8]) -> Cow<'_, [u8]> {
    let plain = stored.iter().all(|octet| matches!(octet, b' '..=b'%' | b'\''..=b'~'));
    if plain || mutf7::decode(stored).is_some() {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    for chunk in stored.utf8_chunks() {
        text.push_str(chunk.valid());
        let private = |octet: &u8| char::from_u32(PRIVATE | u32::from(*octet));
        text.extend(chunk.invalid().iter().filter_map(private));
    }
    Cow::Owned(mutf7::encode(&text))
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
