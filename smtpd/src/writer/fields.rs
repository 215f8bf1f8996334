//! The header of a message that begins here, told from what follows it.
//!
//! Many a program writes a text and no header, or forgets the empty line between them: a line that can be no field's ends the
//! header (RFC 5322 section 2.2), so that what we add does not stand below the text. Fields that are not for the recipients'
//! eyes, or mean nothing outside of a mailbox file, go: those of Postfix's `message_drop_headers`. Of what other hosts send only
//! Return-Path goes: there is one in a mailbox, and it is ours (RFC 5321 section 4.4).
//!
//! The message is a stranger's. Of a line that may be a field's no more is held than a line may have.

use crate::status::Status;

/// Octets of a line (RFC 5322 section 2.1.1): what has no colon by then is no field.
const LINE_MAX: usize = 998;
/// Fields that go.
const DROPPED: [&str; 4] = [RETURN_PATH, "bcc", "resent-bcc", "content-length"];
const RETURN_PATH: &str = "return-path";

/// Takes a message in wire form.
#[derive(Debug, Default)]
pub struct Fields {
    at: At,
    /// The beginning of a line that has not said yet what it is.
    held: Vec<u8>,
    /// There was a field.
    begun: bool,
    /// The field that the line belongs to goes.
    drops: bool,
    of: Of,
}

/// Whose message it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// A user's, who sends it here.
    #[default]
    Submission,
    /// The same, and no field goes.
    Program,
    /// Another host's. A line behind the first field that is none passes, as everything does behind it.
    Host,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Line,
    Body,
}

/// What the beginning of a line is.
enum Kind {
    Unknown,
    Field,
    Continuation,
    /// `From ` or `>From `, as a mailbox file has it in front of a message.
    Mailbox,
    Empty,
    Text,
}

type Out<'a> = dyn FnMut(&[u8]) -> Result<(), Status> + 'a;

fn pass_some(octets: Option<&[u8]>, out: &mut Out<'_>) -> Result<(), Status> {
    octets.filter(|octets| !octets.is_empty()).map_or(Ok(()), out)
}

impl Fields {
    /// At a message's first octet; no field goes.
    pub fn all() -> Fields {
        Fields { of: Of::Program, ..Fields::default() }
    }

    /// At the first octet of a message from elsewhere; what has a header passes as it is, but for Return-Path.
    pub fn received() -> Fields {
        Fields { of: Of::Host, ..Fields::default() }
    }

    /// Passes octets on: all of them at once where nothing is held, put in or left out.
    pub fn pass(&mut self, octets: &[u8], out: &mut Out<'_>) -> Result<(), Status> {
        let mut rest = octets;
        // What is in front of `rest` and has not been passed on.
        let mut kept = 0;
        while let (Some((&octet, behind)), true) = (rest.split_first(), self.at != At::Body) {
            let here = octets.len() - rest.len();
            match self.at {
                At::Body => {}
                At::Line => {
                    let end = memchr::memchr(b'\n', rest);
                    if end.is_some() {
                        self.at = At::LineStart;
                    }
                    rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
                    if self.drops {
                        pass_some(octets.get(kept..here), out)?;
                        kept = octets.len() - rest.len();
                    }
                }
                At::LineStart => {
                    if self.held.is_empty() && self.is_clear(rest) {
                        continue;
                    }
                    pass_some(octets.get(kept..here), out)?;
                    kept = here + 1;
                    self.held.push(octet);
                    self.decide(out)?;
                    rest = behind;
                }
            }
        }
        pass_some(octets.get(kept..), out)
    }

    /// Whether the beginning of a line is all there and says what nearly every line says. If so, the line is begun.
    fn is_clear(&mut self, line: &[u8]) -> bool {
        match line {
            [b' ' | b'\t', ..] if self.begun => self.at = At::Line,
            [b'\r', b'\n', ..] => self.at = At::Body,
            _ => {
                let front = line.get(..line.len().min(LINE_MAX)).unwrap_or_default();
                let end = front.iter().position(|octet| *octet == b':' || !octet.is_ascii_graphic());
                match end.and_then(|end| front.split_at_checked(end)) {
                    Some((name @ [_, ..], [b':', ..])) => self.field(name),
                    _ => return false,
                }
            }
        }
        true
    }

    /// A field with this name begins.
    fn field(&mut self, name: &[u8]) {
        self.begun = true;
        let dropped: &[&str] = match self.of {
            Of::Submission => &DROPPED,
            Of::Program => &[],
            Of::Host => &[RETURN_PATH],
        };
        self.drops = dropped.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        self.at = At::Line;
    }

    /// The message is over.
    pub fn end(&mut self, out: &mut Out<'_>) -> Result<(), Status> {
        if self.held.is_empty() { Ok(()) } else { self.text(out) }
    }

    fn decide(&mut self, out: &mut Out<'_>) -> Result<(), Status> {
        match self.kind() {
            Kind::Unknown => return Ok(()),
            Kind::Text => return self.text(out),
            Kind::Empty => {
                out(&self.held)?;
                self.held.clear();
                self.at = At::Body;
                return Ok(());
            }
            Kind::Mailbox => {
                self.drops = self.of == Of::Submission;
                self.at = At::Line;
            }
            Kind::Continuation => self.at = At::Line,
            Kind::Field => {
                let held = std::mem::take(&mut self.held);
                let name = held.trim_ascii_end().strip_suffix(b":").unwrap_or(&held);
                self.field(name.trim_ascii_end());
                self.held = held;
            }
        }
        if !self.drops {
            out(&self.held)?;
        }
        self.held.clear();
        Ok(())
    }

    /// The empty line is missing.
    fn text(&mut self, out: &mut Out<'_>) -> Result<(), Status> {
        self.at = At::Body;
        if self.of != Of::Host || !self.begun {
            out(b"\r\n")?;
        }
        out(&std::mem::take(&mut self.held))
    }

    /// What has been said by the last octet of what is held.
    fn kind(&self) -> Kind {
        let Some((&last, before)) = self.held.split_last() else { return Kind::Unknown };
        let marks = self.held.iter().take_while(|octet| **octet == b'>').count();
        let behind = self.held.get(marks..).unwrap_or_default();
        match (self.held.as_slice(), last) {
            ([b' ' | b'\t', ..], _) => match self.begun {
                true => Kind::Continuation,
                false => Kind::Text,
            },
            (b"\r", _) => Kind::Unknown,
            (b"\r\n", _) => Kind::Empty,
            _ if !self.begun && behind == b"From " => Kind::Mailbox,
            _ if self.held.len() > LINE_MAX => Kind::Text,
            // RFC 5322 section 4.5: blanks before the colon are obsolete but there.
            (_, b' ' | b'\t') => Kind::Unknown,
            (_, b':') if before.is_empty() => Kind::Text,
            (_, b':') => Kind::Field,
            (_, 33..=126) if before.last().is_none_or(u8::is_ascii_graphic) => Kind::Unknown,
            _ => Kind::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(text: &str, piece: usize, mut fields: Fields) -> String {
        let mut out = Vec::new();
        let mut sink = |octets: &[u8]| {
            out.extend_from_slice(octets);
            Ok(())
        };
        text.as_bytes().chunks(piece).for_each(|piece| fields.pass(piece, &mut sink).unwrap());
        fields.end(&mut sink).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn where_the_header_ends() {
        let long = format!("A: b\r\n{}", "x".repeat(3000));
        for (text, want) in [
            ("", ""),
            ("\r\n", "\r\n"),
            ("A: b\r\n", "A: b\r\n"),
            ("A: b\r\n c\r\nD :e\r\n\r\nno field\r\n", "A: b\r\n c\r\nD :e\r\n\r\nno field\r\n"),
            ("hello\r\nA: b\r\n", "\r\nhello\r\nA: b\r\n"),
            ("A: b\r\nhello\r\n there\r\n\r\n", "A: b\r\n\r\nhello\r\n there\r\n\r\n"),
            ("A: b\r\nhello there: x\r\n", "A: b\r\n\r\nhello there: x\r\n"),
            // It would continue the field that is put in front.
            (" A: b\r\n", "\r\n A: b\r\n"),
            (": x\r\n", "\r\n: x\r\n"),
            ("Ä: x\r\n", "\r\nÄ: x\r\n"),
            ("A: b\r\nlast", "A: b\r\n\r\nlast"),
            ("A: b\r\n\r", "A: b\r\n\r\n\r"),
            ("From me Mon\r\n>From you\r\n>>From x\r\nA: b\r\n", "A: b\r\n"),
            (">Fro: x\r\nFrom me\r\n", ">Fro: x\r\n\r\nFrom me\r\n"),
            ("From: a\r\nFrom b\r\n", "From: a\r\n\r\nFrom b\r\n"),
            (&long, &long.replace("\r\n", "\r\n\r\n")),
        ] {
            for piece in [1, 2, 3, 7, 10_000] {
                assert_eq!(pass(text, piece, Fields::default()), want, "{text:?} {piece}");
                let has_body = pass(text, piece, Fields::all());
                assert_eq!(pass(&has_body, piece, Fields::all()), has_body);
            }
        }
    }

    #[test]
    fn what_has_a_header_passes_as_it_is() {
        for (text, want) in [
            ("A: b\r\nhello\r\n\r\n", "A: b\r\nhello\r\n\r\n"),
            ("From x y\r\nA: b\r\nhello\r\n", "From x y\r\nA: b\r\nhello\r\n"),
            ("\r\nhello\r\n", "\r\nhello\r\n"),
            ("hello\r\nA: b\r\n", "\r\nhello\r\nA: b\r\n"),
            (" hello\r\n", "\r\n hello\r\n"),
            ("hello", "\r\nhello"),
            ("A: b\r\n c\r\nhello", "A: b\r\n c\r\nhello"),
            (
                "Return-Path: <a@b>\r\n\tc\r\nBcc: b\r\nRETURN-PATH :\r\n\r\nReturn-Path: x\r\n",
                "Bcc: b\r\n\r\nReturn-Path: x\r\n",
            ),
            ("A: b\r\nhello\r\nReturn-Path: x\r\n\r\n", "A: b\r\nhello\r\nReturn-Path: x\r\n\r\n"),
            ("Return-Path: <a@b>", ""),
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(pass(text, piece, Fields::received()), want, "{text:?} {piece}");
            }
        }
    }

    #[test]
    fn what_is_nobody_s_business() {
        let text = "BCC: a@x,\r\n\tb@x\r\nA: b\r\n c\r\nReturn-Path:<x@y>\r\nresent-bcc : z\r\n z\r\nContent-Length: 7\r\n\
                    Bcc-Not: x\r\n\r\nBcc: text\r\n";
        for piece in [1, 3, 1000] {
            assert_eq!(pass(text, piece, Fields::default()), "A: b\r\n c\r\nBcc-Not: x\r\n\r\nBcc: text\r\n");
            assert_eq!(pass(text, piece, Fields::all()), text);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_else_is_lost(text in "[AB: \r\n>From]{0,40}", piece in 1usize..5) {
            let whole = pass(&text, 1000, Fields::default());
            prop_assert_eq!(&whole, &pass(&text, piece, Fields::default()));
            if !text.contains("From ") {
                prop_assert_eq!(whole.replace("\r\n", ""), text.replace("\r\n", ""));
            }
        }
    }
}
