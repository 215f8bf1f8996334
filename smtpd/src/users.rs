//! Recipients without a password: which account has the mailbox for a name.
//!
//! The names come from a stranger's RCPT, the files are the administrator's.

use crate::status::{Enhanced, Status};
use common::auth::{Account, Authenticator, Refusal, passwd};
use common::config::Config;
use common::peer::Peer;
use common::process::login;
use common::sys::process::user_and_group;
use std::io;
use std::path::PathBuf;

/// The users that can get mail: those of the passdbs.
pub struct Users {
    authenticator: Authenticator,
    /// The last one asked for: RCPT, then the delivery.
    last: Option<(String, Option<Account>)>,
    passwd: PathBuf,
    default_privs: String,
    warnings: Vec<String>,
}

impl Users {
    /// By the settings.
    pub fn new(config: &Config) -> io::Result<Users> {
        let nobody = Peer { remote: None, local: None, on_network: false };
        Ok(Users {
            authenticator: login::authenticator(config, "smtp", &nobody)?,
            last: None,
            passwd: config.passwd_path.get().map(PathBuf::from).unwrap_or_default(),
            default_privs: config.default_privs.to_string(),
            warnings: Vec::new(),
        })
    }

    /// The account with this name. `Ok(None)`: there is none. Status: it is root's or may have no mail, or it cannot be
    /// said now.
    pub fn find(&mut self, name: &str) -> Result<Option<Account>, Status> {
        if let Some((last, account)) = &self.last {
            if last == name {
                return Ok(account.clone());
            }
        }
        let account = self.authenticator.recipient(name).map_err(|refusal| match refusal {
            Refusal::BadId(why) => {
                self.warnings.push(format!("mail for {name} refused: {why}; alias {name} to somebody"));
                Status::new(550, Enhanced(5, 2, 1), "This user gets no mail here")
            }
            other => {
                self.warnings.push(format!("mail for {name} deferred: {other}"));
                Status::new(451, Enhanced(4, 3, 0), "The user database cannot be read now")
            }
        })?;
        self.last = Some((name.to_owned(), account.clone()));
        Ok(account)
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
            (0, _) => passwd::login_ids(&self.passwd, &self.default_privs)
                .map_err(|error| wrong(&mut self.warnings, error.to_string()))?,
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
