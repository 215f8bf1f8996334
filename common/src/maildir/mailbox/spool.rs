//! A list of records that costs little memory however long it is: what is more than one block lies in a file that has no
//! name and goes with the process.
//!
//! What is read back is this session's own.

use super::super::error::StorageError;
use super::super::{make_file, name};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets of a block: about 1,000 messages, so that most commands need no file.
const BLOCK: usize = 128 * 1024;

/// The list.
#[derive(Debug)]
pub(in super::super) struct Spool {
    /// Where the file is made.
    directory: PathBuf,
    file: Option<File>,
    /// Where each block in the file ends.
    blocks: Vec<u64>,
    /// The last block.
    last: Vec<u8>,
    len: u32,
}

impl Spool {
    /// An empty list. Its file is made in `directory` when it becomes long.
    pub fn new(directory: &Path) -> Spool {
        Spool { directory: directory.to_owned(), file: None, blocks: Vec::new(), last: Vec::new(), len: 0 }
    }

    /// Records.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Adds a record, which `print` writes.
    ///
    /// Errors: `Full`, `NoPerm` where the file cannot be written. The list is then as it was.
    pub fn push(&mut self, print: impl FnOnce(&mut Vec<u8>)) -> Result<(), StorageError> {
        if self.last.len() >= BLOCK {
            self.write_block().map_err(StorageError::at("write", &self.directory))?;
        }
        let begin = self.last.len();
        self.last.extend_from_slice(&[0; 4]);
        print(&mut self.last);
        let length = (self.last.len() - begin - 4) as u32;
        let head = self.last.iter_mut().skip(begin);
        head.zip(length.to_le_bytes()).for_each(|(to, from)| *to = from);
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(unnamed(&self.directory)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let begin = self.blocks.last().copied().unwrap_or(0);
        file.write_all_at(&self.last, begin)?;
        self.blocks.push(begin + self.last.len() as u64);
        self.last.clear();
        Ok(())
    }

    /// Reads them from the first on.
    pub fn reader(&self) -> Reader<'_> {
        Reader { spool: self, block: 0, held: Vec::new(), loaded: false, at: 0 }
    }
}

/// A file that only this process can reach, for writing and reading.
fn unnamed(directory: &Path) -> io::Result<File> {
    let path = directory.join(OsStr::from_bytes(&name::generate()));
    make_file(&path)?.flush()?;
    let file = File::options().read(true).write(true).open(&path);
    fs::remove_file(&path)?;
    file
}

/// Goes through the records.
pub(in super::super) struct Reader<'a> {
    spool: &'a Spool,
    /// The block that is being read; behind those in the file comes the last.
    block: usize,
    /// It, if it is one of those in the file.
    held: Vec<u8>,
    loaded: bool,
    at: usize,
}

impl Reader<'_> {
    /// The next record; `None` behind the last.
    pub fn next(&mut self) -> Result<Option<&[u8]>, StorageError> {
        loop {
            self.load().map_err(StorageError::at("read", &self.spool.directory))?;
            let in_file = self.block < self.spool.blocks.len();
            let length = if in_file { self.held.len() } else { self.spool.last.len() };
            if self.at < length {
                break;
            }
            if !in_file {
                return Ok(None);
            }
            (self.block, self.at, self.loaded) = (self.block + 1, 0, false);
        }
        let in_file = self.block < self.spool.blocks.len();
        let block = if in_file { &self.held } else { &self.spool.last };
        let record = block.get(self.at..).and_then(|rest| {
            let (head, rest) = rest.split_first_chunk::<4>()?;
            rest.get(..u32::from_le_bytes(*head) as usize)
        });
        self.at += 4 + record.map_or(0, <[u8]>::len);
        Ok(record)
    }

    fn load(&mut self) -> io::Result<()> {
        let (Some(&end), false) = (self.spool.blocks.get(self.block), self.loaded) else { return Ok(()) };
        let before = self.block.checked_sub(1).and_then(|before| self.spool.blocks.get(before).copied());
        let begin = before.unwrap_or(0);
        self.held.resize((end - begin) as usize, 0);
        let Some(file) = &self.spool.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.read_exact_at(&mut self.held, begin)?;
        self.loaded = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TempDir;
    use super::*;

    fn all(spool: &Spool) -> Vec<Vec<u8>> {
        let (mut reader, mut records) = (spool.reader(), Vec::new());
        while let Some(record) = reader.next().unwrap() {
            records.push(record.to_vec());
        }
        records
    }

    #[test]
    fn records_come_back_in_order_however_many() {
        let dir = TempDir::new();
        for count in [0u32, 1, 1000, 5_000, 20_000] {
            let mut spool = Spool::new(dir.path());
            let mut want = Vec::new();
            for i in 0..count {
                let record = vec![i as u8; (i % 150) as usize];
                spool.push(|out| out.extend_from_slice(&record)).unwrap();
                want.push(record);
            }
            assert!(spool.last.capacity() <= 4 * BLOCK, "{}", spool.last.capacity());
            assert_eq!(spool.file.is_some(), count >= 5_000);
            assert_eq!((all(&spool), all(&spool), spool.len()), (want.clone(), want, count));
            // Whoever dies leaves nothing.
            assert_eq!(dir.list(""), Vec::<String>::new());
        }
    }

    #[test]
    fn where_no_file_can_be_made_the_list_stays_as_it_was() {
        let dir = TempDir::new();
        let mut spool = Spool::new(&dir.path().join("nowhere"));
        let mut taken = 0;
        while spool.push(|out| out.extend_from_slice(&[7; 1000])).is_ok() {
            taken += 1;
        }
        assert!(taken >= BLOCK / 1004);
        assert_eq!(all(&spool).len(), taken);
    }
}
