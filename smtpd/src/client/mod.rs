//! The SMTP client: takes messages out of the queue to other hosts (RFC 5321).
//!
//! It runs as mail_owner, one process for each destination, and sends many messages over one connection. What the server
//! says is hostile input: see [`reply`] and [`extensions`].
//!
//! What may be lost, and what may come twice (RFC 5321 section 4.5.3.2.6): until the server has answered the final dot the
//! message is ours, and every doubt ends in another attempt. A connection that breaks between the final dot and the answer
//! leaves both sides alone with what they know: the message may then arrive twice, never not at all.

pub mod auth;
mod connect;
mod data;
pub mod extensions;
pub mod reply;
mod stream;
#[cfg(test)]
mod testing;
mod transaction;

pub use auth::Login;
pub use connect::{Client, Failed, loops};
pub use transaction::Outcome;

use crate::envelope::Body;
use crate::recode::To;
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::sys::fd::Pages;
use extensions::Extensions;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use stream::{Stream, Trouble};

/// A server we speak to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name as we found it, or its address.
    pub name: String,
    /// Its address and port, where there is one.
    pub address: Option<SocketAddr>,
}

/// `mx.example.org[192.0.2.1]:25`, as Postfix writes it.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}[{}]:{}", self.name, address.ip(), address.port()),
            None => f.write_str(&self.name),
        }
    }
}

/// How long each answer may take: settings `smtp_*_timeout`.
#[derive(Debug, Clone)]
struct Times {
    connect: Duration,
    helo: Duration,
    mail: Duration,
    rcpt: Duration,
    data_init: Duration,
    data_xfer: Duration,
    data_done: Duration,
    rset: Duration,
}

impl Times {
    fn of(config: &Config) -> Times {
        Times {
            connect: config.smtp_connect_timeout,
            helo: config.smtp_helo_timeout,
            mail: config.smtp_mail_timeout,
            rcpt: config.smtp_rcpt_timeout,
            data_init: config.smtp_data_init_timeout,
            data_xfer: config.smtp_data_xfer_timeout,
            data_done: config.smtp_data_done_timeout,
            rset: config.smtp_rset_timeout,
        }
    }
}

/// Octets of a message in a second, at least.
const SLOWEST: u64 = 4096;

impl Times {
    /// For a whole transaction with so many octets: each answer may take its time once, and the message as long as it needs on a
    /// slow line. Many recipients have no more: a server that takes its time with each of them would have us for hours.
    fn transaction(&self, size: u64) -> Duration {
        let once = [self.rset, self.mail, self.rcpt, self.data_init, self.data_xfer, self.data_done];
        let line = Duration::from_secs(size / SLOWEST);
        once.into_iter().fold(line, Duration::saturating_add)
    }
}

/// A connection to a server that has answered EHLO and takes mail.
pub struct Connection {
    /// `None` once it is closed.
    stream: Option<Stream>,
    remote: Remote,
    extensions: Extensions,
    times: Times,
    /// Where the message is read into.
    scratch: Option<Pages>,
    /// Whether a transaction was begun that has not been ended.
    needs_reset: bool,
    /// Transactions so far.
    mails: usize,
}

impl Connection {
    /// Who is at the other end.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Protocol version and cipher, if there is TLS.
    pub fn tls_description(&self) -> Option<String> {
        self.stream.as_ref().and_then(Stream::tls_description)
    }

    /// Whether it takes another message. Not if the server has said something that nobody asked for: goodbye, mostly.
    pub fn is_open(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.is_stirred())
            && self.extensions.mails_max.is_none_or(|max| self.mails < max)
    }

    /// Recipients that the server takes in one transaction, if it said so (RFC 9422).
    pub fn recipients_max(&self) -> Option<usize> {
        self.extensions.recipients_max
    }

    /// What a message of this kind has to be made for before it can go to this server; `None`: it can go as it is, or for all that
    /// the server says.
    pub fn recoding(&self, body: Body) -> Option<To> {
        let Extensions { eight_bit_mime, chunking, binary_mime, .. } = self.extensions;
        match body {
            Body::SevenBit => None,
            _ if !eight_bit_mime => Some(To::SevenBits),
            Body::BinaryMime if !(chunking && binary_mime) => Some(To::Lines),
            Body::EightBitMime | Body::BinaryMime => None,
        }
    }

    /// Says goodbye. The answer is not waited for: it decides nothing.
    pub fn quit(mut self) {
        if let Some(mut stream) = self.stream.take() {
            let _ = stream.push(b"QUIT\r\n", self.times.rset);
            let _ = stream.flush(self.times.rset);
            stream.close();
        }
    }

    /// What a broken conversation means for what was being sent. It is over with this connection.
    fn broken(&mut self, trouble: &Trouble, during: &str) -> Status {
        self.stream = None;
        broken(&self.remote, trouble, during)
    }
}

/// RFC 3463: 4.4.2 bad connection, 4.5.0 protocol, 4.7.5 cryptographic failure.
fn broken(remote: &Remote, trouble: &Trouble, during: &str) -> Status {
    let (code, enhanced) = match trouble {
        Trouble::Lost | Trouble::TimedOut => (421, Enhanced(4, 4, 2)),
        Trouble::Malformed(_) => (451, Enhanced(4, 5, 0)),
        Trouble::Tls(_) => (454, Enhanced(4, 7, 5)),
        Trouble::System(_) => (451, Enhanced(4, 3, 0)),
    };
    Status::new(code, enhanced, format!("{trouble} with {remote} while {during}"))
}
