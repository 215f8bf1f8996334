//! Lines of a connection against a reader that has all the octets at once. The octets go in as the unread input that a session
//! is handed; standard input has ended (`fuzz/run` sees to that).
#![no_main]

use common::io::{Conn, Ending, Limits, Line};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

/// What `Conn` takes as unread input at most.
const INPUT_OCTETS: usize = 8 * 1024;

fuzz_target!(|input: (u16, &[u8])| {
    let (limit, octets) = input;
    let limit = 2 + usize::from(limit) % 4096;
    let octets = &octets[..octets.len().min(INPUT_OCTETS)];
    let limits = Limits { idle: Duration::from_secs(1), reply: Duration::from_secs(1), deadline: None };
    let mut conn = Conn::new(limits, octets).unwrap();
    let mut rest = octets;
    loop {
        let wanted = rest.iter().position(|&octet| octet == b'\n').map(|at| {
            let (line, after) = rest.split_at(at + 1);
            rest = after;
            line
        });
        match (conn.read_line(limit), wanted) {
            (Ok(Line::Complete(line)), Some(wanted)) => {
                assert!(wanted.len() <= limit);
                let wanted = &wanted[..wanted.len() - 1];
                assert_eq!(line.as_slice(), wanted.strip_suffix(b"\r").unwrap_or(wanted));
            }
            (Ok(Line::TooLong), Some(wanted)) => assert!(wanted.len() > limit),
            (Err(Ending::Disconnected), None) => return,
            (got, wanted) => panic!("{got:?}, wanted {wanted:?}"),
        }
    }
});
