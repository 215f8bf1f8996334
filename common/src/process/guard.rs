//! The guard: the process that the launcher started, with root's rights and without a single octet from the network.
//!
//! It answers the front's requests, each checked against what is legal at this point of the conversation, and when the
//! front asks for a login with a good proof it becomes the session: gives up root, and executes a fresh copy of the
//! program. What the front sends is hostile: the front may have been taken over.

mod certificates;
mod logins;

use super::channel::{Answer, Channel, JUDGE_MAX, REQUEST_MAX, Refused, Request, Why};
use super::front::Facts;
use super::handoff::{self, Handoff};
use super::service::{Ground, Service};
use super::{Program, environment};
use crate::auth::{Account, Authenticator, ScramAttempt};
use crate::config::Config;
use crate::config::keyword::TlsVersion;
use crate::exit::Exit;
use crate::log::{Closing, Level, Log, LoginLine, Outcome, Security, escape};
use crate::peer::Peer;
use crate::sys::fd::Interest;
use crate::sys::{fd, process};
use crate::tls::key::Identity;
use certificates::Certificate;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How much longer than the client's own time the guard waits: the front is the one to say that time is over.
const GRACE: Duration = Duration::from_secs(5);
/// How long the front may take to take an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How long the guard of a service waits for a front that says nothing, if sessions have no end.
const SERVICE_TIME: Duration = Duration::from_secs(24 * 3600);
/// One handshake has one signature; a second request is not a handshake.
const SIGNATURES_PER_HANDSHAKE: u32 = 1;
/// Questions about logins that one front may ask, answered or not: a client that begins SCRAM again and again learns nothing.
const QUESTIONS_MAX: u32 = 20;

/// The state of one conversation, as the guard knows it.
///
/// What happens once in a conversation is kept out of line: a guard that only waits has a short stack, and what it has not
/// written to it shares with the front.
pub struct Guard {
    /// The program that is served.
    pub program: &'static Program,
    /// The settings.
    pub config: Rc<Config>,
    /// The log.
    pub log: Log,
    /// The client's addresses.
    pub peer: Peer,
    /// What the front was told.
    pub facts: Box<Facts>,
    /// The front's process.
    pub front: i32,
    /// Whether a PROXY header may say who the client really is.
    pub proxied: bool,
    /// The data socket, in programs that have a service.
    pub data: Option<OwnedFd>,
    service: Option<Box<dyn Service>>,
    /// Who has logged in, where that is not the end.
    account: Option<Account>,
    started: Instant,
    authenticator: Authenticator,
    identity: Option<Identity>,
    signatures: u32,
    tls_started: bool,
    /// The handshake was signed: what comes now came under TLS.
    signed: bool,
    /// What is known of the client's certificate, if it is asked for one.
    certificate: Certificate,
    attempts: u32,
    /// Those of them that were guesses: the password was wrong.
    guesses: u32,
    /// What the last login that was no guess was refused for.
    refused: Option<Closing>,
    questions: u32,
    scram: Option<(String, ScramAttempt)>,
    last_user: String,
    last_method: String,
}

/// A client that is in, and what its session has to know.
struct LoggedIn {
    account: Account,
    /// Protocol version and cipher, empty in clear.
    tls: String,
    unread: Vec<u8>,
    state: Vec<u8>,
}

impl Guard {
    /// Before the first request.
    pub fn new(
        program: &'static Program,
        config: Rc<Config>,
        log: Log,
        peer: Peer,
        facts: Box<Facts>,
        proxied: bool,
        service: Option<(Box<dyn Service>, OwnedFd)>,
    ) -> io::Result<Box<Guard>> {
        let authenticator = super::login::authenticator(&config, program.protocol, &peer)?;
        let (service, data) = service.unzip();
        Ok(Box::new(Guard {
            program,
            config,
            log,
            peer,
            facts,
            front: 0,
            proxied,
            data,
            service,
            account: None,
            started: Instant::now(),
            authenticator,
            identity: None,
            signatures: 0,
            tls_started: false,
            signed: false,
            certificate: Certificate::None,
            attempts: 0,
            guesses: 0,
            refused: None,
            questions: 0,
            scram: None,
            last_user: String::new(),
            last_method: String::new(),
        }))
    }

    /// Answers the front until the conversation is over. Returns only without a login; with one, this process becomes
    /// the session.
    pub fn serve(mut self: Box<Self>, socket: OwnedFd) -> Exit {
        let channel = match self.channel(socket) {
            Ok(channel) => channel,
            Err(error) => {
                self.log.error(format_args!("{error}"));
                process::terminate(self.front);
                return Exit::Temporary;
            }
        };
        let login = match self.converse(&channel) {
            Ok(Some(login)) => login,
            Ok(None) => return self.see_front_off(),
            Err(error) => {
                // The front broke off or broke the rules: nothing it holds is worth a further word.
                self.log.error(format_args!("front: {error}"));
                self.log_closing(Why::Closed, "", "", "");
                process::terminate(self.front);
                return Exit::Temporary;
            }
        };
        self.log_login(&login);
        if login.tls.is_empty() {
            // It has nothing left to do; the session is not to find a child that it does not know.
            let _ = process::wait_for(self.front);
        }
        let (log, front) = (self.log.clone(), self.front);
        let Err(error) = self.become_session(login, channel);
        log.error(format_args!("session: {error}"));
        process::terminate(front);
        Exit::Temporary
    }

    fn channel(&self, socket: OwnedFd) -> io::Result<Channel> {
        let channel = Channel::new(socket, ANSWER_PATIENCE);
        match self.service {
            None => Ok(channel),
            Some(_) => channel.by_turns(self.lasts()),
        }
    }

    /// Waits for the front's last words to be out: launchers take this process's end for the connection's. A front that was
    /// killed ran into a wall or had a bug.
    #[inline(never)]
    fn see_front_off(&self) -> Exit {
        match process::wait_for(self.front) {
            Ok(process::Ended::Code(0)) => Exit::Success,
            Ok(process::Ended::Signal(signal)) => {
                self.log.write(Level::Critical, format_args!("front: killed by signal {signal}"));
                // What ends so is a lack of memory: it may be better the next time.
                if signal == process::ABORTED {
                    self.refuse_client();
                }
                Exit::Temporary
            }
            _ => Exit::Temporary,
        }
    }

    /// Tells the client that we are out of order, unless it would hear that in the middle of TLS.
    fn refuse_client(&self) {
        if !self.tls_started {
            super::refuse(self.program);
        }
    }

    fn converse(&mut self, channel: &Channel) -> io::Result<Option<LoggedIn>> {
        let until = self.started + self.lasts();
        loop {
            // A handshake is longer than anything else that is asked, and at most once.
            let octets_max = if self.certificate.may_be_shown() { JUDGE_MAX } else { REQUEST_MAX };
            self.heed_service(channel, until)?;
            let left = until.saturating_duration_since(Instant::now());
            let Some(request) = channel.next_request(octets_max, left)? else {
                self.log_closing(Why::Closed, "", "", "");
                return Ok(None);
            };
            let answer = match request {
                Request::Ended { why, detail, tls, counts } => {
                    self.log_closing(why, &detail, &tls, &counts);
                    return Ok(None);
                }
                Request::Panicked { what } => {
                    self.log.write(Level::Critical, format_args!("front: {}", escape(what.as_bytes())));
                    return Ok(None);
                }
                Request::NotStarted { what } => {
                    self.log.error(format_args!("front: {}", escape(what.as_bytes())));
                    self.refuse_client();
                    return Ok(None);
                }
                Request::Proxied { source, destination, tls } => self.proxied(&source, &destination, tls),
                Request::StartTls => self.start_tls(),
                Request::Sign { scheme, message } => self.sign(scheme, &message),
                Request::Judge(proof) => self.judge(&proof),
                Request::ScramStart { sha256, user } => self.scram_start(sha256, &user),
                Request::Service(question) => match self.ask_service(&question)? {
                    Some(answer) => Answer::Service(answer),
                    None => continue,
                },
                Request::Login { .. } if self.account.is_some() => Answer::Refused(Refused::OutOfTurn),
                Request::Login { proof, tls } => match self.login(proof) {
                    Err(refused) => Answer::Refused(refused),
                    Ok((account, server_signature)) if self.service.is_some() => {
                        self.account = Some(account);
                        Answer::Accepted { server_signature }
                    }
                    Ok((account, server_signature)) => {
                        channel.answer(&Answer::Accepted { server_signature })?;
                        // Only the handover may follow, however long the check took. SCRAM's client has to agree first.
                        return match channel.next_request(REQUEST_MAX, self.config.login_timeout + GRACE)? {
                            Some(Request::Handover { unread, state }) => {
                                Ok(Some(LoggedIn { account, tls, unread, state }))
                            }
                            Some(Request::Ended { why, detail, tls, .. }) => {
                                self.log_closing(why, &detail, &tls, "");
                                Ok(None)
                            }
                            None => {
                                let user = escape(account.name.as_bytes());
                                self.log.warning(format_args!("{user} was let in, but the front is gone"));
                                self.log_closing(Why::Closed, "", "", "");
                                Ok(None)
                            }
                            Some(_) => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                },
                Request::Handover { .. } => return Err(io::ErrorKind::InvalidData.into()),
            };
            channel.answer(&answer)?;
            if let Answer::Service(_) = answer {
                self.at_leisure()?;
            }
        }
    }

    /// How long the conversation may take. A service is there as long as its front is, and that sees to the client's times.
    fn lasts(&self) -> Duration {
        match self.service {
            None => self.config.login_timeout + GRACE,
            Some(_) => self.config.session_timeout.max(SERVICE_TIME) + GRACE,
        }
    }

    /// While the service waits for somebody else, the front may ask all the same. What comes first is heeded first.
    fn heed_service(&mut self, channel: &Channel, until: Instant) -> io::Result<()> {
        loop {
            let Some(watched) = self.service.as_ref().and_then(|service| service.watched()) else {
                return Ok(());
            };
            if channel.has_more() {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let both = [(channel.socket().as_fd(), Interest::Read), (watched, Interest::Read)];
            let [front, other] = fd::poll(both, Some(left))?;
            if other.read || other.hangup {
                let answer = self.with_service(|service, ground| service.stirred(ground))?;
                channel.answer(&Answer::Service(answer))?;
                self.at_leisure()?;
            } else if front.read || front.hangup {
                return Ok(());
            }
        }
    }

    fn at_leisure(&mut self) -> io::Result<()> {
        self.with_service(|service, ground| {
            service.at_leisure(ground);
            Ok(())
        })
    }

    /// What the front has to know from the start. A proxy's header would make something else of it.
    pub fn welcome(&mut self) -> io::Result<Option<Vec<u8>>> {
        match &self.service {
            Some(_) if !self.proxied => {
                self.with_service(|service, ground| service.welcome(ground)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What the protocol's own part of the guard is told of the conversation.
    fn with_service<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Service, &mut Ground<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (Some(service), Some(data)) = (&mut self.service, &self.data) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut peer = self.peer;
        let mut ground = Ground {
            program: self.program,
            config: &self.config,
            log: &self.log,
            peer: &mut peer,
            facts: &self.facts,
            tls: self.signed,
            had_secrets: self.tls_started || self.questions > 0,
            account: self.account.as_ref(),
            method: &self.last_method,
            data,
            front: self.front,
        };
        let result = work(service.as_mut(), &mut ground)?;
        if peer != self.peer {
            self.peer = peer;
            self.look_at_peer_again(false)?;
        }
        Ok(result)
    }

    #[inline(never)]
    fn ask_service(&mut self, question: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with_service(|service, ground| service.answer(ground, question))
    }

    /// The client is somebody else than the kernel says.
    fn look_at_peer_again(&mut self, tls: bool) -> io::Result<()> {
        self.facts.trusted_way = tls || super::is_trusted_way(&self.config, &self.peer);
        self.authenticator = super::login::authenticator(&self.config, self.program.protocol, &self.peer)?;
        Ok(())
    }

    #[inline(never)]
    fn proxied(&mut self, source: &str, destination: &str, tls: bool) -> Answer {
        let (Ok(source), Ok(destination)) = (source.parse(), destination.parse()) else {
            return Answer::Refused(Refused::OutOfTurn);
        };
        // The header comes before all else.
        if !std::mem::take(&mut self.proxied) || self.tls_started {
            return Answer::Refused(Refused::OutOfTurn);
        }
        self.peer = self.peer.behind_proxy(source, destination);
        if let Err(error) = self.look_at_peer_again(tls) {
            self.log.error(format_args!("{error}"));
            return Answer::Refused(Refused::Temporary);
        }
        Answer::Way { trusted: self.facts.trusted_way }
    }

    #[inline(never)]
    fn start_tls(&mut self) -> Answer {
        if std::mem::replace(&mut self.tls_started, true) || !self.facts.tls_available {
            return Answer::Refused(Refused::OutOfTurn);
        }
        match super::load_identity(&self.config) {
            Ok(identity) => {
                // RFC 3207 section 4.2: what was said in clear is forgotten, a login too.
                self.account = None;
                let mut offer = identity.offer(self.config.ssl_min_protocol == TlsVersion::Tls13);
                offer.ask_client = match self.ask_client(&identity) {
                    Ok(ask_client) => ask_client,
                    Err(error) => {
                        self.log.error(format_args!("TLS: {error}"));
                        return Answer::Refused(Refused::Temporary);
                    }
                };
                self.identity = Some(identity);
                self.signatures = SIGNATURES_PER_HANDSHAKE;
                Answer::Tls(offer)
            }
            Err(error) => {
                self.log.error(format_args!("TLS: {error}"));
                Answer::Refused(Refused::Temporary)
            }
        }
    }

    fn sign(&mut self, scheme: u16, message: &[u8]) -> Answer {
        let Some(left) = self.signatures.checked_sub(1) else {
            return Answer::Refused(Refused::OutOfTurn);
        };
        self.signatures = left;
        let signature = self.identity.as_ref().and_then(|identity| {
            identity.sign(scheme, message, self.config.ssl_min_protocol == TlsVersion::Tls13)
        });
        // One signature is all a handshake needs: the key goes at once.
        self.identity = None;
        crate::sys::fs::release_free_memory();
        if let Some(signature) = &signature {
            self.signed = true;
            self.certificate.signed(scheme, message, signature);
        }
        signature.map_or(Answer::Refused(Refused::OutOfTurn), Answer::Signature)
    }

    #[inline(never)]
    fn log_login(&self, login: &LoggedIn) {
        let outcome = Outcome::Login { pid: std::process::id() };
        let line = self.line(outcome, &login.account.name, self.security(&login.tls));
        self.log.info(format_args!("{line}"));
        if let Some(master) = &login.account.master {
            let user = escape(login.account.name.as_bytes());
            self.log.info(format_args!("Master user {} logged in as {user}", escape(master.as_bytes())));
        }
    }

    fn line<'b>(&'b self, outcome: Outcome, user: &'b str, security: Security<'b>) -> LoginLine<'b> {
        LoginLine {
            outcome,
            user,
            method: &self.last_method,
            remote: self.peer.remote,
            local: self.peer.local,
            security,
            session: &self.facts.session_id,
        }
    }

    fn security(&self, tls: &str) -> Security<'static> {
        match (tls.is_empty(), self.facts.trusted_way) {
            (false, _) => Security::Tls,
            (true, true) => Security::Secured,
            (true, false) => Security::None,
        }
    }

    /// Gives up everything and starts the session in this very process, so that the launcher's count stays right.
    #[inline(never)]
    fn become_session(self: Box<Self>, login: LoggedIn, channel: Channel) -> io::Result<Infallible> {
        let LoggedIn { account, tls, unread, state } = login;
        self.log.keep_over_exec(true)?;
        let handoff = Handoff {
            settings: self.config.changed_pairs().collect(),
            user: account.name,
            home: account.home,
            mail: account.mail,
            log: self.log.number(),
            session_id: self.facts.session_id,
            remote: self.peer.remote.map(|remote| remote.ip().to_string()).unwrap_or_default(),
            state,
            unread,
        };
        let pipe = handoff.send()?;
        if !tls.is_empty() {
            // The front stays between the client and the session; the messages are over, now it carries octets.
            let socket = channel.into_socket();
            fd::replace(0, &socket)?;
            fd::replace(1, &socket)?;
        }
        if process::is_root() {
            process::become_user(account.uid, account.gid, &account.groups)?;
        }
        process::no_new_privileges()?;
        // Under TLS the front is still its child.
        process::ignore_child_signal();
        fd::replace(handoff::DESCRIPTOR, &pipe.as_fd())?;
        let title = match self.config.verbose_proctitle {
            true => format!("{}: [{} {}]", self.program.line.name, handoff.user, handoff.remote),
            false => self.program.line.name.to_owned(),
        };
        let arguments = [process::c_string(title.as_bytes())?, process::c_string(super::SESSION.as_bytes())?];
        Err(process::exec_self(&arguments, &environment(&handoff)?))
    }
}
