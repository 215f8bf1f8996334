//! Local delivery: from an open recipient to a message on disk, or in a program that took it.
//!
//! All of this runs in the writer, as the user who owns what is written. What is delivered comes from strangers; the files
//! that steer it (`~/.forward`) are the user's own and are trusted with nothing but the user's rights.
//!
//! ```text
//! begin -> Delivery::Begun(sink)    octets -> trace lines, inspection of the header -> Maildir, file or program
//!       -> Delivery::Forward(items) the user's ~/.forward says where to; the guard expands that
//! ```

mod mailbox;
mod trace;

pub use trace::{Trace, forward_line};

use crate::envelope::{Recipient, Target};
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;

/// Takes one message. Dropped before `finish`, it leaves nothing behind.
pub trait Sink {
    /// The next octets in wire form: lines end in CRLF (BINARYMIME: as is).
    fn write(&mut self, octets: &[u8]) -> Result<(), Status>;

    /// The message is complete: fsynced, where it is a file. Returns the id or file name, for the log and the 250.
    fn finish(self: Box<Self>) -> Result<String, Status>;
}

/// What a user's process found when it was to deliver.
pub enum Delivery {
    /// The message may come; the trace lines are written already.
    Begun(Box<dyn Sink>),
    /// `~/.forward` says where it goes instead: its entries, one for each element, as they were written.
    Forward(Vec<String>),
}

/// Opens the mailbox, file or program of a recipient. This process is the account already.
pub fn begin(
    config: &Config,
    account: &Account,
    recipient: &Recipient,
    trace: &Trace,
) -> Result<Delivery, Status> {
    match &recipient.target {
        Target::Mailbox { .. } => mailbox::begin(config, account, trace).map(Delivery::Begun),
        Target::File { .. } | Target::Command { .. } => {
            Err(Status::new(550, Enhanced(5, 7, 1), "Mail to files and programs is not allowed here"))
        }
        Target::Remote(_) => Err(Status::new(451, Enhanced(4, 3, 5), "Local configuration error")),
    }
}

#[cfg(test)]
mod tests;
