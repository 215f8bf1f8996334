//! Message text as a multi-line response: CR LF line ends and byte-stuffed dots (RFC 1939 section 3, RFC 5321 4.5.2).
//!
//! Works on a stream in pieces of any size; what comes out does not depend on where the pieces are cut.

/// Turns stored message text into the octets of a multi-line response.
pub struct DotStuffer {
    previous: u8,
    /// Whether NUL is sent as 0x80, for clients that stop reading at a NUL.
    replace_nul: bool,
}

impl DotStuffer {
    /// At the start of a response, that is of a line.
    pub fn new(replace_nul: bool) -> DotStuffer {
        DotStuffer { previous: b'\n', replace_nul }
    }

    /// Hands the octets for `chunk` to `out`, a piece at a time. `line_done` is asked after each complete line whether
    /// to go on; when it says no, the rest of the chunk is left out and `Ok(false)` returned.
    pub fn feed<E>(
        &mut self,
        mut chunk: &[u8],
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
        line_done: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, E> {
        while let Some(&first) = chunk.first() {
            if self.previous == b'\n' && first == b'.' {
                out(b".")?;
            }
            let Some(at) = memchr::memchr(b'\n', chunk) else {
                self.piece(chunk, out)?;
                self.previous = chunk.last().copied().unwrap_or(self.previous);
                return Ok(true);
            };
            let (line, rest) = chunk.split_at(at);
            let before = line.last().copied().unwrap_or(self.previous);
            if before == b'\r' {
                self.piece(line, out)?;
                out(b"\n")?;
            } else {
                self.piece(line, out)?;
                out(b"\r\n")?;
            }
            self.previous = b'\n';
            chunk = rest.get(1..).unwrap_or_default();
            if !line_done(line) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The end of the text: a line end if the last line has none. The terminating dot is the caller's.
    pub fn end_line<E>(self, out: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.previous {
            b'\n' => Ok(()),
            b'\r' => out(b"\n"),
            _ => out(b"\r\n"),
        }
    }

    fn piece<E>(&self, octets: &[u8], out: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.replace_nul || memchr::memchr(0, octets).is_none() {
            return out(octets);
        }
        let mut first = true;
        for part in octets.split(|&octet| octet == 0) {
            if !first {
                out(b"\x80")?;
            }
            first = false;
            out(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuff(input: &[u8], cut: usize, replace_nul: bool) -> Vec<u8> {
        let mut result = Vec::new();
        let mut out = |octets: &[u8]| -> Result<(), ()> {
            result.extend_from_slice(octets);
            Ok(())
        };
        let mut stuffer = DotStuffer::new(replace_nul);
        for chunk in input.chunks(cut) {
            assert_eq!(stuffer.feed(chunk, &mut out, &mut |_| true), Ok(true));
        }
        assert_eq!(stuffer.end_line(&mut out), Ok(()));
        result.extend_from_slice(b".\r\n");
        result
    }

    #[test]
    fn every_line_ends_with_crlf_and_leading_dots_are_doubled() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b"a\nb\r\n", b"a\r\nb\r\n.\r\n"),
            (b"no end", b"no end\r\n.\r\n"),
            (b".\n..\r\n.x", b"..\r\n...\r\n..x\r\n.\r\n"),
            (b"a\r", b"a\r\n.\r\n"),
            (b"a\rb\n\n", b"a\rb\r\n\r\n.\r\n"),
            (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        ];
        for (input, want) in table {
            for cut in 1..=input.len().max(1) {
                assert_eq!(&stuff(input, cut, false), want, "{input:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn nul_becomes_0x80_when_asked() {
        assert_eq!(stuff(b"a\0\0b\n", 3, true), b"a\x80\x80b\r\n.\r\n");
        assert_eq!(stuff(b"a\0\0b\n", 3, false), b"a\0\0b\r\n.\r\n");
    }
}
