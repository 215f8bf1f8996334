//! Addresses, and what aliases, maps and lists are made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::address::Address;
use smtpd::aliases::{Item, items, words};
use smtpd::classes::DomainList;
use smtpd::map::{Map, split_key};
use smtpd::networks::Networks;

fuzz_target!(|octets: &[u8]| {
    if let Ok(address) = Address::parse(octets) {
        // What is printed is read again as the same, and has nothing in it that ends a line.
        let printed = address.to_string();
        assert!(!printed.contains(['\r', '\n', '\0']));
        assert_eq!(Address::parse(printed.as_bytes()).expect("again"), address);
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    for item in items(text).into_iter().flatten() {
        match item {
            Item::Command(words) => assert!(words.first().is_some_and(|first| !first.contains('='))),
            Item::File(path) | Item::Include(path) => assert!(path.starts_with('/')),
            Item::Name(name) | Item::Own(name) => assert!(!name.is_empty() && !name.contains(['@', ' '])),
            Item::Address(_) => {}
        }
    }
    let _ = words(text);
    let _ = split_key(text);
    // Files are not for a fuzzer to open.
    if !text.contains('/') {
        let _ = Map::parse(text);
        let _ = DomainList::parse("x", text, true).map(|list| list.contains("a.b.example"));
        let _ = Networks::parse(text).map(|list| list.contains([192, 0, 2, 1].into()));
    }
});
