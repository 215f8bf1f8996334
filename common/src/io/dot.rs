//! Message text as a multi-line response: CR LF line ends and byte-stuffed dots (RFC 1939 section 3, RFC 5321 4.5.2).
//!
//! Works from one buffer into another, in pieces of any size; what comes out does not depend on where the pieces are cut.

/// Room that an output buffer must have for any progress: a stuffed dot, an octet, and a line end.
pub const ROOM_MIN: usize = 4;

/// Turns stored message text into the octets of a multi-line response.
pub struct DotStuffer {
    previous: u8,
    /// What of the current line came in earlier pieces.
    begun: Begun,
    /// Whether NUL is sent as 0x80, for clients that stop reading at a NUL.
    replace_nul: bool,
}

/// Enough of a line to know in the end whether it was blank.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Nothing,
    Cr,
    More,
}

/// How far one call of [`DotStuffer::stuff`] came.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// Octets of the input that are done with.
    pub read: usize,
    /// Octets of the output that are filled.
    pub written: usize,
    /// Whether `line_done` said that no more is wanted.
    pub stopped: bool,
}

impl DotStuffer {
    /// At the start of a response, that is of a line.
    pub fn new(replace_nul: bool) -> DotStuffer {
        DotStuffer { previous: b'\n', begun: Begun::Nothing, replace_nul }
    }

    /// Fills `output` from `input`, as far as both go. `line_done` is told of each complete line whether it was blank, and
    /// says whether to go on.
    pub fn stuff(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        line_done: &mut impl FnMut(bool) -> bool,
    ) -> Progress {
        let (mut rest, mut room) = (input, &mut *output);
        let (mut written, mut stopped) = (0, false);
        while let Some(&first) = rest.first() {
            if room.len() < ROOM_MIN {
                break;
            }
            if self.previous == b'\n' && first == b'.' {
                written += put(&mut room, b".");
            }
            let newline = memchr::memchr(b'\n', rest);
            // Two octets stay free for the line end.
            let text = newline.unwrap_or(rest.len()).min(room.len() - 2);
            let (line, behind) = rest.split_at(text);
            written += self.copy(&mut room, line);
            if newline == Some(text) {
                let last = line.last().copied().unwrap_or(self.previous);
                written += put(&mut room, if last == b'\r' { b"\n" } else { b"\r\n" });
                let blank = matches!((self.begun, line), (Begun::Nothing, b"" | b"\r") | (Begun::Cr, b""));
                (self.previous, self.begun) = (b'\n', Begun::Nothing);
                rest = behind.get(1..).unwrap_or_default();
                if !line_done(blank) {
                    stopped = true;
                    break;
                }
            } else {
                // A lone CR may yet be half of a blank line's end.
                self.begun = match (self.begun, line) {
                    (begun, b"") => begun,
                    (Begun::Nothing, b"\r") => Begun::Cr,
                    _ => Begun::More,
                };
                self.previous = line.last().copied().unwrap_or(self.previous);
                rest = behind;
            }
        }
        Progress { read: input.len() - rest.len(), written, stopped }
    }

    /// What completes the last line if it has no end. The terminating dot is the caller's.
    pub fn end_line(&self) -> &'static [u8] {
        match self.previous {
            b'\n' => b"",
            b'\r' => b"\n",
            _ => b"\r\n",
        }
    }

    fn copy(&self, room: &mut &mut [u8], text: &[u8]) -> usize {
        if let (true, Some(to)) = (self.replace_nul, room.get_mut(..text.len())) {
            for (to, from) in to.iter_mut().zip(text) {
                *to = if *from == 0 { 0x80 } else { *from };
            }
            *room = std::mem::take(room).get_mut(text.len()..).unwrap_or_default();
            return text.len();
        }
        put(room, text)
    }
}

/// Puts octets at the start of the room, which shrinks. There is enough of it.
fn put(room: &mut &mut [u8], octets: &[u8]) -> usize {
    let Some((to, behind)) = std::mem::take(room).split_at_mut_checked(octets.len()) else { return 0 };
    copy_short(to, octets);
    *room = behind;
    octets.len()
}

/// Copies between slices of one length. Lines are short: the first and the last few octets, which may overlap, take less
/// time than a call of memcpy, far less with a C library whose memcpy is made for long copies (musl).
fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        2..=3 => copy_ends::<2>(to, from),
        4..=7 => copy_ends::<4>(to, from),
        8..=15 => copy_ends::<8>(to, from),
        16..=31 => copy_ends::<16>(to, from),
        32..=63 => copy_ends::<32>(to, from),
        64..=128 => copy_ends::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` octets, of at least `N`.
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_lengths_are_copied() {
        let from: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..from.len() {
            let mut to = vec![0; length];
            copy_short(&mut to, &from[..length]);
            assert_eq!(to, from[..length]);
        }
    }

    fn stuff(input: &[u8], cut: usize, room: usize, replace_nul: bool) -> (Vec<u8>, Vec<bool>) {
        let mut result = Vec::new();
        let mut blanks = Vec::new();
        let mut stuffer = DotStuffer::new(replace_nul);
        for chunk in input.chunks(cut) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let mut output = vec![0; room];
                let progress = stuffer.stuff(rest, &mut output, &mut |blank| {
                    blanks.push(blank);
                    true
                });
                assert!(progress.read > 0, "no progress on {rest:?}");
                result.extend_from_slice(&output[..progress.written]);
                rest = &rest[progress.read..];
            }
        }
        result.extend_from_slice(stuffer.end_line());
        result.extend_from_slice(b".\r\n");
        (result, blanks)
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
            (
                b"a rather long line, longer than the room\nb",
                b"a rather long line, longer than the room\r\nb\r\n.\r\n",
            ),
        ];
        for (input, want) in table {
            for cut in 1..=input.len().max(1) {
                for room in [ROOM_MIN, 5, 7, 16, 1000] {
                    let (got, _) = stuff(input, cut, room, false);
                    assert_eq!(&got, want, "{input:?} in pieces of {cut} into {room}");
                }
            }
        }
    }

    #[test]
    fn blank_lines_are_told_apart() {
        let input = b"a: b\r\n\r\nx\n\n\r\r\n";
        for cut in 1..=input.len() {
            for room in [ROOM_MIN, 1000] {
                let (_, blanks) = stuff(input, cut, room, false);
                assert_eq!(blanks[..4], [false, true, false, true], "cut at {cut}");
            }
        }
    }

    #[test]
    fn nul_becomes_0x80_when_asked() {
        assert_eq!(stuff(b"a\0\0b\n", 3, 100, true).0, b"a\x80\x80b\r\n.\r\n");
        assert_eq!(stuff(b"a\0\0b\n", 3, 100, false).0, b"a\0\0b\r\n.\r\n");
    }

    #[test]
    fn the_reader_may_stop() {
        let mut output = [0; 100];
        let progress = DotStuffer::new(false).stuff(b"a\nb\nc\n", &mut output, &mut |_| false);
        assert_eq!(progress, Progress { read: 2, written: 3, stopped: true });
    }
}
