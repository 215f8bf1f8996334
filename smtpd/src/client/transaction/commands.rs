//! The commands of a transaction: MAIL and RCPT with what the server offers (RFC 1870, 3461, 6152, 6531).

use super::Transaction;
use crate::address::Address;
use crate::envelope::{Body, Envelope, Notify, Recipient, Ret};
use std::fmt::Write;

impl Transaction<'_> {
    pub(super) fn mail(&self) -> String {
        let (envelope, extensions) = (self.envelope, &self.connection.extensions);
        let mut line = "MAIL FROM:<".to_owned();
        if let Some(path) = self.reverse_path() {
            push(&mut line, path);
        }
        line.push('>');
        if extensions.size.is_some() {
            push(&mut line, format_args!(" SIZE={}", self.size));
        }
        match self.body {
            Body::EightBitMime if extensions.eight_bit_mime => line.push_str(" BODY=8BITMIME"),
            Body::BinaryMime => line.push_str(" BODY=BINARYMIME"),
            // Where it was not to be converted it goes as it is.
            Body::EightBitMime | Body::SevenBit => {}
        }
        if self.utf8 {
            line.push_str(" SMTPUTF8");
        }
        // RFC 3461 section 5.2.7.1: what a list sends on has nothing of what its sender asked for.
        if extensions.dsn && self.reverse_path() == envelope.reverse_path.as_ref() {
            match envelope.ret {
                Some(Ret::Full) => line.push_str(" RET=FULL"),
                Some(Ret::Headers) => line.push_str(" RET=HDRS"),
                None => {}
            }
            push_value(&mut line, " ENVID=", envelope.envid.as_deref());
        }
        line.push_str("\r\n");
        line
    }

    pub(super) fn rcpt(&self, at: usize) -> String {
        let Some(recipient) = self.envelope.recipients.get(at) else { return "NOOP\r\n".to_owned() };
        let mut line = "RCPT TO:<".to_owned();
        push(&mut line, forward_path(recipient));
        line.push('>');
        if self.connection.extensions.dsn {
            if let Some(notify) = recipient.notify {
                line.push_str(" NOTIFY=");
                push_notify(&mut line, notify);
            }
            push_value(&mut line, " ORCPT=", recipient.orcpt.as_deref());
        }
        line.push_str("\r\n");
        line
    }
}

fn forward_path(recipient: &Recipient) -> &Address {
    match &recipient.target {
        crate::envelope::Target::Remote(address) => address,
        _ => &recipient.address,
    }
}

pub(super) fn is_ascii(envelope: &Envelope, at: usize) -> bool {
    envelope.recipients.get(at).is_none_or(|recipient| forward_path(recipient).is_ascii())
}

fn push_notify(line: &mut String, notify: Notify) {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let asked: Vec<&str> = words.iter().filter(|(asked, _)| *asked).map(|(_, word)| *word).collect();
    match asked.is_empty() {
        true => line.push_str("NEVER"),
        false => line.push_str(&asked.join(",")),
    }
}

/// A parameter that is passed on as it was said; anything but xtext would be a command of its own.
fn push_value(line: &mut String, name: &str, value: Option<&str>) {
    let is_xtext = |value: &&str| !value.is_empty() && value.bytes().all(|c| c.is_ascii_graphic());
    if let Some(value) = value.filter(is_xtext) {
        line.push_str(name);
        line.push_str(value);
    }
}

fn push(line: &mut String, what: impl std::fmt::Display) {
    // A String has no way to fail.
    let _ = write!(line, "{what}");
}
