//! SASL exchanges (RFC 4422) in the front, for every protocol: only the words around a challenge differ.
//!
//! The messages are a stranger's; [`crate::auth::sasl`] takes them apart. What needs a secret is the guard's.

use super::channel::{Proof, Refused};
use super::front::{Asked, Front};
use crate::auth::sasl::scram::{self, ClientFinal, ClientFirst, Plus};
use crate::auth::sasl::{self, Login, LoginStep};
use crate::config::keyword::Mechanism;
use crate::io::{Ending, Line};
use crate::secret::Secret;

/// How an exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guard let the client in.
    Accepted,
    /// It did not.
    Refused(Refused),
    /// There is no such mechanism here, or not now.
    NotOffered,
    /// It would say a password in clear.
    NotInClear,
    /// The client sent `*`.
    Cancelled,
    /// The guard let the client in, but the client does not accept the proof that we know its secret. Refuse and close: the
    /// guard accepts once.
    NotBelieved,
    /// The client sent what is no base64, or not what the mechanism wants.
    Malformed,
    /// The client sent a line that is too long.
    TooLong,
}

/// Why an exchange stops before there is a verdict.
enum Stop {
    Ended(Ending),
    With(Outcome),
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Stop {
        Stop::Ended(ending)
    }
}

impl From<sasl::SaslError> for Stop {
    fn from(_: sasl::SaslError) -> Stop {
        Stop::With(Outcome::Malformed)
    }
}

/// Every mechanism there is, strongest first: clients take the first that they know.
const ALL: [(&str, Mechanism); 8] = [
    ("EXTERNAL", Mechanism::External),
    ("SCRAM-SHA-256-PLUS", Mechanism::ScramSha256),
    ("SCRAM-SHA-256", Mechanism::ScramSha256),
    ("SCRAM-SHA-1-PLUS", Mechanism::ScramSha1),
    ("SCRAM-SHA-1", Mechanism::ScramSha1),
    ("CRAM-MD5", Mechanism::CramMd5),
    ("PLAIN", Mechanism::Plain),
    ("LOGIN", Mechanism::Login),
];

/// Whether the settings offer a mechanism at all, whatever the state of this connection.
pub fn is_offered(front: &Front, name: &str) -> bool {
    let mechanism = match name {
        "APOP" => Some(Mechanism::Apop),
        _ => ALL.iter().find(|(known, _)| *known == name).map(|(_, mechanism)| *mechanism),
    };
    mechanism.is_some_and(|mechanism| front.config.auth_mechanisms.contains(mechanism))
}

/// The mechanisms that may be used now, blank-separated: for CAPA, CAPABILITY and EHLO.
pub fn offered(front: &Front) -> String {
    let names = ALL.iter().map(|(name, _)| *name).filter(|name| may_use(front, name) == Some(true));
    names.collect::<Vec<_>>().join(" ")
}

/// `None`: not here. `Some(false)`: not in clear.
fn may_use(front: &Front, name: &str) -> Option<bool> {
    if !is_offered(front, name) {
        return None;
    }
    match name {
        "PLAIN" | "LOGIN" => Some(front.may_say_password()),
        // Where it could not succeed, clients would try it in vain, and before TLS there is no certificate.
        "EXTERNAL" => (front.has_certificate() && front.facts.users_known).then_some(true),
        // Channel binding needs a channel (RFC 5802 section 6).
        _ if name.ends_with("-PLUS") && front.conn.tls().and_then(crate::tls::Stream::exporter).is_none() => {
            None
        }
        _ if !front.facts.secrets_stored => None,
        _ => Some(!front.login_needs_tls()),
    }
}

/// Runs one exchange. `prefix` stands before each challenge (`"+ "`, `"334 "`); a response line has at most `limit` octets.
pub fn exchange(
    front: &mut Front,
    prefix: &str,
    mechanism: &[u8],
    initial: Option<&[u8]>,
    limit: usize,
) -> Result<Outcome, Ending> {
    let wanted = mechanism.to_ascii_uppercase();
    let name = match ALL.iter().find(|(name, _)| name.as_bytes() == wanted) {
        Some((name, _)) => *name,
        None => return Ok(Outcome::NotOffered),
    };
    match may_use(front, name) {
        None => return Ok(Outcome::NotOffered),
        Some(false) => return Ok(Outcome::NotInClear),
        Some(true) => {}
    }
    let mut exchange = Exchange { front, prefix, limit };
    let result = match name {
        "PLAIN" => exchange.plain(initial),
        "LOGIN" => exchange.login(initial),
        "CRAM-MD5" => exchange.cram_md5(initial),
        "EXTERNAL" => exchange.external(initial),
        _ => exchange.scram(initial, name.contains("256"), name.ends_with("-PLUS")),
    };
    match result {
        Ok(outcome) | Err(Stop::With(outcome)) => Ok(outcome),
        Err(Stop::Ended(ending)) => Err(ending),
    }
}

struct Exchange<'a> {
    front: &'a mut Front,
    prefix: &'a str,
    limit: usize,
}

impl Exchange<'_> {
    /// The client's answer to a challenge, decoded.
    fn ask(&mut self, challenge: &[u8]) -> Result<Secret, Stop> {
        let encoded = sasl::encode(challenge);
        let prefix = self.prefix;
        self.front.conn.push_fmt(format_args!("{prefix}{encoded}\r\n"))?;
        let line = match self.front.conn.read_line(self.limit)? {
            Line::Complete(line) => Secret::new(line.to_vec()),
            Line::TooLong => return Err(Stop::With(Outcome::TooLong)),
        };
        if line.expose() == b"*" {
            return Err(Stop::With(Outcome::Cancelled));
        }
        Ok(Secret::new(sasl::decode(line.expose())?.to_vec()))
    }

    /// The first message: what came with the command, or the answer to an empty challenge.
    fn first(&mut self, initial: Option<&[u8]>) -> Result<Secret, Stop> {
        match initial {
            Some(initial) => Ok(Secret::new(sasl::decode_initial(initial)?.to_vec())),
            None => self.ask(b""),
        }
    }

    fn verdict(&mut self, proof: Proof) -> Result<Outcome, Stop> {
        Ok(match self.front.login(proof)? {
            Asked::Yes(_) => Outcome::Accepted,
            Asked::No(why) => Outcome::Refused(why),
        })
    }

    /// RFC 4616.
    fn plain(&mut self, initial: Option<&[u8]>) -> Result<Outcome, Stop> {
        let message = self.first(initial)?;
        let plain = sasl::parse_plain(message.expose())?;
        let mechanism = "PLAIN".to_owned();
        self.verdict(Proof::Password {
            mechanism,
            authzid: plain.authzid,
            user: plain.authcid,
            password: plain.password,
        })
    }

    /// RFC 4422 A. The client says whom to act as, or nothing.
    fn external(&mut self, initial: Option<&[u8]>) -> Result<Outcome, Stop> {
        let message = self.first(initial)?;
        let authzid = sasl::parse_external(message.expose())?;
        self.verdict(Proof::External { authzid })
    }

    /// Never an RFC: name and password, one after the other.
    fn login(&mut self, initial: Option<&[u8]>) -> Result<Outcome, Stop> {
        let mut state = Login::default();
        let mut message = match initial {
            Some(initial) => Secret::new(sasl::decode_initial(initial)?.to_vec()),
            None => self.ask(state.prompt().as_bytes())?,
        };
        loop {
            match state.step(message.expose())? {
                LoginStep::Ask(next) => {
                    message = self.ask(next.prompt().as_bytes())?;
                    state = next;
                }
                LoginStep::Done(user, password) => {
                    let (mechanism, authzid) = ("LOGIN".to_owned(), Vec::new());
                    return self.verdict(Proof::Password { mechanism, authzid, user, password });
                }
            }
        }
    }

    /// RFC 2195. The client does not speak first.
    fn cram_md5(&mut self, initial: Option<&[u8]>) -> Result<Outcome, Stop> {
        if initial.is_some() {
            return Err(Stop::With(Outcome::Malformed));
        }
        let challenge = self.front.facts.timestamp.clone();
        let message = self.ask(challenge.as_bytes())?;
        let (user, digest) = sasl::parse_cram_md5(message.expose())?;
        self.verdict(Proof::CramMd5 { user, digest: digest.to_vec() })
    }

    /// RFC 5802, RFC 7677.
    fn scram(&mut self, initial: Option<&[u8]>, sha256: bool, plus: bool) -> Result<Outcome, Stop> {
        let exporter = self.front.conn.tls().and_then(crate::tls::Stream::exporter);
        let offer = match (plus, exporter.is_some()) {
            (true, _) => Plus::Chosen,
            (false, true) => Plus::Offered,
            (false, false) => Plus::NotOffered,
        };
        let message = self.first(initial)?;
        let first = ClientFirst::parse(message.expose(), offer)?;
        // Acting as somebody else is for PLAIN, where the guard sees both names.
        if first.authzid.as_ref().is_some_and(|authzid| *authzid != first.user) {
            return Err(Stop::With(Outcome::Malformed));
        }
        let (salt, iterations, nonce) = match self.front.scram_start(sha256, first.user.as_bytes())? {
            Asked::Yes(answer) => answer,
            Asked::No(why) => return Ok(Outcome::Refused(why)),
        };
        let server_first = scram::server_first(&first.nonce, &nonce, &salt, iterations);
        let message = self.ask(server_first.as_bytes())?;
        let last = ClientFinal::parse(message.expose())?;
        let data: &[u8] = match (&exporter, plus) {
            (Some(data), true) => data,
            _ => &[],
        };
        last.check(&first, &nonce, data)?;
        let auth_message = scram::auth_message(&first, &server_first, &last).into_bytes();
        let proof = Proof::Scram { sha256, plus, auth_message, proof: last.proof };
        match self.front.login(proof)? {
            Asked::No(why) => Ok(Outcome::Refused(why)),
            Asked::Yes(signature) => {
                // The client believes the success only after this, and answers with nothing.
                match self.ask(scram::server_final(&signature).as_bytes()) {
                    Ok(answer) if answer.expose().is_empty() => Ok(Outcome::Accepted),
                    Ok(_) | Err(Stop::With(_)) => Ok(Outcome::NotBelieved),
                    Err(ended) => Err(ended),
                }
            }
        }
    }
}
