//! The messages of SCRAM (RFC 5802 5 and 7). Hostile input; pure. The computations are in [`crate::auth::scram`].
//!
//! The order of an exchange: [`ClientFirst::parse`], [`server_first`], [`ClientFinal::parse`] with
//! [`ClientFinal::check`], the proof, [`server_final`].

use super::{SaslError, decode, encode};

/// Longest nonce of a client, in octets. RFC 5802 names no bound; clients send 16 to 48.
pub const MAX_NONCE: usize = 256;

/// The kind of channel binding that the server can compute (RFC 9266): keying material exported from TLS 1.3.
const BINDING: &str = "tls-exporter";

/// What the connection offers and the client chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// No `-PLUS` mechanism was offered (no TLS).
    NotOffered,
    /// One was, but the client chose a plain one.
    Offered,
    /// The client chose a `-PLUS` mechanism.
    Chosen,
}

/// client-first-message: `gs2-header n=user,r=nonce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// The gs2 header with its last comma, as it was sent.
    pub gs2_header: String,
    /// Whether the client binds the channel; only with [`Plus::Chosen`].
    pub binds: bool,
    /// Whom to act as, decoded.
    pub authzid: Option<String>,
    /// Whose password it is, decoded.
    pub user: String,
    /// The client's nonce.
    pub nonce: String,
    /// client-first-message-bare, as it was sent: the beginning of AuthMessage.
    pub bare: String,
}

impl ClientFirst {
    /// Reads the message. A client that says it could bind channels but believes the server cannot, although the
    /// server offered it, has been lied to (RFC 5802 6): [`SaslError::ChannelBinding`].
    pub fn parse(message: &[u8], plus: Plus) -> Result<ClientFirst, SaslError> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(SaslError::Syntax)?;
        let (authzid, bare) = rest.split_once(',').ok_or(SaslError::Syntax)?;
        let binds = match (flag, plus) {
            ("n", Plus::NotOffered | Plus::Offered) | ("y", Plus::NotOffered) => false,
            ("n" | "y", _) => return Err(SaslError::ChannelBinding),
            _ => match flag.strip_prefix("p=").ok_or(SaslError::Syntax)? {
                BINDING if plus == Plus::Chosen => true,
                _ => return Err(SaslError::ChannelBinding),
            },
        };
        let authzid = match authzid {
            "" => None,
            named => Some(saslname(named.strip_prefix("a=").ok_or(SaslError::Syntax)?)?),
        };
        let mut attributes = bare.split(',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with("m=") {
            return Err(SaslError::Extension);
        }
        let user = saslname(first.strip_prefix("n=").ok_or(SaslError::Syntax)?)?;
        let nonce =
            attributes.next().and_then(|item| item.strip_prefix("r=")).filter(|nonce| is_nonce(nonce));
        let nonce = nonce.ok_or(SaslError::Syntax)?.to_owned();
        extensions(attributes)?;
        let gs2_header = text.get(..text.len() - bare.len()).unwrap_or_default().to_owned();
        Ok(ClientFirst { gs2_header, binds, authzid, user, nonce, bare: bare.to_owned() })
    }
}

/// server-first-message. `nonce` is the server's part, printable and without comma.
pub fn server_first(client_nonce: &str, nonce: &str, salt: &[u8], iterations: u32) -> String {
    format!("r={client_nonce}{nonce},s={},i={iterations}", encode(salt))
}

/// client-final-message: `c=binding,r=nonce,p=proof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFinal {
    /// The gs2 header and, with a binding, its data; decoded.
    pub binding: Vec<u8>,
    /// Both nonces.
    pub nonce: String,
    /// ClientProof, decoded.
    pub proof: Vec<u8>,
    /// The message without its proof, as it was sent: the end of AuthMessage.
    pub without_proof: String,
}

impl ClientFinal {
    /// Reads the message.
    pub fn parse(message: &[u8]) -> Result<ClientFinal, SaslError> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(SaslError::Syntax)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|item| item.strip_prefix("c=")).ok_or(SaslError::Syntax)?;
        let nonce = attributes.next().and_then(|item| item.strip_prefix("r=")).ok_or(SaslError::Syntax)?;
        extensions(attributes)?;
        Ok(ClientFinal {
            binding: decode(binding.as_bytes())?.to_vec(),
            nonce: nonce.to_owned(),
            proof: decode(proof.as_bytes())?.to_vec(),
            without_proof: without_proof.to_owned(),
        })
    }

    /// Whether the message answers this exchange: the nonces are ours and the binding says what the first message
    /// said, followed by `data`, the connection's own binding (empty without `-PLUS`).
    pub fn check(&self, first: &ClientFirst, server_nonce: &str, data: &[u8]) -> Result<(), SaslError> {
        use subtle::ConstantTimeEq;
        if self.nonce != [first.nonce.as_str(), server_nonce].concat() {
            return Err(SaslError::Syntax);
        }
        // A binding of no data would bind nothing.
        if first.binds == data.is_empty() {
            return Err(SaslError::ChannelBinding);
        }
        let expected = [first.gs2_header.as_bytes(), data].concat();
        let same: bool = self.binding.ct_eq(&expected).into();
        if same { Ok(()) } else { Err(SaslError::ChannelBinding) }
    }
}

/// AuthMessage (RFC 5802 3).
pub fn auth_message(first: &ClientFirst, server_first: &str, last: &ClientFinal) -> String {
    [first.bare.as_str(), server_first, &last.without_proof].join(",")
}

/// server-final-message with the server's signature.
pub fn server_final(signature: &[u8]) -> String {
    format!("v={}", encode(signature))
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    if message.len() > super::MAX_MESSAGE {
        return Err(SaslError::TooLong);
    }
    std::str::from_utf8(message).ok().filter(|text| !text.contains('\0')).ok_or(SaslError::Syntax)
}

/// saslname: `=2C` is a comma, `=3D` an equals sign, and no other `=` may occur.
fn saslname(text: &str) -> Result<String, SaslError> {
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (c, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(SaslError::Syntax),
        };
        name.push(c);
        name.push_str(rest);
    }
    if name.is_empty() { Err(SaslError::Syntax) } else { Ok(name) }
}

fn is_nonce(text: &str) -> bool {
    (1..=MAX_NONCE).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic() && c != b',')
}

/// Optional extensions `x=value` are ignored (RFC 5802 5.1); anything else is malformed.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), SaslError> {
    let is_attribute = |item: &str| {
        let mut chars = item.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.next() == Some('=')
            && chars.next().is_some()
    };
    if attributes.all(is_attribute) { Ok(()) } else { Err(SaslError::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::crypt::Work;
    use crate::auth::scram::{ScramHash, ScramKeys};
    use proptest::prelude::*;

    /// RFC 5802 5 and RFC 7677 3, whole exchanges.
    #[test]
    fn the_exchanges_of_the_rfcs() {
        for (hash, client_first, server_nonce, salt, client_final, expected) in [
            (
                ScramHash::Sha1,
                "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "3rfcNHYJY1ZVvWVs7j",
                "QSXCR+Q6sek8bf92",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                ScramHash::Sha256,
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let first = ClientFirst::parse(client_first.as_bytes(), Plus::NotOffered).unwrap();
            assert_eq!((first.user.as_str(), first.gs2_header.as_str()), ("user", "n,,"));
            let salt = decode(salt.as_bytes()).unwrap();
            let challenge = server_first(&first.nonce, server_nonce, &salt, 4096);
            let last = ClientFinal::parse(client_final.as_bytes()).unwrap();
            last.check(&first, server_nonce, b"").unwrap();
            assert_eq!(last.check(&first, "other", b""), Err(SaslError::Syntax));
            assert_eq!(last.check(&first, server_nonce, b"data"), Err(SaslError::ChannelBinding));
            let keys = ScramKeys::derive(hash, b"pencil", &salt, 4096, &mut Work::default());
            let message = auth_message(&first, &challenge, &last);
            let signature = keys.verify_proof(message.as_bytes(), &last.proof).unwrap();
            assert_eq!(server_final(&signature), expected);
        }
    }

    #[test]
    fn channel_binding_cannot_be_argued_away() {
        use Plus::{Chosen, NotOffered, Offered};
        for (flag, plus, expected) in [
            ("n", NotOffered, Ok(false)),
            ("n", Offered, Ok(false)),
            ("n", Chosen, Err(SaslError::ChannelBinding)),
            ("y", NotOffered, Ok(false)),
            ("y", Offered, Err(SaslError::ChannelBinding)),
            ("y", Chosen, Err(SaslError::ChannelBinding)),
            ("p=tls-exporter", Chosen, Ok(true)),
            ("p=tls-server-end-point", Chosen, Err(SaslError::ChannelBinding)),
            ("p=tls-unique", Chosen, Err(SaslError::ChannelBinding)),
            ("p=tls-exporter", Offered, Err(SaslError::ChannelBinding)),
            ("p=tls-exporter", NotOffered, Err(SaslError::ChannelBinding)),
            ("p", Chosen, Err(SaslError::Syntax)),
            ("", NotOffered, Err(SaslError::Syntax)),
            ("N", NotOffered, Err(SaslError::Syntax)),
        ] {
            let result = ClientFirst::parse(format!("{flag},,n=user,r=abc").as_bytes(), plus);
            assert_eq!(result.map(|first| first.binds), expected, "{flag} {plus:?}");
        }
        let first = ClientFirst::parse(b"p=tls-exporter,,n=user,r=abc", Chosen).unwrap();
        let last = |data: &[u8]| {
            let binding = encode(&[b"p=tls-exporter,,", data].concat());
            ClientFinal::parse(format!("c={binding},r=abcdef,p=AAAA").as_bytes()).unwrap()
        };
        assert_eq!(last(b"key material").check(&first, "def", b"key material"), Ok(()));
        assert_eq!(
            last(b"key materiel").check(&first, "def", b"key material"),
            Err(SaslError::ChannelBinding)
        );
        assert_eq!(last(b"").check(&first, "def", b"key material"), Err(SaslError::ChannelBinding));
        assert_eq!(last(b"").check(&first, "def", b""), Err(SaslError::ChannelBinding));
    }

    #[test]
    fn first_messages() {
        let parse = |text: &str| ClientFirst::parse(text.as_bytes(), Plus::NotOffered);
        let first = parse("n,a=b=2Cc=3D,n=us=3Der=2C,r=a!b,x=ignored").unwrap();
        assert_eq!(
            (first.authzid.as_deref(), first.user.as_str(), first.nonce.as_str()),
            (Some("b,c="), "us=er,", "a!b")
        );
        assert_eq!(
            (first.gs2_header.as_str(), first.bare.as_str()),
            ("n,a=b=2Cc=3D,", "n=us=3Der=2C,r=a!b,x=ignored")
        );
        assert_eq!(parse("n,,m=x,n=user,r=abc"), Err(SaslError::Extension));
        for text in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=,r=abc",
            "n,,n=user,r=",
            "n,,n=us=er,r=abc",
            "n,,n=us=2c,r=abc",
            "n,x=b,n=user,r=abc",
            "n,,n=user,r=a c",
            "n,,n=user,r=\u{e4}",
            "n,,n=user,r=abc,",
            "n,,n=user,r=abc,xy",
            "n,,n=user\0,r=abc",
            "n,,r=abc,n=user",
            "n,,N=user,r=abc",
            "n,a=,n=user,r=abc",
        ] {
            assert_eq!(parse(text), Err(SaslError::Syntax), "{text:?}");
        }
        assert_eq!(parse(&format!("n,,n=user,r={}", "a".repeat(MAX_NONCE + 1))), Err(SaslError::Syntax));
        assert_eq!(parse(&format!("n,,n={},r=a", "a".repeat(2000))), Err(SaslError::TooLong));
    }

    #[test]
    fn final_messages() {
        for text in [
            "",
            "c=biws",
            "c=biws,r=a",
            "r=a,c=biws,p=AAAA",
            "c=biws,r=a,p=A",
            "c=b!,r=a,p=AAAA",
            "c=biws,p=AAAA",
            ",p=AAAA",
            "c=biws,r=a,y,p=AAAA",
        ] {
            assert!(ClientFinal::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(ClientFinal::parse(b"c=biws,r=a,x=y,p=AAAA").unwrap().without_proof, "c=biws,r=a,x=y");
    }

    proptest! {
        #[test]
        fn no_message_panics(message: Vec<u8>, text in "[nycprsa=,0-9A-Z+/]{0,60}") {
            for plus in [Plus::NotOffered, Plus::Offered, Plus::Chosen] {
                let _ = ClientFirst::parse(&message, plus);
                let _ = ClientFirst::parse(text.as_bytes(), plus);
            }
            let _ = ClientFinal::parse(&message);
            let _ = ClientFinal::parse(text.as_bytes());
        }

        #[test]
        fn names_round_trip(user in "[^\0]{1,20}", nonce in "[!-+--~]{1,30}") {
            let escaped = user.replace('=', "=3D").replace(',', "=2C");
            let message = format!("n,,n={escaped},r={nonce}");
            let first = ClientFirst::parse(message.as_bytes(), Plus::NotOffered).unwrap();
            prop_assert_eq!(&first.user, &user);
            prop_assert_eq!(&first.nonce, &nonce);
            prop_assert_eq!([first.gs2_header.as_str(), &first.bare].concat(), message);
        }
    }
}
