//! Work that takes much memory for a moment, done in a child process.
//!
//! What a process once needed leaves its heap in pieces, and a session lives on for minutes or hours beside thousands of
//! others. A child takes all of it along when it ends. What it has to hand over goes through a file that was open before
//! the fork.

use crate::sys::fd;
use crate::sys::process::{self, Fork};
use std::io;
use std::os::fd::AsFd;

/// What the work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// The new index is in the file.
    Written = b'W',
    /// The old index turned out to be right.
    Unchanged = b'U',
    /// Somebody else held the uidlist's lock all the time that one may wait.
    Locked = b'L',
    /// The old index cannot be read.
    Damaged = b'D',
    /// It did not work.
    Failed = b'F',
}

/// Does the work in a child and waits for it; in this process if there can be no child. A child that dies has failed.
///
/// A pipe tells the outcome, and not the exit status: where SIGCHLD is ignored there is none.
pub(super) fn run(work: impl FnOnce() -> Outcome) -> Outcome {
    // Tests are threads of one process: a fork would hold the others' locks open. tests/memory.rs has the real thing.
    if cfg!(test) {
        return work();
    }
    let Ok((reader, writer)) = fd::pipe() else { return work() };
    match process::fork() {
        Ok(Fork::Child) => {
            let outcome = work();
            let _ = fd::write(writer.as_fd(), &[outcome as u8]);
            process::exit_now(0)
        }
        Ok(Fork::Parent(child)) => {
            // Else the end of the pipe would never come.
            drop(writer);
            let mut octet = [0];
            let read = loop {
                match fd::read(reader.as_fd(), &mut octet) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            process::wait(child);
            let told = |outcome: &Outcome| read.is_ok() && octet == [*outcome as u8];
            [Outcome::Written, Outcome::Unchanged, Outcome::Locked, Outcome::Damaged]
                .into_iter()
                .find(told)
                .unwrap_or(Outcome::Failed)
        }
        Err(_) => work(),
    }
}
