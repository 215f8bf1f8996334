//! Lines of a passwd-file, and the password fields in them.
#![no_main]

use common::auth::passwd_file::PasswdFileEntry;
use common::auth::scheme::Stored;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(entry) = PasswdFileEntry::parse(line) else { return };
    let _ = (entry.uid_gid_home(), entry.allows_protocol("pop3"));
    let _ = Stored::parse(&entry.password);
    let printed = entry.to_string();
    let again = PasswdFileEntry::parse(printed.as_bytes()).expect("what is printed can be read");
    assert_eq!(again.to_string(), printed);
});
