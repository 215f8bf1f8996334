//! What a message that comes in has to be made of: lines, or (BINARYMIME) MIME parts of which those that say so are binary.
//!
//! The octets are a stranger's. A part that says `binary` becomes base64 for whoever keeps lines ([`crate::recode`]); all else,
//! headers first of all, is lines for everybody, and is refused here if it is not: a mailbox, a program or the next server would
//! get NUL and lines without an end, and none of them could say so any more.

use crate::data::{Fault, Machine};
use crate::recode::{Recoder, To};
use std::convert::Infallible;

/// What is looked for in a message.
pub(super) enum Form {
    /// Lines.
    Lines(Machine),
    /// RFC 3030 section 3: lines but for what says `binary`.
    Binary(Box<Binary>),
}

/// A message in BINARYMIME, as those will see it who keep lines.
pub(super) struct Binary {
    recoder: Recoder,
    machine: Machine,
}

impl Form {
    /// Of what comes in chunks.
    pub(super) fn of_chunks(is_binary: bool, normalize: bool) -> Form {
        match is_binary {
            true => Form::Binary(Box::new(Binary {
                recoder: Recoder::new(To::Judge),
                // What the client's network may leave to us is not done to octets that are to stay as they are.
                machine: Machine::for_chunks(false),
            })),
            false => Form::Lines(Machine::for_chunks(normalize)),
        }
    }

    /// Reads octets and hands on those of the message: how many were read, and whether the end was among them.
    pub(super) fn feed<E>(
        &mut self,
        input: &[u8],
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(usize, bool), E> {
        match self {
            Form::Lines(machine) => machine.feed(input, out),
            Form::Binary(binary) => {
                binary.look(|recoder, to| recoder.write(input, to));
                out(input).map(|()| (input.len(), false))
            }
        }
    }

    /// The last chunk is there. Whether a line end is to follow it.
    pub(super) fn end_of_chunks(&mut self) -> bool {
        match self {
            Form::Lines(machine) => {
                machine.end_of_chunks();
                !machine.is_at_line_start()
            }
            Form::Binary(binary) => {
                binary.look(|recoder, to| recoder.end(to));
                binary.machine.end_of_chunks();
                false
            }
        }
    }

    /// What is wrong with the message so far.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Form::Lines(machine) => machine.fault(),
            Form::Binary(binary) => binary.machine.fault(),
        }
    }
}

impl Binary {
    fn look(
        &mut self,
        work: impl FnOnce(&mut Recoder, &mut dyn FnMut(&[u8]) -> Result<(), Infallible>) -> Result<(), Infallible>,
    ) {
        let Binary { recoder, machine } = self;
        let mut to = |octets: &[u8]| machine.feed(octets, &mut |_| Ok(())).map(drop);
        let Ok(()) = work(recoder, &mut to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first fault of a message in BINARYMIME, whatever pieces it comes in.
    fn fault(message: &[u8]) -> Option<Fault> {
        let faults = [1, 2, 7, message.len().max(1)].map(|size| {
            let (mut form, mut out) = (Form::of_chunks(true, true), Vec::new());
            for piece in message.chunks(size) {
                let taken = form.feed(piece, &mut |octets: &[u8]| {
                    out.extend_from_slice(octets);
                    Ok::<(), Infallible>(())
                });
                assert_eq!(taken, Ok((piece.len(), false)));
            }
            assert!(!form.end_of_chunks());
            assert_eq!(out, message);
            form.fault()
        });
        assert!(faults.windows(2).all(|two| two[0] == two[1]), "{faults:?}");
        faults[0]
    }

    #[test]
    fn only_what_says_binary_is_binary() {
        let part = |encoding: &str, body: &str| {
            format!("Content-Transfer-Encoding: {encoding}\r\nSubject: x\r\n\r\n{body}")
        };
        for (body, want) in [
            ("a\r\nb", None),
            ("a\0b", Some(Fault::Nul)),
            ("a\rb", Some(Fault::BareCr)),
            ("a\r", Some(Fault::BareCr)),
            ("a\nb", Some(Fault::BareLf)),
            (&*"x".repeat(5000), Some(Fault::LineTooLong)),
        ] {
            for (encoding, want) in [("binary", None), ("8bit", want), ("7bit", want), ("x-foo", want)] {
                assert_eq!(fault(part(encoding, body).as_bytes()), want, "{encoding} {body:?}");
                let inner = part(encoding, body);
                let mixed = format!(
                    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{inner}\r\n--b\r\n\r\nlines\r\n--b--\r\n"
                );
                // The CR would belong to the boundary's line end.
                if body != "a\r" {
                    assert_eq!(fault(mixed.as_bytes()), want, "{encoding} {body:?} in a multipart");
                }
            }
        }
    }

    #[test]
    fn headers_are_lines() {
        for (header, want) in [
            ("Subject: a\0b\r\n", Fault::Nul),
            ("Subject: a\rb\r\n", Fault::BareCr),
            ("Subject: a\nX: y\r\n", Fault::BareLf),
            (&*format!("Subject: {}\r\n", "a".repeat(100_000)), Fault::LineTooLong),
            ("Content-Transfer-Encoding: binary (\0)\r\n", Fault::Nul),
            (&*format!("Content-Transfer-Encoding: 8bit ({})\r\n", "a".repeat(9000)), Fault::LineTooLong),
        ] {
            let message = format!("Content-Transfer-Encoding: binary\r\n{header}\r\nx\0\r\n");
            assert_eq!(fault(message.as_bytes()), Some(want), "{header:.20?}");
        }
        for (value, want) in [
            ("binary\nSubject: x\r\n", Fault::BareLf),
            ("binary (a\rb)\r\n", Fault::BareCr),
            ("binary\r\n (\0)\r\n", Fault::Nul),
            (&*format!("binary ({})\r\n", "a".repeat(9000)), Fault::LineTooLong),
        ] {
            let message = format!("Content-Transfer-Encoding: {value}\r\nx\0\r\n");
            assert_eq!(fault(message.as_bytes()), Some(want), "{value:.20?}");
        }
        assert_eq!(fault(b""), None);
        assert_eq!(fault(b"Content-Type: multipart/mixed\r\n\r\n\0"), Some(Fault::Nul), "no boundary");
    }
}
