//! The lines about logins, in the form of Dovecot 2.3: what reads its logs (fail2ban, statistics) reads these.

use super::escape;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What became of a connection that wanted to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A session begins in the process with this number.
    Login {
        /// The process that serves the session.
        pid: u32,
    },
    /// The client went away; what it had tried is in the [`Closing`].
    Aborted(Closing),
    /// We ended the connection, for this reason if there is a special one (`Inactivity`).
    Disconnected(Option<&'static str>, Closing),
}

/// How far a connection without login came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Passwords were refused.
    AuthFailed {
        /// How many.
        attempts: u32,
        /// Since the first of them.
        seconds: u64,
    },
    /// The password was right, but nobody with this user id may log in.
    NotAuthorized {
        /// How many times.
        attempts: u32,
        /// Since the start of the connection.
        seconds: u64,
    },
    /// The password was right, but the account is switched off.
    UserDisabled,
    /// The password was right, but it or the account has expired.
    PasswordExpired,
    /// Nobody could tell whether the password was right.
    TemporaryFailure,
    /// Nothing was tried.
    NoAttempts {
        /// Since the start of the connection.
        seconds: u64,
    },
    /// A password was sent, or a mechanism asked for, that needs TLS first.
    DisallowedPlaintext,
    /// No login without a client certificate here, and the client never began TLS.
    CertificateNeedsTls,
    /// No login without one, and the client showed one that does not count.
    InvalidCertificate,
    /// No login without one, and the client showed none.
    NoCertificate,
    /// It ended before the greeting: in the PROXY header or the TLS handshake.
    NotReady {
        /// Since the start of the connection.
        seconds: u64,
    },
}

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security<'a> {
    /// Nothing.
    None,
    /// It does not leave this host, or comes from a trusted network or through a proxy that speaks TLS.
    Secured,
    /// TLS.
    Tls,
    /// The handshake did not succeed, for this reason if it is known.
    Handshaking(Option<&'a str>),
}

/// One line; its `Display` is the message behind the tag `pop3-login`.
#[derive(Debug, Clone, Copy)]
pub struct LoginLine<'a> {
    /// What happened.
    pub outcome: Outcome,
    /// The name that the client sent, or nothing.
    pub user: &'a str,
    /// The mechanism of the last attempt, in capitals, or nothing.
    pub method: &'a str,
    /// The client.
    pub remote: Option<SocketAddr>,
    /// The address that it connected to.
    pub local: Option<SocketAddr>,
    /// What protects the connection.
    pub security: Security<'a>,
    /// The session's id.
    pub session: &'a str,
}

impl fmt::Display for LoginLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Login { .. } => f.write_str("Login")?,
            Outcome::Aborted(closing) => write!(f, "Aborted login {closing}")?,
            Outcome::Disconnected(None, closing) => write!(f, "Disconnected {closing}")?,
            Outcome::Disconnected(Some(reason), closing) => write!(f, "Disconnected: {reason} {closing}")?,
        }
        // The order matters to readers of the log: the address comes directly behind user and method.
        write!(f, ": user=<{}>", escape(self.user.as_bytes()))?;
        if !self.method.is_empty() {
            write!(f, ", method={}", escape(self.method.as_bytes()))?;
        }
        for (name, address) in [("rip", self.remote), ("lip", self.local)] {
            if let Some(address) = address {
                write!(f, ", {name}={}", plain(address.ip()))?;
            }
        }
        if let Outcome::Login { pid } = self.outcome {
            write!(f, ", mpid={pid}")?;
        }
        match self.security {
            Security::None => {}
            Security::Secured => f.write_str(", secured")?,
            Security::Tls => f.write_str(", TLS")?,
            Security::Handshaking(None) => f.write_str(", TLS handshaking")?,
            Security::Handshaking(Some(reason)) => {
                write!(f, ", TLS handshaking: {}", escape(reason.as_bytes()))?;
            }
        }
        write!(f, ", session=<{}>", escape(self.session.as_bytes()))
    }
}

/// Scope ids are ours, not the client's.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closing::AuthFailed { attempts, seconds } => {
                write!(f, "(auth failed, {attempts} attempts in {seconds} secs)")
            }
            Closing::NotAuthorized { attempts, seconds } => {
                write!(f, "(authorization failed, {attempts} attempts in {seconds} secs)")
            }
            Closing::UserDisabled => f.write_str("(user disabled)"),
            Closing::PasswordExpired => f.write_str("(password expired)"),
            Closing::TemporaryFailure => f.write_str("(auth service reported temporary failure)"),
            Closing::NoAttempts { seconds } => write!(f, "(no auth attempts in {seconds} secs)"),
            Closing::DisallowedPlaintext => f.write_str("(tried to use disallowed plaintext auth)"),
            Closing::CertificateNeedsTls => f.write_str("(cert required, client didn't start TLS)"),
            Closing::InvalidCertificate => f.write_str("(client sent an invalid cert)"),
            Closing::NoCertificate => f.write_str("(client didn't send a cert)"),
            Closing::NotReady { seconds } => {
                write!(f, "(disconnected before auth was ready, waited {seconds} secs)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(outcome: Outcome, user: &'a str, method: &'a str, security: Security<'a>) -> String {
        let (remote, local) = ("192.0.2.1:4711".parse().ok(), "192.0.2.9:110".parse().ok());
        LoginLine { outcome, user, method, remote, local, security, session: "a+/1" }.to_string()
    }

    #[test]
    fn lines_are_dovecots() {
        let failed = Closing::AuthFailed { attempts: 1, seconds: 2 };
        let none = Closing::NoAttempts { seconds: 60 };
        let rows = [
            (
                line(Outcome::Login { pid: 7 }, "joe", "PLAIN", Security::Tls),
                "Login: user=<joe>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, mpid=7, TLS, session=<a+/1>",
            ),
            (
                line(Outcome::Aborted(failed), "joe", "PLAIN", Security::Tls),
                "Aborted login (auth failed, 1 attempts in 2 secs): user=<joe>, method=PLAIN, rip=192.0.2.1, \
                 lip=192.0.2.9, TLS, session=<a+/1>",
            ),
            (
                line(Outcome::Disconnected(Some("Inactivity"), none), "", "", Security::Secured),
                "Disconnected: Inactivity (no auth attempts in 60 secs): user=<>, rip=192.0.2.1, lip=192.0.2.9, \
                 secured, session=<a+/1>",
            ),
            (
                line(Outcome::Disconnected(None, Closing::DisallowedPlaintext), "", "", Security::None),
                "Disconnected (tried to use disallowed plaintext auth): user=<>, rip=192.0.2.1, lip=192.0.2.9, \
                 session=<a+/1>",
            ),
            (
                line(
                    Outcome::Disconnected(None, Closing::NotReady { seconds: 0 }),
                    "",
                    "",
                    Security::Handshaking(Some("no shared cipher")),
                ),
                "Disconnected (disconnected before auth was ready, waited 0 secs): user=<>, rip=192.0.2.1, \
                 lip=192.0.2.9, TLS handshaking: no shared cipher, session=<a+/1>",
            ),
        ];
        for (closing, want) in [
            (Closing::CertificateNeedsTls, "(cert required, client didn't start TLS)"),
            (Closing::InvalidCertificate, "(client sent an invalid cert)"),
            (Closing::NoCertificate, "(client didn't send a cert)"),
        ] {
            assert_eq!(closing.to_string(), want);
        }
        for (line, want) in rows {
            assert_eq!(line, want);
        }
    }

    #[test]
    fn unknown_addresses_are_left_out_and_scopes_are_not_shown() {
        let line = LoginLine {
            outcome: Outcome::Aborted(Closing::NoAttempts { seconds: 0 }),
            user: "",
            method: "",
            remote: Some(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 2).into()),
            local: None,
            security: Security::None,
            session: "s",
        };
        let want = "Aborted login (no auth attempts in 0 secs): user=<>, rip=fe80::1, session=<s>";
        assert_eq!(line.to_string(), want);
    }

    #[test]
    fn a_name_cannot_forge_an_address() {
        let forged = line(
            Outcome::Aborted(Closing::AuthFailed { attempts: 1, seconds: 0 }),
            "x>, rip=203.0.113.5, lip=1.1.1.1\r\nDisconnected",
            "PLAIN",
            Security::None,
        );
        assert!(forged.contains(
            "user=<x\\x3E, rip=203.0.113.5, lip=1.1.1.1\\x0D\\x0ADisconnected>, method=PLAIN, rip=192"
        ));
    }
}
