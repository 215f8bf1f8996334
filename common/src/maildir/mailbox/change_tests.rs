//! What cannot be done with one message is done with the others.

use super::super::super::ErrorKind;
use super::super::model_tests::everything;
use super::super::tests::{OPTIONS, events, set, with_messages};
use super::super::{Append, Event, Flags, How, Mailbox};
use super::{Batch, Entry};
use std::fs;

/// Does something in `cur` that nobody notices by its time stamp.
fn unnoticed(dir: &super::super::super::testing::TempDir, act: impl FnOnce(&std::path::Path)) {
    let cur = dir.path().join("cur");
    let before = fs::metadata(&cur).unwrap().modified().unwrap();
    act(&cur);
    fs::File::open(&cur).unwrap().set_modified(before).unwrap();
}

#[test]
fn store_goes_on_behind_what_cannot_be_renamed() {
    let (dir, maildir) = with_messages(2);
    // With one letter more its name is too long.
    dir.write(&format!("cur/3.{}:2,", "m".repeat(250)), "x\n");
    dir.write("cur/4.m:2,", "x\n");
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let stored = set(&mut mailbox, vec![1..=4], How::Add, Flags::SEEN, &[]);
    assert_eq!((stored.failures.count(), stored.failures.kind()), (1, Some(ErrorKind::Temp)));
    let seen = |(_, flags): &(u32, Flags)| flags.bits & Flags::SEEN != 0;
    assert_eq!(everything(&mailbox).iter().map(seen).collect::<Vec<_>>(), [true, true, false, true]);
    // The flags of all are said as they are now.
    assert_eq!(events(&mut mailbox, true), [1, 2, 3, 4].map(Event::Flags));
    assert_eq!(everything(&Mailbox::open(&maildir, &OPTIONS).unwrap()), everything(&mailbox));
}

#[test]
fn expunge_goes_on_behind_what_cannot_be_removed() {
    let (dir, maildir) = with_messages(4);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    set(&mut mailbox, vec![1..=4], How::Add, Flags::DELETED, &[]);
    events(&mut mailbox, true);
    unnoticed(&dir, |cur| {
        fs::remove_file(cur.join("2.m:2,T")).unwrap();
        fs::create_dir(cur.join("2.m:2,T")).unwrap();
    });
    let failures = mailbox.expunge(&vec![1..=4]).unwrap();
    assert_eq!((failures.count(), failures.kind()), (1, Some(ErrorKind::Corrupt)));
    assert_eq!(events(&mut mailbox, true)[..3], [4, 3, 1].map(Event::Expunge));
}

#[test]
fn what_has_lost_its_flag_is_not_removed() {
    let (dir, maildir) = with_messages(3);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    set(&mut mailbox, vec![1..=3], How::Add, Flags::DELETED, &[]);
    events(&mut mailbox, true);
    unnoticed(&dir, |cur| {
        fs::rename(cur.join("1.m:2,T"), cur.join("1.m:2,")).unwrap();
        fs::rename(cur.join("2.m:2,T"), cur.join("2.m:2,ST")).unwrap();
    });
    assert_eq!(mailbox.expunge(&vec![1..=3]).unwrap().count(), 0);
    assert_eq!(dir.list("cur"), ["1.m:2,"]);
}

/// Another program stores a message while flags are changed here, behind the look at the mailbox.
#[test]
fn uids_that_were_given_meanwhile_are_not_given_again() {
    let (dir, maildir) = with_messages(2);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let lock = mailbox.lock().unwrap();
    mailbox.refresh_locked(lock.as_ref()).unwrap();
    let mut batch = Batch::begin(&mailbox);
    fs::rename(dir.path().join("cur/1.m:2,"), dir.path().join("cur/1.m:2,S")).unwrap();
    let flags = Flags { bits: Flags::SEEN, keywords: 0 };
    batch.entries.push(Entry::Flags { uid: 1, modseq: batch.modseq, flags, place: 0 });
    dir.write("cur/9.theirs:2,", "x\n");
    dir.write("dovecot-uidlist", &format!("{}3 :9.theirs\n", dir.read("dovecot-uidlist")));
    batch.end(&mut mailbox).unwrap();
    drop(lock);
    let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
    append.message(0, &[], None).unwrap();
    append.write(b"x\r\n").unwrap();
    assert_eq!(append.finish().unwrap().uids, [(4, 4)]);
    assert_eq!(
        everything(&Mailbox::open(&maildir, &OPTIONS).unwrap())
            .iter()
            .map(|(uid, _)| *uid)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}
