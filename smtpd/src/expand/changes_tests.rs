//! What is not as it was, or never was as it should be: lists with a bad line, files and programs that nobody names any more.

use super::*;

#[test]
fn what_a_list_may_not_name_is_left_out() {
    let host = Host::new("list: :include:@DIR@/list\nouter: list, anna\nonly: :include:@DIR@/only\n");
    host.scratch.file("list", "bert\n\"|/bin/cat\"\n/var/archive\nx@other.example\n");
    host.scratch.file("only", "nobody\n\"|/bin/cat\"\n");
    for (address, want) in [
        ("list@here.example", "bert, ->x@other.example"),
        ("outer@here.example", "bert, ->x@other.example, anna"),
        ("only@here.example", "451 4.3.5"),
    ] {
        assert_eq!(host.ask(address), want, "{address}");
    }
    let mut directory = host.directory();
    expand(&mut directory, &parse("list@here.example")).unwrap();
    let warnings = directory.take_warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|line| line.contains("/list: mail to ")), "{warnings:?}");
    // What an alias names itself is the administrator's own mistake.
    let host = Host::new("prog: bert, |/bin/cat\n").with(|config| config.allow_mail_to_commands = value(""));
    assert_eq!(host.ask("prog@here.example"), "451 4.3.5");
}

#[test]
fn where_mail_goes_that_nobody_names_a_program_for_any_more() {
    let host = Host::new("stale: a@x.example, b@x.example\nsame: |/bin/new, |/bin/old\nanna: anna, c@x.example\nbert: d@x.example\n")
        .with(|config| config.recipient_delimiter = "+".into());
    for (address, owner, want) in [
        ("stale@here.example", None, "->a@x.example, ->b@x.example"),
        // It is not named, whatever the table says.
        ("same@here.example", None, "|/bin/new"),
        ("gone@here.example", None, "550 5.1.1"),
        ("x@other.example", None, "->x@other.example"),
        // Her ~/.forward named it: the other one has had it.
        ("anna@here.example", Some("anna"), "anna"),
        ("anna+x@here.example", Some("anna"), "anna"),
        // A user's own list; somebody else has the name now.
        ("stale@here.example", Some("anna"), "->a@x.example, ->b@x.example"),
        ("bert@here.example", Some("bert"), "->d@x.example"),
    ] {
        let target = Target::Command { words: vec!["/bin/old".into()], owner: owner.map(str::to_owned) };
        let recipient = Recipient {
            original: parse("all@here.example"),
            orcpt: Some("rfc822;all@x".to_owned()),
            ..Recipient::new(parse(address), target)
        };
        let found = anew(&mut host.directory(), &recipient);
        assert_eq!(shown(found.clone()), want, "{address} {owner:?}");
        for one in found.unwrap_or_default() {
            assert_eq!((one.original, one.orcpt), (recipient.original.clone(), recipient.orcpt.clone()));
        }
    }
}
