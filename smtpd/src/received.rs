//! The trace field that each message gets (RFC 5321 section 4.4): where it came from, how, and when.
//!
//! What the client said of itself is a stranger's word: it stands only where its grammar allows it.

use crate::address::{self, Address};
use common::mime::date;
use std::fmt;
use std::net::IpAddr;

/// How a message was received, as RFC 3848 and RFC 6531 name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct With {
    /// RFC 2033.
    pub lmtp: bool,
    /// EHLO was said.
    pub esmtp: bool,
    /// SMTPUTF8 was asked for.
    pub utf8: bool,
    /// TLS.
    pub tls: bool,
    /// A login.
    pub login: bool,
}

/// `ESMTPSA`, `UTF8LMTPS` and so on.
impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match (self.lmtp, self.utf8, self.esmtp) {
            (true, true, _) => "UTF8LMTP",
            (true, false, _) => "LMTP",
            (false, true, _) => "UTF8SMTP",
            (false, false, true) => "ESMTP",
            // RFC 3848 knows no letters for SMTP without extensions.
            (false, false, false) => return f.write_str("SMTP"),
        };
        let tls = if self.tls { "S" } else { "" };
        write!(f, "{base}{tls}{}", if self.login { "A" } else { "" })
    }
}

/// Everything that the field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// What the client called itself.
    pub helo: &'a str,
    /// Its name, if somebody else has told it; else `unknown`.
    pub name: &'a str,
    /// Its address, if it came from the network.
    pub address: Option<IpAddr>,
    /// TLS version and cipher; empty in clear.
    pub tls: &'a str,
    /// Who has logged in, if the field is to tell that to everybody.
    pub login: Option<&'a str>,
    /// This host.
    pub by: &'a str,
    /// How.
    pub with: With,
    /// The message's ID.
    pub id: &'a str,
    /// The forward-path, if there is only one: more would betray them to each other (RFC 5321 section 7.2).
    pub recipient: Option<&'a Address>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// The field with its line ends.
impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 6532 section 3.2: UTF-8 only in the header of a message that was announced so.
        let fits = |name: &str| address::is_domain(name) && (name.is_ascii() || self.with.utf8);
        let helo = if fits(self.helo) { self.helo } else { "unknown" };
        write!(f, "Received: from {helo} ({}", if fits(self.name) { self.name } else { "unknown" })?;
        match self.address {
            Some(IpAddr::V4(v4)) => write!(f, " [{v4}])")?,
            Some(IpAddr::V6(v6)) => write!(f, " [IPv6:{v6}])")?,
            None => f.write_str(")")?,
        }
        if !self.tls.is_empty() {
            write!(f, "\r\n\t(using {})", Comment(self.tls))?;
        }
        if let Some(login) = self.login {
            write!(f, "\r\n\t(Authenticated sender: {})", Comment(login))?;
        }
        write!(f, "\r\n\tby {} (tinmail) with {} id {}", self.by, self.with, self.id)?;
        // With UTF-8 in it the message could go on to nobody but servers with SMTPUTF8, wherever an alias leads.
        if let Some(recipient) = self.recipient.filter(|recipient| recipient.is_ascii()) {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        write!(f, ";\r\n\t{}\r\n", date::print(self.at))
    }
}

/// Text within parentheses (RFC 5322 section 3.2.2).
struct Comment<'a>(&'a str);

impl fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if matches!(c, '(' | ')' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
