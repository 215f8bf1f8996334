//! A client that waits while its command takes long.
//!
//! What is searched, sorted or listed may take minutes before there is an answer, and a client that has gone away is seen only by
//! who looks, or sends something: so it is looked at each second, and told now and then that it has not been forgotten
//! (RFC 3501 section 7.1.1: an untagged OK may be sent at any time). That keeps networks between from forgetting the connection, too.

use common::io::{Conn, Ending, OtherEnd};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How often the client is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is told something.
const SAY_EVERY: Duration = Duration::from_secs(15);
/// The same for one that will send nothing more, and may be gone.
const SAY_IN_SILENCE_EVERY: Duration = Duration::from_secs(3);

/// When the client was looked at.
pub struct Clock {
    looked: Cell<Instant>,
    said: Cell<Instant>,
    /// It sends nothing more, and has been asked whether it is there.
    silent: Cell<bool>,
}

impl Default for Clock {
    /// It waits from now on.
    fn default() -> Clock {
        let now = Cell::new(Instant::now());
        Clock { looked: now.clone(), said: now, silent: Cell::new(false) }
    }
}

impl Clock {
    /// Between two steps of the work. `says`: no response is begun, so that it may be told something; else it is sent what there
    /// is. Error: nobody waits any more.
    pub fn look(&self, conn: &mut Conn, says: bool) -> Result<(), Ending> {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked.get()) < LOOK_EVERY {
            return Ok(());
        }
        self.looked.set(now);
        let first_silence = conn.look()? == OtherEnd::Silent && !self.silent.replace(true);
        let every = if self.silent.get() { SAY_IN_SILENCE_EVERY } else { SAY_EVERY };
        if first_silence || now.saturating_duration_since(self.said.get()) >= every {
            self.said.set(now);
            if says {
                conn.push_line("* OK Still at it.")?;
            }
            conn.flush()?;
        }
        Ok(())
    }
}

/// The client, beside the work.
pub struct Waiting<'a> {
    conn: RefCell<&'a mut Conn>,
    clock: Clock,
    /// A file that was being read could not say so.
    ending: RefCell<Option<Ending>>,
}

impl<'a> Waiting<'a> {
    /// It waits from now on.
    pub fn new(conn: &'a mut Conn) -> Waiting<'a> {
        Waiting { conn: RefCell::new(conn), clock: Clock::default(), ending: RefCell::new(None) }
    }

    /// Adds octets of the answer.
    pub fn push(&self, octets: &[u8]) -> Result<(), Ending> {
        self.conn.borrow_mut().push(octets)
    }

    /// Between two steps of the work, however small, and between two responses. Error: nobody waits any more.
    pub fn look(&self) -> Result<(), Ending> {
        if let Some(ending) = self.ending.take() {
            return Err(ending);
        }
        self.clock.look(&mut self.conn.borrow_mut(), true)
    }

    /// The same within what cannot end with it: `false` if nobody waits any more, which the next look says.
    pub fn goes_on(&self) -> bool {
        match self.look() {
            Ok(()) => true,
            Err(ending) => {
                *self.ending.borrow_mut() = Some(ending);
                false
            }
        }
    }

    /// Whether the next look will say that nobody waits any more.
    pub fn is_over(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// A file that is read while the client waits.
    pub fn beside(&'a self, file: File) -> Watched<'a> {
        Watched { file, waiting: self }
    }
}

/// A message's file; of a large one the end may be far.
pub struct Watched<'a> {
    file: File,
    waiting: &'a Waiting<'a>,
}

impl Read for Watched<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if !self.waiting.goes_on() {
            return Err(io::Error::other("nobody waits for it"));
        }
        self.file.read(room)
    }
}
