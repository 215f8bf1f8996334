//! The writers of a connection: helper processes, one for each user that mail goes to.

use crate::reply;
use crate::status::Status;
use crate::wire::job::{Commands, Job, Outcome};
use crate::writer;
use common::process::service::{Ground, Helper, User};
use common::sys::{fd, process};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Writers that are kept for the next message. Those for other users end when there are more.
const KEPT: usize = 4;
/// How long a writer may take to look at a mailbox, or to get a message onto a disk.
const PATIENCE: Duration = Duration::from_secs(540);
/// How long one may take for its first word. Its user may have stopped it; nothing of the message was read yet, so the client
/// hears of it in time (RFC 5321 section 4.5.3.2.4: two minutes) and the connection goes on.
const FIRST_WORD: Duration = Duration::from_secs(100);
/// How long one may take to end when there is nothing left to do.
const END_TIME: Duration = Duration::from_secs(60);

/// A writer.
struct Writer {
    user: User,
    pid: i32,
    commands: Commands,
}

/// The writers that there are.
#[derive(Default)]
pub(super) struct Writers {
    running: Vec<Writer>,
    /// What has been queued since the last look.
    queued: Vec<String>,
    /// What several recipients of LMTP read: unlinked.
    spool: Option<OwnedFd>,
    /// A writer was lost. What it has not read is still in the data socket, and the next one would take it for its own message.
    lost: bool,
}

impl Writers {
    /// Gives a job to the user's writer, and waits for its first word.
    pub fn give(&mut self, ground: &Ground<'_>, user: &User, job: &Job) -> Outcome {
        let failed = |error: std::io::Error| {
            ground.log.error(format_args!("writer: {error}"));
            Outcome::Refused(reply::LOCAL_PROBLEM.into())
        };
        if let Err(error) = self.be_there(ground, user) {
            return failed(error);
        }
        let Some(writer) = self.running.last() else { return Outcome::Refused(reply::LOCAL_PROBLEM.into()) };
        if let Err(error) = writer.commands.send(&job.encode()) {
            self.give_up(user);
            return failed(error);
        }
        match self.hear_within(ground, user, FIRST_WORD) {
            Some(outcome) => outcome,
            None => Outcome::Refused(reply::LOCAL_PROBLEM.into()),
        }
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
        let why = match heard {
            Some(Ok(Some(message))) => match Outcome::decode(&message) {
                Some(outcome) => return Some(outcome),
                None => "it does not make sense".to_owned(),
            },
            Some(Ok(None)) => "it is gone".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "there is none".to_owned(),
        };
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
        while self.running.len() >= KEPT {
            end(self.running.remove(0));
        }
        let Helper { pid, commands } =
            ground.start_helper(user, writer::ARGUMENT, self.spool.as_ref(), writer::run)?;
        let commands = Commands::new(commands, Some(FIRST_WORD))?;
        self.running.push(Writer { user: user.clone(), pid, commands });
        Ok(())
    }

    /// A writer that does not keep to the rules.
    fn give_up(&mut self, user: &User) {
        self.running.retain(|writer| {
            if writer.user == *user {
                process::terminate(writer.pid);
                process::wait(writer.pid);
            }
            writer.user != *user
        });
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
        self.running.drain(..).for_each(end);
    }
}

/// The kernel watches for as long as the first word may take. Most others have been seen to be there, the rest may take longer.
fn receive_within(commands: &mut Commands, patience: Duration) -> std::io::Result<Option<Vec<u8>>> {
    let begun = Instant::now();
    loop {
        match commands.receive() {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && begun.elapsed() < patience => {}
            heard => return heard,
        }
    }
}

/// It hears that there are no more jobs, and has nothing left to do.
fn end(writer: Writer) {
    end_within(writer, END_TIME);
}

/// It has the user's uid, so the user may have stopped it: that is not waited for.
fn end_within(writer: Writer, patience: Duration) {
    let Writer { pid, mut commands, .. } = writer;
    let _ = fd::shutdown_write(commands.socket()).and_then(|()| commands.set_patience(patience));
    loop {
        match commands.receive() {
            // A last word that nobody asked for.
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => {
                process::terminate(pid);
                break;
            }
        }
    }
    process::wait(pid);
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
        end_within(Writer { user, pid, commands }, Duration::from_secs(1));
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
        };
        assert_eq!(writers.hear_within(&ground, &user, Duration::from_millis(50)), None);
        assert!(writers.running.is_empty() && !writers.has_lost());
        // It has been ended, and waited for.
        assert!(child.wait().is_err());
        // With a message that may be half read it is another thing.
        assert!(matches!(writers.hear(&ground, &user), Outcome::Failed(_)) && writers.has_lost());
    }
}
