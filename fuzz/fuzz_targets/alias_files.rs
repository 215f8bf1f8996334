//! Alias files and other files of logical lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::logical::LogicalLines;

fuzz_target!(|octets: &[u8]| {
    look(LogicalLines::new(octets));
    look(LogicalLines::of_aliases(octets));
});

fn look(mut lines: LogicalLines<&[u8]>) {
    let mut last = 0;
    while let Ok(Some((number, line))) = lines.next() {
        assert!(number > last && !line.is_empty() && !line.contains(&b'\n'));
        last = number;
        if let Ok(line) = std::str::from_utf8(line) {
            if let Ok((name, value)) = smtpd::aliases::entry(line) {
                assert!(!name.is_empty());
                for item in smtpd::aliases::items(value) {
                    let _ = item;
                }
            }
        }
    }
}
