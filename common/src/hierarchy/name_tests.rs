use super::*;
use proptest::prelude::*;

fn plain() -> Namespace {
    Namespace::new("", b'.')
}

fn invalid(result: Result<Name, NameError>) -> bool {
    matches!(result, Err(NameError::Invalid(_)))
}

#[test]
fn prefixes_end_with_the_separator() {
    for (prefix, separator, want) in [
        ("", b'.', ""),
        ("INBOX", b'.', "INBOX."),
        ("INBOX.", b'/', "INBOX/"),
        ("INBOX/", b'/', "INBOX/"),
        ("my/mail/", b'.', "my.mail."),
        ("P\u{f6}st", b'.', "P&APY-st."),
    ] {
        assert_eq!(*Namespace::new(prefix, separator).prefix, *want.as_bytes(), "{prefix}");
    }
}

#[test]
fn names_that_clients_mean() {
    for (prefix, separator, visible, want) in [
        ("", b'.', "inBox", "INBOX"),
        ("", b'.', "inbox.sub", "INBOX.sub"),
        ("", b'.', "Sent", "Sent"),
        ("", b'.', "a.b", "a.b"),
        ("", b'/', "a/b", "a.b"),
        ("", b'/', "Inbox/b", "INBOX.b"),
        ("", b'.', "inboxes.x", "inboxes.x"),
        ("", b'.', "a..b", "a..b"),
        ("", b'.', "~x", "~x"),
        ("INBOX.", b'.', "INBOX.Sent", "Sent"),
        ("INBOX.", b'.', "inbox.Sent", "Sent"),
        ("INBOX.", b'.', "INBOX.INBOX.x", "INBOX.x"),
        ("INBOX.", b'.', "INBOX.inbox.x", "inbox.x"),
        ("INBOX/", b'/', "inbox/a/b", "a.b"),
        ("INBOX/my/", b'/', "inbox/my/a", "a"),
        ("mail/", b'/', "mail/a", "a"),
        ("mail/", b'/', "inbox", "INBOX"),
    ] {
        let namespace = Namespace::new(prefix, separator);
        let name = namespace.name(visible.as_bytes()).unwrap();
        assert_eq!(*name.as_bytes(), *want.as_bytes(), "{prefix} {visible}");
        let mut printed = Vec::new();
        namespace.print(&name, &mut printed);
        assert!(printed.eq_ignore_ascii_case(visible.as_bytes()), "{}", printed.escape_ascii());
        assert_eq!(namespace.name(&printed), Ok(name));
    }
}

#[test]
fn names_that_clients_cannot_mean() {
    let long = "x".repeat(1021);
    for (prefix, separator, visible) in [
        ("", b'.', ""),
        ("", b'.', "a/b"),
        ("", b'.', "../x"),
        ("", b'/', "a.b"),
        ("", b'/', "../x"),
        ("", b'/', ".."),
        ("", b'/', "/x"),
        ("", b'.', "."),
        ("", b'.', ".x"),
        ("", b'.', "..x"),
        ("", b'.', "a&x"),
        ("", b'.', "&AC8-"),
        ("", b'.', "a\u{fc}"),
        ("", b'.', "a\0b"),
        ("", b'.', &long),
        ("INBOX.", b'.', "INBOX.INBOX"),
        ("INBOX.", b'.', "INBOX."),
        ("INBOX.", b'.', "INBOX..x"),
    ] {
        let name = Namespace::new(prefix, separator).name(visible.as_bytes());
        assert!(invalid(name), "{prefix} {visible}");
    }
    for (prefix, visible) in [
        ("INBOX.", "Sent"),
        ("INBOX.", "INBOXES.x"),
        ("mail.", "Mail.x"),
        ("mail.", "mail"),
        ("INBOX.", "&-"),
    ] {
        assert_eq!(
            Namespace::new(prefix, b'.').name(visible.as_bytes()),
            Err(NameError::Outside),
            "{visible}"
        );
    }
}

#[test]
fn new_names_are_looked_at_more_closely() {
    let check = |name: &str| plain().name(name.as_bytes()).and_then(|name| name.check_new());
    let longest = "x".repeat(254);
    for name in ["a", "Entw&APw-rfe", "a.b.c", "x y*z%", "cur", " ", "a~", &longest, "R&-D"] {
        assert_eq!(check(name), Ok(()), "{name}");
    }
    let too_long = "x".repeat(255);
    for name in ["a..b", "a.", "~a", "&AAE-", "&AIU-", "a.&AAoACg-", &too_long] {
        assert!(check(name).is_err(), "{name}");
    }
}

#[test]
fn every_directory_has_a_name() {
    for (directory, want) in [
        (&b".Sent"[..], Some("Sent")),
        (b".a.b", Some("a.b")),
        (b".Entw&APw-rfe", Some("Entw&APw-rfe")),
        (b".Entw\xc3\xbcrfe", Some("Entw&APw-rfe")),
        (b".R&D", Some("R&-D")),
        (b".R&-D", Some("R&-D")),
        (b".R&D.&APw-", Some("R&-D.&APw-")),
        (b".bad&AGE-", Some("bad&-AGE-")),
        (b".bad\xfc", Some("bad&7,w-")),
        (b".ctl\x01x", Some("ctl&AAE-x")),
        (b".Trash-1000", Some("Trash-1000")),
        (b".a..b", Some("a..b")),
        (b".trail.", Some("trail.")),
        (b".~x", Some("~x")),
        (b".inbox.x", Some("INBOX.x")),
        (b".", None),
        (b"..", None),
        (b"..foo", None),
        (b".INBOX", None),
        (b".Inbox", None),
        (b"cur", None),
        (b"", None),
    ] {
        let name = of_directory(OsStr::from_bytes(directory), &plain());
        assert_eq!(
            name.as_ref().map(Name::as_bytes),
            want.map(str::as_bytes),
            "{}",
            directory.escape_ascii()
        );
    }
    let below_inbox = Namespace::new("INBOX.", b'.');
    let name = |directory: &str| of_directory(OsStr::new(directory), &below_inbox);
    assert_eq!(name(".INBOX"), None);
    assert_eq!(name(".inbox.x").unwrap().as_bytes(), b"inbox.x");
}

#[test]
fn relations() {
    let name = |visible: &str| plain().name(visible.as_bytes()).unwrap();
    assert_eq!(name("a.b.c").below(&name("a")), Some(&b"b.c"[..]));
    assert_eq!(name("ab.c").below(&name("a")), None);
    assert_eq!(name("a").below(&name("a")), None);
    assert_eq!((name("a.b.c").levels(), name("a").levels()), (3, 1));
    assert_eq!(name("a.b").join(b"c"), name("a.b.c"));
    assert_eq!(name("Entw&APw-rfe").utf8_directory(), OsStr::new(".Entw\u{fc}rfe"));
    assert!(name("R&-D").is_ambiguous() && name("INBOX.x").is_ambiguous() && !name("a.b").is_ambiguous());
}

proptest! {
    /// Whatever a client writes: its directory is an entry of the root and nothing above or below it.
    #[test]
    fn directories_are_in_the_root(
        visible in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'.'), Just(b'/'), Just(b'&')], 0..20),
        prefix in prop_oneof![Just(""), Just("INBOX.")],
        separator in prop_oneof![Just(b'.'), Just(b'/')],
    ) {
        let namespace = Namespace::new(prefix, separator);
        let visible = [&namespace.prefix, &visible[..]].concat();
        if let Ok(name) = namespace.name(&visible) {
            for directory in [name.directory(), name.utf8_directory()] {
                let octets = directory.as_bytes();
                prop_assert!(octets.len() > 1 && octets[0] == b'.' && octets[1] != b'.');
                prop_assert!(!octets.contains(&b'/') && !octets.contains(&0));
            }
        }
    }

    /// What a directory is called to a client leads back to it.
    #[test]
    fn visible_names_lead_back(
        levels in "[&A-Ca-c~ .\u{e4}\u{1}-]{1,12}",
        prefix in prop_oneof![Just(""), Just("INBOX.")],
        separator in prop_oneof![Just(b'.'), Just(b'/')],
    ) {
        let namespace = Namespace::new(prefix, separator);
        if let Some(name) = of_directory(OsStr::new(&format!(".{levels}")), &namespace) {
            let mut visible = Vec::new();
            namespace.print(&name, &mut visible);
            if !name.as_bytes().contains(&b'/') {
                prop_assert_eq!(namespace.name(&visible), Ok(name));
            }
        }
    }
}
