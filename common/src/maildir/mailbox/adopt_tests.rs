//! Sessions that go over to a new index: whatever stands in its log already, each client hears of it once.

use super::super::super::Maildir;
use super::super::super::snapshot::INDEX_NAME;
use super::super::super::testing::TempDir;
use super::super::model_tests::everything;
use super::super::{Append, Event, FlagChange, Flags, How, Mailbox, OpenOptions, log};
use std::fs;
use std::time::Duration;

const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };

fn with_messages(count: u32) -> (TempDir, Maildir) {
    let dir = TempDir::maildir();
    (1..=count).for_each(|i| dir.write(&format!("cur/{i}.m:2,"), "x\n"));
    let maildir = Maildir::open(dir.path()).unwrap();
    (dir, maildir)
}

fn open(maildir: &Maildir) -> Mailbox {
    Mailbox::open(maildir, &OPTIONS).unwrap()
}

fn set(mailbox: &mut Mailbox, msn: u32, bits: u8) {
    let change = FlagChange { how: How::Add, bits, keywords: &[], silent: false };
    mailbox.store_flags(&vec![msn..=msn], &change, None).unwrap();
}

fn told(mailbox: &mut Mailbox) -> Vec<Event> {
    let mut told = Vec::new();
    mailbox.sync(true, &mut |event| told.push(event)).unwrap();
    told
}

fn append(maildir: &Maildir) {
    let mut append = Append::begin(maildir, &OPTIONS).unwrap();
    append.message(0, &[], None).unwrap();
    append.write(b"x\r\n").unwrap();
    append.finish().unwrap();
}

/// Others find no index and make one.
fn with_new_index(dir: &TempDir, maildir: &Maildir) -> Mailbox {
    for name in [INDEX_NAME, log::NAME] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    let other = open(maildir);
    assert!(dir.path().join(INDEX_NAME).exists());
    other
}

/// Whether every row of it can be read by somebody who comes now, who has believed what the end of the log says.
fn is_whole(maildir: &Maildir, count: u32) -> bool {
    let mailbox = open(maildir);
    mailbox.len() == count && (1..=count).all(|msn| mailbox.info(msn).is_ok())
}

#[test]
fn an_append_that_began_before_there_was_a_new_index() {
    let (dir, maildir) = with_messages(10);
    let mut first = open(&maildir);
    let mut slow = Append::begin(&maildir, &OPTIONS).unwrap();
    slow.message(0, &[], None).unwrap();
    slow.write(b"x\r\n").unwrap();
    set(&mut first, 2, Flags::DELETED);
    first.expunge(&vec![1..=10]).unwrap();
    with_new_index(&dir, &maildir);
    slow.finish().unwrap();
    assert!(is_whole(&maildir, 10));
}

#[test]
fn modification_sequences_do_not_go_back_where_an_index_was_lost() {
    let (dir, maildir) = with_messages(10);
    let mut old = open(&maildir);
    (1..=5).for_each(|msn| set(&mut old, msn, Flags::SEEN));
    let modseq = old.highest_modseq();
    with_new_index(&dir, &maildir);
    told(&mut old);
    // It has looked, and found nothing: only time stamps are said in the log.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(100);
    fs::File::open(dir.path().join("cur")).unwrap().set_modified(long_ago).unwrap();
    told(&mut old);
    assert!(is_whole(&maildir, 10));
    let other = open(&maildir);
    assert!(old.highest_modseq() > modseq);
    assert_eq!(
        (other.highest_modseq(), other.info(1).unwrap().modseq),
        (old.highest_modseq(), old.highest_modseq())
    );
}

#[test]
fn who_asks_for_changes_since_the_index_was_lost_is_told_of_all() {
    let (dir, maildir) = with_messages(10);
    let modseq = open(&maildir).highest_modseq();
    assert_eq!(modseq, 1);
    let uidlist = fs::File::options().write(true).open(dir.path().join("dovecot-uidlist")).unwrap();
    for lock_is_left in [true, false] {
        set(&mut open(&maildir), 3, Flags::SEEN);
        let before = open(&maildir).highest_modseq();
        for name in [INDEX_NAME, log::NAME] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        if !lock_is_left {
            fs::remove_file(dir.path().join(super::super::lock::NAME)).unwrap();
            uidlist.set_modified(std::time::SystemTime::now() - Duration::from_secs(100)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let other = open(&maildir);
        assert!(other.highest_modseq() > before.max(1 << 40));
        assert!((1..=10).all(|msn| other.info(msn).unwrap().modseq > before));
    }
}

#[test]
fn a_session_whose_index_is_removed_makes_another() {
    let (dir, maildir) = with_messages(10);
    let mut mailbox = open(&maildir);
    set(&mut mailbox, 1, Flags::SEEN);
    let modseq = mailbox.highest_modseq();
    let path = dir.path().join(INDEX_NAME);
    for round in 1..3 {
        fs::remove_file(&path).unwrap();
        assert_eq!(told(&mut mailbox), if round == 1 { vec![Event::Flags(1)] } else { vec![] });
        assert!(path.exists(), "round {round}");
        // Nobody has to look at the directories again.
        let made = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!((told(&mut mailbox), fs::metadata(&path).unwrap().modified().unwrap()), (vec![], made));
        let other = open(&maildir);
        assert_eq!((other.highest_modseq(), other.info(1).unwrap().modseq), (modseq, modseq));
    }
}

#[test]
fn what_the_new_log_has_expunged_is_said() {
    let (dir, maildir) = with_messages(10);
    let mut sleeper = open(&maildir);
    let mut other = with_new_index(&dir, &maildir);
    append(&maildir);
    append(&maildir);
    told(&mut other);
    for msn in [3, 12] {
        set(&mut other, msn, Flags::DELETED);
    }
    set(&mut other, 5, Flags::SEEN);
    other.expunge(&vec![1..=12]).unwrap();
    told(&mut other);
    assert_eq!(told(&mut sleeper), [Event::Expunge(3), Event::Exists(10), Event::Recent(0), Event::Flags(4)]);
    assert_eq!(everything(&sleeper), everything(&other));
    assert_eq!(told(&mut sleeper), []);
}

#[test]
fn what_came_with_a_new_index_is_recent_where_it_is_told_first() {
    let (dir, maildir) = with_messages(3);
    let mut mailbox = open(&maildir);
    // Another that may not move it makes a new index.
    dir.write("new/4.m", "x\n");
    for name in [INDEX_NAME, log::NAME] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    Mailbox::open(&maildir, &OpenOptions { read_only: true, ..OPTIONS }).unwrap();
    assert_eq!(told(&mut mailbox), [Event::Exists(4), Event::Recent(1)]);
    assert_eq!((dir.list("new").len(), open(&maildir).recent()), (0, 0));
}

#[test]
fn a_new_index_that_is_damaged_is_taken_away_and_the_session_goes_on() {
    const COUNT: u32 = 3000;
    let (dir, maildir) = with_messages(COUNT);
    let (mut mine, mut other) = (open(&maildir), open(&maildir));
    let every_second = (1..=COUNT).step_by(2).map(|msn| msn..=msn).collect();
    let deleted = FlagChange { how: How::Add, bits: Flags::DELETED, keywords: &[], silent: true };
    other.store_flags(&every_second, &deleted, None).unwrap();
    other.expunge(&vec![1..=COUNT]).unwrap();
    drop(with_new_index(&dir, &maildir));
    // Late enough that some of the differences have been taken over by then.
    let path = dir.path().join(INDEX_NAME);
    let mut octets = fs::read(&path).unwrap();
    octets[19 * 4096 + 100] ^= 1;
    fs::write(&path, octets).unwrap();
    let told = told(&mut mine);
    assert!(told.len() as u32 >= COUNT / 2, "{}", told.len());
    assert_eq!(mine.len(), COUNT / 2);
    assert!(mine.mended().is_some());
    assert_eq!(self::told(&mut mine), []);
    assert!(is_whole(&maildir, COUNT / 2));
}

/// A backup is restored beside an index that knows more, and another program gives the same UIDs once more.
#[test]
fn an_index_that_knows_other_messages_by_these_uids_is_not_believed() {
    for (kept, lost) in [(3, 2), (1, 300), (300, 1)] {
        let (dir, maildir) = with_messages(kept);
        drop(open(&maildir));
        let list = fs::read_to_string(dir.path().join("dovecot-uidlist")).unwrap();
        for _ in 0..lost {
            append(&maildir);
        }
        let mut mailbox = open(&maildir);
        (1..=mailbox.len()).for_each(|msn| mailbox.cache(msn, b"digest"));
        (1..=mailbox.len()).for_each(|msn| _ = mailbox.internal_date(msn).unwrap());
        drop(mailbox);
        dir.list("cur").iter().filter(|name| !name.contains(".m:")).for_each(|name| {
            fs::remove_file(dir.path().join("cur").join(name)).unwrap();
        });
        let mut list = list.replace(&format!(" N{} ", kept + 1), &format!(" N{} ", kept + lost + 1));
        for uid in kept + 1..=kept + lost {
            dir.write(&format!("cur/{uid}.other:2,S"), "Subject: other\n\ntext\n");
            list += &format!("{uid} :{uid}.other\n");
        }
        fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap();
        fs::write(dir.path().join("dovecot-uidlist"), list).unwrap();
        for _ in 0..2 {
            let mut mailbox = open(&maildir);
            assert_eq!(mailbox.len(), kept + lost);
            for msn in kept + 1..=kept + lost {
                assert_eq!(mailbox.uid(msn).unwrap(), msn);
                assert!(mailbox.info(msn).unwrap().octets.is_none_or(|octets| octets == 24));
                assert_eq!(mailbox.cached(msn), None, "{kept} {lost}");
                mailbox.open_message(msn).unwrap();
            }
            assert_eq!(mailbox.cached(1), Some(&b"digest"[..]));
            assert!(told(&mut mailbox).is_empty());
            assert_eq!(mailbox.next_uid(), kept + lost + 1);
        }
    }
}

/// All UIDs that were given stay given, and a session that is open hears of what comes.
#[test]
fn no_uid_is_given_once_more_beside_a_restored_backup() {
    let (dir, maildir) = with_messages(3);
    drop(open(&maildir));
    let list = fs::read_to_string(dir.path().join("dovecot-uidlist")).unwrap();
    (0..10).for_each(|_| append(&maildir));
    let (mut busy, mut idle) = (open(&maildir), open(&maildir));
    let modseq = busy.highest_modseq();
    dir.list("cur").iter().filter(|name| !name.contains(".m:")).for_each(|name| {
        fs::remove_file(dir.path().join("cur").join(name)).unwrap();
    });
    dir.write("cur/4.other:2,S", "x");
    fs::remove_file(dir.path().join("dovecot-uidlist")).unwrap();
    let list = list.replace(" N4 ", " N5 ") + "4 :4.other\n";
    fs::write(dir.path().join("dovecot-uidlist"), list).unwrap();
    let mut other = open(&maildir);
    assert_eq!((other.len(), other.next_uid()), (4, 14));
    let list = fs::read_to_string(dir.path().join("dovecot-uidlist")).unwrap();
    assert!(list.lines().next().unwrap().contains(" N14 "), "{list}");
    assert!(other.highest_modseq() > modseq);
    for uid in 14..17 {
        append(&maildir);
        assert!(told(&mut other).contains(&Event::Exists(uid - 9)));
        let mut heard = Vec::new();
        busy.sync(false, &mut |event| heard.push(event)).unwrap();
        assert!(heard.contains(&Event::Exists(uid)), "{uid}: {heard:?}");
    }
    assert!(told(&mut idle).contains(&Event::Exists(7)));
    assert_eq!(idle.uid(7).unwrap(), 16);
}

#[test]
fn a_damaged_line_of_the_list_says_nothing_against_the_index() {
    let (dir, maildir) = with_messages(6);
    let mut mailbox = open(&maildir);
    set(&mut mailbox, 1, Flags::SEEN);
    drop(mailbox);
    let path = dir.path().join("dovecot-uidlist");
    let list = fs::read_to_string(&path).unwrap().replace(":2.m", ":2.~");
    fs::remove_file(&path).unwrap();
    fs::write(&path, list.split("\n5 ").next().unwrap().to_owned() + "\n5 :").unwrap();
    let mailbox = open(&maildir);
    let uids: Vec<u32> = (1..=6).map(|msn| mailbox.uid(msn).unwrap()).collect();
    assert_eq!(uids, [1, 3, 4, 5, 6, 7]);
}

#[test]
fn what_is_no_file_is_not_copied() {
    let ((dir, maildir), (_to, target)) = (with_messages(1), with_messages(0));
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("cur/2.m:2,")).unwrap();
    let mut mailbox = open(&maildir);
    for moves in [false, true] {
        assert!(mailbox.copy_to(&vec![2..=2], &target, moves).is_err(), "{moves}");
        assert_eq!((target_is_empty(&target), dir.list("cur").len()), (true, 2));
    }
}

fn target_is_empty(target: &Maildir) -> bool {
    ["cur", "new", "tmp"].iter().all(|name| fs::read_dir(target.path().join(name)).unwrap().next().is_none())
}
