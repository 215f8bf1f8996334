use super::*;
use smtpd::address::Address;
use smtpd::deliver::Sink;
use smtpd::envelope::{Envelope, Recipient, Target};
use smtpd::queue::{Incoming, QueueDirectory, Received};
use std::path::PathBuf;
use std::time::SystemTime;

struct Spool {
    path: PathBuf,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Spool {
    fn new(name: &str) -> Spool {
        let path = std::env::temp_dir().join(format!("tinmail-admin-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Spool { path }
    }

    fn run(&self, words: &[&str]) -> (u8, String, String) {
        let queue = format!("queue_directory={}", self.path.display());
        let head = ["-c", "/dev/null", "-o", &queue];
        let arguments: Vec<String> = head.iter().chain(words).map(|&word| word.to_owned()).collect();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let exit = run(&arguments, &mut out, &mut errors);
        (exit.code(), String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    fn add(&self) -> String {
        let us = common::sys::child::effective();
        let directory = QueueDirectory::at(&self.path, (us.uid, us.gid), false);
        let address = Address::parse(b"a@example.net").unwrap();
        let recipient = Recipient {
            address: address.clone(),
            original: address.clone(),
            orcpt: None,
            notify: None,
            owner: None,
            target: Target::Remote(address),
        };
        let envelope = Envelope { recipients: vec![recipient], ..Envelope::default() };
        let received = Received { at: SystemTime::now(), from: "test".into() };
        let mut incoming = Box::new(Incoming::create(&directory, &envelope, &received).unwrap());
        incoming.write(b"Subject: x\r\n\r\nx\r\n").unwrap();
        incoming.finish().unwrap()
    }
}

#[test]
fn a_message_is_held_released_and_deleted() {
    let queue = Spool::new("life");
    assert_eq!(queue.run(&["queue", "list"]).1, "The queue is empty\n");
    let id = queue.add();
    assert!(queue.run(&["queue", "list"]).1.contains("a@example.net"));
    assert!(queue.run(&["queue", "show", &id]).1.contains("Recipient: <a@example.net> waiting"));
    let (code, _, errors) = queue.run(&["queue", "release", &id]);
    assert!(code == 111 && errors.contains("is not on hold"), "{errors}");
    assert_eq!(queue.run(&["queue", "hold", &id]).1, format!("{id}: on hold\n"));
    assert!(queue.run(&["queue", "list"]).1.contains(&format!("{id}!")));
    let (code, _, errors) = queue.run(&["queue", "flush", &id]);
    assert!(code == 111 && errors.contains(&format!("tinmail queue release {id}")), "{errors}");
    assert_eq!(queue.run(&["queue", "release", "all"]).1, format!("{id}: released\n"));
    assert_eq!(queue.run(&["queue", "delete", &id]), (0, format!("{id}: deleted\n"), String::new()));
    let (code, _, errors) = queue.run(&["queue", "show", &id]);
    assert!(code == 111 && errors.contains("no such message"), "{errors}");
    let (first, second) = (queue.add(), queue.add());
    queue.run(&["queue", "hold", &first]);
    assert_eq!(queue.run(&["queue", "delete", "all"]).1, format!("{second}: deleted\n{first}: deleted\n"));
    let damaged = queue.add();
    std::fs::write(queue.path.join("queue").join(&damaged), "x").unwrap();
    let (code, _, errors) = queue.run(&["queue", "delete", &damaged]);
    assert!(code == 111 && errors.contains("damaged"), "{errors}");
    assert_eq!(queue.run(&["queue", "delete", "all"]).0, 0);
}

#[test]
fn wrong_words_are_answered_with_the_usage() {
    let queue = Spool::new("words");
    for words in [
        &[][..],
        &["queue"],
        &["queue", "show"],
        &["queue", "hold"],
        &["queue", "look"],
        &["queue", "show", "../x"],
        &["mailbox"],
        &["--fast"],
        &["queue", "list", "-o"],
    ] {
        let (code, _, errors) = queue.run(words);
        assert!(code == 100 && errors.contains("usage: tinmail"), "{words:?}: {errors}");
    }
    assert!(queue.run(&["--help"]).1.contains("queue release ID"));
    assert_eq!(queue.run(&["-o", "queue_directry=/x", "queue", "list"]).0, 100);
}
