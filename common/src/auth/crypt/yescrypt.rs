//! yescrypt `$y$` and classic scrypt `$7$`, as crypt(5) describes them.

use super::{Bench, HashError, HashLimits, atoi64, decode64, encode64, same};
use ::yescrypt::{Mode, Params};

/// Most of N*r*p*(t+1) that is computed for one guess: 64 times libcrypt's default (N = 4096, r = 32).
const MAX_COST: u64 = 64 * 4096 * 32;

/// Most lanes: each costs 12 KiB of its own, and nobody uses more than a machine has processors.
const MAX_P: u32 = 64;

/// Longest salt, in octets (yescrypt's own bound).
const MAX_SALT: usize = 64;

/// Octets of output and the length of their text.
const DIGEST: usize = 32;
const DIGEST_TEXT: usize = 43;

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    scheme: &'static str,
    params: Params,
    cost: u64,
    memory: u64,
    salt: &'a str,
    digest: &'a str,
}

impl<'a> Setting<'a> {
    /// Takes apart `params$salt$digest`.
    pub(super) fn parse(text: &'a str) -> Result<Setting<'a>, HashError> {
        let mut fields = text.split('$');
        let (Some(params), Some(salt), Some(digest), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(HashError::Malformed("yescrypt: wrong number of fields"));
        };
        if decode64(salt).is_none_or(|salt| salt.len() > MAX_SALT) {
            return Err(HashError::Malformed("yescrypt: salt"));
        }
        let mut rest = params.bytes();
        let flavour = variable(&mut rest, 0)?;
        let log_n = variable(&mut rest, 1)?;
        let r = variable(&mut rest, 1)?;
        let have = if rest.len() > 0 { variable(&mut rest, 1)? } else { 0 };
        let p = if have & 1 != 0 { variable(&mut rest, 2)? } else { 1 };
        let t = if have & 2 != 0 { variable(&mut rest, 1)? } else { 0 };
        if have > 3 || rest.len() > 0 {
            // Hash upgrades (g) and a ROM are defined but in nobody's use.
            return Err(HashError::Malformed("yescrypt: parameters"));
        }
        let mode = Mode::try_from(flavour).map_err(|_| HashError::Malformed("yescrypt: flavour"))?;
        Setting::new("yescrypt", mode, Cost { log_n, r, p, t }, salt, digest)
    }

    /// Takes apart `Nrrrrrpppppsalt$digest`; the salt is used as it stands.
    pub(super) fn parse_scrypt(text: &'a str) -> Result<Setting<'a>, HashError> {
        const WRONG: HashError = HashError::Malformed("scrypt: parameters");
        let (setting, digest) = text.split_once('$').ok_or(WRONG)?;
        let (Some(params), Some(salt)) = (setting.get(..11), setting.get(11..)) else { return Err(WRONG) };
        let mut rest = params.bytes();
        let log_n = rest.next().and_then(atoi64).ok_or(WRONG)?;
        let r = fixed(&mut rest).ok_or(WRONG)?;
        let p = fixed(&mut rest).ok_or(WRONG)?;
        if salt.is_empty() || salt.len() > MAX_SALT {
            return Err(HashError::Malformed("scrypt: salt"));
        }
        Setting::new("scrypt", Mode::Classic, Cost { log_n, r, p, t: 0 }, salt, digest)
    }

    fn new(
        scheme: &'static str,
        mode: Mode,
        cost: Cost,
        salt: &'a str,
        digest: &'a str,
    ) -> Result<Setting<'a>, HashError> {
        if digest.len() != DIGEST_TEXT || !digest.bytes().all(|c| atoi64(c).is_some()) {
            return Err(HashError::Malformed("yescrypt: digest"));
        }
        let Cost { log_n, r, p, t } = cost;
        if !(4..=40).contains(&log_n) || r == 0 || p == 0 {
            return Err(HashError::Malformed("yescrypt: parameters out of range"));
        }
        if p > MAX_P {
            return Err(HashError::Cost("yescrypt p"));
        }
        let n = 1_u64 << log_n;
        let params = Params::new_with_all_params(mode, n, r, p, t, 0)
            .map_err(|_| HashError::Malformed("yescrypt: parameters out of range"))?;
        // The big array, as administrators count it, and the lanes. What else is allocated is a tenth of it at
        // most, as N is 16 or more. 2^40 * 2^31 does not fit 64 bits, so every step saturates: too much stays too
        // much.
        let lanes = u64::from(p - 1).saturating_mul(u64::from(r) * 128 + 12_288);
        let memory = n.saturating_mul(u64::from(r)).saturating_mul(128).saturating_add(lanes);
        let time = n.saturating_mul(u64::from(r)).saturating_mul(u64::from(t) + 1);
        let time = if mode.is_rw() { time } else { time.saturating_mul(u64::from(p)) };
        Ok(Setting { scheme, params, cost: time, memory, salt, digest })
    }

    /// Whether it may be computed.
    pub(super) fn check(&self, limits: &HashLimits) -> Result<(), HashError> {
        if self.memory > limits.memory {
            return Err(HashError::Memory { asked: self.memory, limit: limits.memory });
        }
        if self.cost > MAX_COST { Err(HashError::Cost("yescrypt N, r, p, t")) } else { Ok(()) }
    }

    pub(super) fn verify(&self, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
        let decoded;
        let salt = if self.params_are_classic() {
            self.salt.as_bytes()
        } else {
            decoded = decode64(self.salt).ok_or(HashError::Malformed("yescrypt: salt"))?;
            &decoded
        };
        self.check(bench.limits)?;
        bench.admit(self.memory)?;
        bench.work.add(self.scheme, self.cost);
        let mut digest = [0; DIGEST];
        let result = ::yescrypt::yescrypt(password, salt, &self.params, &mut digest);
        bench.leave(self.memory);
        result.map_err(|_| HashError::Malformed("yescrypt: parameters out of range"))?;
        Ok(same(&encode64(digest), self.digest))
    }

    /// `$7$` hashes the salt's text; `$y$` what the text encodes.
    fn params_are_classic(&self) -> bool {
        self.scheme == "scrypt"
    }
}

struct Cost {
    log_n: u32,
    r: u32,
    p: u32,
    t: u32,
}

/// Thirty bits as five characters, least significant first.
fn fixed(rest: &mut std::str::Bytes<'_>) -> Option<u32> {
    let mut value = 0;
    for shift in [0, 6, 12, 18, 24] {
        value |= atoi64(rest.next()?)? << shift;
    }
    Some(value)
}

/// yescrypt's numbers of one to six characters: the first tells how many follow, most significant first. Small
/// values, counted from `min`, take one.
fn variable(rest: &mut std::str::Bytes<'_>, min: u32) -> Result<u32, HashError> {
    const WRONG: HashError = HashError::Malformed("yescrypt: parameters");
    /// (first character value of the class, how many characters follow)
    const CLASSES: [(u32, u32); 6] = [(0, 0), (48, 1), (56, 2), (60, 3), (62, 4), (63, 5)];
    let first = rest.next().and_then(atoi64).ok_or(WRONG)?;
    let mut value = u64::from(min);
    for (index, &(start, following)) in CLASSES.iter().enumerate() {
        let end = CLASSES.get(index + 1).map_or(64, |&(next, _)| next);
        if first >= end {
            value += u64::from(end - start) << (6 * following);
            continue;
        }
        let mut tail = u64::from(first - start);
        for _ in 0..following {
            tail = tail << 6 | u64::from(rest.next().and_then(atoi64).ok_or(WRONG)?);
        }
        return u32::try_from(value + tail).map_err(|_| WRONG);
    }
    Err(WRONG)
}
