//! From the login to the end: receives commands, has them obeyed, says what has changed and completes them.
//!
//! Runs as the mail user. The client has logged in, but its octets are still bounded, and the messages it reads were
//! written by strangers.

use crate::commands;
use crate::context::{Context, Enabled};
use crate::grammar::receive::{Budget, Received, receive};
use crate::grammar::{BadCommand, Command, Tag, print};
use crate::login::Login;
use crate::not_authenticated::{last_words, refusal};
use crate::reply::{self, Condition, Failure, Reply};
use crate::{capability, words};
use common::config::Config;
use common::hierarchy::Namespaces;
use common::io::Ending;
use common::io::gather::Text;
use common::maildir::{ErrorKind, Location, LocationError, User};
use common::process::session::Session;

/// The conversation after the login.
pub fn serve(session: &mut Session) -> Ending {
    let login = Login::decode(&session.state);
    if !login.id.is_empty() {
        session.log.info(&format!("ID sent: {}", login.id));
    }
    let ending = match namespaces(session) {
        Ok(namespaces) => {
            session.status("reading mail");
            converse(session, login, namespaces)
        }
        Err(error) => {
            session.log.error(&error.0);
            refuse(session, login)
        }
    };
    // After a failure there may be half a response on the wire, which another one must not seem to complete.
    if !matches!(ending, Ending::Quit | Ending::Failed(_)) {
        last_words(&mut session.conn, &ending);
    }
    let _ = session.conn.flush();
    let (received, sent) = session.conn.counts();
    session.log.info(&format!("Disconnected: {ending} in={received} out={sent}"));
    ending
}

fn namespaces(session: &Session) -> Result<Namespaces, LocationError> {
    let user = User { name: &session.user, home: &session.home };
    Namespaces::new(Location::parse(&session.mail_location, user)?, &session.config, user)
}

/// The mail cannot be reached, and an administrator has to look.
fn refuse(session: &mut Session, login: Login) -> Ending {
    let mut out = Vec::new();
    let reply = Reply::no("The mailboxes cannot be opened.").with_code("CONTACTADMIN");
    if login.tag.is_some() {
        print::completion(&mut out, login.tag.as_ref(), &reply);
    }
    out.extend_from_slice(words::OUT_OF_ORDER.as_bytes());
    out.extend_from_slice(b"\r\n");
    match session.conn.push(&out) {
        Ok(()) => Ending::Quit,
        Err(ending) => ending,
    }
}

fn converse(session: &mut Session, login: Login, namespaces: Namespaces) -> Ending {
    let context = Context {
        conn: &mut session.conn,
        config: &session.config,
        log: &session.log,
        namespaces,
        enabled: Enabled::default(),
        selected: None,
    };
    let bad_commands = login.bad_commands;
    let mut conversation = Conversation { context, text: Text::default(), bad_commands };
    let mut served = conversation.begin(login);
    if served.is_ok() {
        served = conversation.context.conn.flush();
        conversation.context.empty_trash();
    }
    let ending = match served.and_then(|()| conversation.go_on()) {
        Ok(()) => Ending::Quit,
        Err(ending) => ending,
    };
    conversation.context.empty_trash();
    ending
}

struct Conversation<'a> {
    context: Context<'a>,
    text: Text,
    /// Refused commands without one between them that was not. A session may last for days: what a client gets wrong now
    /// and then does not add up.
    bad_commands: u32,
}

impl Conversation<'_> {
    /// Completes the login; with `--preauth` there was none.
    fn begin(&mut self, login: Login) -> Result<(), Ending> {
        let capabilities = capability::after_login(self.context.config);
        match login.tag {
            // RFC 3501 section 7.1: the capabilities are told unasked, and no client has to ask.
            Some(tag) => {
                let reply = Reply::ok("Logged in.").with_code(format!("CAPABILITY {capabilities}"));
                self.complete(Some(&tag), &reply)
            }
            None => {
                let greeting = &self.context.config.login_greeting;
                self.context
                    .conn
                    .push_fmt(format_args!("* PREAUTH [CAPABILITY {capabilities}] {greeting}\r\n"))
            }
        }
    }

    /// Until LOGOUT.
    fn go_on(&mut self) -> Result<(), Ending> {
        let mut budget = Budget { command: command_max(self.context.config), literals: None };
        loop {
            match receive(self.context.conn, &mut self.text, &mut budget)? {
                Received::Command(tag, Command::Logout) => {
                    self.context.selected = None;
                    self.context.conn.push_line(words::BYE)?;
                    return self.complete(Some(&tag), &Reply::ok(words::LOGGED_OUT));
                }
                Received::Command(tag, command) => self.obey(&tag, command)?,
                Received::Bad(bad) => self.refuse(&bad)?,
                Received::Refused(bad) => {
                    self.refuse(&bad)?;
                    return self.context.conn.push_line(words::LITERAL_REFUSED);
                }
            }
            if self.bad_commands >= self.context.config.max_bad_commands {
                return Err(Ending::TooManyBadCommands);
            }
        }
    }

    fn refuse(&mut self, bad: &BadCommand) -> Result<(), Ending> {
        self.complete(bad.tag.as_ref(), &refusal(bad.error))
    }

    fn obey(&mut self, tag: &Tag, command: Command) -> Result<(), Ending> {
        let rules = commands::Rules::of(&command);
        let completion = match rules.needs_mailbox && self.context.selected.is_none() {
            true => Ok(Reply::bad("Select a mailbox first.")),
            false => commands::obey(&mut self.context, &mut self.text, tag, command),
        };
        let completion = self.settle(completion)?;
        // RFC 3501 section 5.2: what has changed is said before the completion, whatever that is.
        let synced = match rules.is_fresh {
            true => Ok(()),
            false => self.context.sync(rules),
        };
        let completion = match synced {
            Ok(()) => completion,
            Err(Failure::Storage(error)) if error.kind == ErrorKind::NotFound => {
                self.complete(Some(tag), &completion)?;
                self.context.conn.push_line(words::MAILBOX_GONE)?;
                self.context.log.info("The selected mailbox was deleted or renamed");
                return Err(Ending::Quit);
            }
            Err(failure) => self.settle(Err(failure))?,
        };
        self.complete(Some(tag), &completion)?;
        self.take_new()
    }

    /// What SELECT has left for the time after its answer.
    fn take_new(&mut self) -> Result<(), Ending> {
        match &mut self.context.selected {
            Some(selected) if selected.mailbox.has_untaken() => {
                self.context.conn.flush()?;
                selected.mailbox.take_new();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes a completion of a failure of the store.
    fn settle(&mut self, completion: reply::Completion) -> Result<Reply, Ending> {
        match completion {
            Ok(reply) | Err(Failure::Refused(reply)) => Ok(reply),
            Err(Failure::Ending(ending)) => Err(ending),
            Err(Failure::Storage(error)) => {
                // That a mailbox is not there is nothing for an administrator.
                if error.kind != ErrorKind::NotFound {
                    self.context.log.error(&error.to_string());
                }
                Ok(reply::storage(&error))
            }
        }
    }

    fn complete(&mut self, tag: Option<&Tag>, reply: &Reply) -> Result<(), Ending> {
        match reply.condition {
            Condition::Bad => self.bad_commands = self.bad_commands.saturating_add(1),
            Condition::Ok | Condition::No => self.bad_commands = 0,
        }
        let mut out = Vec::with_capacity(128);
        print::completion(&mut out, tag, reply);
        self.context.conn.push(&out)
    }
}

/// Octets of one command: as the setting says, within reason.
fn command_max(config: &Config) -> usize {
    usize::try_from(config.imap_max_line_length.0.clamp(1024, 16 << 20)).unwrap_or(64 * 1024)
}
