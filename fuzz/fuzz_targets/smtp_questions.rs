//! What a front that was taken over may send to the guard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::wire::job::{Job, Outcome};
use smtpd::wire::{Answer, Question};

fuzz_target!(|message: &[u8]| {
    if let Some(question) = Question::decode(message) {
        assert_eq!(Question::decode(&question.encode()), Some(question));
    }
    if let Some(answer) = Answer::decode(message) {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    if let Some(job) = Job::decode(message) {
        assert_eq!(Job::decode(&job.encode()), Some(job));
    }
    if let Some(outcome) = Outcome::decode(message) {
        assert_eq!(Outcome::decode(&outcome.encode()), Some(outcome));
    }
});
