//! What is not as it was, or never was as it should be: lists with a bad line or too many, files and programs that nobody names
//! any more, files of aliases that others can replace, circles.

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

#[test]
fn virtual_aliases_in_a_circle() {
    let host = Host::new("").with(|config| {
        config.virtual_alias_domains = "alias.example".into();
        config.virtual_alias_maps = "inline:{lp1@alias.example=lp2@alias.example, lp2@alias.example=lp1@alias.example, \
            l1@here.example=l2@here.example, l2@here.example=l3@here.example, l3@here.example=l1@here.example, \
            {some@alias.example=other@alias.example, anna}, other@alias.example=some@alias.example, \
            anna@here.example=bert@here.example, {bert@here.example=anna@here.example, bert@here.example}, \
            own@alias.example=own@alias.example, {first@alias.example=nobody@alias.example, lp1@alias.example}, \
            root@here.example=toor@here.example, toor@here.example=root@here.example}"
            .into();
    });
    for (address, want, named) in [
        ("lp1@alias.example", "554 5.4.6", Some("lp1@alias.example")),
        ("LP2@alias.example", "554 5.4.6", Some("lp2@alias.example")),
        ("l2@here.example", "554 5.4.6", Some("l2@here.example")),
        // Who else there is gets the mail.
        ("some@alias.example", "anna, some@alias.example!", Some("some@alias.example")),
        // Two users who name each other.
        ("anna@here.example", "anna, bert", None),
        ("bert@here.example", "bert", None),
        // Users who are their own aliases, and are not there.
        ("own@alias.example", "550 5.1.1", None),
        ("root@here.example", "550 5.2.1", None),
        ("first@alias.example", "550 5.1.1", Some("lp1@alias.example")),
    ] {
        let mut directory = host.directory();
        assert_eq!(shown(expand(&mut directory, &parse(address))), want, "{address}");
        let mut warnings = directory.take_warnings();
        warnings.retain(|line| line.contains("in a circle"));
        let line = named.map(|key| format!(": aliases name each other in a circle ({key})"));
        assert_eq!(warnings.len(), usize::from(line.is_some()), "{address}: {warnings:?}");
        assert!(
            warnings.iter().zip(&line).all(|(said, want)| said.ends_with(want)),
            "{address}: {warnings:?}"
        );
    }
}

/// As where they stand in the alias itself: trying again makes no list smaller.
#[test]
fn lists_that_are_too_long() {
    let host = Host::new("list: :include:@DIR@/list\n");
    let path = host.scratch.path().join("list").display().to_string();
    let members = |count: usize| (0..count).map(|n| format!("m{n}@other.example\n")).collect::<String>();
    for (text, want) in [
        (members(RECIPIENTS_MAX + 1), format!(":include:{path} has more than 1000 entries")),
        (members(100_000), format!(":include:{path} has more than 1048576 octets")),
    ] {
        host.scratch.file("list", text);
        let mut directory = host.directory();
        let status = expand(&mut directory, &parse("list@here.example")).unwrap_err();
        assert_eq!(status.to_string(), "554 5.4.6 Too many recipients behind this address");
        assert_eq!(directory.take_warnings(), [format!("<list@here.example>: {want}")]);
    }
    host.scratch.file("list", members(RECIPIENTS_MAX));
    assert_eq!(expand(&mut host.directory(), &parse("list@here.example")).unwrap().len(), RECIPIENTS_MAX);
}

/// As in a file that others can write to.
#[test]
fn aliases_that_others_could_replace_name_addresses_only() {
    let host = Host::new("list: bert\nprog: \"|/bin/true\"\n");
    for (mode, is_good) in [(0o755, true), (0o775, false), (0o777, false), (0o1777, true)] {
        std::fs::set_permissions(host.scratch.path(), Permissions::from_mode(mode)).unwrap();
        let mut directory = host.directory();
        assert_eq!(shown(expand(&mut directory, &parse("list@here.example"))), "bert", "{mode:o}");
        let program = shown(expand(&mut directory, &parse("prog@here.example")));
        assert_eq!(program.starts_with("451 "), !is_good, "{mode:o}: {program}");
    }
}
