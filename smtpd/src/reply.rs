//! Every reply of the server, on one screen: code (RFC 5321 section 4.2), enhanced code (RFC 3463, RFC 5248), words.
//!
//! What depends on a recipient or a disk comes as a [`Status`] from where it is decided; what is made of the client's own
//! words is made where it is said, with [`common::log::escape`].

#![allow(missing_docs)] // The words say it.

use crate::command::SyntaxError;
use crate::status::{Enhanced, Status};
use common::process::channel::Refused;
use std::fmt;

/// A reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply(pub u16, pub Enhanced, pub &'static str);

const fn reply(code: u16, class: u8, subject: u16, detail: u16, text: &'static str) -> Reply {
    Reply(code, Enhanced(class, subject, detail), text)
}

// What is done.
pub const OK: Reply = reply(250, 2, 0, 0, "Ok");
pub const SENDER_OK: Reply = reply(250, 2, 1, 0, "Ok");
pub const RECIPIENT_OK: Reply = reply(250, 2, 1, 5, "Ok");
pub const BYE: Reply = reply(221, 2, 0, 0, "Bye");
pub const BEGIN_TLS: Reply = reply(220, 2, 0, 0, "Ready to start TLS");
pub const AUTHENTICATED: Reply = reply(235, 2, 7, 0, "Authentication successful");
pub const VRFY: Reply = reply(252, 2, 0, 0, "Send some mail, I will try my best");

// What is not ours.
pub const UNKNOWN: Reply = reply(500, 5, 5, 1, "Command not recognized");
pub const MALFORMED: Reply = reply(500, 5, 5, 2, "Malformed command");
pub const TOO_LONG: Reply = reply(500, 5, 5, 2, "Line too long");
pub const BARE_LF_COMMAND: Reply = reply(500, 5, 5, 2, "Lines end with CR LF");
pub const NO_ARGUMENTS: Reply = reply(501, 5, 5, 4, "This command takes no arguments");
pub const UNKNOWN_PARAMETER: Reply = reply(555, 5, 5, 4, "Unsupported parameter");
pub const NOT_OFFERED: Reply = reply(502, 5, 5, 1, "Command not implemented");
pub const VRFY_DISABLED: Reply = reply(502, 5, 5, 1, "VRFY command is disabled");

// What is out of place.
pub const HELLO_FIRST: Reply = reply(503, 5, 5, 1, "Send HELO or EHLO first");
pub const LHLO_FIRST: Reply = reply(503, 5, 5, 1, "Send LHLO first");
pub const USE_LHLO: Reply = reply(500, 5, 5, 1, "This is LMTP: send LHLO");
pub const NESTED_MAIL: Reply = reply(503, 5, 5, 1, "Nested MAIL command");
pub const MAIL_FIRST: Reply = reply(503, 5, 5, 1, "Need MAIL command");
pub const RCPT_FIRST: Reply = reply(503, 5, 5, 1, "Need RCPT command");
pub const NO_RECIPIENTS: Reply = reply(554, 5, 5, 1, "No valid recipients");
pub const DATA_AFTER_BDAT: Reply = reply(503, 5, 5, 1, "DATA cannot follow BDAT");
pub const BINARY_NEEDS_BDAT: Reply = reply(503, 5, 5, 1, "BINARYMIME needs BDAT");
pub const IN_TRANSACTION: Reply = reply(503, 5, 5, 1, "A mail transaction is in progress");
pub const AUTH_TWICE: Reply = reply(503, 5, 5, 1, "Already authenticated");
pub const TLS_TWICE: Reply = reply(554, 5, 5, 1, "TLS is already active");
pub const TOO_MANY_MESSAGES: Reply = reply(451, 4, 5, 3, "Too many messages on this connection");
pub const PIPELINING: Reply = reply(554, 5, 5, 0, "SMTP protocol synchronization");
pub const XCLIENT_REFUSED: Reply = reply(550, 5, 7, 0, "You are not authorized to use XCLIENT");

// Who may.
pub const TLS_FIRST: Reply = reply(530, 5, 7, 0, "Must issue a STARTTLS command first");
pub const AUTH_REQUIRED: Reply = reply(530, 5, 7, 0, "Authentication required");
pub const NO_MECHANISM: Reply = reply(504, 5, 5, 4, "Unrecognized authentication type");
pub const NOT_IN_CLEAR: Reply =
    reply(538, 5, 7, 11, "Encryption required for requested authentication mechanism");
pub const CANCELLED: Reply = reply(501, 5, 7, 0, "Authentication cancelled");
pub const BAD_RESPONSE: Reply = reply(501, 5, 5, 2, "Cannot decode response");
pub const RESPONSE_TOO_LONG: Reply = reply(500, 5, 5, 6, "Authentication exchange line is too long");
pub const AUTH_FAILED: Reply = reply(535, 5, 7, 8, "Authentication credentials invalid");
pub const AUTH_EXPIRED: Reply = reply(535, 5, 7, 8, "Account or password expired");
pub const AUTH_NOT_ALLOWED: Reply = reply(535, 5, 7, 1, "This account may not be used here");
pub const AUTH_TEMPORARY: Reply = reply(454, 4, 7, 0, "Temporary authentication failure");
pub const AUTH_TOO_OFTEN: Reply = reply(421, 4, 7, 0, "Too many failed logins");
pub const TLS_BROKEN: Reply = reply(454, 4, 7, 0, "TLS not available due to local problem");
pub const NO_TLS: Reply = reply(502, 5, 5, 1, "TLS is not offered");

// The message.
pub const TOO_BIG: Reply = reply(552, 5, 3, 4, "Message size exceeds fixed limit");
pub const BARE_CR: Reply = reply(554, 5, 6, 0, "Message has a bare CR; lines end with CR LF");
pub const BARE_LF: Reply = reply(554, 5, 6, 0, "Message has a bare LF; lines end with CR LF");
pub const NUL: Reply = reply(554, 5, 6, 0, "Message has a NUL octet");
pub const LINE_TOO_LONG: Reply = reply(554, 5, 6, 0, "Message has a line of more than 4096 octets");
pub const TOO_MANY_RECIPIENTS: Reply = reply(452, 4, 5, 3, "Too many recipients");
pub const SENDER_NEEDS_UTF8: Reply = reply(550, 5, 6, 7, "Sender address needs SMTPUTF8");
pub const RECIPIENT_NEEDS_UTF8: Reply = reply(553, 5, 6, 7, "Recipient address needs SMTPUTF8");
pub const LOCAL_PROBLEM: Reply = reply(451, 4, 3, 0, "Local error in processing");
pub const DISK_FULL: Reply = reply(452, 4, 3, 1, "Insufficient system storage");

// The end of the conversation.
pub const IDLE: Reply = reply(421, 4, 4, 2, "Timeout exceeded");
pub const TIME_IS_OVER: Reply = reply(421, 4, 4, 2, "Session time is over");
pub const TOO_MANY_ERRORS: Reply = reply(421, 4, 7, 0, "Too many errors");
pub const OUT_OF_ORDER: Reply = reply(421, 4, 3, 0, "Server error; try again later");

/// The lines of HELP (RFC 5321 section 4.1.1.8): code 214.
pub const HELP: [&str; 3] = [
    "2.0.0 Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP",
    "2.0.0 STARTTLS AUTH, where EHLO says so",
    "2.0.0 See RFC 5321",
];

impl From<Reply> for Status {
    fn from(Reply(code, enhanced, text): Reply) -> Status {
        Status::new(code, enhanced, text)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reply(code, enhanced, text) = self;
        write!(f, "{code} {enhanced} {text}")
    }
}

/// Why a line is no command.
pub fn syntax(error: SyntaxError) -> Status {
    match error {
        SyntaxError::TooLong => TOO_LONG.into(),
        SyntaxError::BareLineFeed => BARE_LF_COMMAND.into(),
        SyntaxError::Unknown => UNKNOWN.into(),
        SyntaxError::Malformed => MALFORMED.into(),
        SyntaxError::NoArguments => NO_ARGUMENTS.into(),
        SyntaxError::Arguments(usage) => Status::new(501, Enhanced(5, 5, 4), format!("Syntax: {usage}")),
        SyntaxError::ReversePath(why) => {
            Status::new(501, Enhanced(5, 1, 7), format!("Bad sender address syntax: {why}"))
        }
        SyntaxError::ForwardPath(why) => {
            Status::new(501, Enhanced(5, 1, 3), format!("Bad recipient address syntax: {why}"))
        }
        SyntaxError::Parameter(name) => Status::new(501, Enhanced(5, 5, 4), format!("Bad {name} parameter")),
        SyntaxError::UnknownParameter => UNKNOWN_PARAMETER.into(),
    }
}

/// Why a login was refused (RFC 4954 section 6).
pub fn refused(why: Refused) -> Reply {
    match why {
        Refused::Credentials => AUTH_FAILED,
        Refused::Expired => AUTH_EXPIRED,
        Refused::NotAllowed => AUTH_NOT_ALLOWED,
        Refused::Temporary => AUTH_TEMPORARY,
        Refused::OutOfTurn => AUTH_TOO_OFTEN,
    }
}
