use super::super::build;
use super::super::error::ErrorKind;
use super::super::index::Index;
use super::super::snapshot::write_built;
use super::super::testing::TempDir;
use super::*;
use proptest::prelude::*;
use std::fs;

const HEADER: &str = "3 V7 N20 G0123456789abcdef0123456789abcdef\n";

fn mailbox(files: &[String], uidlist: Option<&str>) -> (TempDir, Maildir) {
    let dir = TempDir::maildir();
    files.iter().for_each(|file| dir.write(file, "x"));
    uidlist.into_iter().for_each(|text| dir.write(uidlist_file::NAME, text));
    let maildir = Maildir::open(dir.path()).unwrap();
    (dir, maildir)
}

fn long_ago(dir: &TempDir) {
    for name in ["new", "cur"] {
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
        fs::File::open(dir.path().join(name)).unwrap().set_modified(long_ago).unwrap();
    }
}

/// UID, flags, octets and name of each message, and the lines of the uidlist, with its next UID for a first word.
type Seen = (Vec<(u32, u16, u64, String)>, Vec<String>);

fn seen(dir: &TempDir, index: Vec<u8>) -> Seen {
    let index = Index::in_memory(index).unwrap();
    let (mut messages, modseq) = (Vec::new(), index.header.highest_modseq);
    let mut visit = |message: &Source<'_>| {
        let name = String::from_utf8(message.name.to_vec()).unwrap();
        assert_eq!((message.modseq, message.unique_id, message.guid), (modseq, None, None));
        messages.push((message.uid, message.flags, message.octets, name));
        Ok(())
    };
    index.for_each(&mut visit).unwrap();
    let text = dir.read(uidlist_file::NAME);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let list = UidList::parse(text.into_bytes()).unwrap();
    assert_eq!((list.uid_validity, list.next_uid), (index.header.uid_validity, index.header.next_uid));
    lines[0] = list.next_uid.to_string();
    (messages, lines)
}

fn looked(files: &[String], uidlist: Option<&str>, options: &Options<'_>) -> Option<Seen> {
    let (dir, maildir) = mailbox(files, uidlist);
    long_ago(&dir);
    let mut index = Vec::new();
    look(&maildir, options, stamps(&maildir).unwrap()).unwrap()?.write(&mut index).unwrap();
    Some(seen(&dir, index))
}

fn built(files: &[String], uidlist: Option<&str>, options: &Options<'_>) -> Seen {
    let (dir, maildir) = mailbox(files, uidlist);
    long_ago(&dir);
    let mut index = Vec::new();
    write_built(&mut index, &build::build(&maildir, options, None).unwrap()).unwrap();
    seen(&dir, index)
}

fn options(recent_of: Option<u64>) -> Options<'static> {
    Options { recent_of, count_octets: false, index_from: 0, fsync: false, ..Options::default() }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn it_comes_to_the_same_as_reading_everything() {
    let files = strings(&[
        "cur/100.M5P1.h:2,S",
        "cur/20.z.h:2,",
        "cur/20.a.h:2,FT",
        "cur/100.M40P1.h,S=3,W=5:2,S",
        "new/100.a.h",
        "new/300.b",
        "new/301.c:2,F",
        "new/302.d",
        "new/302.d,W=7",
        "cur/abc",
        "cur/.hidden",
        "new/two\nlines",
    ]);
    let known = format!("{HEADER}3 :300.b\n7 :20.z.h\n9 :gone\n11 :gone.too\n19 :100.M5P1.h\n");
    let many: Vec<String> = (0..400).map(|i| format!("cur/{}.M{i}P1.h:2,", 1000 - i % 50)).collect();
    for list in [None, Some(HEADER), Some(&known)] {
        for recent_of in [None, Some(5)] {
            for files in [&files, &many, &Vec::new()] {
                let want = built(files, list, &options(recent_of));
                assert_eq!(looked(files, list, &options(recent_of)).unwrap(), want);
            }
        }
    }
    let (dir, maildir) = mailbox(&many, None);
    let before = stamps(&maildir).unwrap();
    let found = look(&maildir, &options(Some(5)), before).unwrap().unwrap();
    assert_eq!((found.header.new, found.header.cur), before);
    // What is in new is still there, and nobody takes the index for current.
    dir.write("new/5.x", "x");
    let Ok(Some(found)) = look(&maildir, &options(Some(5)), stamps(&maildir).unwrap()) else { panic!() };
    assert_eq!((found.header.new, found.header.cur), Default::default());
    assert_eq!(dir.list("new"), ["5.x"]);
    assert_eq!(dir.list("").len(), 6, "{:?}", dir.list(""));
}

#[test]
fn what_is_not_plain_is_left_to_others() {
    let plain = strings(&["cur/1.a:2,", "cur/2.b:2,S", "new/3.c"]);
    let with = |more: &str| [plain.clone(), strings(&[more])].concat();
    assert!(looked(&plain, None, &options(None)).is_some());
    for list in [
        "",
        "garbage\n",
        "3 V7 N20\n1 :1.a\n",
        "1 7 20\n1 1.a\n",
        &format!("{HEADER}1 W5 :1.a\n"),
        &format!("{HEADER}1 :1.a"),
        &format!("{HEADER}1 :1.a\n1 :2.b\n"),
        &format!("{HEADER}1 :1.a\n2 :1.a\n"),
        &format!("{HEADER}1 :1.a:2,S\n"),
        &format!("{HEADER}1 :1.a\n\n"),
        &format!("{HEADER}4294967294 :1.a\n"),
        &format!("{HEADER}1 :{}\n", "x".repeat(70_000)),
    ] {
        assert!(looked(&plain, Some(list), &options(None)).is_none(), "{list:.80}");
    }
    for more in ["cur/1.a:2,S", "new/1.a", "cur/3.c:2,F"] {
        assert!(looked(&with(more), None, &options(None)).is_none(), "{more}");
        let list = format!("{HEADER}1 :1.a\n2 :2.b\n3 :3.c\n");
        assert!(looked(&with(more), Some(&list), &options(None)).is_none(), "{more}");
    }
    for courier in ["courierimapuiddb", "courierpop3dsizelist"] {
        assert!(looked(&with(courier), None, &options(None)).is_none());
        assert!(looked(&with(courier), Some(HEADER), &options(None)).is_some());
    }
}

#[test]
fn a_change_meanwhile_is_noticed_and_nothing_is_written() {
    let (dir, maildir) = mailbox(&strings(&["cur/1.a:2,"]), None);
    long_ago(&dir);
    let before = stamps(&maildir).unwrap();
    dir.write("cur/2.b:2,", "x");
    assert!(look(&maildir, &options(None), before).unwrap().is_none());
    assert_eq!(dir.list(""), ["cur", "new", "tmp"]);
    // A message may have been renamed just while the directory was read.
    dir.write(uidlist_file::NAME, &format!("{HEADER}1 :1.a\n2 :2.b\n3 :3.c\n"));
    assert!(look(&maildir, &options(None), stamps(&maildir).unwrap()).unwrap().is_none());
    long_ago(&dir);
    assert!(look(&maildir, &options(None), stamps(&maildir).unwrap()).unwrap().is_some());
}

#[test]
fn the_uidlist_of_another_program_is_waited_for() {
    let (_dir, maildir) = mailbox(&strings(&["cur/1.a:2,"]), None);
    let timeout = std::time::Duration::from_millis(20);
    let _lock = uidlist_file::lock(maildir.control(), timeout).unwrap();
    let options = Options { lock_timeout: timeout, ..options(None) };
    let error = look(&maildir, &options, stamps(&maildir).unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InUse);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_names_come_to_the_same(
        files in prop::collection::vec("(new|cur)/[1-4]?[0-3]\\.(M[12])?[ab](,W=7)?(:2,[FS]?)?", 0..25),
        listed in prop::collection::vec("[1-4]?[0-3]\\.(M[12])?[ab]", 0..12), recent: bool,
    ) {
        let mut files = files;
        files.sort();
        files.dedup();
        let lines: Vec<String> = (1..).zip(&listed).map(|(uid, base)| format!("{uid} :{base}\n")).collect();
        let list = format!("{HEADER}{}", lines.concat());
        let list = (!listed.is_empty()).then_some(list.as_str());
        let options = options(recent.then_some(5));
        if let Some(found) = looked(&files, list, &options) {
            prop_assert_eq!(found, built(&files, list, &options));
        }
    }
}
