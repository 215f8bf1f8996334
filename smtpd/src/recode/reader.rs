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

/// How many octets a message has when it is recoded, and whether it has any of eight bits as it is.
pub fn measure(message: &mut dyn Read, to: To) -> io::Result<(u64, bool)> {
    let mut recoder = Recoder::new(to);
    let (mut length, mut has_eight) = (0u64, false);
    let mut count = |octets: &[u8]| -> io::Result<()> {
        length = length.saturating_add(octets.len() as u64);
        Ok(())
    };
    let mut buffer = vec![0; PIECE];
    loop {
        let n = match message.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let Some(octets) = buffer.get(..n).filter(|octets| !octets.is_empty()) else { break };
        has_eight |= !octets.is_ascii();
        recoder.write(octets, &mut count)?;
    }
    recoder.end(&mut count)?;
    Ok((length, has_eight))
}
