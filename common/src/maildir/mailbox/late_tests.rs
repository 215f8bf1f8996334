//! SELECT believes the summary: it has to be what the log says, at any moment, and it has to be enough.

use super::super::super::Maildir;
use super::super::super::snapshot::INDEX_NAME;
use super::super::super::testing::TempDir;
use super::super::model_tests::lengthen;
use super::super::refresh::Loaded;
use super::super::{Append, FlagChange, Flags, How, Mailbox, OpenOptions, log, status};
use std::fs;
use std::time::{Duration, SystemTime};

const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };

fn with_messages(count: u32) -> (TempDir, Maildir) {
    let dir = TempDir::maildir();
    (1..=count).for_each(|i| dir.write(&format!("cur/{i}.m:2,{}", if i % 2 == 0 { "S" } else { "" }), "x\n"));
    let maildir = Maildir::open(dir.path()).unwrap();
    (dir, maildir)
}

fn open(maildir: &Maildir) -> Mailbox {
    Mailbox::open(maildir, &OPTIONS).unwrap()
}

fn set(mailbox: &mut Mailbox, first: u32, last: u32, how: How, bits: u8) {
    let change = FlagChange { how, bits, keywords: &[], silent: false };
    mailbox.store_flags(&vec![first..=last], &change, None).unwrap();
}

fn tell(mailbox: &mut Mailbox) {
    mailbox.sync(true, &mut |_| {}).unwrap();
}

/// The directories are as old as settled ones, and somebody has looked at them.
fn settle(dir: &TempDir, maildir: &Maildir) {
    for name in ["new", "cur"] {
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        fs::File::open(dir.path().join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    open(maildir);
}

/// What SELECT and STATUS say.
fn said(mailbox: &Mailbox) -> (u32, Option<u32>, u32, u64) {
    let first_unseen = mailbox.first_unseen().unwrap();
    (mailbox.len(), first_unseen, mailbox.next_uid(), mailbox.highest_modseq())
}

/// Octets that this thread has read so far, if the kernel counts them.
fn octets_read() -> Option<u64> {
    let counts = fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
}

#[test]
fn a_warm_select_reads_as_much_of_any_mailbox() {
    let read = |messages: u32| {
        let (dir, maildir) = with_messages(messages);
        let mut mailbox = open(&maildir);
        set(&mut mailbox, 1, messages - 2, How::Add, Flags::SEEN);
        set(&mut mailbox, 3, messages / 2, How::Add, Flags::DELETED);
        mailbox.expunge(&vec![1..=messages]).unwrap();
        drop(mailbox);
        settle(&dir, &maildir);
        let _ = octets_read();
        let before = octets_read();
        let mailbox = open(&maildir);
        let said = said(&mailbox);
        let read = octets_read().zip(before).map(|(after, before)| after - before);
        assert!(mailbox.view.is_unread());
        let left = messages - (messages / 2 - 2);
        assert_eq!((said.0, said.1), (left, Some(left - 1)));
        assert_eq!(mailbox.info(left).unwrap().flags.bits & Flags::SEEN != 0, messages % 2 == 0);
        assert_eq!(self::said(&mailbox), said);
        read
    };
    // The counts themselves are text and counted, too.
    let (few, many) = (read(30), read(2000));
    let close = few.zip(many).is_none_or(|(few, many)| few.abs_diff(many) < 64);
    assert!(close, "{few:?} {many:?}");
}

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(sides.max(1))) as u32
    }
}

fn do_something(dice: &mut Dice, number: u32, dir: &TempDir, maildir: &Maildir, sessions: &mut [Mailbox]) {
    let who = dice.roll(sessions.len() as u32) as usize;
    let mailbox = &mut sessions[who];
    let (len, cur) = (mailbox.len(), dir.list("cur"));
    let (a, b) = (dice.roll(len) + 1, dice.roll(len) + 1);
    let bits = [Flags::SEEN, Flags::DELETED, Flags::FLAGGED][dice.roll(3) as usize];
    match dice.roll(11) {
        _ if len == 0 => dir.write(&format!("new/{number}.new"), "four\n"),
        0 | 1 => set(mailbox, a.min(b), a.max(b), How::Add, bits),
        2 => set(mailbox, a, a, How::Remove, bits),
        3 => drop(mailbox.expunge(&vec![1..=a]).unwrap()),
        4 => dir.write(&format!("new/{number}.new"), "four\n"),
        5 => {
            let mut append = Append::begin(maildir, &OPTIONS).unwrap();
            for i in 0..=dice.roll(3) {
                append.message(if i == 1 { Flags::SEEN } else { 0 }, &[], None).unwrap();
                append.write(b"text\r\n").unwrap();
            }
            append.finish().unwrap();
        }
        6 if !cur.is_empty() => {
            let name = dir.path().join("cur").join(&cur[dice.roll(cur.len() as u32) as usize]);
            fs::remove_file(name).unwrap();
        }
        7 if !cur.is_empty() => {
            let name = &cur[dice.roll(cur.len() as u32) as usize];
            let base = name.split(':').next().unwrap();
            let other = if name.ends_with('S') { ":2," } else { ":2,S" };
            let path = dir.path().join("cur");
            fs::rename(path.join(name), path.join(format!("{base}{other}"))).unwrap();
        }
        8 => {
            tell(mailbox);
            lengthen(mailbox);
        }
        9 if dice.roll(4) == 0 => drop(fs::remove_file(dir.path().join(INDEX_NAME))),
        _ => mailbox.tidy(),
    }
    if dice.roll(2) == 0 {
        tell(&mut sessions[who]);
    }
}

#[test]
fn the_summary_is_what_the_log_says() {
    let (mut unread, mut rounds) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let (dir, maildir) = with_messages(dice.roll(40));
        let mut sessions: Vec<Mailbox> = (0..3).map(|_| open(&maildir)).collect();
        for number in 0..60 {
            do_something(&mut dice, number, &dir, &maildir, &mut sessions);
            if dice.roll(4) == 0 {
                let who = dice.roll(3) as usize;
                sessions[who] = open(&maildir);
            }
            let (Some((late, _, stamps)), Some(full)) = (Loaded::late(&maildir), Loaded::read(&maildir))
            else {
                continue;
            };
            rounds += 1;
            unread += u32::from(late.is_unread());
            assert_eq!((late.summary().unwrap(), stamps), (full.view.summary().unwrap(), full.stamps));
            // Read late it is the same, and nothing is wrong with it.
            let rows = (0..late.rows()).map(|row| (*late).row(row).unwrap());
            assert!(rows.eq((0..full.view.rows()).map(|row| full.view.row(row).unwrap())));
            let mut unseen = None;
            let (mut deleted, mut size) = (0, 0);
            let mut examined = open(&maildir);
            for msn in 1..=examined.len() {
                let info = examined.info(msn).unwrap();
                unseen = unseen.or(Some(msn).filter(|_| info.flags.bits & Flags::SEEN == 0));
                deleted += u32::from(info.flags.bits & Flags::DELETED != 0);
                size += examined.octets(msn, &|| true).unwrap();
            }
            assert_eq!(open(&maildir).first_unseen().unwrap(), unseen);
            let status = status(&maildir, &OPTIONS, true, &|| true, &mut |_| {}).unwrap();
            assert_eq!((status.messages, status.deleted), (examined.len(), deleted));
            assert_eq!(status.size, Some(size));
        }
    }
    assert!(unread > rounds / 2, "{unread} of {rounds}");
}

#[test]
fn a_session_that_has_read_nothing_hears_what_others_do() {
    let (dir, maildir) = with_messages(10);
    let mut writer = open(&maildir);
    set(&mut writer, 1, 3, How::Add, Flags::FLAGGED);
    settle(&dir, &maildir);
    let mut reader = open(&maildir);
    assert!(reader.view.is_unread());
    tell(&mut reader);
    assert!(reader.view.is_unread());
    set(&mut writer, 4, 4, How::Add, Flags::DELETED);
    writer.expunge(&vec![1..=10]).unwrap();
    let mut events = Vec::new();
    reader.sync(true, &mut |event| events.push(event)).unwrap();
    assert_eq!(events, [super::super::Event::Expunge(4)]);
    assert_eq!(reader.info(4).unwrap().uid, 5);
    assert_eq!(reader.info(3).unwrap().flags.bits, Flags::FLAGGED);
    // A new index, which takes the place of the log that has not been read.
    settle(&dir, &maildir);
    let mut reader = open(&maildir);
    assert!(reader.view.is_unread());
    fs::remove_file(dir.path().join(INDEX_NAME)).unwrap();
    fs::remove_file(dir.path().join(log::NAME)).unwrap();
    let mut other = open(&maildir);
    set(&mut other, 1, 1, How::Add, Flags::ANSWERED);
    tell(&mut reader);
    assert_eq!(reader.info(1).unwrap().flags.bits, Flags::FLAGGED | Flags::ANSWERED);
    assert_eq!(reader.info(4).unwrap().uid, 5);
}

/// A part of the log is lost, but not its end.
fn damage_log(dir: &TempDir) {
    let path = dir.path().join(log::NAME);
    let mut octets = fs::read(&path).unwrap();
    octets[30] ^= 1;
    fs::write(&path, octets).unwrap();
}

#[test]
fn a_log_that_was_lost_before_its_summary_is_an_error_once() {
    let (dir, maildir) = with_messages(10);
    let mut writer = open(&maildir);
    set(&mut writer, 1, 3, How::Add, Flags::FLAGGED);
    drop(writer);
    settle(&dir, &maildir);
    damage_log(&dir);
    let mut mailbox = open(&maildir);
    assert!(mailbox.view.is_unread());
    assert_eq!(mailbox.len(), 10);
    assert!(mailbox.info(1).is_err() && mailbox.msn_at_or_after(1).is_err());
    assert!(!dir.path().join(INDEX_NAME).exists());
    let other = open(&maildir);
    assert_eq!((other.len(), other.info(1).unwrap().flags.bits), (10, Flags::FLAGGED));
    // Whoever has believed the lost one does not take the new one away, and goes over to it.
    assert!(mailbox.info(1).is_err());
    assert!(dir.path().join(INDEX_NAME).exists());
    set(&mut mailbox, 1, 10, How::Add, Flags::SEEN);
    assert_eq!(mailbox.info(1).unwrap().flags.bits, Flags::FLAGGED | Flags::SEEN);
}

#[test]
fn a_log_from_before_the_machine_was_started_is_read() {
    let (dir, maildir) = with_messages(10);
    let mut writer = open(&maildir);
    set(&mut writer, 1, 3, How::Add, Flags::FLAGGED);
    drop(writer);
    settle(&dir, &maildir);
    let path = dir.path().join(log::NAME);
    let before_boot = crate::sys::clock::booted().unwrap() - Duration::from_secs(1);
    let age = || fs::File::options().write(true).open(&path).unwrap().set_modified(before_boot).unwrap();
    // It is whole: whoever has read it says so to those who come.
    age();
    let mailbox = open(&maildir);
    assert!(!mailbox.view.is_unread());
    assert_eq!(mailbox.info(3).unwrap().flags.bits, Flags::FLAGGED);
    assert!(open(&maildir).view.is_unread());
    // A part of it was lost: the first session finds out, and nobody hears of it.
    damage_log(&dir);
    age();
    let mut mailbox = open(&maildir);
    assert_eq!((mailbox.len(), mailbox.info(3).unwrap().flags.bits), (10, Flags::FLAGGED));
    set(&mut mailbox, 4, 4, How::Add, Flags::DELETED);
    mailbox.expunge(&vec![1..=10]).unwrap();
    tell(&mut mailbox);
    settle(&dir, &maildir);
    let other = open(&maildir);
    assert!(other.view.is_unread());
    assert_eq!((other.len(), other.info(3).unwrap().flags.bits), (9, Flags::FLAGGED));
}

#[test]
fn where_the_lost_log_has_left_nothing_new_mail_is_seen() {
    let (dir, maildir) = with_messages(3);
    let mut writer = open(&maildir);
    set(&mut writer, 1, 3, How::Add, Flags::DELETED);
    writer.expunge(&vec![1..=3]).unwrap();
    drop(writer);
    settle(&dir, &maildir);
    damage_log(&dir);
    let mut mailbox = open(&maildir);
    assert!(mailbox.view.is_unread() && mailbox.is_empty());
    dir.write("new/4.m", "x\n");
    mailbox.sync(true, &mut |_| {}).unwrap();
    assert_eq!((mailbox.len(), mailbox.uid(1).unwrap()), (1, 4));
    assert_eq!(open(&maildir).len(), 1);
}
