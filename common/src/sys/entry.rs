//! The programs' entry point, without the preparations of std's.
//!
//! Before `main`, std reads /proc/self/maps and installs handlers for stack overflows: a tenth of the time to the greeting
//! and some pages, twice in each session. What we need of it, that 0 and 1 are open, [`descriptors_are_open`] checks. The
//! arguments are kept here, because std has them only where the C library is glibc.

use super::fd::{self, Interest};
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// Makes `$run`, a function that takes nothing and returns the exit code, the program. To be said once, in main.rs under
/// `#![no_main]`.
#[macro_export]
macro_rules! entry_point {
    ($run:expr) => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(_: i32, arguments: *const *const core::ffi::c_char) -> i32 {
            // SAFETY: this is what the C library gives to main.
            unsafe { $crate::sys::entry::keep_arguments(arguments) };
            i32::from(u8::from($run()))
        }
    };
}

/// main's argv, or null.
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Keeps the arguments for [`arguments`].
///
/// # Safety
///
/// It must be a list of NUL-terminated strings that ends with a null pointer, and nobody may change it ever after.
pub unsafe fn keep_arguments(list: *const *const c_char) {
    ARGUMENTS.store(list.cast_mut(), Ordering::Relaxed);
}

/// The arguments of the program, its name first.
pub fn arguments() -> impl Iterator<Item = &'static OsStr> {
    let mut next = ARGUMENTS.load(Ordering::Relaxed).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null, or within the list, whose end is not passed.
        let argument = unsafe { *next.as_ref()? };
        if argument.is_null() {
            return None;
        }
        // SAFETY: this was not the end of the list, so there is another entry; the string stays as it is.
        unsafe {
            next = next.add(1);
            Some(OsStr::from_bytes(CStr::from_ptr(argument).to_bytes()))
        }
    })
}

/// Whether standard input and output are open. If one were not, the next file opened would take its place, and the client
/// might be sent what is meant for that file. Standard error is [`crate::log::guard_stderr`]'s.
pub fn descriptors_are_open() -> bool {
    let fds = [(fd::STDIN, Interest::HangUp), (fd::STDOUT, Interest::HangUp)];
    fd::poll(fds, Some(Duration::ZERO)).is_ok_and(|ready| ready.iter().all(|one| !one.closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_main_to_the_end_of_the_list() {
        assert_eq!(arguments().count(), 0, "nobody called main");
        static LIST: [AtomicPtr<c_char>; 3] = [
            AtomicPtr::new(c"pop3d".as_ptr().cast_mut()),
            AtomicPtr::new(c"-o \xff".as_ptr().cast_mut()),
            AtomicPtr::new(std::ptr::null_mut()),
        ];
        // SAFETY: two strings and a null pointer, static and never changed.
        unsafe { keep_arguments(LIST.as_ptr().cast()) };
        let expected = [OsStr::new("pop3d"), OsStr::from_bytes(b"-o \xff")];
        assert_eq!(arguments().collect::<Vec<_>>(), expected);
    }
}
