use super::super::Command;
use super::super::testing::{command, reason, set};
use super::*;

fn key(text: &str) -> SearchKey {
    match command(&format!("SEARCH {text}")) {
        Command::Search { arguments, .. } => arguments.key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn search_keys() {
    use SearchKey::*;
    let date = Date { year: 1994, month: 2, day: 1 };
    let flag = |bit, set| Flag { bit, set };
    for (text, want) in [
        ("ALL", All),
        ("ANSWERED", flag(bits::ANSWERED, true)),
        ("UNANSWERED", flag(bits::ANSWERED, false)),
        ("DELETED", flag(bits::DELETED, true)),
        ("UNDELETED", flag(bits::DELETED, false)),
        ("DRAFT", flag(bits::DRAFT, true)),
        ("UNDRAFT", flag(bits::DRAFT, false)),
        ("FLAGGED", flag(bits::FLAGGED, true)),
        ("UNFLAGGED", flag(bits::FLAGGED, false)),
        ("SEEN", flag(bits::SEEN, true)),
        ("unseen", flag(bits::SEEN, false)),
        ("RECENT", flag(bits::RECENT, true)),
        ("OLD", flag(bits::RECENT, false)),
        ("NEW", And(vec![flag(bits::RECENT, true), flag(bits::SEEN, false)])),
        ("2,4:7", Messages(set(&[(2, 2), (4, 7)]))),
        ("*", Messages(set(&[(0, 0)]))),
        ("UID 1", Uids(set(&[(1, 1)]))),
        ("KEYWORD $x", Keyword { name: "$x".into(), set: true }),
        ("UNKEYWORD $x", Keyword { name: "$x".into(), set: false }),
        ("FROM \"a b\"", From(b"a b".to_vec())),
        ("TO x", To(b"x".to_vec())),
        ("CC x", Cc(b"x".to_vec())),
        ("BCC x", Bcc(b"x".to_vec())),
        ("SUBJECT x", Subject(b"x".to_vec())),
        ("BODY x", Body(b"x".to_vec())),
        ("TEXT x", Text(b"x".to_vec())),
        ("HEADER x {1}\r\ny", Header { name: b"x".to_vec(), text: b"y".to_vec() }),
        ("LARGER 5", Larger(5)),
        ("SMALLER 5", Smaller(5)),
        ("BEFORE 1-Feb-1994", Before(date)),
        ("ON 1-Feb-1994", On(date)),
        ("SINCE 1-Feb-1994", Since(date)),
        ("SENTBEFORE 1-Feb-1994", SentBefore(date)),
        ("SENTON \"1-Feb-1994\"", SentOn(date)),
        ("SENTSINCE 1-Feb-1994", SentSince(date)),
        ("OLDER 60", Older(60)),
        ("YOUNGER 60", Younger(60)),
        ("MODSEQ 620162338", ModSeq(620_162_338)),
        ("MODSEQ \"/flags/\\\\draft\" all 620162338", ModSeq(620_162_338)),
        ("NOT SEEN", Not(Box::new(flag(bits::SEEN, true)))),
        ("OR NOT ALL 1 ALL", And(vec![Or(Box::new((Not(Box::new(All)), Messages(set(&[(1, 1)]))))), All])),
        ("(ALL)", All),
        ("( ALL (1 2) ) NOT (OR ALL ALL)", {
            let inner = And(vec![Messages(set(&[(1, 1)])), Messages(set(&[(2, 2)]))]);
            And(vec![And(vec![All, inner]), Not(Box::new(Or(Box::new((All, All)))))])
        }),
    ] {
        assert_eq!(key(text), want, "{text}");
    }
    for wrong in [
        "",
        "X",
        "()",
        "(ALL",
        "ALL)",
        "NOT",
        "OR ALL",
        "OR ALL)",
        "(OR ALL)",
        "FROM",
        "1 X",
        "OLDER 0",
        "ON 1-Foo-1994",
        "MODSEQ \"x\" 1",
        "ALL(ALL)",
        "CHARSET UTF-8",
        "RETURN (X) ALL",
        "LARGER x",
        "UID ALL",
        "0",
        "1:",
    ] {
        reason(format!("a SEARCH {wrong}").as_bytes());
    }
}

#[test]
fn nested_and_numerous_keys_are_bounded() {
    for (open, close) in [("(", ")"), ("NOT ", ""), ("OR ALL ", ""), ("NOT (", ")")] {
        let levels = 100 / open.matches(['(', 'N', 'R']).count().max(1);
        let nested = |n: usize| format!("a SEARCH {}ALL{}", open.repeat(n), close.repeat(n));
        assert!(Command::parse(nested(levels).as_bytes()).is_ok(), "{open}");
        assert_eq!(reason(nested(levels + 1).as_bytes()), "Search keys are nested too deep.");
        assert_eq!(reason(nested(20_000).as_bytes()), "Search keys are nested too deep.");
    }
    assert!(Command::parse(format!("a SEARCH{}", " ALL".repeat(1000)).as_bytes()).is_ok());
    assert_eq!(reason(format!("a SEARCH{}", " ALL".repeat(1001)).as_bytes()), "Too many search keys.");
}

#[test]
fn searches_sorts_and_threads() {
    let Command::Search { uid, arguments } = command("UID SEARCH RETURN (MIN COUNT) CHARSET utf-8 SUBJECT x")
    else {
        panic!()
    };
    assert!(uid);
    assert_eq!(arguments.returns, Some(SearchReturn { min: true, count: true, ..SearchReturn::default() }));
    assert_eq!(arguments.charset.as_deref(), Some(&b"utf-8"[..]));
    let none = SearchReturn::default();
    for (text, want) in [
        ("", SearchReturn { all: true, ..none }),
        ("MIN", SearchReturn { min: true, ..none }),
        ("MAX", SearchReturn { max: true, ..none }),
        ("ALL", SearchReturn { all: true, ..none }),
        ("COUNT", SearchReturn { count: true, ..none }),
    ] {
        let Command::Search { arguments, .. } = command(&format!("SEARCH RETURN ({text}) ALL")) else {
            panic!()
        };
        assert_eq!(arguments.returns, Some(want), "{text}");
    }
    let Command::Sort { arguments, .. } = command("SORT (REVERSE DATE subject DATE DISPLAYFROM) UTF-8 ALL")
    else {
        panic!()
    };
    let criterion = |reverse, key| SortCriterion { reverse, key };
    assert_eq!(
        arguments.criteria,
        [
            criterion(true, SortKey::Date),
            criterion(false, SortKey::Subject),
            criterion(false, SortKey::DisplayFrom)
        ]
    );
    for (word, key) in [
        ("ARRIVAL", SortKey::Arrival),
        ("CC", SortKey::Cc),
        ("DATE", SortKey::Date),
        ("FROM", SortKey::From),
        ("SIZE", SortKey::Size),
        ("SUBJECT", SortKey::Subject),
        ("TO", SortKey::To),
        ("DISPLAYFROM", SortKey::DisplayFrom),
        ("DISPLAYTO", SortKey::DisplayTo),
    ] {
        let Command::Sort { uid, arguments } = command(&format!("UID SORT ({word}) x ALL")) else { panic!() };
        assert!(uid);
        assert_eq!((arguments.criteria, arguments.charset), (vec![criterion(false, key)], b"x".to_vec()));
    }
    for (word, algorithm) in [
        ("ORDEREDSUBJECT", ThreadAlgorithm::OrderedSubject),
        ("references", ThreadAlgorithm::References),
        ("REFS", ThreadAlgorithm::Refs),
    ] {
        let Command::Thread { arguments, .. } = command(&format!("THREAD {word} US-ASCII SEEN")) else {
            panic!()
        };
        assert_eq!((arguments.algorithm, arguments.charset), (algorithm, b"US-ASCII".to_vec()));
    }
    for wrong in ["SORT () UTF-8 ALL", "SORT (REVERSE) UTF-8 ALL", "SORT (DATE) UTF-8", "THREAD X UTF-8 ALL"]
    {
        reason(format!("a {wrong}").as_bytes());
    }
}

#[test]
fn texts_in_utf16_have_nuls() {
    let of = |text: &str| Command::parse(format!("a {text} BODY {{4}}\r\n\0x\0y").as_bytes()).unwrap().1;
    let want = SearchKey::Body(b"\0x\0y".to_vec());
    for (charset, verb) in [("UTF-16BE", "SEARCH"), ("utf-16", "UID SEARCH"), ("{8+}\r\nutf-16le", "SEARCH")]
    {
        let Command::Search { arguments, .. } = of(&format!("{verb} CHARSET {charset}")) else { panic!() };
        assert_eq!(arguments.key, want);
    }
    let Command::Sort { arguments, .. } = of("SORT (DATE) UTF-16BE") else { panic!() };
    assert_eq!(arguments.key, want);
    let Command::Thread { arguments, .. } = of("THREAD REFS UTF-16BE") else { panic!() };
    assert_eq!(arguments.key, want);
}
