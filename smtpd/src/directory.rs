//! Everything that is looked up about addresses: classes, users, aliases, virtual aliases.

use crate::address::Address;
use crate::aliases::{Alias, Aliases};
use crate::classes::{Class, Classes};
use crate::map::{Map, Maps};
use crate::status::{Enhanced, Status};
use crate::users::Users;
use crate::values::{expand, myorigin, words};
use common::config::Config;
use common::config::keyword::{Expansion, Set};
use std::io;

/// The tables of one connection.
pub struct Directory {
    /// Classes of domains.
    pub classes: Classes,
    /// Accounts.
    pub users: Users,
    /// Where files and programs may be named.
    pub(crate) files: Set<Expansion>,
    pub(crate) commands: Set<Expansion>,
    pub(crate) luser_relay: String,
    aliases: Aliases,
    virtual_aliases: Maps,
    local: LocalRecipients,
    delimiter: String,
    myorigin: String,
    warnings: Vec<String>,
}

/// `local_recipient_maps`.
#[derive(Default)]
struct LocalRecipients {
    /// The setting is empty.
    all: bool,
    users: bool,
    aliases: bool,
    maps: Maps,
}

/// Most lines for the log that are kept.
const WARNINGS_MAX: usize = 50;

/// What `luser_relay` may have behind `$`.
const LUSER_NAMES: [&str; 4] = ["user", "local", "extension", "domain"];

/// What `forward_path` may have.
const FORWARD_NAMES: [&str; 4] = ["home", "user", "recipient_delimiter", "extension"];

/// Names that are never cut at a delimiter (RFC 5321 section 4.5.1; RFC 3834 for the machine's own).
const WHOLE: [&str; 3] = ["postmaster", "mailer-daemon", "double-bounce"];

impl Directory {
    /// By the settings. Errors: a value is wrong.
    pub fn new(config: &Config) -> io::Result<Directory> {
        let aliases = Aliases::parse(&expand(config, &config.alias_maps)?)?;
        let mut local = LocalRecipients::default();
        let list = expand(config, &config.local_recipient_maps)?;
        local.all = words(&list).next().is_none();
        for word in words(&list) {
            match Map::parse(word)? {
                Map::Users => local.users = true,
                map if aliases.has(&map) => local.aliases = true,
                map => local.maps.0.push(map),
            }
        }
        let virtual_aliases = Maps::parse(&expand(config, &config.virtual_alias_maps)?)?;
        for map in &virtual_aliases.0 {
            if let Map::File(path) = map {
                let wrong =
                    |error| io::Error::other(format!("virtual_alias_maps: {}: {error}", path.display()));
                std::fs::metadata(path).map_err(wrong)?;
            }
        }
        let delimiter = config.recipient_delimiter.to_string();
        if delimiter.contains(|c: char| !c.is_ascii_punctuation() || matches!(c, '@' | '"' | '\\' | '/')) {
            let why = format!("recipient_delimiter = {delimiter}: want signs such as + or - or both");
            return Err(io::Error::other(why));
        }
        // The names themselves would get the mail, or be a path that nobody has.
        only_names("luser_relay", &config.luser_relay, &LUSER_NAMES)?;
        only_names("forward_path", &config.forward_path, &FORWARD_NAMES)?;
        Ok(Directory {
            classes: Classes::new(config)?,
            users: Users::new(config)?,
            files: config.allow_mail_to_files,
            commands: config.allow_mail_to_commands,
            luser_relay: config.luser_relay.to_string(),
            aliases,
            virtual_aliases,
            local,
            delimiter,
            myorigin: myorigin(config)?,
            warnings: Vec::new(),
        })
    }

    /// The domain of names without one.
    pub fn myorigin(&self) -> &str {
        &self.myorigin
    }

    /// Keeps a line for the log.
    pub fn warn(&mut self, text: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(text);
        }
    }

    /// What the administrator should hear.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.warnings.extend(self.users.take_warnings());
        std::mem::take(&mut self.warnings)
    }

    /// Cuts a local-part at the first delimiter: user, delimiter, extension. `None`: it has no extension.
    pub fn split<'a>(&self, local: &'a str) -> Option<(&'a str, &'a str)> {
        if WHOLE.iter().any(|name| name.eq_ignore_ascii_case(local)) {
            return None;
        }
        // Lists have names with a minus of their own.
        let lists = self.delimiter.contains('-')
            && (starts_with_ignore_case(local, "owner-") || local.to_ascii_lowercase().ends_with("-request"));
        let is_delimiter = |c: char| self.delimiter.contains(c) && !(lists && c == '-');
        let (at, delimiter) = local.char_indices().skip(1).find(|(_, c)| is_delimiter(*c))?;
        Some((local.get(..at)?, local.get(at + delimiter.len_utf8()..)?))
    }

    /// The class of a domain; a table that cannot be read is a matter for the log.
    pub fn class(&mut self, domain: &str) -> Result<Class, Status> {
        self.classes.of(domain).map_err(|error| self.unreadable(&error))
    }

    /// The alias with the first of these names.
    pub fn alias(&mut self, keys: &[&str]) -> Result<Option<Alias>, Status> {
        self.aliases.find(keys).map_err(|error| self.unreadable(&error))
    }

    /// What a virtual alias says: its right side, and whether the key was the one without the extension.
    pub fn virtual_alias(
        &mut self,
        address: &Address,
        class: Class,
    ) -> Result<Option<(String, bool)>, Status> {
        if self.virtual_aliases.is_empty() {
            return Ok(None);
        }
        let keys = self.keys(address, class);
        let names: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
        let found = self.virtual_aliases.find(&names).map_err(|error| self.unreadable(&error))?;
        Ok(found.map(|(at, value)| (value, keys.get(at).is_some_and(|(_, cut)| *cut))))
    }

    /// What an address may stand under in a table of addresses, the narrowest first; whether it is without its extension.
    pub fn keys(&self, address: &Address, class: Class) -> Vec<(String, bool)> {
        let (local, domain) = (address.local(), address.domain());
        let base = self.split(local).map(|(base, _)| base.to_owned());
        let mut keys = vec![(format!("{local}@{domain}"), false)];
        keys.extend(base.iter().map(|base| (format!("{base}@{domain}"), true)));
        if class == Class::Local || domain.eq_ignore_ascii_case(&self.myorigin) {
            keys.push((local.to_owned(), false));
            keys.extend(base.iter().map(|base| (base.clone(), true)));
        }
        keys.push((format!("@{domain}"), false));
        keys
    }

    /// Whether `local_recipient_maps` has it. `alias` and `user`: whether there is one with this name.
    pub fn is_local_recipient(&mut self, address: &Address, alias: bool, user: bool) -> Result<bool, Status> {
        let LocalRecipients { all, users, aliases, .. } = self.local;
        if all || aliases && alias || users && user {
            return Ok(true);
        }
        let (local, domain) = (address.local(), address.domain());
        let base = self.split(local).map_or(local, |(base, _)| base);
        let keys =
            [&format!("{local}@{domain}"), &format!("{base}@{domain}"), local, base, &format!("@{domain}")];
        let found = self.local.maps.find(&keys);
        found.map(|found| found.is_some()).map_err(|error| self.unreadable(&error))
    }

    /// Whether unknown local users are for `luser_relay` to have.
    pub fn takes_unknown_users(&self) -> bool {
        self.local.all && !self.luser_relay.is_empty()
    }

    /// Tells the log, and gives what the client is told.
    pub fn unreadable(&mut self, error: &io::Error) -> Status {
        self.warn(error.to_string());
        Status::new(451, Enhanced(4, 3, 0), "Temporary lookup failure")
    }
}

/// Errors: the value has another name behind `$`.
fn only_names(setting: &str, value: &str, names: &[&str]) -> io::Result<()> {
    let left = names.iter().fold(value.to_owned(), |text, name| {
        text.replace(&format!("${{{name}}}"), "").replace(&format!("${name}"), "")
    });
    if !left.contains('$') {
        return Ok(());
    }
    let known = names.join(", $");
    Err(io::Error::other(format!("{setting} = {value}: of names behind a $ there are ${known}")))
}

fn starts_with_ignore_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|front| front.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(config: Config) -> Directory {
        Directory::new(&Config { myhostname: "mail.example.org".into(), ..config }).unwrap()
    }

    #[test]
    fn extensions() {
        for (delimiter, local, want) in [
            ("+", "anna+x+y", Some(("anna", "x+y"))),
            ("+-", "anna-x+y", Some(("anna", "x+y"))),
            ("-+", "anna+x-y", Some(("anna", "x-y"))),
            ("+", "anna", None),
            ("+", "+anna", None),
            ("+", "anna+", Some(("anna", ""))),
            ("", "anna+x", None),
            ("-", "mailer-daemon", None),
            ("-", "owner-list", None),
            ("-", "list-request", None),
            ("-+", "owner-list+x", Some(("owner-list", "x"))),
            ("=", "ä=b", Some(("ä", "b"))),
        ] {
            let config = Config { recipient_delimiter: delimiter.into(), ..Config::DEFAULT };
            assert_eq!(directory(config).split(local), want, "{delimiter} {local}");
        }
        for delimiter in ["a", "@", "+ -", "\""] {
            let config = Config { recipient_delimiter: delimiter.into(), ..Config::DEFAULT };
            assert!(Directory::new(&config).is_err(), "{delimiter}");
        }
    }

    #[test]
    fn virtual_aliases_by_their_keys() {
        let maps = "inline:{anna@x.example=1, bert=2, @x.example=3, carl+y@x.example=4, carl@x.example=5}";
        let config =
            Config { virtual_alias_maps: maps.into(), recipient_delimiter: "+".into(), ..Config::DEFAULT };
        let mut directory = directory(config);
        for (address, class, want) in [
            ("Anna@X.example", Class::Remote, Some(("1", false))),
            ("anna+z@x.example", Class::Remote, Some(("1", true))),
            ("bert@x.example", Class::Remote, Some(("3", false))),
            ("bert@x.example", Class::Local, Some(("2", false))),
            ("bert@mail.example.org", Class::Remote, Some(("2", false))),
            ("carl+y@x.example", Class::Remote, Some(("4", false))),
            ("carl+z@x.example", Class::Remote, Some(("5", true))),
            ("dora@y.example", Class::Remote, None),
        ] {
            let address = Address::parse(address.as_bytes()).unwrap();
            let found = directory.virtual_alias(&address, class).unwrap();
            assert_eq!(found.as_ref().map(|(value, cut)| (value.as_str(), *cut)), want, "{address}");
        }
    }

    #[test]
    fn values_that_are_refused() {
        for config in [
            Config { alias_maps: "ldap:x".into(), ..Config::DEFAULT },
            Config { luser_relay: "$recipient".into(), ..Config::DEFAULT },
            Config { forward_path: "/var/forward/$domain/$user".into(), ..Config::DEFAULT },
            Config { luser_relay: "a+${extension?x}".into(), ..Config::DEFAULT },
            Config { virtual_alias_maps: "hash:/nonexistent".into(), ..Config::DEFAULT },
            Config { local_recipient_maps: "nis:x".into(), ..Config::DEFAULT },
        ] {
            assert!(Directory::new(&config).is_err());
        }
        let luser_relay = "$user-${local}+$extension@${domain}".into();
        assert!(Directory::new(&Config { luser_relay, ..Config::DEFAULT }).is_ok());
    }
}
