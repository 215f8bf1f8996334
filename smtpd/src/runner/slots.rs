//! Slots: how many processes of all runners serve one destination at once, and how a runner that found none tells the others.
//!
//! A slot is a locked file `lock/KEY.N`; it goes with its process. A worker that finds no slot leaves `lock/again` and looks
//! once more; a runner that had slots looks for that file when it has given them back. So either the worker gets the slot, or
//! the runner sees the file and goes through the queue again: what came meanwhile does not wait for the timer.
//!
//! Runs have slots, too: anybody who sends mail starts one. A run without a slot leaves `lock/come`, and those that have slots
//! do its work, even while some of their workers are slow. So does whoever adds to the queue without a run of its own.
//!
//! Files of old destinations are removed ([`tidy`]). Who removes one has its lock, and who takes one looks whether it still has
//! its name afterwards: nobody has a slot by a file that others cannot find.

use crate::queue::{Place, QueueDirectory};
use common::sys::fs;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age of a file from which on it goes when nobody has it.
const OLD: Duration = Duration::from_secs(3600);
/// Runs at once: each is two processes, and those that it starts.
const RUNS_MAX: u32 = 8;
/// The key of their slots. No destination has a blank at its end.
const RUNS: &str = "runs ";
/// How often a file is tried that may be on its way out, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_micros(200);

/// A slot, as long as it lives.
#[derive(Debug)]
pub struct Slot {
    _file: File,
}

/// Takes one of the slots of a destination. `None`: all are taken.
pub fn take(directory: &QueueDirectory, key: &str, limit: u32) -> io::Result<Option<Slot>> {
    if let Some(slot) = try_take(directory, key, limit)? {
        return Ok(Some(slot));
    }
    open(again(directory))?;
    try_take(directory, key, limit)
}

/// Something has been added to the queue that should not wait for the timer.
pub fn look_again(directory: &QueueDirectory) {
    let _ = open(come(directory));
}

/// Whether something has been added since the last time.
pub fn has_come(directory: &QueueDirectory) -> bool {
    std::fs::remove_file(come(directory)).is_ok()
}

/// A slot for a run. `None`: as many as may be are under way, and will look again.
pub fn of_run(directory: &QueueDirectory) -> io::Result<Option<Slot>> {
    if let Some(slot) = try_take(directory, RUNS, RUNS_MAX)? {
        return Ok(Some(slot));
    }
    look_again(directory);
    try_take(directory, RUNS, RUNS_MAX)
}

/// Whether somebody has missed a slot since the last time. To be asked when one's own were given back.
pub fn was_missed(directory: &QueueDirectory) -> bool {
    std::fs::remove_file(again(directory)).is_ok()
}

fn come(directory: &QueueDirectory) -> PathBuf {
    directory.place(Place::Lock).join("come")
}

fn again(directory: &QueueDirectory) -> PathBuf {
    directory.place(Place::Lock).join("again")
}

/// The same, but nobody is told that a slot was missed: whoever asks sees to it himself.
pub fn try_take(directory: &QueueDirectory, key: &str, limit: u32) -> io::Result<Option<Slot>> {
    let hash = hash(key);
    for number in 0..limit.max(1) {
        let path = directory.place(Place::Lock).join(format!("{hash:016x}.{number}"));
        if let Some(file) = lock(&path)? {
            return Ok(Some(Slot { _file: file }));
        }
    }
    Ok(None)
}

/// A slot's file, locked; `None`: somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        let file = open(path.to_owned())?;
        if fs::try_record_lock(&file)? {
            if is_at(&file, path)? {
                return Ok(Some(file));
            }
        } else if is_old(&file.metadata()?, SystemTime::now()) {
            // Who has it may be about to remove it, and is no delivery.
            std::thread::sleep(PAUSE);
        } else {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether the file still has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Nobody writes to these files: their time is when they were made.
fn is_old(meta: &Metadata, now: SystemTime) -> bool {
    // A time far ahead is a wrong clock's.
    let age = |time| now.duration_since(time).unwrap_or_else(|ahead| ahead.duration());
    meta.modified().is_ok_and(|made| age(made) >= OLD)
}

/// Removes the files of slots that are old and that nobody has.
pub fn tidy(directory: &QueueDirectory, now: SystemTime) -> io::Result<()> {
    let place = directory.place(Place::Lock);
    fs::for_each_name(&place, &mut |name, _| {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_slot(name)) else { return };
        let path = place.join(name);
        if !path.symlink_metadata().is_ok_and(|meta| meta.is_file() && is_old(&meta, now)) {
            return;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT).open(&path);
        if let Ok(file) = file {
            // Another run may have removed it, and somebody made a new one of this name since.
            if fs::try_record_lock(&file).unwrap_or(false) && is_at(&file, &path).unwrap_or(false) {
                let _ = std::fs::remove_file(&path);
            }
        }
    })
}

fn is_slot(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()) && number.parse::<u32>().is_ok()
    })
}

fn open(path: PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT);
    options.open(path)
}

/// FNV-1a: two destinations that share slots by chance wait for each other, no more.
fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::{Scratch, queue};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[test]
    fn there_are_so_many_and_no_more() {
        let scratch = Scratch::new("slots");
        let directory = queue(&scratch);
        let first = take(&directory, "a.example", 2).unwrap().unwrap();
        let _second = take(&directory, "A.EXAMPLE", 2).unwrap().unwrap();
        assert!(!was_missed(&directory));
        assert!(take(&directory, "a.example", 2).unwrap().is_none());
        assert!(take(&directory, "b.example", 2).unwrap().is_some());
        assert!(was_missed(&directory) && !was_missed(&directory));
        drop(first);
        assert!(take(&directory, "a.example", 2).unwrap().is_some());
    }

    fn names(directory: &QueueDirectory) -> usize {
        std::fs::read_dir(directory.place(Place::Lock)).unwrap().count()
    }

    #[test]
    fn a_run_too_many_leaves_its_work_to_the_others() {
        let scratch = Scratch::new("run-slots");
        let directory = queue(&scratch);
        let mut held: Vec<Slot> = (0..RUNS_MAX).map(|_| of_run(&directory).unwrap().unwrap()).collect();
        assert!(!has_come(&directory));
        assert!(of_run(&directory).unwrap().is_none());
        assert!(has_come(&directory) && !was_missed(&directory));
        held.pop();
        assert!(of_run(&directory).unwrap().is_some());
    }

    #[test]
    fn old_files_go_when_nobody_has_them() {
        let scratch = Scratch::new("tidy-slots");
        let directory = queue(&scratch);
        let held = take(&directory, "a.example", 2).unwrap().unwrap();
        drop(take(&directory, "b.example", 2).unwrap());
        look_again(&directory);
        let now = SystemTime::now();
        tidy(&directory, now + OLD / 2).unwrap();
        assert_eq!(names(&directory), 3);
        tidy(&directory, now + OLD * 2).unwrap();
        assert_eq!(names(&directory), 2);
        assert!(try_take(&directory, "a.example", 1).unwrap().is_none());
        assert!(has_come(&directory) && !has_come(&directory));
        drop(held);
        // A clock that was put back makes none of them stay for ever.
        tidy(&directory, now - OLD * 2).unwrap();
        assert_eq!(names(&directory), 0);
    }

    #[test]
    fn nobody_gets_a_slot_by_a_file_that_is_removed() {
        let scratch = Scratch::new("race-slots");
        let directory = queue(&scratch);
        let (holders, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let tidier = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    tidy(&directory, SystemTime::now() + OLD * 2).unwrap();
                }
            });
            let runners: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let begun = std::time::Instant::now();
                        while taken.load(Ordering::SeqCst) < 500 && begun.elapsed() < Duration::from_secs(30)
                        {
                            let Some(slot) = try_take(&directory, "a.example", 1).unwrap() else { continue };
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(slot);
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = runners.into_iter().map(|runner| runner.join()).collect();
            over.store(true, Ordering::SeqCst);
            tidier.join().unwrap();
            assert!(ended.iter().all(|end| end.is_ok()), "two had the slot at once");
        });
        assert!(taken.load(Ordering::SeqCst) >= 500, "{taken:?}");
    }

    #[test]
    fn who_tidies_up_is_waited_for() {
        let scratch = Scratch::new("miss-slots");
        let directory = queue(&scratch);
        let old = SystemTime::now() - OLD * 2;
        let had = (0..50).filter(|_| {
            drop(take(&directory, "a.example", 1).unwrap().unwrap());
            let path =
                std::fs::read_dir(directory.place(Place::Lock)).unwrap().next().unwrap().unwrap().path();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(old)).unwrap();
            assert!(fs::try_record_lock(&file).unwrap());
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(PAUSE * 2);
                    std::fs::remove_file(path).unwrap();
                    drop(file);
                });
                try_take(&directory, "a.example", 1).unwrap().is_some()
            })
        });
        // Not always: one that is kept waiting for a processor is taken for somebody who delivers.
        assert!(had.count() > 0);
    }
}
