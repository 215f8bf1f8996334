//! Mailbox names from clients, directories and lists of subscriptions: every name has one spelling, and leads to an entry
//! of the root and back.
#![no_main]

use common::hierarchy::{Name, Namespace, Pattern, Subscriptions, mutf7, of_directory};
use libfuzzer_sys::fuzz_target;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

fn check(name: &Name, namespace: &Namespace) {
    let directory = name.directory();
    let octets = directory.as_bytes();
    assert!(name.is_inbox() || octets.len() > 1 && octets[0] == b'.' && octets[1] != b'.');
    assert!(!octets.contains(&0) && !octets.contains(&b'\n'));
    let mut visible = Vec::new();
    namespace.print(name, &mut visible);
    assert!(mutf7::decode(&visible).is_some(), "{}", visible.escape_ascii());
    let mut all = Pattern::new(b"", b"*", namespace.separator);
    let mut same = Pattern::new(b"", &visible, namespace.separator);
    assert!(all.matches(&visible) && same.matches(&visible) || visible.iter().any(|c| b"*%".contains(c)));
    let _ = name.check_new();
}

fuzz_target!(|octets: &[u8]| {
    let Some((choice, octets)) = octets.split_first() else { return };
    let separator = if choice & 1 == 0 { b'.' } else { b'/' };
    let namespace = Namespace::new(if choice & 2 == 0 { "" } else { "INBOX." }, separator);
    if let Some(text) = mutf7::decode(octets) {
        assert_eq!(mutf7::encode(&text), octets);
    }
    let text = String::from_utf8_lossy(octets);
    assert_eq!(mutf7::decode(&mutf7::encode(&text)).as_deref(), Some(&*text));
    if let Ok(name) = namespace.name(octets) {
        check(&name, &namespace);
        assert!(!name.directory().as_bytes().contains(&b'/'));
    }
    if let Some(name) = of_directory(OsStr::from_bytes(octets), &namespace) {
        check(&name, &namespace);
    }
    let (pattern, name) = octets.split_at(octets.len() / 2);
    Pattern::new(b"", pattern, separator).matches(name);
    let list = Subscriptions::parse(octets);
    list.names(&namespace).for_each(|name| check(&name, &namespace));
    let again = Subscriptions::parse(&list.print());
    assert!(again.names(&namespace).eq(list.names(&namespace)));
});
