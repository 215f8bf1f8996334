//! Properties that hold for whatever a client sends or a message contains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use common::io::dot::{DotStuffer, ROOM_MIN};
use common::process::channel::{Channel, Proof, REQUEST_MAX, Request, Why};
use common::secret::Secret;
use pop3d::command::{AUTH_LINE_MAX, Command, LINE_MAX, MessageNumber, SyntaxError};
use proptest::prelude::*;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tinmail_tests::{Place, Server, maildirs};

/// Lines that are nearly commands.
fn nearly_a_command() -> impl Strategy<Value = Vec<u8>> {
    let keyword = prop::sample::select(vec![
        "QUIT", "CAPA", "NOOP", "LANG", "STLS", "USER", "PASS", "APOP", "AUTH", "UTF8", "STAT", "LIST",
        "UIDL", "RETR", "TOP", "DELE", "RSET", "LAST", "XTND",
    ]);
    let argument = prop_oneof![
        any::<u32>().prop_map(|number| number.to_string()),
        any::<u128>().prop_map(|number| number.to_string()),
        "[ -~]{0,8}",
        "0{0,40}[0-9]{0,3}",
        Just(String::new()),
    ];
    let line = (keyword, prop::collection::vec(argument, 0..4), any::<u8>(), 0usize..300);
    line.prop_map(|(keyword, arguments, octet, at)| {
        let mut line = keyword.as_bytes().to_vec();
        for argument in arguments {
            line.push(b' ');
            line.extend_from_slice(argument.as_bytes());
        }
        if octet < 64 && at < line.len() {
            line[at] = octet;
        }
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_a_command_or_an_error(line in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn nearly_commands_are_a_command_or_an_error(line in nearly_a_command()) {
        if Command::parse(&line).is_ok() {
            prop_assert!(line.len() + 2 <= AUTH_LINE_MAX);
            prop_assert!(line.len() + 2 <= LINE_MAX || line[..4].eq_ignore_ascii_case(b"AUTH"));
            prop_assert!(!line.contains(&0), "no NUL gets through");
        }
    }

    #[test]
    fn the_case_of_keywords_does_not_matter(line in nearly_a_command()) {
        let mut other = line.clone();
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        other[..end].make_ascii_lowercase();
        prop_assert_eq!(Command::parse(&line), Command::parse(&other));
    }

    #[test]
    fn numbers_are_themselves_or_refused(number in any::<u128>(), zeros in 0usize..30) {
        let line = format!("RETR {}{number}", "0".repeat(zeros));
        let wanted = match u32::try_from(number) {
            Err(_) => Err(SyntaxError::NumberTooLarge),
            Ok(0) => Err(SyntaxError::NumberZero),
            Ok(number) => Ok(Command::Retr(MessageNumber::from_index(number - 1).unwrap())),
        };
        prop_assert_eq!(Command::parse(line.as_bytes()), wanted);
    }

    #[test]
    fn dot_stuffing_can_be_undone(
        text in prop::collection::vec(prop_oneof![
            4 => Just(b'.'), 4 => Just(b'\n'), 3 => Just(b'\r'), 3 => Just(b'a'), 1 => any::<u8>()
        ], 0..200),
        cuts in prop::collection::vec(0usize..200, 0..20),
        room in ROOM_MIN..40,
    ) {
        let whole = stuffed(&text, &[], 1000);
        prop_assert_eq!(&whole, &stuffed(&text, &cuts, room), "cut in pieces");
        prop_assert_eq!(unstuffed(&whole), normalised(&text));
        prop_assert!(!contains(&whole, b"\r\n.\r\n") && !whole.starts_with(b".\r\n"), "the end comes too early");
    }

    /// What TOP counts: a line is blank or not however the file is cut.
    #[test]
    fn lines_are_told_apart_however_they_are_cut(
        text in prop::collection::vec(prop::sample::select(b"\n\n\r.a".to_vec()), 0..60),
        cuts in prop::collection::vec(0usize..60, 0..20),
    ) {
        let lines = |cuts: &[usize]| {
            let mut cuts: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut stuffer, mut seen) = (DotStuffer::new(false), Vec::new());
            for pair in cuts.windows(2) {
                let piece = &text[pair[0]..pair[1]];
                stuffer.stuff(piece, &mut [0; 1000], &mut |blank| {
                    seen.push(blank);
                    true
                });
            }
            seen
        };
        prop_assert_eq!(lines(&[]), lines(&cuts));
    }

    #[test]
    fn no_message_of_a_front_harms_the_guard(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Request::decode(kind, &body);
    }

    #[test]
    fn lengths_inside_messages_are_not_believed(
        kind in 0u8..10,
        fields in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
    ) {
        let mut body = Vec::new();
        for (length, octets) in fields {
            let length = if length < 0x8000 { octets.len() as u16 } else { length };
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(&octets);
        }
        let _ = Request::decode(kind, &body);
    }
}

/// Through output buffers of `room` octets.
fn stuffed(text: &[u8], cuts: &[usize], room: usize) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < text.len()).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let mut stuffer = DotStuffer::new(false);
    let mut out = Vec::new();
    for pair in cuts.windows(2) {
        let mut rest = &text[pair[0]..pair[1]];
        while !rest.is_empty() {
            let mut output = vec![0; room];
            let progress = stuffer.stuff(rest, &mut output, &mut |_| true);
            assert!(progress.read > 0 && progress.written <= room && !progress.stopped, "{progress:?}");
            out.extend_from_slice(&output[..progress.written]);
            rest = &rest[progress.read..];
        }
    }
    out.extend_from_slice(stuffer.end_line());
    out
}

/// What a client does: a dot at the begin of a line goes.
fn unstuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, after) = rest.split_at(end);
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        rest = after;
    }
    out
}

/// Each LF with a CR before it, and a line end at the end.
fn normalised(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &octet in text {
        if octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(octet);
    }
    match out.last() {
        None | Some(b'\n') => {}
        Some(b'\r') => out.push(b'\n'),
        Some(_) => out.extend_from_slice(b"\r\n"),
    }
    out
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![
        ("[A-Z-]{0,20}", octets(50), octets(255), octets(1024)).prop_map(
            |(mechanism, authzid, user, password)| {
                Proof::Password { mechanism, authzid, user, password: Secret::new(password) }
            }
        ),
        (octets(255), octets(64)).prop_map(|(user, digest)| Proof::Apop { user, digest }),
        (octets(255), octets(64)).prop_map(|(user, digest)| Proof::CramMd5 { user, digest }),
    ]
}

fn why() -> impl Strategy<Value = Why> {
    prop::sample::select(Why::ALL.as_slice())
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (".{0,40}", ".{0,40}", any::<bool>()).prop_map(|(source, destination, tls)| Request::Proxied {
            source,
            destination,
            tls
        }),
        Just(Request::StartTls),
        (any::<u16>(), octets(300)).prop_map(|(scheme, message)| Request::Sign { scheme, message }),
        (any::<bool>(), octets(255)).prop_map(|(sha256, user)| Request::ScramStart { sha256, user }),
        (proof(), ".{0,40}").prop_map(|(proof, tls)| Request::Login { proof, tls }),
        (octets(8192), octets(2)).prop_map(|(unread, state)| Request::Handover { unread, state }),
        (why(), ".{0,80}", ".{0,40}", ".{0,40}").prop_map(|(why, detail, tls, counts)| Request::Ended {
            why,
            detail,
            tls,
            counts
        }),
        ".{0,200}".prop_map(|what| Request::Panicked { what }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_arrive_as_they_were_sent(requests in prop::collection::vec(request(), 1..4)) {
        let (a, b) = UnixStream::pair().unwrap();
        let patience = Duration::from_secs(5);
        let (front, guard) = (Channel::new(a.into(), patience), Channel::new(b.into(), patience));
        for request in requests {
            front.tell(&request).unwrap();
            prop_assert_eq!(guard.next_request(REQUEST_MAX, patience).unwrap(), Some(request));
        }
        drop(front);
        prop_assert_eq!(guard.next_request(REQUEST_MAX, patience).unwrap(), None);
    }
}

/// Whatever a message says about its length: refused before memory is taken for it.
#[test]
fn a_request_longer_than_allowed_is_refused() {
    use std::io::Write;
    for length in [16 * 1024 + 1, 1 << 24, u32::MAX] {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&[&[6], &length.to_be_bytes()[..]].concat()).unwrap();
        let guard = Channel::new(b.into(), Duration::from_secs(1));
        let error = guard.next_request(REQUEST_MAX, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
}

/// A small generator, so that a seed in a failure is enough to see it again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// The session of a client that says everything there is, cut at random, before and behind the login.
#[test]
fn replies_do_not_depend_on_how_input_is_cut() {
    let session = b"CAPA\r\nUSER alice\r\nPASS wrong\r\nSTAT\r\nUSER alice\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\n\
        TOP 2 1\r\nDELE 1\r\nRETR 1\r\nXYZZY\r\n\r\nRETR 99999999999\r\nNO\0OP\r\nRSET\r\nDELE 2\r\nLIST\r\nCAPA\r\nLANG\r\nQUIT\r\n";
    let run = |seed: u64| {
        let place = Place::new();
        maildirs::fill(&place, "two-messages");
        let mut client = Server::login(&place).start();
        let mut random = Random(seed);
        let mut rest = &session[..];
        while !rest.is_empty() {
            let most = if seed == 1 { rest.len() } else { [1, 3, 20, 200][random.below(4)].min(rest.len()) };
            let cut = if seed == 1 { rest.len() } else { 1 + random.below(most) };
            client.send(&rest[..cut]);
            rest = &rest[cut..];
            if random.below(4) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
            }
        }
        let text = client.rest();
        assert!(client.finish().success());
        (text, place.listing())
    };
    let (text, listing) = run(1);
    assert!(text.ends_with(b"+OK Goodbye, marked messages deleted.\r\n"), "{}", text.escape_ascii());
    for seed in 2..60 {
        assert!(run(seed) == (text.clone(), listing.clone()), "seed {seed}");
    }
}

/// Noise in every state: the server ends of its own accord or with the client, keeps to one reply per line as far as can be
/// seen, and the messages are all there.
#[test]
fn noise_harms_nothing() {
    let words: &[&[u8]] = &[
        b"USER ",
        b"PASS ",
        b"AUTH PLAIN ",
        b"AUTH LOGIN",
        b"AUTH SCRAM-SHA-256 ",
        b"APOP ",
        b"STLS",
        b"CAPA",
        b"QUIT ",
        b"STAT",
        b"RETR ",
        b"TOP ",
        b"DELE ",
        b"LIST ",
        b"UIDL ",
        b"RSET",
        b"LANG ",
        b"alice",
        b"secret",
        b"1",
        b"2",
        b" ",
        b"=",
        b"*",
        b"\0",
        b"\r",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\xff\xfe",
        b"AGFsaWNlAHNlY3JldA==",
        b"4294967296",
        b"%s%n",
        b"../../etc/passwd",
    ];
    for seed in 1..150 {
        let place = Place::new();
        maildirs::fill(&place, "two-messages");
        let mut random = Random(seed * 7919);
        let server = if seed % 2 == 0 { Server::preauth(&place) } else { Server::login(&place) };
        let server = server
            .set("auth_mechanisms=plain login cram-md5 scram-sha-256 apop")
            .set("max_bad_commands=1000");
        let mut client = server.set("auth_max_attempts=1000").start();
        let mut sent = Vec::new();
        for _ in 0..random.below(300) {
            match random.below(12) {
                0 => sent.extend((0..random.below(40)).map(|_| random.below(256) as u8)),
                _ => sent.extend_from_slice(words[random.below(words.len())]),
            }
        }
        // "QUIT" alone on its line would delete what was marked; here it never is.
        client.send(&sent);
        client.end();
        let text = client.rest();
        let status = client.finish();
        let log = place.log();
        assert!(status.success(), "seed {seed}: {status}\n{}\n{log}", sent.escape_ascii());
        assert!(!log.contains("panic") && !log.contains("secret"), "seed {seed}: {log}");
        assert!(text.is_empty() || text.ends_with(b"\r\n"), "seed {seed}: {}", text.escape_ascii());
        let quit =
            sent.split(|&octet| octet == b'\n').any(|line| line.trim_ascii().eq_ignore_ascii_case(b"QUIT"));
        assert!(place.listing().len() == 2 || quit, "seed {seed}: {:?}", place.listing());
    }
}
