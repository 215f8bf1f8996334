//! md5-crypt `$1$`: weak by today's measure, but what small devices and old installations have.

use super::{Bench, HashError, encode64, same};
use md5::{Digest, Md5};

/// Fixed by the scheme.
const ROUNDS: usize = 1000;

/// Longest salt.
const MAX_SALT: usize = 8;

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    salt: &'a str,
    digest: &'a str,
}

impl<'a> Setting<'a> {
    /// Takes apart `salt$digest`.
    pub(super) fn parse(text: &'a str) -> Result<Setting<'a>, HashError> {
        let (salt, digest) = text.split_once('$').ok_or(HashError::Malformed("md5-crypt: no digest"))?;
        if salt.len() > MAX_SALT {
            return Err(HashError::Malformed("md5-crypt: salt"));
        }
        if digest.len() != 22 || !digest.bytes().all(|c| super::atoi64(c).is_some()) {
            return Err(HashError::Malformed("md5-crypt: digest"));
        }
        Ok(Setting { salt, digest })
    }

    pub(super) fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        bench.work.add("md5-crypt", ROUNDS as u64);
        let digest = md5_crypt(password, self.salt.as_bytes());
        // Printed as five triples and the octet that is left.
        const ORDER: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];
        let text = encode64(ORDER.iter().filter_map(|&index| digest.get(index).copied()));
        Ok(same(&text, self.digest))
    }
}

fn md5_crypt(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner: [u8; 16] =
        Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize().into();

    let mut first = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    let repeated: Vec<u8> = inner.iter().copied().cycle().take(password.len()).collect();
    first.update(&repeated);
    // One octet per bit of the length: a NUL where the bit is set, else the password's first.
    let mut length = password.len();
    while length > 0 {
        if length & 1 == 1 {
            first.update([0])
        } else {
            first.update(password.get(..1).unwrap_or_default())
        }
        length >>= 1;
    }
    let mut state: [u8; 16] = first.finalize().into();

    for round in 0..ROUNDS {
        let mut next = Md5::new();
        let odd = round & 1 == 1;
        if odd {
            next.update(password)
        } else {
            next.update(state)
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if odd {
            next.update(state)
        } else {
            next.update(password)
        }
        state = next.finalize().into();
    }
    state
}
