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

    pub fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            // A CR waits until it is known whether an LF follows it.
            if std::mem::take(&mut self.cr) && octets.first() != Some(&b'\n') {
                self.push(b"\r")?;
            }
            let (piece, rest) = match memchr::memchr(b'\r', octets) {
                Some(at) => {
                    self.cr = true;
                    (octets.get(..at), octets.get(at + 1..))
                }
                None => (Some(octets), None),
            };
            self.push(piece.unwrap_or_default())?;
            octets = rest.unwrap_or_default();
        }
        Ok(())
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.size = self.size.saturating_add(piece.len() as u64);
        // Every LF counts for two octets; a CR that vanished is part of its LF.
        let lines = memchr::memchr_iter(b'\n', piece).count();
        self.octets = self.octets.saturating_add((piece.len() + lines) as u64);
        if self.buffer.len() + piece.len() > BUFFER {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        if piece.len() >= BUFFER {
            return self.file.write_all(piece);
        }
        if self.buffer.capacity() == 0 {
            // Most messages are smaller. Growing would take new pages again and again.
            self.buffer.reserve(FIRST);
        }
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
