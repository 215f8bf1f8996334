//! A worker: serves the messages of one destination, one after the other, over one connection where there is one.

use super::Run;
use super::ask::{self, Answer, Question, ask, local_error};
use super::attempt::{self, Outcome, World};
use super::circles::Circles;
use super::dispatch::{NO_SLOT, NOT_BEGUN, RECORD};
use super::here::{Here, is_busy};
use super::slots::{self, Slot};
use super::ways;
use crate::address::{Address, ReversePath};
use crate::client::{self, Client, Connection, Failed};
use crate::envelope::{Body, Recipient, Target};
use crate::queue::{Id, Opened, Place, Queued, queued};
use crate::recode::{self, Recoded, To};
use crate::route::NextHop;
use crate::status::Status;
use common::exit::Exit;
use common::sys::fd;
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// Recipients of one transaction; RFC 5321 section 4.5.3.1.8 makes every server take a hundred.
const RECIPIENTS_MAX: usize = 100;
/// How long an address of a host has to take the connection, and again to say all that comes before the first MAIL, while others of
/// the same message wait for their turn. Hosts that let strangers wait on purpose do so for some seconds.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long deliveries here that are under way are waited for before hosts have all the time of the settings: it may be minutes, in
/// which nobody hears how they end.
const HERE_PATIENCE: Duration = Duration::from_secs(60);
/// Next hops that are remembered as out of order for the rest of this process's life.
const DEAD_MAX: usize = 64;

/// Serves what comes through the pipe until its end.
pub fn main(run: &Run, key: &str, ids: &OwnedFd) -> u8 {
    if let Err(error) = run.walls.enter() {
        run.log.error(format_args!("walls of a queue worker: {error}"));
        return NOT_BEGUN;
    }
    let (all, limit) = ways::of_all(&run.config, key);
    let slot = |key: &str, limit: u32| slots::take(&run.directory, key, limit);
    let _slots = match slot(key, ways::limit(&run.config, key)).and_then(|own| Ok((own, slot(all, limit)?))) {
        Ok((Some(own), Some(of_all))) => (own, of_all),
        Ok(_) => return NO_SLOT,
        Err(error) => {
            run.log.error(format_args!("lock of a destination: {error}"));
            return NOT_BEGUN;
        }
    };
    let mut carrier = Carrier {
        run,
        client: Client::new(&run.config),
        connection: None,
        dead: Vec::new(),
        alone: Vec::new(),
        turns: 0,
        patience: Duration::MAX,
        here_patience: HERE_PATIENCE,
        silent: VecDeque::new(),
        here: Here::new(run, key),
        circles: Circles::default(),
    };
    let mut code = Exit::Success.code();
    loop {
        match next(ids) {
            Ok(Some(id)) => {
                if let Err(error) = serve(run, &mut carrier, &id) {
                    run.log.error(format_args!("{id}: {error}"));
                    code = Exit::Temporary.code();
                }
            }
            Ok(None) => break,
            Err(error) => {
                run.log.error(format_args!("{error}"));
                code = Exit::Temporary.code();
                break;
            }
        }
    }
    if let Some((_, connection, _)) = carrier.connection.take() {
        connection.quit();
    }
    code
}

/// The next ID; the kernel gives whole records, because only whole ones were written.
fn next(ids: &OwnedFd) -> io::Result<Option<Id>> {
    let mut record = [0; RECORD];
    loop {
        match fd::read(ids.as_fd(), &mut record) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(_) => {
                let text = std::str::from_utf8(&record).unwrap_or("").trim_end_matches('\0');
                match Id::parse(text) {
                    Some(id) => return Ok(Some(id)),
                    None => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
        }
    }
}

fn serve(run: &Run, carrier: &mut Carrier<'_>, id: &Id) -> io::Result<()> {
    match Queued::open(&run.directory, Place::Queue, id)? {
        Opened::Message(queued) => {
            // Another runner may have tried it since it was chosen.
            let due = run.policy.schedule.is_due(queued.counters().next, SystemTime::now());
            if due && !attempt::waits(&queued) {
                carrier.begin();
                attempt::attempt(queued, carrier, &run.policy)?;
            }
        }
        Opened::Corrupt(why) => {
            run.log.error(format_args!("{id}: moved to corrupt: {why}"));
            queued::set_aside(&run.directory, Place::Queue, id.as_str())?;
        }
        Opened::Busy | Opened::Gone => {}
    }
    Ok(())
}

/// What a connection can be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    hop: NextHop,
    /// Whose password was used, if that makes a difference.
    sender: ReversePath,
}

/// Why there is no connection.
enum Unconnected {
    /// It took longer than others can wait: the host has another turn.
    Silent,
    /// That is how it went.
    Failed(Failed),
}

impl From<Failed> for Unconnected {
    fn from(failed: Failed) -> Unconnected {
        Unconnected::Failed(failed)
    }
}

impl From<Status> for Unconnected {
    fn from(status: Status) -> Unconnected {
        Failed::from(status).into()
    }
}

/// The same for all: nobody was spoken to, and nobody else tells of success.
fn unserved(group: &[usize], status: &Status) -> Vec<Outcome> {
    unserved_by(if is_busy(status) { attempt::TURN } else { "none" }, None, group, status)
}

/// The same of a server that has refused the connection, if one has.
fn unconnected(group: &[usize], failed: &Failed) -> Vec<Outcome> {
    match failed.said.as_deref() {
        Some((remote, said)) => unserved_by(&remote.to_string(), Some(said), group, &failed.status),
        None => unserved(group, &failed.status),
    }
}

fn unserved_by(relay: &str, said: Option<&String>, group: &[usize], status: &Status) -> Vec<Outcome> {
    let failed = |&recipient: &usize| Outcome {
        recipient,
        status: status.clone(),
        relay: relay.into(),
        diagnostic: said.cloned(),
        relayed: true,
    };
    group.iter().map(failed).collect()
}

/// How messages leave: over the connection, or through the guard.
struct Carrier<'a> {
    run: &'a Run,
    client: Client,
    /// With the slot of its destination, where that of the process is another one's: that of messages to several destinations.
    connection: Option<(Way, Connection, Option<Slot>)>,
    dead: Vec<(Way, Failed)>,
    /// Ways on which there is no other host to take what one has put off.
    alone: Vec<Way>,
    /// Groups of this message that are next and have another next hop's behind them.
    turns: usize,
    /// What each address of a host has now, as [`FIRST_PATIENCE`].
    patience: Duration,
    /// What is left of [`HERE_PATIENCE`] for this message.
    here_patience: Duration,
    /// Of this message, those whose hosts took longer than others can wait: they have another turn when all have had theirs.
    silent: VecDeque<(Way, Vec<usize>)>,
    here: Here<'a>,
    /// Of this message.
    circles: Circles,
}

impl World for Carrier<'_> {
    fn groups(&mut self, queued: &Queued, open: &[usize]) -> Vec<Vec<usize>> {
        // Where it goes, the reverse-path and first line it goes with, and why it does not; nothing: a local one, which is served
        // alone.
        type Key<'a> = Option<(Result<NextHop, Status>, Option<&'a Address>, Option<String>, Option<Status>)>;
        self.circles = Circles::of(queued, open);
        let mut groups: Vec<(Key<'_>, Vec<usize>)> = Vec::new();
        let envelope = queued.envelope();
        for &at in open {
            let Some(recipient) = envelope.recipients.get(at) else { continue };
            // Recipients of different reverse-paths, or with different lines, cannot share a transaction.
            let key = self.run.ways.hop(envelope, recipient).map(|hop| {
                let (line, refusal) = (self.circles.line(recipient), self.circles.refusal(recipient));
                (hop, envelope.reverse_path_for(recipient), line, refusal)
            });
            let found = groups
                .iter_mut()
                .find(|(known, group)| key.is_some() && *known == key && group.len() < RECIPIENTS_MAX);
            match found {
                Some((_, group)) => group.push(at),
                None => groups.push((key, vec![at])),
            }
        }
        let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(_, group)| group).collect();
        // Other hosts may take their time, and programs theirs: they do not keep mailboxes from their mail.
        let rank = |group: &Vec<usize>| match group.first().and_then(|&at| envelope.recipients.get(at)) {
            Some(Recipient { target: Target::Command { .. }, .. }) => 2,
            Some(Recipient { target: Target::Remote(_), .. }) => 1,
            _ => 0,
        };
        groups.sort_by_key(rank);
        let hop = |group: &Vec<usize>| {
            let recipient = group.first().and_then(|&at| envelope.recipients.get(at));
            recipient.and_then(|recipient| self.run.ways.hop(envelope, recipient)?.ok())
        };
        let last = groups.last().and_then(hop);
        self.turns = groups.iter().rposition(|group| hop(group) != last).map_or(0, |at| at + 1);
        self.here.begin(groups.len() > 1);
        groups
    }

    fn deliver(&mut self, queued: &Queued, group: &[usize]) -> Vec<Outcome> {
        let others_wait = self.turns > 0;
        self.turns = self.turns.saturating_sub(1);
        let Some(&first) = group.first() else { return Vec::new() };
        let Some(recipient) = queued.envelope().recipients.get(first) else { return Vec::new() };
        if let Some(status) = self.circles.refusal(recipient) {
            return unserved_by("local", None, group, &status);
        }
        match self.run.ways.hop(queued.envelope(), recipient) {
            Some(Err(status)) => unserved(group, &status),
            Some(Ok(hop)) => {
                let sender = queued.envelope().reverse_path_for(recipient).cloned();
                self.patience = if others_wait { FIRST_PATIENCE } else { Duration::MAX };
                self.remote(queued, &hop, &sender, group)
            }
            None => self.here.deliver(queued, first, recipient),
        }
    }

    fn late(&mut self, queued: &Queued) -> Vec<Outcome> {
        let begun = Instant::now();
        let patience = if self.silent.is_empty() { Duration::MAX } else { self.here_patience };
        let ended = self.here.late(queued, patience);
        self.here_patience = self.here_patience.saturating_sub(begun.elapsed());
        if !ended.is_empty() {
            return ended;
        }
        match self.silent.pop_front() {
            Some((_, group)) => self.deliver(queued, &group),
            None => ended,
        }
    }

    fn expand(&mut self, address: &Address) -> Result<Vec<Recipient>, Status> {
        ask::recipients(ask(&self.run.guard, &Question::Expand(address.clone()))?)
    }

    fn now(&mut self) -> SystemTime {
        SystemTime::now()
    }

    fn log(&mut self, line: Arguments<'_>) {
        self.run.log.info(line);
    }
}

impl Carrier<'_> {
    /// A message begins. What an earlier one has left, because its file could not be written, is nothing to it: the numbers of its
    /// recipients would be taken for those of this one.
    fn begin(&mut self) {
        self.silent.clear();
        self.turns = 0;
        self.here_patience = HERE_PATIENCE;
        self.here.begin(false);
    }

    /// Sends to one host of the next hop. What it puts off, the next may take: RFC 5321 section 5.1 wants each address tried until
    /// one succeeds. Not so where somebody may have it already.
    fn remote(
        &mut self,
        queued: &Queued,
        hop: &NextHop,
        sender: &ReversePath,
        group: &[usize],
    ) -> Vec<Outcome> {
        let (mut outcomes, mut except) = (Vec::with_capacity(group.len()), Vec::new());
        let mut open = self.try_one(queued, hop, sender, group, &mut except, &mut outcomes);
        while !open.is_empty() && !except.is_empty() && !self.alone.contains(&self.way(hop, sender)) {
            let (before, silent, mut later) = (except.len(), self.silent.len(), Vec::new());
            open = self.try_one(queued, hop, sender, &open, &mut except, &mut later);
            if let Some((_, put_off)) = self.silent.get(silent) {
                outcomes.retain(|known| !put_off.contains(&known.recipient));
            }
            if except.len() == before {
                break;
            }
            for outcome in later {
                // As long as one of them may take it, it is tried again.
                let known = outcomes.iter_mut().find(|known| known.recipient == outcome.recipient);
                if let Some(known) = known.filter(|_| !outcome.status.is_permanent()) {
                    *known = outcome;
                }
            }
        }
        outcomes
    }

    /// Sends to a host that is none of `except`, which it is added to, and says what became of the recipients. Those whom another
    /// host may be asked about are returned.
    fn try_one(
        &mut self,
        queued: &Queued,
        hop: &NextHop,
        sender: &ReversePath,
        group: &[usize],
        except: &mut Vec<SocketAddr>,
        outcomes: &mut Vec<Outcome>,
    ) -> Vec<usize> {
        let first = group.first().and_then(|&at| queued.envelope().recipients.get(at));
        let line = first.and_then(|first| self.circles.line(first)).unwrap_or_default();
        let (mut open, mut used) = (Vec::new(), None);
        let mut rest = group;
        while !rest.is_empty() {
            let reused = match self.connect(hop, sender, except) {
                Ok(reused) => reused,
                Err(Unconnected::Silent) => {
                    self.silent.push_back((self.way(hop, sender), rest.to_vec()));
                    break;
                }
                Err(Unconnected::Failed(failed)) => {
                    outcomes.extend(unconnected(rest, &failed));
                    break;
                }
            };
            let Some((_, connection, _)) = &mut self.connection else { break };
            let length = connection.recipients_max().unwrap_or(RECIPIENTS_MAX).clamp(1, rest.len());
            let (part, behind) = rest.split_at(length);
            let converts = !self.run.config.disable_mime_output_conversion;
            let settled = send(connection, queued, part, &line, converts);
            let relay = connection.remote().to_string();
            used = connection.remote().address.or(used);
            if !connection.is_open() {
                self.connection = None;
                // A server may close a connection that waited too long for its next message; nothing was tried then.
                let untried =
                    |o: &client::Outcome| o.status.is_temporary() && o.diagnostic.is_none() && !o.unsure;
                if reused && settled.iter().all(untried) {
                    continue;
                }
            }
            open.extend(settled.iter().filter(|o| o.status.is_temporary() && !o.unsure).map(|o| o.recipient));
            outcomes.extend(settled.into_iter().map(|settled| Outcome {
                recipient: settled.recipient,
                status: settled.status,
                relay: relay.clone(),
                diagnostic: settled.diagnostic,
                relayed: settled.relayed,
            }));
            rest = behind;
        }
        except.extend(used);
        open
    }

    /// Where a sender has a password of its own, the connection is that sender's.
    fn way(&self, hop: &NextHop, sender: &ReversePath) -> Way {
        let by_sender = self.run.config.smtp_sender_dependent_authentication;
        Way { hop: hop.clone(), sender: sender.clone().filter(|_| by_sender) }
    }

    /// Makes sure that there is a connection to this next hop, to none of these addresses. `true`: it has been used before.
    fn connect(
        &mut self,
        hop: &NextHop,
        sender: &ReversePath,
        except: &[SocketAddr],
    ) -> Result<bool, Unconnected> {
        let way = self.way(hop, sender);
        let mut slot = None;
        if let Some((known, connection, its)) = self.connection.take() {
            let is_wanted = connection.remote().address.is_none_or(|address| !except.contains(&address));
            if known == way && is_wanted && connection.is_open() {
                self.connection = Some((known, connection, its));
                return Ok(true);
            }
            slot = its.filter(|_| known.hop == way.hop);
            connection.quit();
        }
        if let Some((_, failed)) = self.dead.iter().find(|(dead, _)| *dead == way) {
            return Err(failed.clone().into());
        }
        let others_wait = self.patience < Duration::MAX;
        if others_wait && self.silent.iter().any(|(silent, _)| *silent == way) {
            return Err(Unconnected::Silent);
        }
        let login = match ask(&self.run.guard, &Question::Login(sender.clone(), hop.clone()))? {
            Answer::Login(login) => login,
            _ => return Err(local_error("there is no answer").into()),
        };
        if slot.is_none() {
            slot = self.here.slot_of(hop.to_string())?;
        }
        match self.client.connect_as(hop, login.as_ref(), except, self.patience) {
            Ok(connection) => {
                self.connection = Some((way, connection, slot));
                Ok(false)
            }
            Err(failed) if others_wait && failed.hurried => Err(Unconnected::Silent),
            Err(failed) => {
                // The next hundred messages need not wait for the same host to be silent.
                match except {
                    [] if self.dead.len() < DEAD_MAX => self.dead.push((way, failed.clone())),
                    [_] if self.alone.len() < DEAD_MAX => self.alone.push(way),
                    _ => {}
                }
                Err(failed.into())
            }
        }
    }
}

/// Sends a message, behind this line of its header, in a form that the server takes, if it may be changed.
fn send(
    connection: &mut Connection,
    queued: &Queued,
    recipients: &[usize],
    line: &str,
    converts: bool,
) -> Vec<client::Outcome> {
    let envelope = queued.envelope();
    let whole = || line.as_bytes().chain(queued.message());
    // A file that cannot be read is found out when it is sent.
    let has_eight = || recode::has_eight_bits(&mut whole()).unwrap_or(false);
    // What its client has said may be too much, or too little: what counts is what it is (RFC 6152 section 3).
    let body = match envelope.body {
        Body::BinaryMime => Body::BinaryMime,
        Body::EightBitMime if connection.recoding(Body::EightBitMime).is_none() => Body::EightBitMime,
        Body::EightBitMime | Body::SevenBit if has_eight() => Body::EightBitMime,
        // What has seven bits anyway keeps its signatures.
        Body::EightBitMime | Body::SevenBit => Body::SevenBit,
    };
    match connection.recoding(body).filter(|_| converts) {
        Some(to) => {
            // To know how long it will be, one has to do it.
            let size = io::copy(&mut Recoded::new(whole(), to), &mut io::sink()).unwrap_or(0);
            let body = if to == To::Lines { Body::EightBitMime } else { Body::SevenBit };
            connection.send(envelope, recipients, &mut Recoded::new(whole(), to), size, body)
        }
        None => {
            let size = queued.size().saturating_add(line.len() as u64);
            connection.send(envelope, recipients, &mut whole(), size, body)
        }
    }
}
