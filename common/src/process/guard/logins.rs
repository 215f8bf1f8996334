//! Logins: which proof is taken, what a refusal costs, and what the log says of it.

use super::super::channel::{Answer, Proof, Refused, Why};
use super::Guard;
use super::QUESTIONS_MAX;
use crate::auth::scram::ScramHash;
use crate::auth::{Account, Refusal, Wire};
use crate::config::keyword::{Mechanism, Ssl};
use crate::log::{Closing, Outcome, Security, escape};

impl Guard {
    /// Whether the front may ask about a login once more: so many refusals, and so many questions in all.
    fn may_try(&mut self) -> bool {
        self.questions += 1;
        self.questions <= QUESTIONS_MAX && self.attempts < self.config.auth_max_attempts
    }

    /// Whether the settings allow this proof here. The front sees to it too, but it is the front's word.
    fn is_offered(&self, proof: &Proof) -> bool {
        let secured = self.facts.trusted_way || self.signed;
        if self.config.ssl == Ssl::Required && !secured {
            return false;
        }
        let mechanisms = &self.config.auth_mechanisms;
        match proof {
            Proof::Password { .. } => {
                let offered = mechanisms.contains(Mechanism::Plain) || mechanisms.contains(Mechanism::Login);
                offered && (secured || !self.config.disable_plaintext_auth)
            }
            Proof::External { .. } => {
                mechanisms.contains(Mechanism::External) && self.certificate.user().is_some()
            }
            Proof::Apop { .. } => mechanisms.contains(Mechanism::Apop),
            Proof::CramMd5 { .. } => mechanisms.contains(Mechanism::CramMd5),
            Proof::Scram { sha256: true, .. } => mechanisms.contains(Mechanism::ScramSha256),
            Proof::Scram { sha256: false, .. } => mechanisms.contains(Mechanism::ScramSha1),
        }
    }

    #[inline(never)]
    pub(super) fn login(&mut self, proof: Proof) -> Result<(Account, Vec<u8>), Refused> {
        if !self.may_try() || !self.is_offered(&proof) {
            return Err(Refused::OutOfTurn);
        }
        self.last_method = proof.mechanism().to_owned();
        if let Some(lack) = self.lacks_certificate() {
            return Err(self.refuse_without_certificate(lack));
        }
        let scram = self.scram.take();
        let verdict = match proof {
            Proof::Password { authzid, user, password, .. } => {
                self.last_user = String::from_utf8_lossy(&user).into_owned();
                self.authenticator.plain(&user, &authzid, &password).map(|account| (account, Vec::new()))
            }
            Proof::External { authzid } => {
                let user = self.certificate.user().unwrap_or_default();
                self.authenticator.external(user, &authzid).map(|account| (account, Vec::new()))
            }
            Proof::Apop { user, digest } => {
                self.last_user = String::from_utf8_lossy(&user).into_owned();
                let timestamp = self.facts.timestamp.as_bytes();
                self.authenticator.apop(&user, timestamp, &digest).map(|account| (account, Vec::new()))
            }
            Proof::CramMd5 { user, digest } => {
                self.last_user = String::from_utf8_lossy(&user).into_owned();
                let challenge = self.facts.timestamp.as_bytes();
                self.authenticator.cram_md5(&user, challenge, &digest).map(|account| (account, Vec::new()))
            }
            Proof::Scram { auth_message, proof, .. } => match scram {
                None => return Err(Refused::OutOfTurn),
                Some((name, attempt)) => {
                    self.last_user = name;
                    self.authenticator.scram_finish(attempt, &auth_message, &proof)
                }
            },
        };
        crate::sys::fs::release_free_memory();
        for warning in self.authenticator.take_warnings() {
            self.log.warning(format_args!("{warning}"));
        }
        let refusal = match verdict {
            Ok(login) => return Ok(login),
            Err(refusal) => refusal,
        };
        // A password typed where the name belongs must not get into the log: only names that exist do.
        // What a certificate says was not typed.
        match self.certificate.user() {
            Some(user) => self.last_user = user.to_owned(),
            None if !refusal.user_exists() => self.last_user.clear(),
            None => {}
        }
        let quick = self.authenticator.nodelay();
        Err(self.refuse(&refusal, quick))
    }

    /// The client must show a certificate and has not: nothing is looked at, and nothing is learnt of the password.
    fn refuse_without_certificate(&mut self, lack: Closing) -> Refused {
        self.attempts += 1;
        self.last_user.clear();
        self.refused = Some(lack);
        std::thread::sleep(self.config.auth_failure_delay);
        if self.attempts >= self.config.auth_max_attempts { Refused::OutOfTurn } else { Refused::Credentials }
    }

    /// Every refusal takes as long, so that guessing does not pay and nothing is learnt from the time.
    fn refuse(&mut self, refusal: &Refusal, quick: bool) -> Refused {
        let answer = match refusal.wire() {
            Wire::Failed => Refused::Credentials,
            Wire::Expired => Refused::Expired,
            Wire::Disabled => Refused::NotAllowed,
            // Not the client's fault, so not an attempt that fail2ban should count.
            Wire::Temporary => {
                self.log.error(format_args!("login: {refusal}"));
                self.refused = Some(Closing::TemporaryFailure);
                return Refused::Temporary;
            }
        };
        let (method, user) = (self.last_method.clone(), self.last_user.clone());
        let guessed = matches!(refusal, Refusal::Credentials(_) | Refusal::NotAllowed(_));
        let _ = self.with_service(|service, ground| {
            service.refused(ground, &method, &user, guessed);
            Ok(())
        });
        self.attempts += 1;
        let seconds = self.started.elapsed().as_secs();
        // Nor is the right password one, whatever else forbids the login. What does is for the administrator alone.
        let closing = match refusal {
            Refusal::BadId(_) => Closing::NotAuthorized { attempts: self.attempts, seconds },
            Refusal::Disabled(_) => Closing::UserDisabled,
            Refusal::Expired(_) => Closing::PasswordExpired,
            Refusal::NotAllowed(_) | Refusal::Credentials(_) | Refusal::Temporary(_) => {
                self.guesses += 1;
                Closing::AuthFailed { attempts: self.guesses, seconds }
            }
        };
        self.refused = Some(closing);
        if !matches!(refusal, Refusal::Credentials(_)) {
            self.log_refusal(refusal);
        }
        if !quick {
            std::thread::sleep(self.config.auth_failure_delay);
        }
        if self.attempts >= self.config.auth_max_attempts { Refused::OutOfTurn } else { answer }
    }

    /// Why a login was refused though the password was right.
    #[inline(never)]
    fn log_refusal(&self, refusal: &Refusal) {
        let (user, reason) = (escape(self.last_user.as_bytes()), refusal.to_string());
        let rip = self.rip();
        let reason = escape(reason.as_bytes());
        self.log.warning(format_args!("login refused: user=<{user}>{rip}: {reason}"));
    }

    /// The client's address for the end of a line, if it is known.
    pub(super) fn rip(&self) -> String {
        let rip = |remote: std::net::SocketAddr| format!(", rip={}", remote.ip().to_canonical());
        self.peer.remote.map(rip).unwrap_or_default()
    }

    #[inline(never)]
    pub(super) fn scram_start(&mut self, sha256: bool, user: &[u8]) -> Answer {
        let mechanism = if sha256 { Mechanism::ScramSha256 } else { Mechanism::ScramSha1 };
        if !self.may_try() || !self.config.auth_mechanisms.contains(mechanism) {
            return Answer::Refused(Refused::OutOfTurn);
        }
        if let Some(lack) = self.lacks_certificate() {
            let name = if sha256 { "SCRAM-SHA-256" } else { "SCRAM-SHA-1" };
            self.last_method = name.to_owned();
            return Answer::Refused(self.refuse_without_certificate(lack));
        }
        let name = String::from_utf8_lossy(user).into_owned();
        let hash = if sha256 { ScramHash::Sha256 } else { ScramHash::Sha1 };
        match self.authenticator.scram_start(hash, user) {
            Ok((challenge, attempt)) => {
                self.scram = Some((name, attempt));
                Answer::Scram {
                    salt: challenge.salt,
                    iterations: challenge.iterations,
                    nonce: challenge.nonce,
                }
            }
            Err(refusal) => Answer::Refused(self.refuse(&refusal, false)),
        }
    }

    /// The line about a connection that ended without a login, in Dovecot's words: fail2ban reads it.
    #[inline(never)]
    pub(super) fn log_closing(&mut self, why: Why, detail: &str, tls: &str, counts: &str) {
        if self.service.is_some() {
            let _ = self.with_service(|service, ground| {
                service.ended(ground, why, detail, counts);
                Ok(())
            });
            return;
        }
        let seconds = self.started.elapsed().as_secs();
        let closing = match (self.guesses, self.refused, why) {
            (1.., _, _) => Closing::AuthFailed { attempts: self.guesses, seconds },
            (0, Some(refused), _) => refused,
            (0, None, Why::InClear) => Closing::DisallowedPlaintext,
            (0, None, Why::Handshake | Why::NoProxyHeader) => Closing::NotReady { seconds },
            (0, None, _) => Closing::NoAttempts { seconds },
        };
        let outcome = match why {
            Why::Late => Outcome::Disconnected(Some("Inactivity"), closing),
            Why::TooManyBadCommands => Outcome::Disconnected(Some("Too many bad commands"), closing),
            Why::NoProxyHeader => Outcome::Disconnected(Some("No PROXY header"), closing),
            Why::Closed => Outcome::Aborted(closing),
            _ if self.refused.is_some() => Outcome::Aborted(closing),
            Why::Left | Why::InClear | Why::Handshake => Outcome::Disconnected(None, closing),
        };
        if why == Why::NoProxyHeader {
            self.log.warning(format_args!("PROXY header: {}", escape(detail.as_bytes())));
        }
        let security = match why {
            Why::Handshake if tls.is_empty() => Security::Handshaking(Some(detail)),
            _ => self.security(tls),
        };
        self.log.info(format_args!("{}", self.line(outcome, &self.last_user, security)));
    }
}
