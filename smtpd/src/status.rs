//! Replies as values: a basic status code (RFC 5321 section 4.2), an enhanced one (RFC 3463), and a text.

use common::log::{Log, escape};
use std::fmt;

/// `class.subject.detail` of RFC 3463.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// What became of a command, a recipient or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Three digits: 250, 451, 550.
    pub code: u16,
    /// What it means in detail.
    pub enhanced: Enhanced,
    /// For people. Without line ends and control characters; UTF-8.
    pub text: String,
    /// The system's reason, with paths: for the log and for the administrator, not for a sender or a client.
    pub cause: Option<Box<str>>,
}

impl Status {
    /// A status of these parts.
    pub fn new(code: u16, enhanced: Enhanced, text: impl Into<String>) -> Status {
        Status { code, enhanced, text: text.into(), cause: None }
    }

    /// The same with a cause for the log.
    pub fn because(self, cause: impl fmt::Display) -> Status {
        Status { cause: Some(cause.to_string().into()), ..self }
    }

    /// Tells the log what only that may know. Whoever answers with this status calls it once.
    pub fn log_cause(&self, log: &Log) {
        if let Some(cause) = &self.cause {
            log.error(format_args!("{}: {}", escape(self.text.as_bytes()), escape(cause.as_bytes())));
        }
    }

    /// The text, with its cause: for the administrator.
    pub fn reason(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {cause}", self.text),
            None => self.text.clone(),
        }
    }

    /// Done: 2xx.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Worth another attempt: 4xx.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Not worth one: 5xx.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Enhanced(class, subject, detail) = self;
        write!(f, "{class}.{subject}.{detail}")
    }
}

/// `550 5.1.1 No such user here`, as a reply's last line.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_of_three() {
        for (code, classes) in
            [(250, [true, false, false]), (451, [false, true, false]), (554, [false, false, true])]
        {
            let status = Status::new(code, Enhanced(2, 0, 0), "Text");
            assert_eq!([status.is_positive(), status.is_temporary(), status.is_permanent()], classes);
        }
        assert_eq!(Status::new(550, Enhanced(5, 1, 1), "No such user").to_string(), "550 5.1.1 No such user");
    }
}
