//! Clocks that std does not have.

use super::cerr;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When this machine was started, by its clock of now: a clock that was wrong meanwhile does not matter, one that was ahead of
/// time before the start does.
pub fn booted() -> io::Result<SystemTime> {
    // SAFETY: an all-zero timespec is a valid one, which the call fills.
    let mut up: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: writes the local structure.
    cerr(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut up) })?;
    let up = Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0));
    Ok(SystemTime::now().checked_sub(up).unwrap_or(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_says() {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let told = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok()).unwrap();
        let ours = booted().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(ours.abs_diff(told) <= 2, "{ours} {told}");
    }
}
