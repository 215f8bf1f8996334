//! The account that mail for a name belongs to. No password, no login: an expired or locked user gets mail all the same.
//!
//! The name comes from a stranger's RCPT; whoever asks has folded its case.

use super::authenticator::Authenticator;
use super::passwd::find_user;
use super::passwd_file;
use super::username::MAX_NAME;
use super::{Account, Passdb, Refusal};
use std::fs::File;

impl Authenticator {
    /// From here on accounts are only looked at: those that this process could not become are told, too.
    pub fn only_looks(&mut self) {
        self.me = crate::sys::child::Credentials { uid: 0, gid: 0 };
    }

    /// The first passdb that knows the name decides. `Ok(None)`: nobody has it. [`Refusal::BadId`]: somebody has it who may
    /// not have mail here (root, or a uid out of bounds); [`Refusal::Temporary`]: it cannot be said now.
    ///
    /// A checkpassword program can only be asked about passwords, so it knows nobody.
    pub fn recipient(&mut self, name: &str) -> Result<Option<Account>, Refusal> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(|c: char| c == ':' || c.is_control()) {
            return Ok(None);
        }
        for passdb in self.settings.passdbs.clone() {
            let found = match &passdb {
                Passdb::Shadow | Passdb::Passwd => {
                    let path = &self.settings.files.passwd;
                    let failed = |error| Refusal::Temporary(format!("{}: {error}", path.display()));
                    let entry = find_user(path, name).map_err(failed)?;
                    entry.map(|entry| self.system_account(&entry)).transpose()?
                }
                Passdb::PasswdFile(path) => {
                    let failed = |error| Refusal::Temporary(format!("{}: {error}", path.display()));
                    let file = File::open(path).map_err(failed)?;
                    let entry = passwd_file::first(&file, name).map_err(failed)?;
                    entry.map(|entry| self.virtual_account(&entry)).transpose()?
                }
                Passdb::CheckPassword(_) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::super::{Connection, Files, Settings};
    use super::*;
    use crate::sys::child::Credentials;

    fn authenticator(scratch: &Scratch) -> Authenticator {
        let passwd =
            "root:x:0:0::/root:\nlow:x:33:33::/var/www:\nanna:x:1000:1000::/home/anna:\nbert:x:1001:0::/b:\n";
        let files = Files { passwd: scratch.file("passwd", passwd), ..Files::default() };
        let users = "vera@example.org:{PLAIN}x:5000:5000::/srv/vera::nologin\nanna:{PLAIN}x:7000:7000::/other\n\
                     odd:{PLAIN}\u{1}\nnone@example.org:{PLAIN}x:nobody-such:1::/h\n";
        let file = Passdb::PasswdFile(scratch.file("users", users));
        let passdbs = vec![Passdb::CheckPassword("/bin/false".to_owned()), Passdb::Shadow, file];
        let settings = Settings { passdbs, files, ..Settings::default() };
        let connection = Connection { protocol: "smtp", remote: None, local: None };
        let mut authenticator = Authenticator::new(settings, connection);
        authenticator.me = Credentials { uid: 0, gid: 0 };
        authenticator
    }

    #[test]
    fn mail_needs_no_password() {
        let scratch = Scratch::new();
        let mut authenticator = authenticator(&scratch);
        for (name, uid) in
            [("anna", Some(1000)), ("vera@example.org", Some(5000)), ("dora", None), ("odd", None)]
        {
            let account = authenticator.recipient(name).unwrap();
            assert_eq!(account.map(|account| account.uid), uid, "{name}");
        }
        for name in ["", ":", "anna:x", "a\0b", "vera@example.org\n", &"a".repeat(300)] {
            assert_eq!(authenticator.recipient(name), Ok(None), "{name:?}");
        }
    }

    #[test]
    fn nobody_delivers_as_root_or_below_first_valid_uid() {
        let scratch = Scratch::new();
        let mut authenticator = authenticator(&scratch);
        for name in ["root", "low", "bert"] {
            assert!(matches!(authenticator.recipient(name), Err(Refusal::BadId(_))), "{name}");
        }
        assert!(matches!(authenticator.recipient("none@example.org"), Err(Refusal::Temporary(_))));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_answer() {
        let scratch = Scratch::new();
        let mut authenticator = authenticator(&scratch);
        authenticator.settings.files.passwd = scratch.path().join("missing");
        assert!(matches!(authenticator.recipient("anna"), Err(Refusal::Temporary(_))));
    }
}
