//! The client's certificate: asked for in the handshake, proved to the guard, and good for a login or not.

use super::super::channel::{Answer, Refused};
use super::Guard;
use crate::log::{Closing, escape};
use crate::sys::process;
use crate::tls::authorities::{Authorities, CaError};
use crate::tls::key::Identity;
use crate::tls::proof::{ClientProof, Handshake, NoProof, Signed};
use crate::tls::{AskClient, subject};
use std::fmt;
use std::io;
use std::time::SystemTime;

/// What the guard knows of the client's certificate.
#[derive(Debug, Default)]
pub(super) enum Certificate {
    /// The client was not asked, or what the front showed is no proof.
    #[default]
    None,
    /// It is asked in this handshake.
    Asked(Box<Handshake>),
    /// It has one that does not count.
    Invalid,
    /// It has one that a CA of ours vouches for, and this is the user's name, if the settings want it.
    Valid(Option<String>),
}

/// Why a client cannot be asked for its certificate.
pub(super) enum CannotAsk {
    Authorities(CaError),
    Random(io::Error),
}

impl fmt::Display for CannotAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotAsk::Authorities(error) => write!(f, "{error}"),
            CannotAsk::Random(error) => write!(f, "random numbers: {error}"),
        }
    }
}

impl Certificate {
    /// The user's name in a valid one.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Certificate::Valid(user) => user.as_deref(),
            _ => None,
        }
    }

    /// Whether the front may now show one.
    pub(super) fn may_be_shown(&self) -> bool {
        matches!(self, Certificate::Asked(handshake) if handshake.signed.is_some())
    }

    /// The guard has signed the handshake.
    pub(super) fn signed(&mut self, scheme: u16, message: &[u8], signature: &[u8]) {
        if let Certificate::Asked(handshake) = self {
            let (message, signature) = (message.to_vec(), signature.to_vec());
            handshake.signed = Some(Signed { scheme, message, signature });
        }
    }
}

impl Guard {
    /// Before a handshake: with what the client is asked, where it is to be asked.
    #[inline(never)]
    pub(super) fn ask_client(&mut self, identity: &Identity) -> Result<Option<AskClient>, CannotAsk> {
        if !self.config.ssl_verify_client_cert {
            return Ok(None);
        }
        let authorities =
            Authorities::load(self.config.ssl_ca_file.get()).map_err(CannotAsk::Authorities)?.names();
        let mut random = [0; 32];
        process::random(&mut random).map_err(CannotAsk::Random)?;
        self.certificate = Certificate::Asked(Box::new(Handshake::new(random, identity.chain())));
        Ok(Some(AskClient { random, authorities }))
    }

    /// What the front has of the client, once in a handshake. Only what the guard can see for itself counts.
    #[inline(never)]
    pub(super) fn judge(&mut self, proof: &ClientProof) -> Answer {
        let Certificate::Asked(handshake) = std::mem::take(&mut self.certificate) else {
            return Answer::Refused(Refused::OutOfTurn);
        };
        let answer = match handshake.check(proof) {
            Ok(chain) => {
                let own = chain.first().map(|own| own.as_ref()).unwrap_or_default();
                let vouched =
                    Authorities::load(self.config.ssl_ca_file.get()).map_err(|error| error.to_string());
                let vouched = vouched.and_then(|authorities| {
                    let crl_required = self.config.ssl_require_crl;
                    let verdict = authorities.verify(&chain, SystemTime::now(), crl_required);
                    verdict.map_err(|error| error.to_string())
                });
                self.certificate = match vouched {
                    Ok(()) => Certificate::Valid(self.user_of(own)),
                    Err(why) => self.invalid(&why, &subject::shown(own)),
                };
                Answer::Judged { external: self.certificate.user().is_some() }
            }
            // The handshake goes on, but as if there were no certificate.
            Err(NoProof::Unusable(why)) => {
                self.certificate = self.invalid(why, "no subject");
                Answer::Judged { external: false }
            }
            Err(NoProof::Signature) => {
                self.certificate = self.invalid(&NoProof::Signature.to_string(), "no subject");
                Answer::Refused(Refused::Credentials)
            }
            // A front of ours would not send this.
            Err(error @ NoProof::NotOurs(_)) => {
                self.log.error(format_args!("front: client certificate: {error}"));
                Answer::Refused(Refused::OutOfTurn)
            }
        };
        crate::sys::fs::release_free_memory();
        answer
    }

    /// The user's name, where the certificate's counts.
    fn user_of(&mut self, certificate: &[u8]) -> Option<String> {
        if !self.config.ssl_username_from_cert {
            return None;
        }
        let field = self.config.ssl_cert_username_field;
        match subject::user_name(certificate, field) {
            Ok(user) => {
                self.authenticator.take_user_from_certificate(user.clone());
                Some(user)
            }
            Err(why) => {
                let shown = subject::shown(certificate);
                let shown = escape(shown.as_bytes());
                self.log.warning(format_args!(
                    "certificate without a user name: {}: {why}: {shown}",
                    field.word()
                ));
                None
            }
        }
    }

    fn invalid(&self, why: &str, shown: &str) -> Certificate {
        let rip = self.rip();
        self.log.warning(format_args!(
            "Received invalid SSL certificate: {why}: {}{rip}",
            escape(shown.as_bytes())
        ));
        Certificate::Invalid
    }

    /// Whether logins are refused for want of a certificate, and the log's words for it.
    pub(super) fn lacks_certificate(&self) -> Option<Closing> {
        if !self.config.auth_ssl_require_client_cert {
            return None;
        }
        match self.certificate {
            Certificate::Valid(_) => None,
            Certificate::Invalid => Some(Closing::InvalidCertificate),
            _ if self.signed => Some(Closing::NoCertificate),
            _ => Some(Closing::CertificateNeedsTls),
        }
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
