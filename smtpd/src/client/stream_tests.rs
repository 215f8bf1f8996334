use super::super::testing::nothing_more;
use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;

const TIME: Duration = Duration::from_secs(60);

/// All replies, and what came behind them, when the octets come in such pieces and then the connection ends.
fn replies(octets: &[u8], piece: usize) -> (Vec<Reply>, String) {
    let (ours, theirs) = fd::socketpair().unwrap();
    let mut stream = Stream::new(ours).unwrap();
    let octets = octets.to_vec();
    let server = std::thread::spawn(move || {
        let mut server = File::from(theirs);
        for octets in octets.chunks(piece) {
            if server.write_all(octets).is_err() {
                break;
            }
            std::thread::yield_now();
        }
        nothing_more(&server);
    });
    let mut all = Vec::new();
    let trouble = loop {
        match stream.reply(TIME) {
            Ok(reply) => all.push(reply),
            Err(trouble) => break trouble.to_string(),
        }
    };
    drop(stream);
    server.join().unwrap();
    (all, trouble)
}

/// The same with all octets at once in the hand.
fn wanted(octets: &[u8]) -> (Vec<Reply>, String) {
    let (mut all, mut partial) = (Vec::new(), Partial::default());
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let (line, has_end) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        if line.len() >= LINE_MAX {
            return (all, TOO_LONG.to_string());
        }
        if !has_end {
            break;
        }
        match partial.line(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(Some(reply)) => {
                all.push(reply);
                partial = Partial::default();
            }
            Ok(None) => {}
            Err(Malformed(what)) => return (all, Trouble::Malformed(what).to_string()),
        }
    }
    (all, Trouble::Lost.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn lines_are_the_same_however_they_come(
        lines in proptest::collection::vec((
            prop::sample::select(vec!["250 ", "250-", "250", "354 ", "2", "\r", "", "\u{e4}\0"]),
            prop::sample::select(vec![0usize, 1, 80, 2042, 2043, 2044, 2045, 2046, 5000]),
            prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r\r\n", "\r"]),
        ), 0..12),
        piece in prop::sample::select(vec![1usize, 7, 100, 2047, 2048, 2049, 100_000]),
    ) {
        let line = |(start, n, end): &(&str, usize, &str)| format!("{start}{}{end}", "x".repeat(*n)).into_bytes();
        let octets: Vec<u8> = lines.iter().flat_map(line).collect();
        prop_assert_eq!(replies(&octets, piece), wanted(&octets));
    }
}
