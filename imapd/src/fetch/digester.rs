//! Making digests: one reading of a message's file.

use super::{envelope, structure};
use crate::digest::{self, Parts};
use common::mime::address::Reader;
use common::mime::header::{Name, unfold};
use common::mime::tree::Tree;
use common::mime::{date, message_id};
use std::io::{self, Read};

/// Makes digests one after the other, in memory that is used again.
#[derive(Default)]
pub struct Digester {
    /// Of the message read last.
    pub tree: Tree,
    reader: Reader,
    envelope: Vec<u8>,
    structure: Vec<u8>,
    references: Vec<u64>,
    blob: Vec<u8>,
}

impl Digester {
    /// Reads a message and makes its digest. The buffer is to read into; see [`Tree::read`].
    pub fn digest(
        &mut self,
        message: &mut impl Read,
        buffer: &mut [u8],
        internal_date: i64,
    ) -> io::Result<&[u8]> {
        self.tree.read(message, buffer)?;
        Ok(self.of_tree(internal_date))
    }

    /// Makes the digest of the message whose tree has been read.
    pub fn of_tree(&mut self, internal_date: i64) -> &[u8] {
        self.envelope.clear();
        envelope::print(&self.tree, 0, &mut self.reader, &mut self.envelope);
        self.structure.clear();
        structure::print(&self.tree, &mut self.structure);
        self.references.clear();
        let mut message_id = None;
        let mut replied_to = None;
        let mut sent = None;
        for (name, value) in self.tree.fields(0) {
            match name {
                Name::Date => sent = date::parse(&unfold(value)).map(|date| (date.seconds, date.day)),
                Name::MessageId => message_id = message_id::hashes(&unfold(value)).next(),
                Name::InReplyTo => replied_to = message_id::hashes(&unfold(value)).next(),
                Name::References => self.references.extend(message_id::hashes(&unfold(value))),
                _ => {}
            }
        }
        // RFC 5256 section 3, REFERENCES (1): the first of In-Reply-To where there are no references.
        if self.references.is_empty() {
            self.references.extend(replied_to);
        }
        self.blob.clear();
        let octets = self.tree.parts().first().map_or(0, |part| part.end.octets);
        let parts = Parts {
            internal_date,
            octets,
            sent,
            message_id,
            references: &self.references,
            envelope: &self.envelope,
            structure: &self.structure,
        };
        digest::encode(&parts, &mut self.blob);
        &self.blob
    }

    /// The digest made last.
    pub fn last(&self) -> &[u8] {
        &self.blob
    }

    /// Gives back memory beyond what ordinary messages need.
    pub fn shrink(&mut self) {
        const USUAL: usize = 16 << 10;
        self.tree.shrink();
        self.reader = Reader::default();
        for buffer in [&mut self.envelope, &mut self.structure, &mut self.blob] {
            buffer.clear();
            buffer.shrink_to(USUAL);
        }
        self.references.clear();
        self.references.shrink_to(digest::REFERENCES_MAX);
    }
}
