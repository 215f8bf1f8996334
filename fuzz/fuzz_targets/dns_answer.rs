//! Answers of name servers: whatever comes, there is an end to it, and only what was asked is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::dns::Kind;
use smtpd::dns::message::{Answer, Query, Record};

fuzz_target!(|octets: &[u8]| {
    let Some((choice, octets)) = octets.split_first() else { return };
    let kind = [Kind::A, Kind::Aaaa, Kind::Mx][usize::from(choice % 3)];
    let Some(query) = Query::new(0x1234, "example.org", kind) else { return };
    let mut message = query.octets().unwrap_or_default();
    if choice & 4 != 0 {
        // The question as it was asked, and anything behind it.
        if let (Some(flags), Some(counts)) = (octets.get(..2), octets.get(2..8)) {
            message[2] = flags[0] & 0x07 | 0x80;
            message[3] = flags[1];
            message[6..12].copy_from_slice(counts);
            message.extend_from_slice(&octets[8..]);
        }
    } else {
        message = octets.to_vec();
    }
    if let Some(Answer::Records(records)) = query.read(&message) {
        for record in records {
            match (record, kind) {
                (Record::Address(address), Kind::A) => assert!(address.is_ipv4()),
                (Record::Address(address), Kind::Aaaa) => assert!(address.is_ipv6()),
                (Record::Exchange { host, .. }, Kind::Mx) => {
                    assert!(host.len() <= 255 && host.bytes().all(|c| c.is_ascii_graphic() && c != b'/'));
                }
                other => panic!("{other:?}"),
            }
        }
    }
});
