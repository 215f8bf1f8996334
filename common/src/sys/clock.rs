//! Clocks that std does not have.

use super::cerr;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When this machine was started, by its clock of now: a clock that was wrong meanwhile does not matter, one that was ahead of
/// time before the start does.
pub fn booted() -> io::Result<SystemTime> {
    Ok(SystemTime::now().checked_sub(up()?).unwrap_or(UNIX_EPOCH))
}

/// How long this machine has been running; no clock that is set changes it.
pub fn up() -> io::Result<Duration> {
    // SAFETY: an all-zero timespec is a valid one, which the call fills.
    let mut up: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: writes the local structure.
    cerr(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut up) })?;
    Ok(Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0)))
}

/// How long the process that has this number now has had it, proc(5). `None`: there is none, or /proc does not show it.
pub fn run_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may have anything in it; `starttime` is the twentieth field behind it.
    let name_end = stat.iter().rposition(|&octet| octet == b')')?;
    let fields = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: a plain integer.
    let of_second =
        u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|&ticks| ticks > 0)?;
    let started = Duration::from_millis(ticks.saturating_mul(1000) / of_second);
    Some(up().ok()?.saturating_sub(started))
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

    #[test]
    fn how_long_processes_run() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let young = run_time(child.id()).unwrap();
        assert!((30..5000).contains(&young.as_millis()), "{young:?}");
        // The first process is as old as the machine, but in a container.
        assert!(run_time(1).unwrap() > young && run_time(1).unwrap() <= up().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(run_time(child.id()), None);
    }
}
