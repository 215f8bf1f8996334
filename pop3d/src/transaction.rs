//! The TRANSACTION state (RFC 1939 section 5): reading a maildrop and marking messages.
//!
//! Runs as the mail user. The client has logged in but its octets are still bounded, and the messages it reads were
//! written by strangers. [`speak`] goes on to the UPDATE state only for QUIT: every other end drops the maildrop, marks and
//! all.

use crate::command::{AUTH_LINE_MAX, Command, MessageNumber, SyntaxError};
use crate::maildrop::{Maildrop, NoMessage};
use crate::retrieve::{self, Sent};
use crate::summary::Summary;
use crate::uidl::UniqueIds;
use crate::update::Update;
use crate::{capability, language, reply};
use common::config::Config;
use common::io::{Conn, Ending, Line};
use common::maildir::{ErrorKind, StorageError};
use common::process::session::SessionLog;

/// One session's conversation.
pub struct Transaction<'a> {
    /// The client.
    pub conn: &'a mut Conn,
    /// The settings.
    pub config: &'a Config,
    /// The log.
    pub log: &'a SessionLog,
    /// What the summary line will say.
    pub summary: &'a mut Summary,
    /// Refused commands so far, those before the login included.
    pub bad_commands: u32,
}

/// A failure either of the store (this command is refused) or of the conversation (it ends).
pub enum Failure {
    /// The store.
    Storage(StorageError),
    /// The conversation.
    Ending(Ending),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure::Storage(error)
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Failure {
        Failure::Ending(ending)
    }
}

/// Answers commands until QUIT, which leads to the UPDATE state. Every other end drops the maildrop.
pub fn speak(mut this: Transaction<'_>, mut maildrop: Maildrop) -> Result<Update, Ending> {
    loop {
        let line = this.conn.read_line(AUTH_LINE_MAX)?;
        let command = match &line {
            Line::Complete(line) => Command::parse(line),
            Line::TooLong => Err(SyntaxError::TooLong),
        };
        let result = match command {
            Ok(Command::Quit(quit)) => return Ok(Update::new(maildrop, quit)),
            Ok(command) => this.answer(command, &mut maildrop),
            Err(error) => this.bad(reply::syntax(error)).map_err(Failure::from),
        };
        match result {
            Ok(()) => {}
            Err(Failure::Ending(ending)) => return Err(ending),
            Err(Failure::Storage(error)) => {
                this.log.error(&error.to_string());
                this.conn.push_line(reply::MAILDROP_UNREADABLE)?;
            }
        }
        for error in maildrop.unreadable() {
            this.log.warning(&error.to_string());
        }
        if this.bad_commands >= this.config.max_bad_commands {
            return Err(Ending::TooManyBadCommands);
        }
    }
}

impl Transaction<'_> {
    fn answer(&mut self, command: Command<'_>, maildrop: &mut Maildrop) -> Result<(), Failure> {
        match command {
            Command::Capa => capability::list(self.conn, self.config, &capability::Asked::Transaction)?,
            Command::Lang(tag) => language::lang(self.conn, tag)?,
            Command::Noop => self.conn.push_line(reply::NOTHING_DONE)?,
            Command::Stat => {
                let (messages, octets) = maildrop.stat()?;
                self.conn.push_fmt(format_args!("+OK {messages} {octets}\r\n"))?;
            }
            Command::List(None) => self.list_all(maildrop)?,
            Command::List(Some(number)) => {
                maildrop.count_octets()?;
                match maildrop.message(number) {
                    Ok(message) => {
                        let octets = message.octets.unwrap_or(0);
                        self.conn.push_fmt(format_args!("+OK {} {octets}\r\n", number.get()))?;
                    }
                    Err(why) => self.no_message(why)?,
                }
            }
            Command::Uidl(which) => self.uidl(maildrop, which)?,
            Command::Retr(number) => self.retr(maildrop, number)?,
            Command::Top(number, lines) => self.top(maildrop, number, lines)?,
            Command::Dele(number) => match maildrop.delete(number) {
                Ok(()) => self.conn.push_line(reply::MARKED)?,
                Err(why) => self.no_message(why)?,
            },
            Command::Rset => {
                maildrop.reset();
                self.conn.push_line(reply::MARKS_REMOVED)?;
            }
            Command::Last if self.config.pop3_enable_last => {
                self.conn.push_fmt(format_args!("+OK {}\r\n", maildrop.last()))?;
            }
            Command::Last => self.bad(reply::syntax(SyntaxError::UnknownCommand))?,
            Command::Stls
            | Command::User(_)
            | Command::Pass(_)
            | Command::Apop(..)
            | Command::Auth(_)
            | Command::Utf8
            | Command::Quit(_) => self.bad(reply::WRONG_STATE)?,
        }
        Ok(())
    }

    fn bad(&mut self, words: &str) -> Result<(), Ending> {
        self.bad_commands += 1;
        self.conn.push_line(words)
    }

    fn no_message(&mut self, why: NoMessage) -> Result<(), Failure> {
        match why {
            NoMessage::OutOfRange => Ok(self.conn.push_line(reply::NO_SUCH_MESSAGE)?),
            NoMessage::Deleted => Ok(self.conn.push_line(reply::IS_DELETED)?),
            NoMessage::Storage(error) => Err(error.into()),
        }
    }

    fn list_all(&mut self, maildrop: &mut Maildrop) -> Result<(), Failure> {
        let (messages, octets) = maildrop.stat()?;
        self.conn.push_fmt(format_args!("+OK {messages} messages ({octets} octets)\r\n"))?;
        let conn = &mut *self.conn;
        maildrop
            .visit_octets(|number, octets| {
                Ok::<(), Failure>(conn.push_fmt(format_args!("{} {octets}\r\n", number.get()))?)
            })
            .map_err(begun)?;
        Ok(self.conn.push_line(".")?)
    }

    fn uidl(&mut self, maildrop: &mut Maildrop, which: Option<MessageNumber>) -> Result<(), Failure> {
        let ids = UniqueIds::new(self.config, maildrop.snapshot.uid_validity());
        if ids.can_collide() && maildrop.renamed.is_none() {
            maildrop.renamed = Some(ids.duplicates(maildrop)?);
        }
        let renamed = |number: MessageNumber| {
            maildrop.renamed.as_ref().is_some_and(|renamed| renamed.contains(number.index()))
        };
        let mut id = Vec::new();
        if let Some(number) = which {
            return match maildrop.message(number) {
                Err(why) => self.no_message(why),
                Ok(message) => {
                    match ids.write(maildrop, &message, &mut id) {
                        Err(error) => return self.unreadable(error),
                        Ok(()) if renamed(number) => {
                            id.clear();
                            ids.uid_form(message.uid, &mut id);
                        }
                        Ok(()) => {}
                    }
                    self.conn.push_fmt(format_args!("+OK {} ", number.get()))?;
                    self.conn.push(&id)?;
                    Ok(self.conn.push(b"\r\n")?)
                }
            };
        }
        self.conn.push_line("+OK")?;
        let conn = &mut *self.conn;
        let maildrop = &*maildrop;
        maildrop
            .visit(|number, message| {
                id.clear();
                // A message that cannot be read is in the list like any other; what it has is its UID.
                if renamed(number) || ids.write_ref(maildrop, message, &mut id).is_err() {
                    id.clear();
                    ids.uid_form(message.uid, &mut id);
                }
                conn.push_fmt(format_args!("{} ", number.get()))?;
                conn.push(&id)?;
                Ok::<(), Failure>(conn.push(b"\r\n")?)
            })
            .map_err(begun)?;
        Ok(self.conn.push_line(".")?)
    }

    fn retr(&mut self, maildrop: &mut Maildrop, number: MessageNumber) -> Result<(), Failure> {
        maildrop.count_octets()?;
        let message = match maildrop.message(number) {
            Ok(message) => message,
            Err(why) => return self.no_message(why),
        };
        let before = self.conn.replied();
        match retrieve::retr(self.conn, self.config, maildrop, &message)? {
            Sent::Whole => maildrop.was_retrieved(number),
            Sent::Nothing(error) => return self.unreadable(error),
        }
        self.summary.retr(self.conn.replied() - before);
        Ok(())
    }

    fn top(&mut self, maildrop: &mut Maildrop, number: MessageNumber, lines: u32) -> Result<(), Failure> {
        let message = match maildrop.message(number) {
            Ok(message) => message,
            Err(why) => return self.no_message(why),
        };
        let before = self.conn.replied();
        if let Sent::Nothing(error) = retrieve::top(self.conn, self.config, maildrop, &message, lines)? {
            return self.unreadable(error);
        }
        self.summary.top(self.conn.replied() - before);
        Ok(())
    }

    fn unreadable(&mut self, error: StorageError) -> Result<(), Failure> {
        if error.kind == ErrorKind::NotFound {
            return Ok(self.conn.push_line(reply::IS_GONE)?);
        }
        self.log.error(&error.to_string());
        Ok(self.conn.push_line(reply::UNREADABLE)?)
    }
}

/// A list that has begun cannot be taken back with -ERR: a half list would be believed. The conversation ends.
fn begun(failure: Failure) -> Failure {
    match failure {
        Failure::Storage(error) => Failure::Ending(Ending::Failed(std::io::Error::other(format!(
            "A list could not be completed: {error}"
        )))),
        ending => ending,
    }
}
