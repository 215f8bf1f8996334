//! Logins with a proof over a stored secret: CRAM-MD5, APOP and SCRAM. Only passwd-files keep such secrets.

use super::authenticator::Authenticator;
use super::cram::{apop, cram_md5, digest_matches};
use super::passwd_file::{self, Found, PasswdFileEntry};
use super::scheme::Stored;
use super::scram::{DEFAULT_ITERATIONS, ScramHash, ScramKeys};
use super::username::Username;
use super::{Account, Cause, Passdb, Refusal};
use base64ct::{Base64, Encoding};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Octets of randomness in a nonce or challenge.
const RANDOM: usize = 18;

/// Octets of a salt that is made up here (Dovecot's stored ones have as many).
const SALT: usize = 16;

/// A challenge of CRAM-MD5 or timestamp of APOP, `<random.time@host>` (RFC 1939 7, RFC 2195 2). It should be made
/// by the process that checks the answer. Errors: no randomness to be had.
pub fn challenge(host: &str) -> io::Result<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let random = random()?;
    let hex: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
    Ok(format!("<{hex}.{seconds}@{host}>"))
}

fn random() -> io::Result<[u8; RANDOM]> {
    let mut octets = [0; RANDOM];
    crate::sys::process::random(&mut octets)?;
    Ok(octets)
}

/// What the client is told at the beginning of SCRAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramChallenge {
    /// The salt, not encoded.
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// The server's part of the nonce.
    pub nonce: String,
}

/// A SCRAM exchange that was begun; stays with the process that checks the proof.
pub struct ScramAttempt {
    keys: ScramKeys,
    nonce: String,
    /// The line whose secret it is; `None`: nobody's.
    entry: Option<PasswdFileEntry>,
    known: bool,
    problem: Option<String>,
}

/// A line whose secret serves the mechanism.
struct Candidate {
    entry: PasswdFileEntry,
    stored: Stored,
}

impl Authenticator {
    /// Checks an answer to CRAM-MD5 (RFC 2195): `digest` is 32 hexadecimal digits.
    pub fn cram_md5(&mut self, user: &[u8], challenge: &[u8], digest: &[u8]) -> Result<Account, Refusal> {
        self.begin();
        let user = self.name(user)?;
        let usable = |stored: &Stored| stored.cram_md5(b"").is_some();
        self.digest(&user, digest, usable, |stored| match stored {
            Some(stored) => stored.cram_md5(challenge).unwrap_or_default(),
            None => cram_md5(b"nobody's secret", challenge),
        })
    }

    /// Checks an answer to APOP (RFC 1939 7): `timestamp` as in the greeting, `digest` 32 hexadecimal digits.
    pub fn apop(&mut self, user: &[u8], timestamp: &[u8], digest: &[u8]) -> Result<Account, Refusal> {
        self.begin();
        let user = self.name(user)?;
        let usable = |stored: &Stored| stored.secret().is_some();
        self.digest(&user, digest, usable, |stored| {
            apop(
                stored.and_then(Stored::secret).map_or(b"nobody's secret", |secret| secret.expose()),
                timestamp,
            )
        })
    }

    fn digest(
        &mut self,
        user: &Username,
        digest: &[u8],
        usable: impl Fn(&Stored) -> bool,
        compute: impl Fn(Option<&Stored>) -> [u8; 16],
    ) -> Result<Account, Refusal> {
        let mut cause = Cause::UnknownUser;
        let mut problem = None;
        let mut refusal = None;
        for path in self.passwd_files() {
            let (found, candidates) = match self.candidates(&path, user, &usable) {
                Ok(found) => found,
                Err(text) => {
                    problem = problem.or(Some(text));
                    continue;
                }
            };
            if !found.entries.is_empty() {
                cause = Cause::Mismatch;
            }
            for Candidate { entry, stored } in &candidates {
                self.work.add("digest", 1);
                if digest_matches(&compute(Some(stored)), digest) {
                    match self.admit(entry, true) {
                        Ok(account) => return Ok(account),
                        Err(other) => refusal = refusal.or(Some(other)),
                    }
                }
            }
            for _ in candidates.len()..found.longest_run {
                self.work.add("digest", 1);
                let _ = digest_matches(&compute(None), digest);
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
        }
        Err(problem.map_or(Refusal::Credentials(cause), Refusal::Temporary))
    }

    /// Begins SCRAM. An unknown user gets a salt too, always the same, made like the others on this machine.
    /// Refuses only names that nobody can have, and when there is no randomness.
    pub fn scram_start(
        &mut self,
        hash: ScramHash,
        user: &[u8],
    ) -> Result<(ScramChallenge, ScramAttempt), Refusal> {
        self.begin();
        let user = self.name(user)?;
        let nonce = random().map_err(|error| Refusal::Temporary(format!("random numbers: {error}")))?;
        let nonce = Base64::encode_string(&nonce);
        let usable = move |stored: &Stored| stored.scram(hash).is_some() || stored.secret().is_some();
        let (mut chosen, mut model, mut known, mut problem) = (None, None, false, None);
        for path in self.passwd_files() {
            let (found, mut candidates) = match self.candidates(&path, &user, usable) {
                Ok(found) => found,
                Err(text) => {
                    problem = problem.or(Some(text));
                    continue;
                }
            };
            known |= !found.entries.is_empty();
            model = model.or_else(|| found.decoy.hash().and_then(|text| Stored::parse(text).ok()));
            if chosen.is_none() && !candidates.is_empty() {
                // Of several passwords only one can be meant: the first that may be used here.
                let first =
                    candidates.iter().position(|one| self.may_be_used(&one.entry).is_ok()).unwrap_or(0);
                chosen = Some(candidates.swap_remove(first));
            }
        }
        let salt = self.made_up_salt(hash, &user);
        let (source, entry) = match chosen {
            Some(Candidate { entry, stored }) => (Some(stored), Some(entry)),
            None => (model, None),
        };
        let keys = match source.as_ref().and_then(|stored| stored.scram(hash)) {
            Some(keys) if entry.is_some() => keys.clone(),
            // Somebody else's keys with another salt: as good as random.
            Some(keys) => {
                let length = keys.salt.len();
                keys.clone().with_salt(salt.into_iter().take(length).collect())
            }
            None => {
                let salt = salt.get(..SALT).unwrap_or(&salt);
                let secret = source.as_ref().filter(|_| entry.is_some()).and_then(Stored::secret);
                let secret = secret.map_or(&b"nobody's secret"[..], |secret| secret.expose());
                ScramKeys::derive(hash, secret, salt, DEFAULT_ITERATIONS, &mut self.work)
            }
        };
        let challenge =
            ScramChallenge { salt: keys.salt.clone(), iterations: keys.iterations, nonce: nonce.clone() };
        Ok((challenge, ScramAttempt { keys, nonce, entry, known, problem }))
    }

    /// Ends SCRAM: checks that AuthMessage is about this exchange's challenge, and the proof. The octets are
    /// ServerSignature, for the last message. The channel binding is for the process that holds the connection.
    pub fn scram_finish(
        &mut self,
        attempt: ScramAttempt,
        auth_message: &[u8],
        proof: &[u8],
    ) -> Result<(Account, Vec<u8>), Refusal> {
        self.begin();
        let ScramAttempt { keys, nonce, entry, known, problem } = attempt;
        let salt = Base64::encode_string(&keys.salt);
        let ours = format!("{nonce},s={salt},i={},c=", keys.iterations);
        let about_this = memchr::memmem::find(auth_message, ours.as_bytes()).is_some();
        let signature = keys.verify_proof(auth_message, proof);
        match (entry, signature.filter(|_| about_this)) {
            (Some(entry), Some(signature)) => Ok((self.admit(&entry, true)?, signature)),
            _ => Err(match problem {
                Some(problem) => Refusal::Temporary(problem),
                None => Refusal::Credentials(if known { Cause::Mismatch } else { Cause::UnknownUser }),
            }),
        }
    }

    fn passwd_files(&self) -> Vec<PathBuf> {
        let path = |passdb: &Passdb| match passdb {
            Passdb::PasswdFile(path) => Some(path.clone()),
            _ => None,
        };
        self.settings.passdbs.iter().filter_map(path).collect()
    }

    /// The lines of a user whose secrets serve. Errors say what is wrong with the file.
    fn candidates(
        &mut self,
        path: &PathBuf,
        user: &Username,
        usable: impl Fn(&Stored) -> bool,
    ) -> Result<(Found, Vec<Candidate>), String> {
        let found = File::open(path)
            .and_then(|file| passwd_file::find(&file, user.as_str(), &usable))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.report(path, user.as_str(), &found);
        let mut candidates = Vec::new();
        for entry in &found.entries {
            if let Some(stored) = Stored::parse(&entry.password).ok().filter(&usable) {
                candidates.push(Candidate { entry: entry.clone(), stored });
            }
        }
        Ok((found, candidates))
    }

    /// A salt for a user who has none: nobody outside can compute it, and it stays the same. It must not depend on
    /// any password, since everybody may ask for it.
    fn made_up_salt(&mut self, hash: ScramHash, user: &Username) -> Vec<u8> {
        let mut key = zeroize::Zeroizing::new(self.settings.salt_key.expose().to_vec());
        if key.is_empty() {
            *key = std::fs::read(&self.settings.files.machine_id).unwrap_or_default();
        }
        if key.is_empty() {
            let path = self.settings.files.machine_id.display().to_string();
            self.warn(format!("{path}: cannot be read, so made-up SCRAM salts can be guessed"));
        }
        // Two blocks: as long as the longest salt that is read from a file.
        let half =
            |n: &str| ScramHash::Sha256.hmac(&key, [hash.name(), n, user.as_str()].concat().as_bytes());
        [half(":1:"), half(":2:")].concat()
    }
}
