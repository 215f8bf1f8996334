//! Replies of remote servers: nothing of them reaches a log but clean text of bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::client::extensions::Extensions;
use smtpd::client::reply::{Partial, TEXT_MAX};

fuzz_target!(|octets: &[u8]| {
    let mut partial = Partial::default();
    for line in octets.split(|&octet| octet == b'\n') {
        match partial.line(line) {
            Ok(None) => {}
            Ok(Some(reply)) => {
                assert!((200..600).contains(&reply.code) && reply.text.len() <= TEXT_MAX);
                assert!(!reply.text.chars().any(|c| c.is_control() && c != '\n'));
                let failure = reply.failure("host", "command");
                assert!(!failure.is_positive() && failure.text.len() <= 1100);
                assert!(!failure.text.chars().any(char::is_control));
                assert!(Extensions::parse(&reply.text).auth.len() <= 32);
                partial = Partial::default();
            }
            Err(_) => partial = Partial::default(),
        }
    }
});
