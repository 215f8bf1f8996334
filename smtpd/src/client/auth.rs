//! AUTH as a client (RFC 4954): SCRAM, CRAM-MD5, PLAIN, LOGIN, the best that both sides have first. What the server says is
//! hostile: challenges are bounded, and a server that shows no knowledge of the password gets no more than a proof.

use super::Remote;
use super::broken;
use super::extensions::Extensions;
use super::reply::Reply;
use super::stream::{Stream, Trouble};
use crate::status::{Enhanced, Status};
use base64ct::{Base64, Encoding};
use common::auth::cram::cram_md5;
use common::auth::scram::{ClientKeys, ScramHash};
use common::config::keyword::{SaslOption, Set};
use common::secret::Secret;
use common::sys::process::random;
use std::time::Duration;
use zeroize::Zeroizing;

/// A user name and a password for another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub user: String,
    /// The proof.
    pub password: Secret,
}

/// Iterations that SCRAM may want of us: a minute of a small machine's time is not a stranger's to have. Fewer than RFC 7677
/// allows would make the password easy to guess from the proof.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=600_000;
/// Octets of a challenge.
const CHALLENGE_MAX: usize = 1024;

/// Why there is no login.
pub(super) enum Failure {
    Broken(Trouble),
    Refused(Reply, &'static str),
    /// The server does not keep to the mechanism.
    Wrong(&'static str),
    /// It offers none that may be used here.
    NoMechanism,
}

impl Failure {
    /// Always temporary: it says nothing about the mail, and passwords are mended.
    pub(super) fn status(&self, remote: &Remote) -> Status {
        let failed =
            |why: String| Status::new(454, Enhanced(4, 7, 8), format!("authentication failed: {why}"));
        match self {
            Failure::Broken(trouble) => broken(remote, trouble, "authenticating"),
            Failure::Refused(reply, mechanism) => {
                failed(reply.failure(&remote.to_string(), &format!("AUTH {mechanism}")).text)
            }
            Failure::Wrong(why) => failed(format!("host {remote}: {why}")),
            Failure::NoMechanism => failed(format!("host {remote} offers no mechanism that may be used")),
        }
    }
}

/// Mechanisms in order of preference, and whether they tell the password itself.
const MECHANISMS: [(&str, bool); 5] =
    [("SCRAM-SHA-256", false), ("SCRAM-SHA-1", false), ("CRAM-MD5", false), ("PLAIN", true), ("LOGIN", true)];

/// Logs in, or says why not. A mechanism that is offered and refused is often one for which the server has no secret: the
/// next one is tried.
pub(super) fn log_in(
    stream: &mut Stream,
    extensions: &Extensions,
    login: &Login,
    options: Set<SaslOption>,
    time: Duration,
) -> Result<(), Failure> {
    let mut last = Failure::NoMechanism;
    for (mechanism, tells) in MECHANISMS {
        let offered = extensions.auth.iter().any(|offered| offered == mechanism);
        if !offered || tells && options.contains(SaslOption::NoPlaintext) {
            continue;
        }
        let mut dialogue = Dialogue { stream, time, mechanism };
        let result = match mechanism {
            "SCRAM-SHA-256" => dialogue.scram(ScramHash::Sha256, login),
            "SCRAM-SHA-1" => dialogue.scram(ScramHash::Sha1, login),
            "CRAM-MD5" => dialogue.cram_md5(login),
            "PLAIN" => dialogue.plain(login),
            _ => dialogue.login(login),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(failure @ Failure::Refused(..)) => last = failure,
            Err(failure) => return Err(failure),
        }
        // A temporary failure, or a goodbye, is not mended by another mechanism. Nor is a password that is wrong: to say it once
        // more would be one more failed login for whoever counts them.
        let is_over = |reply: &Reply| !reply.is_permanent() || tells && reply.code == 535;
        if matches!(&last, Failure::Refused(reply, _) if is_over(reply)) {
            break;
        }
    }
    Err(last)
}

struct Dialogue<'a> {
    stream: &'a mut Stream,
    time: Duration,
    mechanism: &'static str,
}

impl Dialogue<'_> {
    fn plain(&mut self, login: &Login) -> Result<(), Failure> {
        let mut message = Zeroizing::new(vec![0]);
        message.extend_from_slice(login.user.as_bytes());
        message.push(0);
        message.extend_from_slice(login.password.expose());
        let reply = self.say_first(Some(&message))?;
        self.done(reply)
    }

    fn login(&mut self, login: &Login) -> Result<(), Failure> {
        let reply = self.say_first(None)?;
        self.challenge(reply)?;
        let reply = self.say(login.user.as_bytes())?;
        self.challenge(reply)?;
        let reply = self.say(login.password.expose())?;
        self.done(reply)
    }

    /// RFC 2195.
    fn cram_md5(&mut self, login: &Login) -> Result<(), Failure> {
        let reply = self.say_first(None)?;
        let challenge = self.challenge(reply)?;
        let digest = cram_md5(login.password.expose(), &challenge);
        let mut answer = format!("{} ", login.user);
        for octet in digest {
            answer.push_str(&format!("{octet:02x}"));
        }
        let reply = self.say(answer.as_bytes())?;
        self.done(reply)
    }

    /// RFC 5802, without channel binding.
    fn scram(&mut self, hash: ScramHash, login: &Login) -> Result<(), Failure> {
        let mut octets = [0; 18];
        random(&mut octets).map_err(|error| Failure::Broken(Trouble::System(error)))?;
        let nonce = Base64::encode_string(&octets);
        let user = login.user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let reply = self.say_first(Some(format!("n,,{first_bare}").as_bytes()))?;
        let server_first = self.challenge(reply)?;
        let server_first = String::from_utf8(server_first).map_err(|_| Failure::Wrong(NOT_SCRAM))?;
        let (server_nonce, salt, iterations) =
            parse_server_first(&server_first, &nonce).ok_or(Failure::Wrong(NOT_SCRAM))?;
        let without_proof = format!("c=biws,r={server_nonce}");
        let auth_message = format!("{first_bare},{server_first},{without_proof}");
        let keys = ClientKeys::derive(hash, login.password.expose(), &salt, iterations);
        let proof = Base64::encode_string(&keys.proof(auth_message.as_bytes()));
        let reply = self.say(format!("{without_proof},p={proof}").as_bytes())?;
        let server_final = self.challenge(reply)?;
        let expected =
            format!("v={}", Base64::encode_string(&keys.server_signature(auth_message.as_bytes())));
        if server_final != expected.as_bytes() {
            return Err(Failure::Wrong("it does not know the password itself"));
        }
        let reply = self.say(b"")?;
        self.done(reply)
    }

    /// `AUTH`, with the first message where the client speaks first.
    fn say_first(&mut self, message: Option<&[u8]>) -> Result<Reply, Failure> {
        let mut line = Zeroizing::new(format!("AUTH {}", self.mechanism));
        if let Some(message) = message {
            let message = Zeroizing::new(Base64::encode_string(message));
            line.push(' ');
            line.push_str(&message);
        }
        self.line(line)
    }

    fn say(&mut self, message: &[u8]) -> Result<Reply, Failure> {
        let line = Zeroizing::new(Base64::encode_string(message));
        self.line(line)
    }

    fn line(&mut self, mut line: Zeroizing<String>) -> Result<Reply, Failure> {
        line.push_str("\r\n");
        self.stream
            .push(line.as_bytes(), self.time)
            .and_then(|()| self.stream.reply(self.time))
            .map_err(Failure::Broken)
    }

    fn challenge(&self, reply: Reply) -> Result<Vec<u8>, Failure> {
        if reply.code != 334 {
            return Err(Failure::Refused(reply, self.mechanism));
        }
        let text = reply.text.trim();
        if text.len() > CHALLENGE_MAX {
            return Err(Failure::Wrong("its challenge is too long"));
        }
        // LOGIN's prompts are not looked at, and not always in base64.
        match Base64::decode_vec(text) {
            Ok(challenge) => Ok(challenge),
            Err(_) if self.mechanism == "LOGIN" => Ok(Vec::new()),
            Err(_) => Err(Failure::Wrong("its challenge is not in base64")),
        }
    }

    fn done(&self, reply: Reply) -> Result<(), Failure> {
        if reply.is_positive() { Ok(()) } else { Err(Failure::Refused(reply, self.mechanism)) }
    }
}

const NOT_SCRAM: &str = "what it says is not SCRAM";

/// `r=nonce,s=salt,i=iterations` (RFC 5802 section 5.1).
fn parse_server_first(text: &str, ours: &str) -> Option<(String, Vec<u8>, u32)> {
    let mut fields = text.split(',');
    let nonce = fields.next()?.strip_prefix("r=")?;
    let salt = Base64::decode_vec(fields.next()?.strip_prefix("s=")?).ok()?;
    let iterations: u32 = fields.next()?.strip_prefix("i=")?.parse().ok()?;
    let is_right = nonce.len() > ours.len() && nonce.starts_with(ours) && ITERATIONS.contains(&iterations);
    (is_right && !salt.is_empty()).then(|| (nonce.to_owned(), salt, iterations))
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
