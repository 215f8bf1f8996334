//! AUTH (RFC 4954).

use super::{Conversation, Next};
use crate::command::AUTH_LINE_MAX;
use crate::reply;
use common::io::Ending;
use common::process::channel::Refused;
use common::process::sasl::{self, Outcome};

impl Conversation<'_> {
    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> Result<Next, Ending> {
        let verb = "AUTH";
        if !self.offers_auth() {
            return self.not(verb, reply::NOT_OFFERED);
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return self.not(verb, reply::HELLO_FIRST);
        }
        // RFC 4954 section 4: neither twice nor during a transaction.
        if self.authenticated {
            return self.not(verb, reply::AUTH_TWICE);
        }
        if self.transaction.is_some() {
            return self.not(verb, reply::IN_TRANSACTION);
        }
        let refused = match sasl::exchange(self.front, "334 ", mechanism, initial, AUTH_LINE_MAX)? {
            Outcome::Accepted => {
                self.authenticated = true;
                self.set_times();
                return self.done(verb, reply::AUTHENTICATED);
            }
            Outcome::Refused(why) => {
                self.not(verb, reply::refused(why))?;
                return Ok(if why == Refused::OutOfTurn { Next::Close } else { Next::Command });
            }
            Outcome::NotBelieved => {
                // The guard has accepted, the client has not: nothing else is left to say.
                self.not(verb, reply::CANCELLED)?;
                return Ok(Next::Close);
            }
            Outcome::NotOffered => reply::NO_MECHANISM,
            Outcome::NotInClear => {
                self.front.refused_in_clear = true;
                reply::NOT_IN_CLEAR
            }
            Outcome::Cancelled => reply::CANCELLED,
            Outcome::Malformed => reply::BAD_RESPONSE,
            Outcome::TooLong => reply::RESPONSE_TOO_LONG,
        };
        self.not(verb, refused)
    }
}
