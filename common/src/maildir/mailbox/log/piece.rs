//! Reading the log.

use super::super::super::blocks::checksum;
use super::super::super::index::Decoder;
use super::{FRAME_HEAD, FRAME_MAX};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A part of the file: most frames are small, and many lie in it.
#[derive(Default)]
pub(super) struct Piece {
    /// Where it begins in the file.
    begin: u64,
    octets: Vec<u8>,
}

impl Piece {
    /// The content of the frame at `offset`; `None` if it is not whole.
    pub fn frame(&mut self, file: &File, offset: u64, length: u64, nonce: u64) -> io::Result<Option<&[u8]>> {
        let content = offset + FRAME_HEAD as u64;
        if content > length {
            return Ok(None);
        }
        let mut fields = Decoder(self.get(file, offset, FRAME_HEAD, length)?);
        let (size, sum) = (fields.u32(), fields.u32());
        // Names may make the last entry of a frame longer.
        if size as usize > FRAME_MAX + 128 * 1024 || content + u64::from(size) > length {
            return Ok(None);
        }
        let payload = self.get(file, content, size as usize, length)?;
        Ok((size > 0 && checksum(payload, nonce.wrapping_add(offset)) == sum).then_some(payload))
    }

    /// So many octets of the file, which go no further than to `length`.
    fn get(&mut self, file: &File, offset: u64, wanted: usize, length: u64) -> io::Result<&[u8]> {
        let held = self.begin..=self.begin + self.octets.len() as u64;
        if !held.contains(&offset) || !held.contains(&(offset + wanted as u64)) {
            let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.octets.resize(left.min(FRAME_MAX).max(wanted), 0);
            self.begin = offset;
            file.read_exact_at(&mut self.octets, offset)?;
        }
        let start = (offset - self.begin) as usize;
        self.octets.get(start..start + wanted).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
