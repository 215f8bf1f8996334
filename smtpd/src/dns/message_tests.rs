use super::super::testing::{answer, mx, record, wire};
use super::*;
use proptest::prelude::*;

fn query(name: &str, kind: Kind) -> Query {
    Query::new(0x1234, name, kind).unwrap()
}

fn exchange(preference: u16, host: &str) -> Record {
    Record::Exchange { preference, host: host.to_owned() }
}

#[test]
fn what_goes_out() {
    let octets = query("Example.org.", Kind::Mx).octets().unwrap();
    let want = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x0f\0\x01";
    assert_eq!(octets, want);
    for name in ["", ".", "a..b", "a b", "gr\u{fc}n.de", &"a".repeat(64), &"a.".repeat(130), "a\0b", "a\\.b"]
    {
        assert_eq!(Query::new(1, name, Kind::A), None, "{name}");
    }
}

#[test]
fn answers_of_all_kinds() {
    let query = query("example.org", Kind::Mx);
    let ok = 0x8180;
    let alias = |from: &str, to: &str| record(from, 5, &wire(to));
    let table = [
        (ok, vec![], Answer::Records(vec![])),
        (
            ok,
            vec![mx("Example.ORG", 20, "b.example.org"), mx("example.org", 10, "A.example.org")],
            Answer::Records(vec![exchange(20, "b.example.org"), exchange(10, "a.example.org")]),
        ),
        (ok, vec![mx("example.org", 0, "")], Answer::Records(vec![exchange(0, "")])),
        // Of somebody else, of another kind.
        (
            ok,
            vec![mx("example.com", 1, "x"), record("example.org", 1, &[1, 2, 3, 4])],
            Answer::Records(vec![]),
        ),
        // Of no host, which is not to say that there is no MX.
        (ok, vec![mx("example.org", 1, "a b"), mx("example.org", 2, "*.org")], Answer::NoHosts),
        (ok, vec![mx("example.org", 1, "a\0b")], Answer::NoHosts),
        (ok, vec![mx("example.org", 1, "gr\u{fc}n")], Answer::NoHosts),
        (ok, vec![mx("example.org", 1, "a/b")], Answer::NoHosts),
        (ok, vec![record("example.org", 15, b"\0\x01\x03a.b\0")], Answer::NoHosts),
        (ok, vec![record("example.org", 15, b"")], Answer::NoHosts),
        (
            ok,
            vec![mx("example.org", 1, "a b"), mx("example.org", 2, "c.org")],
            Answer::Records(vec![exchange(2, "c.org")]),
        ),
        (ok, vec![alias("example.org", "c.net"), mx("c.net", 5, "a b")], Answer::NoHosts),
        (
            ok,
            vec![alias("example.org", "c.net"), alias("c.net", "d.net"), mx("d.net", 5, "e.net")],
            Answer::Records(vec![exchange(5, "e.net")]),
        ),
        (ok, vec![alias("example.org", "c.net")], Answer::Records(vec![])),
        (
            ok,
            vec![alias("example.org", "c.net"), alias("c.net", "example.org")],
            Answer::Failed("too many aliases"),
        ),
        (0x8183, vec![], Answer::NoSuchName),
        (0x8182, vec![], Answer::Failed("SERVFAIL")),
        (0x8185, vec![], Answer::Failed("REFUSED")),
        (0x8181, vec![], Answer::Failed("the server does not answer such questions")),
        (0x8380, vec![mx("example.org", 1, "x")], Answer::Truncated),
        (ok, vec![b"junk".to_vec()], Answer::Failed("the answer is malformed")),
        (ok, vec![mx("example.org", 1, "x"); 129], Answer::Failed("the answer is too large")),
    ];
    for (flags, records, want) in table {
        let octets = answer(&query, flags, &records);
        assert_eq!(query.read(&octets), Some(want), "{flags:x} {records:?}");
    }
}

#[test]
fn addresses() {
    let v4 = query("a.b", Kind::A);
    let octets = answer(&v4, 0x8180, &[record("a.b", 1, &[192, 0, 2, 1])]);
    assert_eq!(v4.read(&octets), Some(Answer::Records(vec![Record::Address([192, 0, 2, 1].into())])));
    let v6 = query("a.b", Kind::Aaaa);
    let octets = answer(&v6, 0x8180, &[record("a.b", 28, &[1; 16]), record("a.b", 1, &[192, 0, 2, 1])]);
    assert_eq!(v6.read(&octets), Some(Answer::Records(vec![Record::Address([1_u8; 16].into())])));
}

#[test]
fn what_is_not_the_answer_is_not_listened_to() {
    let ours = query("example.org", Kind::Mx);
    let good = answer(&ours, 0x8180, &[]);
    assert!(ours.read(&good).is_some());
    let changed = |at: usize, to: u8| {
        let mut octets = good.clone();
        octets[at] = to;
        octets
    };
    for wrong in [
        changed(0, 0x13),
        changed(1, 0x35),
        changed(2, 0x01),
        changed(2, 0x89),
        changed(5, 0),
        changed(5, 2),
        changed(12, 6),
        changed(13, b'f'),
        changed(26, 1),
        changed(28, 3),
        answer(&query("example.com", Kind::Mx), 0x8180, &[]),
        answer(&query("example.org", Kind::A), 0x8180, &[]),
        answer(&query("www.example.org", Kind::Mx), 0x8380, &[]),
        good[..good.len() - 1].to_vec(),
        good[..12].to_vec(),
        good[..11].to_vec(),
        vec![],
    ] {
        assert_eq!(ours.read(&wrong), None, "{wrong:?}");
    }
    assert!(ours.read(&changed(13, b'E')).is_some(), "case is of no account");
}

#[test]
fn a_name_that_points_to_itself_has_an_end() {
    let query = query("example.org", Kind::Mx);
    let mut octets = answer(&query, 0x8180, &[]);
    octets[7] = 1;
    let at = octets.len() as u8;
    octets.extend([0xc0, at, 0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 10, 0xc0, at]);
    assert_eq!(query.read(&octets), Some(Answer::Failed("the answer is malformed")));
}

proptest! {
    #[test]
    fn nothing_panics(
        tail in proptest::collection::vec(any::<u8>(), 0..300), counts in proptest::array::uniform3(0_u8..5),
        flags in any::<u8>()
    ) {
        let query = query("example.org", Kind::Mx);
        let mut octets = answer(&query, 0x8000 | u16::from(flags), &[]);
        for (at, count) in [7, 9, 11].into_iter().zip(counts) {
            octets[at] = count;
        }
        octets.extend(tail);
        let _ = query.read(&octets);
    }
}
