//! The sink that is a program which an alias or a `~/.forward` named.
//!
//! It gets its words as they are, without a shell; the message with LF on its standard input, beginning with a From_ line; and
//! an [`environment`] of our own making. What it says on its outputs goes into the notification, as far as it is short; how it
//! ends decides (sysexits.h).

use super::file::from_line;
use super::{Sink, Trace, environment};
use crate::restrictions::enhanced_of;
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::sys::fd::{self, Interest};
use common::sys::{child, process};
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Octets that a pipe takes without blocking once it is ready (PIPE_BUF).
const PIECE: usize = 4096;
/// Octets of output that are kept; the rest is read and dropped.
const OUTPUT_MAX: usize = 1000;

/// A program that is being fed.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Option<fs::File>,
    said: Vec<u8>,
    deadline: Instant,
    name: String,
    /// With its arguments, for the log.
    line: String,
    /// Octets for the next write.
    buffer: Vec<u8>,
    cr: bool,
    ended: bool,
}

/// Starts it and writes the trace lines.
pub(super) fn begin(
    config: &Config,
    account: &Account,
    words: &[String],
    trace: &Trace,
) -> Result<Box<dyn Sink>, Status> {
    let failed = |why: &dyn std::fmt::Display| {
        Status::new(451, Enhanced(4, 3, 0), format!("Cannot execute the program: {why}"))
    };
    // A queue file of another version may have one without a name.
    let named = words.split_first().filter(|(name, _)| !name.is_empty());
    let (name, arguments) = named.ok_or_else(|| failed(&"it has no name"))?;
    // One pipe for both outputs, in the order in which it says things.
    let (ours, theirs) = fd::pipe().map_err(|error| failed(&error))?;
    let theirs_too = theirs.try_clone().map_err(|error| failed(&error))?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(environment::of(config, account, trace));
    command.stdin(Stdio::piped()).stdout(Stdio::from(theirs)).stderr(Stdio::from(theirs_too));
    command.current_dir(if account.home.is_dir() { account.home.as_path() } else { Path::new("/") });
    process::heed_child_signal();
    let mut child = child::spawn_alone(&mut command).map_err(|error| failed(&error))?;
    // Its ends of the pipe would keep it open.
    drop(command);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut program = Program {
        stdin: child.stdin.take(),
        child,
        output: Some(fs::File::from(ours)),
        said: Vec::new(),
        deadline: Instant::now() + config.command_time_limit,
        name: name.clone(),
        line: words.join(" "),
        buffer: Vec::with_capacity(2 * PIECE),
        cr: false,
        ended: false,
    };
    program.push(from_line(trace.reverse_path.as_ref(), now).as_bytes())?;
    program.write(trace.lines().as_bytes())?;
    Ok(Box::new(program))
}

impl Program {
    /// Feeds it, and hears what it says meanwhile.
    fn push(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= PIECE { self.feed() } else { Ok(()) }
    }

    fn feed(&mut self) -> Result<(), Status> {
        let mut at = 0;
        while at < self.buffer.len() {
            // One that needs no more may have closed its input.
            let Some(stdin) = &self.stdin else { break };
            let output = self.output.as_ref();
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.too_slow());
            }
            let interest = if output.is_some() { Interest::Read } else { Interest::None };
            let second = output.map_or(stdin.as_fd(), AsFd::as_fd);
            let ready = fd::poll([(stdin.as_fd(), Interest::Write), (second, interest)], Some(left));
            let Ok([input, said]) = ready else { return Err(self.too_slow()) };
            if said.read && output.is_some() {
                self.hear();
            }
            if input.write || input.hangup {
                let piece = self.buffer.get(at..).unwrap_or_default();
                let piece = piece.get(..piece.len().min(PIECE)).unwrap_or_default();
                match self.stdin.as_ref().map(|stdin| fd::write(stdin.as_fd(), piece)) {
                    Some(Ok(written)) => at += written,
                    _ => self.stdin = None,
                }
            }
        }
        self.buffer.clear();
        Ok(())
    }

    /// Reads what it has said.
    fn hear(&mut self) {
        let Some(output) = &mut self.output else { return };
        let mut buffer = [0; 1024];
        match output.read(&mut buffer) {
            Ok(0) | Err(_) => self.output = None,
            Ok(count) => {
                let room = OUTPUT_MAX.saturating_sub(self.said.len());
                self.said.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            }
        }
    }

    /// Waits for its end. What it left behind in the background may keep the output open; that is not waited for.
    fn end(&mut self) -> Result<ExitStatus, Status> {
        self.stdin = None;
        let mut pause = Duration::from_millis(2);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.ended = true;
                    while self.is_talking(Duration::ZERO) {
                        self.hear();
                    }
                    return Ok(status);
                }
                Ok(None) if Instant::now() < self.deadline => {}
                Ok(None) => return Err(self.too_slow()),
                Err(error) => return Err(Status::new(451, Enhanced(4, 3, 0), error.to_string())),
            }
            match self.output {
                Some(_) => {
                    if self.is_talking(pause) {
                        self.hear();
                    }
                }
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn is_talking(&self, wait: Duration) -> bool {
        let Some(output) = &self.output else { return false };
        fd::poll([(output.as_fd(), Interest::Read)], Some(wait)).is_ok_and(|[ready]| ready.read)
    }

    fn too_slow(&self) -> Status {
        Status::new(451, Enhanced(4, 3, 0), format!("Command time limit exceeded: \"{}\"", self.name))
    }

    /// What an end means, with what it said.
    fn verdict(&self, status: ExitStatus) -> Result<(), Status> {
        let said: String = String::from_utf8_lossy(&self.said)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let output = if said.is_empty() { String::new() } else { format!(". Command output: {said}") };
        let Some(code) = status.code() else {
            let text = format!(
                "Command died with signal {}: \"{}\"{output}",
                status.signal().unwrap_or(0),
                self.name
            );
            return Err(Status::new(451, Enhanced(4, 3, 0), text));
        };
        let (reply, enhanced, meaning) = match code {
            0 => return Ok(()),
            // sysexits.h
            64 => (554, Enhanced(5, 3, 0), "command line usage error"),
            65 => (554, Enhanced(5, 6, 0), "data format error"),
            66 => (554, Enhanced(5, 3, 0), "cannot open input"),
            67 => (550, Enhanced(5, 1, 1), "user unknown"),
            68 => (550, Enhanced(5, 1, 2), "host name unknown"),
            69 => (554, Enhanced(5, 3, 0), "service unavailable"),
            70 => (554, Enhanced(5, 3, 0), "internal software error"),
            71 => (451, Enhanced(4, 3, 0), "system resource problem"),
            72 => (554, Enhanced(5, 3, 0), "critical OS file missing"),
            73 => (552, Enhanced(5, 2, 0), "can't create user output file"),
            74 => (451, Enhanced(4, 3, 0), "input/output error"),
            75 => (451, Enhanced(4, 3, 0), "temporary failure"),
            76 => (554, Enhanced(5, 5, 0), "remote error in protocol"),
            77 => (550, Enhanced(5, 7, 0), "permission denied"),
            78 => (554, Enhanced(5, 3, 5), "local configuration error"),
            _ => (554, Enhanced(5, 3, 0), ""),
        };
        // As with Postfix, local(8): `4.2.1 come back tomorrow` says more than a number does.
        let (reply, enhanced) = match enhanced_of(&said) {
            Some((said @ Enhanced(class, _, _), _)) if class != enhanced.0 => {
                (if class == 4 { 451 } else { 554 }, said)
            }
            Some((said, _)) => (reply, said),
            None => (reply, enhanced),
        };
        let text = match meaning {
            "" => format!("Command died with status {code}: \"{}\"{output}", self.name),
            meaning => format!("{meaning}{output}"),
        };
        Err(Status::new(reply, enhanced, text))
    }
}

impl Sink for Program {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        let mut rest = octets;
        while !rest.is_empty() {
            if std::mem::take(&mut self.cr) && rest.first() != Some(&b'\n') {
                self.push(b"\r")?;
            }
            let (piece, behind) = match memchr::memchr(b'\r', rest) {
                Some(at) => {
                    self.cr = true;
                    (rest.get(..at), rest.get(at + 1..))
                }
                None => (Some(rest), None),
            };
            self.push(piece.unwrap_or_default())?;
            rest = behind.unwrap_or_default();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        if std::mem::take(&mut self.cr) {
            self.push(b"\r")?;
        }
        self.feed()?;
        let status = self.end()?;
        self.verdict(status)?;
        Ok(std::mem::take(&mut self.line))
    }
}

/// One that has not got all must not take it for all: it ends before its input does.
impl Drop for Program {
    fn drop(&mut self) {
        if !self.ended {
            if let Ok(group) = i32::try_from(self.child.id()) {
                process::terminate_group(group);
            }
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
