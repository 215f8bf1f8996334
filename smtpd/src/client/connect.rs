//! From a next hop to a connection that takes mail: hosts and addresses in turn, greeting, EHLO.

use super::extensions::Extensions;
use super::reply::Reply;
use super::stream::{Stream, Trouble};
use super::transaction::PIECE_OCTETS;
use super::{Connection, Remote, Times, broken};
use crate::route::{Host, NextHop, Route};
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::sys::fd::{self, Pages};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

/// What all connections of a process share.
pub struct Client {
    /// The name that servers are greeted with.
    name: String,
    times: Times,
}

impl Client {
    /// With the settings of the configuration.
    pub fn new(config: &Config) -> Client {
        let names = [&*config.smtp_helo_name, &*config.myhostname];
        let name = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
        Client { name: name.unwrap_or_else(common::sys::fs::hostname), times: Times::of(config) }
    }

    /// The hosts of a next hop.
    pub fn route(&mut self, hop: &NextHop) -> Route {
        match hop.address() {
            Some(address) => Route::Hosts(vec![Host {
                name: address.to_string(),
                addresses: Some(vec![address]),
                port: hop.port(),
            }]),
            None => Route::Fail(Status::new(
                451,
                Enhanced(4, 4, 3),
                format!("no name service to find {}", hop.name()),
            )),
        }
    }

    /// A connection to the first host of the next hop that takes mail. The status of a failure is the last host's.
    pub fn connect(&mut self, hop: &NextHop) -> Result<Connection, Status> {
        let hosts = match self.route(hop) {
            Route::Hosts(hosts) => hosts,
            Route::Fail(status) => return Err(status),
        };
        let mut last = Status::new(451, Enhanced(4, 4, 1), format!("no host to connect to for {hop}"));
        for host in &hosts {
            for &address in host.addresses.iter().flatten() {
                match self.attempt(host, address) {
                    Ok(connection) => return Ok(connection),
                    Err(status) => last = status,
                }
            }
        }
        Err(last)
    }

    fn attempt(&self, host: &Host, address: IpAddr) -> Result<Connection, Status> {
        let address = SocketAddr::new(address, host.port);
        let remote = Remote { name: host.name.clone(), address: Some(address) };
        let stream = TcpStream::connect_timeout(&address, self.times.connect)
            .and_then(|socket| {
                fd::set_nodelay(socket.as_fd());
                Stream::new(OwnedFd::from(socket))
            })
            .map_err(|error| unreachable(&remote, &error))?;
        self.open(stream, remote)
    }

    /// Greeting and EHLO on a connected stream.
    pub(super) fn open(&self, mut stream: Stream, remote: Remote) -> Result<Connection, Status> {
        let trouble = |trouble: Trouble, during: &str| broken(&remote, &trouble, during);
        let greeting = stream
            .reply(self.times.helo)
            .map_err(|error| trouble(error, "receiving the initial greeting"))?;
        if !greeting.is_positive() {
            return Err(refused(&greeting, &remote, "the connection"));
        }
        let extensions = self.hello(&mut stream, &remote)?;
        let scratch = Pages::new(PIECE_OCTETS).map_err(|error| unreachable(&remote, &error))?;
        Ok(Connection {
            stream: Some(stream),
            remote,
            extensions,
            times: self.times.clone(),
            scratch: Some(scratch),
            needs_reset: false,
            mails: 0,
        })
    }

    /// EHLO, or HELO for a server that does not know it (RFC 5321 section 3.2).
    fn hello(&self, stream: &mut Stream, remote: &Remote) -> Result<Extensions, Status> {
        let reply = self.command(stream, remote, "EHLO")?;
        if reply.is_positive() {
            return Ok(Extensions::parse(&reply.text));
        }
        if !reply.is_permanent() {
            return Err(refused(&reply, remote, "EHLO"));
        }
        let reply = self.command(stream, remote, "HELO")?;
        if reply.is_positive() { Ok(Extensions::default()) } else { Err(refused(&reply, remote, "HELO")) }
    }

    fn command(&self, stream: &mut Stream, remote: &Remote, verb: &str) -> Result<Reply, Status> {
        let line = format!("{verb} {}\r\n", self.name);
        stream
            .push(line.as_bytes(), self.times.helo)
            .and_then(|()| stream.reply(self.times.helo))
            .map_err(|trouble| broken(remote, &trouble, &format!("performing the {verb} handshake")))
    }
}

fn refused(reply: &Reply, remote: &Remote, what: &str) -> Status {
    reply.failure(&remote.to_string(), what)
}

/// RFC 3463: 4.4.1, no answer from host.
fn unreachable(remote: &Remote, error: &io::Error) -> Status {
    Status::new(451, Enhanced(4, 4, 1), format!("connect to {remote}: {error}"))
}
