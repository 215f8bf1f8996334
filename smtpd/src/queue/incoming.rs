//! A message on its way into the queue: written to `tmp/`, flushed, renamed to `queue/`.

use super::format;
use super::id::Id;
use super::notes::{self, Note};
use super::queued::State;
use super::schedule::{self, Counters};
use super::{Place, QueueDirectory};
use crate::deliver::Sink;
use crate::envelope::Envelope;
use crate::status::{Enhanced, Status};
use common::sys::fs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

/// Octets that are gathered before they are written. A short message is one write.
const BUFFER: usize = 32 * 1024;

/// What is known of a message's arrival, beyond its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: SystemTime,
    /// From whom, for people: `client=mail.example.org[192.0.2.1]`, or [`submitted_by`].
    pub from: String,
}

/// What [`Received::from`] is for a message that a user of this host has submitted with `sendmail`. No other begins so: the user is
/// shown it.
pub fn submitted_by(uid: u32) -> String {
    format!("uid={uid}")
}

/// Takes a message into the queue. Dropped before `finish`, it leaves nothing behind.
pub struct Incoming {
    file: File,
    directory: QueueDirectory,
    id: Id,
    buffer: Vec<u8>,
    /// Octets already in the file.
    written: u64,
    head: usize,
    /// A repetition may find that it is there already.
    derived: bool,
    finished: bool,
}

impl Incoming {
    /// Begins a message with a new ID.
    pub fn create(
        directory: &QueueDirectory,
        envelope: &Envelope,
        received: &Received,
    ) -> Result<Incoming, Status> {
        for _ in 0..8 {
            let id = Id::new(SystemTime::now()).map_err(|error| refused(&error))?;
            match Incoming::open(directory, &id, envelope, received, false) {
                Ok(incoming) => return Ok(incoming),
                Err(Refused::Exists) => {}
                Err(Refused::Status(status)) => return Err(status),
            }
        }
        Err(out_of_order())
    }

    /// Begins a message that is made of another one, once ([`Id::derived`]). `Ok(None)`: it is in the queue already.
    pub fn create_derived(
        directory: &QueueDirectory,
        id: &Id,
        envelope: &Envelope,
        received: &Received,
    ) -> Result<Option<Incoming>, Status> {
        let there = |place| directory.file(place, id).symlink_metadata().is_ok();
        if there(Place::Queue) || there(Place::Hold) {
            // Who put it there may have died before it was certain to stay, and what it was made of goes now.
            if directory.syncs() {
                fs::sync_directory(&directory.place(Place::Queue)).map_err(|error| refused(&error))?;
            }
            return Ok(None);
        }
        // What another process has begun and not finished has its lock, or is left from a crash.
        let left = directory.file(Place::Tmp, id);
        if let Ok(file) = OpenOptions::new().write(true).open(&left) {
            match fs::try_record_lock(&file) {
                Ok(true) => std::fs::remove_file(&left).map_err(|error| refused(&error))?,
                Ok(false) => return Err(out_of_order()),
                Err(error) => return Err(refused(&error)),
            }
        }
        match Incoming::open(directory, id, envelope, received, true) {
            Ok(incoming) => Ok(Some(incoming)),
            Err(Refused::Exists) => Err(out_of_order()),
            Err(Refused::Status(status)) => Err(status),
        }
    }

    fn open(
        directory: &QueueDirectory,
        id: &Id,
        envelope: &Envelope,
        received: &Received,
        derived: bool,
    ) -> Result<Incoming, Refused> {
        let now = schedule::seconds(received.at);
        let counters = Counters { last: now, next: now, ..Counters::default() };
        let head = format::print(envelope, &counters, received.at, &received.from, 0)
            .map_err(|_| Refused::Status(too_many_recipients()))?;
        let path = directory.file(Place::Tmp, id);
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Refused::Exists),
            result => result.map_err(|error| Refused::Status(refused(&error)))?,
        };
        let (written, head_length) = (0, head.len());
        let (directory, id, buffer) = (directory.clone(), id.clone(), head.into_bytes());
        let incoming =
            Incoming { file, directory, id, buffer, written, head: head_length, derived, finished: false };
        // The lock says that somebody is still writing; it goes with the process.
        match fs::try_record_lock(&incoming.file) {
            Ok(_) => Ok(incoming),
            Err(error) => Err(Refused::Status(refused(&error))),
        }
    }

    /// It has failed for every recipient, for this reason, before anything was tried: the next runner tells the sender.
    pub fn fail(&mut self, status: &Status, at: SystemTime) -> Result<(), Status> {
        let states = self.states().map_err(|error| refused(&error))?;
        let mut notes = Vec::new();
        for (recipient, (_, offset)) in states.into_iter().enumerate() {
            match self.buffer.get_mut(offset) {
                Some(octet) if self.written == 0 => *octet = State::Failed.octet(),
                _ => {
                    let marked = self.file.write_all_at(&[State::Failed.octet()], offset as u64);
                    marked.map_err(|error| refused(&error))?;
                }
            }
            let (at, status, relay) = (schedule::seconds(at), status.clone(), "none".to_owned());
            notes.push(Note { recipient, at, status, relay, diagnostic: None, relayed: false });
        }
        // Before the message has its name there, lest a runner finds it without its reason; one that finds the reason without
        // its message leaves it alone for an hour.
        notes::write(&self.directory, Place::Queue, &self.id, &notes).map_err(|error| refused(&error))
    }

    /// The recipients' states, and where in the file they stand.
    fn states(&self) -> io::Result<Vec<(State, usize)>> {
        let mut head = vec![0; self.head];
        match self.buffer.get(..self.head) {
            Some(buffered) if self.written == 0 => head.copy_from_slice(buffered),
            _ => File::open(self.path())?.read_exact_at(&mut head, 0)?,
        }
        format::parse(&head).map(|head| head.states).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The ID, for `Received` and the log.
    pub fn id(&self) -> &Id {
        &self.id
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written = self.written.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.buffer.len().saturating_add(octets.len()) > BUFFER {
            self.flush()?;
        }
        if octets.len() >= BUFFER {
            self.file.write_all(octets)?;
            self.written = self.written.saturating_add(octets.len() as u64);
            return Ok(());
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        let total = self.written.saturating_add(self.buffer.len() as u64);
        let sizes = format::print_sizes(self.head, total.saturating_sub(self.head as u64));
        match self.buffer.get_mut(..sizes.len()) {
            Some(first) if self.written == 0 => {
                first.copy_from_slice(sizes.as_bytes());
                self.flush()?;
            }
            _ => {
                self.flush()?;
                self.file.write_all_at(sizes.as_bytes(), 0)?;
            }
        }
        if self.directory.syncs() {
            self.file.sync_all()?;
        }
        let path = self.path();
        match fs::rename_without_overwriting(&path, &self.directory.file(Place::Queue, &self.id)) {
            Ok(()) => self.finished = true,
            // Somebody else has made the same of the same message: `drop` takes ours away.
            Err(error) if self.derived && error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(error),
        }
        if self.directory.syncs() {
            fs::sync_directory(&self.directory.place(Place::Queue))?;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.file(Place::Tmp, &self.id)
    }
}

impl Sink for Incoming {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.take(octets).map_err(|error| refused(&error))
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        match self.complete() {
            Ok(()) => Ok(self.id.to_string()),
            Err(error) => {
                // It may be in the queue, but it is not certain to stay there: it was not accepted.
                if self.finished {
                    let _ = std::fs::remove_file(self.directory.file(Place::Queue, &self.id));
                }
                Err(refused(&error))
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(self.path());
        }
    }
}

enum Refused {
    Exists,
    Status(Status),
}

fn too_many_recipients() -> Status {
    Status::new(452, Enhanced(4, 5, 3), "Too many recipients")
}

fn out_of_order() -> Status {
    Status::new(451, Enhanced(4, 3, 0), "The mail queue is out of order")
}

/// A disk that is full says so (RFC 5321 section 4.2.3: 452); everything else is our fault.
fn refused(error: &io::Error) -> Status {
    let status = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Status::new(452, Enhanced(4, 3, 1), "Insufficient system storage")
        }
        _ => out_of_order(),
    };
    status.because(format_args!("queue file: {error}"))
}
