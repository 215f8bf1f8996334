//! What the settings mean for authentication: the way from [`Config`] to an [`Authenticator`].

use crate::auth::crypt::HashLimits;
use crate::auth::username::{UsernameFormat, UsernameRules};
use crate::auth::{Authenticator, Connection, Files, Passdb, Settings, passwd};
use crate::config::Config;
use crate::config::value::Text;
use crate::peer::Peer;
use crate::secret::Secret;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a login waits for the memory-hard hashes of others before it fails as temporary.
const HASH_WAIT: Duration = Duration::from_secs(20);
/// How long a checkpassword program may take.
const CHECKPASSWORD_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks the logins of one connection.
pub fn authenticator(config: &Config, protocol: &'static str, peer: &Peer) -> io::Result<Authenticator> {
    let connection = Connection {
        protocol,
        remote: peer.remote.map(|remote| remote.ip()),
        local: peer.local.map(|local| local.ip()),
    };
    Ok(Authenticator::new(settings(config)?, connection))
}

/// Whether some user's secret may be stored, so that mechanisms that need one can succeed.
pub fn may_store_secrets(config: &Config) -> bool {
    config.passdb.iter().any(|passdb| matches!(passdb, Passdb::PasswdFile(_)))
}

/// Whether some user may be found without a password: a checkpassword program always wants one.
pub fn may_look_up(config: &Config) -> bool {
    config.passdb.iter().any(|passdb| !matches!(passdb, Passdb::CheckPassword(_)))
}

/// The user and group of `login_user`: a name in `passwd_path`, or a number.
pub fn login_user(config: &Config) -> io::Result<(u32, u32)> {
    passwd::login_ids(&path(&config.passwd_path), &config.login_user)
        .map_err(|error| io::Error::other(format!("login_user = {}: {error}", config.login_user)))
}

/// What names may be, and what becomes of them before they are looked up. Error: `auth_username_format` is none.
pub fn username_rules(config: &Config) -> io::Result<UsernameRules> {
    let format = config.auth_username_format.as_str();
    Ok(UsernameRules {
        chars: config.auth_username_chars.to_string(),
        format: format.parse::<UsernameFormat>().map_err(|error| io::Error::other(error.to_string()))?,
        master_separator: config.auth_master_user_separator.0,
    })
}

fn settings(config: &Config) -> io::Result<Settings> {
    Ok(Settings {
        passdbs: config.passdb.to_vec(),
        master_passdb: config.master_passdb.0.clone(),
        files: Files {
            passwd: path(&config.passwd_path),
            shadow: path(&config.shadow_path),
            group: path(&config.group_path),
            ..Files::default()
        },
        username: username_rules(config)?,
        limits: HashLimits { memory: config.auth_hash_memory_limit.0, wait: HASH_WAIT },
        first_valid_uid: config.first_valid_uid,
        last_valid_uid: config.last_valid_uid,
        mail_uid: id("mail_uid", &config.mail_uid, || {
            Ok(passwd::find_user(&path(&config.passwd_path), &config.mail_uid)?.map(|entry| entry.uid))
        })?,
        mail_gid: id("mail_gid", &config.mail_gid, || {
            passwd::find_group(&path(&config.group_path), &config.mail_gid)
        })?,
        salt_key: Secret::default(),
        checkpassword_reply: None,
        checkpassword_timeout: CHECKPASSWORD_TIMEOUT,
        today: None,
    })
}

/// A number, or a name that is looked up; empty means none.
fn id(
    setting: &str,
    value: &Text,
    find: impl FnOnce() -> io::Result<Option<u32>>,
) -> io::Result<Option<u32>> {
    if value.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = value.parse() {
        return Ok(Some(id));
    }
    let wrong = |why: String| io::Error::other(format!("{setting} = {value}: {why}"));
    let found = find().map_err(|error| wrong(error.to_string()))?;
    found.map(Some).ok_or_else(|| wrong("no such name".to_owned()))
}

fn path(setting: &crate::config::value::Path) -> PathBuf {
    setting.get().unwrap_or(Path::new("")).to_owned()
}
