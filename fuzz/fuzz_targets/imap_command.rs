//! IMAP commands: as a text, and received from a connection with everything that can follow.
#![no_main]

use common::io::gather::Text;
use common::io::{Conn, Ending, Limits};
use imapd::grammar::receive::{Behind, Budget, Received, receive};
use imapd::grammar::{AppendMessage, Command, LiteralHeader};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

/// What `Conn` takes as unread input at most.
const INPUT_OCTETS: usize = 8 * 1024;

fuzz_target!(|octets: &[u8]| {
    let parsed = Command::parse(octets);
    if let Ok((tag, command)) = &parsed {
        assert!(octets.starts_with(tag.as_bytes()));
        // Only texts in UTF-16 have NULs in them.
        let has_texts = matches!(command, Command::Search { .. } | Command::Sort { .. } | Command::Thread { .. });
        assert!(has_texts || !octets[tag.as_bytes().len()..].contains(&0));
    }
    let _ = (LiteralHeader::at_end(octets), LiteralHeader::is_message(octets));

    let octets = &octets[..octets.len().min(INPUT_OCTETS)];
    for literals in [None, Some(1024)] {
        let limits = Limits { idle: Duration::from_secs(1), reply: Duration::from_secs(1), deadline: None };
        let mut conn = Conn::new(limits, octets).unwrap();
        let mut text = Text::default();
        let mut budget = Budget { command: 4096, literals };
        let mut before = octets.len() + 1;
        loop {
            // Every command uses something up.
            assert!(conn.unread().len() < before);
            before = conn.unread().len();
            match receive(&mut conn, &mut text, &mut budget) {
                Ok(Received::Command(_, Command::Append { message, .. })) => {
                    assert!(literals.is_none());
                    if append(&mut conn, &mut text, message).is_err() {
                        break;
                    }
                }
                Ok(Received::Command(..) | Received::Bad(_)) if before > 0 => {}
                Ok(_) => break,
                Err(Ending::Disconnected | Ending::TooManyBadCommands) => break,
                Err(other) => panic!("{other:?}"),
            }
            assert!(text.as_bytes().len() <= 4096 + 2);
        }
    }
});

/// Takes the messages of an APPEND, or refuses every other one.
fn append(conn: &mut Conn, text: &mut Text, mut message: AppendMessage) -> Result<(), Ending> {
    loop {
        if message.octets % 2 == 1 {
            return message.refuse(conn);
        }
        conn.skip(message.octets)?;
        match AppendMessage::next(conn, text)? {
            Behind::Message(next) => message = next,
            Behind::End | Behind::Bad(_) => return Ok(()),
        }
    }
}
