//! Deliveries on this host, as a worker sees them: the guard makes them, this asks for them and hears how they end.
//!
//! A delivery has its user's uid, so the user may stop it; what it waits for (a FIFO, a network file system, a program) may be
//! the user's doing as well. A message that has others to go to waits for no delivery longer than [`ASIDE_TIME`]: it goes on
//! beside those that follow, and its end is heard when they are through. Slots bound what one user can keep so.

use super::ask::{self, Answer, Asked, Question, ask, local_error, nobody};
use super::attempt::{self, DOUBLE, Outcome};
use super::slots::{self, Slot};
use super::{Run, local, ways};
use crate::deliver::{self, Once};
use crate::envelope::{Body, Envelope, Recipient, Target};
use crate::queue::{Id, Incoming, Place, Queued, Received};
use crate::status::{Enhanced, Status};
use common::sys::fd;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

/// What is said of a delivery that the guard has ended.
const TOO_LONG: &str = "the delivery took too long";
/// What is said of a destination that has no slot left: a user of this host, or another host.
const BUSY: &str = "Other deliveries to this destination are still under way";
/// How long a message to several destinations waits for a slot of one of them, and how often it looks. A delivery into
/// a mailbox takes some milliseconds; who takes longer has a program that does.
const SLOT_TIME: Duration = Duration::from_secs(5);
const SLOT_PAUSE: Duration = Duration::from_millis(20);
/// Destinations that had no slot left that are remembered.
const BUSY_MAX: usize = 64;
/// How long a message to several destinations waits for one delivery before it goes on with the next.
const ASIDE_TIME: Duration = Duration::from_secs(1);
/// Deliveries of one message that are under way at once. If there are as many, the first of them to end is waited for.
pub const ASIDE_MAX: usize = 16;
/// How long the guard may take to end a delivery whose time is over. One that hangs in the kernel cannot be ended.
const END_TIME: Duration = Duration::from_secs(30);

/// The deliveries of a worker.
pub struct Here<'a> {
    run: &'a Run,
    /// The destination whose slot this process has.
    key: &'a str,
    /// Destinations that had no slot left.
    busy: Vec<String>,
    /// The message has several destinations.
    several: bool,
    /// What is under way beside the rest of the message.
    aside: Vec<Delivering>,
}

/// A delivery that is under way.
struct Delivering {
    recipient: usize,
    asked: Asked,
    /// Given back when it is over.
    _slot: Option<Slot>,
    begun: Instant,
    /// How long the guard lets it go on.
    time: Duration,
}

impl Delivering {
    fn left(&self) -> Duration {
        self.time.saturating_add(END_TIME).saturating_sub(self.begun.elapsed())
    }

    /// How it ended; `None`: it has not in this time, and may go on.
    fn heard_within(&mut self, patience: Duration) -> Option<Result<Answer, Status>> {
        // What was answered in time may be heard long after.
        let is_over = |status: &Status| *status == nobody() && self.begun.elapsed() >= self.time;
        let too_long = |status| if is_over(&status) { local_error(TOO_LONG) } else { status };
        match self.asked.answer_within(patience.min(self.left())) {
            Some(answer) => Some(answer.map_err(too_long)),
            None if self.left().is_zero() => Some(Err(local_error(TOO_LONG))),
            None => None,
        }
    }
}

/// Whether no more than our own limit was in the way.
pub fn is_busy(status: &Status) -> bool {
    status.text == BUSY
}

impl<'a> Here<'a> {
    /// For a worker that has a slot of this destination.
    pub fn new(run: &'a Run, key: &'a str) -> Here<'a> {
        Here { run, key, busy: Vec::new(), several: false, aside: Vec::new() }
    }

    /// A message begins: what an earlier one has left is forgotten.
    pub fn begin(&mut self, several: bool) {
        self.several = several;
        self.aside.clear();
    }

    /// Delivers to a recipient. The outcome may be missing, and that of an earlier one be there.
    pub fn deliver(&mut self, queued: &Queued, at: usize, recipient: &Recipient) -> Vec<Outcome> {
        if let Target::Expanded { list } = recipient.target {
            let relay = if list { "local" } else { attempt::EXPANDED };
            let status = Status::new(250, Enhanced(2, 0, 0), "sent on to others");
            return vec![Outcome {
                recipient: at,
                status,
                relay: relay.into(),
                diagnostic: None,
                relayed: true,
            }];
        }
        let mut outcomes = match self.aside.len() >= ASIDE_MAX {
            true => self.late(queued, Duration::MAX),
            false => Vec::new(),
        };
        let answer = match self.ask(queued, at, recipient) {
            Ok(mut delivering) => {
                let patience = if self.several { ASIDE_TIME } else { Duration::MAX };
                match delivering.heard_within(patience) {
                    Some(answer) => answer,
                    None => {
                        self.aside.push(delivering);
                        return outcomes;
                    }
                }
            }
            Err(status) => Err(status),
        };
        outcomes.push(self.outcome(queued, at, recipient, answer));
        outcomes
    }

    /// Waits until one of those that are under way has ended, but not longer than this. Nothing: there are none, or none has.
    pub fn late(&mut self, queued: &Queued, patience: Duration) -> Vec<Outcome> {
        let (mut outcomes, begun) = (Vec::new(), Instant::now());
        while outcomes.is_empty() && !self.aside.is_empty() {
            let rest = patience.saturating_sub(begun.elapsed());
            let left = self.aside.iter().map(Delivering::left).min().unwrap_or_default().min(rest);
            let sources: Vec<_> = self.aside.iter().map(|one| one.asked.source()).collect();
            // What goes wrong here shows when they are looked at.
            let _ = fd::wait_for_any(&sources, left);
            let mut waiting = Vec::new();
            for mut one in std::mem::take(&mut self.aside) {
                match (one.heard_within(Duration::ZERO), queued.envelope().recipients.get(one.recipient)) {
                    (Some(answer), Some(recipient)) => {
                        outcomes.push(self.outcome(queued, one.recipient, recipient, answer));
                    }
                    _ => waiting.push(one),
                }
            }
            self.aside = waiting;
            if rest.is_zero() {
                break;
            }
        }
        outcomes
    }

    /// Has the guard begin a delivery.
    fn ask(&mut self, queued: &Queued, at: usize, recipient: &Recipient) -> Result<Delivering, Status> {
        // Another opening of the file, without the right to write and without our lock.
        let path = self.run.directory.file(Place::Queue, queued.id());
        let file = File::open(path).map_err(|error| local_error(&error.to_string()))?;
        let slot = self.slot_of(ways::local_key(recipient))?;
        let again = queued.begin_here(at).map_err(|error| local_error(&error.to_string()))?;
        let question = Question::Deliver {
            reverse_path: queued.envelope().reverse_path_for(recipient).cloned(),
            offset: queued.file().1,
            is_binary: queued.envelope().body == Body::BinaryMime,
            once: Once { mark: format!("K{}_{at}_", queued.id()), again, size: queued.size() },
            recipient: recipient.clone(),
        };
        let (begun, time) = (Instant::now(), local::time_of(&self.run.config, recipient));
        let asked = Asked::send(&self.run.guard, &question, Some(file.as_fd()))?;
        Ok(Delivering { recipient: at, asked, _slot: slot, begun, time })
    }

    /// What an answer means for the recipient. Who asked to be told of success is told by us, because we are where it ends.
    fn outcome(
        &self,
        queued: &Queued,
        at: usize,
        recipient: &Recipient,
        answer: Result<Answer, Status>,
    ) -> Outcome {
        let (status, relayed) = match answer {
            Ok(Answer::Status(status)) | Err(status) => (status, true),
            Ok(Answer::Forward(entries)) => self.forwarded(self.forward(queued, at, recipient, entries)),
            Ok(Answer::Recipients(others)) => self.forwarded(self.led_on(queued, at, recipient, others)),
            Ok(_) => (local_error("there is no answer"), true),
        };
        let relay = match recipient.target {
            _ if is_busy(&status) => attempt::TURN,
            Target::Command { .. } => "command",
            Target::File { .. } => "file",
            _ => "local",
        };
        Outcome { recipient: at, status, relay: relay.into(), diagnostic: None, relayed }
    }

    /// The status, and whether nobody else will tell of success.
    fn forwarded(&self, result: Result<Status, Status>) -> (Status, bool) {
        match result {
            Ok(status) => (status, false),
            Err(status) => (status, true),
        }
    }

    /// A slot of this destination's, unless it is the one that this process has. Errors: [`is_busy`], and what keeps files from
    /// being locked.
    pub fn slot_of(&mut self, key: String) -> Result<Option<Slot>, Status> {
        if key == self.key {
            return Ok(None);
        }
        let limit = ways::limit(&self.run.config, &key);
        let begun = Instant::now();
        loop {
            match slots::try_take(&self.run.directory, &key, limit) {
                Ok(Some(slot)) => return Ok(Some(slot)),
                // Who was busy for so long once is not waited for with every message.
                Ok(None) if begun.elapsed() < SLOT_TIME && !self.busy.contains(&key) => {
                    std::thread::sleep(SLOT_PAUSE);
                }
                Ok(None) => {
                    if self.busy.len() < BUSY_MAX && !self.busy.contains(&key) {
                        self.busy.push(key);
                    }
                    return Err(Status::new(451, Enhanced(4, 3, 2), BUSY));
                }
                Err(error) => return Err(local_error(&error.to_string())),
            }
        }
    }

    /// What the user's `~/.forward` names takes the recipient's place.
    fn forward(
        &self,
        queued: &Queued,
        at: usize,
        recipient: &Recipient,
        entries: Vec<String>,
    ) -> Result<Status, Status> {
        let question = Question::Forward(recipient.clone(), entries);
        let recipients = ask::recipients(ask(&self.run.guard, &question)?)?;
        self.send_on(queued, at, recipient, recipients, true)
    }

    /// Those whom the recipient's address means now take the recipient's place, unless this message goes to them already.
    fn led_on(
        &self,
        queued: &Queued,
        at: usize,
        recipient: &Recipient,
        mut others: Vec<Recipient>,
    ) -> Result<Status, Status> {
        // Where a ~/.forward has kept a copy, its user has the message.
        let is_same = |known: &Target, one: &Target| match (known, one) {
            (Target::Mailbox { user: known, direct: true, .. }, Target::Mailbox { user, .. }) => {
                known == user
            }
            _ => known == one,
        };
        let has = |one: &Recipient| {
            queued.envelope().recipients.iter().any(|known| is_same(&known.target, &one.target))
        };
        others.retain(|one| !has(one));
        if others.is_empty() {
            return Ok(Status::new(
                250,
                Enhanced(2, 0, 0),
                "it goes to everybody behind the address already",
            ));
        }
        self.send_on(queued, at, recipient, others, false)
    }

    /// A message of its own takes the recipient's place, the same one each time. It is the one that tells of success. What a
    /// `~/.forward` sends on is marked.
    fn send_on(
        &self,
        queued: &Queued,
        at: usize,
        recipient: &Recipient,
        recipients: Vec<Recipient>,
        by_forward: bool,
    ) -> Result<Status, Status> {
        let failed = |_| Status::new(451, Enhanced(4, 3, 0), "The queue cannot be read");
        let id = queued.id().derived(&format!("f{at}"));
        let id = id.ok_or_else(|| Status::new(554, Enhanced(5, 4, 6), "Forwarded too often"))?;
        let done = |id: &Id| Status::new(250, Enhanced(2, 0, 0), format!("forwarded as {id}"));
        let reverse_path = queued.envelope().reverse_path_for(recipient).cloned();
        let envelope = Envelope { reverse_path, recipients, ..queued.envelope().clone() };
        // If that fails, too, nobody else is told: the postmaster may be who has forwarded it.
        let from = match queued.head().from.as_str() {
            DOUBLE => DOUBLE.to_owned(),
            _ => format!("forwarded by {}", queued.id()),
        };
        let received = Received { at: SystemTime::now(), from };
        let incoming = Incoming::create_derived(&self.run.directory, &id, &envelope, &received)?;
        let Some(incoming) = incoming else { return Ok(done(&id)) };
        // Seen again by the same mailbox, it runs in a circle.
        let mut message = queued.message();
        let mut incoming = match by_forward {
            true => deliver::forwarded(Box::new(incoming), recipient)?,
            false => {
                // The file or program was named by the user's ~/.forward, and the user has the message again.
                deliver::skip_forward_line(&mut message, &recipient.address).map_err(failed)?;
                deliver::guarded(Box::new(incoming), recipient)
            }
        };
        deliver::copy(&mut message, &mut *incoming, failed)?;
        incoming.finish()?;
        Ok(done(&id))
    }
}

#[cfg(test)]
#[path = "here_tests.rs"]
mod tests;
