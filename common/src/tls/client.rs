//! TLS as a client, on a socket of ours: for mail that goes out. What the server sends is hostile input.
//!
//! Whom a server's certificate has to convince is the caller's choice: nobody (what is sent cannot be read on the way, but
//! nobody knows by whom it is read), or a list of authorities, for one of several names.

use super::version_and_cipher;
use crate::sys::fd;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// Certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Reads a file of PEM certificates, such as the system's. Those that cannot be used are passed over, as every system
    /// has some. Errors: the file cannot be read, or nothing in it can be used.
    pub fn load(file: &Path) -> io::Result<Authorities> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(file).map_err(not_pem)?;
        for certificate in certificates {
            let certificate = match certificate {
                Ok(certificate) => certificate,
                Err(rustls::pki_types::pem::Error::Io(error)) => return Err(error),
                Err(_) => continue,
            };
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no certificate of an authority in it"));
        }
        Ok(Authorities(Arc::new(roots)))
    }
}

fn not_pem(error: rustls::pki_types::pem::Error) -> io::Error {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

/// Whom the server's certificate has to convince.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Nobody: any certificate will do.
    Anyone,
    /// One of these authorities must have signed it for one of these names.
    Named(Authorities, Vec<String>),
}

/// One TLS session, on the client's side of a socket. It never blocks.
pub struct Session {
    session: ClientConnection,
}

impl Session {
    /// Before the handshake. `host` is whom we say we want to speak to (SNI): a domain, or an address, which is not said.
    pub fn new(host: &str, trust: &Trust) -> io::Result<Session> {
        let provider = Arc::new(crypto::ring::default_provider());
        let judge = Judge::new(trust, &provider)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        // No process outlives its connection for long.
        config.resumption = Resumption::disabled();
        let name = server_name(host).or_else(|| server_name("invalid"));
        config.enable_sni = server_name(host).is_some();
        let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        // Callers send what they have queued before they queue more.
        session.set_buffer_limit(None);
        Ok(Session { session })
    }

    /// Whether the handshake still goes on.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Protocol version and cipher suite, for the log.
    pub fn description(&self) -> String {
        version_and_cipher(&self.session)
    }

    /// Decrypted octets. `Ok(0)`: the server closed. `WouldBlock`: nothing is there; wait for the socket.
    pub fn read(&mut self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive(socket)?,
                // An end of TCP without TLS's own: replies are complete in themselves.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
        }
    }

    /// Takes what the server has sent into the session. `WouldBlock` when it has sent nothing.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let received = self.session.read_tls(&mut Socket(socket))?;
        self.session.process_new_packets().map_err(|error| io::Error::other(in_words(error)))?;
        if received == 0 && self.session.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Encrypts octets; they wait to be [sent](Session::send).
    pub fn queue(&mut self, octets: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(octets)
    }

    /// Whether encrypted octets wait to be sent.
    pub fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Sends some of what waits, without blocking.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.session.write_tls(&mut Socket(socket)).map(drop)
    }

    /// Queues TLS's own end of the conversation.
    pub fn say_goodbye(&mut self) {
        self.session.send_close_notify();
    }
}

/// What the log and the sender are told of a failed handshake. Of a certificate rustls's own words are names of its variants.
fn in_words(error: rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = &error else { return error.to_string() };
    let words = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it, or one above it, has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it, or one above it, is not valid yet"
        }
        CertificateError::UnknownIssuer => "no trusted authority has signed it",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name"
        }
        // Of the authority that it names, or of the handshake.
        CertificateError::BadSignature => "no trusted authority has signed it, or somebody else uses it",
        CertificateError::BadEncoding => "it, or one above it, is damaged",
        _ if is_of_ca(&error) => "it is an authority's, not a server's",
        _ => return error.to_string(),
    };
    format!("server's certificate: {words}")
}

/// A host's name as TLS wants it; `None` for what is neither a domain in ASCII nor an address.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.trim_end_matches('.').to_owned()).ok()
}

/// A socket as rustls wants it, never blocking.
struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fd::receive(self.0, buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        fd::send(self.0, octets)
    }
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        fd::send_vectored(self.0, slices)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Looks at certificates. That the server has the key of its certificate is checked in every case.
#[derive(Debug)]
struct Judge {
    named: Option<(Authorities, Vec<ServerName<'static>>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    fn new(trust: &Trust, provider: &CryptoProvider) -> io::Result<Judge> {
        let named = match trust {
            Trust::Anyone => None,
            Trust::Named(authorities, names) => {
                let names: Vec<_> = names.iter().filter_map(|name| server_name(name)).collect();
                if names.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name to verify"));
                }
                Some((authorities.clone(), names))
            }
        };
        Ok(Judge { named, algorithms: provider.signature_verification_algorithms })
    }
}

/// The certificate may be an authority's, and is in time: that is looked at first. `openssl req -x509` makes such ones.
fn is_of_ca(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether the authorities are meant to be the server itself: they have its name and key.
fn has(roots: &RootCertStore, certificate: &CertificateDer<'_>) -> bool {
    webpki::anchor_from_trusted_cert(certificate).is_ok_and(|own| {
        let same = |root: &TrustAnchor<'_>| {
            let is_own =
                root.subject == own.subject && root.subject_public_key_info == own.subject_public_key_info;
            // What a root may vouch for is not looked at here.
            is_own && root.name_constraints.is_none()
        };
        roots.roots.iter().any(same)
    })
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some((Authorities(roots), names)) = &self.named {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let all = self.algorithms.all;
            match verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, all) {
                Err(error) if is_of_ca(&error) && has(roots, end_entity) => {}
                verified => verified?,
            }
            if !names.iter().any(|name| verify_server_name(&certificate, name).is_ok()) {
                return Err(CertificateError::NotValidForName.into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
