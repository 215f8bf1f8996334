//! Authentication: who may log in, with which proof, and as which Unix user.
//!
//! Two processes use this. The unprivileged one that talks to the client reads SASL messages with [`sasl`], whose
//! input is hostile. The privileged one, which never reads a byte from the network itself, asks an
//! [`Authenticator`]; what it is asked with comes from the first process and is hostile as well. The files it reads
//! are the administrator's.
//!
//! An unknown user, a locked one, one that may not log in and a wrong password cost the same hashes and get the same
//! words ([`Refusal::wire`]); only [`Refusal`] itself, for the log, tells them apart. Nothing here logs; what the
//! administrator should hear is in [`Authenticator::take_warnings`], which names files and never holds a secret.

pub mod argon2;
mod authenticator;
pub mod checkpassword;
pub mod cram;
mod credentials;
pub mod crypt;
mod decoy;
pub mod lines;
mod lookup;
pub mod nets;
pub mod passwd;
pub mod passwd_file;
mod recipient;
pub mod sasl;
pub mod scheme;
pub mod scram;
pub mod shadow;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod username;

pub use authenticator::Authenticator;
pub use credentials::{ScramAttempt, ScramChallenge, challenge};

use crate::secret::Secret;
use crypt::HashLimits;
use shadow::Ageing;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use username::{NameError, UsernameRules};

/// One place where users and passwords are found; the setting `passdb` lists them in the order they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passdb {
    /// `shadow`: hash and dates from /etc/shadow, the account from /etc/passwd.
    Shadow,
    /// `passwd`: the hash in /etc/passwd itself. `x` there means the shadow file, which is [`Passdb::Shadow`]'s:
    /// such a user counts as locked here. The file is readable by all, so any local user can hold its lock and
    /// delay logins with memory-hard hashes; use it where there is no shadow file.
    Passwd,
    /// `passwd-file:FILE`, see [`passwd_file`].
    PasswdFile(PathBuf),
    /// `checkpassword:PROGRAM`, without arguments, see [`checkpassword`].
    CheckPassword(String),
}

impl FromStr for Passdb {
    type Err = String;

    fn from_str(text: &str) -> Result<Passdb, String> {
        match text.split_once(':') {
            None if text == "shadow" => Ok(Passdb::Shadow),
            None if text == "passwd" => Ok(Passdb::Passwd),
            // A blank or comma separates the entries of the setting.
            Some((_, path)) if path.contains([' ', '\t', ',']) => {
                Err("one path, without arguments".to_owned())
            }
            Some(("passwd-file", path)) if path.starts_with('/') => Ok(Passdb::PasswdFile(path.into())),
            Some(("checkpassword", command)) if command.starts_with('/') => {
                Ok(Passdb::CheckPassword(command.to_owned()))
            }
            Some(("passwd-file" | "checkpassword", _)) => Err("the path must begin with /".to_owned()),
            _ => Err("expected shadow, passwd, passwd-file:FILE or checkpassword:PROGRAM".to_owned()),
        }
    }
}

impl fmt::Display for Passdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passdb::Shadow => f.write_str("shadow"),
            Passdb::Passwd => f.write_str("passwd"),
            Passdb::PasswdFile(path) => write!(f, "passwd-file:{}", path.display()),
            Passdb::CheckPassword(command) => write!(f, "checkpassword:{command}"),
        }
    }
}

/// The system's files, elsewhere in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// /etc/passwd
    pub passwd: PathBuf,
    /// /etc/shadow
    pub shadow: PathBuf,
    /// /etc/group
    pub group: PathBuf,
    /// /etc/machine-id: keys the SCRAM salts of users that have none, unless [`Settings::salt_key`] does.
    pub machine_id: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            passwd: "/etc/passwd".into(),
            shadow: "/etc/shadow".into(),
            group: "/etc/group".into(),
            machine_id: "/etc/machine-id".into(),
        }
    }
}

/// What the configuration says about authentication.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `passdb`: tried in this order until one knows the user with this password.
    pub passdbs: Vec<Passdb>,
    /// `master_passdb = passwd-file:FILE`: users who may log in as anybody, with their own password.
    pub master_passdb: Option<PathBuf>,
    /// Where the system's files are.
    pub files: Files,
    /// `auth_username_chars`, `auth_username_format`, `auth_master_user_separator`.
    pub username: UsernameRules,
    /// `auth_hash_memory_limit` and how long to wait for it.
    pub limits: HashLimits,
    /// `first_valid_uid`: lower ones may not log in. 0 never may.
    pub first_valid_uid: u32,
    /// `last_valid_uid`: higher ones may not log in; 0: no bound.
    pub last_valid_uid: u32,
    /// `mail_uid`: the user of passwd-file entries that name none.
    pub mail_uid: Option<u32>,
    /// `mail_gid`: their group.
    pub mail_gid: Option<u32>,
    /// A secret of the site for SCRAM salts. Empty: the machine's id serves.
    pub salt_key: Secret,
    /// This program's own file, for checkpassword programs to run; `None`: found out.
    pub checkpassword_reply: Option<PathBuf>,
    /// Time after which a checkpassword program is killed.
    pub checkpassword_timeout: Duration,
    /// Today, in days since 1970-01-01, for tests; `None`: by the clock.
    pub today: Option<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            passdbs: vec![Passdb::Shadow],
            master_passdb: None,
            files: Files::default(),
            username: UsernameRules::default(),
            limits: HashLimits::default(),
            first_valid_uid: 500,
            last_valid_uid: 0,
            mail_uid: None,
            mail_gid: None,
            salt_key: Secret::default(),
            checkpassword_reply: None,
            checkpassword_timeout: Duration::from_secs(30),
            today: None,
        }
    }
}

/// The connection a login belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `pop3`, `imap` or `smtp`, for `proto=` and `SERVICE`.
    pub protocol: &'static str,
    /// The client's address, for `allow_nets`.
    pub remote: Option<IpAddr>,
    /// The server's address.
    pub local: Option<IpAddr>,
}

/// Whom to be after a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name, as looked up (`%u`).
    pub name: String,
    /// User id; never 0.
    pub uid: u32,
    /// Group id; never 0.
    pub gid: u32,
    /// Supplementary groups of a system user, without 0; empty for a virtual one.
    pub groups: Vec<u32>,
    /// Home directory, absolute. `/nonexistent` for a virtual user that has only `mail`.
    pub home: PathBuf,
    /// The user's own mail location, as written (`maildir:~/Mail`); `None`: by the setting.
    pub mail: Option<String>,
    /// Who logged in, where a master did so for this user.
    pub master: Option<String>,
}

/// Why name and proof do not fit; all the same to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No passdb has the user.
    UnknownUser,
    /// The password, digest or proof is wrong.
    Mismatch,
    /// The user's password field lets nobody in: it is locked, damaged, or of a scheme that is not understood.
    Locked,
    /// A name nobody can have.
    Name(NameError),
    /// A password that is never compared: empty, too long or with a NUL.
    Password,
}

/// What a client may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// POP3 `[AUTH]`, IMAP `[AUTHENTICATIONFAILED]`, SMTP 535.
    Failed,
    /// The password is right but has expired, or the account has: IMAP `[EXPIRED]`.
    Expired,
    /// The password is right but the account is switched off: IMAP `[AUTHORIZATIONFAILED]`.
    Disabled,
    /// Not the client's fault: POP3 `[SYS/TEMP]`, IMAP `[UNAVAILABLE]`, SMTP 454.
    Temporary,
}

/// Why there is no login. Prints as the reason for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Name and proof do not fit together.
    Credentials(Cause),
    /// They do, but a date has come.
    Expired(Ageing),
    /// They do, but `nologin` is set; with its `reason=`.
    Disabled(String),
    /// They do, but not from this address, for this protocol, or as somebody else. The client is told no more than after
    /// a wrong password.
    NotAllowed(String),
    /// They do, but nobody with this user or group id may log in. The client is told no more than after a wrong password.
    BadId(String),
    /// The answer is not known; the text says what is wrong with the server.
    Temporary(String),
}

impl Refusal {
    /// What the client may know of it.
    pub fn wire(&self) -> Wire {
        match self {
            Refusal::Credentials(_) | Refusal::NotAllowed(_) | Refusal::BadId(_) => Wire::Failed,
            Refusal::Expired(_) => Wire::Expired,
            Refusal::Disabled(_) => Wire::Disabled,
            Refusal::Temporary(_) => Wire::Temporary,
        }
    }

    /// Whether the name exists, so that logging it cannot put a password into the log that was typed as a name.
    pub fn user_exists(&self) -> bool {
        !matches!(
            self,
            Refusal::Credentials(Cause::UnknownUser | Cause::Name(_) | Cause::Password)
                | Refusal::Temporary(_)
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Credentials(Cause::UnknownUser) => f.write_str("unknown user"),
            Refusal::Credentials(Cause::Mismatch) => f.write_str("Password mismatch"),
            Refusal::Credentials(Cause::Locked) => f.write_str("invalid password field"),
            Refusal::Credentials(Cause::Name(error)) => write!(f, "{error}"),
            Refusal::Credentials(Cause::Password) => f.write_str("empty or impossible password"),
            Refusal::Expired(ageing) => write!(f, "{ageing}"),
            Refusal::Disabled(reason) if reason.is_empty() => f.write_str("login is disabled"),
            Refusal::Disabled(reason) => write!(f, "login is disabled: {reason}"),
            Refusal::NotAllowed(reason) | Refusal::BadId(reason) | Refusal::Temporary(reason) => {
                f.write_str(reason)
            }
        }
    }
}
