use super::super::testing::TempDir;
use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

pub(super) const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };
const EXAMINE: OpenOptions = OpenOptions { read_only: true, ..OPTIONS };

fn maildir(dir: &TempDir) -> Maildir {
    Maildir::open(dir.path()).unwrap()
}

pub(super) fn with_messages(count: u32) -> (TempDir, Maildir) {
    let dir = TempDir::maildir();
    (1..=count).for_each(|i| dir.write(&format!("cur/{i}.m:2,"), "Subject: x\n\ntext\n"));
    let maildir = maildir(&dir);
    (dir, maildir)
}

pub(super) fn events(mailbox: &mut Mailbox, may_expunge: bool) -> Vec<Event> {
    let mut events = Vec::new();
    mailbox.sync(may_expunge, &mut |event| events.push(event)).unwrap();
    mailbox.tidy();
    events
}

pub(super) fn set(mailbox: &mut Mailbox, msns: MsnSet, how: How, bits: u8, keywords: &[&str]) -> Stored {
    mailbox.store_flags(&msns, &FlagChange { how, bits, keywords, silent: false }, None).unwrap()
}

/// The directory is as old as a settled one.
pub(super) fn settle(dir: &TempDir) {
    for name in ["new", "cur"] {
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(100);
        fs::File::open(dir.path().join(name)).unwrap().set_modified(long_ago).unwrap();
    }
}

#[test]
fn an_empty_mailbox() {
    let (_dir, maildir) = with_messages(0);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((mailbox.len(), mailbox.next_uid(), mailbox.recent()), (0, 1, 0));
    assert!(mailbox.uid_validity() > 0 && mailbox.first_unseen().unwrap().is_none());
    assert_eq!(events(&mut mailbox, true), []);
    assert!(mailbox.info(1).is_err() && mailbox.info(0).is_err());
}

#[test]
fn new_mail_moves_to_cur_and_is_recent_for_one_session() {
    let dir = TempDir::maildir();
    dir.write("new/1.a", "x\n");
    dir.write("cur/0.a:2,S", "x\n");
    let maildir = maildir(&dir);
    let looking = Mailbox::open(&maildir, &EXAMINE).unwrap();
    assert_eq!((looking.len(), looking.recent(), dir.list("new").len()), (2, 1, 1));
    let mut first = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((first.len(), first.recent(), first.first_unseen().unwrap()), (2, 1, Some(2)));
    assert_eq!(dir.list("cur"), ["0.a:2,S", "1.a:2,"]);
    assert!(first.info(2).unwrap().recent && !first.info(1).unwrap().recent);
    let second = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((second.len(), second.recent()), (2, 0));
    dir.write("new/2.a", "x\n");
    settle(&dir);
    assert_eq!(events(&mut first, false), [Event::Exists(3), Event::Recent(2)]);
    assert_eq!(first.info(3).unwrap().uid, 3);
    assert_eq!(dir.list("new"), Vec::<String>::new());
}

#[test]
fn a_delivery_does_not_have_cur_read_again() {
    let (dir, maildir) = with_messages(3);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    settle(&dir);
    assert_eq!(events(&mut mailbox, true), []);
    // Nobody can see this change: only who reads the directory finds it.
    let cur = fs::File::open(dir.path().join("cur")).unwrap();
    let before = cur.metadata().unwrap().modified().unwrap();
    let first = dir.list("cur").remove(0);
    fs::rename(dir.path().join("cur").join(&first), dir.path().join(format!("cur/{first}F"))).unwrap();
    cur.set_modified(before).unwrap();
    dir.write("new/9.m", "m");
    assert_eq!(events(&mut mailbox, true), [Event::Exists(4), Event::Recent(1)]);
    assert!(mailbox.info(4).unwrap().recent && dir.list("new").is_empty());
    assert_eq!(mailbox.info(1).unwrap().flags.bits, 0);
    // Once the time stamp is old enough to be believed, it is read.
    settle(&dir);
    events(&mut mailbox, true);
    assert_eq!(mailbox.info(1).unwrap().flags.bits, Flags::FLAGGED);
}

#[test]
fn flags_are_seen_by_others_once_and_in_order() {
    let (dir, maildir) = with_messages(5);
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let before = a.highest_modseq();
    set(&mut a, vec![2..=3], How::Add, Flags::SEEN | Flags::FLAGGED, &["$Label"]);
    assert_eq!(events(&mut a, false), [Event::Keywords, Event::Flags(2), Event::Flags(3)]);
    assert_eq!(events(&mut a, false), []);
    assert_eq!(events(&mut b, false), [Event::Keywords, Event::Flags(2), Event::Flags(3)]);
    assert_eq!(events(&mut b, false), []);
    assert_eq!(b.info(2).unwrap(), a.info(2).unwrap());
    assert_eq!((b.info(2).unwrap().modseq, b.highest_modseq()), (before + 1, before + 1));
    assert_eq!(b.keywords(), [Box::<str>::from("$Label")]);
    assert!(dir.list("cur").contains(&"2.m:2,FSa".to_owned()));
    // Somebody else's rename.
    fs::rename(dir.path().join("cur/2.m:2,FSa"), dir.path().join("cur/2.m:2,R")).unwrap();
    settle(&dir);
    assert_eq!(events(&mut b, false), [Event::Flags(2)]);
    assert_eq!(b.info(2).unwrap().flags, Flags { bits: Flags::ANSWERED, keywords: 0 });
    assert_eq!(events(&mut a, false), [Event::Flags(2)]);
    assert!(b.info(2).unwrap().modseq > before + 1);
}

#[test]
fn silent_changes_tell_only_the_modification_sequence() {
    let (_dir, maildir) = with_messages(2);
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let change = FlagChange { how: How::Replace, bits: Flags::SEEN, keywords: &[], silent: true };
    a.store_flags(&vec![1..=2], &change, None).unwrap();
    assert_eq!(events(&mut a, false), [Event::Modseq(1), Event::Modseq(2)]);
    let since = a.highest_modseq();
    set(&mut a, vec![2..=2], How::Add, Flags::FLAGGED, &[]);
    let stored = a.store_flags(&vec![1..=2], &change, Some(since)).unwrap();
    assert_eq!(stored.modified, [2]);
    assert_eq!(a.info(2).unwrap().flags.bits, Flags::SEEN | Flags::FLAGGED);
}

#[test]
fn expunged_messages_keep_their_numbers_until_it_is_said() {
    let (dir, maildir) = with_messages(5);
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    set(&mut a, vec![2..=2, 4..=4], How::Add, Flags::DELETED, &[]);
    a.expunge(&vec![1..=4]).unwrap();
    assert_eq!(events(&mut b, false), [Event::Flags(2), Event::Flags(4)]);
    assert_eq!((b.len(), b.uid(5).unwrap()), (5, 5));
    assert_eq!(b.open_message(2).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(events(&mut b, true), [Event::Expunge(4), Event::Expunge(2)]);
    assert_eq!((b.len(), b.uid(2).unwrap(), b.uid(3).unwrap()), (3, 3, 5));
    assert_eq!(b.msn_at_or_after(4).unwrap(), 3);
    assert_eq!(b.msn_at_or_after(6).unwrap(), 4);
    assert_eq!(events(&mut a, true), [Event::Expunge(4), Event::Expunge(2)]);
    assert_eq!(dir.list("cur").len(), 3);
    let c = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((c.len(), c.uid(3).unwrap(), c.next_uid()), (3, 5, 6));
}

#[test]
fn appended_messages() {
    let (dir, maildir) = with_messages(1);
    let mut b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
    append.message(0, &[], Some(1000)).unwrap();
    for octet in b"Subject: one\r\n\r\nlone \r stays\r\n" {
        append.write(&[*octet]).unwrap();
    }
    append.message(Flags::SEEN, &["k"], None).unwrap();
    append.write(b"two\r\n\n").unwrap();
    let appended = append.finish().unwrap();
    assert_eq!(appended, Appended { uid_validity: b.uid_validity(), uids: vec![(2, 3)] });
    assert_eq!(events(&mut b, false)[0], Event::Exists(3));
    assert_eq!((b.octets(2, &|| true).unwrap(), b.octets(3, &|| true).unwrap()), (30, 7));
    assert_eq!(b.internal_date(2).unwrap(), 1000);
    assert_eq!(b.info(3).unwrap().flags, Flags { bits: Flags::SEEN, keywords: 1 });
    let mut text = String::new();
    io::Read::read_to_string(&mut b.open_message(2).unwrap(), &mut text).unwrap();
    assert_eq!(text, "Subject: one\n\nlone \r stays\n");
    assert!(dir.list("tmp").is_empty());
    let sized = dir.list("cur").into_iter().any(|name| name.contains(",S=5,W=7:2,Sa"));
    assert!(sized, "{:?}", dir.list("cur"));
    // One that is not finished was never there.
    let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
    append.message(0, &[], None).unwrap();
    append.write(b"x").unwrap();
    drop(append);
    assert!(dir.list("tmp").is_empty());
    let status = status(&maildir, &OPTIONS, true, &|| true, &mut |_| {}).unwrap();
    assert_eq!((status.messages, status.unseen, status.next_uid), (3, 2, 4));
    assert_eq!(status.size, Some(30 + 7 + 20));
}

#[test]
fn copies_and_moves() {
    let (_from, maildir_a) = with_messages(3);
    let (to, maildir_b) = with_messages(1);
    let mut a = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    set(&mut a, vec![2..=2], How::Add, Flags::SEEN, &["Work"]);
    events(&mut a, true);
    let copied = a.copy_to(&vec![1..=2], &maildir_b, false).unwrap();
    assert_eq!((copied.source, copied.destination), (vec![(1, 2)], vec![(2, 3)]));
    let moved = a.copy_to(&vec![3..=3], &maildir_b, true).unwrap();
    assert_eq!((moved.source, moved.destination), (vec![(3, 3)], vec![(4, 4)]));
    assert_eq!(events(&mut a, true), [Event::Expunge(3)]);
    let b = Mailbox::open(&maildir_b, &OPTIONS).unwrap();
    assert_eq!((b.len(), b.keywords().len()), (4, 1));
    assert_eq!(b.info(3).unwrap().flags, Flags { bits: Flags::SEEN, keywords: 1 });
    assert!(to.list("tmp").is_empty());
    // Into itself.
    let copied = a.copy_to(&vec![1..=1], &maildir_a, false).unwrap();
    assert_eq!(copied.destination, [(4, 4)]);
    assert_eq!(events(&mut a, true)[0], Event::Exists(3));
    let moved = a.copy_to(&vec![1..=1], &maildir_a, true).unwrap();
    assert_eq!((moved.source, moved.destination), (vec![(1, 1)], vec![(5, 5)]));
    let told = events(&mut a, true);
    assert!(told.contains(&Event::Expunge(1)) && told.contains(&Event::Exists(3)), "{told:?}");
}

/// Flags that another session has set, or another program, since this one has last heard of any.
#[test]
fn copies_have_the_flags_of_the_moment() {
    let (from, maildir_a) = with_messages(3);
    let (_to, maildir_b) = with_messages(1);
    let mut a = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    let mut other = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    set(&mut other, vec![1..=2], How::Add, Flags::FLAGGED, &["Work"]);
    let name = from.list("cur").into_iter().find(|name| name.ends_with(":2,")).unwrap();
    fs::rename(from.path().join("cur").join(&name), from.path().join("cur").join(format!("{name}S")))
        .unwrap();
    settle(&from);
    a.copy_to(&vec![1..=1], &maildir_b, false).unwrap();
    a.copy_to(&vec![2..=3], &maildir_b, true).unwrap();
    let b = Mailbox::open(&maildir_b, &OPTIONS).unwrap();
    let flags: Vec<Flags> = (2..=4).map(|msn| b.info(msn).unwrap().flags).collect();
    let flagged = Flags { bits: Flags::FLAGGED, keywords: 1 };
    assert_eq!(flags, [flagged, flagged, Flags { bits: Flags::SEEN, keywords: 0 }]);
}

/// What moves is renamed: there is no moment at which it is in both mailboxes or in none.
#[test]
fn a_message_that_moves_stays_the_same_file() {
    let (from, maildir_a) = with_messages(2);
    let (to, maildir_b) = with_messages(1);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let name = from.list("cur").first().cloned().unwrap();
    let (path, before) = (from.path().join("cur").join(&name), inode(&from.path().join("cur").join(&name)));
    let keeps_it = fs::File::open(&path).unwrap();
    let mut a = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    // Another session has given it a flag meanwhile.
    let mut other = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    set(&mut other, vec![1..=1], How::Add, Flags::FLAGGED, &[]);
    a.copy_to(&vec![1..=1], &maildir_b, true).unwrap();
    assert_eq!((from.list("cur").len(), to.list("tmp").len()), (1, 0));
    let in_part =
        |part| to.list(part).into_iter().map(|name| inode(&to.path().join(part).join(name))).collect();
    let there: Vec<Vec<u64>> = ["cur", "new"].into_iter().map(in_part).collect();
    let there = there.concat();
    assert!(there.contains(&before), "{there:?}");
    assert_eq!(keeps_it.metadata().unwrap().nlink(), 1);
}

/// More than are kept in memory.
#[test]
fn many_are_copied_and_moved() {
    let (from, maildir_a) = with_messages(3000);
    let (to, maildir_b) = with_messages(1);
    let mut a = Mailbox::open(&maildir_a, &OPTIONS).unwrap();
    set(&mut a, vec![1..=1000], How::Add, Flags::SEEN, &[]);
    events(&mut a, true);
    let moved = a.copy_to(&vec![1..=2000], &maildir_b, true).unwrap();
    assert_eq!((moved.source, moved.destination), (vec![(1, 2000)], vec![(2, 2001)]));
    let told = events(&mut a, true);
    assert_eq!((told.len(), told.first(), a.len()), (2000, Some(&Event::Expunge(2000)), 1000));
    let copied = a.copy_to(&vec![1..=1000], &maildir_b, false).unwrap();
    assert_eq!((copied.source, copied.destination), (vec![(2001, 3000)], vec![(2002, 3001)]));
    // A log as long as that becomes an index at the next opportunity.
    let log = to.path().join(log::NAME);
    assert!(fs::metadata(&log).unwrap().len() > 100_000);
    let b = Mailbox::open(&maildir_b, &OPTIONS).unwrap();
    assert_eq!((b.len(), from.list("cur").len(), to.list("tmp").len()), (3001, 1000, 0));
    let seen = (1..=3001).filter(|&msn| b.info(msn).unwrap().flags.bits & Flags::SEEN != 0);
    assert_eq!(seen.count(), 1000);
}

#[test]
fn dates_that_were_asked_for_are_known_to_the_next_session() {
    let (dir, maildir) = with_messages(100);
    let then = std::time::UNIX_EPOCH + Duration::from_secs(77);
    fs::File::open(dir.path().join("cur/7.m:2,")).unwrap().set_modified(then).unwrap();
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let uid = (1..=100).find(|&msn| a.internal_date(msn).unwrap() == 77).unwrap();
    assert_eq!(a.info(uid).unwrap().internal_date, None);
    a.learn_date(uid, 77);
    assert!((1..=100).all(|msn| a.internal_date(msn).is_ok()));
    assert_eq!(events(&mut a, true), []);
    assert_eq!(a.info(uid).unwrap().internal_date, Some(77));
    let b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert!((1..=100).all(|msn| b.info(msn).unwrap().internal_date.is_some()));
}

#[test]
fn modification_sequences_survive_every_rebuild_but_not_the_index() {
    let (dir, maildir) = with_messages(200);
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    for i in 0..40 {
        set(&mut a, vec![1..=100], if i % 2 == 0 { How::Add } else { How::Remove }, Flags::SEEN, &[]);
        events(&mut a, true);
    }
    let (highest, seventh) = (a.highest_modseq(), a.info(7).unwrap().modseq);
    assert!(highest > 30);
    for i in 0..150 {
        fs::rename(
            dir.path().join(format!("cur/{}.m:2,", i + 1)),
            dir.path().join(format!("cur/{}.m:2,F", i + 1)),
        )
        .unwrap();
    }
    settle(&dir);
    drop(a);
    let b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((b.highest_modseq(), b.info(7).unwrap().modseq), (highest + 1, highest + 1));
    assert_eq!(b.info(180).unwrap().modseq, 1);
    assert!(seventh <= highest);
    // POP3 rebuilds it too.
    fs::remove_file(dir.path().join("cur/200.m:2,")).unwrap();
    settle(&dir);
    super::super::Snapshot::open(&maildir, &super::super::Options::default()).unwrap();
    let c = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((c.len(), c.info(7).unwrap().modseq), (199, highest + 1));
    assert!(c.highest_modseq() > highest + 1);
}

#[test]
fn a_removed_mailbox_and_one_in_its_place_are_noticed() {
    let (dir, maildir) = with_messages(2);
    let mut a = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut b = Mailbox::open(&maildir, &OPTIONS).unwrap();
    for name in ["dovecot-uidlist", super::super::INDEX_NAME, log::NAME, "dovecot-uidvalidity"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    settle(&dir);
    // The directories are the same: so are the UIDs, from what this session knows.
    let again = a.sync(true, &mut |_| {});
    assert!(again.is_ok() || again.unwrap_err().kind == ErrorKind::NotFound);
    fs::remove_dir_all(dir.path().join("cur")).unwrap();
    assert_eq!(b.sync(true, &mut |_| {}).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn without_a_place_for_the_index_the_session_works_all_the_same() {
    let (dir, maildir) = with_messages(3);
    // What is a directory cannot be a lock.
    fs::create_dir(dir.path().join("tinmail-index.lock")).unwrap();
    let mut a = match Mailbox::open(&maildir, &OPTIONS) {
        Ok(mailbox) => mailbox,
        Err(error) => panic!("{error}"),
    };
    set(&mut a, vec![1..=1], How::Add, Flags::DELETED, &[]);
    assert_eq!(events(&mut a, true), [Event::Flags(1)]);
    a.expunge(&vec![1..=3]).unwrap();
    assert_eq!(events(&mut a, true), [Event::Expunge(1)]);
    dir.write("new/9.x", "x\n");
    settle(&dir);
    assert_eq!(events(&mut a, true), [Event::Exists(3), Event::Recent(1)]);
}

#[test]
fn files_have_the_rights_of_their_directory() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, want) in [(0o700, 0o600), (0o770, 0o660), (0o755, 0o640), (0o2775, 0o664)] {
        let (dir, maildir) = with_messages(2);
        for name in ["", "cur", "new", "tmp"] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
        set(&mut mailbox, vec![1..=1], How::Add, Flags::SEEN, &["$x"]);
        mailbox.cache(1, b"digest");
        drop(mailbox);
        let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
        append.message(0, &[], None).unwrap();
        append.write(b"x: y\n").unwrap();
        append.finish().unwrap();
        let new = format!("new/{}", dir.list("new")[0]);
        let ours = ["dovecot-uidlist", "dovecot-keywords", "tinmail-index", "tinmail-index.log"];
        for name in ours.into_iter().chain(["tinmail-index.lock", "tinmail-cache", "tinmail-cache.map", &new])
        {
            let found = fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, want, "{name} in {mode:o}: {found:o}");
        }
    }
}

#[test]
fn what_comes_back_gets_a_new_uid() {
    for slowly in [false, true] {
        let (dir, maildir) = with_messages(3);
        let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
        fs::remove_file(dir.path().join("cur/2.m:2,")).unwrap();
        assert_eq!(events(&mut mailbox, true), [Event::Expunge(2)]);
        dir.write("cur/2.m:2,S", "Subject: x\n\ntext\n");
        if slowly {
            // Another program has written the list anew.
            let text = fs::read(dir.path().join("dovecot-uidlist")).unwrap();
            fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap();
            fs::write(dir.path().join("dovecot-uidlist"), text).unwrap();
        }
        assert_eq!(events(&mut mailbox, true)[0], Event::Exists(3), "{slowly}");
        let uids = |mailbox: &Mailbox| (1..=3).map(|msn| mailbox.uid(msn).unwrap()).collect::<Vec<_>>();
        assert_eq!(uids(&mailbox), [1, 3, 4]);
        assert_eq!(uids(&Mailbox::open(&maildir, &OPTIONS).unwrap()), [1, 3, 4]);
    }
}

#[test]
fn modification_sequences_that_are_not_kept_are_none() {
    let (dir, _) = with_messages(1);
    let text = format!("maildir:{}:INDEX=MEMORY", dir.path().display());
    let user = crate::maildir::User { name: "ann", home: dir.path() };
    let location = crate::maildir::Location::parse(&text, user).unwrap();
    let maildir = Maildir::open_location(&location, true).unwrap();
    assert!(!Mailbox::open(&maildir, &OPTIONS).unwrap().keeps_modseq());
    assert_eq!(status(&maildir, &OPTIONS, false, &|| true, &mut |_| {}).unwrap().highest_modseq, 0);
}

#[test]
fn octets_are_counted_as_long_as_somebody_waits() {
    let (dir, maildir) = with_messages(1);
    // More of them than are counted when a mailbox is opened.
    for i in 2..=40 {
        let file = fs::File::create(dir.path().join(format!("cur/{i}.m:2,"))).unwrap();
        file.set_len(1 << 42).unwrap();
    }
    settle(&dir);
    let asked = std::cell::Cell::new(0);
    let goes_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let error = status(&maildir, &OPTIONS, true, &goes_on, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind, asked.get() < 10), (ErrorKind::Temp, true));
    assert_eq!(status(&maildir, &OPTIONS, false, &|| false, &mut |_| {}).unwrap().messages, 40);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!(mailbox.octets(2, &|| false).unwrap_err().kind, ErrorKind::Temp);
}
