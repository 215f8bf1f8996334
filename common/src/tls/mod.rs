//! TLS on the connection, without the certificate's private key.
//!
//! This side runs in `front` and reads what strangers send. It holds session keys; signatures are made by whoever
//! implements [`RemoteSigner`] (the guard, through [`key`]). Every error is an alert to the client and an
//! [`Ending::Tls`] to us.

pub mod authorities;
pub mod certificate;
pub mod client;
mod der;
pub mod key;
pub mod proof;
mod recording;
pub mod subject;
#[cfg(test)]
pub(crate) mod testing;

use crate::io::{Ending, failed};
use crate::sys::fd;
use proof::ClientProof;
use recording::Record;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{CommonState, ServerConfig, ServerConnection, SignatureAlgorithm, SignatureScheme};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// What is not for the process that speaks with the client.
pub trait Remote: fmt::Debug + Send + Sync {
    /// The signature of `message` in `scheme`, or `None` when it was refused. It is made where the key is.
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>>;

    /// Whether the client has the key of the certificate that it showed. Whether that is good for anything is remembered
    /// where it was judged.
    fn judge(&self, proof: ClientProof) -> bool;
}

/// What the front needs to speak TLS: everything but the private key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The certificate and what leads from it to a root, each in DER.
    pub chain: Vec<Vec<u8>>,
    /// The signature schemes that the key can make, as TLS numbers them.
    pub schemes: Vec<u16>,
    /// Whether clients that know only TLS 1.2 are turned away.
    pub only_tls13: bool,
    /// Whether the client is asked for a certificate of its own.
    pub ask_client: Option<AskClient>,
}

/// With what the client is asked for a certificate.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AskClient {
    /// The random octets of our ServerHello: see [`proof`].
    pub random: [u8; 32],
    /// Names of CAs, in DER, for clients that have several certificates. None: any.
    pub authorities: Vec<Vec<u8>>,
}

/// Whether clients get tickets with which to resume the session later.
#[derive(Clone, Debug)]
pub enum Tickets {
    /// None: no process outlives the connection that could take one back. Some senders give up on SMTP servers that
    /// issue any.
    Never,
    /// This many after a TLS 1.3 handshake (one in TLS 1.2), sealed by this ticketer.
    Issue(usize, Arc<dyn rustls::server::ProducesTickets>),
}

/// One TLS session over standard input and output, on the server's side.
pub struct Stream {
    session: ServerConnection,
    /// What is kept of the handshake while it lasts.
    record: Option<Record>,
}

impl Stream {
    /// Before the handshake. Fails only on an offer that no client could take (say, no certificate).
    pub fn new(offer: Offer, remote: Arc<dyn Remote>, tickets: Tickets) -> Result<Stream, Ending> {
        let versions: &[&rustls::SupportedProtocolVersion] = match offer.only_tls13 {
            true => &[&rustls::version::TLS13],
            false => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let mut provider = rustls::crypto::ring::default_provider();
        let asked = offer.ask_client.map(|asked| recording::ask(&mut provider, asked, remote.clone()));
        let (verifier, record) = asked.unzip();
        let verifier = verifier.unwrap_or_else(|| Arc::new(rustls::server::NoClientAuth));
        let schemes: Vec<SignatureScheme> = offer.schemes.into_iter().map(SignatureScheme::from).collect();
        let Some(algorithm) = schemes.first().map(|&scheme| algorithm_of(scheme)) else {
            return Err(Ending::Tls("the key makes no signature that TLS knows".to_owned()));
        };
        let key = GuardedKey { schemes, algorithm, remote };
        let chain = offer.chain.into_iter().map(CertificateDer::from).collect();
        let certified = Certified(Arc::new(CertifiedKey::new(chain, Arc::new(key))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(|error| Ending::Tls(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(certified));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // With a ticket a client would come back without its certificate.
        if let (Tickets::Issue(count, ticketer), None) = (tickets, &record) {
            config.send_tls13_tickets = count;
            config.ticketer = ticketer;
        }
        let mut session =
            ServerConnection::new(Arc::new(config)).map_err(|error| Ending::Tls(error.to_string()))?;
        // We bound what is queued ourselves: nothing is queued while something waits to be written.
        session.set_buffer_limit(None);
        Ok(Stream { session, record })
    }

    /// Whether the handshake still wants octets from the client.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Protocol version and cipher suite, for the log.
    pub fn description(&self) -> String {
        version_and_cipher(&self.session)
    }

    /// 32 octets that only the two ends of this session know: `tls-exporter` channel binding (RFC 9266). `None` in TLS
    /// 1.2, where section 3 wants an extension that not every client has.
    pub fn exporter(&self) -> Option<[u8; 32]> {
        if self.session.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
            return None;
        }
        self.session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
    }

    /// Decrypted octets. `Ok(0)`: the client closed. `WouldBlock`: nothing is there; wait for standard input.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_received(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive()?,
                result => return result,
            }
        }
    }

    /// Decrypted octets out of what has been [received](Stream::receive) already, as [`Stream::read`].
    pub fn read_received(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.session.reader().read(buffer) {
            // A TCP end without TLS's own: every command line is complete in itself, so no harm.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }

    /// Takes octets into the session that were read before there was one: behind a PROXY header they are the client's
    /// first TLS records.
    pub fn preload(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            self.session.read_tls(&mut octets)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Takes what the client has sent into the session. `WouldBlock` when it has sent nothing.
    pub fn receive(&mut self) -> io::Result<()> {
        let received = self.session.read_tls(&mut Socket)?;
        self.session.process_new_packets().map_err(io::Error::other)?;
        let is_handshaking = self.session.is_handshaking();
        if let Some(record) = self.record.take_if(|_| !is_handshaking) {
            recording::forget(&record);
        }
        if received == 0 && is_handshaking {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Encrypts octets; they wait to be [sent](Stream::send).
    pub fn queue(&mut self, octets: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(octets)
    }

    /// Whether encrypted octets wait to be sent.
    pub fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Sends some of what waits, without blocking.
    pub fn send(&mut self) -> io::Result<()> {
        self.session.write_tls(&mut Socket).map(drop)
    }

    /// Queues TLS's own end of the conversation.
    pub fn say_goodbye(&mut self) {
        self.session.send_close_notify();
    }

    /// What an error of this stream means for the conversation.
    pub fn ending(&self, error: io::Error) -> Ending {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Ending::Tls(tls.to_string()),
            None => failed(error),
        }
    }
}

/// `TLSv1.3 with cipher TLS_AES_256_GCM_SHA384`, as RFC 8446 section B.4 names it.
fn version_and_cipher(session: &CommonState) -> String {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let suite = suite.unwrap_or("unknown");
    match suite.strip_prefix("TLS13_") {
        Some(name) => format!("{version} with cipher TLS_{name}"),
        None => format!("{version} with cipher {suite}"),
    }
}

/// Standard input and output as rustls wants them, never blocking.
struct Socket;

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fd::receive(fd::STDIN, buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        fd::send(fd::STDOUT, octets)
    }
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        fd::send_vectored(fd::STDOUT, slices)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Certified(Arc<CertifiedKey>);

impl ResolvesServerCert for Certified {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A key of which this process knows only what it can do.
#[derive(Debug)]
struct GuardedKey {
    schemes: Vec<SignatureScheme>,
    algorithm: SignatureAlgorithm,
    remote: Arc<dyn Remote>,
}

impl SigningKey for GuardedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(GuardedSigner { scheme, remote: self.remote.clone() }))
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

#[derive(Debug)]
struct GuardedSigner {
    scheme: SignatureScheme,
    remote: Arc<dyn Remote>,
}

impl Signer for GuardedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.remote.sign(self.scheme.into(), message);
        signature.ok_or_else(|| rustls::Error::General("the signature was refused".to_owned()))
    }
    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

fn algorithm_of(scheme: SignatureScheme) -> SignatureAlgorithm {
    match scheme {
        SignatureScheme::ED25519 => SignatureAlgorithm::ED25519,
        SignatureScheme::ECDSA_NISTP256_SHA256
        | SignatureScheme::ECDSA_NISTP384_SHA384
        | SignatureScheme::ECDSA_NISTP521_SHA512 => SignatureAlgorithm::ECDSA,
        _ => SignatureAlgorithm::RSA,
    }
}
