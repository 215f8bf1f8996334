use super::testing::Fake;
use super::*;
use crate::grammar::{Date, SequenceRange, SequenceSet, bits};
use proptest::prelude::*;

const PLAIN: &str = "From: Terry Gray <gray@cac.washington.edu>
To: Friends: \"John Klensin\" <klensin@mit.edu>, imap@cac.washington.edu;
Cc: minutes@CNRI.Reston.VA.US
Bcc: hidden@example.org
Subject: IMAP4rev2 WG mtg
\tsummary and minutes
Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
Message-Id: <B27397-0100000@cac.washington.edu>
X-Empty:

Hello Joe, do you think we can meet at 3:30 tomorrow?
";

const MIXED: &str = "From: =?iso-8859-1?q?J=F8rn?= <j@x.org>
Subject: =?utf-8?b?w4RwZmVs?= und Birnen
Content-Type: multipart/mixed; boundary=\"=_b\"

not to be found: preamble
--=_b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Stra=DFe und Caf=E9, a soft=
 line end
--=_b
Content-Type: application/octet-stream; name=attached.bin
Content-Disposition: attachment; filename*=utf-8''%C3%A4pfel.bin

not to be found: octets
--=_b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGI+R3LDvMOfZTwvYj4gYmFz
ZTY0IHdvcmRz
--=_b
Content-Type: message/rfc822

Subject: inner subject
Content-Type: text/plain

inner body
--=_b--
not to be found: epilogue
";

fn uids(ranges: &[(u32, u32)]) -> SequenceSet {
    SequenceSet::new(ranges.iter().map(|&(first, last)| SequenceRange { first, last }).collect())
}

fn find(fake: &mut Fake, key: SearchKey) -> Vec<u32> {
    let program = compile(&key, Some(b"UTF-8"), fake).unwrap();
    engine::search(fake, &program, Extent::All).unwrap().iter().collect()
}

fn mailbox() -> Fake {
    let mut fake = Fake::new(&[PLAIN, MIXED]);
    fake.keywords = vec!["$Forwarded".into(), "".into(), "work".into()];
    fake.mails[0].0.flags.bits = bits::SEEN | bits::DRAFT;
    fake.mails[0].0.flags.keywords = 0b100;
    fake.mails[1].0.recent = true;
    fake
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn every_key() {
    use SearchKey::*;
    let date = |day| Date { year: 1970, month: 1, day };
    let sent = |day| Date { year: 1996, month: 7, day };
    let header = |name: &str, value: &str| Header { name: text(name), text: text(value) };
    let size = mailbox().mails[0].1.len() as u64;
    let table: Vec<(SearchKey, &[u32])> = vec![
        (All, &[1, 2]),
        (Flag { bit: bits::SEEN, set: true }, &[1]),
        (Flag { bit: bits::SEEN, set: false }, &[2]),
        (Flag { bit: bits::RECENT, set: true }, &[2]),
        (Flag { bit: bits::RECENT, set: false }, &[1]),
        (Keyword { name: "WORK".into(), set: true }, &[1]),
        (Keyword { name: "work".into(), set: false }, &[2]),
        (Keyword { name: "none".into(), set: true }, &[]),
        (Keyword { name: "none".into(), set: false }, &[1, 2]),
        (Messages(uids(&[(2, 9)])), &[2]),
        (Messages(uids(&[(0, 0)])), &[2]),
        (Messages(uids(&[(7, 8)])), &[]),
        (Uids(uids(&[(10, 10)])), &[1]),
        (Uids(uids(&[(11, 0)])), &[2]),
        (Uids(uids(&[(99, 0)])), &[2]),
        (Larger(size), &[2]),
        (Larger(size - 1), &[1, 2]),
        (Larger(u64::MAX), &[]),
        (Smaller(size), &[]),
        (Smaller(size + 1), &[1]),
        (Smaller(0), &[]),
        (Before(date(2)), &[]),
        (Before(date(3)), &[1]),
        (On(date(2)), &[1]),
        (Since(date(2)), &[1, 2]),
        (Since(date(3)), &[2]),
        (SentOn(sent(17)), &[1]),
        (SentBefore(sent(17)), &[]),
        (SentSince(sent(17)), &[1]),
        (SentSince(sent(18)), &[]),
        (Older(1), &[1, 2]),
        (Younger(3600), &[]),
        (ModSeq(200), &[2]),
        (From(text("terry gray <GRAY@cac")), &[1]),
        (From(text("J\u{f8}rn")), &[2]),
        (From(text("j\u{d8}RN <j@x.org>")), &[2]),
        (From(text("")), &[1, 2]),
        (To(text("friends: john klensin <klensin@mit.edu>, <imap@cac")), &[1]),
        (To(text("")), &[1]),
        (Cc(text("cnri.reston")), &[1]),
        (Bcc(text("hidden")), &[1]),
        (Subject(text("mtg SUMMARY")), &[1]),
        (Subject(text("\u{e4}PFEL und")), &[2]),
        (Subject(text("apfel")), &[]),
        (Subject(text("a\u{308}pfel")), &[2]),
        (Subject(text("")), &[1, 2]),
        (header("message-ID", "b27397-0100000@cac"), &[1]),
        (header("Message-Id", ""), &[1]),
        (header("X-Empty", ""), &[1]),
        (header("X-Empty", "x"), &[]),
        (header("X-None", ""), &[]),
        (header("Subject", "birnen"), &[2]),
        (Text(text("mtg summary")), &[1]),
        (header("From", "=?iso"), &[]),
        (header("Content-Type", "text/plain"), &[]),
        (header("CONTENT-TYPE", "multipart/mixed"), &[2]),
        (Body(text("3:30 TOMORROW")), &[1]),
        (Body(text("terry")), &[]),
        (Body(text("stra\u{df}e und caf\u{e9}, a soft line")), &[2]),
        (Body(text("caf")), &[2]),
        (Body(text("gr\u{fc}\u{df}e</b> base64 WORDS")), &[2]),
        (Body(text("not to be found")), &[]),
        (Body(text("inner body")), &[2]),
        (Body(text("inner subject")), &[]),
        (Body(text("")), &[1, 2]),
        (Body(text("tomorrow?\r\n")), &[1]),
        (Text(text("Subject: IMAP4rev2")), &[1]),
        (Text(text("inner subject")), &[2]),
        (Text(text("attached.bin")), &[2]),
        (Text(text("\u{c4}pfel.bin")), &[2]),
        (Text(text("not to be found")), &[]),
        (Text(text("tomorrow")), &[1]),
        (And(vec![Text(text("inner")), Body(text("words"))]), &[2]),
        (And(vec![Text(text("inner")), Body(text("tomorrow"))]), &[]),
        (Or(Box::new((Text(text("inner")), Body(text("tomorrow"))))), &[1, 2]),
        (Not(Box::new(Text(text("inner")))), &[1]),
        (Not(Box::new(And(vec![All, Not(Box::new(Flag { bit: bits::DRAFT, set: true }))]))), &[1]),
        (Or(Box::new((header("X-Empty", ""), Body(text("inner"))))), &[1, 2]),
    ];
    for (key, want) in table {
        assert_eq!(find(&mut mailbox(), key.clone()), want, "{key:?}");
        let mut fake = mailbox();
        fake.is_new = true;
        assert_eq!(find(&mut fake, key.clone()), want, "without sizes and dates: {key:?}");
        fake.gone.extend([1, 2]);
        find(&mut fake, key);
    }
}

#[test]
fn what_is_cheap_is_asked_first() {
    use SearchKey::*;
    let seen = || Flag { bit: bits::SEEN, set: true };
    let mut fake = mailbox();
    assert_eq!(find(&mut fake, And(vec![Text(text("hello")), Subject(text("mtg")), seen()])), [1]);
    assert_eq!((&fake.digested[..], &fake.opened[..]), (&[1][..], &[1][..]));
    let mut fake = mailbox();
    assert_eq!(find(&mut fake, And(vec![Body(text("x")), Subject(text("none"))])), []);
    assert_eq!((fake.digested.len(), fake.opened.len()), (2, 0));
    let mut fake = mailbox();
    assert_eq!(find(&mut fake, Or(Box::new((Body(text("x")), All)))), [1, 2]);
    assert_eq!((fake.digested.len(), fake.opened.len()), (0, 0));
}

#[test]
fn what_has_vanished_is_not_found() {
    use SearchKey::*;
    for key in [Text(text("o")), Subject(text("i")), Larger(1), Since(Date { year: 1970, month: 1, day: 1 })]
    {
        let mut fake = mailbox();
        fake.is_new = true;
        fake.gone.insert(1);
        assert_eq!(find(&mut fake, key.clone()), [2], "{key:?}");
    }
}

fn answered(fake: &mut Fake, uid: bool, returns: Option<SearchReturn>, key: SearchKey) -> String {
    let arguments = SearchArguments { returns, charset: None, key };
    let mut out = Vec::new();
    answer(fake, b"a\"1", uid, &arguments, &mut |octets| {
        out.extend_from_slice(octets);
        Ok(())
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn answers() {
    use SearchKey::*;
    let returns = |min, max, all, count| Some(SearchReturn { min, max, all, count });
    let some = || Messages(uids(&[(2, 4), (6, 6), (8, 9)]));
    let table: Vec<(bool, Option<SearchReturn>, SearchKey, &str)> = vec![
        (false, None, some(), "* SEARCH 2 3 4 6 8 9"),
        (true, None, some(), "* SEARCH 20 30 40 60 80 90"),
        (false, None, Not(Box::new(All)), "* SEARCH"),
        (false, None, And(vec![some(), ModSeq(1)]), "* SEARCH 2 3 4 6 8 9 (MODSEQ 900)"),
        (false, None, ModSeq(5000), "* SEARCH"),
        (false, returns(true, false, false, false), some(), "* ESEARCH (TAG \"a\\\"1\") MIN 2"),
        (true, returns(false, true, false, false), some(), "* ESEARCH (TAG \"a\\\"1\") UID MAX 90"),
        (false, returns(false, false, true, false), some(), "* ESEARCH (TAG \"a\\\"1\") ALL 2:4,6,8:9"),
        (
            true,
            returns(false, false, true, false),
            some(),
            "* ESEARCH (TAG \"a\\\"1\") UID ALL 20,30,40,60,80,90",
        ),
        (
            false,
            returns(true, true, true, true),
            some(),
            "* ESEARCH (TAG \"a\\\"1\") MIN 2 MAX 9 ALL 2:4,6,8:9 COUNT 6",
        ),
        (false, returns(true, true, true, true), Not(Box::new(All)), "* ESEARCH (TAG \"a\\\"1\") COUNT 0"),
        (
            false,
            returns(true, false, false, false),
            And(vec![some(), ModSeq(1)]),
            "* ESEARCH (TAG \"a\\\"1\") MIN 2 MODSEQ 200",
        ),
        (
            false,
            returns(true, true, false, false),
            And(vec![some(), ModSeq(1)]),
            "* ESEARCH (TAG \"a\\\"1\") MIN 2 MAX 9 MODSEQ 900",
        ),
    ];
    for (uid, returns, key, want) in table {
        let mut fake = Fake::new(&[PLAIN; 10]);
        assert_eq!(answered(&mut fake, uid, returns, key.clone()), format!("{want}\r\n"), "{key:?}");
    }
    let mut fake = Fake::new(&[PLAIN; 3]);
    for (at, mail) in fake.mails.iter_mut().enumerate() {
        mail.0.uid = [4, 5, 7][at];
    }
    let all = returns(false, false, true, false);
    assert_eq!(answered(&mut fake, true, all, All), "* ESEARCH (TAG \"a\\\"1\") UID ALL 4:5,7\r\n");
    assert_eq!(answered(&mut Fake::default(), true, all, All), "* ESEARCH (TAG \"a\\\"1\") UID\r\n");
}

#[test]
fn only_the_first_or_the_last() {
    let mut fake = Fake::new(&[PLAIN; 10]);
    let returns = SearchReturn { min: true, ..SearchReturn::default() };
    let got = answered(&mut fake, false, Some(returns), SearchKey::Body(text("hello")));
    assert_eq!((got.as_str(), &fake.opened[..]), ("* ESEARCH (TAG \"a\\\"1\") MIN 1\r\n", &[1][..]));
    let mut fake = Fake::new(&[PLAIN; 10]);
    let returns = SearchReturn { max: true, ..SearchReturn::default() };
    let got = answered(&mut fake, false, Some(returns), SearchKey::Body(text("hello")));
    assert_eq!((got.as_str(), &fake.opened[..]), ("* ESEARCH (TAG \"a\\\"1\") MAX 10\r\n", &[10][..]));
}

#[test]
fn charsets() {
    let find = |charset: &[u8], text: &[u8]| {
        let mut fake = mailbox();
        let program = compile(&SearchKey::Body(text.to_vec()), Some(charset), &fake)?;
        Ok::<_, Failure>(engine::search(&mut fake, &program, Extent::All).unwrap().iter().collect::<Vec<_>>())
    };
    assert_eq!(find(b"ISO-8859-1", b"CAF\xc9").unwrap(), [2]);
    assert_eq!(find(b"utf-16le", b"c\0a\0f\0\xe9\0").unwrap(), [2]);
    match find(b"x-unknown", b"a") {
        Err(Failure::Refused(reply)) => assert!(reply.code.starts_with("BADCHARSET (UTF-8 ")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(find(b"utf-8", b"\xe9"), Err(Failure::Refused(_))));
}

#[test]
fn what_fetch_shows_is_found() {
    let messages = [
        "Content-Type: multipart/mixed; boundary=x\n\n--x foo\n\nneedle\n--x--\n",
        "Content-Type: multipart/mixed; boundary=x\n\n--xy\n\nneedle\n--x--\n",
        "Content-Transfer-Encoding: quoted-printable\n\nneed=  \nle\n",
        "Content-Transfer-Encoding: quoted-printable\n\nneed=\t\nle\n",
        "Content-Type: (c) text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nneed=6Ce\n",
        "Content-Type: text (c) / plain\n\nneedle\n",
        "Content-Type: multipart/mixed; (c) boundary=x\n\n--x\nContent-Type: text/plain\n\nneedle\n--x--\n",
        "Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\n\n--ab\n\nneedle\n--ab--\n",
        "Content-Transfer-Encoding: (c) base64\n\nbmVlZGxl\n",
        "Content-Type: text/plain\nContent-Type: image/png\n\nneedle\n",
    ];
    let mut fake = Fake::new(&messages);
    let all: Vec<u32> = (1..=messages.len() as u32).collect();
    assert_eq!(find(&mut fake, SearchKey::Body(text("needle"))), all);
    assert_eq!(find(&mut fake, SearchKey::Text(text("needle"))), all);
}

#[test]
fn nested_deep() {
    let mut key = SearchKey::Text(text("hello"));
    for _ in 0..100 {
        key = SearchKey::Not(Box::new(SearchKey::And(vec![SearchKey::Or(Box::new((
            key,
            SearchKey::ModSeq(u64::MAX),
        )))])));
    }
    assert_eq!(find(&mut mailbox(), key), [1]);
}

/// A search key made of a few words, and whether a message of some of them matches, by asking everything.
#[derive(Debug, Clone)]
enum Simple {
    Word(usize),
    Subject(usize),
    Flag,
    Not(Box<Simple>),
    Or(Box<Simple>, Box<Simple>),
    And(Vec<Simple>),
}

const WORDS: [&str; 4] = ["alpha", "Beta", "caf\u{e9}", "d\u{fc}ne"];

impl Simple {
    fn key(&self) -> SearchKey {
        match self {
            Simple::Word(word) => SearchKey::Body(text(WORDS[*word])),
            Simple::Subject(word) => SearchKey::Subject(text(WORDS[*word])),
            Simple::Flag => SearchKey::Flag { bit: bits::SEEN, set: true },
            Simple::Not(key) => SearchKey::Not(Box::new(key.key())),
            Simple::Or(a, b) => SearchKey::Or(Box::new((a.key(), b.key()))),
            Simple::And(keys) => SearchKey::And(keys.iter().map(Simple::key).collect()),
        }
    }

    fn matches(&self, body: &[usize], subject: usize, seen: bool) -> bool {
        match self {
            Simple::Word(word) => body.contains(word),
            Simple::Subject(word) => subject == *word,
            Simple::Flag => seen,
            Simple::Not(key) => !key.matches(body, subject, seen),
            Simple::Or(a, b) => a.matches(body, subject, seen) || b.matches(body, subject, seen),
            Simple::And(keys) => keys.iter().all(|key| key.matches(body, subject, seen)),
        }
    }
}

fn simple() -> impl Strategy<Value = Simple> {
    let leaf = prop_oneof![
        (0..WORDS.len()).prop_map(Simple::Word),
        (0..WORDS.len()).prop_map(Simple::Subject),
        Just(Simple::Flag),
    ];
    leaf.prop_recursive(6, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| Simple::Not(Box::new(key))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Simple::Or(Box::new(a), Box::new(b))),
            proptest::collection::vec(inner, 1..4).prop_map(Simple::And),
        ]
    })
}

/// A message with these words in its body, in one of several encodings.
fn message(body: &[usize], subject: usize, encoding: usize) -> Vec<u8> {
    use base64ct::Encoding;
    let words = body.iter().map(|&word| WORDS[word].to_uppercase()).collect::<Vec<_>>().join(" ");
    let body = match encoding {
        0 => format!("Content-Type: text/plain; charset=utf-8\n\n{words}\n"),
        1 => {
            let text = base64ct::Base64::encode_string(words.as_bytes());
            format!("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n{text}\n")
        }
        2 => {
            let text: String = words.bytes().map(|octet| format!("={octet:02X}=\n")).collect();
            format!(
                "Content-Type: text/html; charset=\"utf-8\"\nContent-Transfer-Encoding: quoted-printable\n\n{text}\n"
            )
        }
        _ => format!(
            "Content-Type: multipart/x; boundary=b\n\n--b\nContent-Type: text/plain\n\n{words}\n--b--\n"
        ),
    };
    format!("Subject: {}\n{body}", WORDS[subject]).into_bytes()
}

proptest! {
    #[test]
    fn as_the_naive_one(
        key in simple(),
        mails in proptest::collection::vec(
            (proptest::collection::vec(0..WORDS.len(), 0..4), 0..WORDS.len(), any::<bool>(), 0usize..4), 0..5)
    ) {
        let mut fake = Fake::default();
        for (body, subject, seen, encoding) in &mails {
            fake.push(&message(body, *subject, *encoding)).flags.bits = if *seen { bits::SEEN } else { 0 };
        }
        let want: Vec<u32> = (1..).zip(&mails)
            .filter(|(_, (body, subject, seen, _))| key.matches(body, *subject, *seen))
            .map(|(msn, _)| msn).collect();
        prop_assert_eq!(find(&mut fake, key.key()), want);
    }
}

#[test]
fn nobody_waits_any_more() {
    let mails: Vec<String> = (0..20).map(|number| format!("Subject: {number}\n\ntext\n")).collect();
    for command in [
        "SEARCH BODY text",
        "SEARCH SUBJECT 1",
        "SORT (SUBJECT) UTF-8 ALL",
        "SORT (DATE) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
        "THREAD REFS UTF-8 ALL",
        "THREAD ORDEREDSUBJECT UTF-8 ALL",
    ] {
        let parsed = crate::grammar::Command::parse(format!("a {command}").as_bytes()).unwrap().1;
        let answer = |fake: &mut Fake| {
            let mut shown = Vec::new();
            let show: Show<'_> = &mut |octets| {
                shown.extend_from_slice(octets);
                Ok(())
            };
            let done = match &parsed {
                crate::grammar::Command::Search { arguments, .. } => {
                    crate::search::answer(fake, b"a", false, arguments, show).map(drop)
                }
                crate::grammar::Command::Sort { arguments, .. } => {
                    crate::sort::answer(fake, false, arguments, show).map(drop)
                }
                crate::grammar::Command::Thread { arguments, .. } => {
                    crate::thread::answer(fake, false, arguments, show).map(drop)
                }
                other => panic!("{other:?}"),
            };
            done.map(|()| shown)
        };
        let mut whole = Fake::new(&mails);
        assert!(answer(&mut whole).unwrap().ends_with(b"\r\n"), "{command}");
        assert!(whole.looked >= 20, "{command}: {}", whole.looked);
        // Whenever it goes, nothing is read behind that.
        for left_after in 1..=whole.looked {
            let mut fake = Fake { left_after, ..Fake::new(&mails) };
            let ending = answer(&mut fake);
            assert!(matches!(ending, Err(Failure::Ending(common::io::Ending::Disconnected))), "{command}");
            assert_eq!(fake.looked, left_after);
            assert!(fake.digested.len() + fake.opened.len() <= left_after as usize + 1, "{command}");
        }
    }
}
