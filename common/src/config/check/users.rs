//! The lines of a passwd-file: those that let nobody in, though they look as if they did.

use super::{Finding, Severity};
use crate::auth::crypt::HashLimits;
use crate::auth::lines::{Lines, number};
use crate::auth::nets;
use crate::auth::passwd::{find_group, find_user};
use crate::auth::passwd_file::PasswdFileEntry;
use crate::auth::scheme::Stored;
use crate::auth::shadow::{Lock, lock_of};
use crate::config::Config;
use crate::config::keyword::Mechanism;
use crate::log::readable;
use crate::maildir::{Location, User};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Most lines of a file that are named; the others are counted.
const NAMED: usize = 10;

/// SCRAM tells everybody a user's salt, so names that nobody has need one too, which only this host can compute.
pub(super) fn made_up_salts(config: &Config, machine_id: &Path, found: &mut Vec<Finding>) {
    let is_scram = |mechanism: Mechanism| config.auth_mechanisms.contains(mechanism);
    let wanted = is_scram(Mechanism::ScramSha1) || is_scram(Mechanism::ScramSha256);
    let has_id = || std::fs::read(machine_id).is_ok_and(|id| !id.is_empty());
    if wanted && crate::process::login::may_store_secrets(config) && !has_id() {
        let what =
            format!("{} is missing or empty: with SCRAM a client can find out names", machine_id.display());
        found.push(Finding::warning(what, "let it have 32 random hexadecimal digits"));
    }
}

/// A fault of one line.
type Fault = (Severity, String, &'static str);

/// Looks at every line of a passwd-file. With `accounts` false only the passwords count (those of masters).
pub(super) fn passwd_file(config: &Config, path: &Path, accounts: bool, found: &mut Vec<Finding>) {
    // That it cannot be opened has been found before.
    let Ok(file) = File::open(path) else { return };
    let mut names = Names { config, last: None };
    let mut lines = Lines::new(&file);
    let (mut named, mut more) = (0, 0);
    loop {
        let fault = match lines.next() {
            Ok(Some(line)) => fault_of(line, config, accounts, &mut names),
            Ok(None) => break,
            Err(error) => {
                return found.push(Finding::error(format!("{}: {error}", path.display()), "mend the file"));
            }
        };
        let Some((severity, what, advice)) = fault else { continue };
        if named == NAMED {
            more += 1;
            continue;
        }
        named += 1;
        let what = format!("{}:{}: {what}", path.display(), lines.number());
        found.push(Finding { severity, what, advice: advice.to_owned() });
    }
    let shown = path.display();
    if lines.skipped() > 0 {
        let what = format!("{shown}: {} lines are too long or have a NUL", lines.skipped());
        found.push(Finding::error(what, "mend them"));
    }
    if more > 0 {
        found.push(Finding::warning(
            format!("{shown}: and {more} more such lines"),
            "mend the first ones and check again",
        ));
    }
}

/// What is wrong with a line, if anything. Nothing of it but the user's name is quoted.
fn fault_of(line: &[u8], config: &Config, accounts: bool, names: &mut Names<'_>) -> Option<Fault> {
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b":") {
        return None;
    }
    let entry = match PasswdFileEntry::parse(line) {
        Ok(entry) => entry,
        Err(problem) => return Some((Severity::Error, problem.to_owned(), "mend the line, or remove it")),
    };
    let about = |severity, what: &dyn std::fmt::Display, advice| {
        Some((severity, format!("user {}: {what}", readable(entry.user.as_bytes())), advice))
    };
    match lock_of(&entry.password) {
        Lock::Locked => {}
        Lock::Empty => {
            return about(Severity::Warning, &"no password, so no login", "set one, or * to lock the user");
        }
        Lock::Open => {
            let limits = HashLimits { memory: config.auth_hash_memory_limit.0, wait: Duration::ZERO };
            if let Err(error) = Stored::parse(&entry.password).and_then(|stored| stored.inspect(&limits)) {
                return about(Severity::Error, &error, "set the password anew");
            }
        }
    }
    if entry.extra("allow_nets").is_some_and(|list| nets::contains(list, None).is_none()) {
        return about(
            Severity::Error,
            &"damaged allow_nets",
            "name networks as in 192.0.2.0/24,2001:db8::/32",
        );
    }
    if !accounts {
        return None;
    }
    let (uid, gid, home) = entry.uid_gid_home();
    let ids = [(Id::User, uid), (Id::Group, gid)].map(|(id, text)| names.number(id, text));
    let [uid, _] = match ids {
        [Err(what), _] | [_, Err(what)] => return about(Severity::Error, &what, "name one that exists"),
        // Without root everybody is who started the server.
        [Ok(None), _] | [_, Ok(None)] if crate::sys::process::is_root() => {
            return about(
                Severity::Error,
                &"no uid or gid",
                "name them in the line, or set mail_uid and mail_gid",
            );
        }
        [Ok(uid), Ok(gid)] => [uid, gid],
    };
    if let Some(0) = uid {
        return about(Severity::Warning, &"uid 0: root cannot log in", "name another uid");
    }
    if uid.is_some_and(|uid| uid < config.first_valid_uid) {
        let what = "the uid is below first_valid_uid: no login";
        return about(Severity::Warning, &what, "name another uid, or lower first_valid_uid");
    }
    if uid.is_some_and(|uid| config.last_valid_uid != 0 && uid > config.last_valid_uid) {
        let what = "the uid is above last_valid_uid: no login";
        return about(Severity::Warning, &what, "name another uid, or raise last_valid_uid");
    }
    let mail = entry.extra("userdb_mail").filter(|mail| !mail.is_empty())?;
    let home = Path::new(if home.is_empty() { "/nonexistent" } else { home });
    match Location::parse(mail, User { name: &entry.user, home }) {
        Ok(_) => None,
        Err(error) => about(Severity::Error, &error.0, "write it as mail_location is written"),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Id {
    User,
    Group,
}

/// Looks names up. A file with many users usually has one name for all of them.
struct Names<'a> {
    config: &'a Config,
    last: Option<(Id, String, u32)>,
}

impl Names<'_> {
    /// The number that a line's field means; `Ok(None)`: neither the line nor the configuration has one.
    fn number(&mut self, id: Id, text: &str) -> Result<Option<u32>, String> {
        let default = if id == Id::User { &self.config.mail_uid } else { &self.config.mail_gid };
        let text = if text.is_empty() { default } else { text };
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(number) = number(text) {
            return Ok(Some(number));
        }
        if let Some((_, _, number)) = self.last.as_ref().filter(|(of, name, _)| *of == id && name == text) {
            return Ok(Some(*number));
        }
        let unknown = || {
            format!("unknown {} {}", if id == Id::User { "user" } else { "group" }, readable(text.as_bytes()))
        };
        let number = self
            .look_up(id, text)
            .map_err(|error| format!("cannot look up {text}: {error}"))?
            .ok_or_else(unknown)?;
        self.last = Some((id, text.to_owned(), number));
        Ok(Some(number))
    }

    fn look_up(&self, id: Id, name: &str) -> io::Result<Option<u32>> {
        match id {
            Id::User => {
                Ok(find_user(Path::new(self.config.passwd_path.as_str()), name)?.map(|user| user.uid))
            }
            Id::Group => find_group(Path::new(self.config.group_path.as_str()), name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROGRAM, Place};
    use super::*;

    /// What is found in a file with these lines.
    fn found(name: &str, lines: &str, more: &[&str]) -> Vec<String> {
        let place = Place::new(name);
        place.file("users", 0o600, lines);
        place.check(&[&["passdb=passwd-file:DIR/users"], more].concat())
    }

    #[test]
    fn scram_needs_the_machine_s_id() {
        let place = Place::new("salts");
        let (id, empty) = (place.file("id", 0o644, "0123456789abcdef\n"), place.file("empty", 0o644, ""));
        let users = "passdb=passwd-file:/etc/users";
        let rows: [(&[&str], &str, bool); 6] = [
            (&[users], &empty, false),
            (&[users, "auth_mechanisms=plain scram-sha-1"], &id, false),
            (&[users, "auth_mechanisms=plain scram-sha-1"], &empty, true),
            (&[users, "auth_mechanisms=scram-sha-256"], "/nonexistent/id", true),
            (&["auth_mechanisms=scram-sha-256"], &empty, false),
            (&[users, "auth_mechanisms=cram-md5"], &empty, false),
        ];
        for (pairs, machine_id, wanted) in rows {
            let config = Config::from_pairs(&PROGRAM, pairs.iter().copied()).unwrap();
            let mut found = Vec::new();
            made_up_salts(&config, Path::new(machine_id), &mut found);
            assert_eq!(found.len(), usize::from(wanted), "{pairs:?} {machine_id}: {found:?}");
        }
    }

    const UID: &str = "mail_uid=1000";
    const GID: &str = "mail_gid=1000";

    #[test]
    fn sound_lines_are_passed_over() {
        let lines = "# all\n\n:\nann:{PLAIN}x:1000:1000::/home/ann::userdb_mail=maildir:~/M allow_nets=::1,local\nbob:*\n\
                     eve:{PLAIN}x:nobody:root\ndan:{PLAIN}y::::::\n";
        assert_eq!(found("users-sound", lines, &[UID, GID]), [""; 0]);
    }

    #[test]
    fn each_line_that_lets_nobody_in_is_named() {
        let rows = [
            ("a\u{7}b:{PLAIN}x", "error: DIR/users:1: control character"),
            ("ann:{ROT13}x", "error: DIR/users:1: user ann: unknown password scheme {ROT13}"),
            ("ann:{SHA256}x", "error: DIR/users:1: user ann: damaged password hash"),
            ("ann:", "warning: DIR/users:1: user ann: no password"),
            ("ann:{PLAIN}x:0:1000", "warning: DIR/users:1: user ann: uid 0"),
            ("ann:{PLAIN}x:root:1000", "warning: DIR/users:1: user ann: uid 0"),
            ("ann:{PLAIN}x:499:1000", "warning: DIR/users:1: user ann: the uid is below first_valid_uid"),
            ("ann:{PLAIN}x:5000:1000", "warning: DIR/users:1: user ann: the uid is above last_valid_uid"),
            ("ann:{PLAIN}x:vmail:1000", "error: DIR/users:1: user ann: unknown user vmail"),
            ("ann:{PLAIN}x:1000:vmail", "error: DIR/users:1: user ann: unknown group vmail"),
            ("ann:{PLAIN}x:1000:1000::/h::allow_nets=x", "error: DIR/users:1: user ann: damaged allow_nets"),
            (
                "ann:{PLAIN}x:1000:1000::/h::userdb_mail=mbox:~/m",
                "error: DIR/users:1: user ann: mail_location = mbox",
            ),
        ];
        for (line, want) in rows {
            let found = found("users-faults", line, &[UID, GID, "last_valid_uid=4000"]);
            assert!(found.len() == 1 && found[0].starts_with(want), "{line:?}: {found:?}");
            assert!(!found[0].contains("PLAIN"), "a password is not shown: {found:?}");
        }
    }

    #[test]
    fn the_first_ones_are_named_and_the_others_counted() {
        let lines = format!("{}{}\n", "ann:{ROT13}x\n".repeat(14), "x".repeat(5000));
        let found = found("users-many", &lines, &[UID, GID]);
        assert_eq!(found.len(), 12, "{found:?}");
        assert!(found[9].starts_with("error: DIR/users:10: user ann"), "{found:?}");
        assert!(found[10].starts_with("error: DIR/users: 1 lines are too long"), "{found:?}");
        assert!(found[11].starts_with("warning: DIR/users: and 4 more such lines"), "{found:?}");
    }

    #[test]
    fn masters_need_no_account() {
        let place = Place::new("users-master");
        place.file("masters", 0o600, "ann:{PLAIN}x\nbob:{ROT13}x\n");
        let found = place.check(&["master_passdb=passwd-file:DIR/masters", "auth_master_user_separator=*"]);
        assert!(found.len() == 1 && found[0].contains("DIR/masters:2: user bob"), "{found:?}");
    }
}
