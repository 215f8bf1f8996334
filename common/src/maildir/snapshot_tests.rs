use super::super::temp_index::TEMP_NAME;
use super::super::testing::TempDir;
use super::super::{Location, User};
use super::*;
use std::fs::File;
use std::time::SystemTime;

const GUID: &str = "0123456789abcdef0123456789abcdef";

/// An index file from the first message on.
fn options() -> Options<'static> {
    Options { fsync: false, lock_timeout: Duration::from_millis(50), index_from: 1, ..Options::default() }
}

fn open_with(dir: &TempDir, options: &Options<'_>) -> Snapshot {
    Snapshot::open(&Maildir::open(dir.path()).unwrap(), options).unwrap()
}

fn open(dir: &TempDir) -> Snapshot {
    open_with(dir, &options())
}

/// Lets the directories' last change be some time ago, as if the session came later.
fn age(dir: &TempDir) {
    for name in ["new", "cur"] {
        let directory = File::open(dir.path().join(name)).unwrap();
        directory.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
    }
}

fn listed(snapshot: &Snapshot) -> Vec<(u32, u64, String)> {
    let mut all = Vec::new();
    let walk = snapshot.for_each(0, |_, message| {
        all.push((message.uid, message.octets, String::from_utf8_lossy(message.name).into_owned()));
        true
    });
    walk.unwrap();
    all
}

fn ino(dir: &TempDir, name: &str) -> u64 {
    Stamp::at(&dir.path().join(name)).unwrap().ino
}

fn three(dir: &TempDir) {
    dir.write("new/30.c", "x\n");
    dir.write("cur/4.a:2,S", "yy\n");
    dir.write("cur/20.b,W=77:2,", "z");
}

#[test]
fn first_open_numbers_counts_and_records() {
    let dir = TempDir::maildir();
    three(&dir);
    let snapshot = open(&dir);
    let want = [(1, 4, "4.a:2,S".to_owned()), (2, 77, "20.b,W=77:2,".into()), (3, 3, "30.c".into())];
    assert_eq!(listed(&snapshot), want);
    assert_eq!((snapshot.total_octets(), snapshot.next_uid(), snapshot.unknown_octets()), (84, 4, 0));
    let list = dir.read("dovecot-uidlist");
    let (header, lines) = list.split_once('\n').unwrap();
    assert!(header.starts_with(&format!("3 V{} N4 G", snapshot.uid_validity())), "{header}");
    assert_eq!(lines, "1 W4 :4.a\n2 :20.b,W=77\n3 W3 :30.c\n");
    assert!(snapshot.get(2).unwrap().in_new);
    assert_eq!(snapshot.get(3).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(snapshot.uid_and_octets(0).unwrap(), (1, Some(4)));
}

#[test]
fn a_settled_index_is_used_and_nothing_is_written() {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    let first = open(&dir);
    let second = open(&dir);
    let index = ino(&dir, INDEX_NAME);
    // Were anything read, this damaged list would be noticed: but size, time and inode are the same.
    let list = fs::read(dir.path().join("dovecot-uidlist")).unwrap();
    let file = File::options().write(true).open(dir.path().join("dovecot-uidlist")).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![b'x'; list.len()], 0).unwrap();
    file.set_modified(time).unwrap();
    let third = open(&dir);
    assert_eq!(listed(&third), listed(&first));
    assert_eq!(listed(&third), listed(&second));
    assert_eq!(ino(&dir, INDEX_NAME), index);
    assert!(!dir.list("").iter().any(|name| name.ends_with(".tmp") || name.ends_with("uidlist.lock")));
}

#[test]
fn a_fresh_directory_is_looked_at_again() {
    let dir = TempDir::maildir();
    three(&dir);
    open(&dir);
    // The same time stamps as before, but one more message: as within one tick of the clock.
    let times: Vec<_> = ["new", "cur"]
        .map(|name| (name, fs::metadata(dir.path().join(name)).unwrap().modified().unwrap()))
        .into();
    dir.write("cur/5.d:2,", "new one\n");
    for (name, time) in times {
        File::open(dir.path().join(name)).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(open(&dir).len(), 4);
}

#[test]
fn changes_of_every_kind_are_seen() {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    open(&dir);
    fs::rename(dir.path().join("new/30.c"), dir.path().join("cur/30.c:2,S")).unwrap();
    fs::remove_file(dir.path().join("cur/4.a:2,S")).unwrap();
    dir.write("new/1.older", "\n");
    let want = [(2, 77, "20.b,W=77:2,".to_owned()), (3, 3, "30.c:2,S".into()), (4, 2, "1.older".into())];
    assert_eq!(listed(&open(&dir)), want);
}

#[test]
fn an_open_session_keeps_its_view() {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    open(&dir);
    let session = open(&dir);
    assert!(session.index.file().is_some());
    dir.write("new/99.z", "later\n");
    fs::remove_file(dir.path().join("cur/4.a:2,S")).unwrap();
    assert_eq!(open(&dir).len(), 3);
    assert_eq!(listed(&session).len(), 3);
    assert_eq!(session.get(0).unwrap().name, b"4.a:2,S");
}

#[test]
fn damaged_foreign_and_missing_indexes_are_rebuilt() {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    open(&dir);
    let want = listed(&open(&dir));
    let whole = fs::read(dir.path().join(INDEX_NAME)).unwrap();
    for bytes in [&b""[..], b"garbage", &whole[..whole.len() / 2], &[0; 8192], &whole[1..]] {
        fs::write(dir.path().join(INDEX_NAME), bytes).unwrap();
        assert_eq!(listed(&open(&dir)), want);
    }
    fs::remove_file(dir.path().join(INDEX_NAME)).unwrap();
    dir.write(TEMP_NAME, "left by a crash");
    dir.write("dovecot-uidlist.tmp", "left by a crash");
    assert_eq!(listed(&open(&dir)), want);
    assert_eq!(listed(&open(&dir)), want);
    assert!(ino(&dir, INDEX_NAME) != 0);
}

#[test]
fn an_index_from_another_maildir_does_not_count() {
    let (a, b) = (TempDir::maildir(), TempDir::maildir());
    for dir in [&a, &b] {
        three(dir);
        age(dir);
        open(dir);
    }
    let uid_validity = open(&a).uid_validity();
    b.write("cur/7.e:2,", "e\n");
    open(&b);
    fs::copy(b.path().join(INDEX_NAME), a.path().join(INDEX_NAME)).unwrap();
    assert_eq!((open(&a).len(), open(&a).uid_validity()), (3, uid_validity));
}

#[test]
fn small_mailboxes_get_no_index_file_and_keep_the_one_they_have() {
    let dir = TempDir::maildir();
    three(&dir);
    let snapshot = open_with(&dir, &Options { index_from: 4, ..options() });
    assert_eq!((snapshot.len(), ino(&dir, INDEX_NAME), ino(&dir, TEMP_NAME)), (3, 0, 0));
    open(&dir);
    assert_ne!(ino(&dir, INDEX_NAME), 0);
    fs::remove_file(dir.path().join("cur/4.a:2,S")).unwrap();
    let before = ino(&dir, INDEX_NAME);
    open_with(&dir, &Options { index_from: 4, ..options() });
    assert!(ino(&dir, INDEX_NAME) != before && ino(&dir, INDEX_NAME) != 0);
}

fn uids(snapshot: &Snapshot) -> Vec<u32> {
    listed(snapshot).iter().map(|message| message.0).collect()
}

#[test]
fn a_uidlist_without_its_end_gets_it_back() {
    let dir = TempDir::maildir();
    three(&dir);
    let first = open(&dir);
    let text = dir.read("dovecot-uidlist");
    dir.write("dovecot-uidlist", text.trim_end());
    let second = open(&dir);
    assert_eq!(second.uid_validity(), first.uid_validity());
    assert_eq!((listed(&second), second.next_uid()), (listed(&first), 4));
    assert!(dir.read("dovecot-uidlist").ends_with("\n3 :30.c\n"));
    // Without an index nobody knows whose the lost UID was.
    dir.write("dovecot-uidlist", text.trim_end());
    fs::remove_file(dir.path().join(INDEX_NAME)).unwrap();
    assert_eq!(uids(&open(&dir)), [1, 2, 4]);
}

#[test]
fn a_lost_or_broken_uidlist_comes_back_from_the_index() {
    let dir = TempDir::maildir();
    three(&dir);
    let list = format!("3 V5 N9 G{GUID}\n2 P :4.a\n4 PUID7 Gabc :20.b,W=77\n7 :30.c\n");
    dir.write("dovecot-uidlist", &list);
    let first = open(&dir);
    let want = listed(&first);
    for lost in [true, false] {
        match lost {
            true => fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap(),
            false => dir.write("dovecot-uidlist", "not a list\n"),
        }
        let again = open(&dir);
        assert_eq!((again.uid_validity(), again.next_uid(), listed(&again)), (5, 9, want.clone()));
        assert_eq!(again.get(1).unwrap().unique_id.as_deref(), Some(&b"UID7"[..]));
        assert_eq!(again.get(1).unwrap().guid.as_deref(), Some(&b"abc"[..]));
        assert!(dir.read("dovecot-uidlist").contains("4 PUID7 Gabc :20.b,W=77\n"));
    }
}

#[test]
fn after_a_loss_nobody_gets_a_uid_that_may_have_been_another_s() {
    let dir = TempDir::maildir();
    three(&dir);
    let first = open(&dir);
    dir.write("new/99.z", "perhaps numbered by another program\n");
    fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap();
    let second = open(&dir);
    assert_eq!(second.uid_validity(), first.uid_validity());
    let uids = uids(&second);
    assert!(uids[..3] == [1, 2, 3] && uids[3] > 1_000_000, "{uids:?}");
}

#[test]
fn a_damaged_or_foreign_index_restores_nothing() {
    let (a, b) = (TempDir::maildir(), TempDir::maildir());
    three(&a);
    let first = open(&a);
    let mut bytes = fs::read(a.path().join(INDEX_NAME)).unwrap();
    // The last octets of content: the names.
    bytes[300] ^= 1;
    fs::write(a.path().join(INDEX_NAME), &bytes).unwrap();
    fs::remove_file(a.path().join("dovecot-uidlist")).unwrap();
    let second = open(&a);
    assert!(second.uid_validity() > first.uid_validity());
    b.write("cur/7.e:2,", "e\n");
    fs::copy(a.path().join(INDEX_NAME), b.path().join(INDEX_NAME)).unwrap();
    assert_eq!(listed(&open(&b)), [(1, 3, "7.e:2,".to_owned())]);
}

#[test]
fn pop3_order_survives_a_lost_uidlist() {
    let dir = TempDir::maildir();
    three(&dir);
    let list = format!("3 V5 N9 G{GUID}\n2 O3 :4.a\n4 O1 :20.b,W=77\n7 O2 :30.c\n");
    dir.write("dovecot-uidlist", &list);
    assert_eq!(uids(&open(&dir)), [4, 7, 2]);
    fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap();
    assert_eq!(uids(&open(&dir)), [4, 7, 2]);
}

#[test]
fn the_end_of_the_uids_gives_a_new_uidvalidity() {
    let dir = TempDir::maildir();
    three(&dir);
    dir.write("dovecot-uidlist", &format!("3 V5 N4294967294 G{GUID}\n4294967293 PUID7 :4.a\n"));
    let snapshot = open(&dir);
    assert!(snapshot.uid_validity() > 5);
    assert_eq!(listed(&snapshot).iter().map(|message| message.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(snapshot.get(0).unwrap().unique_id.as_deref(), Some(&b"UID7"[..]));
}

#[test]
fn of_two_lines_for_one_file_the_later_counts() {
    let dir = TempDir::maildir();
    dir.write("cur/4.a:2,S", "x\n");
    dir.write("dovecot-uidlist", &format!("3 V5 N9 G{GUID}\n1 :4.a\n3 :4.a\n"));
    assert_eq!(listed(&open(&dir)), [(3, 3, "4.a:2,S".to_owned())]);
}

#[test]
fn somebody_else_s_lock_hides_only_what_has_no_uid() {
    let dir = TempDir::maildir();
    three(&dir);
    open(&dir);
    dir.write("new/99.z", "later\n");
    dir.write("dovecot-uidlist.lock", "1:elsewhere");
    let snapshot = open(&dir);
    assert_eq!((snapshot.len(), snapshot.incomplete().unwrap().kind), (3, ErrorKind::InUse));
    fs::remove_file(dir.path().join("dovecot-uidlist.lock")).unwrap();
    let snapshot = open(&dir);
    assert!(snapshot.incomplete().is_none());
    assert_eq!(listed(&snapshot)[3], (4, 7, "99.z".to_owned()));
}

#[test]
fn without_any_recorded_uid_one_message_is_shown() {
    let dir = TempDir::maildir();
    three(&dir);
    dir.write("dovecot-uidlist.lock", "1:elsewhere");
    let snapshot = open(&dir);
    assert_eq!(snapshot.len(), 1);
    let message = snapshot.get(0).unwrap();
    assert_eq!(message.name, b"4.a:2,S");
    let id = String::from_utf8(message.unique_id.unwrap()).unwrap();
    assert!(id.starts_with("ENOMEM-") && id.matches('-').count() == 3, "{id}");
    assert_eq!(ino(&dir, INDEX_NAME), 0);
    // Another message does not get its UID, and it keeps it.
    let called = |snapshot: &Snapshot| (snapshot.uid_validity(), snapshot.get(0).unwrap().uid);
    assert_eq!(called(&open(&dir)), called(&snapshot));
    fs::remove_file(dir.path().join("cur/4.a:2,S")).unwrap();
    let other = open(&dir);
    assert_ne!(other.uid_validity(), snapshot.uid_validity());
    fs::remove_file(dir.path().join("dovecot-uidlist.lock")).unwrap();
    let recorded = open(&dir).uid_validity();
    assert!(recorded != other.uid_validity() && recorded != snapshot.uid_validity());
}

#[test]
fn sizes_can_be_counted_later() {
    let dir = TempDir::maildir();
    three(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    let mut snapshot = open_with(&dir, &Options { count_octets: false, ..options() });
    assert_eq!((snapshot.unknown_octets(), snapshot.total_octets()), (2, 77));
    assert_eq!(snapshot.get(0).unwrap().octets, None);
    fs::remove_file(dir.path().join("new/30.c")).unwrap();
    snapshot.ensure_sizes(&maildir, &options()).unwrap();
    assert_eq!((snapshot.unknown_octets(), snapshot.total_octets()), (0, 81));
    assert!(snapshot.get(2).unwrap().vanished);
    assert!(dir.read("dovecot-uidlist").contains("1 W4 :4.a\n"));
}

#[test]
fn who_holds_the_lock_can_count_and_record() {
    let dir = TempDir::maildir();
    let uncounted = Options { count_octets: false, ..options() };
    (0..40).for_each(|i| dir.write(&format!("cur/{i}.a:2,S"), "a\n"));
    age(&dir);
    let mut snapshot = open_with(&dir, &uncounted);
    let maildir = Maildir::open(dir.path()).unwrap();
    let lock = uidlist_file::lock(dir.path(), Duration::ZERO).unwrap();
    let held = Options { held_lock: Some(&lock), lock_timeout: Duration::from_secs(30), ..options() };
    snapshot.ensure_sizes(&maildir, &held).unwrap();
    assert!(lock.is_held());
    assert!(dir.read("dovecot-uidlist").contains("\n1 W3 :0.a\n"));
    drop(lock);
    assert!(!dir.list("").contains(&"dovecot-uidlist.lock".to_owned()));
}

/// Three old messages, and options that leave their octets for later.
fn three_uncounted() -> (TempDir, Maildir, Options<'static>) {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    (dir, maildir, Options { count_octets: false, ..options() })
}

#[test]
fn sizes_counted_later_are_in_the_index_of_the_next_session() {
    let (dir, maildir, later) = three_uncounted();
    let mut snapshot = open_with(&dir, &later);
    let before = listed(&snapshot).iter().map(|m| (m.0, m.2.clone())).collect::<Vec<_>>();
    snapshot.ensure_sizes(&maildir, &later).unwrap();
    assert!(snapshot.index.file().is_some());
    assert_eq!(listed(&snapshot).iter().map(|m| (m.0, m.2.clone())).collect::<Vec<_>>(), before);
    assert_eq!((snapshot.unknown_octets(), snapshot.total_octets()), (0, 84));
    let (index, list) = (ino(&dir, INDEX_NAME), ino(&dir, "dovecot-uidlist"));
    let next = open_with(&dir, &later);
    assert_eq!((next.unknown_octets(), listed(&next)), (0, listed(&snapshot)));
    assert_eq!((ino(&dir, INDEX_NAME), ino(&dir, "dovecot-uidlist")), (index, list));
    assert_eq!(ino(&dir, TEMP_NAME), 0);
}

#[test]
fn counting_goes_on_where_its_time_was_over() {
    for index_from in [1, 128] {
        let dir = TempDir::maildir();
        three(&dir);
        age(&dir);
        let maildir = Maildir::open(dir.path()).unwrap();
        let later = Options { count_octets: false, count_time: Duration::ZERO, index_from, ..options() };
        let mut snapshot = open_with(&dir, &later);
        let error = snapshot.ensure_sizes(&maildir, &later).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Temp);
        assert!(error.to_string().contains("2 messages are still to be counted"), "{error}");
        assert_eq!((snapshot.len(), snapshot.unknown_octets()), (3, 2));
        snapshot.ensure_sizes(&maildir, &options()).unwrap();
        assert_eq!((snapshot.unknown_octets(), snapshot.total_octets()), (0, 84));
    }
}

#[test]
fn a_message_too_large_to_count_has_no_octets() {
    let dir = TempDir::maildir();
    three(&dir);
    File::create(dir.path().join("cur/9.hole:2,S")).unwrap().set_len(1 << 42).unwrap();
    age(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    let brief = Options { count_octets: false, count_time: Duration::from_millis(300), ..options() };
    let mut snapshot = open_with(&dir, &brief);
    // Whether the others were counted in what it left of the time is a matter of their order.
    let _ = snapshot.ensure_sizes(&maildir, &brief);
    snapshot.ensure_sizes(&maildir, &brief).unwrap();
    assert_eq!((snapshot.len(), snapshot.unknown_octets(), snapshot.total_octets()), (4, 0, 84));
    assert!((0..4).any(|i| snapshot.get(i).unwrap().vanished));
}

#[test]
fn an_index_in_memory_leaves_none_on_disk() {
    let dir = TempDir::maildir();
    three(&dir);
    age(&dir);
    // One from the time before is neither read nor removed.
    dir.write(INDEX_NAME, "left over");
    let home = dir.path().to_owned();
    let setting = format!("maildir:{}:INDEX=MEMORY", home.display());
    let location = Location::parse(&setting, User { name: "ann", home: &home }).unwrap();
    let maildir = Maildir::open_location(&location, true).unwrap();
    for count_octets in [true, false, true] {
        let options = Options { count_octets, ..options() };
        let mut snapshot = Snapshot::open(&maildir, &options).unwrap();
        assert!(snapshot.index.file().is_none());
        snapshot.ensure_sizes(&maildir, &options).unwrap();
        assert_eq!((snapshot.len(), snapshot.unknown_octets(), snapshot.total_octets()), (3, 0, 84));
    }
    assert_eq!(dir.read(INDEX_NAME), "left over");
    assert_eq!(ino(&dir, TEMP_NAME), 0);
}

#[test]
fn an_index_put_there_meanwhile_stays() {
    let (dir, maildir, later) = three_uncounted();
    let mut snapshot = open_with(&dir, &later);
    dir.write("new/99.z", "later\n");
    open(&dir);
    let index = ino(&dir, INDEX_NAME);
    snapshot.ensure_sizes(&maildir, &later).unwrap();
    assert_eq!((snapshot.len(), snapshot.unknown_octets()), (3, 0));
    assert_eq!((ino(&dir, INDEX_NAME), ino(&dir, TEMP_NAME)), (index, 0));
}

#[test]
fn messages_that_moved_are_counted_where_they_are() {
    let dir = TempDir::maildir();
    three(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    for index_from in [100, 1] {
        let later = Options { count_octets: false, index_from, ..options() };
        fs::write(dir.path().join(format!("new/5{index_from}.x")), "four").unwrap();
        let mut snapshot = open_with(&dir, &later);
        let moved = dir.path().join(format!("cur/5{index_from}.x:2,S"));
        fs::rename(dir.path().join(format!("new/5{index_from}.x")), moved).unwrap();
        snapshot.ensure_sizes(&maildir, &later).unwrap();
        let last = snapshot.get(snapshot.len() - 1).unwrap();
        assert_eq!((last.octets, last.vanished), (Some(4), false));
        assert_eq!(snapshot.index.file().is_some(), index_from == 1);
    }
}

#[test]
fn large_directories_with_few_messages_cost_no_writes() {
    let dir = TempDir::maildir();
    three(&dir);
    for i in 0..2000 {
        dir.write(&format!("cur/{i}.with-a-name-that-makes-the-directory-large:2,"), "");
    }
    for i in 0..2000 {
        fs::remove_file(dir.path().join(format!("cur/{i}.with-a-name-that-makes-the-directory-large:2,")))
            .unwrap();
    }
    let few = Options { index_from: 128, ..options() };
    open_with(&dir, &few);
    let before = Stamp::at(dir.path()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(open_with(&dir, &few).len(), 3);
    assert_eq!(Stamp::at(dir.path()).unwrap(), before);
}

#[test]
fn two_files_with_one_base_become_two_messages() {
    let dir = TempDir::maildir();
    dir.write("cur/1.a:2,", "one\n");
    dir.write("cur/1.a:2,S", "second\n");
    let snapshot = open(&dir);
    let mut octets: Vec<u64> = listed(&snapshot).iter().map(|message| message.1).collect();
    octets.sort_unstable();
    assert_eq!(octets, [5, 8]);
}

#[test]
fn an_empty_maildir() {
    let dir = TempDir::new();
    let snapshot = open(&dir);
    assert!(snapshot.is_empty());
    assert_eq!(snapshot.uid_validity(), open(&dir).uid_validity());
}
