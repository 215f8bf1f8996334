//! Lines in: read, bounded, and waited for.

use super::output::flush_tls;
use super::{Conn, DISCARD_MAX, Ending, Line, Transport, Woken, failed, is_retryable};
use crate::sys::fd::{self, Interest, OtherEnd};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// After this long without a word from the client the memory that only a busy session needs goes back.
const QUIET_AFTER: Duration = Duration::from_secs(1);

impl Conn {
    /// The next line of at most `limit` octets, its end included.
    ///
    /// A line ends with LF; a CR before it belongs to the end. Writes the gathered replies before it waits.
    pub fn read_line(&mut self, limit: usize) -> Result<Line, Ending> {
        loop {
            let pending = self.unread();
            match memchr::memchr(b'\n', pending) {
                Some(at) => {
                    let line = pending.get(..at).unwrap_or_default();
                    let bare = !line.ends_with(b"\r");
                    let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                    self.bare = bare;
                    self.consume(at + 1);
                    let too_long = self.discarded > 0 || at + 1 > limit;
                    (self.discarded, self.line_since) = (0, None);
                    return Ok(if too_long { Line::TooLong } else { Line::Complete(Zeroizing::new(line)) });
                }
                None if pending.len() >= limit => {
                    let scrap = pending.len();
                    self.discarded += scrap;
                    self.consume(scrap);
                    if self.discarded > DISCARD_MAX {
                        return Err(Ending::TooManyBadCommands);
                    }
                }
                None => self.fill()?,
            }
        }
    }

    /// At least one octet of input, or what there is already, without taking it: for what comes before lines.
    pub fn peek(&mut self, more_than: usize) -> Result<&[u8], Ending> {
        while self.unread().len() <= more_than {
            self.fill()?;
        }
        Ok(self.unread())
    }

    /// Uses up octets of the input, and overwrites them: they may be a password.
    pub fn consume(&mut self, octets: usize) {
        let until = self.end.min(self.start + octets);
        if let Some(used) = self.input.get_mut(self.start..until) {
            used.fill(0);
        }
        self.start = until;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Waits for input and takes it in; the gathered replies are written before.
    pub(super) fn fill(&mut self) -> Result<(), Ending> {
        self.flush()?;
        if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // Under TLS a record may have been decrypted beyond what the last read had room for.
        if self.tls().is_some() && self.receive()? {
            return Ok(());
        }
        loop {
            self.wait_for_input()?;
            if self.receive()? {
                return Ok(());
            }
        }
    }

    /// Takes in what is there. `false`: nothing yet.
    fn receive(&mut self) -> Result<bool, Ending> {
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        let received = match &mut self.transport {
            Transport::Clear { .. } => fd::read(fd::STDIN, room),
            Transport::Tls(stream) => stream.read(room),
        };
        match received {
            Ok(0) => Err(Ending::Disconnected),
            Ok(n) => {
                self.end += n;
                self.received += n as u64;
                Ok(true)
            }
            Err(error) => self.nothing_received(error),
        }
    }

    /// Whether that is for now or for good. What TLS has to say of its own accord (a key update, an alert) goes out first.
    fn nothing_received(&mut self, error: io::Error) -> Result<bool, Ending> {
        let is_over = !is_retryable(&error);
        match &mut self.transport {
            Transport::Clear { .. } if is_over => Err(failed(error)),
            Transport::Clear { .. } => Ok(false),
            Transport::Tls(stream) => match flush_tls(stream, &self.limits, &mut self.pulse) {
                _ if is_over => Err(stream.ending(error)),
                flushed => flushed.map(|()| false),
            },
        }
    }

    /// Waits until the client has sent something, for as long as it may take.
    pub(super) fn wait_for_input(&mut self) -> Result<(), Ending> {
        self.wait_for(None, None).map(drop)
    }

    /// Writes the gathered replies and waits until the client has sent something, `other` is readable or `at_most` is over:
    /// for a session in clear or behind its front, which has no TLS of its own. How long the client may be silent counts on
    /// from its last line.
    pub fn wait(&mut self, other: Option<BorrowedFd<'_>>, at_most: Duration) -> Result<Woken, Ending> {
        if !self.unread().is_empty() {
            return Ok(Woken::Input);
        }
        self.flush()?;
        self.wait_for(other, Some(at_most))
    }

    /// Looks at the client, and at the clocks, in the middle of work that takes long: neither is looked at before something is to be
    /// sent.
    pub fn look(&mut self) -> Result<OtherEnd, Ending> {
        self.pulse.check()?;
        if self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Ending::SessionLimit);
        }
        match fd::other_end(fd::STDOUT).map_err(Ending::Failed)? {
            OtherEnd::Gone => Err(Ending::Disconnected),
            other => Ok(other),
        }
    }

    fn wait_for(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        at_most: Option<Duration>,
    ) -> Result<Woken, Ending> {
        let begun = Instant::now();
        let since = *self.line_since.get_or_insert(begun);
        let mut quiet = false;
        loop {
            let now = Instant::now();
            let idle = self.limits.idle.saturating_sub(now - since);
            if idle.is_zero() {
                return Err(Ending::Idle);
            }
            let mut wait = self.pulse.check()?.map_or(idle, |until_beat| idle.min(until_beat));
            if let Some(deadline) = self.limits.deadline {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    return Err(Ending::SessionLimit);
                }
                wait = wait.min(left);
            }
            if let Some(at_most) = at_most {
                let left = at_most.saturating_sub(now - begun);
                if left.is_zero() && now > begun {
                    return Ok(Woken::Time);
                }
                wait = wait.min(left);
            }
            if !quiet {
                wait = wait.min(QUIET_AFTER);
            }
            let watched = self.watched.map_or((fd::STDIN, Interest::None), |fd| (fd, Interest::HangUp));
            let other = other.map_or((fd::STDIN, Interest::None), |fd| (fd, Interest::Read));
            let [ready, lost, stirred] = fd::poll([(fd::STDIN, Interest::Read), watched, other], Some(wait))
                .map_err(Ending::Failed)?;
            if ready.read {
                return Ok(Woken::Input);
            }
            if lost.hangup {
                return Err(Ending::Failed(io::ErrorKind::BrokenPipe.into()));
            }
            if stirred.read {
                return Ok(Woken::Other);
            }
            if !quiet && begun.elapsed() >= QUIET_AFTER {
                self.go_quiet();
                quiet = true;
            }
        }
    }

    /// Gives back what only a busy session needs. Input that is waiting stays.
    fn go_quiet(&mut self) {
        self.output.discard();
        if let Some(scratch) = &mut self.scratch {
            scratch.discard();
        }
        if self.start == self.end {
            self.input.discard();
            (self.start, self.end) = (0, 0);
        }
        if self.trims_heap {
            crate::sys::fs::release_free_memory();
        }
    }
}
