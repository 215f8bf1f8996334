use super::super::super::Maildir;
use super::super::super::testing::TempDir;
use super::super::{Event, FlagChange, Flags, How, Mailbox, OpenOptions};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };
const EXAMINE: OpenOptions = OpenOptions { read_only: true, ..OPTIONS };
/// Messages of a mailbox that is large.
const LARGE: u32 = 1000;
const NEW: u32 = 20;

/// Some of them in new, one with flags.
fn large() -> (TempDir, Maildir) {
    let dir = TempDir::maildir();
    (1..=LARGE - NEW).for_each(|i| dir.write(&format!("cur/{i}.m:2,S"), "m"));
    (LARGE - NEW + 1..LARGE).for_each(|i| dir.write(&format!("new/{i}.m"), "m"));
    dir.write(&format!("new/{LARGE}.m:2,F"), "m");
    settle(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    (dir, maildir)
}

fn settle(dir: &TempDir) {
    for name in ["new", "cur"] {
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        fs::File::open(dir.path().join(name)).unwrap().set_modified(long_ago).unwrap();
    }
}

fn events(mailbox: &mut Mailbox) -> Vec<Event> {
    let mut events = Vec::new();
    mailbox.sync(true, &mut |event| events.push(event)).unwrap();
    events
}

fn counts(mailbox: &Mailbox) -> (u32, u32, Option<u32>) {
    (mailbox.len(), mailbox.recent(), mailbox.first_unseen().unwrap())
}

const FIRST: (u32, u32, Option<u32>) = (LARGE, NEW, Some(LARGE - NEW + 1));

#[test]
fn messages_move_after_the_answer_and_nothing_is_looked_at_again() {
    let (dir, maildir) = large();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert!(mailbox.is_untidy());
    assert_eq!((counts(&mailbox), dir.list("new").len()), (FIRST, NEW as usize));
    mailbox.take_new();
    assert_eq!((mailbox.is_untidy(), dir.list("new").len()), (false, 0));
    assert!(dir.path().join(format!("cur/{LARGE}.m:2,F")).exists());
    assert!(dir.path().join(format!("cur/{}.m:2,", LARGE - 1)).exists());
    let index = fs::read(dir.path().join("tinmail-index")).unwrap();
    let log = fs::read(dir.path().join("tinmail-index.log")).unwrap();
    assert_eq!((events(&mut mailbox), counts(&mailbox)), (vec![], FIRST));
    let other = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((counts(&other), other.is_untidy()), ((LARGE, 0, FIRST.2), false));
    assert_eq!(fs::read(dir.path().join("tinmail-index")).unwrap(), index);
    assert_eq!(fs::read(dir.path().join("tinmail-index.log")).unwrap(), log);
}

#[test]
fn another_session_that_is_faster_moves_them_and_they_are_recent_once() {
    let (dir, maildir) = large();
    let mut first = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut second = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((counts(&second), dir.list("new").len()), ((LARGE, 0, FIRST.2), 0));
    first.take_new();
    assert_eq!((events(&mut first), counts(&first)), (vec![], FIRST));
    assert_eq!((events(&mut second), counts(&second)), (vec![], (LARGE, 0, FIRST.2)));
}

#[test]
fn another_session_that_only_looks_leaves_them_to_the_first() {
    let (dir, maildir) = large();
    let mut first = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut second = Mailbox::open(&maildir, &EXAMINE).unwrap();
    assert_eq!((second.len(), dir.list("new").len()), (LARGE, NEW as usize));
    first.take_new();
    assert_eq!((events(&mut first), counts(&first), dir.list("new").len()), (vec![], FIRST, 0));
    assert_eq!((events(&mut second), second.len()), (vec![], LARGE));
    let third = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!(counts(&third), (LARGE, 0, FIRST.2));
}

#[test]
fn a_session_that_dies_leaves_them_to_the_next() {
    let (dir, maildir) = large();
    drop(Mailbox::open(&maildir, &OPTIONS).unwrap());
    assert_eq!(dir.list("new").len(), NEW as usize);
    let mut next = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((next.len(), dir.list("new").len()), (LARGE, 0));
    assert_eq!(events(&mut next), []);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut next.open_message(LARGE).unwrap(), &mut text).unwrap();
    assert_eq!((text, next.info(LARGE).unwrap().flags.bits), ("m".into(), Flags::FLAGGED));
}

#[test]
fn commands_that_come_before_it_find_the_messages() {
    let (dir, maildir) = large();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    mailbox.open_message(LARGE).unwrap();
    let change = FlagChange { how: How::Add, bits: Flags::SEEN, keywords: &[], silent: false };
    mailbox.store_flags(&vec![LARGE - 1..=LARGE], &change, None).unwrap();
    assert_eq!(events(&mut mailbox), [Event::Flags(LARGE - 1), Event::Flags(LARGE)]);
    mailbox.take_new();
    assert_eq!((events(&mut mailbox), dir.list("new").len()), (vec![], 0));
    assert!(dir.path().join(format!("cur/{LARGE}.m:2,FS")).exists());
}

#[test]
fn what_happens_before_it_is_found() {
    let (dir, maildir) = large();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    dir.write("new/9999.m", "m");
    fs::remove_file(dir.path().join(format!("new/{}.m", LARGE - 1))).unwrap();
    mailbox.take_new();
    let told = [Event::Expunge(LARGE - 1), Event::Exists(LARGE), Event::Recent(NEW)];
    assert_eq!((events(&mut mailbox), dir.list("new").len()), (told.to_vec(), 0));
}

#[test]
fn where_nothing_can_be_moved_the_messages_are_served_from_new() {
    let (dir, maildir) = large();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    // Another file has the name that one of them would get: it is another message.
    dir.write(&format!("cur/{}.m:2,", LARGE - 1), "other");
    settle(&dir);
    mailbox.take_new();
    events(&mut mailbox);
    assert!(mailbox.len() >= LARGE, "{}", mailbox.len());
    for msn in LARGE - NEW..=mailbox.len() {
        mailbox.open_message(msn).unwrap();
    }
}

/// One message more, from a session that says nothing of it to anybody.
fn append(maildir: &Maildir, bits: u8) {
    let mut append = super::super::Append::begin(maildir, &OPTIONS).unwrap();
    append.message(bits, &[], None).unwrap();
    append.write(b"m").unwrap();
    append.finish().unwrap();
}

#[test]
fn what_another_session_has_put_there_is_recent_where_it_is_told_first() {
    let dir = TempDir::maildir();
    dir.write("cur/1.m:2,S", "m");
    settle(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Mailbox::open(&maildir, &OPTIONS).unwrap());
    let mut examining = Mailbox::open(&maildir, &EXAMINE).unwrap();
    append(&maildir, 0);
    append(&maildir, 0);
    // It changes nothing, and leaves them recent.
    assert_eq!(events(&mut examining), [Event::Exists(3), Event::Recent(2)]);
    assert_eq!(dir.list("new").len(), 2);
    // Not while new messages are not to be told of.
    let mut silent = Vec::new();
    first.sync_what_is_there(true, &mut |event| silent.push(event)).unwrap();
    assert_eq!((silent, dir.list("new").len()), (vec![], 2));
    assert_eq!(events(&mut first), [Event::Exists(3), Event::Recent(2)]);
    assert_eq!((dir.list("new").len(), dir.list("cur").len()), (0, 3));
    assert_eq!(events(&mut second), [Event::Exists(3), Event::Recent(0)]);
    let recent = |mailbox: &Mailbox| (1..=3).map(|msn| mailbox.info(msn).unwrap().recent).collect::<Vec<_>>();
    assert_eq!((recent(&first), recent(&second)), (vec![false, true, true], vec![false; 3]));
    assert_eq!(Mailbox::open(&maildir, &OPTIONS).unwrap().recent(), 0);
    // One with flags never was in new.
    append(&maildir, Flags::SEEN);
    assert_eq!(events(&mut examining).last(), Some(&Event::Recent(1)));
    assert_eq!(events(&mut first).last(), Some(&Event::Recent(3)));
    assert_eq!(events(&mut second), [Event::Exists(4), Event::Recent(0)]);
    // What they find in the directories afterwards is the same.
    settle(&dir);
    for mailbox in [&mut first, &mut second] {
        let again = events(mailbox);
        assert!(again.iter().all(|event| matches!(event, Event::Exists(4) | Event::Recent(_))), "{again:?}");
    }
    assert_eq!((first.recent(), second.recent()), (3, 0));
    fs::remove_file(dir.path().join("tinmail-index")).unwrap();
    assert_eq!(Mailbox::open(&maildir, &OPTIONS).unwrap().recent(), 0);
}

/// What happens to a mailbox with messages that came with flags.
type Incident = fn(&TempDir, &Maildir);

#[test]
fn what_came_with_flags_is_recent_in_the_first_session_that_selects_it() {
    let log_only: Incident = |_, _| {};
    let renamed_by_another_program: Incident = |dir, _| {
        let name = dir.list("cur").into_iter().find(|name| name.ends_with(":2,FS")).unwrap();
        let to = name.replace(":2,FS", ":2,S");
        fs::rename(dir.path().join("cur").join(&name), dir.path().join("cur").join(to)).unwrap();
    };
    let more_by_another_program: Incident = |dir, _| {
        dir.write("cur/2.m:2,S", "m");
        dir.write("cur/3.m:2,", "m");
    };
    let numbered_by_another_program: Incident = |dir, _| {
        let path = dir.path().join("dovecot-uidlist");
        fs::copy(&path, path.with_extension("lock")).unwrap();
        fs::rename(path.with_extension("lock"), path).unwrap();
    };
    let new_index: Incident = |dir, maildir| {
        // A log that has become long is made one with its index by whoever is there.
        let inode = || fs::metadata(dir.path().join("tinmail-index")).unwrap().ino();
        let before = inode();
        let mut mailbox = Mailbox::open(maildir, &EXAMINE).unwrap();
        (0..3000).for_each(|_| mailbox.log.append(&[super::Entry::Stamps(mailbox.stamps)]).unwrap());
        mailbox.tidy();
        assert_ne!(inode(), before);
    };
    let incidents = [
        ("nothing", log_only),
        ("renamed", renamed_by_another_program),
        ("more", more_by_another_program),
        ("numbered", numbered_by_another_program),
        ("new index", new_index),
    ];
    for (what, incident) in incidents {
        let dir = TempDir::maildir();
        dir.write("cur/1.m:2,S", "m");
        settle(&dir);
        let maildir = Maildir::open(dir.path()).unwrap();
        drop(Mailbox::open(&maildir, &OPTIONS).unwrap());
        append(&maildir, Flags::SEEN);
        append(&maildir, Flags::SEEN | Flags::FLAGGED);
        incident(&dir, &maildir);
        settle(&dir);
        for _ in 0..2 {
            assert_eq!(Mailbox::open(&maildir, &EXAMINE).unwrap().recent(), 2, "{what}: looked at");
        }
        let mut first = Mailbox::open(&maildir, &OPTIONS).unwrap();
        let recent = (1..=first.len()).filter(|&msn| first.info(msn).unwrap().recent).collect::<Vec<_>>();
        assert_eq!((first.recent(), recent), (2, vec![2, 3]), "{what}: first");
        let second = Mailbox::open(&maildir, &OPTIONS).unwrap();
        assert_eq!((second.len(), second.recent()), (first.len(), 0), "{what}: second");
        assert_eq!(Mailbox::open(&maildir, &EXAMINE).unwrap().recent(), 0, "{what}");
        assert_eq!((events(&mut first), first.recent()), (vec![], 2), "{what}");
    }
}

#[test]
fn what_somebody_else_takes_meanwhile_is_not_recent() {
    let dir = TempDir::maildir();
    let maildir = Maildir::open(dir.path()).unwrap();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    append(&maildir, 0);
    append(&maildir, 0);
    let name = dir.list("new").remove(0);
    let to = format!("cur/{name}:2,");
    fs::rename(dir.path().join("new").join(&name), dir.path().join(to)).unwrap();
    assert_eq!(events(&mut mailbox), [Event::Exists(2), Event::Recent(1)]);
    assert_eq!((dir.list("new").len(), dir.list("cur").len()), (0, 2));
    assert_eq!(Mailbox::open(&maildir, &OPTIONS).unwrap().recent(), 0);
}

#[test]
fn many_that_come_at_once_are_all_recent() {
    let dir = TempDir::maildir();
    let maildir = Maildir::open(dir.path()).unwrap();
    let mut mailbox = Mailbox::open(&maildir, &OPTIONS).unwrap();
    let mut append = super::super::Append::begin(&maildir, &OPTIONS).unwrap();
    const MANY: u32 = 2 * super::super::change::BATCH as u32 + 1;
    for _ in 0..MANY {
        append.message(0, &[], None).unwrap();
        append.write(b"m").unwrap();
    }
    append.finish().unwrap();
    assert_eq!(events(&mut mailbox), [Event::Exists(MANY), Event::Recent(MANY)]);
    assert_eq!((dir.list("new").len(), dir.list("cur").len()), (0, MANY as usize));
    let other = Mailbox::open(&maildir, &OPTIONS).unwrap();
    assert_eq!((other.len(), other.recent()), (MANY, 0));
}

#[test]
fn what_comes_at_the_same_moment_as_a_known_change_is_found_when_that_is_over() {
    let dir = TempDir::maildir();
    dir.write("cur/1.m:2,S", "m");
    settle(&dir);
    let maildir = Maildir::open(dir.path()).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Mailbox::open(&maildir, &OPTIONS).unwrap());
    assert_eq!(first.looks_again_in(), None);
    // With the time stamp that is known.
    let new = fs::File::open(dir.path().join("new")).unwrap();
    let known = new.metadata().unwrap().modified().unwrap();
    dir.write("new/2.m", "m");
    new.set_modified(known).unwrap();
    let change = FlagChange { how: How::Add, bits: Flags::FLAGGED, keywords: &[], silent: false };
    second.store_flags(&vec![1..=1], &change, None).unwrap();
    assert_eq!(events(&mut first), [Event::Flags(1)]);
    // Its own moving of the message to cur is a change, too.
    for told in [vec![Event::Exists(2), Event::Recent(1)], vec![Event::Recent(1)]] {
        let wait = first.looks_again_in().unwrap();
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
        std::thread::sleep(wait + Duration::from_millis(10));
        assert_eq!(events(&mut first), told);
    }
    assert_eq!(first.looks_again_in(), None);
}

#[test]
fn what_somebody_moves_to_new_is_recent_once() {
    let dir = TempDir::maildir();
    let maildir = Maildir::open(dir.path()).unwrap();
    drop(Mailbox::open(&maildir, &OPTIONS).unwrap());
    append(&maildir, Flags::SEEN);
    append(&maildir, Flags::SEEN);
    let name = dir.list("cur").remove(0);
    fs::rename(dir.path().join("cur").join(&name), dir.path().join("new").join(&name)).unwrap();
    settle(&dir);
    assert_eq!(Mailbox::open(&maildir, &EXAMINE).unwrap().recent(), 2);
    assert_eq!(Mailbox::open(&maildir, &OPTIONS).unwrap().recent(), 2);
    assert_eq!((dir.list("new").len(), dir.list("cur").len()), (0, 2));
    settle(&dir);
    for options in [EXAMINE, OPTIONS, EXAMINE] {
        assert_eq!(Mailbox::open(&maildir, &options).unwrap().recent(), 0);
    }
}
