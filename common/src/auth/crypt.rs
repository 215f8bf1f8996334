//! Verifies passwords against crypt(3) strings, without libcrypt.
//!
//! The hash comes from a file only the administrator writes, the password from a stranger. A hash that is damaged,
//! of an unknown scheme or dearer than the limits is an error, never a match and never a panic.

mod bcrypt;
mod md5;
mod sha;
#[cfg(test)]
mod tests;
mod yescrypt;

use crate::sys::fs::try_flock;
use std::fmt;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Longest password that is hashed, in octets. Each scheme's cost grows with it, and the longest a person types or a
/// manager makes is well below.
pub const MAX_PASSWORD: usize = 1024;

/// Longest stored hash that is looked at, in octets (libcrypt's own bound on its output is 384).
pub const MAX_HASH: usize = 512;

/// A hash that needs at least this much memory, in octets, is computed under the lock: one at a time per file.
pub const SERIALISE_FROM: u64 = 1 << 20;

/// How long to sleep between two attempts to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What one verification may cost.
#[derive(Debug, Clone)]
pub struct HashLimits {
    /// Most memory a hash may ask for, in octets (setting `auth_hash_memory_limit`).
    pub memory: u64,
    /// How long to wait for other processes' memory-hard hashes before the attempt fails as temporary.
    pub wait: Duration,
}

impl Default for HashLimits {
    fn default() -> HashLimits {
        HashLimits { memory: 64 << 20, wait: Duration::from_secs(20) }
    }
}

/// Why a password could not be compared. None of these may let anybody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashError {
    /// The stored text is not what its prefix announces.
    Malformed(&'static str),
    /// No code here for this scheme; holds its name, never the hash.
    Unknown(String),
    /// The hash asks for more memory than [`HashLimits::memory`]; both in octets.
    Memory {
        /// What computing it would take.
        asked: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The hash asks for more rounds, or a higher cost, than this program spends on one guess.
    Cost(&'static str),
    /// Other processes kept the lock for longer than [`HashLimits::wait`].
    Busy,
    /// The lock could not be taken for another reason.
    Lock(io::ErrorKind),
    /// Empty, with a NUL, or longer than [`MAX_PASSWORD`]: no hash is computed for it.
    Password,
}

impl HashError {
    /// Whether other users meet it as well, so that telling it tells nothing about this one.
    pub fn is_everybodys(&self) -> bool {
        matches!(self, HashError::Busy | HashError::Lock(_))
    }
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashError::Malformed(what) => write!(f, "damaged password hash: {what}"),
            HashError::Unknown(scheme) => write!(f, "unknown password scheme {scheme}"),
            HashError::Memory { asked, limit } => {
                write!(f, "password hash needs {asked} bytes, auth_hash_memory_limit is {limit}")
            }
            HashError::Cost(what) => write!(f, "password hash is too costly: {what}"),
            HashError::Busy => f.write_str("too many password hashes are being computed"),
            HashError::Lock(kind) => write!(f, "cannot lock the password file: {kind}"),
            HashError::Password => f.write_str("password is empty, too long or has a NUL"),
        }
    }
}

impl std::error::Error for HashError {}

/// One computed hash: what was spent, so that tests can show that unknown user and wrong password cost the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The scheme's name, as in `{SCHEME}` or the crypt(3) prefix.
    pub scheme: &'static str,
    /// Rounds, 2^cost, or N*r*p*(t+1): whatever the scheme's time is proportional to.
    pub cost: u64,
}

/// The hashes computed during one attempt, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work(Vec<Spent>);

impl Work {
    /// Notes one computed hash.
    pub fn add(&mut self, scheme: &'static str, cost: u64) {
        self.0.push(Spent { scheme, cost });
    }

    /// What was spent so far, oldest first.
    pub fn spent(&self) -> &[Spent] {
        &self.0
    }

    /// Forgets everything, for the next attempt.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a verification needs besides the hash and the password.
pub struct Bench<'a> {
    /// The limits of the site.
    pub limits: &'a HashLimits,
    /// The open file the hash came from. A memory-hard hash takes an flock on it, which stays until the file is
    /// closed. `None`: not serialised.
    pub lock: Option<&'a File>,
    /// Where the work is counted.
    pub work: &'a mut Work,
}

impl Bench<'_> {
    /// Refuses what asks for too much memory and waits for its turn if it asks for much. To be called before the
    /// memory is allocated.
    pub(super) fn admit(&self, memory: u64) -> Result<(), HashError> {
        if memory > self.limits.memory {
            return Err(HashError::Memory { asked: memory, limit: self.limits.memory });
        }
        let Some(file) = self.lock.filter(|_| memory >= SERIALISE_FROM) else { return Ok(()) };
        let start = Instant::now();
        loop {
            match try_flock(file) {
                Ok(true) => return Ok(()),
                Ok(false) if start.elapsed() >= self.limits.wait => return Err(HashError::Busy),
                Ok(false) => std::thread::sleep(LOCK_PAUSE),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HashError::Lock(error.kind())),
            }
        }
    }

    /// To be called when the memory is free again: the allocator would keep it for the next hash, which in a
    /// process of one connection mostly does not come.
    pub(super) fn leave(&self, memory: u64) {
        if memory >= SERIALISE_FROM {
            crate::sys::fs::release_free_memory();
        }
    }
}

/// A crypt(3) string taken apart.
#[derive(Debug, Clone, Copy)]
enum Parsed<'a> {
    Yescrypt(yescrypt::Setting<'a>),
    Sha(sha::Setting<'a>),
    Bcrypt(bcrypt::Setting<'a>),
    Md5(md5::Setting<'a>),
}

fn parse(hash: &str) -> Result<Parsed<'_>, HashError> {
    if hash.len() > MAX_HASH {
        return Err(HashError::Malformed("longer than any hash"));
    }
    let id = hash.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    match id {
        Some(("y", rest)) => yescrypt::Setting::parse(rest).map(Parsed::Yescrypt),
        Some(("7", rest)) => yescrypt::Setting::parse_scrypt(rest).map(Parsed::Yescrypt),
        Some(("6", rest)) => sha::Setting::parse(sha::Variant::Sha512, rest).map(Parsed::Sha),
        Some(("5", rest)) => sha::Setting::parse(sha::Variant::Sha256, rest).map(Parsed::Sha),
        Some(("2a" | "2b" | "2y", rest)) => bcrypt::Setting::parse(rest).map(Parsed::Bcrypt),
        Some(("1", rest)) => md5::Setting::parse(rest).map(Parsed::Md5),
        Some((other, _)) if is_scheme_name(other) => Err(HashError::Unknown(format!("${other}$"))),
        _ => Err(HashError::Unknown("(no $id$ prefix)".to_owned())),
    }
}

fn is_scheme_name(id: &str) -> bool {
    (1..=16).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
}

/// Whether [`verify`] could compute this hash within the limits: for choosing a decoy and for `--check`.
pub fn inspect(hash: &str, limits: &HashLimits) -> Result<(), HashError> {
    match parse(hash)? {
        Parsed::Yescrypt(setting) => setting.check(limits),
        Parsed::Sha(_) | Parsed::Bcrypt(_) | Parsed::Md5(_) => Ok(()),
    }
}

/// Refuses passwords that no hash is computed for: empty, with a NUL (crypt(3) would cut there), too long.
pub fn check_password(password: &[u8]) -> Result<(), HashError> {
    if password.is_empty() || password.len() > MAX_PASSWORD || password.contains(&0) {
        return Err(HashError::Password);
    }
    Ok(())
}

/// Rounds of the hashes made here: some 30 milliseconds of a computer, some hundreds of a small board.
const ROUNDS: u32 = 50_000;

/// A sha512-crypt of a password, which every crypt(3) understands, with a salt of its own.
pub fn make(password: &[u8]) -> Result<zeroize::Zeroizing<String>, HashError> {
    check_password(password)?;
    let mut random = [0; sha::MAX_SALT];
    crate::sys::process::random(&mut random).map_err(|_| HashError::Malformed("no random numbers"))?;
    let letter = |octet: &u8| ITOA64.get(usize::from(octet & 63)).map(|&letter| char::from(letter));
    let salt: String = random.iter().filter_map(letter).collect();
    sha::make(password, ROUNDS, &salt).map(zeroize::Zeroizing::new)
}

/// Whether `password` is the one that `hash`, a crypt(3) string, was made of.
///
/// Understood: yescrypt `$y$`, scrypt `$7$`, sha512-crypt `$6$`, sha256-crypt `$5$`, bcrypt `$2a$` `$2b$` `$2y$` (72
/// octets of the password count, as in libcrypt), md5-crypt `$1$`. The comparison takes constant time. Errors are
/// those of [`HashError`]; of them only [`HashError::Busy`] and [`HashError::Lock`] pass by themselves.
pub fn verify(hash: &str, password: &[u8], bench: &mut Bench<'_>) -> Result<bool, HashError> {
    check_password(password)?;
    match parse(hash)? {
        Parsed::Yescrypt(setting) => setting.verify(password, bench),
        Parsed::Sha(setting) => setting.verify(password, bench),
        Parsed::Bcrypt(setting) => setting.verify(password, bench),
        Parsed::Md5(setting) => setting.verify(password, bench),
    }
}

/// Compares what was computed with what is stored, in time that depends on the lengths only.
fn same(computed: &[u8], stored: &str) -> bool {
    computed.ct_eq(stored.as_bytes()).into()
}

/// The alphabet of all crypt(3) schemes but bcrypt.
const ITOA64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The six bits a character of that alphabet stands for.
fn atoi64(c: u8) -> Option<u32> {
    let value = match c {
        b'.'..=b'9' => c - b'.',
        b'A'..=b'Z' => c - b'A' + 12,
        b'a'..=b'z' => c - b'a' + 38,
        _ => return None,
    };
    Some(u32::from(value))
}

/// crypt(3)'s base64: groups of three octets, least significant first. The octets come in the order the scheme
/// wants them.
fn encode64(octets: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut text = Vec::with_capacity(88);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut put = |bits: &mut u32, held: &mut u32| {
        text.extend(ITOA64.get((*bits & 63) as usize));
        *bits >>= 6;
        *held = held.saturating_sub(6);
    };
    for (index, octet) in octets.into_iter().enumerate() {
        bits |= u32::from(octet) << held;
        held += 8;
        put(&mut bits, &mut held);
        if index % 3 == 2 {
            put(&mut bits, &mut held);
        }
    }
    if held > 0 {
        put(&mut bits, &mut held);
    }
    text
}

/// The inverse of [`encode64`]; `None` unless the text is exactly what that would print.
fn decode64(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for (index, &c) in group.iter().enumerate() {
            bits |= atoi64(c)? << (6 * index);
        }
        let whole = group.len() * 6 / 8;
        if whole == 0 || bits >> (8 * whole) != 0 {
            return None;
        }
        octets.extend(bits.to_le_bytes().iter().take(whole));
    }
    Some(octets)
}
