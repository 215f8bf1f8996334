use super::*;
use crate::maildir::testing::TempDir;
use proptest::prelude::*;

fn plain() -> Namespace {
    Namespace::new("", b'.')
}

fn name(visible: &str) -> Name {
    plain().name(visible.as_bytes()).unwrap()
}

fn names(list: &Subscriptions) -> Vec<String> {
    list.names(&plain()).map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap()).collect()
}

fn file<'a>(dir: &'a TempDir, namespace: &'a Namespace) -> File<'a> {
    File { directory: dir.path(), namespace, lock_timeout: Duration::from_millis(50), fsync: true }
}

#[test]
fn both_versions() {
    for (octets, want) in [
        (&b""[..], &[][..]),
        (b"V\t2\n\n", &[]),
        (b"V\t2", &[]),
        (b"V\t2\n\nfoo\tbar\nINBOX\nEntw&APw-rfe\n", &["foo.bar", "INBOX", "Entw&APw-rfe"]),
        (b"V\t2\n\nfoo\tbar\ninbox", &["foo.bar", "INBOX"]),
        (b"V\t2\n\n\n\ta\n..\nok\n", &["ok"]),
        (b"V\t2\n\na\x01tb\tc\x011d\x01", &["a.b.c&AAE-d&AAE-"]),
        (b"foo.bar\nINBOX\n", &["foo.bar", "INBOX"]),
        (b"foo.bar\n\n.hidden\nR&D\nM\xc3\xbcll\n", &["foo.bar", "R&-D", "M&APw-ll"]),
        (b"V\t3\n\nx\n", &["V&AAk-3", "x"]),
        (b"a/b\n../x\nok\n", &["ok"]),
    ] {
        assert_eq!(names(&Subscriptions::parse(octets)), want, "{}", octets.escape_ascii());
    }
}

#[test]
fn changes_keep_version_order_and_unknown_lines() {
    let (dir, namespace) = (TempDir::new(), plain());
    let file = file(&dir, &namespace);
    dir.write(NAME, "z\n.odd\na.b\nz\n");
    assert!(!file.set(&name("a.b"), true).unwrap());
    assert!(!file.set(&name("none"), false).unwrap());
    assert_eq!(dir.read(NAME), "z\n.odd\na.b\nz\n");
    assert!(file.set(&name("c.d"), true).unwrap());
    assert!(file.set(&name("z"), false).unwrap());
    assert_eq!(dir.read(NAME), ".odd\na.b\nc.d\n");
    dir.write(NAME, "V\t2\n\nfoo\tbar\n");
    assert!(file.set(&Name::inbox(), true).unwrap());
    assert!(file.set(&name("foo.baz"), true).unwrap());
    assert_eq!(dir.read(NAME), "V\t2\n\nfoo\tbar\nINBOX\nfoo\tbaz\n");
    assert!(file.set(&name("foo.bar"), false).unwrap());
    assert_eq!(dir.read(NAME), "V\t2\n\nINBOX\nfoo\tbaz\n");
    assert_eq!(dir.list(""), [NAME]);
}

#[test]
fn a_new_file_is_of_version_2() {
    let (dir, namespace) = (TempDir::new(), plain());
    assert_eq!(file(&dir, &namespace).read().unwrap(), Subscriptions::parse(b""));
    assert_eq!(dir.list(""), [""; 0]);
    assert!(file(&dir, &namespace).set(&name("a.b"), true).unwrap());
    assert_eq!(dir.read(NAME), "V\t2\n\na\tb\n");
}

#[test]
fn who_holds_the_lock_is_waited_for() {
    let (dir, namespace) = (TempDir::new(), plain());
    let lock = Dotlock::take(&dir.path().join(NAME), Duration::ZERO).unwrap();
    let error = file(&dir, &namespace).set(&name("a"), true).unwrap_err();
    assert_eq!(error.kind, crate::maildir::ErrorKind::InUse);
    drop(lock);
    assert!(file(&dir, &namespace).set(&name("a"), true).unwrap());
}

#[test]
fn courier_s_list_is_taken_over_once() {
    let (dir, namespace) = (TempDir::new(), plain());
    dir.write(
        COURIER,
        "INBOX\nINBOX.Sent\ninbox.a.b\n#shared.x\nINBOX.Sent\nINBOX..\nINBOXES\n\nINBOX.M\u{fc}ll",
    );
    let list = file(&dir, &namespace).read().unwrap();
    assert_eq!(names(&list), ["INBOX", "Sent", "a.b", "M&APw-ll"]);
    assert_eq!(dir.read(NAME), "V\t2\n\nINBOX\nSent\na\tb\nM&APw-ll\n");
    dir.write(COURIER, "INBOX.Later\n");
    assert_eq!(file(&dir, &namespace).read().unwrap(), list);
    assert!(file(&dir, &namespace).set(&name("a.b"), false).unwrap());
    assert_eq!(names(&file(&dir, &namespace).read().unwrap()), ["INBOX", "Sent", "M&APw-ll"]);
}

#[test]
fn what_is_no_file_is_an_error() {
    let (dir, namespace) = (TempDir::new(), plain());
    fs::create_dir(dir.path().join(NAME)).unwrap();
    assert!(file(&dir, &namespace).read().is_err());
}

proptest! {
    #[test]
    fn what_is_added_is_found_and_what_is_removed_is_gone(
        octets in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'a'), Just(1)], 0..60),
        second in any::<bool>(),
        visible in "[a-c]{1,3}(\\.[a-c]{1,3}){0,2}",
    ) {
        let mut list = Subscriptions::parse(&if second { [HEADER, &octets].concat() } else { octets });
        let (before, wanted) = (names(&list), name(&visible));
        list.remove(&wanted, &plain());
        let without: Vec<String> = before.iter().filter(|name| **name != visible).cloned().collect();
        prop_assert_eq!(names(&list), without.clone());
        list.add(&wanted);
        prop_assert_eq!(names(&list), [without, vec![visible]].concat());
        prop_assert_eq!(Subscriptions::parse(&list.print()).lines, list.lines);
    }
}
