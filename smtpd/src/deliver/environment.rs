//! The environment of a program that takes mail: Postfix's names (local(8)), and nothing that this process happened to have.
//!
//! The addresses are a stranger's, and many a program is a script whose author forgot to quote: characters that
//! `command_expansion_filter` does not have become `_`. The account is the administrator's and stays as it is.

use super::Trace;
use crate::address::Address;
use crate::values::words;
use common::auth::Account;
use common::config::Config;

/// Where programs without a path are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Names and values.
pub(super) fn of(config: &Config, account: &Account, trace: &Trace) -> Vec<(String, String)> {
    let exported = words(&config.export_environment).filter_map(|word| match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((word.to_owned(), std::env::var(word).ok()?)),
    });
    let mut all: Vec<(String, String)> = exported.filter(|(name, _)| !name.is_empty()).collect();
    // Last, so that what is exported does not take their places.
    let sender = trace.reverse_path.as_ref().map(Address::to_string).unwrap_or_default();
    let of_account = [
        ("PATH", PATH.to_owned()),
        ("HOME", account.home.to_string_lossy().into_owned()),
        ("USER", account.name.clone()),
        ("LOGNAME", account.name.clone()),
        ("SHELL", "/bin/sh".to_owned()),
    ];
    let of_strangers = [
        ("SENDER", sender),
        ("RECIPIENT", trace.delivered_to.to_string()),
        ("LOCAL", trace.delivered_to.local().to_owned()),
        ("DOMAIN", trace.delivered_to.domain().to_owned()),
        ("ORIGINAL_RECIPIENT", trace.original.to_string()),
        ("EXTENSION", extension(config, &account.name, &trace.delivered_to)),
    ];
    let safe = |text: String| -> String {
        text.chars().map(|c| if config.command_expansion_filter.contains(c) { c } else { '_' }).collect()
    };
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    all.extend(of_account.map(named));
    all.extend(of_strangers.map(|(name, value)| named((name, safe(value)))));
    all
}

/// What stands behind the delimiter: of a user's address behind the user's name, which may have the delimiter in it.
fn extension(config: &Config, user: &str, address: &Address) -> String {
    let local = address.local();
    let user = user.split('@').next().unwrap_or_default();
    let at =
        match local.get(..user.len()).filter(|front| !user.is_empty() && front.eq_ignore_ascii_case(user)) {
            Some(_) => user.len(),
            None => 1,
        };
    let delimiter = |(_, c): &(usize, char)| config.recipient_delimiter.contains(*c);
    let mut behind = local.char_indices().skip_while(|(here, _)| *here < at);
    let found = match at {
        1 => behind.find(delimiter),
        _ => behind.next().filter(delimiter),
    };
    found.and_then(|(here, c)| local.get(here + c.len_utf8()..)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(config: &Config, name: &str, user: &str, to: &str) -> Option<String> {
        let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
        let (home, name_of) = ("/home/$x".into(), user.to_owned());
        let account =
            Account { name: name_of, uid: 1, gid: 1, groups: vec![], home, mail: None, master: None };
        let reverse_path = Some(address("\"a;$(touch x)`\"@x.example"));
        let (original, delivered_to) = (address("Info+x'y@example.org"), address(to));
        let trace = Trace {
            reverse_path,
            original,
            delivered_to,
            received: String::new(),
            is_binary: false,
            once: None,
        };
        let all = of(config, &account, &trace);
        all.into_iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    #[test]
    fn what_a_stranger_wrote_is_harmless_in_a_shell() {
        let config =
            Config { export_environment: "A=b, HOME=/other, NOT_THERE_AT_ALL".into(), ..Config::DEFAULT };
        for (name, want) in [
            ("SENDER", Some("_a___touch_x___@x.example")),
            ("ORIGINAL_RECIPIENT", Some("Info+x_y@example.org")),
            ("RECIPIENT", Some("_an_na_@example.org")),
            ("LOCAL", Some("an_na")),
            ("DOMAIN", Some("example.org")),
            ("HOME", Some("/home/$x")),
            ("A", Some("b")),
            ("NOT_THERE_AT_ALL", None),
            ("CARGO_MANIFEST_DIR", None),
        ] {
            assert_eq!(get(&config, name, "anna", "\"an na\"@example.org").as_deref(), want, "{name}");
        }
        let wider = Config { command_expansion_filter: "ä;a".into(), ..Config::DEFAULT };
        assert_eq!(get(&wider, "LOCAL", "anna", "äöa@example.org").as_deref(), Some("ä_a"));
    }

    #[test]
    fn extensions() {
        for (delimiter, user, to, want) in [
            ("+", "anna", "anna+lists@x.example", "lists"),
            ("+", "anna", "Anna+a+b@x.example", "a+b"),
            ("+", "anna", "anna@x.example", ""),
            ("+-", "anna-maria", "anna-maria@x.example", ""),
            ("+-", "anna-maria", "anna-maria-lists@x.example", "lists"),
            ("+", "vera@virtual.example", "vera+x@virtual.example", "x"),
            // A program of an alias.
            ("+", "daemon", "list+unsubscribe@x.example", "unsubscribe"),
            ("+", "a", "a+x@x.example", "x"),
            ("+", "a", "ab+x@x.example", "x"),
            ("+", "daemon", "+x@x.example", ""),
            ("", "anna", "anna+x@x.example", ""),
            ("+", "ä", "ä+ö@x.example", "_"),
        ] {
            let config = Config { recipient_delimiter: delimiter.into(), ..Config::DEFAULT };
            assert_eq!(get(&config, "EXTENSION", user, to).as_deref(), Some(want), "{delimiter} {user} {to}");
        }
    }
}
