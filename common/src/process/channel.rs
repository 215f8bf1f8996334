//! The messages between front and guard: typed, bounded, one purpose each.
//!
//! Both directions are a socket pair; a message is one octet of kind, four of length, and fields of two octets of length
//! each. The guard treats what it receives as hostile: the front may have been taken over by a client. The front treats
//! the guard's word as good but still bounded, because a bug must not become growth.
//!
//! After [`Answer::Accepted`] and [`Request::Handover`] no more messages pass; under TLS the same socket pair then
//! carries the plaintext between front and session.

mod wire;

pub use wire::{Reader, Writer};

use crate::secret::Secret;
use crate::sys::fd::{self, Interest};
use crate::sys::socket;
use crate::tls::proof::ClientProof;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// Octets of one message from front to guard.
pub const REQUEST_MAX: usize = 16 * 1024;
/// Octets of the one message in which the front may show the guard a client's certificate: a whole handshake.
pub const JUDGE_MAX: usize = 64 * 1024;
/// Octets of one message from guard to front: a certificate chain fits.
pub const ANSWER_MAX: usize = 56 * 1024;
/// Octets that are read before it is known how long a message is: most of a service's are shorter.
const FIRST_READ: usize = 512;

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
    /// RFC 4422 A EXTERNAL: nothing. The guard itself has judged the client's certificate.
    External { authzid: Vec<u8> },
}

impl Proof {
    /// The mechanism's name, as the log has it.
    pub fn mechanism(&self) -> &str {
        match self {
            Proof::Password { mechanism, .. } => mechanism,
            Proof::External { .. } => "EXTERNAL",
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
    /// The client has shown a certificate in the handshake: is it good?
    Judge(ClientProof),
    /// SCRAM, first step: salt and iterations for this user, please.
    ScramStart { sha256: bool, user: Vec<u8> },
    /// May this client log in? `tls` describes the session for the log; empty means in clear.
    Login { proof: Proof, tls: String },
    /// After acceptance: what the session must know of the conversation so far. `unread` is input that the front read but
    /// did not use; `state` is the protocol's own.
    Handover { unread: Vec<u8>, state: Vec<u8> },
    /// A question of the protocol's own, in programs whose guard is a [service](super::service).
    Service(Vec<u8>),
    /// The conversation ended without a login; `detail` says more about a failed handshake, `counts` is the protocol's own
    /// word for the log.
    Ended { why: Why, detail: String, tls: String, counts: String },
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
    /// [`Request::Judge`]: the client has the certificate's key. Whether EXTERNAL can succeed with it.
    Judged { external: bool },
    /// [`Request::ScramStart`]: salt, iterations and the server's part of the nonce.
    Scram { salt: Vec<u8>, iterations: u32, nonce: String },
    /// [`Request::Login`]: welcome. SCRAM clients are owed the server's signature.
    Accepted { server_signature: Vec<u8> },
    /// [`Request::Service`]: the protocol's own answer.
    Service(Vec<u8>),
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
    /// See [`Channel::by_turns`].
    by_turns: bool,
    /// What came with the last message and belongs to the next one. The TLS library wants what it calls to be fit for threads.
    ahead: Mutex<zeroize::Zeroizing<Vec<u8>>>,
}

impl Channel {
    /// Takes one end over.
    pub fn new(socket: OwnedFd, patience: Duration) -> Channel {
        Channel { socket, patience, by_turns: false, ahead: Mutex::default() }
    }

    /// For programs whose channel carries messages to its end, one side after the other: a message is taken with one system
    /// call, and the kernel watches the time. The guard may answer twice, and the front may ask behind what it has only told. Silence of more
    /// than `longest` ends every wait.
    pub fn by_turns(self, longest: Duration) -> io::Result<Channel> {
        socket::limit_receive(&self.socket, longest)?;
        Ok(Channel { by_turns: true, ..self })
    }

    /// For a guard that waits for something else at the same time.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether more has come than was taken: the socket does not tell.
    pub fn has_more(&self) -> bool {
        !self.ahead().is_empty()
    }

    /// The socket, when the messages are over.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Front: asks and waits for the answer.
    pub fn ask(&self, request: &Request) -> io::Result<Answer> {
        self.tell(request)?;
        self.hear()
    }

    /// Front: the next answer, where nothing has to be asked for it.
    pub fn hear(&self) -> io::Result<Answer> {
        let (kind, body) = self.receive(ANSWER_MAX, self.patience)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Answer::decode(kind, &body).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Front: waits for an answer, or for something to read or room to write elsewhere. `true`: that is there.
    pub fn wait_beside(
        &self,
        elsewhere: BorrowedFd<'_>,
        interest: Interest,
        patience: Duration,
    ) -> io::Result<bool> {
        if !self.ahead().is_empty() {
            return Ok(false);
        }
        let both = [(elsewhere, interest), (self.socket.as_fd(), Interest::Read)];
        let [other, guard] = fd::poll(both, Some(patience))?;
        let is_there = other.read || other.write;
        let heard = is_there || [guard.read, guard.hangup, other.hangup].contains(&true);
        if heard { Ok(is_there) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Front: tells something that is not answered.
    pub fn tell(&self, request: &Request) -> io::Result<()> {
        self.send(request.encode())
    }

    /// Guard: the next request, of at most so many octets; `None` when the front is gone.
    pub fn next_request(&self, octets_max: usize, patience: Duration) -> io::Result<Option<Request>> {
        match self.receive(octets_max, patience)? {
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
        if self.by_turns {
            return self.receive_whole(max, until);
        }
        let mut head = [0; 5];
        self.wait(Interest::Read, until)?;
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

    fn ahead(&self) -> MutexGuard<'_, zeroize::Zeroizing<Vec<u8>>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message with all that is there at once.
    fn receive_whole(
        &self,
        max: usize,
        until: Instant,
    ) -> io::Result<Option<(u8, zeroize::Zeroizing<Vec<u8>>)>> {
        let mut first = [0; FIRST_READ];
        let mut ahead = self.ahead();
        let mut filled = ahead.len().min(FIRST_READ);
        let (known, _) = first.split_at_mut(filled);
        known.copy_from_slice(ahead.get(..filled).unwrap_or_default());
        ahead.clear();
        let (kind, length) = loop {
            if let Some((&[kind, ref length @ ..], _)) =
                first.get(..filled).and_then(<[u8]>::split_first_chunk::<5>)
            {
                break (kind, u32::from_be_bytes(*length) as usize);
            }
            let room = first.get_mut(filled..).unwrap_or_default();
            match fd::wait_and_receive(self.socket.as_fd(), room) {
                Ok(0) => return Ok(None),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        };
        if length > max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let there = first.get(5..filled).unwrap_or_default();
        let (there, next) = there.split_at(there.len().min(length));
        ahead.extend_from_slice(next);
        let mut body = zeroize::Zeroizing::new(vec![0; length]);
        let (known, rest) = body.split_at_mut(there.len());
        known.copy_from_slice(there);
        first.zeroize();
        Ok(self.read_exact(rest, until)?.then_some((kind, body)))
    }

    /// `Ok(false)`: the other end is gone.
    fn read_exact(&self, mut buffer: &mut [u8], until: Instant) -> io::Result<bool> {
        while !buffer.is_empty() {
            match fd::receive(self.socket.as_fd(), buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => buffer = buffer.get_mut(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side sends a message as a whole: this is rare.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Interest::Read, until)?
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Channel, Channel) {
        let (front, guard) = fd::socketpair().unwrap();
        let open = |socket| Channel::new(socket, SOON).by_turns(SOON).unwrap();
        (open(front), open(guard))
    }

    #[test]
    fn the_guard_may_say_several_things_before_the_front_listens() {
        let (front, guard) = pair();
        let long = vec![b'x'; 5 * FIRST_READ];
        let said = [b"Go".to_vec(), Vec::new(), long, b"451".to_vec()];
        for words in &said {
            guard.answer(&Answer::Service(words.clone())).unwrap();
        }
        for words in &said {
            let Answer::Service(heard) = front.hear().unwrap() else { panic!("{words:?}") };
            assert_eq!(&heard, words);
        }
        drop(guard);
        assert_eq!(front.hear().map(drop).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_front_can_listen_to_somebody_else() {
        let (front, guard) = pair();
        let (ours, theirs) = fd::socketpair().unwrap();
        let wait_for = |interest, patience| {
            front.wait_beside(ours.as_fd(), interest, patience).map_err(|error| error.kind())
        };
        let wait = |patience| wait_for(Interest::Read, patience);
        assert_eq!(wait(Duration::from_millis(10)), Err(io::ErrorKind::TimedOut));
        guard.answer(&Answer::Service(b"Go".to_vec())).unwrap();
        assert_eq!(wait(SOON), Ok(false));
        fd::send(theirs.as_fd(), b"x").unwrap();
        assert_eq!(wait(SOON), Ok(true));
        // What has been read already is an answer, too.
        guard.answer(&Answer::Service(b"451".to_vec())).unwrap();
        front.hear().unwrap();
        assert_eq!(wait(SOON), Ok(false));
        front.hear().unwrap();
        assert_eq!(wait(SOON), Ok(true));
        fd::receive(ours.as_fd(), &mut [0]).unwrap();
        let room = |patience| wait_for(Interest::Write, patience);
        assert_eq!(room(SOON), Ok(true));
        while fd::send(ours.as_fd(), &[0; 4096]).is_ok() {}
        assert_eq!(room(Duration::from_millis(10)), Err(io::ErrorKind::TimedOut));
        drop(guard);
        assert_eq!((wait(SOON), room(SOON)), (Ok(false), Ok(false)));
    }

    #[test]
    fn what_the_front_tells_is_taken_one_by_one() {
        let (front, guard) = pair();
        let next = || match guard.next_request(REQUEST_MAX, SOON) {
            Ok(Some(Request::Service(question))) => question,
            other => panic!("{other:?}"),
        };
        for count in [1, 2, 40] {
            for number in 0..count {
                front.tell(&Request::Service(vec![number; 30])).unwrap();
            }
            for number in 0..count {
                assert_eq!(next(), vec![number; 30]);
                // Of many not all are read at once.
                assert!(guard.has_more() || number + 1 == count || count > 2);
            }
            assert!(!guard.has_more());
        }
    }
}
