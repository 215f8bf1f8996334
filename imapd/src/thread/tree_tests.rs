use super::super::print::print;
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A message for the tests: Message-ID, references, base subject with `re ` before it for a reply, date.
type Mail<'a> = (&'a str, &'a [&'a str], &'a str, i64);

fn hash(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
}

fn tree(mails: &[Mail<'_>]) -> Tree {
    let mut tree = Tree::new(mails.iter().map(|mail| (mail.3, (!mail.0.is_empty()).then(|| hash(mail.0)))));
    for (at, mail) in mails.iter().enumerate() {
        tree.link(at as u32, mail.1.iter().map(|id| hash(id)));
    }
    tree
}

fn subject(mails: &[Mail<'_>], at: u32) -> Subject {
    let text = mails[at as usize].2;
    let (base, is_reply) = match text.strip_prefix("re ") {
        Some(base) => (base, true),
        None => (text, false),
    };
    Subject { hash: (!base.is_empty()).then(|| hash(base)), is_reply }
}

fn shown(threads: &Threads, count: usize) -> String {
    let numbers: Vec<u32> = (1..=count as u32).collect();
    let mut out = Vec::new();
    print::<()>(threads, &numbers, |octets| {
        out.extend_from_slice(octets);
        Ok(())
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

fn references(mails: &[Mail<'_>]) -> String {
    shown(&tree(mails).references(|at| subject(mails, at)), mails.len())
}

fn refs(mails: &[Mail<'_>]) -> String {
    shown(&tree(mails).refs(), mails.len())
}

#[test]
fn step_by_step() {
    let table: &[(&str, &[Mail<'_>], &str)] = &[
        ("nothing", &[], ""),
        ("one", &[("a", &[], "s", 1)], "(1)"),
        ("a reply", &[("a", &[], "s", 1), ("b", &["a"], "re s", 2)], "(1 2)"),
        ("the reply first", &[("b", &["a"], "re s", 2), ("a", &[], "s", 1)], "(2 1)"),
        ("a chain", &[("a", &[], "s", 1), ("b", &["a"], "s", 2), ("c", &["a", "b"], "s", 3)], "(1 2 3)"),
        (
            "siblings by date",
            &[("a", &[], "s", 1), ("b", &["a"], "s", 3), ("c", &["a"], "s", 2)],
            "(1 (3)(2))",
        ),
        (
            "siblings of one date by number",
            &[("a", &[], "s", 1), ("b", &["a"], "s", 2), ("c", &["a"], "s", 2)],
            "(1 (2)(3))",
        ),
        // RFC 5256 section 4: "(3 6 (4 23)(44 7 96))".
        (
            "the example",
            &[
                ("3", &[], "s", 1),
                ("6", &["3"], "s", 2),
                ("4", &["6"], "s", 3),
                ("23", &["4"], "s", 4),
                ("44", &["6"], "s", 5),
                ("7", &["44"], "s", 6),
                ("96", &["7"], "s", 7),
            ],
            "(1 2 (3 4)(5 6 7))",
        ),
        ("a missing parent of one", &[("b", &["a"], "s", 1)], "(1)"),
        ("a missing parent of two", &[("b", &["a"], "s", 2), ("c", &["a"], "t", 1)], "((2)(1))"),
        (
            "a missing message in the middle",
            &[("a", &[], "s", 1), ("c", &["a", "b"], "s", 2), ("d", &["a", "b"], "s", 3)],
            "(1 (2)(3))",
        ),
        (
            "a chain of missing ones",
            &[("d", &["a", "b", "c"], "s", 1), ("e", &["a", "x"], "t", 2)],
            "((1)(2))",
        ),
        ("roots by date", &[("a", &[], "s", 2), ("b", &[], "t", 1)], "(2)(1)"),
        (
            "a dummy root by its first child",
            &[("a", &[], "s", 2), ("b", &["x"], "t", 3), ("c", &["x"], "t", 1)],
            "((3)(2))(1)",
        ),
        ("a loop", &[("a", &["b"], "s", 1), ("b", &["a"], "s", 2)], "(2 1)"),
        ("a loop of itself", &[("a", &["a"], "s", 1)], "(1)"),
        (
            "a loop within a header",
            &[("c", &["a", "b", "a"], "s", 1), ("a", &[], "s", 2), ("b", &[], "t", 3)],
            "(2 1)(3)",
        ),
        (
            "the first header that says it is believed",
            &[("x", &["a", "b"], "s", 1), ("y", &["c", "b"], "t", 2), ("z", &["c"], "u", 3)],
            "((1)(2))(3)",
        ),
        (
            "the message's own header is believed more",
            &[("x", &["a", "b"], "s", 1), ("b", &["c"], "t", 2), ("c", &[], "t", 3)],
            "(3 2 1)",
        ),
        (
            "a duplicate is another message",
            &[("a", &[], "s", 1), ("a", &[], "t", 2), ("b", &["a"], "s", 3)],
            "(1 3)(2)",
        ),
        ("without Message-IDs", &[("", &[], "s", 1), ("", &[], "t", 2)], "(1)(2)"),
        // Step 5.
        ("equal subjects", &[("a", &[], "s", 1), ("b", &[], "s", 2)], "((1)(2))"),
        ("a reply by subject", &[("a", &[], "s", 1), ("b", &[], "re s", 2)], "(1 2)"),
        ("a reply by subject that is earlier", &[("b", &[], "re s", 1), ("a", &[], "s", 2)], "(2 1)"),
        ("two replies", &[("a", &[], "re s", 1), ("b", &[], "re s", 2)], "((1)(2))"),
        ("empty subjects", &[("a", &[], "", 1), ("b", &[], "re ", 2)], "(1)(2)"),
        (
            "three of one subject",
            &[("a", &[], "s", 1), ("b", &[], "s", 2), ("c", &[], "re s", 3)],
            "((1)(2)(3))",
        ),
        ("into a dummy", &[("a", &["x"], "s", 2), ("b", &["x"], "s", 3), ("c", &[], "s", 1)], "((3)(1)(2))"),
        (
            "two dummies",
            &[("a", &["x"], "s", 1), ("b", &["x"], "s", 4), ("c", &["y"], "s", 2), ("d", &["y"], "s", 3)],
            "((1)(3)(4)(2))",
        ),
        (
            "children come along",
            &[("a", &[], "s", 5), ("b", &["a"], "t", 6), ("c", &[], "re s", 1), ("d", &["c"], "t", 2)],
            "(1 (3 4)(2))",
        ),
        (
            "a dummy's subject is its first child's",
            &[("a", &["x"], "t", 2), ("b", &["x"], "s", 1), ("c", &[], "s", 3)],
            "((2)(1)(3))",
        ),
    ];
    for (what, mails, want) in table {
        assert_eq!(&references(mails), want, "{what}");
    }
}

#[test]
fn refs_by_the_latest_and_without_subjects() {
    let table: &[(&[Mail<'_>], &str)] = &[
        (&[("a", &[], "s", 1), ("b", &[], "s", 2)], "(1)(2)"),
        (&[("a", &[], "s", 1), ("b", &[], "s", 2), ("c", &["a"], "s", 3)], "(2)(1 3)"),
        (&[("b", &["x"], "s", 1), ("c", &[], "s", 2), ("d", &["x"], "s", 3)], "(2)((1)(3))"),
        (&[("a", &[], "s", 1), ("b", &[], "s", 1)], "(1)(2)"),
    ];
    for (mails, want) in table {
        assert_eq!(&refs(mails), want, "{mails:?}");
    }
}

/// Names of as many messages as a chain has, and the hash of each.
fn chain(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn deep_threads() {
    const COUNT: usize = 100_000;
    let ids: Vec<u64> = chain(COUNT as u64).collect();
    let orders: [Vec<usize>; 3] =
        [(0..COUNT).collect(), (0..COUNT).rev().collect(), (0..COUNT).map(|at| at * 7919 % COUNT).collect()];
    for order in orders {
        let mut tree = Tree::new(order.iter().map(|at| (*at as i64, Some(ids[*at]))));
        for (node, &at) in order.iter().enumerate() {
            tree.link(node as u32, ids[at.saturating_sub(8)..at].iter().copied());
        }
        let threads = tree.references(|_| Subject { hash: Some(1), is_reply: false });
        let text = shown(&threads, COUNT);
        assert!(text.starts_with('(') && !text[1..].contains('(') && text.matches(' ').count() == COUNT - 1);
    }
}

#[test]
fn work_is_bounded() {
    // Each message says that the deepest one is its parent, again and again from another end.
    const COUNT: usize = 40_000;
    let ids: Vec<u64> = chain(COUNT as u64).collect();
    let mut tree = Tree::new(ids.iter().map(|id| (0, Some(*id))));
    for at in (0..COUNT).rev() {
        let references = [ids[(at + COUNT / 2) % COUNT], ids[(at * 31 + 7) % COUNT], ids[(at + 1) % COUNT]];
        tree.link(at as u32, references.into_iter());
    }
    assert_eq!(counts(&tree.refs(), COUNT), COUNT);
}

#[test]
fn dummies_are_bounded() {
    // Each message refers to what nobody else does, but for the last reference, which two have.
    for (count, each) in [(10, DUMMIES as u64 / 4), (DUMMIES as u32, 5)] {
        let mut tree = Tree::new((0..count).map(|at| (i64::from(at), None)));
        for at in 0..count {
            let own = u64::from(at + 1) << 32;
            tree.link(at, (0..each).map(|n| own + n).chain([u64::from(at / 2)]));
        }
        let dummies = tree.parents.len() - count as usize;
        assert!((DUMMIES - 10..=DUMMIES.max(2 * count as usize)).contains(&dummies), "{dummies}");
        let threads = tree.refs();
        assert_eq!(threads.roots.len(), count as usize / 2);
        assert_eq!(counts(&threads, count as usize), count as usize);
    }
}

#[test]
fn many_missing_ancestors() {
    let missing: Vec<String> = (0..40).map(|n| format!("g{n}@y")).collect();
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let mails: &[Mail<'_>] =
        &[("a", &missing, "r", 1), ("b", &["lost@y"], "s", 2), ("c", &["lost@y"], "t", 3)];
    assert_eq!(references(mails), "(1)((2)(3))");
    assert_eq!(refs(mails), "(1)((2)(3))");
}

/// How many messages are shown; panics if one is shown twice.
fn counts(threads: &Threads, count: usize) -> usize {
    let text = shown(threads, count);
    let numbers: Vec<u32> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(unique.len(), numbers.len(), "{text}");
    numbers.len()
}

/// Nodes as RFC 5256 speaks of them, step by step and slowly.
#[derive(Default, Clone, Debug)]
struct Node {
    parent: Option<usize>,
    children: Vec<usize>,
    message: Option<usize>,
}

/// The naive algorithm, on owned nodes.
struct Naive<'m> {
    mails: &'m [Mail<'m>],
    nodes: Vec<Node>,
}

impl<'m> Naive<'m> {
    fn unlink(&mut self, child: usize) {
        if let Some(parent) = self.nodes[child].parent.take() {
            self.nodes[parent].children.retain(|&node| node != child);
        }
    }

    fn put(&mut self, child: usize, parent: usize) {
        self.unlink(child);
        self.nodes[child].parent = Some(parent);
        self.nodes[parent].children.push(child);
    }

    fn loops(&self, child: usize, parent: usize) -> bool {
        let mut node = Some(parent);
        while let Some(at) = node {
            if at == child {
                return true;
            }
            node = self.nodes[at].parent;
        }
        false
    }

    fn key(&self, node: usize) -> (i64, usize) {
        match self.nodes[node].message {
            Some(message) => (self.mails[message].3, message),
            None => self.nodes[node].children.iter().map(|&child| self.key(child)).min().unwrap(),
        }
    }

    fn prune(&mut self, list: Vec<usize>, is_root: bool) -> Vec<usize> {
        let mut kept = Vec::new();
        for node in list {
            let children = std::mem::take(&mut self.nodes[node].children);
            let children = self.prune(children, false);
            if self.nodes[node].message.is_some() || (is_root && children.len() > 1) {
                self.nodes[node].children = children;
                kept.push(node);
            } else {
                kept.extend(children);
            }
        }
        kept
    }

    fn subject(&self, node: usize) -> Subject {
        subject(self.mails, self.key(node).1 as u32)
    }

    fn text(&self, node: usize) -> String {
        let mut children = self.nodes[node].children.clone();
        children.sort_by_key(|&child| self.key(child));
        let number = self.nodes[node].message.map_or(String::new(), |message| (message + 1).to_string());
        let space = if number.is_empty() { "" } else { " " };
        match children.as_slice() {
            [] => number,
            [child] => format!("{number}{space}{}", self.text(*child)),
            many => {
                let lists: String = many.iter().map(|&child| format!("({})", self.text(child))).collect();
                format!("{number}{space}{lists}")
            }
        }
    }

    fn threads(mails: &'m [Mail<'m>], by_subject: bool) -> String {
        let mut this = Naive { mails, nodes: Vec::new() };
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, mail) in mails.iter().enumerate() {
            this.nodes.push(Node { message: Some(at), ..Node::default() });
            if !mail.0.is_empty() {
                ids.entry(mail.0).or_insert(at);
            }
        }
        for (at, mail) in mails.iter().enumerate() {
            let mut before = None;
            for id in mail.1 {
                let count = this.nodes.len();
                let node = *ids.entry(id).or_insert(count);
                if node == count {
                    this.nodes.push(Node::default());
                }
                if let Some(parent) = before {
                    if this.nodes[node].parent.is_none() && !this.loops(node, parent) {
                        this.put(node, parent);
                    }
                }
                before = Some(node);
            }
            this.unlink(at);
            if let Some(parent) = before {
                if !this.loops(at, parent) {
                    this.put(at, parent);
                }
            }
        }
        let roots = (0..this.nodes.len()).filter(|&node| this.nodes[node].parent.is_none()).collect();
        let mut roots = this.prune(roots, true);
        if !by_subject {
            roots.sort_by_key(|&root| this.latest(root));
            return roots.iter().map(|&root| format!("({})", this.text(root))).collect();
        }
        roots.sort_by_key(|&root| this.key(root));
        let mut table: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
        for &root in &roots {
            let subject = this.subject(root);
            let Some(hash) = subject.hash else { continue };
            let is_dummy = |node: usize| this.nodes[node].message.is_none();
            match table.get(&hash) {
                Some(&(kept, reply)) if is_dummy(kept) || !(is_dummy(root) || reply && !subject.is_reply) => {
                }
                _ => {
                    table.insert(hash, (root, subject.is_reply));
                }
            }
        }
        let subjects: Vec<Subject> = roots.iter().map(|&root| this.subject(root)).collect();
        let mut top: Vec<usize> = roots.clone();
        for (&root, subject) in roots.iter().zip(subjects) {
            let Some(hash) = subject.hash else { continue };
            let (kept, reply) = table[&hash];
            if kept == root {
                continue;
            }
            top.retain(|&node| node != root);
            let is_dummy = |node: usize| this.nodes[node].message.is_none();
            if is_dummy(root) {
                assert!(is_dummy(kept));
                let children = std::mem::take(&mut this.nodes[root].children);
                this.nodes[kept].children.extend(children);
            } else if is_dummy(kept) || subject.is_reply && !reply {
                this.nodes[kept].children.push(root);
            } else {
                top.retain(|&node| node != kept);
                top.push(this.nodes.len());
                table.insert(hash, (this.nodes.len(), false));
                this.nodes.push(Node { children: vec![kept, root], ..Node::default() });
            }
        }
        top.sort_by_key(|&root| this.key(root));
        top.iter().map(|&root| format!("({})", this.text(root))).collect()
    }

    fn latest(&self, node: usize) -> (i64, usize) {
        let own = self.nodes[node].message.map(|message| (self.mails[message].3, message));
        let children = self.nodes[node].children.iter().map(|&child| self.latest(child));
        children.chain(own).max().unwrap()
    }
}

const IDS: [&str; 9] = ["", "a", "b", "c", "d", "e", "f", "g", "h"];
const SUBJECTS: [&str; 5] = ["", "s", "re s", "t", "re t"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn as_the_naive_one(
        mails in proptest::collection::vec(
            (0..IDS.len(), proptest::collection::vec(1..IDS.len(), 0..4), 0..SUBJECTS.len(), 0i64..6), 0..12)
    ) {
        let lists: Vec<Vec<&str>> = mails.iter().map(|mail| mail.1.iter().map(|&id| IDS[id]).collect()).collect();
        let mails: Vec<Mail<'_>> = mails.iter().zip(&lists)
            .map(|(mail, list)| (IDS[mail.0], list.as_slice(), SUBJECTS[mail.2], mail.3)).collect();
        prop_assert_eq!(references(&mails), Naive::threads(&mails, true));
        prop_assert_eq!(refs(&mails), Naive::threads(&mails, false));
        prop_assert_eq!(counts(&tree(&mails).refs(), mails.len()), mails.len());
    }
}
