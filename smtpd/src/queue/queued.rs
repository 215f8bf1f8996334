//! A message in the queue, opened and locked: nobody else works on it as long as this value lives.
//!
//! The file is `mail_owner`'s and may be damaged; what cannot be read is named [`Opened::Corrupt`] and left to the caller to
//! set aside.

use super::format::{self, Head};
use super::id::Id;
use super::schedule::Counters;
use super::{Place, QueueDirectory};
use crate::envelope::{Envelope, Recipient};
use common::sys::fs;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, SystemTime};

/// Octets of the message that are read at once.
const BUFFER: usize = 32 * 1024;

/// The octet of a recipient who is still pending, but a delivery on this host was begun: if nothing is known of its end, it may
/// have been made.
const BEGUN: u8 = b':';

/// What has become of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Still to be served.
    Pending,
    /// Somebody else is responsible now; a notification of success may be owed.
    Delivered,
    /// It cannot be delivered; a notification may be owed.
    Failed,
    /// Nothing is owed any more.
    Done,
}

impl State {
    /// The octet in the file.
    pub fn octet(self) -> u8 {
        match self {
            State::Pending => b'.',
            State::Delivered => b'+',
            State::Failed => b'-',
            State::Done => b'!',
        }
    }

    /// What the octet in a file means.
    pub fn of_octet(octet: u8) -> Option<State> {
        if octet == BEGUN {
            return Some(State::Pending);
        }
        [State::Pending, State::Delivered, State::Failed, State::Done]
            .into_iter()
            .find(|s| s.octet() == octet)
    }
}

/// What there was under an ID.
#[derive(Debug)]
pub enum Opened {
    /// The message, locked.
    Message(Box<Queued>),
    /// Somebody else works on it.
    Busy,
    /// It is not there any more.
    Gone,
    /// It is no message.
    Corrupt(&'static str),
}

/// A locked message.
#[derive(Debug)]
pub struct Queued {
    file: File,
    directory: QueueDirectory,
    place: Place,
    id: Id,
    head: Head,
    /// There are marks that are not on the disk.
    marked: bool,
}

impl Queued {
    /// Opens and locks a message in `queue/` or `hold/`. Errors are the system's (no permission, no memory, a bad disk).
    pub fn open(directory: &QueueDirectory, place: Place, id: &Id) -> io::Result<Opened> {
        let path = directory.file(place, id);
        let file = match open_file(&path, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Gone),
            Err(error) if is_no_file(&error) => return Ok(Opened::Corrupt("it is no regular file")),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(Opened::Corrupt("it is no regular file"));
        }
        if !fs::try_record_lock(&file)? {
            return Ok(Opened::Busy);
        }
        // Between the opening and the lock it may have been finished, or moved to another directory.
        match path.symlink_metadata() {
            Ok(now) if (now.dev(), now.ino()) == (meta.dev(), meta.ino()) => {}
            Ok(_) => return Ok(Opened::Busy),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Gone),
            Err(error) => return Err(error),
        }
        match read_head(&file)? {
            Ok(head) => {
                let (directory, id) = (directory.clone(), id.clone());
                Ok(Opened::Message(Box::new(Queued { file, directory, place, id, head, marked: false })))
            }
            Err(why) => Ok(Opened::Corrupt(why.0)),
        }
    }

    /// The ID.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The directory it lies in.
    pub fn directory(&self) -> &QueueDirectory {
        &self.directory
    }

    /// Everything the head says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The envelope, with all recipients.
    pub fn envelope(&self) -> &Envelope {
        &self.head.envelope
    }

    /// Octets of the message.
    pub fn size(&self) -> u64 {
        self.head.size
    }

    /// The figures of its attempts.
    pub fn counters(&self) -> Counters {
        self.head.counters
    }

    /// Recipients by their number, with their states.
    pub fn recipients(&self) -> impl Iterator<Item = (usize, &Recipient, State)> {
        let states = self.head.states.iter().map(|&(state, _)| state);
        self.head.envelope.recipients.iter().zip(states).enumerate().map(|(at, (r, state))| (at, r, state))
    }

    /// The numbers of the recipients in this state.
    pub fn in_state(&self, state: State) -> Vec<usize> {
        self.recipients().filter(|(_, _, of)| *of == state).map(|(at, _, _)| at).collect()
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.head.states.iter().all(|&(state, _)| state == State::Done)
    }

    /// The message from its first octet, read in pieces.
    pub fn message(&self) -> Message<'_> {
        let at = self.head.length as u64;
        Message { file: &self.file, at, end: at.saturating_add(self.head.size), buffer: Vec::new(), next: 0 }
    }

    /// The file and the offset of the message in it, for another process that reads it without moving the offset.
    pub fn file(&self) -> (&File, u64) {
        (&self.file, self.head.length as u64)
    }

    /// Sets a recipient's state: one octet of the file.
    pub fn mark(&mut self, recipient: usize, state: State) -> io::Result<()> {
        let Some((now, at)) = self.head.states.get_mut(recipient) else { return Ok(()) };
        if *now != state {
            self.file.write_all_at(&[state.octet()], *at as u64)?;
            *now = state;
            self.marked = true;
        }
        Ok(())
    }

    /// Notes that a delivery on this host begins. Whether that had been noted before. It is not flushed: after a power cut a
    /// message may come twice.
    pub fn begin_here(&self, recipient: usize) -> io::Result<bool> {
        let Some(&(State::Pending, at)) = self.head.states.get(recipient) else { return Ok(false) };
        let mut octet = [0];
        self.file.read_exact_at(&mut octet, at as u64)?;
        if octet != [BEGUN] {
            self.file.write_all_at(&[BEGUN], at as u64)?;
        }
        Ok(octet == [BEGUN])
    }

    /// Waits until what was marked is on the disk, if anything was.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.marked) && self.directory.syncs() {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    /// Writes the counters, and when it is due as the file's time.
    pub fn set_counters(&mut self, counters: Counters) -> io::Result<()> {
        self.file.write_all_at(format::print_counters(&counters).as_bytes(), format::SIZES_LEN as u64)?;
        self.head.counters = counters;
        set_due(&self.file, counters.next)
    }

    /// Makes it due now: for an administrator's `flush`. The counters stay.
    pub fn make_due(&mut self, now: SystemTime) -> io::Result<()> {
        let next = super::schedule::seconds(now);
        self.set_counters(Counters { next, ..self.head.counters })
    }

    /// Takes up again what was on hold. That time is none in which it could have been delivered, and does not make it older.
    pub fn take_up(&mut self, now: SystemTime) -> io::Result<()> {
        let now = super::schedule::seconds(now);
        self.set_counters(Counters { last: now, next: now, ..self.head.counters })
    }

    /// Removes it: everybody has it, or knows that they will not.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.directory.file(self.place, &self.id))?;
        let _ = std::fs::remove_file(self.directory.log_file(self.place, &self.id));
        Ok(())
    }

    /// Moves it to another directory: `hold` and back.
    pub fn move_to(self, place: Place) -> io::Result<()> {
        let from = self.directory.file(self.place, &self.id);
        fs::rename_without_overwriting(&from, &self.directory.file(place, &self.id))?;
        let _ = std::fs::rename(
            self.directory.log_file(self.place, &self.id),
            self.directory.log_file(place, &self.id),
        );
        if self.directory.syncs() {
            fs::sync_directory(&self.directory.place(place))?;
        }
        Ok(())
    }
}

/// Reads a message's head without locking it, for lists; states and counters may be changing. `Ok(None)`: it is gone.
pub fn peek(
    directory: &QueueDirectory,
    place: Place,
    id: &Id,
) -> io::Result<Option<Result<Head, format::Malformed>>> {
    match open_file(&directory.file(place, id), false) {
        Ok(file) => match file.metadata()?.is_file() {
            true => read_head(&file).map(Some),
            false => Ok(Some(Err(format::Malformed("it is no regular file")))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_no_file(&error) => Ok(Some(Err(format::Malformed("it is no regular file")))),
        Err(error) => Err(error),
    }
}

/// Whether somebody works on a message. A worker that comes meanwhile is not turned away.
pub fn is_busy(directory: &QueueDirectory, id: &Id) -> bool {
    let file = open_file(&directory.file(Place::Queue, id), false);
    file.and_then(|file| fs::is_record_locked(&file)).unwrap_or(false)
}

/// Sets a file that is no message aside, for an administrator.
pub fn set_aside(directory: &QueueDirectory, place: Place, name: &str) -> io::Result<()> {
    let to = directory.place(Place::Corrupt).join(name);
    fs::rename_without_overwriting(&directory.place(place).join(name), &to)
}

fn open_file(path: &std::path::Path, write: bool) -> io::Result<File> {
    let flags = libc_flags();
    OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)
}

/// No link is followed, and a FIFO does not wait.
fn libc_flags() -> i32 {
    fs::NO_FOLLOW | fs::NO_WAIT
}

fn is_no_file(error: &io::Error) -> bool {
    fs::is_symbolic_link(error) || error.kind() == io::ErrorKind::IsADirectory || fs::has_no_reader(error)
}

fn set_due(file: &File, next: u64) -> io::Result<()> {
    // Times beyond what a file system can hold only make the look at the head necessary.
    let due = SystemTime::UNIX_EPOCH + Duration::from_secs(next.min(u64::from(u32::MAX)));
    file.set_times(FileTimes::new().set_modified(due))
}

/// The first lines tell how much there is; then all of it at once.
fn read_head(file: &File) -> io::Result<Result<Head, format::Malformed>> {
    let mut first = [0; 4096];
    let got = read_at(file, &mut first, 0)?;
    let first = first.get(..got).unwrap_or_default();
    let (length, size) = match format::parse_sizes(first) {
        Ok(sizes) => sizes,
        Err(why) => return Ok(Err(why)),
    };
    if file.metadata()?.len() != size.saturating_add(length as u64) {
        return Ok(Err(format::Malformed("its length is not what it says")));
    }
    if let Some(head) = first.get(..length) {
        return Ok(format::parse(head));
    }
    let mut head = vec![0; length];
    let got = read_at(file, &mut head, 0)?;
    Ok(format::parse(head.get(..got).unwrap_or_default()))
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(got as u64)) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// A message's octets, in wire form.
#[derive(Debug)]
pub struct Message<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    next: usize,
}

impl<'a> Message<'a> {
    /// What lies at an offset of a file, so many octets of it.
    pub fn new(file: &'a File, at: u64, size: u64) -> Message<'a> {
        Message { file, at, end: at.saturating_add(size), buffer: Vec::new(), next: 0 }
    }
}

impl Read for Message<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), available.get(..n)) {
            to.copy_from_slice(from);
        }
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Message<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.next >= self.buffer.len() && self.at < self.end {
            let left = usize::try_from(self.end - self.at).unwrap_or(BUFFER).min(BUFFER);
            self.buffer.resize(left, 0);
            self.next = 0;
            match read_at(self.file, &mut self.buffer, self.at) {
                Ok(got) if got == left => self.at = self.at.saturating_add(got as u64),
                result => {
                    self.buffer.clear();
                    // A file that has become shorter must not be taken for a shorter message.
                    return Err(result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(self.buffer.get(self.next..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.next = self.next.saturating_add(n).min(self.buffer.len());
    }
}
