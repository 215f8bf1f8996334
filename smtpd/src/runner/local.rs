//! Local recipients of a queue run: what the worker asks of the guard, and what the guard's child does as the recipient.
//!
//! The worker (`mail_owner`) sends the recipient with two descriptors: the queue file, for reading, and a pipe for the answer.
//! The guard (root) looks up whose mailbox it is, forks, and the child becomes that user for good before it reads the message.
//! The guard trusts the worker with the choice of the mailbox, nothing else: what it reads is parsed and bounded.

use crate::address::{Address, ReversePath};
use crate::client::Login;
use crate::deliver::{self, Delivery, Trace};
use crate::envelope::Recipient;
use crate::queue::format::{self, escape, unescape};
use crate::queue::queued::Message;
use crate::route::{self, NextHop};
use crate::rules::Rules;
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::log::Log;
use common::secret::Secret;
use common::sys::fd::{self, Interest};
use common::sys::pass;
use common::sys::process::{self, Fork};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Octets of the longest request.
const REQUEST_MAX: usize = 64 * 1024;
/// Octets of the longest answer.
const ANSWER_MAX: u64 = 64 * 1024;
/// How long a delivery may take: a program that it starts has a time of its own, which is shorter.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What became of a local recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was delivered, or was not.
    Status(Status),
    /// The user's `~/.forward` has other places for it.
    Forward(Vec<String>),
}

/// One local delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    reverse_path: ReversePath,
    offset: u64,
    size: u64,
    recipient: Recipient,
}

impl Request {
    fn print(&self) -> String {
        let mut text = String::new();
        escape(&mut text, &self.reverse_path.as_ref().map(Address::to_string).unwrap_or_default());
        text.push_str(&format!("\n{} {}\n", self.offset, self.size));
        format::print_recipient(&mut text, &self.recipient);
        text
    }

    fn parse(octets: &[u8]) -> Option<Request> {
        let mut lines = std::str::from_utf8(octets).ok()?.split('\n');
        let path = unescape(lines.next()?).ok()?;
        let reverse_path = if path.is_empty() { None } else { Some(Address::parse(path.as_bytes()).ok()?) };
        let (offset, size) = lines.next()?.split_once(' ')?;
        let (offset, size) = (offset.parse().ok()?, size.parse().ok()?);
        let (_, recipient) = format::parse_recipient(lines.next()?.strip_prefix('R')?).ok()?;
        Some(Request { reverse_path, offset, size, recipient })
    }
}

impl Answer {
    fn print(&self) -> String {
        let mut text = String::new();
        match self {
            Answer::Status(status) => {
                let Enhanced(class, subject, detail) = status.enhanced;
                text.push_str(&format!("S\t{}\t{class}\t{subject}\t{detail}\t", status.code));
                escape(&mut text, &status.text);
            }
            Answer::Forward(entries) => {
                text.push('F');
                for entry in entries {
                    text.push('\t');
                    escape(&mut text, entry);
                }
            }
        }
        text.push('\n');
        text
    }

    /// An answer without its end is none: who wrote it has died.
    fn parse(octets: &[u8]) -> Option<Answer> {
        let line = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?;
        let mut fields = line.split('\t');
        match fields.next()? {
            "S" => {
                let mut next = || fields.next();
                let code = next()?.parse().ok().filter(|code| (200..600).contains(code))?;
                let enhanced = Enhanced(next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
                Some(Answer::Status(Status::new(code, enhanced, unescape(next()?).ok()?)))
            }
            "F" => fields.map(|field| unescape(field).ok()).collect::<Option<_>>().map(Answer::Forward),
            _ => None,
        }
    }
}

/// The worker's side: has one recipient served. `path` is the queue file.
pub fn ask(
    guard: &OwnedFd,
    path: &std::path::Path,
    (offset, size): (u64, u64),
    reverse_path: Option<&Address>,
    recipient: &Recipient,
) -> Answer {
    let go = || -> io::Result<Option<Answer>> {
        // Another opening of the file, without the right to write and without our lock.
        let file = File::open(path)?;
        let (reading, writing) = fd::pipe()?;
        let request =
            Request { reverse_path: reverse_path.cloned(), offset, size, recipient: recipient.clone() };
        let text = request.print();
        if text.len() > REQUEST_MAX {
            return Ok(None);
        }
        pass::send_with(guard, text.as_bytes(), [file.as_fd(), writing.as_fd()])?;
        drop(writing);
        let [ready] = fd::poll([(reading.as_fd(), Interest::Read)], Some(PATIENCE))?;
        if !ready.read {
            return Ok(None);
        }
        let mut answer = Vec::new();
        File::from(reading).take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(Answer::parse(&answer))
    };
    match go() {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::Status(local_error("the delivery process has failed")),
        Err(error) => Answer::Status(local_error(&error.to_string())),
    }
}

fn local_error(what: &str) -> Status {
    Status::new(451, Enhanced(4, 3, 0), format!("local error: {what}"))
}

/// The worker's side: the password for a next hop, which only root may be able to read.
pub fn ask_login(guard: &OwnedFd, sender: Option<&Address>, hop: &NextHop) -> Result<Option<Login>, Status> {
    let go = || -> io::Result<Option<Option<Login>>> {
        let (reading, writing) = fd::pipe()?;
        let mut text = String::from(LOGIN);
        escape(&mut text, &sender.map(Address::to_string).unwrap_or_default());
        text.push('\n');
        escape(&mut text, &hop.to_string());
        pass::send_with(guard, text.as_bytes(), [writing.as_fd(), writing.as_fd()])?;
        drop(writing);
        let mut answer = Vec::new();
        File::from(reading).take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(parse_login(&answer))
    };
    match go() {
        Ok(Some(login)) => Ok(login),
        Ok(None) => Err(Status::new(451, Enhanced(4, 3, 5), "Local configuration error")),
        Err(error) => Err(local_error(&error.to_string())),
    }
}

/// What a request for a password begins with; a request for a delivery begins with an address, which has no control
/// character.
const LOGIN: &str = "\u{1}login\n";

/// `-` if there is none, `=user<TAB>password`, or nothing: it cannot be found out.
fn parse_login(octets: &[u8]) -> Option<Option<Login>> {
    let line = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?;
    if line == "-" {
        return Some(None);
    }
    let (user, password) = line.strip_prefix('=')?.split_once('\t')?;
    let password = Secret::new(unescape(password).ok()?.into_bytes());
    Some(Some(Login { user: unescape(user).ok()?, password }))
}

/// The guard's side.
fn find_login(config: &Config, question: &str) -> io::Result<String> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (sender, hop) = question.split_once('\n').ok_or_else(bad)?;
    let (sender, hop) = (unescape(sender).map_err(|_| bad())?, unescape(hop).map_err(|_| bad())?);
    let sender =
        if sender.is_empty() { None } else { Some(Address::parse(sender.as_bytes()).map_err(|_| bad())?) };
    let hop = NextHop::parse(&hop).ok_or_else(bad)?;
    let Some(login) = route::login(config, &sender, &hop)? else { return Ok("-\n".to_owned()) };
    let mut text = String::from("=");
    escape(&mut text, &login.user);
    text.push('\t');
    escape(&mut text, std::str::from_utf8(login.password.expose()).map_err(|_| bad())?);
    text.push('\n');
    Ok(text)
}

/// The guard's side: serves requests until nobody is left who could have one.
pub fn serve(socket: &OwnedFd, config: &Config, log: &Log) -> io::Result<()> {
    // Children are not waited for: each answers to its worker.
    process::ignore_child_signal();
    let mut rules = None;
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        let (length, descriptors) = pass::receive_with(socket, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let octets = buffer.get(..length).unwrap_or_default();
        if let Some(question) = octets.strip_prefix(LOGIN.as_bytes()) {
            let found = std::str::from_utf8(question)
                .map_err(io::Error::other)
                .and_then(|question| find_login(config, question));
            match (found, descriptors) {
                (Ok(answer), Some([to, _])) => drop(File::from(to).write_all(answer.as_bytes())),
                (Err(error), _) => log.error(format_args!("{error}")),
                (Ok(_), None) => {}
            }
            continue;
        }
        let request = Request::parse(octets);
        let (Some(request), Some([message, answer])) = (request, descriptors) else {
            log.error(format_args!("a queue worker asked for something malformed"));
            continue;
        };
        let rules = match &mut rules {
            Some(rules) => rules,
            none => none.insert(Rules::load(config)?),
        };
        // The rules are asked here, as root: password files are not for everybody to read.
        let account = rules.account(&request.recipient);
        match account {
            Err(status) => say(&answer, &Answer::Status(status)),
            Ok(account) => match process::fork() {
                Ok(Fork::Child) => {
                    let result = deliver(config, &account, &request, message);
                    say(&answer, &result);
                    process::exit_now(0);
                }
                Ok(Fork::Parent(_)) => {}
                Err(error) => say(&answer, &Answer::Status(local_error(&error.to_string()))),
            },
        }
    }
}

fn say(to: &OwnedFd, answer: &Answer) {
    if let Ok(copy) = to.try_clone() {
        let _ = File::from(copy).write_all(answer.print().as_bytes());
    }
}

/// In the child: becomes the user, then reads the message.
fn deliver(config: &Config, account: &Account, request: &Request, message: OwnedFd) -> Answer {
    match try_deliver(config, account, request, message) {
        Ok(answer) => answer,
        Err(status) => Answer::Status(status),
    }
}

fn try_deliver(
    config: &Config,
    account: &Account,
    request: &Request,
    message: OwnedFd,
) -> Result<Answer, Status> {
    let failed = |error: io::Error| local_error(&error.to_string());
    if process::is_root() {
        process::become_user(account.uid, account.gid, &account.groups).map_err(failed)?;
    }
    process::private_umask();
    let recipient = &request.recipient;
    let trace = Trace {
        reverse_path: request.reverse_path.clone(),
        original: recipient.original.clone(),
        delivered_to: recipient.address.clone(),
        received: String::new(),
    };
    let mut sink = match deliver::begin(config, account, recipient, &trace)? {
        Delivery::Begun(sink) => sink,
        Delivery::Forward(entries) => return Ok(Answer::Forward(entries)),
    };
    let file = File::from(message);
    let mut message = Message::new(&file, request.offset, request.size);
    loop {
        let octets = message.fill_buf().map_err(failed)?;
        let length = octets.len();
        if length == 0 {
            break;
        }
        sink.write(octets)?;
        message.consume(length);
    }
    let name = sink.finish()?;
    let kind = match &recipient.target {
        crate::envelope::Target::Command { .. } => "delivered to command",
        crate::envelope::Target::File { .. } => "delivered to file",
        _ => "delivered to maildir",
    };
    let text = if name.is_empty() { kind.to_owned() } else { format!("{kind}: {name}") };
    Ok(Answer::Status(Status::new(250, Enhanced(2, 0, 0), text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::envelope;

    #[test]
    fn requests_and_answers_come_back() {
        let recipient = envelope(&["a@x"]).recipients.remove(0);
        for reverse_path in [None, Some(Address::parse(b"\"a b%\"@x").unwrap())] {
            let request = Request { reverse_path, offset: 300, size: 1 << 40, recipient: recipient.clone() };
            assert_eq!(Request::parse(request.print().as_bytes()), Some(request));
        }
        for answer in [
            Answer::Status(Status::new(452, Enhanced(4, 2, 2), "mailbox\tis\nfull")),
            Answer::Forward(vec!["|a b".into(), "c@d".into()]),
            Answer::Forward(vec![]),
        ] {
            let text = answer.print();
            assert_eq!(Answer::parse(text.as_bytes()), Some(answer));
            assert_eq!(Answer::parse(&text.as_bytes()[..text.len() - 1]), None);
        }
        for bad in [&b""[..], b"\n", b"S\n", b"S\t99\t2\t0\t0\tx\n", b"X\n", b"\xff\n"] {
            assert_eq!(Answer::parse(bad), None);
        }
        for bad in [&b""[..], b"\n\n\n", b"\n1 2\nR", b"\n1 x\nR.\t", b"a\n1 2\n"] {
            assert_eq!(Request::parse(bad), None);
        }
    }
}
