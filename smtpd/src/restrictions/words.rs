//! From words to restrictions.

use super::{Restriction, Subject};
use crate::map::Map;
use crate::values;
use std::io;

/// Words in front of a map.
const CHECKS: [(&str, Subject); 5] = [
    ("check_client_access", Subject::Client),
    ("check_helo_access", Subject::Helo),
    ("check_sender_access", Subject::Sender),
    ("check_recipient_access", Subject::Recipient),
    ("check_sasl_access", Subject::Login),
];

/// What Postfix has and this server has not, by the start of the word, and why.
const OUTSIDE: [(&str, &str); 13] = [
    ("reject_rbl_", "needs DNS at reception, which there is not"),
    ("reject_rhsbl_", "needs DNS at reception, which there is not"),
    ("reject_dnswl_", "needs DNS at reception, which there is not"),
    ("permit_dnswl_", "needs DNS at reception, which there is not"),
    ("permit_rhswl_", "needs DNS at reception, which there is not"),
    ("reject_unknown_", "needs DNS at reception, which there is not"),
    ("reject_unverified_", "needs probes of other hosts, which there are not"),
    ("permit_mx_backup", "needs DNS at reception: list the domains in relay_domains"),
    ("check_policy_service", "needs a policy service, which there is not yet"),
    ("permit_tls_", "client certificates give no right to relay; they log in with EXTERNAL"),
    ("check_ccert_access", "client certificates give no right to relay; they log in with EXTERNAL"),
    ("check_reverse_", "needs DNS at reception, which there is not"),
    ("sleep", "there is no waiting: a process for each client would wait with it"),
];

/// Reads a list.
pub(super) fn parse(text: &str) -> io::Result<Vec<Restriction>> {
    let mut list = Vec::new();
    let mut words = values::words(text);
    while let Some(word) = words.next() {
        let wrong = |why: &str| io::Error::other(format!("{word}: {why}"));
        if let Some((_, subject)) = CHECKS.iter().find(|(check, _)| *check == word) {
            let map = words.next().ok_or_else(|| wrong("a map is missing behind it"))?;
            let map = Map::parse(map)?;
            if let Map::File(path) | Map::Cidr(path) = &map {
                std::fs::metadata(path).map_err(|error| wrong(&format!("{}: {error}", path.display())))?;
            }
            if let (Map::Cidr(_), false) = (&map, *subject == Subject::Client) {
                return Err(wrong("only clients have addresses"));
            }
            list.push(Restriction::CheckAccess(*subject, map));
            continue;
        }
        let restriction = match simple(word) {
            Some(restriction) => restriction,
            None => {
                let outside = OUTSIDE.iter().find(|(start, _)| word.starts_with(start));
                return Err(wrong(outside.map_or("no such restriction", |(_, why)| why)));
            }
        };
        list.push(restriction);
    }
    if list.last() == Some(&Restriction::WarnIfReject) {
        return Err(io::Error::other("warn_if_reject: nothing follows it"));
    }
    Ok(list)
}

pub(super) fn simple(word: &str) -> Option<Restriction> {
    use Restriction as R;
    let mismatch = |logged_in, not_logged_in, known_only| R::RejectSenderLoginMismatch {
        logged_in,
        not_logged_in,
        known_only,
    };
    Some(match word {
        "permit" => R::Permit,
        "reject" => R::Reject,
        "defer" => R::Defer,
        "permit_mynetworks" => R::PermitMynetworks,
        "permit_sasl_authenticated" => R::PermitSaslAuthenticated,
        "permit_auth_destination" => R::PermitAuthDestination,
        "permit_inet_interfaces" => R::PermitInetInterfaces,
        "reject_unauth_destination" => R::RejectUnauthDestination,
        "defer_unauth_destination" => R::DeferUnauthDestination,
        "reject_unauth_pipelining" => R::RejectUnauthPipelining,
        "reject_plaintext_session" => R::RejectPlaintextSession,
        "reject_multi_recipient_bounce" => R::RejectMultiRecipientBounce,
        "reject_invalid_helo_hostname" | "reject_invalid_hostname" => R::RejectInvalidHelo,
        "reject_non_fqdn_helo_hostname" | "reject_non_fqdn_hostname" => R::RejectNonFqdnHelo,
        "reject_non_fqdn_sender" => R::RejectNonFqdnSender,
        "reject_non_fqdn_recipient" => R::RejectNonFqdnRecipient,
        "reject_unlisted_sender" => R::RejectUnlistedSender,
        "reject_unlisted_recipient" => R::RejectUnlistedRecipient,
        "reject_sender_login_mismatch" => mismatch(true, true, false),
        "reject_authenticated_sender_login_mismatch" => mismatch(true, false, false),
        "reject_unauthenticated_sender_login_mismatch" => mismatch(false, true, false),
        "reject_known_sender_login_mismatch" => mismatch(true, true, true),
        "warn_if_reject" => R::WarnIfReject,
        "defer_if_permit" => R::DeferIfPermit,
        "defer_if_reject" => R::DeferIfReject,
        _ => return None,
    })
}
