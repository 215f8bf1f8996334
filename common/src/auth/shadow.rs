//! /etc/shadow (shadow(5)), read directly.
//!
//! The file is the system's. What Dovecot's shadow passdb checks is checked: an empty password field, or one
//! beginning with `!` or `*`, never matches. The dates, which Dovecot leaves to PAM, are checked here as PAM's
//! account management does, because there is no PAM behind this program:
//!
//! * the account has expired (field 8): refused;
//! * the password is older than its maximum plus the days of grace (fields 5, 7): refused. Without days of grace
//!   (empty field 7) an old password is refused at once, since mail has no way to ask for a new one;
//! * the password must be changed at the next login (field 3 is 0): refused, for the same reason;
//! * the minimum age and the warning period mean nothing here.
//!
//! A shell that is no shell does not refuse: most mail users have none.

use super::lines::number;
use std::fmt;

/// What a shadow line says about its password field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// A hash to compare with.
    Open,
    /// Begins with `!` or `*`: no password matches.
    Locked,
    /// Empty: any password would do, so none does.
    Empty,
}

/// A line of the shadow file. Dates and spans are in days, dates since 1970-01-01.
#[derive(Clone, PartialEq, Eq)]
pub struct ShadowEntry {
    /// Login name.
    pub name: String,
    /// The password field. Secret.
    pub password: zeroize::Zeroizing<String>,
    /// Date of the last change; 0: must be changed.
    pub last_change: Option<u64>,
    /// Most days a password is good for.
    pub max_age: Option<u64>,
    /// Days of grace after that.
    pub inactive: Option<u64>,
    /// First day on which the account is no longer valid.
    pub expires: Option<u64>,
}

/// Why a right password is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ageing {
    /// Field 8 has come.
    AccountExpired,
    /// The password is too old.
    PasswordExpired,
    /// The password must be changed first.
    MustChange,
}

impl fmt::Display for Ageing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ageing::AccountExpired => "account has expired",
            Ageing::PasswordExpired => "password has expired",
            Ageing::MustChange => "password must be changed",
        })
    }
}

impl ShadowEntry {
    /// Reads `name:password:last:min:max:warn:inactive:expire:`. Empty and negative numbers mean "not set"; missing
    /// fields too. `None`: no name or no password field, not UTF-8, or a number that is none (then nothing about the
    /// account can be trusted).
    pub fn parse(line: &[u8]) -> Option<ShadowEntry> {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let password = fields.next()?;
        let mut days = [None; 6];
        for slot in &mut days {
            *slot = parse_days(fields.next().unwrap_or_default())?;
        }
        let [last_change, _min, max_age, _warn, inactive, expires] = days;
        Some(ShadowEntry {
            name: name.to_owned(),
            password: zeroize::Zeroizing::new(password.to_owned()),
            last_change,
            max_age,
            inactive,
            expires,
        })
    }

    /// What the password field is.
    pub fn lock(&self) -> Lock {
        lock_of(&self.password)
    }

    /// What, on this day, forbids a login with the right password.
    pub fn ageing(&self, today: u64) -> Option<Ageing> {
        if self.expires.is_some_and(|expires| today >= expires) {
            return Some(Ageing::AccountExpired);
        }
        match (self.last_change, self.max_age) {
            (Some(0), _) => Some(Ageing::MustChange),
            (Some(changed), Some(max)) => {
                let last = changed.saturating_add(max).saturating_add(self.inactive.unwrap_or(0));
                (today > last).then_some(Ageing::PasswordExpired)
            }
            _ => None,
        }
    }
}

/// What a password field of /etc/passwd or /etc/shadow is.
pub fn lock_of(password: &str) -> Lock {
    match password.as_bytes().first() {
        None => Lock::Empty,
        Some(b'!' | b'*') => Lock::Locked,
        Some(_) => Lock::Open,
    }
}

/// `Some(None)`: not set. `None`: not a number.
fn parse_days(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    if let Some(digits) = text.strip_prefix('-') {
        return number::<u64>(digits).map(|_| None);
    }
    number(text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(rest: &str) -> ShadowEntry {
        ShadowEntry::parse(format!("anna:{rest}").as_bytes()).unwrap()
    }

    #[test]
    fn every_ageing_field() {
        let today = 20_000;
        for (rest, expected) in [
            ("h:19000:0:99999:7:::", None),
            ("h", None),
            ("h:::::::", None),
            ("h:19000:0:-1:7:-1:-1:", None),
            // Expires on a day: the day before is the last.
            ("h:19000:0:99999:7::20001:", None),
            ("h:19000:0:99999:7::20000:", Some(Ageing::AccountExpired)),
            ("h:19000:0:99999:7::0:", Some(Ageing::AccountExpired)),
            // The password's age, without and with grace.
            ("h:19900:0:100:7:::", None),
            ("h:19899:0:100:7:::", Some(Ageing::PasswordExpired)),
            ("h:19899:0:100:7:0::", Some(Ageing::PasswordExpired)),
            ("h:19899:0:100:7:1::", None),
            ("h:19898:0:100:7:1::", Some(Ageing::PasswordExpired)),
            ("h::0:1:7:::", None),
            ("h:0:0:99999:7:::", Some(Ageing::MustChange)),
            ("h:0:0::7:::", Some(Ageing::MustChange)),
            ("h:18446744073709551615:0:18446744073709551615:7:18446744073709551615::", None),
            // The minimum age does not keep anybody out.
            ("h:20000:9999:99999:7:::", None),
        ] {
            assert_eq!(entry(rest).ageing(today), expected, "{rest}");
        }
    }

    #[test]
    fn password_fields() {
        for (field, lock) in [
            ("", Lock::Empty),
            ("!", Lock::Locked),
            ("!!", Lock::Locked),
            ("*", Lock::Locked),
            ("!*", Lock::Locked),
            ("!$6$salt$hash", Lock::Locked),
            ("*LK*", Lock::Locked),
            ("$6$salt$hash", Lock::Open),
            ("x", Lock::Open),
        ] {
            assert_eq!(entry(&format!("{field}:19000:0:99999:7:::")).lock(), lock, "{field}");
        }
    }

    #[test]
    fn lines_that_are_none() {
        for line in [
            &b""[..],
            b"anna",
            b":h:1::::::",
            b"#anna:h:1:",
            b"+::",
            b"anna:h:x:::::",
            b"anna:h:1:::::2x:",
            b"\xff:h",
        ] {
            assert!(ShadowEntry::parse(line).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>, today: u64) {
            if let Some(entry) = ShadowEntry::parse(&line) {
                let _ = entry.ageing(today);
            }
        }

        #[test]
        fn no_numbers_panic(a in "[-0-9]{0,21}", b in "[-0-9]{0,21}", c in "[-0-9]{0,21}", d in "[-0-9]{0,21}", today: u64) {
            if let Some(entry) = ShadowEntry::parse(format!("anna:h:{a}:0:{b}:7:{c}:{d}:").as_bytes()) {
                let _ = entry.ageing(today);
            }
        }
    }
}
