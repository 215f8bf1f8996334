//! What a front that was taken over could show the guard as a client's certificate.
#![no_main]

use common::config::keyword::CertUsernameField;
use common::tls::proof::{ClientProof, Handshake, Signed};
use common::tls::{certificate, subject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, bool, &[u8])| {
    let (scheme, is_tls13, octets) = input;
    // The guard's own signature and random octets are in the transcript, as far as it is long enough to have them.
    let message = match is_tls13 {
        true => [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[0; 32]].concat(),
        false => octets.get(6..180).unwrap_or_default().to_vec(),
    };
    let mut handshake = Handshake::new([0; 32], vec![octets.get(..8).unwrap_or_default().to_vec()]);
    handshake.signed = Some(Signed { scheme, message, signature: vec![0; 8] });
    let proof = ClientProof { transcript: octets.to_vec(), scheme, signature: vec![0; 70] };
    assert!(handshake.check(&proof).is_err());

    let _ = subject::shown(octets);
    let _ = subject::user_name(octets, CertUsernameField::CommonName);
    let _ = certificate::revocation_dates(octets);
});
