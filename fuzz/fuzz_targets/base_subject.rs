//! Subjects: encoded words, folding, the base subject.
#![no_main]

use imapd::search::words;
use imapd::{base_subject, casemap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let (mut text, mut scratch) = (String::new(), Vec::new());
    words::decode(octets, &mut text, &mut scratch);
    words::decode_parameters(octets, &mut String::new());
    let mut folded = Vec::new();
    words::fold(octets, &mut folded, &mut String::new(), &mut scratch);
    assert_eq!(folded, casemap::folded(&text), "both ways to fold");
    base_subject::squeeze(&mut folded);
    let base = base_subject::base(&folded).text;
    assert_eq!(base_subject::base(base).text, base, "a base is its own");
});
