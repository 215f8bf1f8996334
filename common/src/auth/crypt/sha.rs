//! sha512-crypt `$6$` and sha256-crypt `$5$`.

use super::{Bench, HashError, encode64, same};
use sha_crypt::{Params, sha256_crypt, sha512_crypt};

/// Rounds without `rounds=`.
const DEFAULT_ROUNDS: u32 = 5_000;

/// Most rounds computed for one guess: some seconds. The format allows 999,999,999, which would be hours.
const MAX_ROUNDS: u32 = 10_000_000;

/// Longest salt; libcrypt cuts a longer one when it makes the hash, so a longer one is not from libcrypt.
pub(super) const MAX_SALT: usize = 16;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    variant: Variant,
    rounds: u32,
    salt: &'a str,
    digest: &'a str,
}

impl<'a> Setting<'a> {
    /// Takes apart `[rounds=N$]salt$digest`.
    pub(super) fn parse(variant: Variant, text: &'a str) -> Result<Setting<'a>, HashError> {
        let (rounds, text) = match text.strip_prefix("rounds=") {
            None => (DEFAULT_ROUNDS, text),
            Some(text) => {
                let (digits, text) = text.split_once('$').ok_or(HashError::Malformed("sha-crypt: rounds"))?;
                (parse_rounds(digits)?, text)
            }
        };
        let (salt, digest) = text.split_once('$').ok_or(HashError::Malformed("sha-crypt: no digest"))?;
        if salt.len() > MAX_SALT {
            return Err(HashError::Malformed("sha-crypt: salt"));
        }
        let length = if variant == Variant::Sha256 { 43 } else { 86 };
        if digest.len() != length || !digest.bytes().all(|c| super::atoi64(c).is_some()) {
            return Err(HashError::Malformed("sha-crypt: digest"));
        }
        Ok(Setting { variant, rounds, salt, digest })
    }

    pub(super) fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        let params = Params::new(self.rounds).map_err(|_| HashError::Malformed("sha-crypt: rounds"))?;
        let salt = self.salt.as_bytes();
        let cost = u64::from(self.rounds);
        let text = match self.variant {
            Variant::Sha256 => {
                bench.work.add("sha256-crypt", cost);
                encode64(transposed(&sha256_crypt(password, salt, params), 10, &SHA256_TAIL))
            }
            Variant::Sha512 => {
                bench.work.add("sha512-crypt", cost);
                encode64(transposed(&sha512_crypt(password, salt, params), 21, &SHA512_TAIL))
            }
        };
        Ok(same(&text, self.digest))
    }
}

/// Makes `$6$rounds=N$salt$digest` of a password.
pub(super) fn make(password: &[u8], rounds: u32, salt: &str) -> Result<String, HashError> {
    let params = Params::new(rounds).map_err(|_| HashError::Malformed("sha-crypt: rounds"))?;
    let digest = encode64(transposed(&sha512_crypt(password, salt.as_bytes(), params), 21, &SHA512_TAIL));
    Ok(format!("$6$rounds={rounds}${salt}${}", String::from_utf8_lossy(&digest)))
}

/// Explicit rounds: no leading zero; outside the format's range libcrypt would have written other digits.
fn parse_rounds(digits: &str) -> Result<u32, HashError> {
    const WRONG: HashError = HashError::Malformed("sha-crypt: rounds");
    if digits.len() > 9 || digits.starts_with('0') || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(WRONG);
    }
    let rounds = digits.parse().map_err(|_| WRONG)?;
    match rounds {
        0..=999 => Err(WRONG),
        1_000..=MAX_ROUNDS => Ok(rounds),
        _ => Err(HashError::Cost("sha-crypt rounds")),
    }
}

/// The octets left over after the triples, in the order they are printed.
const SHA256_TAIL: [usize; 2] = [30, 31];
const SHA512_TAIL: [usize; 1] = [63];

/// The order in which the digest's octets are printed: triples (i, i+step, i+2*step), rotated from triple to triple
/// (by one place to the right for sha256, to the left for sha512), least significant last.
fn transposed(digest: &[u8], step: usize, tail: &[usize]) -> Vec<u8> {
    let mut order: Vec<usize> = Vec::with_capacity(digest.len());
    for i in 0..step {
        let triple = [i, i + step, i + 2 * step];
        let turn = if step == 10 { (3 - i % 3) % 3 } else { i % 3 };
        for k in [2, 1, 0] {
            order.extend(triple.get((k + turn) % 3));
        }
    }
    order.extend(tail);
    order.into_iter().filter_map(|index| digest.get(index).copied()).collect()
}
