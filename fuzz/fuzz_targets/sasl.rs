//! SASL messages, before and behind base64.
#![no_main]

use common::auth::sasl::scram::{ClientFinal, ClientFirst, Plus};
use common::auth::sasl::{self, Login, LoginStep};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(message) = sasl::decode(octets) {
        assert_eq!(sasl::encode(&message).as_bytes(), octets, "base64 has one form");
        read(&message);
    }
    let _ = sasl::decode_initial(octets);
    read(octets);
});

fn read(message: &[u8]) {
    if let Ok(plain) = sasl::parse_plain(message) {
        let whole = [&plain.authzid, &[0][..], &plain.authcid, &[0], plain.password.expose()].concat();
        assert_eq!(whole, message);
    }
    let _ = sasl::parse_cram_md5(message);
    if let Ok(LoginStep::Ask(next)) = Login::default().step(message) {
        let _ = next.step(message);
    }
    let first = ClientFirst::parse(message, Plus::NotOffered);
    let _ = (ClientFirst::parse(message, Plus::Offered), ClientFirst::parse(message, Plus::Chosen));
    if let (Ok(first), Ok(last)) = (first, ClientFinal::parse(message)) {
        let _ = last.check(&first, "nonce", b"");
    }
}
