//! `sendmail -bs`: SMTP on standard input and output, for programs that speak it to a local sendmail (mutt, alpine, Java).
//!
//! It is the caller's own process and the caller's own mail: no extension, no rules, no waiting. What it takes goes the same
//! way as any other mail of the caller, and the queue run looks at its recipients.

use super::body::Wire;
use super::options::Options;
use super::submit::{self, Dropped};
use super::{Exit, Failure};
use crate::command::path::ForwardPath;
use crate::command::{Command, LINE_MAX};
use crate::drop::format::{Asked, RECIPIENTS_MAX, Wanted};
use crate::envelope::Body;
use crate::reply;
use common::config::Config;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Octets of a line of the message that are handled at once; longer ones are passed on in pieces.
const PIECE: u64 = 16 * 1024;

struct Session<'a> {
    config: &'a Config,
    options: &'a Options,
    input: Box<dyn BufRead>,
    output: io::Stdout,
    transaction: Option<Wanted>,
    submitted: bool,
}

/// Speaks until QUIT or the end.
pub fn speak(config: &Config, options: &Options) -> Result<(), Failure> {
    let input = Box::new(BufReader::new(io::stdin()));
    let mut session =
        Session { config, options, input, output: io::stdout(), transaction: None, submitted: false };
    let result = session.run();
    if session.submitted {
        submit::poke(config);
    }
    result.map_err(|error| Failure(Exit::Io, error.to_string()))
}

impl Session<'_> {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.output.write_all(b"\r\n")?;
        self.output.flush()
    }

    fn run(&mut self) -> io::Result<()> {
        let host = crate::values::myhostname(self.config);
        self.say(&format!("220 {host} ESMTP tinmail"))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = LINE_MAX as u64 + 2;
            if Read::take(&mut self.input, limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") && line.len() as u64 >= limit {
                self.say("500 5.5.2 Line too long")?;
                return Ok(());
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            match Command::parse(text) {
                Ok(Command::Quit) => return self.say("221 2.0.0 Bye"),
                Ok(command) => self.command(&command, &host)?,
                Err(error) => {
                    let status = reply::syntax(error);
                    self.say(&status.to_string())?;
                }
            }
        }
    }

    fn command(&mut self, command: &Command<'_>, host: &str) -> io::Result<()> {
        match command {
            Command::Helo(_) => {
                self.transaction = None;
                self.say(&format!("250 {host}"))
            }
            Command::Ehlo(_) => {
                self.transaction = None;
                let size = self.config.message_size_limit.0;
                self.say(&format!(
                    "250-{host}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES"
                ))
            }
            Command::Rset => {
                self.transaction = None;
                self.say("250 2.0.0 Ok")
            }
            Command::Noop => self.say("250 2.0.0 Ok"),
            Command::Mail(..) if self.transaction.is_some() => self.say("503 5.5.1 Nested MAIL"),
            Command::Mail(_, parameters) if parameters.body == Some(Body::BinaryMime) => {
                self.say("555 5.5.4 BODY=BINARYMIME is not offered")
            }
            Command::Mail(_, parameters) if self.is_too_large(parameters.size) => {
                self.say("552 5.3.4 The message is larger than message_size_limit")
            }
            Command::Mail(path, parameters) => {
                let wanted = match submit::wanted(self.config, self.options) {
                    Ok(wanted) => wanted,
                    Err(Failure(_, what)) => return self.say(&format!("451 4.3.0 {what}")),
                };
                let sender = path.as_ref().map(text).unwrap_or_default();
                let (ret, envid) = (parameters.ret, parameters.envid.map(str::to_owned));
                self.transaction = Some(Wanted { sender, ret, envid, ..wanted });
                self.say("250 2.1.0 Ok")
            }
            Command::Rcpt(path, parameters) => match &mut self.transaction {
                None => self.say("503 5.5.1 MAIL first"),
                Some(wanted) if wanted.recipients.len() >= RECIPIENTS_MAX => {
                    self.say("452 4.5.3 Too many recipients")
                }
                Some(wanted) => {
                    let orcpt = parameters.orcpt.map(str::to_owned);
                    wanted.asked.push(Asked { notify: parameters.notify, orcpt });
                    wanted.recipients.push(text(path));
                    self.say("250 2.1.5 Ok")
                }
            },
            Command::Data => match self.transaction.take() {
                Some(wanted) if !wanted.recipients.is_empty() => self.data(&wanted),
                wanted => {
                    self.transaction = wanted;
                    self.say("503 5.5.1 RCPT first")
                }
            },
            Command::Vrfy(_) => self.say("252 2.5.2 It will be seen when it is tried"),
            Command::Help => self.say("214 2.0.0 See sendmail(8)"),
            _ => self.say("502 5.5.1 Not here"),
        }
    }

    /// RFC 1870: what the client says of its message before it sends it.
    fn is_too_large(&self, size: Option<u64>) -> bool {
        let limit = self.config.message_size_limit.0;
        limit > 0 && size.is_some_and(|size| size > limit)
    }

    fn data(&mut self, wanted: &Wanted) -> io::Result<()> {
        let mut dropped = match Dropped::create(self.config, wanted) {
            Ok(dropped) => Ok(dropped),
            Err(Failure(Exit::Data, what)) => return self.say(&format!("553 5.1.3 {what}")),
            Err(Failure(_, what)) => return self.say(&format!("451 4.3.0 {what}")),
        };
        self.say("354 End with <CR><LF>.<CR><LF>")?;
        let (mut wire, mut line, mut out) = (Wire::new(true), Vec::new(), Vec::new());
        let mut is_start = true;
        loop {
            line.clear();
            if Read::take(&mut self.input, PIECE).read_until(b'\n', &mut line)? == 0 {
                // No final dot, no message.
                return Ok(());
            }
            if is_start && (line == b".\r\n" || line == b".\n") {
                break;
            }
            let text = if is_start { line.strip_prefix(b".").unwrap_or(&line) } else { &line };
            is_start = line.ends_with(b"\n");
            out.clear();
            wire.take(text, &mut out);
            if let Ok(file) = &mut dropped {
                if let Err(failure) = file.write(&out) {
                    dropped = Err(failure);
                }
            }
        }
        out.clear();
        wire.end(&mut out);
        let result = dropped.and_then(|mut file| {
            file.write(&out)?;
            file.finish(wire.is_eight_bit())
        });
        match result {
            Ok(id) => {
                self.submitted = true;
                self.say(&format!("250 2.0.0 Ok: queued as {id}"))
            }
            Err(Failure(Exit::Data, what)) => self.say(&format!("552 5.3.4 {what}")),
            Err(Failure(_, what)) => self.say(&format!("451 4.3.0 {what}")),
        }
    }
}

fn text(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Mailbox(address) => address.to_string(),
        ForwardPath::Local(local) => local.clone(),
    }
}
