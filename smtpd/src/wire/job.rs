//! What the guard gives a writer to do, and what the writer says of it.

use super::envelope::{envelope, read_envelope, read_recipient, read_reverse_path, recipient, reverse_path};
use super::pieces::Token;
use super::{new, open, optional, read_optional, read_optional_token, read_status, write_status};
use crate::address::ReversePath;
use crate::envelope::{Envelope, Recipient};
use crate::status::Status;
use common::auth::Account;
use common::process::channel::{Reader, Writer};
use common::sys::fd::{self, Interest};
use common::sys::socket::limit_receive;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Octets of a message between guard and writer: a thousand recipients of the longest kind.
const MAX: usize = 8 * 1024 * 1024;
/// Octets before its fields: kind and length.
const HEAD: usize = 5;

/// One message for a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Into the mailbox, file or program of one recipient.
    Deliver(Box<Deliver>),
    /// Into the queue.
    Queue(Box<Queue>),
    /// Into the spool file: what several recipients of LMTP will read.
    Spool,
    /// None: the last one will not be needed, if nothing of its message was read.
    Withdraw,
    /// Nowhere: the message was sent for before it was known that nobody takes it, and is read to its end.
    Refuse,
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
    /// Its body comes as BINARYMIME.
    pub is_binary: bool,
    /// A submission: what the header lacks is added.
    pub submission: Option<Submission>,
    /// From the spool file instead of the front.
    pub spooled: bool,
    /// What the front is told when the message that it has sent is on disk, if it is told.
    pub token: Option<Token>,
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

/// A message that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its ID in the queue, or the name of its file.
    pub name: String,
    /// Its octets, as they came.
    pub octets: u64,
    /// What its header says, for the log; a stranger's words.
    pub message_id: String,
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
    /// It is on disk.
    Written(Written),
    /// It is nowhere, as the administrator wants it: what the client hears as its ID.
    Discarded(String),
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
                let (account, token) = (&job.account, job.token.as_ref().map_or(&[][..], |token| token));
                let writer = Writer::sized(1, 1000)
                    .field(account.name.as_bytes())
                    .field(&u64::from(account.uid).to_be_bytes())
                    .field(&u64::from(account.gid).to_be_bytes())
                    .field(account.home.as_os_str().as_bytes());
                let writer = optional(writer, account.mail.as_deref());
                let writer = recipient(writer, &job.recipient);
                let writer = reverse_path(writer, &job.reverse_path).field(job.received.as_bytes());
                let writer = writer.field(&[u8::from(job.is_binary)]);
                submission(writer, job.submission.as_ref()).field(&[u8::from(job.spooled)]).field(token)
            }
            Job::Queue(job) => {
                let writer = envelope(Writer::new(2), &job.envelope)
                    .field(job.received.as_bytes())
                    .field(job.from.as_bytes());
                submission(writer, job.submission.as_ref()).field(&[u8::from(job.spooled)])
            }
            Job::Spool => new(3),
            Job::Withdraw => new(4),
            Job::Refuse => new(5),
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
                is_binary: r.flag()?,
                submission: read_submission(r)?,
                spooled: r.flag()?,
                token: read_optional_token(r)?,
            })),
            2 => Job::Queue(Box::new(Queue {
                envelope: read_envelope(r)?,
                received: r.text()?,
                from: r.text()?,
                submission: read_submission(r)?,
                spooled: r.flag()?,
            })),
            3 => Job::Spool,
            4 => Job::Withdraw,
            5 => Job::Refuse,
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
            Outcome::Ready => new(1),
            Outcome::Forward(entries) => {
                entries.iter().fold(Writer::new(2), |writer, entry| writer.field(entry.as_bytes()))
            }
            Outcome::Refused(status) => write_status(new(3), status),
            Outcome::Written(Written { name, octets, message_id }) => {
                new(4).field(name.as_bytes()).field(&octets.to_be_bytes()).field(message_id.as_bytes())
            }
            Outcome::Failed(status) => write_status(new(5), status),
            Outcome::Abandoned => new(6),
            Outcome::Discarded(id) => new(7).field(id.as_bytes()),
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
                Outcome::Written(Written { name: name(&mut r)?, octets: r.number()?, message_id: r.text()? })
            }
            5 => Outcome::Failed(read_status(&mut r)?),
            6 => Outcome::Abandoned,
            7 => Outcome::Discarded(name(&mut r)?),
            _ => return None,
        };
        r.end()?;
        Some(outcome)
    }
}

/// An ID or the name of a file, for the log and a reply.
fn name(r: &mut Reader<'_>) -> Option<String> {
    r.text().filter(|name| !name.chars().any(char::is_control))
}

/// How long the other side may take to make room for a message.
const SEND_TIME: Duration = Duration::from_secs(60);
/// Octets that are read before it is known how long a message is: most are shorter.
const FIRST_READ: usize = 2048;

/// One end of the socket between guard and writer. A message is taken with one system call, and the kernel watches the time.
pub struct Commands {
    socket: OwnedFd,
    /// What came with the last message and belongs to the next one.
    ahead: Vec<u8>,
}

impl Commands {
    /// Takes one end over. `patience`: how long the other side may take to say something; `None`: as long as it likes.
    pub fn new(socket: OwnedFd, patience: Option<Duration>) -> io::Result<Commands> {
        if let Some(patience) = patience {
            limit_receive(&socket, patience)?;
        }
        Ok(Commands { socket, ahead: Vec::new() })
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Another patience from here on.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        limit_receive(&self.socket, patience)
    }

    /// Sends a message.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut rest = message;
        while !rest.is_empty() {
            match fd::send(self.socket.as_fd(), rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let [ready] = fd::poll([(self.socket.as_fd(), Interest::Write)], Some(SEND_TIME))?;
                    if !ready.write && !ready.hangup {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a message, or something else that is heard at once, came together with the last one.
    pub fn has_more(&self) -> bool {
        self.wanted().map_or(true, |wanted| self.ahead.len() >= wanted)
    }

    /// The next message; `None`: the other end is gone.
    pub fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let wanted = self.wanted()?;
            if self.ahead.len() >= wanted {
                let rest = self.ahead.split_off(wanted);
                return Ok(Some(std::mem::replace(&mut self.ahead, rest)));
            }
            let filled = self.ahead.len();
            self.ahead.resize(wanted.max(filled.saturating_add(FIRST_READ)), 0);
            let received =
                fd::wait_and_receive(self.socket.as_fd(), self.ahead.get_mut(filled..).unwrap_or_default());
            self.ahead.truncate(filled.saturating_add(*received.as_ref().unwrap_or(&0)));
            match received {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Octets of the message that is coming, as far as is known.
    fn wanted(&self) -> io::Result<usize> {
        let Some((&[_, ref length @ ..], _)) = self.ahead.split_first_chunk::<HEAD>() else {
            return Ok(HEAD);
        };
        match u32::from_be_bytes(*length) as usize {
            length if length <= MAX => Ok(HEAD + length),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
