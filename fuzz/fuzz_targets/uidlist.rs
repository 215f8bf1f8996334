//! dovecot-uidlist: what is read and printed reads the same again.
#![no_main]

use common::maildir::uidlist::UidList;
use libfuzzer_sys::fuzz_target;

fn print(list: &UidList) -> Vec<u8> {
    let mut out = Vec::new();
    list.print(&mut out).expect("a vector");
    out
}

fn check(list: &UidList) {
    let mut last = 0;
    for i in 0..list.len() {
        assert!(list.uid(i) > last && list.uid(i) < list.next_uid.max(1));
        last = list.uid(i);
        let base = list.base(i);
        assert!(!base.is_empty() && !base.contains(&b'/') && !base.contains(&b'\n'));
    }
}

fuzz_target!(|text: &[u8]| {
    let Ok(mut list) = UidList::parse(text.to_vec()) else { return };
    check(&list);
    let printed = print(&list);
    let again = UidList::parse(printed.clone()).expect("what is printed can be read");
    check(&again);
    assert_eq!(again.len(), list.len());
    assert_eq!((again.uid_validity, again.next_uid), (list.uid_validity, list.next_uid));
    for i in 0..list.len() {
        assert_eq!((again.uid(i), again.base(i)), (list.uid(i), list.base(i)));
        for key in b'A'..=b'Z' {
            assert_eq!(again.field(i, key), list.field(i, key), "{}", char::from(key));
        }
    }
    assert_eq!(print(&again), printed);
    let before = list.len();
    if let Some(uid) = list.add(b"1000000000.a.host,S=5:2,S") {
        assert_eq!(list.uid(before), uid);
        check(&list);
    }
    list.forget(|i| i % 2 == 0);
    check(&list);
});
