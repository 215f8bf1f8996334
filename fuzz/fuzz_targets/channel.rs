//! What a front that was taken over could send to the guard.
#![no_main]

use common::process::channel::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, body) = input;
    let first = Request::decode(kind, body);
    assert_eq!(first, Request::decode(kind, body));
    if first.is_some() && !body.is_empty() {
        // Not an octet too few or too many.
        assert_eq!(Request::decode(kind, &body[..body.len() - 1]), None);
        assert_eq!(Request::decode(kind, &[body, &[0]].concat()), None);
    }
});
