//! Recipients without a password: which account has the mailbox for a name.

use crate::status::{Enhanced, Status};
use common::auth::{Account, Authenticator, Refusal};
use common::config::Config;
use common::peer::Peer;
use common::process::login;
use std::io;

/// The users that can get mail: those of the passdbs.
pub struct Users {
    authenticator: Authenticator,
    /// The last one asked for: RCPT, then the delivery.
    last: Option<(String, Option<Account>)>,
}

impl Users {
    /// By the settings.
    pub fn new(config: &Config) -> io::Result<Users> {
        let nobody = Peer { remote: None, local: None, on_network: false };
        Ok(Users { authenticator: login::authenticator(config, "smtp", &nobody)?, last: None })
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
            // The log says which: alias root to somebody.
            Refusal::BadId(_) => Status::new(550, Enhanced(5, 2, 1), "This user gets no mail here"),
            _ => Status::new(451, Enhanced(4, 3, 0), "The user database cannot be read now"),
        })?;
        self.last = Some((name.to_owned(), account.clone()));
        Ok(account)
    }
}
