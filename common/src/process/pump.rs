//! The front after a login under TLS: octets in and out, no protocol.
//!
//! Both directions move independently, because a client may pipeline commands while it is slow to read: then the session
//! waits for us to take its replies before it takes more commands. Nothing is read from one side before what came
//! earlier has gone out on the other, so what waits here is bounded by one buffer in each direction.

use crate::io::{Ending, failed, linger};
use crate::sys::fd::{self, Interest, Pages};
use crate::tls::Stream;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Octets from the session that are encrypted at a time.
const FROM_SESSION_OCTETS: usize = 64 * 1024;
/// Octets from the client that are decrypted at a time: what one TLS record can hold.
const FROM_CLIENT_OCTETS: usize = 16 * 1024;
/// After this long without traffic the buffers' memory goes back.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Moves octets until the session has ended and its last reply is out. `unread` was decrypted before the login was answered;
/// `reply` is how long the client may take
/// nothing of what is sent to it.
#[inline(never)]
pub fn run(mut tls: Box<Stream>, session: OwnedFd, unread: &[u8], reply: Duration) -> Result<(), Ending> {
    let mut from_session = Pages::new(FROM_SESSION_OCTETS).map_err(Ending::Failed)?;
    let mut from_client = Pages::new(FROM_CLIENT_OCTETS).map_err(Ending::Failed)?;
    let Some(room) = from_client.get_mut(..unread.len()) else { return Err(Ending::Disconnected) };
    room.copy_from_slice(unread);
    let mut waiting = 0..unread.len();
    let (mut client_done, mut session_done) = (false, false);
    // Since when the client has taken nothing of what waits for it.
    let mut stuck: Option<Instant> = None;
    let mut quiet = false;
    // What poll(2) has said there is to read: asking where nothing is costs a system call each time.
    let (mut client_ready, mut session_ready) = (true, true);
    loop {
        let mut progress = false;
        if waiting.is_empty() && !client_done {
            let mut read = tls.read_received(&mut from_client);
            if client_ready && read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                client_ready = false;
                read = tls.receive().and_then(|()| tls.read_received(&mut from_client));
            }
            match read {
                Ok(0) => {
                    client_done = true;
                    // The session sees the end when it has read everything before it.
                    let _ = fd::shutdown_write(session.as_fd());
                }
                Ok(n) => {
                    waiting = 0..n;
                    progress = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => progress = true,
                Err(error) => return Err(tls.ending(error)),
            }
        }
        if !waiting.is_empty() {
            match fd::send(session.as_fd(), from_client.get(waiting.clone()).unwrap_or_default()) {
                Ok(n) => {
                    waiting.start += n;
                    progress = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The session has ended; what it wrote before may still be on its way to the client.
                Err(_) => {
                    waiting = 0..0;
                    client_done = true;
                }
            }
        }
        if session_ready && !tls.wants_write() && !session_done {
            session_ready = false;
            match fd::receive(session.as_fd(), &mut from_session) {
                Ok(0) => session_done = true,
                Ok(n) => {
                    // A full buffer means that there is more.
                    session_ready = n == from_session.len();
                    tls.queue(from_session.get(..n).unwrap_or_default()).map_err(failed)?;
                    progress = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => session_ready = true,
                Err(_) => session_done = true,
            }
            if session_done {
                tls.say_goodbye();
            }
        }
        if tls.wants_write() {
            match tls.send() {
                Ok(()) => (progress, stuck) = (true, None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stuck.get_or_insert_with(Instant::now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => progress = true,
                Err(error) => return Err(failed(error)),
            }
        } else if session_done {
            linger();
            return Ok(());
        }
        if progress {
            quiet = false;
            continue;
        }

        let client = match (waiting.is_empty() && !client_done, tls.wants_write()) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::None,
        };
        let with_session = match (!tls.wants_write() && !session_done, !waiting.is_empty()) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::None,
        };
        // Idle time is the session's to measure. That the client takes what is sent is ours: the session cannot see it.
        let patience = match stuck {
            Some(since) => {
                let left = reply.saturating_sub(since.elapsed());
                if left.is_zero() {
                    return Err(Ending::NotReading);
                }
                Some(left)
            }
            None if quiet => None,
            None => Some(QUIET_AFTER),
        };
        let begun = Instant::now();
        let [a, b] = fd::poll([(fd::STDIN, client), (session.as_fd(), with_session)], patience)
            .map_err(Ending::Failed)?;
        client_ready |= a.read;
        session_ready |= b.read;
        let nothing = !(a.read || a.write || b.read || b.write);
        if nothing && !quiet && begun.elapsed() >= QUIET_AFTER {
            from_session.discard();
            if waiting.is_empty() {
                from_client.discard();
            }
            crate::sys::fs::release_free_memory();
            quiet = true;
        }
    }
}
