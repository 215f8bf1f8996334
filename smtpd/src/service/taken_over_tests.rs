//! Tests of [`super`], from inside a front that was taken over: it says to the guard what it likes, and in its own order.

use super::*;
use crate::address::Address;
use crate::envelope::Body;
use crate::received::With;
use crate::rules::tests_config;
use crate::testing::Scratch;
use common::log::Log;
use common::peer::Peer;
use common::process::front::Facts;
use common::sys::fd;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A guard without a client.
struct Guard {
    service: Box<dyn Service>,
    config: Rc<Config>,
    log: Log,
    peer: Peer,
    facts: Facts,
    data: OwnedFd,
    _theirs: OwnedFd,
}

/// Of a client from `address`. `flags`: the program's options, by their bits.
fn guard(config: Config, address: &str, flags: u32) -> Guard {
    let (data, _theirs) = fd::socketpair().unwrap();
    let remote = format!("{address}:4000").parse().ok();
    Guard {
        service: begin(&config).unwrap(),
        log: Log::open(&config, "test".to_owned()),
        config: Rc::new(config),
        peer: Peer { remote, local: None, on_network: true },
        facts: Facts { flags, ..Facts::default() },
        data,
        _theirs,
    }
}

impl Guard {
    /// What the guard says: the code of a reply, another word, or that the conversation is over.
    fn ask(&mut self, question: &Question) -> String {
        let Guard { service, config, log, peer, facts, data, .. } = self;
        let mut ground = Ground {
            program: &crate::PROGRAM,
            config,
            log,
            peer,
            facts,
            tls: false,
            had_secrets: false,
            account: None,
            method: "",
            data,
            front: 0,
        };
        let answer = service.answer(&mut ground, &question.encode());
        let Ok(Some(answer)) = answer else {
            return if answer.is_err() { "over" } else { "nothing" }.to_owned();
        };
        match Answer::decode(&answer) {
            Some(Answer::Status(status)) => status.code.to_string(),
            Some(Answer::Ahead(status, _)) => format!("{} and on", status.code),
            Some(Answer::Welcome(_)) => "welcome".to_owned(),
            Some(Answer::Go | Answer::Promise(_)) => "go".to_owned(),
            None => "nonsense".to_owned(),
        }
    }
}

/// It claims to have logged in under TLS.
fn mail(size: Option<u64>) -> Box<Mail> {
    Box::new(Mail {
        helo: "x.example".into(),
        with: With { lmtp: true, esmtp: true, utf8: true, tls: true, login: true },
        tls: "TLSv1.3".into(),
        path: Address::parse(b"anna@here.example").ok().map(ForwardPath::Mailbox),
        size,
        body: Body::EightBitMime,
        ret: None,
        envid: None,
    })
}

fn rcpt(first: bool, to: &str) -> Question {
    Question::Rcpt {
        mail: first.then(|| mail(None)),
        path: ForwardPath::Mailbox(Address::parse(to.as_bytes()).unwrap()),
        orcpt: None,
        notify: None,
        more: true,
    }
}

fn flag(name: &str) -> u32 {
    let is = |bit: &u32| Facts { flags: *bit, ..Facts::default() }.has(&crate::PROGRAM.line, name);
    (0..8).map(|bit| 1 << bit).find(is).unwrap()
}

fn attributes() -> Question {
    let address = Some("192.0.2.1".parse().ok());
    Question::Xclient(Attributes { address, login: Some("anna".into()), ..Attributes::default() })
}

const STRANGER: &str = "198.51.100.7";

#[test]
fn what_is_out_of_turn_ends_the_conversation() {
    let scratch = Scratch::new();
    let config = || tests_config(&scratch);
    for (questions, want) in [
        (vec![Question::Data], "over"),
        (vec![Question::Next], "over"),
        (vec![Question::Begun], "over"),
        // Nobody has said that it may.
        (vec![rcpt(true, "anna@here.example"), Question::Begun], "over"),
        (vec![rcpt(false, "anna@here.example")], "over"),
        (vec![Question::Mail(mail(None)), Question::Data], "over"),
        (vec![Question::Mail(mail(None)), rcpt(false, "anna@here.example")], "over"),
        // Nobody was accepted.
        (vec![rcpt(true, "x@other.example"), Question::Data], "over"),
        (vec![rcpt(true, "anna@here.example"), Question::Next], "over"),
        // A transaction that begins again has nobody of the one before.
        (vec![rcpt(true, "anna@here.example"), rcpt(true, "x@other.example"), Question::Data], "over"),
        (vec![Question::Overdue], "go"),
        (vec![Question::Hello], "welcome"),
    ] {
        let mut guard = guard(config(), STRANGER, 0);
        let last = questions.iter().map(|question| guard.ask(question)).last();
        assert_eq!(last.as_deref(), Some(want), "{questions:?}");
    }
    assert!(guard(config(), STRANGER, 0).service.watched().is_none());
}

#[test]
fn what_it_says_of_its_client_is_not_believed() {
    let scratch = Scratch::new();
    let config = || tests_config(&scratch);
    // A login, TLS and LMTP are what the guard knows of.
    let mut stranger = guard(config(), STRANGER, 0);
    assert_eq!(stranger.ask(&rcpt(true, "x@other.example")), "550");
    assert_eq!(stranger.ask(&rcpt(false, "anna@here.example")), "250");
    assert_eq!(stranger.ask(&attributes()), "550");
    assert_eq!(stranger.ask(&rcpt(true, "x@other.example")), "550");
    assert_eq!(guard(config(), "192.0.2.1", 0).ask(&rcpt(true, "x@other.example")), "250");
    let mut submission = guard(config(), "192.0.2.1", flag("submission"));
    assert_eq!(submission.ask(&Question::Mail(mail(None))), "530");
    assert_eq!(submission.ask(&rcpt(true, "anna@here.example")), "530");
    assert_eq!(submission.ask(&Question::Data), "over");
    assert_eq!(guard(config(), "192.0.2.1", flag("lmtp")).ask(&rcpt(true, "x@other.example")), "550");
    let listed =
        Config { smtpd_authorized_xclient_hosts: vec![STRANGER.parse().unwrap()].into(), ..config() };
    let mut proxy = guard(listed, STRANGER, 0);
    assert_eq!(proxy.ask(&attributes()), "go");
    assert_eq!(proxy.ask(&rcpt(true, "x@other.example")), "250");
}

#[test]
fn limits_are_the_guards_too() {
    let scratch = Scratch::new();
    let config = Config { smtpd_recipient_limit: 2, smtpd_mail_limit: 1, ..tests_config(&scratch) };
    let most = config.message_size_limit.0;
    let mut guard = guard(config, STRANGER, 0);
    assert_eq!(guard.ask(&Question::Mail(mail(Some(most + 1)))), "552");
    assert_eq!(guard.ask(&Question::Mail(mail(Some(most)))), "250");
    let codes = [true, false, false].map(|first| guard.ask(&rcpt(first, "anna@here.example")));
    assert_eq!(codes, ["250", "250", "452"]);
}

/// After a message that was taken, and while one comes in.
fn state(config: &Config, messages: u32, stage: Option<Stage>) -> Smtp {
    let transaction = stage.map(|stage| {
        let mut transaction = Transaction::new(*mail(None), Ok(None));
        transaction.stage = stage;
        transaction
    });
    Smtp {
        rules: Rules::load(config).unwrap(),
        known: Known::default(),
        transaction,
        writers: Writers::default(),
        asked: None,
        promised: None,
        waits: false,
        unlogged: None,
        runner: Runner::default(),
        messages,
        waited: 0,
        is_crowded: false,
        refused: 0,
    }
}

#[test]
fn messages_are_counted_by_the_guard() {
    let scratch = Scratch::new();
    let config = Config { smtpd_mail_limit: 1, ..tests_config(&scratch) };
    for (messages, code) in [(0, "250"), (1, "451")] {
        let service = Box::new(state(&config, messages, None));
        let mut guard = Guard { service, ..guard(config.clone(), STRANGER, 0) };
        assert_eq!(guard.ask(&Question::Mail(mail(None))), code);
        assert_eq!(guard.ask(&rcpt(true, "anna@here.example")), code);
    }
}

#[test]
fn data_come_without_a_question_only_if_they_may() {
    let scratch = Scratch::new();
    let last = |question| match question {
        Question::Rcpt { mail, path, orcpt, notify, .. } => {
            Question::Rcpt { mail, path, orcpt, notify, more: false }
        }
        other => other,
    };
    let anna = |first| last(rcpt(first, "anna@here.example"));
    let large = Question::Rcpt {
        mail: Some(mail(Some(2 << 20))),
        path: ForwardPath::Mailbox(Address::parse(b"anna@here.example").unwrap()),
        orcpt: None,
        notify: None,
        more: false,
    };
    let plain = tests_config(&scratch);
    let checks = Config { smtpd_data_restrictions: "reject".into(), ..plain.clone() };
    for (config, messages, questions, want) in [
        (&plain, 0, vec![anna(true)], "250"),
        (&plain, 1, vec![anna(true)], "250 and on"),
        (&plain, 1, vec![rcpt(true, "anna@here.example")], "250"),
        (&plain, 1, vec![large], "250"),
        (&checks, 1, vec![anna(true)], "250"),
        (&plain, 1, vec![anna(true), anna(false)], "250"),
        // Whatever comes between takes it back.
        (&plain, 1, vec![anna(true), anna(false), Question::Begun], "over"),
        (&plain, 1, vec![anna(true), Question::Vrfy("a".into()), Question::Begun], "over"),
        (&plain, 1, vec![anna(true), last(rcpt(false, "nobody@here.example")), Question::Begun], "over"),
    ] {
        let service = Box::new(state(config, messages, None));
        let mut guard = Guard { service, ..guard(config.clone(), STRANGER, 0) };
        let said = questions.iter().map(|question| guard.ask(question)).last();
        assert_eq!(said.as_deref(), Some(want), "{messages} {questions:?}");
    }
}

#[test]
fn there_is_one_message_at_a_time() {
    let scratch = Scratch::new();
    let config = tests_config(&scratch);
    for (question, want) in [
        (rcpt(true, "anna@here.example"), "over"),
        (rcpt(false, "anna@here.example"), "over"),
        (Question::Mail(mail(None)), "over"),
        (Question::Data, "over"),
        (Question::Begun, "over"),
        (Question::Next, "over"),
        (attributes(), "over"),
        (Question::Vrfy("a".into()), "252"),
        (Question::Note(Note::Lost, "DATA".into()), "go"),
        (Question::Overdue, "go"),
    ] {
        let user = common::process::service::User { uid: 1, gid: 1, groups: Vec::new() };
        let stage = Stage::Receiving(plan::Plan::Queue { user, recipients: 1 });
        let service = Box::new(state(&config, 0, Some(stage)));
        let mut guard = Guard { service, ..guard(config.clone(), STRANGER, 0) };
        assert_eq!(guard.ask(&question), want, "{question:?}");
    }
}

#[test]
fn what_is_refused_too_often_ends() {
    let scratch = Scratch::new();
    let config = Config { max_bad_commands: 20, ..tests_config(&scratch) };
    for (question, want) in [
        (rcpt(true, "nobody@here.example"), "550"),
        (rcpt(true, "x@other.example"), "550"),
        (attributes(), "550"),
        (Question::Note(Note::Lost, "DATA".into()), "go"),
        (rcpt(true, "anna@here.example"), "250"),
    ] {
        let mut guard = guard(config.clone(), STRANGER, 0);
        let said: Vec<String> = (0..200).map(|_| guard.ask(&question)).collect();
        let count = said.iter().take_while(|word| *word == want).count();
        // An honest front ends after 20.
        assert_eq!(count, if want == "250" { 200 } else { 49 }, "{question:?}: {said:?}");
        assert!(said.iter().skip(count).all(|word| word == "over"), "{question:?}");
    }
}
