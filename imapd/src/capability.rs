//! The list of CAPABILITY (RFC 3501 section 6.1.1), which must be true in the state it is asked in.

use common::config::Config;
use std::fmt::Write as _;

/// What works in every state. LITERAL- (RFC 7888): before the login literals are small.
const BEFORE_LOGIN: &str = "IMAP4rev1 SASL-IR LITERAL- ENABLE ID IDLE";

/// What works after the login.
const AFTER_LOGIN: &str = "IMAP4rev1 LITERAL+ ENABLE ID IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS MOVE MULTIAPPEND \
     CONDSTORE LIST-EXTENDED LIST-STATUS STATUS=SIZE SPECIAL-USE CREATE-SPECIAL-USE ESEARCH WITHIN SORT SORT=DISPLAY \
     THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS I18NLEVEL=1";

/// Before the login: the SASL mechanisms on offer now, blank-separated; whether STARTTLS would be taken, and whether LOGIN.
pub fn before_login(config: &Config, mechanisms: &str, start_tls: bool, login: bool) -> String {
    let mut list = overridden(config, BEFORE_LOGIN.to_owned());
    if start_tls {
        list += " STARTTLS";
    }
    if !login {
        // RFC 3501 section 6.2.3.
        list += " LOGINDISABLED";
    }
    for mechanism in mechanisms.split(' ').filter(|mechanism| !mechanism.is_empty()) {
        let _ = write!(list, " AUTH={mechanism}");
    }
    list
}

/// After the login.
pub fn after_login(config: &Config) -> String {
    let mut list = AFTER_LOGIN.to_owned();
    // RFC 7889 section 3: the same for every mailbox.
    let limit = config.message_size_limit.0;
    if limit != 0 {
        let _ = write!(list, " APPENDLIMIT={}", limit.min(u64::from(u32::MAX)));
    }
    overridden(config, list)
}

/// What `imap_capability` makes of a list, as with Dovecot: another list, or with `+` more of it.
fn overridden(config: &Config, mut list: String) -> String {
    let wanted = config.imap_capability.trim();
    if wanted.is_empty() {
        return list;
    }
    if !wanted.starts_with('+') {
        return wanted.to_owned();
    }
    for name in wanted.split(' ').map(|name| name.trim_start_matches('+')).filter(|name| !name.is_empty()) {
        if !list.split(' ').any(|known| known.eq_ignore_ascii_case(name)) {
            list.push(' ');
            list += name;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(imap_capability: &'static str) -> Config {
        Config { imap_capability: imap_capability.into(), ..Config::DEFAULT }
    }

    #[test]
    fn the_list_is_that_of_the_state() {
        assert_eq!(
            before_login(&config(""), "PLAIN LOGIN", true, true),
            format!("{BEFORE_LOGIN} STARTTLS AUTH=PLAIN AUTH=LOGIN")
        );
        assert_eq!(before_login(&config(""), "", false, false), format!("{BEFORE_LOGIN} LOGINDISABLED"));
        assert_eq!(after_login(&config("")), format!("{AFTER_LOGIN} APPENDLIMIT=31457280"));
    }

    #[test]
    fn the_setting_replaces_it_or_adds_to_it() {
        assert_eq!(after_login(&config("IMAP4rev1 X")), "IMAP4rev1 X");
        assert_eq!(before_login(&config("IMAP4rev1"), "PLAIN", false, true), "IMAP4rev1 AUTH=PLAIN");
        assert!(after_login(&config("+XFOO idle +XBAR")).ends_with("APPENDLIMIT=31457280 XFOO XBAR"));
    }
}
