//! `tinmail import userdb`: Courier's users (userdb(8), the text that `makeuserdb` reads) into a passwd-file.
//!
//! ```text
//! anna@example.org<TAB>uid=1000|gid=1000|home=/var/vmail/anna|mail=/var/vmail/anna/Maildir|systempw=$1$...|imappw=$1$...
//! ```
//! The file is the administrator's; what cannot be said in a passwd-file is told, and nothing is guessed.

use crate::Failed;
use crate::passwd_file::Locked;
use common::auth::username::UsernameRules;
use common::config::Config;
use common::process::login::username_rules;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Octets of a file.
const SIZE_MAX: u64 = 64 << 20;
/// The services here, and the field that has their own password.
const SERVICES: [(&str, &str); 3] = [("pop3", "pop3pw"), ("imap", "imappw"), ("smtp", "esmtppw")];

/// Does what the words behind `import` say.
pub fn run(config: &Config, words: &[&str], out: &mut dyn Write) -> Result<(), Failed> {
    let (from, to) = match words {
        ["userdb", from] => (from, crate::user::file_of(config)?),
        ["userdb", "-f", to, from] | ["userdb", from, "-f", to] => (from, PathBuf::from(to)),
        _ => return Err(Failed::Usage("want import userdb [-f PASSWD-FILE] FILE".to_owned())),
    };
    let (rules, mut wrong) = (username_rules(config)?, 0u32);
    let mut found: Vec<(String, Vec<Zeroizing<String>>)> = Vec::new();
    for path in files(Path::new(from)).map_err(|error| Failed::Said(format!("{from}: {error}")))? {
        let text = read(&path).map_err(|error| Failed::Said(format!("{}: {error}", path.display())))?;
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut tell = |what: &str| writeln!(out, "{}:{number}: {what}", path.display());
            match account(line, &rules) {
                Ok((name, lines, notes)) => {
                    notes.iter().try_for_each(|note| tell(&format!("{name}: {note}")))?;
                    found.push((name, lines));
                }
                Err(why) => {
                    wrong = wrong.saturating_add(1);
                    tell(&format!("left out: {why}"))?;
                }
            }
        }
    }
    let named = |error: io::Error| Failed::Said(format!("{}: {error}", to.display()));
    let mut file = Locked::open(&to, true).map_err(named)?;
    let mut users = 0u32;
    for (name, lines) in found {
        if file.lines_of(&name) > 0 {
            wrong = wrong.saturating_add(1);
            writeln!(out, "{name}: left out: {} has a user of this name", to.display())?;
            continue;
        }
        users = users.saturating_add(1);
        lines.iter().for_each(|line| file.add(line));
    }
    file.replace().map_err(named)?;
    writeln!(out, "{users} users imported into {}", to.display())?;
    if wrong == 0 { Ok(()) } else { Err(Failed::Said(format!("{wrong} users were left out"))) }
}

/// The file, or those of the directory, in the order of their names.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = fs::File::open(path)?;
    if file.metadata()?.len() > SIZE_MAX {
        return Err(io::Error::other("it is too large"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(SIZE_MAX).read_to_string(&mut text)?;
    // userdb.dat, or another database.
    if text.contains('\0') {
        Err(io::Error::other("it is no text: name the file that makeuserdb reads"))
    } else {
        Ok(text)
    }
}

/// A user: the name, lines of a passwd-file, and what the administrator has to do.
type Account = (String, Vec<Zeroizing<String>>, Vec<String>);

fn account(line: &str, rules: &UsernameRules) -> Result<Account, String> {
    let (written, fields) = line.split_once('\t').ok_or("there is no tab behind the name")?;
    // As it is looked up when somebody logs in, or gets mail.
    let name = rules.normalise(written.as_bytes()).map_err(|error| error.to_string())?.to_string();
    if name.is_empty() || name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
        return Err("a passwd-file cannot have this name".to_owned());
    }
    let fields: Vec<(&str, &str)> = fields
        .split('|')
        .filter(|field| !field.is_empty())
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .collect();
    let value = |wanted: &str| fields.iter().find(|(field, _)| *field == wanted).map(|(_, value)| *value);
    let plain = |field: &str| match value(field).unwrap_or_default() {
        value if value.contains(|c: char| c == ':' || c.is_control()) => {
            Err(format!("a passwd-file cannot have this {field}"))
        }
        value => Ok(value),
    };
    let (uid, gid, home, shell) = (plain("uid")?, plain("gid")?, plain("home")?, plain("shell")?);
    let mut extra: Vec<String> = Vec::new();
    if let Some(mail) = value("mail").filter(|mail| !mail.is_empty()) {
        if mail.contains(|c: char| c.is_whitespace() || c.is_control() || "%:".contains(c)) {
            return Err("a passwd-file cannot have this mail".to_owned());
        }
        // Courier's is from the home directory on.
        let from = if mail.starts_with('/') { "" } else { "~/" };
        extra.push(format!("userdb_mail=maildir:{from}{}", mail.trim_start_matches("./")));
    }
    let mut notes = Vec::new();
    if name != written {
        notes.push(format!("this is {written} (auth_username_format)"));
    }
    if let Some(quota) = value("quota") {
        notes.push(format!("quota={quota} is for tinmail maildirmake -q"));
    }
    for (field, _) in fields.iter().filter(|(field, _)| field.contains("hmac-")) {
        notes.push(format!("{field} is left out: with it there is no password for anything else"));
    }
    // Each password, and for which services; a service's own goes before that of all.
    let mut passwords: Vec<(&str, Vec<&str>)> = Vec::new();
    for (service, field) in SERVICES {
        let password = value(field).or(value("systempw")).unwrap_or_default();
        match passwords.iter_mut().find(|(known, _)| *known == password) {
            Some((_, services)) => services.push(service),
            None => passwords.push((password, vec![service])),
        }
    }
    let mut lines = Vec::new();
    for (password, services) in &passwords {
        let hash = match *password {
            "" => String::new(),
            with if with.contains(|c: char| c == ':' || c.is_control()) => {
                return Err("a passwd-file cannot have this password".to_owned());
            }
            with if with.starts_with('{') => with.to_owned(),
            hash => format!("{{CRYPT}}{hash}"),
        };
        if hash.is_empty() {
            notes.push(format!("there is no password for {}", services.join(", ")));
            // Who can log in nowhere may still get mail.
            if passwords.len() > 1 {
                continue;
            }
        }
        let mut extra = extra.clone();
        if passwords.len() > 1 {
            extra.push(format!("proto={}", services.join(",")));
        }
        lines.push(Zeroizing::new(format!("{name}:{hash}:{uid}:{gid}::{home}:{shell}:{}", extra.join(" "))));
    }
    Ok((name, lines, notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::auth::passwd_file::PasswdFileEntry;

    fn account(line: &str) -> Result<Account, String> {
        super::account(line, &username_rules(&Config::DEFAULT).unwrap())
    }

    fn lines(line: &str) -> Result<String, String> {
        account(line)
            .map(|(_, lines, _)| lines.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn users_of_all_kinds() {
        for (line, want) in [
            (
                "a@b\tuid=1000|gid=100|home=/h/a|mail=/h/a/Maildir|shell=/bin/sh|systempw=$1$x$y",
                "a@b:{CRYPT}$1$x$y:1000:100::/h/a:/bin/sh:userdb_mail=maildir:/h/a/Maildir",
            ),
            ("a\thome=/h|mail=./Mail|systempw={SSHA}x=", "a:{SSHA}x=::::/h::userdb_mail=maildir:~/Mail"),
            ("a\tsystempw=x|imappw=y", "a:{CRYPT}x::::::proto=pop3,smtp\na:{CRYPT}y::::::proto=imap"),
            ("a\tpop3pw=x|imappw=x|esmtppw=x", "a:{CRYPT}x::::::"),
            ("a\tpop3pw=x", "a:{CRYPT}x::::::proto=pop3"),
            ("a\tuid=5|hmac-md5=x", "a::5:::::"),
            ("Anna@Example.ORG\tsystempw=x", "anna@example.org:{CRYPT}x::::::"),
        ] {
            assert_eq!(lines(line).unwrap(), want, "{line}");
            let mut read = want.lines().map(|line| PasswdFileEntry::parse(line.as_bytes()));
            let is_of = |user: &str| line.to_lowercase().starts_with(user);
            assert!(read.all(|entry| entry.is_ok_and(|entry| is_of(&entry.user))), "{line}");
        }
    }

    #[test]
    fn what_a_passwd_file_cannot_say() {
        for line in [
            "a uid=1",
            "\tuid=1",
            "a:b\tuid=1",
            "a b\tuid=1",
            "a\thome=/x:y",
            "a\tuid=1\u{7}",
            "a\tmail=/x y",
            "a\tmail=/%u",
            "a\tsystempw=x:y",
        ] {
            assert!(lines(line).is_err(), "{line:?}");
        }
        let notes = account("a\tquota=1S|systempw=x|imap-hmac-md5=y").unwrap().2.join("; ");
        assert!(
            notes.contains("quota=1S is for tinmail maildirmake -q")
                && notes.contains("imap-hmac-md5 is left out")
        );
        assert!(account("a\tuid=1").unwrap().2.join("").contains("no password for pop3, imap, smtp"));
        assert_eq!(account("Anna\tsystempw=x").unwrap().2, ["this is Anna (auth_username_format)"]);
    }

    #[test]
    fn a_file_or_a_directory_into_a_passwd_file() {
        let directory = std::env::temp_dir().join(format!("tinmail-import-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("userdb")).unwrap();
        fs::write(directory.join("userdb/one"), "# comment\n\nanna\tuid=1|systempw=x\nwrong\n").unwrap();
        fs::write(directory.join("userdb/two"), "bert\tsystempw=y\r\n").unwrap();
        fs::write(directory.join("users"), "bert:{PLAIN}his").unwrap();
        let (from, to) = (directory.join("userdb"), directory.join("users"));
        let words = ["userdb", "-f", to.to_str().unwrap(), from.to_str().unwrap()];
        let mut out = Vec::new();
        let done = run(&Config::DEFAULT, &words, &mut out);
        assert_eq!(done, Err(Failed::Said("2 users were left out".to_owned())));
        assert_eq!(fs::read_to_string(&to).unwrap(), "bert:{PLAIN}his\nanna:{CRYPT}x:1:::::\n");
        let said = String::from_utf8(out).unwrap();
        assert!(
            said.contains("one:4: left out: there is no tab") && said.contains("1 users imported"),
            "{said}"
        );
        fs::write(directory.join("userdb/one"), "a\0b").unwrap();
        let mut out = Vec::new();
        assert!(
            matches!(run(&Config::DEFAULT, &words, &mut out), Err(Failed::Said(what)) if what.contains("it is no text"))
        );
        assert!(matches!(run(&Config::DEFAULT, &["x"], &mut out), Err(Failed::Usage(_))));
        fs::remove_dir_all(&directory).unwrap();
    }
}
