use super::*;
use proptest::prelude::*;

fn one(text: &str) -> Item {
    item(text).unwrap()
}

fn command(words: &[&str]) -> Item {
    Item::Command(words.iter().map(|&word| word.to_owned()).collect())
}

#[test]
fn kinds() {
    let address = |text: &str| Item::Address(Address::parse(text.as_bytes()).unwrap());
    for (text, want) in [
        ("anna", Item::Name("anna".into())),
        ("anna@example.org", address("anna@example.org")),
        ("\\anna", Item::Own("anna".into())),
        ("\\anna@example.org", address("anna@example.org")),
        ("Anna B. <anna@example.org>", address("anna@example.org")),
        ("\"B., Anna\" <anna@example.org>", address("anna@example.org")),
        ("\"Anna\" B <anna@example.org> (at work)", address("anna@example.org")),
        ("\"<x@y>\"<anna>", Item::Name("anna".into())),
        ("\"anna\" (at work)", Item::Name("anna".into())),
        ("<anna>", Item::Name("anna".into())),
        ("anna@example.org (at work)", address("anna@example.org")),
        ("(a, (nested) comment) anna", Item::Name("anna".into())),
        ("\"odd name\"@example.org", address("\"odd name\"@example.org")),
        ("\"anna\"", Item::Name("anna".into())),
        ("\"anna@example.org\"", address("anna@example.org")),
        (":include:/etc/mail/list", Item::Include("/etc/mail/list".into())),
        (":INCLUDE: /etc/mail/list", Item::Include("/etc/mail/list".into())),
        ("\":include:/etc/a list\"", Item::Include("/etc/a list".into())),
        (":include:\"/etc/a list\"", Item::Include("/etc/a list".into())),
        ("/var/mail/archive", Item::File("/var/mail/archive".into())),
        ("\"/var/mail/an archive\"", Item::File("/var/mail/an archive".into())),
        ("/home/anna/Maildir/", Item::File("/home/anna/Maildir/".into())),
        ("|/bin/cat", command(&["/bin/cat"])),
        ("|\"/bin/cat -n\"", command(&["/bin/cat", "-n"])),
        ("\"|/bin/prog -a 'b c' \\\"d e\\\" f\\\\ g\"", command(&["/bin/prog", "-a", "b c", "d e", "f g"])),
        ("\"|exec /usr/bin/procmail -f- #anna\"", command(&["/usr/bin/procmail", "-f-"])),
        ("|/bin/sh -c 'cat >> $HOME/x; exit 0'", command(&["/bin/sh", "-c", "cat >> $HOME/x; exit 0"])),
        ("|/bin/x ''", command(&["/bin/x", ""])),
    ] {
        assert_eq!(one(text), want, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, why) in [
        ("anna bert", "comma"),
        ("anna@", "malformed"),
        ("@example.org", "malformed"),
        ("\"anna", "quote is missing"),
        ("\"anna\" <a@b", "> is missing"),
        ("|", "program is missing"),
        ("|  # only a comment", "program is missing"),
        ("|cat > /tmp/x", "shell"),
        ("|cat $HOME", "shell"),
        ("\"|IFS=' ' && exec procmail\"", "shell"),
        ("|a `b`", "shell"),
        ("|a \"$b\"", "shell"),
        ("|a 'b", "quote is missing"),
        (":include:list", "begin with /"),
        ("anna <anna@example.org", "> is missing"),
        ("an\u{1}na", "control"),
        ("error:nouser", "neither"),
    ] {
        let error = item(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(item(&"a".repeat(LOCAL_PART_MAX + 1)).is_err());
    assert!(words(&"a ".repeat(WORDS_MAX + 1)).is_err());
}

#[test]
fn a_program_has_a_name() {
    for text in ["''", "\"\"", "'' x", "exec ''", "exec \"\" x", "", "# x"] {
        assert!(words(text).is_err(), "{text}");
        assert!(item(&format!("|{text}")).is_err(), "{text}");
    }
    assert_eq!(words("a ''").unwrap(), ["a", ""]);
}

#[test]
fn lists() {
    let list = "anna, \"|/bin/x a,b\" ,Bert <b@x.example>, \"c,d\"@x.example,, (e, f) g";
    let items: Vec<Item> = items(list).into_iter().map(Result::unwrap).collect();
    assert_eq!(items.len(), 5);
    assert_eq!(items[1], command(&["/bin/x", "a,b"]));
    assert_eq!(items[4], Item::Name("g".into()));
    assert!(super::items(" , ,").is_empty());
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a@,\"'|/\\\\<>()#:$ x.]{0,40}") {
        for item in items(&text).into_iter().flatten() {
            if let Item::Command(words) = item {
                prop_assert!(words.first().is_some_and(|name| !name.is_empty()));
            }
        }
    }

    #[test]
    fn words_are_what_was_quoted(words in proptest::collection::vec("[a-z \"$;|\\\\]{1,8}", 1..5)) {
        let text: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        prop_assume!(!words[0].contains('=') && words[0] != "exec");
        prop_assert_eq!(super::words(&text.join(" ")).unwrap(), words);
    }
}

#[test]
fn a_home_directory_is_meant_at_the_beginning_of_a_path_alone() {
    let (plain, odd) = ("/home/anna", "/home/an\"na/");
    for (text, home, want) in [
        ("~/mbox", plain, Ok("/home/anna/mbox")),
        ("\"~/an mbox\"", plain, Ok("/home/anna/an mbox")),
        ("~/Maildir/", odd, Ok("/home/an\"na/Maildir/")),
        ("\"~/mbox\"", odd, Ok("/home/an\"na/mbox")),
        ("/~/mbox", plain, Ok("/~/mbox")),
        ("~bert/mbox", plain, Err(())),
    ] {
        let found = items_at_home(&format!("{text}, bert"), home);
        let [path, other] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(other, &Ok(Item::Name("bert".into())));
        let want = want.map(|path| Item::File(path.to_owned()));
        assert_eq!(path.clone().map_err(drop), want, "{text}");
    }
}
