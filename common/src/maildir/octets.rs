//! Counting a message's octets: its size on the wire, where every line ends in CRLF.
//!
//! The rule is RFC 1939's as Dovecot applies it: every byte of the file counts one, and every LF that no CR precedes
//! counts one more. A missing line end at the end of the file adds nothing.

use super::error::StorageError;
use crate::sys::fs as sys;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the octets of a mailbox are counted for one command; what is left by then is counted for the next one. A
/// message that alone takes half of it is none that a client could fetch.
pub const COUNT_TIME: Duration = Duration::from_secs(5 * 60);
/// How long they are counted for nobody, before a login is answered.
pub(super) const EARLY_TIME: Duration = Duration::from_secs(10);
/// After so many octets of a file the clock is looked at.
const LOOK_EVERY: u64 = 8 << 20;

/// Large enough that most messages take one read, small enough to be given back at once.
const BUFFER: usize = 128 * 1024;

/// How long counting may take, and what is to be done meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub time: Duration,
    /// Whether a message that takes half of the time is called unreadable; else it is left for later like all others.
    pub gives_up: bool,
    /// Keeps locks alive; `false`: one is lost, and the work is to end.
    pub keep: Option<&'a dyn Fn() -> bool>,
}

/// What counting a message came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Octets(u64),
    /// It cannot be read (wrong owner, not a file, a bad sector), or not in any reasonable time: one message must not keep
    /// all the others from being shown.
    Unreadable,
    /// The time is over.
    Later,
}

/// Counts many messages of one Maildir.
pub(super) struct Counter<'a> {
    new: File,
    cur: File,
    buffer: Vec<u8>,
    /// The first reading of a file would write its access time, which nobody looks at.
    keep_atime: bool,
    patience: Patience<'a>,
    begun: Instant,
}

impl<'a> Counter<'a> {
    /// Opens the directories. The time begins now.
    pub fn new(maildir: &Path, patience: Patience<'a>) -> Result<Counter<'a>, StorageError> {
        let open = |name| {
            let path = maildir.join(name);
            File::open(&path).map_err(StorageError::at("open", &path))
        };
        let (new, cur, buffer) = (open("new")?, open("cur")?, vec![0; BUFFER]);
        Ok(Counter { new, cur, buffer, keep_atime: true, patience, begun: Instant::now() })
    }

    /// Counts one message.
    ///
    /// Errors: `NotFound` when it is not there; no more descriptors or memory, which is no message's fault.
    pub fn count(&mut self, in_new: bool, name: &[u8]) -> io::Result<Counted> {
        let Patience { time, gives_up, keep } = self.patience;
        let (started, begun) = (Instant::now(), self.begun);
        let goes_on = || begun.elapsed() < time && keep.is_none_or(|keep| keep());
        if !goes_on() {
            return Ok(Counted::Later);
        }
        let directory = if in_new { &self.new } else { &self.cur };
        let mut file = sys::open_below(directory, name, self.keep_atime);
        if self.keep_atime && file.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            self.keep_atime = false;
            file = sys::open_below(directory, name, false);
        }
        let counted = file.and_then(|file| {
            sys::regular(&file)?;
            count(&file, &mut self.buffer, goes_on)
        });
        match counted {
            Ok(Counted::Later) if gives_up && started.elapsed() >= time / 2 => Ok(Counted::Unreadable),
            // Removed on another host just now.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
            Err(error) if !is_ours(&error) => Ok(Counted::Unreadable),
            counted => counted,
        }
    }
}

/// Whether the error says nothing against the message itself.
fn is_ours(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::ENOENT | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR))
}

/// The octets of one file, counted as long as it takes at most, and `goes_on` says so; `None`: that was not enough.
///
/// Errors: `InvalidData` for what is no file.
pub(super) fn of_file(file: &File, goes_on: &dyn Fn() -> bool) -> io::Result<Option<u64>> {
    sys::regular(file)?;
    let begun = Instant::now();
    match count(file, &mut [0; 16 * 1024], || begun.elapsed() < COUNT_TIME && goes_on())? {
        Counted::Octets(octets) => Ok(Some(octets)),
        Counted::Later | Counted::Unreadable => Ok(None),
    }
}

/// Counts the octets of `file` from its current position on, through `buffer` (any length but 0), as long as `goes_on`
/// says so.
fn count(mut file: &File, buffer: &mut [u8], goes_on: impl Fn() -> bool) -> io::Result<Counted> {
    let (mut octets, mut look_at) = (0u64, LOOK_EVERY);
    let mut after_cr = false;
    loop {
        let length = match file.read(buffer) {
            Ok(0) => return Ok(Counted::Octets(octets)),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = buffer.get(..length).unwrap_or_default();
        octets += length as u64 + bare_line_feeds(chunk, after_cr);
        after_cr = chunk.last() == Some(&b'\r');
        if octets >= look_at {
            if !goes_on() {
                return Ok(Counted::Later);
            }
            look_at = octets + LOOK_EVERY;
        }
    }
}

/// How many LF in `chunk` have no CR before them; `after_cr` tells of the byte before the chunk.
fn bare_line_feeds(chunk: &[u8], after_cr: bool) -> u64 {
    let all = memchr::memchr_iter(b'\n', chunk).count() as u64;
    let mut with_cr = u64::from(after_cr && chunk.first() == Some(&b'\n'));
    if memchr::memchr(b'\r', chunk).is_some() {
        with_cr += memchr::memmem::find_iter(chunk, b"\r\n").count() as u64;
    }
    all - with_cr
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;

    fn octets(content: &[u8], buffer: usize) -> u64 {
        let dir = TempDir::new();
        let path = dir.path().join("m");
        std::fs::write(&path, content).unwrap();
        match count(&File::open(path).unwrap(), &mut vec![0; buffer], || true).unwrap() {
            Counted::Octets(octets) => octets,
            other => panic!("{other:?}"),
        }
    }

    fn patience(time: Duration) -> Patience<'static> {
        Patience { time, gives_up: true, keep: None }
    }

    #[test]
    fn bare_line_feeds_count_twice() {
        for (content, want) in [
            (&b""[..], 0),
            (b"a", 1),
            (b"\n", 2),
            (b"\r\n", 2),
            (b"\r", 1),
            (b"a\nb\r\nc\r\r\n\n\rd", 14),
            (b"no final newline\nx", 19),
        ] {
            for buffer in [1, 2, 3, 4096] {
                assert_eq!(octets(content, buffer), want, "{}", content.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_file_is_not_counted_and_no_error() {
        let dir = TempDir::maildir();
        std::os::unix::fs::symlink(".", dir.path().join("cur/loop")).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("cur/device")).unwrap();
        dir.write("cur/a", "a\n");
        let mut counter = Counter::new(dir.path(), patience(COUNT_TIME)).unwrap();
        assert_eq!(counter.count(false, b"loop").unwrap(), Counted::Unreadable);
        assert_eq!(counter.count(false, b"device").unwrap(), Counted::Unreadable);
        assert_eq!(counter.count(false, b"a").unwrap(), Counted::Octets(3));
        assert_eq!(counter.count(true, b"a").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_without_end_does_not_hold_a_session_up() {
        let dir = TempDir::maildir();
        dir.write("cur/a", "a\n");
        // All holes: nothing on the disk, and hours to read.
        File::create(dir.path().join("cur/hole")).unwrap().set_len(1 << 42).unwrap();
        let time = Duration::from_millis(500);
        let begun = Instant::now();
        let mut counter = Counter::new(dir.path(), patience(time)).unwrap();
        assert_eq!(counter.count(false, b"a").unwrap(), Counted::Octets(3));
        assert_eq!(counter.count(false, b"hole").unwrap(), Counted::Unreadable);
        assert_eq!(counter.count(false, b"a").unwrap(), Counted::Later);
        let mut early = Counter::new(dir.path(), Patience { gives_up: false, ..patience(time) }).unwrap();
        assert_eq!(early.count(false, b"hole").unwrap(), Counted::Later);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn one_file_is_counted_as_long_as_somebody_waits() {
        let dir = TempDir::new();
        let path = dir.path().join("hole");
        File::create(&path).unwrap().set_len(1 << 42).unwrap();
        let asked = std::cell::Cell::new(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        assert_eq!(of_file(&File::open(path).unwrap(), &goes_on).unwrap(), None);
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn locks_are_kept_while_a_file_is_counted() {
        let dir = TempDir::maildir();
        File::create(dir.path().join("cur/hole")).unwrap().set_len(1 << 42).unwrap();
        let kept = std::cell::Cell::new(0);
        let keep = || {
            kept.set(kept.get() + 1);
            kept.get() < 5
        };
        let patience = Patience { keep: Some(&keep), ..patience(COUNT_TIME) };
        let mut counter = Counter::new(dir.path(), patience).unwrap();
        assert_eq!(counter.count(false, b"hole").unwrap(), Counted::Later);
        assert_eq!(kept.get(), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_a_simple_loop_counts(content in "[\\r\\na]{0,40}", buffer in 1usize..9) {
            let bytes = content.as_bytes();
            let bare = (0..bytes.len()).filter(|&i| bytes[i] == b'\n' && (i == 0 || bytes[i - 1] != b'\r')).count();
            prop_assert_eq!(octets(bytes, buffer), (bytes.len() + bare) as u64);
        }
    }
}
