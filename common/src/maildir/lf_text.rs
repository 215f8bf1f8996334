//! Messages on their way to the disk: lines come with CRLF and are kept with LF. What a client sends is hostile, and a CR or
//! an LF alone stays what it is.

use std::fs::File;
use std::io::{self, Write};

/// Octets that are gathered before they are written.
const BUFFER: usize = 32 * 1024;
/// Octets that there is room for at first.
const FIRST: usize = 12 * 1024;

/// A file that gets its lines with CRLF and has them with LF, as Dovecot and local programs keep mail.
#[derive(Debug)]
pub(super) struct LfText {
    pub file: File,
    buffer: Vec<u8>,
    /// Octets on disk.
    pub size: u64,
    /// Octets if every line ended in CRLF.
    pub octets: u64,
    /// The last octet was a CR; what it is depends on the next.
    cr: bool,
}

impl LfText {
    pub fn new(file: File) -> LfText {
        LfText { file, buffer: Vec::new(), size: 0, octets: 0, cr: false }
    }

    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(first) = octets.first() else { return Ok(()) };
        // A CR waits until it is known whether an LF follows it.
        if std::mem::take(&mut self.cr) && *first != b'\n' {
            self.push(b"\r")?;
        }
        let octets = octets.strip_suffix(b"\r").inspect(|_| self.cr = true).unwrap_or(octets);
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', octets) {
            // Every LF counts for two octets; a CR that vanishes is part of its LF.
            self.octets = self.octets.saturating_add(1);
            if let Some(line) = octets.get(from..lf).and_then(|line| line.strip_suffix(b"\r")) {
                self.push(line)?;
                from = lf;
            }
        }
        self.push(octets.get(from..).unwrap_or_default())
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.size = self.size.saturating_add(piece.len() as u64);
        self.octets = self.octets.saturating_add(piece.len() as u64);
        if self.buffer.capacity().saturating_sub(self.buffer.len()) < piece.len() {
            return self.push_anew(piece);
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// One for which there is no room yet.
    #[cold]
    fn push_anew(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.buffer.len().saturating_add(piece.len()) > BUFFER {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        if piece.len() >= BUFFER {
            return self.file.write_all(piece);
        }
        // Most messages are smaller than the first room. Growing would take new pages again and again.
        let room = if self.buffer.capacity() == 0 { FIRST.max(piece.len()) } else { BUFFER };
        self.buffer.reserve_exact(room.saturating_sub(self.buffer.len()));
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// Nothing more will come.
    pub fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.cr) {
            self.push(b"\r")?;
        }
        self.file.write_all(&self.buffer)?;
        self.buffer = Vec::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;

    /// What is in the file after these pieces, and what was counted.
    fn kept(pieces: &[&[u8]]) -> (Vec<u8>, u64, u64) {
        let dir = TempDir::new();
        let path = dir.path().join("text");
        let mut text = LfText::new(File::create(&path).unwrap());
        pieces.iter().for_each(|piece| text.write(piece).unwrap());
        text.flush().unwrap();
        (std::fs::read(path).unwrap(), text.size, text.octets)
    }

    /// The same, octet by octet.
    fn naive(text: &[u8]) -> (Vec<u8>, u64, u64) {
        let mut kept: Vec<u8> = Vec::new();
        for &octet in text {
            if octet == b'\n' && kept.last() == Some(&b'\r') {
                kept.pop();
            }
            kept.push(octet);
        }
        let lfs = kept.iter().filter(|octet| **octet == b'\n').count() as u64;
        let size = kept.len() as u64;
        (kept, size, size + lfs)
    }

    #[test]
    fn what_is_larger_than_the_buffer_is_whole() {
        let long = vec![b'x'; 3 * BUFFER];
        for length in [1, FIRST - 1, FIRST, FIRST + 1, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER + 7] {
            let lines = b"0123456789\r\n".repeat(length.div_ceil(12));
            let pieces = [b"A: b\r", &b"\n"[..], &long[..length], b"\r\r", &lines[..length], &lines, b"\r"];
            assert_eq!(kept(&pieces), naive(&pieces.concat()), "{length}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in proptest::collection::vec("(\r|\n|\r\n|a|bc|\u{e4}){0,12}", 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            prop_assert_eq!(kept(&pieces), naive(&pieces.concat()));
        }
    }
}
