//! Reads a file of users line by line in constant memory, so that a file of 100,000 users costs time only.
//!
//! The files are the administrator's. A line longer than [`MAX_LINE`] or with a NUL is skipped and counted. The
//! buffer has held everybody's hashes and is wiped.

use crate::sys::wipe::wipe;
use std::fs::File;
use std::io::{self, Read};

/// Longest line, in octets without its LF.
pub const MAX_LINE: usize = 4096;

/// The lines of a file, without their LF (or CRLF).
pub struct Lines<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much of it was ever filled.
    used: usize,
    at_eof: bool,
    skipping: bool,
    skipped: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    /// Starts at the file's present position.
    pub fn new(file: &'a File) -> Lines<'a> {
        let buffer = vec![0; 2 * (MAX_LINE + 2)];
        Lines {
            file,
            buffer,
            start: 0,
            end: 0,
            used: 0,
            at_eof: false,
            skipping: false,
            skipped: 0,
            number: 0,
        }
    }

    /// How many lines were left out because they were too long or had a NUL.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The number of the line that was given out last, the ones left out counted.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next line, or `None` at the end. The last line may lack its LF. Errors are those of reading the file.
    #[allow(clippy::should_implement_trait)] // It lends from its own buffer, which Iterator cannot say.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            let newline = memchr::memchr(b'\n', held);
            let length = match newline {
                Some(length) => length,
                None if !self.at_eof => {
                    if held.len() > MAX_LINE {
                        self.skipping = true;
                        self.start = self.end;
                    }
                    self.fill()?;
                    continue;
                }
                None if held.is_empty() && !self.skipping => return Ok(None),
                None => held.len(),
            };
            let from = self.start;
            self.number += 1;
            self.start = (from + length + usize::from(newline.is_some())).min(self.end);
            let line = self.buffer.get(from..from + length).unwrap_or_default();
            let was_skipping = std::mem::take(&mut self.skipping);
            if was_skipping || line.len() > MAX_LINE || memchr::memchr(0, line).is_some() {
                self.skipped += 1;
                continue;
            }
            // Borrowed anew: the borrow above may not live on in a loop.
            let line = self.buffer.get(from..from + length).unwrap_or_default();
            return Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)));
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.file.read(room) {
            Ok(0) => self.at_eof = true,
            Ok(count) => {
                self.end += count;
                self.used = self.used.max(self.end);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        wipe(self.buffer.get_mut(..self.used).unwrap_or_default());
    }
}

/// Whether the line's first field, up to its first `:`, is this name.
pub fn is_for(line: &[u8], name: &str) -> bool {
    line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
}

/// A decimal number without sign; `None` for anything else and for what does not fit.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|c| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::Scratch;

    fn all(content: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let scratch = Scratch::new();
        let file = File::open(scratch.file("lines", content)).unwrap();
        let mut lines = Lines::new(&file);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.to_vec());
        }
        (found, lines.skipped())
    }

    #[test]
    fn lines_end_anyhow() {
        assert_eq!(all(b""), (vec![], 0));
        assert_eq!(all(b"a"), (vec![b"a".to_vec()], 0));
        assert_eq!(all(b"a\n\nb\r\nc"), (vec![b"a".to_vec(), b"".to_vec(), b"b".to_vec(), b"c".to_vec()], 0));
        assert_eq!(all(b"a\0b\nc\n"), (vec![b"c".to_vec()], 1));
    }

    #[test]
    fn long_lines_are_left_out() {
        for extra in [0, 1, 2, MAX_LINE, 3 * MAX_LINE, 100_000] {
            let mut content = vec![b'x'; MAX_LINE + extra];
            content.extend(b"\nshort\n");
            content.extend(vec![b'y'; MAX_LINE + extra]);
            let (found, skipped) = all(&content);
            let expected = if extra == 0 { (3, 0) } else { (1, 2) };
            assert_eq!((found.len(), skipped), expected, "{extra}");
            assert!(found.contains(&b"short".to_vec()));
        }
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let scratch = Scratch::new();
        let long = "x".repeat(3 * MAX_LINE);
        let file = File::open(scratch.file("lines", format!("a\n\n{long}\nb\n"))).unwrap();
        let mut lines = Lines::new(&file);
        let mut numbers = Vec::new();
        while lines.next().unwrap().is_some() {
            numbers.push(lines.number());
        }
        assert_eq!(numbers, [1, 2, 4]);
    }

    #[test]
    fn names_are_whole_fields() {
        assert!(is_for(b"anna:x", "anna"));
        assert!(is_for(b"anna", "anna"));
        assert!(!is_for(b"annabel:x", "anna"));
        assert!(!is_for(b"ann:x", "anna"));
        assert!(!is_for(b"Anna:x", "anna"));
    }

    #[test]
    fn many_lines_of_all_lengths() {
        let content: Vec<u8> = (0..3000).flat_map(|n| [vec![b'a'; n % 97], vec![b'\n']].concat()).collect();
        let (found, skipped) = all(&content);
        assert_eq!((found.len(), skipped), (3000, 0));
        assert!(found.iter().enumerate().all(|(n, line)| line.len() == n % 97));
    }
}
