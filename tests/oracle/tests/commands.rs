//! imap-codec as an oracle: what it can say is received whole, and understood as it was meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arbitrary::{Arbitrary, Unstructured};
use common::io::gather::Text;
use common::io::{Conn, Limits};
use imap_codec::CommandCodec;
use imap_codec::encode::Encoder;
use imap_codec::imap_types::command::Command;
use imapd::grammar::receive::{Behind, Budget, Received, receive};
use imapd::grammar::{self, AppendMessage};
use std::collections::BTreeMap;
use std::time::Duration;
use tinmail_oracle::meant::meant;

/// What a connection takes as unread input at most.
const INPUT_OCTETS: usize = 8 * 1024;

fn conn(octets: &[u8]) -> Conn {
    let minute = Duration::from_secs(60);
    Conn::new(Limits { idle: minute, reply: minute, deadline: None }, octets).unwrap()
}

/// Receives what was sent, and the message of an APPEND.
fn received(octets: &[u8]) -> (Received, usize) {
    let mut conn = conn(octets);
    let mut text = Text::default();
    let mut budget = Budget { command: 64 * 1024, literals: None };
    let received = receive(&mut conn, &mut text, &mut budget).unwrap();
    if let Received::Command(_, grammar::Command::Append { message, .. }) = &received {
        conn.skip(message.octets).unwrap();
        assert_eq!(AppendMessage::next(&mut conn, &mut text).unwrap(), Behind::End);
    }
    let left = conn.unread().len();
    (received, left)
}

/// Words of extensions that we do not have, and what the RFCs' grammar does not have.
const FOREIGN: [&str; 18] = [
    " COMPRESS ",
    " GETQUOTA",
    " SETQUOTA ",
    " GETMETADATA ",
    " SETMETADATA ",
    " GETACL ",
    " SETACL ",
    " DELETEACL ",
    " LISTRIGHTS ",
    " MYRIGHTS ",
    " REPLACE ",
    "BINARY",
    "QRESYNC",
    "VANISHED",
    "UTF8",
    "DELETED-STORAGE",
    "SAVE",
    "MAILBOXID",
];

fn is_foreign(encoded: &str) -> bool {
    let text = encoded.to_ascii_uppercase();
    let has = |word: &str| text.contains(word);
    has(" THREAD ") && !has(" ORDEREDSUBJECT ") && !has(" REFERENCES ")
        || text.matches("UNCHANGEDSINCE").count() > 1
        || text.matches(" CHANGEDSINCE").count() + text.matches("(CHANGEDSINCE").count() > 1
        || has(" ()") && (has(" STATUS ") || has(" FETCH "))
        || has(" APPEND ") && has("~{")
        || has(" STORE ") && has(" ()") && has("UNCHANGED") && !has("UNCHANGEDSINCE")
        || FOREIGN.iter().any(|word| has(word))
}

#[test]
fn what_it_can_say_is_understood() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut failures = Vec::new();
    for _ in 0..60_000 {
        let octets: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        })
        .take(400)
        .collect();
        let Ok(command) = Command::arbitrary(&mut Unstructured::new(&octets)) else { continue };
        let encoded = CommandCodec::default().encode(&command).dump();
        let shown = String::from_utf8_lossy(&encoded).into_owned();
        if encoded.len() > INPUT_OCTETS || is_foreign(&shown) {
            continue;
        }
        *counts.entry(command.body.name().to_owned()).or_default() += 1;
        let (got, left) = received(&encoded);
        match got {
            Received::Command(tag, got) if left == 0 => {
                assert_eq!(tag.as_bytes(), command.tag.as_ref().as_bytes(), "{shown}");
                assert_eq!(Some(got), meant(&command), "{shown:?}");
            }
            other => failures.push(format!("{shown:?}: {other:?}, {left} octets left")),
        }
    }
    let shown: Vec<_> = failures.iter().take(30).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {counts:?}\n{}", failures.len(), shown.join("\n"));
    assert!(counts.values().sum::<u32>() > 1000 && counts.len() > 20, "{counts:?}");
}
