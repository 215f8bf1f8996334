//! Logins with a password, with a master's password, and without one.

use super::crypt::{Work, check_password};
use super::lookup::{Proof, Verdict};
use super::username::Username;
use super::{Account, Cause, Connection, Passdb, Refusal, Settings};
use crate::secret::Secret;
use crate::sys::child::{Credentials, effective};
use std::time::{SystemTime, UNIX_EPOCH};

/// Answers, for one connection, who may log in. One attempt at a time; every attempt reads the files anew.
pub struct Authenticator {
    pub(super) settings: Settings,
    pub(super) connection: Connection,
    pub(super) work: Work,
    pub(super) nodelay: bool,
    /// Whom this process can be: root anybody, others only themselves.
    pub(super) me: Credentials,
    /// The name in the client's certificate, where that counts and not what the client says.
    pub(super) certificate_user: Option<String>,
    warnings: Vec<String>,
}

/// Most warnings kept; a damaged file says the same again and again.
const MAX_WARNINGS: usize = 20;

impl Authenticator {
    /// For one connection.
    pub fn new(settings: Settings, connection: Connection) -> Authenticator {
        let me = effective();
        Authenticator {
            settings,
            connection,
            work: Work::default(),
            nodelay: false,
            me,
            certificate_user: None,
            warnings: Vec::new(),
        }
    }

    /// Checks a name and a password, of PLAIN (RFC 4616), LOGIN, USER and PASS, or the IMAP command LOGIN (then
    /// `authzid` is empty).
    ///
    /// `authzid` must be empty or the same user, unless `authcid` is a master (see [`Settings::master_passdb`]),
    /// who gets the account of `authzid`. `user*master`, with the separator that is set, means the same.
    pub fn plain(&mut self, authcid: &[u8], authzid: &[u8], password: &Secret) -> Result<Account, Refusal> {
        self.begin();
        check_password(password.expose()).map_err(|_| Refusal::Credentials(Cause::Password))?;
        let rules = &self.settings.username;
        let (user, master) = rules.split_master(authcid);
        let name = |raw| rules.normalise(raw).map_err(|error| Refusal::Credentials(Cause::Name(error)));
        // Dovecot's ssl_username_from_cert: it stands for the name whose password is asked for.
        let certified = self.certificate_user.as_deref().map(str::as_bytes);
        let (user, master) = match master {
            None => (name(certified.unwrap_or(user))?, None),
            Some(master) => (name(user)?, Some(name(certified.unwrap_or(master))?)),
        };
        let asked = if authzid.is_empty() { None } else { Some(name(authzid)?) };
        let proof = Proof::Password(password.expose());
        match (asked, master) {
            (None, None) => self.ask(&user, proof),
            (Some(asked), None) if asked == user => self.ask(&user, proof),
            (Some(asked), None) => self.as_master(&asked, &user, proof),
            (None, Some(master)) => self.as_master(&user, &master, proof),
            (Some(asked), Some(master)) if asked == user => self.as_master(&user, &master, proof),
            (Some(_), Some(_)) => Err(Refusal::NotAllowed("two users to act as".to_owned())),
        }
    }

    /// Lets the holder of a certificate in (RFC 4422 A): `user` is the name in it, and `authzid` must be empty or the same.
    ///
    /// There is no password, so a locked one does not matter; dates of accounts and all other rules do.
    pub fn external(&mut self, user: &str, authzid: &[u8]) -> Result<Account, Refusal> {
        self.begin();
        let name = |raw| {
            self.settings.username.normalise(raw).map_err(|error| Refusal::Credentials(Cause::Name(error)))
        };
        let user = name(user.as_bytes())?;
        if !authzid.is_empty() && name(authzid)? != user {
            return Err(Refusal::NotAllowed("the certificate is another user's".to_owned()));
        }
        self.ask(&user, Proof::Vouched)
    }

    /// From now on the name in the client's certificate counts, whatever name comes with a proof.
    pub fn take_user_from_certificate(&mut self, user: String) {
        self.certificate_user = Some(user);
    }

    fn as_master(
        &mut self,
        user: &Username,
        master: &Username,
        proof: Proof<'_>,
    ) -> Result<Account, Refusal> {
        let Some(path) = self.settings.master_passdb.clone() else {
            return Err(Refusal::NotAllowed("no master_passdb: nobody may act as another user".to_owned()));
        };
        match self.ask_passwd_file(&path, master.as_str(), proof, false) {
            Verdict::Right(result) => result?,
            Verdict::Wrong(cause) => return Err(Refusal::Credentials(cause)),
            Verdict::Failed(problem) => return Err(Refusal::Temporary(problem)),
        };
        let mut account = self.ask(user, Proof::Vouched)?;
        account.master = Some(master.as_str().to_owned());
        Ok(account)
    }

    /// Asks the passdbs in their order. A right proof ends it, even if a date or a rule then refuses the login;
    /// what is merely wrong goes on to the next.
    fn ask(&mut self, user: &Username, proof: Proof<'_>) -> Result<Account, Refusal> {
        let mut cause = Cause::UnknownUser;
        let mut problem = None;
        for passdb in self.settings.passdbs.clone() {
            let verdict = match &passdb {
                Passdb::Shadow => self.ask_shadow(user.as_str(), proof),
                Passdb::Passwd => self.ask_passwd(user.as_str(), proof),
                Passdb::PasswdFile(path) => self.ask_passwd_file(path, user.as_str(), proof, true),
                Passdb::CheckPassword(command) => self.ask_program(command, user.as_str(), proof),
            };
            match verdict {
                Verdict::Right(result) => return result,
                Verdict::Failed(text) => problem = problem.or(Some(text)),
                Verdict::Wrong(Cause::UnknownUser) => {}
                Verdict::Wrong(Cause::Locked) if cause == Cause::Mismatch => {}
                Verdict::Wrong(other) => cause = other,
            }
        }
        Err(problem.map_or(Refusal::Credentials(cause), Refusal::Temporary))
    }

    /// Checks a name that is not part of `user*master`.
    pub(super) fn name(&self, raw: &[u8]) -> Result<Username, Refusal> {
        let raw = self.certificate_user.as_deref().map_or(raw, str::as_bytes);
        self.settings.username.normalise(raw).map_err(|error| Refusal::Credentials(Cause::Name(error)))
    }

    /// Forgets the attempt before.
    pub(super) fn begin(&mut self) {
        self.work.clear();
        self.nodelay = false;
    }

    pub(super) fn warn(&mut self, text: String) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    pub(super) fn today(&self) -> u64 {
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        self.settings.today.unwrap_or_else(clock)
    }

    /// What the administrator should hear, since the last call. Names files and users; holds no secret.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The hashes the last attempt computed.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Whether a failure of the last attempt is to be answered without `auth_failure_delay` (`nodelay`, which only
    /// counts once the password was right).
    pub fn nodelay(&self) -> bool {
        self.nodelay
    }
}
