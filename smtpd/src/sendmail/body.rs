//! A message as a program writes it, made what it has to be on the wire.
//!
//! Lines end in LF or CRLF; what comes out ends in CRLF. A NUL is left out and a CR elsewhere becomes a blank: neither may
//! stand in a message (RFC 5322 section 2.3), and whoever sends on would be refused. A first line `From ` is a mailbox
//! file's, not the message's. Without `-i` a line with only a dot ends the message.

/// Turns octets into wire form as they come.
#[derive(Debug)]
pub struct Wire {
    dot_is_text: bool,
    at: At,
    first_line: bool,
    ended: bool,
    /// The beginning of a line that may be `From ` or a dot.
    held: Vec<u8>,
    eight_bit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Line,
    /// Behind a CR whose meaning the next octet tells.
    Cr,
    /// In a `From ` line.
    Skip,
}

const FROM: &[u8] = b"From ";

impl Wire {
    /// At a message's beginning.
    pub fn new(dot_is_text: bool) -> Wire {
        Wire {
            dot_is_text,
            at: At::LineStart,
            first_line: true,
            ended: false,
            held: Vec::new(),
            eight_bit: false,
        }
    }

    /// Whether a dot has ended it: what follows is not read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there was an octet above 127.
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Appends the wire form of these octets.
    pub fn take(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            if self.ended {
                return;
            }
            if octet == 0 {
                continue;
            }
            if self.at == At::Cr {
                if octet != b'\n' {
                    out.push(b' ');
                }
                self.at = At::Line;
            }
            match octet {
                b'\r' if self.at != At::Skip => {
                    // Behind a dot it is the line's end just as well.
                    if self.held != b"." {
                        self.release(out);
                        self.at = At::Cr;
                    }
                }
                b'\n' => self.end_line(out),
                _ if self.at == At::Skip => {}
                _ => self.text(octet, out),
            }
        }
    }

    fn text(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.eight_bit |= octet > 127;
        if self.at == At::LineStart {
            self.held.push(octet);
            let may_be_from = self.first_line && FROM.starts_with(&self.held);
            let may_be_dot = !self.dot_is_text && self.held == b".";
            if may_be_from && self.held == FROM {
                self.held.clear();
                self.at = At::Skip;
            } else if !may_be_from && !may_be_dot {
                self.release(out);
            }
            return;
        }
        out.push(octet);
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.at = At::Line;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.at == At::Skip {
            (self.at, self.first_line) = (At::LineStart, false);
            return;
        }
        if !self.dot_is_text && self.at == At::LineStart && self.held == b"." {
            self.ended = true;
            return;
        }
        self.release(out);
        out.extend_from_slice(b"\r\n");
        (self.at, self.first_line) = (At::LineStart, false);
    }

    /// The end: a last line without an end gets one.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        let open = match self.at {
            At::LineStart => !self.held.is_empty() && !self.ended,
            At::Line | At::Cr => !self.ended,
            At::Skip => false,
        };
        if open {
            self.release(out);
            out.extend_from_slice(b"\r\n");
            self.at = At::LineStart;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(text: &[u8], dot_is_text: bool, piece: usize) -> Vec<u8> {
        let (mut wire, mut out) = (Wire::new(dot_is_text), Vec::new());
        text.chunks(piece).for_each(|piece| wire.take(piece, &mut out));
        wire.end(&mut out);
        out
    }

    #[test]
    fn lines() {
        for (text, dot_is_text, want) in [
            ("a\nb\n", false, "a\r\nb\r\n"),
            ("a\r\nb", false, "a\r\nb\r\n"),
            ("a\rb\r\r\nc\r", false, "a b \r\nc\r\n"),
            ("a\0b\n", false, "ab\r\n"),
            ("From me Mon\na: b\n\nFrom x\n", false, "a: b\r\n\r\nFrom x\r\n"),
            ("From: x\n", false, "From: x\r\n"),
            ("Fro", false, "Fro\r\n"),
            ("a\n.\nb\n", false, "a\r\n"),
            ("a\n.\r\nb\n", false, "a\r\n"),
            ("a\n.\nb\n", true, "a\r\n.\r\nb\r\n"),
            ("a\n..\n.b\n", false, "a\r\n..\r\n.b\r\n"),
            (".", false, ".\r\n"),
            ("", false, ""),
            ("\n\n", false, "\r\n\r\n"),
        ] {
            for piece in [1, 2, 100] {
                let out = wire(text.as_bytes(), dot_is_text, piece);
                assert_eq!(String::from_utf8(out).unwrap(), want, "{text:?} {piece}");
            }
        }
    }

    #[test]
    fn eight_bits_are_seen() {
        let mut wire = Wire::new(true);
        wire.take("ä".as_bytes(), &mut Vec::new());
        assert!(wire.is_eight_bit());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_no_line_is_broken(
            text in proptest::collection::vec(proptest::sample::select(b"\r\n.Fx\0 from".to_vec()), 0..40), piece in 1usize..5, dot: bool
        ) {
            let whole = wire(&text, dot, 1000);
            prop_assert_eq!(&whole, &wire(&text, dot, piece));
            for (at, &octet) in whole.iter().enumerate() {
                prop_assert!(octet != 0);
                if octet == b'\n' {
                    prop_assert!(at > 0 && whole[at - 1] == b'\r');
                }
                if octet == b'\r' {
                    prop_assert_eq!(whole.get(at + 1), Some(&b'\n'));
                }
            }
            prop_assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
        }
    }
}
