//! What the guard gives a writer to do, and what the writer says of it.

use super::envelope::{envelope, read_envelope, read_recipient, read_reverse_path, recipient, reverse_path};
use super::{open, optional, read_optional, read_status, write_status};
use crate::address::ReversePath;
use crate::envelope::{Envelope, Recipient};
use crate::status::Status;
use common::auth::Account;
use common::process::channel::{Reader, Writer};
use common::sys::fd::{self, Interest};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Octets of a message between guard and writer: a thousand recipients of the longest kind.
const MAX: usize = 8 * 1024 * 1024;

/// One message for a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Into the mailbox, file or program of one recipient.
    Deliver(Box<Deliver>),
    /// Into the queue.
    Queue(Box<Queue>),
    /// Into the spool file: what several recipients of LMTP will read.
    Spool,
}

/// See [`Job::Deliver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// Who the writer is.
    pub account: Account,
    /// For whom.
    pub recipient: Recipient,
    /// From whom.
    pub reverse_path: ReversePath,
    /// The Received field.
    pub received: String,
    /// A submission: what the header lacks is added.
    pub submission: Option<Submission>,
    /// From the spool file instead of the front.
    pub spooled: bool,
}

/// See [`Job::Queue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// For whom, and everything else.
    pub envelope: Envelope,
    /// The Received field, with `\0` where the ID has to be.
    pub received: String,
    /// From whom, for people.
    pub from: String,
    /// A submission.
    pub submission: Option<Submission>,
    /// From the spool file.
    pub spooled: bool,
}

/// What a header gets that lacks it (RFC 6409 section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The From field, if there is somebody.
    pub from: String,
    /// The domain of a Message-ID.
    pub domain: String,
}

/// What the writer says: once when it has looked, and once when the message is written or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Let the data come.
    Ready,
    /// `~/.forward` says where it goes; nothing is read.
    Forward(Vec<String>),
    /// No; nothing is read.
    Refused(Status),
    /// It is on disk: the ID or name, and its octets.
    Written(String, u64),
    /// It is not, for this reason.
    Failed(Status),
    /// The front gave it up, or is gone.
    Abandoned,
}

fn submission(writer: Writer, submission: Option<&Submission>) -> Writer {
    let writer = optional(writer, submission.map(|submission| submission.from.as_str()));
    optional(writer, submission.map(|submission| submission.domain.as_str()))
}

fn read_submission(r: &mut Reader<'_>) -> Option<Option<Submission>> {
    let (from, domain) = (read_optional(r)?, read_optional(r)?);
    Some(from.zip(domain).map(|(from, domain)| Submission { from, domain }))
}

impl Job {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Job::Deliver(job) => {
                use std::os::unix::ffi::OsStrExt;
                let account = &job.account;
                let writer = Writer::new(1)
                    .field(account.name.as_bytes())
                    .field(&u64::from(account.uid).to_be_bytes())
                    .field(&u64::from(account.gid).to_be_bytes())
                    .field(account.home.as_os_str().as_bytes());
                let writer = optional(writer, account.mail.as_deref());
                let writer = recipient(writer, &job.recipient);
                let writer = reverse_path(writer, &job.reverse_path).field(job.received.as_bytes());
                submission(writer, job.submission.as_ref()).field(&[u8::from(job.spooled)])
            }
            Job::Queue(job) => {
                let writer = envelope(Writer::new(2), &job.envelope)
                    .field(job.received.as_bytes())
                    .field(job.from.as_bytes());
                submission(writer, job.submission.as_ref()).field(&[u8::from(job.spooled)])
            }
            Job::Spool => Writer::new(3),
        }
        .finish()
    }

    /// `None`: not a job that our guard would give.
    pub fn decode(message: &[u8]) -> Option<Job> {
        use std::os::unix::ffi::OsStringExt;
        let (kind, mut r) = open(message)?;
        let r = &mut r;
        let job = match kind {
            1 => Job::Deliver(Box::new(Deliver {
                account: Account {
                    name: r.text()?,
                    uid: u32::try_from(r.number()?).ok()?,
                    gid: u32::try_from(r.number()?).ok()?,
                    groups: Vec::new(),
                    home: PathBuf::from(std::ffi::OsString::from_vec(r.octets()?)),
                    mail: read_optional(r)?,
                    master: None,
                },
                recipient: read_recipient(r)?,
                reverse_path: read_reverse_path(r)?,
                received: r.text()?,
                submission: read_submission(r)?,
                spooled: r.flag()?,
            })),
            2 => Job::Queue(Box::new(Queue {
                envelope: read_envelope(r)?,
                received: r.text()?,
                from: r.text()?,
                submission: read_submission(r)?,
                spooled: r.flag()?,
            })),
            3 => Job::Spool,
            _ => return None,
        };
        r.end()?;
        Some(job)
    }
}

impl Outcome {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Outcome::Ready => Writer::new(1),
            Outcome::Forward(entries) => {
                entries.iter().fold(Writer::new(2), |writer, entry| writer.field(entry.as_bytes()))
            }
            Outcome::Refused(status) => write_status(Writer::new(3), status),
            Outcome::Written(name, octets) => {
                Writer::new(4).field(name.as_bytes()).field(&octets.to_be_bytes())
            }
            Outcome::Failed(status) => write_status(Writer::new(5), status),
            Outcome::Abandoned => Writer::new(6),
        }
        .finish()
    }

    /// `None`: not something that our writer would say.
    pub fn decode(message: &[u8]) -> Option<Outcome> {
        let (kind, mut r) = open(message)?;
        let outcome = match kind {
            1 => Outcome::Ready,
            2 => {
                let mut entries = Vec::new();
                while r.end().is_none() {
                    entries.push(r.text()?);
                }
                Outcome::Forward(entries)
            }
            3 => Outcome::Refused(read_status(&mut r)?),
            4 => {
                let name = r.text()?;
                if name.chars().any(char::is_control) {
                    return None;
                }
                Outcome::Written(name, r.number()?)
            }
            5 => Outcome::Failed(read_status(&mut r)?),
            6 => Outcome::Abandoned,
            _ => return None,
        };
        r.end()?;
        Some(outcome)
    }
}

/// Sends a message.
pub fn send(socket: &OwnedFd, message: &[u8], patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    let mut rest = message;
    while !rest.is_empty() {
        match fd::send(socket.as_fd(), rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, Interest::Write, until)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The next message; `None`: the other end is gone.
pub fn receive(socket: &OwnedFd, patience: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
    let until = patience.map(|patience| Instant::now() + patience);
    let mut message = vec![0; 5];
    if !read_exact(socket, &mut message, 0, until)? {
        return Ok(None);
    }
    let length = match message.as_slice() {
        [_, length @ ..] => u32::from_be_bytes(length.try_into().unwrap_or([u8::MAX; 4])) as usize,
        [] => 0,
    };
    if length > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(5 + length, 0);
    Ok(read_exact(socket, &mut message, 5, until)?.then_some(message))
}

fn read_exact(socket: &OwnedFd, message: &mut [u8], from: usize, until: Option<Instant>) -> io::Result<bool> {
    let mut at = from;
    while let Some(room) = message.get_mut(at..).filter(|room| !room.is_empty()) {
        match fd::receive(socket.as_fd(), room) {
            Ok(0) => return Ok(false),
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match until {
                Some(until) => wait(socket, Interest::Read, until)?,
                None => _ = fd::poll([(socket.as_fd(), Interest::Read)], None)?,
            },
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn wait(socket: &OwnedFd, interest: Interest, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    fd::poll([(socket.as_fd(), interest)], Some(left)).map(drop)
}
