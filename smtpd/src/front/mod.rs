//! The front: SMTP, LMTP and submission as they are spoken. Everything it reads is a stranger's.
//!
//! It knows the grammar and what may follow what; who may send where it asks of the guard, and mail data go to a writer whose
//! user it does not even know. A [`Transaction`] is a value: what ends it drops it, and nothing of it is left.

mod authenticate;
mod counts;
mod form;
mod hello;
mod receive;
mod transaction;

use crate::command::{self, Command, SyntaxError};
use crate::reply::{self, Reply};
use crate::status::Status;
use crate::wire::{Answer, Note, Question, Welcome};
use common::io::{Ending, Limits, Line};
use common::log::escape;
use common::process::front::{Asked, Front};
use common::sys::fd::{self, Interest};
use counts::Counts;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};
use transaction::Transaction;

/// Octets of what a client said too early that get into the log.
const SHOWN: usize = 100;

/// Whether the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Command,
    Close,
}

/// What the client said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hello {
    name: String,
    /// EHLO or LHLO: extensions may be used.
    extended: bool,
}

/// The program's ways to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Service {
    lmtp: bool,
    submission: bool,
}

struct Conversation<'a> {
    front: &'a mut Front,
    service: Service,
    welcome: Welcome,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    authenticated: bool,
    counts: Counts,
    /// Refused commands since the last message that was taken.
    bad: u32,
    /// Commands that do nothing for any message, since the last one that was taken.
    junk: u32,
    /// Messages so far.
    messages: u32,
    /// The last command, for the log.
    after: &'static str,
}

/// Speaks to the end.
pub fn speak(front: &mut Front) -> Result<Vec<u8>, Ending> {
    let program = &crate::PROGRAM.line;
    let service = Service {
        lmtp: front.facts.has(program, "lmtp"),
        submission: front.facts.has(program, "submission"),
    };
    let mut conversation = Conversation {
        front,
        service,
        welcome: Welcome::default(),
        hello: None,
        transaction: None,
        authenticated: false,
        counts: Counts::default(),
        bad: 0,
        junk: 0,
        messages: 0,
        after: "CONNECT",
    };
    let ending = match conversation.run() {
        Ok(()) => Ending::Quit,
        Err(ending) => ending,
    };
    conversation.last_words(&ending);
    Err(ending)
}

/// What the guard said.
fn heard(answer: &[u8]) -> Result<Answer, Ending> {
    Answer::decode(answer).ok_or_else(|| Ending::Failed(io::ErrorKind::InvalidData.into()))
}

/// Whether somebody else's time was over.
fn is_over(ending: &Ending) -> bool {
    matches!(ending, Ending::Failed(error) if error.kind() == io::ErrorKind::TimedOut)
}

impl Conversation<'_> {
    fn run(&mut self) -> Result<(), Ending> {
        self.set_times();
        self.welcome = self.ask_for_welcome()?;
        if self.speaks_early()? {
            return Ok(());
        }
        if self.front.conn.tls().is_some() {
            self.note(Note::Tls, self.front.tls_description())?;
        }
        self.front.conn.push_fmt(format_args!("220 {}\r\n", self.welcome.banner))?;
        loop {
            let line = self.front.conn.read_line(command::LINE_MAX)?;
            let bare = self.front.conn.line_was_bare() && !self.welcome.normalize;
            let next = match &line {
                Line::TooLong => self.wrong(SyntaxError::TooLong)?,
                Line::Complete(_) if bare => self.wrong(SyntaxError::BareLineFeed)?,
                Line::Complete(line) => match Command::parse(line) {
                    Ok(command) => self.answer(command)?,
                    Err(error) => self.wrong(error)?,
                },
            };
            if next == Next::Close {
                return Ok(());
            }
            if self.bad >= self.front.config.max_bad_commands {
                return Err(Ending::TooManyBadCommands);
            }
        }
    }

    /// Times of the whole conversation; those of a login hold until there is one, where nothing goes without.
    fn set_times(&mut self) {
        let config = &self.front.config;
        let (idle, reply) = (config.smtpd_timeout, config.reply_timeout);
        let whole = match self.service.submission && !self.authenticated {
            true => config.login_timeout,
            false => config.session_timeout,
        };
        let deadline = if whole == Duration::ZERO { None } else { Instant::now().checked_add(whole) };
        self.front.conn.set_limits(Limits { idle, reply, deadline });
    }

    fn ask(&self, question: &Question) -> Result<Answer, Ending> {
        heard(&self.front.ask_service(question.encode())?)
    }

    /// What the guard says of a message whose end is with the writer.
    fn hear(&self) -> Result<Answer, Ending> {
        heard(&self.front.hear_service()?)
    }

    /// What became of the message, within the time that a client waits for it.
    fn hear_of_message(&self) -> Result<Answer, Ending> {
        match self.hear() {
            Err(ending) if is_over(&ending) => self.end_writer(),
            heard => heard,
        }
    }

    /// Has the writer ended, because it takes too long: it has its user's uid, so the user may have stopped it. What became of
    /// the message comes in either case; it may have been on its way before the guard heard of this.
    fn end_writer(&self) -> Result<Answer, Ending> {
        let first = self.ask(&Question::Overdue)?;
        let second = self.hear()?;
        Ok(if first == Answer::Go { second } else { first })
    }

    /// Asks something whose answer is a reply.
    fn ask_status(&self, question: &Question) -> Result<Status, Ending> {
        match self.ask(question)? {
            Answer::Status(status) => Ok(status),
            _ => Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
        }
    }

    fn ask_for_welcome(&mut self) -> Result<Welcome, Ending> {
        let answer = match self.front.take_welcome() {
            Some(said_before) => heard(&said_before)?,
            None => self.ask(&Question::Hello)?,
        };
        match answer {
            Answer::Welcome(welcome) => {
                self.front.facts.trusted_way = welcome.trusted_way;
                Ok(welcome)
            }
            _ => Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
        }
    }

    fn note(&self, note: Note, text: impl Into<String>) -> Result<(), Ending> {
        self.ask(&Question::Note(note, text.into())).map(drop)
    }

    /// RFC 5321 section 4.3.1: the server speaks first. Who does not wait for that is no mail server.
    fn speaks_early(&mut self) -> Result<bool, Ending> {
        if self.front.conn.tls().is_some() {
            return Ok(false);
        }
        if self.front.conn.unread().is_empty() {
            let [ready] =
                fd::poll([(fd::STDIN, Interest::Read)], Some(Duration::ZERO)).map_err(Ending::Failed)?;
            if !ready.read {
                return Ok(false);
            }
            // The client may also be gone: then this ends the conversation.
            self.front.conn.peek(0)?;
        }
        let octets = String::from_utf8_lossy(
            self.front.conn.unread().get(..SHOWN).unwrap_or(self.front.conn.unread()),
        );
        self.note(Note::Early, octets.into_owned())?;
        self.say(&reply::PIPELINING)?;
        Ok(true)
    }

    /// Says a reply.
    fn say(&mut self, reply: &dyn fmt::Display) -> Result<(), Ending> {
        self.front.conn.push_fmt(format_args!("{reply}\r\n"))
    }

    /// Says a reply that refuses.
    fn refuse(&mut self, reply: &dyn fmt::Display) -> Result<Next, Ending> {
        self.bad += 1;
        self.say(reply)?;
        Ok(Next::Command)
    }

    /// Says what the guard thinks of a command.
    fn pass_on(&mut self, verb: &'static str, status: &Status) -> Result<Next, Ending> {
        self.counts.count(verb, status.is_positive());
        if !status.is_positive() {
            self.bad += 1;
        }
        self.say(status)?;
        // RFC 5321 section 3.8; what an access table says with 521 is meant so, as in Postfix.
        Ok(if matches!(status.code, 421 | 521) { Next::Close } else { Next::Command })
    }

    fn done(&mut self, verb: &'static str, reply: Reply) -> Result<Next, Ending> {
        self.counts.count(verb, true);
        self.say(&reply)?;
        Ok(Next::Command)
    }

    fn not(&mut self, verb: &'static str, reply: Reply) -> Result<Next, Ending> {
        self.counts.count(verb, false);
        self.refuse(&reply)
    }

    fn wrong(&mut self, error: SyntaxError) -> Result<Next, Ending> {
        self.counts.count("UNKNOWN", false);
        self.refuse(&reply::syntax(error))
    }

    /// Whether a keyword of EHLO is not taken away by the settings.
    fn offers(&self, keyword: &str) -> bool {
        let discarded = &self.front.config.smtpd_discard_ehlo_keywords;
        !discarded.split([' ', ',', '\t']).any(|word| word.eq_ignore_ascii_case(keyword))
    }

    fn answer(&mut self, command: Command<'_>) -> Result<Next, Ending> {
        let verb = command.verb();
        self.after = verb;
        // Who says more where the reply decides about it hides something, or wastes our time. Without EHLO there is no
        // pipelining at all (RFC 2920 section 3.1). Behind BDAT stand its own octets.
        let extended = self.hello.as_ref().is_none_or(|hello| hello.extended) && self.offers("PIPELINING");
        let waits =
            command.ends_group() || !extended && !matches!(command, Command::Quit | Command::Bdat { .. });
        if waits && !self.front.conn.unread().is_empty() {
            return self.out_of_step(verb);
        }
        if self.must_start_tls(&command) {
            return self.not(verb, reply::TLS_FIRST);
        }
        if is_junk(&command) {
            self.junk = self.junk.saturating_add(1);
            let limit = self.front.config.smtpd_junk_command_limit;
            if limit > 0 && self.junk > limit {
                self.counts.count(verb, false);
                return Err(Ending::TooManyBadCommands);
            }
        }
        match command {
            Command::Helo(name) => self.helo(name, false, verb),
            Command::Ehlo(name) | Command::Lhlo(name) => self.helo(name, true, verb),
            Command::Mail(path, parameters) => self.mail(path, &parameters),
            Command::Rcpt(path, parameters) => self.rcpt(path, &parameters),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.drop_transaction()?;
                self.done(verb, reply::OK)
            }
            Command::Noop => self.done(verb, reply::OK),
            Command::Quit => {
                self.drop_transaction()?;
                self.counts.count(verb, true);
                self.say(&reply::BYE)?;
                Ok(Next::Close)
            }
            Command::Help => {
                self.counts.count(verb, true);
                let (last, lines) = reply::HELP.split_last().unwrap_or((&"", &[]));
                for line in lines {
                    self.front.conn.push_fmt(format_args!("214-{line}\r\n"))?;
                }
                self.front.conn.push_fmt(format_args!("214 {last}\r\n"))?;
                Ok(Next::Command)
            }
            Command::Vrfy(text) => {
                self.transaction.iter_mut().for_each(|transaction| transaction.ahead = None);
                let status = self.ask_status(&Question::Vrfy(text.to_owned()))?;
                self.pass_on(verb, &status)
            }
            Command::Expn | Command::Etrn => self.not(verb, reply::NOT_OFFERED),
            Command::StartTls => self.start_tls(),
            Command::Auth(mechanism, initial) => self.auth(mechanism, initial),
            Command::Xclient(attributes) => self.xclient(attributes),
        }
    }

    /// RFC 3207 section 4: where TLS is required, little goes without. On port 25 it is not (section 4, last but one
    /// paragraph), there `ssl = required` is about logins.
    fn must_start_tls(&self, command: &Command<'_>) -> bool {
        let harmless = matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::Noop
                | Command::Quit
                | Command::Rset
                | Command::StartTls
        );
        self.service.submission && self.front.login_needs_tls() && !harmless
    }

    fn out_of_step(&mut self, verb: &'static str) -> Result<Next, Ending> {
        let unread = self.front.conn.unread();
        let octets = String::from_utf8_lossy(unread.get(..SHOWN).unwrap_or(unread)).into_owned();
        self.note(Note::Pipelining, format!("{verb} {octets}"))?;
        self.counts.count(verb, false);
        self.say(&reply::PIPELINING)?;
        Ok(Next::Close)
    }

    fn start_tls(&mut self) -> Result<Next, Ending> {
        let verb = "STARTTLS";
        if self.front.conn.tls().is_some() {
            return self.not(verb, reply::TLS_TWICE);
        }
        if !self.front.can_start_tls() || !self.offers(verb) {
            return self.not(verb, reply::NO_TLS);
        }
        match self.front.ask_for_tls()? {
            Asked::No(_) => self.not(verb, reply::TLS_BROKEN),
            Asked::Yes(offer) => {
                self.drop_transaction()?;
                self.done(verb, reply::BEGIN_TLS)?;
                self.front.shake_hands(offer)?;
                // RFC 3207 section 4.2: what was said in clear is forgotten.
                self.hello = None;
                self.authenticated = self.welcome.logged_in;
                self.set_times();
                self.note(Note::Tls, self.front.tls_description())?;
                Ok(Next::Command)
            }
        }
    }

    /// What the client is told when the server ends the conversation, and what the log is.
    fn last_words(&mut self, ending: &Ending) {
        // A message that has begun will never be complete.
        let _ = self.drop_transaction();
        let after = escape(self.after.as_bytes()).to_string();
        let (words, note) = match ending {
            Ending::Idle => (Some(reply::IDLE), Some(Note::Silent)),
            Ending::SessionLimit => (Some(reply::TIME_IS_OVER), Some(Note::Silent)),
            Ending::TooManyBadCommands => (Some(reply::TOO_MANY_ERRORS), Some(Note::Errors)),
            Ending::Failed(_) => (Some(reply::OUT_OF_ORDER), None),
            Ending::Disconnected | Ending::NotReading => (None, Some(Note::Lost)),
            Ending::Quit | Ending::Tls(_) => (None, None),
        };
        if let Some(note) = note {
            let _ = self.note(note, after);
        }
        self.front.counts = self.counts.to_string();
        // The connection may be broken already; then nobody hears them.
        if let Some(words) = words {
            let _ = self.say(&words);
        }
    }
}

/// What costs us work and gets no message anywhere. Whoever says nothing else keeps a process busy for ever.
fn is_junk(command: &Command<'_>) -> bool {
    let is_greeting = matches!(command, Command::Helo(_) | Command::Ehlo(_) | Command::Lhlo(_));
    let is_question = matches!(command, Command::Vrfy(_) | Command::Expn | Command::Etrn | Command::Help);
    let is_nothing =
        matches!(command, Command::Noop | Command::Rset | Command::Bdat { size: 0, last: false });
    is_greeting || is_question || is_nothing
}
