//! The messages between front and guard: typed, bounded, one purpose each.
//!
//! Both directions are a socket pair; a message is one octet of kind, four of length, and fields of two octets of length
//! each. The guard treats what it receives as hostile: the front may have been taken over by a client. The front treats
//! the guard's word as good but still bounded, because a bug must not become growth.
//!
//! After [`Answer::Accepted`] and [`Request::Handover`] no more messages pass; under TLS the same socket pair then
//! carries the plaintext between front and session.

use crate::secret::Secret;
use crate::sys::fd::{self, Interest};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Octets of one message from front to guard.
pub const REQUEST_MAX: usize = 16 * 1024;
/// Octets of one message from guard to front: a certificate chain fits.
pub const ANSWER_MAX: usize = 56 * 1024;

/// What the client shows to prove who it is.
#[allow(missing_docs)] // The fields are the words of the RFC that each variant names.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Proof {
    /// A password, in whichever of the ways `mechanism` names for the log.
    Password { mechanism: String, authzid: Vec<u8>, user: Vec<u8>, password: Secret },
    /// RFC 1939 APOP: the digest over the timestamp of the greeting and the secret.
    Apop { user: Vec<u8>, digest: Vec<u8> },
    /// RFC 2195 CRAM-MD5: the digest over the challenge and the secret.
    CramMd5 { user: Vec<u8>, digest: Vec<u8> },
    /// RFC 5802 SCRAM, second step: the client's proof over the whole exchange.
    Scram { sha256: bool, plus: bool, auth_message: Vec<u8>, proof: Vec<u8> },
}

impl Proof {
    /// The mechanism's name, as the log has it.
    pub fn mechanism(&self) -> &str {
        match self {
            Proof::Password { mechanism, .. } => mechanism,
            Proof::Apop { .. } => "APOP",
            Proof::CramMd5 { .. } => "CRAM-MD5",
            Proof::Scram { sha256: false, plus: false, .. } => "SCRAM-SHA-1",
            Proof::Scram { sha256: false, plus: true, .. } => "SCRAM-SHA-1-PLUS",
            Proof::Scram { sha256: true, plus: false, .. } => "SCRAM-SHA-256",
            Proof::Scram { sha256: true, plus: true, .. } => "SCRAM-SHA-256-PLUS",
        }
    }
}

/// What the front asks or tells.
#[allow(missing_docs)] // Each variant says what its fields are for.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Request {
    /// A PROXY protocol header said who the client really is.
    Proxied { source: String, destination: String, tls: bool },
    /// The certificate chain, please: the client wants TLS.
    StartTls,
    /// A handshake signature, please.
    Sign { scheme: u16, message: Vec<u8> },
    /// SCRAM, first step: salt and iterations for this user, please.
    ScramStart { sha256: bool, user: Vec<u8> },
    /// May this client log in? `tls` describes the session for the log; empty means in clear.
    Login { proof: Proof, tls: String },
    /// After acceptance: what the session must know of the conversation so far. `unread` is input that the front read but
    /// did not use; `state` is the protocol's own.
    Handover { unread: Vec<u8>, state: Vec<u8> },
    /// The conversation ended without a login; `detail` says more about a failed handshake.
    Ended { why: Why, detail: String, tls: String },
    /// The front is about to abort: a bug.
    Panicked { what: String },
    /// The front could not be set up, so the client has not been greeted.
    NotStarted { what: String },
}

/// How a conversation without a login ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Why {
    /// The client closed the connection, or it broke.
    Closed,
    /// The client said goodbye, or was told to go.
    Left,
    /// The time to log in was over.
    Late,
    /// More refused commands than a client that means well sends.
    TooManyBadCommands,
    /// The client tried to say a password where others could hear it, and then left.
    InClear,
    /// The TLS handshake failed.
    Handshake,
    /// What should have been a PROXY header was none.
    NoProxyHeader,
}

impl Why {
    fn decode(octets: &[u8]) -> Option<Why> {
        const ALL: [Why; 7] = [
            Why::Closed,
            Why::Left,
            Why::Late,
            Why::TooManyBadCommands,
            Why::InClear,
            Why::Handshake,
            Why::NoProxyHeader,
        ];
        ALL.into_iter().find(|why| octets == [*why as u8])
    }
}

/// What the guard answers.
#[allow(missing_docs)] // Each variant says what its fields are for.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Answer {
    /// No, for this reason (one for the log as well as for the client's eyes).
    Refused(Refused),
    /// [`Request::StartTls`]: here it is.
    Tls(crate::tls::Offer),
    /// [`Request::Sign`]: here it is.
    Signature(Vec<u8>),
    /// [`Request::ScramStart`]: salt, iterations and the server's part of the nonce.
    Scram { salt: Vec<u8>, iterations: u32, nonce: String },
    /// [`Request::Login`]: welcome. SCRAM clients are owed the server's signature.
    Accepted { server_signature: Vec<u8> },
    /// [`Request::Proxied`]: heard; whether the client's real way is one on which nobody listens.
    Way { trusted: bool },
}

/// Why the guard refused.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Refused {
    /// Wrong user, password, proof: all the same to the client.
    Credentials,
    /// The account or the password has expired.
    Expired,
    /// The account exists but may not be used here.
    NotAllowed,
    /// Something on our side; later may be better.
    Temporary,
    /// Asked too often or out of turn.
    OutOfTurn,
}

/// One end of the socket pair.
pub struct Channel {
    socket: OwnedFd,
    /// How long to wait for the other side before it counts as lost.
    patience: Duration,
}

impl Channel {
    /// Takes one end over.
    pub fn new(socket: OwnedFd, patience: Duration) -> Channel {
        Channel { socket, patience }
    }

    /// The socket, when the messages are over.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Front: asks and waits for the answer.
    pub fn ask(&self, request: &Request) -> io::Result<Answer> {
        self.tell(request)?;
        let (kind, body) = self.receive(ANSWER_MAX, self.patience)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Answer::decode(kind, &body).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Front: tells something that is not answered.
    pub fn tell(&self, request: &Request) -> io::Result<()> {
        self.send(request.encode())
    }

    /// Guard: the next request; `None` when the front is gone.
    pub fn next_request(&self, patience: Duration) -> io::Result<Option<Request>> {
        match self.receive(REQUEST_MAX, patience)? {
            None => Ok(None),
            Some((kind, body)) => match Request::decode(kind, &body) {
                Some(request) => Ok(Some(request)),
                None => Err(io::ErrorKind::InvalidData.into()),
            },
        }
    }

    /// Guard: answers.
    pub fn answer(&self, answer: &Answer) -> io::Result<()> {
        self.send(answer.encode())
    }

    fn send(&self, message: Vec<u8>) -> io::Result<()> {
        let message = zeroize::Zeroizing::new(message);
        let until = Instant::now() + self.patience;
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            match fd::send(self.socket.as_fd(), rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Interest::Write, until)?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        max: usize,
        patience: Duration,
    ) -> io::Result<Option<(u8, zeroize::Zeroizing<Vec<u8>>)>> {
        let until = Instant::now() + patience;
        let mut head = [0; 5];
        if !self.read_exact(&mut head, until)? {
            return Ok(None);
        }
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        if length > max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = zeroize::Zeroizing::new(vec![0; length]);
        if !self.read_exact(&mut body, until)? && length > 0 {
            return Ok(None);
        }
        Ok(Some((kind, body)))
    }

    /// `Ok(false)`: the other end is gone.
    fn read_exact(&self, mut buffer: &mut [u8], until: Instant) -> io::Result<bool> {
        while !buffer.is_empty() {
            self.wait(Interest::Read, until)?;
            match fd::receive(self.socket.as_fd(), buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => buffer = buffer.get_mut(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn wait(&self, interest: Interest, until: Instant) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let [ready] = fd::poll([(self.socket.as_fd(), interest)], Some(left))?;
            if ready.read || ready.write || ready.hangup {
                return Ok(());
            }
        }
    }
}

/// Builds a message: kind, length, fields.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: u8) -> Writer {
        // Room for a usual message at once: a copy left behind by growing would not be wiped.
        let mut octets = Vec::with_capacity(4096);
        octets.extend_from_slice(&[kind, 0, 0, 0, 0]);
        Writer(octets)
    }
    /// Fields longer than a length can say are cut: the receiver then refuses what no longer makes sense.
    pub(crate) fn field(mut self, octets: &[u8]) -> Writer {
        let octets = octets.get(..usize::from(u16::MAX)).unwrap_or(octets);
        self.0.extend_from_slice(&(octets.len() as u16).to_be_bytes());
        self.0.extend_from_slice(octets);
        self
    }
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len().saturating_sub(5)).unwrap_or(u32::MAX).to_be_bytes();
        for (place, octet) in self.0.iter_mut().skip(1).zip(length) {
            *place = octet;
        }
        self.0
    }
}

/// Reads fields back; every read says whether it was there.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn field(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(field)
    }
    pub(crate) fn octets(&mut self) -> Option<Vec<u8>> {
        Some(self.field()?.to_vec())
    }
    pub(crate) fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.field()?).ok()?.to_owned())
    }
    pub(crate) fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.field()?.try_into().ok()?))
    }
    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.field()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    /// Nothing may be left over.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Request::Proxied { source, destination, tls } => {
                Writer::new(1).field(source.as_bytes()).field(destination.as_bytes()).field(&[u8::from(*tls)])
            }
            Request::StartTls => Writer::new(2),
            Request::Sign { scheme, message } => Writer::new(3).field(&scheme.to_be_bytes()).field(message),
            Request::ScramStart { sha256, user } => Writer::new(4).field(&[u8::from(*sha256)]).field(user),
            Request::Login { proof, tls } => {
                let writer = Writer::new(5).field(tls.as_bytes());
                match proof {
                    Proof::Password { mechanism, authzid, user, password } => writer
                        .field(b"p")
                        .field(mechanism.as_bytes())
                        .field(authzid)
                        .field(user)
                        .field(password.expose()),
                    Proof::Apop { user, digest } => writer.field(b"a").field(user).field(digest),
                    Proof::CramMd5 { user, digest } => writer.field(b"c").field(user).field(digest),
                    Proof::Scram { sha256, plus, auth_message, proof } => writer
                        .field(b"s")
                        .field(&[u8::from(*sha256)])
                        .field(&[u8::from(*plus)])
                        .field(auth_message)
                        .field(proof),
                }
            }
            Request::Handover { unread, state } => Writer::new(6).field(unread).field(state),
            Request::Ended { why, detail, tls } => {
                Writer::new(7).field(&[*why as u8]).field(detail.as_bytes()).field(tls.as_bytes())
            }
            Request::Panicked { what } => Writer::new(8).field(what.as_bytes()),
            Request::NotStarted { what } => Writer::new(9).field(what.as_bytes()),
        }
        .finish()
    }

    /// `None`: not a message that our front would send.
    pub fn decode(kind: u8, body: &[u8]) -> Option<Request> {
        let mut r = Reader(body);
        let request = match kind {
            1 => Request::Proxied { source: r.text()?, destination: r.text()?, tls: r.flag()? },
            2 => Request::StartTls,
            3 => Request::Sign {
                scheme: u16::from_be_bytes(r.field()?.try_into().ok()?),
                message: r.octets()?,
            },
            4 => Request::ScramStart { sha256: r.flag()?, user: r.octets()? },
            5 => {
                let tls = r.text()?;
                let proof = match r.field()? {
                    b"p" => Proof::Password {
                        mechanism: r.text()?,
                        authzid: r.octets()?,
                        user: r.octets()?,
                        password: Secret::new(r.octets()?),
                    },
                    b"a" => Proof::Apop { user: r.octets()?, digest: r.octets()? },
                    b"c" => Proof::CramMd5 { user: r.octets()?, digest: r.octets()? },
                    b"s" => Proof::Scram {
                        sha256: r.flag()?,
                        plus: r.flag()?,
                        auth_message: r.octets()?,
                        proof: r.octets()?,
                    },
                    _ => return None,
                };
                Request::Login { proof, tls }
            }
            6 => Request::Handover { unread: r.octets()?, state: r.octets()? },
            7 => Request::Ended { why: Why::decode(r.field()?)?, detail: r.text()?, tls: r.text()? },
            8 => Request::Panicked { what: r.text()? },
            9 => Request::NotStarted { what: r.text()? },
            _ => return None,
        };
        r.end()?;
        Some(request)
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Refused(why) => Writer::new(1).field(&[*why as u8]),
            Answer::Tls(offer) => {
                let mut writer = Writer::new(2).field(&[u8::from(offer.only_tls13)]);
                let schemes: Vec<u8> = offer.schemes.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
                writer = writer.field(&schemes);
                for certificate in &offer.chain {
                    writer = writer.field(certificate);
                }
                writer
            }
            Answer::Signature(signature) => Writer::new(3).field(signature),
            Answer::Scram { salt, iterations, nonce } => {
                Writer::new(4).field(salt).field(&iterations.to_be_bytes()).field(nonce.as_bytes())
            }
            Answer::Accepted { server_signature } => Writer::new(5).field(server_signature),
            Answer::Way { trusted } => Writer::new(6).field(&[u8::from(*trusted)]),
        }
        .finish()
    }

    fn decode(kind: u8, body: &[u8]) -> Option<Answer> {
        let mut r = Reader(body);
        let answer = match kind {
            1 => Answer::Refused(match r.field()? {
                [0] => Refused::Credentials,
                [1] => Refused::Expired,
                [2] => Refused::NotAllowed,
                [3] => Refused::Temporary,
                [4] => Refused::OutOfTurn,
                _ => return None,
            }),
            2 => {
                let only_tls13 = r.flag()?;
                let pairs = r.field()?.chunks(2);
                let scheme = |pair: &[u8]| Some(u16::from_be_bytes(pair.try_into().ok()?));
                let schemes = pairs.map(scheme).collect::<Option<Vec<u16>>>()?;
                let mut chain = Vec::new();
                while r.end().is_none() {
                    chain.push(r.octets()?);
                }
                Answer::Tls(crate::tls::Offer { chain, schemes, only_tls13 })
            }
            3 => Answer::Signature(r.octets()?),
            4 => Answer::Scram {
                salt: r.octets()?,
                iterations: u32::from_be_bytes(r.field()?.try_into().ok()?),
                nonce: r.text()?,
            },
            5 => Answer::Accepted { server_signature: r.octets()? },
            6 => Answer::Way { trusted: r.flag()? },
            _ => return None,
        };
        r.end()?;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let requests = [
            Request::Proxied { source: "192.0.2.1:5".into(), destination: "[::1]:110".into(), tls: true },
            Request::StartTls,
            Request::Sign { scheme: 0x0403, message: vec![1, 2, 3] },
            Request::ScramStart { sha256: true, user: b"alice".to_vec() },
            Request::Login {
                proof: Proof::Password {
                    mechanism: "PLAIN".into(),
                    authzid: vec![],
                    user: b"alice".to_vec(),
                    password: Secret::new(b"\xff\0".to_vec()),
                },
                tls: "TLSv1.3".into(),
            },
            Request::Login { proof: Proof::Apop { user: vec![1], digest: vec![2] }, tls: String::new() },
            Request::Login { proof: Proof::CramMd5 { user: vec![], digest: vec![] }, tls: String::new() },
            Request::Login {
                proof: Proof::Scram {
                    sha256: true,
                    plus: true,
                    auth_message: vec![9; 300],
                    proof: vec![8; 32],
                },
                tls: String::new(),
            },
            Request::Handover { unread: b"STAT\r\n".to_vec(), state: vec![1] },
            Request::Ended { why: Why::Handshake, detail: "no shared cipher".into(), tls: String::new() },
            Request::Panicked { what: "a bug".into() },
            Request::NotStarted { what: "chroot".into() },
        ];
        for request in requests {
            let octets = request.encode();
            assert_eq!(Request::decode(octets[0], &octets[5..]), Some(request.clone()));
            for cut in 5..octets.len() {
                assert_eq!(Request::decode(octets[0], &octets[5..cut]), None, "{request:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn answers_survive_the_way() {
        let offer = crate::tls::Offer {
            chain: vec![vec![5; 900], vec![6; 10]],
            schemes: vec![1, 2],
            only_tls13: true,
        };
        for answer in [
            Answer::Refused(Refused::OutOfTurn),
            Answer::Tls(offer),
            Answer::Signature(vec![1; 72]),
            Answer::Scram { salt: vec![1; 16], iterations: 4096, nonce: "n".into() },
            Answer::Accepted { server_signature: vec![] },
            Answer::Way { trusted: true },
        ] {
            let octets = answer.encode();
            assert_eq!(Answer::decode(octets[0], &octets[5..]), Some(answer));
        }
    }
}
