use super::super::testing::Place;
use super::*;
use crate::grammar::Command;
use common::hierarchy::SpecialUse;

/// What is answered to `LIST ...`, without `* LIST `.
fn list(place: &Place, arguments: &str) -> Vec<String> {
    let command = Command::parse(format!("a LIST {arguments}").as_bytes());
    let Ok((_, Command::List(arguments))) = command else { panic!("{arguments}: {command:?}") };
    if asks_for_separator(&arguments) {
        return vec![text(separator(&place.namespaces, &arguments.reference))];
    }
    let answer = Answer::prepare(&place.namespaces, &arguments, &mut || Ok(())).unwrap();
    let told = answer.listing.iter().enumerate().filter(|(at, _)| answer.bits(*at) & RETURNED != 0);
    told.map(|(at, entry)| {
        let mut line = Vec::new();
        answer.print(&mut line, &entry, answer.bits(at));
        text(line)
    })
    .collect()
}

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap().strip_prefix("* LIST ").unwrap().trim_end().to_owned()
}

/// The mailboxes of RFC 5258 section 5.
fn rfc5258() -> Place {
    let place = Place::new(&["namespace_separator=/"]);
    place.create(&["Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu"]);
    place.create(&["Vegetable", "Vegetable/Broccoli", "Vegetable/Corn"]);
    place.subscribe(&["INBOX", "Fruit.Banana", "Fruit.Peach", "Vegetable", "Vegetable.Broccoli"]);
    place
}

#[test]
fn the_separator_and_the_root() {
    for (settings, reference, want) in [
        (&[][..], "\"\"", "(\\Noselect) \".\" \"\""),
        (&[], "foo", "(\\Noselect) \".\" \"\""),
        (&[], "foo.bar.baz", "(\\Noselect) \".\" foo."),
        (&["namespace_prefix=INBOX", "namespace_separator=/"], "\"\"", "(\\Noselect) \"/\" \"\""),
        (&["namespace_prefix=INBOX", "namespace_separator=/"], "INBOX/x", "(\\Noselect) \"/\" INBOX/"),
    ] {
        assert_eq!(list(&Place::new(settings), &format!("{reference} \"\"")), [want]);
    }
    // RFC 5258 section 3: in the new syntax an empty pattern is one that nothing fits.
    assert_eq!(list(&Place::new(&[]), "() \"\" \"\""), [""; 0]);
    assert_eq!(list(&Place::new(&[]), "\"\" (\"\" inbox)"), ["() \".\" INBOX"]);
}

#[test]
fn the_old_list() {
    let place = Place::new(&[]);
    place.create(&["a.b.c", "Sent", "x y", "Entw&APw-rfe", "R&-D"]);
    let all = [
        "(\\HasNoChildren) \".\" INBOX",
        "(\\HasNoChildren) \".\" Entw&APw-rfe",
        "(\\HasNoChildren) \".\" R&-D",
        "(\\HasNoChildren \\Sent) \".\" Sent",
        "(\\NonExistent \\Noselect \\HasChildren) \".\" a",
        "(\\NonExistent \\Noselect \\HasChildren) \".\" a.b",
        "(\\HasNoChildren) \".\" a.b.c",
        "(\\HasNoChildren) \".\" \"x y\"",
    ];
    assert_eq!(list(&place, "\"\" *"), all);
    let top = list(&place, "\"\" %");
    assert_eq!(top.len(), 6);
    assert!(top.iter().all(|line| all.contains(&line.as_str())));
    assert_eq!(list(&place, "a. %"), ["(\\NonExistent \\Noselect \\HasChildren) \".\" a.b"]);
    assert_eq!(list(&place, "\"\" inbox"), all[..1]);
    assert_eq!(list(&place, "\"\" none"), [""; 0]);
}

#[test]
fn with_a_prefix() {
    let place = Place::new(&["namespace_prefix=INBOX."]);
    place.create(&["INBOX.Sent", "INBOX.a.b"]);
    let want = [
        "(\\HasChildren) \".\" INBOX",
        "(\\HasNoChildren \\Sent) \".\" INBOX.Sent",
        "(\\NonExistent \\Noselect \\HasChildren) \".\" INBOX.a",
        "(\\HasNoChildren) \".\" INBOX.a.b",
    ];
    assert_eq!(list(&place, "\"\" *"), want);
    assert_eq!(list(&place, "\"\" %"), want[..1]);
    assert_eq!(list(&place, "inbox. %"), want[1..3]);
}

#[test]
fn rfc_5258_subscriptions() {
    let place = rfc5258();
    let want = [
        "(\\Subscribed) \"/\" INBOX",
        "(\\Subscribed) \"/\" Fruit/Banana",
        "(\\NonExistent \\Noselect \\Subscribed) \"/\" Fruit/Peach",
        "(\\Subscribed) \"/\" Vegetable",
        "(\\Subscribed) \"/\" Vegetable/Broccoli",
    ];
    assert_eq!(list(&place, "(SUBSCRIBED) \"\" *"), want);
    assert_eq!(list(&place, "(SUBSCRIBED REMOTE) \"\" *"), want);
    // What exists, and whether it is subscribed to; a subscription to nothing is none of that.
    let all = list(&place, "\"\" * RETURN (SUBSCRIBED)");
    assert_eq!(all.len(), 8);
    assert_eq!(all[..4], ["(\\Subscribed) \"/\" INBOX", "() \"/\" Fruit", "() \"/\" Fruit/Apple", want[1]]);
}

#[test]
fn rfc_5258_children() {
    let place = rfc5258();
    let want = [
        "(\\HasNoChildren) \"/\" INBOX",
        "(\\HasChildren) \"/\" Fruit",
        "(\\HasNoChildren) \"/\" Tofu",
        "(\\HasChildren) \"/\" Vegetable",
    ];
    assert_eq!(list(&place, "() \"\" % RETURN (CHILDREN)"), want);
    assert_eq!(list(&place, "(REMOTE) \"\" % RETURN (CHILDREN)"), want);
    assert_eq!(list(&place, "() \"\" %"), want.map(|line| format!("() {}", line.split_once(' ').unwrap().1)));
}

#[test]
fn rfc_5258_recursive_match() {
    let place = rfc5258();
    let info = "(\"CHILDINFO\" (\"SUBSCRIBED\"))";
    let want = [
        "(\\Subscribed) \"/\" INBOX".to_owned(),
        format!("() \"/\" Fruit {info}"),
        format!("(\\Subscribed) \"/\" Vegetable {info}"),
    ];
    assert_eq!(list(&place, "(SUBSCRIBED RECURSIVEMATCH) \"\" %"), want);
    assert_eq!(list(&place, "(RECURSIVEMATCH SUBSCRIBED) \"\" Fruit"), want[1..2]);
    assert_eq!(list(&place, "(RECURSIVEMATCH SUBSCRIBED) \"\" Tofu"), [""; 0]);
    // Everything below Fruit is told: Fruit itself would be one line too many.
    let all = list(&place, "(RECURSIVEMATCH SUBSCRIBED) \"\" *");
    assert!(all.len() == 5 && all[1].ends_with("Fruit/Banana"), "{all:?}");
    assert_eq!(all[3], want[2]);
    // A level that never was a mailbox.
    place.subscribe(&["x.y.z"]);
    let want = [format!("(\\NonExistent \\Noselect) \"/\" x {info}")];
    assert_eq!(list(&place, "(SUBSCRIBED RECURSIVEMATCH) \"\" %"), want);
}

#[test]
fn rfc_5258_several_patterns() {
    let place = Place::new(&["namespace_separator=/"]);
    place.create(&["Drafts", "Sent/2004", "Sent/2003", "Tofu"]);
    let want = ["INBOX", "Drafts", "Sent/2003", "Sent/2004"].map(|name| format!("() \"/\" {name}"));
    assert_eq!(list(&place, "\"\" (\"INBOX\" \"Drafts\" \"Sent/%\")"), want);
}

#[test]
fn special_uses() {
    let place = Place::new(&[]);
    place.create(&["Drafts", "Trash", "other"]);
    place.create_for("a.Gesendet", &[SpecialUse::Sent]).unwrap();
    let want = ["(\\Drafts) \".\" Drafts", "(\\Trash) \".\" Trash", "(\\Sent) \".\" a.Gesendet"];
    assert_eq!(list(&place, "(SPECIAL-USE) \"\" *"), want);
    let all = list(&place, "\"\" * RETURN (SPECIAL-USE)");
    assert!(all.len() == 6 && want.iter().all(|line| all.contains(&(*line).to_owned())), "{all:?}");
    assert!(all.contains(&"() \".\" other".to_owned()));
    assert!(list(&place, "\"\" * RETURN (CHILDREN)").iter().all(|line| !line.contains("\\Sent")));
    let parent = "(\\NonExistent \\Noselect) \".\" a (\"CHILDINFO\" (\"SPECIAL-USE\"))";
    let got = list(&place, "(SPECIAL-USE RECURSIVEMATCH) \"\" %");
    assert_eq!(got, [want[0], want[1], parent]);
    place.subscribe(&["Trash", "other"]);
    let got = list(&place, "(SPECIAL-USE SUBSCRIBED) \"\" *");
    assert_eq!(got, ["(\\Subscribed \\Trash) \".\" Trash"]);
}

#[test]
fn nobody_waits_any_more() {
    let place = Place::new(&[]);
    let names: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
    place.create(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let command = Command::parse(b"a LIST \"\" (\"*1*\" \"*2*\" \"*3*\")");
    let Ok((_, Command::List(arguments))) = command else { panic!("{command:?}") };
    let mut looks = 0;
    let answer = Answer::prepare(&place.namespaces, &arguments, &mut || {
        looks += 1;
        if looks == 4 { Err(Ending::Disconnected) } else { Ok(()) }
    });
    assert!(matches!(answer, Err(Failure::Ending(Ending::Disconnected))));
    assert_eq!(looks, 4, "the second half of the second pattern");
}
