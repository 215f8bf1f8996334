//! A message that has been here before: its header has a Delivered-To field with the address that it is delivered to now.
//!
//! The message is a stranger's; one field of it is held at most, and only as far as an address can be long.

use super::Sink;
use crate::address::{Address, from_unitext, unitext};
use crate::status::{Enhanced, Status};
use std::collections::HashSet;
use std::io::{self, BufRead};

/// Octets of a field of the header that are looked at: of an address each letter may be ten.
const LOOK_MAX: usize = 2048;

/// A sink that refuses what comes back.
pub(super) struct LoopGuard {
    inner: Box<dyn Sink>,
    address: Address,
    /// In small letters.
    small: String,
    header: Header,
}

impl LoopGuard {
    pub(super) fn new(inner: Box<dyn Sink>, address: &Address) -> LoopGuard {
        let (small, address) = (in_small(address), address.clone());
        LoopGuard { inner, address, small, header: Header::default() }
    }
}

impl Sink for LoopGuard {
    fn prepare(&mut self) {
        self.inner.prepare();
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        let (address, small) = (&self.address, &self.small);
        self.header.look(octets, &mut |seen| if seen == small { Err(circle(address)) } else { Ok(()) })?;
        self.inner.write(octets)
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        let (address, small) = (&self.address, &self.small);
        self.header.end(&mut |seen| if seen == small { Err(circle(address)) } else { Ok(()) })?;
        self.inner.finish()
    }
}

/// What is said of a message that was delivered to this address before.
pub fn circle(address: &Address) -> Status {
    let text = format!("mail forwarding loop for {}", in_small(address));
    Status::new(554, Enhanced(5, 4, 6), text)
}

/// An address as [`delivered_to`] compares it: in small letters, which are ASCII.
pub fn in_small(address: &Address) -> String {
    small_ascii(&address.to_string())
}

fn small_ascii(address: &str) -> String {
    unitext(&from_unitext(address).to_lowercase()).to_lowercase()
}

/// Which of these addresses, in small letters, a message was delivered to before.
pub fn delivered_to(message: &mut impl BufRead, wanted: &HashSet<String>) -> io::Result<HashSet<String>> {
    let (mut header, mut found) = (Header::default(), HashSet::new());
    let mut note = |seen: &str| -> Result<(), Status> {
        if wanted.contains(seen) {
            found.insert(seen.to_owned());
        }
        Ok(())
    };
    // Nothing is refused here.
    while !header.body {
        let octets = message.fill_buf()?;
        let length = octets.len();
        if length == 0 {
            let _ = header.end(&mut note);
            break;
        }
        let _ = header.look(octets, &mut note);
        message.consume(length);
    }
    Ok(found)
}

/// Passes over the line that the copy of a message for this address's `~/.forward` begins with, which is no sign of a circle. What
/// came from outside begins with the queue's own Received.
pub fn skip_forward_line(message: &mut impl BufRead, address: &Address) -> io::Result<()> {
    let octets = message.fill_buf()?;
    let end = memchr::memchr(b'\n', octets).map_or(0, |end| end + 1);
    let seen = octets.get(..end).and_then(|line| address_in(line.trim_ascii()));
    if seen.is_some_and(|seen| seen == in_small(address)) {
        message.consume(end);
    }
    Ok(())
}

/// The header of a message that comes in pieces.
#[derive(Default)]
struct Header {
    /// The beginning of this field.
    field: Vec<u8>,
    /// So far the field ends with a line.
    ends_line: bool,
    body: bool,
}

/// Is told of each address that the message was delivered to, in small letters.
type Seen<'a> = &'a mut dyn FnMut(&str) -> Result<(), Status>;

impl Header {
    /// The next octets.
    fn look(&mut self, octets: &[u8], seen: Seen<'_>) -> Result<(), Status> {
        let mut rest = octets;
        if self.ends_line && rest.first().is_some_and(|next| !is_blank(*next)) {
            self.look_at_kept(seen)?;
        }
        while !self.body {
            let Some(end) = self.end_of_field(rest) else {
                self.keep(rest);
                break;
            };
            let (field, behind) = rest.split_at_checked(end).unwrap_or_default();
            rest = behind;
            // Nearly every field is here as a whole.
            if self.field.is_empty() {
                self.look_at(field.get(..LOOK_MAX).unwrap_or(field), seen)?;
            } else {
                self.keep(field);
                self.look_at_kept(seen)?;
            }
        }
        Ok(())
    }

    /// The message has no more octets.
    fn end(&mut self, seen: Seen<'_>) -> Result<(), Status> {
        if self.body { Ok(()) } else { self.look_at_kept(seen) }
    }

    /// Where a field ends, or the empty line. RFC 5322 section 2.2.3: a line that begins with a blank belongs to the field.
    fn end_of_field(&self, octets: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let line = octets.get(at..)?;
            let next = at + memchr::memchr(b'\n', line)? + 1;
            let is_first = at == 0 && self.field.trim_ascii().is_empty();
            if is_first && octets.get(..next)?.trim_ascii().is_empty() {
                return Some(next);
            }
            if !is_blank(*octets.get(next)?) {
                return Some(next);
            }
            at = next;
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        let room = LOOK_MAX.saturating_sub(self.field.len());
        self.field.extend_from_slice(octets.get(..room).unwrap_or(octets));
        self.ends_line = octets.last().map_or(self.ends_line, |last| *last == b'\n');
    }

    fn look_at_kept(&mut self, seen: Seen<'_>) -> Result<(), Status> {
        let field = std::mem::take(&mut self.field);
        self.ends_line = false;
        self.look_at(&field, seen)
    }

    fn look_at(&mut self, field: &[u8], seen: Seen<'_>) -> Result<(), Status> {
        let field = field.trim_ascii();
        self.body = field.is_empty();
        address_in(field).map_or(Ok(()), |address| seen(&address))
    }
}

/// The address in a Delivered-To field, in small letters.
fn address_in(field: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"delivered-to";
    let (name, rest) = field.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    let value = String::from_utf8_lossy(value.trim_ascii());
    let value = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(&value);
    Some(small_ascii(value.trim()))
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Memory(Rc<RefCell<Vec<u8>>>);

    impl Sink for Memory {
        fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
            self.0.borrow_mut().extend_from_slice(octets);
            Ok(())
        }

        fn finish(self: Box<Self>) -> Result<String, Status> {
            Ok("done".to_owned())
        }
    }

    fn passes(message: &str, cut: usize) -> bool {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let address = Address::parse(b"Anna@Example.org").unwrap();
        let mut guard = Box::new(LoopGuard::new(Box::new(Memory(kept.clone())), &address));
        let (front, back) = message.as_bytes().split_at(cut.min(message.len()));
        let passed =
            guard.write(front).and_then(|()| guard.write(back)).and_then(|()| guard.finish()).is_ok();
        assert!(!passed || *kept.borrow() == message.as_bytes());
        passed
    }

    #[test]
    fn what_was_here_is_known() {
        let long = format!("Subject: {}\r\nDelivered-To: anna@example.org\r\n\r\n", "x".repeat(2000));
        for (message, new) in [
            ("Delivered-To: anna@example.org\r\n\r\nbody\r\n", false),
            ("A: b\r\ndelivered-TO : <ANNA@example.ORG> \r\n\r\n", false),
            (&long, false),
            ("Delivered-To:\r\n anna@example.org\r\n\r\n", false),
            ("A: b\r\nDelivered-To: <\r\n\tanna@example.org>\r\nC: d\r\n\r\n", false),
            ("Delivered-To: anna@example.org\r\n", false),
            ("Delivered-To:\r\n \r\n anna@example.org\r\n\r\n", false),
            ("A: b\r\n Delivered-To: anna@example.org\r\n\r\n", true),
            ("Delivered-To: anna@example.org\r\n x\r\n\r\n", true),
            ("A: b\r\n\r\n x\r\nDelivered-To: anna@example.org\r\n\r\n", true),
            ("Delivered-To: anna+x@example.org\r\n\r\n", true),
            ("Delivered-To: xanna@example.org\r\n\r\n", true),
            ("X-Delivered-To: anna@example.org\r\n\r\n", true),
            ("A: b\r\n\r\nDelivered-To: anna@example.org\r\n", true),
            ("", true),
            ("no line end", true),
        ] {
            for cut in 0..message.len().min(60) {
                assert_eq!(passes(message, cut), new, "{message:?} {cut}");
            }
        }
    }

    #[test]
    fn the_line_of_a_forward_is_no_circle_but_a_later_one_is() {
        let address = Address::parse(b"Anna@example.org").unwrap();
        for (message, new) in [
            ("Delivered-To: anna@Example.org\r\n\r\nbody\r\n", true),
            ("Delivered-To: Anna@example.org\r\nDelivered-To:\r\n anna@example.org\r\n\r\n", false),
            ("Delivered-To: Anna@example.org\r\nA: b\r\nDelivered-To: anna@example.org\r\n\r\n", false),
            ("A: b\r\nDelivered-To: Anna@example.org\r\n\r\n", false),
            ("", true),
        ] {
            let mut rest = message.as_bytes();
            skip_forward_line(&mut rest, &address).unwrap();
            assert_eq!(passes(std::str::from_utf8(rest).unwrap(), 0), new, "{message:?}");
        }
    }

    #[test]
    fn what_is_not_ascii_is_known_in_both_ways_to_write_it() {
        let address = Address::parse("Gr\u{fc}n@b\u{fc}ro.example".as_bytes()).unwrap();
        let wanted = [in_small(&address)].into();
        for field in [
            r"Delivered-To: gr\x{FC}n@b\x{FC}ro.example",
            r"Delivered-To: Gr\x{fc}n@b\x{FC}ro.example",
            "Delivered-To: GR\u{dc}N@b\u{fc}ro.example",
            crate::deliver::forward_line(&address).trim_end(),
        ] {
            let found = delivered_to(&mut format!("{field}\r\n\r\n").as_bytes(), &wanted).unwrap();
            assert_eq!(found.len(), 1, "{field}");
        }
        // With capitals, and as long as they can be.
        let label = |c: &str| format!("{}.{0}.{0}.{0}", c.repeat(48 / c.len()));
        for local in
            ["GR\u{dc}N".to_owned(), "\u{fc}".repeat(32), "\u{4e00}".repeat(21), "\u{1f600}".repeat(16)]
        {
            for domain in ["b.example".to_owned(), label("\u{fc}"), label("\u{4e00}"), label("\u{1f600}")] {
                let address = Address::new(local.as_str(), &domain).unwrap();
                let (line, wanted) = (crate::deliver::forward_line(&address), [in_small(&address)].into());
                assert!(line.is_ascii());
                let found = delivered_to(&mut format!("{line}\r\n").as_bytes(), &wanted).unwrap();
                assert_eq!(found.len(), 1, "{line}");
            }
        }
    }

    #[test]
    fn whom_it_was_delivered_to() {
        let wanted = ["anna@example.org", "list@example.org"].map(str::to_owned).into();
        for (message, want) in [
            (
                "Delivered-To: x@y\r\nA: b\r\ndelivered-to: LIST@example.org\r\n\r\nDelivered-To: anna@example.org\r\n",
                "list@",
            ),
            ("Delivered-To: <anna@example.org>", "anna@"),
            ("Delivered-To: anna@example.org x\r\n\r\n", ""),
            ("", ""),
        ] {
            for size in [1, 7, 1000] {
                let mut message = io::BufReader::with_capacity(size, message.as_bytes());
                let found = delivered_to(&mut message, &wanted).unwrap();
                assert_eq!(found.len(), usize::from(!want.is_empty()), "{found:?} {size}");
                assert!(found.iter().all(|one| one.starts_with(want)), "{found:?} {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(message in "[a-zD:\r\n ]{0,200}", cut in 0usize..200) {
            prop_assert!(passes(&message, cut));
        }
    }
}
