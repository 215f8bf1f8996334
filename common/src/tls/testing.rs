//! Handshakes in memory, between what serves and rustls's client. For tests.

use super::proof::{ClientProof, Handshake, Signed};
use super::{AskClient, Offer, Remote, Stream, Tickets};
use crate::tls::key::Identity;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, version};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A file of tests/certs/clients.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/certs/clients")).join(name)
}

/// A certificate of tests/certs/clients.
pub fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path(&format!("{name}.pem"))).unwrap()
}

/// Our own identity: an EC key, or `ed25519-server`.
pub fn identity(name: &str) -> Identity {
    match name {
        "ec" => Identity::load(&path("../cert.pem"), &path("../key.pem")).unwrap(),
        name => Identity::load(&path(&format!("{name}.pem")), &path(&format!("{name}-key.pem"))).unwrap(),
    }
}

/// A client: which certificates it sends, with which key it signs, and in which version.
pub struct Client {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: String,
    pub is_tls13: bool,
}

impl Client {
    /// The certificate and key of this name.
    pub fn named(name: &str, is_tls13: bool) -> Client {
        Client { chain: vec![certificate(name)], key: name.to_owned(), is_tls13 }
    }
}

/// Takes every server for the right one.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct Sends(Arc<CertifiedKey>);

impl ResolvesClientCert for Sends {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        (!self.0.cert.is_empty()).then(|| self.0.clone())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// Shakes hands; the error is the server's.
pub fn shake(offer: Offer, remote: Arc<dyn Remote>, client: &Client) -> Result<Stream, Error> {
    let mut stream = Stream::new(offer, remote, Tickets::Never).unwrap();
    let versions = if client.is_tls13 { [&version::TLS13] } else { [&version::TLS12] };
    let key = PrivateKeyDer::from_pem_file(path(&format!("{}-key.pem", client.key))).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(Arc::new(Sends(Arc::new(CertifiedKey::new(client.chain.clone(), key)))));
    let mut client =
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    while client.is_handshaking() || stream.session.is_handshaking() {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).unwrap();
        }
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            stream.session.read_tls(&mut rest).unwrap();
            stream.session.process_new_packets()?;
        }
        let mut octets = Vec::new();
        while stream.session.wants_write() {
            stream.session.write_tls(&mut octets).unwrap();
        }
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    Ok(stream)
}

/// A guard without a process: signs, and keeps what it is shown.
#[derive(Default)]
pub struct Keeper {
    pub identity: Option<Identity>,
    pub signed: Mutex<Option<Signed>>,
    pub shown: Mutex<Option<ClientProof>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

impl Remote for Keeper {
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.identity.as_ref()?.sign(scheme, message, false)?;
        let message = message.to_vec();
        *self.signed.lock().unwrap() = Some(Signed { scheme, message, signature: signature.clone() });
        Some(signature)
    }
    fn judge(&self, proof: ClientProof) -> bool {
        *self.shown.lock().unwrap() = Some(proof);
        true
    }
}

/// What the guard would know, and be shown, after a whole handshake of such a client with such a server.
pub fn handshake(server: &str, random: [u8; 32], client: &Client) -> (Handshake, Option<ClientProof>) {
    let keeper = Arc::new(Keeper { identity: Some(identity(server)), ..Keeper::default() });
    let identity = identity(server);
    let mut offer = identity.offer(false);
    offer.ask_client = Some(AskClient { random, authorities: Vec::new() });
    shake(offer, keeper.clone(), client).unwrap();
    let mut handshake = Handshake::new(random, identity.chain());
    handshake.signed = keeper.signed.lock().unwrap().take();
    let shown = keeper.shown.lock().unwrap().take();
    (handshake, shown)
}
