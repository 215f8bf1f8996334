//! A message's file, read through one buffer: a message that fits into it is read once, whatever is asked of it.

use common::mime::position::{Counter, Position};
use common::mime::tree::Tree;
use common::sys::fs as sys;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

/// An open message. It is as long as it was when it was opened; what is added later is not seen.
pub struct Source<'b> {
    file: File,
    length: u64,
    modified: i64,
    buffer: &'b mut [u8],
    /// Which octets of the file the buffer holds.
    start: u64,
    filled: usize,
    /// Asked before each reading, of which an enormous message takes many: error, nobody waits for it.
    wait: &'b dyn Fn() -> io::Result<()>,
}

impl<'b> Source<'b> {
    /// Reads through this buffer, of at least [`common::mime::tree::BUFFER_MIN`] octets.
    pub fn new(
        file: File,
        buffer: &'b mut [u8],
        wait: &'b dyn Fn() -> io::Result<()>,
    ) -> io::Result<Source<'b>> {
        let meta = sys::regular(&file)?;
        Ok(Source { length: meta.len(), modified: meta.mtime(), file, buffer, start: 0, filled: 0, wait })
    }

    /// When the file was last modified, seconds since 1970: the message's internal date.
    pub fn modified(&self) -> i64 {
        self.modified
    }

    /// Octets of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The octets of the file from here on, as many as there are in the buffer; none at its end, or where the file has become
    /// shorter.
    pub fn at(&mut self, offset: u64) -> io::Result<&[u8]> {
        if offset < self.start || offset >= self.start + self.filled as u64 {
            self.load(offset)?;
        }
        Ok(self.window(offset))
    }

    /// The line that begins here, its end included; of one that is longer than the buffer as much as goes into it.
    fn line(&mut self, offset: u64) -> io::Result<&[u8]> {
        let is_whole = |octets: &[u8]| memchr::memchr(b'\n', octets).is_some();
        let ends = self.start + self.filled as u64 >= self.length;
        if !is_whole(self.at(offset)?) && offset > self.start && !ends {
            self.load(offset)?;
        }
        let window = self.window(offset);
        let end = memchr::memchr(b'\n', window).map_or(window.len(), |at| at + 1);
        Ok(window.get(..end).unwrap_or_default())
    }

    fn window(&self, offset: u64) -> &[u8] {
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        filled.get(from..).unwrap_or_default()
    }

    fn load(&mut self, offset: u64) -> io::Result<()> {
        (self.start, self.filled) = (offset, 0);
        (self.wait)()?;
        let wanted = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(self.buffer.len());
        while self.filled < wanted {
            let room = self.buffer.get_mut(self.filled..wanted).unwrap_or_default();
            match self.file.read_at(room, offset + self.filled as u64) {
                Ok(0) => break,
                Ok(length) => self.filled += length.min(room.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All of the message, if it fits into the buffer.
    pub fn whole(&mut self) -> io::Result<Option<&[u8]>> {
        if self.length > self.buffer.len() as u64 {
            return Ok(None);
        }
        if self.start > 0 || (self.filled as u64) < self.length {
            self.load(0)?;
        }
        Ok(Some(self.window(0)))
    }

    /// Finds its parts.
    pub fn parse(&mut self, tree: &mut Tree) -> io::Result<()> {
        if let Some(message) = self.whole()? {
            tree.read_whole(message);
            return Ok(());
        }
        self.filled = 0;
        let mut reading = Reading { file: &self.file, offset: 0, length: self.length, wait: self.wait };
        tree.read(&mut reading, self.buffer)
    }

    /// Octets of all of it as it is sent, if that costs no further reading.
    pub fn octets(&mut self) -> io::Result<Option<u64>> {
        Ok(self.whole()?.map(|message| {
            let mut counter = Counter::default();
            counter.advance(message);
            counter.position.octets
        }))
    }

    /// Where the header ends: behind the blank line, or at the end of the message.
    pub fn header_end(&mut self) -> io::Result<Position> {
        let mut counter = Counter::default();
        loop {
            let begins = counter.is_at_line_start();
            let line = self.line(counter.position.offset)?;
            counter.advance_line(line);
            if line.is_empty() || begins && matches!(line, b"\n" | b"\r\n") {
                return Ok(counter.position);
            }
        }
    }

    /// Shows the fields of a header in the file that a list of names has, or has not, line by line as they are stored, and a blank
    /// line (RFC 3501 section 6.4.5). Errors of `show` end it.
    pub fn fields<E: From<io::Error>>(
        &mut self,
        header: std::ops::Range<u64>,
        names: &[Box<[u8]>],
        not: bool,
        show: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut offset, mut shown, mut begins, mut ended) = (header.start, false, true, true);
        while offset < header.end {
            let line = self.line(offset)?;
            let room = usize::try_from(header.end - offset).unwrap_or(usize::MAX);
            let line = line.get(..room).unwrap_or(line);
            if line.is_empty() || begins && matches!(line, b"\n" | b"\r\n") {
                break;
            }
            if begins && !matches!(line.first(), Some(b' ' | b'\t')) {
                let name = common::mime::header::split(line).map_or(&b""[..], |(name, _)| name);
                let has = names.iter().any(|other| other.eq_ignore_ascii_case(name));
                shown = has != not;
            }
            offset += line.len() as u64;
            begins = line.last() == Some(&b'\n');
            if shown {
                ended = begins;
                show(line)?;
            }
        }
        // The blank line, also where the header has none; before it the end of a line that has none.
        show(if ended { b"\r\n" } else { b"\r\n\r\n" })
    }
}

struct Reading<'a> {
    file: &'a File,
    offset: u64,
    length: u64,
    wait: &'a dyn Fn() -> io::Result<()>,
}

impl Read for Reading<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let most = left.min(room.len());
        let room = room.get_mut(..most).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        (self.wait)()?;
        let length = self.file.read_at(room, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
