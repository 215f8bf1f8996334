//! The front's side of a client certificate: asks for it, and hands the guard what it needs to judge it.
//!
//! rustls shows the verifier of a client's signature the whole transcript in TLS 1.2 and only its hash in TLS 1.3. So the
//! hash functions that the TLS 1.3 cipher suites name are wrapped here: what is fed to the transcript's hash is kept. All
//! of this is only there where client certificates are asked for.

use super::proof::{ClientProof, SIGNATURE_MAX, TRANSCRIPT_MAX};
use super::{AskClient, Remote};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CipherSuiteCommon, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    SupportedCipherSuite, Tls13CipherSuite,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The transcript so far. Empty again once it is longer than it may be: then there is no proof.
pub(super) type Record = Arc<Mutex<Vec<u8>>>;

/// Changes a provider so that the transcript is kept and our random octets are the guard's, and makes the verifier.
///
/// rustls wants what a suite and a provider name to live for ever. There is one handshake in a process's life.
// Out of line: a front that only waits has a short stack.
#[inline(never)]
pub(super) fn ask(
    provider: &mut CryptoProvider,
    asked: AskClient,
    remote: Arc<dyn Remote>,
) -> (Arc<dyn ClientCertVerifier>, Record) {
    let record = Record::default();
    for suite in &mut provider.cipher_suites {
        if let SupportedCipherSuite::Tls13(known) = *suite {
            let common = CipherSuiteCommon {
                suite: known.common.suite,
                hash_provider: Box::leak(Box::new(Recording {
                    hash: known.common.hash_provider,
                    record: record.clone(),
                })),
                confidentiality_limit: known.common.confidentiality_limit,
            };
            *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common,
                hkdf_provider: known.hkdf_provider,
                aead_alg: known.aead_alg,
                quic: None,
            })));
        }
    }
    provider.secure_random =
        Box::leak(Box::new(Chosen { random: asked.random, usual: provider.secure_random }));
    let hints = asked.authorities.into_iter().map(DistinguishedName::from).collect();
    let algorithms = provider.signature_verification_algorithms;
    (Arc::new(Verifier { hints, algorithms, record: record.clone(), remote }), record)
}

/// After the handshake: nobody will ask for it any more.
pub(super) fn forget(record: &Record) {
    *lock(record) = Vec::new();
}

/// Random octets, where 32 of them are those that the guard chose: that many are in a ServerHello and, in TLS 1.2, in the
/// session's identifier, which is as public.
#[derive(Debug)]
struct Chosen {
    random: [u8; 32],
    usual: &'static dyn SecureRandom,
}

impl SecureRandom for Chosen {
    fn fill(&self, octets: &mut [u8]) -> Result<(), GetRandomFailed> {
        if octets.len() == self.random.len() {
            octets.copy_from_slice(&self.random);
            return Ok(());
        }
        self.usual.fill(octets)
    }
}

/// A hash function that keeps what it hashes.
struct Recording {
    hash: &'static dyn Hash,
    record: Record,
}

impl Hash for Recording {
    fn start(&self) -> Box<dyn Context> {
        // A new one begins with each try (RFC 8446 4.4.1).
        lock(&self.record).clear();
        Box::new(Recorded { context: self.hash.start(), record: self.record.clone() })
    }
    fn hash(&self, octets: &[u8]) -> Output {
        self.hash.hash(octets)
    }
    fn output_len(&self) -> usize {
        self.hash.output_len()
    }
    fn algorithm(&self) -> HashAlgorithm {
        self.hash.algorithm()
    }
}

struct Recorded {
    context: Box<dyn Context>,
    record: Record,
}

impl Context for Recorded {
    fn fork_finish(&self) -> Output {
        self.context.fork_finish()
    }
    /// What is hashed only to see what would come of it is not a part of the transcript.
    fn fork(&self) -> Box<dyn Context> {
        self.context.fork()
    }
    fn finish(self: Box<Self>) -> Output {
        self.context.finish()
    }
    fn update(&mut self, octets: &[u8]) {
        self.context.update(octets);
        let mut record = lock(&self.record);
        match record.len().saturating_add(octets.len()) {
            0..=TRANSCRIPT_MAX => record.extend_from_slice(octets),
            _ => *record = Vec::new(),
        }
    }
}

fn lock(record: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for a certificate, lets a client have none, and lets the guard judge.
struct Verifier {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    record: Record,
    remote: Arc<dyn Remote>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    fn judge(
        &self,
        transcript: Vec<u8>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let too_long = transcript.len() > TRANSCRIPT_MAX || signed.signature().len() > SIGNATURE_MAX;
        if transcript.is_empty() || too_long {
            return Err(Error::General("the client's certificates are too long".to_owned()));
        }
        let proof =
            ClientProof { transcript, scheme: signed.scheme.into(), signature: signed.signature().to_vec() };
        if self.remote.judge(proof) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(rustls::CertificateError::BadSignature))
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }
    /// Nothing yet: the guard judges it with the signature. One that nobody vouches for does not end the handshake, because
    /// clients send what they have, and may log in with a password.
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge(message.to_vec(), signed)
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let transcript = std::mem::take(&mut *lock(&self.record));
        self.judge(transcript, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
