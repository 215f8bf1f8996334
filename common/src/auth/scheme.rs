//! Stored passwords with Dovecot's `{SCHEME}` in front, as a passwd-file has them.
//!
//! Written by the administrator, so not hostile, but often by hand: whatever is not understood is an error, which
//! locks the entry and warns, never a match.

use super::argon2::Argon2Hash;
use super::cram::{CramState, unhex};
use super::crypt::{self, Bench, HashError, HashLimits};
use super::scram::{ScramHash, ScramKeys};
use crate::secret::Secret;
use base64ct::{Base64, Encoding};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The hash of an LDAP-style scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plainly {
    Sha1,
    Sha256,
    Sha512,
}

/// A stored password, understood.
#[derive(Clone)]
enum Form {
    Plain(Secret),
    Crypt(Zeroizing<String>),
    Argon2(Argon2Hash),
    Scram(ScramKeys),
    Cram(CramState),
    /// One pass of a hash over password and salt: `{SHA256}`, and `{SSHA256}` with a salt.
    Digest(Plainly, Vec<u8>, Vec<u8>),
}

/// A stored password, ready to be compared with.
#[derive(Clone)]
pub struct Stored(Form);

/// How the part behind the scheme's name is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Default,
    Base64,
    Hex,
}

impl Stored {
    /// Reads `{SCHEME}value`, `{SCHEME.b64}value`, `{SCHEME.hex}value`, or a bare crypt(3) string (`{CRYPT}` is the
    /// default scheme of a passwd-file in Dovecot 2).
    ///
    /// Understood: PLAIN, CLEARTEXT, CLEAR, CRYPT, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, MD5-CRYPT, ARGON2ID,
    /// ARGON2I, SCRAM-SHA-1, SCRAM-SHA-256, CRAM-MD5 (and its older name HMAC-MD5), SHA, SHA1, SSHA, SHA256, SSHA256,
    /// SHA512, SSHA512. The names' case does not matter. Costs are not looked at here but by [`Stored::inspect`].
    pub fn parse(text: &str) -> Result<Stored, HashError> {
        let Some((name, value)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Ok(Stored(Form::Crypt(Zeroizing::new(text.to_owned()))));
        };
        let name = name.to_ascii_uppercase();
        let (scheme, written) = match name.rsplit_once('.') {
            None => (name.as_str(), Text::Default),
            Some((scheme, "B64" | "BASE64")) => (scheme, Text::Base64),
            Some((scheme, "HEX")) => (scheme, Text::Hex),
            Some(_) => return Err(unknown(&name)),
        };
        let crypt = |ids: &[&str]| {
            let value = text_of(value, written)?;
            if ids.is_empty() || ids.iter().any(|id| value.starts_with(id)) {
                Ok(Form::Crypt(value))
            } else {
                Err(HashError::Malformed("not of the scheme its prefix says"))
            }
        };
        let digest = |hash: Plainly, salted: bool| {
            let written = if written == Text::Default { Text::Base64 } else { written };
            let mut octets = octets_of(value, written)?.to_vec();
            let size = hash.size();
            if octets.len() < size || (octets.len() > size) != salted {
                return Err(HashError::Malformed("digest has the wrong length"));
            }
            let salt = octets.split_off(size);
            Ok(Form::Digest(hash, octets, salt))
        };
        let form = match scheme {
            "PLAIN" | "CLEARTEXT" | "CLEAR" => Form::Plain(Secret::new(octets_of(value, written)?.to_vec())),
            "CRYPT" => crypt(&[])?,
            "BLF-CRYPT" => crypt(&["$2a$", "$2b$", "$2y$"])?,
            "SHA512-CRYPT" => crypt(&["$6$"])?,
            "SHA256-CRYPT" => crypt(&["$5$"])?,
            "MD5-CRYPT" => crypt(&["$1$"])?,
            "ARGON2ID" | "ARGON2I" => Form::Argon2(Argon2Hash::parse(&text_of(value, written)?)?),
            "SCRAM-SHA-1" => Form::Scram(ScramKeys::parse(ScramHash::Sha1, &text_of(value, written)?)?),
            "SCRAM-SHA-256" => Form::Scram(ScramKeys::parse(ScramHash::Sha256, &text_of(value, written)?)?),
            "CRAM-MD5" | "HMAC-MD5" => {
                let written = if written == Text::Default { Text::Hex } else { written };
                Form::Cram(CramState::from_octets(&octets_of(value, written)?)?)
            }
            "SHA" | "SHA1" => digest(Plainly::Sha1, false)?,
            "SSHA" => digest(Plainly::Sha1, true)?,
            "SHA256" => digest(Plainly::Sha256, false)?,
            "SSHA256" => digest(Plainly::Sha256, true)?,
            "SHA512" => digest(Plainly::Sha512, false)?,
            "SSHA512" => digest(Plainly::Sha512, true)?,
            _ => return Err(unknown(&name)),
        };
        Ok(Stored(form))
    }

    /// Whether [`Stored::verify`] could compute it within the limits.
    pub fn inspect(&self, limits: &HashLimits) -> Result<(), HashError> {
        match &self.0 {
            Form::Crypt(hash) => crypt::inspect(hash, limits),
            Form::Argon2(hash) if hash.memory() > limits.memory => {
                Err(HashError::Memory { asked: hash.memory(), limit: limits.memory })
            }
            Form::Plain(secret) if secret.expose().is_empty() => Err(HashError::Malformed("empty password")),
            _ => Ok(()),
        }
    }

    /// Whether it was made of this password. Empty passwords, and those of [`crypt::check_password`], are errors.
    pub fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        crypt::check_password(password)?;
        match &self.0 {
            Form::Crypt(hash) => crypt::verify(hash, password, bench),
            Form::Argon2(hash) => hash.verify(password, bench),
            Form::Scram(keys) => Ok(keys.verify_plain(password, bench.work)),
            Form::Plain(secret) => {
                bench.work.add("PLAIN", 1);
                Ok(secret.equals(password))
            }
            Form::Cram(state) => {
                bench.work.add("CRAM-MD5", 1);
                Ok(state.verify_plain(password))
            }
            Form::Digest(hash, digest, salt) => {
                bench.work.add("SHA", 1);
                Ok(hash.digest(password, salt).ct_eq(digest).into())
            }
        }
    }

    /// The password itself, where the scheme keeps it: what APOP needs.
    pub fn secret(&self) -> Option<&Secret> {
        match &self.0 {
            Form::Plain(secret) if !secret.expose().is_empty() => Some(secret),
            _ => None,
        }
    }

    /// The answer to a CRAM-MD5 challenge, where the scheme allows to compute it.
    pub fn cram_md5(&self, challenge: &[u8]) -> Option<[u8; 16]> {
        match &self.0 {
            Form::Cram(state) => Some(state.digest(challenge)),
            _ => self.secret().map(|secret| super::cram::cram_md5(secret.expose(), challenge)),
        }
    }

    /// The stored SCRAM keys, if they are for this hash function.
    pub fn scram(&self, hash: ScramHash) -> Option<&ScramKeys> {
        match &self.0 {
            Form::Scram(keys) if keys.hash == hash => Some(keys),
            _ => None,
        }
    }
}

impl Plainly {
    fn size(self) -> usize {
        match self {
            Plainly::Sha1 => 20,
            Plainly::Sha256 => 32,
            Plainly::Sha512 => 64,
        }
    }

    fn digest(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            D::new().chain_update(password).chain_update(salt).finalize().to_vec()
        }
        match self {
            Plainly::Sha1 => of::<Sha1>(password, salt),
            Plainly::Sha256 => of::<Sha256>(password, salt),
            Plainly::Sha512 => of::<Sha512>(password, salt),
        }
    }
}

/// Names the scheme, but only what can be a name: a password with a brace in it must not end up in the log.
fn unknown(name: &str) -> HashError {
    let printable =
        name.len() <= 20 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    HashError::Unknown(if printable { format!("{{{name}}}") } else { "(unreadable)".to_owned() })
}

fn octets_of(value: &str, written: Text) -> Result<Zeroizing<Vec<u8>>, HashError> {
    let octets = match written {
        Text::Default => Some(value.as_bytes().to_vec()),
        Text::Base64 => Base64::decode_vec(value).ok(),
        Text::Hex => unhex(value.as_bytes()),
    };
    octets.map(Zeroizing::new).ok_or(HashError::Malformed("not in the encoding its prefix says"))
}

fn text_of(value: &str, written: Text) -> Result<Zeroizing<String>, HashError> {
    let octets = octets_of(value, written)?;
    std::str::from_utf8(&octets)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| HashError::Malformed("not text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::crypt::Work;
    use proptest::prelude::*;

    /// Made by `doveadm pw -s SCHEME` of Dovecot 2.3.19 for the password of the test.
    #[rustfmt::skip]
    const DOVECOT: &[&str] = &[
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$/LYTGzL7EPp5odf9izaHqQ$/APgudUn04N8chUFfjN1bGuzX1a/2vW2YqhAoxH4p3E",
        "{SCRAM-SHA-1}4096,IYbRNshM0/AprG8+Y4DvrA==,CjOJ5gCL4EDj621dFXSVZnSJBDY=,/fy7CiXgrJ49cUgfr4i2bgggslQ=",
        "{SCRAM-SHA-256}4096,pI9qvyQoJje9f7qZ1UbYUA==,MXKs4RZmImHT+xhdMNcplMv2rivZIi1u0bOWRTWyZTQ=,T13kSLpz8lE7MiGk75B3gO4lUjbB08oG98QPs0uT3oE=",
        "{CRAM-MD5}4a60bd37924fc5d45b4c92ce695bac86cb234bc3028aab2a71a225cb0dedfbb9",
        "{SSHA256}dp6wvFqeuaQSh/cNe6K6ty7jjaQIuzvknZnu8xlp2f+0waxp",
        "{SSHA512}aa9o8WEKyUa8AFYEM06DnHA2rxUGlrQ2zdWwHpBBg2cMHtstpqPgLiPor4W7BaXftYgKIf4kyM/KmvPKVZjISDuoF8k=",
        "{SHA256}RpcL73Cs7YEj8NXQlHF+KlzUEgQeA7JjdgSf5lsoNKQ=",
        "{SHA512}csf+G9M7eFdGqclPm4DSWRzTjzwTyKpD91N/MqKoxfm10c7ha2nwIS4OOalNg/V7zzomuud2AHzrsB8NYxEnPg==",
        "{SSHA}BUS9CouHCMATU+GrwI1FACGRWqJfG6wP",
        "{SHA}9Rfd8dMqES/xrVXGbRsSyzjn6Pc=",
        "{BLF-CRYPT}$2y$05$C27g1HVCNQyJd49cVAofpe31PF/2ZRCu0BoqazCDM40YxE87ueAgW",
        "{PLAIN}p\u{e4}ssw\u{f6}rd",
        "{plain.b64}cMOkc3N3w7ZyZA==",
        "{CLEARTEXT.HEX}70c3a4737377c3b67264",
        "{CRYPT}$2y$05$C27g1HVCNQyJd49cVAofpe31PF/2ZRCu0BoqazCDM40YxE87ueAgW",
        "$2y$05$C27g1HVCNQyJd49cVAofpe31PF/2ZRCu0BoqazCDM40YxE87ueAgW",
    ];

    /// Of the reference implementation's own tests, for "password".
    const REFERENCE: &[&str] = &[
        "{ARGON2ID}$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "{ARGON2I}$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
    ];

    fn check(text: &str, password: &[u8]) -> Result<bool, HashError> {
        let limits = HashLimits::default();
        let mut work = Work::default();
        let stored = Stored::parse(text)?;
        stored.inspect(&limits)?;
        let result = stored.verify(password, &mut Bench { limits: &limits, lock: None, work: &mut work });
        assert_eq!(work.spent().len(), usize::from(result.is_ok()));
        result
    }

    #[test]
    fn what_dovecot_made_is_verified() {
        for text in DOVECOT {
            // Dovecot's costs take ten seconds each without optimisation; REFERENCE goes the same way for less.
            if cfg!(debug_assertions) && text.starts_with("{ARGON2") {
                assert_eq!(Stored::parse(text).unwrap().inspect(&HashLimits::default()), Ok(()), "{text}");
                continue;
            }
            assert_eq!(check(text, "p\u{e4}ssw\u{f6}rd".as_bytes()), Ok(true), "{text}");
            assert_eq!(check(text, b"password"), Ok(false), "{text}");
            assert_eq!(check(text, b""), Err(HashError::Password), "{text}");
        }
    }

    #[test]
    fn what_the_reference_made_is_verified() {
        for text in REFERENCE {
            assert_eq!(check(text, b"password"), Ok(true), "{text}");
            assert_eq!(check(text, b"passwort"), Ok(false), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "",
            "{",
            "{}",
            "{}x",
            "{PLAIN}",
            "{PLAIN.b64}=",
            "{PLAIN.hex}7",
            "{PLAIN.rot13}x",
            "{NTLM}00",
            "{DES-CRYPT}ab",
            "{SHA512-CRYPT}$5$saltstring$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
            "{SHA256}AAAA",
            "{SSHA256}AAAA",
            "{SHA256}RpcL73Cs7YEj8NXQlHF+KlzUEgQeA7JjdgSf5lsoNKQ",
            "{CRAM-MD5}00",
            "{SCRAM-SHA-256}4096,a,b,c",
            "{ARGON2ID}$argon2d$v=19$m=65536,t=3,p=1$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg",
            "{ARGON2ID}$argon2id$v=20$m=65536,t=3,p=1$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg",
            "{ARGON2ID}$argon2id$v=19$m=1,t=0,p=0$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg",
            "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$qpU4$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg",
            "{ARGON2ID}",
            "!",
            "*",
        ] {
            assert!(
                matches!(check(text, b"x"), Err(HashError::Malformed(_) | HashError::Unknown(_))),
                "{text}"
            );
        }
        let dear = "$qpU47aLjiyM8z0XeWvXlZg$sLGfD4cRw+0t/SQ3TdKeA56n1KvnwdBdb6Dxp0zJICg";
        let text = format!("{{ARGON2ID}}$argon2id$v=19$m=65537,t=1,p=1{dear}");
        assert!(matches!(check(&text, b"x"), Err(HashError::Memory { .. })));
        let text = format!("{{ARGON2ID}}$argon2id$v=19$m=4000000000,t=4000000000,p=1{dear}");
        assert!(matches!(check(&text, b"x"), Err(HashError::Cost(_))));
        assert_eq!(check("{my secret}x", b"x"), Err(HashError::Unknown("(unreadable)".to_owned())));
    }

    proptest! {
        #[test]
        fn no_text_panics(pick in 0..DOVECOT.len(), at in 0_usize..150, c in proptest::char::any(), text in "\\PC*") {
            let _ = Stored::parse(&text);
            let mut chars: Vec<char> = DOVECOT[pick].chars().collect();
            let at = at % chars.len();
            chars[at] = c;
            let _ = Stored::parse(&chars.iter().collect::<String>());
            let _ = Stored::parse(&chars[..at].iter().collect::<String>());
        }
    }
}
