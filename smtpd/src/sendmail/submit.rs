//! A message from standard input into the drop directory.

use super::body::Wire;
use super::header;
use super::options::Options;
use super::{Exit, Failure};
use crate::drop::format::{HEAD_MAX, MAGIC, RECIPIENTS_MAX, Wanted, print_body};
use crate::drop::{UNFINISHED, id_in_queue, unusable};
use crate::envelope::Body;
use crate::queue::{Id, Place, QueueDirectory};
use crate::runner::HANDED_OVER;
use crate::writer::fields::Fields;
use common::config::Config;
use common::log::Log;
use common::process::service;
use common::sys::process::{self, Fork};
use common::sys::{child, fd};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Octets that are read at once.
const PIECE: usize = 32 * 1024;
/// How long the SMTP server of this host may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a message and submits it.
pub fn message(config: &Config, options: &Options) -> Result<(), Failure> {
    let mut wanted = wanted(config, options)?;
    for list in &options.recipients {
        header::of_argument(list, &mut wanted.recipients);
    }
    if wanted.recipients.is_empty() && !options.from_header {
        return Err(Failure(Exit::Usage, "recipient addresses must be specified, or -t".to_owned()));
    }
    let mut input = Input::new(config);
    let (mut wire, mut fields) = (Wire::new(options.dot_is_text), Fields::all());
    let mut octets = Vec::with_capacity(PIECE);
    let mut header_end = None;
    if options.from_header {
        // The whole header first: it says to whom.
        while header_end.is_none() && read(&mut input, &mut wire, &mut fields, &mut octets)? {
            header_end = header::end(&octets);
            if header_end.is_none() && octets.len() > header::HEADER_MAX {
                return Err(Failure(Exit::Data, "the header is too long".to_owned()));
            }
        }
        let header_end = header_end.or_else(|| header::end(&octets)).unwrap_or(octets.len());
        let found = header::recipients(octets.get(..header_end).unwrap_or_default());
        for recipient in found.recipients {
            if !wanted.recipients.contains(&recipient) {
                wanted.recipients.push(recipient);
            }
        }
        octets.splice(..header_end, found.header);
        if wanted.recipients.is_empty() {
            return Err(Failure(Exit::Usage, "no recipient addresses found in the header".to_owned()));
        }
    }
    let mut dropped = Dropped::create(config, &wanted)?;
    loop {
        dropped.write(&octets)?;
        octets.clear();
        if !read(&mut input, &mut wire, &mut fields, &mut octets)? {
            break;
        }
    }
    dropped.write(&octets)?;
    let id = dropped.finish(wire.is_eight_bit())?;
    if options.verbose {
        let _ =
            writeln!(io::stdout(), "sendmail: {id} left for the queue, for {}", wanted.recipients.join(", "));
    }
    poke(config);
    Ok(())
}

/// Standard input.
struct Input {
    lines: BufReader<io::Stdin>,
    /// Octets that may still come. What is left out of the message counts, too: it may be endless, and nothing else.
    left: Option<u64>,
}

impl Input {
    fn new(config: &Config) -> Input {
        let limit = config.message_size_limit.0;
        // A mailbox file's first line is no part of the message.
        let left = Some(limit.saturating_add(PIECE as u64)).filter(|_| limit > 0);
        Input { lines: BufReader::with_capacity(PIECE, io::stdin()), left }
    }

    /// Hands on what is there. Octets; 0: the end.
    fn read(&mut self, take: impl FnOnce(&[u8])) -> Result<usize, Failure> {
        let failed = |error| Failure(Exit::Io, format!("standard input: {error}"));
        let octets = self.lines.fill_buf().map_err(failed)?;
        let length = octets.len();
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(length as u64).ok_or_else(too_large)?;
        }
        take(octets);
        self.lines.consume(length);
        Ok(length)
    }
}

fn too_large() -> Failure {
    Failure(Exit::Data, "the message is larger than message_size_limit".to_owned())
}

/// Appends some of the message. `false`: that was its end.
fn read(input: &mut Input, wire: &mut Wire, fields: &mut Fields, out: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut lines = Vec::new();
    let length = input.read(|octets| wire.take(octets, &mut lines))?;
    let is_end = length == 0 || wire.has_ended();
    if is_end {
        wire.end(&mut lines);
    }
    let mut add = |octets: &[u8]| {
        out.extend_from_slice(octets);
        Ok(())
    };
    fields
        .pass(&lines, &mut add)
        .and_then(|()| if is_end { fields.end(&mut add) } else { Ok(()) })
        .map_err(|status| Failure(Exit::Temporary, status.to_string()))?;
    Ok(!is_end)
}

/// What the options say, and who the caller is.
pub fn wanted(config: &Config, options: &Options) -> Result<Wanted, Failure> {
    let caller = Caller::find(config);
    let sender = match &options.sender {
        Some(text) => sender(text),
        None => {
            let name = caller.name.clone();
            name.ok_or_else(|| Failure(Exit::NoUser, "who you are is not known: use -f".to_owned()))?
        }
    };
    let full_name = options.full_name.clone().or_else(|| std::env::var("NAME").ok()).or(caller.full_name);
    let (envid, ret, notify) = (options.envid.clone(), options.ret, options.notify);
    let full_name = full_name.unwrap_or_default();
    Ok(Wanted { sender, full_name, envid, ret, notify, ..Wanted::default() })
}

/// `user@domain`, `<user@domain>` or `Name <user@domain>`.
fn sender(text: &str) -> String {
    let mut found = Vec::new();
    if text.contains('<') {
        header::addresses(text.as_bytes(), &mut found);
    }
    match found.as_slice() {
        [one] => one.clone(),
        _ => text.trim().trim_start_matches('<').trim_end_matches('>').to_owned(),
    }
}

struct Caller {
    name: Option<String>,
    full_name: Option<String>,
}

impl Caller {
    /// The uid's line in passwd(5): name, and the full name up to the first comma, `&` being the name.
    fn find(config: &Config) -> Caller {
        let (uid, _) = process::user_and_group();
        let path = config.passwd_path.get().unwrap_or(Path::new("/etc/passwd"));
        let lines = File::open(path).map(|file| BufReader::new(file.take(64 << 20)).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let mut fields = line.split(':');
            let (name, number, gecos) = (fields.next(), fields.nth(1), fields.nth(1));
            if number.and_then(|number| number.parse().ok()) == Some(uid) {
                let name = name.unwrap_or_default().to_owned();
                let full = gecos.and_then(|gecos| gecos.split(',').next()).unwrap_or("");
                let mut capital = name.clone();
                if let Some(first) = capital.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                return Caller { full_name: Some(full.replace('&', &capital)), name: Some(name) };
            }
        }
        let name = std::env::var("LOGNAME").or_else(|_| std::env::var("USER")).ok();
        Caller { name: name.filter(|name| !name.is_empty()), full_name: None }
    }
}

/// A file in the drop directory that is being written. Dropped unfinished, it goes.
pub struct Dropped {
    file: File,
    unfinished: PathBuf,
    finished: PathBuf,
    id: Id,
    left: Option<u64>,
    fsync: bool,
    done: bool,
}

impl Dropped {
    /// Begins one.
    pub fn create(config: &Config, wanted: &Wanted) -> Result<Dropped, Failure> {
        check(wanted)?;
        let failed = |what: String| Failure(Exit::Temporary, what);
        if process::is_root() {
            QueueDirectory::open(config).map_err(|error| failed(error.to_string()))?;
        }
        let queue = config.queue_directory.get().unwrap_or(Path::new("")).to_owned();
        let directory = queue.join(Place::Drop.name());
        let id = Id::new(SystemTime::now()).map_err(|error| failed(error.to_string()))?;
        let unfinished = directory.join(format!("{UNFINISHED}{id}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|error| failed(unusable(&directory, &error).to_string()))?;
        // Whatever umask the caller has: a process of the caller's uid will have to read it.
        let readable = file.set_permissions(Permissions::from_mode(0o600));
        if let Err(error) = readable {
            let _ = std::fs::remove_file(&unfinished);
            return Err(failed(format!("{}: {error}", unfinished.display())));
        }
        let left = Some(config.message_size_limit.0).filter(|&limit| limit > 0);
        let finished = directory.join(id.as_str());
        let fsync = !config.fsync_disable;
        let mut dropped = Dropped { file, unfinished, finished, id, left, fsync, done: false };
        dropped.put(wanted.print().as_bytes())?;
        Ok(dropped)
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.file.write_all(octets).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure(Exit::Temporary, format!("{}: {error}", self.unfinished.display()))
    }

    /// Some of the message, in wire form.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if let Some(left) = &mut self.left {
            match left.checked_sub(octets.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(too_large()),
            }
        }
        self.put(octets)
    }

    /// The message is complete: it is on the disk, and has a name under which it is picked up. The ID that it will have in the queue.
    pub fn finish(mut self, eight_bit: bool) -> Result<Id, Failure> {
        let body = if eight_bit { Body::EightBitMime } else { Body::SevenBit };
        let at = MAGIC.len() as u64;
        // The directory cannot be opened by us to be flushed; most file systems flush a file's new name with the file.
        let sync = || if self.fsync { self.file.sync_all() } else { Ok(()) };
        let result = self
            .file
            .write_all_at(print_body(body).as_bytes(), at)
            .and_then(|()| sync())
            .and_then(|()| std::fs::rename(&self.unfinished, &self.finished))
            .and_then(|()| sync());
        result.map_err(|error| self.failed(&error))?;
        self.done = true;
        Ok(id_in_queue(&self.id, process::user_and_group().0).unwrap_or_else(|| self.id.clone()))
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

/// What could never be queued is refused while the caller is here to hear it.
fn check(wanted: &Wanted) -> Result<(), Failure> {
    let is_address = |text: &String| {
        crate::address::Address::parse(text.as_bytes()).is_ok()
            || crate::address::parse_local_part(text)
                .is_ok_and(|(local, rest)| !local.is_empty() && rest.is_empty())
    };
    if wanted.recipients.len() > RECIPIENTS_MAX {
        return Err(Failure(Exit::Data, format!("more than {RECIPIENTS_MAX} recipients")));
    }
    // Here and in the queue, where each stands three times: as it was named, as it was understood, and where it goes.
    let room = wanted.recipients.iter().map(|recipient| 3 * (recipient.len() + 8)).sum::<usize>();
    if room.max(wanted.print().len()) > HEAD_MAX {
        let what = "the recipients' addresses are too long together: send to some of them at a time";
        return Err(Failure(Exit::Data, what.to_owned()));
    }
    let wrong = wanted.recipients.iter().find(|recipient| !is_address(recipient));
    let wrong = wrong.or(Some(&wanted.sender).filter(|sender| !sender.is_empty() && !is_address(sender)));
    match wrong {
        Some(text) => Err(Failure(Exit::Data, format!("{}: malformed address", text.escape_debug()))),
        None => Ok(()),
    }
}

/// Sees to it that somebody picks up. Nothing is lost if that fails, it only takes longer.
pub fn poke(config: &Config) {
    let directory = config.queue_directory.get().unwrap_or(Path::new(""));
    let us = child::effective().uid;
    let is_ours = directory.join(Place::Queue.name()).symlink_metadata().is_ok_and(|meta| meta.uid() == us);
    if us == 0 || is_ours {
        let log = Log::open(config, "sendmail");
        let _ = service::start_detached(&log, "sendmail", &["-q", HANDED_OVER], config);
        return;
    }
    // The caller waits for the ends of its pipes: this goes on without them.
    if let Ok(Fork::Child) = process::fork_twice() {
        let _ = process::own_session();
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            for standard in 0..3 {
                let _ = fd::replace(standard, &null);
            }
        }
        let _ = fd::close_from(3);
        let addresses =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 25)), SocketAddr::from((Ipv6Addr::LOCALHOST, 25))];
        let _ = addresses.iter().any(|address| greet(address).is_ok());
        process::exit_now(0);
    }
}

/// A polite visit: greeting, QUIT, reply.
fn greet(address: &SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect_timeout(address, PATIENCE)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 512];
    let _ = server.read(&mut buffer)?;
    server.write_all(b"QUIT\r\n")?;
    let _ = server.read(&mut buffer)?;
    Ok(())
}
