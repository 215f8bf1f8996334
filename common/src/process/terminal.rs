//! What is for a person: answers on a terminal, and errors of the command line and the configuration.

use super::{Program, load_identity, log_and_refuse};
use crate::cli::CommandLine;
use crate::cli::Mode;
use crate::config::keyword::Ssl;
use crate::config::{Config, check};
use crate::exit::Exit;
use crate::peer::Peer;
use crate::sys::fd;
use crate::tls::authorities::Authorities;
use std::io;

/// The command line or the configuration is wrong, a line for each fault: a person at a terminal reads it there, the
/// administrator in the log.
pub(super) fn usage(program: &Program, mode: Option<Mode>, faults: &[String]) -> Exit {
    let serves = mode.is_none_or(|mode| mode == Mode::Serve);
    if serves {
        say(program, faults);
        log_and_refuse(program, faults);
    } else {
        write(program, faults);
    }
    Exit::Usage
}

/// Tells whoever started a server, if that is no client.
pub(super) fn say(program: &Program, faults: &[String]) {
    if !Peer::of(&fd::STDIN).on_network {
        write(program, faults);
    }
}

fn write(program: &Program, faults: &[String]) {
    for what in faults {
        let _ = fd::write(fd::STDERR, format!("{}: {what}\n", program.line.name).as_bytes());
    }
}

pub(super) fn print(text: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Exit {
    let mut out = Vec::new();
    if text(&mut out).is_err() {
        return Exit::Temporary;
    }
    let mut rest = out.as_slice();
    while !rest.is_empty() {
        match fd::write(fd::STDOUT, rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(_) => return Exit::Temporary,
        }
    }
    Exit::Success
}

/// `--check` of settings some of which are wrong. The others are looked at without them, and what is wrong with their values is
/// told as well; what else may be found depends on those that are not there.
pub(super) fn check_the_rest(
    program: &Program,
    config: &Config,
    line: &CommandLine,
    mut faults: Vec<String>,
) -> Exit {
    let set: Vec<&str> = config.changed().map(|(name, _)| name).collect();
    let is_about =
        |what: &str, name: &str| what.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ' ']));
    let others = findings(program, config, line).into_iter();
    let others = others.filter(|one| one.severity == check::Severity::Error);
    let others = others.filter(|one| set.iter().any(|name| is_about(&one.what, name)));
    faults.extend(others.map(|one| one.to_string()));
    usage(program, Some(line.mode), &faults)
}

pub(super) fn print_check(program: &Program, config: &Config, line: &CommandLine) -> Exit {
    let findings = findings(program, config, line);
    let mut exit = Exit::Temporary;
    let printed = print(|out| {
        exit = check::report(&findings, out)?;
        Ok(())
    });
    if printed == Exit::Success { exit } else { printed }
}

fn findings(program: &Program, config: &Config, line: &CommandLine) -> Vec<check::Finding> {
    let mut findings = check::findings(config, line);
    findings.append(&mut (program.check)(config));
    let has_certificate = config.ssl_cert_file.get().is_some_and(std::path::Path::exists);
    if config.ssl != Ssl::No && has_certificate {
        let cert_file = std::path::Path::new(config.ssl_cert_file.as_str());
        match load_identity(config) {
            Ok(identity) => findings.append(&mut identity.findings(cert_file)),
            Err(error) => {
                findings.push(check::Finding::error(error.to_string(), "mend the file, or set ssl = no"));
            }
        }
    }
    if config.ssl != Ssl::No && config.ssl_verify_client_cert {
        match Authorities::load(config.ssl_ca_file.get()) {
            Ok(authorities) => {
                let (crl_required, now) = (config.ssl_require_crl, std::time::SystemTime::now());
                findings.append(&mut authorities.findings(crl_required, now));
            }
            Err(error) => {
                let advice = "mend the file, or set ssl_verify_client_cert = no";
                findings.push(check::Finding::error(error.to_string(), advice));
            }
        }
    }
    if let Err(error) = super::login::authenticator(config, "", &Peer::of(&fd::STDIN)) {
        findings.push(check::Finding::error(error.to_string(), "create it, or change the setting"));
    }
    findings
}
