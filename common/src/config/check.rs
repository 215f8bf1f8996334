//! `--check`: tests the configuration and what it names, and says what to do about each finding.
//!
//! It runs for a person, as the user that the server starts as (root, where mail of several users is served); it
//! changes nothing. What only another module can test, a certificate say, that module hands in as findings.

mod users;
mod values;

use super::keyword::{Mechanism, Ssl};
use super::value::Passdb;
use super::{Config, DEFAULT_FILE};
use crate::auth::passwd::login_ids;
use crate::cli::CommandLine;
use crate::exit::Exit;
use crate::sys::fs::may_write;
use crate::tls::key::has_key_in;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but perhaps not as intended.
    Warning,
    /// It does not work, or is not safe.
    Error,
}

/// Something that the administrator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    /// Something that does not work or is not safe.
    pub fn error(what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { severity: Severity::Error, what: what.into(), advice: advice.into() }
    }

    /// Something that is perhaps not intended.
    pub fn warning(what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, what: what.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{severity}: {}: {}", self.what, self.advice)
    }
}

/// Everything that this module can find out by itself.
pub fn findings(config: &Config, line: &CommandLine) -> Vec<Finding> {
    let mut found = Vec::new();
    config_file(line, &mut found);
    values::values(config, &mut found);
    passdbs(config, &mut found);
    users::made_up_salts(config, &crate::auth::Files::default().machine_id, &mut found);
    certificate(config, line, &mut found);
    client_certificates(config, &mut found);
    login_user(config, &mut found);
    base_dir(config, &mut found);
    log_file(config, &mut found);
    found
}

/// Prints the findings, a line each, and says how the program is to end.
pub fn report(findings: &[Finding], out: &mut dyn Write) -> io::Result<Exit> {
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    let is_usable = findings.iter().all(|finding| finding.severity < Severity::Error);
    if findings.is_empty() {
        writeln!(out, "the configuration is in order")?;
    }
    Ok(if is_usable { Exit::Success } else { Exit::Usage })
}

const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

/// Opens a file that must be readable and that nobody else may change.
pub fn readable(setting: &str, path: &str, found: &mut Vec<Finding>) -> Option<Metadata> {
    let metadata = match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata,
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => format!("create it or change {setting}"),
                io::ErrorKind::PermissionDenied => {
                    "run this check as the user the server starts as".to_owned()
                }
                _ => format!("change {setting}"),
            };
            found.push(Finding::error(format!("{path}: {error}"), advice));
            return None;
        }
    };
    if metadata.is_dir() {
        found.push(Finding::error(format!("{path} is a directory"), format!("change {setting}")));
        return None;
    }
    // Who writes to /dev/null changes nothing, and its rights are nobody's to take away.
    let is_device = metadata.file_type().is_char_device();
    if !is_device && metadata.permissions().mode() & OTHERS_WRITE != 0 {
        found
            .push(Finding::error(format!("{path} can be changed by everybody"), format!("chmod o-w {path}")));
    }
    Some(metadata)
}

/// A file with secrets: as [`readable`], and nobody else may read it.
pub fn secret(setting: &str, path: &str, found: &mut Vec<Finding>) {
    if readable(setting, path, found).is_some_and(|file| file.permissions().mode() & OTHERS_READ != 0) {
        found.push(Finding::error(format!("{path} can be read by everybody"), format!("chmod o-r {path}")));
    }
}

fn config_file(line: &CommandLine, found: &mut Vec<Finding>) {
    let path = line.config_file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    if line.config_file.is_some() || path.exists() {
        readable("-c", &path.to_string_lossy(), found);
    }
}

fn passdbs(config: &Config, found: &mut Vec<Finding>) {
    if config.passdb.iter().any(|db| matches!(db, Passdb::Shadow | Passdb::Passwd)) {
        readable("passwd_path", config.passwd_path.as_str(), found);
        readable("group_path", config.group_path.as_str(), found);
    }
    for passdb in config.passdb.iter() {
        match passdb {
            Passdb::Shadow => secret("shadow_path", config.shadow_path.as_str(), found),
            Passdb::Passwd => {}
            Passdb::PasswdFile(path) => {
                secret("passdb", &path.to_string_lossy(), found);
                users::passwd_file(config, path, true, found);
            }
            Passdb::CheckPassword(path) => program("passdb", path, found),
        }
    }
    if let Some(path) = &config.master_passdb.0 {
        secret("master_passdb", &path.to_string_lossy(), found);
        users::passwd_file(config, path, false, found);
    }
}

fn program(setting: &str, path: &str, found: &mut Vec<Finding>) {
    let Some(file) = readable(setting, path, found) else { return };
    if file.permissions().mode() & 0o111 == 0 {
        found.push(Finding::error(
            format!("{path} is no program"),
            format!("chmod +x {path}, or change {setting}"),
        ));
    }
}

fn certificate(config: &Config, line: &CommandLine, found: &mut Vec<Finding>) {
    if config.ssl == Ssl::No {
        if line.tls {
            found.push(Finding::error("--tls, but ssl = no", "set ssl = yes, or start without --tls"));
        }
        return;
    }
    let (certificate, key) = (config.ssl_cert_file.as_str(), config.ssl_key_file.as_str());
    if !line.tls && config.ssl == Ssl::Yes && !exists(certificate) && !exists(key) {
        let what = format!("no certificate at \"{certificate}\": TLS is not offered");
        found.push(Finding::warning(what, "set ssl_cert_file and ssl_key_file, or ssl = no"));
    } else {
        // The key may be in the certificate's file, which is a secret then.
        let in_one = !exists(key) && has_key_in(Path::new(certificate));
        let key = if in_one { certificate } else { key };
        if key != certificate {
            readable("ssl_cert_file", certificate, found);
        }
        secret("ssl_key_file", key, found);
    }
}

/// The settings about the certificates of clients, which need each other.
fn client_certificates(config: &Config, found: &mut Vec<Finding>) {
    let mut fault = |what: &str, advice: &str| found.push(Finding::error(what, advice));
    let asked = config.ssl_verify_client_cert && config.ssl != Ssl::No;
    if config.ssl_verify_client_cert && config.ssl == Ssl::No {
        fault("ssl_verify_client_cert = yes, but ssl = no", "enable TLS, or set ssl_verify_client_cert = no");
    }
    if config.auth_ssl_require_client_cert && !asked {
        let what = "auth_ssl_require_client_cert = yes, but no client is asked for one: nobody can log in";
        fault(what, "set ssl_verify_client_cert = yes");
    }
    if config.ssl_username_from_cert && !asked {
        let what = "ssl_username_from_cert = yes, but no client is asked for a certificate";
        fault(what, "set ssl_verify_client_cert = yes");
    }
    if config.auth_mechanisms.contains(Mechanism::External) && !(asked && config.ssl_username_from_cert) {
        let what = "auth_mechanisms has external, which never is on offer without a name in a certificate";
        fault(what, "set ssl_verify_client_cert = yes and ssl_username_from_cert = yes");
    }
    if asked {
        if let Some(path) = config.ssl_ca_file.get() {
            readable("ssl_ca_file", &path.to_string_lossy(), found);
        }
    }
}

fn exists(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn login_user(config: &Config, found: &mut Vec<Finding>) {
    let passwd = Path::new(config.passwd_path.as_str());
    if let Err(error) = login_ids(passwd, &config.login_user) {
        found.push(Finding::error(
            format!("login_user = {}: {error}", config.login_user),
            "set login_user to a user that owns nothing",
        ));
    }
}

/// It is created at the first start; what is there must belong to root and to nobody else.
fn base_dir(config: &Config, found: &mut Vec<Finding>) {
    let Some(path) = config.base_dir.get() else {
        found.push(Finding::error("base_dir is empty", "set base_dir = /run/tinmail"));
        return;
    };
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            found.push(Finding::error(format!("{shown} is not a directory"), "remove it or change base_dir"));
        }
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            found.push(Finding::error(
                format!("{shown} can be changed by others"),
                format!("chmod go-w {shown}"),
            ));
        }
        Ok(metadata) if metadata.uid() != 0 && metadata.uid() != crate::sys::socket::effective_uid() => {
            found.push(Finding::error(
                format!("{shown} belongs to another user"),
                format!("chown root {shown}"),
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !path.parent().is_some_and(Path::is_dir) {
                let advice = "create that directory, or change base_dir";
                found.push(Finding::error(format!("{shown} cannot be created: it has no parent"), advice));
            }
        }
        Err(error) => found.push(Finding::error(format!("{shown}: {error}"), "change base_dir")),
    }
}

/// The log is opened, and made if need be, by the user that the server starts as; the session inherits it. A log that
/// cannot be written is lost in silence: nothing stops the mail.
fn log_file(config: &Config, found: &mut Vec<Finding>) {
    let Some(path) = config.log_path.get().filter(|path| *path != Path::new("/dev/stderr")) else { return };
    let shown = path.display();
    let mut log_error = |what: String, advice: String| found.push(Finding::error(what, advice));
    if let Ok(file) = fs::metadata(path) {
        if file.is_dir() {
            return log_error(format!("log_path = {shown}: a directory"), "name a file in it".to_owned());
        }
        if let Err(error) = may_write(path) {
            log_error(
                format!("log_path = {shown}: {error}"),
                "make it writable, or change log_path".to_owned(),
            );
        }
        return;
    }
    let directory = path.parent().unwrap_or(path);
    match fs::metadata(directory).and_then(|meta| {
        if meta.is_dir() {
            may_write(directory).map(|()| meta)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }) {
        Err(error) => {
            let advice = format!(
                "create {} writable for the user the server starts as, or change log_path",
                directory.display()
            );
            log_error(format!("log_path = {shown}: {}: {error}", directory.display()), advice);
        }
        Ok(meta) if meta.permissions().mode() & OTHERS_WRITE != 0 => {
            let what = format!("log_path = {shown}: everybody can create files beside it");
            found.push(Finding::warning(what, "use a directory that only root can write to"));
        }
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    pub(super) use super::super::tests::PROGRAM;
    use super::*;
    use std::path::PathBuf;

    pub(super) struct Place(PathBuf);

    impl Place {
        pub(super) fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("tinmail-check-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let place = Place(path);
            place.file("passwd", 0o644, "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
            place.file("group", 0o644, "root:x:0:\n");
            place.file("shadow", 0o640, "root:*:1::::::\n");
            place.file("cert", 0o644, "");
            place.file("key", 0o600, "");
            place
        }

        pub(super) fn file(&self, name: &str, mode: u32, text: &str) -> String {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        }

        pub(super) fn check(&self, pairs: &[&str]) -> Vec<String> {
            let at = |setting: &str, name: &str| format!("{setting}={}", self.0.join(name).display());
            let mut all = vec![
                at("passwd_path", "passwd"),
                at("group_path", "group"),
                at("shadow_path", "shadow"),
                at("ssl_cert_file", "cert"),
                at("ssl_key_file", "key"),
                at("base_dir", "run"),
            ];
            all.extend(pairs.iter().map(|&pair| pair.replace("DIR", self.0.to_str().unwrap())));
            let config = Config::from_pairs(&PROGRAM, all.iter().map(String::as_str)).unwrap();
            let line = CommandLine { config_file: Some("/dev/null".into()), ..CommandLine::default() };
            let mut found = findings(&config, &line);
            // /dev/null is writable by everybody; the file itself has its own test.
            found.retain(|finding| !finding.what.starts_with("/dev/null"));
            found.iter().map(|finding| finding.to_string().replace(self.0.to_str().unwrap(), "DIR")).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_sound_configuration_has_no_findings() {
        assert_eq!(Place::new("sound").check(&[]), [""; 0]);
        assert_eq!(Place::new("number").check(&["login_user=65534"]), [""; 0]);
        assert_eq!(Place::new("log").check(&["log_path=DIR/log"]), [""; 0]);
        assert_eq!(Place::new("log-there").check(&["log_path=DIR/key"]), [""; 0]);
        assert_eq!(Place::new("log-stderr").check(&["log_path=/dev/stderr"]), [""; 0]);
        let place = Place::new("one-file");
        place.file("both", 0o600, "-----BEGIN PRIVATE KEY-----\n");
        assert_eq!(place.check(&["ssl_cert_file=DIR/both", "ssl_key_file=DIR/none"]), [""; 0]);
    }

    #[test]
    fn each_fault_is_found() {
        let place = Place::new("faults");
        place.file("open", 0o644, "");
        place.file("wild", 0o646, "");
        fs::create_dir(place.0.join("loose")).unwrap();
        fs::set_permissions(place.0.join("loose"), fs::Permissions::from_mode(0o777)).unwrap();
        place.file("both", 0o644, "-----BEGIN PRIVATE KEY-----\n");
        let both = "error: DIR/both can be read by everybody: chmod o-r DIR/both";
        let rows: [(&[&str], &str); 40] = [
            (&["ssl_cert_file=DIR/both", "ssl_key_file=DIR/none"], both),
            (&["ssl_cert_file=DIR/both", "ssl_key_file=DIR/both"], both),
            (&["ssl_key_file=DIR/none"], "error: DIR/none: No such file"),
            (&["last_valid_uid=5"], "error: last_valid_uid is lower"),
            (&["passdb="], "error: passdb is empty"),
            (&["auth_mechanisms="], "error: auth_mechanisms is empty"),
            (
                &["auth_mechanisms=cram-md5 scram-sha-256", "passdb=shadow"],
                "error: auth_mechanisms has none that passdb can serve",
            ),
            (&["session_memory_limit=1M"], "error: session_memory_limit is too small"),
            (&["auth_master_user_separator=*"], "warning: auth_master_user_separator is set"),
            (&["master_passdb=passwd-file:DIR/key"], "warning: master_passdb without"),
            (
                &["auth_master_user_separator=@", "master_passdb=passwd-file:DIR/key"],
                "error: user names may contain",
            ),
            (&["ssl=no"], "warning: ssl = no and disable_plaintext_auth"),
            (&["haproxy_trusted_networks=::1 0.0.0.0/0"], "error: haproxy_trusted_networks trusts everybody"),
            (&["login_timeout=0"], "error: login_timeout is 0"),
            (&["passwd_path=DIR/none"], "error: DIR/none: No such file"),
            (&["shadow_path=DIR/open"], "error: DIR/open can be read by everybody: chmod o-r DIR/open"),
            (
                &["passdb=passwd-file:DIR/wild"],
                "error: DIR/wild can be changed by everybody: chmod o-w DIR/wild",
            ),
            (&["passdb=checkpassword:DIR/open"], "error: DIR/open is no program"),
            (&["ssl=required", "ssl_cert_file=DIR/none"], "error: DIR/none: No such file"),
            (&["ssl_cert_file=DIR/none", "ssl_key_file=DIR/none"], "warning: no certificate at"),
            (&["ssl_key_file=DIR/open"], "error: DIR/open can be read by everybody"),
            (&["login_user=none"], "error: login_user = none: no such user"),
            (&["login_user=0"], "error: login_user = 0: must not be root"),
            (&["haproxy_timeout=0"], "error: haproxy_timeout is 0"),
            (&["auth_max_attempts=0"], "error: auth_max_attempts is 0"),
            (&["max_bad_commands=0"], "error: max_bad_commands is 0"),
            (&["login_user=root"], "error: login_user = root: must not be root"),
            (&["base_dir=DIR/loose"], "error: DIR/loose can be changed by others"),
            (&["base_dir=DIR/none/run"], "error: DIR/none/run cannot be created"),
            (&["ssl_verify_client_cert=yes", "ssl=no"], "error: ssl_verify_client_cert = yes, but ssl = no"),
            (
                &["auth_ssl_require_client_cert=yes"],
                "error: auth_ssl_require_client_cert = yes, but no client",
            ),
            (&["ssl_username_from_cert=yes"], "error: ssl_username_from_cert = yes, but no client"),
            (&["auth_mechanisms=plain external"], "error: auth_mechanisms has external"),
            (
                &["auth_mechanisms=external", "ssl_verify_client_cert=yes"],
                "error: auth_mechanisms has external",
            ),
            (&["ssl_verify_client_cert=yes", "ssl_ca_file=DIR/none"], "error: DIR/none: No such file"),
            (&["ssl_verify_client_cert=yes", "ssl_ca_file=DIR/wild"], "error: DIR/wild can be changed by"),
            (&["log_path=DIR/loose"], "error: log_path = DIR/loose: a directory"),
            (&["log_path=DIR/none/log"], "error: log_path = DIR/none/log: DIR/none: No such file"),
            (&["log_path=DIR/open/log"], "error: log_path = DIR/open/log: DIR/open: not a directory"),
            (&["log_path=DIR/loose/log"], "warning: log_path = DIR/loose/log: everybody can create"),
        ];
        for (pairs, want) in rows {
            let found = place.check(pairs);
            assert!(found.iter().any(|finding| finding.starts_with(want)), "{pairs:?}: {found:?}");
        }
    }

    #[test]
    fn only_errors_make_the_configuration_unusable() {
        let ends = |findings: &[Finding]| {
            let mut out = Vec::new();
            (report(findings, &mut out).unwrap(), String::from_utf8(out).unwrap())
        };
        assert_eq!(ends(&[]), (Exit::Success, "the configuration is in order\n".to_owned()));
        let warning = Finding::warning("a", "b");
        assert_eq!(ends(std::slice::from_ref(&warning)), (Exit::Success, "warning: a: b\n".to_owned()));
        assert_eq!(ends(&[warning, Finding::error("c", "d")]).0, Exit::Usage);
    }

    #[test]
    fn the_file_itself_is_looked_at() {
        let place = Place::new("file");
        let path = place.file("conf", 0o666, "");
        let line = CommandLine { config_file: Some(path.into()), ..CommandLine::default() };
        let found = findings(&Config::DEFAULT, &line);
        assert!(found[0].what.ends_with("conf can be changed by everybody"), "{found:?}");
        let line = CommandLine { config_file: Some("/dev/null".into()), ..CommandLine::default() };
        let found = findings(&Config::DEFAULT, &line);
        assert!(!found.iter().any(|found| found.what.contains("/dev/null")), "{found:?}");
    }
}
