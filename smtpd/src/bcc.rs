//! Blind copies: `always_bcc`, `sender_bcc_maps` and `recipient_bcc_maps`, as Postfix has them.
//!
//! They are added where mail comes in, by SMTP or from a program of this host, and nowhere else: what this host makes itself
//! (notifications) or sends on (`~/.forward`) has none, so no copy makes another one. Who gets the message anyway gets it once.
//! A copy is NOTIFY=NEVER: its sender is not told that it exists.
//!
//! The tables are the administrator's, the addresses that are looked up in them a stranger's.

use crate::address::{Address, ReversePath};
use crate::directory::Directory;
use crate::map::Maps;
use crate::status::{Enhanced, Status};
use crate::values::expand;
use common::config::Config;
use std::io;

/// The three settings.
pub(crate) struct BlindCopies {
    always: String,
    senders: Maps,
    recipients: Maps,
}

impl BlindCopies {
    /// By the settings. Errors: a table's type is not known.
    pub fn new(config: &Config) -> io::Result<BlindCopies> {
        let maps = |value: &str| Maps::parse(&expand(config, value)?);
        Ok(BlindCopies {
            always: expand(config, &config.always_bcc)?.trim().to_owned(),
            senders: maps(&config.sender_bcc_maps)?,
            recipients: maps(&config.recipient_bcc_maps)?,
        })
    }

    /// Whether there never are any.
    pub fn is_empty(&self) -> bool {
        self.always.is_empty() && self.senders.is_empty() && self.recipients.is_empty()
    }

    /// Lines of the tables that are of no use. What cannot be read is not looked at.
    pub fn wrong_lines(&self, directory: &mut Directory) -> Vec<String> {
        let tables = [("sender_bcc_maps", &self.senders), ("recipient_bcc_maps", &self.recipients)];
        let lines = tables.into_iter().flat_map(|(setting, maps)| {
            let pairs = maps.pairs().unwrap_or_default().into_iter();
            pairs.map(move |(key, value)| (format!("{setting}: {key}"), value))
        });
        for (place, value) in lines.filter(|(_, value)| !value.is_empty()) {
            let _ = parsed(directory, &place, &value);
        }
        directory.take_warnings()
    }

    /// Who gets a copy of a message: each address once. `recipients`: as the client named them.
    pub fn of(
        &self,
        directory: &mut Directory,
        sender: &ReversePath,
        recipients: &[Address],
    ) -> Result<Vec<Address>, Status> {
        let mut found: Vec<Address> = Vec::new();
        let mut add = |directory: &mut Directory, setting: &str, text: &str| -> Result<(), Status> {
            let address = parsed(directory, setting, text)?;
            let is_new =
                |known: &Address| known.to_string().to_lowercase() != address.to_string().to_lowercase();
            if found.iter().all(is_new) {
                found.push(address);
            }
            Ok(())
        };
        // Nobody's mail is no sender's.
        if let Some(sender) = sender {
            if let Some(text) = look_up(directory, "sender_bcc_maps", &self.senders, sender)? {
                add(directory, "sender_bcc_maps", &text)?;
            }
        }
        for recipient in recipients {
            if let Some(text) = look_up(directory, "recipient_bcc_maps", &self.recipients, recipient)? {
                add(directory, "recipient_bcc_maps", &text)?;
            }
        }
        if !self.always.is_empty() {
            add(directory, "always_bcc", &self.always)?;
        }
        Ok(found)
    }
}

/// What a table has for an address; an empty value is none.
fn look_up(
    directory: &mut Directory,
    setting: &str,
    maps: &Maps,
    address: &Address,
) -> Result<Option<String>, Status> {
    if maps.is_empty() {
        return Ok(None);
    }
    let class = directory.class(address.domain())?;
    let keys = directory.keys(address, class);
    let names: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{setting}: {error}"));
    let found = maps.find(&names).map_err(|error| directory.unreadable(&named(error)))?;
    Ok(found.map(|(_, value)| value).filter(|value| !value.is_empty()))
}

/// One address, or the name of one at `myorigin`. A message is not taken without the copy that somebody wants kept.
fn parsed(directory: &mut Directory, setting: &str, text: &str) -> Result<Address, Status> {
    let address = match text.contains('@') {
        true => Address::parse(text.as_bytes()),
        false => Address::new(text, directory.myorigin()),
    };
    address.map_err(|error| {
        directory.warn(format!("{setting}: \"{text}\" is no address, and only one is allowed: {}", error.0));
        Status::new(451, Enhanced(4, 3, 5), "Server configuration problem")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Rules, tests_config};
    use crate::testing::Scratch;

    #[test]
    fn who_gets_a_copy() {
        let scratch = Scratch::new();
        let base = tests_config(&scratch);
        let table = scratch.file(
            "bcc",
            "a@x.example bert\n@y.example\tall@archive.example\nvera a+b\nanna@here.example bert\nempty\n",
        );
        let table = format!("hash:{}", table.display());
        let none = base.clone();
        let always = Config { always_bcc: " archive@x.example ".into(), ..base.clone() };
        let maps = Config {
            sender_bcc_maps: table.clone().into(),
            recipient_bcc_maps: table.into(),
            ..base.clone()
        };
        let all = Config { always_bcc: "BERT@mail.here.example".into(), ..maps.clone() };
        for (config, sender, recipients, want) in [
            (&none, "a@x.example", &["b@x.example"][..], ""),
            (&always, "", &["b@x.example"], "archive@x.example"),
            (&maps, "b@x.example", &["b@x.example"], ""),
            (&maps, "A@X.example", &["b@x.example"], "bert@mail.here.example"),
            (&maps, "", &["vera@here.example", "vera@x.example"], "a+b@mail.here.example"),
            (&maps, "anna+x@here.example", &["c@y.example"], "bert@mail.here.example all@archive.example"),
            (
                &maps,
                "a@x.example",
                &["a@x.example", "q@y.example", "r@y.example"],
                "bert@mail.here.example all@archive.example",
            ),
            (&maps, "", &["empty@here.example"], ""),
            (&all, "a@x.example", &["b@x.example"], "bert@mail.here.example"),
        ] {
            let mut directory = Directory::new(config).unwrap();
            let parse = |text: &&str| Address::parse(text.as_bytes()).ok();
            let recipients: Vec<Address> = recipients.iter().filter_map(parse).collect();
            let copies = BlindCopies::new(config).unwrap();
            let found = copies.of(&mut directory, &parse(&sender), &recipients).unwrap();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), want, "{sender} {recipients:?}");
            assert_eq!(copies.is_empty(), std::ptr::eq(config, &none));
        }
    }

    #[test]
    fn a_copy_is_nobodys_to_hear_of_and_needs_somebody() {
        let scratch = Scratch::new();
        let base = tests_config(&scratch);
        for (value, want) in [
            ("anna", Ok(1)),
            ("postmaster@here.example", Ok(1)),
            ("x@far.example", Ok(1)),
            ("nobody-here", Ok(0)),
            ("a@x.example, b@x.example", Err(451)),
            ("a b", Ok(0)),
        ] {
            let mut rules = Rules::load(&Config { always_bcc: value.into(), ..base.clone() }).unwrap();
            let found = rules.blind_copies(&None, &[]);
            assert_eq!(found.as_ref().map(Vec::len).map_err(|status| status.code), want, "{value}");
            assert!(found.iter().flatten().all(|one| one.notify == Some(crate::envelope::Notify::NEVER)));
            assert_eq!(rules.take_warnings().is_empty(), want == Ok(1), "{value}");
        }
        let missing = Config { recipient_bcc_maps: "hash:/nonexistent/bcc".into(), ..base };
        let named = [Address::parse(b"a@x.example").unwrap()];
        let status = Rules::load(&missing).unwrap().blind_copies(&None, &named).unwrap_err();
        assert_eq!(status.code, 451);
    }
}
