//! A message that is recoded while it is read.

use super::{PIECE, Recoder, To};
use std::io::{self, Read};

/// See the module.
pub struct Recoded<R> {
    inner: R,
    /// `None`: it has ended.
    recoder: Option<Recoder>,
    buffer: Vec<u8>,
    /// What has not been handed out yet.
    ready: Vec<u8>,
    start: usize,
}

impl<R: Read> Recoded<R> {
    /// A message, from its start.
    pub fn new(inner: R, to: To) -> Recoded<R> {
        let (recoder, buffer) = (Some(Recoder::new(to)), vec![0; PIECE]);
        Recoded { inner, recoder, buffer, ready: Vec::new(), start: 0 }
    }
}

impl<R: Read> Read for Recoded<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while let (true, Some(recoder)) = (self.start == self.ready.len(), &mut self.recoder) {
            self.ready.clear();
            self.start = 0;
            let n = self.inner.read(&mut self.buffer)?;
            let ready = &mut self.ready;
            let mut keep = |octets: &[u8]| -> io::Result<()> {
                ready.extend_from_slice(octets);
                Ok(())
            };
            match self.buffer.get(..n).filter(|octets| !octets.is_empty()) {
                Some(octets) => recoder.write(octets, &mut keep)?,
                None => {
                    recoder.end(&mut keep)?;
                    self.recoder = None;
                }
            }
        }
        let ready = self.ready.get(self.start..).unwrap_or_default();
        let n = ready.len().min(room.len());
        for (place, octet) in room.iter_mut().zip(ready) {
            *place = *octet;
        }
        self.start += n;
        Ok(n)
    }
}

/// Whether a message has octets of eight bits.
pub fn has_eight_bits(message: &mut dyn Read) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    loop {
        let n = match message.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        match buffer.get(..n) {
            Some([]) | None => return Ok(false),
            Some(octets) if !octets.is_ascii() => return Ok(true),
            Some(_) => {}
        }
    }
}
