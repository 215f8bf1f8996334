//! Which way mail for other hosts goes: to the relayhost, or to the mail hosts of the recipient's domain.
//!
//! What is decided without the network is the [`NextHop`] ([`crate::router`]): recipients whose next hops are equal may be sent
//! over one connection. Where that is, is found out when it is needed: [`hosts`].

use crate::address::ReversePath;
use crate::client::{Login, loops};
use crate::dns::{Exchange, NotFound, Resolver};
use crate::map::Maps;
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::config::keyword::TlsLevel;
pub use common::config::next_hop::NextHop;
use common::config::value::Value;
use common::secret::Secret;
use common::sys::process::random;
use std::io;
use std::net::IpAddr;

/// One host to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, or its address where it has none.
    pub name: String,
    /// Its addresses, if they are known; otherwise they are looked up when it is its turn.
    pub addresses: Option<Vec<IpAddr>>,
    /// The port.
    pub port: u16,
}

/// The hosts of a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To be tried in this order. At least one.
    Hosts(Vec<Host>),
    /// There is no way, for now or for good.
    Fail(Status),
}

/// The password for a next hop, if there is one: by sender, if that is wanted, then by the next hop as it is written, then by
/// its host alone. Names that came out of DNS are not looked up: nobody has signed them. Run by somebody who may read
/// the file. Errors: a map that cannot be read or has a value without a colon.
pub fn login(config: &Config, sender: &ReversePath, hop: &NextHop) -> io::Result<Option<Login>> {
    if !config.smtp_sasl_auth_enable || config.smtp_sasl_password_maps.is_empty() {
        return Ok(None);
    }
    let by_sender = sender.as_ref().filter(|_| config.smtp_sender_dependent_authentication);
    let mut keys: Vec<String> = by_sender
        .into_iter()
        .flat_map(|sender| [sender.to_string(), format!("@{}", sender.domain())])
        .collect();
    keys.extend(hop.spellings());
    let Some(value) = find(&config.smtp_sasl_password_maps, &keys)? else { return Ok(None) };
    let Some((user, password)) = value.split_once(':') else {
        return Err(io::Error::other(NO_PASSWORD));
    };
    Ok(Some(Login { user: user.to_owned(), password: Secret::new(password.as_bytes().to_vec()) }))
}

/// How much TLS the hosts of a next hop have to offer: smtp_tls_policy_maps by next hop, domain, and domains above it
/// (`.example.org`), else smtp_tls_security_level.
pub fn tls_level(config: &Config, hop: &NextHop) -> io::Result<TlsLevel> {
    let mut keys: Vec<String> = hop.spellings();
    keys.extend(hop.name().match_indices('.').filter_map(|(at, _)| hop.name().get(at..).map(str::to_owned)));
    let Some(value) = find(&config.smtp_tls_policy_maps, &keys)? else {
        return Ok(config.smtp_tls_security_level);
    };
    level(&value).ok_or_else(|| wrong("smtp_tls_policy_maps", &value))
}

fn level(value: &str) -> Option<TlsLevel> {
    TlsLevel::read(value.trim_ascii())
}

/// Lines of these tables that keep mail waiting, for `--check`; passwords are not in it. Tables that cannot be read are passed
/// over.
pub fn problems(config: &Config) -> Vec<String> {
    let pairs = |maps: &str| Maps::parse(maps).and_then(|maps| maps.pairs()).unwrap_or_default();
    let levels = pairs(&config.smtp_tls_policy_maps).into_iter().filter(|(_, value)| level(value).is_none());
    let levels = levels.map(|(key, value)| {
        format!("smtp_tls_policy_maps: {key}: \"{value}\" is not accepted: want {}", TlsLevel::ACCEPTED)
    });
    let passwords =
        pairs(&config.smtp_sasl_password_maps).into_iter().filter(|(_, value)| !value.contains(':'));
    levels.chain(passwords.map(|(key, _)| NO_PASSWORD.replacen(": ", &format!(": {key}: "), 1))).collect()
}

const NO_PASSWORD: &str = "smtp_sasl_password_maps: want user:password";

/// The value of the first key that any of the maps has.
fn find(maps: &str, keys: &[String]) -> io::Result<Option<String>> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Ok(Maps::parse(maps)?.find(&keys)?.map(|(_, value)| value))
}

fn wrong(map: &str, value: &str) -> io::Error {
    io::Error::other(format!("{map}: \"{value}\" is not accepted"))
}

/// Finds the hosts of a next hop (RFC 5321 section 5.1). `own` are names of this host: where one of them is a mail host of
/// the domain, only better ones are tried.
pub fn hosts(resolver: &Resolver, hop: &NextHop, own: &[&str]) -> Route {
    let port = hop.port();
    if let Some(address) = hop.address() {
        return Route::Hosts(vec![Host { name: address.to_string(), addresses: Some(vec![address]), port }]);
    }
    let named = |name: String| Host { name, addresses: None, port };
    if hop.is_host() {
        return Route::Hosts(vec![named(hop.name().to_owned())]);
    }
    let domain = hop.name();
    let found = match resolver.exchanges(domain) {
        Ok(found) => order(found),
        // A domain without MX is its own mail host.
        Err(NotFound::NoData) => vec![Exchange { preference: 0, host: domain.to_owned() }],
        Err(NotFound::NoSuchName) => {
            return fail(550, Enhanced(5, 1, 2), format!("there is no domain {domain}"));
        }
        // RFC 5321 section 5.1: where there are MX records the domain's own addresses are not used, and where none of them can
        // be used that is an error. For good: the domain's administrator has written it, and Postfix has 5.4.4 for it, too.
        Err(NotFound::NoHosts) => return no_hosts(domain),
        Err(NotFound::Unknown(why)) => {
            return fail(451, Enhanced(4, 4, 3), format!("mail hosts of {domain} not found: {why}"));
        }
    };
    // RFC 7505: one MX without a name says that there is no mail. Beside others it says nothing.
    if matches!(found.as_slice(), [only] if only.host.is_empty()) {
        return fail(556, Enhanced(5, 1, 10), format!("domain {domain} does not take mail (null MX)"));
    }
    let found = found.into_iter().filter(|exchange| !exchange.host.is_empty());
    let (mut hosts, mut is_own) = (Vec::new(), None);
    for exchange in found {
        if own.iter().any(|own| own.eq_ignore_ascii_case(&exchange.host)) {
            is_own = Some(exchange.preference);
        }
        hosts.push(exchange);
    }
    if let Some(own) = is_own {
        hosts.retain(|exchange| exchange.preference < own);
    }
    match hosts.is_empty() {
        true if is_own.is_some() => Route::Fail(loops(domain)),
        true => no_hosts(domain),
        false => Route::Hosts(hosts.into_iter().map(|exchange| named(exchange.host)).collect()),
    }
}

fn no_hosts(domain: &str) -> Route {
    fail(550, Enhanced(5, 4, 4), format!("the mail hosts of {domain} have no names"))
}

fn fail(code: u16, enhanced: Enhanced, text: String) -> Route {
    Route::Fail(Status::new(code, enhanced, text))
}

/// By preference; those with equal ones in random order (RFC 5321 section 5.1).
fn order(mut found: Vec<Exchange>) -> Vec<Exchange> {
    let mut octets = [0; 32];
    // Without randomness the order is that of the answer, which name servers turn as well.
    let _ = random(&mut octets);
    for at in (1..found.len()).rev() {
        let octet = octets.get(at % octets.len()).copied().unwrap_or(0);
        found.swap(at, usize::from(octet) % (at + 1));
    }
    found.sort_by_key(|exchange| exchange.preference);
    found
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
