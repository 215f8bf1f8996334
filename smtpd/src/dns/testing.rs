//! Answers as a name server makes them, for tests.

use super::Resolver;
use super::message::Query;
use super::system::ResolvConf;
use common::config::keyword::InetProtocols;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

/// `example.org` as DNS writes it.
pub fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

pub fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [&wire(owner)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

pub fn mx(owner: &str, preference: u16, host: &str) -> Vec<u8> {
    record(owner, 15, &[&preference.to_be_bytes()[..], &wire(host)].concat())
}

pub fn answer(query: &Query, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    answer_to(&query.octets().unwrap(), flags, records)
}

pub fn answer_to(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = question.to_vec();
    octets[2..4].copy_from_slice(&flags.to_be_bytes());
    octets[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    octets.extend(records.concat());
    octets
}

/// What the server has: MX with preference, or an address; `!` is SERVFAIL. Names that are not there do not exist.
pub type Zone = &'static [(&'static str, &'static str)];

/// A resolver that asks a server with this zone.
pub fn resolver(zone: Zone, protocols: InetProtocols) -> Resolver {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 600];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let of = |at: &(&str, &str)| question[12..].starts_with(&wire(at.0));
            let kind = question[length - 3];
            let mut records = Vec::new();
            let mut flags = if zone.iter().any(of) { 0x8180 } else { 0x8183 };
            for (owner, value) in zone.iter().filter(|at| of(at)) {
                match (kind, value.split_once(' ')) {
                    (_, None) if *value == "!" => flags = 0x8182,
                    (15, Some((preference, host))) => {
                        records.push(mx(owner, preference.parse().unwrap(), host));
                    }
                    (1, None) if !value.contains(':') && value.contains('.') => {
                        let address: std::net::Ipv4Addr = value.parse().unwrap();
                        records.push(record(owner, 1, &address.octets()));
                    }
                    (28, None) if value.contains(':') => {
                        let address: std::net::Ipv6Addr = value.parse().unwrap();
                        records.push(record(owner, 28, &address.octets()));
                    }
                    _ => {}
                }
            }
            socket.send_to(&answer_to(question, flags, &records), from).unwrap();
        }
    });
    let conf =
        ResolvConf { servers: vec![server], timeout: Duration::from_secs(2), attempts: 1, over_tcp: false };
    Resolver { conf, hosts: "/nonexistent".into(), protocols }
}

#[test]
fn addresses_of_both_protocols_take_turns() {
    use super::NotFound;
    use InetProtocols::{All, Ipv4, Ipv6};
    let zone: Zone = &[
        ("both.test", "192.0.2.1"),
        ("both.test", "192.0.2.2"),
        ("both.test", "::1"),
        ("v4.test", "192.0.2.3"),
        ("mx.test", "10 both.test"),
        ("bad.test", "!"),
    ];
    let addresses = |protocols, host: &str| {
        let found = resolver(zone, protocols).addresses(host);
        found.map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(addresses(All, "both.test").unwrap(), ["::1", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(addresses(Ipv4, "both.test").unwrap(), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(addresses(Ipv6, "BOTH.test").unwrap(), ["::1"]);
    assert_eq!(addresses(Ipv6, "v4.test"), Err(NotFound::NoData));
    assert_eq!(addresses(All, "v4.test").unwrap(), ["192.0.2.3"]);
    assert_eq!(addresses(All, "mx.test"), Err(NotFound::NoData));
    assert_eq!(addresses(All, "nowhere.test"), Err(NotFound::NoSuchName));
    assert!(matches!(addresses(All, "bad.test"), Err(NotFound::Unknown(_))));
    assert_eq!(resolver(zone, All).exchanges("both.test"), Err(NotFound::NoData));
}
