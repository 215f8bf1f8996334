//! The programs' entry point, without the preparations of std's.
//!
//! Before `main`, std reads /proc/self/maps and installs handlers for stack overflows: a tenth of the time to the greeting
//! and some pages, twice in each session. What we need of it, that 0, 1 and 2 are open, [`descriptors_are_open`] checks.

use super::fd::{self, Interest};
use std::time::Duration;

/// Makes `$run`, a function that takes nothing and returns the exit code, the program. To be said once, in main.rs under
/// `#![no_main]`.
#[macro_export]
macro_rules! entry_point {
    ($run:expr) => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(_: i32, _: *const *const u8) -> i32 {
            i32::from(u8::from($run()))
        }
    };
}

/// Whether the standard descriptors are open. If one were not, the next file opened would take its place, and the client
/// might be sent what is meant for that file.
pub fn descriptors_are_open() -> bool {
    let fds = [(fd::STDIN, Interest::Read), (fd::STDOUT, Interest::Write), (fd::STDERR, Interest::Write)];
    fd::poll(fds, Some(Duration::ZERO)).is_ok_and(|ready| ready.iter().all(|one| !one.closed))
}
