//! Access tables: under which keys a client or an address is looked for, and what the values mean.

use super::words;
use crate::address::Address;
use crate::status::{Enhanced, Status};
use std::net::IpAddr;

/// What a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// `OK` or a number.
    Permit,
    /// `DUNNO`: the next restriction decides.
    Dunno,
    /// `REJECT text`, `DEFER text`, `4xx text`, `5xx text`.
    Refuse(Status),
    /// `DEFER_IF_PERMIT text`.
    DeferIfPermit(Option<String>),
    /// `DEFER_IF_REJECT text`.
    DeferIfReject,
    /// `WARN text` or `INFO text`: a line in the log.
    Warn(String),
    /// A list of restrictions.
    Restrictions(String),
}

/// Reads a value. `what` is named in the reply: `<a@b>: Recipient address`. Errors: it is not understood.
pub(super) fn action(value: &str, what: &str) -> Result<Action, String> {
    let (word, text) = value.split_once([' ', '\t']).map_or((value, ""), |(word, text)| (word, text.trim()));
    let refuse = |code: u16, class: u8| {
        let (enhanced, text) = enhanced_of(text).unwrap_or((Enhanced(class, 7, 1), text));
        // A table can make a refusal of a refusal's class only: nobody is told 550 4.7.1.
        let enhanced = if enhanced.0 == class { enhanced } else { Enhanced(class, 7, 1) };
        let text = if text.is_empty() { "Access denied" } else { text };
        Action::Refuse(Status::new(code, enhanced, format!("{what} rejected: {text}")))
    };
    let optional = (!text.is_empty()).then(|| text.to_owned());
    Ok(match word.to_ascii_uppercase().as_str() {
        "OK" => Action::Permit,
        "DUNNO" => Action::Dunno,
        "REJECT" => refuse(554, 5),
        "DEFER" => refuse(450, 4),
        "DEFER_IF_PERMIT" => Action::DeferIfPermit(optional),
        "DEFER_IF_REJECT" => Action::DeferIfReject,
        "WARN" | "INFO" => Action::Warn(text.to_owned()),
        code if code.len() == 3
            && code.bytes().all(|c| c.is_ascii_digit())
            && code.starts_with(['4', '5']) =>
        {
            let code: u16 = code.parse().map_err(|_| value.to_owned())?;
            refuse(code, if code < 500 { 4 } else { 5 })
        }
        number if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) => Action::Permit,
        _ if words::simple(word.trim_end_matches(',')).is_some() => Action::Restrictions(value.to_owned()),
        _ => return Err(format!("\"{value}\" is not understood in an access table")),
    })
}

/// Whether a value is one that [`action`] knows, and restrictions that it names are. Errors: what is wrong with it.
pub(super) fn understood(value: &str) -> Result<(), String> {
    match action(value, "")? {
        Action::Restrictions(text) => words::parse(&text).map(|_| ()).map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

/// `5.7.1 text`.
pub(crate) fn enhanced_of(text: &str) -> Option<(Enhanced, &str)> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = code.split('.').map(|part| part.parse::<u16>().ok());
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let fits = numbers.next().is_none() && (class == 4 || class == 5) && subject < 1000 && detail < 1000;
    fits.then_some((Enhanced(class as u8, subject, detail), rest.trim_start()))
}

/// Name, the domains above it, address, and the networks that its octets begin.
pub(super) fn client_keys(name: &str, address: Option<IpAddr>) -> Vec<String> {
    let mut keys = domain_keys(name);
    if let Some(address) = address {
        let separator = if address.is_ipv4() { '.' } else { ':' };
        let mut text = address.to_canonical().to_string();
        let separator = if text.contains(':') { separator } else { '.' };
        loop {
            keys.push(text.clone());
            match text.rfind(separator) {
                Some(at) if at > 0 => text.truncate(at),
                _ => break,
            }
        }
    }
    keys
}

/// The name and the domains above it.
pub(super) fn domain_keys(name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    if !name.is_empty() {
        keys.push(name.to_owned());
        if !name.starts_with('[') {
            keys.extend(name.match_indices('.').filter_map(|(at, _)| Some(name.get(at + 1..)?.to_owned())));
        }
    }
    keys
}

/// `user+ext@domain`, `user@domain`, the domain and those above it, `user+ext@`, `user@`; `<>` for the null reverse-path.
pub(super) fn address_keys(address: Option<&Address>, base: Option<&str>) -> Vec<String> {
    let Some(address) = address else { return vec!["<>".to_owned()] };
    let (local, domain) = (address.local(), address.domain());
    let mut keys = vec![format!("{local}@{domain}")];
    keys.extend(base.map(|base| format!("{base}@{domain}")));
    keys.extend(domain_keys(domain));
    keys.push(format!("{local}@"));
    keys.extend(base.map(|base| format!("{base}@")));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(
            client_keys("a.b.example", "192.0.2.7".parse().ok()),
            ["a.b.example", "b.example", "example", "192.0.2.7", "192.0.2", "192.0", "192"]
        );
        assert_eq!(client_keys("", "::ffff:192.0.2.7".parse().ok())[0], "192.0.2.7");
        assert_eq!(
            client_keys("", "2001:db8::1".parse().ok()),
            ["2001:db8::1", "2001:db8:", "2001:db8", "2001"]
        );
        let address = Address::parse(b"a+b@x.example").unwrap();
        assert_eq!(
            address_keys(Some(&address), Some("a")),
            ["a+b@x.example", "a@x.example", "x.example", "example", "a+b@", "a@"]
        );
        assert_eq!(address_keys(None, None), ["<>"]);
    }

    #[test]
    fn values() {
        let status = |value: &str| match action(value, "<x>: Sender address").unwrap() {
            Action::Refuse(status) => status.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(status("REJECT"), "554 5.7.1 <x>: Sender address rejected: Access denied");
        assert_eq!(status("reject Go away"), "554 5.7.1 <x>: Sender address rejected: Go away");
        assert_eq!(status("REJECT 5.1.8 Gone"), "554 5.1.8 <x>: Sender address rejected: Gone");
        assert_eq!(status("550 No"), "550 5.7.1 <x>: Sender address rejected: No");
        assert_eq!(status("450 5.7.1 Odd"), "450 4.7.1 <x>: Sender address rejected: Odd");
        assert_eq!(status("DEFER"), "450 4.7.1 <x>: Sender address rejected: Access denied");
        for (value, want) in [
            ("OK", Action::Permit),
            ("ok whatever", Action::Permit),
            ("1", Action::Permit),
            ("DUNNO", Action::Dunno),
            ("WARN look", Action::Warn("look".to_owned())),
            ("DEFER_IF_PERMIT", Action::DeferIfPermit(None)),
            ("permit_mynetworks, reject", Action::Restrictions("permit_mynetworks, reject".to_owned())),
        ] {
            assert_eq!(action(value, "x").unwrap(), want, "{value}");
        }
        for value in ["", "HOLD", "FILTER x:y", "DISCARD", "nonsense"] {
            assert!(action(value, "x").is_err(), "{value}");
        }
    }
}
