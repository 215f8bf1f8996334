//! Disks that are full or read-only, messages that cannot be read, mailboxes and messages that are large.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tinmail_tests::{Client, Place, Server, maildirs, memory, namespace, place, program, tls};

fn fill_up(place: &Place) -> PathBuf {
    let path = place.maildir().join("filler");
    let mut file = fs::File::create(&path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    path
}

fn use_up_inodes(place: &Place) {
    for number in 0..1000 {
        if fs::File::create(place.maildir().join(format!("filler{number}"))).is_err() {
            return;
        }
    }
    panic!("inodes without end");
}

fn uidl(client: &mut Client) -> Vec<String> {
    assert_eq!(client.ask("UIDL"), "+OK");
    client.lines_to_dot()
}

/// Whatever cannot be written: what has a UID is listed, read and deleted.
fn known_mail_can_be_used(place: &Place) {
    let mut client = Server::preauth(place).start();
    assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
    assert_eq!(client.ask("STAT"), "+OK 2 320");
    assert_eq!(client.ask("LIST"), "+OK 2 messages (320 octets)");
    assert_eq!(client.lines_to_dot(), ["1 120", "2 200"]);
    assert_eq!(uidl(&mut client), ["1 000000013b9aca00", "2 000000023b9aca00"]);
    assert_eq!(client.ask("RETR 1"), "+OK 120 octets");
    assert_eq!(client.lines_to_dot().len(), 5);
    assert_eq!(client.ask("DELE 1"), "+OK Marked for deletion.");
    assert_eq!(client.ask("QUIT"), "+OK Goodbye, marked messages deleted.");
    assert!(client.finish().success());
    assert_eq!(place.listing(), ["new/1000000002.b.host"]);
    let mut client = Server::preauth(place).start();
    client.line();
    assert_eq!(uidl(&mut client), ["1 000000023b9aca00"], "UIDs stay");
}

#[test]
fn full_disk() {
    namespace::run("full_disk", || {
        let place = Place::new();
        namespace::small_maildir(&place, "size=64k");
        maildirs::fill(&place, "two-messages");
        fill_up(&place);
        known_mail_can_be_used(&place);
        namespace::unmount(&place);
    });
}

#[test]
fn no_inodes() {
    namespace::run("no_inodes", || {
        let place = Place::new();
        namespace::small_maildir(&place, "nr_inodes=20");
        maildirs::fill(&place, "two-messages");
        use_up_inodes(&place);
        known_mail_can_be_used(&place);
        namespace::unmount(&place);
    });
}

/// A message without a UID is hidden while its UID cannot be recorded, and has a lasting one as soon as it can.
#[test]
fn full_disk_hides_new_mail() {
    namespace::run("full_disk_hides_new_mail", || {
        let place = Place::new();
        // Without inodes: a full disk may still have room at the end of the uidlist's last block.
        namespace::small_maildir(&place, "nr_inodes=20");
        maildirs::fill(&place, "two-messages");
        place.deliver("new/1000000009.z.host", b"Subject: new\n\n");
        use_up_inodes(&place);
        for _ in 0..2 {
            let mut client = Server::preauth(&place).start();
            assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
            assert_eq!(client.ask("STAT"), "+OK 2 320");
            assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
        }
        assert!(place.log().contains("new messages are hidden"), "{}", place.log());
        for number in 0..3 {
            fs::remove_file(place.maildir().join(format!("filler{number}"))).unwrap();
        }
        for _ in 0..2 {
            let mut client = Server::preauth(&place).start();
            assert_eq!(client.line(), "+OK Logged in.");
            assert_eq!(uidl(&mut client), ["1 000000013b9aca00", "2 000000023b9aca00", "3 000000033b9aca00"]);
        }
        namespace::unmount(&place);
    });
}

/// If that would hide everything, one message is shown under a unique-id of its own, so that the user can make room.
#[test]
fn full_disk_shows_one_message_at_least() {
    namespace::run("full_disk_shows_one_message_at_least", || {
        let place = Place::new();
        namespace::small_maildir(&place, "size=64k");
        place.deliver("new/1000000001.a.host", &maildirs::message("one", 30_000));
        place.deliver("new/1000000002.b.host", &maildirs::message("two", 200));
        fill_up(&place);
        let mut client = Server::preauth(&place).start();
        assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
        let ids = uidl(&mut client);
        assert!(ids.len() == 1 && ids[0].starts_with("1 ENOMEM-"), "{ids:?}");
        assert_eq!(client.ask("STAT"), "+OK 1 30000");
        assert_eq!(client.ask("RETR 1"), "+OK 30000 octets");
        client.lines_to_dot();
        assert_eq!(client.ask("DELE 1"), "+OK Marked for deletion.");
        assert_eq!(client.ask("QUIT"), "+OK Goodbye, marked messages deleted.");
        assert!(client.finish().success());
        assert_eq!(place.listing(), ["new/1000000002.b.host"]);
        // Now there is room.
        let mut client = Server::preauth(&place).start();
        client.line();
        let ids = uidl(&mut client);
        assert!(ids.len() == 1 && ids[0].starts_with("1 0000000"), "{ids:?}");
        namespace::unmount(&place);
    });
}

#[test]
fn read_only() {
    namespace::run("read_only", || {
        let place = Place::new();
        namespace::small_maildir(&place, "size=64k");
        maildirs::fill(&place, "two-messages");
        namespace::make_read_only(&place);
        let mut client = Server::preauth(&place).start();
        assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
        assert_eq!(client.ask("STAT"), "+OK 2 320");
        assert_eq!(uidl(&mut client), ["1 000000013b9aca00", "2 000000023b9aca00"]);
        assert_eq!(client.ask("RETR 2"), "+OK 200 octets");
        client.lines_to_dot();
        // What was only read is no reason for a complaint.
        assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
        let mut client = Server::preauth(&place).start();
        assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
        assert_eq!(client.ask("DELE 1"), "+OK Marked for deletion.");
        assert_eq!(client.ask("QUIT"), "-ERR [SYS/TEMP] Some marked messages could not be deleted.");
        assert!(client.finish().success());
        assert_eq!(place.listing(), ["cur/1000000001.a.host:2,", "new/1000000002.b.host"]);
        namespace::unmount(&place);
    });
}

/// One in the middle that this user may not read: its neighbours are served, and it can be deleted.
#[test]
fn unreadable_message() {
    let place = Place::new();
    maildirs::fill(&place, "three-messages");
    let bad = place.maildir().join("new/1000000002.b.host");
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o000)).unwrap();
    let mut client = Server::preauth(&place).start();
    assert_eq!(client.line(), "+OK Logged in.", "{}", place.log());
    assert!(client.ask("STAT").starts_with("+OK 3 "), "{}", place.log());
    assert!(client.ask("LIST").starts_with("+OK 3 messages"));
    assert_eq!(client.lines_to_dot().len(), 3);
    assert_eq!(uidl(&mut client).len(), 3);
    assert_eq!(client.ask("RETR 2"), "-ERR [SYS/TEMP] This message cannot be read now.");
    assert_eq!(client.ask("TOP 2 0"), "-ERR [SYS/TEMP] This message cannot be read now.");
    for number in [1, 3] {
        assert_eq!(client.ask(&format!("RETR {number}")), format!("+OK {}00 octets", number));
        client.lines_to_dot();
    }
    assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
    // Its size is nothing to remember: made readable it is a whole message.
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
    let mut client = Server::preauth(&place).start();
    client.line();
    assert_eq!(client.ask("STAT"), "+OK 3 600", "{}", place.log());
    drop(client);
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o000)).unwrap();
    let mut client = Server::preauth(&place).start();
    client.line();
    assert_eq!(client.ask("DELE 2"), "+OK Marked for deletion.");
    assert_eq!(client.ask("QUIT"), "+OK Goodbye, marked messages deleted.");
    assert_eq!(place.listing().len(), 2);
}

/// A Maildir that this user may not open.
#[test]
fn unreadable_maildir() {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    for directory in ["Maildir/new", "Maildir/cur", "Maildir"] {
        let path = place.path().join(directory);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let mut client = Server::login(&place).start();
        client.line();
        assert_eq!(client.ask("USER alice"), "+OK");
        assert_eq!(
            client.ask("PASS secret"),
            "-ERR [SYS/PERM] The maildrop cannot be opened.",
            "{directory}"
        );
        assert!(client.rest().is_empty());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(place.listing().len(), 2);
}

/// Damaged control files cost time, not mail.
#[test]
fn damaged_control_files() {
    let junk: &[&[u8]] = &[
        b"",
        b"\n",
        b"garbage\n",
        b"3 V0 N0\n",
        b"3 V1000000000 N3 G0\n1 :1000000001.a.host\n1 :1000000002.b.host\n",
        b"3 V1000000000 N3 G0\n9999999999 :1000000001.a.host\n",
        b"3 V1000000000 N3 G0\n1 :../../etc/passwd\n2 :1000000002.b.host",
        b"3 V4294967295 N4294967295 G0\n4294967294 :1000000001.a.host\n",
        &[0; 5000],
        &[0xff; 5000],
    ];
    for (number, uidlist) in junk.iter().enumerate() {
        let place = Place::new();
        maildirs::fill(&place, "two-messages");
        place.deliver("dovecot-uidlist", uidlist);
        place.deliver("tinmail-index", uidlist);
        for _ in 0..2 {
            let mut client = Server::preauth(&place).start();
            assert_eq!(client.line(), "+OK Logged in.", "{number}: {}", place.log());
            assert_eq!(client.ask("STAT"), "+OK 2 320", "{number}: {}", place.log());
            assert_eq!(uidl(&mut client).len(), 2, "{number}");
            assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
            assert!(client.finish().success());
        }
        assert_eq!(place.listing().len(), 2);
    }
}

/// Pages of the program are its own only for a process that runs alone: as on a server, another one runs too.
fn another_session() -> (Client, Place) {
    let place = Place::new();
    maildirs::fill(&place, "two-messages");
    let mut other = Server::login(&place).program(program::pop3d_release()).start();
    other.log_in();
    assert_eq!(other.ask("STAT"), "+OK 2 320");
    assert_eq!(other.ask("RETR 1"), "+OK 120 octets");
    other.lines_to_dot();
    (other, place)
}

const MANY: u32 = 100_000;

fn many(place: &Place, hints: &str) {
    let (uid, gid) = place::ids();
    for number in 0..MANY {
        let path =
            place.maildir().join(format!("cur/{}.M{number}P1.host{hints}:2,S", 1_000_000_000 + number));
        fs::write(&path, b"Subject: many\n\nbody\n").unwrap();
        if place::is_root() {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }
    // The index is trusted once the directories have not changed for two seconds.
    std::thread::sleep(Duration::from_millis(2100));
}

/// Without sizes in the file names all messages are read once; the second session profits as much as with them.
#[test]
fn a_hundred_thousand_messages_of_unknown_size() {
    let place = Place::new();
    many(&place, "");
    let _other = another_session();
    let server = Server::login(&place).program(program::pop3d_release());
    for session in ["first", "second", "third"] {
        let mut client = server.start();
        client.set_patience(Duration::from_secs(180));
        client.log_in();
        assert_eq!(client.ask("STAT"), format!("+OK {MANY} {}", 23 * MANY));
        let private = memory::private_kib(client.child.id());
        println!("{session}: {private} KiB private");
        assert!(
            session == "first" || !place::is_root() || private <= 1536,
            "{session} session: {private} KiB private"
        );
        assert_eq!(client.ask("QUIT"), "+OK Goodbye.");
        assert!(client.finish().success());
    }
}

/// The second session reads the mailbox from its index: hardly any memory of its own, and the same numbers.
#[test]
fn a_hundred_thousand_messages() {
    let place = Place::new();
    many(&place, ",S=20,W=23");
    let stat = format!("+OK {MANY} {}", 23 * MANY);
    let server = Server::login(&place).program(program::pop3d_release());
    let mut first = server.start();
    first.log_in();
    assert_eq!(first.ask("STAT"), stat);
    let ids = uidl(&mut first);
    assert_eq!(first.ask("QUIT"), "+OK Goodbye.");
    assert!(first.finish().success());

    let _other = another_session();

    let mut second = server.start();
    second.log_in();
    assert_eq!(second.ask("STAT"), stat);
    assert_eq!(uidl(&mut second), ids);
    assert_eq!(second.ask("LIST"), format!("+OK {MANY} messages ({} octets)", 23 * MANY));
    assert_eq!(second.lines_to_dot().len(), MANY as usize);
    let busy = memory::private_kib(second.child.id());
    std::thread::sleep(Duration::from_millis(1500));
    let quiet = memory::private_kib(second.child.id());
    if std::env::var_os("TINMAIL_TEST_SMAPS").is_some() {
        println!("{}", fs::read_to_string(format!("/proc/{}/smaps", second.child.id())).unwrap());
    }
    if place::is_root() {
        assert!(busy > 0 && busy <= 1536, "{busy} KiB private after UIDL and LIST");
        assert!(quiet > 0 && quiet <= 1536, "{quiet} KiB private in silence");
    }
    // Every other message deleted, marks and all in bounded memory.
    for number in (1..=MANY).step_by(2) {
        second.command(&format!("DELE {number}"));
    }
    for _ in (1..=MANY).step_by(2) {
        assert_eq!(second.line(), "+OK Marked for deletion.");
    }
    assert_eq!(second.ask("STAT"), format!("+OK {} {}", MANY / 2, 23 * (MANY / 2)));
    let marked = memory::private_kib(second.child.id());
    assert!(!place::is_root() || marked <= 1536, "{marked} KiB private with marks");
    second.set_patience(Duration::from_secs(180));
    assert_eq!(second.ask("QUIT"), "+OK Goodbye, marked messages deleted.");
    assert!(second.finish().success());
    assert_eq!(place.listing().len(), (MANY / 2) as usize);

    let mut third = server.start();
    third.set_patience(Duration::from_secs(180));
    third.log_in();
    assert_eq!(third.ask("STAT"), format!("+OK {} {}", MANY / 2, 23 * (MANY / 2)));
    let left: Vec<&str> = ids.iter().skip(1).step_by(2).map(|line| line.split_once(' ').unwrap().1).collect();
    let now = uidl(&mut third);
    let now: Vec<&str> = now.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(now == left, "unique-ids stay");
}

const LARGE: u64 = 200 << 20;

fn large_message(place: &Place) {
    place.deliver("new/1.large.host", b"Subject: large\n\n");
    let mut file =
        fs::OpenOptions::new().append(true).open(place.maildir().join("new/1.large.host")).unwrap();
    let mut piece = Vec::new();
    while piece.len() < 1 << 20 {
        piece.extend_from_slice(
            b"....:....1....:....2....:....3....:....4....:....5....:....6....:....7....\n",
        );
    }
    for _ in 0..LARGE / piece.len() as u64 {
        file.write_all(&piece).unwrap();
    }
}

/// Reads a RETR to its end, looking at the memory of the processes on the way. Returns what was announced and what came.
fn retrieve(stream: &mut impl Read, pid: u32, most: &mut u64) -> (u64, u64) {
    let mut buffer = vec![0; 256 * 1024];
    let (mut announced, mut total, mut looked) = (None, 0u64, 0);
    let mut head = Vec::new();
    let mut tail = Vec::new();
    loop {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the connection ended");
        total += n as u64;
        if announced.is_none() {
            head.extend_from_slice(&buffer[..n]);
            if let Some(at) = head.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&head[..at]).into_owned();
                announced = Some(line.split(' ').nth(1).unwrap().parse().unwrap());
                total -= at as u64 + 2;
            }
        }
        if total / (LARGE / 8) > looked {
            looked = total / (LARGE / 8);
            // Let the server fill whatever it fills while we do not read.
            std::thread::sleep(Duration::from_millis(20));
            *most = (*most).max(memory::family_kib(pid));
        }
        tail.extend_from_slice(&buffer[n.saturating_sub(5)..n]);
        tail.drain(..tail.len().saturating_sub(5));
        if tail == b"\r\n.\r\n" {
            return (announced.unwrap(), total - 3);
        }
    }
}

#[test]
fn a_message_of_200_megabytes() {
    let place = Place::new();
    large_message(&place);
    let _other = another_session();
    let (mut child, mut socket) = Server::login(&place).program(program::pop3d_release()).start_raw();
    socket.write_all(b"USER alice\r\nPASS secret\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"+OK Logged in.\r\n") {
        let mut octet = [0];
        socket.read_exact(&mut octet).unwrap();
        seen.extend(octet);
    }
    socket.write_all(b"RETR 1\r\n").unwrap();
    let mut most = 0;
    let (announced, came) = retrieve(&mut socket, child.id(), &mut most);
    // Each line but those of the header begins with a dot, which was doubled.
    let lines = (announced - 18) / 76;
    assert_eq!(came, announced + lines);
    assert!(announced > LARGE);
    socket.write_all(b"QUIT\r\n").unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "+OK Goodbye.\r\n");
    drop(socket);
    assert!(child.wait().unwrap().success());
    assert!(!place::is_root() || (most > 0 && most <= 1024), "{most} KiB private on the way");
}

#[test]
fn a_message_of_200_megabytes_under_tls() {
    let place = Place::new();
    large_message(&place);
    let _other = another_session();
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &fs::read(tls::certificates().join(name)).unwrap());
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    let (mut child, socket) = Server::login(&place)
        .program(program::pop3d_release())
        .set("ssl=yes")
        .set(&format!("ssl_cert_file={}", file("cert.pem")))
        .set(&format!("ssl_key_file={}", file("key.pem")))
        .argument("--tls")
        .start_raw();
    let mut stream = tls::connect(socket);
    stream.write_all(b"USER alice\r\nPASS secret\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"+OK Logged in.\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        seen.extend(octet);
    }
    stream.write_all(b"RETR 1\r\n").unwrap();
    let mut most = 0;
    let (announced, came) = retrieve(&mut stream, child.id(), &mut most);
    assert_eq!(came, announced + (announced - 18) / 76);
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "+OK Goodbye.\r\n");
    drop(stream);
    assert!(child.wait().unwrap().success());
    assert!(
        !place::is_root() || (most > 0 && most <= 2048),
        "{most} KiB private in both processes on the way"
    );
}
