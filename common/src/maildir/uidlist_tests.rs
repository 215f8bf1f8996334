use super::*;
use proptest::prelude::*;

const GUID: &str = "0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> UidList {
    UidList::parse(text.as_bytes().to_vec()).unwrap()
}

fn printed(list: &UidList) -> Vec<u8> {
    let mut out = Vec::new();
    list.print(&mut out).unwrap();
    out
}

#[test]
fn version_3_with_every_kind_of_field() {
    let list = parse(&format!(
        "3 V1000 N30 G{GUID} P%v.%u Zx\n1 W100 S90 :1.a:2,S\n5 PUID5-7 O2 :2.b,S=3\n9 Xkept Ghello :3.c\n"
    ));
    assert_eq!((list.uid_validity, list.next_uid, list.len()), (1000, 30, 3));
    assert_eq!(list.guid, GUID.as_bytes());
    assert_eq!(list.header_fields, b"P%v.%u Zx");
    assert_eq!(
        (list.base(0), list.field(0, b'W'), list.field(0, b'S')),
        (&b"1.a"[..], Some(&b"100"[..]), Some(&b"90"[..]))
    );
    assert_eq!(
        (list.uid(1), list.field(1, b'P'), list.field(1, b'O')),
        (5, Some(&b"UID5-7"[..]), Some(&b"2"[..]))
    );
    assert_eq!(list.field(2, b'W'), None);
    assert!(!list.needs_rewrite);
    let text = String::from_utf8(printed(&list)).unwrap();
    assert_eq!(
        text,
        format!(
            "3 V1000 N30 G{GUID} P%v.%u Zx\n1 W100 S90 :1.a\n5 PUID5-7 O2 :2.b,S=3\n9 Xkept Ghello :3.c\n"
        )
    );
}

#[test]
fn version_1_is_courier_s() {
    let list = parse("1 555 12\n3 1.a b c:2,S\n11 2.b\n");
    assert_eq!((list.uid_validity, list.next_uid, list.len(), list.base(0)), (555, 12, 2, &b"1.a b c"[..]));
    assert!(list.needs_rewrite);
}

#[test]
fn broken_lines_cost_only_themselves() {
    let list = parse(&format!(
        "3 V1 N2 G{GUID}\n5 :a\n4 :decreasing\nx\n6\n7 :with/slash\n8 lower :x\n9 :\n10 :good\n4294967295 :too.high\n11 :unfini"
    ));
    assert_eq!((list.len(), list.broken_lines, list.needs_rewrite), (2, 8, true));
    assert_eq!((list.uid(1), list.base(1), list.next_uid), (10, &b"good"[..], 11));
}

#[test]
fn broken_headers_are_refused() {
    for text in [
        "",
        "3",
        "3 V1 N1 Gxyz\n",
        "3 V0 N1\n",
        "3 N1\n",
        "2 1 1\n",
        "1 5\n",
        "3 V99999999999 N1\n",
        "no newline 3",
    ] {
        assert!(UidList::parse(text.as_bytes().to_vec()).is_err(), "{text:?}");
    }
}

#[test]
fn fields_are_set_and_replaced() {
    let mut list = parse(&format!("3 V1 N2 G{GUID}\n1 S5 W7 :a\n"));
    assert!(list.set_field(0, b'W', b"8"));
    assert!(!list.set_field(0, b'P', b"a b"));
    assert!(!list.set_field(1, b'P', b"a"));
    assert_eq!(printed(&list), format!("3 V1 N2 G{GUID}\n1 S5 W8 :a\n").into_bytes());
}

#[test]
fn adding_and_forgetting_never_reuses_a_uid() {
    let mut list = parse(&format!("3 V1 N2 G{GUID}\n1 :a\n"));
    assert_eq!(list.add(b"b:2,S"), Some(2));
    assert_eq!(list.add(b"with\nline"), None);
    list.forget(|i| i != 1);
    assert_eq!(list.add(b"c"), Some(3));
    assert_eq!(printed(&list), format!("3 V1 N4 G{GUID}\n1 :a\n3 :c\n").into_bytes());
    list.next_uid = u32::MAX;
    assert_eq!(list.add(b"d"), None);
}

proptest! {
    #[test]
    fn parsing_never_panics_and_printing_is_stable(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut with_header = format!("3 V1 N1 G{GUID}\n").into_bytes();
        with_header.extend_from_slice(&text);
        for bytes in [text, with_header] {
            if let Ok(list) = UidList::parse(bytes) {
                let once = printed(&list);
                if !list.guid.is_empty() {
                    let again = UidList::parse(once.clone()).unwrap();
                    prop_assert!(!again.needs_rewrite);
                    prop_assert_eq!(printed(&again), once);
                }
            }
        }
    }

    #[test]
    fn likely_lines_round_trip(lines in proptest::collection::vec("[0-9]{1,3} ([A-Z][a-z0-9%]{0,4} {1,2}){0,3}:[a-z.:,=2S]{0,9}", 0..20)) {
        let list = parse(&format!("3 V1 N1 G{GUID}\n{}\n", lines.join("\n")));
        let again = UidList::parse(printed(&list)).unwrap();
        prop_assert_eq!(printed(&again), printed(&list));
        prop_assert_eq!(again.broken_lines, 0);
    }
}
