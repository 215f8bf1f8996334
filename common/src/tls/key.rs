//! The certificate and its private key: read from files at each start, so that a renewed certificate needs no reload.
//!
//! This side runs in the guard. The files are the administrator's; what the guard signs was asked for by the front,
//! which is not trusted: only what a TLS server signs in a handshake is signed.

use super::Offer;
use super::certificate::{self, Facts};
use crate::config::check::Finding;
use rustls::SignatureScheme;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Octets of a certificate or key file that are read at most.
const FILE_MAX: u64 = 256 * 1024;
/// Octets of a chain, all its certificates together, that a handshake can carry to the client in reasonable time.
pub const CHAIN_MAX: usize = 48 * 1024;

/// What is wrong with the certificate or the key, in words for the administrator.
#[derive(Debug)]
pub enum KeyError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// No certificate in the file.
    NoCertificate(PathBuf),
    /// No private key in the file.
    NoKey(PathBuf),
    /// The key needs a passphrase, and nobody is there to type it.
    Encrypted(PathBuf),
    /// A PEM section is damaged.
    Damaged(PathBuf, String),
    /// A kind of key that TLS 1.2 and 1.3 here cannot use.
    Unsupported(PathBuf),
    /// The key belongs to another certificate.
    Mismatch(PathBuf, PathBuf),
    /// A certificate of X.509 version 1 or 2.
    OldVersion(PathBuf, u8),
    /// More certificates than a handshake should carry.
    TooLong(PathBuf),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            KeyError::NoCertificate(path) => {
                write!(f, "{}: no certificate in it (PEM expected)", path.display())
            }
            KeyError::NoKey(path) => write!(f, "{}: no private key in it (PEM expected)", path.display()),
            KeyError::Encrypted(path) => write!(
                f,
                "{}: the private key is encrypted; store it without a passphrase, readable by root only",
                path.display()
            ),
            KeyError::Damaged(path, what) => write!(f, "{}: {what}", path.display()),
            KeyError::Unsupported(path) => {
                write!(
                    f,
                    "{}: not an RSA (2048 or more bits), ECDSA P-256/P-384 or Ed25519 key",
                    path.display()
                )
            }
            KeyError::Mismatch(key, chain) => {
                write!(
                    f,
                    "{}: this key does not belong to the first certificate in {}",
                    key.display(),
                    chain.display()
                )
            }
            KeyError::OldVersion(path, version) => {
                write!(
                    f,
                    "{}: a certificate of X.509 version {version}, which TLS clients refuse; have one of version 3 issued",
                    path.display()
                )
            }
            KeyError::TooLong(path) => {
                write!(f, "{}: more than {CHAIN_MAX} octets of certificates", path.display())
            }
        }
    }
}

/// A certificate chain with its private key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

impl Identity {
    /// Reads the chain from `cert_file`, and the key from `key_file` or, where that does not exist, from `cert_file` too.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Identity, KeyError> {
        let chain_pem = read(cert_file)?;
        let chain = certificates(&chain_pem, cert_file)?;
        let (key_pem, key_file) = match read(key_file) {
            Ok(octets) => (octets, key_file),
            Err(KeyError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                match has_key(&chain_pem) {
                    true => (chain_pem, cert_file),
                    false => return Err(KeyError::Unreadable(key_file.to_owned(), error)),
                }
            }
            Err(error) => return Err(error),
        };
        let key = private_key(&key_pem, key_file)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(KeyError::Mismatch(key_file.to_owned(), cert_file.to_owned()));
            }
            Err(error) => {
                let facts = certified.cert.first().and_then(|certificate| Facts::read(certificate));
                return Err(match facts {
                    Some(Facts { version: version @ 1..=2, .. }) => {
                        KeyError::OldVersion(cert_file.to_owned(), version)
                    }
                    _ => KeyError::Damaged(cert_file.to_owned(), error.to_string()),
                });
            }
        }
        Ok(Identity { chain: certified.cert, key: certified.key })
    }

    /// What an administrator should know of the certificates, read from this file.
    pub fn findings(&self, cert_file: &Path) -> Vec<Finding> {
        let chain = self.chain.iter().map(|certificate| certificate.as_ref());
        certificate::findings(cert_file, chain, SystemTime::now())
    }

    /// The certificates in DER, the server's own first.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|certificate| certificate.to_vec()).collect()
    }

    /// What the front is told.
    pub fn offer(&self, only_tls13: bool) -> Offer {
        const KNOWN: [SignatureScheme; 9] = [
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ];
        let can = |scheme: &SignatureScheme| self.key.choose_scheme(&[*scheme]).is_some();
        Offer {
            chain: self.chain(),
            schemes: KNOWN.into_iter().filter(can).map(u16::from).collect(),
            only_tls13,
            ask_client: None,
        }
    }

    /// The signature of `message`, if it is something that a TLS server signs (of TLS 1.3 alone, with `only_tls13`).
    pub fn sign(&self, scheme: u16, message: &[u8], only_tls13: bool) -> Option<Vec<u8>> {
        if !is_handshake(message, only_tls13) {
            return None;
        }
        self.key.choose_scheme(&[SignatureScheme::from(scheme)])?.sign(message).ok()
    }
}

/// Whether this is what a server signs: RFC 8446 4.4.3 (64 spaces, context string, transcript hash) or RFC 8422 5.4
/// (both randoms, then named-curve ECDHE parameters).
fn is_handshake(message: &[u8], only_tls13: bool) -> bool {
    const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
    if let Some((spaces, rest)) = message.split_at_checked(64) {
        if spaces.iter().all(|&octet| octet == b' ') {
            return rest.strip_prefix(CONTEXT).is_some_and(|hash| matches!(hash.len(), 32 | 48));
        }
        // secp256r1, secp384r1, x25519: the groups that are offered, each with the length of its points.
        const GROUPS: [(u16, usize); 3] = [(23, 65), (24, 97), (29, 32)];
        return match rest {
            [3, high, low, len, point @ ..] if !only_tls13 => {
                let group = (u16::from_be_bytes([*high, *low]), point.len());
                usize::from(*len) == point.len() && GROUPS.contains(&group)
            }
            _ => false,
        };
    }
    false
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    read_at_most(path, FILE_MAX).map_err(|error| KeyError::Unreadable(path.to_owned(), error))
}

/// The beginning of a file.
pub(super) fn read_at_most(path: &Path, octets_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    // Room for a usual file at once: a copy left behind by growing would not be wiped.
    let mut octets = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(octets_max).read_to_end(&mut octets)?;
    Ok(octets)
}

fn certificates(octets: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(octets).collect();
    let chain = chain.map_err(|error| damaged(path, error))?;
    if chain.is_empty() {
        return Err(KeyError::NoCertificate(path.to_owned()));
    }
    if chain.iter().map(|certificate| certificate.len()).sum::<usize>() > CHAIN_MAX {
        return Err(KeyError::TooLong(path.to_owned()));
    }
    Ok(chain)
}

fn has_key(octets: &[u8]) -> bool {
    memchr::memmem::find(octets, b"PRIVATE KEY-----").is_some()
}

/// Whether there is a private key in a file of certificates.
pub fn has_key_in(cert_file: &Path) -> bool {
    read(cert_file).is_ok_and(|octets| has_key(&octets))
}

/// What is wrong with a PEM section, without its octets.
fn damaged(path: &Path, error: pem::Error) -> KeyError {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a BEGIN line without its END line: the file is cut short".into()
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line that is damaged".into(),
        error => error.to_string(),
    };
    KeyError::Damaged(path.to_owned(), what)
}

fn private_key(octets: &[u8], path: &Path) -> Result<Arc<dyn SigningKey>, KeyError> {
    // Both forms of encryption say so in their text: PKCS #8's label and the older header.
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|sign| memchr::memmem::find(octets, sign).is_some()) {
        return Err(KeyError::Encrypted(path.to_owned()));
    }
    let key = match PrivateKeyDer::from_pem_slice(octets) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) => return Err(KeyError::NoKey(path.to_owned())),
        Err(error) => return Err(damaged(path, error)),
    };
    rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| KeyError::Unsupported(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_named_in_words() {
        let path = Path::new("/c");
        let said = |octets: &[u8]| {
            let key = private_key(octets, path).err().map(|error| error.to_string()).unwrap_or_default();
            let chain = certificates(octets, path).err().map(|error| error.to_string()).unwrap_or_default();
            (key, chain)
        };
        let cut = "/c: a BEGIN line without its END line: the file is cut short";
        assert_eq!(said(b"-----BEGIN PRIVATE KEY-----\nMIGH\n").0, cut);
        assert_eq!(said(b"-----BEGIN CERTIFICATE-----\nMIGH\n").1, cut);
        let damaged = "/c: a BEGIN line that is damaged".to_owned();
        assert_eq!(said(b"-----BEGIN PRIVATE KEY\nMIGH\n"), (damaged.clone(), damaged));
        let (key, _) = said(b"-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----\n");
        assert!(key.starts_with("/c: base64"), "{key}");
    }

    #[test]
    fn only_handshakes_are_signed() {
        let mut tls13 = vec![b' '; 64];
        tls13.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
        tls13.extend_from_slice(&[7; 32]);
        assert!(is_handshake(&tls13, true));
        tls13.push(0);
        assert!(!is_handshake(&tls13, false), "a hash of 33 octets");

        let mut tls12 = vec![9; 64];
        tls12.extend_from_slice(&[3, 0, 29, 32]);
        tls12.extend_from_slice(&[1; 32]);
        assert!(is_handshake(&tls12, false));
        assert!(!is_handshake(&tls12, true), "TLS 1.2 is not spoken");
        tls12[66] = 30;
        assert!(!is_handshake(&tls12, false), "a group that is not offered");
        tls12[66] = 29;
        tls12.pop();
        assert!(!is_handshake(&tls12, false), "a point cut short");

        assert!(!is_handshake(b"anything else", false));
        assert!(!is_handshake(&[0; 64], false));
        let mut client = vec![b' '; 64];
        client.extend_from_slice(b"TLS 1.3, client CertificateVerify\0");
        client.extend_from_slice(&[7; 32]);
        assert!(!is_handshake(&client, false));
    }
}
