//! PROXY headers, versions 1 and 2: a header is found when its last octet is there, and not a moment sooner.
#![no_main]

use common::proxy::{self, Start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let found @ Start::Header { length, .. } = proxy::parse(octets) {
        assert!(length <= octets.len() && length <= proxy::V1_LIMIT.max(proxy::V2_LIMIT));
        assert_eq!(proxy::parse(&octets[..length]), found);
        for shorter in 0..length {
            assert_eq!(proxy::parse(&octets[..shorter]), Start::Incomplete, "{shorter} of {length}");
        }
    }
    if octets.len() > proxy::V1_LIMIT.max(proxy::V2_LIMIT) {
        assert_ne!(proxy::parse(octets), Start::Incomplete, "waits for ever");
    }
});
