//! Whether those who will read a file can: for `--check`.

use common::sys::process::{self, Ended, Fork};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why this user cannot read a file; `None`: the user can, or that cannot be found out, which is so without root.
///
/// A process of the user's tries. That counts the directories above the file, access lists and the opinion of other hosts.
pub(crate) fn refusal(user: (u32, u32), path: &Path) -> Option<io::Error> {
    // A child of one of the threads that tests run in would keep the locks of all.
    if !process::is_root() || cfg!(test) {
        return None;
    }
    match process::fork() {
        Ok(Fork::Child) => {
            let read = process::become_user(user.0, user.1, &[])
                .and_then(|()| File::open(path))
                .and_then(|mut file| file.read(&mut [0]));
            let number = |error: io::Error| error.raw_os_error().and_then(|number| u8::try_from(number).ok());
            process::exit_now(read.map_or_else(|error| number(error).unwrap_or(u8::MAX), |_| 0))
        }
        Ok(Fork::Parent(child)) => match process::wait_for(child) {
            Ok(Ended::Code(0)) => None,
            Ok(Ended::Code(number)) => Some(io::Error::from_raw_os_error(number)),
            Ok(Ended::Signal(_)) => Some(io::Error::other("the process that tried was killed")),
            Err(error) => Some(error),
        },
        Err(error) => Some(error),
    }
}
