//! The CAs whose client certificates count, and what they have revoked: `ssl_ca_file`, read at each handshake.
//!
//! This side runs in the guard. The file is the administrator's; the chains come from the front and are hostile. They are
//! read by webpki, which was written for that, and only once it is proved that the client has the key (see
//! [`super::proof`]).

use super::certificate::{Facts, not_yet_valid, read_or_find, revocation_dates, time};
use super::key::read_at_most;
use super::subject;
use crate::config::check::Finding;
use crate::log::Stamp;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// Octets of the file that are read: room for the revocation list of a large CA.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// Octets of the CAs' names that clients are told: more would only make the handshake long.
const NAMES_MAX: usize = 4 * 1024;

/// The content of `ssl_ca_file`.
#[derive(Debug, Default)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
}

/// What is wrong with the file, in words for the administrator.
#[derive(Debug)]
pub enum CaError {
    /// It is not set.
    NotSet,
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// No certificate in it.
    NoCertificate(PathBuf),
    /// Longer than [`FILE_MAX`].
    TooLong(PathBuf),
    /// Something in it cannot be used.
    Damaged(PathBuf, String),
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaError::NotSet => f.write_str("ssl_verify_client_cert = yes, but ssl_ca_file is not set"),
            CaError::Unreadable(path, error) => write!(f, "ssl_ca_file = {}: {error}", path.display()),
            CaError::NoCertificate(path) => {
                write!(f, "ssl_ca_file = {}: no certificate in it (PEM expected)", path.display())
            }
            CaError::TooLong(path) => {
                write!(f, "ssl_ca_file = {}: more than {FILE_MAX} octets", path.display())
            }
            CaError::Damaged(path, what) => write!(f, "ssl_ca_file = {}: {what}", path.display()),
        }
    }
}

/// Why nobody vouches for a client's certificate. Prints in the words of OpenSSL where it has some, which Dovecot's log has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTrusted(webpki::Error);

impl fmt::Display for NotTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            webpki::Error::CertExpired { .. } => "certificate has expired",
            webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid",
            webpki::Error::CertRevoked => "certificate revoked",
            webpki::Error::CrlExpired { .. } => "CRL has expired",
            webpki::Error::UnknownRevocationStatus => "unable to get certificate CRL",
            webpki::Error::UnknownIssuer => "unable to get local issuer certificate",
            webpki::Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose",
            webpki::Error::InvalidSignatureForPublicKey => "certificate signature failure",
            webpki::Error::InvalidCrlSignatureForPublicKey => "CRL signature failure",
            webpki::Error::CaUsedAsEndEntity => "the certificate of a CA",
            other => return write!(f, "{other}"),
        })
    }
}

impl Authorities {
    /// Reads the file: certificates and revocation lists in any order; other sections are skipped.
    pub fn load(path: Option<&Path>) -> Result<Authorities, CaError> {
        let path = path.ok_or(CaError::NotSet)?;
        let octets =
            read_at_most(path, FILE_MAX + 1).map_err(|error| CaError::Unreadable(path.to_owned(), error))?;
        if octets.len() as u64 > FILE_MAX {
            return Err(CaError::TooLong(path.to_owned()));
        }
        let damaged = |what: String| CaError::Damaged(path.to_owned(), what);
        let section = |error: pem::Error| damaged(error.to_string());
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>().map_err(section)?;
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&octets)
            .collect::<Result<_, _>>()
            .map_err(section)?;
        if certificates.is_empty() {
            return Err(CaError::NoCertificate(path.to_owned()));
        }
        // What cannot be used must not be left out in silence: a revocation would be missed.
        for (place, certificate) in (1..).zip(&certificates) {
            webpki::anchor_from_trusted_cert(certificate)
                .map_err(|error| damaged(format!("certificate {place}: {error}")))?;
        }
        for (place, list) in (1..).zip(&lists) {
            BorrowedCertRevocationList::from_der(list)
                .map_err(|error| damaged(format!("revocation list {place}: {error}")))?;
        }
        Ok(Authorities { certificates, lists })
    }

    /// The CAs' names in DER, for clients that have several certificates; none where they would be too many.
    pub fn names(&self) -> Vec<Vec<u8>> {
        let sequence = |name: &[u8]| {
            let length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
            match length {
                [0, length @ 0..=0x7f] => [&[0x30, length], name].concat(),
                [0, length] => [&[0x30, 0x81, length], name].concat(),
                [high, low] => [&[0x30, 0x82, high, low], name].concat(),
            }
        };
        let names: Vec<Vec<u8>> =
            self.certificates.iter().filter_map(|ca| subject::of(ca)).map(sequence).collect();
        let length = names.iter().map(|name| name.len() + 2).sum::<usize>();
        if length <= NAMES_MAX { names } else { Vec::new() }
    }

    /// Whether one of the CAs vouches for the first of these certificates, as a client's, at this time. `crl_required`: a
    /// CA without a revocation list counts for nothing.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
        crl_required: bool,
    ) -> Result<(), NotTrusted> {
        let Some((own, others)) = chain.split_first() else {
            return Err(NotTrusted(webpki::Error::UnknownIssuer));
        };
        // webpki believes what it is told to trust for ever.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let is_current = |ca: &&CertificateDer<'_>| {
            Facts::read(ca)
                .is_none_or(|Facts { validity: (begin, end), .. }| (begin..=end).contains(&seconds))
        };
        let current = self.certificates.iter().filter(is_current);
        let anchors: Vec<_> = current.filter_map(|ca| webpki::anchor_from_trusted_cert(ca).ok()).collect();
        let lists: Result<Vec<CertRevocationList<'_>>, webpki::Error> = self
            .lists
            .iter()
            .map(|list| BorrowedCertRevocationList::from_der(list).map(CertRevocationList::Borrowed))
            .collect();
        let lists = lists.map_err(NotTrusted)?;
        let mut lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
        let unknown = if crl_required { UnknownStatusPolicy::Deny } else { UnknownStatusPolicy::Allow };
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let own = webpki::EndEntityCert::try_from(own).map_err(NotTrusted)?;
        // The first list of the issuer's name is looked at. A CA whose key has changed has two of them.
        let tries = lists.len().max(1);
        let mut verdict = Ok(());
        for _ in 0..tries {
            let revocation = match RevocationOptionsBuilder::new(&lists) {
                Ok(options) => Some(
                    options
                        .with_depth(RevocationCheckDepth::Chain)
                        .with_status_policy(unknown)
                        .with_expiration_policy(ExpirationPolicy::Enforce)
                        .build(),
                ),
                Err(_) if crl_required => return Err(NotTrusted(webpki::Error::UnknownRevocationStatus)),
                Err(_) => None,
            };
            let (time, usage) = (UnixTime::since_unix_epoch(since), KeyUsage::client_auth());
            verdict = own
                .verify_for_usage(algorithms.all, &anchors, others, time, usage, revocation, None)
                .map(drop);
            match verdict {
                Err(webpki::Error::InvalidCrlSignatureForPublicKey) => lists.rotate_left(1),
                _ => break,
            }
        }
        verdict.map_err(NotTrusted)
    }

    /// What an administrator should know of the file.
    pub fn findings(&self, crl_required: bool, now: SystemTime) -> Vec<Finding> {
        let mut found = Vec::new();
        for (place, ca) in (1..).zip(&self.certificates) {
            let shown = format!("ssl_ca_file, certificate {place}");
            let Some(facts) = read_or_find(&shown, ca, &mut found) else { continue };
            let (begin, end) = (time(facts.validity.0), time(facts.validity.1));
            if end < now {
                let what = format!("{shown}: expired on {}: its clients cannot log in", Stamp(end));
                found.push(Finding::error(what, "replace it"));
            } else if begin > now {
                found.push(not_yet_valid(&shown, begin));
            }
            if facts.version == 3 && !facts.is_ca {
                let what = format!("{shown}: not a CA's");
                found.push(Finding::warning(what, "name the CA that has signed the clients' certificates"));
            }
        }
        for (place, list) in (1..).zip(&self.lists) {
            let shown = format!("ssl_ca_file, revocation list {place}");
            if let Some(end) = revocation_dates(list).and_then(|(_, next)| next).map(time) {
                if end < now {
                    let what =
                        format!("{shown}: out of date since {}: its CA's clients cannot log in", Stamp(end));
                    found.push(Finding::error(what, "fetch the CA's new one"));
                }
            }
        }
        if self.lists.is_empty() && crl_required {
            let what =
                "ssl_require_crl = yes, but no revocation list in ssl_ca_file: no client certificate counts";
            found.push(Finding::error(what, "append the CA's, or set ssl_require_crl = no"));
        }
        found
    }
}

#[cfg(test)]
#[path = "authorities_tests.rs"]
mod tests;
