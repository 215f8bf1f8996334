//! The lines that are put in front of a message that is delivered.
//!
//! ```text
//! Return-Path: <reverse-path>         RFC 5321 section 4.4: at final delivery, first of all
//! X-Original-To: user@example.org     the forward-path of the client's RCPT
//! Delivered-To: user@example.org      the address after aliases; seen again, the message runs in a circle
//! Received: from ...
//! ```

use crate::address::{Address, ReversePath, unitext};

/// What the lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// The forward-path as the client said it.
    pub original: Address,
    /// The address after aliases.
    pub delivered_to: Address,
    /// The whole Received field, folded, with CRLF at the end of each of its lines; may be empty.
    pub received: String,
    /// Its body came as BINARYMIME, and is not lines yet.
    pub is_binary: bool,
    /// For a message that may come again.
    pub once: Option<Once>,
}

/// How a delivery is known again whose end nobody has heard of, because a process was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// What the name of the message's file contains, where it gets one of its own.
    pub mark: String,
    /// It may be there already.
    pub again: bool,
    /// Octets of the message without the trace lines: they say how much of a file with other messages is looked at.
    pub size: u64,
}

impl Trace {
    /// The lines, each with CRLF.
    pub fn lines(&self) -> String {
        let Trace { reverse_path, original, delivered_to, received, is_binary: _, once: _ } = self;
        let path = reverse_path.as_ref().map(Address::to_string).unwrap_or_default();
        format!(
            "Return-Path: <{path}>\r\nX-Original-To: {original}\r\nDelivered-To: {delivered_to}\r\n{received}"
        )
    }
}

/// What the copies begin with that a user's `~/.forward` sends on, with CRLF: when one of them comes back, it says that it was
/// here. In ASCII: a header in UTF-8 could go to nobody but servers with SMTPUTF8 (RFC 6531 section 3.4).
pub fn forward_line(forwarded: &Address) -> String {
    format!("Delivered-To: {}\r\n", unitext(&forwarded.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
        let trace = Trace {
            reverse_path: Some(address("a@x.example")),
            original: address("B+c@Y.example"),
            delivered_to: address("\"b d\"@y.example"),
            received: "Received: from x\r\n\tby y;\r\n".to_owned(),
            is_binary: false,
            once: None,
        };
        assert_eq!(
            trace.lines(),
            "Return-Path: <a@x.example>\r\nX-Original-To: B+c@Y.example\r\nDelivered-To: \"b d\"@y.example\r\n\
             Received: from x\r\n\tby y;\r\n"
        );
        assert!(Trace { reverse_path: None, ..trace }.lines().starts_with("Return-Path: <>\r\n"));
    }
}
