//! One processor for processes that take turns.
//!
//! Where each of them does little before it waits for the next one, being woken on another processor costs more than the work:
//! that one has to come out of its sleep, and has none of the memory at hand. The kernel does not know that they take turns.
//! Whoever has been given processors of his own (`taskset`, CPUAffinity=) keeps them.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process stays where it is; a child made by fork is told with the rest of the memory.
static STAYS: AtomicBool = AtomicBool::new(false);

/// From now on this process and those that it forks run on the processor that it is on, unless it may not run on all of them.
pub fn stay() {
    let (size, pid) = (mem::size_of::<libc::cpu_set_t>(), 0);
    // SAFETY: an all-zero set is a valid one; the calls read or write sets of our own whose size they are told, and the macros
    // touch bits within them.
    unsafe {
        let mut may: libc::cpu_set_t = mem::zeroed();
        let online = libc::sysconf(libc::_SC_NPROCESSORS_ONLN);
        if online < 2 || libc::sched_getaffinity(pid, size, &raw mut may) != 0 {
            return;
        }
        let here = usize::try_from(libc::sched_getcpu()).unwrap_or(usize::MAX);
        let all = libc::c_long::from(libc::CPU_COUNT(&may)) == online;
        if !all || here >= size.saturating_mul(8) || !libc::CPU_ISSET(here, &may) {
            return;
        }
        let mut only: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(here, &mut only);
        if libc::sched_setaffinity(pid, size, &raw const only) == 0 {
            STAYS.store(true, Ordering::Relaxed);
        }
    }
}

/// Where this process stays, and how many processors there are; `None`: it may run anywhere, or was told where.
pub fn post() -> Option<(usize, usize)> {
    if !STAYS.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the calls take no pointer.
    let (here, online) = unsafe { (libc::sched_getcpu(), libc::sysconf(libc::_SC_NPROCESSORS_ONLN)) };
    Some((usize::try_from(here).ok()?, usize::try_from(online).ok()?))
}

/// This process, which stays somewhere, stays there from now on. `false`: it cannot.
pub fn stay_at(processor: usize) -> bool {
    let size = mem::size_of::<libc::cpu_set_t>();
    if !STAYS.load(Ordering::Relaxed) || processor >= size.saturating_mul(8) {
        return false;
    }
    // SAFETY: an all-zero set is a valid one, the macro touches a bit within it, and the call reads it.
    unsafe {
        let mut only: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(processor, &mut only);
        libc::sched_setaffinity(0, size, &raw const only) == 0
    }
}

/// The opposite of [`stay`], before another program is executed. It makes one system call and allocates nothing: a child may say it
/// between fork and exec.
pub fn roam() {
    if STAYS.load(Ordering::Relaxed) {
        // SAFETY: every bit pattern is a set; the kernel takes of it what there is.
        unsafe {
            let mut all: libc::cpu_set_t = mem::zeroed();
            (&raw mut all).write_bytes(0xff, 1);
            libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self, Ended, Fork};

    fn allowed() -> usize {
        // Not what std says: that is cut by quotas of a control group.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        list.trim()
            .split(',')
            .map(|part| match part.split_once('-') {
                Some((from, to)) => to.parse::<usize>().unwrap() - from.parse::<usize>().unwrap() + 1,
                None => 1,
            })
            .sum()
    }

    #[test]
    fn who_may_run_anywhere_stays_until_another_program_comes() {
        let Fork::Parent(pid) = process::fork().unwrap() else {
            let before = allowed();
            roam();
            let untouched = allowed() == before;
            stay();
            let stayed = allowed() == 1 || !STAYS.load(Ordering::Relaxed);
            let moved = post().is_none_or(|(here, online)| {
                let last = online.saturating_sub(1);
                stay_at(last) && post() == Some((last, online)) && allowed() == 1 && stay_at(here)
            });
            let out = std::process::Command::new("/bin/true").status().is_ok_and(|status| status.success());
            roam();
            let roams = allowed() == before;
            process::exit_now(u8::from(!(untouched && stayed && moved && out && roams)));
        };
        assert!(matches!(process::wait_for(pid), Ok(Ended::Code(0))));
    }
}
