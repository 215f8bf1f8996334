//! `--check`: settings of IMAP whose values are right each, and with which clients would not be served.

use common::config::Config;
use common::config::check::Finding;
use common::hierarchy::Namespaces;
use common::maildir::{Location, User};
use std::path::Path;

/// Octets of a command line with less of which hardly a client gets along (RFC 7162 section 4 speaks of 8192 for those that sync).
const LINE_MIN: u64 = 1000;

/// What is wrong, and what is to be done about it.
pub fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if config.imap_idle_timeout.is_zero() {
        let what = "imap_idle_timeout is 0: every client would be late";
        found.push(Finding::error(what, "give it some time, 30 minutes say (RFC 3501 section 5.4)"));
    }
    if config.imap_max_line_length.0 < LINE_MIN {
        let what = format!("imap_max_line_length is less than {LINE_MIN}: clients send longer commands");
        found.push(Finding::warning(what, "set it to 64K"));
    }
    if config.imap_id_send.split_ascii_whitespace().count() % 2 != 0 {
        let what = "imap_id_send has a field without a value: it is left out";
        found.push(Finding::warning(what, "name a field and its value in turns"));
    }
    namespaces(config, &mut found);
    found
}

/// Whether they fit together for a user, whoever that is.
fn namespaces(config: &Config, found: &mut Vec<Finding>) {
    let user = User { name: "user@example.com", home: Path::new("/home/user") };
    let location = Location::parse(config.mail_location.text(), user);
    if let Err(error) = location.and_then(|location| Namespaces::new(location, config, user)) {
        found.push(Finding::error(error.0, "change one of them"));
    }
    let shared = config.namespace_shared_location.text();
    let names_its_owner = ["%%u", "%%n", "%%d"].iter().any(|owner| shared.contains(owner));
    if !shared.is_empty() && !names_its_owner {
        let what = "namespace_shared_location is the same place for every owner";
        found.push(Finding::warning(what, "say whose mailboxes it has: %%u, or %%n and %%d"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_nobody_could_be_served_with_are_found() {
        let public = ["namespace_public_location=maildir:/p", "namespace_public_prefix=Same."];
        let shared = ["namespace_shared_location=maildir:/s/%%u", "namespace_shared_prefix=Same."];
        for (settings, want) in [
            (&[][..], ""),
            (&["imap_idle_timeout=0"], "error: imap_idle_timeout is 0"),
            (&["imap_max_line_length=999"], "warning: imap_max_line_length is less than 1000"),
            (&["imap_max_line_length=1000"], ""),
            (&["imap_id_send=name * bogus"], "warning: imap_id_send has a field without a value"),
            (&["imap_id_send=name * os *"], ""),
            (&public, ""),
            (&shared, ""),
            (&[public, shared].concat(), "error: two namespaces have the same prefix"),
            (&["namespace_shared_location=maildir:/s"], "warning: namespace_shared_location is the same"),
        ] {
            let config = Config::from_pairs(&crate::PROGRAM.line, settings.iter().copied()).unwrap();
            let found: Vec<String> = findings(&config).iter().map(Finding::to_string).collect();
            match want {
                "" => assert!(found.is_empty(), "{settings:?}: {found:?}"),
                want => assert!(found.len() == 1 && found[0].starts_with(want), "{settings:?}: {found:?}"),
            }
        }
    }
}
