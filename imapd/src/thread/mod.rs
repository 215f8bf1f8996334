//! THREAD (RFC 5256 section 3): ORDEREDSUBJECT, REFERENCES, and REFS of draft-ietf-morg-inthread.
//!
//! ```text
//! tree   messages linked by their references     print   threads as the response has them
//! ```

pub mod print;
pub mod tree;

use crate::base_subject;
use crate::digest::{Digest, EnvelopeField};
use crate::grammar::{ThreadAlgorithm, ThreadArguments};
use crate::printed;
use crate::reply::Failure;
use crate::search::engine::{self, Extent};
use crate::search::messages::Messages;
use crate::search::{self, Show, words};
use std::hash::{DefaultHasher, Hasher};
use tree::{Subject, Threads, Tree};

/// Searches and threads what was found, and shows the untagged response, which has no modification sequence (RFC 7162
/// section 3.1.9). Whether it was about them.
pub fn answer(
    messages: &mut impl Messages,
    uid: bool,
    arguments: &ThreadArguments,
    show: Show<'_>,
) -> Result<bool, Failure> {
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
    show(b"\r\n")?;
    Ok(program.has_modseq)
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
        self.folded.clear();
        if let Some(octets) = printed::nstring(digest.envelope_part(EnvelopeField::Subject)) {
            words::fold(&octets, &mut self.folded, &mut self.text, &mut self.raw);
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
) -> Result<(), Failure> {
    let mut next = found.first();
    while let Some(msn) = next {
        if messages.digest(msn, &mut show)?.is_none() {
            found.remove(msn);
        }
        messages.look()?;
        next = msn.checked_add(1).and_then(|msn| found.at_or_after(msn));
    }
    Ok(())
}

fn references(
    messages: &mut impl Messages,
    found: &mut search::found::Found,
    by_subject: bool,
) -> Result<Threads, Failure> {
    let mut heads = Vec::with_capacity(found.count() as usize);
    digests(messages, found, |digest| heads.push((sent(digest), digest.message_id())))?;
    let mut tree = Tree::new(heads.into_iter());
    // What vanishes only now has no references: the messages are numbered already.
    for (node, msn) in found.iter().enumerate() {
        messages.digest(msn, |digest| tree.link(node as u32, digest.references()))?;
        messages.look()?;
    }
    if !by_subject {
        return Ok(tree.refs());
    }
    let msns: Vec<u32> = found.iter().collect();
    let (mut subjects, mut failed) = (Subjects::default(), None);
    let threads = tree.references(|node| {
        let msn = msns.get(node as usize).copied().unwrap_or(0);
        if failed.is_some() {
            return Subject::default();
        }
        let subject = messages.digest(msn, |digest| subjects.subject(digest)).map_err(Failure::from);
        match subject.and_then(|subject| Ok((subject, messages.look()?))) {
            Ok((subject, ())) => subject.unwrap_or_default(),
            Err(failure) => {
                failed = Some(failure);
                Subject::default()
            }
        }
    });
    failed.map_or(Ok(threads), Err)
}

/// ORDEREDSUBJECT: a thread for each base subject, the messages by their sent dates, all behind the first its children.
fn by_subject(messages: &mut impl Messages, found: &mut search::found::Found) -> Result<Threads, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::SearchKey;
    use crate::search::testing::Fake;

    fn threads(fake: &mut Fake, algorithm: ThreadAlgorithm, uid: bool, key: SearchKey) -> String {
        let arguments = ThreadArguments { algorithm, charset: b"utf-8".to_vec(), key };
        let mut out = Vec::new();
        answer(fake, uid, &arguments, &mut |octets| {
            out.extend_from_slice(octets);
            Ok(())
        })
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    fn mailbox() -> Fake {
        Fake::new(&[
            "Message-ID: <a@x>\nSubject: One\nDate: Thu, 1 Jan 1998 10:00:00 +0000\n\n",
            "Message-ID: <b@x>\nSubject: Two\nDate: Thu, 1 Jan 1998 11:00:00 +0000\n\n",
            "Message-ID: <c@x>\nIn-Reply-To: <a@x>\nSubject: Re: One\nDate: Thu, 1 Jan 1998 14:00:00 +0000\n\n",
            "Message-ID: <d@x>\nReferences: <a@x>\n <c@x>\nSubject: Other\nDate: Thu, 1 Jan 1998 13:00:00 +0000\n\n",
            "Message-ID: <e@x>\nSubject: Re: =?utf-8?q?tWO?=\nDate: Thu, 1 Jan 1998 12:00:00 +0000\n\n",
        ])
    }

    #[test]
    fn answers() {
        use ThreadAlgorithm::{OrderedSubject, References, Refs};
        let all = || SearchKey::All;
        for (algorithm, uid, key, want) in [
            (References, false, all(), "* THREAD (1 3 4)(2 5)"),
            (References, true, all(), "* THREAD (10 30 40)(20 50)"),
            (Refs, false, all(), "* THREAD (2)(5)(1 3 4)"),
            (OrderedSubject, false, all(), "* THREAD (1 3)(2 5)(4)"),
            (References, false, SearchKey::Not(Box::new(all())), "* THREAD"),
            (References, false, SearchKey::Subject(b"o".to_vec()), "* THREAD (1 3 4)(2 5)"),
            (References, true, SearchKey::Subject(b"one".to_vec()), "* THREAD (10 30)"),
            // Without the message between: the one before it.
            (References, false, SearchKey::Not(Box::new(SearchKey::Uids(uids(30)))), "* THREAD (1 4)(2 5)"),
            (References, false, SearchKey::Not(Box::new(SearchKey::Uids(uids(10)))), "* THREAD (2 5)(3 4)"),
        ] {
            assert_eq!(
                threads(&mut mailbox(), algorithm, uid, key.clone()),
                format!("{want}\r\n"),
                "{algorithm:?} {key:?}"
            );
        }
    }

    fn uids(uid: u32) -> crate::grammar::SequenceSet {
        crate::grammar::SequenceSet::new(vec![crate::grammar::SequenceRange { first: uid, last: uid }])
    }

    #[test]
    fn what_has_vanished_is_in_no_thread() {
        for algorithm in [ThreadAlgorithm::References, ThreadAlgorithm::Refs, ThreadAlgorithm::OrderedSubject]
        {
            let mut fake = mailbox();
            fake.gone.extend([2, 3, 5]);
            let got = threads(&mut fake, algorithm, false, SearchKey::All);
            let want = if algorithm == ThreadAlgorithm::OrderedSubject { "(1)(4)" } else { "(1 4)" };
            assert_eq!(got, format!("* THREAD {want}\r\n"));
        }
    }

    /// The example of RFC 5256 section 3, ORDEREDSUBJECT: no grandchildren.
    #[test]
    fn ordered_subject_has_two_levels() {
        let mails: Vec<String> =
            (0..4).map(|n| format!("Subject: s\nDate: Thu, 1 Jan 1998 10:00:0{} +0000\n\n", 4 - n)).collect();
        let got = threads(&mut Fake::new(&mails), ThreadAlgorithm::OrderedSubject, false, SearchKey::All);
        assert_eq!(got, "* THREAD (4 (3)(2)(1))\r\n");
    }
}
