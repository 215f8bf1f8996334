//! The sink that is a file which an alias or a `~/.forward` named: a mailbox in mbox format, a Maildir, or nothing.
//!
//! ```text
//! /path/    a Maildir          /dev/null   thrown away
//! /path     From sender date, the message with LF, an empty line
//! ```
//! Appending cannot be all or nothing as a Maildir is: what failed while we live is cut off again, but of a message whose
//! deliverer was killed a part stays, or all of it without anybody knowing. So the next attempt looks for it ([`known`]): what is
//! there is not written again, and a part gets its rest. Only behind a part to which others have appended theirs it comes whole.
//! After a power cut the queue may not know that there was an attempt.

use super::known::{self, Gap, Known, Next};
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
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
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
        path => Box::new(Mbox::begin(config, Path::new(path), trace)?),
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
    /// The message may be there: nothing is written as long as it seems so.
    known: Option<Known>,
    /// The file's name may not be on the disk.
    may_be_new: bool,
    limit: u64,
    quota_full_tempfail: bool,
    fsync: bool,
    buffer: Vec<u8>,
    /// Octets behind `length`, and those in the buffer.
    written: u64,
    at_line_start: bool,
    cr: bool,
    _dotlock: Option<Dotlock>,
}

impl Mbox {
    fn begin(config: &Config, path: &Path, trace: &Trace) -> Result<Mbox, Status> {
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let from_line = from_line(trace.reverse_path.as_ref(), now);
        let again = trace.once.as_ref().filter(|once| once.again);
        let mut mbox = Mbox {
            path: path.to_owned(),
            file,
            length: Some(length),
            known: again.map(|once| Known::new(length, once.size, &from_line)),
            may_be_new: length == 0 || again.is_some(),
            limit: config.mailbox_size_limit.0,
            quota_full_tempfail: config.quota_full_tempfail,
            fsync: !config.fsync_disable,
            buffer: Vec::new(),
            written: 0,
            at_line_start: true,
            cr: false,
            _dotlock: dotlock,
        };
        if mbox.known.is_none() && !mbox.ends_with_lf(length).map_err(|error| failed("read", error))? {
            mbox.push(b"\n")?;
        }
        mbox.push(from_line.as_bytes())?;
        Ok(mbox)
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.written = self.written.saturating_add(octets.len() as u64);
        if self.known.is_none() {
            self.check_limit()?;
        }
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn check_limit(&self) -> Result<(), Status> {
        let total = self.length.unwrap_or(0).saturating_add(self.written);
        if self.limit > 0 && total > self.limit {
            let over = io::Error::from(io::ErrorKind::QuotaExceeded);
            return Err(self.failed("write", over));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Status> {
        let next = self.known.as_mut().map(|known| known.next(&self.file, &self.buffer)).transpose();
        match next.map_err(|error| self.failed("read", error))? {
            Some(Next::Nothing) => {
                self.buffer.clear();
                return Ok(());
            }
            Some(Next::Write(gap)) => self.begin_to_write(&gap)?,
            None => {}
        }
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| self.failed("write", error))
    }

    /// It is not there, or not whole.
    fn begin_to_write(&mut self, gap: &Gap) -> Result<(), Status> {
        let is_cut = self.length.is_some_and(|end| gap.end < end);
        (self.known, self.length) = (None, Some(gap.begin));
        // Behind a part of it there is no line end to add.
        let ends_well =
            gap.begin != gap.end || self.ends_with_lf(gap.end).map_err(|e| self.failed("read", e))?;
        self.written = self.written.saturating_add(u64::from(!ends_well));
        self.check_limit()?;
        if is_cut {
            self.file.set_len(gap.end).map_err(|error| self.failed("truncate", error))?;
        }
        let front: &[u8] = if ends_well { b"" } else { b"\n" };
        let written = self.file.write_all(front).and_then(|()| known::copy(&self.file, gap.copied.clone()));
        written.map_err(|error| self.failed("write", error))
    }

    fn ends_with_lf(&self, length: u64) -> io::Result<bool> {
        let Some(last) = length.checked_sub(1) else { return Ok(true) };
        let mut octet = [0];
        self.file.read_exact_at(&mut octet, last)?;
        Ok(octet == *b"\n")
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
            if self.may_be_new {
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
        if let (Some(length), None) = (self.length, &self.known) {
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
