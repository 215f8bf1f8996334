//! What a client computes to prove that it knows a password (RFC 1939 section 7, RFC 2195, RFC 5802).

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::fmt::Write;

/// Base64, as in SASL.
pub fn base64(octets: impl AsRef<[u8]>) -> String {
    Base64::encode_string(octets.as_ref())
}

/// Back; `None` if it is not base64.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// APOP's digest.
pub fn apop(timestamp: &str, secret: &str) -> String {
    hex(&Md5::digest(format!("{timestamp}{secret}")))
}

/// The response of CRAM-MD5 to a challenge, both in base64.
pub fn cram_md5(challenge: &str, user: &str, secret: &str) -> String {
    let challenge = unbase64(challenge).expect("a challenge in base64");
    let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(&challenge);
    base64(format!("{user} {}", hex(&mac.finalize().into_bytes())))
}

/// The client's side of a SCRAM exchange.
#[derive(Debug, Clone)]
pub struct Scram {
    sha256: bool,
    password: String,
    first_bare: String,
    auth_message: String,
    salted: Vec<u8>,
}

/// The client's nonce: fixed, because these are tests.
const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

impl Scram {
    /// Begins.
    pub fn new(sha256: bool, user: &str, password: &str) -> Scram {
        let first_bare = format!("n={user},r={NONCE}");
        Scram {
            sha256,
            password: password.to_owned(),
            first_bare,
            auth_message: String::new(),
            salted: Vec::new(),
        }
    }

    /// The client-first-message, in base64.
    pub fn first(&self) -> String {
        base64(format!("n,,{}", self.first_bare))
    }

    /// The client-final-message for the server's challenge, both in base64.
    pub fn last(&mut self, challenge: &str) -> String {
        let challenge = String::from_utf8(unbase64(challenge).expect("base64")).expect("UTF-8");
        let value = |name: &str| {
            let found = challenge.split(',').find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {challenge}")).to_owned()
        };
        let (nonce, salt) = (value("r="), unbase64(&value("s=")).expect("salt"));
        assert!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "{nonce}");
        let without_proof = format!("c=biws,r={nonce}");
        self.auth_message = format!("{},{challenge},{without_proof}", self.first_bare);
        self.salted = self.salt(&salt, value("i=").parse().expect("iterations"));
        let client_key = self.hmac(&self.salted, b"Client Key");
        let signature = self.hmac(&self.hash(&client_key), self.auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        base64(format!("{without_proof},p={}", base64(proof)))
    }

    /// What the server must say in the end, in base64.
    pub fn server_final(&self) -> String {
        let key = self.hmac(&self.salted, b"Server Key");
        base64(format!("v={}", base64(self.hmac(&key, self.auth_message.as_bytes()))))
    }

    fn salt(&self, salt: &[u8], iterations: u32) -> Vec<u8> {
        let password = self.password.as_bytes();
        let mut block = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut result = block.clone();
        for _ in 1..iterations {
            block = self.hmac(password, &block);
            result.iter_mut().zip(&block).for_each(|(a, b)| *a ^= b);
        }
        result
    }

    fn hmac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        if self.sha256 {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        } else {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("a key");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
    }

    fn hash(&self, data: &[u8]) -> Vec<u8> {
        if self.sha256 { Sha256::digest(data).to_vec() } else { Sha1::digest(data).to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples() {
        assert_eq!(apop("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf"), "c4c9334bac560ecc979e58001b3e22fb");
        let challenge = base64("<1896.697170952@postoffice.reston.mci.net>");
        let response = base64("tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(cram_md5(&challenge, "tim", "tanstaaftanstaaf"), response);
        // RFC 5802 section 5.
        let mut scram = Scram::new(false, "user", "pencil");
        let server = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(unbase64(&scram.last(&base64(server))).unwrap(), last.as_bytes());
        assert_eq!(unbase64(&scram.server_final()).unwrap(), b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }
}
