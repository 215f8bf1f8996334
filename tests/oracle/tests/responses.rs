//! imap-codec as an oracle: what imapd says in its transcripts is what the RFCs allow.
//!
//! `TINMAIL_IMAPD` names the program; without it one is built. What the codec does not know is passed over by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use imap_codec::decode::Decoder;
use imap_codec::{GreetingCodec, ResponseCodec};
use tinmail_tests::many;
use tinmail_tests::run::{Way, record};
use tinmail_tests::transcript::{State, Transcript};

/// Responses of extensions that the codec does not have.
const UNKNOWN: [&str; 2] = ["* ESEARCH ", "* BAD [ALERT]"];

/// The first thing that is no response, if there is one.
fn fault(octets: &[u8]) -> Option<String> {
    let (mut rest, _) = match GreetingCodec::default().decode(octets) {
        Ok(decoded) => decoded,
        Err(error) => return Some(format!("greeting: {error:?}")),
    };
    while !rest.is_empty() {
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(200)]).into_owned();
        let line = shown.lines().next().unwrap_or_default();
        // Nor does it know the extended data of LIST (RFC 5258) and this item of STATUS (RFC 7889).
        let item = line.starts_with("* STATUS ") && line.contains("APPENDLIMIT");
        let unknown = item || line.contains(" (\"CHILDINFO\" ");
        if unknown || UNKNOWN.iter().any(|known| line.starts_with(known)) {
            let end = rest.iter().position(|&c| c == b'\n')? + 1;
            rest = &rest[end..];
            continue;
        }
        match ResponseCodec::default().decode(rest) {
            Ok((next, _)) => rest = next,
            Err(_) => return Some(shown),
        }
    }
    None
}

#[test]
fn what_imapd_says_is_understood() {
    let said = many::each("imap", "", |path| {
        let transcript = Transcript::read(path).unwrap();
        // Behind STARTTLS it is no text, and a refused injection is a greeting that comes late.
        let way = if transcript.state == State::Transaction { Way::Login } else { Way::Direct };
        let (_, said) = record(&transcript, transcript.feeds[0], way).unwrap();
        let faults = said.iter().filter_map(|octets| fault(octets));
        (said.len(), faults.map(|fault| format!("{}: {fault}", transcript.name)).collect::<Vec<_>>())
    });
    let streams: usize = said.iter().map(|(streams, _)| streams).sum();
    let mut faults: Vec<String> = said.into_iter().flat_map(|(_, faults)| faults).collect();
    faults.sort();
    assert!(faults.is_empty(), "{} of {streams}\n{}", faults.len(), faults.join("\n"));
    assert!(streams > 30);
}
