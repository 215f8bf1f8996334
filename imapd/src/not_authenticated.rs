//! The not authenticated state (RFC 3501 section 3.1): from the greeting to the login.
//!
//! Runs in the front; everything it reads is a stranger's. It cannot see a mailbox.

use crate::grammar::receive::{Budget, Received, receive};
use crate::grammar::{BadCommand, Command, SyntaxError, Tag, print};
use crate::login::Login;
use crate::reply::{Condition, Reply};
use crate::{capability, id, words};
use common::io::gather::Text;
use common::io::{Conn, Ending};
use common::process::channel::{Proof, Refused};
use common::process::front::{Asked, Front};
use common::process::sasl::{self, Outcome};
use common::secret::Secret;

/// Octets of a command here: Dovecot's limit too.
const COMMAND_MAX: usize = 8 * 1024;
/// Octets of all literals in the whole conversation (DESIGN.md section 8).
const LITERALS_MAX: u64 = 1024;
/// Octets of a line of a SASL exchange, as in POP3.
const RESPONSE_MAX: usize = 2048 + 2;

/// Whether the conversation goes on.
enum Next {
    /// After this completion.
    Complete(Reply),
    /// Not here: the session gives the completion.
    LoggedIn,
    /// After this completion and these last words it does not.
    Close(Reply, Option<&'static str>),
    /// The completion has been given.
    Done,
}

struct NotAuthenticated<'a> {
    front: &'a mut Front,
    id: String,
    bad_commands: u32,
}

/// Speaks until the login. `Ok`: the guard has accepted the client, and the session completes the command.
pub fn speak(front: &mut Front) -> Result<Vec<u8>, Ending> {
    let greeting = front.config.login_greeting.to_string();
    let capabilities = capabilities(front);
    front.conn.push_fmt(format_args!("* OK [CAPABILITY {capabilities}] {greeting}\r\n"))?;
    let mut state = NotAuthenticated { front, id: String::new(), bad_commands: 0 };
    let command = (state.front.config.imap_max_line_length.0).min(COMMAND_MAX as u64) as usize;
    let mut budget = Budget { command, literals: Some(LITERALS_MAX) };
    let mut text = Text::default();
    let ending = loop {
        let received = match receive(&mut state.front.conn, &mut text, &mut budget) {
            Ok(received) => received,
            Err(ending) => break ending,
        };
        text.clear();
        match state.answer(received) {
            Ok(None) => {}
            Ok(Some(Over::LoggedIn(tag))) => {
                let login = Login { bad_commands: state.bad_commands, tag: Some(tag), id: state.id };
                return Ok(login.encode());
            }
            Ok(Some(Over::Closed)) => break Ending::Quit,
            Err(ending) => break ending,
        }
        if state.bad_commands >= state.front.config.max_bad_commands {
            break Ending::TooManyBadCommands;
        }
    };
    last_words(&mut front.conn, &ending);
    Err(ending)
}

/// What a client is told when the server ends the conversation of its own accord.
pub fn last_words(conn: &mut Conn, ending: &Ending) {
    let words = match ending {
        Ending::Idle => words::IDLE,
        Ending::SessionLimit => words::TIME_IS_OVER,
        Ending::TooManyBadCommands => words::TOO_MANY_BAD,
        Ending::Failed(_) => words::OUT_OF_ORDER,
        Ending::Quit | Ending::Disconnected | Ending::NotReading | Ending::Tls(_) => return,
    };
    // The connection may be broken already; then nobody hears them.
    let _ = conn.push_line(words);
}

/// How the conversation before the login ended.
enum Over {
    LoggedIn(Tag),
    Closed,
}

fn capabilities(front: &Front) -> String {
    let mechanisms = sasl::offered(front);
    let login = sasl::is_offered(front, "PLAIN") && front.may_say_password();
    capability::before_login(&front.config, &mechanisms, front.can_start_tls(), login)
}

/// The completion of a command that could not be read.
pub(crate) fn refusal(error: SyntaxError) -> Reply {
    match error {
        SyntaxError::Bad(why) => Reply::bad(why),
        SyntaxError::UnknownUse => Reply::no("No such special use here.").with_code("USEATTR"),
    }
}

impl NotAuthenticated<'_> {
    fn answer(&mut self, received: Received) -> Result<Option<Over>, Ending> {
        let (tag, command) = match received {
            Received::Command(tag, command) => (tag, command),
            Received::Bad(bad) => {
                self.refuse(&bad)?;
                return Ok(None);
            }
            Received::Refused(bad) => {
                self.refuse(&bad)?;
                self.front.conn.push_line(words::LITERAL_REFUSED)?;
                return Ok(Some(Over::Closed));
            }
        };
        match self.obey(&tag, command)? {
            Next::Done => Ok(None),
            Next::LoggedIn => Ok(Some(Over::LoggedIn(tag))),
            Next::Complete(reply) => {
                self.complete(Some(&tag), &reply)?;
                Ok(None)
            }
            Next::Close(reply, last) => {
                self.complete(Some(&tag), &reply)?;
                if let Some(last) = last {
                    self.front.conn.push_line(last)?;
                }
                Ok(Some(Over::Closed))
            }
        }
    }

    fn refuse(&mut self, bad: &BadCommand) -> Result<(), Ending> {
        self.bad_commands += 1;
        self.complete(bad.tag.as_ref(), &refusal(bad.error))
    }

    fn complete(&mut self, tag: Option<&Tag>, reply: &Reply) -> Result<(), Ending> {
        let mut out = Vec::with_capacity(128);
        print::completion(&mut out, tag, reply);
        self.front.conn.push(&out)
    }

    fn bad(&mut self, reply: Reply) -> Result<Next, Ending> {
        self.bad_commands += 1;
        Ok(Next::Complete(reply))
    }

    fn obey(&mut self, tag: &Tag, command: Command) -> Result<Next, Ending> {
        match command {
            Command::Capability => {
                let capabilities = capabilities(self.front);
                self.front.conn.push_fmt(format_args!("* CAPABILITY {capabilities}\r\n"))?;
                Ok(Next::Complete(Reply::ok("Capability completed.")))
            }
            Command::Noop => Ok(Next::Complete(Reply::ok("NOOP completed."))),
            Command::Logout => {
                self.front.conn.push_line(words::BYE)?;
                Ok(Next::Close(Reply::ok(words::LOGGED_OUT), None))
            }
            Command::Id(fields) => {
                self.id = id::for_log(&self.front.config, &fields);
                let answer = id::answer(&self.front.config);
                self.front.conn.push(&answer)?;
                Ok(Next::Complete(Reply::ok("ID completed.")))
            }
            Command::StartTls => self.start_tls(tag),
            Command::Login { user, password } => self.login(user, password),
            Command::Authenticate { mechanism, initial } => self.authenticate(&mechanism, initial.as_ref()),
            // ENABLE too is for the authenticated state (RFC 5161 section 3.1).
            _ => self.bad(Reply::bad(words::LOG_IN_FIRST)),
        }
    }

    fn start_tls(&mut self, tag: &Tag) -> Result<Next, Ending> {
        if self.front.conn.tls().is_some() {
            return self.bad(Reply::bad(words::ALREADY_TLS));
        }
        if !self.front.can_start_tls() {
            return self.bad(Reply::bad(words::NO_TLS));
        }
        // Whatever is here already was sent in clear and would be taken for something said under TLS.
        if !self.front.conn.unread().is_empty() {
            return Ok(Next::Close(Reply::bad(words::NOT_AFTER_STARTTLS), None));
        }
        match self.front.ask_for_tls()? {
            Asked::No(_) => self.bad(words::tls_broken()),
            Asked::Yes(offer) => {
                self.complete(Some(tag), &Reply::ok(words::BEGIN_TLS))?;
                self.front.shake_hands(offer)?;
                // RFC 3501 section 6.2.1: what was said in clear is forgotten. The client asks for the capabilities again.
                self.id = String::new();
                Ok(Next::Done)
            }
        }
    }

    fn login(&mut self, user: Vec<u8>, password: Secret) -> Result<Next, Ending> {
        if !sasl::is_offered(self.front, "PLAIN") {
            return self.bad(words::no_passwords());
        }
        if !self.front.may_say_password() {
            self.front.refused_in_clear = true;
            self.front.conn.push_line(words::HEARD)?;
            return self.bad(words::not_in_clear());
        }
        let proof = Proof::Password { mechanism: "PLAIN".to_owned(), authzid: Vec::new(), user, password };
        match self.front.login(proof)? {
            Asked::Yes(_) => Ok(Next::LoggedIn),
            Asked::No(why) => Ok(refused(why)),
        }
    }

    fn authenticate(&mut self, mechanism: &[u8], initial: Option<&Secret>) -> Result<Next, Ending> {
        // A continuation is "+ " and the challenge in base64 (RFC 3501 section 6.2.2).
        let initial = initial.map(Secret::expose);
        match sasl::exchange(self.front, "+ ", mechanism, initial, RESPONSE_MAX)? {
            Outcome::Accepted => Ok(Next::LoggedIn),
            Outcome::Refused(why) => Ok(refused(why)),
            Outcome::NotOffered => self.bad(words::no_such_mechanism()),
            Outcome::NotInClear => {
                self.front.refused_in_clear = true;
                if initial.is_some() {
                    self.front.conn.push_line(words::HEARD)?;
                }
                self.bad(words::not_in_clear())
            }
            Outcome::Cancelled => self.bad(Reply::bad(words::CANCELLED)),
            Outcome::NotBelieved => Ok(Next::Close(Reply::bad(words::CANCELLED), None)),
            Outcome::Malformed | Outcome::TooLong => self.bad(Reply::bad(words::BAD_RESPONSE)),
        }
    }
}

fn refused(why: Refused) -> Next {
    let reply = words::refused(why);
    debug_assert_eq!(reply.condition, Condition::No);
    match why {
        Refused::OutOfTurn => Next::Close(reply, Some(words::TOO_MANY_LOGINS)),
        _ => Next::Complete(reply),
    }
}
