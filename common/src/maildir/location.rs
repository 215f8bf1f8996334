//! `mail_location`: where a user's mail is.
//!
//! `maildir:PATH[:INBOX=PATH][:CONTROL=PATH][:INDEX=PATH]`, Dovecot's syntax. `~` is the home directory; `%u` the user,
//! `%n` and `%d` its parts before and after `@`, each also in lower (`%Lu`) and upper case (`%Uu`), `%h` the home
//! directory, `%%` a percent sign. `INDEX=MEMORY` means that there is no index on disk. The user name comes from a
//! stranger: a name with `/` or a leading dot expands to nothing, that is, to an error.

use crate::config::format::{Piece, Variable, pieces};
use std::path::{Path, PathBuf};

/// The user the location is for.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// Whole name, `user` or `user@domain`.
    pub name: &'a str,
    /// Home directory.
    pub home: &'a Path,
}

/// The directories a Maildir is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The INBOX: the directory that holds `cur`, `new` and `tmp`.
    pub inbox: PathBuf,
    /// The root below which other mailboxes are.
    pub root: PathBuf,
    /// Where the mailboxes' control files are, if not in the mailboxes: each one's in a directory named like its own.
    pub control: Option<PathBuf>,
    /// Where the indexes are.
    pub index: IndexPlace,
    /// Octets that all of it may take; 0: as many as `maildirsize` says, if it is there.
    pub size_limit: u64,
}

/// Where a mailbox's index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPlace {
    /// In the mailboxes.
    Inbox,
    /// Below this directory: each one's in a directory named like its own.
    At(PathBuf),
    /// Nowhere: each session makes its own in memory.
    Memory,
}

/// Why a location cannot be used; text for the administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationError(pub String);

impl Location {
    /// A Maildir and everything below it.
    pub fn plain(path: PathBuf) -> Location {
        Location { inbox: path.clone(), root: path, control: None, index: IndexPlace::Inbox, size_limit: 0 }
    }

    /// Reads a setting for a user.
    pub fn parse(setting: &str, user: User<'_>) -> Result<Location, LocationError> {
        Location::parse_as("mail_location", setting, user)
    }

    /// The same for a setting with another name.
    pub fn parse_as(name: &str, setting: &str, user: User<'_>) -> Result<Location, LocationError> {
        let fail = |why: &str| LocationError(format!("{name} = {setting}: {why}"));
        let rest = setting.strip_prefix("maildir:").ok_or_else(|| fail("only maildir: is supported"))?;
        let mut parts = rest.split(':');
        let root = expand(parts.next().unwrap_or_default(), user).map_err(|why| fail(&why))?;
        let mut location = Location::plain(root);
        for part in parts.filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| fail(&format!("'{part}' is not NAME=PATH")))?;
            let path = || expand(value, user).map_err(|why| fail(&why));
            match key {
                "INBOX" => location.inbox = path()?,
                "CONTROL" => location.control = Some(path()?),
                "INDEX" if value == "MEMORY" => location.index = IndexPlace::Memory,
                "INDEX" => location.index = IndexPlace::At(path()?),
                "LAYOUT" if value == "maildir++" => {}
                _ => return Err(fail(&format!("{key} is not supported (INBOX, CONTROL, INDEX are)"))),
            }
        }
        Ok(location)
    }
}

const UNSUPPORTED: &str = "a variable that is not supported (%u %n %d %h, %Lu %Ln %Ld and %Uu %Un %Ud are)";

fn expand(text: &str, user: User<'_>) -> Result<PathBuf, String> {
    let (local, domain) = user.name.split_once('@').unwrap_or((user.name, ""));
    let home = user.home.to_str().ok_or("the home directory is not UTF-8")?;
    let mut out = String::new();
    let rest = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            out.push_str(home);
            rest
        }
        _ => text,
    };
    for piece in pieces(rest) {
        let variable = match piece {
            Some(Piece::Literal(literal)) => {
                out.push_str(literal);
                continue;
            }
            Some(Piece::Variable(variable)) => variable,
            None => return Err(UNSUPPORTED.to_owned()),
        };
        let plain = Variable { name: variable.name, ..Variable::default() };
        let value = match variable.name {
            'h' if variable == plain => {
                out.push_str(home);
                continue;
            }
            'u' => user.name,
            'n' => local,
            'd' => domain,
            _ => return Err(UNSUPPORTED.to_owned()),
        };
        if variable != (Variable { lower: variable.lower, upper: variable.upper, ..plain }) {
            return Err(UNSUPPORTED.to_owned());
        }
        if value.is_empty() || value.starts_with('.') || value.contains(['/', '\0']) {
            return Err("the user name does not fit into a path".to_owned());
        }
        out.push_str(&variable.print_text(value.to_owned()));
    }
    if out.starts_with('/') { Ok(PathBuf::from(out)) } else { Err("the path is not absolute".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(setting: &str, name: &str) -> Result<Location, LocationError> {
        Location::parse(setting, User { name, home: Path::new("/home/ann") })
    }

    #[test]
    fn paths_are_expanded() {
        let location = parse("maildir:~/Maildir", "ann").unwrap();
        assert_eq!((location.inbox.to_str(), location.control), (Some("/home/ann/Maildir"), None));
        let location =
            parse("maildir:/mail/%d/%n:INBOX=/in/%u:CONTROL=%h/c:INDEX=/i/100%%", "ann@example.org").unwrap();
        assert_eq!(location.root, Path::new("/mail/example.org/ann"));
        assert_eq!(location.inbox, Path::new("/in/ann@example.org"));
        assert_eq!(location.control.as_deref(), Some(Path::new("/home/ann/c")));
        assert_eq!(location.index, IndexPlace::At("/i/100%".into()));
    }

    #[test]
    fn names_in_lower_case() {
        let location =
            parse("maildir:/mail/%Ld/%Ln:INBOX=/in/%Lu:CONTROL=/c/%Ud", "Ann@Example.ORG").unwrap();
        assert_eq!(location.root, Path::new("/mail/example.org/ann"));
        assert_eq!(location.inbox, Path::new("/in/ann@example.org"));
        assert_eq!(location.control.as_deref(), Some(Path::new("/c/EXAMPLE.ORG")));
    }

    #[test]
    fn an_index_in_memory() {
        let location = parse("maildir:~/Maildir:INDEX=MEMORY", "ann").unwrap();
        assert_eq!(location.index, IndexPlace::Memory);
        assert!(parse("maildir:~/Maildir:CONTROL=MEMORY", "ann").is_err());
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        for (setting, name) in [
            ("mbox:~/mail", "ann"),
            ("maildir:Maildir", "ann"),
            ("maildir:/mail/%d", "ann"),
            ("maildir:/mail/%u", "../root"),
            ("maildir:/mail/%u", ".hidden"),
            ("maildir:/mail/%x", "ann"),
            ("maildir:/mail/%Lx", "ann"),
            ("maildir:/mail/%Lh", "ann"),
            ("maildir:/mail/%8u", "ann"),
            ("maildir:/mail/%Xu", "ann"),
            ("maildir:/mail/%L", "ann"),
            ("maildir:/mail/%Lu", ".Hidden"),
            ("maildir:~/Maildir:LAYOUT=fs", "ann"),
            ("maildir:~/Maildir:INBOX", "ann"),
        ] {
            assert!(parse(setting, name).is_err(), "{setting} {name}");
        }
    }

    proptest! {
        /// A name, which a stranger chooses, is one component of the path or none.
        #[test]
        fn a_name_never_leaves_its_place(name in "[a./@%\\\\x00\u{e4}]{0,6}|\\PC{0,8}") {
            for variable in ["%u", "%n", "%d", "%Lu", "%Ud"] {
                if let Ok(location) = parse(&format!("maildir:/mail/{variable}:INBOX=/in/{variable}/box"), &name) {
                    prop_assert_eq!(location.root.parent(), Some(Path::new("/mail")));
                    prop_assert_eq!(location.inbox.components().count(), 4);
                    prop_assert!(!location.root.components().any(|part| part.as_os_str() == ".."));
                }
            }
        }

        #[test]
        fn no_setting_panics(setting in "(maildir:)?[~/a:=%ULhund0-9]{0,20}(:(INBOX|INDEX|CONTROL)=[~/a%h]{0,4})?") {
            if let Ok(location) = parse(&setting, "ann@example.org") {
                prop_assert!(location.root.is_absolute() && location.inbox.is_absolute());
            }
        }
    }
}
