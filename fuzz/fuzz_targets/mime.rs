//! A message's parts, and what is printed of them.
#![no_main]

use common::mime::position::Counter;
use common::mime::tree::{BUFFER_MIN, Kind, Tree};
use imapd::digest::Digest;
use imapd::fetch::{digester::Digester, structure};
use imapd::printed;
use libfuzzer_sys::fuzz_target;
use std::io::{self, Read};

/// Hands out pieces whose length the message itself decides.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let piece = usize::from(self.0.first().copied().unwrap_or(0) % 67) + 1;
        let length = piece.min(room.len()).min(self.0.len());
        let (now, later) = self.0.split_at(length);
        room[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

fn octets(text: &[u8]) -> (u64, u64) {
    let mut counter = Counter::default();
    counter.advance(text);
    (counter.position.octets, counter.position.lines)
}

fn check(tree: &Tree, message: &[u8]) {
    let parts = tree.parts();
    assert_eq!((parts[0].end.octets, parts[0].end.lines), octets(message));
    for (number, part) in parts.iter().enumerate() {
        assert!(part.header <= part.body && part.body <= part.end);
        let body = &message[part.body.offset as usize..part.end.offset as usize];
        assert_eq!((part.body_octets(), part.body_lines()), octets(body));
        let mut after = part.body.offset;
        for child in tree.children(number) {
            assert!(parts[child].header.offset >= after && parts[child].end.offset <= part.end.offset);
            after = parts[child].end.offset;
        }
        assert_eq!(tree.children(number).count() > 0, part.kind != Kind::Leaf);
    }
}

fuzz_target!(|message: &[u8]| {
    let mut digester = Digester::default();
    digester.tree.read_whole(message);
    check(&digester.tree, message);
    let mut tree = Tree::new();
    tree.read(&mut Pieces(message), &mut [0; BUFFER_MIN]).expect("memory");
    let places = |tree: &Tree| -> Vec<_> {
        tree.parts().iter().map(|part| (part.kind, part.header, part.body, part.end)).collect()
    };
    assert_eq!(places(&tree), places(&digester.tree));
    let blob = digester.of_tree(0).to_vec();
    let digest = Digest::decode(&blob).expect("what was made can be read");
    assert_eq!(digest.envelope_parts().count(), 10);
    assert_eq!(digest.octets(), octets(message).0);
    let mut body = Vec::new();
    structure::print_body(digest.structure(), &mut body);
    assert!(printed::list(&body).count() >= 2 && body.len() <= digest.structure().len());
    // Any octets for a digest.
    if let Some(digest) = Digest::decode(message) {
        digest.envelope_parts().for_each(drop);
        structure::print_body(digest.structure(), &mut body);
    }
});
