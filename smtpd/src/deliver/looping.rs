//! A message that has been here before: its header has a Delivered-To field with the address that it is delivered to now.
//!
//! The message is a stranger's; one field of it is held at most, and only as far as an address can be long.

use super::Sink;
use crate::address::Address;
use crate::status::{Enhanced, Status};

/// Octets of a field of the header that are looked at.
const LOOK_MAX: usize = 400;

/// A sink that refuses what comes back.
pub(super) struct LoopGuard {
    inner: Box<dyn Sink>,
    /// In small letters.
    address: String,
    /// The beginning of this field.
    field: Vec<u8>,
    /// So far the field ends with a line.
    ends_line: bool,
    body: bool,
    /// The next field may be the one that [`super::forward_line`] made.
    may_be_forward_line: bool,
}

impl LoopGuard {
    pub(super) fn new(inner: Box<dyn Sink>, address: &Address) -> LoopGuard {
        LoopGuard {
            inner,
            address: address.to_string().to_lowercase(),
            field: Vec::new(),
            ends_line: false,
            body: false,
            may_be_forward_line: false,
        }
    }

    /// The same, but the very first line may name the address.
    pub(super) fn after_forward_line(self) -> LoopGuard {
        LoopGuard { may_be_forward_line: true, ..self }
    }

    /// The next octets of the header. Status: it was here before.
    fn look(&mut self, octets: &[u8]) -> Result<(), Status> {
        let mut rest = octets;
        if self.ends_line && rest.first().is_some_and(|next| !is_blank(*next)) {
            self.look_at_kept()?;
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
                self.look_at(field.get(..LOOK_MAX).unwrap_or(field))?;
            } else {
                self.keep(field);
                self.look_at_kept()?;
            }
        }
        Ok(())
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

    fn look_at_kept(&mut self) -> Result<(), Status> {
        let field = std::mem::take(&mut self.field);
        self.ends_line = false;
        self.look_at(&field)
    }

    fn look_at(&mut self, field: &[u8]) -> Result<(), Status> {
        let field = field.trim_ascii();
        self.body = field.is_empty();
        if self.is_ours(field) && !self.may_be_forward_line {
            let text = format!("mail forwarding loop for {}", self.address);
            return Err(Status::new(554, Enhanced(5, 4, 6), text));
        }
        self.may_be_forward_line = false;
        Ok(())
    }

    fn is_ours(&self, field: &[u8]) -> bool {
        const NAME: &[u8] = b"delivered-to";
        let Some((name, rest)) = field.split_at_checked(NAME.len()) else { return false };
        if !name.eq_ignore_ascii_case(NAME) {
            return false;
        }
        let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { return false };
        let value = String::from_utf8_lossy(value.trim_ascii());
        let value = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(&value);
        value.trim().to_lowercase() == self.address
    }
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

impl Sink for LoopGuard {
    fn prepare(&mut self) {
        self.inner.prepare();
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        if !self.body {
            self.look(octets)?;
        }
        self.inner.write(octets)
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        if !self.body {
            self.look_at_kept()?;
        }
        self.inner.finish()
    }
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
        for (message, new) in [
            ("Delivered-To: anna@example.org\r\n\r\nbody\r\n", true),
            ("Delivered-To: anna@example.org\r\nDelivered-To:\r\n anna@example.org\r\n\r\n", false),
            ("Delivered-To: anna@example.org\r\nA: b\r\nDelivered-To: anna@example.org\r\n\r\n", false),
            ("A: b\r\nDelivered-To: anna@example.org\r\n\r\n", false),
        ] {
            let address = Address::parse(b"anna@example.org").unwrap();
            let memory = Box::new(Memory(Rc::default()));
            let mut guard = LoopGuard::new(memory, &address).after_forward_line();
            assert_eq!(guard.write(message.as_bytes()).is_ok(), new, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(message in "[a-zD:\r\n ]{0,200}", cut in 0usize..200) {
            prop_assert!(passes(&message, cut));
        }
    }
}
