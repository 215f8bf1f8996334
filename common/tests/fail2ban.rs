//! Debian's own fail2ban filter for Dovecot must find our lines about refused logins, with the right address, and
//! must not find the others. A plain user may be without fail2ban: then they are left out, with a word.
#![allow(clippy::unwrap_used)]

use common::log::{Closing, LoginLine, Outcome, Security};
use std::path::Path;
use std::process::Command;

const FILTER: &str = "/etc/fail2ban/filter.d/dovecot.conf";

/// How a line reaches fail2ban: classic and present rsyslog, a log file of our own, and, with `syslog_name =
/// dovecot`, rsyslog and the journal. From the journal fail2ban makes `HOST NAME[PID]: ` itself, and there the filter
/// knows no other name; without it a line from the journal is not found.
const PREFIXES: [&str; 5] = [
    "Nov 21 09:00:00 mx pop3-login: ",
    "2026-11-21T09:00:00.123456+00:00 mx pop3-login: ",
    "2026-11-21T09:00:00Z pop3-login: ",
    "Nov 21 09:00:00 mx dovecot: pop3-login: ",
    "2026-11-21T09:00:00+0000 mx dovecot[123]: pop3-login: ",
];

#[derive(Clone, Copy, PartialEq)]
enum Found {
    Always,
    /// With `mode=aggressive` only.
    Aggressive,
    Never,
}
use Found::{Aggressive, Always, Never};

fn rows() -> Vec<(Found, Outcome, &'static str, &'static str, Security<'static>)> {
    let failed = Closing::AuthFailed { attempts: 3, seconds: 12 };
    let none = Closing::NoAttempts { seconds: 60 };
    let not_ready = Closing::NotReady { seconds: 0 };
    let not_authorized = Closing::NotAuthorized { attempts: 1, seconds: 2 };
    let disallowed = Closing::DisallowedPlaintext;
    let (idle, many) = (Some("Inactivity"), Some("Too many invalid commands"));
    vec![
        (Always, Outcome::Aborted(failed), "joe", "PLAIN", Security::Tls),
        (Always, Outcome::Aborted(failed), "joe@example.org", "LOGIN", Security::None),
        (Always, Outcome::Aborted(failed), "", "SCRAM-SHA-256", Security::Tls),
        (Always, Outcome::Aborted(failed), "x>, rip=203.0.113.200, lip=::1", "PLAIN", Security::None),
        (Always, Outcome::Aborted(failed), "jür\r\ngen", "PLAIN", Security::Secured),
        (Always, Outcome::Disconnected(None, failed), "joe", "APOP", Security::Tls),
        (Always, Outcome::Aborted(failed), "joe", "EXTERNAL", Security::Tls),
        (Always, Outcome::Disconnected(idle, failed), "joe", "PLAIN", Security::Tls),
        (Always, Outcome::Disconnected(many, failed), "joe", "PLAIN", Security::None),
        (Always, Outcome::Aborted(disallowed), "", "", Security::None),
        (Always, Outcome::Disconnected(None, disallowed), "joe", "PLAIN", Security::None),
        (Aggressive, Outcome::Aborted(none), "", "", Security::Tls),
        (Aggressive, Outcome::Disconnected(idle, none), "", "", Security::None),
        (Aggressive, Outcome::Disconnected(None, not_ready), "", "", Security::Handshaking(None)),
        (
            Aggressive,
            Outcome::Disconnected(None, not_ready),
            "",
            "",
            Security::Handshaking(Some("no cipher")),
        ),
        // Whoever has the right password does not guess; and what is wrong with the server is not the client's fault.
        (Never, Outcome::Aborted(not_authorized), "joe", "PLAIN", Security::Tls),
        (Never, Outcome::Disconnected(idle, Closing::UserDisabled), "joe", "PLAIN", Security::Tls),
        (Never, Outcome::Aborted(Closing::PasswordExpired), "joe", "PLAIN", Security::None),
        (Never, Outcome::Aborted(Closing::TemporaryFailure), "", "PLAIN", Security::Tls),
        (Never, Outcome::Aborted(Closing::NoCertificate), "", "PLAIN", Security::Tls),
        (Never, Outcome::Aborted(Closing::InvalidCertificate), "", "PLAIN", Security::Tls),
        (Never, Outcome::Aborted(Closing::CertificateNeedsTls), "", "PLAIN", Security::None),
        (Never, Outcome::Login { pid: 7 }, "joe", "EXTERNAL", Security::Tls),
        (Never, Outcome::Login { pid: 7 }, "joe", "PLAIN", Security::Tls),
        (Never, Outcome::Login { pid: 7 }, "joe", "PLAIN", Security::None),
        // Whoever can choose a user name must not be able to write a line of their own.
        (
            Never,
            Outcome::Login { pid: 7 },
            "Aborted login (auth failed, 1 attempts in 2 secs): user=<x>",
            "",
            Security::Tls,
        ),
    ]
}

/// Every line has an address of its own, so that the addresses found say which lines were.
fn log_and_addresses() -> (String, Vec<(Found, String)>) {
    let (mut log, mut addresses) = (String::new(), Vec::new());
    for (line_number, (found, outcome, user, method, security)) in rows().into_iter().enumerate() {
        for (prefix_number, prefix) in PREFIXES.iter().enumerate() {
            let address = match prefix_number {
                1 => format!("2001:db8::{}", line_number + 1),
                _ => format!("198.51.{prefix_number}.{}", line_number + 1),
            };
            let line = LoginLine {
                outcome,
                user,
                method,
                remote: Some(std::net::SocketAddr::new(address.parse().unwrap(), 4711)),
                local: "192.0.2.9:110".parse().ok(),
                security,
                session: "k3J+/9x",
            };
            log.push_str(&format!("{prefix}{line}\n"));
            addresses.push((found, address));
        }
    }
    for other in [
        "pop3(joe)<7><k3J+/9x>: Disconnected: Logged out top=0/0, retr=1/1843, del=0/12, size=48213",
        "pop3(joe)<7><k3J+/9x>: Disconnected: Inactivity top=0/0, retr=0/0, del=0/12, size=48213",
        "pop3-login: /etc/tinmail.conf:3: unknown setting \"food\"; pop3d --help lists all",
        "pop3-login: login refused: user=<joe>, rip=192.0.2.77: uid 400 is below first_valid_uid",
        "pop3-login: login: user joe: no home directory",
        "pop3-login: Received invalid SSL certificate: certificate has expired: /CN=joe, rip=192.0.2.77",
        "pop3-login: panic at common/src/log.rs:1: (text withheld)",
    ] {
        log.push_str(&format!("Nov 21 09:00:00 mx {other}\n"));
    }
    (log, addresses)
}

fn found_by(filter: &str, log: &Path) -> Vec<String> {
    let output = Command::new("fail2ban-regex").args(["-o", "<ip>"]).arg(log).arg(filter).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_stock_filter_finds_refused_logins_and_nothing_else() {
    if !Path::new(FILTER).exists() {
        // Where root runs the tests, what they need is installed.
        assert!(!common::sys::process::is_root(), "fail2ban is not installed");
        println!("left out: fail2ban is not installed");
        return;
    }
    let (log, addresses) = log_and_addresses();
    let path = std::env::temp_dir().join(format!("tinmail-fail2ban-{}", std::process::id()));
    std::fs::write(&path, log).unwrap();
    let want = |levels: &[Found]| -> Vec<String> {
        addresses
            .iter()
            .filter(|(found, _)| levels.contains(found))
            .map(|(_, address)| address.clone())
            .collect()
    };
    let normal = found_by(FILTER, &path);
    let aggressive = found_by(&format!("{FILTER}[mode=aggressive]"), &path);
    std::fs::remove_file(path).unwrap();
    assert_eq!(normal, want(&[Always]));
    assert_eq!(aggressive, want(&[Always, Aggressive]));
}
