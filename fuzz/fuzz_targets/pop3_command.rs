//! POP3 command lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pop3d::command::{AUTH_LINE_MAX, Command, LINE_MAX};

fuzz_target!(|line: &[u8]| {
    let parsed = Command::parse(line);
    if parsed.is_ok() {
        let keyword = line.split(|&octet| octet == b' ').next().unwrap_or_default();
        let limit = if keyword.eq_ignore_ascii_case(b"AUTH") { AUTH_LINE_MAX } else { LINE_MAX };
        assert!(line.len() + 2 <= limit);
        assert!(!line.contains(&0) && !line.contains(&b'\r'));
    }
    // Keywords in any case are the same command.
    let mut other = line.to_vec();
    let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
    other[..end].make_ascii_lowercase();
    assert_eq!(parsed, Command::parse(&other));
});
