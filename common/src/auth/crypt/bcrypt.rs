//! bcrypt `$2b$`, and its older names `$2a$` and `$2y$`.

use super::{Bench, HashError, same};
use base64ct::{Base64Bcrypt, Encoding};
use zeroize::Zeroizing;

/// Highest cost computed for one guess: about ten seconds on a small machine. Each step doubles.
const MAX_LOG_COST: u32 = 17;

/// Lowest cost the format knows.
const MIN_LOG_COST: u32 = 4;

/// Octets of the password that count.
const KEY: usize = 72;

/// Lengths of salt and digest as text.
const SALT_TEXT: usize = 22;
const DIGEST_TEXT: usize = 31;

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    log_cost: u32,
    salt: [u8; 16],
    digest: &'a str,
}

impl<'a> Setting<'a> {
    /// Takes apart `NN$`, 22 characters of salt and 31 of digest.
    pub(super) fn parse(text: &'a str) -> Result<Setting<'a>, HashError> {
        const WRONG: HashError = HashError::Malformed("bcrypt: length or fields");
        let (cost, rest) = text.split_once('$').ok_or(WRONG)?;
        if cost.len() != 2 || !cost.bytes().all(|c| c.is_ascii_digit()) {
            return Err(HashError::Malformed("bcrypt: cost"));
        }
        let log_cost: u32 = cost.parse().map_err(|_| HashError::Malformed("bcrypt: cost"))?;
        if !(MIN_LOG_COST..=31).contains(&log_cost) {
            return Err(HashError::Malformed("bcrypt: cost"));
        }
        if log_cost > MAX_LOG_COST {
            return Err(HashError::Cost("bcrypt cost"));
        }
        let (Some(salt_text), Some(digest)) = (rest.get(..SALT_TEXT), rest.get(SALT_TEXT..)) else {
            return Err(WRONG);
        };
        if digest.len() != DIGEST_TEXT {
            return Err(WRONG);
        }
        // Spare bits set in the last character: libcrypt clears them when it prints, so such a hash matches nothing.
        let mut salt = [0; 16];
        match Base64Bcrypt::decode(salt_text, &mut salt) {
            Ok(decoded) if decoded.len() == 16 => {}
            _ => return Err(HashError::Malformed("bcrypt: salt")),
        }
        Ok(Setting { log_cost, salt, digest })
    }

    pub(super) fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        bench.work.add("bcrypt", 1 << self.log_cost);
        // The key is the password with its final NUL, cut at 72 octets.
        let key: Zeroizing<Vec<u8>> = Zeroizing::new(password.iter().copied().chain([0]).take(KEY).collect());
        let output = ::bcrypt::bcrypt(self.log_cost, self.salt, &key);
        // The 24th octet is computed but was never printed.
        let mut text = [0; DIGEST_TEXT];
        match Base64Bcrypt::encode(output.get(..23).unwrap_or_default(), &mut text) {
            Ok(text) => Ok(same(text.as_bytes(), self.digest)),
            Err(_) => Err(HashError::Malformed("bcrypt: digest")),
        }
    }
}
