//! The sink that is a file which an alias or a `~/.forward` named: a mailbox in mbox format, a Maildir, or nothing.
//!
//! ```text
//! /path/    a Maildir          /dev/null   thrown away
//! /path     From sender date, the message with LF, an empty line
//! ```
//! Appending cannot be all or nothing over a power cut as a Maildir is: what failed while we live is cut off again, but a
//! message of which the machine wrote a part before it died stays, and comes again whole.

use super::mailbox::{self, status_of};
use super::{Sink, Trace};
use crate::address::Address;
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::maildir::dotlock::Dotlock;
use common::maildir::{Location, Maildir, StorageError};
use common::mime::date;
use common::sys::fs as sys;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time for other programs to let go of the file.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// Octets that are gathered before they are written.
const BUFFER: usize = 32 * 1024;

/// Opens it, and has the trace lines written first.
pub(super) fn begin(config: &Config, path: &str, trace: &Trace) -> Result<Box<dyn Sink>, Status> {
    let mut sink: Box<dyn Sink> = match path {
        "/dev/null" => Box::new(Nothing),
        path if path.ends_with('/') => {
            let location = Location::plain(path.into());
            let maildir = Maildir::open_location(&location, !config.fsync_disable)
                .map_err(|error| status_of(&error, config.quota_full_tempfail))?;
            return mailbox::begin_in(config, maildir, trace.once.as_ref(), trace.lines());
        }
        path => Box::new(Mbox::begin(config, Path::new(path), trace.reverse_path.as_ref())?),
    };
    sink.write(trace.lines().as_bytes())?;
    Ok(sink)
}

/// `/dev/null`.
struct Nothing;

impl Sink for Nothing {
    fn write(&mut self, _octets: &[u8]) -> Result<(), Status> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok("/dev/null".to_owned())
    }
}

/// A file in mbox format, locked.
struct Mbox {
    path: PathBuf,
    file: File,
    /// Where it ended before; `None`: the message is complete.
    length: Option<u64>,
    limit: u64,
    quota_full_tempfail: bool,
    fsync: bool,
    buffer: Vec<u8>,
    /// Octets written, and those in the buffer.
    written: u64,
    at_line_start: bool,
    cr: bool,
    _dotlock: Option<Dotlock>,
}

impl Mbox {
    fn begin(config: &Config, path: &Path, sender: Option<&Address>) -> Result<Mbox, Status> {
        let failed = |op, error: io::Error| {
            let error = StorageError::new(op, path, error);
            status_of(&error, config.quota_full_tempfail)
        };
        // Where the directory is not ours, the locks on the file itself have to do.
        let dotlock = Dotlock::take(path, LOCK_TIME);
        let dotlock = match dotlock {
            Err(error) if error.kind == common::maildir::ErrorKind::InUse => return Err(busy()),
            other => other.ok(),
        };
        let mut file = sys::open_append(path).map_err(|error| failed("open", error))?;
        lock(&file).map_err(|error| failed("lock", error))?.then_some(()).ok_or_else(busy)?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| failed("seek", error))?;
        let ends_well = ends_with_lf(&mut file, length).map_err(|error| failed("read", error))?;
        let mut mbox = Mbox {
            path: path.to_owned(),
            file,
            length: Some(length),
            limit: config.mailbox_size_limit.0,
            quota_full_tempfail: config.quota_full_tempfail,
            fsync: !config.fsync_disable,
            buffer: Vec::new(),
            written: 0,
            at_line_start: true,
            cr: false,
            _dotlock: dotlock,
        };
        if !ends_well {
            mbox.push(b"\n")?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        mbox.push(from_line(sender, now).as_bytes())?;
        Ok(mbox)
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.written = self.written.saturating_add(octets.len() as u64);
        let total = self.length.unwrap_or(0).saturating_add(self.written);
        if self.limit > 0 && total > self.limit {
            let over = io::Error::from(io::ErrorKind::QuotaExceeded);
            return Err(self.failed("write", over));
        }
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Status> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| self.failed("write", error))
    }

    fn failed(&self, op: &'static str, error: io::Error) -> Status {
        status_of(&StorageError::new(op, &self.path, error), self.quota_full_tempfail)
    }
}

impl Sink for Mbox {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        for piece in octets.split_inclusive(|c| *c == b'\n') {
            if std::mem::take(&mut self.cr) && piece != b"\n" {
                self.push(b"\r")?;
                self.at_line_start = false;
            }
            // Readers take a line that begins so for the next message. Pieces may cut it: then it is quoted once too often,
            // which harms nobody.
            if self.at_line_start
                && (piece.starts_with(b"From ") || piece.len() < 5 && b"From ".starts_with(piece))
            {
                self.push(b">")?;
            }
            let (line, end) = match piece.strip_suffix(b"\n") {
                Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), true),
                None => match piece.strip_suffix(b"\r") {
                    Some(line) => {
                        self.cr = true;
                        (line, false)
                    }
                    None => (piece, false),
                },
            };
            self.push(line)?;
            if end {
                self.push(b"\n")?;
            }
            self.at_line_start = end;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        if std::mem::take(&mut self.cr) {
            self.push(b"\r")?;
            self.at_line_start = false;
        }
        let end: &[u8] = if self.at_line_start { b"\n" } else { b"\n\n" };
        self.push(end)?;
        self.flush()?;
        if self.fsync {
            self.file.sync_all().map_err(|error| self.failed("fsync", error))?;
            // It may have been made just now.
            if self.length == Some(0) {
                sys::sync_name(&self.path).map_err(|error| self.failed("fsync", error))?;
            }
        }
        self.length = None;
        Ok(self.path.display().to_string())
    }
}

/// What was written of an incomplete message goes.
impl Drop for Mbox {
    fn drop(&mut self) {
        if let Some(length) = self.length {
            let _ = self.file.set_len(length);
        }
    }
}

fn busy() -> Status {
    Status::new(451, Enhanced(4, 2, 0), "The mailbox is locked by another program")
}

/// Both kinds of locks that programs use. `false`: somebody else keeps one.
fn lock(file: &File) -> io::Result<bool> {
    let give_up = Instant::now() + LOCK_TIME;
    loop {
        if sys::try_record_lock(file)? && sys::try_flock(file)? {
            return Ok(true);
        }
        if Instant::now() >= give_up {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ends_with_lf(file: &mut File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(true) };
    file.seek(SeekFrom::Start(last))?;
    let mut octet = [0];
    file.read_exact(&mut octet)?;
    Ok(octet == *b"\n")
}

/// `From sender Sat Nov 21 12:00:00 2026`, in UTC.
pub(super) fn from_line(sender: Option<&Address>, seconds: u64) -> String {
    let sender =
        sender.map_or_else(|| "MAILER-DAEMON".to_owned(), |sender| sender.to_string().replace(' ', "_"));
    // `Sat, 21 Nov 2026 12:00:00 +0000`
    let printed = date::print(i64::try_from(seconds).unwrap_or(0));
    let mut parts = printed.split([' ', ',']).filter(|part| !part.is_empty());
    let mut part = || parts.next().unwrap_or_default();
    let (weekday, day, month, year, time) = (part(), part(), part(), part(), part());
    format!("From {sender} {weekday} {month} {day:>2} {time} {year}\n")
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
