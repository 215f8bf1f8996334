//! Recipients without a password: which account has the mailbox for a name.
//!
//! The names come from a stranger's RCPT, the files are the administrator's.

use crate::status::{Enhanced, Status};
use crate::virtual_mailboxes::{Found, Mailbox, VirtualMailboxes};
use common::auth::{Account, Authenticator, Refusal, passwd};
use common::config::Config;
use common::peer::Peer;
use common::process::login;
use common::sys::process::user_and_group;
use std::io;
use std::path::{Path, PathBuf};

fn readers(config: &Config) -> [(&'static str, String); 2] {
    [("login_user", config.login_user.to_string()), ("mail_owner", config.mail_owner.to_string())]
}

/// Why programs of aliases cannot run as `default_privs`; `None`: they can, or nobody has that name.
pub fn default_privs_clash(config: &Config) -> Option<String> {
    let passwd = config.passwd_path.get().unwrap_or(Path::new(""));
    clash(passwd, &config.default_privs, &readers(config))
}

/// Why there is nobody whom programs of aliases could run as; `None`: there is somebody.
pub fn default_privs_missing(config: &Config) -> Option<String> {
    let passwd = config.passwd_path.get().unwrap_or(Path::new(""));
    let error = passwd::login_ids(passwd, &config.default_privs).err()?;
    Some(format!("{}: {error}", config.default_privs))
}

/// Processes of one uid can stop and kill each other, and look into each other where nothing forbids it: a program that some
/// alias names, and those that read what strangers write.
fn clash(passwd: &Path, privs: &str, readers: &[(&'static str, String)]) -> Option<String> {
    let uid = |name: &str| passwd::login_ids(passwd, name).ok().map(|(uid, _)| uid);
    let ours = uid(privs)?;
    let (setting, name) = readers.iter().find(|(_, name)| uid(name) == Some(ours))?;
    Some(format!(
        "{privs} has the same uid as {setting} = {name}: programs of aliases could reach into its processes"
    ))
}

/// The users that can get mail: those of the passdbs, and of `virtual_mailbox_maps` those with their domain.
pub struct Users {
    authenticator: Authenticator,
    virtual_mailboxes: VirtualMailboxes,
    /// The last one asked for: RCPT, then the delivery.
    last: Option<(String, Result<Option<Account>, Status>)>,
    passwd: PathBuf,
    default_privs: String,
    /// Settings and names of those who read what strangers write.
    readers: [(&'static str, String); 2],
    warnings: Vec<String>,
}

impl Users {
    /// By the settings.
    pub fn new(config: &Config) -> io::Result<Users> {
        let nobody = Peer { remote: None, local: None, on_network: false };
        Ok(Users {
            authenticator: login::authenticator(config, "smtp", &nobody)?,
            virtual_mailboxes: VirtualMailboxes::new(config)?,
            last: None,
            passwd: config.passwd_path.get().map(PathBuf::from).unwrap_or_default(),
            default_privs: config.default_privs.to_string(),
            readers: readers(config),
            warnings: Vec::new(),
        })
    }

    /// The account with this name. `Ok(None)`: there is none. Status: it is root's or may have no mail, or it cannot be
    /// said now.
    pub fn find(&mut self, name: &str) -> Result<Option<Account>, Status> {
        if let Some((last, found)) = &self.last {
            if last == name {
                return found.clone();
            }
        }
        // Local names have no domain: what expands them sees to it.
        let place =
            if name.contains('@') { self.virtual_mailboxes.mailbox(name) } else { Ok(Mailbox::InPassdb) };
        let found = match place {
            Ok(Mailbox::Of(account)) => Ok(Some(account)),
            Ok(Mailbox::None) => Ok(None),
            Ok(Mailbox::InPassdb) => self.in_passdb(name),
            Err(error) => Err(self.unreadable(name, &error)),
        };
        // What cannot be said now may be known when it is asked again.
        if !found.as_ref().is_err_and(Status::is_temporary) {
            self.last = Some((name.to_owned(), found.clone()));
        }
        found
    }

    /// Which key of `virtual_mailbox_maps` has an address, or it without its extension. `Ok(None)`: it has neither.
    pub fn find_virtual(&mut self, whole: &str, base: Option<&str>) -> Result<Option<Found>, Status> {
        self.virtual_mailboxes.find(whole, base).map_err(|error| self.unreadable(whole, &error))
    }

    /// Whether `virtual_mailbox_maps` says which addresses there are.
    pub fn has_virtual_mailboxes(&self) -> bool {
        self.virtual_mailboxes.is_set()
    }

    /// Nobody's mail is written after this: it does not matter whose rights we have.
    pub fn only_looks(&mut self) {
        self.authenticator.only_looks();
    }

    fn in_passdb(&mut self, name: &str) -> Result<Option<Account>, Status> {
        match self.authenticator.recipient(name) {
            Ok(account) => Ok(account),
            Err(Refusal::BadId(why)) => {
                let what = format!("{why}; alias {name} to somebody");
                self.warnings.push(format!("mail for {name} refused: {what}"));
                Err(Status::new(550, Enhanced(5, 2, 1), "This user gets no mail here").because(what))
            }
            Err(other) => Err(self.unreadable(name, &other)),
        }
    }

    fn unreadable(&mut self, name: &str, why: &dyn std::fmt::Display) -> Status {
        self.warnings.push(format!("mail for {name} deferred: {why}"));
        Status::new(451, Enhanced(4, 3, 0), "The user database cannot be read now")
    }

    /// The name of a user id.
    pub fn name_of(&mut self, uid: u32) -> io::Result<Option<String>> {
        passwd::find_name(&self.passwd, uid)
    }

    /// Who writes the files and runs the programs of aliases.
    pub fn default_privs(&mut self) -> Result<Account, Status> {
        let wrong = |warnings: &mut Vec<String>, why: String| {
            warnings.push(format!("default_privs: {why}"));
            Status::new(451, Enhanced(4, 3, 5), "Server configuration problem")
        };
        let (uid, gid) = match user_and_group() {
            (0, _) => {
                if let Some(why) = clash(&self.passwd, &self.default_privs, &self.readers) {
                    return Err(wrong(&mut self.warnings, why));
                }
                passwd::login_ids(&self.passwd, &self.default_privs)
                    .map_err(|error| wrong(&mut self.warnings, error.to_string()))?
            }
            ours => ours,
        };
        let (name, home) = (self.default_privs.clone(), PathBuf::from("/"));
        Ok(Account { name, uid, gid, groups: Vec::new(), home, mail: None, master: None })
    }

    /// What the administrator should hear.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.warnings.extend(self.authenticator.take_warnings());
        std::mem::take(&mut self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn programs_of_aliases_share_no_uid_with_those_who_read_strangers_words() {
        let scratch = Scratch::new();
        let users =
            "root:x:0:0::/:\nnobody:x:65534:65534::/:\nmail:x:8:8::/:\ndaemon:x:1:1::/:\nother:x:8:9::/:\n";
        let passwd = scratch.file("passwd", users);
        let path = format!("passwd_path={}", passwd.display());
        for (settings, want) in [
            (&[][..], ""),
            (&["default_privs=nobody"], "login_user = nobody"),
            (&["default_privs=65534"], "login_user = nobody"),
            (&["default_privs=mail"], "mail_owner = mail"),
            (&["default_privs=other"], "mail_owner = mail"),
            (&["default_privs=nobody", "login_user=daemon"], ""),
            (&["login_user=1"], "login_user = 1"),
            (&["default_privs=none"], ""),
        ] {
            let pairs = settings.iter().copied().chain([path.as_str()]);
            let config = Config::from_pairs(&crate::PROGRAM.line, pairs).unwrap();
            let why = default_privs_clash(&config).unwrap_or_default();
            assert!(why.contains(want) && want.is_empty() == why.is_empty(), "{settings:?}: {why}");
            if common::sys::process::is_root() && settings != ["default_privs=none"] {
                let mut users = Users::new(&config).unwrap();
                let status = users.default_privs().err();
                assert_eq!(
                    status.map(|status| status.code),
                    (!want.is_empty()).then_some(451),
                    "{settings:?}"
                );
                assert!(users.take_warnings().join("").contains(want), "{settings:?}");
            }
        }
    }
}
