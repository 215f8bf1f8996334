//! ENVELOPE (RFC 3501 section 7.4.2), from a message's header.
//!
//! Field values are a stranger's. What an address lacks is said in the words that Dovecot uses, since a missing host would
//! mean a group to the client.

use crate::grammar::print;
use common::mime::address::{self, Entry, Reader};
use common::mime::header::{Name, unfold};
use common::mime::tree::Tree;
use std::ops::ControlFlow;

const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";

/// Prints the envelope of the message whose header this part of the tree has.
pub fn print(tree: &Tree, part: usize, reader: &mut Reader, out: &mut Vec<u8>) {
    out.push(b'(');
    text(tree, part, Name::Date, out);
    out.push(b' ');
    text(tree, part, Name::Subject, out);
    out.push(b' ');
    let from = out.len();
    addresses(tree, part, Name::From, reader, out);
    let from = from..out.len();
    for name in [Name::Sender, Name::ReplyTo] {
        out.push(b' ');
        // Absent or empty: RFC 3501 has the server put From's in place.
        if !addresses(tree, part, name, reader, out) {
            out.truncate(out.len().saturating_sub(b"NIL".len()));
            out.extend_from_within(from.clone());
        }
    }
    for name in [Name::To, Name::Cc, Name::Bcc] {
        out.push(b' ');
        addresses(tree, part, name, reader, out);
    }
    out.push(b' ');
    text(tree, part, Name::InReplyTo, out);
    out.push(b' ');
    text(tree, part, Name::MessageId, out);
    out.push(b')');
}

/// A field's value on one line: NIL if it is absent, empty if it is. Of several the last one, as Dovecot has it.
fn text(tree: &Tree, part: usize, name: Name, out: &mut Vec<u8>) {
    let value = tree.fields(part).filter(|(other, _)| *other == name).last();
    match value {
        Some((_, value)) => print::string(out, &unfold(value)),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// The addresses of all fields of this name, or NIL. Whether there were any.
fn addresses(tree: &Tree, part: usize, name: Name, reader: &mut Reader, out: &mut Vec<u8>) -> bool {
    let begun = out.len();
    out.push(b'(');
    let mut room = address::ADDRESSES_MAX;
    for (_, value) in tree.fields(part).filter(|(other, _)| *other == name) {
        if room == 0 {
            break;
        }
        reader.parse(&unfold(value), &mut |entry| {
            row(entry, out);
            // A group that is open is still closed.
            room = room.saturating_sub(1);
            if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    if out.len() == begun + 1 {
        out.truncate(begun);
        out.extend_from_slice(b"NIL");
        return false;
    }
    out.push(b')');
    true
}

fn row(entry: Entry<'_>, out: &mut Vec<u8>) {
    match entry {
        Entry::Mailbox { name, route, local, domain } => {
            let or = |text: &'static [u8], value| if <[u8]>::is_empty(value) { text } else { value };
            out.push(b'(');
            nstring(out, name);
            out.push(b' ');
            nstring(out, route);
            out.push(b' ');
            print::string(out, or(MISSING_MAILBOX, local));
            out.push(b' ');
            print::string(out, or(MISSING_DOMAIN, domain));
            out.push(b')');
        }
        Entry::GroupStart(name) => {
            out.extend_from_slice(b"(NIL NIL ");
            print::string(out, name);
            out.extend_from_slice(b" NIL)");
        }
        Entry::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
    }
}

/// NIL for what is empty.
fn nstring(out: &mut Vec<u8>, text: &[u8]) {
    print::nstring(out, Some(text).filter(|text| !text.is_empty()));
}
