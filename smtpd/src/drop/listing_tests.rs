use super::*;
use crate::queue::tests::{Scratch, queue};
use std::os::unix::fs::{chown, symlink};

fn ask_name(number: u64) -> String {
    format!("{ASK}{}", Id::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + number)).unwrap())
}

/// A socket to which nobody listens any more.
fn socket(drop: &Path, number: u64, uid: u32) -> String {
    let name = ask_name(number);
    UnixListener::bind(drop.join(&name)).unwrap();
    chown(drop.join(&name), Some(uid), Some(uid)).unwrap();
    name
}

#[test]
fn who_has_waited_longest_is_the_first() {
    if !process::is_root() {
        return;
    }
    let scratch = Scratch::new("askers");
    let drop = queue(&scratch).place(Place::Drop);
    for number in 0..8 {
        socket(&drop, number, 1001);
    }
    // Times of files come in steps of some milliseconds.
    std::thread::sleep(Duration::from_millis(30));
    for number in 8..SOCKETS_MAX as u64 + 20 {
        socket(&drop, number, 1002);
    }
    assert_eq!(askers(&drop).unwrap(), [1001, 1002]);
    let (one, other) = (claim(&drop, 1001).unwrap(), claim(&drop, 1002).unwrap());
    assert_eq!((one.uid, one.gid, one.names.len(), other.names.len()), (1001, 1001, 8, SOCKETS_MAX));
    assert!(one.names.iter().chain(&other.names).all(|name| name.len() == TOLD.len() + 32));
    // Nobody else answers them; what one user has too many of goes.
    assert_eq!(askers(&drop).unwrap(), []);
    assert_eq!(std::fs::read_dir(&drop).unwrap().count(), 8 + SOCKETS_MAX);
}

#[test]
fn what_is_no_question() {
    if !process::is_root() {
        return;
    }
    let scratch = Scratch::new("noquestions");
    let drop = queue(&scratch).place(Place::Drop);
    let elsewhere = scratch.0.join("socket");
    let _listener = UnixListener::bind(&elsewhere).unwrap();
    chown(&elsewhere, Some(1001), Some(1001)).unwrap();
    // Of root; a link to a socket; a file; a socket of another name.
    socket(&drop, 1, 0);
    symlink(&elsewhere, drop.join(ask_name(3))).unwrap();
    std::fs::write(drop.join(ask_name(4)), "").unwrap();
    UnixListener::bind(drop.join("ask.")).unwrap();
    assert_eq!(askers(&drop).unwrap(), []);
    assert!(!drop.join(ask_name(1)).exists());
}

#[test]
fn who_sees_all() {
    let scratch = crate::testing::Scratch::new();
    let users = "root:x:0:0::/:\nanna:x:1001:1001::/:\nbert:x:1002:0::/:\n";
    let passwd = scratch.file("passwd", users);
    let path = format!("passwd_path={}", passwd.display());
    for (users, anna, bert, unknown) in [
        ("", false, false, &[][..]),
        ("anna", true, false, &[]),
        ("nobody-there anna, 1002", true, true, &["nobody-there"]),
        ("bert", false, true, &[]),
        ("static:anyone", true, true, &[]),
        ("root", false, false, &[]),
    ] {
        let setting = format!("authorized_mailq_users={users}");
        let config = Config::from_pairs(&crate::PROGRAM.line, [path.as_str(), &setting]).unwrap();
        assert_eq!((sees_all(&config, 1001), sees_all(&config, 1002)), (anna, bert), "{users}");
        assert_eq!(unknown_users(&config), unknown);
    }
    let refused = Config::from_pairs(&crate::PROGRAM.line, ["authorized_mailq_users=!anna"]);
    assert!(refused.unwrap_err().to_string().contains("static:anyone"));
}
