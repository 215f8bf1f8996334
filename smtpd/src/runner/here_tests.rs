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
    assert_eq!(here.late(&second), [], "somebody else's delivery");
    // Nor does it keep its place.
    let limit = ways::limit(&run.config, &ways::local_key(anna));
    let slots: Vec<_> =
        (0..limit).map(|_| slots::try_take(&run.directory, &ways::local_key(anna), limit).unwrap()).collect();
    assert!(slots.iter().all(Option::is_some));
}
