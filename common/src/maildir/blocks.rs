//! Content in checksummed blocks: the lowest layer of the index.
//!
//! Each block of 4,096 bytes holds 4,092 bytes of content and a checksum over them, the block's number and the file's
//! nonce (not for block 0, which the nonce itself is in). The file is the user's own; damage gives `InvalidData`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Bytes in a block.
pub(super) const BLOCK: usize = 4096;
/// Content bytes in a block.
pub(super) const CONTENT: usize = BLOCK - 4;
/// Blocks read at once. Two windows of this size are a session's whole memory for a mailbox.
const WINDOW: usize = 4;

/// Where blocks are.
#[derive(Debug)]
pub(super) enum Store {
    /// A file.
    File(File),
    /// The same bytes in memory.
    Memory(Vec<u8>),
}

/// A few neighbouring blocks, checked when they are read.
#[derive(Debug, Default)]
pub(super) struct Window {
    first: u64,
    blocks: usize,
    bytes: Vec<u8>,
}

impl Window {
    /// What the window holds from content position `position` to the end of its block, reading blocks if need be.
    pub fn seek(&mut self, store: &Store, position: u64, nonce: u64) -> io::Result<&[u8]> {
        let (block, offset) = (position / CONTENT as u64, (position % CONTENT as u64) as usize);
        if block < self.first || block >= self.first + self.blocks as u64 {
            self.load(store, block, nonce)?;
        }
        let start = (block - self.first) as usize * BLOCK;
        self.bytes
            .get(start + offset..start + CONTENT)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn load(&mut self, store: &Store, block: u64, nonce: u64) -> io::Result<()> {
        // Who goes on where he was will go on. The first block alone says what SELECT says.
        let goes_on = self.blocks > 0 && block == self.first + self.blocks as u64;
        let wanted = if goes_on { WINDOW } else { 1 };
        self.blocks = 0;
        self.bytes.resize(wanted * BLOCK, 0);
        let start = block * BLOCK as u64;
        let length = match store {
            Store::File(file) => read_up_to(file, &mut self.bytes, start)?,
            Store::Memory(all) => {
                let rest = usize::try_from(start).ok().and_then(|start| all.get(start..)).unwrap_or_default();
                let length = rest.len().min(self.bytes.len());
                self.bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                length
            }
        };
        for (number, bytes) in (block..).zip(self.bytes.get(..length).unwrap_or_default().chunks_exact(BLOCK))
        {
            let (content, sum) = bytes.split_at(CONTENT);
            let seed = if number == 0 { 0 } else { nonce.wrapping_add(number) };
            if sum != checksum(content, seed).to_le_bytes() {
                break;
            }
            self.blocks += 1;
        }
        self.first = block;
        if self.blocks == 0 { Err(io::Error::from(io::ErrorKind::InvalidData)) } else { Ok(()) }
    }
}

fn read_up_to(file: &File, out: &mut [u8], start: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, start + done as u64) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Finds accidents, not attacks: the file belongs to the user who reads it.
///
/// Four sums, each of every fourth word: while a processor multiplies one it can begin the next. With one sum this was half of the
/// time of a SORT whose dates are known.
pub(super) fn checksum(mut content: &[u8], seed: u64) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let add = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (mut a, mut b, mut c, mut d) = (seed ^ FACTOR, seed, !seed, seed.rotate_left(32));
    while let Some((four, rest)) = content.split_first_chunk::<32>() {
        let word = |at: usize| {
            four.get(at..).and_then(|word| word.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
        };
        (a, b, c, d) = (add(a, word(0)), add(b, word(8)), add(c, word(16)), add(d, word(24)));
        content = rest;
    }
    for rest in content.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        a = add(a, u64::from_le_bytes(word));
    }
    let sum = [b, c, d].into_iter().fold(a, add);
    (sum ^ (sum >> 32)) as u32
}

/// A number that tells this file's blocks from those of any other.
pub(super) fn nonce() -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    // A child has its parent's hash keys.
    std::process::id().hash(&mut hasher);
    std::time::SystemTime::now().hash(&mut hasher);
    hasher.finish()
}

/// Cuts content into blocks with their checksums.
pub(super) struct Blocks<W: Write> {
    out: W,
    block: Vec<u8>,
    /// Content bytes in the block that is being filled.
    fill: usize,
    number: u64,
    nonce: u64,
}

impl<W: Write> Blocks<W> {
    /// Blocks of the file with this nonce, from the first one on.
    pub fn new(out: W, nonce: u64) -> Blocks<W> {
        Blocks { out, block: Vec::with_capacity(16 * BLOCK), number: 0, nonce, fill: 0 }
    }

    /// Adds content.
    pub fn push(&mut self, mut content: &[u8]) -> io::Result<()> {
        while !content.is_empty() {
            let take = (CONTENT - self.fill).min(content.len());
            let (now, later) = content.split_at(take);
            self.block.extend_from_slice(now);
            self.fill += take;
            content = later;
            if self.fill == CONTENT {
                self.seal()?;
            }
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        let start = self.block.len() - self.fill;
        self.block.resize(start + CONTENT, 0);
        let seed = if self.number == 0 { 0 } else { self.nonce.wrapping_add(self.number) };
        let sum = checksum(self.block.get(start..).unwrap_or_default(), seed);
        self.block.extend_from_slice(&sum.to_le_bytes());
        self.number += 1;
        self.fill = 0;
        if self.block.len() >= 16 * BLOCK {
            self.out.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }

    /// Completes the last block.
    pub fn finish(mut self) -> io::Result<()> {
        if self.fill > 0 {
            self.seal()?;
        }
        self.out.write_all(&self.block)?;
        self.out.flush()
    }
}
