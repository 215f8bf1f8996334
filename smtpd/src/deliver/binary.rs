//! A message that came as BINARYMIME (RFC 3030 section 3), on its way to a mailbox, a file or a program. These keep lines: nobody
//! can tell CR LF from LF in them, and no reader gets a NUL.

use super::Sink;
use crate::recode::{Recoder, To};
use crate::status::Status;

/// A sink that writes what is binary as base64.
pub(super) struct Lines {
    inner: Box<dyn Sink>,
    recoder: Recoder,
}

impl Lines {
    pub(super) fn new(inner: Box<dyn Sink>) -> Lines {
        Lines { inner, recoder: Recoder::new(To::Lines) }
    }
}

impl Sink for Lines {
    fn prepare(&mut self) {
        self.inner.prepare();
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        let Lines { inner, recoder } = self;
        recoder.write(octets, &mut |octets| inner.write(octets))
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        let Lines { inner, recoder } = &mut *self;
        recoder.end(&mut |octets| inner.write(octets))?;
        self.inner.finish()
    }
}
