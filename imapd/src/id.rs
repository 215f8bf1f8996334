//! ID (RFC 2971): who the programs at both ends are. Nothing is decided by it.

use crate::grammar::{IdField, print};
use common::config::Config;
use common::log::escape;
use std::fmt::Write as _;

/// Octets of the client's fields for the log.
const LOG_MAX: usize = 1000;

/// The untagged answer, its line end included.
pub fn answer(config: &Config) -> Vec<u8> {
    let mut out = b"* ID ".to_vec();
    let mut words = config.imap_id_send.split([' ', '\t']).filter(|word| !word.is_empty());
    let begins = out.len();
    while let Some(name) = words.next() {
        let value = match (words.next(), name) {
            (Some("*"), "name") => "tinmail",
            (Some("*"), "version") => env!("CARGO_PKG_VERSION"),
            (Some("*"), "os") => std::env::consts::OS,
            (Some("*") | None, _) => continue,
            (Some(value), _) => value,
        };
        out.push(if out.len() == begins { b'(' } else { b' ' });
        print::string(&mut out, name.as_bytes());
        out.push(b' ');
        print::string(&mut out, value.as_bytes());
    }
    out.extend_from_slice(if out.len() == begins { b"NIL\r\n" } else { b")\r\n" });
    out
}

/// What the log says of the client's fields, escaped; empty: nothing.
pub fn for_log(config: &Config, fields: &[IdField]) -> String {
    let wanted = config.imap_id_log.trim();
    let is_wanted = |name: &[u8]| {
        wanted.split([' ', '\t']).any(|word| word == "*" || word.as_bytes().eq_ignore_ascii_case(name))
    };
    let mut line = String::new();
    for (name, value) in fields.iter().filter(|(name, _)| is_wanted(name)) {
        let comma = if line.is_empty() { "" } else { ", " };
        let value = value.as_deref().unwrap_or(b"NIL");
        let _ = write!(line, "{comma}{}={}", escape(name), escape(value));
        if line.len() > LOG_MAX {
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(setting: &'static str) -> String {
        let config = Config { imap_id_send: setting.into(), ..Config::DEFAULT };
        String::from_utf8(answer(&config)).unwrap()
    }

    #[test]
    fn the_setting_says_what_is_said() {
        assert_eq!(send("name *"), "* ID (\"name\" \"tinmail\")\r\n");
        assert_eq!(send(""), "* ID NIL\r\n");
        assert_eq!(
            send("name x version * foo * odd"),
            format!("* ID (\"name\" \"x\" \"version\" \"{}\")\r\n", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn the_log_gets_what_is_wanted_and_nothing_that_breaks_it() {
        let fields = [(b"Name".to_vec(), Some(b"x\r\ny".to_vec())), (b"os".to_vec(), None)];
        let log = |setting: &'static str| {
            for_log(&Config { imap_id_log: setting.into(), ..Config::DEFAULT }, &fields)
        };
        assert_eq!(log(""), "");
        assert_eq!(log("*"), "Name=x\\x0D\\x0Ay, os=NIL");
        assert_eq!(log("name version"), "Name=x\\x0D\\x0Ay");
        let many: Vec<IdField> = (0..30).map(|_| (vec![b'\\'; 30], Some(vec![b'x'; 1024]))).collect();
        let config = Config { imap_id_log: "*".into(), ..Config::DEFAULT };
        assert!(for_log(&config, &many).len() < LOG_MAX + 500);
    }
}
