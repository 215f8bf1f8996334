//! What is wrong with the settings of mail: rules that would make an open relay, files that cannot be read, a queue that others
//! may change. The files are the administrator's; `--check` reads them as the user that it was started by.

use crate::aliases::{self, Aliases};
use crate::header_checks::HeaderChecks;
use crate::map::{Map, Maps};
use crate::networks::Networks;
use crate::queue::QueueDirectory;
use crate::readers::refusal;
use crate::route;
use crate::router::Router;
use crate::rules::Rules;
use crate::users::{Users, default_privs_clash, default_privs_missing};
use crate::values::expand;
use crate::virtual_mailboxes::VirtualMailboxes;
use common::auth::passwd::login_ids;
use common::config::check::{Finding, readable, secret};
use common::config::keyword::TlsLevel;
use common::config::{Config, DEFAULT_FILE};
use common::sys::process;
use common::tls::client::Authorities;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// For [`common::process::Program`].
pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for what in Rules::problems(config) {
        found.push(Finding::error(what, "mend it: no mail is taken until then"));
    }
    for_everybody(config, Path::new(DEFAULT_FILE), &mut found);
    maps(config, &mut found);
    next_hops(config, &mut found);
    header_checks(config, &mut found);
    virtual_mailboxes(config, &mut found);
    alias_files(config, &mut found);
    networks(config, &mut found);
    postmaster(config, &mut found);
    access_tables(config, &mut found);
    blind_copies(config, &mut found);
    authorities(config, &mut found);
    for_mail_owner(config, &mut found);
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
    for name in crate::drop::listing::unknown_users(config) {
        let what = format!("authorized_mailq_users: nobody here is called {name}");
        found.push(Finding::warning(what, "name a user of this host, or leave it out"));
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

/// The file that `sendmail` reads with the rights of whoever calls it.
fn for_everybody(config: &Config, path: &Path, found: &mut Vec<Finding>) {
    if let Some(error) = nobody(config).filter(|_| path.exists()).and_then(|user| refusal(user, path)) {
        let what = format!("{} cannot be read by everybody: {error}", path.display());
        let advice = "chmod o+r it, and keep passwords in files of their own: sendmail takes no mail of those who cannot read it";
        found.push(Finding::warning(what, advice));
    }
}

/// Somebody with no rights but everybody's.
fn nobody(config: &Config) -> Option<(u32, u32)> {
    login_ids(config.passwd_path.get().unwrap_or(Path::new("")), &config.login_user).ok()
}

/// What a queue run reads as mail_owner, where root can read it: directories above it may be closed to others.
fn for_mail_owner(config: &Config, found: &mut Vec<Finding>) {
    let Ok(owner) = crate::queue::owner(config) else { return };
    let settings = [
        ("sender_dependent_relayhost_maps", &config.sender_dependent_relayhost_maps),
        ("transport_maps", &config.transport_maps),
        ("smtp_tls_policy_maps", &config.smtp_tls_policy_maps),
    ];
    let maps = settings.into_iter().flat_map(|(setting, value)| {
        let paths = files(config, value).unwrap_or_default();
        paths.into_iter().map(move |path| (setting, PathBuf::from(path)))
    });
    let checks = HeaderChecks::files(config).unwrap_or_default();
    let checks = checks.into_iter().map(|path| ("header_checks", path.to_owned()));
    let authorities = config.smtp_tls_CAfile.get().map(|path| ("smtp_tls_CAfile", path.to_owned()));
    for (setting, path) in maps.chain(checks).chain(authorities) {
        // What root cannot read either was named already.
        let Some(error) = File::open(&path).ok().and_then(|_| refusal(owner, &path)) else { continue };
        let what = format!(
            "{setting}: {}: mail_owner = {} cannot read it: {error}",
            path.display(),
            config.mail_owner
        );
        let advice = "let that user read it and enter the directories above it (namei -l shows their rights): mail waits until then";
        found.push(Finding::error(what, advice));
    }
}

fn maps(config: &Config, found: &mut Vec<Finding>) {
    let settings = [
        ("virtual_alias_maps", &config.virtual_alias_maps),
        ("virtual_mailbox_maps", &config.virtual_mailbox_maps),
        ("sender_bcc_maps", &config.sender_bcc_maps),
        ("recipient_bcc_maps", &config.recipient_bcc_maps),
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
            Err(error) => {
                let what = format!("{setting}: {error}");
                if found.iter().all(|one| one.what != what) {
                    found.push(Finding::error(what, "mend the setting"));
                }
            }
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

/// Lines that name no next hop, no level of TLS or no password. Tables that cannot be read were named already.
fn next_hops(config: &Config, found: &mut Vec<Finding>) {
    let hops = Router::load(config).problems().into_iter().filter(|problem| !problem.is_table);
    for problem in hops.map(|problem| problem.what).chain(route::problems(config)) {
        let what = common::log::readable(problem.as_bytes()).up_to(500).to_string();
        found.push(Finding::error(what, "mend the line: mail that it is meant for waits until then"));
    }
}

/// Every writer reads the tables with the rights of its recipient.
fn header_checks(config: &Config, found: &mut Vec<Finding>) {
    for path in HeaderChecks::files(config).unwrap_or_default() {
        let Some(file) = readable("header_checks", &path.to_string_lossy(), found) else { return };
        let shown = path.display();
        if process::is_root() && file.permissions().mode() & 0o004 == 0 {
            let what = format!("{shown} cannot be read by everybody");
            found.push(Finding::error(what, "chmod o+r it: it is read with the rights of each recipient"));
        } else if let Some(error) = nobody(config).and_then(|user| refusal(user, &path)) {
            let what = format!("{shown} cannot be read by everybody: {error}");
            let advice = "chmod o+x the directories above it: it is read with the rights of each recipient";
            found.push(Finding::error(what, advice));
        }
    }
    if let Err(error) = HeaderChecks::load(config) {
        let what = error.to_string();
        if !found.iter().any(|one| one.what.ends_with(&what)) {
            found.push(Finding::error(what, "mend it: mail is deferred until then"));
        }
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
    let optional =
        expand(config, &config.alias_maps).and_then(|list| Aliases::parse(&list)).unwrap_or_default();
    let users = std::cell::RefCell::new(users);
    // Who cannot be looked up now is not called unknown.
    let is_user = |name: &str| users.borrow_mut().find(name).map_or(true, |user| user.is_some());
    for path in paths {
        if optional.may_miss(Path::new(&path)) && !Path::new(&path).exists() {
            continue;
        }
        if readable("alias_maps", &path, found).is_none() {
            continue;
        }
        let problems = aliases::check(Path::new(&path), &is_user).map(|checked| checked.problems);
        for problem in problems.unwrap_or_default() {
            let what = format!("{path}{problem}");
            let kind = if problem.error { Finding::error } else { Finding::warning };
            found.push(kind(what, "mend the alias"));
        }
    }
}

/// Half of all addresses the rules refuse; what is less than that may be meant so.
fn networks(config: &Config, found: &mut Vec<Finding>) {
    let networks = expand(config, &config.mynetworks).and_then(|list| Networks::parse(&list));
    // What is wrong with it, the rules have said.
    let Some(network) = networks.ok().filter(|all| !all.is_everything()).and_then(|all| all.large().next())
    else {
        return;
    };
    let what = format!(
        "mynetworks: {}/{} is larger than any network of one site, and permit_mynetworks lets it relay",
        network.base(),
        network.prefix()
    );
    found.push(Finding::warning(what, "name your own networks only"));
}

/// RFC 5321 section 4.5.1: every domain has a postmaster. That an alias is missing, or means root, was said.
fn postmaster(config: &Config, found: &mut Vec<Finding>) {
    let Ok(mut rules) = Rules::load(config) else { return };
    let Some(address) = rules.qualified("postmaster") else { return };
    rules.only_looks();
    let is_known = found.iter().any(|one| one.what.contains("postmaster: "));
    if rules.expand(&address).is_err() && !is_known {
        let advice =
            "write \"postmaster: somebody\" into the file of aliases: mail for it is deferred until then";
        found.push(Finding::warning(format!("nobody gets mail for {address}"), advice));
    }
}

/// Tables in Postfix's words of which not all are known here: HOLD, PREPEND and others.
fn access_tables(config: &Config, found: &mut Vec<Finding>) {
    // What is wrong with the rules was said.
    let Ok(rules) = Rules::load(config) else { return };
    for what in rules.wrong_access() {
        let what = common::log::readable(what.as_bytes()).up_to(500).to_string();
        found.push(Finding::error(what, "mend the line: whom it is meant for is told to come again (451)"));
    }
}

/// Mail goes on without a copy for somebody who does not exist, and not with one for what is no address.
fn blind_copies(config: &Config, found: &mut Vec<Finding>) {
    // What is wrong with the rules was said.
    let Ok(mut rules) = Rules::load(config) else { return };
    for what in rules.wrong_blind_copies() {
        found.push(Finding::error(
            what,
            "write one address: mail that it is meant for is deferred until then",
        ));
    }
    // Without a sender and a recipient there is only always_bcc.
    let status = rules.blind_copies(&None, &[]).err().map(|status| status.to_string());
    if let Some(what) = rules.take_warnings().into_iter().next().or(status) {
        let what = format!("always_bcc = {}: {what}", config.always_bcc);
        found.push(Finding::error(what, "name one address that exists"));
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
