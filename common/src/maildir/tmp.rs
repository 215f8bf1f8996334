//! Removing what crashed deliveries left in `tmp`.
//!
//! The Maildir convention gives a delivery 36 hours. What counts is the inode's change time, which neither a copying
//! program nor a delivery can set to an old value; a file still being written changes it all the time. "Now" is the
//! file system's clock. The directory's own times say when it was last looked through, so that most sessions only look
//! at those.

use super::Maildir;
use crate::sys::fs as sys;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files older than this are left over.
const KEEP_SECONDS: i64 = 36 * 60 * 60;
/// How often sessions look (Dovecot's value).
pub const EVERY: Duration = Duration::from_secs(8 * 60 * 60);

/// Removes leftovers unless that was done less than `interval` ago. Returns how many there were.
pub fn clean(maildir: &Maildir, interval: Duration) -> io::Result<u32> {
    let path = maildir.path().join("tmp");
    let meta = fs::metadata(&path)?;
    // Whoever looks sets both. A backup alone that reads the directory is no look, and neither is a delivery alone.
    let looked = meta.atime().min(meta.mtime());
    // The host's clock decides only whether to look, never what to remove.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    if looked.abs_diff(now) < interval.as_secs() {
        return Ok(0);
    }
    let directory = File::open(&path)?;
    sys::touch(&directory)?;
    remove_leftovers(&path, directory.metadata()?.atime())
}

/// Removes what is left over at `now`, in seconds since 1970.
fn remove_leftovers(tmp: &Path, now: i64) -> io::Result<u32> {
    let mut removed = 0;
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_dir() && meta.ctime() < now - KEEP_SECONDS && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn young_files_stay_and_the_second_look_is_cheap() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        dir.write("tmp/1.young", "x");
        let file = File::options().write(true).open(dir.path().join("tmp/1.young")).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        assert_eq!(clean(&maildir, Duration::ZERO).unwrap(), 0);
        assert_eq!(clean(&maildir, Duration::from_secs(3600)).unwrap(), 0);
        assert_eq!(dir.list("tmp"), ["1.young"]);
    }

    #[test]
    fn only_a_look_counts_as_one() {
        let dir = TempDir::maildir();
        let maildir = Maildir::open(dir.path()).unwrap();
        let tmp = File::open(dir.path().join("tmp")).unwrap();
        let (now, then) = (SystemTime::now(), SystemTime::now() - 2 * EVERY);
        let times = |accessed, modified| {
            let times = fs::FileTimes::new().set_accessed(accessed).set_modified(modified);
            tmp.set_times(times).unwrap();
            clean(&maildir, EVERY).unwrap();
            let meta = tmp.metadata().unwrap();
            meta.accessed().unwrap() > accessed || meta.modified().unwrap() > modified
        };
        assert!(!times(now, now), "somebody has looked");
        // A look sets both.
        for (accessed, modified) in [(now, then), (then, now), (then, then)] {
            assert!(times(accessed, modified));
        }
    }

    #[test]
    fn after_36_hours_files_are_left_over_and_directories_stay() {
        let dir = TempDir::maildir();
        let tmp = dir.path().join("tmp");
        dir.write("tmp/1.crashed", "half a mess");
        fs::create_dir(tmp.join("directory")).unwrap();
        let written = fs::metadata(tmp.join("1.crashed")).unwrap().ctime();
        assert_eq!(remove_leftovers(&tmp, written + KEEP_SECONDS).unwrap(), 0);
        assert_eq!(dir.list("tmp"), ["1.crashed", "directory"]);
        assert_eq!(remove_leftovers(&tmp, written + KEEP_SECONDS + 1).unwrap(), 1);
        assert_eq!(dir.list("tmp"), ["directory"]);
    }
}
