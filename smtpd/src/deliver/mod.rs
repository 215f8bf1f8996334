//! Delivery: what takes a message to its last place.

use crate::status::Status;

/// Takes one message. Dropped before `finish`, it leaves nothing behind.
pub trait Sink {
    /// Some octets of it, in wire form: lines end in CRLF (BINARYMIME: as it is).
    fn write(&mut self, octets: &[u8]) -> Result<(), Status>;
    /// The message is complete: it is flushed to disk, and its ID or file name is returned, for the log and the reply.
    fn finish(self: Box<Self>) -> Result<String, Status>;
}
