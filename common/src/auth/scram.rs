//! The computations of SCRAM (RFC 5802; SHA-256: RFC 7677) and the form in which Dovecot stores its keys.
//!
//! The messages are in [`super::sasl::scram`]; this half runs where the keys are.

use super::crypt::{HashError, Work};
use crate::secret::Secret;
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Most iterations computed or announced: some seconds on a small machine, for the client as well.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// Iterations where nothing says otherwise (the least RFC 5802 and RFC 7677 allow, and Dovecot's default).
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// Longest salt, in octets.
pub const MAX_SALT: usize = 64;

/// The hash function a SCRAM mechanism is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
}

impl ScramHash {
    /// The mechanism's name, without `-PLUS`.
    pub fn name(self) -> &'static str {
        match self {
            ScramHash::Sha1 => "SCRAM-SHA-1",
            ScramHash::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// Octets of its output.
    pub fn size(self) -> usize {
        match self {
            ScramHash::Sha1 => 20,
            ScramHash::Sha256 => 32,
        }
    }

    /// H(data).
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            ScramHash::Sha1 => Sha1::digest(data).to_vec(),
            ScramHash::Sha256 => Sha256::digest(data).to_vec(),
        }
    }

    /// HMAC(key, message).
    pub fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            ScramHash::Sha1 => keyed::<Hmac<Sha1>>(key, message),
            ScramHash::Sha256 => keyed::<Hmac<Sha256>>(key, message),
        }
    }

    /// Hi(password, salt, iterations): PBKDF2 with one block of output (RFC 5802 2.2).
    fn hi(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        match self {
            ScramHash::Sha1 => iterate::<Hmac<Sha1>>(password, salt, iterations),
            ScramHash::Sha256 => iterate::<Hmac<Sha256>>(password, salt, iterations),
        }
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length, so the error does not happen; an empty output never equals a digest.
    <M as KeyInit>::new_from_slice(key)
        .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn iterate<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
    let Ok(mac) = <M as KeyInit>::new_from_slice(password) else { return Zeroizing::default() };
    let mut u = mac.clone().chain_update(salt).chain_update([0, 0, 0, 1]).finalize().into_bytes();
    let mut sum = Zeroizing::new(u.to_vec());
    for _ in 1..iterations {
        u = mac.clone().chain_update(&u).finalize().into_bytes();
        for (sum, octet) in sum.iter_mut().zip(u.iter()) {
            *sum ^= octet;
        }
    }
    sum
}

/// What a server keeps for one user: enough to check a proof, not enough to make one.
#[derive(Debug, Clone)]
pub struct ScramKeys {
    /// Hash function of the mechanism.
    pub hash: ScramHash,
    /// The salt, decoded.
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    stored_key: Secret,
    server_key: Secret,
}

impl ScramKeys {
    /// Reads `iterations,salt,stored-key,server-key`, the last three in base64: the value of Dovecot's
    /// `{SCRAM-SHA-1}` and `{SCRAM-SHA-256}`.
    pub fn parse(hash: ScramHash, text: &str) -> Result<ScramKeys, HashError> {
        const WRONG: HashError = HashError::Malformed("SCRAM: fields");
        let mut fields = text.split(',');
        let (Some(iterations), Some(salt), Some(stored), Some(server), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(WRONG);
        };
        let iterations = Some(iterations)
            .filter(|digits| (1..=9).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|&count: &u32| count > 0)
            .ok_or(HashError::Malformed("SCRAM: iterations"))?;
        if iterations > MAX_ITERATIONS {
            return Err(HashError::Cost("SCRAM iterations"));
        }
        let decode =
            |text: &str| if text.len() <= 2 * MAX_SALT { Base64::decode_vec(text).ok() } else { None };
        let salt = decode(salt).filter(|salt| (1..=MAX_SALT).contains(&salt.len()));
        let key = |text| decode(text).filter(|key| key.len() == hash.size()).map(Secret::new).ok_or(WRONG);
        Ok(ScramKeys {
            hash,
            salt: salt.ok_or(HashError::Malformed("SCRAM: salt"))?,
            iterations,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// Computes them from a password. Passwords are used as they come: SASLprep would leave ASCII alone, and for the
    /// rest clients differ.
    pub fn derive(
        hash: ScramHash,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
        work: &mut Work,
    ) -> ScramKeys {
        work.add(hash.name(), u64::from(iterations));
        let salted = hash.hi(password, salt, iterations);
        let client_key = Zeroizing::new(hash.hmac(&salted, b"Client Key"));
        ScramKeys {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: Secret::new(hash.digest(&client_key)),
            server_key: Secret::new(hash.hmac(&salted, b"Server Key")),
        }
    }

    /// The same keys with another salt: they fit no password any more.
    pub fn with_salt(self, salt: Vec<u8>) -> ScramKeys {
        ScramKeys { salt, ..self }
    }

    /// Whether the password is the one these keys were made of.
    pub fn verify_plain(&self, password: &[u8], work: &mut Work) -> bool {
        let other = ScramKeys::derive(self.hash, password, &self.salt, self.iterations, work);
        self.stored_key.equals(other.stored_key.expose())
    }

    /// Checks ClientProof over AuthMessage; the answer to a right one is ServerSignature (RFC 5802 3).
    pub fn verify_proof(&self, auth_message: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let signature = self.hash.hmac(self.stored_key.expose(), auth_message);
        if proof.len() != signature.len() {
            return None;
        }
        let key: Zeroizing<Vec<u8>> =
            Zeroizing::new(proof.iter().zip(&signature).map(|(proof, mask)| proof ^ mask).collect());
        let right: bool = self.hash.digest(&key).ct_eq(self.stored_key.expose()).into();
        right.then(|| self.hash.hmac(self.server_key.expose(), auth_message))
    }

    /// What a client sends as proof.
    #[cfg(test)]
    pub fn proof_for_tests(&self, password: &[u8], auth_message: &[u8]) -> Vec<u8> {
        let client_key = self.hash.hmac(&self.hash.hi(password, &self.salt, self.iterations), b"Client Key");
        let signature = self.hash.hmac(self.stored_key.expose(), auth_message);
        client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect()
    }
}

/// What a client makes of its password for one server's salt.
pub struct ClientKeys {
    hash: ScramHash,
    client_key: Secret,
    server_key: Secret,
}

impl ClientKeys {
    /// Computes them. How many iterations are too many is the caller's to say.
    pub fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> ClientKeys {
        let salted = hash.hi(password, salt, iterations);
        ClientKeys {
            hash,
            client_key: Secret::new(hash.hmac(&salted, b"Client Key")),
            server_key: Secret::new(hash.hmac(&salted, b"Server Key")),
        }
    }

    /// ClientProof over AuthMessage (RFC 5802 3).
    pub fn proof(&self, auth_message: &[u8]) -> Vec<u8> {
        let signature = self.hash.hmac(&self.hash.digest(self.client_key.expose()), auth_message);
        self.client_key.expose().iter().zip(signature).map(|(key, mask)| key ^ mask).collect()
    }

    /// The ServerSignature that a server which knows the password answers with.
    pub fn server_signature(&self, auth_message: &[u8]) -> Vec<u8> {
        self.hash.hmac(self.server_key.expose(), auth_message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_5802: (&str, &str) = (
        "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
         c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    );
    const RFC_7677: (&str, &str) = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    );

    fn decode(text: &str) -> Vec<u8> {
        Base64::decode_vec(text).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfcs() {
        let mut work = Work::default();
        for (hash, salt, (message, proof), signature) in [
            (ScramHash::Sha1, "QSXCR+Q6sek8bf92", RFC_5802, "rmF9pqV8S7suAoZWja4dJRkFsKQ="),
            (
                ScramHash::Sha256,
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                RFC_7677,
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let keys = ScramKeys::derive(hash, b"pencil", &decode(salt), 4096, &mut work);
            let proof = decode(proof);
            let client = ClientKeys::derive(hash, b"pencil", &decode(salt), 4096);
            assert_eq!(client.proof(message.as_bytes()), proof);
            assert_eq!(client.server_signature(message.as_bytes()), decode(signature));
            assert_eq!(keys.verify_proof(message.as_bytes(), &proof), Some(decode(signature)));
            assert_eq!(keys.verify_proof(&message.as_bytes()[1..], &proof), None);
            assert_eq!(keys.verify_proof(message.as_bytes(), &proof[1..]), None);
            let other = ScramKeys::derive(hash, b"Pencil", &decode(salt), 4096, &mut work);
            assert_eq!(other.verify_proof(message.as_bytes(), &proof), None);
        }
    }

    #[test]
    fn what_dovecot_stored() {
        let text = "4096,IYbRNshM0/AprG8+Y4DvrA==,CjOJ5gCL4EDj621dFXSVZnSJBDY=,/fy7CiXgrJ49cUgfr4i2bgggslQ=";
        let keys = ScramKeys::parse(ScramHash::Sha1, text).unwrap();
        let mut work = Work::default();
        assert!(keys.verify_plain("p\u{e4}ssw\u{f6}rd".as_bytes(), &mut work));
        assert!(!keys.verify_plain(b"password", &mut work));
        assert!(ScramKeys::parse(ScramHash::Sha256, text).is_err());
        for cut in 0..text.len() {
            assert!(ScramKeys::parse(ScramHash::Sha1, &text[..cut]).is_err(), "{cut}");
        }
        for wrong in
            [text.replacen("4096", "0", 1), text.replacen("4096", "+1", 1), text.replacen("4096,", "", 1)]
        {
            assert!(ScramKeys::parse(ScramHash::Sha1, &wrong).is_err());
        }
        let dear = text.replacen("4096", "999999999", 1);
        assert!(matches!(ScramKeys::parse(ScramHash::Sha1, &dear), Err(HashError::Cost(_))));
    }
}
