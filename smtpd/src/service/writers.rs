//! The writers of a connection: helper processes, one for each user that mail goes to.

use crate::reply;
use crate::status::Status;
use crate::wire::job::{Commands, Job, Outcome};
use crate::writer;
use common::process::service::{Ground, Helper, User};
use common::sys::fd::{self, Interest};
use common::sys::process;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Writers that are kept for the next message. Those for other users end when there are more.
const KEPT: usize = 4;
/// How long a writer may take for a word that it has begun, or for one without which nothing goes on.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take at most for its first word. Its user may have stopped it: the client hears of it in time (RFC 5321 section
/// 4.5.3.2.4: two minutes). The connection goes on, unless the message was sent for already and may be half read.
const FIRST_WORD_MAX: Duration = Duration::from_secs(100);
/// How long one may take to say that it makes nothing of a message which does not come. Its user may have stopped it, and the client
/// waits for something else.
const WITHDRAWAL_TIME: Duration = Duration::from_secs(2);
/// How long one may take to end that is still at something, when there is nobody left who could want it; and one that has
/// nothing to do.
const END_TIME: Duration = Duration::from_secs(60);
const IDLE_END_TIME: Duration = Duration::from_secs(2);
/// How long the end of one that was killed is waited for.
const KILL_TIME: Duration = Duration::from_secs(1);

/// A writer.
struct Writer {
    user: User,
    pid: i32,
    commands: Commands,
    /// It was given a job and has not said what became of it.
    busy: bool,
}

/// The writers that there are.
#[derive(Default)]
pub(super) struct Writers {
    running: Vec<Writer>,
    /// What has been queued since the last look.
    queued: Vec<String>,
    /// What several recipients of LMTP read: unlinked.
    spool: Option<OwnedFd>,
    /// The data of a message may be there before its writer has said its first word.
    sent_for: bool,
    /// Octets of the message that was written last.
    octets: u64,
    /// A writer was lost. What it has not read is still in the data socket, and the next one would take it for its own message.
    lost: bool,
}

impl Writers {
    /// Gives a job to the user's writer, and waits for its first word.
    pub fn give(&mut self, ground: &Ground<'_>, user: &User, job: &Job) -> Outcome {
        match self.offer(ground, user, job) {
            Ok(()) => self.first_word(ground, user),
            Err(status) => Outcome::Refused(status),
        }
    }

    /// Gives a job to the user's writer, which has none.
    pub fn offer(&mut self, ground: &Ground<'_>, user: &User, job: &Job) -> Result<(), Status> {
        let failed = |error: std::io::Error| {
            ground.log.error(format_args!("writer: {error}"));
            Status::from(reply::LOCAL_PROBLEM)
        };
        self.be_there(ground, user).map_err(failed)?;
        let writer = self.running.last_mut().ok_or_else(|| Status::from(reply::LOCAL_PROBLEM))?;
        writer.busy = true;
        if let Err(error) = writer.commands.send(&job.encode()) {
            self.give_up(user);
            return Err(failed(error));
        }
        Ok(())
    }

    /// Waits for the first word of the user's writer about its job.
    pub fn first_word(&mut self, ground: &Ground<'_>, user: &User) -> Outcome {
        let heard = self.hear_within(ground, user, first_word_time(ground));
        heard.unwrap_or_else(|| Outcome::Refused(reply::LOCAL_PROBLEM.into()))
    }

    /// The next word of the user's writer about a message that it has not from the data socket; `None`: it has not said one in
    /// this time, and may go on.
    pub fn word(&mut self, ground: &Ground<'_>, user: &User, patience: Duration) -> Option<Outcome> {
        let writer = self.running.iter().find(|writer| writer.user == *user);
        if let Some(writer) = writer.filter(|writer| !writer.commands.has_more()) {
            let ready = fd::poll([(writer.commands.socket(), Interest::Read)], Some(patience));
            if ready.is_ok_and(|[ready]| !ready.read) {
                return None;
            }
        }
        let heard = self.hear_within(ground, user, PATIENCE);
        Some(heard.unwrap_or_else(|| Outcome::Failed(reply::LOCAL_PROBLEM.into())))
    }

    /// Nothing comes of the message that the user's writer was asked to take.
    pub fn withdraw(&mut self, ground: &Ground<'_>, user: &User) {
        let Some(writer) = self.running.iter().find(|writer| writer.user == *user) else { return };
        let sent = writer.commands.send(&Job::Withdraw.encode()).is_ok();
        let mut heard = if sent { self.word(ground, user, WITHDRAWAL_TIME) } else { None };
        // It was told that there was one after it had said that it may come.
        if heard == Some(Outcome::Ready) {
            heard = self.word(ground, user, WITHDRAWAL_TIME);
        }
        if heard.is_none() {
            self.give_up(user);
        }
    }

    /// Whether the data may come before the first word of the writer that is to read them.
    pub fn set_sent_for(&mut self, sent_for: bool) {
        self.sent_for = sent_for;
    }

    /// Whether a word of the user's writer is here already: what [`Writers::watched`] gives would not tell.
    pub fn has_word(&self, user: &User) -> bool {
        self.running.iter().any(|writer| writer.user == *user && writer.commands.has_more())
    }

    /// Whether the user's writer is at something.
    pub fn is_busy(&self, user: &User) -> bool {
        self.running.iter().any(|writer| writer.user == *user && writer.busy)
    }

    /// Waits for the next word of the user's writer.
    pub fn hear(&mut self, ground: &Ground<'_>, user: &User) -> Outcome {
        self.hear_within(ground, user, PATIENCE).unwrap_or_else(|| {
            self.lost = true;
            Outcome::Failed(Status::from(reply::LOCAL_PROBLEM))
        })
    }

    /// `None`: it does not answer as it should, and has been ended.
    fn hear_within(&mut self, ground: &Ground<'_>, user: &User, patience: Duration) -> Option<Outcome> {
        let writer = self.running.iter_mut().find(|writer| writer.user == *user);
        let heard = writer.map(|writer| receive_within(&mut writer.commands, patience));
        let is_gone = matches!(heard, Some(Ok(None)) | None);
        let why = match heard {
            Some(Ok(Some(message))) => match Outcome::decode(&message) {
                Some(outcome) => {
                    self.note_word(user, &outcome);
                    return Some(outcome);
                }
                None => "it does not make sense".to_owned(),
            },
            Some(Ok(None)) => "it is gone".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "there is none".to_owned(),
        };
        // One that is slow may have begun to read before it is killed. One that is gone had not: its word would have been here.
        self.lost |= self.sent_for && !is_gone;
        ground.log.error(format_args!("writer of uid {}: {why}", user.uid));
        self.give_up(user);
        None
    }

    /// Makes the user's writer the last of those running.
    fn be_there(&mut self, ground: &Ground<'_>, user: &User) -> std::io::Result<()> {
        if let Some(at) = self.running.iter().position(|writer| writer.user == *user) {
            let writer = self.running.remove(at);
            self.running.push(writer);
            return Ok(());
        }
        let idle: Vec<usize> = (0..).zip(&self.running).filter(|(_, w)| !w.busy).map(|(at, _)| at).collect();
        if let (Some(&first), true) = (idle.first(), idle.len() >= KEPT) {
            end(vec![self.running.remove(first)]);
        }
        let Helper { pid, commands } =
            ground.start_helper(user, writer::ARGUMENT, self.spool.as_ref(), writer::run)?;
        let commands = Commands::new(commands, Some(first_word_time(ground)))?;
        self.running.push(Writer { user: user.clone(), pid, commands, busy: false });
        Ok(())
    }

    /// The writer of the last message.
    pub fn latest(&self) -> Option<i32> {
        self.running.last().map(|writer| writer.pid)
    }

    /// Whether the next message is small. `size`: what the client says of it.
    pub fn expects_small(&self, size: Option<u64>) -> bool {
        size.unwrap_or(self.octets) <= writer::post::SMALL
    }

    fn note_word(&mut self, user: &User, outcome: &Outcome) {
        if let Outcome::Written(written) = outcome {
            self.octets = written.octets;
        }
        if let Some(writer) = self.running.iter_mut().find(|writer| writer.user == *user) {
            writer.busy = *outcome == Outcome::Ready;
        }
    }

    /// A writer that does not keep to the rules, or to its time.
    pub fn give_up(&mut self, user: &User) {
        self.running.retain(|writer| {
            if writer.user == *user {
                process::terminate(writer.pid);
                process::wait_within(writer.pid, KILL_TIME);
            }
            writer.user != *user
        });
    }

    /// Ends a writer that takes too long with the message that comes in. What it has said counts; that it says no more is what is
    /// heard of it next, whether it can be killed or hangs in the kernel.
    pub fn stop(&mut self, ground: &Ground<'_>, user: &User) {
        for writer in self.running.iter().filter(|writer| writer.user == *user) {
            ground.log.error(format_args!("writer of uid {}: it takes too long and is ended", user.uid));
            process::terminate(writer.pid);
            let _ = fd::shutdown(writer.commands.socket());
        }
    }

    /// Where the user's writer says something next.
    pub fn watched(&self, user: &User) -> Option<BorrowedFd<'_>> {
        self.running.iter().find(|writer| writer.user == *user).map(|writer| writer.commands.socket())
    }

    /// Whether no further message may come on this connection.
    pub fn has_lost(&self) -> bool {
        self.lost
    }

    /// A file that all writers share from now on.
    pub fn set_spool(&mut self, spool: OwnedFd) {
        self.end();
        self.spool = Some(spool);
    }

    pub fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// A message is in the queue.
    pub fn note_queued(&mut self, id: &str) {
        self.queued.push(id.to_owned());
    }

    /// What has been queued since the last call.
    pub fn take_queued(&mut self) -> Vec<String> {
        std::mem::take(&mut self.queued)
    }

    /// No more messages: the writers end by themselves.
    pub fn end(&mut self) {
        end(std::mem::take(&mut self.running));
    }
}

/// How long the guard waits for writers: not as long as the front waits for the guard.
pub(super) fn time(ground: &Ground<'_>) -> Duration {
    let time = ground.config.ipc_timeout;
    time.saturating_sub(time / 5).max(Duration::from_millis(500))
}

fn first_word_time(ground: &Ground<'_>) -> Duration {
    time(ground).min(FIRST_WORD_MAX)
}

/// The kernel watches for as long as the first word may take. Most others have been seen to be there, the rest may take longer.
fn receive_within(commands: &mut Commands, patience: Duration) -> std::io::Result<Option<Vec<u8>>> {
    let begun = Instant::now();
    // The kernel's clock for this is coarse.
    let patience = patience.saturating_sub(patience / 16);
    loop {
        match commands.receive() {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && begun.elapsed() < patience => {}
            heard => return heard,
        }
    }
}

/// They hear that there are no more jobs.
fn end(writers: Vec<Writer>) {
    end_within(writers, IDLE_END_TIME, END_TIME);
}

/// They have their users' uids, so a user may have stopped one: that is not waited for, and neither do the others' ends wait for
/// it.
fn end_within(writers: Vec<Writer>, idle: Duration, busy: Duration) {
    for writer in &writers {
        let _ = fd::shutdown_write(writer.commands.socket());
    }
    let begun = Instant::now();
    for Writer { pid, mut commands, busy: is_busy, .. } in writers {
        let patience = if is_busy { busy } else { idle };
        loop {
            // The kernel takes no time for no limit.
            let left = patience.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
            let heard = commands.set_patience(left).and_then(|()| commands.receive());
            match heard {
                // A last word that nobody asked for.
                Ok(Some(_)) if begun.elapsed() < patience => {}
                Ok(None) if process::wait_within(pid, KILL_TIME) => break,
                _ => {
                    process::terminate(pid);
                    process::wait_within(pid, KILL_TIME);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_does_not_end_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (commands, _theirs) = fd::socketpair().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let user = User { uid: 1, gid: 1, groups: Vec::new() };
        let begun = std::time::Instant::now();
        let commands = Commands::new(commands, Some(PATIENCE)).unwrap();
        let (idle, long) = (Duration::from_secs(1), Duration::from_secs(100));
        end_within(vec![Writer { user, pid, commands, busy: false }], idle, long);
        assert!(begun.elapsed() < Duration::from_secs(100));
        // It has been waited for already.
        assert!(child.wait().is_err());
    }

    #[test]
    fn a_writer_that_never_says_a_word_costs_no_more_than_its_own_message() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (commands, theirs) = fd::socketpair().unwrap();
        let user = User { uid: 1, gid: 1, groups: Vec::new() };
        let writer = Writer {
            user: user.clone(),
            pid: i32::try_from(child.id()).unwrap(),
            commands: Commands::new(commands, Some(Duration::from_secs(1))).unwrap(),
            busy: false,
        };
        let mut writers = Writers { running: vec![writer], ..Writers::default() };
        let config = std::rc::Rc::new(common::config::Config::DEFAULT);
        let mut peer = common::peer::Peer { remote: None, local: None, on_network: false };
        let ground = Ground {
            program: &crate::PROGRAM,
            config: &config,
            log: &common::log::Log::open(&config, "test".to_owned()),
            peer: &mut peer,
            facts: &common::process::front::Facts::default(),
            tls: false,
            had_secrets: false,
            account: None,
            method: "",
            data: &theirs,
            front: 0,
        };
        assert_eq!(writers.hear_within(&ground, &user, Duration::from_millis(50)), None);
        assert!(writers.running.is_empty() && !writers.has_lost());
        // It has been ended, and waited for.
        assert!(child.wait().is_err());
        // With a message that may be half read it is another thing.
        assert!(matches!(writers.hear(&ground, &user), Outcome::Failed(_)) && writers.has_lost());
    }
}
