//! Commands (RFC 5321 section 4.1 and its extensions), taken apart. What is parsed here is a stranger's.
//!
//! A command is parsed completely or not at all: whoever has a [`Command`] has every parameter of it, checked. Nothing here
//! depends on what was said before; whether a command is in its place is the [front](crate::front)'s to know.

pub mod parameters;
pub mod path;
pub mod xclient;

use parameters::{MailParameters, RcptParameters};
use path::{ForwardPath, ReversePath};
use xclient::Attributes;

/// Octets of a command line with its line end. RFC 5321 section 4.5.3.1.4 has 512; each extension adds what it needs, and the
/// sum of all is less than this.
pub const LINE_MAX: usize = 2048;
/// Octets of a client's answer within AUTH (RFC 4954 section 4 wants room for what its mechanisms need).
pub const AUTH_LINE_MAX: usize = 4096;

/// One command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// RFC 5321 section 4.1.1.1; the name that the client gives itself.
    Helo(&'a str),
    /// The same, with extensions.
    Ehlo(&'a str),
    /// RFC 2033 section 4.1.
    Lhlo(&'a str),
    /// RFC 5321 section 4.1.1.2.
    Mail(ReversePath, MailParameters<'a>),
    /// RFC 5321 section 4.1.1.3.
    Rcpt(ForwardPath, RcptParameters<'a>),
    /// RFC 5321 section 4.1.1.4.
    Data,
    /// RFC 3030 section 2.
    Bdat {
        /// Octets of the chunk.
        size: u64,
        /// The message is complete with it.
        last: bool,
    },
    /// RFC 5321 section 4.1.1.5.
    Rset,
    /// RFC 5321 section 4.1.1.6: whom to verify.
    Vrfy(&'a str),
    /// RFC 5321 section 4.1.1.7.
    Expn,
    /// RFC 5321 section 4.1.1.8.
    Help,
    /// RFC 5321 section 4.1.1.9.
    Noop,
    /// RFC 5321 section 4.1.1.10.
    Quit,
    /// RFC 1985.
    Etrn,
    /// RFC 3207.
    StartTls,
    /// RFC 4954: the mechanism and the initial response.
    Auth(&'a [u8], Option<&'a [u8]>),
    /// Postfix's: who the client of the host that speaks is.
    Xclient(Attributes),
}

/// Why a line is no command of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxError {
    /// Longer than [`LINE_MAX`].
    TooLong,
    /// It ended with LF alone.
    BareLineFeed,
    /// There is no such command.
    Unknown,
    /// It has octets that no command has, or no command at all.
    Malformed,
    /// It takes no arguments.
    NoArguments,
    /// How it should look.
    Arguments(&'static str),
    /// The path in MAIL is none, for this reason.
    ReversePath(&'static str),
    /// The path in RCPT is none, for this reason.
    ForwardPath(&'static str),
    /// A parameter's value is malformed, or it came twice: its name.
    Parameter(&'static str),
    /// A parameter that is not offered.
    UnknownParameter,
}

/// The verbs, and what their arguments look like: for replies and HELP.
const VERBS: [(&str, &str); 18] = [
    ("HELO", "HELO hostname"),
    ("EHLO", "EHLO hostname"),
    ("LHLO", "LHLO hostname"),
    ("MAIL", "MAIL FROM:<address>"),
    ("RCPT", "RCPT TO:<address>"),
    ("DATA", "DATA"),
    ("BDAT", "BDAT size [LAST]"),
    ("RSET", "RSET"),
    ("VRFY", "VRFY address"),
    ("EXPN", "EXPN list"),
    ("HELP", "HELP"),
    ("NOOP", "NOOP"),
    ("QUIT", "QUIT"),
    ("ETRN", "ETRN domain"),
    ("STARTTLS", "STARTTLS"),
    ("AUTH", "AUTH mechanism [initial-response]"),
    ("XCLIENT", "XCLIENT attribute=value..."),
    ("TURN", "TURN"),
];

impl<'a> Command<'a> {
    /// Reads a line without its line end.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, SyntaxError> {
        let text = std::str::from_utf8(line).map_err(|_| SyntaxError::Malformed)?;
        // RFC 5321 section 4.1.1: blanks may stand at the end of a line. NUL, CR and other controls nowhere.
        let text = text.trim_end_matches([' ', '\t']);
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SyntaxError::Malformed);
        }
        let (verb, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
        let (verb, usage) = match VERBS.iter().find(|(known, _)| known.eq_ignore_ascii_case(verb)) {
            Some(found) => *found,
            None => return Err(SyntaxError::Unknown),
        };
        let rest = rest.trim_matches([' ', '\t']);
        let wrong = SyntaxError::Arguments(usage);
        let nothing = |command| if rest.is_empty() { Ok(command) } else { Err(SyntaxError::NoArguments) };
        match verb {
            "HELO" => Ok(Command::Helo(host(rest).ok_or(wrong)?)),
            "EHLO" => Ok(Command::Ehlo(host(rest).ok_or(wrong)?)),
            "LHLO" => Ok(Command::Lhlo(host(rest).ok_or(wrong)?)),
            "MAIL" => {
                let argument = behind(rest, "FROM:").ok_or(wrong)?;
                let (path, rest) = path::reverse(argument).map_err(SyntaxError::ReversePath)?;
                Ok(Command::Mail(path, MailParameters::parse(rest)?))
            }
            "RCPT" => {
                let argument = behind(rest, "TO:").ok_or(wrong)?;
                let (path, rest) = path::forward(argument).map_err(SyntaxError::ForwardPath)?;
                Ok(Command::Rcpt(path, RcptParameters::parse(rest)?))
            }
            "DATA" => nothing(Command::Data),
            "BDAT" => bdat(rest).ok_or(wrong),
            "RSET" => nothing(Command::Rset),
            "VRFY" if rest.is_empty() => Err(wrong),
            "VRFY" => Ok(Command::Vrfy(rest)),
            "EXPN" if rest.is_empty() => Err(wrong),
            "EXPN" => Ok(Command::Expn),
            "HELP" => Ok(Command::Help),
            // RFC 5321 section 4.1.1.9: what stands behind NOOP is ignored.
            "NOOP" => Ok(Command::Noop),
            "QUIT" => nothing(Command::Quit),
            "ETRN" if rest.is_empty() => Err(wrong),
            "ETRN" => Ok(Command::Etrn),
            "STARTTLS" => nothing(Command::StartTls),
            "AUTH" => auth(rest).ok_or(wrong),
            "XCLIENT" => Ok(Command::Xclient(Attributes::parse(rest).ok_or(wrong)?)),
            // TURN (RFC 821) handed mail to whoever asked: RFC 5321 appendix F.1 forbids it.
            _ => Err(SyntaxError::Unknown),
        }
    }

    /// The verb, for the log.
    pub fn verb(&self) -> &'static str {
        match self {
            Command::Helo(_) => "HELO",
            Command::Ehlo(_) => "EHLO",
            Command::Lhlo(_) => "LHLO",
            Command::Mail(..) => "MAIL",
            Command::Rcpt(..) => "RCPT",
            Command::Data => "DATA",
            Command::Bdat { .. } => "BDAT",
            Command::Rset => "RSET",
            Command::Vrfy(_) => "VRFY",
            Command::Expn => "EXPN",
            Command::Help => "HELP",
            Command::Noop => "NOOP",
            Command::Quit => "QUIT",
            Command::Etrn => "ETRN",
            Command::StartTls => "STARTTLS",
            Command::Auth(..) => "AUTH",
            Command::Xclient(_) => "XCLIENT",
        }
    }

    /// Whether a client has to wait for the reply before it says more (RFC 2920 section 3.1, RFC 3207, RFC 4954).
    pub fn ends_group(&self) -> bool {
        matches!(
            self,
            Command::Helo(_)
                | Command::Ehlo(_)
                | Command::Lhlo(_)
                | Command::Data
                | Command::Vrfy(_)
                | Command::Expn
                | Command::Etrn
                | Command::StartTls
                | Command::Auth(..)
                | Command::Xclient(_)
        )
    }
}

/// What stands behind a keyword; blanks behind the colon are a common mistake that means nothing else (RFC 5321 section 3.3).
fn behind<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// The client's name for itself. Any word will do: RFC 5321 section 4.1.4 forbids to refuse mail for what it says, and
/// what is no domain is kept out of the trace field.
fn host(text: &str) -> Option<&str> {
    let is_word = !text.is_empty() && text.len() <= crate::address::DOMAIN_MAX;
    (is_word && !text.contains([' ', '\t'])).then_some(text)
}

fn bdat(text: &str) -> Option<Command<'static>> {
    let mut words = text.split_ascii_whitespace();
    let size = parameters::decimal(words.next()?)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat { size, last })
}

fn auth(text: &str) -> Option<Command<'_>> {
    let mut words = text.split_ascii_whitespace();
    let (mechanism, initial) = (words.next()?, words.next());
    words.next().is_none().then(|| Command::Auth(mechanism.as_bytes(), initial.map(str::as_bytes)))
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
