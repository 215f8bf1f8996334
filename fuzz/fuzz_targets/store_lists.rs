//! Small files of the store: maildirsize, dovecot-keywords, Courier's keywords.
#![no_main]

use common::maildir::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    fuzzing::maildirsize(text);
    fuzzing::keyword_lists(text);
});
