//! The proof that a client has the private key of its certificate, checked by the guard, which did not see the handshake.
//!
//! The front hands over the whole transcript of the handshake up to the client's certificate, and the signature that the
//! client made over it. The front may have been taken over by a client that has no such key, so nothing of that is
//! believed. What binds it to this connection:
//!
//! * The random octets of the ServerHello are those that the guard chose for this connection ([`Handshake::random`]):
//!   no signature that was made before can cover them. This holds for keys whose signatures are the same each time
//!   (Ed25519, RSA PKCS #1) as for others.
//! * The server's Certificate is ours, and the server's signature is the one that the guard made on this connection, over
//!   exactly this beginning of the handshake: the client that signed meant to talk to us, so that nobody in between can pass
//!   on what it signed for another server.
//!
//! A front can then only show a signature that the owner of the key made for a handshake with this very process.

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384};
use std::fmt;

/// Octets of a transcript that are kept and looked at: both chains fit, and a message's field holds no more.
pub const TRANSCRIPT_MAX: usize = 60 * 1024;
/// Octets of a signature: RSA with 8192 bits.
pub const SIGNATURE_MAX: usize = 1024;
/// Certificates that a client may send.
const CHAIN_MAX: usize = 10;

/// Types of handshake messages (RFC 8446 4, RFC 5246 7.4).
mod message {
    pub const CLIENT_HELLO: u8 = 1;
    pub const SERVER_HELLO: u8 = 2;
    pub const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub const CERTIFICATE: u8 = 11;
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    pub const CERTIFICATE_REQUEST: u8 = 13;
    pub const SERVER_HELLO_DONE: u8 = 14;
    pub const CERTIFICATE_VERIFY: u8 = 15;
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub const FINISHED: u8 = 20;
    pub const MESSAGE_HASH: u8 = 254;
}
use message::*;

/// The messages of TLS 1.3 up to the client's certificate (RFC 8446 2), none of which can be left out here.
const TLS13: [u8; 8] = [
    CLIENT_HELLO,
    SERVER_HELLO,
    ENCRYPTED_EXTENSIONS,
    CERTIFICATE_REQUEST,
    CERTIFICATE,
    CERTIFICATE_VERIFY,
    FINISHED,
    CERTIFICATE,
];
/// What stands before them after a HelloRetryRequest, which is a ServerHello (RFC 8446 4.4.1).
const RETRIED: [u8; 2] = [MESSAGE_HASH, SERVER_HELLO];
/// The messages of TLS 1.2 up to the client's key exchange (RFC 5246 7.3).
const TLS12: [u8; 8] = [
    CLIENT_HELLO,
    SERVER_HELLO,
    CERTIFICATE,
    SERVER_KEY_EXCHANGE,
    CERTIFICATE_REQUEST,
    SERVER_HELLO_DONE,
    CERTIFICATE,
    CLIENT_KEY_EXCHANGE,
];

/// TLS 1.2: the end of the server's random octets says that TLS 1.3 is known here (RFC 8446 4.1.3).
const RANDOM_OF_TLS12: usize = 24;

/// What the front has of the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientProof {
    /// Every message of the handshake so far, as it was hashed.
    pub transcript: Vec<u8>,
    /// How the client signed.
    pub scheme: u16,
    /// What it signed with.
    pub signature: Vec<u8>,
}

/// A signature of the server's, made by the guard for this handshake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    /// How.
    pub scheme: u16,
    /// What was signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What the guard knows of a handshake in which the client is asked for a certificate.
#[derive(Debug, Default)]
pub struct Handshake {
    /// Chosen by the guard; the front's ServerHello has it.
    pub random: [u8; 32],
    /// Our certificates.
    pub chain: Vec<Vec<u8>>,
    /// What the guard signed.
    pub signed: Option<Signed>,
}

/// Why a proof is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProof {
    /// The transcript is not that of a handshake in which the guard took part: a front of ours would not send it.
    NotOurs(&'static str),
    /// The client did not sign it with the key of its certificate.
    Signature,
    /// Its certificate has a key, or a form, that cannot be used; whether the signature is right is not known.
    Unusable(&'static str),
}

impl fmt::Display for NoProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoProof::NotOurs(what) => write!(f, "not this connection's handshake: {what}"),
            NoProof::Signature => f.write_str("wrong signature"),
            NoProof::Unusable(what) => f.write_str(what),
        }
    }
}

impl Handshake {
    /// Before the handshake.
    pub fn new(random: [u8; 32], chain: Vec<Vec<u8>>) -> Handshake {
        Handshake { random, chain, signed: None }
    }

    /// The client's certificates, its own first, if it has proved to have the key of that. Whether anybody vouches for the
    /// certificate is another question.
    pub fn check(&self, proof: &ClientProof) -> Result<Vec<CertificateDer<'static>>, NoProof> {
        let signed = self.signed.as_ref().ok_or(NoProof::NotOurs("nothing was signed"))?;
        let transcript = proof.transcript.as_slice();
        let messages = Message::all(transcript).ok_or(NoProof::NotOurs("damaged messages"))?;
        let kinds: Vec<u8> = messages.iter().map(|message| message.kind).collect();
        let not_ours = |what| move || NoProof::NotOurs(what);
        let (chain, content, is_tls13) = if kinds == TLS12 {
            let chain = self.check_tls12(signed, &messages).ok_or_else(not_ours("TLS 1.2"))?;
            (chain, transcript.to_vec(), false)
        } else if kinds.strip_prefix(&RETRIED).unwrap_or(&kinds) == TLS13 {
            let messages = messages.get(kinds.len() - TLS13.len()..).unwrap_or_default();
            let (chain, content) =
                self.check_tls13(signed, transcript, messages).ok_or_else(not_ours("TLS 1.3"))?;
            (chain, content, true)
        } else {
            return Err(NoProof::NotOurs("its messages or their order"));
        };
        let own = chain.first().ok_or(NoProof::NotOurs("no client certificate"))?;
        if chain.len() > CHAIN_MAX {
            return Err(NoProof::Unusable("more certificates than a chain has"));
        }
        verify(own, proof, &content, is_tls13)?;
        Ok(chain)
    }

    /// RFC 8446 4.4.3. The client's chain and what it must have signed.
    fn check_tls13(
        &self,
        signed: &Signed,
        transcript: &[u8],
        messages: &[Message<'_>],
    ) -> Option<(Vec<CertificateDer<'static>>, Vec<u8>)> {
        let [_, hello, _, _, certificate, verify, _, client] = messages else { return None };
        let hello = ServerHello::read(hello.body)?;
        if hello.random != self.random {
            return None;
        }
        let hash = |octets: &[u8]| match hello.suite {
            // TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256; TLS_AES_256_GCM_SHA384.
            0x1301 | 0x1303 => Some(Sha256::digest(octets).to_vec()),
            0x1302 => Some(Sha384::digest(octets).to_vec()),
            _ => None,
        };
        // What we signed ended with our Certificate, and that was ours indeed.
        let content = |context: &str, hash: Vec<u8>| [&[b' '; 64][..], context.as_bytes(), &hash].concat();
        let so_far = transcript.get(..certificate.end)?;
        if signed.message != content("TLS 1.3, server CertificateVerify\0", hash(so_far)?)
            || !is_signature(verify.body, signed)
            || tls13_chain(certificate.body)? != self.chain
        {
            return None;
        }
        let chain = tls13_chain(client.body)?;
        Some((owned(chain), content("TLS 1.3, client CertificateVerify\0", hash(transcript)?)))
    }

    /// RFC 5246 7.4.8, RFC 8422 5.4. The client signs the transcript itself.
    fn check_tls12(&self, signed: &Signed, messages: &[Message<'_>]) -> Option<Vec<CertificateDer<'static>>> {
        let [client_hello, hello, certificate, exchange, _, _, client, _] = messages else { return None };
        // legacy_version, random.
        let client_random = client_hello.body.get(2..34)?;
        let random = ServerHello::read(hello.body)?.random;
        if random.get(..RANDOM_OF_TLS12) != self.random.get(..RANDOM_OF_TLS12) {
            return None;
        }
        // We signed both randoms and the parameters, which with the signature are the ServerKeyExchange.
        let parameters = signed.message.strip_prefix(client_random)?.strip_prefix(&random)?;
        if !is_signature(exchange.body.strip_prefix(parameters)?, signed)
            || tls12_chain(certificate.body)? != self.chain
        {
            return None;
        }
        Some(owned(tls12_chain(client.body)?))
    }
}

/// The client's signature, with the algorithms that this version of TLS has for it.
fn verify(
    own: &CertificateDer<'_>,
    proof: &ClientProof,
    content: &[u8],
    is_tls13: bool,
) -> Result<(), NoProof> {
    let scheme = SignatureScheme::from(proof.scheme);
    let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let algorithms =
        known.mapping.iter().find(|(known, _)| *known == scheme).map(|(_, algorithms)| *algorithms);
    // RFC 8446 4.2.3: no PKCS #1 any more, and one curve for each scheme, which is the first of the list.
    let is_pkcs1 = matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    );
    let algorithms = match algorithms {
        Some(algorithms) if is_tls13 && !is_pkcs1 => algorithms.get(..1).unwrap_or(algorithms),
        Some(algorithms) if !is_tls13 => algorithms,
        _ => return Err(NoProof::Signature),
    };
    let own = webpki::EndEntityCert::try_from(own).map_err(|error| match error {
        webpki::Error::UnsupportedCertVersion => NoProof::Unusable("not of X.509 version 3"),
        _ => NoProof::Unusable("damaged, or not as RFC 5280 wants it"),
    })?;
    let is_right = |algorithm: &&'static dyn rustls::pki_types::SignatureVerificationAlgorithm| {
        own.verify_signature(*algorithm, content, &proof.signature).is_ok()
    };
    if algorithms.iter().any(is_right) { Ok(()) } else { Err(NoProof::Signature) }
}

/// Whether the end of a message is this signature: scheme, length, octets.
fn is_signature(octets: &[u8], signed: &Signed) -> bool {
    let mut fields = Fields(octets);
    let scheme = fields.number(2).and_then(|scheme| u16::try_from(scheme).ok());
    scheme == Some(signed.scheme) && fields.vector(2) == Some(&signed.signature) && fields.0.is_empty()
}

fn owned(chain: Vec<&[u8]>) -> Vec<CertificateDer<'static>> {
    chain.into_iter().map(|octets| CertificateDer::from(octets.to_vec())).collect()
}

/// RFC 8446 4.4.2: a context, which is empty in a handshake, and certificates with extensions.
fn tls13_chain(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Fields(body);
    let context = fields.vector(1)?;
    let mut entries = Fields(fields.vector(3)?);
    let mut chain = Vec::new();
    while !entries.0.is_empty() {
        chain.push(entries.vector(3)?);
        entries.vector(2)?;
    }
    (context.is_empty() && fields.0.is_empty()).then_some(chain)
}

/// RFC 5246 7.4.2.
fn tls12_chain(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Fields(body);
    let mut entries = Fields(fields.vector(3)?);
    let mut chain = Vec::new();
    while !entries.0.is_empty() {
        chain.push(entries.vector(3)?);
    }
    fields.0.is_empty().then_some(chain)
}

/// What matters of a ServerHello, which begins alike in both versions (RFC 8446 4.1.3).
struct ServerHello {
    random: [u8; 32],
    suite: u16,
}

impl ServerHello {
    fn read(body: &[u8]) -> Option<ServerHello> {
        let mut fields = Fields(body);
        let _version = fields.number(2)?;
        let random = fields.take(32)?.try_into().ok()?;
        let _session_id = fields.vector(1)?;
        let suite = u16::try_from(fields.number(2)?).ok()?;
        Some(ServerHello { random, suite })
    }
}

/// One handshake message (RFC 8446 4).
struct Message<'a> {
    kind: u8,
    body: &'a [u8],
    /// Where it ends in the transcript.
    end: usize,
}

impl<'a> Message<'a> {
    /// All of a transcript, which may not have anything else.
    fn all(transcript: &'a [u8]) -> Option<Vec<Message<'a>>> {
        let mut fields = Fields(transcript);
        let mut messages = Vec::new();
        while !fields.0.is_empty() {
            let kind = u8::try_from(fields.number(1)?).ok()?;
            let body = fields.vector(3)?;
            messages.push(Message { kind, body, end: transcript.len() - fields.0.len() });
            if messages.len() > TLS13.len() + RETRIED.len() {
                return None;
            }
        }
        Some(messages)
    }
}

/// Fields as TLS writes them (RFC 8446 3).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    /// A number of so many octets.
    fn number(&mut self, octets: usize) -> Option<usize> {
        Some(self.take(octets)?.iter().fold(0, |number, &octet| number << 8 | usize::from(octet)))
    }

    /// A vector behind a length of so many octets.
    fn vector(&mut self, octets: usize) -> Option<&'a [u8]> {
        let length = self.number(octets)?;
        self.take(length)
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
