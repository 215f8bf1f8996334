//! The guard's part of SMTP: who may send what where, and which process writes it.
//!
//! Every question is the front's, and a front may have been taken over by its client: whatever is out of turn ends the
//! conversation, and a recipient is only what [`Rules`] made of an address. The guard reads no message and writes none.
//!
//! ```text
//!  Mail and Rcpt -> Collecting -- Rcpt* -> Collecting -- Data or Begun -> Receiving -- the writer's word -> Answering -- Next* -> nothing
//! ```

mod ahead;
mod client;
mod journal;
mod plan;
mod runner;
mod spooled;
mod transaction;
mod writers;

use crate::address::ReversePath;
use crate::command::path::ForwardPath;
use crate::command::xclient::Attributes;
use crate::envelope::asked;
use crate::reply;
use crate::rules::{Client, Rules};
use crate::status::Status;
use crate::wire::{Answer, Mail, Note, Question, Welcome};
use client::Known;
use common::config::Config;
use common::log::{escape, readable};
use common::process::channel::Why;
use common::process::service::{Ground, Service, User};
use common::sys::fs::release_free_memory;
use plan::{Delivered, Finished};
use runner::Runner;
use std::io;
use std::os::fd::BorrowedFd;
use transaction::{Stage, Transaction};
use writers::Writers;

/// Recipients whose memory is worth the system calls that give it back.
const MANY: usize = 16;

/// Lines that a front may have in the log besides those for what was refused: of TLS, and of the end.
const LINES_MAX: u32 = 8;

/// After so many messages the guard looks for how long it had to wait for a processor.
const LOOK_EVERY: u32 = 16;
/// Nanoseconds for each message, beyond which too many others are on the same one: they wait for the same disk, and find the same
/// place. What front and writer do there for a message takes some 100,000.
const CROWDED: u64 = 500_000;

/// The state of one conversation.
pub struct Smtp {
    rules: Rules,
    known: Known,
    transaction: Option<Transaction>,
    writers: Writers,
    /// Who was asked to take the message before it was said that one comes.
    asked: Option<plan::Offer>,
    /// The front was told that it may send for the data of the message that has this, and that is for this user.
    promised: Option<(plan::Mark, User)>,
    /// The client waits for the answer to RCPT, so what it says next depends on that.
    waits: bool,
    /// What was delivered and is not in the log yet.
    unlogged: Option<(Transaction, Delivered)>,
    runner: Runner,
    /// Messages that were taken.
    messages: u32,
    /// How long the guard had waited when it looked last.
    waited: u64,
    /// Front and guard need not be where the writer is.
    is_crowded: bool,
    /// Refusals, and lines that the front had in the log, since the last of them.
    refused: u32,
}

/// For [`common::process::Program`]. Errors: the rules are wrong, or would make an open relay.
pub fn begin(config: &Config) -> io::Result<Box<dyn Service>> {
    Ok(Box::new(Smtp {
        rules: Rules::load(config)?,
        known: Known::default(),
        transaction: None,
        writers: Writers::default(),
        asked: None,
        promised: None,
        waits: false,
        unlogged: None,
        runner: Runner::default(),
        messages: 0,
        waited: 0,
        is_crowded: false,
        refused: 0,
    }))
}

impl Service for Smtp {
    fn answer(&mut self, ground: &mut Ground<'_>, question: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let question = Question::decode(question).ok_or(io::ErrorKind::InvalidData)?;
        // The front ends what is refused too often. One that goes on was taken over, and tries addresses or fills the log.
        let most = ground.config.max_bad_commands.saturating_mul(2).saturating_add(LINES_MAX);
        if self.refused > most {
            return Err(io::Error::other("the front goes on although too much was refused"));
        }
        if self.writers.has_lost()
            && !matches!(question, Question::Note(..) | Question::Next | Question::Overdue)
        {
            return match question {
                // RFC 5321 section 3.8: the client hears why it ends.
                Question::Mail(_) | Question::Rcpt { .. } | Question::Data => {
                    self.refused = self.refused.saturating_add(1);
                    Ok(Some(Answer::Status(reply::OUT_OF_ORDER.into()).encode()))
                }
                _ => Err(io::Error::other("a writer was lost: the connection cannot go on")),
            };
        }
        // Whoever begins another message while one comes in would get a writer for each.
        let stage = self.transaction.as_ref().map(|open| &open.stage);
        if matches!(stage, Some(Stage::Receiving(_)))
            && !matches!(question, Question::Note(..) | Question::Overdue | Question::Vrfy(_))
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (is_note, is_next) = (matches!(question, Question::Note(..)), matches!(question, Question::Next));
        self.waits = matches!(question, Question::Rcpt { more: false, .. });
        if !matches!(question, Question::Data | Question::Begun | Question::Note(..)) {
            self.withdraw(ground);
        }
        let answer = match question {
            Question::Hello => Answer::Welcome(self.hello(ground)?),
            Question::Mail(mail) => Answer::Status(self.mail(ground, *mail)),
            Question::Rcpt { mail, path, orcpt, notify, more } => {
                if let Some(mail) = mail {
                    self.begin_transaction(ground, *mail);
                }
                let transaction = self.transaction.take().ok_or(io::ErrorKind::InvalidData)?;
                let status = self.rcpt(ground, transaction, path, orcpt, notify)?;
                match status.is_positive() && !more {
                    true => match self.promise_ahead() {
                        Some(promise) => Answer::Ahead(status, promise),
                        None => Answer::Status(status),
                    },
                    false => Answer::Status(status),
                }
            }
            Question::Data => self.data(ground)?,
            Question::Begun => match self.begun(ground)? {
                Some(answer) => answer,
                None => {
                    self.log_warnings(ground);
                    return Ok(None);
                }
            },
            Question::Overdue => {
                if let Some(Stage::Receiving(plan)) = self.transaction.as_ref().map(|open| &open.stage) {
                    self.writers.stop(ground, plan.user());
                }
                Answer::Go
            }
            Question::Next => Answer::Status(self.next()?),
            Question::Vrfy(text) => Answer::Status(self.vrfy(ground, &text)),
            Question::Xclient(attributes) => self.xclient(ground, attributes)?,
            Question::Note(note, text) => {
                self.note(ground, note, &text);
                Answer::Go
            }
        };
        // What LMTP's recipients hear is as much as there are of them.
        let is_refused = matches!(&answer, Answer::Status(status) if !status.is_positive() && !is_next);
        self.refused = self.refused.saturating_add(u32::from(is_refused || is_note));
        self.log_warnings(ground);
        Ok(Some(answer.encode()))
    }

    fn welcome(&mut self, ground: &mut Ground<'_>) -> io::Result<Vec<u8>> {
        Ok(Answer::Welcome(self.hello(ground)?).encode())
    }

    /// The writer that takes the message. The front has no part in that: it waits for what becomes of it.
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.transaction.as_ref()?.stage {
            Stage::Receiving(plan) => self.writers.watched(plan.user()),
            _ => None,
        }
    }

    fn stirred(&mut self, ground: &mut Ground<'_>) -> io::Result<Vec<u8>> {
        let answer = self.received(ground)?;
        self.log_warnings(ground);
        Ok(answer.encode())
    }

    fn at_leisure(&mut self, ground: &mut Ground<'_>) {
        let waits = std::mem::take(&mut self.waits);
        if !waits && self.unlogged.is_none() {
            return;
        }
        // The front, which may have to run on this processor, has its turn first.
        std::thread::yield_now();
        self.log_delivered(ground);
        if waits {
            self.ask_ahead(ground);
        }
    }

    fn refused(&mut self, ground: &Ground<'_>, method: &str, user: &str, guessed: bool) {
        self.known.log_refused(ground, method, user, guessed);
    }

    fn ended(&mut self, ground: &Ground<'_>, why: Why, detail: &str, counts: &str) {
        // There was no leisure if the front was gone.
        self.log_delivered(ground);
        counts.clone_into(&mut self.known.counts);
        self.transaction = None;
        self.writers.end();
        self.runner.end(ground);
        self.known.log_end(ground, why, detail);
    }
}

impl Smtp {
    fn hello(&mut self, ground: &Ground<'_>) -> io::Result<Welcome> {
        if !self.known.is_connected() {
            self.known.log_connect(ground);
        }
        let config = ground.config;
        let banner = crate::values::expand(config, &config.smtpd_banner)?;
        let host = crate::values::myhostname(config);
        Ok(Welcome {
            // RFC 5321 section 4.2: the greeting begins with our name.
            banner: if banner.starts_with(&host) { banner } else { format!("{host} {banner}") },
            host,
            xclient: may_xclient(ground),
            normalize: ground.peer.is_in(&config.smtpd_forbid_bare_newline_exclusions),
            trusted_way: ground.facts.trusted_way,
            logged_in: self.known.login(ground).is_some(),
        })
    }

    fn log_delivered(&mut self, ground: &Ground<'_>) {
        if let Some((transaction, delivered)) = self.unlogged.take() {
            self.known.log_delivered(ground, &transaction, &delivered);
        }
    }

    fn log_warnings(&mut self, ground: &Ground<'_>) {
        for line in self.rules.take_warnings() {
            ground.log.warning(format_args!("{}", readable(line.as_bytes()).up_to(500)));
        }
    }

    fn mail(&mut self, ground: &Ground<'_>, mail: Mail) -> Status {
        match self.checked_sender(ground, &mail) {
            // Only with a recipient there is more to it.
            Ok(_) => reply::SENDER_OK.into(),
            Err(status) => {
                let path = mail.path.as_ref().map(shown).unwrap_or_default();
                self.known.log_reject(ground, &mail, "MAIL", &status, &path, None);
                status
            }
        }
    }

    /// A new transaction takes the place of one that was given up. Where the sender is refused, each recipient will be.
    fn begin_transaction(&mut self, ground: &Ground<'_>, mail: Mail) {
        self.choose_processor(ground, mail.size);
        let checked = self.checked_sender(ground, &mail);
        self.transaction = Some(Transaction::new(mail, checked));
    }

    /// Where small messages come one after the other, guard and front are where the writer is: see [`common::sys::processor`].
    fn choose_processor(&mut self, ground: &Ground<'_>, size: Option<u64>) {
        if self.messages > 0 && self.messages % LOOK_EVERY == 0 {
            let waited = ground.waited();
            self.is_crowded |= waited.saturating_sub(self.waited) > CROWDED * u64::from(LOOK_EVERY);
            self.waited = waited;
        }
        if self.is_crowded || !self.writers.expects_small(size) {
            ground.roam();
        } else if let (Some(writer), 1..) = (self.writers.latest(), self.messages) {
            // Most connections bring one message, and stay where they began.
            ground.follow(writer);
        }
    }

    fn checked_sender(&mut self, ground: &Ground<'_>, mail: &Mail) -> Result<ReversePath, Status> {
        // RFC 1870 section 6.1: what is announced as too large need not be sent.
        let limit = ground.config.message_size_limit.0;
        if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            return Err(reply::TOO_BIG.into());
        }
        // The front sees to it, too, but that is the front's word.
        let most = ground.config.smtpd_mail_limit;
        if most > 0 && self.messages >= most {
            return Err(reply::TOO_MANY_MESSAGES.into());
        }
        if is(ground, "submission") && self.known.login(ground).is_none() {
            return Err(reply::AUTH_REQUIRED.into());
        }
        let path = match &mail.path {
            None => None,
            Some(ForwardPath::Mailbox(address)) => Some(address.clone()),
            Some(ForwardPath::Local(local)) => {
                let qualified = self.rules.qualified(local);
                Some(qualified.ok_or_else(|| Status::from(reply::LOCAL_PROBLEM))?)
            }
        };
        self.rules.sender(&self.known.client(ground, mail), &path)?;
        Ok(path)
    }

    fn rcpt(
        &mut self,
        ground: &Ground<'_>,
        mut transaction: Transaction,
        path: ForwardPath,
        orcpt: Option<String>,
        notify: Option<crate::envelope::Notify>,
    ) -> io::Result<Status> {
        if !matches!(transaction.stage, Stage::Collecting) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let outcome = self.checked_recipient(ground, &mut transaction, &path, orcpt, notify);
        let status = outcome.err().unwrap_or_else(|| reply::RECIPIENT_OK.into());
        if !status.is_positive() {
            let sender = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
            let (mail, to) = (&transaction.mail, shown(&path));
            self.known.log_reject(ground, mail, "RCPT", &status, &sender, Some(&to));
        }
        self.transaction = Some(transaction);
        Ok(status)
    }

    fn checked_recipient(
        &mut self,
        ground: &Ground<'_>,
        transaction: &mut Transaction,
        path: &ForwardPath,
        orcpt: Option<String>,
        notify: Option<crate::envelope::Notify>,
    ) -> Result<(), Status> {
        if let Some(refused) = &transaction.refused {
            return Err(refused.clone());
        }
        if transaction.accepted() >= ground.config.smtpd_recipient_limit as usize {
            return Err(reply::TOO_MANY_RECIPIENTS.into());
        }
        let (known, rules) = (&self.known, &mut self.rules);
        let address = match path {
            ForwardPath::Mailbox(address) => address.clone(),
            ForwardPath::Local(local) => {
                rules.qualified(local).ok_or_else(|| Status::from(reply::LOCAL_PROBLEM))?
            }
        };
        let client = Client {
            accepted: transaction.accepted(),
            bare_recipient: matches!(path, ForwardPath::Local(_)),
            ..known.client(ground, &transaction.mail)
        };
        // RFC 5321 section 4.5.1: mail for it is taken from whoever sends it. As in Postfix no list is asked.
        let is_postmaster =
            matches!(path, ForwardPath::Local(local) if local.eq_ignore_ascii_case("postmaster"));
        let mut recipients = match is_postmaster && !client.lmtp {
            true => rules.expand(&address)?,
            false => rules.recipient(&client, &transaction.reverse_path, &address)?,
        };
        asked(&mut recipients, orcpt.as_deref(), notify);
        transaction.add(recipients)
    }

    /// The data may come: somebody is there to take them.
    fn data(&mut self, ground: &Ground<'_>) -> io::Result<Answer> {
        let transaction = self.transaction.as_mut().ok_or(io::ErrorKind::InvalidData)?;
        if !matches!(transaction.stage, Stage::Collecting) || transaction.accepted() == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let rules = &mut self.rules;
        let client = self.known.client(ground, &transaction.mail);
        let mut permitted = match rules.has_data_restrictions() {
            true => rules.data(&client, &transaction.reverse_path, &transaction.named()),
            false => Ok(()),
        };
        // By LMTP comes what another server has taken in.
        if permitted.is_ok() && rules.has_blind_copies() && !client.lmtp {
            let copies = rules.blind_copies(&transaction.reverse_path, &transaction.named());
            permitted = copies.map(|copies| transaction.set_blind_copies(copies));
        }
        self.promised = None;
        let mark = ahead::mark_of(self.messages);
        let mut place = plan::Place { ground, rules, known: &self.known, writers: &mut self.writers, mark };
        let asked = self.asked.take();
        let begun = match permitted {
            Ok(()) => place.begin(transaction, asked),
            Err(status) => {
                asked.iter().for_each(|offer| place.writers.withdraw(ground, offer.user()));
                Err(status)
            }
        };
        match begun {
            Ok(plan) => {
                let answer = plan.promise().map_or(Answer::Go, Answer::Promise);
                transaction.stage = Stage::Receiving(plan);
                Ok(answer)
            }
            Err(status) => {
                self.known.log_refused_data(ground, transaction, &status);
                self.transaction = None;
                Ok(Answer::Status(status))
            }
        }
    }

    /// The writer has said what became of the message, or is gone.
    fn received(&mut self, ground: &Ground<'_>) -> io::Result<Answer> {
        let mut transaction = self.transaction.take().ok_or(io::ErrorKind::InvalidData)?;
        let Stage::Receiving(plan) = std::mem::replace(&mut transaction.stage, Stage::GivenUp) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let rules = &mut self.rules;
        let (known, writers) = (&self.known, &mut self.writers);
        let mut place = plan::Place { ground, rules, known, writers, mark: None };
        let Some(Finished { mut statuses, delivered }) = place.finish(&transaction, plan) else {
            // The front may have a word for the log.
            self.transaction = Some(transaction);
            return Ok(Answer::Go);
        };
        for id in place.writers.take_queued() {
            self.runner.start(ground, id);
        }
        if statuses.iter().any(Status::is_positive) {
            self.messages = self.messages.saturating_add(1);
            self.refused = 0;
        }
        let many = transaction.accepted() > MANY;
        let first = statuses.pop_front().unwrap_or_else(|| reply::LOCAL_PROBLEM.into());
        if let Some(delivered) = delivered {
            self.unlogged = Some((transaction, delivered));
        } else if !statuses.is_empty() {
            transaction.stage = Stage::Answering(statuses);
            self.transaction = Some(transaction);
        }
        // A long list of recipients is not kept for the next message.
        if many {
            release_free_memory();
        }
        Ok(Answer::Status(first))
    }

    /// RFC 2033 section 4.2: one reply for each recipient.
    fn next(&mut self) -> io::Result<Status> {
        match self.transaction.as_mut().map(|transaction| &mut transaction.stage) {
            Some(Stage::Answering(results)) => {
                results.pop_front().ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// RFC 5321 section 7.3: nobody is told who has a mailbox here.
    fn vrfy(&mut self, ground: &Ground<'_>, _text: &str) -> Status {
        match ground.config.disable_vrfy_command {
            true => reply::VRFY_DISABLED.into(),
            false => reply::VRFY.into(),
        }
    }

    fn xclient(&mut self, ground: &mut Ground<'_>, attributes: Attributes) -> io::Result<Answer> {
        if !may_xclient(ground) {
            return Ok(Answer::Status(reply::XCLIENT_REFUSED.into()));
        }
        self.transaction = None;
        self.known.take_xclient(ground, attributes);
        // Facts follow the peer when this answer is on its way; the front asks again.
        Ok(Answer::Go)
    }

    fn note(&mut self, ground: &Ground<'_>, note: Note, text: &str) {
        let client = self.known.shown(ground);
        // The front names a command of ours here, but that is the front's word.
        let word = escape(text.as_bytes());
        match note {
            Note::Pipelining => {
                let (after, octets) = text.split_once(' ').unwrap_or((text, ""));
                let after = escape(after.as_bytes());
                let octets = escape(octets.as_bytes());
                ground
                    .log
                    .info(format_args!("improper command pipelining after {after} from {client}: {octets}"));
            }
            Note::Early => {
                let octets = escape(text.as_bytes());
                ground
                    .log
                    .info(format_args!("improper command pipelining after CONNECT from {client}: {octets}"));
            }
            Note::Refused => {
                if let Some(transaction) = &self.transaction {
                    self.known.log_data_refused(ground, transaction, text);
                }
            }
            Note::Lost => ground.log.info(format_args!("lost connection after {word} from {client}")),
            Note::Silent => ground.log.info(format_args!("timeout after {word} from {client}")),
            Note::Errors => ground.log.info(format_args!("too many errors after {word} from {client}")),
            Note::Tls => ground.log.info(format_args!(
                "Anonymous TLS connection established from {client}: {}",
                escape(text.as_bytes())
            )),
        }
    }
}

/// Whether the client may say who it is. Once it has said, it is that client who speaks: what a proxy only passes on must not
/// take another's address or login. Nor does one go on with its own login as somebody else.
fn may_xclient(ground: &Ground<'_>) -> bool {
    ground.peer.is_in(&ground.config.smtpd_authorized_xclient_hosts) && ground.account.is_none()
}

/// Whether an option was given.
fn is(ground: &Ground<'_>, option: &str) -> bool {
    ground.facts.has(&ground.program.line, option)
}

fn shown(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Mailbox(address) => address.to_string(),
        ForwardPath::Local(local) => local.clone(),
    }
}

#[cfg(test)]
#[path = "taken_over_tests.rs"]
mod tests;
