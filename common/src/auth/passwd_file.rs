//! Dovecot's passwd-file: `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra`.
//!
//! The file is the administrator's, but a line may be any octets: parsing never panics, and a line that is not
//! understood locks its user and is a warning.
//!
//! * All fields after the user may be missing or empty.
//! * `extra` is a list of `name=value` and bare names, separated by blanks; a `:` in it is no separator. What has a
//!   meaning here: `userdb_mail`, `userdb_home`, `userdb_uid`, `userdb_gid`, `allow_nets`, `proto` (`!` in front of
//!   a name: all but that), `nologin`, `reason`, `nodelay`. The rest, other `userdb_` names
//!   too, does nothing.
//! * Several lines for one user are several passwords of that user (app passwords), tried in the order of the file,
//!   at most [`MAX_LINES`] of them. Where another line has the same number of passwords in a row, no more time
//!   shows.
//! * A line that begins with `#` or `:` and an empty one are comments.

use super::decoy::Decoy;
use super::lines::{Lines, is_for};
use super::scheme::Stored;
use std::fmt;
use std::fs::File;
use std::io;

/// Most lines of one user that are looked at. Each may cost a hash.
pub const MAX_LINES: usize = 8;

/// A line, taken apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PasswdFileEntry {
    /// The user, never empty.
    pub user: String,
    /// Scheme and hash, or the password itself. Secret. Empty: none matches.
    pub password: zeroize::Zeroizing<String>,
    /// User id, a number or a name; empty: the default.
    pub uid: String,
    /// Group id, likewise.
    pub gid: String,
    /// Free text.
    pub gecos: String,
    /// Home directory; may be empty.
    pub home: String,
    /// Not looked at.
    pub shell: String,
    /// The extra fields in their order, without empty ones.
    pub extra: Vec<(String, Option<String>)>,
}

impl PasswdFileEntry {
    /// Reads one line without its end. Errors say what is wrong without quoting the line.
    pub fn parse(line: &[u8]) -> Result<PasswdFileEntry, &'static str> {
        let text = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err("control character");
        }
        let mut fields = text.splitn(8, ':');
        let mut next = || fields.next().unwrap_or_default();
        let user = next();
        if user.is_empty() || user.starts_with('#') {
            return Err("no user");
        }
        let mut entry = PasswdFileEntry {
            user: user.to_owned(),
            password: zeroize::Zeroizing::new(next().to_owned()),
            uid: next().to_owned(),
            gid: next().to_owned(),
            gecos: next().to_owned(),
            home: next().to_owned(),
            shell: next().to_owned(),
            extra: Vec::new(),
        };
        for item in next().split([' ', '\t']).filter(|item| !item.is_empty()) {
            let (name, value) =
                item.split_once('=').map_or((item, None), |(name, value)| (name, Some(value.to_owned())));
            if name.is_empty() {
                return Err("extra field without a name");
            }
            entry.extra.push((name.to_owned(), value));
        }
        Ok(entry)
    }

    /// The value of an extra field; `Some("")` for a bare name. The last one counts.
    pub fn extra(&self, name: &str) -> Option<&str> {
        let found = self.extra.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_deref().unwrap_or_default())
    }

    /// User id, group id and home directory as the session gets them: an extra field goes before the plain one.
    pub fn uid_gid_home(&self) -> (&str, &str, &str) {
        let pick = |extra, plain| self.extra(extra).filter(|value| !value.is_empty()).unwrap_or(plain);
        (
            pick("userdb_uid", self.uid.as_str()),
            pick("userdb_gid", self.gid.as_str()),
            pick("userdb_home", self.home.as_str()),
        )
    }

    /// Whether the line is for this protocol: `proto=imap`, `proto=imap,smtp`, `proto=!pop3`.
    pub fn allows_protocol(&self, protocol: &str) -> bool {
        let Some(list) = self.extra("proto") else { return true };
        let mut only = false;
        for item in list.split(',').map(str::trim) {
            match item.strip_prefix('!') {
                Some(not) if not.eq_ignore_ascii_case(protocol) => return false,
                Some(_) => {}
                None if item.eq_ignore_ascii_case(protocol) => return true,
                None => only = true,
            }
        }
        !only
    }
}

/// Prints the line that [`PasswdFileEntry::parse`] reads, without trailing empty fields.
impl fmt::Display for PasswdFileEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<String> = self
            .extra
            .iter()
            .map(|(name, value)| {
                value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
            })
            .collect();
        let extra = extra.join(" ");
        let fields =
            [&self.user, &*self.password, &self.uid, &self.gid, &self.gecos, &self.home, &self.shell, &extra];
        let used = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        for (index, field) in fields.iter().take(used).enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            f.write_str(field)?;
        }
        Ok(())
    }
}

/// What the file says about a user.
pub struct Found {
    /// The user's lines in their order, at most [`MAX_LINES`].
    pub entries: Vec<PasswdFileEntry>,
    /// The longest run of lines of one user anywhere in the file: how many hashes a failure costs.
    pub longest_run: usize,
    /// What to hash against when there is nothing to hash against.
    pub decoy: Decoy,
    /// What is wrong with the user's lines; the entries that are understood are above.
    pub problems: Vec<String>,
    /// Lines that could not even be looked at.
    pub skipped: usize,
}

/// Reads the whole file, so that it takes the same time for every user. `usable` says whether an entry can be a
/// decoy. Errors: the file cannot be read.
pub fn find(file: &File, user: &str, usable: impl Fn(&Stored) -> bool) -> io::Result<Found> {
    let mut found = Found {
        entries: Vec::new(),
        longest_run: 1,
        decoy: Decoy::new(user),
        problems: Vec::new(),
        skipped: 0,
    };
    let mut lines = Lines::new(file);
    let mut run = 0;
    let mut run_of: Vec<u8> = Vec::new();
    while let Some(line) = lines.next()? {
        let mut fields = line.split(|&c| c == b':');
        let name = fields.next().unwrap_or_default();
        let password = fields.next().unwrap_or_default();
        if name.is_empty() || name.starts_with(b"#") {
            continue;
        }
        run = if run_of == name { run + 1 } else { 1 };
        if run == 1 {
            run_of.clear();
            run_of.extend_from_slice(name);
        }
        found.longest_run = found.longest_run.max(run).min(MAX_LINES);
        if let Ok(password) = std::str::from_utf8(password) {
            found.decoy.offer(name, password, |text| Stored::parse(text).is_ok_and(|stored| usable(&stored)));
        }
        if is_for(line, user) {
            match PasswdFileEntry::parse(line) {
                Ok(entry) if found.entries.len() < MAX_LINES => found.entries.push(entry),
                Ok(_) => found.problems.push(format!("more than {MAX_LINES} lines for one user")),
                Err(problem) => found.problems.push(problem.to_owned()),
            }
        }
    }
    found.skipped = lines.skipped();
    Ok(found)
}

/// The user's first line that is understood, for those who have nothing to prove: reading ends there. Errors: the file
/// cannot be read.
pub fn first(file: &File, user: &str) -> io::Result<Option<PasswdFileEntry>> {
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next()? {
        if is_for(line, user) {
            if let Ok(entry) = PasswdFileEntry::parse(line) {
                return Ok(Some(entry));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::Scratch;
    use proptest::prelude::*;

    fn parse(line: &str) -> PasswdFileEntry {
        PasswdFileEntry::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_whole_line() {
        let line = "anna@example.org:{PLAIN}pa ss:vmail:5000:A. N.:/srv/anna:/bin/false:userdb_mail=maildir:~/Mail  nologin \
                    userdb_quota_rule=*:storage=1G allow_nets=10.0.0.0/8";
        let entry = parse(line);
        assert_eq!((entry.user.as_str(), entry.password.as_str()), ("anna@example.org", "{PLAIN}pa ss"));
        assert_eq!(entry.uid_gid_home(), ("vmail", "5000", "/srv/anna"));
        assert_eq!(entry.extra("userdb_mail"), Some("maildir:~/Mail"));
        assert_eq!(entry.extra("userdb_quota_rule"), Some("*:storage=1G"));
        assert_eq!(entry.extra("nologin"), Some(""));
        assert_eq!(entry.extra("nodelay"), None);
        assert_eq!(entry.to_string(), line.replace("  ", " "));
    }

    #[test]
    fn short_lines() {
        assert_eq!(parse("anna").password.as_str(), "");
        assert_eq!(parse("anna:x").to_string(), "anna:x");
        assert_eq!(parse("anna:x:::::").to_string(), "anna:x");
        assert_eq!(
            parse("anna:x::::/h::userdb_home=/other userdb_uid=7 userdb_gid=").uid_gid_home(),
            ("7", "", "/other")
        );
    }

    #[test]
    fn lines_that_are_none() {
        for line in [&b""[..], b":x", b"#anna:x", b"\xff:x", b"an\0na:x", b"an\x1bna:x", b"anna:x::::::=y"] {
            assert!(PasswdFileEntry::parse(line).is_err());
        }
    }

    #[test]
    fn protocols() {
        for (list, protocol, expected) in [
            ("pop3", "pop3", true),
            ("POP3", "pop3", true),
            ("imap", "pop3", false),
            ("imap,pop3", "pop3", true),
            ("!pop3", "pop3", false),
            ("!imap", "pop3", true),
            ("", "pop3", false),
            ("imap, pop3", "smtp", false),
        ] {
            assert_eq!(
                parse(&format!("a:x::::::proto={list}").replace(", ", ",")).allows_protocol(protocol),
                expected,
                "{list}"
            );
        }
        assert!(parse("a:x").allows_protocol("pop3"));
    }

    #[test]
    fn finding_all_lines_of_a_user() {
        let scratch = Scratch::new();
        let mut content =
            "# comment\n\nanna:{PLAIN}one\nbert:{PLAIN}b\nbert:{PLAIN}c\nanna:{PLAIN}two\nanna:{\x01}\n"
                .to_owned();
        content.push_str(&"carl:{PLAIN}x\n".repeat(MAX_LINES + 3));
        let path = scratch.file("users", content);
        let file = || File::open(&path).unwrap();
        let anna = find(&file(), "anna", |_| true).unwrap();
        let passwords: Vec<&str> = anna.entries.iter().map(|entry| entry.password.as_str()).collect();
        assert_eq!(passwords, ["{PLAIN}one", "{PLAIN}two"]);
        assert_eq!((anna.problems.len(), anna.longest_run), (1, MAX_LINES));
        let carl = find(&file(), "carl", |_| true).unwrap();
        assert_eq!((carl.entries.len(), carl.problems.len()), (MAX_LINES, 3));
        let none = find(&file(), "dora", |_| true).unwrap();
        assert!(none.entries.is_empty() && none.decoy.hash().is_some());
        assert!(find(&file(), "dora", |_| false).unwrap().decoy.hash().is_none());
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = PasswdFileEntry::parse(&line);
        }

        #[test]
        fn what_is_printed_is_read_again(line in "[a-z#@{}:!=,. \\\\/\u{e4}-]{0,60}") {
            if let Ok(entry) = PasswdFileEntry::parse(line.as_bytes()) {
                let printed = entry.to_string();
                let again = PasswdFileEntry::parse(printed.as_bytes()).unwrap();
                prop_assert_eq!(again.to_string(), printed);
                prop_assert!(again == entry);
            }
        }
    }
}
