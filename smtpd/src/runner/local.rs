//! The guard of a run: answers the workers, and becomes a recipient to deliver.
//!
//! For a delivery it looks up whose mailbox it is, forks, and the child becomes that user for good before it reads an octet of
//! the message. Everything else it answers itself: password files and maps with passwords are root's to read.

use super::ask::{Answer, QUESTION_MAX, Question, local_error};
use super::here::ASIDE_MAX;
use super::slots;
use crate::address::ReversePath;
use crate::deliver::{self, Delivery, Once, Trace};
use crate::drop::{self, Answers};
use crate::envelope::{Recipient, Target};
use crate::queue::QueueDirectory;
use crate::queue::queued::Message;
use crate::route;
use crate::rules::Rules;
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::log::{Log, readable};
use common::sys::fd::{self, Interest};
use common::sys::pass;
use common::sys::process::{self, Fork};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a delivery may take that is no program's: a large message onto a slow disk, behind somebody's lock.
const DELIVERY_TIME: Duration = Duration::from_secs(600);
/// How often the drop directory is looked at while a run lasts.
const PICK_UP: Duration = Duration::from_secs(5);
/// And how often where users wait until others have been told what is in the queue.
const PLACE_LOOK: Duration = Duration::from_millis(100);
/// How long a run goes on answering, from its end on: for who asks later there is another one.
const END_TIME: Duration = Duration::from_secs(60);
/// What a program's own time is exceeded by, so that its deliverer can end it and say so.
const GRACE: Duration = Duration::from_secs(10);

struct Guard<'a> {
    config: &'a Config,
    log: &'a Log,
    /// Read when they are first needed.
    rules: Option<Rules>,
    deliveries: Vec<Delivering>,
    /// A child that takes in what users have dropped since the run began, whether there was one, and when that was looked for
    /// last.
    picking: Option<i32>,
    has_picked: bool,
    /// Children that tell users what waits.
    answers: &'a mut Answers,
    looked: Instant,
}

/// A child that delivers.
struct Delivering {
    pid: i32,
    /// Then it is killed; `None`: it was.
    until: Option<Instant>,
    to: String,
}

/// How long a delivery to this recipient may take.
pub fn time_of(config: &Config, recipient: &Recipient) -> Duration {
    match recipient.target {
        Target::Command { .. } => config.command_time_limit.saturating_add(GRACE),
        _ => DELIVERY_TIME,
    }
}

/// The most deliveries that all workers of a run have at once: whoever asks for more was taken over.
fn deliveries_max(config: &Config) -> usize {
    let workers = config.default_process_limit.max(1) as usize;
    workers.saturating_mul(ASIDE_MAX.saturating_add(1))
}

/// Answers until nobody is left who could ask. `slow`: users have dropped something that takes long to read. `answers`: users who
/// are already being told what waits. `true`: what users have dropped meanwhile has come too late for this run, and `answers` may
/// go on.
pub fn serve(
    socket: &OwnedFd,
    config: &Config,
    directory: &QueueDirectory,
    log: &Log,
    slow: bool,
    answers: &mut Answers,
) -> io::Result<bool> {
    // Each child answers to its worker; here they are only kept count of. Until its zombie is taken away, nobody else can have
    // a child's number.
    let (deliveries, looked) = (Vec::new(), Instant::now());
    let (rules, picking, has_picked) = (None, None, false);
    let mut guard = Guard { config, log, rules, deliveries, picking, has_picked, answers, looked };
    if slow {
        guard.pick_up(directory);
    }
    let mut buffer = vec![0; QUESTION_MAX];
    loop {
        let next_look = if guard.answers.is_empty() { PICK_UP } else { PLACE_LOOK };
        let left = guard.watch().map_or(next_look, |left| left.min(next_look));
        let [ready] = fd::poll([(socket.as_fd(), Interest::Read)], Some(left))?;
        guard.look(directory);
        if !ready.read {
            continue;
        }
        let (length, descriptors) = pass::receive_with(socket, &mut buffer)?;
        if length == 0 {
            return guard.end(directory);
        }
        let question = buffer.get(..length).and_then(Question::parse);
        let (Some(question), Some([file, to])) = (question, descriptors) else {
            log.error(format_args!("a queue worker asked for something malformed"));
            continue;
        };
        if let Some(answer) = guard.answer(question, file, &to) {
            say(to, &answer);
        }
        guard.tell();
    }
}

fn say(to: OwnedFd, answer: &Answer) {
    let _ = File::from(to).write_all(answer.print().as_bytes());
}

impl Guard<'_> {
    /// `None`: a child answers.
    fn answer(&mut self, question: Question, file: OwnedFd, to: &OwnedFd) -> Option<Answer> {
        let result = match question {
            Question::Expand(address) => {
                self.rules().and_then(|rules| rules.expand(&address)).map(Answer::Recipients)
            }
            Question::Forward(recipient, entries) => {
                self.rules().and_then(|rules| rules.forward(&recipient, &entries)).map(Answer::Recipients)
            }
            Question::Login(sender, hop) => route::login(self.config, &sender, &hop)
                .map(Answer::Login)
                .map_err(|error| self.wrong(&error)),
            Question::Deliver { .. } if self.deliveries.len() >= deliveries_max(self.config) => {
                self.log.error(format_args!("queue workers ask for more deliveries at once than they have"));
                Err(local_error("too many deliveries at once"))
            }
            Question::Deliver { reverse_path, offset, is_binary, once, recipient } => {
                let account = match self.rules().and_then(|rules| rules.account(&recipient)) {
                    Ok(account) => account,
                    Err(status) => return Some(self.again(&recipient, status)),
                };
                let known = match self.rules().and_then(|rules| is_named_by_rules(rules, &recipient)) {
                    Ok(known) => known,
                    Err(status) => return Some(Answer::Status(status)),
                };
                // Only the user's process can tell whether the user's own files name it, and a long answer may have to wait
                // until it is read.
                let instead = (!known).then(|| self.anew(&recipient));
                let (time, address) = (time_of(self.config, &recipient), recipient.address.to_string());
                match process::fork() {
                    Ok(Fork::Child) => {
                        let answer = deliver(
                            self.config,
                            self.log,
                            (&account, instead),
                            (reverse_path, is_binary, once),
                            recipient,
                            file,
                            offset,
                        );
                        let answer = answer.unwrap_or_else(Answer::Status);
                        if let Ok(to) = to.try_clone() {
                            say(to, &answer);
                        }
                        process::exit_now(0);
                    }
                    Ok(Fork::Parent(pid)) => {
                        let until = Instant::now().checked_add(time);
                        self.deliveries.push(Delivering { pid, until, to: address });
                        return None;
                    }
                    Err(error) => Err(local_error(&error.to_string())),
                }
            }
        };
        Some(result.unwrap_or_else(Answer::Status))
    }

    /// What becomes of a recipient without an account. An address that stands for itself came into the queue because the rules
    /// had no answer then, and nobody was there to be told ([`crate::drop`]): they are asked again.
    fn again(&mut self, recipient: &Recipient, status: Status) -> Answer {
        let stands_for_itself = match &recipient.target {
            Target::Mailbox { user, .. } => *user == recipient.address.to_string().to_lowercase(),
            _ => false,
        };
        if !stands_for_itself || status.is_temporary() {
            return self.refused(status);
        }
        match self.rules().and_then(|rules| rules.expand(&recipient.address)) {
            Ok(found) if !found.is_empty() && found.iter().all(|one| one.target != recipient.target) => {
                Answer::Recipients(found)
            }
            Ok(_) => Answer::Status(status),
            Err(status) => self.refused(status),
        }
    }

    /// What becomes of a recipient whose file or program nobody names any more: a change of aliases holds at once, also for what
    /// waits.
    fn anew(&mut self, recipient: &Recipient) -> Answer {
        match self.rules().and_then(|rules| rules.anew(recipient)) {
            Ok(found) => Answer::Recipients(found),
            Err(status) => self.refused(status),
        }
    }

    /// The log heard the reason when the message came in, and hears it again with what becomes of the recipient: that is enough.
    fn refused(&mut self, status: Status) -> Answer {
        if let (true, Some(rules)) = (status.is_permanent() && status.cause.is_some(), &mut self.rules) {
            rules.take_warnings();
        }
        Answer::Status(status)
    }

    /// Takes note of the children that have ended.
    fn reap(&mut self) {
        while let Some(pid) = process::reap() {
            self.picking = self.picking.filter(|picking| *picking != pid);
            self.answers.ended(pid);
            self.deliveries.retain(|one| one.pid != pid);
        }
    }

    /// Ends whoever takes too long: a deliverer has its user's uid, so the user may have stopped it. How long to wait then.
    fn watch(&mut self) -> Option<Duration> {
        self.reap();
        let now = Instant::now();
        for one in self.deliveries.iter_mut().filter(|one| one.until.is_some_and(|until| until <= now)) {
            let to = readable(one.to.as_bytes());
            self.log.error(format_args!("<{to}>: the delivery took too long: process {} is ended", one.pid));
            process::terminate(one.pid);
            one.until = None;
        }
        let next = self.deliveries.iter().filter_map(|one| one.until).min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// A run may take hours with a slow host, and no other one is started by a timer meanwhile. What users drop then is taken in
    /// beside it: their processes may be slow, too.
    fn look(&mut self, directory: &QueueDirectory) {
        self.reap();
        if self.looked.elapsed() >= PICK_UP {
            self.look_now(directory);
        } else if self.answers.is_wanted() {
            self.answers.begin(self.config, directory, self.log);
        }
    }

    fn look_now(&mut self, directory: &QueueDirectory) {
        self.looked = Instant::now();
        if !drop::is_waiting(directory.path()) {
            return;
        }
        self.answers.begin(self.config, directory, self.log);
        if self.picking.is_none() {
            self.pick_up(directory);
        }
    }

    fn pick_up(&mut self, directory: &QueueDirectory) {
        match process::fork() {
            Ok(Fork::Child) => {
                let any = drop::pick_up(self.config, directory, self.log, true).any;
                let (uid, gid) = directory.owner();
                if any && (!process::is_root() || process::become_user(uid, gid, &[]).is_ok()) {
                    slots::look_again(directory);
                }
                process::exit_now(0);
            }
            Ok(Fork::Parent(pid)) => (self.picking, self.has_picked) = (Some(pid), true),
            Err(error) => self.log.error(format_args!("drop: {error}")),
        }
    }

    /// Nobody asks any more. Whether something was dropped too late for this run.
    fn end(&mut self, directory: &QueueDirectory) -> io::Result<bool> {
        self.watch();
        self.deliveries.iter().for_each(|one| process::terminate(one.pid));
        // Whoever started the run may end what is left of it. While that is waited for nobody else may be there to look.
        let (begun, mut pause, mut has_looked) = (Instant::now(), Duration::from_micros(200), false);
        loop {
            self.reap();
            // The child may have ended long ago, but after the runner had looked for the last time.
            if self.picking.is_none() && self.has_picked && slots::has_come(directory) {
                return Ok(true);
            }
            let is_idle = self.picking.is_none() && self.answers.is_empty();
            let in_time = begun.elapsed() < END_TIME;
            if is_idle && !has_looked && in_time {
                // Who has asked since the last look has nobody else. A message that could not be taken in is tried once in a run.
                has_looked = true;
                self.answers.begin(self.config, directory, self.log);
            } else if is_idle && !(in_time && self.answers.is_wanted()) {
                return Ok(false);
            } else if in_time {
                self.look(directory);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn rules(&mut self) -> Result<&mut Rules, Status> {
        match &mut self.rules {
            Some(rules) => Ok(rules),
            none => match Rules::load(self.config) {
                Ok(rules) => Ok(none.insert(rules)),
                Err(error) => {
                    self.log.error(format_args!("{error}"));
                    Err(Status::new(451, Enhanced(4, 3, 5), "Local configuration error"))
                }
            },
        }
    }

    /// What the rules found that the administrator should hear.
    fn tell(&mut self) {
        for line in self.rules.as_mut().map(Rules::take_warnings).unwrap_or_default() {
            self.log.warning(format_args!("{}", readable(line.as_bytes()).up_to(500)));
        }
    }

    fn wrong(&self, error: &io::Error) -> Status {
        self.log.error(format_args!("{error}"));
        Status::new(451, Enhanced(4, 3, 5), "Local configuration error")
    }
}

/// Whether the administrator's tables name the file or program, or it is neither. A worker that was taken over must not choose
/// programs: where the tables do not name what is to be done with a user's rights, the user's own files have to.
fn is_named_by_rules(rules: &mut Rules, recipient: &Recipient) -> Result<bool, Status> {
    match &recipient.target {
        Target::File { .. } | Target::Command { .. } => rules.names(recipient),
        _ => Ok(true),
    }
}

fn is_a_user_s(recipient: &Recipient) -> bool {
    let (Target::File { owner, .. } | Target::Command { owner, .. }) = &recipient.target else {
        return false;
    };
    owner.is_some()
}

/// In the child: becomes the user, then reads the message. `instead` is the answer if the tables do not name the file or program,
/// and the user's own files do not either.
fn deliver(
    config: &Config,
    log: &Log,
    (account, instead): (&Account, Option<Answer>),
    (reverse_path, is_binary, once): (ReversePath, bool, Once),
    recipient: Recipient,
    message: OwnedFd,
    offset: u64,
) -> Result<Answer, Status> {
    let failed = |error: io::Error| local_error(&error.to_string());
    let size = once.size;
    // A connection's limits are for what speaks with strangers. A user's program has the same whoever started the run.
    process::lift_limits();
    if process::is_root() {
        process::become_user(account.uid, account.gid, &account.groups).map_err(failed)?;
    }
    process::private_umask();
    let trace = Trace {
        reverse_path,
        original: recipient.original.clone(),
        delivered_to: recipient.address.clone(),
        received: String::new(),
        is_binary,
        once: Some(once),
    };
    let mut warn = |text: String| log.warning(format_args!("{}", readable(text.as_bytes()).up_to(500)));
    if let Some(instead) = instead
        && !(is_a_user_s(&recipient) && deliver::is_named_by_user(config, account, &recipient, &mut warn)?)
    {
        let place = recipient.target.place();
        warn(format!("<{}>: nobody names {place} any more", recipient.address));
        return Ok(instead);
    }
    let mut sink = match deliver::begin(config, account, &recipient, &trace, &mut warn)? {
        Delivery::Begun(sink) => sink,
        Delivery::Forward(entries) => return Ok(Answer::Forward(entries)),
    };
    let file = File::from(message);
    let mut message = Message::new(&file, offset, size);
    // What a ~/.forward names besides other addresses, the user's own mailbox, files and programs, gets the copy that begins with
    // the user's line. It ends here: the line is no sign of a circle, and there is to be one of it.
    if !matches!(recipient.target, Target::Mailbox { direct: false, .. }) {
        deliver::skip_forward_line(&mut message, &recipient.address).map_err(failed)?;
    }
    deliver::copy(&mut message, &mut *sink, failed)?;
    let name = sink.finish()?;
    let kind = match &recipient.target {
        Target::Command { .. } => "delivered to command",
        Target::File { .. } => "delivered to file",
        _ => "delivered to maildir",
    };
    let text = if name.is_empty() { kind.to_owned() } else { format!("{kind}: {name}") };
    Ok(Answer::Status(Status::new(250, Enhanced(2, 0, 0), text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::queue::tests::{Scratch, queue};

    #[test]
    fn what_was_taken_in_too_late_has_another_run() {
        let scratch = Scratch::new("late-pick-up");
        let directory = queue(&scratch);
        let (config, log) = (Config::DEFAULT, Log::open(&Config::DEFAULT, "test".to_owned()));
        let end = |has_picked| {
            let (deliveries, looked) = (Vec::new(), Instant::now());
            let (picking, answers) = (None, &mut Answers::default());
            let (config, log, rules) = (&config, &log, None);
            let mut guard = Guard { config, log, rules, deliveries, picking, has_picked, answers, looked };
            guard.end(&directory).unwrap()
        };
        assert!(!end(true));
        slots::look_again(&directory);
        // Others, who have no slot, rely on those that have.
        assert!(!end(false));
        assert!(end(true), "its child has ended before");
        assert!(!slots::has_come(&directory));
    }

    #[test]
    fn workers_that_were_taken_over_get_no_more_processes_than_others_need() {
        let config = Config { default_process_limit: 2, ..Config::DEFAULT };
        let log = Log::open(&config, "test".to_owned());
        let until = Instant::now().checked_add(DELIVERY_TIME);
        let delivering = |pid| Delivering { pid, until, to: "anna@example.org".to_owned() };
        let mut guard = Guard {
            config: &config,
            log: &log,
            rules: None,
            deliveries: (1..).take(2 * (1 + ASIDE_MAX)).map(delivering).collect(),
            picking: None,
            has_picked: false,
            answers: &mut Answers::default(),
            looked: Instant::now(),
        };
        let address = Address::new("anna", "example.org").unwrap();
        let nobody = "nobody-like-that".into();
        let target = Target::Mailbox { user: nobody, extension: String::new(), direct: true };
        let recipient = Recipient::new(address, target);
        let once = Once { mark: "K1_0_".to_owned(), again: false, size: 0 };
        let ask = |guard: &mut Guard<'_>| {
            let question = Question::Deliver {
                reverse_path: None,
                offset: 0,
                is_binary: false,
                once: once.clone(),
                recipient: recipient.clone(),
            };
            let file = File::open("/dev/null").unwrap();
            let Some(Answer::Status(status)) = guard.answer(question, file.into(), &fd::pipe().unwrap().1)
            else {
                panic!("it was begun");
            };
            status
        };
        assert_eq!(ask(&mut guard).text, "local error: too many deliveries at once");
        // One has ended.
        guard.deliveries.pop();
        assert!(!ask(&mut guard).text.contains("too many"));
        assert_eq!(guard.deliveries.len(), deliveries_max(&config) - 1);
    }

    #[test]
    fn a_worker_chooses_no_program() {
        let mut rules = Rules::load(&Config::DEFAULT).unwrap();
        let command = |owner: Option<&str>| Target::Command {
            words: vec!["/bin/sh".into(), "-c".into(), "id".into()],
            owner: owner.map(str::to_owned),
        };
        let file =
            Target::File { path: "/home/anna/.ssh/authorized_keys".into(), owner: Some("anna".into()) };
        let mailbox = Target::Mailbox { user: "anna".into(), extension: String::new(), direct: true };
        let table = [(command(Some("anna")), false), (file, false), (command(None), false), (mailbox, true)];
        for (target, want) in table {
            let address = Address::new("anna", "elsewhere.example").unwrap();
            let recipient = Recipient::new(address, target);
            assert_eq!(is_named_by_rules(&mut rules, &recipient), Ok(want), "{recipient:?}");
        }
    }
}
