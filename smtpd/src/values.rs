//! Values with `$name` in them, as Postfix has them, and the words of a list. They are the administrator's.

use common::config::Config;
use common::config::next_hop::{NextHop, RelayHost};
use common::config::value::Value;
use common::sys::fs::hostname;
use std::io;

/// How deep `$a` may stand for `$b`.
const DEPTH: u32 = 10;
/// Octets of a value with everything put in.
const EXPANDED_MAX: usize = 64 * 1024;

/// The name of this host: the setting, or what the kernel says.
pub fn myhostname(config: &Config) -> String {
    match config.myhostname.as_ref() {
        "" => hostname(),
        // "mail.$mydomain". Where mydomain is not set it comes from this name, and cannot be put in.
        name if name.contains('$') && !config.mydomain.is_empty() => {
            ["$mydomain", "${mydomain}", "$(mydomain)"]
                .iter()
                .fold(name.to_owned(), |name, word| name.replace(word, &config.mydomain))
        }
        name => name.to_owned(),
    }
}

/// The domain of this host: the setting, or its name without the first part (the name itself, if there is no other).
pub fn mydomain(config: &Config) -> String {
    if !config.mydomain.is_empty() {
        return config.mydomain.to_string();
    }
    let host = myhostname(config);
    match host.split_once('.') {
        Some((_, domain)) if !domain.is_empty() => domain.to_owned(),
        _ => host,
    }
}

/// The domain of addresses without one.
pub fn myorigin(config: &Config) -> io::Result<String> {
    let value = expand(config, &config.myorigin)?;
    // Debian's habit: a file with the name.
    let name = match value.starts_with('/') {
        true => std::fs::read_to_string(&value)
            .map_err(|error| io::Error::other(format!("myorigin = {value}: {error}")))?,
        false => value,
    };
    let name = name.lines().next().unwrap_or_default().trim();
    match crate::address::is_domain(name) {
        true => Ok(name.to_owned()),
        false => Err(io::Error::other(format!("myorigin = {name}: not a domain"))),
    }
}

/// The next hop of all mail for others, if there is one.
pub fn relayhost(config: &Config) -> io::Result<Option<NextHop>> {
    let text = match &config.relayhost {
        RelayHost::To(hop) => return Ok(hop.clone()),
        RelayHost::Named(text) => text,
    };
    let value = expand(config, text)?;
    match RelayHost::read(value.trim()) {
        Some(RelayHost::To(hop)) => Ok(hop),
        _ => Err(io::Error::other(format!("\"{value}\" is not accepted: want {}", RelayHost::ACCEPTED))),
    }
}

/// Puts the values of `$name`, `${name}` and `$(name)` in their places; `$$` is a dollar sign.
pub fn expand(config: &Config, value: &str) -> io::Result<String> {
    let mut out = String::new();
    expand_into(config, value, &mut out, DEPTH)?;
    Ok(out)
}

fn expand_into(config: &Config, value: &str, out: &mut String, depth: u32) -> io::Result<()> {
    let wrong = |why: &str| io::Error::other(format!("\"{value}\": {why}"));
    if depth == 0 {
        return Err(wrong("settings refer to each other in a circle"));
    }
    let mut rest = value;
    while let Some((text, behind)) = rest.split_once('$') {
        out.push_str(text);
        let (name, after) = match behind.chars().next() {
            Some('$') => {
                out.push('$');
                rest = behind.get(1..).unwrap_or_default();
                continue;
            }
            Some(open @ ('{' | '(')) => {
                let close = if open == '{' { '}' } else { ')' };
                behind
                    .get(1..)
                    .and_then(|inner| inner.split_once(close))
                    .ok_or_else(|| wrong("not closed"))?
            }
            _ => {
                let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                behind.split_at(end.unwrap_or(behind.len()))
            }
        };
        match name {
            "myhostname" => out.push_str(&myhostname(config)),
            "mydomain" => out.push_str(&mydomain(config)),
            // As Debian's main.cf has it in smtpd_banner.
            "mail_name" => out.push_str("tinmail"),
            name => {
                let value = config.print(name).ok_or_else(|| wrong(&format!("no setting ${name}")))?;
                expand_into(config, &value, out, depth - 1)?;
            }
        }
        if out.len() > EXPANDED_MAX {
            return Err(wrong("too long"));
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

/// The words of a list: blanks and commas stand between them, unless it is inside of braces (`inline:{a=b, c=d}`).
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    let separates = move |c: char| {
        match c {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(c, ' ' | '\t' | ',' | '\n' | '\r')
    };
    text.split(separates).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            myhostname: "mail.example.org".into(),
            relay_domains: "a, $mydomain".into(),
            ..Config::DEFAULT
        }
    }

    #[test]
    fn names_are_replaced() {
        for (value, want) in [
            ("plain", "plain"),
            ("$myhostname", "mail.example.org"),
            ("localhost.$mydomain, x", "localhost.example.org, x"),
            ("${mydomain}/$(myhostname)", "example.org/mail.example.org"),
            ("$relay_domains b", "a, example.org b"),
            ("a$$b", "a$b"),
            ("$myhostname ESMTP $mail_name (Debian/GNU)", "mail.example.org ESMTP tinmail (Debian/GNU)"),
        ] {
            assert_eq!(expand(&config(), value).unwrap(), want, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        for value in ["$nothing", "${mydomain", "$", "a $ b", "$(mydomain}"] {
            assert!(expand(&config(), value).is_err(), "{value}");
        }
        let circle =
            Config { relay_domains: "$mynetworks".into(), mynetworks: "$relay_domains".into(), ..config() };
        assert!(expand(&circle, "$mynetworks").unwrap_err().to_string().contains("circle"));
    }

    #[test]
    fn names_of_this_host() {
        assert_eq!(mydomain(&config()), "example.org");
        assert_eq!(mydomain(&Config { myhostname: "alone".into(), ..config() }), "alone");
        assert_eq!(mydomain(&Config { mydomain: "x.example".into(), ..config() }), "x.example");
        assert_eq!(myorigin(&config()).unwrap(), "mail.example.org");
        for name in ["mx.$mydomain", "mx.${mydomain}"] {
            let config = Config { myhostname: name.into(), mydomain: "x.example".into(), ..Config::DEFAULT };
            assert_eq!((myhostname(&config), mydomain(&config)), ("mx.x.example".into(), "x.example".into()));
            assert_eq!(expand(&config, "$myhostname, $mydomain").unwrap(), "mx.x.example, x.example");
        }
        assert!(myorigin(&Config { myorigin: "not a domain".into(), ..config() }).is_err());
        assert!(myorigin(&Config { myorigin: "/nonexistent".into(), ..config() }).is_err());
        assert!(!myhostname(&Config::DEFAULT).is_empty());
    }

    #[test]
    fn relayhosts() {
        let of = |text: &str| relayhost(&Config { relayhost: RelayHost::read(text).unwrap(), ..config() });
        for (text, want) in [
            ("", None),
            ("[smtp.isp.example]:587", Some("[smtp.isp.example]:587")),
            ("$mydomain", Some("example.org")),
            ("[smtp.${mydomain}]:submission", Some("[smtp.example.org]:587")),
            ("$smtp_bind_address", None),
        ] {
            let hop = of(text).unwrap().map(|hop| hop.to_string());
            assert_eq!(hop.as_deref(), want, "{text}");
        }
        for text in ["$nothing", "$relayhost", "[$mydomain", "$relay_domains", "$$"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_of_a_list() {
        assert_eq!(words(" a,b  c,\t, d ").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(words("a inline:{x = y, z} b").collect::<Vec<_>>(), ["a", "inline:{x = y, z}", "b"]);
        assert_eq!(words("a {b, c").collect::<Vec<_>>(), ["a", "{b, c"]);
    }
}
