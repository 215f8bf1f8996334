//! CRAM-MD5 (RFC 2195) and APOP (RFC 1939 7): digests over a challenge and a secret that both sides know.

use super::crypt::HashError;
use hmac::{Hmac, KeyInit, Mac};
use md5::block_api::compress;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Octets of a digest, and of an MD5 state.
const SIZE: usize = 16;

/// HMAC-MD5 of the challenge under the secret.
pub fn cram_md5(secret: &[u8], challenge: &[u8]) -> [u8; SIZE] {
    // HMAC takes keys of every length, so the error does not happen; then the digest is of nothing and matches
    // nothing.
    <Hmac<Md5> as KeyInit>::new_from_slice(secret)
        .map(|mac| mac.chain_update(challenge).finalize().into_bytes().into())
        .unwrap_or_default()
}

/// MD5 of the greeting's timestamp, angle brackets included, and the secret (RFC 1939 7).
pub fn apop(secret: &[u8], timestamp: &[u8]) -> [u8; SIZE] {
    Md5::new().chain_update(timestamp).chain_update(secret).finalize().into()
}

/// Whether the client's hexadecimal digits say this digest; either case is accepted.
pub fn digest_matches(digest: &[u8; SIZE], hex: &[u8]) -> bool {
    unhex(hex).is_some_and(|claimed| digest.as_slice().ct_eq(&claimed).into())
}

/// Decodes an even number of hexadecimal digits.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let mut octets = Vec::with_capacity(text.len() / 2);
    for pair in text.chunks(2) {
        let &[high, low] = pair else { return None };
        octets.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(octets)
}

/// Dovecot's `{CRAM-MD5}`: the two MD5 states after the padded key, so that the password itself is not in the file.
#[derive(Clone)]
pub struct CramState {
    outer: [u32; 4],
    inner: [u32; 4],
}

impl CramState {
    /// Reads the stored form, out of its digits: outer then inner state.
    pub fn from_octets(octets: &[u8]) -> Result<CramState, HashError> {
        let mut words =
            octets.chunks_exact(4).filter_map(|word| <[u8; 4]>::try_from(word).ok().map(u32::from_le_bytes));
        let mut four = || Some([words.next()?, words.next()?, words.next()?, words.next()?]);
        match (four(), four(), octets.len()) {
            (Some(outer), Some(inner), 32) => Ok(CramState { outer, inner }),
            _ => Err(HashError::Malformed("CRAM-MD5: not 32 octets")),
        }
    }

    /// Computes it from a password, as `doveadm pw -s CRAM-MD5` does.
    pub fn derive(password: &[u8]) -> CramState {
        let mut key = [0_u8; 64];
        if password.len() > key.len() {
            key.iter_mut().zip(Md5::digest(password)).for_each(|(to, from)| *to = from);
        } else {
            key.iter_mut().zip(password).for_each(|(to, &from)| *to = from);
        }
        let state = |pad: u8| {
            let mut state = START;
            compress(&mut state, &[key.map(|octet| octet ^ pad)]);
            state
        };
        let derived = CramState { outer: state(0x5c), inner: state(0x36) };
        key.zeroize();
        derived
    }

    /// HMAC-MD5 of the challenge.
    pub fn digest(&self, challenge: &[u8]) -> [u8; SIZE] {
        finish(self.outer, &finish(self.inner, challenge))
    }

    /// Whether the password is the one this was made of.
    pub fn verify_plain(&self, password: &[u8]) -> bool {
        let other = CramState::derive(password);
        (self.outer.ct_eq(&other.outer) & self.inner.ct_eq(&other.inner)).into()
    }
}

impl Drop for CramState {
    fn drop(&mut self) {
        self.outer.zeroize();
        self.inner.zeroize();
    }
}

/// MD5's initial state (RFC 1321 3.3).
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Hashes a message on top of one block that is already in the state (RFC 1321 3.1, 3.2).
fn finish(mut state: [u32; 4], message: &[u8]) -> [u8; SIZE] {
    let mut tail = message.to_vec();
    let bits = (message.len() as u64 + 64) * 8;
    tail.push(0x80);
    while tail.len() % 64 != 56 {
        tail.push(0);
    }
    tail.extend(bits.to_le_bytes());
    for block in tail.chunks_exact(64) {
        if let Ok(block) = block.try_into() {
            compress(&mut state, &[block]);
        }
    }
    let mut digest = [0; SIZE];
    digest.iter_mut().zip(state.iter().flat_map(|word| word.to_le_bytes())).for_each(|(to, from)| *to = from);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_2195() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let answer = b"b913a602c7eda7a495b4e6e7334d3890";
        let secret = b"tanstaaftanstaaf";
        assert!(digest_matches(&cram_md5(secret, challenge), answer));
        assert!(digest_matches(&CramState::derive(secret).digest(challenge), answer));
        assert!(digest_matches(&cram_md5(secret, challenge), &answer.to_ascii_uppercase()));
        assert!(!digest_matches(&cram_md5(b"tanstaaftanstaag", challenge), answer));
        assert!(!digest_matches(&cram_md5(secret, challenge), &answer[2..]));
        assert!(!digest_matches(&cram_md5(secret, challenge), b"b913a602c7eda7a495b4e6e7334d389"));
    }

    #[test]
    fn the_example_of_rfc_1939() {
        let digest = apop(b"tanstaaf", b"<1896.697170952@dbc.mtview.ca.us>");
        assert!(digest_matches(&digest, b"c4c9334bac560ecc979e58001b3e22fb"));
        assert!(!digest_matches(&digest, b""));
    }

    #[test]
    fn what_dovecot_stored() {
        let text = "4a60bd37924fc5d45b4c92ce695bac86cb234bc3028aab2a71a225cb0dedfbb9";
        let octets = unhex(text.as_bytes()).unwrap();
        let state = CramState::from_octets(&octets).unwrap();
        let password = "p\u{e4}ssw\u{f6}rd".as_bytes();
        assert!(state.verify_plain(password));
        assert!(!state.verify_plain(b"password"));
        for length in [0, 1, 54, 55, 56, 63, 64, 65, 200] {
            let challenge = vec![b'c'; length];
            assert_eq!(state.digest(&challenge), cram_md5(password, &challenge), "{length}");
        }
        assert_eq!(CramState::derive(&[b'x'; 70]).digest(b"y"), cram_md5(&[b'x'; 70], b"y"));
        assert!(CramState::from_octets(&octets[1..]).is_err());
        assert!(CramState::from_octets(b"").is_err());
        assert_eq!(unhex(text.replace('4', "g").as_bytes()), None);
    }

    proptest! {
        #[test]
        fn digits_read_back(octets: Vec<u8>, text in "[0-9a-fA-Fg]{0,9}") {
            let printed: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            prop_assert_eq!(unhex(printed.as_bytes()), Some(octets));
            let good = text.len() % 2 == 0 && !text.contains('g');
            prop_assert_eq!(unhex(text.as_bytes()).is_some(), good);
        }

        #[test]
        fn a_state_does_what_the_password_does(password: Vec<u8>, challenge: Vec<u8>, hex: Vec<u8>) {
            let state = CramState::derive(&password);
            prop_assert_eq!(state.digest(&challenge), cram_md5(&password, &challenge));
            prop_assert!(state.verify_plain(&password));
            prop_assert!(!digest_matches(&state.digest(&challenge), &hex));
        }
    }
}
