//! One message, one attempt: every open recipient is tried, what came of it is marked, who has to be told is told.
//!
//! Everything is in an order that a kill between any two steps leaves right: a recipient is marked once the other side has
//! it; a notification is in the queue before what it reports is marked as done; the file goes when nothing is owed. What a
//! repetition makes again has the same ID as before, so that there is one of it.

use super::lines::{log_active, log_outcome};
use crate::address::Address;
use crate::bounce::{Action, Notification, Report};
use crate::deliver::Sink;
use crate::envelope::{Envelope, Notify, Recipient, Target};
use crate::queue::notes::{self, Note};
use crate::queue::queued::peek;
use crate::queue::schedule::{self, Counters, Schedule};
use crate::queue::{Id, Incoming, Place, Queued, Received, State};
use crate::status::Status;
use std::fmt::Arguments;
use std::io;
use std::time::{Duration, SystemTime};

/// Where a double bounce says it comes from. What has this and fails is not reported again.
pub(super) const DOUBLE: &str = "double bounce";

/// Relays that are this host's own: there it is delivered, not only passed on.
pub const LOCAL: [&str; 3] = ["local", "file", "command"];

/// The relay of an address that others have taken the place of.
pub const EXPANDED: &str = "expanded";

/// The relay of a recipient for whom no more than our own limit was in the way. That is nobody's failure: it is not put off,
/// but tried as soon as those are through that were first.
pub const TURN: &str = "none (its turn comes)";

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its number.
    pub recipient: usize,
    /// How it went.
    pub status: Status,
    /// Who was spoken to, for the log.
    pub relay: String,
    /// What they said.
    pub diagnostic: Option<String>,
    /// They will tell nobody of success.
    pub relayed: bool,
}

impl Outcome {
    /// Whether a message of its own has taken the recipient's place. It may go once that is marked ([`waits`]).
    fn was_forwarded(&self) -> bool {
        self.status.is_positive() && !self.relayed && LOCAL.contains(&self.relay.as_str())
    }
}

/// Whether a message must wait that was made of another one, because that has not been marked as told or forwarded: who made it
/// was killed, and the repetition must find it here, or there would be two of it.
pub fn waits(queued: &Queued) -> bool {
    let parts = queued.id().as_str().rsplit_once('-');
    let Some((origin, kind)) =
        parts.and_then(|(origin, what)| Some((Id::parse(origin)?, what.chars().next()?)))
    else {
        return false;
    };
    let unmarked: &[State] = match kind {
        'b' | 's' => &[State::Failed, State::Delivered],
        'f' => &[State::Pending],
        _ => return false,
    };
    let number = queued.id().as_str().rsplit_once(kind).and_then(|(_, number)| number.parse::<usize>().ok());
    match (peek(queued.directory(), Place::Queue, &origin), number) {
        (Ok(Some(Ok(head))), Some(at)) => {
            head.states.get(at).is_some_and(|(state, _)| unmarked.contains(state))
        }
        _ => false,
    }
}

/// What an attempt needs of the rest.
pub trait World {
    /// Divides recipients into those that are served together.
    fn groups(&mut self, queued: &Queued, open: &[usize]) -> Vec<Vec<usize>>;
    /// Serves them. Each is in the result once, or in one of those that follow: of this function or of [`World::late`]. Only
    /// where there are several groups may it be a later one.
    fn deliver(&mut self, queued: &Queued, group: &[usize]) -> Vec<Outcome>;
    /// Waits for some of those that were begun and are not over, or serves some whose turn had to wait. Empty: there are none.
    fn late(&mut self, queued: &Queued) -> Vec<Outcome>;
    /// Where a notification for this address goes.
    fn expand(&mut self, address: &Address) -> Result<Vec<Recipient>, Status>;
    /// The clock.
    fn now(&mut self) -> SystemTime;
    /// The log.
    fn log(&mut self, line: Arguments<'_>);
}

/// The settings of an attempt.
#[derive(Debug, Clone)]
pub struct Policy {
    /// When again, and when no more.
    pub schedule: Schedule,
    /// This host's name.
    pub host: String,
    /// `bounce_size_limit`.
    pub bounce_size_limit: u64,
    /// Who is told of what nobody else can be told of; `None`: nobody.
    pub postmaster: Option<Address>,
}

/// What is left of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// It will be tried again.
    Deferred,
    /// Its file, in `corrupt/`: it failed, and so did the news of it.
    SetAside,
}

/// Makes one attempt. Errors are of the queue's own file system.
pub fn attempt(mut queued: Box<Queued>, world: &mut dyn World, policy: &Policy) -> io::Result<Left> {
    let now = world.now();
    let counters = policy.schedule.older(queued.counters(), now);
    let is_bounce = queued.envelope().reverse_path.is_none();
    let open = queued.in_state(State::Pending);
    let mut notes = Vec::new();
    // What was refused before it came into the queue has a note, too.
    if counters.attempts > 0 || open.is_empty() {
        notes = notes::read(queued.directory(), Place::Queue, queued.id());
    }
    // Nothing of it has been tried.
    let mut fresh = counters.attempts == 0 && open.len() == queued.envelope().recipients.len();
    let mut tried = Tried { notes, deferred: 0, waiting: 0, expired: false };
    let groups = if open.is_empty() { Vec::new() } else { world.groups(&queued, &open) };
    let alone = groups.len() <= 1 && open.len() == queued.envelope().recipients.len();
    let mut groups = groups.into_iter();
    loop {
        let outcomes = match groups.next() {
            Some(group) => world.deliver(&queued, &group),
            None => match world.late(&queued) {
                none if none.is_empty() => break,
                late => late,
            },
        };
        let heard = !outcomes.is_empty();
        let sure =
            alone && heard && outcomes.iter().all(|o| o.status.is_positive() && !owes_success(&queued, o));
        let forwarded = outcomes.iter().any(Outcome::was_forwarded);
        for outcome in outcomes {
            if outcome.relay == TURN {
                tried.waiting += 1;
                tried.note(outcome, now);
                continue;
            }
            // Who waits for his turn is looked at again and again.
            if std::mem::take(&mut fresh) {
                log_active(&queued, world);
            }
            tried.expired |= policy.schedule.is_expired(counters, is_bounce) && !outcome.status.is_positive();
            settle(&mut queued, world, outcome, &mut tried, sure, now)?;
        }
        if sure && tried.deferred == 0 {
            // All of it is done: one unlink says that as well as marks do.
            world.log(format_args!("{}: removed", queued.id()));
            let directory = queued.directory().clone();
            queued.remove()?;
            if forwarded {
                super::slots::look_again(&directory);
            }
            return Ok(Left::Nothing);
        }
        if heard && !queued.in_state(State::Pending).is_empty() {
            queued.sync()?;
        }
        if forwarded {
            super::slots::look_again(queued.directory());
        }
    }
    finish(queued, world, policy, counters, tried)
}

struct Tried {
    notes: Vec<Note>,
    deferred: usize,
    /// Not tried: the turn of these comes.
    waiting: usize,
    /// The time is over: what failed for now has failed for good.
    expired: bool,
}

impl Tried {
    fn note(&mut self, outcome: Outcome, now: SystemTime) {
        let Outcome { recipient, status, relay, diagnostic, relayed } = outcome;
        let at = schedule::seconds(now);
        self.notes.retain(|note| note.recipient != recipient);
        self.notes.push(Note { recipient, at, status, relay, diagnostic, relayed });
    }

    fn of(&self, recipient: usize) -> Option<&Note> {
        self.notes.iter().find(|note| note.recipient == recipient)
    }
}

/// Whether somebody asked to be told of this success, and nobody else will (RFC 3461 sections 5.2.1, 5.2.2).
fn owes_success(queued: &Queued, outcome: &Outcome) -> bool {
    let recipient = queued.envelope().recipients.get(outcome.recipient);
    let asked = recipient.is_some_and(Recipient::wants_success);
    asked && outcome.relayed && queued.envelope().reverse_path.is_some()
}

fn settle(
    queued: &mut Queued,
    world: &mut dyn World,
    outcome: Outcome,
    tried: &mut Tried,
    unmarked: bool,
    now: SystemTime,
) -> io::Result<()> {
    let state = match &outcome.status {
        status if status.is_positive() && owes_success(queued, &outcome) => State::Delivered,
        status if status.is_positive() => State::Done,
        status if status.is_permanent() || tried.expired => State::Failed,
        _ => State::Pending,
    };
    // An attempt may have taken minutes.
    let done = world.now().max(now);
    log_outcome(queued, world, &outcome, state, done);
    match state {
        State::Pending => tried.deferred += 1,
        _ if unmarked => {}
        state => queued.mark(outcome.recipient, state)?,
    }
    if state != State::Done {
        tried.note(outcome, now);
    }
    Ok(())
}

/// Tells who is to be told, then removes the message or puts it off.
fn finish(
    mut queued: Box<Queued>,
    world: &mut dyn World,
    policy: &Policy,
    mut counters: Counters,
    tried: Tried,
) -> io::Result<Left> {
    let mut told = true;
    for success in [true, false] {
        let state = if success { State::Delivered } else { State::Failed };
        for (sender, recipients) in by_sender(&queued, state) {
            match tell(&mut queued, world, policy, &tried, sender.as_ref(), &recipients, success)? {
                Told::Yes { made } => {
                    recipients.iter().try_for_each(|&at| queued.mark(at, State::Done))?;
                    if made {
                        super::slots::look_again(queued.directory());
                    }
                }
                Told::Later => told = false,
                // What is still open may yet be delivered; after that this comes up again.
                Told::Never if !queued.in_state(State::Pending).is_empty() => told = false,
                Told::Never => {
                    let id = queued.id().clone();
                    world.log(format_args!("{id}: moved to corrupt: nobody can be told that it failed"));
                    queued.move_to(Place::Corrupt)?;
                    return Ok(Left::SetAside);
                }
            }
        }
    }
    if queued.is_done() {
        world.log(format_args!("{}: removed", queued.id()));
        queued.remove()?;
        return Ok(Left::Nothing);
    }
    if told && tried.deferred == 0 && tried.waiting > 0 {
        // It stays due, and has grown no older by it. Who is through looks again.
        let _ = notes::write(queued.directory(), Place::Queue, queued.id(), &tried.notes);
        super::slots::look_again(queued.directory());
        return Ok(Left::Deferred);
    }
    if told && policy.schedule.is_delayed(counters) {
        warn(&queued, world, policy, &tried, counters)?;
        counters.warned = true;
    }
    let _ = notes::write(queued.directory(), Place::Queue, queued.id(), &tried.notes);
    queued.set_counters(policy.schedule.after(counters))?;
    Ok(Left::Deferred)
}

/// The recipients in a state, with whom to tell: the sender, or the owner of a list.
fn by_sender(queued: &Queued, state: State) -> Vec<(Option<Address>, Vec<usize>)> {
    let mut groups: Vec<(Option<Address>, Vec<usize>)> = Vec::new();
    for (at, recipient, of) in queued.recipients() {
        if of != state {
            continue;
        }
        let sender = queued.envelope().reverse_path_for(recipient);
        match groups.iter_mut().find(|(known, _)| known.as_ref() == sender) {
            Some((_, recipients)) => recipients.push(at),
            None => groups.push((sender.cloned(), vec![at])),
        }
    }
    groups
}

enum Told {
    /// Or nobody had to be. `made`: there is a notification now, which has waited for the marks.
    Yes {
        made: bool,
    },
    Later,
    Never,
}

fn tell(
    queued: &mut Queued,
    world: &mut dyn World,
    policy: &Policy,
    tried: &Tried,
    sender: Option<&Address>,
    recipients: &[usize],
    success: bool,
) -> io::Result<Told> {
    let double = sender.is_none();
    let wanted = |recipient: &Recipient| {
        // A notification itself is marked NEVER: that is about its sender, who is nobody.
        if double {
            return !success;
        }
        let notify = recipient.notify.unwrap_or(Notify::DEFAULT);
        if success { notify.success } else { notify.failure }
    };
    let envelope = queued.envelope();
    let report = |&at: &usize| {
        let recipient = envelope.recipients.get(at).filter(|recipient| wanted(recipient))?;
        let note = tried.of(at);
        let action = match success {
            false => Action::Failed,
            true if recipient.target == (Target::Expanded { list: false }) => Action::Expanded,
            true if note.is_some_and(|note| LOCAL.contains(&note.relay.as_str())) => Action::Delivered,
            true => Action::Relayed,
        };
        Some(Report { recipient, action, note })
    };
    let reports: Vec<Report<'_>> = recipients.iter().filter_map(report).collect();
    let nobody = Ok(Told::Yes { made: false });
    let Some(&first) = recipients.first() else { return nobody };
    let id = queued.id().derived(&format!("{}{first}", if success { "s" } else { "b" }));
    // Nobody asked, or it has been derived from so often that it only goes in circles.
    let (Some(id), false) = (id, reports.is_empty()) else { return nobody };
    if double && queued.head().from == DOUBLE {
        return Ok(Told::Never);
    }
    // RFC 5321 section 6.1: nothing is returned to the null reverse-path; the postmaster hears of it.
    let Some(to) = sender.or(policy.postmaster.as_ref()) else { return nobody };
    let mut target = (to, world.expand(to), double);
    let mut nobody_there = None;
    if let ((_, Err(status), false), Some(postmaster)) = (&target, &policy.postmaster) {
        // The sender does not exist: that makes it the postmaster's at once.
        if status.is_permanent() {
            nobody_there = Some((to, status.clone()));
            target = (postmaster, world.expand(postmaster), true);
        }
    }
    match target {
        (to, Ok(expanded), double) if !expanded.is_empty() => {
            let until = None;
            let now = world.now();
            let notification = Notification {
                queued,
                id: &id,
                to,
                host: &policy.host,
                double,
                nobody: nobody_there.as_ref().map(|(to, why)| (*to, why)),
                reports,
                size_limit: policy.bounce_size_limit,
                now,
                until,
            };
            match send(&notification, expanded, double) {
                Ok(made) => {
                    let word = if success { "success notification" } else { "non-delivery notification" };
                    if made {
                        world.log(format_args!("{}: sender {word}: {id}", queued.id()));
                    }
                    Ok(Told::Yes { made: true })
                }
                Err(status) => {
                    world.log(format_args!("{}: notification deferred: {status}", queued.id()));
                    Ok(Told::Later)
                }
            }
        }
        (_, Err(status), _) if !status.is_permanent() => {
            world.log(format_args!("{}: notification deferred: {status}", queued.id()));
            Ok(Told::Later)
        }
        _ if success => nobody,
        _ => Ok(Told::Never),
    }
}

/// A delay is told once, and not at all if that fails: the end will be told in any case.
fn warn(
    queued: &Queued,
    world: &mut dyn World,
    policy: &Policy,
    tried: &Tried,
    counters: Counters,
) -> io::Result<()> {
    for (sender, recipients) in by_sender(queued, State::Pending) {
        let (Some(sender), Some(first)) = (sender, recipients.first()) else { continue };
        let report = |&at: &usize| {
            let recipient = queued.envelope().recipients.get(at)?;
            let wanted = recipient.notify.unwrap_or(Notify::DEFAULT).delay;
            wanted.then(|| Report { recipient, action: Action::Delayed, note: tried.of(at) })
        };
        let reports: Vec<Report<'_>> = recipients.iter().filter_map(report).collect();
        let Some(id) = queued.id().derived(&format!("d{first}")).filter(|_| !reports.is_empty()) else {
            continue;
        };
        let Ok(expanded) = world.expand(&sender) else { continue };
        let now = world.now();
        let left = policy.schedule.lifetime.saturating_sub(Duration::from_secs(counters.age));
        let notification = Notification {
            queued,
            id: &id,
            to: &sender,
            host: &policy.host,
            double: false,
            nobody: None,
            reports,
            size_limit: policy.bounce_size_limit,
            now,
            until: now.checked_add(left),
        };
        if send(&notification, expanded, false).is_ok_and(|made| made) {
            world.log(format_args!("{}: sender delay notification: {id}", queued.id()));
            super::slots::look_again(queued.directory());
        }
    }
    Ok(())
}

/// Puts a notification into the queue. `false`: it is there already.
fn send(
    notification: &Notification<'_>,
    mut recipients: Vec<Recipient>,
    double: bool,
) -> Result<bool, Status> {
    // RFC 3461 section 5.2.9: nobody is told about notifications.
    recipients.iter_mut().for_each(|recipient| recipient.notify = Some(Notify::NEVER));
    let body = notification.body()?;
    let envelope = Envelope { body, smtputf8: notification.is_utf8(), recipients, ..Envelope::default() };
    let from = if double { DOUBLE } else { "bounce" };
    let received = Received { at: notification.now, from: from.into() };
    let directory = notification.queued.directory();
    let Some(incoming) = Incoming::create_derived(directory, notification.id, &envelope, &received)? else {
        return Ok(false);
    };
    let mut incoming = Box::new(incoming);
    notification.write(incoming.as_mut(), body)?;
    incoming.finish()?;
    Ok(true)
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
