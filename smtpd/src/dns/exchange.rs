//! Questions out, answers in: UDP, and TCP where an answer was too long for that (RFC 7766). Whatever comes that is not the
//! answer from the server that was asked is not listened to.

use super::Kind;
use super::message::{ANSWER_MAX, Answer, Query, Record};
use super::system::ResolvConf;
use common::sys::process::random;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Datagrams that are read while one answer is waited for. Whoever floods us with forged ones gets no further.
const DATAGRAMS_MAX: usize = 64;
/// Octets of an answer over UDP: without EDNS there are at most 512.
const DATAGRAM_MAX: usize = 1500;

/// What the name service says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has these records of the kind; maybe none.
    Records(Vec<Record>),
    /// There is no such name.
    NoSuchName,
    /// It has mail hosts, and none of them has a name that a host can have.
    NoHosts,
    /// Nobody says anything useful. Why, in words.
    Nothing(String),
}

/// Asks the servers in turn, as often as resolv.conf says, until one gives an answer.
pub fn ask(conf: &ResolvConf, name: &str, kind: Kind) -> Said {
    let mut last = "no answer".to_owned();
    for _ in 0..conf.attempts {
        for &server in &conf.servers {
            // A new number and a new socket, hence a new port, for each: who cannot see the question has to guess both.
            let mut id = [0; 2];
            if let Err(error) = random(&mut id) {
                return Said::Nothing(error.to_string());
            }
            let Some(query) = Query::new(u16::from_ne_bytes(id), name, kind) else { return Said::NoSuchName };
            match ask_one(server, &query, conf) {
                Ok(Answer::Records(records)) => return Said::Records(records),
                Ok(Answer::NoSuchName) => return Said::NoSuchName,
                Ok(Answer::NoHosts) => return Said::NoHosts,
                Ok(Answer::Truncated) => last = format!("{server}: truncated over TCP"),
                Ok(Answer::Failed(what)) => last = format!("{server}: {what}"),
                Err(error) => last = format!("{server}: {}", words(&error)),
            }
        }
    }
    Said::Nothing(last)
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

fn ask_one(server: SocketAddr, query: &Query, conf: &ResolvConf) -> io::Result<Answer> {
    let timeout = conf.timeout;
    let octets = query.octets().ok_or(io::ErrorKind::InvalidInput)?;
    if conf.over_tcp {
        return over_tcp(server, query, &octets, timeout);
    }
    match over_udp(server, query, &octets, timeout)? {
        Answer::Truncated => over_tcp(server, query, &octets, timeout),
        answer => Ok(answer),
    }
}

fn over_udp(server: SocketAddr, query: &Query, octets: &[u8], timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Connected: the kernel drops what comes from anybody else.
    socket.connect(server)?;
    socket.send(octets)?;
    let mut buffer = [0; DATAGRAM_MAX];
    for _ in 0..DATAGRAMS_MAX {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let received = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if let Some(answer) = query.read(buffer.get(..received).unwrap_or_default()) {
            return Ok(answer);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "too many answers that are none"))
}

fn over_tcp(server: SocketAddr, query: &Query, octets: &[u8], timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let mut socket = TcpStream::connect_timeout(&server, timeout)?;
    socket.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), octets].concat())?;
    let mut length = [0; 2];
    read_whole(&mut socket, &mut length, deadline)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > ANSWER_MAX {
        return Ok(Answer::Failed("the answer is too large"));
    }
    let mut answer = vec![0; length];
    read_whole(&mut socket, &mut answer, deadline)?;
    query.read(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer"))
}

/// Fills the buffer before the deadline, however slowly the octets come.
fn read_whole(socket: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => buffer = buffer.get_mut(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
