//! Choosing a UIDVALIDITY and a mailbox GUID that were never used before.
//!
//! Dovecot keeps the last UIDVALIDITY it gave in the Maildir's root: `dovecot-uidvalidity` holds it as eight hex
//! digits, and an empty file `dovecot-uidvalidity.<hex8>` carries it in its name. The next one is taken by renaming
//! the empty file to the value plus one: whoever's rename succeeds owns that value. The same is done here, so that
//! both programs draw from one sequence and a deleted and recreated mailbox never gets an old value again.

use super::{StorageError, open_or_make};
use crate::sys::fs as sys;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "dovecot-uidvalidity";
const ATTEMPTS: u32 = 10;
/// A clock that says less was never set: 2025-01-01. UIDVALIDITY must not come from it alone.
pub const CLOCK_FLOOR: u32 = 1_735_689_600;

/// Draws the next UIDVALIDITY from the files in `root`, making them if there are none. `at_least` is a lower bound
/// (a UIDVALIDITY known to have been used). Fails when nothing can be written: a value that is not recorded is
/// not to be shown to anybody; with `fsync` it is on the disk before it is returned.
pub fn next(root: &Path, at_least: u32, fsync: bool) -> io::Result<u32> {
    for _ in 0..ATTEMPTS {
        let recorded = recorded(root)?;
        let value = match recorded {
            Some(last) => after(last.max(at_least)),
            None => after(at_least).max(from_clock(root)),
        };
        let claimed = match recorded {
            Some(last) => fs::rename(file(root, Some(last)), file(root, Some(value))),
            None => create_marker(root, value),
        };
        match claimed {
            Ok(()) => {
                match write_current(root, value).map_err(StorageError::at("write", root)) {
                    // The marker says it, too.
                    Err(error) if error.is_unusable() => {}
                    Err(error) => return Err(error.source),
                    Ok(()) => {}
                }
                if fsync {
                    sys::sync_directory(root)?;
                }
                return Ok(value);
            }
            // Somebody was faster: look again.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("dovecot-uidvalidity keeps changing"))
}

/// Makes sure that values up to `used`, which came from somewhere else, are not drawn.
pub fn remember(root: &Path, used: u32, fsync: bool) -> io::Result<()> {
    match recorded(root)? {
        Some(last) if last >= used => Ok(()),
        _ => next(root, used.saturating_sub(1), fsync).map(drop),
    }
}

/// The greatest value that has a marker file. Older markers beside it are leftovers of a race and are removed.
fn recorded(root: &Path) -> io::Result<Option<u32>> {
    let mut values = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let suffix = name.to_str().and_then(|name| name.strip_prefix(NAME)?.strip_prefix('.'));
        if let Some(value) = suffix.and_then(hex8) {
            values.push(value);
        }
    }
    let newest = values.iter().copied().max();
    for old in values.into_iter().filter(|&value| Some(value) != newest) {
        let _ = fs::remove_file(file(root, Some(old)));
    }
    Ok(newest)
}

/// Exactly as printed: eight lower-case hex digits, not zero.
fn hex8(text: &str) -> Option<u32> {
    let shape = text.len() == 8 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    u32::from_str_radix(text, 16).ok().filter(|&value| shape && value != 0)
}

fn file(root: &Path, value: Option<u32>) -> PathBuf {
    match value {
        Some(value) => root.join(format!("{NAME}.{value:08x}")),
        None => root.join(NAME),
    }
}

fn after(value: u32) -> u32 {
    value.wrapping_add(1).max(1)
}

fn create_marker(root: &Path, value: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(file(root, Some(value))).map(drop)
}

fn write_current(root: &Path, value: u32) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut open = OpenOptions::new();
    open.write(true).custom_flags(sys::NO_FOLLOW | sys::NO_WAIT);
    let current = open_or_make(&mut open, &file(root, None))?;
    current.write_all_at(format!("{value:08x}").as_bytes(), 0)
}

/// Now in seconds; on a machine whose clock was never set, the floor plus random bits, because "first boot second"
/// would be the same for every new mailbox.
fn from_clock(root: &Path) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match u32::try_from(now) {
        Ok(now) if now >= CLOCK_FLOOR => now,
        _ => CLOCK_FLOOR.saturating_add(random_bits(root) as u32 & 0xff_ffff),
    }
}

/// A new mailbox GUID: 32 lower-case hex digits.
pub fn new_guid(root: &Path) -> Vec<u8> {
    format!("{:016x}{:016x}", random_bits(root), random_bits(root)).into_bytes()
}

/// 64 bits that nobody has to guess wrong about: they only have to differ. The standard library seeds its hash keys
/// from the kernel; path, time and process are mixed in.
fn random_bits(root: &Path) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    root.hash(&mut hasher);
    SystemTime::now().hash(&mut hasher);
    std::process::id().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn the_first_comes_from_the_clock_and_the_next_from_the_file() {
        let dir = TempDir::new();
        let first = next(dir.path(), 0, true).unwrap();
        assert!(first >= CLOCK_FLOOR);
        assert_eq!(dir.list(""), [NAME.to_owned(), format!("{NAME}.{first:08x}")]);
        assert_eq!(dir.read(NAME), format!("{first:08x}"));
        assert_eq!(next(dir.path(), 0, true).unwrap(), first + 1);
        assert_eq!(dir.list(""), [NAME.to_owned(), format!("{NAME}.{:08x}", first + 1)]);
    }

    #[test]
    fn the_greatest_marker_counts_and_leftovers_go() {
        let dir = TempDir::new();
        for name in ["dovecot-uidvalidity.00000010", "dovecot-uidvalidity.00000020", "dovecot-uidvalidity.x"]
        {
            dir.write(name, "");
        }
        dir.write(NAME, "00000010");
        assert_eq!(next(dir.path(), 0, true).unwrap(), 0x21);
        assert_eq!(dir.list(""), [NAME, "dovecot-uidvalidity.00000021", "dovecot-uidvalidity.x"]);
        assert_eq!(next(dir.path(), 0x50, false).unwrap(), 0x51);
    }

    #[test]
    fn guids_are_32_hex_digits_and_differ() {
        let (a, b) = (new_guid(Path::new("/")), new_guid(Path::new("/")));
        assert!(a.len() == 32 && a.iter().all(u8::is_ascii_hexdigit));
        assert_ne!(a, b);
    }
}
