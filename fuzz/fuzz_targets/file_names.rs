//! Names of message files: flags are set and removed and nothing else changes; the order is one.
#![no_main]

use common::maildir::name;
use libfuzzer_sys::fuzz_target;
use std::cmp::Ordering;

fuzz_target!(|names: (&[u8], &[u8], &[u8])| {
    let (a, b, c) = names;
    for one in [a, b, c] {
        let _ = (name::size_hint(one, b'S'), name::size_hint(one, b'W'));
        let base = name::base(one);
        assert!(one.starts_with(base) && !base.contains(&b':'));
        let seen = name::with_flags(one, b"S", b"");
        assert!(name::flags(&seen).contains(&b'S'), "{}", seen.escape_ascii());
        assert_eq!(name::base(&seen), base);
        assert_eq!(name::with_flags(&seen, b"S", b""), seen, "twice is once");
        let unseen = name::with_flags(&seen, b"", b"S");
        assert!(!name::flags(&unseen).contains(&b'S'));
        assert_eq!(name::delivery_order(one, one), Ordering::Equal);
    }
    assert_eq!(name::delivery_order(a, b), name::delivery_order(b, a).reverse());
    let all = [a, b, c];
    let mut sorted = [0usize, 1, 2];
    name::sort_by_delivery(&mut sorted, &|i| all[i]);
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2], "none is lost");
});
