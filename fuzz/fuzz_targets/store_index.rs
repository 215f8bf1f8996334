//! tinmail-index and its log: nothing that is in them ends in a panic, and numbers of messages stay what they are.
#![no_main]

use common::maildir::fuzzing;
use libfuzzer_sys::fuzz_target;

// The first two octets say where the log begins.
fuzz_target!(|octets: &[u8]| {
    let Some((length, rest)) = octets.split_first_chunk() else { return };
    let (index, log) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    fuzzing::index_and_log(index, log);
});
