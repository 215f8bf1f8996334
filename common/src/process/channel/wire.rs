//! The messages as octets: fields in their order, and nothing that was not there.

use super::{Answer, Proof, Refused, Request, Why};
use crate::secret::Secret;
use crate::tls::proof::ClientProof;
use crate::tls::{AskClient, Offer};

/// Builds a message: kind, length, fields.
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message of this kind.
    pub fn new(kind: u8) -> Writer {
        // Room for a usual message at once: a copy left behind by growing would not be wiped.
        Writer::sized(kind, 4096)
    }

    /// One with room for so many octets, for what is no secret: less memory is touched.
    pub fn sized(kind: u8, octets: usize) -> Writer {
        let mut octets = Vec::with_capacity(octets);
        octets.extend_from_slice(&[kind, 0, 0, 0, 0]);
        Writer(octets)
    }
    /// Fields longer than a length can say are cut: the receiver then refuses what no longer makes sense.
    pub fn field(mut self, octets: &[u8]) -> Writer {
        let octets = octets.get(..usize::from(u16::MAX)).unwrap_or(octets);
        self.0.extend_from_slice(&(octets.len() as u16).to_be_bytes());
        self.0.extend_from_slice(octets);
        self
    }
    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len().saturating_sub(5)).unwrap_or(u32::MAX).to_be_bytes();
        for (place, octet) in self.0.iter_mut().skip(1).zip(length) {
            *place = octet;
        }
        self.0
    }
}

/// Reads fields back; every read says whether it was there.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field.
    pub fn field(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(field)
    }
    /// The next field, as octets of its own.
    pub fn octets(&mut self) -> Option<Vec<u8>> {
        Some(self.field()?.to_vec())
    }
    /// The next field, which must be UTF-8.
    pub fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.field()?).ok()?.to_owned())
    }
    /// The next field, which must be a number.
    pub fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.field()?.try_into().ok()?))
    }
    /// The next field, which must be a signature scheme's number.
    pub fn scheme(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.field()?.try_into().ok()?))
    }
    /// The next field, which must be yes or no.
    pub fn flag(&mut self) -> Option<bool> {
        match self.field()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    /// Nothing may be left over.
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl Why {
    /// Each of them.
    pub const ALL: [Why; 7] = [
        Why::Closed,
        Why::Left,
        Why::Late,
        Why::TooManyBadCommands,
        Why::InClear,
        Why::Handshake,
        Why::NoProxyHeader,
    ];

    fn decode(octets: &[u8]) -> Option<Why> {
        Why::ALL.into_iter().find(|why| octets == [*why as u8])
    }
}

impl Request {
    pub(in crate::process) fn encode(&self) -> Vec<u8> {
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
                    Proof::External { authzid } => writer.field(b"e").field(authzid),
                }
            }
            Request::Handover { unread, state } => Writer::new(6).field(unread).field(state),
            Request::Ended { why, detail, tls, counts } => Writer::sized(7, 100 + counts.len())
                .field(&[*why as u8])
                .field(detail.as_bytes())
                .field(tls.as_bytes())
                .field(counts.as_bytes()),
            Request::Panicked { what } => Writer::new(8).field(what.as_bytes()),
            Request::NotStarted { what } => Writer::new(9).field(what.as_bytes()),
            Request::Judge(ClientProof { transcript, scheme, signature }) => {
                Writer::new(11).field(transcript).field(&scheme.to_be_bytes()).field(signature)
            }
            Request::Service(question) => Writer::sized(10, question.len() + 8).field(question),
        }
        .finish()
    }

    /// `None`: not a message that our front would send.
    pub fn decode(kind: u8, body: &[u8]) -> Option<Request> {
        let mut r = Reader(body);
        let request = match kind {
            1 => Request::Proxied { source: r.text()?, destination: r.text()?, tls: r.flag()? },
            2 => Request::StartTls,
            3 => Request::Sign { scheme: r.scheme()?, message: r.octets()? },
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
                    b"e" => Proof::External { authzid: r.octets()? },
                    _ => return None,
                };
                Request::Login { proof, tls }
            }
            6 => Request::Handover { unread: r.octets()?, state: r.octets()? },
            7 => Request::Ended {
                why: Why::decode(r.field()?)?,
                detail: r.text()?,
                tls: r.text()?,
                counts: r.text()?,
            },
            8 => Request::Panicked { what: r.text()? },
            9 => Request::NotStarted { what: r.text()? },
            11 => Request::Judge(ClientProof {
                transcript: r.octets()?,
                scheme: r.scheme()?,
                signature: r.octets()?,
            }),
            10 => Request::Service(r.octets()?),
            _ => return None,
        };
        r.end()?;
        Some(request)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Refused(why) => Writer::new(1).field(&[*why as u8]),
            Answer::Tls(offer) => {
                let mut writer = Writer::new(2).field(&[u8::from(offer.only_tls13)]);
                let schemes: Vec<u8> = offer.schemes.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
                writer = writer.field(&schemes);
                // No certificates: the client is not asked.
                let asked = offer.ask_client.as_ref();
                writer = writer.field(asked.map(|asked| asked.random.as_slice()).unwrap_or_default());
                let authorities = asked.map(|asked| asked.authorities.as_slice()).unwrap_or_default();
                writer = writer.field(&(authorities.len() as u64).to_be_bytes());
                for authority in authorities {
                    writer = writer.field(authority);
                }
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
            Answer::Judged { external } => Writer::new(8).field(&[u8::from(*external)]),
            Answer::Service(answer) => Writer::sized(7, answer.len() + 8).field(answer),
        }
        .finish()
    }

    pub(super) fn decode(kind: u8, body: &[u8]) -> Option<Answer> {
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
                let random = r.field()?;
                let authorities = (0..r.number()?).map(|_| r.octets()).collect::<Option<Vec<_>>>()?;
                let ask_client = match random {
                    [] if authorities.is_empty() => None,
                    random => Some(AskClient { random: random.try_into().ok()?, authorities }),
                };
                let mut chain = Vec::new();
                while r.end().is_none() {
                    chain.push(r.octets()?);
                }
                Answer::Tls(Offer { chain, schemes, only_tls13, ask_client })
            }
            3 => Answer::Signature(r.octets()?),
            4 => Answer::Scram {
                salt: r.octets()?,
                iterations: u32::from_be_bytes(r.field()?.try_into().ok()?),
                nonce: r.text()?,
            },
            5 => Answer::Accepted { server_signature: r.octets()? },
            6 => Answer::Way { trusted: r.flag()? },
            8 => Answer::Judged { external: r.flag()? },
            7 => Answer::Service(r.octets()?),
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
            Request::Judge(ClientProof { transcript: vec![1; 300], scheme: 0x0403, signature: vec![2; 70] }),
            Request::Login { proof: Proof::External { authzid: b"alice".to_vec() }, tls: String::new() },
            Request::Handover { unread: b"STAT\r\n".to_vec(), state: vec![1] },
            Request::Ended {
                why: Why::Handshake,
                detail: "no shared cipher".into(),
                tls: String::new(),
                counts: "quit=1".into(),
            },
            Request::Panicked { what: "a bug".into() },
            Request::NotStarted { what: "chroot".into() },
            Request::Service(b"who?".to_vec()),
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
        let offer = Offer {
            chain: vec![vec![5; 900], vec![6; 10]],
            schemes: vec![1, 2],
            only_tls13: true,
            ask_client: None,
        };
        let asking = AskClient { random: [7; 32], authorities: vec![vec![1; 40], vec![2; 50]] };
        for answer in [
            Answer::Refused(Refused::OutOfTurn),
            Answer::Tls(offer.clone()),
            Answer::Tls(Offer { ask_client: Some(asking), ..offer.clone() }),
            Answer::Tls(Offer { ask_client: Some(AskClient::default()), ..offer }),
            Answer::Judged { external: true },
            Answer::Signature(vec![1; 72]),
            Answer::Scram { salt: vec![1; 16], iterations: 4096, nonce: "n".into() },
            Answer::Accepted { server_signature: vec![] },
            Answer::Way { trusted: true },
            Answer::Service(vec![0; 500]),
        ] {
            let octets = answer.encode();
            assert_eq!(Answer::decode(octets[0], &octets[5..]), Some(answer));
        }
    }
}
