//! File names in order, however many: what does not fit into a bounded piece of memory waits, sorted, in a file without a
//! name, and is merged when it is read.
//!
//! Names come from strangers; what is read back from the file is this process's own.

use crate::sys::fs as sys;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets of names that are sorted at a time, as a rule.
pub(super) const RUN: usize = 512 * 1024;
/// Octets of each sorted part that are held while the parts are merged, and written at a time.
const PIECE: usize = 16 * 1024;
/// Key, mark and length before each name in the file.
const HEAD: usize = 11;

/// A name and what goes with it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    start: u32,
    length: u16,
    mark: u8,
}

/// The names while they are gathered.
#[derive(Debug)]
pub(super) struct Sorter {
    /// Where the file is made.
    directory: PathBuf,
    run: usize,
    text: Vec<u8>,
    entries: Vec<Entry>,
    file: Option<File>,
    /// Where each sorted part in the file ends.
    ends: Vec<u64>,
}

impl Sorter {
    /// Without names. Its file is made in `directory` when there are more than `run` octets of them.
    pub fn new(directory: &Path, run: usize) -> Sorter {
        let directory = directory.to_owned();
        Sorter { directory, run, text: Vec::new(), entries: Vec::new(), file: None, ends: Vec::new() }
    }

    /// Adds a name that is not empty. Those with a smaller key come first; those with the same, as they were added.
    ///
    /// Errors: the file cannot be written; `InvalidInput` if the name is too long for a file's.
    pub fn push(&mut self, key: u64, mark: u8, name: &[u8]) -> io::Result<()> {
        if self.text.len() + name.len() > self.run && !self.entries.is_empty() {
            self.write_run()?;
        }
        let length = u16::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = u32::try_from(self.text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.text.extend_from_slice(name);
        self.entries.push(Entry { key, start, length, mark });
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.sort();
        if self.file.is_none() {
            self.file = Some(sys::unnamed_file(&self.directory)?);
        }
        let Some(file) = &self.file else { return Ok(()) };
        let mut at = self.ends.last().copied().unwrap_or(0);
        let mut out = Vec::with_capacity(2 * PIECE);
        for entry in &self.entries {
            out.extend_from_slice(&entry.key.to_le_bytes());
            out.push(entry.mark);
            out.extend_from_slice(&entry.length.to_le_bytes());
            out.extend_from_slice(name_of(&self.text, entry));
            if out.len() >= PIECE {
                file.write_all_at(&out, at)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        file.write_all_at(&out, at)?;
        self.ends.push(at + out.len() as u64);
        self.text.clear();
        self.entries.clear();
        Ok(())
    }

    fn sort(&mut self) {
        // The start tells who came first.
        self.entries.sort_unstable_by_key(|entry| (entry.key, entry.start));
    }

    /// Begins to read them in order.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if self.file.is_some() && !self.entries.is_empty() {
            self.write_run()?;
        }
        self.sort();
        let mut parts = Vec::with_capacity(self.ends.len());
        if let Some(file) = &self.file {
            // The last run's memory is no longer needed.
            (self.text, self.entries) = (Vec::new(), Vec::new());
            let mut at = 0;
            for &end in &self.ends {
                let mut part = Part { at, end, ..Part::default() };
                part.advance(file)?;
                parts.push(part);
                at = end;
            }
        }
        Ok(Sorted { text: self.text, entries: self.entries, next: 0, file: self.file, parts })
    }
}

fn name_of<'a>(text: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    text.get(start..start + usize::from(entry.length)).unwrap_or_default()
}

/// A sorted part of the file, and the record of it that comes next.
#[derive(Debug, Default)]
struct Part {
    /// What is held ends here in the file.
    at: u64,
    end: u64,
    held: Vec<u8>,
    /// Where the next record begins in what is held.
    begin: usize,
    /// Its key, mark and length of its name; `None` at the end.
    head: Option<(u64, u8, usize)>,
}

impl Part {
    /// Goes on to the record at `begin`.
    fn advance(&mut self, file: &File) -> io::Result<()> {
        self.head = self.read_head();
        while self.head.is_none() && self.at < self.end {
            self.load(file)?;
            self.head = self.read_head();
        }
        Ok(())
    }

    /// `None`: it is not held, or not whole.
    fn read_head(&self) -> Option<(u64, u8, usize)> {
        let (head, rest) = self.held.get(self.begin..)?.split_first_chunk::<HEAD>()?;
        let [key @ .., mark, low, high] = *head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        (rest.len() >= length).then_some((u64::from_le_bytes(key), mark, length))
    }

    fn load(&mut self, file: &File) -> io::Result<()> {
        let kept = self.held.len() - self.begin;
        self.held.copy_within(self.begin.., 0);
        self.begin = 0;
        let wanted = usize::try_from(self.end - self.at).map_or(PIECE, |left| left.min(PIECE));
        self.held.resize(kept + wanted, 0);
        file.read_exact_at(self.held.get_mut(kept..).unwrap_or_default(), self.at)?;
        self.at += wanted as u64;
        Ok(())
    }

    fn name(&self) -> &[u8] {
        let length = self.head.map_or(0, |(_, _, length)| length);
        self.held.get(self.begin + HEAD..self.begin + HEAD + length).unwrap_or_default()
    }
}

/// The names in order.
#[derive(Debug)]
pub(super) struct Sorted {
    text: Vec<u8>,
    entries: Vec<Entry>,
    next: usize,
    file: Option<File>,
    parts: Vec<Part>,
}

impl Sorted {
    /// Key and mark of the next name, which is put into `name`; `None` behind the last.
    pub fn next(&mut self, name: &mut Vec<u8>) -> io::Result<Option<(u64, u8)>> {
        name.clear();
        let Some(file) = &self.file else {
            let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
            self.next += 1;
            name.extend_from_slice(name_of(&self.text, entry));
            return Ok(Some((entry.key, entry.mark)));
        };
        // Parts lie in the order in which they were written: of equal keys the first comes first.
        let heads =
            self.parts.iter_mut().filter_map(|part| part.head.map(|(key, mark, _)| (key, mark, part)));
        let Some((key, mark, part)) = heads.min_by_key(|&(key, _, _)| key) else { return Ok(None) };
        name.extend_from_slice(part.name());
        part.begin += HEAD + name.len();
        part.advance(file)?;
        Ok(Some((key, mark)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;

    fn all(sorter: Sorter) -> Vec<(u64, u8, Vec<u8>)> {
        let (mut sorted, mut found, mut name) = (sorter.finish().unwrap(), Vec::new(), Vec::new());
        while let Some((key, mark)) = sorted.next(&mut name).unwrap() {
            found.push((key, mark, name.clone()));
        }
        found
    }

    #[test]
    fn nothing_and_names_that_are_longer_than_everything() {
        let dir = TempDir::new();
        assert_eq!(all(Sorter::new(dir.path(), 10)), []);
        let mut sorter = Sorter::new(dir.path(), 10);
        let names: Vec<Vec<u8>> = vec![vec![b'x'; 65_535], vec![b'y'; 65_535], vec![b'z'; 3]];
        for key in [2, 1, 0] {
            sorter.push(key, 7, &names[key as usize]).unwrap();
        }
        assert!(sorter.push(0, 0, &[b'x'; 65_536]).is_err());
        let found: Vec<Vec<u8>> = all(sorter).into_iter().map(|(_, _, name)| name).collect();
        assert!(found == names);
        // Whoever dies leaves nothing.
        assert_eq!(dir.list(""), Vec::<String>::new());
    }

    #[test]
    fn without_a_file_little_fits() {
        let dir = TempDir::new();
        let mut sorter = Sorter::new(&dir.path().join("nowhere"), 1000);
        let failed = (0..).find(|&i| sorter.push(i, 0, &[b'a'; 100]).is_err());
        assert_eq!(failed, Some(10));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_a_stable_sort(
            names in prop::collection::vec((0u64..20, any::<u8>(), "[a-z]{1,40}"), 0..400), run in 1usize..3000,
        ) {
            let dir = TempDir::new();
            let mut sorter = Sorter::new(dir.path(), run);
            let mut want = Vec::new();
            for (key, mark, name) in names {
                sorter.push(key, mark, name.as_bytes()).unwrap();
                want.push((key, mark, name.into_bytes()));
            }
            want.sort_by_key(|&(key, _, _)| key);
            prop_assert_eq!(all(sorter), want);
        }
    }
}
