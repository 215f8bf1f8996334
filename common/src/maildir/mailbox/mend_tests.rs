use super::super::super::Options;
use super::super::super::snapshot::Snapshot;
use super::super::super::testing::TempDir;
use super::super::tests::{OPTIONS, events, set, settle, with_messages};
use super::super::*;
use super::*;

/// A mailbox of which some flags are in the log.
fn settled() -> (TempDir, Maildir) {
    let (dir, maildir) = with_messages(300);
    let mut writer = Mailbox::open(&maildir, &OPTIONS).unwrap();
    set(&mut writer, vec![1..=29], How::Add, Flags::FLAGGED, &[]);
    (dir, maildir)
}

/// One bit is another, the file's time is not.
fn flip(dir: &TempDir, at: usize) {
    let path = dir.path().join(INDEX_NAME);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let mut octets = fs::read(&path).unwrap();
    let at = if at == usize::MAX { octets.len() - 100 } else { at };
    octets[at] ^= 4;
    fs::write(&path, octets).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    settle(dir);
}

fn is_whole(mailbox: &Mailbox, count: u32) {
    assert_eq!(mailbox.len(), count);
    for msn in 1..=count {
        let info = mailbox.info(msn).unwrap();
        let flags = if msn <= 29 { Flags::FLAGGED } else { 0 };
        assert_eq!((info.uid, info.flags.bits), (msn, flags), "{msn}");
    }
}

/// In the header, among the rows, among the names, and at the end.
const PLACES: [usize; 5] = [300, 5000, 13000, 17500, usize::MAX];

#[test]
fn a_damaged_index_is_made_anew_when_the_mailbox_is_opened() {
    for at in PLACES {
        let (dir, maildir) = settled();
        flip(&dir, at);
        let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
        is_whole(&mailbox, 300);
        (1..=300)
            .for_each(|msn| drop(mailbox.open_message(msn).unwrap_or_else(|error| panic!("{at}: {error}"))));
        mailbox.sync(true, &mut |_| {}).unwrap();
        assert!(mailbox.in_file && mailbox.keeps_modseq(), "{at}");
        let other = Mailbox::open(&maildir, &OPTIONS).unwrap();
        assert!(other.in_file && other.keeps_modseq() && other.view.index().extras().is_ok(), "{at}");
        assert!(other.view.messages(&mut |_| Ok(())).is_ok(), "{at}");
    }
}

#[test]
fn the_log_is_told_of_it_once() {
    let (dir, maildir) = settled();
    assert!(Mailbox::open(&maildir, &OPTIONS).unwrap().mended().is_none());
    flip(&dir, 5000);
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let said = mailbox.mended().unwrap().to_string();
    assert!(said.ends_with("tinmail-index): it was damaged, and is made anew"), "{said}");
    assert!(mailbox.mended().is_none());
}

#[test]
fn who_puts_something_there_or_asks_for_its_status_need_not_know() {
    let (dir, maildir) = settled();
    flip(&dir, 5000);
    let status = status(&maildir, &OPTIONS, false, &|| true, &mut |_| {}).unwrap();
    assert_eq!((status.messages, status.unseen), (300, 300));
    flip(&dir, 5000);
    let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
    append.message(0, &[], None).unwrap();
    append.write(b"Subject: x\r\n\r\nx\r\n").unwrap();
    assert_eq!(append.finish().unwrap().uids, [(301, 301)]);
    is_whole(&Mailbox::open(&maildir, &OPTIONS).unwrap(), 301);
}

#[test]
fn a_session_that_is_open_goes_on() {
    for at in PLACES {
        let (dir, maildir) = settled();
        let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
        events(&mut mailbox, true);
        set(&mut mailbox, vec![300..=300], How::Add, Flags::DELETED, &[]);
        mailbox.expunge(&vec![300..=300]).unwrap();
        events(&mut mailbox, true);
        flip(&dir, at);
        dir.write("new/999.m", "x\n");
        let told = events(&mut mailbox, true);
        assert!(told.starts_with(&[Event::Exists(300), Event::Recent(1)]), "{at}: {told:?}");
        // What was read already may be damaged, too.
        if mailbox.uid(1).is_err() || mailbox.uid(299).is_err() {
            events(&mut mailbox, true);
        }
        is_whole_but_the_last(&mailbox);
        let stored = set(&mut mailbox, vec![100..=100], How::Add, Flags::SEEN, &[]);
        assert!(!stored.gone && stored.failures.kind().is_none());
        assert!(events(&mut mailbox, true).contains(&Event::Flags(100)), "{at}");
        // A command may find it first, and those that follow are served.
        flip(&dir, at);
        let opened = (1..=300).filter(|&msn| mailbox.open_message(msn).is_err()).count();
        assert!(opened <= 300, "{at}");
        events(&mut mailbox, true);
        (1..=300)
            .for_each(|msn| drop(mailbox.open_message(msn).unwrap_or_else(|error| panic!("{at}: {error}"))));
    }
}

fn is_whole_but_the_last(mailbox: &Mailbox) {
    let uids: Vec<u32> = (1..=300).map(|msn| mailbox.uid(msn).unwrap()).collect();
    assert_eq!(uids, (1..=299).chain([301]).collect::<Vec<u32>>());
}

#[test]
fn where_nobody_can_say_which_are_left_the_client_has_to_select_again() {
    let (dir, maildir) = settled();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    events(&mut mailbox, true);
    flip(&dir, 5000);
    let of_the_block = dir.list("cur").into_iter().find(|name| name.starts_with("100.")).unwrap();
    fs::remove_file(dir.path().join("cur").join(of_the_block)).unwrap();
    settle(&dir);
    assert!(mailbox.sync(true, &mut |_| {}).is_err() && mailbox.sync(true, &mut |_| {}).is_err());
    assert_eq!(Mailbox::open(&maildir, &OPTIONS).unwrap().len(), 299);
    // What others have made anew stays.
    let made = fs::metadata(dir.path().join(INDEX_NAME)).unwrap().modified().unwrap();
    assert!(mailbox.sync(true, &mut |_| {}).is_err());
    assert_eq!(fs::metadata(dir.path().join(INDEX_NAME)).unwrap().modified().unwrap(), made);
}

#[test]
fn pop3_does_without_it() {
    for at in PLACES {
        let (dir, maildir) = settled();
        flip(&dir, at);
        let snapshot = Snapshot::open(&maildir, &Options { index_from: 1, ..Options::default() }).unwrap();
        let uids: Vec<u32> = (0..300).map(|i| snapshot.get(i).unwrap().uid).collect();
        assert_eq!(uids, (1..=300).collect::<Vec<u32>>(), "{at}");
    }
}

#[test]
fn where_no_uid_can_be_recorded_all_messages_have_some_for_the_session() {
    for uidlist in [None, Some("3 V1500000000 N9 G0123456789abcdef0123456789abcdef\n")] {
        let dir = TempDir::maildir();
        (1..=5).for_each(|i| dir.write(&format!("cur/{i}.m:2,"), "x\n"));
        uidlist.into_iter().for_each(|text| dir.write("dovecot-uidlist", text));
        dir.write("dovecot-uidlist.lock", "1:elsewhere");
        settle(&dir);
        let maildir = Maildir::open(dir.path()).unwrap();
        let maildir = Maildir { index: None, ..maildir };
        let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
        let uids = |mailbox: &Mailbox| (1..=5).map(|msn| mailbox.uid(msn).unwrap()).collect::<Vec<u32>>();
        assert!(mailbox.unrecorded().is_some() && uids(&mailbox) == [1, 2, 3, 4, 5]);
        let own = mailbox.uid_validity();
        // The directories are read again, and nothing is other than it was.
        std::thread::sleep(Duration::from_millis(1100));
        settle(&dir);
        assert_eq!(events(&mut mailbox, true), []);
        assert_eq!((mailbox.uid_validity(), uids(&mailbox)), (own, vec![1, 2, 3, 4, 5]));
        // What is recorded has another UIDVALIDITY: the client has to select again.
        fs::remove_file(dir.path().join("dovecot-uidlist.lock")).unwrap();
        assert!(mailbox.sync(true, &mut |_| {}).is_err());
        let recorded = Mailbox::open(&maildir, &OPTIONS).unwrap();
        assert!(recorded.unrecorded().is_none() && recorded.uid_validity() > own && recorded.len() == 5);
    }
}
