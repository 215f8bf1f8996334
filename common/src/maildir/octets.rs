//! Counting a message's octets: its size on the wire, where every line ends in CRLF.
//!
//! The rule is RFC 1939's as Dovecot applies it: every byte of the file counts one, and every LF that no CR precedes
//! counts one more. A missing line end at the end of the file adds nothing.

use super::error::StorageError;
use crate::sys::fs as sys;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Large enough that most messages take one read, small enough to be given back at once.
const BUFFER: usize = 128 * 1024;

/// Counts many messages of one Maildir.
pub(super) struct Counter {
    new: File,
    cur: File,
    buffer: Vec<u8>,
    /// The first reading of a file would write its access time, which nobody looks at.
    keep_atime: bool,
}

impl Counter {
    /// Opens the directories.
    pub fn new(maildir: &Path) -> Result<Counter, StorageError> {
        let open = |name| {
            let path = maildir.join(name);
            File::open(&path).map_err(StorageError::at("open", &path))
        };
        Ok(Counter { new: open("new")?, cur: open("cur")?, buffer: vec![0; BUFFER], keep_atime: true })
    }

    /// Counts one message. Whatever cannot be read (wrong owner, not a file, a bad sector) is `None`: one message must not
    /// keep all the others from being shown.
    ///
    /// Errors: `NotFound` when it is not there; no more descriptors or memory, which is no message's fault.
    pub fn count(&mut self, in_new: bool, name: &[u8]) -> io::Result<Option<u64>> {
        let directory = if in_new { &self.new } else { &self.cur };
        let mut file = sys::open_below(directory, name, self.keep_atime);
        if self.keep_atime && file.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            self.keep_atime = false;
            file = sys::open_below(directory, name, false);
        }
        // A FIFO without a writer would look like an empty message.
        let counted = file.and_then(|file| match file.metadata()?.is_file() {
            true => count(&file, &mut self.buffer).map(Some),
            false => Ok(None),
        });
        match counted {
            // Removed on another host just now.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
            Err(error) if !is_ours(&error) => Ok(None),
            counted => counted,
        }
    }
}

/// Whether the error says nothing against the message itself.
fn is_ours(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::ENOENT | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR))
}

/// Counts the octets of `file` from its current position on, through `buffer` (any length but 0).
pub fn count(mut file: &File, buffer: &mut [u8]) -> io::Result<u64> {
    let mut octets = 0u64;
    let mut after_cr = false;
    loop {
        let length = match file.read(buffer) {
            Ok(0) => return Ok(octets),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = buffer.get(..length).unwrap_or_default();
        octets += length as u64 + bare_line_feeds(chunk, after_cr);
        after_cr = chunk.last() == Some(&b'\r');
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
        count(&File::open(path).unwrap(), &mut vec![0; buffer]).unwrap()
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
        let mut counter = Counter::new(dir.path()).unwrap();
        assert_eq!(counter.count(false, b"loop").unwrap(), None);
        assert_eq!(counter.count(false, b"device").unwrap(), None);
        assert_eq!(counter.count(false, b"a").unwrap(), Some(3));
        assert_eq!(counter.count(true, b"a").unwrap_err().kind(), io::ErrorKind::NotFound);
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
