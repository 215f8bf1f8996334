//! Values that are right each, and with which nobody would be served.

use super::super::Config;
use super::super::keyword::{Mechanism, Ssl};
use super::super::value::Passdb;
use super::Finding;

/// Values that are accepted each, but do not fit together.
pub(super) fn values(config: &Config, found: &mut Vec<Finding>) {
    if config.last_valid_uid != 0 && config.last_valid_uid < config.first_valid_uid {
        let what = "last_valid_uid is lower than first_valid_uid: nobody can log in";
        found.push(Finding::error(what, "raise it, or set it to 0"));
    }
    if config.passdb.is_empty() {
        found.push(Finding::error("passdb is empty: nobody can log in", "set passdb = shadow"));
    }
    if config.auth_mechanisms.is_empty() {
        let what = "auth_mechanisms is empty: nobody can log in";
        found.push(Finding::error(what, "set auth_mechanisms = plain login"));
    }
    mechanisms(config, found);
    memory(config, found);
    if config.auth_master_user_separator.0.is_some() && config.master_passdb.0.is_none() {
        let what = "auth_master_user_separator is set, but there is no master_passdb";
        found.push(Finding::warning(
            what,
            "name the master users' passwords: master_passdb = passwd-file:/FILE",
        ));
    }
    if config.master_passdb.0.is_some() && config.auth_master_user_separator.0.is_none() {
        let what =
            "master_passdb without auth_master_user_separator: only SASL PLAIN can name the other user";
        found.push(Finding::warning(what, "set auth_master_user_separator = * if USER and PASS are to work"));
    }
    if let Some(separator) = config.auth_master_user_separator.0 {
        if config.auth_username_chars.contains(separator) {
            let what = format!("user names may contain auth_master_user_separator \"{separator}\"");
            found.push(Finding::error(what, "take it out of auth_username_chars or choose another"));
        }
    }
    if config.ssl == Ssl::No && config.disable_plaintext_auth {
        let what = "ssl = no and disable_plaintext_auth = yes: passwords are taken from this host only";
        found.push(Finding::warning(what, "enable TLS, or set disable_plaintext_auth = no"));
    }
    if config.haproxy_trusted_networks.iter().any(|network| network.is_everything()) {
        let what = "haproxy_trusted_networks trusts everybody: any client can claim any address";
        found.push(Finding::error(what, "name the proxies' addresses"));
    }
    let zero_times = [
        ("login_timeout", config.login_timeout),
        ("haproxy_timeout", config.haproxy_timeout),
        ("reply_timeout", config.reply_timeout),
        ("pop3_idle_timeout", config.pop3_idle_timeout),
    ];
    for (name, _) in zero_times.iter().filter(|(_, time)| time.is_zero()) {
        found.push(Finding::error(format!("{name} is 0: every client would be late"), "give it some time"));
    }
    let zero_counts =
        [("auth_max_attempts", config.auth_max_attempts), ("max_bad_commands", config.max_bad_commands)];
    for (name, _) in zero_counts.iter().filter(|(_, count)| *count == 0) {
        found.push(Finding::error(format!("{name} is 0: no client would be served"), "set it to 1 or more"));
    }
}

/// What proves that a client knows the password without telling it needs a database that can be asked for something else than yes or no.
fn mechanisms(config: &Config, found: &mut Vec<Finding>) {
    let asks_for_it =
        |mechanism| matches!(mechanism, Mechanism::Plain | Mechanism::Login | Mechanism::External);
    let one_does = config.auth_mechanisms.iter().any(asks_for_it) || config.auth_mechanisms.is_empty();
    let can_be_read = |db: &Passdb| matches!(db, Passdb::PasswdFile(_));
    if !one_does && !config.passdb.iter().any(can_be_read) && !config.passdb.is_empty() {
        let what = "auth_mechanisms has none that passdb can serve: nobody can log in";
        found.push(Finding::error(what, "add plain, or a passdb = passwd-file:/FILE with stored secrets"));
    }
}

/// With less than this address space more, no session reads a mailbox.
const SESSION_MEMORY_MIN: u64 = 4 << 20;

fn memory(config: &Config, found: &mut Vec<Finding>) {
    let limit = config.session_memory_limit.0;
    // 0 is no limit.
    if limit > 0 && limit < SESSION_MEMORY_MIN {
        let what = "session_memory_limit is too small for any session";
        found.push(Finding::error(what, "leave it as it is by default"));
    }
}
