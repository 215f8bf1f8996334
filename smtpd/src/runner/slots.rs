//! Slots: how many processes of all runners serve one destination at once, and how a runner that found none tells the others.
//!
//! A slot is a locked file `lock/KEY.N`; it goes with its process. A worker that finds no slot leaves `lock/again` and looks
//! once more; a runner that had slots looks for that file when it has given them back. So either the worker gets the slot, or
//! the runner sees the file and goes through the queue again: what came meanwhile does not wait for the timer.

use crate::queue::{Place, QueueDirectory};
use common::sys::fs;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

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
    let _ = open(again(directory));
}

/// Whether somebody has missed a slot since the last time. To be asked when one's own were given back.
pub fn was_missed(directory: &QueueDirectory) -> bool {
    std::fs::remove_file(again(directory)).is_ok()
}

fn again(directory: &QueueDirectory) -> PathBuf {
    directory.place(Place::Lock).join("again")
}

/// The same, but nobody is told that a slot was missed: whoever asks sees to it himself.
pub fn try_take(directory: &QueueDirectory, key: &str, limit: u32) -> io::Result<Option<Slot>> {
    let hash = hash(key);
    for number in 0..limit.max(1) {
        let file = open(directory.place(Place::Lock).join(format!("{hash:016x}.{number}")))?;
        if fs::try_record_lock(&file)? {
            return Ok(Some(Slot { _file: file }));
        }
    }
    Ok(None)
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
}
