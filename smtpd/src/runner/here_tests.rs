use super::super::ask::QUESTION_MAX;
use super::super::attempt::Policy;
use super::super::ways::Ways;
use super::*;
use crate::queue::tests::{Scratch, add, envelope, open, queue};
use common::config::Config;
use common::log::Log;
use common::process::walls::SenderWalls;
use common::sys::pass;
use std::io::Write;
use std::os::fd::OwnedFd;

/// What a worker has, and the guard's end.
fn run(scratch: &Scratch) -> (Run, OwnedFd) {
    let (guard, ours) = pass::message_pair().unwrap();
    let config = Config::DEFAULT;
    let log = Log::open(&config, "test".to_owned());
    let policy = Policy {
        schedule: crate::queue::schedule::Schedule::of(&config),
        host: "mail.example.org".into(),
        bounce_size_limit: 0,
        postmaster: None,
    };
    let (ways, walls) = (Ways::load(&config, &log), SenderWalls::prepare(0).unwrap());
    (Run { directory: queue(scratch), config, log, policy, ways, guard, walls }, ours)
}

/// Only a loop derives so many messages from one.
#[test]
fn what_is_sent_on_too_often_ends() {
    let scratch = Scratch::new("often");
    let (run, _guard) = run(&scratch);
    let wanted = envelope(&["anna@x"]);
    let here = Here::new(&run, "several destinations");
    let mut id = add(&run.directory, &wanted, b"A: b\r\n\r\n");
    let mut sent_on = 0;
    let status = loop {
        let queued = open(&run.directory, &id);
        // Another mailbox each time: the same one would be known by its Delivered-To.
        let recipient = &envelope(&[&format!("u{sent_on}@x")]).recipients[0];
        match here.send_on(&queued, 0, recipient, vec![recipient.clone()], true) {
            Ok(status) => {
                sent_on += 1;
                id = id.derived("f0").unwrap();
                assert_eq!(status.text, format!("forwarded as {id}"));
            }
            Err(status) => break status,
        }
        assert!(sent_on < 50);
    };
    // 14 characters, and three for each.
    assert_eq!((status.to_string().as_str(), sent_on), ("554 5.4.6 Forwarded too often", 11));
}

#[test]
fn what_is_left_of_one_message_is_nothing_to_the_next() {
    let scratch = Scratch::new("here");
    let (run, guard) = run(&scratch);
    let mut wanted = envelope(&["anna@x", "bert@x"]);
    for recipient in &mut wanted.recipients {
        let user = recipient.address.local().to_owned();
        recipient.target = Target::Mailbox { user, extension: String::new(), direct: false };
    }
    let ids = [0, 1].map(|_| add(&run.directory, &wanted, b"A: b\r\n\r\n"));
    let (first, second) = (open(&run.directory, &ids[0]), open(&run.directory, &ids[1]));
    let mut here = Here::new(&run, "several destinations");
    here.begin(true);
    let anna = &wanted.recipients[0];
    assert_eq!(here.deliver(&first, 0, anna), [], "it takes long, and goes on beside the others");
    // Its file could not be written: the attempt is over, and the next message begins.
    here.begin(true);
    let (_, descriptors) = pass::receive_with(&guard, &mut vec![0; QUESTION_MAX]).unwrap();
    let [_, to] = descriptors.unwrap();
    let done = Answer::Status(Status::new(250, Enhanced(2, 0, 0), "delivered"));
    std::fs::File::from(to).write_all(done.print().as_bytes()).unwrap_or_default();
    assert_eq!(here.late(&second, Duration::MAX), [], "somebody else's delivery");
    // Nor does it keep its place.
    let limit = ways::limit(&run.config, &ways::local_key(anna));
    let slots: Vec<_> =
        (0..limit).map(|_| slots::try_take(&run.directory, &ways::local_key(anna), limit).unwrap()).collect();
    assert!(slots.iter().all(Option::is_some));
}
