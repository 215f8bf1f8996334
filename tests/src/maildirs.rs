//! Maildirs that several tests begin with.

use crate::place::Place;

/// UIDVALIDITY of all of them: 3b9aca00 in hexadecimal.
pub const UID_VALIDITY: u32 = 1_000_000_000;

/// Fills the place's Maildir with a named set of messages.
pub fn fill(place: &Place, name: &str) {
    match name {
        "empty" => {}
        "two-messages" => {
            // The maildrop of RFC 1939's examples: 120 and 200 octets.
            place.deliver("cur/1000000001.a.host:2,", &message("one", 120));
            place.deliver("new/1000000002.b.host", &message("two", 200));
            uidlist(place, &["1000000001.a.host", "1000000002.b.host"]);
        }
        "three-messages" => {
            for (number, letter) in [(1, 'a'), (2, 'b'), (3, 'c')] {
                place
                    .deliver(&format!("new/100000000{number}.{letter}.host"), &message("text", 100 * number));
            }
            uidlist(place, &["1000000001.a.host", "1000000002.b.host", "1000000003.c.host"]);
        }
        _ => panic!("there is no Maildir \"{name}\""),
    }
}

/// A message of so many octets as POP3 counts them, stored with LF line ends.
pub fn message(subject: &str, octets: usize) -> Vec<u8> {
    let mut text = format!("From: a@example.org\nSubject: {subject}\n\n").into_bytes();
    let mut counted = text.len() + 3;
    while counted < octets {
        let line = (octets - counted).min(64);
        // A line has at least its end, and must not leave a rest too small for another one.
        let line = if octets - counted - line == 1 { line - 1 } else { line };
        text.extend(std::iter::repeat_n(b'x', line - 2));
        text.push(b'\n');
        counted += line;
    }
    text
}

/// A dovecot-uidlist of now that numbers these messages from 1: modification sequences begin with 1, too.
pub fn uidlist(place: &Place, bases: &[&str]) {
    let mut text = format!("3 V{UID_VALIDITY} N{} G0123456789abcdef0123456789abcdef\n", bases.len() + 1);
    for (base, uid) in bases.iter().zip(1..) {
        text += &format!("{uid} :{base}\n");
    }
    place.write("Maildir/dovecot-uidlist", text.as_bytes());
}
