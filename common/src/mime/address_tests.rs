use super::*;
use proptest::prelude::*;

/// Entries in short: `name|route|local|domain`, `name:`, `;`.
fn short(value: &str) -> String {
    let mut out = Vec::new();
    parse(value.as_bytes(), &mut |entry| {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        out.push(match entry {
            Entry::Mailbox { name, route, local, domain } => [name, route, local, domain].map(text).join("|"),
            Entry::GroupStart(name) => text(name) + ":",
            Entry::GroupEnd => ";".to_owned(),
        });
        ControlFlow::Continue(())
    });
    out.join("  ")
}

/// The same, addresses only, of which none may be missed.
fn every(value: &str) -> String {
    let mut out = Vec::new();
    parse_all(value.as_bytes(), &mut |entry| {
        if let Entry::Mailbox { local, domain, .. } = entry {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let address = [local, domain].map(text).join("|");
            out.extend(Some(address).filter(|address| address != "|"));
        }
        ControlFlow::Continue(())
    });
    out.join("  ")
}

#[test]
fn no_address_is_missed() {
    // As Postfix 3.7 takes them, but for encoded words, which are no mailbox of anybody's.
    for (value, want) in [
        ("demo bert@x", "demo|  bert|x"),
        ("a demo bert@x", "a|  demo|  bert|x"),
        ("bert@x demo", "bert|x  demo|"),
        ("demo bert, anna@x", "demo|  bert|  anna|x"),
        ("anna <a@b> demo", "a|b  demo|"),
        ("\"dem o\" bert@x", "dem o|  bert|x"),
        ("=?utf-8?q?Demo?= bert@x", "bert|x"),
        ("Demo (c) bert@x (d)", "Demo|  bert|x"),
        ("a.b c . d@x", "a.b|  c.d|x"),
        ("a . b c@x", "a.b|  c|x"),
        ("<a@b> <c@d>", "a|b  c|d"),
        ("g h: a b, c;", "a|  b|  c|"),
        ("a@b c@d, e <f@g> <h@i> j@k", "a|b  c|d  f|g  h|i  j|k"),
        ("Ann B <ann@x>, \"B, C\" <b@x>, bert@x <bert@x>", "ann|x  b|x  bert|x"),
        ("root (Cron Daemon)", "root|"),
        ("a@b: c", "a|b  c|"),
        ("undisclosed-recipients:;", ""),
    ] {
        assert_eq!(every(value), want, "{value}");
    }
}

#[test]
fn lawful_addresses() {
    for (value, want) in [
        ("ann@example.com", "||ann|example.com"),
        ("<ann@example.com>", "||ann|example.com"),
        ("Ann B <ann@example.com>", "Ann B||ann|example.com"),
        ("Mary Q. Public <mary@example.com>", "Mary Q. Public||mary|example.com"),
        ("\"Ann \\\"B\\\" \\\\\" <ann@example.com>", "Ann \"B\" \\||ann|example.com"),
        ("\"Ann\" \"B\" <ann@example.com>", "Ann B||ann|example.com"),
        ("\"\" <a@b>", "||a|b"),
        ("\"a b\"@c", "||a b|c"),
        ("<\"a b\".c@d>", "||a b.c|d"),
        ("a . b @ c . d", "||a.b|c.d"),
        ("A . B <a . b @ c . d>", "A . B||a.b|c.d"),
        ("a@[192.0.2.1]", "||a|[192.0.2.1]"),
        ("a@[ IPv6:::1 ] (c)", "c||a|[IPv6:::1]"),
        ("a@b (Ann (nested) x)", "Ann (nested) x||a|b"),
        ("Ann (x) <a@b> (y)", "Ann||a|b"),
        ("(one) a@b (two) (three)", "three||a|b"),
        ("a(c)@(d)b", "d||a|b"),
        ("<@r.example,@s.example:joe@d>", "|@r.example,@s.example|joe|d"),
        (
            "=?utf-8?q?J=C3=B6rg?= <j@x>, =?utf-8?b?w7Y=?= =?utf-8?b?w7Y=?= x <k@x>",
            "=?utf-8?q?J=C3=B6rg?=||j|x  =?utf-8?b?w7Y=?= =?utf-8?b?w7Y=?= x||k|x",
        ),
        ("a@b, c@d", "||a|b  ||c|d"),
        ("Friends: a@b, Bob <b@c>;, d@e", "Friends:  ||a|b  Bob||b|c  ;  ||d|e"),
        ("undisclosed-recipients:;", "undisclosed-recipients:  ;"),
        ("A group (c) : ;", "A group:  ;"),
        ("a:;, b:;", "a:  ;  b:  ;"),
        ("", ""),
        ("  (only a comment) ", ""),
    ] {
        assert_eq!(short(value), want, "{value}");
    }
}

#[test]
fn addresses_as_they_come() {
    for (value, want) in [
        ("MAILER-DAEMON", "||MAILER-DAEMON|"),
        ("root (Cron Daemon)", "Cron Daemon||root|"),
        ("no domain", "no domain|||"),
        ("undisclosed recipients", "undisclosed recipients|||"),
        ("<>", "|||"),
        ("Ann <>", "Ann|||"),
        ("<ann@>", "||ann|"),
        ("@example.com", "|||example.com"),
        ("<@example.com>", "|||example.com"),
        ("<@a,b@c>", "|||a  ||b|c"),
        ("<open@example.com, x@y", "||open|example.com  ||x|y"),
        ("\"open quote <x@y>", "open quote||x|y"),
        ("<<double@example.com>>", "||double|example.com"),
        ("John Doe john@example.com", "John Doe||john|example.com"),
        ("ann@example.com <ann@example.org>", "ann@example.com||ann|example.org"),
        ("<a@b@c>", "||a@b|c"),
        ("<a b@c>", "||a b|c"),
        ("a@b@c", "||a|b"),
        ("x@y..", "||x|y.."),
        (".a.@b", "||.a.|b"),
        ("a@[open, b@c", "||a|[open  ||b|c"),
        (",,a@b,,,c@d", "||a|b  ||c|d"),
        ("a@b; c@d", "||a|b  ||c|d"),
        ("x@y z@w", "||x|y"),
        ("open: a@b", "open:  ||a|b  ;"),
        ("Outer: Inner: x@y;;", "Outer:  ||x|y  ;"),
        (":a@b;", ":  ||a|b  ;"),
        (";", ""),
        (">", "|||"),
        ("a@b (open comment, c@d", "open comment, c@d||a|b"),
        ("[tag] Ann <a@b>", "[tag] Ann||a|b"),
        ("Ann\\, B <a@b>", "||Ann\\|  B||a|b"),
    ] {
        assert_eq!(short(value), want, "{value}");
    }
}

#[test]
fn the_list_is_bounded_and_groups_are_closed() {
    let value = format!("g:{}", "a@b,".repeat(20_000));
    let (mut count, mut last) = (0, false);
    parse(value.as_bytes(), &mut |entry| {
        (count, last) = (count + 1, entry == Entry::GroupEnd);
        ControlFlow::Continue(())
    });
    assert_eq!((count, last), (ADDRESSES_MAX + 1, true));
    let mut seen = 0;
    parse(value.as_bytes(), &mut |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(seen, 3);
}

#[test]
fn what_is_made_to_be_slow_is_not() {
    for piece in ["(", "\"", "\\\"", "<", "<@", "a <", "[", "@[", ":", "a:", "a@", "\"\\", "<\"", "(\""] {
        let value = piece.repeat(200_000 / piece.len());
        let begun = std::time::Instant::now();
        short(&value);
        assert!(begun.elapsed().as_secs() < 5, "{piece}");
    }
}

proptest! {
    #[test]
    fn groups_are_balanced(value in "[a ,;:<>@\"()\\[\\]\\\\.=?]{0,40}") {
        let mut open = false;
        parse(value.as_bytes(), &mut |entry| {
            match entry {
                Entry::GroupStart(_) => {
                    assert!(!open);
                    open = true;
                }
                Entry::GroupEnd => {
                    assert!(open);
                    open = false;
                }
                Entry::Mailbox { .. } => {}
            }
            ControlFlow::Continue(())
        });
        prop_assert!(!open);
    }

    #[test]
    fn everything_has_an_end(value in "[a ,;:<>@\"()\\[\\]\\\\.=?]{0,40}") {
        let mut entries = 0;
        parse_all(value.as_bytes(), &mut |_| {
            entries += 1;
            ControlFlow::Continue(())
        });
        // At most an entry, its words, and the end of a group for each octet.
        prop_assert!(entries <= 2 * value.len() + 1);
    }

    #[test]
    fn what_is_printed_properly_is_read_again(
        name in "[a-z \"\\\\.,<>@]{0,12}", local in "[a-z]{1,8}", domain in "[a-z]{1,8}",
    ) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let value = format!("\"{quoted}\" <{local}@{domain}>");
        prop_assert_eq!(short(&value), format!("{name}||{local}|{domain}"));
    }
}
