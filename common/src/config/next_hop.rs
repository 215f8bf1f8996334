//! Where mail goes next, as Postfix writes it in `relayhost` and its maps: `domain`, `[host]`, `domain:port`,
//! `[host]:port`. The administrator's text, or the domain of a recipient.

use super::value::Value;
use std::fmt;
use std::net::IpAddr;

/// The names of services that relayhosts have, with their ports (IANA's registry).
const SERVICES: [(&str, u16); 5] =
    [("smtp", 25), ("submission", 587), ("submissions", 465), ("smtps", 465), ("urd", 465)];

/// A domain whose mail hosts are looked up, or one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    name: String,
    is_host: bool,
    port: Option<u16>,
    /// Who writes to somebody has named it, not the administrator.
    is_recipients: bool,
}

impl NextHop {
    /// The mail hosts of a recipient's domain; for an address literal, that host.
    pub fn of_domain(domain: &str) -> NextHop {
        let name = domain.trim_end_matches('.').to_ascii_lowercase();
        let (name, is_host) = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(literal) => (literal.to_owned(), true),
            None => (name, false),
        };
        NextHop { name, is_host, port: None, is_recipients: true }
    }

    /// Reads one of the four forms. `None`: it is none of them.
    pub fn parse(text: &str) -> Option<NextHop> {
        let (name, is_host, rest) = match text.strip_prefix('[') {
            Some(text) => {
                let (name, rest) = text.split_once(']')?;
                (name, true, rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (text.get(..end)?, false, text.get(end..)?)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let hop = NextHop { name, is_host, port, is_recipients: false };
        let is_name = |name: &str| {
            (1..=255).contains(&name.len())
                && name.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
                })
        };
        (hop.address().is_some() || is_name(&hop.name)).then_some(hop)
    }

    /// The domain or host, in lower case and without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address, if it is one host and its address is said. In a setting that of IPv4 needs no brackets, as in Postfix: no
    /// domain has such a name.
    pub fn address(&self) -> Option<IpAddr> {
        let text = self.name.strip_prefix("ipv6:").unwrap_or(&self.name);
        if self.is_host || self.is_of_settings() { text.parse().ok() } else { None }
    }

    /// Whether it is one host, whose MX records are not asked for.
    pub fn is_host(&self) -> bool {
        self.is_host
    }

    /// Whether the administrator has named it, in whichever setting.
    pub fn is_of_settings(&self) -> bool {
        !self.is_recipients
    }

    /// Whether the administrator has named this very host.
    pub fn is_host_of_settings(&self) -> bool {
        self.is_of_settings() && (self.is_host || self.address().is_some())
    }

    /// All ways to write it, for maps that have it as a key; the one without brackets and port last.
    pub fn spellings(&self) -> Vec<String> {
        let name = if self.is_host { format!("[{}]", self.name) } else { self.name.clone() };
        let services = SERVICES.iter().filter(|(_, port)| *port == self.port()).map(|(name, _)| *name);
        let mut all = vec![format!("{name}:{}", self.port())];
        all.extend(services.map(|service| format!("{name}:{service}")));
        if self.port.is_none() {
            all.insert(0, name);
        }
        all.push(self.name.clone());
        all
    }

    /// The port; 25 where none is said.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(25)
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let named = SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, port)| *port);
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    named.or_else(|| if digits { text.parse().ok() } else { None }).filter(|&port| port > 0)
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_host {
            true => write!(f, "[{}]", self.name)?,
            false => f.write_str(&self.name)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The next hop of all mail for others, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayHost {
    /// This one; `None`: there is none.
    To(Option<NextHop>),
    /// The text has `$name` in it, whose value has to be put in.
    Named(String),
}

impl Value for RelayHost {
    const ACCEPTED: &'static str = "a domain or [host], also with :port or :service behind it, or nothing";

    fn read(text: &str) -> Option<RelayHost> {
        if text.is_empty() {
            return Some(RelayHost::To(None));
        }
        if text.contains('$') {
            return Some(RelayHost::Named(text.to_owned()));
        }
        NextHop::parse(text).map(|hop| RelayHost::To(Some(hop)))
    }

    fn print(&self) -> String {
        match self {
            RelayHost::To(hop) => hop.as_ref().map(NextHop::to_string).unwrap_or_default(),
            RelayHost::Named(text) => text.clone(),
        }
    }
}

/// An address of this host, or whichever fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAddress(pub Option<IpAddr>);

impl Value for SourceAddress {
    const ACCEPTED: &'static str = "an address, or nothing";

    fn read(text: &str) -> Option<SourceAddress> {
        if text.is_empty() {
            return Some(SourceAddress(None));
        }
        text.parse().ok().map(|address| SourceAddress(Some(address)))
    }

    fn print(&self) -> String {
        self.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms() {
        for (text, name, is_host, port, printed) in [
            ("example.org", "example.org", false, 25, "example.org"),
            ("Example.ORG.:587", "example.org", false, 587, "example.org:587"),
            ("[mail.example.org]", "mail.example.org", true, 25, "[mail.example.org]"),
            ("[mail]:submission", "mail", true, 587, "[mail]:587"),
            ("[mail]:SMTPS", "mail", true, 465, "[mail]:465"),
            ("[192.0.2.1]:2525", "192.0.2.1", true, 2525, "[192.0.2.1]:2525"),
            ("[2001:db8::1]", "2001:db8::1", true, 25, "[2001:db8::1]"),
            ("[IPv6:2001:db8::1]:25", "ipv6:2001:db8::1", true, 25, "[ipv6:2001:db8::1]:25"),
        ] {
            let hop = NextHop::parse(text).unwrap();
            assert_eq!((hop.name(), hop.is_host(), hop.port()), (name, is_host, port), "{text}");
            assert_eq!(hop.to_string(), printed);
            assert_eq!(NextHop::parse(printed), Some(hop));
        }
        let address = |text| NextHop::parse(text).unwrap().address();
        assert_eq!(address("[192.0.2.1]"), Some([192, 0, 2, 1].into()));
        assert!(address("[2001:db8::1]").is_some() && address("[ipv6:::1]").is_some());
        for bare in ["192.0.2.1", "192.0.2.1:587"] {
            assert_eq!(address(bare), Some([192, 0, 2, 1].into()));
            assert_eq!(NextHop::parse(bare).unwrap().to_string(), bare);
        }
        assert_eq!(NextHop::of_domain("192.0.2.1").address(), None);
    }

    #[test]
    fn spellings() {
        let spellings = |text| NextHop::parse(text).unwrap().spellings();
        assert_eq!(spellings("a.b"), ["a.b", "a.b:25", "a.b:smtp", "a.b"]);
        let want = ["[a]:465", "[a]:submissions", "[a]:smtps", "[a]:urd", "a"];
        assert_eq!(spellings("[a]:smtps"), want);
    }

    #[test]
    fn what_is_none_of_them() {
        for text in [
            "",
            ":25",
            "[]",
            "[]:25",
            "[a",
            "a]",
            "[a]25",
            "a:",
            "a:0",
            "a:65536",
            "a:+25",
            "a:b",
            "[a b]",
            "a..b",
            "2001:db8::1",
            "a\0",
            "[a:b]",
        ] {
            assert_eq!(NextHop::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn of_recipients() {
        for (domain, printed) in
            [("Example.org", "example.org"), ("[192.0.2.1]", "[192.0.2.1]"), ("[IPv6:::1]", "[ipv6:::1]")]
        {
            assert_eq!(NextHop::of_domain(domain).to_string(), printed);
        }
    }
}
