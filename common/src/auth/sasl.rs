//! SASL messages (RFC 4422) as clients send them. Hostile input; everything here is pure.
//!
//! What is refused here is refused before anybody with rights hears of it.

pub mod scram;

use crate::secret::Secret;
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// Longest message, in octets before base64. POP3's AUTH line is 2,048 octets (DESIGN 8), of which 1,536 remain.
pub const MAX_MESSAGE: usize = 1536;

/// The same in base64.
pub const MAX_ENCODED: usize = MAX_MESSAGE.div_ceil(3) * 4;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslError {
    /// Longer than [`MAX_MESSAGE`].
    TooLong,
    /// Not base64, or base64 that no encoder writes.
    Base64,
    /// Not what the mechanism says.
    Syntax,
    /// The channel binding is not what the connection is, or the client believes there is none to be had.
    ChannelBinding,
    /// The message demands an extension that is not known.
    Extension,
}

/// Decodes a line of a SASL exchange (RFC 4648 4), strictly: padded, no blanks, no spare bits.
pub fn decode(line: &[u8]) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    if line.len() > MAX_ENCODED {
        return Err(SaslError::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| SaslError::Base64)?;
    let octets = Base64::decode_vec(text).map_err(|_| SaslError::Base64)?;
    Ok(Zeroizing::new(octets))
}

/// Decodes an initial response, where `=` stands for an empty one (RFC 4954 4, RFC 5034 4).
pub fn decode_initial(argument: &[u8]) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    if argument == b"=" { Ok(Zeroizing::default()) } else { decode(argument) }
}

/// Encodes a challenge.
pub fn encode(octets: &[u8]) -> String {
    Base64::encode_string(octets)
}

/// A PLAIN message (RFC 4616).
#[derive(Debug)]
pub struct Plain {
    /// Whom to act as; empty: the same as `authcid`.
    pub authzid: Vec<u8>,
    /// Whose password it is.
    pub authcid: Vec<u8>,
    /// The password.
    pub password: Secret,
}

/// Reads `authzid NUL authcid NUL password`: exactly three fields, the last two not empty, UTF-8.
pub fn parse_plain(message: &[u8]) -> Result<Plain, SaslError> {
    if std::str::from_utf8(message).is_err() {
        return Err(SaslError::Syntax);
    }
    let mut fields = message.split(|&c| c == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslError::Syntax);
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(SaslError::Syntax);
    }
    Ok(Plain {
        authzid: authzid.to_vec(),
        authcid: authcid.to_vec(),
        password: Secret::new(password.to_vec()),
    })
}

/// Reads what comes with EXTERNAL (RFC 4422 A.2): nothing, or an authorisation identity, UTF-8 without NUL.
pub fn parse_external(message: &[u8]) -> Result<Vec<u8>, SaslError> {
    match std::str::from_utf8(message) {
        Ok(authzid) if !authzid.contains('\0') => Ok(message.to_vec()),
        _ => Err(SaslError::Syntax),
    }
}

/// The two prompts of LOGIN (draft-murchison-sasl-login), before base64. Old clients compare them.
pub const LOGIN_PROMPTS: [&str; 2] = ["Username:", "Password:"];

/// Where a LOGIN exchange stands.
#[derive(Debug, Default)]
pub enum Login {
    /// Nothing but the mechanism has come.
    #[default]
    Name,
    /// The name has come.
    Password(Vec<u8>),
}

/// What comes next in a LOGIN exchange.
#[derive(Debug)]
pub enum LoginStep {
    /// Send the second prompt and go on with this state.
    Ask(Login),
    /// Name and password are there.
    Done(Vec<u8>, Secret),
}

impl Login {
    /// The prompt to send in this state.
    pub fn prompt(&self) -> &'static str {
        match self {
            Login::Name => LOGIN_PROMPTS[0],
            Login::Password(_) => LOGIN_PROMPTS[1],
        }
    }

    /// Takes a decoded message. Empty ones, and ones with a NUL, are refused.
    pub fn step(self, message: &[u8]) -> Result<LoginStep, SaslError> {
        if message.is_empty() || message.contains(&0) {
            return Err(SaslError::Syntax);
        }
        Ok(match self {
            Login::Name => LoginStep::Ask(Login::Password(message.to_vec())),
            Login::Password(name) => LoginStep::Done(name, Secret::new(message.to_vec())),
        })
    }
}

/// Reads a CRAM-MD5 response (RFC 2195 2), `user SP digest`: the name may have blanks, the digest is the last 32
/// hexadecimal digits.
pub fn parse_cram_md5(message: &[u8]) -> Result<(Vec<u8>, [u8; 32]), SaslError> {
    let blank = message.iter().rposition(|&c| c == b' ').ok_or(SaslError::Syntax)?;
    parse_name_and_digest(message.get(..blank), message.get(blank + 1..))
}

fn parse_name_and_digest(
    name: Option<&[u8]>,
    digest: Option<&[u8]>,
) -> Result<(Vec<u8>, [u8; 32]), SaslError> {
    let name = name.filter(|name| !name.is_empty() && !name.contains(&0)).ok_or(SaslError::Syntax)?;
    let digest: [u8; 32] = digest.and_then(|digits| digits.try_into().ok()).ok_or(SaslError::Syntax)?;
    if digest.iter().all(u8::is_ascii_hexdigit) {
        Ok((name.to_vec(), digest))
    } else {
        Err(SaslError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn external_names_nobody_or_somebody() {
        for good in [&b""[..], b"anna", "\u{e4}nna@example.org".as_bytes()] {
            assert_eq!(parse_external(good), Ok(good.to_vec()));
        }
        for bad in [&b"\0"[..], b"anna\0bert", b"\xff"] {
            assert_eq!(parse_external(bad), Err(SaslError::Syntax));
        }
    }

    #[test]
    fn base64_is_strict() {
        for (text, octets) in
            [("", &b""[..]), ("AA==", b"\0"), ("AGFubmEAeA==", b"\0anna\0x"), ("/+8=", b"\xff\xef")]
        {
            assert_eq!(decode(text.as_bytes()).unwrap().as_slice(), octets);
            assert_eq!(encode(octets), text);
        }
        for text in [
            "A", "AA", "AA=", "AB==", "AA==\r", " AA==", "AA== ", "AA==AA==", "A===", "=", "*", "_w==",
            "AA\0A", "\u{e4}",
        ] {
            assert_eq!(decode(text.as_bytes()).err(), Some(SaslError::Base64), "{text:?}");
        }
        assert_eq!(decode(&[b'A'; MAX_ENCODED]).unwrap().len(), MAX_MESSAGE);
        assert_eq!(decode(&[b'A'; MAX_ENCODED + 4]).err(), Some(SaslError::TooLong));
        assert!(decode_initial(b"=").unwrap().is_empty());
        assert!(decode_initial(b"==").is_err());
    }

    #[test]
    fn plain_has_three_fields() {
        let plain = parse_plain(b"\0anna\0p").unwrap();
        assert_eq!((plain.authzid.as_slice(), plain.authcid.as_slice()), (&b""[..], &b"anna"[..]));
        assert!(plain.password.equals(b"p"));
        assert_eq!(parse_plain(b"boss\0anna\0p").unwrap().authzid, b"boss");
        for message in [
            &b""[..],
            b"anna",
            b"anna\0p",
            b"\0anna\0",
            b"\0\0p",
            b"\0anna\0p\0",
            b"\0a\0b\0c",
            b"\0\0",
            b"\0anna\0\xff",
        ] {
            assert_eq!(parse_plain(message).err(), Some(SaslError::Syntax), "{message:?}");
        }
    }

    #[test]
    fn login_has_two_steps() {
        let login = Login::default();
        assert_eq!(login.prompt(), "Username:");
        let Ok(LoginStep::Ask(login)) = login.step(b"anna") else { panic!("no second step") };
        assert_eq!(login.prompt(), "Password:");
        assert!(
            matches!(login.step(b"p"), Ok(LoginStep::Done(name, password)) if name == b"anna" && password.equals(b"p"))
        );
        assert!(Login::default().step(b"").is_err());
        assert!(Login::default().step(b"an\0na").is_err());
        assert!(Login::Password(b"anna".to_vec()).step(b"").is_err());
    }

    #[test]
    fn digests() {
        let (name, digest) = parse_cram_md5(b"tim b913a602c7eda7a495b4e6e7334d3890").unwrap();
        assert_eq!((name.as_slice(), &digest), (&b"tim"[..], b"b913a602c7eda7a495b4e6e7334d3890"));
        assert_eq!(parse_cram_md5(b"t m b913a602c7eda7a495b4e6e7334d3890").unwrap().0, b"t m");
        for message in [
            &b""[..],
            b" ",
            b"tim",
            b"tim ",
            b"tim b913",
            b" b913a602c7eda7a495b4e6e7334d3890",
            b"tim b913a602c7eda7a495b4e6e7334d389g",
            b"tim b913a602c7eda7a495b4e6e7334d38900",
            b"t\0m b913a602c7eda7a495b4e6e7334d3890",
        ] {
            assert_eq!(parse_cram_md5(message).err(), Some(SaslError::Syntax));
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(message: Vec<u8>) {
            let _ = decode(&message);
            let _ = decode_initial(&message);
            let _ = parse_plain(&message);
            let _ = parse_cram_md5(&message);
            let _ = Login::default().step(&message);
        }

        #[test]
        fn base64_round_trips(octets in proptest::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9+/=]{0,24}") {
            let decoded = decode(encode(&octets).as_bytes()).unwrap();
            prop_assert_eq!(decoded.as_slice(), octets.as_slice());
            if let Ok(octets) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&octets), text);
            }
        }

        #[test]
        fn plain_round_trips(authzid in "[^\0]{0,9}", authcid in "[^\0]{1,9}", password in "[^\0]{1,9}") {
            let plain = parse_plain(format!("{authzid}\0{authcid}\0{password}").as_bytes()).unwrap();
            prop_assert_eq!(plain.authzid, authzid.into_bytes());
            prop_assert_eq!(plain.authcid, authcid.into_bytes());
            prop_assert!(plain.password.equals(password.as_bytes()));
        }
    }
}
