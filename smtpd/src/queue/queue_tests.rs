use super::*;
use crate::address::Address;
use crate::deliver::Sink;
use crate::envelope::{Envelope, Recipient, Target};
use crate::queue::schedule::{Counters, Schedule};
use common::config::Config;
use std::io::Read;
use std::time::{Duration, SystemTime};

pub(crate) struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tinmail-queue-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A queue of our own: as root without a change of owner, so that a test of the files needs no other user.
pub(crate) fn queue(scratch: &Scratch) -> QueueDirectory {
    let us = common::sys::child::effective();
    let directory = QueueDirectory::at(&scratch.0, (us.uid, us.gid), false);
    directory.prepare().unwrap();
    directory
}

pub(crate) fn envelope(recipients: &[&str]) -> Envelope {
    let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
    let recipient = |text: &&str| Recipient::new(address(text), Target::Remote(address(text)));
    let recipients = recipients.iter().map(recipient).collect();
    Envelope { reverse_path: Some(address("sender@example.org")), recipients, ..Envelope::default() }
}

pub(crate) fn received() -> Received {
    Received { at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250), from: "test".into() }
}

pub(crate) fn add(directory: &QueueDirectory, envelope: &Envelope, message: &[u8]) -> Id {
    let mut incoming = Box::new(Incoming::create(directory, envelope, &received()).unwrap());
    for piece in message.chunks(7000) {
        incoming.write(piece).unwrap();
    }
    Id::parse(&incoming.finish().unwrap()).unwrap()
}

pub(crate) fn open(directory: &QueueDirectory, id: &Id) -> Box<Queued> {
    match Queued::open(directory, Place::Queue, id).unwrap() {
        Opened::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn names(directory: &QueueDirectory, place: Place) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.place(place))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn directories_are_made_and_checked() {
    let scratch = Scratch::new("dirs");
    let directory = queue(&scratch);
    for (place, mode) in Place::ALL.into_iter().map(|place| (place, place.mode())) {
        let meta = directory.place(place).metadata().unwrap();
        assert_eq!(meta.mode() & 0o7777, mode, "{place:?}");
    }
    directory.prepare().unwrap();
    let set = |place: Place, mode| {
        std::fs::set_permissions(directory.place(place), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(Place::Hold, 0o750);
    let error = directory.prepare().unwrap_err().to_string();
    assert!(error.ends_with("/hold: must have mode 700 (queue_directory)"), "{error}");
    set(Place::Hold, 0o700);
    set(Place::Drop, 0o1777);
    assert!(directory.prepare().unwrap_err().to_string().contains("/drop: must have mode 1733"));
    set(Place::Drop, 0o1733);
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(directory.prepare().unwrap_err().to_string().contains("nobody else may write"));
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_dir(directory.place(Place::Lock)).unwrap();
    std::os::unix::fs::symlink("/tmp", directory.place(Place::Lock)).unwrap();
    assert!(directory.prepare().unwrap_err().to_string().contains("/lock: is not a directory"));
}

#[test]
fn a_message_goes_in_and_comes_out_the_same() {
    let scratch = Scratch::new("inout");
    let directory = queue(&scratch);
    for size in [0, 1, 100, 32 * 1024, 100_000] {
        let message: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let id = add(&directory, &envelope(&["a@x", "b@y"]), &message);
        let queued = open(&directory, &id);
        assert_eq!(queued.envelope(), &envelope(&["a@x", "b@y"]));
        assert_eq!(queued.size(), size as u64);
        let mut read = Vec::new();
        queued.message().read_to_end(&mut read).unwrap();
        assert_eq!(read, message);
        queued.remove().unwrap();
    }
    assert!(names(&directory, Place::Tmp).is_empty() && names(&directory, Place::Queue).is_empty());
}

#[test]
fn a_large_piece_is_written_at_once() {
    let scratch = Scratch::new("piece");
    let directory = queue(&scratch);
    let mut incoming = Box::new(Incoming::create(&directory, &envelope(&["a@x"]), &received()).unwrap());
    incoming.write(b"begin ").unwrap();
    incoming.write(&vec![b'x'; 200_000]).unwrap();
    incoming.write(b" end").unwrap();
    let id = Id::parse(&incoming.finish().unwrap()).unwrap();
    let mut read = String::new();
    open(&directory, &id).message().read_to_string(&mut read).unwrap();
    assert!(read.len() == 200_010 && read.starts_with("begin x") && read.ends_with("x end"));
}

#[test]
fn a_queue_that_is_out_of_order() {
    let scratch = Scratch::new("order");
    let directory = queue(&scratch);
    let out_of_order = "451 4.3.0 The mail queue is out of order";
    // What another process has begun, and has the lock of.
    let id = Id::parse("1PJ7-f0").unwrap();
    let _begun =
        Incoming::create_derived(&directory, &id, &envelope(&["a@x"]), &received()).unwrap().unwrap();
    let second = Incoming::create_derived(&directory, &id, &envelope(&["a@x"]), &received());
    assert_eq!(second.err().unwrap().to_string(), out_of_order);
    std::fs::remove_dir_all(directory.place(Place::Tmp)).unwrap();
    let status = Incoming::create(&directory, &envelope(&["a@x"]), &received()).err().unwrap();
    assert_eq!(status.to_string(), out_of_order);
    assert!(status.cause.unwrap().contains("No such file"), "the log is told more");
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let scratch = Scratch::new("dropped");
    let directory = queue(&scratch);
    let mut incoming = Incoming::create(&directory, &envelope(&["a@x"]), &received()).unwrap();
    incoming.write(&[b'x'; 100_000]).unwrap();
    assert_eq!(names(&directory, Place::Tmp).len(), 1);
    drop(incoming);
    assert!(names(&directory, Place::Tmp).is_empty() && names(&directory, Place::Queue).is_empty());
}

#[test]
fn one_works_on_a_message_at_a_time() {
    let scratch = Scratch::new("lock");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), b"x\r\n");
    let first = open(&directory, &id);
    assert!(matches!(Queued::open(&directory, Place::Queue, &id).unwrap(), Opened::Busy));
    drop(first);
    open(&directory, &id).remove().unwrap();
    assert!(matches!(Queued::open(&directory, Place::Queue, &id).unwrap(), Opened::Gone));
}

#[test]
fn marks_and_counters_stay() {
    let scratch = Scratch::new("marks");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@y", "c@z"]), b"x\r\n");
    let mut queued = open(&directory, &id);
    queued.mark(1, State::Delivered).unwrap();
    queued.mark(2, State::Done).unwrap();
    queued.mark(7, State::Done).unwrap();
    let counters = Counters { attempts: 1, age: 300, last: 1_700_000_300, next: 1_700_000_600, warned: true };
    queued.set_counters(counters).unwrap();
    queued.sync().unwrap();
    drop(queued);
    let queued = open(&directory, &id);
    assert_eq!(queued.in_state(State::Pending), [0]);
    assert_eq!(queued.in_state(State::Delivered), [1]);
    assert_eq!(queued.in_state(State::Done), [2]);
    assert_eq!(queued.counters(), counters);
    assert!(!queued.is_done());
    let mtime = directory.file(Place::Queue, &id).metadata().unwrap().mtime();
    assert_eq!(mtime, 1_700_000_600);
}

#[test]
fn time_on_hold_does_not_make_it_older() {
    let scratch = Scratch::new("held");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), b"x\r\n");
    let mut queued = open(&directory, &id);
    let before = Counters { attempts: 1, age: 300, last: 1_700_000_300, next: 1_700_000_600, warned: false };
    queued.set_counters(before).unwrap();
    queued.take_up(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_090_000)).unwrap();
    drop(queued);
    let counters = open(&directory, &id).counters();
    assert_eq!(counters, Counters { last: 1_700_090_000, next: 1_700_090_000, ..before });
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_090_007);
    assert_eq!(Schedule::of(&Config::DEFAULT).older(counters, later).age, 307);
}

#[test]
fn a_derived_message_is_made_once() {
    let scratch = Scratch::new("derived");
    let directory = queue(&scratch);
    let id = Id::parse("abc").unwrap().derived("f0").unwrap();
    let create = || Incoming::create_derived(&directory, &id, &envelope(&["a@x"]), &received());
    let first = create().unwrap().unwrap();
    assert!(create().is_err(), "somebody is writing it");
    drop(first);
    // One that a crash has left, without a lock.
    std::fs::write(directory.file(Place::Tmp, &id), "x").unwrap();
    let incoming = Box::new(create().unwrap().unwrap());
    assert_eq!(incoming.finish().unwrap(), "abc-f0");
    assert!(create().unwrap().is_none());
    open(&directory, &id).move_to(Place::Hold).unwrap();
    assert!(create().unwrap().is_none());
    assert!(names(&directory, Place::Tmp).is_empty());
}

#[test]
fn what_is_no_message_is_said_so() {
    let scratch = Scratch::new("corrupt");
    let directory = queue(&scratch);
    let good = add(&directory, &envelope(&["a@x"]), b"Subject: x\r\n\r\nx\r\n");
    let path = directory.file(Place::Queue, &good);
    let octets = std::fs::read(&path).unwrap();
    let id = Id::parse("bad").unwrap();
    let bad = directory.file(Place::Queue, &id);
    let is_corrupt = || match Queued::open(&directory, Place::Queue, &id).unwrap() {
        Opened::Corrupt(why) => !why.is_empty(),
        _ => false,
    };
    let mut longer = octets.clone();
    longer.push(b'x');
    for content in [&b""[..], b"hello", &octets[..octets.len() - 1], &longer, &[0; 5000]] {
        std::fs::write(&bad, content).unwrap();
        assert!(is_corrupt(), "{}", content.len());
    }
    std::fs::remove_file(&bad).unwrap();
    std::os::unix::fs::symlink(&path, &bad).unwrap();
    assert!(is_corrupt(), "a symbolic link");
    std::fs::remove_file(&bad).unwrap();
    std::fs::create_dir(&bad).unwrap();
    assert!(is_corrupt(), "a directory");
    queued::set_aside(&directory, Place::Queue, "bad").unwrap();
    assert_eq!(names(&directory, Place::Corrupt), ["bad"]);
    assert!(matches!(queued::peek(&directory, Place::Queue, &id), Ok(None)));
    assert!(queued::peek(&directory, Place::Queue, &good).unwrap().unwrap().is_ok());
}

#[test]
fn a_message_that_became_shorter_is_an_error() {
    let scratch = Scratch::new("short");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), &[b'x'; 1000]);
    let queued = open(&directory, &id);
    let path = directory.file(Place::Queue, &id);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(600).unwrap();
    assert!(queued.message().read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_link_in_a_directory_s_place_is_not_followed() {
    let scratch = crate::testing::Scratch::new();
    let (real, link) = (scratch.path().join("real"), scratch.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert!(open_directory(&real).is_ok());
    assert!(open_directory(&link).is_err());
    assert!(open_directory(&scratch.file("file", "")).is_err());
}

#[test]
fn a_delivery_that_was_begun_is_known_to_have_been() {
    let scratch = Scratch::new("begun");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@x", "c@x"]), b"x\r\n");
    let mut queued = open(&directory, &id);
    assert_eq!([0, 0, 1].map(|at| queued.begin_here(at).unwrap()), [false, true, false]);
    queued.mark(1, State::Done).unwrap();
    assert_eq!([1, 9].map(|at| queued.begin_here(at).unwrap()), [false, false]);
    drop(queued);
    let queued = open(&directory, &id);
    assert_eq!((queued.in_state(State::Pending), queued.in_state(State::Done)), (vec![0, 2], vec![1]));
    assert_eq!([0, 2].map(|at| queued.begin_here(at).unwrap()), [true, false]);
}
