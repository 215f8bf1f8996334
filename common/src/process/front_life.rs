//! The front's life: from the fork to its end, or to its second life as the pump.

use super::channel::{Answer, Channel, Request, Why};
use super::front::{Asked, Facts, Front};
use super::walls::{self, Walls};
use super::{Program, pump};
use crate::config::Config;
use crate::exit::Exit;
use crate::io::{Conn, Ending, Limits};
use crate::proxy;
use crate::sys::fd;
use crate::sys::fs::release_free_memory;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the last words may take to get out.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Above every descriptor that a guard has open when it forks the front.
const SPARE_DESCRIPTORS: i32 = 20;

/// What the front begins with.
pub(super) struct Begun {
    /// The settings.
    pub config: Rc<Config>,
    /// What the guard found out.
    pub facts: Box<Facts>,
    /// A PROXY header comes first.
    pub proxied: bool,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// How long to wait for the guard.
    pub patience: Duration,
    /// The front's end of the data socket, in programs that have a service.
    pub data: Option<OwnedFd>,
    /// What the service said before the front was there.
    pub welcome: Option<Vec<u8>>,
}

/// The front's whole life.
#[inline(never)]
pub(super) fn live(program: &Program, begun: Begun, socket: OwnedFd, walls: Walls) -> u8 {
    let Begun { config, facts, proxied, implicit_tls, patience, data, welcome } = begun;
    let deadline = Instant::now().checked_add(config.login_timeout);
    let limits = Limits { idle: config.login_timeout, reply: config.reply_timeout, deadline };
    let (conn, channel) = match confine(limits, &socket, data.as_ref(), walls, patience) {
        Ok(prepared) => prepared,
        Err(error) => {
            let what = error.to_string();
            let _ = fd::write(socket.as_fd(), &Request::NotStarted { what }.encode());
            return Exit::Temporary.code();
        }
    };
    // They have become other descriptors, and these are closed.
    std::mem::forget((socket, data));
    let mut front = Front::new(conn, config, facts, channel, welcome);
    let spoken = begin(&mut front, proxied, implicit_tls)
        .and_then(|()| (program.front)(&mut front))
        // What was pipelined before the login is answered before the session speaks.
        .and_then(|state| front.conn.flush().map(|()| state));
    match spoken {
        Ok(state) => hand_over(front, state),
        Err(ending) => {
            end(front, ending);
            Exit::Success.code()
        }
    }
}

/// Leaves the front the client, the guard and nothing else, and puts the walls up.
fn confine(
    limits: Limits,
    guard: &OwnedFd,
    data: Option<&OwnedFd>,
    walls: Walls,
    patience: Duration,
) -> io::Result<(Conn, Channel)> {
    let mut conn = Conn::new(limits, &[])?;
    conn.watch(fd::GUARD);
    // Standard error may be the log, and a front is not to write there.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    fd::replace(2, &null)?;
    drop(null);
    match data {
        None => {
            fd::replace(walls::LAST_DESCRIPTOR, guard)?;
            fd::close_from(walls::LAST_DESCRIPTOR + 1)?;
        }
        Some(data) => {
            // Either may be where the other has to be: first they go where nothing is.
            fd::replace(SPARE_DESCRIPTORS, guard)?;
            fd::replace(SPARE_DESCRIPTORS + 1, data)?;
            let [guard, data] = [fd::adopt(SPARE_DESCRIPTORS)?, fd::adopt(SPARE_DESCRIPTORS + 1)?];
            fd::replace(walls::LAST_DESCRIPTOR, &guard)?;
            fd::replace(walls::DATA_DESCRIPTOR, &data)?;
            drop((guard, data));
            fd::close_from(walls::DATA_DESCRIPTOR + 1)?;
        }
    }
    let mut channel = Channel::new(fd::adopt(walls::LAST_DESCRIPTOR)?, patience);
    if data.is_some() {
        channel = channel.by_turns(patience)?;
    }
    walls.enter()?;
    Ok((conn, channel))
}

/// The client is in: the session gets what was read and not used. In clear that is all; under TLS the front stays between.
#[inline(never)]
fn hand_over(front: Front, state: Vec<u8>) -> u8 {
    let reply = front.config.reply_timeout;
    let (conn, Some(channel)) = front.into_parts() else { return Exit::Temporary.code() };
    let rest = conn.unread().to_vec();
    let (unread, rest) = if conn.tls().is_some() { (Vec::new(), rest) } else { (rest, Vec::new()) };
    if channel.tell(&Request::Handover { unread, state }).is_err() {
        return Exit::Temporary.code();
    }
    let Some(tls) = conn.into_tls() else { return Exit::Success.code() };
    release_free_memory();
    match pump::run(tls, channel.into_socket(), &rest, reply) {
        Ok(()) => Exit::Success.code(),
        Err(_) => Exit::Temporary.code(),
    }
}

/// Nobody is in: the guard is told why, for the log.
#[inline(never)]
fn end(mut front: Front, ending: Ending) {
    let (why, detail) = match ending {
        Ending::Tls(detail) => (Why::Handshake, detail),
        Ending::Idle | Ending::SessionLimit => (Why::Late, String::new()),
        Ending::TooManyBadCommands => (Why::TooManyBadCommands, String::new()),
        Ending::Failed(error) if error.kind() == io::ErrorKind::InvalidInput => {
            (Why::NoProxyHeader, error.to_string())
        }
        _ if front.refused_in_clear => (Why::InClear, String::new()),
        Ending::Quit => (Why::Left, String::new()),
        Ending::Disconnected | Ending::NotReading | Ending::Failed(_) => (Why::Closed, String::new()),
    };
    let tls = front.tls_description();
    let counts = std::mem::take(&mut front.counts);
    front.tell(&Request::Ended { why, detail, tls, counts });
    front.conn.set_limits(Limits { reply: LAST_WORDS, ..front.conn.limits() });
    front.into_parts().0.close();
}

/// What comes before the protocol: a proxy's header, and TLS where it is spoken from the first octet.
fn begin(front: &mut Front, proxied: bool, implicit_tls: bool) -> Result<(), Ending> {
    if proxied {
        take_proxy_header(front)?;
    }
    if implicit_tls {
        match front.ask_for_tls()? {
            Asked::Yes(offer) => front.shake_hands(offer)?,
            Asked::No(_) => return Err(Ending::Tls("the certificate or its key cannot be used".to_owned())),
        }
    }
    Ok(())
}

fn take_proxy_header(front: &mut Front) -> Result<(), Ending> {
    let usual = front.conn.limits();
    let deadline = Instant::now().checked_add(front.config.haproxy_timeout);
    front.conn.set_limits(Limits { idle: front.config.haproxy_timeout, deadline, ..usual });
    let mut seen = 0;
    loop {
        let octets = front.conn.peek(seen)?;
        seen = octets.len();
        match proxy::parse(octets) {
            proxy::Start::Incomplete => {}
            proxy::Start::Invalid(what) => {
                return Err(Ending::Failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
            }
            proxy::Start::Header { length, origin, tls } => {
                front.conn.consume(length);
                front.conn.set_limits(usual);
                let proxy::Origin::Proxied { source, destination } = origin else { return Ok(()) };
                let request = Request::Proxied {
                    source: source.to_string(),
                    destination: destination.to_string(),
                    tls,
                };
                return match front.ask(&request)? {
                    Answer::Way { trusted } => {
                        front.facts.trusted_way = trusted;
                        Ok(())
                    }
                    _ => Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
                };
            }
        }
    }
}
