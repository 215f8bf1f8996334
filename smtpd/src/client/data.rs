//! Mail data on its way out (RFC 5321 section 4.5.2): dots stuffed, every line ended by CR LF, and no CR or LF anywhere else.
//!
//! What is stored came from outside, and other ways into the queue than SMTP may have let a bare CR or LF pass. A server that
//! took one for a line end would see commands in a message (SMTP smuggling): a bare LF becomes CR LF, a bare CR a space.
//!
//! Programs of this host write lines of any length, and other servers refuse those of more than 998 octets (RFC 5322 section
//! 2.1.1): like Postfix we cut them, with CR LF and a blank, which is what continues a field of the header.

/// Octets of a line, without its end.
const LINE_MAX: usize = 998;
/// What a line that is too long is cut with.
const CUT: &[u8] = b"\r\n ";

/// See the module. Works on pieces of any size; what comes out does not depend on where they are cut.
#[derive(Debug)]
pub struct Stuffer {
    at_line_start: bool,
    /// Octets of the line so far.
    column: usize,
    /// The last piece ended in a CR that has not been put out yet.
    cr: bool,
}

impl Stuffer {
    /// At the start of a message.
    pub fn new() -> Stuffer {
        Stuffer { at_line_start: true, column: 0, cr: false }
    }

    /// Puts out the next piece.
    pub fn piece<E>(
        &mut self,
        mut input: &[u8],
        put: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.cr && !input.is_empty() {
            self.cr = false;
            if input.first() == Some(&b'\n') {
                input = input.get(1..).unwrap_or_default();
                self.at_line_start = true;
                put(b"\r\n")?;
            } else {
                self.at_line_start = false;
                self.column += 1;
                put(b" ")?;
            }
        }
        // What can be put out as it is, in one go.
        let mut kept = 0;
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            if self.at_line_start && rest.first() == Some(&b'.') {
                put(input.get(kept..at).unwrap_or_default())?;
                put(b".")?;
                kept = at;
            }
            if std::mem::take(&mut self.at_line_start) {
                self.column = 0;
            }
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let length = end.unwrap_or(rest.len());
            let room = LINE_MAX.saturating_sub(self.column);
            if length > room {
                put(input.get(kept..at + room).unwrap_or_default())?;
                put(CUT)?;
                self.column = 1;
                at += room;
                kept = at;
                continue;
            }
            self.column += length;
            let Some(end) = end else { break };
            let is_cr = rest.get(end) == Some(&b'\r');
            match (is_cr, rest.get(end + 1)) {
                (true, Some(b'\n')) => {
                    at += end + 2;
                    self.at_line_start = true;
                }
                (true, None) => {
                    self.cr = true;
                    return put(input.get(kept..at + end).unwrap_or_default());
                }
                (bare_cr, _) => {
                    put(input.get(kept..at + end).unwrap_or_default())?;
                    put(if bare_cr { b" " } else { b"\r\n" })?;
                    self.at_line_start = !bare_cr;
                    self.column += usize::from(bare_cr);
                    at += end + 1;
                    kept = at;
                }
            }
        }
        put(input.get(kept..).unwrap_or_default())
    }

    /// What completes the last line, if it has no end, and the data (`.`).
    pub fn end(&self) -> &'static [u8] {
        match (self.cr, self.at_line_start) {
            (true, _) => b" \r\n.\r\n",
            (false, true) => b".\r\n",
            (false, false) => b"\r\n.\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn stuff(input: &[u8], cut: usize) -> Vec<u8> {
        let mut stuffer = Stuffer::new();
        let mut result = Vec::new();
        for piece in input.chunks(cut) {
            let Ok(()) = stuffer.piece(piece, &mut |octets| -> Result<(), Infallible> {
                result.extend_from_slice(octets);
                Ok(())
            });
        }
        result.extend_from_slice(stuffer.end());
        result
    }

    #[test]
    fn dots_and_line_ends() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b"a\r\nb\r\n", b"a\r\nb\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".\r\n..\r\n.x\r\n", b"..\r\n...\r\n..x\r\n.\r\n"),
            (b"a.\r\n.b.\r\n", b"a.\r\n..b.\r\n.\r\n"),
            (b"a\n.\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\r\nb", b"a .\r\nb\r\n.\r\n"),
            (b"a\r\r\n", b"a \r\n.\r\n"),
            (b"a\r", b"a \r\n.\r\n"),
            (b"\r", b" \r\n.\r\n"),
            (b"\n", b"\r\n.\r\n"),
            (b"\r.\r", b" . \r\n.\r\n"),
            (b"\r\n\r\n.", b"\r\n\r\n..\r\n.\r\n"),
        ];
        for (input, want) in table {
            for cut in 1..=input.len().max(1) {
                let got = stuff(input, cut);
                assert_eq!(&got, want, "{:?} in pieces of {cut}", input.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn lines_that_are_too_long_are_cut() {
        let x = |count| "x".repeat(count);
        for (input, want) in [
            (format!("{}\r\ny\r\n", x(998)), format!("{}\r\ny\r\n.\r\n", x(998))),
            (format!("{}\r\n.\r\n", x(999)), format!("{}\r\n x\r\n..\r\n.\r\n", x(998))),
            (format!(".{}\r\n", x(998)), format!("..{}\r\n x\r\n.\r\n", x(997))),
            (x(998 + 997 + 1), format!("{}\r\n {}\r\n x\r\n.\r\n", x(998), x(997))),
            (format!("{}.{}", x(998), x(10)), format!("{}\r\n .{}\r\n.\r\n", x(998), x(10))),
            (format!("{}\r\r\n", x(997)), format!("{} \r\n.\r\n", x(997))),
        ] {
            for cut in [1, 2, 997, 998, 999, 5000] {
                assert_eq!(
                    stuff(input.as_bytes(), cut).escape_ascii().to_string(),
                    want.as_bytes().escape_ascii().to_string(),
                    "{cut}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_but_the_end_looks_like_the_end(
            input in proptest::collection::vec(proptest::sample::select(b"a.\r\n".to_vec()), 0..60), cut in 1_usize..20
        ) {
            let output = stuff(&input, cut);
            prop_assert_eq!(&output, &stuff(&input, 1000));
            prop_assert!(output == b".\r\n" || output.ends_with(b"\r\n.\r\n"));
            let text = output.escape_ascii().to_string();
            let mut before = b"\r\n".to_vec();
            for (at, window) in output.windows(2).enumerate() {
                prop_assert!((window[0] == b'\r') == (window[1] == b'\n'), "bare at {} in {}", at, text);
            }
            prop_assert_ne!(output.first(), Some(&b'\n'));
            before.extend_from_slice(&output);
            let ends = before.windows(5).filter(|window| window == b"\r\n.\r\n").count();
            prop_assert_eq!(ends, 1, "{}", text);
        }
    }
}
