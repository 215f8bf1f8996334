//! Messages linked by their references: REFERENCES of RFC 5256 section 3, and REFS of draft-ietf-morg-inthread, which is the
//! same without the subjects and with the threads in the order of their latest messages.
//!
//! What refers to what is strangers' doing: chains may be as long as the mailbox, and may be meant to make loops or work.
//! Nothing recurses; work and memory are a fixed multiple of the number of messages (see [`Tree::new`]). Message-IDs are
//! 64-bit hashes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// No node.
const NONE: u32 = u32::MAX;
/// Steps up the tree, for each node, that looking for loops may take in all. Only a mailbox made for it needs more; then
/// links are left out.
const STEPS: u64 = 64;
/// Dummies that there may be in any mailbox. A thread may be long where little of it is left, and this is little memory: less
/// than 4 MiB, as for 65,536 messages.
const DUMMIES: usize = 1 << 17;

/// Messages, and dummies for those that are referred to but not there.
pub struct Tree {
    /// Nodes: messages first, in the order of the mailbox, then dummies.
    parents: Vec<u32>,
    /// Whether the node ever had a child: one that did not cannot close a loop.
    has_children: Vec<bool>,
    dates: Vec<i64>,
    by_id: Ids,
    dummies_max: usize,
    steps_left: u64,
}

/// Threads ready to be shown: for each message the first child and the next sibling, in order.
pub struct Threads {
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
    /// The head of each thread; [`Threads::is_dummy`] ones only stand for their children.
    pub roots: Vec<u32>,
    messages: usize,
}

/// What step 5 asks of a message: its base subject, hashed; `None` if it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subject {
    /// The hash.
    pub hash: Option<u64>,
    /// See [`crate::base_subject::BaseSubject::is_reply`].
    pub is_reply: bool,
}

/// Nodes by their Message-IDs: open addressing, so that a node costs four octets here and eight for its hash.
struct Ids {
    slots: Vec<u32>,
    hashes: Vec<u64>,
    /// Strangers choose Message-IDs, but not this: they cannot make them fall into one place.
    seed: u64,
}

impl Ids {
    fn new(nodes: usize) -> Ids {
        let slots = vec![NONE; (nodes + nodes / 2).next_power_of_two().max(16)];
        Ids { slots, hashes: Vec::with_capacity(nodes), seed: RandomState::new().hash_one(0u8) | 1 }
    }

    /// The slot where the node of this hash is or belongs.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (hash.wrapping_mul(self.seed) >> 32) as usize & mask;
        loop {
            match self.slots.get(at) {
                Some(&node) if node != NONE && self.hashes.get(node as usize) != Some(&hash) => {}
                _ => return at,
            }
            at = (at + 1) & mask;
        }
    }

    fn get(&self, hash: u64) -> Option<u32> {
        self.slots.get(self.slot(hash)).copied().filter(|node| *node != NONE)
    }

    /// The next node, found by `hash` unless an earlier one is.
    fn push(&mut self, hash: Option<u64>) {
        let node = self.hashes.len() as u32;
        self.hashes.push(hash.unwrap_or_default());
        if self.hashes.len() * 3 > self.slots.len() * 2 {
            let slots = self.slots.len() * 2;
            let nodes = std::mem::replace(&mut self.slots, vec![NONE; slots]);
            for node in nodes.into_iter().filter(|node| *node != NONE) {
                let at = self.slot(self.hashes.get(node as usize).copied().unwrap_or_default());
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = node;
                }
            }
        }
        if let Some(hash) = hash {
            let at = self.slot(hash);
            if let Some(slot) = self.slots.get_mut(at).filter(|slot| **slot == NONE) {
                *slot = node;
            }
        }
    }
}

impl Tree {
    /// A tree of messages in the order of the mailbox: sent date and Message-ID of each. Of two with the same Message-ID the
    /// first one has it; a message without one cannot be referred to.
    ///
    /// Dummies are at most twice as many as messages, or [`DUMMIES`]: then references to what is not there count as if they had not
    /// been written, but for the last of each message, which says most.
    pub fn new(messages: impl ExactSizeIterator<Item = (i64, Option<u64>)>) -> Tree {
        let count = messages.len();
        let mut tree = Tree {
            parents: vec![NONE; count],
            has_children: vec![false; count],
            dates: Vec::with_capacity(count),
            by_id: Ids::new(count),
            dummies_max: DUMMIES.max(2 * count),
            steps_left: 0,
        };
        for (date, id) in messages {
            tree.dates.push(date);
            tree.by_id.push(id);
        }
        tree
    }

    /// Links a message with what it refers to (step 1). To be called for each message, in order.
    pub fn link(&mut self, message: u32, references: impl Iterator<Item = u64>) {
        self.steps_left = self.steps_left.saturating_add(STEPS);
        let mut before = NONE;
        let mut references = references.peekable();
        while let Some(id) = references.next() {
            // There is room for one dummy for each message that is still to come.
            let nodes_max = self.dummies_max + message as usize + usize::from(references.peek().is_none());
            let Some(node) = self.node(id, nodes_max) else { continue };
            // A message that already has a parent keeps it (1.A): the header at hand may be cut short.
            if before != NONE && self.parent(node) == NONE && !self.closes_loop(node, before) {
                self.set_parent(node, before);
            }
            before = node;
        }
        // The last reference is the parent, whatever was thought before (1.B).
        if self.parent(message) == before {
            return;
        }
        if before == NONE || !self.closes_loop(message, before) {
            self.set_parent(message, before);
        } else {
            self.set_parent(message, NONE);
        }
    }

    fn node(&mut self, id: u64, nodes_max: usize) -> Option<u32> {
        if let Some(node) = self.by_id.get(id) {
            return Some(node);
        }
        if self.parents.len() >= nodes_max {
            return None;
        }
        let node = self.parents.len() as u32;
        self.by_id.push(Some(id));
        self.parents.push(NONE);
        self.has_children.push(false);
        Some(node)
    }

    fn parent(&self, node: u32) -> u32 {
        self.parents.get(node as usize).copied().unwrap_or(NONE)
    }

    fn set_parent(&mut self, node: u32, parent: u32) {
        if let Some(place) = self.parents.get_mut(node as usize) {
            *place = parent;
        }
        if let Some(place) = self.has_children.get_mut(parent as usize) {
            *place = true;
        }
    }

    /// Whether `child` is `parent` or above it; or whether that took too long to find out.
    fn closes_loop(&mut self, child: u32, parent: u32) -> bool {
        if child == parent {
            return true;
        }
        if self.has_children.get(child as usize) != Some(&true) {
            return false;
        }
        let mut node = self.parent(parent);
        while node != NONE {
            if node == child || self.steps_left == 0 {
                return true;
            }
            self.steps_left -= 1;
            node = self.parent(node);
        }
        false
    }

    /// Makes an end of the tree as REFERENCES has it: `subject` tells the subject of a message.
    pub fn references(self, mut subject: impl FnMut(u32) -> Subject) -> Threads {
        let mut finish = Finish::new(self);
        finish.sort_roots();
        finish.merge_subjects(&mut subject);
        finish.sort_roots();
        finish.threads()
    }

    /// Makes an end of the tree as REFS has it.
    pub fn refs(self) -> Threads {
        let mut finish = Finish::new(self);
        finish.sort_roots_by_latest();
        finish.threads()
    }
}

/// Steps 2 to 6. From here on dummies are roots only.
struct Finish {
    parents: Vec<u32>,
    dates: Vec<i64>,
    /// Messages by sent date and then by their order in the mailbox.
    by_date: Vec<u32>,
    /// For each node from the first dummy on: its earliest child.
    earliest: Vec<u32>,
    roots: Vec<u32>,
}

impl Finish {
    fn new(tree: Tree) -> Finish {
        let Tree { mut parents, dates, .. } = tree;
        let messages = dates.len();
        let is_dummy = |node: u32| node as usize >= messages;
        let parent_of = |parents: &[u32], node: u32| parents.get(node as usize).copied().unwrap_or(NONE);
        // Step 3: dummies go, unless they are roots: each message's parent is the next message above it, or the root.
        for message in 0..messages as u32 {
            let mut above = parent_of(&parents, message);
            while above != NONE && is_dummy(above) && parent_of(&parents, above) != NONE {
                above = parent_of(&parents, above);
            }
            // Dummies on the way point there too, so that the way is not walked again.
            let mut node = message;
            while node != above {
                let next = parent_of(&parents, node);
                if let Some(place) = parents.get_mut(node as usize) {
                    *place = above;
                }
                node = next;
            }
        }
        let mut by_date: Vec<u32> = (0..messages as u32).collect();
        by_date
            .sort_unstable_by_key(|message| (dates.get(*message as usize).copied().unwrap_or(0), *message));
        // Roots: messages without a parent, and dummies with children. A dummy's only child takes its place (step 3).
        let mut earliest = vec![NONE; parents.len() - messages];
        let mut children = vec![0u32; parents.len() - messages];
        for &message in &by_date {
            if let Some(dummy) = (parent_of(&parents, message) as usize).checked_sub(messages) {
                if let (Some(first), Some(count)) = (earliest.get_mut(dummy), children.get_mut(dummy)) {
                    if *count == 0 {
                        *first = message;
                    }
                    *count += 1;
                }
            }
        }
        let mut roots = Vec::new();
        for (dummy, (first, count)) in earliest.iter().zip(&children).enumerate() {
            match count {
                0 => {}
                1 => {
                    if let Some(parent) = parents.get_mut(*first as usize) {
                        *parent = NONE;
                    }
                }
                _ => roots.push((messages + dummy) as u32),
            }
        }
        roots.extend((0..messages as u32).filter(|message| parent_of(&parents, *message) == NONE));
        Finish { parents, dates, by_date, earliest, roots }
    }

    fn is_dummy(&self, node: u32) -> bool {
        node as usize >= self.dates.len()
    }

    /// The message that stands for a root: itself, or a dummy's earliest child.
    fn speaker(&self, root: u32) -> u32 {
        match (root as usize).checked_sub(self.dates.len()) {
            Some(dummy) => self.earliest.get(dummy).copied().unwrap_or(NONE),
            None => root,
        }
    }

    fn date(&self, message: u32) -> i64 {
        self.dates.get(message as usize).copied().unwrap_or(i64::MAX)
    }

    /// Steps 4 and 6 for the roots.
    fn sort_roots(&mut self) {
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_unstable_by_key(|root| {
            let speaker = self.speaker(*root);
            (self.date(speaker), speaker)
        });
        self.roots = roots;
    }

    /// Step 5.
    fn merge_subjects(&mut self, subject: &mut impl FnMut(u32) -> Subject) {
        // A root's thread subject, and who has it in the subject table.
        // They are asked for in the order of the mailbox, which is how they are kept.
        let mut places: Vec<usize> = (0..self.roots.len()).collect();
        let speaker_at = |place: usize| self.roots.get(place).map_or(NONE, |root| self.speaker(*root));
        places.sort_unstable_by_key(|place| speaker_at(*place));
        let mut subjects = vec![Subject::default(); self.roots.len()];
        for place in places {
            if let Some(slot) = subjects.get_mut(place) {
                *slot = subject(speaker_at(place));
            }
        }
        let mut table: HashMap<u64, (u32, bool)> = HashMap::with_capacity(self.roots.len());
        for (root, subject) in self.roots.iter().zip(&subjects) {
            let Some(hash) = subject.hash else { continue };
            let current = (*root, subject.is_reply);
            table
                .entry(hash)
                .and_modify(|kept| {
                    if !self.is_dummy(kept.0) && (self.is_dummy(*root) || kept.1 && !subject.is_reply) {
                        *kept = current;
                    }
                })
                .or_insert(current);
        }
        let roots = std::mem::take(&mut self.roots);
        // Roots that became children: a message is one when it has a parent, a dummy when its children have another.
        let mut emptied: HashMap<u32, u32> = HashMap::new();
        for (&root, subject) in roots.iter().zip(&subjects) {
            let Some(kept) = subject.hash.and_then(|hash| table.get_mut(&hash)) else { continue };
            if kept.0 == root {
                continue;
            }
            if self.is_dummy(root) {
                // The table has a dummy too. Its children get the other's parent when all is known.
                emptied.insert(root, kept.0);
                self.hear(kept.0, self.speaker(root));
            } else if self.is_dummy(kept.0) || subject.is_reply && !kept.1 {
                self.put_under(root, kept.0);
            } else {
                let dummy = self.parents.len() as u32;
                self.parents.push(NONE);
                self.earliest.push(NONE);
                self.put_under(kept.0, dummy);
                self.put_under(root, dummy);
                *kept = (dummy, false);
            }
        }
        if !emptied.is_empty() {
            for message in 0..self.dates.len() {
                if let Some(parent) = self.parents.get_mut(message) {
                    if let Some(other) = emptied.get(parent) {
                        *parent = *other;
                    }
                }
            }
        }
        let old = roots
            .into_iter()
            .filter(|root| !emptied.contains_key(root) && self.parents.get(*root as usize) == Some(&NONE));
        let mut kept: Vec<u32> = old.collect();
        kept.extend(table.values().map(|(root, _)| *root).filter(|root| self.is_dummy(*root)));
        kept.sort_unstable();
        kept.dedup();
        self.roots = kept;
    }

    fn put_under(&mut self, message: u32, parent: u32) {
        if let Some(place) = self.parents.get_mut(message as usize) {
            *place = parent;
        }
        self.hear(parent, message);
    }

    /// A dummy's earliest child may be another now.
    fn hear(&mut self, dummy: u32, message: u32) {
        let earliest = self.speaker(dummy);
        let is_earlier = (self.date(message), message) < (self.date(earliest), earliest);
        if let Some(at) = (dummy as usize).checked_sub(self.dates.len()) {
            if let Some(place) = self.earliest.get_mut(at).filter(|_| is_earlier || earliest == NONE) {
                *place = message;
            }
        }
    }

    /// The order of REFS.
    fn sort_roots_by_latest(&mut self) {
        // Which root each message is under: parents come before their children in this order, or are asked again.
        let nodes = self.parents.len();
        let mut root_of = vec![NONE; nodes];
        let mut latest = vec![(i64::MIN, 0u32); nodes];
        let mut way = Vec::new();
        for &message in &self.by_date {
            let mut node = message;
            let root = loop {
                match root_of.get(node as usize) {
                    Some(&known) if known != NONE => break known,
                    _ => {}
                }
                way.push(node);
                match self.parents.get(node as usize) {
                    Some(&parent) if parent != NONE => node = parent,
                    _ => break node,
                }
            };
            for node in way.drain(..) {
                if let Some(place) = root_of.get_mut(node as usize) {
                    *place = root;
                }
            }
            if let Some(place) = latest.get_mut(root as usize) {
                *place = (*place).max((self.date(message), message));
            }
        }
        self.roots.sort_unstable_by_key(|root| latest.get(*root as usize).copied());
    }

    /// Step 6 below the roots: siblings in the order of their dates.
    fn threads(self) -> Threads {
        let mut first_child = vec![NONE; self.parents.len()];
        let mut next_sibling = vec![NONE; self.dates.len()];
        // From the latest to the earliest, each before what is there already.
        for &message in self.by_date.iter().rev() {
            let parent = self.parents.get(message as usize).copied().unwrap_or(NONE);
            if let (Some(first), Some(next)) =
                (first_child.get_mut(parent as usize), next_sibling.get_mut(message as usize))
            {
                *next = std::mem::replace(first, message);
            }
        }
        Threads { first_child, next_sibling, roots: self.roots, messages: self.dates.len() }
    }
}

impl Threads {
    /// Threads of one message and its children each, both in order: what ORDEREDSUBJECT makes.
    pub fn flat(messages: usize, heads_and_children: &[(u32, &[u32])]) -> Threads {
        let (mut first_child, mut next_sibling) = (vec![NONE; messages], vec![NONE; messages]);
        for (head, children) in heads_and_children {
            let mut next = NONE;
            for &child in children.iter().rev() {
                if let Some(place) = next_sibling.get_mut(child as usize) {
                    *place = std::mem::replace(&mut next, child);
                }
            }
            if let Some(place) = first_child.get_mut(*head as usize) {
                *place = next;
            }
        }
        let roots = heads_and_children.iter().map(|(head, _)| *head).collect();
        Threads { first_child, next_sibling, roots, messages }
    }

    /// Whether the node stands for nothing but its children.
    pub fn is_dummy(&self, node: u32) -> bool {
        node as usize >= self.messages
    }

    /// A node's first child.
    pub fn first_child(&self, node: u32) -> Option<u32> {
        self.first_child.get(node as usize).copied().filter(|child| *child != NONE)
    }

    /// The next child of the same parent. Roots are in [`Threads::roots`].
    pub fn next_sibling(&self, node: u32) -> Option<u32> {
        self.next_sibling.get(node as usize).copied().filter(|sibling| *sibling != NONE)
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
