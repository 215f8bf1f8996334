//! HELO, EHLO and LHLO (RFC 5321 section 4.1.1.1, RFC 2033), XCLIENT, and what is offered.

use super::{Conversation, Hello, Next};
use crate::command::xclient::{self, Attributes};
use crate::reply;
use crate::wire::{Answer, Question};
use common::io::Ending;
use common::process::sasl;
use std::io;

/// RFC 9422 section 4: a limit has six digits at most.
const LIMIT_MAX: u32 = 999_999;

impl Conversation<'_> {
    pub(super) fn helo(&mut self, name: &str, extended: bool, verb: &'static str) -> Result<Next, Ending> {
        match (self.service.lmtp, verb) {
            // RFC 2033 section 4.1: LMTP has LHLO in place of both, and SMTP does not have it.
            (true, "LHLO") | (false, "HELO" | "EHLO") => {}
            (true, _) => return self.not(verb, reply::USE_LHLO),
            (false, _) => return self.not(verb, reply::UNKNOWN),
        }
        // RFC 5321 section 4.1.4: as if RSET had been said.
        self.drop_transaction()?;
        self.counts.count(verb, true);
        self.hello = Some(Hello { name: name.to_owned(), extended });
        if !extended {
            self.front.conn.push_fmt(format_args!("250 {}\r\n", self.welcome.host))?;
            return Ok(Next::Command);
        }
        let host = &self.welcome.host;
        self.front.conn.push_fmt(format_args!("250-{host}\r\n"))?;
        let (last, lines) = match self.extensions().split_last() {
            Some((last, lines)) => (last.clone(), lines.to_vec()),
            None => (self.welcome.host.clone(), Vec::new()),
        };
        for line in lines {
            self.front.conn.push_fmt(format_args!("250-{line}\r\n"))?;
        }
        self.front.conn.push_fmt(format_args!("250 {last}\r\n"))?;
        Ok(Next::Command)
    }

    fn extensions(&self) -> Vec<String> {
        let config = &self.front.config;
        let mut lines = vec!["PIPELINING".to_owned()];
        // RFC 1870 section 4: 0 means that there is no limit.
        lines.push(format!("SIZE {}", config.message_size_limit.0));
        if self.front.can_start_tls() {
            lines.push("STARTTLS".to_owned());
        }
        if self.offers_auth() {
            let mechanisms = sasl::offered(self.front);
            if !mechanisms.is_empty() {
                lines.push(format!("AUTH {mechanisms}"));
            }
        }
        if self.welcome.xclient {
            lines.push(format!("XCLIENT {}", xclient::NAMES));
        }
        lines.extend(["ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"].map(str::to_owned));
        if self.offers("CHUNKING") {
            lines.push("BINARYMIME".to_owned());
        }
        // RFC 9422.
        let mut limits = format!("LIMITS RCPTMAX={}", config.smtpd_recipient_limit.min(LIMIT_MAX));
        if config.smtpd_mail_limit > 0 {
            limits.push_str(&format!(" MAILMAX={}", config.smtpd_mail_limit.min(LIMIT_MAX)));
        }
        lines.push(limits);
        lines.push("HELP".to_owned());
        lines.retain(|line| self.offers(line.split(' ').next().unwrap_or_default()));
        lines
    }

    /// Where logins are of use.
    pub(super) fn offers_auth(&self) -> bool {
        let enabled = self.service.submission || self.front.config.smtpd_sasl_auth_enable;
        enabled && !self.service.lmtp && self.offers("AUTH")
    }

    pub(super) fn xclient(&mut self, attributes: Attributes) -> Result<Next, Ending> {
        let verb = "XCLIENT";
        if !self.welcome.xclient {
            return self.not(verb, reply::XCLIENT_REFUSED);
        }
        if self.transaction.is_some() {
            return self.not(verb, reply::IN_TRANSACTION);
        }
        match self.ask(&Question::Xclient(attributes))? {
            Answer::Status(status) => return self.pass_on(verb, &status),
            Answer::Go => {}
            Answer::Welcome(_) | Answer::Promise(_) | Answer::Ahead(..) => {
                return Err(Ending::Failed(io::ErrorKind::InvalidData.into()));
            }
        }
        // As after a new connection, with the greeting in place of a reply.
        self.welcome = self.ask_for_welcome()?;
        self.authenticated = self.welcome.logged_in;
        self.hello = None;
        self.counts.count(verb, true);
        self.front.conn.push_fmt(format_args!("220 {}\r\n", self.welcome.banner))?;
        Ok(Next::Command)
    }
}
