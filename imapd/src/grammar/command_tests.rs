use super::super::testing::{command, reason, set};
use super::super::{
    BodySection, FetchItem, ListReturn, ListSelection, Partial, Section, SectionText, StatusItem, StoreHow,
    bits,
};
use super::*;
use proptest::prelude::*;

fn flags(bits: u8, keywords: &[&str]) -> FlagList {
    FlagList { bits, keywords: keywords.iter().map(|&keyword| keyword.into()).collect() }
}

fn section(part: &[u32], text: SectionText) -> Section {
    Section { part: part.to_vec(), text }
}

fn items(text: &str) -> Vec<FetchItem> {
    match command(&format!("FETCH 1 {text}")) {
        Command::Fetch { arguments, .. } => arguments.items,
        other => panic!("{other:?}"),
    }
}

fn body(text: &str) -> BodySection {
    match items(text).pop() {
        Some(FetchItem::BodySection(section)) => section,
        other => panic!("{other:?}"),
    }
}

#[test]
fn words_alone() {
    for (text, want) in [
        ("CAPABILITY", Command::Capability),
        ("noop", Command::Noop),
        ("LOGOUT  ", Command::Logout),
        ("  StartTLS", Command::StartTls),
        ("NAMESPACE", Command::Namespace),
        ("IDLE", Command::Idle),
        ("CHECK", Command::Check),
        ("CLOSE", Command::Close),
        ("UNSELECT", Command::Unselect),
        ("EXPUNGE", Command::Expunge(None)),
        ("UID EXPUNGE 3:5", Command::Expunge(Some(set(&[(3, 5)])))),
    ] {
        assert_eq!(command(text), want);
    }
}

#[test]
fn before_the_login() {
    let login = |user: &str, password: &str| Command::Login {
        user: user.into(),
        password: Secret::new(password.into()),
    };
    assert_eq!(command("LOGIN ann secret"), login("ann", "secret"));
    assert_eq!(command("LOGIN \"a\\\"nn\" {6}\r\nse cr\""), login("a\"nn", "se cr\""));
    assert_eq!(command("LOGIN {3+}\r\nann pass%*\\word"), login("ann", "pass%*\\word"));
    let authenticate = |initial: Option<&str>| Command::Authenticate {
        mechanism: b"PLAIN".to_vec(),
        initial: initial.map(|initial| Secret::new(initial.into())),
    };
    assert_eq!(command("AUTHENTICATE PLAIN"), authenticate(None));
    assert_eq!(command("AUTHENTICATE PLAIN ="), authenticate(Some("=")));
    assert_eq!(command("AUTHENTICATE PLAIN AGE+/w=="), authenticate(Some("AGE+/w==")));
    assert_eq!(command("ID NIL"), Command::Id(vec![]));
    assert_eq!(command("ID ()"), Command::Id(vec![]));
    let fields = vec![(b"name".to_vec(), Some(b"x y".to_vec())), (b"os".to_vec(), None)];
    assert_eq!(command("ID (\"name\" \"x y\" \"os\" NIL)"), Command::Id(fields));
    let names = [b"CONDSTORE".as_slice(), b"X-A"].map(Box::from).to_vec();
    assert_eq!(command("ENABLE condstore X-a"), Command::Enable(names));
}

#[test]
fn mailboxes() {
    let inbox = || MailboxName::of("INBOX");
    let select = |read_only, condstore| Command::Select { mailbox: inbox(), read_only, condstore };
    assert_eq!(command("SELECT inbox"), select(false, false));
    assert_eq!(command("EXAMINE \"iNboX\" (CONDSTORE)"), select(true, true));
    let create =
        |uses: &[SpecialUse]| Command::Create { mailbox: MailboxName::of("x/y"), special_use: uses.to_vec() };
    assert_eq!(command("CREATE x/y"), create(&[]));
    assert_eq!(
        command("CREATE x/y (USE (\\Sent \\trash \\Sent))"),
        create(&[SpecialUse::Sent, SpecialUse::Trash])
    );
    assert_eq!(command("CREATE x/y (USE ())"), create(&[]));
    assert_eq!(Command::parse(b"a CREATE x (USE (\\Foo))").unwrap_err().error, SyntaxError::UnknownUse);
    assert_eq!(command("DELETE &AOQ-"), Command::Delete(MailboxName::of("&AOQ-")));
    assert_eq!(
        command("RENAME {5}\r\nInbox \"a b\""),
        Command::Rename { from: inbox(), to: MailboxName::of("a b") }
    );
    assert_eq!(command("SUBSCRIBE a"), Command::Subscribe(MailboxName::of("a")));
    assert_eq!(command("UNSUBSCRIBE a"), Command::Unsubscribe(MailboxName::of("a")));
    assert_eq!(command("LSUB \"\" %.*"), Command::Lsub { reference: vec![], pattern: b"%.*".to_vec() });
    let Command::Status { items, .. } = command("STATUS a (messages UIDNEXT SIZE)") else { panic!() };
    assert_eq!(
        items.iter().collect::<Vec<_>>(),
        [StatusItem::Messages, StatusItem::UidNext, StatusItem::Size]
    );
}

#[test]
fn lists() {
    let plain = ListArguments { patterns: vec![b"*".to_vec()], ..ListArguments::default() };
    assert_eq!(command("LIST \"\" *"), Command::List(plain.clone()));
    let mut status = StatusItems::default();
    status.insert(StatusItem::Unseen);
    let returns = ListReturn { children: true, status, special_use: true, subscribed: true };
    let selection = ListSelection { subscribed: true, recursive_match: true, ..ListSelection::default() };
    assert_eq!(
        command(
            "LIST (SUBSCRIBED RECURSIVEMATCH) ref (INBOX \"a*\") RETURN (CHILDREN STATUS (UNSEEN) SPECIAL-USE SUBSCRIBED)"
        ),
        Command::List(ListArguments {
            selection,
            reference: b"ref".to_vec(),
            patterns: vec![b"INBOX".to_vec(), b"a*".to_vec()],
            returns,
            extended: true
        })
    );
    assert_eq!(command("LIST () \"\" *"), Command::List(ListArguments { extended: true, ..plain.clone() }));
    assert_eq!(command("LIST \"\" * RETURN ()"), Command::List(ListArguments { extended: true, ..plain }));
    assert_eq!(reason(b"a LIST (RECURSIVEMATCH) x y"), "RECURSIVEMATCH needs another selection option.");
    assert_eq!(
        reason(b"a LIST (RECURSIVEMATCH REMOTE) x y"),
        "RECURSIVEMATCH needs another selection option."
    );
}

#[test]
fn appends() {
    let append = |flags, internal_date, octets, waits| Command::Append {
        mailbox: MailboxName::of("INBOX"),
        message: AppendMessage { flags, internal_date, octets, waits },
    };
    assert_eq!(command("APPEND INBOX {310}"), append(FlagList::default(), None, 310, true));
    assert_eq!(
        command("APPEND inbox (\\Seen \\Recent a A b) \" 1-Jan-1970 00:00:01 +0000\" {7+}"),
        append(flags(bits::SEEN, &["a", "b"]), Some(1), 7, false)
    );
    assert_eq!(
        command("APPEND {5}\r\ninbox () {99999999999999999999}"),
        append(FlagList::default(), None, u64::MAX, true)
    );
    assert_eq!(reason(b"a APPEND INBOX"), "An argument is missing.");
    assert_eq!(reason(b"a APPEND INBOX x"), "The message is no literal.");
    assert_eq!(reason(b"a APPEND INBOX ~{3}"), "The message is no literal.");
    assert_eq!(reason(b"a APPEND INBOX \"1-Jan-1970\" {3}"), "The date is none.");
    assert_eq!(reason(b"a APPEND INBOX (\\Foo) {3}"), "Unknown system flag.");
    assert_eq!(AppendMessage::behind(b" "), Ok(None));
    let next = AppendMessage { flags: flags(bits::DRAFT, &[]), internal_date: None, octets: 3, waits: true };
    assert_eq!(AppendMessage::behind(b" (\\Draft) {3}"), Ok(Some(next)));
    assert_eq!(AppendMessage::behind(b"{3}"), bad("A space is missing."));
}

#[test]
fn literals_at_the_end_of_a_line() {
    let literal = |octets, waits, begins| Some(LiteralHeader { octets, waits, begins });
    for (line, want) in [
        ("a {0}", literal(0, true, 2)),
        ("a {12+}", literal(12, false, 2)),
        ("~{5}", literal(5, true, 1)),
        ("{18446744073709551616}", literal(u64::MAX, true, 0)),
        ("{}", None),
        ("{+}", None),
        ("5}", None),
        ("{5-}", None),
        ("{5} ", None),
        ("}", None),
        ("", None),
    ] {
        assert_eq!(LiteralHeader::at_end(line.as_bytes()), want, "{line}");
    }
    for (text, want) in [
        ("a APPEND x {3}", true),
        ("a append {1}\r\nx () {3}", true),
        ("a APPEND {3}", false),
        ("a APPENDX x {3}", false),
        ("a LOGIN x {3}", false),
        ("a APPEND \"x {3}", false),
        ("", false),
    ] {
        assert_eq!(LiteralHeader::is_message(text.as_bytes()), want, "{text}");
    }
}

#[test]
fn fetches() {
    use FetchItem::{
        Body, BodyStructure, Envelope, Flags, InternalDate, ModSeq, Rfc822, Rfc822Header, Rfc822Text, Size,
        Uid,
    };
    assert_eq!(items("ALL"), [Flags, InternalDate, Size, Envelope]);
    assert_eq!(items("fast"), [Flags, InternalDate, Size]);
    assert_eq!(items("FULL"), [Flags, InternalDate, Size, Envelope, Body]);
    assert_eq!(
        items("( UID RFC822 RFC822.HEADER RFC822.TEXT BODYSTRUCTURE MODSEQ UID )"),
        [Uid, Rfc822, Rfc822Header, Rfc822Text, BodyStructure, ModSeq]
    );
    let whole = |peek| BodySection { peek, section: section(&[], SectionText::Whole), partial: None };
    assert_eq!(body("BODY[]"), whole(false));
    assert_eq!(body("BODY.PEEK[]"), whole(true));
    assert_eq!(body("RFC822.PEEK"), whole(true));
    assert_eq!(body("RFC822.TEXT.PEEK").section, section(&[], SectionText::Text));
    for (word, item) in [
        ("ENVELOPE", Envelope),
        ("FLAGS", Flags),
        ("INTERNALDATE", InternalDate),
        ("RFC822.SIZE", Size),
        ("BODY", Body),
    ] {
        assert_eq!(items(word), [item]);
    }
    let partial = Some(Partial { origin: 0, octets: 2048 });
    assert_eq!(body("BODY[]<0.2048>"), BodySection { partial, ..whole(false) });
    assert_eq!(body("BODY[1.22.3]").section, section(&[1, 22, 3], SectionText::Whole));
    assert_eq!(body("BODY[1.MIME]").section, section(&[1], SectionText::Mime));
    assert_eq!(body("BODY[4.2.header]").section, section(&[4, 2], SectionText::Header));
    assert_eq!(body("BODY[TEXT]").section, section(&[], SectionText::Text));
    let names =
        |not| SectionText::HeaderFields { not, names: [b"Date".as_slice(), b"x y"].map(Box::from).to_vec() };
    assert_eq!(body("BODY[HEADER.FIELDS (Date \"x y\")]").section, section(&[], names(false)));
    assert_eq!(
        body("(FLAGS BODY[2.HEADER.FIELDS.NOT (Date {3}\r\nx y)])").section,
        section(&[2], names(true))
    );
    for wrong in [
        "BODY[0]",
        "BODY[MIME]",
        "BODY[1.]",
        "BODY[1",
        "BODY[.1]",
        "BODY[HEADER.FIELDS]",
        "BODY[HEADER.FIELDS ()]",
        "BODY[]<0>",
        "BODY[]<0.0>",
        "BODY[]<0.1",
        "()",
        "(UID",
        "X",
        "UID FLAGS",
        "BODY.PEEK",
        "(ALL)",
        "BODY[1 ]",
        "UID (CHANGEDSINCE)",
        "UID (X 1)",
        "UID (CHANGEDSINCE 1 VANISHED)",
    ] {
        reason(format!("a FETCH 1 {wrong}").as_bytes());
    }
    reason(format!("a FETCH 1 BODY[{}1]", "1.".repeat(100)).as_bytes());
    items(&format!("BODY[{}1]", "1.".repeat(99)));
    let Command::Fetch { uid, arguments } = command("UID FETCH 5:*,7 (FLAGS) (CHANGEDSINCE 0)") else {
        panic!()
    };
    assert!(uid);
    assert_eq!((arguments.messages, arguments.changed_since), (set(&[(5, 0), (7, 7)]), Some(0)));
}

#[test]
fn stores_and_copies() {
    let store = |text: &str| match command(text) {
        Command::Store { uid: false, arguments } => arguments,
        other => panic!("{other:?}"),
    };
    let want = StoreArguments {
        messages: set(&[(1, 1)]),
        unchanged_since: None,
        how: StoreHow::Replace,
        silent: false,
        flags: flags(0, &[]),
    };
    assert_eq!(store("STORE 1 FLAGS ()"), want);
    let add = StoreArguments {
        how: StoreHow::Add,
        silent: true,
        flags: flags(bits::SEEN, &["$x"]),
        ..want.clone()
    };
    assert_eq!(store("STORE 1 +flags.silent \\seen $x $X"), add);
    let remove = StoreArguments { how: StoreHow::Remove, unchanged_since: Some(7), ..want.clone() };
    assert_eq!(store("STORE 1 (UNCHANGEDSINCE 7) -FLAGS ()"), remove);
    assert!(matches!(command("UID STORE 1 FLAGS x"), Command::Store { uid: true, .. }));
    for wrong in [
        "STORE 1",
        "STORE 1 FLAGS",
        "STORE 0 FLAGS x",
        "STORE 1 X x",
        "STORE 1 FLAGS (x",
        "STORE 1 FLAGS \\X",
    ] {
        reason(format!("a {wrong}").as_bytes());
    }
    let copy = |uid, and_remove| Command::Copy {
        uid,
        messages: set(&[(0, 1)]),
        mailbox: MailboxName::of("x"),
        and_remove,
    };
    assert_eq!(command("COPY *:1 x"), copy(false, false));
    assert_eq!(command("UID MOVE *:1 x"), copy(true, true));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, tag, why) in [
        ("a", true, "A command is missing."),
        ("a ", true, "A command is missing."),
        ("a FOO", true, "Unknown command."),
        ("a FOO BAR", true, "Unknown command."),
        ("a UID FOO 1", true, "Unknown command."),
        ("a SELECT", true, "An argument is missing."),
        ("a UID", true, "An argument is missing."),
        ("a SELECT ", true, "An argument is missing."),
        ("a NOOP x", true, "Too many arguments."),
        ("a LOGIN x", true, "An argument is missing."),
        ("a LOGIN x y z", true, "Too many arguments."),
        ("a SELECT \"x\0\"", true, "NUL in a command."),
        ("a FOO\0", true, "NUL in a command."),
        ("a SEARCH BODY {2}\r\n\0x", true, "NUL in a command."),
        ("a SEARCH CHARSET utf-8 BODY {2}\r\n\0x", true, "NUL in a command."),
        ("a SEARCH CHARSET utf-16be BODY \"\0x\"", true, "NUL in a command."),
        ("a SEARCH CHARSET {9}\r\nutf-16be\0 ALL", true, "NUL in a command."),
        ("a SEARCH CHARSET utf-16be BODY {2}\r\n\0x\0", true, "NUL in a command."),
        ("a SEARCH CHARSET utf-16be BODY {2}\r\n\0x FOO", true, "Unknown search key."),
        ("+ NOOP", false, "A tag is missing."),
        ("* NOOP", false, "A tag is missing."),
        ("", false, "A tag is missing."),
        (" a NOOP", false, "A tag is missing."),
        ("a( NOOP", false, "The tag is none."),
        ("GET / HTTP/1.1", true, "Unknown command."),
    ] {
        let bad = Command::parse(text.as_bytes()).unwrap_err();
        assert_eq!(bad.error, SyntaxError::Bad(why), "{text:?}");
        assert_eq!(bad.tag.is_some(), tag, "{text:?}");
    }
    assert_eq!(reason(&[b'x'; 101]), "A tag is missing.");
    assert_eq!(reason(format!("a ENABLE{}", " X".repeat(101)).as_bytes()), "Too many arguments.");
    let talk = format!("ID ({} {} NIL)", vec!["a b"; 31].join(" "), "x".repeat(31));
    assert!(matches!(command(&talk), Command::Id(pairs) if pairs.len() == 30));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::parse(&text);
        let _ = LiteralHeader::at_end(&text);
        let _ = LiteralHeader::is_message(&text);
    }

    #[test]
    fn nothing_like_a_command_makes_it_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            "a", "FETCH", "SEARCH", "STORE", "UID", "LIST", "STATUS", "APPEND", "1:*", "(", ")", " ", " ", "BODY[", "1.", "]",
            "<0.1>", "HEADER.FIELDS", "NOT", "OR", "ALL", "RETURN", "FLAGS", "\\Seen", "{3}\r\nabc", "{9}", "\"x\"", "\"",
            "\r\n", "SORT", "DATE", "CHARSET", "UTF-8", "(CHANGEDSINCE 1)", "\u{e4}", "SELECT", "CREATE", "(USE (",
        ]), 0..20))
    {
        let _ = Command::parse(format!("a {}", words.concat()).as_bytes());
    }
}
