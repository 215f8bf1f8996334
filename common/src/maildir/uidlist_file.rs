//! `dovecot-uidlist` on disk: reading it without a lock, writing it under its dotlock.
//!
//! Readers need no lock: the file is either replaced by rename or grows at its end. Dovecot notices a change by inode
//! or size and, in its index, by mtime and size; so a rewrite makes a new inode, and its mtime is made strictly
//! newer than the old file's even where the clock stands still.

use super::dotlock::Dotlock;
use super::error::{ErrorKind, StorageError};
use super::make_anew;
use super::uidlist::UidList;
use crate::sys::fs as sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The file's name in the control directory.
pub const NAME: &str = "dovecot-uidlist";
const TEMP_NAME: &str = "dovecot-uidlist.tmp";
/// Octets of a new list that are written at a time.
const WRITE_OCTETS: usize = 64 * 1024;

/// Which state of a file was seen. Absent files have the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Inode number, 0 for an absent file.
    pub ino: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// Size in bytes on disk (0 for directories, whose size says nothing).
    pub size: u64,
}

impl Stamp {
    /// The file's stamp.
    pub fn of(meta: &fs::Metadata) -> Stamp {
        let mtime = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
        Stamp { ino: meta.ino(), mtime, size: if meta.is_dir() { 0 } else { meta.size() } }
    }

    /// For the index: 24 bytes.
    pub(super) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        let numbers = [self.ino, self.mtime as u64, self.size];
        out.chunks_exact_mut(8)
            .zip(numbers)
            .for_each(|(to, number)| to.copy_from_slice(&number.to_le_bytes()));
        out
    }

    /// The reverse of [`Stamp::encode`].
    pub(super) fn decode(bytes: [u8; 24]) -> Stamp {
        let mut numbers =
            bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap_or_default()));
        let mut next = || numbers.next().unwrap_or_default();
        Stamp { ino: next(), mtime: next() as i64, size: next() }
    }

    /// The stamp of what `path` names now; the default if nothing is there.
    pub fn at(path: &Path) -> Result<Stamp, StorageError> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Stamp::of(&meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stamp::default()),
            // A link to itself: it is there.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => fs::symlink_metadata(path)
                .map(|meta| Stamp::of(&meta))
                .map_err(StorageError::at("stat", path)),
            Err(error) => Err(StorageError::new("stat", path, error)),
        }
    }
}

/// What reading found.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// The list; `None` when there is no file or its header is broken.
    pub list: Option<UidList>,
    /// The file is there but its header is broken, or it is no file.
    pub broken: bool,
    /// Which state of the file this is.
    pub stamp: Stamp,
}

/// Reads the list in `control`.
pub fn read(control: &Path) -> Result<OnDisk, StorageError> {
    let path = control.join(NAME);
    for _ in 0..3 {
        let mut file = match sys::open_control(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OnDisk::default()),
            Err(error) => {
                let error = StorageError::new("open", &path, error);
                return match error.kind {
                    // Nothing is lost with what is no file.
                    ErrorKind::Corrupt => Ok(OnDisk { list: None, broken: true, stamp: Stamp::at(&path)? }),
                    _ => Err(error),
                };
            }
        };
        let stamp = Stamp::of(&file.metadata().map_err(StorageError::at("stat", &path))?);
        let mut text = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0).saturating_add(1));
        match file.read_to_end(&mut text) {
            Ok(_) => {
                let list = UidList::parse(text).ok();
                return Ok(OnDisk { broken: list.is_none(), list, stamp });
            }
            // NFS: the file was replaced and its old inode is gone.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {}
            Err(error) => return Err(StorageError::new("read", &path, error)),
        }
    }
    Err(StorageError::with_kind(ErrorKind::Temp, "read", &path, "the file keeps being replaced"))
}

/// Takes the lock under which Dovecot and we write.
pub fn lock(control: &Path, timeout: Duration) -> Result<Dotlock, StorageError> {
    Dotlock::take(&control.join(NAME), timeout)
}

/// Writes the whole list under the lock: temporary file, fdatasync, rename, fsync of the directory (the two only if
/// `fsync`). Returns the new stamp. On failure the old file is as it was and nothing is left behind; only where the
/// directory could not be synced, the new file is in its place.
///
/// Without the directory's fsync a power cut could bring the old list back after UIDs of the new one were shown, and other
/// messages would get them.
pub fn rewrite(control: &Path, list: &UidList, lock: &Dotlock, fsync: bool) -> Result<Stamp, StorageError> {
    rewrite_lines(control, lock, fsync, &mut |out| list.print(out))
}

/// The same with what `print` writes.
pub(super) fn rewrite_lines(
    control: &Path,
    lock: &Dotlock,
    fsync: bool,
    print: &mut dyn FnMut(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<Stamp, StorageError> {
    let (path, temp) = (control.join(NAME), control.join(TEMP_NAME));
    let old = Stamp::at(&path)?;
    let result = write_temp(&temp, print, fsync, old).and_then(|stamp| {
        if !lock.is_held() {
            return Err(io::Error::other("the lock was taken over by somebody else"));
        }
        fs::rename(&temp, &path)?;
        if fsync {
            sys::sync_directory(control)?;
        }
        Ok(stamp)
    });
    result.map_err(|error| {
        let _ = fs::remove_file(&temp);
        StorageError::new("write", &path, error)
    })
}

fn write_temp(
    temp: &Path,
    print: &mut dyn FnMut(&mut BufWriter<&mut File>) -> io::Result<()>,
    fsync: bool,
    old: Stamp,
) -> io::Result<Stamp> {
    let mut file = make_anew(temp)?;
    // Piece by piece: the list is in memory once already.
    let mut out = BufWriter::with_capacity(WRITE_OCTETS, &mut file);
    print(&mut out)?;
    out.flush()?;
    drop(out);
    let mut stamp = Stamp::of(&file.metadata()?);
    if stamp.mtime <= old.mtime {
        let newer = u64::try_from(old.mtime / 1_000_000_000 + 1).unwrap_or(0);
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(newer))?;
        stamp = Stamp::of(&file.metadata()?);
    }
    if fsync {
        file.sync_data()?;
    }
    Ok(stamp)
}

/// Appends the records from `first` on, under the lock, to the file that has the stamp `current`. On failure the file
/// is cut back to what it was. Returns the new stamp.
pub fn append(
    control: &Path,
    list: &UidList,
    first: usize,
    current: Stamp,
    lock: &Dotlock,
    fsync: bool,
) -> Result<Stamp, StorageError> {
    let mut next = first;
    append_lines(control, current, lock, fsync, &mut |lines| {
        list.print_record(next, lines)?;
        next += 1;
        Ok(next <= list.len())
    })
}

/// The same with lines that `print` makes, one after the other until it says `false`: `UID :BASE`, each with its line
/// end.
pub fn append_lines(
    control: &Path,
    current: Stamp,
    lock: &Dotlock,
    fsync: bool,
    print: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<bool>,
) -> Result<Stamp, StorageError> {
    let path = control.join(NAME);
    let mut attempt = || -> io::Result<Stamp> {
        let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
        let meta = file.metadata()?;
        if Stamp::of(&meta) != current || !lock.is_held() {
            return Err(io::Error::other("the file changed although it is locked"));
        }
        file.seek(SeekFrom::End(0))?;
        let written =
            write_lines(&mut file, print).and_then(|()| if fsync { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            let _ = file.set_len(meta.size());
            return Err(error);
        }
        file.metadata().map(|meta| Stamp::of(&meta))
    };
    attempt().map_err(StorageError::at("append", &path))
}

/// Piece by piece, but whole lines: who reads without the lock takes half of one for damage.
fn write_lines(file: &mut File, print: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<bool>) -> io::Result<()> {
    let mut lines = Vec::new();
    loop {
        let more = print(&mut lines)?;
        if !more || lines.len() >= WRITE_OCTETS {
            file.write_all(&lines)?;
            lines.clear();
        }
        if !more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, each_oddity};
    use super::super::uidvalidity::new_guid;
    use super::*;

    const HEADER: &str = "3 V5 N2 G0123456789abcdef0123456789abcdef\n";

    #[test]
    fn rewriting_replaces_the_file_with_a_newer_one() {
        let dir = TempDir::new();
        dir.write(NAME, &format!("{HEADER}1 :a\n"));
        dir.write(TEMP_NAME, "left by a crash");
        let mut found = read(dir.path()).unwrap();
        let list = found.list.as_mut().unwrap();
        list.add(b"b");
        let lock = lock(dir.path(), Duration::ZERO).unwrap();
        let stamp = rewrite(dir.path(), list, &lock, true).unwrap();
        assert!(stamp.mtime > found.stamp.mtime && stamp.ino != found.stamp.ino);
        assert_eq!(stamp, Stamp::at(&dir.path().join(NAME)).unwrap());
        drop(lock);
        assert_eq!(dir.list(""), [NAME]);
        assert_eq!(dir.read(NAME), "3 V5 N3 G0123456789abcdef0123456789abcdef\n1 :a\n2 :b\n");
    }

    #[test]
    fn appending_keeps_the_inode_and_refuses_a_changed_file() {
        let dir = TempDir::new();
        dir.write(NAME, &format!("{HEADER}1 :a\n"));
        let mut found = read(dir.path()).unwrap();
        let list = found.list.as_mut().unwrap();
        list.add(b"b");
        let lock = lock(dir.path(), Duration::ZERO).unwrap();
        let stamp = append(dir.path(), list, 1, found.stamp, &lock, false).unwrap();
        assert_eq!(stamp.ino, found.stamp.ino);
        assert_eq!(dir.read(NAME), format!("{HEADER}1 :a\n2 :b\n"));
        assert!(append(dir.path(), list, 1, found.stamp, &lock, false).is_err());
    }

    #[test]
    fn what_is_no_file_is_a_broken_list_and_makes_way_for_a_new_one() {
        let dir = TempDir::new();
        each_oddity(&dir.path().join(NAME), |what| {
            let found = read(dir.path()).unwrap();
            assert!(found.list.is_none() && found.broken && found.stamp != Stamp::default(), "{what}");
            assert_eq!(found.stamp, Stamp::at(&dir.path().join(NAME)).unwrap(), "{what}");
            let lock = lock(dir.path(), Duration::ZERO).unwrap();
            let written = rewrite(dir.path(), &UidList::new(5, new_guid(dir.path())), &lock, false);
            match what {
                "directory" => assert_eq!(written.unwrap_err().kind, ErrorKind::Corrupt),
                _ => assert_eq!(read(dir.path()).unwrap().list.unwrap().uid_validity, 5, "{what}"),
            }
        });
        each_oddity(&dir.path().join(TEMP_NAME), |what| {
            let lock = lock(dir.path(), Duration::ZERO).unwrap();
            assert!(
                rewrite(dir.path(), &UidList::new(5, new_guid(dir.path())), &lock, false).is_ok(),
                "{what}"
            );
        });
    }

    #[test]
    fn nothing_there_and_something_broken_there() {
        let dir = TempDir::new();
        let found = read(dir.path()).unwrap();
        assert!(found.list.is_none() && !found.broken);
        dir.write(NAME, "garbage\n");
        let found = read(dir.path()).unwrap();
        assert!(found.list.is_none() && found.broken);
    }
}
