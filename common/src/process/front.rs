//! The front: speaks with a stranger until the login, behind the [walls](super::walls).
//!
//! It has the connection and, under TLS, the session keys. Everything that needs a file, a key or a password it asks of
//! the guard; a front taken over by its client can ask no more than that.

use super::channel::{Answer, Channel, Proof, Refused, Request};
use crate::cli;
use crate::config::Config;
use crate::io::{Conn, Ending};
use crate::sys::fd::{self, Interest};
use crate::tls::proof::ClientProof;
use crate::tls::{self, Remote, Tickets};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the guard found out before the front was forked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client's address is this host's own, or in a trusted network: a password in clear is heard by nobody else.
    pub trusted_way: bool,
    /// A certificate is configured and its file exists.
    pub tls_available: bool,
    /// Secrets are stored for some user, so mechanisms that need one can succeed.
    pub secrets_stored: bool,
    /// Some user can be looked up without a password, so EXTERNAL can succeed.
    pub users_known: bool,
    /// `<random.clock@host>`: the timestamp of APOP's greeting and the challenge of CRAM-MD5. New in each process.
    pub timestamp: String,
    /// The session's identifier in the log, printable.
    pub session_id: String,
    /// The program's own options that were given, for [`Facts::has`].
    pub flags: u32,
}

impl Facts {
    /// Whether one of the program's own options was given.
    pub fn has(&self, program: &cli::Program, name: &str) -> bool {
        program.has(self.flags, name)
    }
}

/// The conversation before the login.
pub struct Front {
    /// The client.
    pub conn: Conn,
    /// The settings.
    pub config: Rc<Config>,
    /// What is known about the client and the site.
    pub facts: Box<Facts>,
    /// The client has tried to say a password where others could hear it: for the log.
    pub refused_in_clear: bool,
    /// What the log is to say of the conversation, in programs that have a [service](super::service).
    pub counts: String,
    welcome: Option<Vec<u8>>,
    guard: Arc<Guard>,
}

/// How a request that the guard may refuse went.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// Granted.
    Yes(T),
    /// Not granted.
    No(Refused),
}

impl Front {
    pub(super) fn new(
        conn: Conn,
        config: Rc<Config>,
        facts: Box<Facts>,
        channel: Channel,
        welcome: Option<Vec<u8>>,
    ) -> Front {
        Front {
            conn,
            config,
            facts,
            refused_in_clear: false,
            counts: String::new(),
            welcome,
            guard: Arc::new(Guard(channel, AtomicBool::new(false))),
        }
    }

    /// Whether nobody on the way can read what is said: TLS, or a way that is trusted.
    pub fn is_secured(&self) -> bool {
        self.facts.trusted_way || self.conn.tls().is_some()
    }

    /// Whether a password may be said in clear here.
    pub fn may_say_password(&self) -> bool {
        !self.login_needs_tls() && (self.is_secured() || !self.config.disable_plaintext_auth)
    }

    /// Whether there is no login of any kind without TLS here.
    pub fn login_needs_tls(&self) -> bool {
        self.tls_is_required() && !self.is_secured()
            // Certificates are shown under TLS.
            || self.config.auth_ssl_require_client_cert && self.conn.tls().is_none()
    }

    /// Whether the client has shown a certificate with which EXTERNAL can succeed.
    pub fn has_certificate(&self) -> bool {
        self.guard.1.load(Ordering::Relaxed)
    }

    fn tls_is_required(&self) -> bool {
        self.config.ssl == crate::config::keyword::Ssl::Required
    }

    /// Whether TLS can be begun now.
    pub fn can_start_tls(&self) -> bool {
        self.facts.tls_available && self.conn.tls().is_none()
    }

    /// Asks the guard for the certificate. Then the protocol says yes or no, and on yes [`Front::shake_hands`].
    pub fn ask_for_tls(&mut self) -> Result<Asked<tls::Offer>, Ending> {
        match self.ask(&Request::StartTls)? {
            Answer::Tls(offer) => Ok(Asked::Yes(offer)),
            answer => {
                // What has failed once is not offered again.
                self.facts.tls_available = false;
                refused(answer)
            }
        }
    }

    // Inlined, the TLS configuration would stretch the stack of a front that only waits.
    /// Speaks TLS from here on. What the client said in clear is the caller's to forget.
    #[inline(never)]
    pub fn shake_hands(&mut self, offer: tls::Offer) -> Result<(), Ending> {
        let stream = tls::Stream::new(offer, self.guard.clone(), Tickets::Never)?;
        self.conn.start_tls(stream)
    }

    /// Asks the guard to let the client in. On yes the caller returns at once: the session goes on.
    ///
    /// The octets are the server's signature that SCRAM clients are owed before they believe the success.
    pub fn login(&mut self, proof: Proof) -> Result<Asked<Vec<u8>>, Ending> {
        let tls = self.tls_description();
        match self.ask(&Request::Login { proof, tls })? {
            Answer::Accepted { server_signature } => Ok(Asked::Yes(server_signature)),
            answer => refused(answer),
        }
    }

    /// SCRAM's first step: salt, iteration count and our part of the nonce for a user, real or not.
    pub fn scram_start(
        &mut self,
        sha256: bool,
        user: &[u8],
    ) -> Result<Asked<(Vec<u8>, u32, String)>, Ending> {
        match self.ask(&Request::ScramStart { sha256, user: user.to_vec() })? {
            Answer::Scram { salt, iterations, nonce } => Ok(Asked::Yes((salt, iterations, nonce))),
            answer => refused(answer),
        }
    }

    /// Asks the protocol's [service](super::service) in the guard.
    pub fn ask_service(&self, question: Vec<u8>) -> Result<Vec<u8>, Ending> {
        match self.ask(&Request::Service(question))? {
            Answer::Service(answer) => Ok(answer),
            _ => Err(Ending::Failed(std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// Tells the service something that it does not answer.
    pub fn tell_service(&self, question: Vec<u8>) -> Result<(), Ending> {
        self.guard.0.tell(&Request::Service(question)).map_err(Ending::Failed)
    }

    /// What the service says when it has been told elsewhere what it has to know: the end of what goes over the data socket.
    pub fn hear_service(&self) -> Result<Vec<u8>, Ending> {
        match self.guard.0.hear().map_err(Ending::Failed)? {
            Answer::Service(answer) => Ok(answer),
            _ => Err(Ending::Failed(std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// Waits for what the service says, or for something on the data socket. `true`: there is something on that.
    pub fn wait_for_data(&self, patience: Duration) -> Result<bool, Ending> {
        self.guard.0.wait_beside(fd::DATA, Interest::Read, patience).map_err(Ending::Failed)
    }

    /// What waits for room on the data socket while the connection is read: `true`, unless the service says something before.
    pub fn room_for_data(&self, patience: Duration) -> impl Fn() -> std::io::Result<bool> + use<> {
        let guard = self.guard.clone();
        move || guard.0.wait_beside(fd::DATA, Interest::Write, patience)
    }

    /// What the service said before the front was there ([`super::service::Service::welcome`]), once.
    pub fn take_welcome(&mut self) -> Option<Vec<u8>> {
        self.welcome.take()
    }

    /// For the log: protocol version and cipher, empty in clear.
    pub fn tls_description(&self) -> String {
        let stream = self.conn.tls().filter(|stream| !stream.is_handshaking());
        stream.map(tls::Stream::description).unwrap_or_default()
    }

    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Ending> {
        self.guard.0.ask(request).map_err(Ending::Failed)
    }

    pub(super) fn tell(&self, request: &Request) {
        // A guard that is gone needs to be told nothing.
        let _ = self.guard.0.tell(request);
    }

    /// The connection and the channel, when the messages are over.
    pub(super) fn into_parts(self) -> (Conn, Option<Channel>) {
        (self.conn, Arc::into_inner(self.guard).map(|guard| guard.0))
    }
}

fn refused<T>(answer: Answer) -> Result<Asked<T>, Ending> {
    match answer {
        Answer::Refused(why) => Ok(Asked::No(why)),
        _ => Err(Ending::Failed(std::io::ErrorKind::InvalidData.into())),
    }
}

/// The guard, and whether it has said that the client's certificate is good for EXTERNAL.
struct Guard(Channel, AtomicBool);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl Remote for Guard {
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        match self.0.ask(&Request::Sign { scheme, message: message.to_vec() }) {
            Ok(Answer::Signature(signature)) => Some(signature),
            _ => None,
        }
    }

    fn judge(&self, proof: ClientProof) -> bool {
        match self.0.ask(&Request::Judge(proof)) {
            Ok(Answer::Judged { external }) => {
                self.1.store(external, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }
}
