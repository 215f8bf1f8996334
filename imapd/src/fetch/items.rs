//! The items of a response that are no pieces of the text.

use super::plan::{Item, Plan};
use super::structure;
use crate::digest::Digest;
use crate::grammar::print;
use crate::mailbox::Info;

/// What the index knows.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub octets: Option<u64>,
    pub internal_date: Option<i64>,
}

/// Prints the items that are no pieces of the text.
pub(super) fn print_items(
    line: &mut Vec<u8>,
    plan: &Plan<'_>,
    info: &Info,
    known: Known,
    digest: Option<&Digest<'_>>,
    flags: &[u8],
) {
    let begun = line.len();
    for item in &plan.items {
        separate(line, begun);
        match item {
            Item::Uid => {
                line.extend_from_slice(b"UID ");
                print::number(line, u64::from(info.uid));
            }
            Item::Flags => line.extend_from_slice(flags),
            Item::InternalDate => {
                line.extend_from_slice(b"INTERNALDATE ");
                let date = known.internal_date.or(digest.map(|digest| digest.internal_date()));
                print::date_time(line, date.unwrap_or_default());
            }
            Item::Size => {
                line.extend_from_slice(b"RFC822.SIZE ");
                let octets = known.octets.or(digest.map(|digest| digest.octets()));
                print::number(line, octets.unwrap_or_default());
            }
            Item::ModSeq => {
                line.extend_from_slice(b"MODSEQ (");
                print::number(line, info.modseq);
                line.push(b')');
            }
            Item::Envelope => {
                line.extend_from_slice(b"ENVELOPE ");
                line.extend_from_slice(digest.map_or(b"", |digest| digest.envelope()));
            }
            Item::Body => {
                line.extend_from_slice(b"BODY ");
                structure::print_body(digest.map_or(b"", |digest| digest.structure()), line);
            }
            Item::BodyStructure => {
                line.extend_from_slice(b"BODYSTRUCTURE ");
                line.extend_from_slice(digest.map_or(b"", |digest| digest.structure()));
            }
        }
    }
}

/// A blank, unless what follows is the first.
pub(super) fn separate(line: &mut Vec<u8>, begun: usize) {
    if line.len() > begun {
        line.push(b' ');
    }
}
