//! argon2id and argon2i strings (RFC 9106; the text form is the reference implementation's).

use super::crypt::{Bench, HashError};
use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use subtle::ConstantTimeEq;

/// Most of m*t (KiB written) computed for one guess: 64 MiB, 64 times over.
const MAX_COST: u64 = 64 * 65_536;

/// Most lanes.
const MAX_LANES: u32 = 64;

/// Longest salt and longest digest, in octets.
const MAX_OCTETS: usize = 64;

/// `$argon2id$v=19$m=65536,t=3,p=1$salt$digest`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argon2Hash {
    independent: bool,
    version: Version,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Argon2Hash {
    /// Takes the text apart. Only `i` and `id` are understood: `d` was never for passwords.
    pub fn parse(text: &str) -> Result<Argon2Hash, HashError> {
        const WRONG: HashError = HashError::Malformed("argon2: fields");
        let mut fields = text.strip_prefix('$').ok_or(WRONG)?.split('$');
        let independent = match fields.next() {
            Some("argon2id") => false,
            Some("argon2i") => true,
            _ => return Err(HashError::Malformed("argon2: variant")),
        };
        let mut next = fields.next().ok_or(WRONG)?;
        // Hashes from before version 1.3 do not say their version.
        let version = match next.strip_prefix("v=") {
            Some("19") => Version::V0x13,
            Some("16") | None => Version::V0x10,
            Some(_) => return Err(HashError::Malformed("argon2: version")),
        };
        if next.starts_with("v=") {
            next = fields.next().ok_or(WRONG)?;
        }
        let mut numbers = next.split(',');
        let memory_kib = number(numbers.next(), "m=").ok_or(WRONG)?;
        let passes = number(numbers.next(), "t=").ok_or(WRONG)?;
        let lanes = number(numbers.next(), "p=").ok_or(WRONG)?;
        let (Some(salt), Some(digest), None, None) =
            (fields.next(), fields.next(), fields.next(), numbers.next())
        else {
            return Err(WRONG);
        };
        let salt = octets(salt).ok_or(HashError::Malformed("argon2: salt"))?;
        let digest = octets(digest).ok_or(HashError::Malformed("argon2: digest"))?;
        if salt.len() < 8 || digest.len() < 16 {
            return Err(HashError::Malformed("argon2: salt or digest too short"));
        }
        if lanes > MAX_LANES || u64::from(memory_kib) * u64::from(passes) > MAX_COST {
            return Err(HashError::Cost("argon2 m, t, p"));
        }
        let hash = Argon2Hash { independent, version, memory_kib, passes, lanes, salt, digest };
        hash.params()?;
        Ok(hash)
    }

    fn params(&self) -> Result<Params, HashError> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(self.digest.len()))
            .map_err(|_| HashError::Malformed("argon2: parameters out of range"))
    }

    /// Octets of memory that computing it takes.
    pub fn memory(&self) -> u64 {
        u64::from(self.memory_kib) * 1024
    }

    /// Whether it was made of this password; takes its turn as [`super::crypt::verify`] does.
    pub fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        bench.admit(self.memory())?;
        bench.work.add("argon2", u64::from(self.memory_kib) * u64::from(self.passes));
        let algorithm = if self.independent { Algorithm::Argon2i } else { Algorithm::Argon2id };
        let mut digest = vec![0; self.digest.len()];
        let argon2 = Argon2::new(algorithm, self.version, self.params()?);
        let result = argon2.hash_password_into(password, &self.salt, &mut digest);
        bench.leave(self.memory());
        result.map_err(|_| HashError::Malformed("argon2: parameters out of range"))?;
        Ok(digest.ct_eq(&self.digest).into())
    }
}

fn number(field: Option<&str>, prefix: &str) -> Option<u32> {
    let digits = field?.strip_prefix(prefix)?;
    if digits.bytes().all(|c| c.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_OCTETS * 2 {
        return None;
    }
    Base64Unpadded::decode_vec(text).ok().filter(|octets| octets.len() <= MAX_OCTETS)
}
