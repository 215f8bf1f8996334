//! Doors for `fuzz/` to decoders that nobody else has to reach. Input as a file would hold it, checksums made good: those
//! find accidents, and a fuzzer would not get past them.

use super::blocks::Blocks;
use super::index::{HEADER, Header, Index};
use super::mailbox::log::Entry;
use super::mailbox::view::View;
use super::quota;
use super::{index, mailbox};

/// Octets of the largest index that is made here.
const INDEX_MAX: usize = 1 << 16;

/// An index whose content is this, everything that can be asked of it, and a log after it: entries as they stand in a frame.
pub fn index_and_log(content: &[u8], log: &[u8]) {
    let Some(index) = sealed(content) else { return };
    ask(&index);
    let mut view = View::new(index);
    let mut fields = index::Decoder(log);
    while !fields.0.is_empty() {
        let Some(entry) = Entry::decode(&mut fields) else { break };
        if view.apply(entry).is_err() {
            return;
        }
    }
    check(&view);
    view.bury();
    check(&view);
    view.announce();
    check(&view);
}

fn sealed(content: &[u8]) -> Option<Index> {
    let head: [u8; HEADER as usize] = content.get(..HEADER as usize)?.try_into().ok()?;
    let header = Header::decode(&head)?;
    let mut bytes = Vec::new();
    let mut blocks = Blocks::new(&mut bytes, header.nonce);
    blocks.push(content).ok()?;
    blocks.finish().ok()?;
    // As long as it says that it is.
    let index = Index::in_memory(bytes.clone());
    let wanted = (1..INDEX_MAX / super::blocks::BLOCK).map(|blocks| blocks * super::blocks::BLOCK);
    index.or_else(|| {
        wanted.filter(|&length| length > bytes.len()).find_map(|length| {
            let mut longer = content.to_vec();
            longer.resize(length / super::blocks::BLOCK * super::blocks::CONTENT, 0);
            let mut bytes = Vec::new();
            let mut blocks = Blocks::new(&mut bytes, header.nonce);
            blocks.push(&longer).ok()?;
            blocks.finish().ok()?;
            Index::in_memory(bytes)
        })
    })
}

fn ask(index: &Index) {
    let mut space = Vec::new();
    for i in 0..index.header.count.min(10_000) {
        let Ok(row) = index.row(i) else { continue };
        let _ = index.parts(&row, &mut space);
        let _ = index.at_place(i);
        let _ = index.at_or_after(row.uid);
    }
    let _ =
        (index.at_or_after(0), index.at_or_after(u32::MAX), index.row(index.header.count), index.extras());
}

/// Message sequence numbers and rows belong to each other.
fn check(view: &View) {
    assert!(view.len() <= view.rows(), "more messages than rows");
    for msn in 1..=view.len().min(10_000) {
        assert_eq!(view.msn_of(view.row_of(msn)), Some(msn), "of {}", view.len());
    }
    let mut space = Vec::new();
    for row in 0..view.rows().min(10_000) {
        if let Ok(data) = view.row(row) {
            let _ = view.name(row, &data, &mut space);
        }
    }
}

/// `maildirsize`.
pub fn maildirsize(text: &[u8]) {
    quota::read_again(text);
}

/// Courier's lists of keywords, and `dovecot-keywords`.
pub fn keyword_lists(text: &[u8]) {
    mailbox::read_keyword_lists(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a fuzzer begins with: a real index and its log.
    const SEED: &[u8] = include_bytes!("../../../fuzz/seeds/store_index/small");

    proptest! {
        #[test]
        fn damage_is_no_panic(changes in proptest::collection::vec((0..SEED.len(), any::<u8>()), 0..8), cut in 0..SEED.len()) {
            let mut octets = SEED.to_vec();
            for (at, octet) in changes {
                octets[at] = octet;
            }
            if cut % 4 == 0 {
                octets.truncate(cut.max(2));
            }
            let (length, rest) = octets.split_first_chunk().unwrap();
            let (content, log) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
            index_and_log(content, log);
        }
    }

    #[test]
    fn what_is_an_index_is_taken_for_one() {
        let mut bytes = Vec::new();
        let mut header = Header::default();
        (header.uid_validity, header.next_uid) = (7, 1);
        index::write(&mut bytes, header, &index::Extras::default(), |_| Ok(())).unwrap();
        let content: Vec<u8> = bytes
            .chunks(super::super::blocks::BLOCK)
            .flat_map(|block| &block[..super::super::blocks::CONTENT])
            .copied()
            .collect();
        assert!(sealed(&content).is_some());
        assert!(sealed(&content[..HEADER as usize]).is_some());
        assert!(sealed(b"short").is_none());
        index_and_log(&content, b"X\x01\0\0\0");
        maildirsize(b"10S\n1 1\n");
        keyword_lists(b"a\n\n1.x:0\n");
    }
}
