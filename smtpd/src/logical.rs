//! Logical lines of the administrator's and the users' files: a line that begins with a blank continues the one before it.
//! Lines that are empty or begin with `#` are comments; they end no line.
//!
//! The files are read in pieces: memory does not grow with them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Octets of a logical line.
pub const LINE_MAX: usize = 128 * 1024;

/// The logical lines of a file.
pub struct LogicalLines<R> {
    reader: R,
    /// The physical line that was read ahead, and its number.
    ahead: Vec<u8>,
    number: usize,
    at_end: bool,
    line: Vec<u8>,
    /// A backslash at the end of a line continues it.
    takes_backslash: bool,
}

impl LogicalLines<BufReader<File>> {
    /// Opens a file of the administrator's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(LogicalLines::new(BufReader::new(File::open(path)?)))
    }
}

impl<R: BufRead> LogicalLines<R> {
    /// From the start of a file.
    pub fn new(reader: R) -> LogicalLines<R> {
        let (ahead, line) = (Vec::new(), Vec::new());
        LogicalLines { reader, ahead, number: 0, at_end: false, line, takes_backslash: false }
    }

    /// The same for aliases, where sendmail lets a backslash at its end continue a line, too.
    pub fn of_aliases(reader: R) -> LogicalLines<R> {
        LogicalLines { takes_backslash: true, ..LogicalLines::new(reader) }
    }

    /// The next one without its line ends, its parts joined as they stand, and the number of the physical line that it
    /// begins with. `None`: there are no more. Errors: those of reading; one that is too long, or has a NUL.
    #[allow(clippy::should_implement_trait)] // It lends from its own buffer.
    pub fn next(&mut self) -> io::Result<Option<(usize, &[u8])>> {
        self.line.clear();
        let (mut begun, mut goes_on) = (0, false);
        loop {
            if self.ahead.is_empty() {
                if self.at_end {
                    break;
                }
                self.read_ahead()?;
                continue;
            }
            let text = self.ahead.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                self.ahead.clear();
                goes_on = false;
                continue;
            }
            let continues = goes_on || self.ahead.starts_with(b" ") || self.ahead.starts_with(b"\t");
            if begun != 0 && !continues {
                break;
            }
            if begun == 0 {
                begun = self.number;
            }
            if self.line.len() + self.ahead.len() > LINE_MAX {
                return Err(damaged(self.number, "is too long"));
            }
            self.line.extend_from_slice(self.ahead.trim_ascii_end());
            self.ahead.clear();
            let backslashes = self.line.iter().rev().take_while(|octet| **octet == b'\\').count();
            goes_on = self.takes_backslash && backslashes % 2 == 1;
            if let (true, Some(last)) = (goes_on, self.line.last_mut()) {
                *last = b' ';
            }
        }
        Ok((begun != 0).then_some((begun, self.line.as_slice())))
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        self.number += 1;
        let limit = LINE_MAX as u64 + 1;
        let count = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.ahead)?;
        self.at_end = count == 0;
        if self.ahead.contains(&0) {
            return Err(damaged(self.number, "has a NUL"));
        }
        if self.ahead.len() > LINE_MAX {
            return Err(damaged(self.number, "is too long"));
        }
        Ok(())
    }
}

fn damaged(line: usize, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("line {line} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Vec<(usize, String)> {
        let mut lines = LogicalLines::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push((number, String::from_utf8(line.to_vec()).unwrap()));
        }
        found
    }

    #[test]
    fn lines_are_joined_and_comments_do_not_end_them() {
        let text = "# c\n\na b\n c\n# in between\n\n\td\r\ne\n";
        assert_eq!(all(text), [(3, "a b c\td".to_owned()), (8, "e".to_owned())]);
        assert_eq!(all("x"), [(1, "x".to_owned())]);
        assert_eq!(all(""), []);
        assert_eq!(all("  #x\n \n"), []);
        // There is nothing before it that it could continue.
        assert_eq!(all(" x\ny"), [(1, " x".to_owned()), (2, "y".to_owned())]);
    }

    #[test]
    fn what_is_too_long_or_has_a_nul_is_an_error() {
        for text in ["x".repeat(LINE_MAX + 1), "x\n y".repeat(LINE_MAX / 2), "a\0b".to_owned()] {
            let mut lines = LogicalLines::new(text.as_bytes());
            let error = loop {
                match lines.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error.kind()),
                }
            };
            assert_eq!(error, Some(io::ErrorKind::InvalidData), "{}", text.len());
        }
        assert!(LogicalLines::new(&b"a\0b"[..]).next().unwrap_err().to_string().contains("line 1 has a NUL"));
    }

    #[test]
    fn a_backslash_continues_an_alias() {
        let text = b"a: b,\\\nc\\\n\nd: e\\\\\nf: g\\\n# x\nh: i\\";
        for (mut lines, want) in [
            (LogicalLines::of_aliases(&text[..]), &["a: b, c ", "d: e\\\\", "f: g ", "h: i "][..]),
            (LogicalLines::new(&text[..]), &["a: b,\\", "c\\", "d: e\\\\", "f: g\\", "h: i\\"]),
        ] {
            for want in want {
                let (_, line) = lines.next().unwrap().unwrap();
                assert_eq!(std::str::from_utf8(line).unwrap(), *want);
            }
            assert!(lines.next().unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn it_ends(text in "[a \t\r\n#]{0,60}") {
            let lines = all(&text);
            prop_assert!(lines.len() <= text.lines().count());
            prop_assert!(lines.iter().all(|(_, line)| !line.contains('\n')));
        }
    }
}
