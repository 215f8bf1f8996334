//! imap-codec as an oracle: what imapd says in its transcripts is what the RFCs allow.
//!
//! `TINMAIL_IMAPD` names the program; without it one is built. What the codec does not know of extensions is read here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use imap_codec::decode::Decoder;
use imap_codec::imap_types::sequence::SequenceSet;
use imap_codec::{GreetingCodec, ResponseCodec};
use std::num::NonZeroU32;
use tinmail_tests::many;
use tinmail_tests::run::{Way, record};
use tinmail_tests::transcript::{State, Transcript};

/// RFC 4466 section 2.6.2, RFC 4731, RFC 7162 section 3.1.10: the tag, what kind of numbers, and each item once.
fn is_esearch(data: &str) -> bool {
    let behind_tag = data.strip_prefix(" (TAG \"").and_then(|rest| rest.split_once("\")"));
    let Some((tag, data)) = behind_tag else { return false };
    let data = data.strip_prefix(" UID").unwrap_or(data);
    let mut items = data.split(' ');
    let mut known = vec!["MIN", "MAX", "ALL", "COUNT", "MODSEQ"];
    if tag.is_empty() || items.next() != Some("") {
        return false;
    }
    while let Some(name) = items.next() {
        let value = items.next().unwrap_or_default();
        let fits = match name {
            "MIN" | "MAX" => value.parse::<NonZeroU32>().is_ok(),
            "ALL" => SequenceSet::try_from(value).is_ok() && !value.contains('*'),
            "COUNT" => value.parse::<u32>().is_ok(),
            _ => value.parse::<u64>().is_ok_and(|number| number < 1 << 63),
        };
        let Some(at) = known.iter().position(|known| *known == name).filter(|_| fits) else { return false };
        known.remove(at);
    }
    true
}

/// A line as the codec knows it: without the extended data of LIST (RFC 5258), and with another item of STATUS for that of RFC 7889.
fn plain(line: &str) -> String {
    let childinfo = " (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n";
    match line.strip_suffix(childinfo) {
        Some(before) if line.starts_with("* LIST ") => format!("{before}\r\n"),
        _ if line.starts_with("* STATUS ") => line.replacen("APPENDLIMIT ", "MESSAGES ", 1),
        _ => line.to_owned(),
    }
}

/// Takes one response off; `None`: there is none.
fn one_response(octets: &[u8]) -> Option<&[u8]> {
    let end = octets.iter().position(|&c| c == b'\n')? + 1;
    let line = String::from_utf8_lossy(&octets[..end]).into_owned();
    if let Some(data) = line.strip_prefix("* ESEARCH") {
        return is_esearch(data.strip_suffix("\r\n")?).then_some(&octets[end..]);
    }
    let as_known = plain(&line);
    if as_known != line {
        let (rest, _) = ResponseCodec::default().decode(as_known.as_bytes()).ok()?;
        return rest.is_empty().then_some(&octets[end..]);
    }
    ResponseCodec::default().decode(octets).ok().map(|(rest, _)| rest)
}

/// The first thing that is no response, if there is one.
fn fault(octets: &[u8]) -> Option<String> {
    let (mut rest, _) = match GreetingCodec::default().decode(octets) {
        Ok(decoded) => decoded,
        Err(error) => return Some(format!("greeting: {error:?}")),
    };
    while !rest.is_empty() {
        match one_response(rest) {
            Some(next) => rest = next,
            None => return Some(String::from_utf8_lossy(&rest[..rest.len().min(200)]).into_owned()),
        }
    }
    None
}

#[test]
fn extensions_are_read() {
    let reads = |line: &str| one_response(format!("{line}\r\n").as_bytes()) == Some(b"");
    for line in [
        "* ESEARCH (TAG \"a\")",
        "* ESEARCH (TAG \"a\") UID MIN 1 MAX 3 ALL 1:2,3 COUNT 0 MODSEQ 5",
        "* LIST () \"/\" x (\"CHILDINFO\" (\"SUBSCRIBED\"))",
        "* STATUS x (UIDNEXT 1 APPENDLIMIT 5)",
    ] {
        assert!(reads(line), "{line}");
    }
    for line in [
        "* ESEARCH",
        "* ESEARCH (TAG \"a\")MIN 1",
        "* ESEARCH (TAG \"a\") MIN 0",
        "* ESEARCH (TAG \"a\") MIN",
        "* ESEARCH (TAG \"a\") COUNT 1 COUNT 1",
        "* ESEARCH (TAG \"a\") ALL 1:*",
        "* ESEARCH (TAG \"a\") COUNT 1 ",
        "* LIST () x (\"CHILDINFO\" (\"SUBSCRIBED\"))",
        "* LIST () \"/\" x (\"CHILDINFO\" ())",
        "* STATUS x (UIDNEXT APPENDLIMIT 5)",
    ] {
        assert!(!reads(line), "{line}");
    }
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
