//! The writer: a helper process that puts messages where they belong, with the rights of who owns the place.
//!
//! It is one user's mailbox writer or the queue's. What comes on the data socket is a stranger's message; the jobs come from
//! the guard. A writer serves as many messages as the guard has for its user on one connection.
//!
//! Whatever goes wrong, the socket is read to the mark that ends the message: the next message is read from the same socket.

pub(crate) mod fields;
pub(crate) mod header;
pub(crate) mod post;

use crate::address::Address;
use crate::deliver::{self, Delivery, Sink, Trace};
use crate::envelope::Recipient;
use crate::header_checks::{HeaderChecks, checked};
use crate::queue::{Incoming, QueueDirectory, Received};
use crate::reply;
use crate::status::Status;
use crate::wire::job::{Commands, Deliver, Job, Outcome, Queue, Submission, Written};
use crate::wire::pieces::{self, Piece, Source, Token};
use common::config::Config;
use common::exit::Exit;
use common::log::{Log, escape, readable};
use common::process::Program;
use common::process::service::{self, Helping};
use common::sys::fd::{self, Interest};
use header::Header;
use post::Post;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// The hidden argument of a writer that was executed afresh.
pub const ARGUMENT: &str = "--writer";
/// Octets read from the spool file at once.
const SPOOL_BUFFER: usize = 32 * 1024;

/// A writer that was executed afresh.
pub fn main(program: &'static Program) -> Exit {
    match service::helping(program) {
        Ok(helping) => run(helping),
        Err(_) => Exit::Temporary,
    }
}

/// A writer's life.
pub fn run(helping: Helping) -> Exit {
    let Helping { config, log, commands, data, shared } = helping;
    let checks = HeaderChecks::load(&config).map(Rc::new);
    if let Err(error) = &checks {
        log.error(format_args!("header_checks: {error}"));
    }
    let served = Commands::new(commands, None).and_then(|commands| {
        let (commands, buffer) = (RefCell::new(commands), RefCell::default());
        let post = RefCell::new(Post::new());
        Work { config: &config, log: &log, commands, data, shared, checks: checks.ok(), buffer, post }.serve()
    });
    match served {
        Ok(()) => Exit::Success,
        Err(error) => {
            log.error(format_args!("writer: {error}"));
            Exit::Temporary
        }
    }
}

struct Work<'a> {
    config: &'a Config,
    log: &'a Log,
    commands: RefCell<Commands>,
    /// What the front sends.
    data: OwnedFd,
    /// The spool file.
    shared: Option<OwnedFd>,
    /// `None`: they cannot be read, and nothing may pass unseen.
    checks: Option<Rc<HeaderChecks>>,
    /// What was read last of the front.
    buffer: RefCell<Vec<u8>>,
    /// Where it waits for the disk.
    post: RefCell<Post>,
}

impl Work<'_> {
    fn serve(&self) -> io::Result<()> {
        while let Some(message) = self.next_job()? {
            let job = Job::decode(&message).ok_or(io::ErrorKind::InvalidData)?;
            drop(message);
            match job {
                Job::Deliver(job) => self.deliver(&job)?,
                Job::Queue(job) => self.queue(&job)?,
                Job::Spool => self.spool()?,
                // It was heard where the message was waited for, or there was none to wait for.
                Job::Withdraw => {}
                Job::Refuse => {
                    self.say(&Outcome::Ready)?;
                    let outcome = self.take(Box::new(Nowhere), None)?;
                    self.say(&outcome)?;
                }
            }
        }
        Ok(())
    }

    fn next_job(&self) -> io::Result<Option<Vec<u8>>> {
        self.commands.borrow_mut().receive()
    }

    fn say(&self, outcome: &Outcome) -> io::Result<()> {
        if let Outcome::Refused(status) | Outcome::Failed(status) = outcome {
            status.log_cause(self.log);
        }
        self.commands.borrow().send(&outcome.encode())
    }

    fn deliver(&self, job: &Deliver) -> io::Result<()> {
        let trace = Trace {
            reverse_path: job.reverse_path.clone(),
            original: job.recipient.original.clone(),
            delivered_to: job.recipient.address.clone(),
            received: job.received.clone(),
            is_binary: job.is_binary,
            once: None,
        };
        let mut warn =
            |text: String| self.log.warning(format_args!("{}", readable(text.as_bytes()).up_to(500)));
        match deliver::begin(self.config, &job.account, &job.recipient, &trace, &mut warn) {
            Err(status) => self.say(&Outcome::Refused(status)),
            Ok(Delivery::Forward(entries)) => self.say(&Outcome::Forward(entries)),
            Ok(Delivery::Begun(sink)) => {
                let about = || about(job.reverse_path.as_ref(), &job.recipient);
                let sink = deliver::behind_alias(sink, &job.recipient);
                self.fill(sink, job.submission.as_ref(), job.spooled, job.token, &about)
            }
        }
    }

    fn queue(&self, job: &Queue) -> io::Result<()> {
        let directory = match QueueDirectory::open(self.config) {
            Ok(directory) => directory,
            Err(error) => {
                self.log.error(format_args!("queue: {error}"));
                return self.say(&Outcome::Refused(reply::LOCAL_PROBLEM.into()));
            }
        };
        let received = Received { at: SystemTime::now(), from: job.from.clone() };
        let begun = Incoming::create(&directory, &job.envelope, &received).and_then(|mut incoming| {
            let field = job.received.replace('\0', incoming.id().as_str());
            incoming.write(field.as_bytes())?;
            Ok(incoming)
        });
        match begun {
            Err(status) => self.say(&Outcome::Refused(status)),
            Ok(incoming) => {
                let to = job.envelope.recipients.first();
                let about = || to.map(|to| about(job.envelope.reverse_path.as_ref(), to)).unwrap_or_default();
                self.fill(Box::new(incoming), job.submission.as_ref(), job.spooled, None, &about)
            }
        }
    }

    fn spool(&self) -> io::Result<()> {
        let file = match self.shared.as_ref().map(OwnedFd::try_clone) {
            Some(Ok(fd)) => File::from(fd),
            _ => return self.say(&Outcome::Refused(reply::LOCAL_PROBLEM.into())),
        };
        match file.set_len(0) {
            // What is in it is looked at on its way out.
            Ok(()) => {
                self.say(&Outcome::Ready)?;
                let outcome = self.take(Box::new(Spool { file, at: 0, buffer: Vec::new() }), None)?;
                self.say(&outcome)
            }
            Err(error) => self.say(&Outcome::Refused(spool_failed(&error))),
        }
    }

    fn fill(
        &self,
        sink: Box<dyn Sink>,
        submission: Option<&Submission>,
        spooled: bool,
        token: Option<Token>,
        about: &dyn Fn() -> String,
    ) -> io::Result<()> {
        let Some(checks) = &self.checks else {
            return self.say(&Outcome::Refused(reply::LOCAL_PROBLEM.into()));
        };
        // Programs that count messages count these, and of what is refused the guard's line, which says from whom it came.
        let warn = |line: &str| {
            let tag = if line.starts_with("reject:") { "smtpd/header_checks" } else { "cleanup" };
            let us = std::process::id();
            self.log.info_each([(
                format_args!("postfix/{tag}[{us}]"),
                format_args!("NOQUEUE: {line}; {}", about()),
            )]);
        };
        let discarded = Cell::new(false);
        let mut sink = checked(checks, sink, &warn, &discarded);
        self.say(&Outcome::Ready)?;
        sink.prepare();
        let outcome = match spooled {
            false => self.take(sink, submission)?,
            true => match self.copy(sink, submission) {
                Ok(written) => Outcome::Written(written),
                Err(status) => Outcome::Failed(status),
            },
        };
        let outcome = match outcome {
            Outcome::Written(written) if discarded.get() => Outcome::Discarded(written.name),
            outcome => outcome,
        };
        // The client is who waits.
        if let (Outcome::Written(_), Some(token)) = (&outcome, token) {
            pieces::say_token(&self.data, token);
        }
        self.say(&outcome)
    }

    /// Takes a message from the spool file.
    fn copy(&self, mut sink: Box<dyn Sink + '_>, submission: Option<&Submission>) -> Result<Written, Status> {
        let fd = self.shared.as_ref().and_then(|fd| fd.try_clone().ok());
        let file = File::from(fd.ok_or_else(|| Status::from(reply::LOCAL_PROBLEM))?);
        let mut header = Header::new(submission);
        let mut buffer = vec![0; SPOOL_BUFFER];
        let mut at = 0u64;
        loop {
            let n = file.read_at(&mut buffer, at).map_err(|error| spool_failed(&error))?;
            let Some(octets) = buffer.get(..n).filter(|octets| !octets.is_empty()) else { break };
            at = at.saturating_add(n as u64);
            header.pass(octets, &mut |octets| sink.write(octets))?;
        }
        header.end(&mut |octets| sink.write(octets))?;
        let message_id = header.message_id();
        sink.finish().map(|name| Written { name, octets: at, message_id })
    }

    /// Takes a message from the front.
    fn take(&self, sink: Box<dyn Sink + '_>, submission: Option<&Submission>) -> io::Result<Outcome> {
        if !self.data_come()? {
            return Ok(Outcome::Abandoned);
        }
        self.take_by(&mut self.buffer.borrow_mut(), sink, submission)
    }

    /// Waits for the message. `false`: the guard has something else to say before anything of it is here.
    fn data_come(&self) -> io::Result<bool> {
        let commands = self.commands.borrow();
        if commands.has_more() {
            return Ok(false);
        }
        let both = [(self.data.as_fd(), Interest::Read), (commands.socket(), Interest::Read)];
        let [data, _] = fd::poll(both, None)?;
        Ok(data.read || data.hangup)
    }

    fn take_by(
        &self,
        buffer: &mut Vec<u8>,
        mut sink: Box<dyn Sink + '_>,
        submission: Option<&Submission>,
    ) -> io::Result<Outcome> {
        let mut source = Source::new(&self.data, buffer);
        let mut header = Header::new(submission);
        let mut octets = 0u64;
        let limit = self.config.message_size_limit.0;
        let failed: Status = loop {
            match source.next_piece()? {
                Piece::Octets(piece) => {
                    octets = octets.saturating_add(piece.len() as u64);
                    // The front sees to it, too, but that is the front's word.
                    if limit > 0 && octets > limit {
                        break reply::TOO_BIG.into();
                    }
                    if let Err(status) = header.pass(piece, &mut |octets| sink.write(octets)) {
                        break status;
                    }
                }
                Piece::Complete => {
                    let complete = Instant::now();
                    let written = header.end(&mut |octets| sink.write(octets)).and_then(|()| sink.finish());
                    self.post.borrow_mut().note(octets, complete.elapsed());
                    return Ok(match written {
                        Ok(name) => {
                            Outcome::Written(Written { name, octets, message_id: header.message_id() })
                        }
                        Err(status) => Outcome::Failed(status),
                    });
                }
                Piece::Abandoned => {
                    return Ok(Outcome::Abandoned);
                }
            }
        };
        // What was written goes at once: the disk may be full, and the client may take its time.
        drop(sink);
        Ok(match source.drain()? {
            true => Outcome::Failed(failed),
            false => Outcome::Abandoned,
        })
    }
}

/// Whose message it is, for the log.
fn about(reverse_path: Option<&Address>, recipient: &Recipient) -> String {
    let from = reverse_path.map(ToString::to_string).unwrap_or_default();
    let to = recipient.original.to_string();
    format!("from=<{}> to=<{}>", escape(from.as_bytes()), escape(to.as_bytes()))
}

/// The sink for several recipients of LMTP: a file without a name, which nobody has to find after a crash, because nobody has
/// been told yet that we have the message.
struct Spool {
    file: File,
    at: u64,
    buffer: Vec<u8>,
}

impl Spool {
    fn flush(&mut self) -> Result<(), Status> {
        self.file.write_all_at(&self.buffer, self.at).map_err(|error| spool_failed(&error))?;
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for Spool {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        if self.buffer.len().saturating_add(octets.len()) > SPOOL_BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        self.flush()?;
        Ok("spool".to_owned())
    }
}

/// The sink of a message that nobody takes. Why, the guard knows.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: &[u8]) -> Result<(), Status> {
        Err(reply::LOCAL_PROBLEM.into())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Err(reply::LOCAL_PROBLEM.into())
    }
}

/// What the client is told of it.
pub(crate) fn spool_failed(error: &io::Error) -> Status {
    let status: Status = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => reply::DISK_FULL.into(),
        _ => reply::LOCAL_PROBLEM.into(),
    };
    status.because(format_args!("spool file: {error}"))
}
