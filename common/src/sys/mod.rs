//! The only module that says `unsafe`: thin wrappers over the system calls that std does not have, and loops over octets that are
//! worth the processor's own words ([`lines`], `memory`).
//!
//! Each wrapper turns -1 into an [`io::Error`] and takes and returns types that cannot be misused.
#![allow(unsafe_code)]

pub mod child;
pub mod clock;
pub mod entry;
pub mod fd;
pub mod fs;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
pub mod heap;
pub mod inotify;
pub mod interface;
pub mod lines;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
mod memory;
pub mod pass;
pub mod process;
pub mod processor;
pub mod socket;
pub mod terminal;
pub mod trusted;
pub mod wipe;

use std::io;

/// -1 is a failure whose reason is in errno; everything else is a result.
pub(crate) fn cerr<T: PartialEq + From<i8>>(result: T) -> io::Result<T> {
    if result == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(result) }
}
