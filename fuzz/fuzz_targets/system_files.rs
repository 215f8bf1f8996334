//! Lines of passwd and shadow, lists of networks, names that clients send.
#![no_main]

use common::auth::passwd::PasswdEntry;
use common::auth::shadow::ShadowEntry;
use common::auth::username::{DEFAULT_CHARS, UsernameRules};
use common::auth::{crypt, nets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let _ = PasswdEntry::parse(octets);
    if let Some(entry) = ShadowEntry::parse(octets) {
        let _ = (entry.lock(), entry.ageing(0), entry.ageing(20_000), entry.ageing(u64::MAX));
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = nets::contains(text, Some([192, 0, 2, 1].into()));
        let limits = crypt::HashLimits { memory: 64 << 20, wait: std::time::Duration::ZERO };
        let _ = crypt::inspect(text, &limits);
        let format = "%Lu".parse().expect("the default");
        let rules = UsernameRules { chars: DEFAULT_CHARS.to_owned(), format, master_separator: Some('*') };
        if let Ok(name) = rules.normalise(octets) {
            assert!(!name.as_str().is_empty() && !name.as_str().contains(['/', '\0', '\n', '*']));
            // Once normalised it stays as it is.
            assert_eq!(rules.normalise(name.as_str().as_bytes()).expect("again").as_str(), name.as_str());
        }
        let _ = rules.split_master(octets);
    }
});
