//! What is wrong with the settings of mail: rules that would make an open relay, files that cannot be read, a queue that others
//! may change. The files are the administrator's; `--check` reads them as the user that it was started by.

use crate::aliases::{self, DEFAULT_FILE};
use crate::header_checks::HeaderChecks;
use crate::map::{Map, Maps};
use crate::queue::QueueDirectory;
use crate::rules::Rules;
use crate::users::{Users, default_privs_clash, default_privs_missing};
use crate::values::expand;
use crate::virtual_mailboxes::VirtualMailboxes;
use common::config::Config;
use common::config::check::{Finding, readable, secret};
use common::config::keyword::TlsLevel;
use common::sys::process;
use common::tls::client::Authorities;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// For [`common::process::Program`].
pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = Rules::load(config) {
        found.push(Finding::error(error.to_string(), "mend it: no mail is taken until then"));
    }
    maps(config, &mut found);
    header_checks(config, &mut found);
    virtual_mailboxes(config, &mut found);
    alias_files(config, &mut found);
    authorities(config, &mut found);
    if let Some(why) = default_privs_clash(config) {
        let advice =
            "give default_privs a user of its own: mail to programs and files of aliases waits until then";
        found.push(Finding::error(format!("default_privs: {why}"), advice));
    }
    if let Some(why) = default_privs_missing(config) {
        let advice = "create that user (useradd --system --user-group --no-create-home --shell /usr/sbin/nologin NAME) or name \
                      another one with default_privs: mail to programs and files of aliases waits until then";
        found.push(Finding::warning(format!("default_privs = {why}"), advice));
    }
    if let Err(error) = QueueDirectory::check(config) {
        let advice = "mend its owner and mode, or change queue_directory or mail_owner";
        found.push(Finding::error(error.to_string(), advice));
    }
    found
}

/// The files of a setting's maps. Errors: it is no list of maps.
fn files(config: &Config, value: &str) -> io::Result<Vec<String>> {
    let maps = Maps::parse(&expand(config, value)?)?.0.into_iter();
    Ok(maps
        .filter_map(|map| match map {
            Map::File(path) | Map::Cidr(path) => Some(path.to_string_lossy().into_owned()),
            Map::Inline(_) | Map::Static(_) | Map::Users => None,
        })
        .collect())
}

fn maps(config: &Config, found: &mut Vec<Finding>) {
    let settings = [
        ("virtual_alias_maps", &config.virtual_alias_maps),
        ("virtual_mailbox_maps", &config.virtual_mailbox_maps),
        ("virtual_uid_maps", &config.virtual_uid_maps),
        ("virtual_gid_maps", &config.virtual_gid_maps),
        ("smtpd_sender_login_maps", &config.smtpd_sender_login_maps),
        ("sender_dependent_relayhost_maps", &config.sender_dependent_relayhost_maps),
        ("transport_maps", &config.transport_maps),
        ("smtp_tls_policy_maps", &config.smtp_tls_policy_maps),
        ("smtp_sasl_password_maps", &config.smtp_sasl_password_maps),
    ];
    for (setting, value) in settings {
        match files(config, value) {
            Err(error) => found.push(Finding::error(format!("{setting}: {error}"), "mend the setting")),
            Ok(paths) => {
                for path in paths {
                    // The rules name it already: one thing that is wrong is one finding.
                    let named = format!("{setting}: {path}: ");
                    if found.iter().any(|one| one.what.starts_with(&named)) {
                        continue;
                    }
                    // Passwords are read by root before the queue's runner gives up its rights.
                    if setting == "smtp_sasl_password_maps" {
                        secret(setting, &path, found);
                    } else {
                        readable(setting, &path, found);
                    }
                }
            }
        }
    }
}

/// Every writer reads the tables with the rights of its recipient.
fn header_checks(config: &Config, found: &mut Vec<Finding>) {
    for path in HeaderChecks::files(config).unwrap_or_default() {
        let Some(file) = readable("header_checks", &path.to_string_lossy(), found) else { return };
        if process::is_root() && file.permissions().mode() & 0o004 == 0 {
            let what = format!("{} cannot be read by everybody", path.display());
            found.push(Finding::error(what, "chmod o+r it: it is read with the rights of each recipient"));
        }
    }
    if let Err(error) = HeaderChecks::load(config) {
        found.push(Finding::error(error.to_string(), "mend it: mail is deferred until then"));
    }
}

/// Mailboxes that could not be delivered to. What is wrong with the settings themselves, the rules have said.
fn virtual_mailboxes(config: &Config, found: &mut Vec<Finding>) {
    let wrong = VirtualMailboxes::new(config).ok().and_then(|tables| tables.check().ok().flatten());
    if let Some(wrong) = wrong {
        let advice =
            "write DIRECTORY/ for a Maildir, and convert mbox files; mail for it is deferred until then";
        found.push(Finding::error(format!("virtual_mailbox_maps: {wrong}"), advice));
    }
}

fn alias_files(config: &Config, found: &mut Vec<Finding>) {
    // What is wrong with the setting itself, the rules have said.
    let (Ok(paths), Ok(users)) = (files(config, &config.alias_maps), Users::new(config)) else { return };
    let users = std::cell::RefCell::new(users);
    // Who cannot be looked up now is not called unknown.
    let is_user = |name: &str| users.borrow_mut().find(name).map_or(true, |user| user.is_some());
    for path in paths {
        if path == DEFAULT_FILE && !Path::new(&path).exists() {
            continue;
        }
        if readable("alias_maps", &path, found).is_none() {
            continue;
        }
        let problems = aliases::check(Path::new(&path), &is_user).map(|checked| checked.problems);
        for problem in problems.unwrap_or_default() {
            let what = format!("{path}:{}: {}", problem.line, common::log::readable(problem.text.as_bytes()));
            let kind = if problem.error { Finding::error } else { Finding::warning };
            found.push(kind(what, "mend the alias"));
        }
    }
}

/// Authorities are needed where other servers have to have a certificate.
fn authorities(config: &Config, found: &mut Vec<Finding>) {
    let level = config.smtp_tls_security_level;
    let is_needed = matches!(level, TlsLevel::Verify | TlsLevel::Secure);
    if !is_needed && config.smtp_tls_policy_maps.is_empty() {
        return;
    }
    let file = &config.smtp_tls_CAfile;
    let loaded = file.get().map_or(Err(io::ErrorKind::NotFound.into()), Authorities::load);
    if let Err(error) = loaded {
        let what = format!("smtp_tls_CAfile = {}: {error}", file.as_str());
        let advice = "install ca-certificates or name a file in PEM: mail to servers that are verified stays in the queue";
        found.push(if is_needed { Finding::error(what, advice) } else { Finding::warning(what, advice) });
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
