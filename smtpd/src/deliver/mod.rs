//! Local delivery: from an open recipient to a message on disk, or in a program that took it.
//!
//! All of this runs in the writer, as the user who owns what is written. What is delivered comes from strangers; the files
//! that steer it (`~/.forward`) are the user's own and are trusted with nothing but the user's rights.
//!
//! ```text
//! begin -> Delivery::Begun(sink)    octets -> trace lines, inspection of the header, BINARYMIME to base64
//!                                          -> Maildir, file or program
//!       -> Delivery::Forward(items) the user's ~/.forward says where to; the guard expands that
//! ```

mod binary;
mod command;
mod environment;
mod file;
mod forward;
mod known;
mod looping;
mod mailbox;
mod trace;

pub use looping::{circle, delivered_to, in_small, skip_forward_line};
pub use trace::{Once, Trace, forward_line};

use crate::envelope::{Recipient, Target};
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use looping::LoopGuard;
use std::io::{self, BufRead};

/// Takes one message. Dropped before `finish`, it leaves nothing behind.
pub trait Sink {
    /// The message is on its way: what can be done before it is here.
    fn prepare(&mut self) {}

    /// The next octets in wire form: lines end in CRLF (BINARYMIME: as is).
    fn write(&mut self, octets: &[u8]) -> Result<(), Status>;

    /// The message is complete: fsynced, where it is a file. Returns the id or file name, for the log and the 250.
    fn finish(self: Box<Self>) -> Result<String, Status>;
}

/// Hands a stored message on to who takes it. `unreadable` says what the sender is told of one that cannot be read.
pub fn copy(
    message: &mut impl BufRead,
    sink: &mut dyn Sink,
    unreadable: impl Fn(io::Error) -> Status,
) -> Result<(), Status> {
    loop {
        let octets = message.fill_buf().map_err(&unreadable)?;
        let length = octets.len();
        if length == 0 {
            return Ok(());
        }
        sink.write(octets)?;
        message.consume(length);
    }
}

/// What a user's process found when it was to deliver.
pub enum Delivery {
    /// The message may come; the trace lines are written, or will be before it.
    Begun(Box<dyn Sink>),
    /// `~/.forward` says where it goes instead: its entries, one for each element, as they were written.
    Forward(Vec<String>),
}

/// Opens the mailbox, file or program of a recipient. This process is the account already. `warn` gets what the administrator
/// should hear, such as a `~/.forward` that does not count.
pub fn begin(
    config: &Config,
    account: &Account,
    recipient: &Recipient,
    trace: &Trace,
    warn: &mut dyn FnMut(String),
) -> Result<Delivery, Status> {
    let sink = match &recipient.target {
        Target::Mailbox { .. } => {
            if let Some(entries) = forward::read(config, account, recipient, warn)? {
                return Ok(Delivery::Forward(entries));
            }
            mailbox::begin(config, account, trace)?
        }
        Target::File { path, .. } => file::begin(config, path, trace)?,
        Target::Command { words, .. } => command::begin(config, account, words, trace)?,
        Target::Remote(_) | Target::Expanded { .. } => {
            return Err(Status::new(451, Enhanced(4, 3, 5), "Server configuration problem"));
        }
    };
    let sink: Box<dyn Sink> = if trace.is_binary { Box::new(binary::Lines::new(sink)) } else { sink };
    Ok(Delivery::Begun(Box::new(LoopGuard::new(sink, &trace.delivered_to))))
}

/// The sink of a recipient behind an alias: a message that was delivered to the alias before is refused, too.
pub fn behind_alias(sink: Box<dyn Sink>, recipient: &Recipient) -> Box<dyn Sink> {
    match recipient.alias() {
        Some(alias) => Box::new(LoopGuard::new(sink, alias)),
        None => sink,
    }
}

/// Whether the user's own `~/.forward` names the file or program of this recipient. This process is the account already.
pub fn is_named_by_user(
    config: &Config,
    account: &Account,
    recipient: &Recipient,
    warn: &mut dyn FnMut(String),
) -> Result<bool, Status> {
    forward::names(config, account, recipient, warn)
}

/// The copy of a message that a user's `~/.forward` sends on: it begins with [`forward_line`], and one that was sent on from
/// here before is refused. Trace lines of the queue's own stand before it, if at all.
pub fn forwarded(mut sink: Box<dyn Sink>, recipient: &Recipient) -> Result<Box<dyn Sink>, Status> {
    sink.write(forward_line(&recipient.address).as_bytes())?;
    Ok(guarded(sink, recipient))
}

/// The copy of a message that goes where a recipient's address leads now: one that was delivered to it before is refused.
pub fn guarded(sink: Box<dyn Sink>, recipient: &Recipient) -> Box<dyn Sink> {
    Box::new(LoopGuard::new(sink, &recipient.address))
}

#[cfg(test)]
mod tests;
