//! ENVELOPE, BODYSTRUCTURE and BODY as imap-codec decodes them: of the corpus in `imapd/tests/mime`, and of whatever else.
#![allow(clippy::unwrap_used, clippy::panic)]

use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imapd::digest::Digest;
use imapd::fetch::{digester::Digester, structure};
use proptest::prelude::*;
use std::path::PathBuf;

fn corpus() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../imapd/tests/mime");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect()
}

/// What imap-codec makes of a FETCH response with all of it.
fn decodes(digest: &Digest<'_>) -> Result<(), String> {
    let mut response = b"* 1 FETCH (ENVELOPE ".to_vec();
    response.extend_from_slice(digest.envelope());
    response.extend_from_slice(b" BODYSTRUCTURE ");
    response.extend_from_slice(digest.structure());
    response.extend_from_slice(b" BODY ");
    structure::print_body(digest.structure(), &mut response);
    response.extend_from_slice(b")\r\n");
    match ResponseCodec::default().decode(&response) {
        Ok((rest, _)) if rest.is_empty() => Ok(()),
        other => Err(format!("{other:?}: {}", response.escape_ascii())),
    }
}

#[test]
fn a_client_decodes_it() {
    let mut digester = Digester::default();
    let mut buffer = vec![0; 64 << 10];
    let mut wrong = Vec::new();
    for path in corpus() {
        let message = std::fs::read(&path).unwrap();
        let blob = digester.digest(&mut &message[..], &mut buffer, 0).unwrap();
        if let Err(why) = decodes(&Digest::decode(blob).unwrap()) {
            wrong.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn a_client_decodes_whatever_the_message(lines in proptest::collection::vec(line(), 0..30)) {
        let message = lines.concat();
        let mut digester = Digester::default();
        let blob = digester.digest(&mut &message[..], &mut vec![0; 4096], 0).unwrap();
        let digest = Digest::decode(blob).unwrap();
        if let Err(why) = decodes(&digest) {
            prop_assert!(false, "{}\n{}", why, message.escape_ascii());
        }
        prop_assert_eq!(digest.envelope_parts().count(), 10);
    }
}

/// Lines that make messages what they should not be.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "From",
        "Sender",
        "To",
        "Cc",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "Content-Type",
        "Content-Disposition",
        "Content-Language",
        "Content-ID",
        "Content-Transfer-Encoding",
        "Content-Location",
    ]);
    let value = "[a-z@<>,;:.\"()\\\\/=* \\x00\\r\u{e9}'%\\[\\]{}-]{0,24}";
    prop_oneof![
        (names, value).prop_map(|(name, value)| format!("{name}: {value}\n").into_bytes()),
        prop::sample::select(vec![
            &b"Content-Type: multipart/mixed; boundary=b\n"[..],
            b"Content-Type: multipart/digest; boundary=bb\n",
            b"Content-Type: message/rfc822\n",
            b"Content-Disposition: attachment; filename*0*=utf-8''%41; filename*1=\"x\\\"\"\n",
            b"\n",
            b"\n",
            b"\n",
            b"--b\n",
            b"--bb\n",
            b"--b--\n",
            b"--bb--\n",
            b"text\n",
            b" folded \xff\n",
        ])
        .prop_map(<[u8]>::to_vec),
    ]
}
