//! What mailboxes there are: one pass over the root, sorted as a tree.
//!
//! The root may have any number of entries. Names stand one after the other in one piece of memory and are sorted so that
//! what is below a name directly follows it; levels that have no directory themselves are added on the way. Nothing is
//! looked at inside of a mailbox.

use super::gone;
use super::name::{Name, Namespace};
use super::special_use::{SpecialUse, Uses};
use super::{Hierarchy, is_directory, name};
use crate::maildir::{ErrorKind, StorageError};
use std::cmp::Ordering;
use std::fs;
use std::io;

/// Octets of all names together; a hundred thousand long ones.
const NAMES_MAX: usize = 32 << 20;

/// The mailboxes, the levels above them, and what is subscribed to, in the order of the tree, INBOX first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    octets: Vec<u8>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    /// Where its name begins in `octets`; the name of a level above another one is the beginning of that one's.
    start: u32,
    len: u32,
    /// The level above; `NONE` for the highest.
    parent: u32,
    bits: u8,
    uses: Uses,
}

const NONE: u32 = u32::MAX;
const EXISTS: u8 = 1;
const SUBSCRIBED: u8 = 2;
const EXISTS_BELOW: u8 = 4;

/// One name of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As a client sees it.
    pub name: &'a [u8],
    /// Whether there is such a mailbox, and not only some below it or a subscription.
    pub exists: bool,
    /// Whether there are mailboxes below it.
    pub has_children: bool,
    /// Whether it is subscribed to.
    pub subscribed: bool,
    /// What it is for.
    pub uses: Uses,
}

impl Hierarchy {
    /// Adds what there is, as far as its visible name is `wanted`.
    pub(super) fn collect(
        &self,
        names: &mut Names,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(), StorageError> {
        if self.exists(&Name::inbox())? {
            names.add(b"INBOX", &self.namespace, EXISTS)?;
        }
        let entries = match fs::read_dir(self.root()) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StorageError::new("read", self.root(), error)),
        };
        let mut leftovers = false;
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(StorageError::at("read", self.root()))?;
            let directory = entry.file_name();
            leftovers |= gone::is_leftover(&directory);
            if let Some(name) =
                name::of_directory(&directory, &self.namespace).filter(|_| is_directory(&entry))
            {
                names.add(name.as_bytes(), &self.namespace, EXISTS)?;
                names.keep_last(wanted);
            }
        }
        if leftovers {
            gone::clean(self.root());
        }
        Ok(())
    }
}

/// Names on their way into a listing.
#[derive(Default)]
pub(super) struct Names {
    octets: Vec<u8>,
    spans: Vec<(u32, u32, u8)>,
}

impl Names {
    fn add(&mut self, name: &[u8], namespace: &Namespace, bits: u8) -> Result<(), StorageError> {
        let start = self.octets.len();
        check_room(start)?;
        namespace.print_octets(name, &mut self.octets);
        // Both fit: the sum is bounded above.
        let len = self.octets.len().saturating_sub(start);
        self.spans.push((start as u32, len as u32, bits));
        Ok(())
    }

    /// Adds a name of the list of subscriptions as a client sees it.
    pub(super) fn add_subscribed(&mut self, visible: &[u8]) -> Result<(), StorageError> {
        let start = self.octets.len();
        check_room(start)?;
        self.octets.extend_from_slice(visible);
        self.spans.push((start as u32, visible.len() as u32, SUBSCRIBED));
        Ok(())
    }

    /// Takes back what was added last, unless it is wanted.
    fn keep_last(&mut self, wanted: &dyn Fn(&[u8]) -> bool) {
        let Some(&(start, len, _)) = self.spans.last() else { return };
        if !wanted(slice(&self.octets, start, len)) {
            self.spans.pop();
            self.octets.truncate(start as usize);
        }
    }

    pub(super) fn sort(self, separator: u8) -> Listing {
        let Names { octets, mut spans } = self;
        let name = |start: u32, len: u32| slice(&octets, start, len);
        spans.sort_unstable_by(|a, b| tree_order(name(a.0, a.1), name(b.0, b.1), separator));
        let mut nodes: Vec<Node> = Vec::with_capacity(spans.len() + spans.len() / 8);
        // The nodes that the last one is below of, and itself.
        let mut above: Vec<u32> = Vec::new();
        for (start, len, bits) in spans {
            let this = name(start, len);
            while let Some(node) = above.last().and_then(|&at| nodes.get_mut(at as usize)) {
                let other = name(node.start, node.len);
                if other == this {
                    node.bits |= bits;
                    break;
                }
                if this.strip_prefix(other).is_some_and(|rest| rest.first() == Some(&separator)) {
                    break;
                }
                above.pop();
            }
            let last = above.last().and_then(|&at| nodes.get(at as usize));
            if last.is_some_and(|last| last.len == len) {
                continue;
            }
            let known = last.map_or(0, |last| last.len as usize + 1);
            let below = this.get(known..).unwrap_or_default();
            let ends = memchr::memchr_iter(separator, below).map(|at| known + at);
            // A name that begins with a separator has nothing above that.
            for end in ends.filter(|&end| end > 0).chain([this.len()]) {
                let parent = above.last().copied().unwrap_or(NONE);
                let bits = if end == this.len() { bits } else { 0 };
                above.push(nodes.len() as u32);
                nodes.push(Node { start, len: end as u32, parent, bits, uses: Uses::default() });
            }
        }
        let mut listing = Listing { octets, nodes };
        listing.tell_parents();
        listing
    }
}

fn check_room(octets: usize) -> Result<(), StorageError> {
    if octets > NAMES_MAX {
        let why = "there are too many mailboxes";
        return Err(StorageError::with_kind(ErrorKind::Temp, "list", "", why));
    }
    Ok(())
}

fn slice(octets: &[u8], start: u32, len: u32) -> &[u8] {
    octets.get(start as usize..).and_then(|rest| rest.get(..len as usize)).unwrap_or_default()
}

/// INBOX and what is below it first; a name directly before those below it.
fn tree_order(a: &[u8], b: &[u8], separator: u8) -> Ordering {
    let inbox = |name: &[u8]| match name.strip_prefix(b"INBOX") {
        Some(rest) => !(rest.is_empty() || rest.first() == Some(&separator)),
        None => true,
    };
    let low = |octet: &u8| if *octet == separator { 0 } else { *octet };
    inbox(a).cmp(&inbox(b)).then_with(|| a.iter().map(low).cmp(b.iter().map(low)))
}

impl Listing {
    fn tell_parents(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get(at).copied() else { continue };
            if node.bits & (EXISTS | EXISTS_BELOW) != 0 {
                if let Some(parent) = self.nodes.get_mut(node.parent as usize) {
                    parent.bits |= EXISTS_BELOW;
                }
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// An entry by its place.
    pub fn entry(&self, at: usize) -> Option<Entry<'_>> {
        self.nodes.get(at).map(|node| self.show(node))
    }

    /// The place of the level above; always a lower one.
    pub fn parent(&self, at: usize) -> Option<usize> {
        self.nodes
            .get(at)
            .map(|node| node.parent)
            .filter(|&parent| parent != NONE)
            .map(|parent| parent as usize)
    }

    /// All entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.nodes.iter().map(|node| self.show(node))
    }

    fn show(&self, node: &Node) -> Entry<'_> {
        Entry {
            name: slice(&self.octets, node.start, node.len),
            exists: node.bits & EXISTS != 0,
            has_children: node.bits & EXISTS_BELOW != 0,
            subscribed: node.bits & SUBSCRIBED != 0,
            uses: node.uses,
        }
    }

    /// Marks an existing mailbox. `false`: there is none of that name.
    pub(super) fn add_use(&mut self, visible: &[u8], special_use: SpecialUse) -> bool {
        let octets = &self.octets;
        let found = self
            .nodes
            .iter_mut()
            .find(|node| node.bits & EXISTS != 0 && slice(octets, node.start, node.len) == visible);
        if let Some(node) = found {
            node.uses.insert(special_use);
            return true;
        }
        false
    }

    /// Marks the first of the usual names that is there, for each use that is not settled.
    pub(super) fn add_usual_uses(
        &mut self,
        usual: &[(SpecialUse, &str)],
        mut settled: Uses,
        namespace: &Namespace,
    ) {
        let inbox = [&b"INBOX"[..], &[namespace.separator]].concat();
        let mut found = vec![None; usual.len()];
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.bits & EXISTS != 0) {
            let name = slice(&self.octets, node.start, node.len);
            let below = |above: &[u8]| {
                let level = name.strip_prefix(above)?;
                usual.iter().position(|(_, usual)| usual.as_bytes().eq_ignore_ascii_case(level))
            };
            let place = below(&namespace.prefix).or_else(|| below(&inbox));
            if let Some(first) = place.and_then(|place| found.get_mut(place)).filter(|first| first.is_none())
            {
                *first = Some(at);
            }
        }
        for ((special_use, _), at) in usual.iter().zip(found) {
            if let Some(node) =
                at.filter(|_| !settled.contains(*special_use)).and_then(|at| self.nodes.get_mut(at))
            {
                node.uses.insert(*special_use);
                settled.insert(*special_use);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, shown};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_tree_has_levels_without_mailboxes_too() {
        let place = Place::new();
        for directory in
            [".b.c.d", ".a", ".a-b", ".a.x", ".INBOX.sub", "..foo", ".INBOX", ".Trash-1000", "nodot"]
        {
            place.mkdir(&format!("m/{directory}"));
        }
        place.dir.write("m/.file", "");
        symlink(place.dir.path().join("m/.a"), place.dir.path().join("m/.link")).unwrap();
        symlink("/nonexistent", place.dir.path().join("m/.dangling")).unwrap();
        let want = ["INBOX+", "INBOX.sub", "Trash-1000", "a+", "a.x", "a-b", "b-+", "b.c-+", "b.c.d", "link"];
        assert_eq!(place.listed(), want);
    }

    #[test]
    fn with_a_prefix_everything_is_below_it() {
        let place = Place::with("", &["namespace_prefix=INBOX.", "namespace_separator=/"]);
        for directory in [".Sent", ".a.b", ".INBOX.deep"] {
            place.mkdir(&format!("m/{directory}"));
        }
        let want =
            ["INBOX+", "INBOX/INBOX-+", "INBOX/INBOX/deep", "INBOX/Sent\\Sent", "INBOX/a-+", "INBOX/a/b"];
        assert_eq!(place.listed(), want);
        let place = Place::with("", &["namespace_prefix=mail/", "namespace_separator=/"]);
        place.mkdir("m/.a");
        assert_eq!(place.listed(), ["INBOX", "mail-+", "mail/a"]);
    }

    #[test]
    fn subscriptions_are_part_of_it_if_wanted() {
        let place = Place::new();
        place.mkdir("m/.a");
        place.dir.write("m/subscriptions", "V\t2\n\na\ngone\tb\nINBOX\na\tx\n");
        let subscriptions = place.hierarchy.subscriptions().unwrap();
        let listing = place.namespaces.listing(Some(&subscriptions)).unwrap();
        let shown_all: Vec<String> = listing.iter().map(|entry| shown(&entry)).collect();
        assert_eq!(shown_all, ["INBOXs", "as", "a.x-s", "gone-", "gone.b-s"]);
        assert_eq!((listing.parent(2), listing.parent(1), listing.parent(4)), (Some(1), None, Some(3)));
        let listing = place.namespaces.subscribed(&subscriptions).unwrap();
        let shown_all: Vec<String> = listing.iter().map(|entry| shown(&entry)).collect();
        assert_eq!(shown_all, ["INBOX-s", "a-s", "a.x-s", "gone-", "gone.b-s"]);
        assert_eq!(place.listed(), ["INBOX", "a"]);
    }

    #[test]
    fn directories_in_either_encoding() {
        let place = Place::new();
        for directory in [".Entw&APw-rfe", ".Entw\u{fc}rfe", ".M\u{fc}ll", ".R&D", ".a..b"] {
            place.mkdir(&format!("m/{directory}"));
        }
        let want = ["INBOX", "Entw&APw-rfe", "M&APw-ll", "R&-D", "a-+", "a.-+", "a..b"];
        assert_eq!(place.listed(), want);
        for name in ["Entw&APw-rfe", "M&APw-ll", "R&-D", "a..b"] {
            let maildir = place.hierarchy.open(&place.name(name)).unwrap();
            assert!(maildir.path().join("cur").is_dir());
        }
        assert!(place.dir.path().join("m/.R&D/cur").is_dir());
    }

    #[test]
    fn ten_thousand_mailboxes_take_little_time_and_memory() {
        let namespace = Namespace::new("", b'.');
        let begun = std::time::Instant::now();
        let mut names = Names::default();
        for i in 0..10_000 {
            let name = format!("folder{}.sub{i}", i % 100);
            names.add(name.as_bytes(), &namespace, EXISTS).unwrap();
        }
        let listing = names.sort(b'.');
        assert_eq!(listing.len(), 10_100);
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
        assert!(listing.octets.capacity() + listing.nodes.capacity() * size_of::<Node>() < 1 << 20);
    }

    proptest! {
        #[test]
        fn every_level_is_there_once(names in proptest::collection::vec("[ab-]{0,2}(\\.[ab-]{0,2}){0,3}", 0..12)) {
            let namespace = Namespace::new("", b'.');
            let mut collected = Names::default();
            let mut want = BTreeSet::new();
            let valid: Vec<&String> = names.iter().filter(|name| !name.is_empty() && !name.starts_with('.')).collect();
            for name in &valid {
                collected.add(name.as_bytes(), &namespace, EXISTS).unwrap();
                let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
                want.extend(ends.map(|end| name[..end].to_owned()));
            }
            let listing = collected.sort(b'.');
            let got: Vec<String> = listing.iter().map(|e| String::from_utf8(e.name.to_vec()).unwrap()).collect();
            prop_assert_eq!(got.iter().cloned().collect::<BTreeSet<_>>(), want);
            prop_assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), got.len());
            for (at, entry) in listing.iter().enumerate() {
                let name = String::from_utf8(entry.name.to_vec()).unwrap();
                prop_assert_eq!(entry.exists, valid.contains(&&name));
                let dot = format!("{name}.");
                prop_assert_eq!(entry.has_children, valid.iter().any(|other| other.starts_with(&dot)));
                let parent = listing.parent(at).map(|parent| listing.entry(parent).unwrap().name.to_vec());
                prop_assert_eq!(parent, name.rfind('.').map(|end| name.as_bytes()[..end].to_vec()));
            }
        }
    }
}
