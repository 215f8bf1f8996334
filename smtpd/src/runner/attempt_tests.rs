use super::*;
use crate::envelope::{Body, Ret};
use crate::queue::tests::{Scratch, add, envelope, open, queue};
use crate::queue::{Id, Opened, QueueDirectory};
use crate::status::Enhanced;
use std::collections::VecDeque;
use std::io::Read;

/// Answers from a list, and remembers who was served.
struct Script {
    answers: VecDeque<(&'static str, u16)>,
    served: Vec<String>,
    log: Vec<String>,
    now: u64,
    unknown: Vec<&'static str>,
    /// Whose outcome comes late, and those that are to come.
    slow: Vec<&'static str>,
    late: Vec<Outcome>,
}

impl Script {
    fn new(answers: &[(&'static str, u16)]) -> Script {
        let answers = answers.iter().copied().collect();
        let (served, log, unknown) = (Vec::new(), Vec::new(), Vec::new());
        Script { answers, served, log, now: 1_700_000_010, unknown, slow: Vec::new(), late: Vec::new() }
    }
}

impl World for Script {
    fn groups(&mut self, queued: &Queued, open: &[usize]) -> Vec<Vec<usize>> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for &at in open {
            let domain = queued.envelope().recipients[at].address.domain().to_owned();
            match groups.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, group)) => group.push(at),
                None => groups.push((domain, vec![at])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn deliver(&mut self, queued: &Queued, group: &[usize]) -> Vec<Outcome> {
        let mut message = String::new();
        queued.message().read_to_string(&mut message).unwrap();
        let outcomes: Vec<Outcome> = group
            .iter()
            .map(|&at| {
                let address = queued.envelope().recipients[at].address.to_string();
                let code = self.answers.iter().find(|(to, _)| *to == address).map_or(250, |(_, code)| *code);
                self.served.push(address);
                Outcome {
                    recipient: at,
                    status: Status::new(code, Enhanced((code / 100) as u8, 1, 1), "host said: words"),
                    relay: "mx.example[192.0.2.1]:25".into(),
                    diagnostic: Some(format!("{code} words\u{1}")),
                    relayed: true,
                }
            })
            .collect();
        let is_slow = |outcome: &Outcome| {
            let address = queued.envelope().recipients[outcome.recipient].address.to_string();
            self.slow.contains(&address.as_str())
        };
        let (late, now): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(is_slow);
        self.late.extend(late);
        now
    }

    fn late(&mut self, queued: &Queued) -> Vec<Outcome> {
        if !self.late.is_empty() {
            let pending = queued.in_state(State::Pending);
            self.log.push(format!("{pending:?} are waited for"));
        }
        self.late.pop().into_iter().collect()
    }

    fn expand(&mut self, address: &Address) -> Result<Vec<Recipient>, Status> {
        match self.unknown.iter().find(|text| **text == address.to_string()) {
            Some(_) => Err(Status::new(550, Enhanced(5, 1, 1), "User unknown")),
            None => Ok(envelope(&[&address.to_string()]).recipients),
        }
    }

    fn now(&mut self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.now)
    }

    fn log(&mut self, line: Arguments<'_>) {
        self.log.push(line.to_string());
    }
}

fn policy() -> Policy {
    Policy {
        schedule: Schedule {
            minimal_backoff: Duration::from_secs(300),
            maximal_backoff: Duration::from_secs(4000),
            lifetime: Duration::from_secs(86_400),
            bounce_lifetime: Duration::from_secs(86_400),
            delay_warning: Duration::from_secs(3600),
        },
        host: "mail.example.org".into(),
        bounce_size_limit: 50_000,
        postmaster: Some(Address::parse(b"postmaster@example.org").unwrap()),
    }
}

const MESSAGE: &[u8] = b"Subject: hello\r\nX: y\r\n\r\nbody\r\n";

fn ids(directory: &QueueDirectory) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.place(Place::Queue))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".log"))
        .collect();
    names.sort();
    names
}

fn text(directory: &QueueDirectory, id: &str) -> (Envelope, String) {
    let queued = open(directory, &Id::parse(id).unwrap());
    let mut text = String::new();
    queued.message().read_to_string(&mut text).unwrap();
    (queued.envelope().clone(), text)
}

fn run(directory: &QueueDirectory, id: &Id, world: &mut Script) -> Left {
    attempt(open(directory, id), world, &policy()).unwrap()
}

#[test]
fn a_delivered_message_costs_an_unlink() {
    let scratch = Scratch::new("sent");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@x"]), MESSAGE);
    let mut world = Script::new(&[]);
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    assert_eq!(world.served, ["a@x", "b@x"]);
    assert!(ids(&directory).is_empty());
    let line = format!(
        "{id}: to=<a@x>, relay=mx.example[192.0.2.1]:25, delay=9.75, dsn=2.1.1, status=sent (250 words\\x01)"
    );
    let active = format!("{id}: from=<sender@example.org>, size={}, nrcpt=2 (queue active)", MESSAGE.len());
    assert_eq!(world.log, [active, line, world.log[2].clone(), format!("{id}: removed")]);
}

#[test]
fn who_takes_his_time_waits_alone() {
    let scratch = Scratch::new("late");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@y", "c@z", "d@q"]), MESSAGE);
    let mut world = Script { slow: vec!["a@x", "c@z"], ..Script::new(&[("c@z", 450)]) };
    assert_eq!(run(&directory, &id, &mut world), Left::Deferred);
    assert_eq!(world.served, ["a@x", "b@y", "c@z", "d@q"]);
    let waits: Vec<&String> = world.log.iter().filter(|line| line.ends_with("waited for")).collect();
    assert_eq!(waits, ["[0, 2] are waited for", "[0, 2] are waited for"]);
    assert_eq!(open(&directory, &id).in_state(State::Pending), [2]);
}

#[test]
fn what_is_served_is_not_served_again() {
    let scratch = Scratch::new("again");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@y", "c@z"]), MESSAGE);
    let mut world = Script::new(&[("b@y", 450)]);
    assert_eq!(run(&directory, &id, &mut world), Left::Deferred);
    assert!(world.log.iter().any(|line| line.contains("to=<b@y>") && line.contains("status=deferred")));
    let queued = open(&directory, &id);
    assert_eq!(queued.in_state(State::Pending), [1]);
    assert_eq!((queued.counters().attempts, queued.counters().next), (1, 1_700_000_010 + 300));
    drop(queued);
    let notes = notes::read(&directory, Place::Queue, &id);
    assert_eq!((notes.len(), notes[0].recipient, notes[0].status.code), (1, 1, 450));
    let mut world = Script::new(&[]);
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    assert_eq!(world.served, ["b@y"]);
    assert_eq!(std::fs::read_dir(directory.place(Place::Queue)).unwrap().count(), 0);
}

#[test]
fn failures_are_returned_in_one_report() {
    let scratch = Scratch::new("bounce");
    let directory = queue(&scratch);
    let mut envelope = envelope(&["a@x", "b@y", "c@z"]);
    envelope.envid = Some("QQ+2B+0D+0ABcc".into());
    envelope.recipients[0].orcpt = Some("rfc822;a+2Bb@orig.example".into());
    let id = add(&directory, &envelope, MESSAGE);
    let mut world = Script::new(&[("a@x", 550), ("c@z", 554)]);
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    let bounce = format!("{id}-b0");
    assert_eq!(ids(&directory), [bounce.as_str()]);
    let (envelope, text) = text(&directory, &bounce);
    assert_eq!(envelope.reverse_path, None);
    assert_eq!(envelope.recipients[0].address.to_string(), "sender@example.org");
    assert_eq!(envelope.recipients[0].notify, Some(Notify::NEVER));
    for line in [
        "From: Mail Delivery System <MAILER-DAEMON@mail.example.org>",
        "To: <sender@example.org>",
        "Auto-Submitted: auto-replied",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Content-Type: message/delivery-status",
        "Reporting-MTA: dns; mail.example.org",
        "Original-Envelope-Id: QQ+??Bcc",
        "Original-Recipient: rfc822; a+b@orig.example",
        "Final-Recipient: rfc822; a@x",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.example",
        "Diagnostic-Code: smtp; 550 words?",
        "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:30 +0000",
        "Final-Recipient: rfc822; c@z",
        "Content-Type: message/rfc822",
        "Subject: hello",
        "body",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}\n{text}");
    }
    assert!(!text.contains("b@y") && text.lines().all(|line| line.len() < 998));
    assert_eq!(text.matches("Action:").count(), 2);
}

#[test]
fn a_crash_before_the_mark_makes_no_second_bounce() {
    let scratch = Scratch::new("twice");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    let octets = std::fs::read(directory.file(Place::Queue, &id)).unwrap();
    for _ in 0..2 {
        // As it was before the run that queued the bounce and then was killed.
        std::fs::write(directory.file(Place::Queue, &id), &octets).unwrap();
        assert_eq!(run(&directory, &id, &mut Script::new(&[("a@x", 550)])), Left::Nothing);
        assert_eq!(ids(&directory), [format!("{id}-b0")]);
    }
}

#[test]
fn what_was_made_of_a_message_waits_for_its_mark() {
    let scratch = Scratch::new("waits");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x", "b@x"]), MESSAGE);
    let made = |what: &str| {
        let id = id.derived(what).unwrap();
        let incoming =
            Incoming::create_derived(&directory, &id, &envelope(&["c@x"]), &crate::queue::tests::received());
        Box::new(incoming.unwrap().unwrap()).finish().unwrap();
        id
    };
    let [bounce, forwarded, warning, other] = ["b1", "f0", "d1", "u1000"].map(made);
    let waiting = |id: &Id| waits(&open(&directory, id));
    assert_eq!([&bounce, &forwarded, &warning, &other, &id].map(waiting), [false, true, false, false, false]);
    open(&directory, &id).mark(1, State::Failed).unwrap();
    open(&directory, &id).mark(0, State::Done).unwrap();
    assert_eq!([&bounce, &forwarded].map(waiting), [true, false]);
    open(&directory, &id).mark(1, State::Done).unwrap();
    assert!(!waiting(&bounce));
    open(&directory, &id).mark(1, State::Failed).unwrap();
    assert!(waiting(&bounce));
    open(&directory, &id).remove().unwrap();
    assert!(!waiting(&bounce));
}

#[test]
fn a_failure_of_an_earlier_run_is_told_even_without_its_notes() {
    let scratch = Scratch::new("lostnotes");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    open(&directory, &id).mark(0, State::Failed).unwrap();
    let mut world = Script::new(&[]);
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    assert!(world.served.is_empty());
    let (_, text) = text(&directory, &format!("{id}-b0"));
    assert!(text.contains("Status: 5.0.0\r\n") && text.contains("not known any more"), "{text}");
}

#[test]
fn what_is_asked_for_is_told_and_nothing_else() {
    let scratch = Scratch::new("notify");
    let directory = queue(&scratch);
    let mut envelope = envelope(&["never@x", "both@x", "success@x", "fails@x"]);
    let both = Notify { success: true, failure: true, delay: false };
    let success = Notify { success: true, failure: false, delay: false };
    for (at, notify) in [(0, Notify::NEVER), (1, both), (2, success), (3, both)] {
        envelope.recipients[at].notify = Some(notify);
    }
    envelope.ret = Some(Ret::Headers);
    let id = add(&directory, &envelope, MESSAGE);
    let mut world = Script::new(&[("never@x", 550), ("success@x", 550), ("fails@x", 550)]);
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    assert_eq!(ids(&directory), [format!("{id}-b0"), format!("{id}-s1")]);
    let (_, failure) = text(&directory, &format!("{id}-b0"));
    assert!(failure.contains("fails@x") && !failure.contains("never@x") && !failure.contains("success@x"));
    assert!(failure.contains("Content-Type: text/rfc822-headers\r\n") && !failure.contains("body\r\n"));
    let (_, success) = text(&directory, &format!("{id}-s1"));
    assert!(
        success.contains("Action: relayed\r\n") && success.contains("both@x") && !success.contains("fails")
    );
    assert!(success.contains("Subject: hello\r\n") && !success.contains("body\r\n"));
}

#[test]
fn a_bounce_that_fails_goes_to_the_postmaster_and_then_to_rest() {
    let scratch = Scratch::new("double");
    let directory = queue(&scratch);
    let null = Envelope { reverse_path: None, ..envelope(&["gone@x"]) };
    let id = add(&directory, &null, MESSAGE);
    assert_eq!(run(&directory, &id, &mut Script::new(&[("gone@x", 550)])), Left::Nothing);
    let double = format!("{id}-b0");
    let (envelope, text) = text(&directory, &double);
    assert_eq!(envelope.reverse_path, None);
    assert_eq!(envelope.recipients[0].address.to_string(), "postmaster@example.org");
    assert!(text.contains("\r\nTo: <postmaster@example.org>\r\nSubject: Postmaster notice"));
    let mut world = Script::new(&[("postmaster@example.org", 550)]);
    assert_eq!(run(&directory, &Id::parse(&double).unwrap(), &mut world), Left::SetAside);
    assert!(ids(&directory).is_empty());
    assert!(directory.place(Place::Corrupt).join(&double).exists());
    assert!(world.log.iter().any(|line| line.contains("moved to corrupt")));
}

#[test]
fn what_is_open_is_tried_even_if_nobody_can_be_told_of_the_rest() {
    let scratch = Scratch::new("nobody");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["gone@x", "later@x"]), MESSAGE);
    let mut world = Script::new(&[("gone@x", 550), ("later@x", 450)]);
    world.unknown = vec!["sender@example.org", "postmaster@example.org"];
    assert_eq!(run(&directory, &id, &mut world), Left::Deferred);
    world.answers.clear();
    assert_eq!(run(&directory, &id, &mut world), Left::SetAside);
    assert_eq!(world.served, ["gone@x", "later@x", "later@x"]);
}

#[test]
fn a_sender_who_does_not_exist_makes_it_the_postmasters() {
    let scratch = Scratch::new("nosender");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    let mut world = Script::new(&[("a@x", 550)]);
    world.unknown = vec!["sender@example.org"];
    assert_eq!(run(&directory, &id, &mut world), Left::Nothing);
    let (envelope, text) = text(&directory, &format!("{id}-b0"));
    assert_eq!(envelope.recipients[0].address.to_string(), "postmaster@example.org");
    // Not that it had none.
    assert!(!text.contains("without a sender"), "{text}");
    for line in [
        "Subject: Postmaster notice: mail could not be delivered, nor returned",
        "A message could not be delivered, and its sender <sender@example.org> does",
        "not exist here.",
        "It is attached below.",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
}

#[test]
fn the_owner_of_a_list_is_told_instead_of_the_sender() {
    let scratch = Scratch::new("owner");
    let directory = queue(&scratch);
    let mut list = envelope(&["a@x", "b@x"]);
    list.recipients[1].owner = Some(Address::parse(b"owner-list@example.org").unwrap());
    let id = add(&directory, &list, MESSAGE);
    run(&directory, &id, &mut Script::new(&[("a@x", 550), ("b@x", 550)]));
    assert_eq!(ids(&directory), [format!("{id}-b0"), format!("{id}-b1")]);
    let (envelope, text) = text(&directory, &format!("{id}-b1"));
    assert_eq!(envelope.recipients[0].address.to_string(), "owner-list@example.org");
    assert!(!text.contains("a@x"));
}

#[test]
fn the_owner_of_a_list_hears_of_the_member_and_of_nothing_that_the_sender_asked() {
    let scratch = Scratch::new("member");
    let directory = queue(&scratch);
    let mut list = envelope(&["member@x", "list@example.org"]);
    list.recipients[0].original = list.recipients[1].address.clone();
    list.recipients[0].owner = Some(Address::parse(b"owner-list@example.org").unwrap());
    (list.envid, list.ret) = (Some("mine".into()), Some(Ret::Headers));
    list.recipients[1].notify = Some(Notify { success: true, ..Notify::NEVER });
    list.recipients[1].target = Target::Expanded { list: true };
    let id = add(&directory, &list, MESSAGE);
    run(&directory, &id, &mut Script::new(&[("member@x", 550)]));
    let (_, to_owner) = text(&directory, &format!("{id}-b0"));
    assert!(to_owner.contains("Final-Recipient: rfc822; member@x\r\n") && to_owner.contains("body\r\n"));
    assert!(!to_owner.contains("Original-Envelope-Id"), "{to_owner}");
    let (_, to_sender) = text(&directory, &format!("{id}-s1"));
    assert!(to_sender.contains("Final-Recipient: rfc822; list@example.org\r\n"), "{to_sender}");
    assert!(to_sender.contains("\r\nOriginal-Envelope-Id: mine\r\nReporting-MTA: dns; mail.example.org\r\n"));
    assert!(!to_sender.contains("member@x"));
}

#[test]
fn an_alias_with_several_members_is_told_as_expanded() {
    let scratch = Scratch::new("expanded");
    let directory = queue(&scratch);
    let mut alias = envelope(&["a@x", "b@x", "both@example.org"]);
    alias.recipients[2].notify = Some(Notify { success: true, ..Notify::NEVER });
    alias.recipients[2].target = Target::Expanded { list: false };
    let id = add(&directory, &alias, MESSAGE);
    run(&directory, &id, &mut Script::new(&[]));
    assert_eq!(ids(&directory), [format!("{id}-s2")]);
    let (_, text) = text(&directory, &format!("{id}-s2"));
    assert!(text.contains("\r\nAction: expanded\r\nStatus: 2.1.1\r\n"), "{text}");
    assert!(!text.contains("a@x") && text.matches("Action:").count() == 1);
}

#[test]
fn a_delay_is_told_once_and_the_end_of_time_is_a_failure() {
    let scratch = Scratch::new("delay");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    let mut world = Script::new(&[("a@x", 450)]);
    let warning = format!("{id}-d0");
    let (mut attempts, mut until) = (0, None);
    while run(&directory, &id, &mut world) == Left::Deferred {
        attempts += 1;
        let warned = ids(&directory).contains(&warning);
        let age = open(&directory, &id).counters().age;
        until = until.or(warned.then(|| world.now + 86_400 - age));
        assert_eq!(warned, age >= 3600, "at {age}");
        world.now = open(&directory, &id).counters().next;
        assert!(attempts < 100);
    }
    assert!(world.now - 1_700_000_000 >= 86_400);
    let (_, text1) = text(&directory, &warning);
    assert!(
        text1.contains("Action: delayed\r\nStatus: 4.1.1\r\n") && text1.contains("\r\nWill-Retry-Until: ")
    );
    let until = common::mime::date::print(until.unwrap().try_into().unwrap());
    assert!(text1.contains(&format!("\r\nWill-Retry-Until: {until}\r\n")), "{until}: {text1}");
    assert!(text1.contains("\r\nSubject: Delayed mail"));
    let (_, text2) = text(&directory, &format!("{id}-b0"));
    assert!(text2.contains("Action: failed\r\nStatus: 4.1.1\r\n"), "{text2}");
    assert!(world.log.iter().any(|line| line.contains("status=expired")));
}

#[test]
fn a_wrong_clock_neither_expires_nor_warns_nor_keeps_back() {
    const TRUE: u64 = 1_700_000_010;
    let scratch = Scratch::new("clock");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    let mut policy = policy();
    policy.schedule.delay_warning = Duration::from_secs(8 * 3600);
    let mut world = Script::new(&[("a@x", 450)]);
    // On without a clock of its own, then set right; the battery of another thinks it is 2100, or 2038 and a second.
    for (now, age) in [
        (TRUE, 10),
        (100, 10),
        (200, 110),
        (TRUE + 400, 8110),
        (4_102_444_800, 16_110),
        (TRUE + 800, 16_110),
        (2_147_483_649, 24_110),
        (5, 24_110),
    ] {
        world.now = now;
        let schedule = &policy.schedule;
        // Whenever it was put off to, it is due at the latest when the longest pause is over.
        let latest = world.now() + schedule.maximal_backoff;
        assert!(schedule.is_due(open(&directory, &id).counters().next, latest), "at {now}");
        assert_eq!(attempt(open(&directory, &id), &mut world, &policy).unwrap(), Left::Deferred, "at {now}");
        assert_eq!(open(&directory, &id).counters().age, age, "at {now}");
    }
    assert_eq!(ids(&directory), [id.to_string()]);
}

#[test]
fn utf8_needs_the_other_report() {
    let scratch = Scratch::new("utf8");
    let directory = queue(&scratch);
    let mut grün = Envelope { smtputf8: true, body: Body::EightBitMime, ..envelope(&["grün@x"]) };
    let id = add(&directory, &grün, "Subject: grün\r\n\r\nö\r\n".as_bytes());
    run(&directory, &id, &mut Script::new(&[("grün@x", 550)]));
    let (envelope, report) = text(&directory, &format!("{id}-b0"));
    assert!(envelope.smtputf8 && envelope.body == Body::EightBitMime);
    for line in [
        "Content-Type: multipart/report; report-type=global-delivery-status;",
        "Content-Type: message/global-delivery-status",
        "Final-Recipient: utf-8; grün@x",
        "Content-Type: message/global",
    ] {
        assert!(report.contains(&format!("\r\n{line}\r\n")), "{line}\n{report}");
    }
    grün.body = Body::BinaryMime;
    let id = add(&directory, &grün, b"Subject: x\r\n\r\na\rb\nc\0");
    run(&directory, &id, &mut Script::new(&[("grün@x", 550)]));
    let (_, report) = text(&directory, &format!("{id}-b0"));
    assert!(report.contains("Content-Type: message/global-headers\r\n") && !report.contains('\0'));
}

#[test]
fn large_messages_come_back_as_headers() {
    let scratch = Scratch::new("large");
    let directory = queue(&scratch);
    let mut message = b"Subject: big\r\n\r\n".to_vec();
    message.resize(60_000, b'x');
    let id = add(&directory, &envelope(&["a@x"]), &message);
    run(&directory, &id, &mut Script::new(&[("a@x", 550)]));
    let (_, text) = text(&directory, &format!("{id}-b0"));
    assert!(text.contains("text/rfc822-headers") && text.contains("Subject: big") && text.len() < 3000);
}

#[test]
fn a_hung_lock_is_nobodys() {
    let scratch = Scratch::new("lockfree");
    let directory = queue(&scratch);
    let id = add(&directory, &envelope(&["a@x"]), MESSAGE);
    run(&directory, &id, &mut Script::new(&[("a@x", 450)]));
    assert!(matches!(Queued::open(&directory, Place::Queue, &id).unwrap(), Opened::Message(_)));
}

#[path = "attempt_turn_tests.rs"]
mod turn;
