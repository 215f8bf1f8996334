use super::super::mailbox::{Append, FlagChange, How, Mailbox, OpenOptions};
use super::super::testing::TempDir;
use super::super::{Maildir, User};
use super::*;
use proptest::prelude::*;

const OPTIONS: OpenOptions =
    OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };

struct Home {
    dir: TempDir,
    location: Location,
}

impl Home {
    fn new(limit: u64) -> Home {
        let dir = TempDir::new();
        let user = User { name: "ann", home: dir.path() };
        let location = Location { size_limit: limit, ..Location::parse("maildir:~/m", user).unwrap() };
        for path in ["m", "m/.a", "m/.Trash", "m/.Trash.below"] {
            for name in ["cur", "new", "tmp"] {
                fs::create_dir_all(dir.path().join(path).join(name)).unwrap();
            }
        }
        Home { dir, location }
    }

    fn inbox(&self) -> Maildir {
        Maildir::open_location(&self.location, true).unwrap()
    }

    fn open(&self, directory: &str) -> Maildir {
        Maildir::open_below(&self.location, OsStr::new(directory)).unwrap()
    }

    fn write(&self, text: &str) {
        self.dir.write("m/maildirsize", text);
    }

    /// Definition and sum.
    fn kept(&self) -> (String, i64, i64) {
        let kept = Kept::parse(self.dir.read("m/maildirsize").as_bytes());
        assert!(!kept.worn, "{:?}", self.dir.read("m/maildirsize"));
        (kept.definition.print(), kept.there.octets, kept.there.messages)
    }

    /// The directories do not look as if they had just changed.
    fn append(&self, maildir: &Maildir, octets: usize, flags: u8) -> Result<(), StorageError> {
        let mut append = Append::begin(maildir, &OPTIONS)?;
        append.message(flags, &[], None)?;
        append.write(&vec![b'x'; octets])?;
        append.finish().map(drop)
    }
}

#[test]
fn the_file_is_made_and_kept_in_step() {
    let home = Home::new(1000);
    home.dir.write("m/cur/1.a,S=100:2,S", "");
    home.dir.write("m/.a/new/2.a", "twelve octets");
    home.dir.write("m/.a/cur/3.a,S=500:2,ST", "");
    home.dir.write("m/.Trash/cur/4.a,S=900:2,S", "");
    home.dir.write("m/.Trash.below/cur/5.a,S=7:2,S", "");
    home.append(&home.inbox(), 50, 0).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 170, 4));
    assert_eq!(home.dir.read("m/maildirsize"), "1000S\n120 3        \n50 1         \n");
    home.append(&home.open(".a"), 830, 0).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 1000, 5));
    let error = home.append(&home.inbox(), 1, 0).unwrap_err();
    assert_eq!((error.kind, home.dir.list("m/tmp").len()), (ErrorKind::Full, 0));
    // What is not counted always has room.
    home.append(&home.open(".Trash"), 5000, 0).unwrap();
    home.append(&home.inbox(), 5000, Flags::DELETED).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 1000, 5));
}

#[test]
fn flags_copies_moves_and_removal_count() {
    let home = Home::new(1000);
    home.dir.write("m/cur/1.a,S=400:2,", "x");
    home.dir.write("m/cur/2.a,S=300:2,", "x");
    assert_eq!(check(&home.inbox(), 300).unwrap(), Verdict::Ok);
    let mut inbox = Mailbox::open(&home.inbox(), &OPTIONS).unwrap();
    let store = |inbox: &mut Mailbox, how, bits| {
        let change = FlagChange { how, bits, keywords: &[], silent: false };
        inbox.store_flags(&vec![1..=1], &change, None).unwrap();
    };
    for (how, bits, want) in [
        (How::Add, Flags::SEEN, 700),
        (How::Add, Flags::DELETED, 300),
        (How::Add, Flags::DELETED, 300),
        (How::Replace, Flags::SEEN, 700),
        (How::Replace, Flags::DELETED, 300),
        (How::Remove, Flags::DELETED, 700),
    ] {
        store(&mut inbox, how, bits);
        assert_eq!(home.kept().1, want, "{how:?}");
    }
    // All or nothing: there is room for one of them.
    assert!(inbox.copy_to(&vec![1..=2], &home.open(".a"), false).is_err());
    assert!(home.dir.list("m/.a/new").is_empty() && home.dir.list("m/.a/tmp").is_empty());
    inbox.copy_to(&vec![2..=2], &home.open(".a"), false).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 1000, 3));
    inbox.copy_to(&vec![1..=1], &home.open(".a"), true).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 1000, 3));
    inbox.sync(true, &mut |_| {}).unwrap();
    inbox.copy_to(&vec![1..=1], &home.open(".Trash"), true).unwrap();
    assert_eq!(home.kept(), ("1000S".into(), 700, 2));
    let mut other = Mailbox::open(&home.open(".a"), &OPTIONS).unwrap();
    store(&mut other, How::Add, Flags::DELETED);
    let before = home.kept();
    other.expunge(&vec![1..=2]).unwrap();
    assert_eq!((home.kept(), before.2), (before.clone(), 1));
    recount(&home.location);
    assert_eq!(home.kept(), before);
}

#[test]
fn a_file_without_a_setting_is_obeyed_and_none_is_made() {
    let home = Home::new(0);
    home.append(&home.inbox(), 50, 0).unwrap();
    assert!(!home.dir.list("m").contains(&NAME.to_owned()));
    assert_eq!(check(&home.inbox(), u64::MAX).unwrap(), Verdict::Uncounted);
    home.write("1000S,3C\n50 1\n");
    home.append(&home.inbox(), 60, 0).unwrap();
    assert_eq!(home.kept(), ("1000S,3C".into(), 110, 2));
    home.append(&home.inbox(), 60, 0).unwrap();
    assert!(home.append(&home.inbox(), 1, 0).is_err());
    assert_eq!(home.kept(), ("1000S,3C".into(), 170, 3));
    for without in ["", "0S", "0S,0C", "NOQUOTA"] {
        home.write(&format!("{without}\n50 1\n"));
        assert_eq!(check(&home.inbox(), 1 << 40).unwrap(), Verdict::Ok, "{without}");
    }
}

#[test]
fn what_may_be_wrong_is_counted_again() {
    for (text, counted_again) in [
        ("100S\n10 1\n", false),
        ("100S\n10 1\n-200 -1\n", true),
        ("100S\n10 1\nx\n", true),
        ("100S\n10 1 1\n", true),
        ("100S\n", true),
        ("", true),
        ("garbage\n10 1\n", true),
        // Another limit than the setting's.
        ("200S\n10 1\n", true),
        // There is no room, but more than one line.
        ("100S\n50 1\n45 1\n", true),
        // There is none, and that was counted just now.
        ("100S\n95 1\n", false),
        (&format!("100S\n{}", "1 0          \n".repeat(400)), true),
    ] {
        let home = Home::new(100);
        home.dir.write("m/cur/1.a,S=20:2,S", "");
        home.write(text);
        let verdict = check(&home.inbox(), 10).unwrap();
        assert_eq!(verdict == Verdict::Over, text.contains("95"), "{text}");
        let again = home.dir.read("m/maildirsize") == "100S\n20 1         \n";
        assert_eq!(again, counted_again, "{text}");
    }
}

#[test]
fn what_is_old_is_not_believed() {
    let home = Home::new(100);
    home.write("100S\n100 1\n");
    assert_eq!(check(&home.inbox(), 10).unwrap(), Verdict::Over);
    let file = fs::File::options().write(true).open(home.dir.path().join("m/maildirsize")).unwrap();
    file.set_modified(SystemTime::now() - BELIEVED - Duration::from_secs(5)).unwrap();
    assert_eq!(check(&home.inbox(), 10).unwrap(), Verdict::Ok);
    assert_eq!(home.kept(), ("100S".into(), 0, 0));
}

#[test]
fn lines_are_as_courier_has_them() {
    for (octets, messages, want) in [
        (2000, 1, "2000 1       \n"),
        (-2000, -1, "-2000 -1     \n"),
        (1 << 40, 1000, "1099511627776 1000\n"),
    ] {
        assert_eq!(line(Amount { octets, messages }), want);
    }
}

#[test]
fn directories_of_their_own() {
    let dir = TempDir::new();
    let user = User { name: "ann", home: dir.path() };
    let location = Location::parse("maildir:~/m:INBOX=~/in:CONTROL=~/c", user).unwrap();
    let location = Location { size_limit: 100, ..location };
    fs::create_dir_all(dir.path().join("m")).unwrap();
    let inbox = Maildir::open_location(&location, true).unwrap();
    dir.write("in/cur/1.a,S=30:2,", "");
    dir.write("m/cur.not", "");
    assert_eq!(check(&inbox, 70).unwrap(), Verdict::Ok);
    assert_eq!(dir.read("c/maildirsize"), "100S\n30 1         \n");
    // What somebody said and is not true: found out when there seems to be no room.
    add(&inbox, 70, 1);
    assert_eq!(check(&inbox, 70).unwrap(), Verdict::Ok);
    assert_eq!(dir.read("c/maildirsize"), "100S\n30 1         \n");
}

proptest! {
    #[test]
    fn no_file_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let kept = Kept::parse(&text);
        prop_assert!(kept.lines <= text.len());
    }

    #[test]
    fn sums_are_sums(lines in proptest::collection::vec((-1_000_000i64..1_000_000, -100i64..100), 1..50)) {
        let text: String = lines.iter().map(|&(octets, messages)| line(Amount { octets, messages })).collect();
        let kept = Kept::parse(format!("5S,7C\n{text}").as_bytes());
        prop_assert_eq!(kept.there.octets, lines.iter().map(|line| line.0).sum::<i64>());
        prop_assert_eq!(kept.there.messages, lines.iter().map(|line| line.1).sum::<i64>());
        prop_assert_eq!(kept.definition, Definition { octets: Some(5), messages: Some(7) });
    }
}

#[test]
fn who_begins_to_count_during_a_delivery_has_the_next_one() {
    let home = Home::new(0);
    let mut delivery = super::super::Delivery::begin(home.inbox()).unwrap();
    delivery.write(b"sixty").unwrap();
    home.write("100S\n50 1\n");
    delivery.finish(false).unwrap();
    assert_eq!(home.kept(), ("100S".into(), 50, 1));
    // What others deliver meanwhile counts.
    for (meanwhile, fits) in [("45 1\n", true), ("46 1\n", false)] {
        home.write("100S\n50 1\n");
        let mut delivery = super::super::Delivery::begin(home.inbox()).unwrap();
        delivery.write(b"sixty").unwrap();
        home.write(&format!("100S\n50 1\n{meanwhile}"));
        fs::remove_dir_all(home.dir.path().join("m/new")).unwrap();
        home.dir.write("m/cur/1.a,S=96:2,S", "");
        fs::create_dir(home.dir.path().join("m/new")).unwrap();
        assert_eq!(delivery.finish(false).is_ok(), fits, "{meanwhile}");
    }
    // One who has stopped it.
    home.write("100S\n50 1\n");
    let delivery = super::super::Delivery::begin(home.inbox()).unwrap();
    fs::remove_file(home.dir.path().join("m").join(NAME)).unwrap();
    delivery.finish(false).unwrap();
    assert!(!home.dir.list("m").contains(&NAME.to_owned()));
}

#[test]
fn deliveries_count() {
    let home = Home::new(100);
    let deliver = |octets: usize| {
        let mut delivery = super::super::Delivery::begin(home.inbox())?;
        delivery.write(&vec![b'x'; octets])?;
        delivery.finish(false)
    };
    deliver(60).unwrap();
    assert_eq!(home.kept(), ("100S".into(), 60, 1));
    let error = deliver(41).unwrap_err();
    assert_eq!((error.kind, error.source.kind()), (ErrorKind::Full, io::ErrorKind::QuotaExceeded));
    assert!(home.dir.list("m/tmp").is_empty() && home.dir.list("m/new").len() == 1);
    deliver(40).unwrap();
    assert_eq!(home.kept(), ("100S".into(), 100, 2));
}
