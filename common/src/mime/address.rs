//! Lists of addresses (RFC 5322 sections 3.4 and 4.4), and what stands in their place in real mail.
//!
//! What can be told apart is; nothing is refused. An address without angle brackets is one if there is an `@` in it, else a single
//! word is a mailbox of this host, and several are a name. A semicolon outside of a group is a comma, as Outlook writes it.
//! A comment is a name where there is no other, as RFC 822 had it.

use super::token::{Cursor, Ends, SPECIALS};
use std::ops::ControlFlow;

/// Entries of one field. Of more the first ones are seen.
pub const ADDRESSES_MAX: usize = 10_000;

/// One entry of a list. What is missing is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry<'a> {
    /// An address.
    Mailbox {
        /// The display name, quoting removed, encoded words untouched.
        name: &'a [u8],
        /// The obsolete route: `@a,@b`.
        route: &'a [u8],
        /// Before the `@`, quoting removed.
        local: &'a [u8],
        /// Behind the `@`.
        domain: &'a [u8],
    },
    /// A group begins. Its name may be empty.
    GroupStart(&'a [u8]),
    /// The group ends. There is one for each start, and no group within another.
    GroupEnd,
}

/// Shows the entries of an unfolded value to `visit`, until that breaks.
pub fn parse<'v>(value: &[u8], visit: &mut (dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'v)) {
    Reader::default().parse(value, visit);
}

/// The same for a value of which nothing may be missed: its own length is the only bound, and words beside an address that are not
/// its name, such as `bert` in `anna@example.org bert`, are mailboxes, as Postfix takes them.
pub fn parse_all<'v>(value: &[u8], visit: &mut (dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'v)) {
    let reader = &mut Reader::default();
    reader.parse_some(value, usize::MAX, true, visit);
}

/// Reads one list after the other in the same memory.
#[derive(Default)]
pub struct Reader(Words);

impl Reader {
    /// As the function [`parse()`].
    pub fn parse<'v>(&mut self, value: &[u8], visit: &mut (dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'v)) {
        self.parse_some(value, ADDRESSES_MAX, false, visit);
    }

    fn parse_some<'v>(
        &mut self,
        value: &[u8],
        most: usize,
        all: bool,
        visit: &mut (dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'v),
    ) {
        let mut parser = Parser { cursor: Cursor::new(value), words: &mut self.0, in_group: false, all };
        for _ in 0..most {
            match parser.entry(visit) {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return,
                None => break,
            }
        }
        if parser.in_group {
            let _ = visit(Entry::GroupEnd);
        }
    }
}

/// What an entry is put together from, used for one after the other.
#[derive(Default)]
struct Words {
    /// Words with a blank between them where there was something.
    phrase: Vec<u8>,
    /// Where in the phrase the last word begins, words with dots between them being one.
    last: usize,
    /// Where the second one begins, and every further one; only where nothing may be missed.
    starts: Vec<usize>,
    /// Whether the phrase is more than one such word.
    is_many: bool,
    comment: Vec<u8>,
    route: Vec<u8>,
    local: Vec<u8>,
    domain: Vec<u8>,
}

struct Parser<'a, 'w> {
    cursor: Cursor<'a>,
    words: &'w mut Words,
    in_group: bool,
    /// Nothing may be missed.
    all: bool,
}

type Visit<'a, 'v> = &'a mut (dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'v);

impl Parser<'_, '_> {
    /// One entry, or what stands between two. `None` at the end.
    fn entry(&mut self, visit: Visit<'_, '_>) -> Option<ControlFlow<()>> {
        self.words.clear();
        // Commas in a row are not entries (obs-addr-list).
        loop {
            self.cursor.skip_cfws(&mut self.words.comment);
            match self.cursor.peek()? {
                b',' => self.cursor.skip(1),
                b';' => {
                    self.cursor.skip(1);
                    if std::mem::take(&mut self.in_group) {
                        return Some(visit(Entry::GroupEnd));
                    }
                }
                _ => break,
            }
            self.words.comment.clear();
        }
        Some(self.address(visit))
    }

    fn address(&mut self, visit: Visit<'_, '_>) -> ControlFlow<()> {
        let mut has_name = false;
        loop {
            self.phrase();
            match self.cursor.peek() {
                Some(b'<') => {
                    self.angle();
                    has_name = true;
                    break;
                }
                Some(b'@') => {
                    self.words.take_local();
                    self.domain(b",;<");
                    self.cursor.skip_cfws(&mut self.words.comment);
                    // "ann@example.com <ann@example.com>": what was an address is the name.
                    if self.cursor.peek() == Some(b'<') {
                        self.words.address_as_name();
                        self.angle();
                        has_name = true;
                    }
                    break;
                }
                Some(b':') => {
                    self.cursor.skip(1);
                    if std::mem::replace(&mut self.in_group, true) {
                        // No group within a group: its name is nothing.
                        self.words.clear();
                        return ControlFlow::Continue(());
                    }
                    return visit(Entry::GroupStart(&self.words.phrase));
                }
                None | Some(b',' | b';') => {
                    self.words.name_or_mailbox();
                    break;
                }
                // Nothing that belongs here.
                Some(_) => self.cursor.skip(1),
            }
        }
        self.cursor.skip_cfws(&mut self.words.comment);
        if self.all && !has_name {
            self.words.strays(visit)?;
        }
        // What follows an address up to the next comma is nothing that could be told.
        while !self.all && !matches!(self.cursor.peek(), None | Some(b',' | b';')) {
            if !self.cursor.quoted(&mut Vec::new()) {
                self.cursor.skip(1);
                self.cursor.run(const { &Ends::of(b",;\"(") });
            }
            self.cursor.skip_cfws(&mut Vec::new());
        }
        self.words.comment_as_name();
        visit(Entry::Mailbox {
            name: &self.words.phrase,
            route: &self.words.route,
            local: &self.words.local,
            domain: &self.words.domain,
        })
    }

    /// Words, quoted or not, and dots.
    fn phrase(&mut self) {
        let words = &mut *self.words;
        let mut blank = false;
        loop {
            blank |= self.cursor.skip_cfws(&mut words.comment);
            let is_dot = self.cursor.peek() == Some(b'.') || words.phrase.last() == Some(&b'.');
            // Encoded words begin with what no dot joins.
            let joins = !blank || is_dot && !self.cursor.rest().starts_with(b"=?");
            let begun = words.phrase.len();
            let is_further = blank && begun > 0;
            if is_further {
                words.phrase.push(b' ');
            }
            let word = words.phrase.len();
            if !self.cursor.quoted(&mut words.phrase) {
                let run = self.cursor.run(SPECIALS);
                match (run, self.cursor.peek()) {
                    (b"", Some(octet @ (b'"' | b'[' | b']' | b'\\' | b')'))) => {
                        self.cursor.skip(1);
                        // A quote that is not closed means nothing; the others are text.
                        if octet != b'"' {
                            words.phrase.push(octet);
                        }
                    }
                    (b"", _) => {
                        words.phrase.truncate(begun);
                        return;
                    }
                    _ => words.phrase.extend_from_slice(run),
                }
            }
            if is_further && !joins {
                words.last = word;
                words.is_many = true;
                if self.all {
                    words.starts.push(word);
                }
            }
            blank = false;
        }
    }

    /// `<`, a route, an address, `>`.
    fn angle(&mut self) {
        while self.cursor.take(b'<') {}
        let mut scrap = Vec::new();
        self.cursor.skip_cfws(&mut scrap);
        let words = &mut *self.words;
        words.local.clear();
        words.domain.clear();
        if self.cursor.peek() == Some(b'@') {
            let rest = self.cursor.rest();
            let end = rest.iter().position(|octet| matches!(octet, b':' | b'>')).unwrap_or(rest.len());
            if rest.get(end) == Some(&b':') {
                let route = rest.get(..end).unwrap_or_default();
                words.route.extend(route.iter().filter(|octet| !octet.is_ascii_whitespace()));
                self.cursor.skip(end + 1);
            }
        }
        let mut blank = false;
        loop {
            blank |= self.cursor.skip_cfws(&mut scrap);
            match self.cursor.peek() {
                None | Some(b'>' | b',') => break,
                Some(b'@') => {
                    let words = &mut *self.words;
                    if !words.domain.is_empty() {
                        // Another one: the first was part of the local part.
                        words.local.push(b'@');
                        words.local.append(&mut words.domain);
                    }
                    self.domain(b",>");
                    blank = false;
                    continue;
                }
                _ => {}
            }
            let words = &mut *self.words;
            let is_dot = self.cursor.peek() == Some(b'.') || words.local.last() == Some(&b'.');
            if std::mem::take(&mut blank) && !is_dot && !words.local.is_empty() {
                words.local.push(b' ');
            }
            if !self.cursor.quoted(&mut words.local) {
                let rest = self.cursor.rest();
                words.local.extend(rest.first());
                self.cursor.skip(1);
                words.local.extend_from_slice(self.cursor.run(const { &Ends::of(b"<>@,\"()") }));
            }
            blank = self.cursor.skip_cfws(&mut scrap);
        }
        self.cursor.take(b'>');
    }

    /// `@` and what follows it up to one of these; comments and blanks beside dots are left out.
    fn domain(&mut self, until: &[u8]) {
        self.cursor.take(b'@');
        let domain = &mut self.words.domain;
        loop {
            let blank = self.cursor.skip_cfws(&mut self.words.comment);
            let is_dot = self.cursor.peek() == Some(b'.') || domain.last() == Some(&b'.');
            if blank && !is_dot && !domain.is_empty() {
                return;
            }
            if self.cursor.peek() == Some(b'[') {
                let rest = self.cursor.rest();
                let end = rest.iter().position(|octet| matches!(octet, b']' | b',' | b'>'));
                let end = end.map_or(rest.len(), |end| end + usize::from(rest.get(end) == Some(&b']')));
                let literal = rest.get(..end).unwrap_or_default();
                domain.extend(literal.iter().filter(|octet| !octet.is_ascii_whitespace()));
                self.cursor.skip(end);
                continue;
            }
            let run = self.cursor.run(SPECIALS);
            if run.is_empty() || self.cursor.peek().is_some_and(|octet| until.contains(&octet)) {
                domain.extend_from_slice(run);
                return;
            }
            domain.extend_from_slice(run);
        }
    }
}

impl Words {
    fn clear(&mut self) {
        for part in [&mut self.phrase, &mut self.comment, &mut self.route, &mut self.local, &mut self.domain]
        {
            part.clear();
        }
        self.starts.clear();
        (self.last, self.is_many) = (0, false);
    }

    /// The last word of the phrase is a local part; the dots in it have no blanks beside them.
    fn take_local(&mut self) {
        squeeze(self.phrase.get(self.last..).unwrap_or_default(), &mut self.local);
        self.phrase.truncate(self.last.saturating_sub(1));
    }

    /// The words of the phrase as mailboxes of this host. Encoded words are a name.
    fn strays(&self, visit: Visit<'_, '_>) -> ControlFlow<()> {
        let (mut local, mut begin) = (Vec::new(), 0);
        for end in self.starts.iter().map(|start| start.saturating_sub(1)).chain([self.phrase.len()]) {
            let word = self.phrase.get(begin..end.min(self.phrase.len())).unwrap_or_default();
            begin = end.saturating_add(1);
            if word.is_empty() || word.starts_with(b"=?") && word.ends_with(b"?=") {
                continue;
            }
            local.clear();
            squeeze(word, &mut local);
            visit(Entry::Mailbox { name: b"", route: b"", local: &local, domain: b"" })?;
        }
        ControlFlow::Continue(())
    }

    fn address_as_name(&mut self) {
        if self.phrase.is_empty() {
            self.phrase.extend_from_slice(&self.local);
            self.phrase.push(b'@');
            self.phrase.extend_from_slice(&self.domain);
        }
    }

    fn name_or_mailbox(&mut self) {
        if !self.is_many {
            self.local.append(&mut self.phrase);
        }
    }

    fn comment_as_name(&mut self) {
        if self.phrase.is_empty() {
            self.phrase.append(&mut self.comment);
        }
    }
}

/// A word without the blanks beside its dots.
fn squeeze(word: &[u8], into: &mut Vec<u8>) {
    let mut previous = 0;
    for (at, &octet) in word.iter().enumerate() {
        let beside_dot = previous == b'.' || word.get(at + 1) == Some(&b'.');
        if octet != b' ' || !beside_dot {
            into.push(octet);
            previous = octet;
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
