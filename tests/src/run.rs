//! Runs a transcript: starts the server, speaks, compares.

use crate::client::{Client, Server};
use crate::maildirs;
use crate::place::{Place, ids};
use crate::proof::{self, Scram};
use crate::transcript::{Action, Expected, Feed, Line, Protocol, State, Step, Transcript};
use regex_lite::Regex;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// How the client comes into the TRANSACTION state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the transcript says, or with `--preauth`.
    Direct,
    /// By a login that stands before the transcript.
    Login,
}

/// What the server sent, as far as it must be the same however it was fed: lines that match a pattern are the pattern.
pub type Heard = Vec<(usize, Vec<u8>)>;

/// Runs it in each of its ways.
///
/// Errors: what went wrong first.
pub fn run_all(transcript: &Transcript) -> Result<(), String> {
    let ways: &[Way] = match transcript.state {
        State::Authorization => &[Way::Direct],
        State::Transaction => &[Way::Direct, Way::Login],
    };
    let mut first: Option<Heard> = None;
    for &way in ways {
        for &feed in &transcript.feeds {
            let about = |why: String| format!("{}.txt, fed {feed:?}, {way:?}: {why}", transcript.name);
            let heard = run(transcript, feed, way).map_err(about)?;
            let first = first.get_or_insert_with(|| heard.clone());
            if let Some((before, now)) = first.iter().zip(&heard).find(|(before, now)| before != now) {
                let (before, now) = (before.1.escape_ascii(), now.1.escape_ascii());
                return Err(about(format!(
                    "to another way of feeding the reply was not\n{now}\nbut\n{before}"
                )));
            }
            if first.len() != heard.len() {
                return Err(about("there are not as many replies as to another way of feeding".to_owned()));
            }
        }
    }
    Ok(())
}

/// Runs it once.
///
/// Errors: what went wrong first.
pub fn run(transcript: &Transcript, feed: Feed, way: Way) -> Result<Heard, String> {
    record(transcript, feed, way).map(|(heard, _)| heard)
}

/// Runs it once. Also returns all octets of each connection.
///
/// Errors: what went wrong first.
pub fn record(transcript: &Transcript, feed: Feed, way: Way) -> Result<(Heard, Vec<Vec<u8>>), String> {
    let place = Place::new();
    maildirs::fill(&place, &transcript.maildir);
    transcript.mailboxes.iter().for_each(|mailbox| mailbox.fill(&place));
    for (path, text) in &transcript.files {
        place.deliver(path, text);
    }
    let (uid, gid) = ids();
    let users = transcript.users.replace("{uid}", &uid.to_string()).replace("{gid}", &gid.to_string());
    let users = users.replace("{maildir}", &place.maildir().display().to_string());
    let passdb = place.passdb("alice", &transcript.secret, &users);
    let mut server = match (transcript.state, way) {
        (State::Transaction, Way::Direct) => Server::preauth(&place),
        _ => Server::new(&place).set(&passdb),
    };
    server = server.client_at(&transcript.client);
    if transcript.protocol == Protocol::Imap {
        server = server.program(crate::program::imapd());
    }
    if transcript.protocol == Protocol::Smtp {
        server = server.program(crate::program::smtpd());
        let queue = format!("queue_directory={}", place.path().join("queue").display());
        for setting in [&queue, "myhostname=mx.example.org", "mydestination=example.org", "alias_maps="] {
            server = server.set(setting);
        }
    }
    for option in &transcript.options {
        server = server.argument(option);
    }
    for name in ["cert.pem", "key.pem"] {
        place.write(name, &fs::read(crate::tls::certificates().join(name)).expect("certificate"));
    }
    for setting in &transcript.settings {
        server = server.set(&setting.replace("{place}", &place.path().display().to_string()));
    }
    let prelude = prelude(transcript, way);
    let mut runner = Runner {
        place: &place,
        protocol: transcript.protocol,
        server,
        feed,
        prelude,
        chance: transcript.chance.iter().map(|pattern| regex(pattern)).collect::<Result<_, _>>()?,
        conversations: Vec::new(),
        heard: Vec::new(),
        said: Vec::new(),
    };
    let result = runner.run(transcript);
    let log = place.log();
    result.map_err(|why| format!("{why}\n--- log\n{log}"))?;
    let heard = runner.heard;
    check_afterwards(transcript, &place, &log).map_err(|why| format!("{why}\n--- log\n{log}"))?;
    let lines: Vec<&Vec<u8>> = runner.conversations.iter().flat_map(|one| &one.lines).collect();
    for never in &transcript.never {
        if let Some(line) = lines.iter().find(|line| contains(line, never.as_bytes())) {
            return Err(format!("must not appear: {}", line.escape_ascii()));
        }
    }
    Ok((heard, runner.said))
}

/// What the client says before the transcript begins, and patterns of what it hears.
type Prelude = (&'static str, &'static [&'static str]);

fn prelude(transcript: &Transcript, way: Way) -> Prelude {
    match (transcript.protocol, transcript.state, way) {
        (_, State::Authorization, _) | (Protocol::Pop3, _, Way::Direct) | (Protocol::Smtp, ..) => ("", &[]),
        (Protocol::Pop3, _, Way::Login) => ("USER alice\r\nPASS secret\r\n", &["^\\+OK", "^\\+OK"]),
        (Protocol::Imap, _, Way::Direct) => ("", &["^\\* PREAUTH \\[CAPABILITY "]),
        (Protocol::Imap, _, Way::Login) => {
            ("login LOGIN alice secret\r\n", &["^\\* OK ", "^login OK \\[CAPABILITY .*\\] Logged in\\."])
        }
    }
}

fn check_afterwards(transcript: &Transcript, place: &Place, log: &str) -> Result<(), String> {
    let mut wanted = transcript.listing.clone();
    wanted.sort();
    let mut listing = place.listing();
    for pattern in &transcript.listing_patterns {
        let pattern = regex(pattern)?;
        match listing.iter().position(|path| !wanted.contains(path) && pattern.is_match(path)) {
            Some(at) => _ = listing.remove(at),
            None => return Err(format!("files: {listing:?}, and none like {}", pattern.as_str())),
        }
    }
    if transcript.checks_files && listing != wanted {
        return Err(format!("files: {listing:?}, wanted {wanted:?}"));
    }
    for (path, pattern) in &transcript.texts {
        let text = fs::read(place.maildir().join(path)).map_err(|error| format!("{path}: {error}"))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if !regex(pattern)?.is_match(&text) {
            return Err(format!("{path} does not match {pattern}: {text}"));
        }
    }
    let message = |name: &String| fs::read(place.maildir().join(name)).unwrap_or_default();
    let messages: Vec<String> =
        place.listing().iter().map(|name| String::from_utf8_lossy(&message(name)).into_owned()).collect();
    for pattern in &transcript.messages {
        let pattern = regex(pattern)?;
        if !messages.iter().any(|text| pattern.is_match(text)) {
            return Err(format!("no message matches {}: {messages:#?}", pattern.as_str()));
        }
    }
    if let Some(wanted) = transcript.queue {
        let queued = fs::read_dir(place.path().join("queue/queue")).map(Iterator::count).unwrap_or(0);
        if queued != wanted {
            return Err(format!("{queued} messages are in the queue, wanted {wanted}"));
        }
    }
    for pattern in &transcript.log {
        let pattern = regex(pattern)?;
        if !log.lines().any(|line| pattern.is_match(line)) {
            return Err(format!("no line of the log matches {}", pattern.as_str()));
        }
    }
    let always = ["panic", "overflow", "secret"].map(str::to_owned);
    match transcript.log_never.iter().chain(&always).find(|never| log.contains(never.as_str())) {
        Some(never) => Err(format!("the log has \"{never}\"")),
        None => Ok(()),
    }
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("{pattern}: {error}"))
}

struct Runner<'a> {
    place: &'a Place,
    protocol: Protocol,
    server: Server,
    feed: Feed,
    prelude: Prelude,
    /// Lines that match are passed over.
    chance: Vec<Regex>,
    conversations: Vec<Conversation>,
    heard: Heard,
    /// What the server said on each connection.
    said: Vec<Vec<u8>>,
}

struct Conversation {
    client: Option<Client>,
    /// The client has said something.
    said: bool,
    unsent: Vec<u8>,
    unheard: VecDeque<(usize, Expected)>,
    /// Its lines in the transcript as the server said them.
    lines: Vec<Vec<u8>>,
    /// The last line, for what is computed from it.
    last: String,
    timestamp: String,
    scram: Option<Scram>,
    ended: bool,
}

impl Runner<'_> {
    fn run(&mut self, transcript: &Transcript) -> Result<(), String> {
        let mut current = 0;
        for line in &transcript.lines {
            if line.connection != current {
                self.settle(current)?;
                current = line.connection;
            }
            self.connect(current);
            let about = |why: String| format!("line {}: {why}", line.number);
            self.step(line).map_err(about)?;
        }
        for at in 0..self.conversations.len() {
            self.settle(at)?;
        }
        for at in 0..self.conversations.len() {
            self.finish(at, transcript.exit)?;
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) {
        while self.conversations.len() <= at {
            let mut conversation = Conversation {
                client: Some(self.server.start()),
                said: false,
                unsent: Vec::new(),
                unheard: VecDeque::new(),
                lines: Vec::new(),
                last: String::new(),
                timestamp: String::new(),
                scram: None,
                ended: false,
            };
            let (said, heard) = self.prelude;
            conversation.unsent = said.into();
            let patterns = heard.iter().map(|&pattern| (0, Expected::Pattern(pattern.to_owned())));
            conversation.unheard = patterns.collect();
            if self.feed != Feed::Whole {
                let _ = conversation.send(self.feed);
            }
            self.conversations.push(conversation);
        }
    }

    fn step(&mut self, line: &Line) -> Result<(), String> {
        let at = line.connection;
        match &line.step {
            Step::Send(octets) => {
                if self.feed != Feed::Whole || self.has_to_wait(at) {
                    self.settle(at)?;
                }
                let conversation = &mut self.conversations[at];
                conversation.said = true;
                conversation.unsent.extend_from_slice(octets);
                if self.feed != Feed::Whole {
                    conversation.send(self.feed)?;
                }
            }
            Step::SendComputed(text) => {
                if needs_replies(text) || self.feed != Feed::Whole || self.has_to_wait(at) {
                    self.settle(at)?;
                }
                let conversation = &mut self.conversations[at];
                let text = conversation.compute(text)?;
                conversation.said = true;
                conversation.unsent.extend_from_slice(format!("{text}\r\n").as_bytes());
                if self.feed != Feed::Whole {
                    conversation.send(self.feed)?;
                }
            }
            Step::Expect(expected) => {
                self.conversations[at].unheard.push_back((line.number, expected.clone()));
            }
            Step::Eof => {
                if self.feed != Feed::Whole {
                    self.settle(at)?;
                }
                let conversation = &mut self.conversations[at];
                conversation.send(self.feed)?;
                conversation.ended = true;
                if let Some(client) = &mut conversation.client {
                    client.end();
                }
            }
            Step::Do(action) => {
                self.settle(at)?;
                self.act(action)?;
            }
        }
        Ok(())
    }

    /// SMTP: before the greeting, and after commands that end a group (RFC 2920 section 3.1).
    fn has_to_wait(&self, at: usize) -> bool {
        let conversation = &self.conversations[at];
        let last =
            conversation.unsent.split_inclusive(|&octet| octet == b'\n').next_back().unwrap_or_default();
        let verb =
            last.split(|octet| b" \r\n".contains(octet)).next().unwrap_or_default().to_ascii_uppercase();
        let ends_group =
            ["EHLO", "HELO", "LHLO", "DATA", "VRFY", "EXPN", "ETRN", "STARTTLS", "AUTH", "XCLIENT"]
                .iter()
                .any(|known| known.as_bytes() == verb);
        self.protocol == Protocol::Smtp && (!conversation.said || ends_group)
    }

    /// Sends what waits to be sent and hears what is to be heard.
    fn settle(&mut self, at: usize) -> Result<(), String> {
        let Some(conversation) = self.conversations.get_mut(at) else { return Ok(()) };
        conversation.send(self.feed)?;
        while let Some((number, expected)) = conversation.unheard.pop_front() {
            conversation
                .hear(&expected, at, &self.chance, &mut self.heard, number > 0)
                .map_err(|why| format!("line {number}: {why}"))?;
        }
        Ok(())
    }

    fn act(&self, action: &Action) -> Result<(), String> {
        let path = |name: &str| self.place.maildir().join(name);
        let result = match action {
            Action::Remove(name) => fs::remove_file(path(name)),
            Action::Rename(from, to) => fs::rename(path(from), path(to)),
            Action::Write(name, text) => {
                self.place.deliver(name, text);
                Ok(())
            }
            Action::Date(name, seconds) => {
                let time = std::time::UNIX_EPOCH + Duration::from_secs(*seconds);
                fs::File::open(path(name)).and_then(|file| file.set_modified(time))
            }
            Action::Mode(name, mode) => fs::set_permissions(path(name), fs::Permissions::from_mode(*mode)),
            Action::Sleep(milliseconds) => {
                std::thread::sleep(Duration::from_millis(*milliseconds));
                Ok(())
            }
        };
        result.map_err(|error| error.to_string())
    }

    /// The server has to have closed the connection, without another word.
    fn finish(&mut self, at: usize, exit: i32) -> Result<(), String> {
        let Some(mut client) = self.conversations[at].client.take() else { return Ok(()) };
        match client.try_line() {
            Ok(None) => {}
            Ok(Some(line)) => return Err(format!("in the end the server says: {}", line.escape_ascii())),
            Err(why) => return Err(format!("in the end: {why}")),
        }
        self.said.push(client.received());
        let status = client.finish();
        if status.code() != Some(exit) {
            return Err(format!("{status}, wanted exit code {exit}"));
        }
        Ok(())
    }
}

impl Conversation {
    fn send(&mut self, feed: Feed) -> Result<(), String> {
        let octets = std::mem::take(&mut self.unsent);
        if octets.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err("the client speaks after eof".to_owned());
        }
        let Some(client) = &mut self.client else { return Ok(()) };
        match feed {
            Feed::Octets => octets.iter().for_each(|&octet| client.send([octet])),
            Feed::Whole | Feed::Lines => client.send(&octets),
        }
        Ok(())
    }

    fn hear(
        &mut self,
        expected: &Expected,
        at: usize,
        chance: &[Regex],
        heard: &mut Heard,
        is_part: bool,
    ) -> Result<(), String> {
        let client = self.client.as_mut().ok_or("no connection")?;
        loop {
            let line = client.try_line()?.ok_or("the server has closed the connection")?;
            let text = String::from_utf8_lossy(&line).into_owned();
            if chance.iter().any(|pattern| pattern.is_match(&text)) {
                continue;
            }
            let refusal = |wanted: &str| Err(format!("server: {}\n  wanted: {wanted}", line.escape_ascii()));
            let mut counts = line.clone();
            match expected {
                Expected::Exact(wanted) if *wanted != line => {
                    return refusal(&wanted.escape_ascii().to_string());
                }
                Expected::Computed(wanted) => {
                    let computed = compute(wanted, &self.last, &self.timestamp, &mut self.scram)?;
                    if computed != text {
                        return refusal(&computed);
                    }
                    counts = wanted.clone().into_bytes();
                }
                Expected::Pattern(pattern) => {
                    if !regex(pattern)?.is_match(&text) {
                        return refusal(pattern);
                    }
                    counts = pattern.clone().into_bytes();
                }
                Expected::Class(class) if text.split(' ').next() != Some(class) => return refusal(class),
                Expected::ToDot | Expected::Exact(_) | Expected::Class(_) => {}
            }
            if self.timestamp.is_empty() {
                let end = text.rfind('<').and_then(|start| text.get(start..));
                self.timestamp = end.unwrap_or_default().to_owned();
            }
            // SMTP: the ID is another one each time.
            if let Some((before, _)) = text.split_once("ed as ").filter(|_| text.starts_with("250 2.0.0")) {
                counts = before.as_bytes().to_vec();
            }
            self.last.clone_from(&text);
            if is_part {
                self.lines.push(line);
                heard.push((at, counts));
            }
            if !matches!(expected, Expected::ToDot) || text == "." {
                return Ok(());
            }
        }
    }

    fn compute(&mut self, text: &str) -> Result<String, String> {
        compute(text, &self.last, &self.timestamp, &mut self.scram)
    }
}

/// Whether something in braces cannot be computed before the server has said something.
fn needs_replies(text: &str) -> bool {
    let inner = text.split('{').skip(1);
    let mut words = inner.map(|inner| inner.split([' ', '}', '+']).next().unwrap_or_default());
    words.any(|word| word != "base64" && !word.bytes().all(|c| c.is_ascii_digit()))
}

/// Replaces the words in braces.
fn compute(text: &str, last: &str, timestamp: &str, scram: &mut Option<Scram>) -> Result<String, String> {
    let Some((before, rest)) = text.split_once('{') else { return Ok(text.to_owned()) };
    let (inside, after) = rest.split_once('}').ok_or("a brace is not closed")?;
    // A literal of IMAP.
    if inside.trim_end_matches('+').bytes().all(|c| c.is_ascii_digit()) {
        return Ok(format!("{before}{{{inside}}}{}", compute(after, last, timestamp, scram)?));
    }
    let (what, argument) = inside.split_once(' ').unwrap_or((inside, ""));
    let (user, secret) = argument.split_once(' ').unwrap_or((argument, ""));
    // That of POP3 and IMAP, that of SMTP.
    let challenge = last.strip_prefix("+ ").or_else(|| last.strip_prefix("334 ")).unwrap_or_default();
    let value = match what {
        "apop" => proof::apop(timestamp, argument),
        "cram-md5" => proof::cram_md5(challenge, user, secret),
        "base64" => proof::base64(crate::transcript::unescape(argument).ok_or("an unknown escape")?),
        "scram-sha-1" | "scram-sha-256" => {
            scram.insert(Scram::new(what == "scram-sha-256", user, secret)).first()
        }
        "scram-final" => scram.as_mut().ok_or("no SCRAM exchange")?.last(challenge),
        "scram-server-final" => scram.as_ref().ok_or("no SCRAM exchange")?.server_final(),
        _ => return Err(format!("{{{what}}} is not known")),
    };
    Ok(format!("{before}{value}{}", compute(after, last, timestamp, scram)?))
}
