//! What mailboxes are for (RFC 6154): by the user's word, by setting, by name.
//!
//! What CREATE said is kept in `tinmail-special-use` beside `subscriptions`: lines of an attribute and a name in modified
//! UTF-7. Of a use that nobody said anything about, the first of the usual names that is there is the one.

use super::name::{Name, Namespace};
use super::{Hierarchy, HierarchyError, Listing, mutf7, subscriptions};
use crate::maildir::{ErrorKind, StorageError};
use crate::sys::fs as sys;
use std::io::Read;

const FILE: &str = "tinmail-special-use";
/// Octets of the file that are looked at.
const SIZE_MAX: u64 = 1 << 20;

/// A use (RFC 6154 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
}

/// The usual names, the likelier ones first, in any case; what RFC 6154 leaves to servers.
const USUAL: [(SpecialUse, &str); 14] = [
    (SpecialUse::Drafts, "Drafts"),
    (SpecialUse::Sent, "Sent"),
    (SpecialUse::Sent, "Sent Messages"),
    (SpecialUse::Sent, "Sent Items"),
    (SpecialUse::Sent, "Sent Mail"),
    (SpecialUse::Trash, "Trash"),
    (SpecialUse::Trash, "Deleted Messages"),
    (SpecialUse::Trash, "Deleted Items"),
    (SpecialUse::Junk, "Junk"),
    (SpecialUse::Junk, "Spam"),
    (SpecialUse::Junk, "Junk E-mail"),
    (SpecialUse::Junk, "Junk Mail"),
    (SpecialUse::Archive, "Archive"),
    (SpecialUse::Archive, "Archives"),
];

impl SpecialUse {
    /// All of them.
    pub const ALL: [SpecialUse; 7] = [
        SpecialUse::All,
        SpecialUse::Archive,
        SpecialUse::Drafts,
        SpecialUse::Flagged,
        SpecialUse::Junk,
        SpecialUse::Sent,
        SpecialUse::Trash,
    ];

    /// The mailbox attribute, with its backslash.
    pub fn attribute(self) -> &'static str {
        match self {
            SpecialUse::All => "\\All",
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Flagged => "\\Flagged",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
        }
    }

    /// The use with this attribute, in any case.
    pub fn from_attribute(attribute: &str) -> Option<SpecialUse> {
        SpecialUse::ALL.into_iter().find(|known| known.attribute().eq_ignore_ascii_case(attribute))
    }
}

/// A set of uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uses(u8);

impl Uses {
    /// Adds one.
    pub fn insert(&mut self, special_use: SpecialUse) {
        self.0 |= 1 << special_use as u8;
    }

    /// Whether it is among them.
    pub fn contains(self, special_use: SpecialUse) -> bool {
        self.0 & 1 << special_use as u8 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in it.
    pub fn iter(self) -> impl Iterator<Item = SpecialUse> {
        SpecialUse::ALL.into_iter().filter(move |special_use| self.contains(*special_use))
    }
}

/// The name that a setting means: UTF-8, as a client sees it but without the prefix.
pub(super) fn configured(text: &str, namespace: &Namespace) -> Option<Name> {
    match text.eq_ignore_ascii_case("INBOX") {
        true => Some(Name::inbox()),
        false => namespace.store_name(&mutf7::encode(text)).ok(),
    }
}

impl Hierarchy {
    /// Marks the entries of a listing with what they are for.
    pub(super) fn assign_uses(&self, listing: &mut Listing) -> Result<(), StorageError> {
        let mut settled = Uses::default();
        for (special_use, name) in self.assigned_uses()? {
            if listing.add_use(&self.visible(&name), special_use) {
                settled.insert(special_use);
            }
        }
        let configured_before = settled;
        for (special_use, text) in self.special_use.iter() {
            let name = configured(text, &self.namespace);
            let found = name.map(|name| self.visible(&name));
            if !configured_before.contains(*special_use)
                && found.is_some_and(|visible| listing.add_use(&visible, *special_use))
                // Said to be for nothing.
                || text.is_empty()
            {
                settled.insert(*special_use);
            }
        }
        let of_trash = |(special_use, _): &(SpecialUse, String)| *special_use == SpecialUse::Trash;
        if !settled.contains(SpecialUse::Trash) && !self.special_use.iter().any(of_trash) {
            let name = configured(&self.trash, &self.namespace);
            if name.is_some_and(|name| listing.add_use(&self.visible(&name), SpecialUse::Trash)) {
                settled.insert(SpecialUse::Trash);
            }
        }
        listing.add_usual_uses(&USUAL, settled, &self.namespace);
        Ok(())
    }

    /// What CREATE said and what setting and usual names say may be different; only of what CREATE said there is one. A
    /// mailbox of its own shows neither all messages nor all that are flagged.
    pub(super) fn check_uses(&self, uses: &[SpecialUse]) -> Result<(), HierarchyError> {
        // What a use is for is said of the user's own mailboxes only.
        let others = self.namespace.has_inbox_inside && !uses.is_empty();
        if others || uses.contains(&SpecialUse::All) || uses.contains(&SpecialUse::Flagged) {
            return Err(HierarchyError::UseRefused);
        }
        for (taken, by) in self.assigned_uses()? {
            if uses.contains(&taken) && self.exists(&by)? {
                return Err(HierarchyError::UseRefused);
            }
        }
        Ok(())
    }

    /// Remembers what a new mailbox is for. The lock of the hierarchy is held, in this and the two that follow.
    pub(super) fn record_uses(&self, name: &Name, uses: &[SpecialUse]) -> Result<(), StorageError> {
        let mut all = self.assigned_uses()?;
        let before = all.len();
        all.retain(|(special_use, other)| other != name && !uses.contains(special_use));
        if all.len() == before && uses.is_empty() {
            return Ok(());
        }
        all.extend(uses.iter().map(|special_use| (*special_use, name.clone())));
        self.write_uses(&all)
    }

    /// A mailbox and those below it have other names now.
    pub(super) fn rename_uses(&self, from: &Name, to: &Name) -> Result<(), StorageError> {
        let mut all = self.assigned_uses()?;
        let mut changed = false;
        for (_, name) in &mut all {
            if name == from {
                (*name, changed) = (to.clone(), true);
            } else if let Some(below) = name.below(from) {
                (*name, changed) = (to.join(below), true);
            }
        }
        if changed { self.write_uses(&all) } else { Ok(()) }
    }

    /// A damaged line counts as none, and so does a file that cannot be used: there is more to mailboxes than what they are for.
    fn assigned_uses(&self) -> Result<Vec<(SpecialUse, Name)>, StorageError> {
        let path = self.shared().join(FILE);
        let mut text = String::new();
        let read = sys::open_control(&path).and_then(|file| file.take(SIZE_MAX).read_to_string(&mut text));
        match read.map_err(StorageError::at("read", &path)) {
            Err(error) if error.kind != ErrorKind::NotFound && !error.is_unusable() => return Err(error),
            _ => {}
        }
        let read = |line: &str| {
            let (attribute, name) = line.split_once(' ')?;
            let name = match name {
                "INBOX" => Name::inbox(),
                _ => super::name::of_stored(name.as_bytes(), b'.', &self.namespace)?,
            };
            Some((SpecialUse::from_attribute(attribute)?, name))
        };
        Ok(text.lines().filter_map(read).collect())
    }

    fn write_uses(&self, all: &[(SpecialUse, Name)]) -> Result<(), StorageError> {
        let mut octets = Vec::new();
        for (special_use, name) in all {
            octets.extend_from_slice(special_use.attribute().as_bytes());
            octets.push(b' ');
            octets.extend_from_slice(name.as_bytes());
            octets.push(b'\n');
        }
        subscriptions::replace(self.shared(), FILE, &octets, self.fsync)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    fn used(place: &Place) -> Vec<String> {
        place.listed().into_iter().filter(|entry| entry.contains('\\')).collect()
    }

    #[test]
    fn the_first_usual_name_wins() {
        let place = Place::new();
        for name in ["Sent Items", "sent", "Spam", "INBOX.Trash", "x.Drafts", "Archives", "Deleted Messages"]
        {
            place.create(name).unwrap();
        }
        assert_eq!(used(&place), ["INBOX.Trash\\Trash", "Archives\\Archive", "Spam\\Junk", "sent\\Sent"]);
        let place = Place::with("", &["namespace_prefix=INBOX"]);
        place.create("INBOX.Sent").unwrap();
        assert_eq!(used(&place), ["INBOX.Sent\\Sent"]);
    }

    #[test]
    fn settings_come_before_usual_names() {
        let setting = "special_use=\\Sent:Gesendet/\u{fc}, \\Junk:, \\Trash:None";
        let place = Place::with("", &[setting, "namespace_separator=/"]);
        for name in ["Sent", "Junk", "Trash", "Gesendet/&APw-"] {
            place.create(name).unwrap();
        }
        assert_eq!(used(&place), ["Gesendet/&APw-\\Sent", "Trash\\Trash"]);
    }

    #[test]
    fn the_name_of_the_trash_is_a_setting_too() {
        let name = "imap_trashfoldername=M\u{fc}ll";
        for (settings, want) in [
            (&[][..], "Trash\\Trash"),
            (&[name], "M&APw-ll\\Trash"),
            (&[name, "special_use=\\Trash:Trash"], "Trash\\Trash"),
            (&["imap_trashfoldername=None"], "Trash\\Trash"),
        ] {
            let place = Place::with("", settings);
            ["Trash", "M&APw-ll"].iter().for_each(|name| place.create(name).unwrap());
            assert_eq!(used(&place), [want], "{settings:?}");
        }
        let place = Place::with("", &[name, "special_use=\\Trash:"]);
        ["Trash", "M&APw-ll"].iter().for_each(|name| place.create(name).unwrap());
        assert_eq!(used(&place), [""; 0]);
    }

    #[test]
    fn what_create_said_comes_first_and_follows_the_mailbox() {
        let place = Place::with("", &["special_use=\\Sent:Sent"]);
        place.create("Sent").unwrap();
        let special = [SpecialUse::Sent, SpecialUse::Archive];
        place.hierarchy.create(&place.name("a.Gesendet"), &special).unwrap();
        assert_eq!(place.dir.read("m/tinmail-special-use"), "\\Sent a.Gesendet\n\\Archive a.Gesendet\n");
        assert_eq!(used(&place), ["a.Gesendet\\Archive\\Sent"]);
        let taken = place.hierarchy.create(&place.name("b"), &[SpecialUse::Sent]);
        assert!(
            matches!(taken, Err(HierarchyError::UseRefused))
                && !place.hierarchy.exists(&place.name("b")).unwrap()
        );
        let all = place.hierarchy.create(&place.name("b"), &[SpecialUse::All]);
        assert!(matches!(all, Err(HierarchyError::UseRefused)));
        place.rename("a", "c").unwrap();
        assert_eq!(used(&place), ["c.Gesendet\\Archive\\Sent"]);
        place.delete("c.Gesendet").unwrap();
        assert_eq!(place.dir.read("m/tinmail-special-use"), "");
        assert_eq!(used(&place), ["Sent\\Sent"]);
        place.create("c.Gesendet").unwrap();
        assert_eq!(used(&place), ["Sent\\Sent"]);
        place.hierarchy.create(&place.name("b"), &[SpecialUse::Sent]).unwrap();
        assert_eq!(used(&place), ["b\\Sent"]);
    }

    #[test]
    fn a_damaged_file_is_read_as_far_as_it_makes_sense() {
        let place = Place::new();
        place.create("a").unwrap();
        place.dir.write("m/tinmail-special-use", "x\n\\Sent\n\\None a\n\\Junk gone\n\\trash a\n\n\\Sent ");
        assert_eq!(used(&place), ["a\\Trash"]);
    }
}
