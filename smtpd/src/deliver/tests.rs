use super::*;
use crate::address::Address;
use common::config::{Config, value::Text};
use common::maildir::dotlock::Dotlock;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn home() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("tinmail-deliver-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn account(home: &Path) -> Account {
    let (uid, gid) = common::sys::process::user_and_group();
    Account { name: "anna".into(), uid, gid, groups: vec![], home: home.into(), mail: None, master: None }
}

fn recipient() -> Recipient {
    let address = Address::parse(b"anna@example.org").unwrap();
    let target = Target::Mailbox { user: "anna".into(), extension: String::new(), direct: true };
    Recipient::new(address, target)
}

fn trace() -> Trace {
    let address = recipient().address;
    Trace {
        reverse_path: None,
        original: address.clone(),
        delivered_to: address,
        received: String::new(),
        is_binary: false,
        once: None,
    }
}

fn begin_mailbox(config: &Config, home: &Path) -> Result<Box<dyn Sink>, Status> {
    match begin(config, &account(home), &recipient(), &trace(), &mut |_| {})? {
        Delivery::Begun(sink) => Ok(sink),
        Delivery::Forward(_) => panic!("forwarded"),
    }
}

/// Half a minute, which is how long it waits for each of them.
#[test]
fn a_mailbox_that_another_program_has_locked_waits() {
    let append = |home: &Path| {
        let path = home.join("mbox").display().to_string();
        let to = Recipient { target: Target::File { path, owner: None }, ..recipient() };
        begin(&Config::DEFAULT, &account(home), &to, &trace(), &mut |_| {})
    };
    let (with_dotlock, with_flock) = (home(), home());
    let _dotlock = Dotlock::take(&with_dotlock.join("mbox"), Duration::ZERO).unwrap();
    let file = std::fs::File::create(with_flock.join("mbox")).unwrap();
    assert!(common::sys::fs::try_flock(&file).unwrap());
    let waits = |home: &Path| {
        let status = append(home).err().unwrap();
        assert_eq!(status.to_string(), "451 4.2.0 The mailbox is locked by another program");
    };
    std::thread::scope(|scope| {
        for home in [&with_dotlock, &with_flock] {
            scope.spawn(|| waits(home));
        }
    });
    drop(file);
    assert!(append(&with_flock).is_ok());
    for home in [with_dotlock, with_flock] {
        std::fs::remove_dir_all(home).unwrap();
    }
}

#[test]
fn a_message_gets_its_trace_lines_and_a_place() {
    let home = home();
    for (setting, place) in [("", "Maildir/new"), ("mail/in/", "mail/in/new")] {
        let config = Config { home_mailbox: Text::Borrowed(setting), ..Config::DEFAULT };
        let mut sink = begin_mailbox(&config, &home).unwrap();
        sink.write(b"Subject: x\r\n\r\nbody\r\n").unwrap();
        let name = sink.finish().unwrap();
        assert_eq!(
            std::fs::read_to_string(home.join(place).join(name)).unwrap(),
            "Return-Path: <>\nX-Original-To: anna@example.org\nDelivered-To: anna@example.org\nSubject: x\n\nbody\n"
        );
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn the_file_is_made_before_the_message_is_there_and_what_goes_wrong_is_said_with_it() {
    let home = home();
    let in_tmp = || std::fs::read_dir(home.join("Maildir/tmp")).unwrap().count();
    let mut sink = begin_mailbox(&Config::DEFAULT, &home).unwrap();
    assert_eq!(in_tmp(), 0);
    sink.prepare();
    assert_eq!(in_tmp(), 1);
    drop(sink);
    assert_eq!(in_tmp(), 0);
    // Nobody has to ask for it.
    let name = begin_mailbox(&Config::DEFAULT, &home).unwrap().finish().unwrap();
    assert!(home.join("Maildir/new").join(name).exists());
    let mut sink = begin_mailbox(&Config::DEFAULT, &home).unwrap();
    std::fs::remove_dir(home.join("Maildir/tmp")).unwrap();
    sink.prepare();
    for _ in 0..2 {
        assert_eq!(sink.write(b"x").unwrap_err().code, 451);
    }
    assert_eq!(sink.finish().unwrap_err().code, 451);
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn home_mailbox_is_for_system_users() {
    let home = home();
    let location = format!("mail_location=maildir:{}/%d/%n", home.display());
    let config = Config::from_pairs(&crate::PROGRAM.line, ["home_mailbox=Maildir/", &location]).unwrap();
    for (name, place) in [("anna", "Maildir/new"), ("anna@example.org", "example.org/anna/new")] {
        let account = Account { name: name.into(), ..account(&home) };
        let begun = begin(&config, &account, &recipient(), &trace(), &mut |_| {}).unwrap();
        let Delivery::Begun(sink) = begun else { panic!("forwarded") };
        let name = sink.finish().unwrap();
        assert!(home.join(place).join(&name).exists(), "{place}/{name}");
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn what_the_sender_is_told() {
    use common::maildir::StorageError;
    for (errno, tempfail, want) in [
        (28, false, "452 4.3.1"),
        (122, false, "552 5.2.2"),
        (122, true, "452 4.2.2"),
        (13, false, "451 4.3.0"),
    ] {
        let error = StorageError::new("write", "/x", std::io::Error::from_raw_os_error(errno));
        let status = mailbox::status_of(&error, tempfail);
        // The log hears of what somebody has to mend, a user who has too much hears of it himself.
        let cause = status.cause.clone().unwrap_or_default();
        assert_eq!(cause.starts_with("write(/x): "), errno != 122, "{errno}: {cause}");
        let status = status.to_string();
        assert!(status.starts_with(want), "{errno}: {status}");
        assert!(!status.contains("/x"), "{status}");
    }
}
