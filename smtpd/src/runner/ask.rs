//! What a worker asks of the guard, and the answers: one message with two descriptors, an answer through a pipe.
//!
//! The worker (`mail_owner`) may be taken over by a host it spoke with. The guard (root) parses and bounds what it asks, and
//! gives it no more than mail's own ways: deliveries, what an address expands to, the password for a next hop.

use crate::address::{Address, ReversePath};
use crate::client::Login;
use crate::deliver::Once;
use crate::envelope::Recipient;
use crate::queue::format::{self, escape, unescape};
use crate::route::NextHop;
use crate::status::{Enhanced, Status};
use common::secret::Secret;
use common::sys::fd::{self, Interest};
use common::sys::pass;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Octets of the longest question.
pub const QUESTION_MAX: usize = 128 * 1024;
/// Octets of the longest answer.
const ANSWER_MAX: usize = 2 << 20;
/// How long an answer may take, beyond the time that the guard gives a delivery.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A local delivery of what lies in the first descriptor.
    Deliver {
        /// For Return-Path.
        reverse_path: ReversePath,
        /// Where the message begins.
        offset: u64,
        /// It came as BINARYMIME.
        is_binary: bool,
        /// How it is known again in the mailbox.
        once: Once,
        /// To whom.
        recipient: Recipient,
    },
    /// Where a notification for this address goes.
    Expand(Address),
    /// What the entries of this recipient's `~/.forward` mean.
    Forward(Recipient, Vec<String>),
    /// The password for a next hop.
    Login(ReversePath, NextHop),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// How it went.
    Status(Status),
    /// The user's `~/.forward` has other places for it.
    Forward(Vec<String>),
    /// Recipients.
    Recipients(Vec<Recipient>),
    /// A password, or that there is none.
    Login(Option<Login>),
}

impl Question {
    /// Lines: a word, then values.
    pub fn print(&self) -> String {
        let mut text = String::new();
        match self {
            Question::Deliver { reverse_path, offset, is_binary, once, recipient } => {
                value(&mut text, "deliver");
                value(&mut text, &path(reverse_path));
                value(
                    &mut text,
                    &format!(
                        "{offset} {} {} {} {}",
                        once.size,
                        u8::from(*is_binary),
                        u8::from(once.again),
                        once.mark
                    ),
                );
                format::print_recipient(&mut text, recipient);
            }
            Question::Expand(address) => {
                value(&mut text, "expand");
                value(&mut text, &address.to_string());
            }
            Question::Forward(recipient, entries) => {
                value(&mut text, "forward");
                format::print_recipient(&mut text, recipient);
                entries.iter().for_each(|entry| value(&mut text, entry));
            }
            Question::Login(sender, hop) => {
                value(&mut text, "login");
                value(&mut text, &path(sender));
                value(&mut text, &hop.to_string());
            }
        }
        text
    }

    /// Reads one; `None`: it is malformed.
    pub fn parse(octets: &[u8]) -> Option<Question> {
        let mut lines = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?.split('\n');
        match lines.next()? {
            "deliver" => {
                let reverse_path = parse_path(lines.next()?)?;
                let mut words = lines.next()?.split(' ');
                let (offset, size) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let (is_binary, again) = (words.next()? == "1", words.next()? == "1");
                // It becomes part of the name of a file.
                let is_mark = |mark: &&str| {
                    mark.len() <= 80 && mark.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
                };
                let mark = words.next().filter(is_mark)?.to_owned();
                let (once, recipient) = (Once { mark, again, size }, recipient(lines.next()?)?);
                Some(Question::Deliver { reverse_path, offset, is_binary, once, recipient })
            }
            "expand" => parse_path(lines.next()?)?.map(Question::Expand),
            "forward" => {
                let recipient = recipient(lines.next()?)?;
                let entries = lines.map(|line| unescape(line).ok()).collect::<Option<_>>()?;
                Some(Question::Forward(recipient, entries))
            }
            "login" => {
                let sender = parse_path(lines.next()?)?;
                Some(Question::Login(sender, NextHop::parse(&unescape(lines.next()?).ok()?)?))
            }
            _ => None,
        }
    }
}

impl Answer {
    /// Lines: a word, then values, then an empty line, without which it is none: who wrote it has died.
    pub fn print(&self) -> String {
        let mut text = String::new();
        match self {
            Answer::Status(status) => {
                let Enhanced(class, subject, detail) = status.enhanced;
                value(&mut text, "status");
                value(&mut text, &format!("{} {class} {subject} {detail}", status.code));
                value(&mut text, &format!("={}", status.text));
                if let Some(cause) = &status.cause {
                    value(&mut text, &format!("={cause}"));
                }
            }
            Answer::Forward(entries) => {
                value(&mut text, "forward");
                entries.iter().for_each(|entry| value(&mut text, &format!("={entry}")));
            }
            Answer::Recipients(recipients) => {
                value(&mut text, "recipients");
                recipients.iter().for_each(|recipient| format::print_recipient(&mut text, recipient));
            }
            Answer::Login(None) => value(&mut text, "login"),
            Answer::Login(Some(login)) => {
                value(&mut text, "login");
                value(&mut text, &format!("={}", login.user));
                value(&mut text, &format!("={}", String::from_utf8_lossy(login.password.expose())));
            }
        }
        text.push('\n');
        text
    }

    /// Reads one; `None`: it is cut off or malformed.
    pub fn parse(octets: &[u8]) -> Option<Answer> {
        let text = std::str::from_utf8(octets).ok()?.strip_suffix("\n\n")?;
        let mut lines = text.split('\n');
        let plain = |line: &str| unescape(line.strip_prefix('=')?).ok();
        match lines.next()? {
            "status" => {
                let mut numbers = lines.next()?.split(' ');
                let code = numbers.next()?.parse().ok().filter(|code| (200..600).contains(code))?;
                let enhanced = Enhanced(
                    numbers.next()?.parse().ok()?,
                    numbers.next()?.parse().ok()?,
                    numbers.next()?.parse().ok()?,
                );
                let status = Status::new(code, enhanced, plain(lines.next()?)?);
                let cause = lines.next().map(plain).map_or(Some(None), |cause| cause.map(Some))?;
                Some(Answer::Status(match cause {
                    Some(cause) => status.because(cause),
                    None => status,
                }))
            }
            "forward" => lines.map(plain).collect::<Option<_>>().map(Answer::Forward),
            "recipients" => lines.map(recipient).collect::<Option<_>>().map(Answer::Recipients),
            "login" => match lines.next() {
                None => Some(Answer::Login(None)),
                Some(user) => {
                    let password = Secret::new(plain(lines.next()?)?.into_bytes());
                    Some(Answer::Login(Some(Login { user: plain(user)?, password })))
                }
            },
            _ => None,
        }
    }
}

fn value(text: &mut String, value: &str) {
    escape(text, value);
    text.push('\n');
}

fn path(path: &ReversePath) -> String {
    path.as_ref().map(Address::to_string).unwrap_or_default()
}

fn parse_path(text: &str) -> Option<ReversePath> {
    let text = unescape(text).ok()?;
    if text.is_empty() { Some(None) } else { Address::parse(text.as_bytes()).ok().map(Some) }
}

fn recipient(line: &str) -> Option<Recipient> {
    format::parse_recipient(line.strip_prefix('R')?).ok().map(|(_, recipient)| recipient)
}

/// Asks and waits for the answer.
pub fn ask(guard: &OwnedFd, question: &Question) -> Result<Answer, Status> {
    ask_with(guard, question, None, PATIENCE)
}

/// Asks and waits for the answer, but not longer than this. `file` is lent to whoever answers.
pub fn ask_with(
    guard: &OwnedFd,
    question: &Question,
    file: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> Result<Answer, Status> {
    Asked::send(guard, question, file)?.answer_within(patience).unwrap_or_else(|| Err(nobody()))
}

/// When the guard has taken some of the descriptors that are on their way to it.
const TAKEN_SOON: Duration = Duration::from_millis(5);

/// A question that is on its way.
#[derive(Debug)]
pub struct Asked {
    from: OwnedFd,
    /// What has come of the answer.
    heard: Vec<u8>,
}

impl Asked {
    /// Asks, and does not wait.
    pub fn send(guard: &OwnedFd, question: &Question, file: Option<BorrowedFd<'_>>) -> Result<Asked, Status> {
        let text = question.print();
        if text.len() > QUESTION_MAX {
            return Err(nobody());
        }
        let go = || -> io::Result<OwnedFd> {
            let (reading, writing) = fd::pipe()?;
            let descriptors = [file.unwrap_or(writing.as_fd()), writing.as_fd()];
            let until = Instant::now() + PATIENCE;
            loop {
                match pass::send_with(guard, text.as_bytes(), descriptors) {
                    // Those that the guard has not taken yet count against the limit of all workers together.
                    Err(error) if pass::are_too_many(&error) && Instant::now() < until => {
                        fd::poll([(reading.as_fd(), Interest::Read)], Some(TAKEN_SOON))?;
                    }
                    sent => return sent.map(|()| reading),
                }
            }
        };
        let from = go().map_err(|error| local_error(&error.to_string()))?;
        Ok(Asked { from, heard: Vec::new() })
    }

    /// Where the answer comes from.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    /// The answer; `None`: it has not come in this time. It is complete when it says so: whoever answers may be a process that
    /// its user stops before it ends, or between two words.
    pub fn answer_within(&mut self, patience: Duration) -> Option<Result<Answer, Status>> {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let read = match fd::poll([(self.from.as_fd(), Interest::Read)], Some(left)) {
                Ok([ready]) if ready.read => fd::read(self.from.as_fd(), &mut buffer),
                Ok(_) if begun.elapsed() >= patience => return None,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return Some(Err(nobody())),
                Ok(n) => self.heard.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Some(Err(local_error(&error.to_string()))),
            }
            if self.heard.len() > ANSWER_MAX {
                return Some(Err(nobody()));
            }
            if self.heard.ends_with(b"\n\n") {
                return match Answer::parse(&self.heard) {
                    Some(Answer::Status(status)) if !status.is_positive() => Some(Err(status)),
                    Some(answer) => Some(Ok(answer)),
                    None => Some(Err(nobody())),
                };
            }
        }
    }
}

/// There is no answer, or none that makes sense.
pub fn nobody() -> Status {
    local_error("the process that should do it has failed")
}

/// At least one recipient.
pub fn recipients(answer: Answer) -> Result<Vec<Recipient>, Status> {
    match answer {
        Answer::Recipients(recipients) if !recipients.is_empty() => Ok(recipients),
        _ => Err(local_error("an address leads nowhere")),
    }
}

/// Ours, and worth another attempt.
pub fn local_error(what: &str) -> Status {
    Status::new(451, Enhanced(4, 3, 0), format!("local error: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::envelope;
    use proptest::prelude::*;

    #[test]
    fn questions_and_answers_come_back() {
        let recipient = envelope(&["a@x"]).recipients.remove(0);
        let address = Address::parse(b"\"a b%\"@x").unwrap();
        let login = Login { user: "a\tb".into(), password: Secret::new(b"p\n=%".to_vec()) };
        for question in [
            Question::Deliver {
                reverse_path: None,
                offset: 300,
                is_binary: true,
                once: Once { mark: "K1-b0_12_".into(), again: true, size: 1 << 40 },
                recipient: recipient.clone(),
            },
            Question::Expand(address.clone()),
            Question::Forward(recipient.clone(), vec!["|a b\n".into(), String::new(), "c@d".into()]),
            Question::Forward(recipient.clone(), vec![]),
            Question::Login(Some(address), NextHop::parse("[mail.example.org]:587").unwrap()),
        ] {
            assert_eq!(Question::parse(question.print().as_bytes()), Some(question));
        }
        for answer in [
            Answer::Status(Status::new(452, Enhanced(4, 2, 2), "mailbox\tis\nfull")),
            Answer::Status(Status::new(250, Enhanced(2, 0, 0), "")),
            Answer::Status(Status::new(451, Enhanced(4, 3, 0), "no").because("/home/a\tb: closed\n")),
            Answer::Forward(vec!["|a b".into(), String::new()]),
            Answer::Forward(vec![]),
            Answer::Recipients(vec![recipient.clone(), recipient]),
            Answer::Recipients(vec![]),
            Answer::Login(None),
            Answer::Login(Some(login)),
        ] {
            let text = answer.print();
            for cut in 0..text.len() {
                assert_eq!(Answer::parse(&text.as_bytes()[..cut]), None, "{text:?} {cut}");
            }
            assert_eq!(Answer::parse(text.as_bytes()), Some(answer));
        }
        for bad in [
            &b""[..],
            b"\n",
            b"expand\n\n",
            b"deliver\n\n1 x\nR\n",
            b"deliver\n\n1 1 0 0 a/b\nR\n",
            b"login\n\n\n",
            b"x\n",
            b"\xff\n",
        ] {
            assert_eq!(Question::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..60), word in 0usize..4) {
            let mut text = ["deliver\n", "forward\n", "status\n", "recipients\n"][word].as_bytes().to_vec();
            text.extend(octets);
            let _ = (Question::parse(&text), Answer::parse(&text));
        }
    }
}
