//! The guard's part: takes a file out of the drop directory and puts it into the queue.

use super::format::{Wanted, address};
use super::gate::Gate;
use crate::address::Address;
use crate::deliver::Sink;
use crate::envelope::{Envelope, Recipient, Target, asked};
use crate::header_checks::HeaderChecks;
use crate::queue::{Id, Incoming, QueueDirectory, Received, submitted_by};
use crate::rules::Rules;
use crate::sendmail::body::Wire;
use crate::status::{Enhanced, Status};
use crate::wire::job::Submission;
use crate::writer::header::Header;
use common::config::Config;
use common::log::Log;
use common::mime::date;
use common::sys::fd::{self, Interest};
use common::sys::fs;
use common::sys::process::{self, Ended, Fork};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How long the end of the process that read it may take.
const END_TIME: Duration = Duration::from_secs(2);
/// Recipients that the sender of a message to too many is told of.
const TOLD_MAX: usize = 100;
/// Octets of a head, beyond the message itself.
const HEAD: u64 = super::format::HEAD_MAX as u64;

/// Takes one file, and gives its reading so much time. `false`: it is no message and never will be one. Errors: `TimedOut`, it
/// takes longer; `Interrupted`, whoever queued it was killed, and may have done so; `NotFound`, it is gone.
pub(super) fn take(
    config: &Config,
    directory: &QueueDirectory,
    log: &Log,
    rules: &mut Rules,
    path: &Path,
    id: &Id,
    time: Duration,
) -> io::Result<bool> {
    let meta = path.symlink_metadata()?;
    // One name: a second one would be another user's file, or would come again under it.
    if !meta.is_file() || meta.nlink() != 1 {
        return Ok(false);
    }
    let limit = config.message_size_limit.0;
    if limit > 0 && meta.len() > limit.saturating_add(HEAD) {
        return Ok(false);
    }
    let (head, head_to) = fd::pipe()?;
    let (message, message_to) = fd::pipe()?;
    let (alive, alive_to) = fd::pipe()?;
    let reader = match process::fork()? {
        Fork::Child => {
            drop((head, message, alive));
            let code = match copy_as_owner(path, &meta, head_to, message_to) {
                Ok(()) => 0,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => NO_MESSAGE,
                Err(_) => TEMPORARY,
            };
            process::exit_now(code);
        }
        Fork::Parent(child) => child,
    };
    drop((head_to, message_to, alive_to));
    let until = Instant::now() + time;
    let queued = read_head(head, until).and_then(|(length, wanted)| {
        let (envelope, refused) = match envelope(&wanted, rules, log, id) {
            Ok(envelope) => (envelope, None),
            Err(status) => {
                log.error(format_args!("drop/{id}: uid={}: {status}", meta.uid()));
                if !status.is_permanent() {
                    return Err(io::ErrorKind::Other.into());
                }
                (as_named(&wanted, rules).ok_or(io::ErrorKind::InvalidData)?, Some(status))
            }
        };
        match process::fork()? {
            Fork::Child => {
                let (uid, wanted, envelope) = (meta.uid(), &wanted, &envelope);
                let drop = Dropped { config, uid, id, wanted, envelope, refused, length };
                let from = Patient { from: File::from(message), until };
                process::exit_now(drop.queue_as_mail_owner(directory, rules, log, from));
            }
            Fork::Parent(child) => {
                drop(message);
                process::wait_for(child)
            }
        }
    });
    // It has the user's uid, so the user may have stopped it.
    if !fd::poll([(alive.as_fd(), Interest::Read)], Some(END_TIME)).is_ok_and(|[end]| end.read || end.hangup)
    {
        process::terminate(reader);
    }
    let read = process::wait_for(reader)?;
    let never = Ended::Code(i32::from(NO_MESSAGE));
    match queued {
        Ok(Ended::Code(0)) => {
            std::fs::remove_file(path)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Ok(written) if written == never => Ok(false),
        _ if read == never => Ok(false),
        Ok(Ended::Signal(signal)) => {
            let what = format!("the process that queues it was killed by signal {signal}");
            Err(io::Error::new(io::ErrorKind::Interrupted, what))
        }
        _ if Instant::now() >= until => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long to read"))
        }
        _ => Err(io::Error::other("it could not be put into the queue; it will be tried again")),
    }
}

/// Exit codes of the children: this is nothing that could be queued; something failed.
const NO_MESSAGE: u8 = 65;
const TEMPORARY: u8 = 75;

/// In a child: becomes the file's owner, opens it, and says what it holds: the message's length and the head through one
/// pipe, the message through the other.
fn copy_as_owner(path: &Path, seen: &Metadata, head_to: OwnedFd, message_to: OwnedFd) -> io::Result<()> {
    // Root's own files need no other user; mail from root is the common case on a small machine.
    if process::is_root() && seen.uid() != 0 {
        process::become_user(seen.uid(), seen.gid().max(1), &[])?;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT);
    let file = match options.open(path) {
        // A umask, or a program that made it so. It is a message all the same, and its owner's to open: we are the owner, and
        // should this have become a link meanwhile, it leads to what the owner could change anyway.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            options.open(path)
        }
        opened => opened,
    };
    let file = file.map_err(|error| match fs::is_symbolic_link(&error) {
        true => io::ErrorKind::InvalidData.into(),
        false => error,
    })?;
    let meta = file.metadata()?;
    let identity = |meta: &Metadata| (meta.dev(), meta.ino(), meta.uid(), meta.nlink());
    if !meta.is_file() || identity(&meta) != identity(seen) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // It may grow or shrink meanwhile: that is its owner's doing, and its owner's loss.
    let mut input = BufReader::with_capacity(16 * 1024, Counted { from: file.take(seen.len()), count: 0 });
    let wanted = Wanted::read(&mut input)?;
    let head = input.get_ref().count.saturating_sub(input.buffer().len() as u64);
    let length = seen.len().saturating_sub(head);
    let mut to = File::from(head_to);
    to.write_all(format!("{length}\n{}", wanted.print()).as_bytes())?;
    drop(to);
    let copied = io::copy(&mut input, &mut File::from(message_to))?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What that child says. It is hostile: a user may have a hand in it.
fn read_head(from: OwnedFd, until: Instant) -> io::Result<(u64, Wanted)> {
    let from = Patient { from: File::from(from), until };
    let mut input = BufReader::new(from.take(HEAD + 4096));
    let mut line = String::new();
    Read::take(&mut input, 32).read_line(&mut line)?;
    let length = line.trim_end().parse().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Ok((length, Wanted::read(&mut input)?))
}

/// A pipe from a process that may never write: reads of it end.
struct Patient {
    from: File,
    until: Instant,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        let [ready] = fd::poll([(self.from.as_fd(), Interest::Read)], Some(left))?;
        if ready.read || ready.hangup { self.from.read(buffer) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

struct Counted<R> {
    from: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.count = self.count.saturating_add(n as u64);
        Ok(n)
    }
}

/// A submission whose recipients are known.
struct Dropped<'a> {
    config: &'a Config,
    uid: u32,
    id: &'a Id,
    wanted: &'a Wanted,
    envelope: &'a Envelope,
    /// It fails for all of them.
    refused: Option<Status>,
    length: u64,
}

impl Dropped<'_> {
    /// In a child: becomes mail_owner and reads what the other child copies.
    fn queue_as_mail_owner(&self, directory: &QueueDirectory, rules: &Rules, log: &Log, from: Patient) -> u8 {
        let (owner, group) = directory.owner();
        let become_owner =
            || if process::is_root() { process::become_user(owner, group, &[]) } else { Ok(()) };
        match become_owner().map_err(failed).and_then(|()| self.queue(directory, rules, log, from)) {
            Ok(()) => 0,
            Err(status) => {
                log.error(format_args!("drop/{}: uid={}: {status}", self.id, self.uid));
                status.log_cause(log);
                if status.is_permanent() { NO_MESSAGE } else { TEMPORARY }
            }
        }
    }

    fn queue(
        &self,
        directory: &QueueDirectory,
        rules: &Rules,
        log: &Log,
        from: Patient,
    ) -> Result<(), Status> {
        let now = SystemTime::now();
        let new = super::id_in_queue(self.id, self.uid).ok_or_else(|| malformed(self.id.as_str()))?;
        let received = Received { at: now, from: submitted_by(self.uid) };
        let mut input = BufReader::with_capacity(16 * 1024, Counted { from, count: 0 });
        // Nothing may pass unseen.
        let checks = HeaderChecks::load(self.config).map(Rc::new);
        let checks = checks.map_err(|error| failed(io::Error::other(format!("header_checks: {error}"))))?;
        let open = |refused: Option<&Status>| -> Result<Option<Incoming>, Status> {
            let create = |envelope| Incoming::create_derived(directory, &new, envelope, &received);
            let mut refused = refused.or(self.refused.as_ref());
            let (mut incoming, too_many) = (create(self.envelope), too_many());
            // Time does not mend that: its sender has to hear of it.
            if incoming.as_ref().is_err_and(|status| status.enhanced == TOO_MANY) {
                let small = as_named(self.wanted, rules).ok_or_else(|| too_many.clone())?;
                (incoming, refused) = (create(&small), refused.or(Some(&too_many)));
            }
            // None: a run was killed between the queue and the removal of the file.
            let Some(mut incoming) = incoming? else { return Ok(None) };
            refused.map_or(Ok(()), |status| incoming.fail(status, now))?;
            incoming.write(trace_field(rules, self.uid, &new, now).as_bytes())?;
            Ok(Some(incoming))
        };
        let sender = self.envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        let sender = common::log::escape(sender.as_bytes()).to_string();
        let warn = |line: &str| log.info(format_args!("{line}; uid={} from=<{sender}>", self.uid));
        let discarded = Cell::new(false);
        let mut gate = Gate::new(&checks, &warn, &discarded, &open)?;
        let from = from_field(self.wanted, self.envelope, rules);
        let submission = Submission { from, domain: rules.myhostname().into() };
        let mut header = Header::of_taken(&submission);
        // What sendmail has written is in wire form already, but anybody may write a file here: NUL, and CR or LF alone, must
        // not get into the queue, where they would become another message at a server that takes them for line ends.
        let (mut wire, mut clean) = (Wire::new(true), Vec::new());
        loop {
            let octets = input.fill_buf().map_err(failed)?;
            let n = octets.len();
            if n == 0 {
                break;
            }
            wire.take(octets, &mut clean);
            input.consume(n);
            header.pass(&clean, &mut |octets| gate.write(octets))?;
            clean.clear();
        }
        // Less came than there was: the other child has died or the file was cut, and half a message is none.
        if input.get_ref().count != self.length {
            return Err(Status::new(451, Enhanced(4, 3, 0), "the file was cut while it was read"));
        }
        wire.end(&mut clean);
        header.pass(&clean, &mut |octets| gate.write(octets))?;
        header.end(&mut |octets| gate.write(octets))?;
        if gate.finish(header.refusal().as_ref())? {
            let (us, message_id) = (std::process::id(), header.message_id());
            let message_id = common::log::escape(message_id.as_bytes()).up_to(250);
            log.info_each([
                (
                    format_args!("postfix/pickup[{us}]"),
                    format_args!("{new}: uid={} from=<{sender}>", self.uid),
                ),
                (format_args!("postfix/cleanup[{us}]"), format_args!("{new}: message-id=<{message_id}>")),
            ]);
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> Status {
    Status::new(451, Enhanced(4, 3, 0), error.to_string())
}

fn malformed(text: &str) -> Status {
    Status::new(553, Enhanced(5, 1, 3), format!("Malformed address: {}", text.escape_debug()))
}

const TOO_MANY: Enhanced = Enhanced(4, 5, 3);

fn too_many() -> Status {
    Status::new(554, Enhanced(5, 5, 3), "Too many recipients")
}

/// A user's mailbox that there is not.
fn itself(path: Address, wanted: &Wanted) -> Recipient {
    let target = Target::Mailbox {
        // With its domain: it must not find another domain's user.
        user: path.to_string().to_lowercase(),
        extension: String::new(),
        direct: false,
    };
    Recipient { notify: wanted.notify, ..Recipient::new(path, target) }
}

/// For a message that can be sent to nobody: its sender, and of those whom he named the first. `None`: he could not be told.
fn as_named(wanted: &Wanted, rules: &Rules) -> Option<Envelope> {
    let reverse_path = match wanted.sender.as_str() {
        "" => None,
        text => Some(address(text, rules).ok()?),
    };
    let named = wanted.recipients.iter().filter_map(|text| address(text, rules).ok());
    let recipients: Vec<Recipient> = named.take(TOLD_MAX).map(|path| itself(path, wanted)).collect();
    let (envid, ret, body) = (wanted.envid.clone(), wanted.ret, wanted.body);
    let smtputf8 = !recipients.iter().all(|one| one.address.is_ascii());
    let envelope = Envelope { envid, ret, body, smtputf8, reverse_path, recipients, ..Envelope::default() };
    (!envelope.recipients.is_empty()).then_some(envelope)
}

/// Every recipient as the rules have it; those that are refused are open failures, so that the sender hears of them.
fn envelope(wanted: &Wanted, rules: &mut Rules, log: &Log, id: &Id) -> Result<Envelope, Status> {
    let sender = match wanted.sender.as_str() {
        "" => None,
        text => Some(address(text, rules).map_err(|_| malformed(text))?),
    };
    let mut envelope = Envelope {
        envid: wanted.envid.clone(),
        ret: wanted.ret,
        body: wanted.body,
        reverse_path: sender,
        ..Envelope::default()
    };
    let (mut named, mut places, mut total) = (HashSet::new(), HashSet::new(), 0_usize);
    let mut paths = Vec::new();
    let mut about = wanted.asked.iter();
    for text in &wanted.recipients {
        let (notify, orcpt) =
            about.next().map_or((None, None), |asked| (asked.notify, asked.orcpt.as_deref()));
        let notify = notify.or(wanted.notify);
        if !named.insert(text) {
            continue;
        }
        let Ok(path) = address(text, rules) else {
            log.warning(format_args!(
                "drop/{id}: malformed recipient: {}",
                common::log::escape(text.as_bytes())
            ));
            continue;
        };
        paths.push(path.clone());
        // A list that is named again and again must not fill the memory of a process of root's.
        if total > super::format::RECIPIENTS_MAX {
            return Err(too_many());
        }
        match rules.expand(&path) {
            Ok(mut recipients) => {
                total = total.saturating_add(recipients.len());
                asked(&mut recipients, orcpt, notify);
                // As for a message by SMTP: whoever is on two lists gets it once.
                recipients.retain(|recipient| places.insert(format!("{:?}", recipient.target)));
                envelope.recipients.extend(recipients);
            }
            // Nobody is there any more to be answered. As a user's mailbox it will be found not to be one: then the rules are
            // asked again, and it waits in the queue or is returned.
            Err(_) => envelope.recipients.push(Recipient {
                orcpt: orcpt.map(str::to_owned),
                notify,
                ..itself(path, wanted)
            }),
        }
    }
    if envelope.recipients.is_empty() {
        return Err(malformed(wanted.recipients.first().map_or("", String::as_str)));
    }
    let mut copies = match rules.has_blind_copies() {
        true => rules.blind_copies(&envelope.reverse_path, &paths)?,
        false => Vec::new(),
    };
    copies.retain(|copy| places.insert(format!("{:?}", copy.target)));
    envelope.recipients.append(&mut copies);
    envelope.smtputf8 = !envelope.recipients.iter().all(|recipient| recipient.address.is_ascii())
        || envelope.reverse_path.as_ref().is_some_and(|path| !path.is_ascii());
    Ok(envelope)
}

/// RFC 5321 section 4.4, for mail that came by no protocol; Postfix writes it so as well.
fn trace_field(rules: &Rules, uid: u32, id: &Id, now: SystemTime) -> String {
    let seconds = i64::try_from(crate::queue::schedule::seconds(now)).unwrap_or(0);
    format!(
        "Received: by {} (tinmail, from userid {uid})\r\n\tid {id}; {}\r\n",
        rules.myhostname(),
        date::print(seconds)
    )
}

/// `Full Name <user@example.org>`, or the address alone.
fn from_field(wanted: &Wanted, envelope: &Envelope, rules: &Rules) -> String {
    let address = match &envelope.reverse_path {
        Some(address) => address.to_string(),
        None => format!("MAILER-DAEMON@{}", rules.myhostname()),
    };
    let name = wanted.full_name.trim();
    if name.is_empty() || name.len() > 200 {
        return address;
    }
    if !name.is_ascii() {
        return format!("{} <{address}>", encoded_words(name));
    }
    if name.bytes().all(|c| c.is_ascii_alphanumeric() || b" -'".contains(&c)) {
        format!("{name} <{address}>")
    } else {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{quoted}\" <{address}>")
    }
}

/// RFC 2047 section 4.2: words of at most 75 characters, none of which ends within a character.
fn encoded_words(text: &str) -> String {
    const ROOM: usize = 75 - "=?utf-8?q??=".len();
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        let mut buffer = [0; 4];
        let mut printed = String::new();
        for octet in c.encode_utf8(&mut buffer).bytes() {
            match octet {
                b' ' => printed.push('_'),
                _ if octet.is_ascii_alphanumeric() => printed.push(char::from(octet)),
                _ => {
                    let _ = write!(printed, "={octet:02X}");
                }
            }
        }
        if word.len() + printed.len() > ROOM {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&printed);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
#[path = "pickup_tests.rs"]
mod tests;
