//! The runner itself: goes through the queue and gives each destination's messages to its workers.
//!
//! A destination has a pipe with the IDs of its messages, from which all its workers read: the kernel keeps what waits, not
//! this process. What does not fit, or would need more processes than there may be, is left for another look through the
//! queue when these are done.

use super::Run;
use super::slots;
use super::{ways, worker};
use crate::queue::queued::{self, peek};
use crate::queue::{Id, Opened, Place, Queued, State, scan};
use common::sys::fd::{self, Interest};
use common::sys::pass;
use common::sys::process::{self, Ended, Fork};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// Octets of an ID in a pipe: padded, so that each read finds whole ones.
pub const RECORD: usize = 64;
/// Octets that a pipe is to hold: IDs of 16,384 messages.
const PIPE: i32 = 1 << 20;
/// Messages for which a destination gets one more worker.
const PER_WORKER: u32 = 8;
/// Looks through the queue in one run: a bound for what can only be a loop.
const PASSES_MAX: u32 = 10_000;

/// How long what has come waits at most while workers are slow.
const TICK: Duration = Duration::from_secs(1);
/// How long what becomes due then waits.
const LOOK: Duration = Duration::from_secs(60);

/// The end of a worker that has served nothing: it found no slot.
pub const NO_SLOT: u8 = 75;
/// The end of a worker that could not begin: it could not shut itself in, or make a lock. Nothing that it was given was tried.
pub const NOT_BEGUN: u8 = 76;

/// What is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// What is due.
    Due,
    /// These, whether they are due or not.
    Ids(Vec<Id>),
    /// What goes to this domain, whether it is due or not.
    Domain(String),
}

struct Destination {
    key: String,
    reading: OwnedFd,
    writing: OwnedFd,
    workers: Vec<i32>,
    given: u32,
}

/// The workers of all looks through the queue so far, as far as they have not been waited for.
struct Crew<'a> {
    run: &'a Run,
    running: Vec<i32>,
    /// One that has ended since the last look had a slot.
    served: bool,
    /// How many could not begin or were killed, by whatever.
    lost: u32,
    /// When the last look began.
    looked: Instant,
}

struct Dispatcher<'a> {
    run: &'a Run,
    /// Workers of earlier looks that are still at it.
    others: usize,
    destinations: Vec<Destination>,
    /// Something was left for another look.
    more: bool,
    /// Nothing is begun: what is chosen is only made due.
    only_due: bool,
    failed: Option<io::Error>,
}

/// Goes through the queue until nothing is left that is due.
pub fn dispatch(run: &Run, selection: &Selection) -> io::Result<()> {
    process::notice_children();
    let (mut selection, mut lost) = (selection, 0u32);
    if *selection == Selection::Due {
        let now = SystemTime::now();
        scan::tidy(&run.directory, now)?;
        slots::tidy(&run.directory, now)?;
    }
    loop {
        let mut slot = slots::of_run(&run.directory)?;
        if slot.is_none() && *selection != Selection::Due {
            // The others do what is due: what was chosen has to be.
            choose(run, selection)?;
            slot = slots::of_run(&run.directory)?;
        }
        let Some(slot) = slot else { break };
        lost = lost.saturating_add(pass_by_pass(run, selection)?);
        drop(slot);
        // Whoever found no slot until now relied on this.
        if !slots::has_come(&run.directory) {
            break;
        }
        selection = &Selection::Due;
    }
    match lost {
        0 => Ok(()),
        lost => Err(io::Error::other(format!("{lost} of its workers ended before their time"))),
    }
}

/// Makes due what was chosen.
fn choose(run: &Run, selection: &Selection) -> io::Result<()> {
    let mut dispatcher = Dispatcher::new(run, 0);
    dispatcher.only_due = true;
    dispatcher.look(selection)?;
    dispatcher.failed.map_or(Ok(()), Err)
}

/// How many workers were lost.
fn pass_by_pass(run: &Run, selection: &Selection) -> io::Result<u32> {
    let mut selection = selection;
    let mut crew = Crew { run, running: Vec::new(), served: false, lost: 0, looked: Instant::now() };
    for pass in 0..PASSES_MAX {
        let mut dispatcher = Dispatcher::new(run, crew.running.len());
        (crew.looked, crew.served) = (Instant::now(), false);
        dispatcher.look(selection)?;
        let more = dispatcher.more;
        if let Some(error) = dispatcher.end(&mut crew) {
            crew.wait_for_all()?;
            return Err(error);
        }
        // Whoever had no slot leaves the rest to those who have them, but goes on with what it has brought itself.
        let brought = pass == 0 && *selection != Selection::Due;
        if !crew.wait(more, brought)? {
            return Ok(crew.lost);
        }
        // What was chosen has been made due: from now on that says what is left.
        selection = &Selection::Due;
    }
    crew.wait_for_all()?;
    Ok(crew.lost)
}

/// The most processes of a run.
fn process_limit(run: &Run) -> usize {
    run.config.default_process_limit.max(1) as usize
}

impl Crew<'_> {
    /// Waits for a reason to go through the queue again. `false`: all workers have ended, and there is none.
    fn wait(&mut self, more: bool, brought: bool) -> io::Result<bool> {
        let directory = &self.run.directory;
        loop {
            if self.running.is_empty() {
                let left = (self.served || brought) && (slots::was_missed(directory) || more);
                return Ok(left || slots::has_come(directory));
            }
            // What is left, or has come, is not kept from its time by a worker whose peer or program is slow.
            if self.running.len() <= process_limit(self.run) / 2 {
                let since = self.looked.elapsed();
                let missed = || self.served && slots::was_missed(directory);
                if self.served && more
                    || since >= TICK && (slots::has_come(directory) || missed())
                    || since >= LOOK
                {
                    return Ok(true);
                }
            }
            if let Some((worker, ended)) = process::wait_for_any_within(TICK)? {
                self.ended(worker, ended);
            }
        }
    }

    fn wait_for_all(&mut self) -> io::Result<()> {
        while !self.running.is_empty() {
            let (worker, ended) = process::wait_for_any()?;
            self.ended(worker, ended);
        }
        Ok(())
    }

    fn ended(&mut self, worker: i32, ended: Ended) {
        if let Ended::Signal(signal) = ended {
            self.run.log.error(format_args!("queue worker {worker}: killed by signal {signal}"));
        }
        self.running.retain(|running| *running != worker);
        let not_begun = ended == Ended::Code(i32::from(NOT_BEGUN));
        if not_begun || matches!(ended, Ended::Signal(_)) {
            self.lost = self.lost.saturating_add(1);
        }
        self.served |= !not_begun && ended != Ended::Code(i32::from(NO_SLOT));
    }
}

impl<'a> Dispatcher<'a> {
    fn new(run: &'a Run, others: usize) -> Dispatcher<'a> {
        Dispatcher { run, others, destinations: Vec::new(), more: false, only_due: false, failed: None }
    }

    /// Goes through what is selected.
    fn look(&mut self, selection: &Selection) -> io::Result<()> {
        let run = self.run;
        let (directory, schedule) = (&run.directory, &run.policy.schedule);
        match selection {
            Selection::Due => {
                let mut stray = |name: &str| {
                    run.log.warning(format_args!("{}: moved to corrupt: no queue ID", name.escape_debug()));
                    let _ = queued::set_aside(directory, Place::Queue, name);
                };
                scan::due(directory, schedule, SystemTime::now(), &mut |id| self.give(&id, None), &mut stray)
            }
            Selection::Ids(ids) => {
                ids.iter().for_each(|id| self.give(id, None));
                Ok(())
            }
            Selection::Domain(domain) => {
                scan::all(directory, Place::Queue, &mut |id| self.give(&id, Some(domain)))
            }
        }
    }

    /// Gives a message to its destination's workers. With a domain: if it goes there.
    fn give(&mut self, id: &Id, domain: Option<&str>) {
        if self.failed.is_some() {
            return;
        }
        match peek(&self.run.directory, Place::Queue, id) {
            Ok(Some(Ok(head))) => {
                let goes_there = |domain: &str| {
                    head.envelope.recipients.iter().zip(&head.states).any(|(recipient, (state, _))| {
                        *state == State::Pending && recipient.address.domain().eq_ignore_ascii_case(domain)
                    })
                };
                if domain.is_some_and(|domain| !goes_there(domain)) {
                    return;
                }
                let key = self.run.ways.key(&head);
                let due = self.run.policy.schedule.is_due(head.counters.next, SystemTime::now());
                let result = if due { Ok(()) } else { self.make_due(id) };
                let result = match self.only_due {
                    true => result,
                    false => result.and_then(|()| self.give_to(&key, id)),
                };
                match result {
                    Err(error) if self.is_full(&error) => self.more = true,
                    result => self.failed = result.err(),
                }
            }
            Ok(Some(Err(why))) => {
                self.run.log.error(format_args!("{id}: moved to corrupt: {}", why.0));
                let _ = queued::set_aside(&self.run.directory, Place::Queue, id.as_str());
            }
            Ok(None) => {}
            Err(error) if self.is_full(&error) => self.more = true,
            Err(error) => self.run.log.error(format_args!("{id}: {error}")),
        }
    }

    /// Somebody has named it: its time is now.
    fn make_due(&mut self, id: &Id) -> io::Result<()> {
        match Queued::open(&self.run.directory, Place::Queue, id)? {
            Opened::Message(mut queued) => queued.make_due(SystemTime::now()),
            _ => Ok(()),
        }
    }

    fn give_to(&mut self, key: &str, id: &Id) -> io::Result<()> {
        let at = match self.destinations.iter().position(|destination| destination.key == key) {
            Some(at) => at,
            None => {
                if self.processes() >= process_limit(self.run) {
                    self.more = true;
                    return Ok(());
                }
                let (reading, writing) = fd::pipe()?;
                // Without it less is given out ahead.
                let _ = pass::widen_pipe(&writing, PIPE);
                let (key, workers) = (key.to_owned(), Vec::new());
                self.destinations.push(Destination { key, reading, writing, workers, given: 0 });
                self.destinations.len() - 1
            }
        };
        let limit = ways::limit(&self.run.config, key) as usize;
        let processes = self.processes();
        let Some(destination) = self.destinations.get_mut(at) else { return Ok(()) };
        // Linux says that a pipe can be written to when it has room for PIPE_BUF octets, far more than a record.
        let [ready] = fd::poll([(destination.writing.as_fd(), Interest::Write)], Some(Duration::ZERO))?;
        if !ready.write {
            self.more = true;
            return Ok(());
        }
        let mut record = [0; RECORD];
        for (to, octet) in record.iter_mut().zip(id.as_str().bytes()) {
            *to = octet;
        }
        fd::write(destination.writing.as_fd(), &record)?;
        destination.given += 1;
        let wanted = (destination.given.div_ceil(PER_WORKER) as usize).min(limit);
        let may = processes < process_limit(self.run);
        if destination.workers.len() < wanted && (may || destination.workers.is_empty()) {
            self.start_worker(at)?;
        }
        Ok(())
    }

    /// Whether the launcher's limits, or this host's, are in the way of yet another one. There will be room when a worker ends.
    fn is_full(&self, error: &io::Error) -> bool {
        self.processes() > 0 && process::is_used_up(error)
    }

    fn processes(&self) -> usize {
        self.others + self.destinations.iter().map(|destination| destination.workers.len()).sum::<usize>()
    }

    fn start_worker(&mut self, at: usize) -> io::Result<()> {
        match process::fork()? {
            Fork::Child => {
                // Pipes stay open as long as anybody could write to them: the others' must go, and our own other end.
                let mut destinations = std::mem::take(&mut self.destinations);
                let ours = destinations.swap_remove(at);
                drop(destinations);
                let Destination { key, reading, writing, .. } = ours;
                drop(writing);
                process::exit_now(worker::main(self.run, &key, &reading));
            }
            Fork::Parent(child) => {
                if let Some(destination) = self.destinations.get_mut(at) {
                    destination.workers.push(child);
                }
                Ok(())
            }
        }
    }

    /// Closes the pipes, so that the workers end when they have served what is in them.
    fn end(self, crew: &mut Crew<'_>) -> Option<io::Error> {
        self.destinations.into_iter().for_each(|destination| crew.running.extend(destination.workers));
        self.failed
    }
}
