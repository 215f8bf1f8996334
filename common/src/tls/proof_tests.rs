//! Tests of [`super`]: real handshakes, and everything that a front which was taken over could make of them.

use super::super::testing::{Client, Keeper, certificate, handshake, identity, shake};
use super::super::{AskClient, Offer};
use super::*;
use proptest::prelude::*;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;

const SERVERS: [&str; 2] = ["ec", "ed25519-server"];

fn random(seed: u8) -> [u8; 32] {
    std::array::from_fn(|place| seed.wrapping_mul(31).wrapping_add(place as u8))
}

fn proved(server: &str, seed: u8, client: &Client) -> (Handshake, ClientProof) {
    let (handshake, proof) = handshake(server, random(seed), client);
    (handshake, proof.unwrap())
}

#[test]
fn real_handshakes_prove_that_the_client_has_its_key() {
    for server in SERVERS {
        for name in ["anna", "rsa", "ed25519", "bert"] {
            for is_tls13 in [false, true] {
                let (handshake, proof) = proved(server, 1, &Client::named(name, is_tls13));
                let chain = handshake.check(&proof);
                assert_eq!(chain, Ok(vec![certificate(name)]), "{server} {name} {is_tls13}");
            }
        }
    }
}

#[test]
fn a_client_without_a_certificate_has_no_proof() {
    for is_tls13 in [false, true] {
        let client = Client { chain: Vec::new(), ..Client::named("anna", is_tls13) };
        assert_eq!(handshake("ec", random(1), &client).1, None);
    }
}

#[test]
fn somebody_elses_certificate_is_not_proved_with_ones_own_key() {
    for is_tls13 in [false, true] {
        let client = Client { key: "bert".to_owned(), ..Client::named("anna", is_tls13) };
        let (handshake, proof) = proved("ec", 1, &client);
        assert_eq!(handshake.check(&proof), Err(NoProof::Signature));
    }
}

/// Also where the server's key makes the same signature of the same each time.
#[test]
fn what_was_signed_on_another_connection_does_not_count() {
    for server in SERVERS {
        for is_tls13 in [false, true] {
            let client = Client::named("anna", is_tls13);
            let (old, proof) = proved(server, 1, &client);
            let (new, _) = proved(server, 2, &client);
            assert!(matches!(new.check(&proof), Err(NoProof::NotOurs(_))));
            // The front has the guard sign what it signed then, which with Ed25519 is the very same signature.
            let replayed =
                Handshake { random: random(2), signed: old.signed.clone(), chain: old.chain.clone() };
            let what = if is_tls13 { "TLS 1.3" } else { "TLS 1.2" };
            assert_eq!(replayed.check(&proof), Err(NoProof::NotOurs(what)), "{server}");
            assert!(old.check(&proof).is_ok());
        }
    }
}

/// The client shook hands with a server that is somebody else's, which passes on what it signed.
#[test]
fn what_was_signed_for_another_server_does_not_count() {
    for is_tls13 in [false, true] {
        let client = Client::named("anna", is_tls13);
        let (ours, _) = proved("ec", 1, &client);
        let (theirs, proof) = proved("ed25519-server", 1, &client);
        assert!(theirs.check(&proof).is_ok());
        assert!(matches!(ours.check(&proof), Err(NoProof::NotOurs(_))));
        // Even if the guard can be made to sign the same.
        let relayed = Handshake { chain: ours.chain.clone(), ..theirs };
        assert!(matches!(relayed.check(&proof), Err(NoProof::NotOurs(_))));
    }
}

#[test]
fn nothing_counts_before_the_guard_has_signed() {
    let (mut handshake, proof) = proved("ec", 1, &Client::named("anna", true));
    handshake.signed = None;
    assert_eq!(handshake.check(&proof), Err(NoProof::NotOurs("nothing was signed")));
}

/// The front puts another certificate where the client's was, and signs with a key of its own.
#[test]
fn another_certificate_in_the_transcript_does_not_count() {
    for is_tls13 in [false, true] {
        let (handshake, mut proof) = proved("ec", 1, &Client::named("bert", is_tls13));
        let (bert, anna) = (certificate("bert"), certificate("anna"));
        let at = memchr::memmem::rfind(&proof.transcript, &bert).unwrap();
        // Both in one message: only the lengths before it change.
        let difference = anna.len() as i64 - bert.len() as i64;
        let mut lengths = vec![at - 3, at - 6];
        lengths.push(if is_tls13 { at - 10 } else { at - 9 });
        for place in lengths {
            let old =
                proof.transcript[place..place + 3].iter().fold(0i64, |n, &octet| n << 8 | i64::from(octet));
            proof.transcript[place..place + 3]
                .copy_from_slice(&((old + difference) as u32).to_be_bytes()[1..]);
        }
        proof.transcript.splice(at..at + bert.len(), anna.iter().copied());
        assert_eq!(handshake.check(&proof), Err(NoProof::Signature));
        // With bert's own key over the changed transcript it is still not anna's.
        let key = PrivateKeyDer::from_pem_file(super::super::testing::path("bert-key.pem")).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        proof.signature = signer.sign(&proof.transcript).unwrap();
        assert_eq!(handshake.check(&proof), Err(NoProof::Signature));
    }
}

#[test]
fn chains_have_an_end() {
    for is_tls13 in [false, true] {
        let mut client = Client::named("anna", is_tls13);
        client.chain.resize(CHAIN_MAX, certificate("bert"));
        let (handshake, proof) = proved("ec", 1, &client);
        assert_eq!(handshake.check(&proof).map(|chain| chain.len()), Ok(CHAIN_MAX));
        client.chain.push(certificate("bert"));
        let (handshake, proof) = proved("ec", 1, &client);
        let too_many = NoProof::Unusable("more certificates than a chain has");
        assert_eq!(handshake.check(&proof), Err(too_many));
        // Longer than what is kept: the handshake fails.
        let one = certificate("rsa");
        client.chain = vec![one.clone(); TRANSCRIPT_MAX / (one.len() + 5)];
        let keeper = Arc::new(Keeper { identity: Some(identity("ec")), ..Keeper::default() });
        let ask_client = Some(AskClient::default());
        let offer = Offer { ask_client, ..identity("ec").offer(false) };
        let error = shake(offer, keeper.clone(), &client).err();
        assert_eq!(error, Some(rustls::Error::General("the client's certificates are too long".to_owned())));
        assert_eq!(*keeper.shown.lock().unwrap(), None);
    }
}

#[test]
fn schemes_belong_to_versions() {
    let pkcs1 = u16::from(SignatureScheme::RSA_PKCS1_SHA256);
    let (handshake, mut proof) = proved("ec", 1, &Client::named("rsa", true));
    proof.scheme = pkcs1;
    assert_eq!(handshake.check(&proof), Err(NoProof::Signature));
    for scheme in [0, 0x0201, 0x0203, u16::MAX] {
        proof.scheme = scheme;
        assert_eq!(handshake.check(&proof), Err(NoProof::Signature));
    }
}

/// Octets that change nothing else may not be changed, taken away or added either.
#[test]
fn every_octet_of_the_transcript_matters() {
    for is_tls13 in [false, true] {
        let (handshake, proof) = proved("ec", 1, &Client::named("anna", is_tls13));
        for place in (0..proof.transcript.len()).step_by(7) {
            let mut damaged = proof.clone();
            damaged.transcript[place] ^= 1;
            assert!(handshake.check(&damaged).is_err(), "octet {place}");
            damaged.transcript.truncate(place);
            assert!(handshake.check(&damaged).is_err(), "cut at {place}");
        }
        let mut longer = proof.clone();
        longer.transcript.extend_from_slice(&[FINISHED, 0, 0, 0]);
        assert_eq!(handshake.check(&longer), Err(NoProof::NotOurs("its messages or their order")));
        let mut doubled = proof.clone();
        doubled.transcript = [proof.transcript.as_slice(); 4].concat();
        assert!(handshake.check(&doubled).is_err());
    }
}

proptest! {
    #[test]
    fn no_transcript_panics(transcript: Vec<u8>, scheme: u16, signature: Vec<u8>, seed: u8) {
        let signed = Some(Signed { scheme, message: transcript.clone(), signature: signature.clone() });
        let handshake = Handshake { random: random(seed), chain: vec![vec![seed]], signed };
        let proof = ClientProof { transcript, scheme, signature };
        prop_assert!(handshake.check(&proof).is_err());
    }

    /// Messages of the right kinds with anything in them.
    #[test]
    fn no_messages_panic(bodies: [Vec<u8>; 10], retried: bool, is_tls13: bool) {
        let kinds: Vec<u8> = match (is_tls13, retried) {
            (false, _) => TLS12.to_vec(),
            (true, false) => TLS13.to_vec(),
            (true, true) => [&RETRIED[..], &TLS13].concat(),
        };
        let transcript = kinds.iter().zip(&bodies).flat_map(|(kind, body)| {
            [&[*kind, 0, (body.len() >> 8) as u8, body.len() as u8][..], body].concat()
        });
        let handshake = Handshake { signed: Some(Signed::default()), ..Handshake::default() };
        let proof = ClientProof { transcript: transcript.collect(), scheme: 0x0403, signature: Vec::new() };
        prop_assert!(handshake.check(&proof).is_err());
    }
}
