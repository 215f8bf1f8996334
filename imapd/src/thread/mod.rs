//! THREAD (RFC 5256 section 3): ORDEREDSUBJECT, REFERENCES, and REFS of draft-ietf-morg-inthread.
//!
//! ```text
//! tree   messages linked by their references     print   threads as the response has them
//! ```

pub mod print;
pub mod tree;

use crate::base_subject;
use crate::casemap;
use crate::digest::{Digest, EnvelopeField};
use crate::grammar::{ThreadAlgorithm, ThreadArguments};
use crate::printed;
use crate::reply::Failure;
use crate::search::engine::{self, Extent};
use crate::search::messages::Messages;
use crate::search::{self, Show, words};
use common::maildir::StorageError;
use std::hash::{DefaultHasher, Hasher};
use tree::{Subject, Threads, Tree};

/// Searches and threads what was found, and shows the untagged response.
pub fn answer(
    messages: &mut impl Messages,
    uid: bool,
    arguments: &ThreadArguments,
    show: Show<'_>,
) -> Result<(), Failure> {
    let program = search::compile(&arguments.key, Some(&arguments.charset), messages)?;
    let mut found = engine::search(messages, &program, Extent::All)?;
    let threads = match arguments.algorithm {
        ThreadAlgorithm::OrderedSubject => by_subject(messages, &mut found)?,
        ThreadAlgorithm::References => references(messages, &mut found, true)?,
        ThreadAlgorithm::Refs => references(messages, &mut found, false)?,
    };
    let names = search::names(messages, &found, uid)?;
    show(b"* THREAD")?;
    if !names.is_empty() {
        show(b" ")?;
    }
    print::print(&threads, &names, &mut *show)?;
    Ok(show(b"\r\n")?)
}

/// The sent date of RFC 5256 section 2.2.
pub fn sent(digest: &Digest<'_>) -> i64 {
    digest.sent().unwrap_or_else(|| digest.internal_date())
}

/// Memory for reading subjects.
#[derive(Default)]
pub struct Subjects {
    raw: Vec<u8>,
    text: String,
    folded: Vec<u8>,
}

impl Subjects {
    /// The message's base subject.
    pub fn base(&mut self, digest: &Digest<'_>) -> base_subject::BaseSubject<'_> {
        self.text.clear();
        self.folded.clear();
        if let Some(octets) = printed::nstring(digest.envelope_part(EnvelopeField::Subject)) {
            words::decode(&octets, &mut self.text, &mut self.raw);
            casemap::fold(&self.text, &mut self.folded);
            base_subject::squeeze(&mut self.folded);
        }
        base_subject::base(&self.folded)
    }

    fn subject(&mut self, digest: &Digest<'_>) -> Subject {
        let base = self.base(digest);
        let mut hasher = DefaultHasher::new();
        hasher.write(base.text);
        Subject { hash: (!base.text.is_empty()).then(|| hasher.finish()), is_reply: base.is_reply }
    }
}

/// Shows the digests of the messages found. Those that have vanished meanwhile are found no more.
fn digests(
    messages: &mut impl Messages,
    found: &mut search::found::Found,
    mut show: impl FnMut(&Digest<'_>),
) -> Result<(), StorageError> {
    let mut next = found.first();
    while let Some(msn) = next {
        if messages.digest(msn, &mut show)?.is_none() {
            found.remove(msn);
        }
        next = msn.checked_add(1).and_then(|msn| found.at_or_after(msn));
    }
    Ok(())
}

fn references(
    messages: &mut impl Messages,
    found: &mut search::found::Found,
    by_subject: bool,
) -> Result<Threads, StorageError> {
    let mut heads = Vec::with_capacity(found.count() as usize);
    digests(messages, found, |digest| heads.push((sent(digest), digest.message_id())))?;
    let mut tree = Tree::new(heads.into_iter());
    // What vanishes only now has no references: the messages are numbered already.
    for (node, msn) in found.iter().enumerate() {
        messages.digest(msn, |digest| tree.link(node as u32, digest.references()))?;
    }
    if !by_subject {
        return Ok(tree.refs());
    }
    let msns: Vec<u32> = found.iter().collect();
    let (mut subjects, mut failed) = (Subjects::default(), None);
    let threads = tree.references(|node| {
        let msn = msns.get(node as usize).copied().unwrap_or(0);
        match messages.digest(msn, |digest| subjects.subject(digest)) {
            Ok(subject) => subject.unwrap_or_default(),
            Err(error) => {
                failed = Some(error);
                Subject::default()
            }
        }
    });
    failed.map_or(Ok(threads), Err)
}

/// ORDEREDSUBJECT: a thread for each base subject, the messages by their sent dates, all behind the first its children.
fn by_subject(
    messages: &mut impl Messages,
    found: &mut search::found::Found,
) -> Result<Threads, StorageError> {
    let mut subjects = Subjects::default();
    let mut rows: Vec<(Option<u64>, i64, u32)> = Vec::with_capacity(found.count() as usize);
    digests(messages, found, |digest| {
        rows.push((subjects.subject(digest).hash, sent(digest), rows.len() as u32));
    })?;
    rows.sort_unstable();
    let nodes: Vec<u32> = rows.iter().map(|row| row.2).collect();
    let mut threads: Vec<(i64, u32, &[u32])> = Vec::new();
    let mut from = 0;
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let of_group = nodes.get(from..from + group.len()).unwrap_or_default();
        if let (Some(first), Some((head, children))) = (group.first(), of_group.split_first()) {
            threads.push((first.1, *head, children));
        }
        from += group.len();
    }
    threads.sort_unstable_by_key(|thread| (thread.0, thread.1));
    let threads: Vec<(u32, &[u32])> = threads.into_iter().map(|thread| (thread.1, thread.2)).collect();
    Ok(Threads::flat(nodes.len(), &threads))
}
