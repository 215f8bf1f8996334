//! The AUTHORIZATION state (RFC 1939 section 4): from the greeting to the login.
//!
//! Runs in the front; everything it reads is a stranger's. It cannot see a maildrop, so nothing here could delete.

use crate::capability;
use crate::command::{AUTH_LINE_MAX, Command};
use crate::{language, reply};
use common::io::{Ending, Line};
use common::process::channel::{Proof, Refused};
use common::process::front::{Asked, Front};
use common::process::sasl::{self, Outcome};

/// Whether the conversation goes on.
enum Next {
    Command,
    LoggedIn,
    Close,
}

struct Authorization<'a> {
    front: &'a mut Front,
    user: Option<Vec<u8>>,
    bad_commands: u32,
}

/// Speaks until the login. `Ok`: the guard has accepted the client, and the session goes on counting bad commands.
pub fn speak(front: &mut Front) -> Result<Vec<u8>, Ending> {
    let apop = offers_apop(front);
    front.conn.push(b"+OK ")?;
    let greeting = front.config.login_greeting.to_string();
    front.conn.push(greeting.as_bytes())?;
    if apop {
        // RFC 1939 section 7: the timestamp in the greeting offers APOP.
        let timestamp = front.facts.timestamp.clone();
        front.conn.push_fmt(format_args!(" {timestamp}"))?;
    }
    front.conn.push(b"\r\n")?;
    let mut state = Authorization { front, user: None, bad_commands: 0 };
    let ending = loop {
        let line = match state.front.conn.read_line(AUTH_LINE_MAX) {
            Ok(line) => line,
            Err(ending) => break ending,
        };
        match state.answer(&line) {
            Ok(Next::Command) => {}
            Ok(Next::LoggedIn) => return Ok(state.bad_commands.to_be_bytes().to_vec()),
            Ok(Next::Close) => break Ending::Quit,
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
pub fn last_words(conn: &mut common::io::Conn, ending: &Ending) {
    let words = match ending {
        Ending::Idle => reply::IDLE,
        Ending::SessionLimit => reply::TIME_IS_OVER,
        Ending::TooManyBadCommands => reply::TOO_MANY_BAD,
        Ending::Failed(_) => reply::OUT_OF_ORDER,
        Ending::Quit | Ending::Disconnected | Ending::NotReading | Ending::Tls(_) => return,
    };
    // The connection may be broken already; then nobody hears them.
    let _ = conn.push_line(words);
}

fn offers_apop(front: &Front) -> bool {
    sasl::is_offered(front, "APOP") && front.facts.secrets_stored && !front.login_needs_tls()
}

impl Authorization<'_> {
    fn answer(&mut self, line: &Line) -> Result<Next, Ending> {
        let line = match line {
            Line::Complete(line) => line,
            Line::TooLong => return self.bad(reply::syntax(crate::command::SyntaxError::TooLong)),
        };
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return self.bad(reply::syntax(error)),
        };
        match command {
            Command::Quit(_) => {
                self.say(reply::GOODBYE)?;
                Ok(Next::Close)
            }
            Command::Capa => self.capa(),
            Command::Lang(tag) => {
                language::lang(&mut self.front.conn, tag)?;
                Ok(Next::Command)
            }
            // RFC 6856 section 2.1. Nothing changes: messages go out as they are stored, with or without it.
            Command::Utf8 => self.say(reply::UTF8_ON),
            Command::Stls => self.stls(),
            Command::User(name) => self.user(name),
            Command::Pass(password) => match self.user.take() {
                None => self.bad(reply::USER_FIRST),
                Some(user) => {
                    let mechanism = "PLAIN".to_owned();
                    self.log_in(Proof::Password { mechanism, authzid: Vec::new(), user, password })
                }
            },
            Command::Apop(name, digest) => {
                if !offers_apop(self.front) {
                    return self.bad(reply::NO_SUCH_MECHANISM);
                }
                self.log_in(Proof::Apop { user: name.to_vec(), digest: digest.to_vec() })
            }
            Command::Auth(None) => {
                let mechanisms = sasl::offered(self.front);
                self.front.conn.push_line(reply::MECHANISMS)?;
                for mechanism in mechanisms.split(' ').filter(|mechanism| !mechanism.is_empty()) {
                    self.front.conn.push_line(mechanism)?;
                }
                self.say(".")
            }
            Command::Auth(Some((mechanism, initial))) => self.auth(mechanism, initial),
            Command::Noop
            | Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Rset
            | Command::Last => self.bad(reply::WRONG_STATE),
        }
    }

    fn say(&mut self, words: &str) -> Result<Next, Ending> {
        self.front.conn.push_line(words)?;
        Ok(Next::Command)
    }

    fn bad(&mut self, words: &str) -> Result<Next, Ending> {
        self.bad_commands += 1;
        self.say(words)
    }

    fn offers_user(&self) -> bool {
        sasl::is_offered(self.front, "PLAIN") && self.front.may_say_password()
    }

    fn capa(&mut self) -> Result<Next, Ending> {
        let mechanisms = sasl::offered(self.front);
        let asked = capability::Asked::Authorization {
            mechanisms: &mechanisms,
            user: self.offers_user(),
            stls: self.front.can_start_tls(),
        };
        capability::list(&mut self.front.conn, &self.front.config, &asked)?;
        Ok(Next::Command)
    }

    fn stls(&mut self) -> Result<Next, Ending> {
        if self.front.conn.tls().is_some() {
            return self.bad(reply::ALREADY_TLS);
        }
        if !self.front.can_start_tls() {
            return self.bad(reply::NO_TLS);
        }
        // Whatever is here already was sent in clear and would be taken for something said under TLS.
        if !self.front.conn.unread().is_empty() {
            self.front.conn.push_line(reply::NOT_AFTER_STLS)?;
            return Ok(Next::Close);
        }
        match self.front.ask_for_tls()? {
            Asked::No(_) => self.bad(reply::TLS_BROKEN),
            Asked::Yes(offer) => {
                self.front.conn.push_line(reply::BEGIN_TLS)?;
                self.front.shake_hands(offer)?;
                // RFC 2595 section 4: the state is the one after the greeting; what was said in clear is forgotten.
                self.user = None;
                Ok(Next::Command)
            }
        }
    }

    fn user(&mut self, name: &[u8]) -> Result<Next, Ending> {
        self.user = None;
        if !sasl::is_offered(self.front, "PLAIN") {
            return self.bad(reply::NO_PASSWORDS);
        }
        if !self.front.may_say_password() {
            self.front.refused_in_clear = true;
            return self.bad(reply::NOT_IN_CLEAR);
        }
        self.user = Some(name.to_vec());
        self.say(reply::SEND_PASSWORD)
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> Result<Next, Ending> {
        // POP3's continuation is "+ " and the challenge in base64: RFC 5034 section 4.
        match sasl::exchange(self.front, "+ ", mechanism, initial, AUTH_LINE_MAX)? {
            Outcome::Accepted => Ok(Next::LoggedIn),
            Outcome::Refused(why) => self.refused(why),
            Outcome::NotOffered => self.bad(reply::NO_SUCH_MECHANISM),
            Outcome::NotInClear => {
                self.front.refused_in_clear = true;
                self.bad(reply::NOT_IN_CLEAR)
            }
            Outcome::Cancelled => self.bad(reply::CANCELLED),
            Outcome::NotBelieved => {
                self.say(reply::CANCELLED)?;
                Ok(Next::Close)
            }
            Outcome::Malformed | Outcome::TooLong => self.bad(reply::BAD_RESPONSE),
        }
    }

    fn log_in(&mut self, proof: Proof) -> Result<Next, Ending> {
        match self.front.login(proof)? {
            Asked::Yes(_) => Ok(Next::LoggedIn),
            Asked::No(why) => self.refused(why),
        }
    }

    fn refused(&mut self, why: Refused) -> Result<Next, Ending> {
        self.say(reply::refused(why))?;
        Ok(if why == Refused::OutOfTurn { Next::Close } else { Next::Command })
    }
}
