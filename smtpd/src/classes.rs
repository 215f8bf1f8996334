//! Classes of domains, as Postfix has them: whose users they have.
//!
//! ```text
//! local            mydestination              users of this host, aliases, ~/.forward
//! virtual alias    virtual_alias_domains      addresses that are others' names (virtual_alias_maps)
//! virtual mailbox  virtual_mailbox_domains    users with their domain, of a passwd-file
//! relay            relay_domains              other hosts' mail that anybody may hand in here
//! remote           all the others             only for clients that may relay
//! ```

use crate::address::is_domain;
use crate::logical::LogicalLines;
use crate::map::Map;
use crate::values::{expand, words};
use common::config::Config;
use common::sys::interface::interfaces;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The class of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Its users are this host's.
    Local,
    /// Every address is another's name.
    VirtualAlias,
    /// Its users are in the passdbs with their domain.
    VirtualMailbox,
    /// Mail for it is handed on, whoever brings it.
    Relay,
    /// Somebody else's.
    Remote,
}

/// A list of domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainList {
    entries: Vec<(Entry, bool)>,
    /// `example.org` also means what is below it.
    with_subdomains: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Name(String),
    /// `.example.org`: only what is below.
    Below(String),
    /// One per line, as sendmail's local-host-names, or several.
    File(PathBuf),
    Map(Map),
}

impl DomainList {
    /// Reads the value of the setting `name`.
    pub fn parse(name: &str, list: &str, with_subdomains: bool) -> io::Result<DomainList> {
        let mut entries = Vec::new();
        for word in words(list) {
            let (text, belongs) = word.strip_prefix('!').map_or((word, true), |rest| (rest, false));
            let wrong = |why: &str| io::Error::other(format!("{name}: {word}: {why}"));
            let entry = match text {
                text if text.starts_with('/') => {
                    // Told at the start, not when mail comes.
                    std::fs::metadata(text).map_err(|error| wrong(&error.to_string()))?;
                    Entry::File(text.into())
                }
                text if text.contains(':') && !text.starts_with('[') => Entry::Map(Map::parse(text)?),
                text if is_domain(text) => Entry::Name(text.to_owned()),
                text => match text.strip_prefix('.') {
                    Some(domain) if is_domain(domain) => Entry::Below(domain.to_owned()),
                    _ => return Err(wrong("not a domain")),
                },
            };
            entries.push((entry, belongs));
        }
        Ok(DomainList { entries, with_subdomains })
    }

    /// Whether the domain is in it. Errors: a file cannot be read.
    pub fn contains(&self, domain: &str) -> io::Result<bool> {
        for (entry, belongs) in &self.entries {
            let found = match entry {
                Entry::Name(name) => self.fits(name, domain),
                Entry::Below(name) => is_below(name, domain),
                Entry::File(path) => self.file_has(path, domain)?,
                Entry::Map(map) => map.find(&self.keys(domain))?.is_some(),
            };
            if found {
                return Ok(*belongs);
            }
        }
        Ok(false)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn fits(&self, name: &str, domain: &str) -> bool {
        match name.strip_prefix('.') {
            Some(parent) => is_below(parent, domain),
            None => name.eq_ignore_ascii_case(domain) || self.with_subdomains && is_below(name, domain),
        }
    }

    fn keys<'a>(&self, domain: &'a str) -> Vec<&'a str> {
        let mut keys = vec![domain];
        if self.with_subdomains && !domain.starts_with('[') {
            keys.extend(domain.match_indices('.').filter_map(|(at, _)| domain.get(at + 1..)));
        }
        keys
    }

    fn file_has(&self, path: &Path, domain: &str) -> io::Result<bool> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut lines = LogicalLines::open(path).map_err(named)?;
        while let Some((_, line)) = lines.next().map_err(named)? {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            // An indented line was joined to the one before it.
            if words(line).take_while(|word| !word.starts_with('#')).any(|name| self.fits(name, domain)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_below(parent: &str, domain: &str) -> bool {
    let Some(front) = domain.len().checked_sub(parent.len() + 1) else { return false };
    domain.as_bytes().get(front) == Some(&b'.')
        && domain.get(front + 1..).is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
}

/// All the lists.
pub struct Classes {
    local: DomainList,
    virtual_alias: DomainList,
    virtual_mailbox: DomainList,
    relay: DomainList,
    last: Option<(String, Class)>,
}

impl Classes {
    /// By the settings.
    pub fn new(config: &Config) -> io::Result<Classes> {
        let list = |name: &str, value: &str, below| DomainList::parse(name, &expand(config, value)?, below);
        Ok(Classes {
            local: list("mydestination", &config.mydestination, false)?,
            virtual_alias: list("virtual_alias_domains", &config.virtual_alias_domains, false)?,
            virtual_mailbox: list("virtual_mailbox_domains", &config.virtual_mailbox_domains, false)?,
            relay: list("relay_domains", &config.relay_domains, true)?,
            last: None,
        })
    }

    /// The class of a domain or address literal. Errors: a file cannot be read.
    pub fn of(&mut self, domain: &str) -> io::Result<Class> {
        if let Some((last, class)) = &self.last {
            if last.eq_ignore_ascii_case(domain) {
                return Ok(*class);
            }
        }
        let class = if self.local.contains(domain)? || is_own_literal(domain) {
            Class::Local
        } else if self.virtual_alias.contains(domain)? {
            Class::VirtualAlias
        } else if self.virtual_mailbox.contains(domain)? {
            Class::VirtualMailbox
        } else if self.relay.contains(domain)? {
            Class::Relay
        } else {
            Class::Remote
        };
        self.last = Some((domain.to_owned(), class));
        Ok(class)
    }
}

/// Whether it is the literal of an address of this host.
fn is_own_literal(domain: &str) -> bool {
    let Some(text) = domain.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return false };
    let text = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => text.get(5..).unwrap_or_default(),
        _ => text,
    };
    let Ok(address) = text.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    interfaces().is_ok_and(|all| all.iter().any(|own| own.address == address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn lists() {
        for (list, below, domain, belongs) in [
            ("example.org", false, "EXAMPLE.org", true),
            ("example.org", false, "sub.example.org", false),
            ("example.org", true, "a.sub.Example.org", true),
            ("example.org", true, "badexample.org", false),
            ("example.org", true, "org", false),
            (".example.org", false, "sub.example.org", true),
            (".example.org", true, "example.org", false),
            ("!bad.example.org example.org", true, "bad.example.org", false),
            ("!bad.example.org example.org", true, "x.example.org", true),
            ("inline:{example.org=x}", false, "example.org", true),
            ("inline:{example.org=x}", false, "a.example.org", false),
            ("inline:{example.org=x}", true, "a.b.example.org", true),
            ("[192.0.2.1]", false, "[192.0.2.1]", true),
            ("bücher.example", false, "bücher.example", true),
            ("", true, "example.org", false),
        ] {
            let list = DomainList::parse("x", list, below).unwrap();
            assert_eq!(list.contains(domain).unwrap(), belongs, "{list:?} {domain}");
        }
        for list in ["*", "a..b", "/nonexistent", "pcre:/x", "a@b", "."] {
            assert!(DomainList::parse("x", list, false).is_err(), "{list}");
        }
    }

    #[test]
    fn local_host_names() {
        let scratch = Scratch::new();
        let path = scratch.file(
            "local-host-names",
            "# names\nexample.org\n Example.net\n\nexample.com # old.example\na.example, b.example\n",
        );
        let list = DomainList::parse("mydestination", path.to_str().unwrap(), false).unwrap();
        for name in ["example.ORG", "example.net", "example.com", "a.example", "b.example"] {
            assert!(list.contains(name).unwrap(), "{name}");
        }
        for name in ["example.edu", "old.example", "#"] {
            assert!(!list.contains(name).unwrap(), "{name}");
        }
        std::fs::remove_file(path).unwrap();
        assert!(list.contains("example.org").is_err());
    }

    #[test]
    fn classes_in_their_order() {
        let config = Config {
            myhostname: "mail.example.org".into(),
            mydestination: "$myhostname localhost".into(),
            virtual_alias_domains: "$virtual_alias_maps".into(),
            virtual_alias_maps: "inline:{alias.example=anything}".into(),
            virtual_mailbox_domains: "virtual.example, localhost".into(),
            relay_domains: "relay.example".into(),
            ..Config::DEFAULT
        };
        let mut classes = Classes::new(&config).unwrap();
        for (domain, class) in [
            ("mail.example.org", Class::Local),
            ("LOCALHOST", Class::Local),
            ("[127.0.0.1]", Class::Local),
            ("[IPv6:::ffff:127.0.0.1]", Class::Local),
            ("[192.0.2.77]", Class::Remote),
            ("alias.example", Class::VirtualAlias),
            ("virtual.example", Class::VirtualMailbox),
            ("a.relay.example", Class::Relay),
            ("example.org", Class::Remote),
        ] {
            assert_eq!(classes.of(domain).unwrap(), class, "{domain}");
            assert_eq!(classes.of(domain).unwrap(), class, "{domain}");
        }
    }
}
