//! One processor for processes that take turns.
//!
//! Where each of them does little before it waits for the next one, being woken on another processor costs more than the work:
//! that one has to come out of its sleep, and has none of the memory at hand. The kernel does not know that they take turns.
//! Whoever has been given processors of his own (`taskset`, CPUAffinity=) is kept on one of those.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WORDS: usize = mem::size_of::<libc::cpu_set_t>() / mem::size_of::<u64>();

/// Whether this process stays where it is; a child made by fork is told with the rest of the memory.
static STAYS: AtomicBool = AtomicBool::new(false);
/// Where it may run otherwise.
static ALLOWED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// From now on this process and those that it forks run on the processor that it is on.
pub fn stay() {
    if STAYS.load(Ordering::Relaxed) {
        return;
    }
    let Some(allowed) = affinity_of(0) else { return };
    // SAFETY: the call takes no argument.
    let here = unsafe { libc::sched_getcpu() };
    // Not what sysconf says is online: musl counts what is allowed, which is one from here on.
    let choice: u32 = allowed.iter().map(|word| word.count_ones()).sum();
    let Ok(here) = usize::try_from(here) else { return };
    if choice > 1 && set_affinity(0, &only(here)) {
        ALLOWED.iter().zip(allowed).for_each(|(place, word)| place.store(word, Ordering::Relaxed));
        STAYS.store(true, Ordering::Relaxed);
    }
}

/// Where this process stays, and where it might instead; `None`: it may run anywhere, or has no choice.
pub fn post() -> Option<(usize, Vec<usize>)> {
    if !STAYS.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the call takes no argument.
    let here = usize::try_from(unsafe { libc::sched_getcpu() }).ok()?;
    let allowed = allowed();
    let others =
        (0..).zip(allowed.iter().flat_map(|word| (0..u64::BITS).map(move |bit| word >> bit & 1 == 1)));
    Some((here, others.filter(|&(other, may)| may && other != here).map(|(other, _)| other).collect()))
}

/// This process, which stays somewhere, stays there from now on. `false`: it cannot.
pub fn stay_at(processor: usize) -> bool {
    STAYS.load(Ordering::Relaxed) && set_affinity(0, &only(processor))
}

/// This process and its `child` go where `other` stays, and stay there, if they have a choice. Nothing changes if that may run
/// anywhere, or if the child cannot be moved: it has another uid, and root may be without CAP_SYS_NICE.
pub fn follow_with(child: i32, other: i32) {
    let Some(there) = affinity_of(other) else { return };
    let is_one = there.iter().map(|word| word.count_ones()).sum::<u32>() == 1;
    let may = allowed().iter().zip(there).any(|(may, word)| may & word != 0);
    // SAFETY: the call takes no argument.
    let here = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(usize::MAX);
    let is_there = STAYS.load(Ordering::Relaxed) && there == only(here);
    if is_one && may && !is_there && set_affinity(child, &there) && set_affinity(0, &there) {
        STAYS.store(true, Ordering::Relaxed);
    }
}

/// Nanoseconds for which this process could have run, and others had the processor; `None`: the kernel does not say.
pub fn waited() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The opposite of [`stay`]: this process and its `child` run anywhere again.
pub fn roam_with(child: i32) {
    if STAYS.load(Ordering::Relaxed) {
        set_affinity(child, &allowed());
        set_affinity(0, &allowed());
        STAYS.store(false, Ordering::Relaxed);
    }
}

/// The opposite of [`stay`], before another program is executed. It makes one system call and allocates nothing: a child may say it
/// between fork and exec.
pub fn roam() {
    if STAYS.load(Ordering::Relaxed) {
        set_affinity(0, &allowed());
    }
}

fn allowed() -> [u64; WORDS] {
    let mut allowed = [0; WORDS];
    allowed.iter_mut().zip(&ALLOWED).for_each(|(word, place)| *word = place.load(Ordering::Relaxed));
    allowed
}

/// A set of one; an empty one, which the kernel refuses, if its number is too large.
fn only(processor: usize) -> [u64; WORDS] {
    let mut only = [0; WORDS];
    if let Some(word) = only.get_mut(processor / 64) {
        *word = 1 << (processor % 64);
    }
    only
}

fn affinity_of(pid: i32) -> Option<[u64; WORDS]> {
    let mut set = [0u64; WORDS];
    // SAFETY: the set is ours, of the size that is said, and of words that may have any value.
    let known = unsafe { libc::sched_getaffinity(pid, mem::size_of_val(&set), set.as_mut_ptr().cast()) == 0 };
    known.then_some(set)
}

fn set_affinity(pid: i32, set: &[u64; WORDS]) -> bool {
    // SAFETY: a set is read that is as large as is said.
    unsafe { libc::sched_setaffinity(pid, mem::size_of_val(set), set.as_ptr().cast()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self, Ended, Fork};

    fn allowed_count() -> usize {
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

    /// From a process that may run anywhere, on one of so many processors.
    fn follows_where_another_stays(choice: usize) -> bool {
        let ours = affinity_of(0).unwrap();
        let Fork::Parent(other) = process::fork().unwrap() else {
            std::thread::sleep(std::time::Duration::from_secs(60));
            process::exit_now(0);
        };
        follow_with(0, other);
        let unmoved = post().is_none();
        let is_ours = |at: &usize| ours.iter().zip(only(*at)).any(|(ours, place)| ours & place != 0);
        let places: Vec<usize> = (0..WORDS * 64).filter(is_ours).collect();
        let everywhere = places.iter().all(|&there| {
            set_affinity(other, &only(there));
            follow_with(0, other);
            choice == 1 || post().is_some_and(|(here, _)| here == there) && allowed_count() == 1
        });
        process::terminate(other);
        let _ = process::wait_for(other);
        unmoved
            && places.len() == choice
            && everywhere
            && waited().is_some_and(|waited| waited < 60_000_000_000)
    }

    #[test]
    fn who_may_run_anywhere_stays_until_another_program_comes() {
        let Fork::Parent(pid) = process::fork().unwrap() else {
            let before = allowed_count();
            roam();
            let untouched = allowed_count() == before;
            stay();
            let stayed = allowed_count() == 1;
            let moved = match post() {
                None => before == 1,
                Some((here, others)) => {
                    let last = others.last().copied().unwrap_or(here);
                    others.len() + 1 == before
                        && stay_at(last)
                        && post().is_some_and(|(there, others)| there == last && others.contains(&here))
                        && allowed_count() == 1
                        && !stay_at(usize::MAX)
                }
            };
            roam();
            let roams = allowed_count() == before;
            roam_with(0);
            let is_free = post().is_none();
            let follows = follows_where_another_stays(before);
            roam_with(0);
            // Who was given one of the processors has no choice.
            let kept = set_affinity(0, &only(0)) && {
                stay();
                roam();
                post().is_none() && allowed_count() == 1
            };
            process::exit_now(u8::from(
                !(untouched && stayed && moved && roams && is_free && follows && kept),
            ));
        };
        assert!(matches!(process::wait_for(pid), Ok(Ended::Code(0))));
    }
}
