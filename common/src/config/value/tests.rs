//! What each kind of value accepts, and that its print reads back.

use super::*;
use proptest::prelude::*;

#[test]
fn times() {
    let rows = [
        ("0", 0, "0"),
        ("60", 60, "1 min"),
        ("60s", 60, "1 min"),
        ("90", 90, "90 secs"),
        ("5m", 300, "5 mins"),
        ("2h", 7200, "2 hours"),
        ("1d", 86_400, "1 day"),
        ("10 secs", 10, "10 secs"),
        ("30 MINS", 1800, "30 mins"),
        ("1 week", 604_800, "1 week"),
        ("2000 msecs", 2, "2 secs"),
    ];
    for (text, seconds, printed) in rows {
        let time = Duration::read(text).unwrap();
        assert_eq!((time.as_secs(), time.print().as_str()), (seconds, printed), "{text}");
    }
    assert_eq!(Duration::read("1500ms").unwrap().print(), "1500 msecs");
    for bad in
        ["", "-1", "+1", "1.5h", "m", "5 m m", "1y", "367d", "18446744073709551615w", "99999999999999999999"]
    {
        assert_eq!(Duration::read(bad), None, "{bad}");
    }
}

#[test]
fn sizes() {
    let rows = [
        ("0", 0, "0"),
        ("4096", 4096, "4K"),
        ("1000", 1000, "1000"),
        ("100 B", 100, "100"),
        ("30M", 30 << 20, "30M"),
        ("64 MiB", 64 << 20, "64M"),
        ("64mb", 64 << 20, "64M"),
        ("1g", 1 << 30, "1G"),
        ("3T", 3 << 40, "3T"),
    ];
    for (text, octets, printed) in rows {
        let size = Size::read(text).unwrap();
        assert_eq!((size.0, size.print().as_str()), (octets, printed), "{text}");
    }
    for bad in ["", "M", "1X", "1MM", "1iB", "1 M B", "-1", "1.5G", "99999999T", "18446744073709551616"] {
        assert_eq!(Size::read(bad), None, "{bad}");
    }
}

#[test]
fn passdbs() {
    let list = List::<Passdb>::read("passwd-file:/etc/users,checkpassword:/bin/cp  shadow passwd").unwrap();
    assert_eq!(list.print(), "passwd-file:/etc/users checkpassword:/bin/cp shadow passwd");
    assert_eq!(list.len(), 4);
    assert_eq!(List::<Passdb>::read("").unwrap().len(), 0);
    for bad in ["pam", "shadow:", "shadow:/x", "passwd-file", "passwd-file:users", "checkpassword:"] {
        assert_eq!(Passdb::read(bad), None, "{bad}");
    }
    assert_eq!(MasterPassdb::read(""), Some(MasterPassdb(None)));
    assert_eq!(MasterPassdb::read("passwd-file:/m").unwrap().print(), "passwd-file:/m");
    for bad in [
        "shadow",
        "checkpassword:/x",
        "passwd-file:/m passwd-file:/n",
        "passwd-file:/m,shadow",
        "passwd-file:m",
    ] {
        assert_eq!(MasterPassdb::read(bad), None, "{bad}");
    }
}

#[test]
fn mail_locations() {
    for good in [
        "maildir:~/Maildir",
        "maildir:/var/mail/%d/%n",
        "maildir:%h/Maildir",
        "maildir:/a:INDEX=/b",
        "maildir:/a/%Ld/%Ln:INDEX=MEMORY",
    ] {
        assert_eq!(MailLocation::read(good).unwrap().print(), good);
    }
    for bad in
        ["", "~/Maildir", "mbox:~/mail", "maildir:", "maildir:Maildir", "maildir:/a:LAYOUT=fs", "maildir:/%x"]
    {
        assert_eq!(MailLocation::read(bad), None, "{bad}");
    }
    assert_eq!(MailLocation::DEFAULT.text(), "maildir:~/Maildir");
}

#[test]
fn small_kinds() {
    assert_eq!((bool::read("YES"), bool::read("no"), bool::read("1")), (Some(true), Some(false), None));
    assert_eq!(
        (u32::read("007"), u32::read("+7"), u32::read("7 "), u32::read("4294967296")),
        (Some(7), None, None, None)
    );
    assert_eq!(
        (Separator::read("*"), Separator::read("")),
        (Some(Separator(Some('*'))), Some(Separator(None)))
    );
    assert_eq!((Separator::read("**"), Separator::read("é")), (None, None));
    assert!(Path::read("").unwrap().get().is_none() && Path::read("etc").is_none());
}

fn is_stable<T: Value + PartialEq + std::fmt::Debug>(text: &str) -> Result<(), TestCaseError> {
    if let Some(value) = T::read(text) {
        prop_assert_eq!(T::read(&value.print()), Some(value));
    }
    Ok(())
}

proptest! {
    #[test]
    fn printed_values_read_back(text in "[0-9]{0,21} ?[a-zA-Z]{0,5}", junk in "\\PC{0,20}") {
        for text in [&text, &junk] {
            is_stable::<Duration>(text)?;
            is_stable::<Size>(text)?;
            is_stable::<u32>(text)?;
            is_stable::<Passdb>(text)?;
            is_stable::<MailLocation>(text)?;
            is_stable::<Separator>(text)?;
            is_stable::<List<Network>>(text)?;
        }
    }

    #[test]
    fn every_time_and_size_reads_back(millis in 0..LONGEST_TIME * 1000, octets: u64) {
        let time = Duration::from_millis(millis);
        prop_assert_eq!(Duration::read(&time.print()), Some(time));
        prop_assert_eq!(Size::read(&Size(octets).print()), Some(Size(octets)));
    }
}
