//! From a next hop to a connection that takes mail: hosts and addresses in turn, greeting, TLS, EHLO, AUTH.

use super::auth::{self, Login};
use super::extensions::Extensions;
use super::reply::Reply;
use super::stream::{Stream, Trouble};
use super::transaction::PIECE_OCTETS;
use super::{Connection, Remote, Times, broken};
use crate::dns::{NotFound, Resolver};
use crate::route::{self, Host, NextHop, Route};
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::config::keyword::TlsLevel;
use common::sys::fd::{self, Pages};
use common::sys::interface::interfaces;
use common::sys::socket;
use common::tls::client::{Authorities, Trust};
use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Port of SMTP, on which a host that answers from our own address is ourselves.
const SMTP: u16 = 25;
/// Port of submission under TLS from the first octet (RFC 8314).
const SUBMISSIONS: u16 = 465;

/// What all connections of a process share.
pub struct Client {
    config: Config,
    /// The name that servers are greeted with.
    name: String,
    times: Times,
    pub(super) resolver: Resolver,
    /// Read when they are needed for the first time.
    authorities: Option<Authorities>,
    /// The addresses of this host, when they have been needed.
    own: OnceCell<Vec<IpAddr>>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// For people: who said what to what.
    pub status: Status,
    /// The server that refused it and its own words; `None`: no server did.
    pub said: Option<Box<(Remote, String)>>,
    /// The last address had no more time than it took: with more it might have taken the mail. Those behind it were not asked.
    pub hurried: bool,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Failed {
        Failed { status, said: None, hurried: false }
    }
}

/// Why one address was of no use.
pub(super) enum Useless {
    /// Nobody answers there.
    Unreachable(Status),
    /// Somebody answered, and did not want us.
    Refused(Failed),
    /// TLS could not be agreed on; in clear it may go.
    NoTls(Status),
    /// It is this host.
    Ourselves,
}

/// What is asked of a connection.
pub(super) struct Wanted<'a> {
    pub(super) level: TlsLevel,
    /// TLS from the first octet.
    pub(super) wrapped: bool,
    pub(super) trust: Trust,
    pub(super) login: Option<&'a Login>,
    /// The connection has this time at most, and what is said before the first MAIL as much again.
    pub(super) patience: Duration,
}

impl Client {
    /// With the settings of the configuration and the system's name servers.
    pub fn new(config: &Config) -> Client {
        let name = match &*config.smtp_helo_name {
            "" => crate::values::myhostname(config),
            // "$myhostname", which is Postfix's default.
            name => crate::values::expand(config, name).unwrap_or_else(|_| crate::values::myhostname(config)),
        };
        Client {
            name,
            times: Times::of(config),
            resolver: Resolver::system(config.inet_protocols),
            authorities: None,
            own: OnceCell::new(),
            config: config.clone(),
        }
    }

    /// A connection to the first host of the next hop that takes mail. Where none does, the status is the last one's, and a
    /// temporary one if any was.
    pub fn connect(&mut self, hop: &NextHop) -> Result<Connection, Status> {
        self.connect_as(hop, None, &[], Duration::MAX).map_err(|failed| failed.status)
    }

    /// The same, logged in, and with none of these addresses, whose servers have not taken the mail. Each address has this time to
    /// take the connection, and as much again for all that is said before the first MAIL; the settings may give it less. Where one
    /// has not been enough, none behind it is asked: it is not their turn.
    pub fn connect_as(
        &mut self,
        hop: &NextHop,
        login: Option<&Login>,
        except: &[SocketAddr],
        patience: Duration,
    ) -> Result<Connection, Failed> {
        let no_host = || Failed::from(Status::new(451, Enhanced(4, 4, 1), format!("no host for {hop}")));
        let mut tried = Counts {
            addresses: self.config.smtp_mx_address_limit,
            sessions: self.config.smtp_mx_session_limit,
        };
        let mut goes_on = || Counts::goes_on(&mut tried.addresses) && Counts::goes_on(&mut tried.sessions);
        if !except.iter().all(|_| goes_on()) {
            return Err(no_host());
        }
        let hosts = match route::hosts(
            &self.resolver,
            hop,
            &[&self.name, &crate::values::myhostname(&self.config)],
        ) {
            Route::Hosts(hosts) => hosts,
            Route::Fail(status) => return Err(self.of_relayhost(hop, status.into())),
        };
        let level = route::tls_level(&self.config, hop)
            .map_err(|error| Status::new(451, Enhanced(4, 3, 5), error.to_string()))?;
        let mut last: Option<Failed> = None;
        let mut note = |failed: Failed| {
            let is_temporary = failed.status.is_temporary();
            if last.as_ref().is_none_or(|last| is_temporary || !last.status.is_temporary()) {
                last = Some(failed);
            }
        };
        'hosts: for host in hosts {
            let addresses = match host.addresses.clone() {
                Some(addresses) => addresses,
                None => match self.resolver.addresses(&host.name) {
                    Ok(addresses) => addresses,
                    Err(not_found) => {
                        note(no_address(&host.name, &not_found).into());
                        // A name server that says nothing takes as long as a host that does not answer.
                        if matches!(not_found, NotFound::Unknown(_)) && !Counts::goes_on(&mut tried.addresses)
                        {
                            break 'hosts;
                        }
                        continue;
                    }
                },
            };
            for address in addresses {
                if except.contains(&SocketAddr::new(address, host.port)) {
                    continue;
                }
                let wanted = Wanted {
                    level,
                    wrapped: self.config.smtp_tls_wrappermode || host.port == SUBMISSIONS,
                    trust: self.trust(level, hop, &host.name)?,
                    login,
                    patience,
                };
                let begun = Instant::now();
                let attempt = self.attempt_with_and_without_tls(&host, address, hop, wanted);
                let hurried = begun.elapsed() >= patience;
                let (failed, has_answered) = match attempt {
                    Ok(connection) => return Ok(connection),
                    Err(Useless::Ourselves) => {
                        // What is better has failed for now; what is worse would only come here.
                        note(loops(hop.name()).into());
                        break 'hosts;
                    }
                    Err(Useless::Unreachable(status)) => (status.into(), false),
                    Err(Useless::NoTls(status)) => (status.into(), true),
                    Err(Useless::Refused(failed)) => (failed, true),
                };
                if hurried {
                    return Err(Failed { hurried, ..self.of_relayhost(hop, failed) });
                }
                note(failed);
                if has_answered && !Counts::goes_on(&mut tried.sessions) {
                    break 'hosts;
                }
                if !Counts::goes_on(&mut tried.addresses) {
                    break 'hosts;
                }
            }
        }
        let last = last.unwrap_or_else(no_host);
        Err(self.of_relayhost(hop, last))
    }

    /// A relayhost that there is not, or that does not speak with us, whichever setting names it, is a mistake of the
    /// administrator's, or of his name server's: no reason to return mail.
    fn of_relayhost(&self, hop: &NextHop, mut failed: Failed) -> Failed {
        let status = &mut failed.status;
        if hop.is_of_settings() && status.is_permanent() {
            (status.code, status.enhanced.0) = (451, 4);
        }
        failed
    }

    fn attempt_with_and_without_tls(
        &self,
        host: &Host,
        address: IpAddr,
        hop: &NextHop,
        wanted: Wanted<'_>,
    ) -> Result<Connection, Useless> {
        let begun = Instant::now();
        match self.attempt(host, address, hop, &wanted) {
            // As Postfix: what a broken TLS keeps from being encrypted goes in clear where nothing better is asked for. Not what
            // only had too little time.
            Err(Useless::NoTls(_))
                if wanted.level == TlsLevel::May && !wanted.wrapped && begun.elapsed() < wanted.patience =>
            {
                self.attempt(host, address, hop, &Wanted { level: TlsLevel::None, ..wanted })
            }
            result => result,
        }
    }

    /// Whether the address is one of this host's: a stranger's name server may say so, and would have us relay our own mail
    /// to ourselves, as a client of mynetworks.
    fn is_own(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_this_network = matches!(address, IpAddr::V4(v4) if v4.octets().first() == Some(&0));
        address.is_loopback()
            || address.is_unspecified()
            || is_this_network
            || self.own.get_or_init(own_addresses).contains(&address)
    }

    fn attempt(
        &self,
        host: &Host,
        address: IpAddr,
        hop: &NextHop,
        wanted: &Wanted<'_>,
    ) -> Result<Connection, Useless> {
        // RFC 5321 section 5.1: a mail host that turns out to be this one. Not so where the administrator named it.
        let is_relayhost =
            || crate::values::relayhost(&self.config).is_ok_and(|named| named.as_ref() == Some(hop));
        let is_named = hop.is_host_of_settings() || is_relayhost();
        let may_be_own = !is_named && host.port == SMTP;
        if may_be_own && self.is_own(address) {
            return Err(Useless::Ourselves);
        }
        let address = SocketAddr::new(address, host.port);
        let remote = Remote { name: host.name.clone(), address: Some(address) };
        let local = match address {
            SocketAddr::V4(_) => self.config.smtp_bind_address.0.filter(IpAddr::is_ipv4),
            SocketAddr::V6(_) => self.config.smtp_bind_address6.0.filter(IpAddr::is_ipv6),
        };
        let stream = socket::connect(address, local, self.times.connect.min(wanted.patience))
            .and_then(|socket| {
                fd::set_nodelay(socket.as_fd());
                let is_own = matches!(socket::local_end(&socket), socket::Endpoint::Inet(own) if own.ip() == address.ip());
                Ok((Stream::new(socket)?, may_be_own && is_own))
            })
            .map_err(|error| Useless::Unreachable(unreachable(&remote, &error)))?;
        match stream {
            (_, true) => Err(Useless::Ourselves),
            (stream, false) => self.open(stream, remote, wanted),
        }
    }

    /// Everything between the connection and the first MAIL.
    pub(super) fn open(
        &self,
        mut stream: Stream,
        remote: Remote,
        wanted: &Wanted<'_>,
    ) -> Result<Connection, Useless> {
        stream.end_within(Some(wanted.patience));
        if wanted.wrapped {
            self.handshake(&mut stream, &remote, wanted)?;
        }
        let extensions = self.introduce(&mut stream, &remote, wanted).map_err(|useless| match useless {
            // 421, or nothing: it has closed already.
            Useless::Refused(failed) if failed.status.code != 421 => {
                let _ =
                    stream.push(b"QUIT\r\n", self.times.rset).and_then(|()| stream.flush(self.times.rset));
                Useless::Refused(failed)
            }
            other => other,
        })?;
        stream.end_within(None);
        let scratch =
            Pages::new(PIECE_OCTETS).map_err(|error| Useless::Unreachable(unreachable(&remote, &error)))?;
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

    fn introduce(
        &self,
        stream: &mut Stream,
        remote: &Remote,
        wanted: &Wanted<'_>,
    ) -> Result<Extensions, Useless> {
        let greeting = stream
            .reply(self.times.helo)
            .map_err(|trouble| unwanted(broken(remote, &trouble, "receiving the initial greeting")))?;
        if !greeting.is_positive() {
            let mut status = greeting.failure(&remote.to_string(), "the connection");
            // RFC 5321 section 3.1 has such a host take no mail at all. Most often it is out of order, or knows us from a list.
            if self.config.smtp_skip_5xx_greeting && status.is_permanent() {
                (status.code, status.enhanced.0) = (451, 4);
            }
            return Err(refused_with(status, &greeting, remote));
        }
        let mut extensions = self.hello(stream, remote, unwanted)?;
        if !wanted.wrapped && wanted.level != TlsLevel::None {
            // What was said in clear is forgotten (RFC 3207 section 4.2).
            if self.start_tls(stream, remote, &extensions, wanted)? {
                // With TLS 1.3 a server that does not want this handshake says so behind its end.
                extensions = self.hello(stream, remote, Useless::NoTls)?;
            }
        }
        if let Some(login) = wanted.login {
            let options = match stream.is_encrypted() {
                true => self.config.smtp_sasl_tls_security_options,
                false => self.config.smtp_sasl_security_options,
            };
            auth::log_in(stream, &extensions, login, options, self.times.helo)
                .map_err(|failure| unwanted(failure.status(remote)))?;
        }
        Ok(extensions)
    }

    /// EHLO, or HELO for a server that does not know it (RFC 5321 section 3.2). `lost`: what it means if it breaks off.
    fn hello(
        &self,
        stream: &mut Stream,
        remote: &Remote,
        lost: fn(Status) -> Useless,
    ) -> Result<Extensions, Useless> {
        let reply = self.command(stream, remote, "EHLO", self.times.helo).map_err(lost)?;
        if reply.is_positive() {
            return Ok(Extensions::parse(&reply.text));
        }
        if !reply.is_permanent() {
            return Err(refused(&reply, remote, "EHLO"));
        }
        let reply = self.command(stream, remote, "HELO", self.times.helo).map_err(lost)?;
        if reply.is_positive() { Ok(Extensions::default()) } else { Err(refused(&reply, remote, "HELO")) }
    }

    fn command(
        &self,
        stream: &mut Stream,
        remote: &Remote,
        verb: &str,
        time: Duration,
    ) -> Result<Reply, Status> {
        let line = match verb {
            "STARTTLS" => "STARTTLS\r\n".to_owned(),
            _ => format!("{verb} {}\r\n", self.name),
        };
        stream
            .push(line.as_bytes(), time)
            .and_then(|()| stream.reply(time))
            .map_err(|trouble| broken(remote, &trouble, &format!("performing the {verb} handshake")))
    }

    /// `false`: it goes on in clear, and may.
    fn start_tls(
        &self,
        stream: &mut Stream,
        remote: &Remote,
        extensions: &Extensions,
        wanted: &Wanted<'_>,
    ) -> Result<bool, Useless> {
        let must = wanted.level != TlsLevel::May;
        if !extensions.starttls {
            let text = format!("TLS is required, but was not offered by host {remote}");
            return if must { Err(unwanted(Status::new(451, Enhanced(4, 7, 4), text))) } else { Ok(false) };
        }
        let reply = self
            .command(stream, remote, "STARTTLS", self.config.smtp_starttls_timeout)
            .map_err(Useless::NoTls)?;
        if !reply.is_positive() {
            let mut status = reply.failure(&remote.to_string(), "STARTTLS");
            // Not a verdict about the mail.
            (status.code, status.enhanced) = (454, Enhanced(4, 7, 4));
            return if must { Err(refused_with(status, &reply, remote)) } else { Ok(false) };
        }
        self.handshake(stream, remote, wanted).map(|()| true)
    }

    fn handshake(&self, stream: &mut Stream, remote: &Remote, wanted: &Wanted<'_>) -> Result<(), Useless> {
        stream
            .start_tls(&remote.name, &wanted.trust, self.config.smtp_starttls_timeout)
            .map_err(|trouble| Useless::NoTls(tls_failed(remote, &trouble)))
    }

    /// Whom the certificate has to convince.
    fn trust(&mut self, level: TlsLevel, hop: &NextHop, host: &str) -> Result<Trust, Status> {
        let mut names = match level {
            TlsLevel::None | TlsLevel::May | TlsLevel::Encrypt => return Ok(Trust::Anyone),
            TlsLevel::Verify => vec![host.to_owned()],
            // The host's name came from DNS, which nobody has signed: it counts only below the domain that was meant.
            TlsLevel::Secure => vec![hop.name().to_owned()],
        };
        let is_below = host.strip_suffix(hop.name()).is_some_and(|above| above.ends_with('.'));
        if level == TlsLevel::Secure && is_below {
            names.push(host.to_owned());
        }
        let names = names.iter().filter_map(|name| crate::dns::to_ascii(name)).collect();
        if self.authorities.is_none() {
            let file = &self.config.smtp_tls_CAfile;
            let loaded = file.get().map_or(Err(io::ErrorKind::NotFound.into()), Authorities::load);
            let loaded = loaded.map_err(|error| {
                Status::new(454, Enhanced(4, 7, 5), format!("smtp_tls_CAfile = {}: {error}", file.as_str()))
            })?;
            self.authorities = Some(loaded);
        }
        Ok(self.authorities.clone().map_or(Trust::Anyone, |authorities| Trust::Named(authorities, names)))
    }
}

/// What may still be tried. 0 from the start: everything.
struct Counts {
    addresses: u32,
    sessions: u32,
}

impl Counts {
    fn goes_on(left: &mut u32) -> bool {
        match left {
            0 => true,
            1 => false,
            more => {
                *more -= 1;
                true
            }
        }
    }
}

/// If the kernel does not tell, the addresses of the connection do ([`Client::attempt`]).
fn own_addresses() -> Vec<IpAddr> {
    interfaces().unwrap_or_default().into_iter().map(|interface| interface.address).collect()
}

fn refused(reply: &Reply, remote: &Remote, what: &str) -> Useless {
    refused_with(reply.failure(&remote.to_string(), what), reply, remote)
}

/// The server has said so: RFC 3464 sections 2.3.5 and 2.3.6 want to hear who, and in which words.
fn refused_with(status: Status, reply: &Reply, remote: &Remote) -> Useless {
    Useless::Refused(Failed { status, said: Some(Box::new((remote.clone(), reply.said()))), hurried: false })
}

/// It is us who do not want to go on.
fn unwanted(status: Status) -> Useless {
    Useless::Refused(status.into())
}

fn tls_failed(remote: &Remote, trouble: &Trouble) -> Status {
    Status::new(454, Enhanced(4, 7, 5), format!("{trouble} with {remote} while performing the TLS handshake"))
}

/// RFC 3463: 4.4.1, no answer from host.
fn unreachable(remote: &Remote, error: &io::Error) -> Status {
    let error = match error.kind() {
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => without_number(error),
    };
    Status::new(451, Enhanced(4, 4, 1), format!("connect to {remote}: {error}"))
}

/// What the system says, without std's ` (os error 111)`.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// RFC 3463: 5.4.6, routing loop.
pub fn loops(domain: &str) -> Status {
    Status::new(554, Enhanced(5, 4, 6), format!("mail for {domain} loops back to myself"))
}

fn no_address(host: &str, not_found: &NotFound) -> Status {
    let (code, enhanced, why) = match not_found {
        NotFound::NoSuchName => (550, Enhanced(5, 4, 4), "no such name"),
        // NoHosts is said of domains alone.
        NotFound::NoData | NotFound::NoHosts => (550, Enhanced(5, 4, 4), "it has no address"),
        NotFound::Unknown(why) => (451, Enhanced(4, 4, 3), why.as_str()),
    };
    Status::new(code, enhanced, format!("host {host} not found: {why}"))
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
