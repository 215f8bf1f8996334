//! One passdb asked about one user: with a password, or for the account alone.
//!
//! Every file is read to its end and as many hashes are computed whether the user exists or not. A hash that cannot be
//! computed is a locked user's, and a warning.

use super::authenticator::Authenticator;
use super::checkpassword::{self, Call, Outcome};
use super::crypt::{Bench, HashError, inspect};
use super::decoy::Decoy;
use super::lines::{Lines, is_for, number};
use super::passwd::{PasswdEntry, find_group, find_user, groups_of};
use super::passwd_file::{self, PasswdFileEntry};
use super::scheme::Stored;
use super::shadow::{Ageing, Lock, ShadowEntry, lock_of};
use super::{Account, Cause, Refusal, nets};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What one passdb says.
pub(super) enum Verdict {
    /// The proof is right: the account, or why it cannot be used.
    Right(Result<Account, Refusal>),
    /// Not here; the next passdb may know better.
    Wrong(Cause),
    /// It cannot say; the next one may.
    Failed(String),
}

/// How the user proves who he is.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    /// With a password.
    Password(&'a [u8]),
    /// Somebody else vouches for him: a master, whose password was right, or the CA of his certificate. A lock is a lock on
    /// the password (passwd(1)), and does not matter.
    Vouched,
}

/// A system file that was read for one user.
struct Place<'a> {
    user: &'a str,
    path: &'a Path,
    file: File,
    decoy: Decoy,
}

/// Hashes of nobody's password, for files that have none: libcrypt's default today, and what needs no memory.
const DECOY: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2";
const SMALL_DECOY: &str =
    "$6$saltstring$nk7Qohr7tOmwY2mX639VRP.Lyvj3uhcgpatqHuLC867qfSHKq1LDuKa/h7Es9Nv0aL08pbF.cnQlRqhaoKT/D.";

/// Home of those who have none (Debian's convention for system users).
const NO_HOME: &str = "/nonexistent";

impl Authenticator {
    /// /etc/shadow and /etc/passwd together.
    pub(super) fn ask_shadow(&mut self, user: &str, proof: Proof<'_>) -> Verdict {
        let path = self.settings.files.shadow.clone();
        let (place, entry) = match self.scan(&path, user, ShadowEntry::parse) {
            Ok(found) => found,
            Err(problem) => return Verdict::Failed(problem),
        };
        let account = match find_user(&self.settings.files.passwd, user) {
            Ok(account) => account,
            Err(error) => return failed(&self.settings.files.passwd, &error.to_string()),
        };
        // A name in one file only is nobody.
        let (Some(entry), Some(account)) = (entry, account) else {
            return self.compare(proof, None, Cause::UnknownUser, &place);
        };
        let today = self.today();
        match self.compare(proof, Some(&entry.password), Cause::UnknownUser, &place) {
            Verdict::Right(_) => {}
            other => return other,
        }
        let ageing = entry.ageing(today).filter(|ageing| match proof {
            Proof::Password(_) => true,
            // The password's own age is no matter to those who did not use it.
            Proof::Vouched => *ageing == Ageing::AccountExpired,
        });
        Verdict::Right(match ageing {
            Some(ageing) => Err(Refusal::Expired(ageing)),
            None => self.system_account(&account),
        })
    }

    /// /etc/passwd alone.
    pub(super) fn ask_passwd(&mut self, user: &str, proof: Proof<'_>) -> Verdict {
        let path = self.settings.files.passwd.clone();
        let (place, entry) = match self.scan(&path, user, PasswdEntry::parse) {
            Ok(found) => found,
            Err(problem) => return Verdict::Failed(problem),
        };
        let Some(entry) = entry else {
            return self.compare(proof, None, Cause::UnknownUser, &place);
        };
        // `x`: only the shadow file knows whether the account is open; who is vouched for needs no hash.
        let hash =
            Some(entry.password.as_str()).filter(|hash| *hash != "x" || matches!(proof, Proof::Vouched));
        match self.compare(proof, hash, Cause::Locked, &place) {
            Verdict::Right(_) => Verdict::Right(self.system_account(&entry)),
            other => other,
        }
    }

    /// Reads a system file whole: the user's first line, and a decoy among the hashes of all.
    fn scan<'a, T>(
        &mut self,
        path: &'a Path,
        user: &'a str,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<(Place<'a>, Option<T>), String> {
        let problem = |error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(problem)?;
        let mut lines = Lines::new(&file);
        let (mut found, mut decoy) = (None, Decoy::new(user));
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(problem(error)),
            };
            let mut fields = line.split(|&c| c == b':');
            if let (Some(name), Some(Ok(hash))) = (fields.next(), fields.next().map(std::str::from_utf8)) {
                decoy.offer(name, hash, |hash| inspect(hash, &self.settings.limits).is_ok());
            }
            if found.is_none() && is_for(line, user) {
                found = parse(line);
            }
        }
        if lines.skipped() > 0 {
            let skipped = lines.skipped();
            self.warn(format!("{}: {skipped} lines too long or with a NUL", path.display()));
        }
        drop(lines);
        Ok((Place { user, path, file, decoy }, found))
    }

    /// Compares the password with a hash of a system file, or spends the same without one. The account in
    /// [`Verdict::Right`] is for the caller to fill in.
    fn compare(
        &mut self,
        proof: Proof<'_>,
        hash: Option<&str>,
        without: Cause,
        place: &Place<'_>,
    ) -> Verdict {
        let Place { user, path, file, decoy } = place;
        let right = Verdict::Right(Err(Refusal::Credentials(Cause::Mismatch)));
        let password = match (proof, hash) {
            (Proof::Password(password), _) => password,
            (Proof::Vouched, Some(_)) => return right,
            (Proof::Vouched, None) => return Verdict::Wrong(without),
        };
        let mut cause = if hash.is_some() { Cause::Locked } else { without };
        if let Some(hash) = hash.filter(|hash| lock_of(hash) == Lock::Open) {
            let mut bench = Bench { limits: &self.settings.limits, lock: Some(file), work: &mut self.work };
            match super::crypt::verify(hash, password, &mut bench) {
                Ok(true) => return right,
                Ok(false) => return Verdict::Wrong(Cause::Mismatch),
                Err(error) if error.is_everybodys() => return failed(path, &error.to_string()),
                Err(error) => {
                    self.warn(unusable(path, user, &error));
                    cause = Cause::Locked;
                }
            }
        }
        match self.burn(decoy, password, file) {
            Ok(()) => Verdict::Wrong(cause),
            Err(error) => failed(path, &error.to_string()),
        }
    }

    /// Spends what comparing would have. Only the errors that real comparisons meet as well are told.
    fn burn(&mut self, decoy: &Decoy, password: &[u8], file: &File) -> Result<(), HashError> {
        let limits = &self.settings.limits;
        let default = if inspect(DECOY, limits).is_ok() { DECOY } else { SMALL_DECOY };
        let mut bench = Bench { limits, lock: Some(file), work: &mut self.work };
        let result = Stored::parse(decoy.hash().unwrap_or(default))
            .and_then(|stored| stored.verify(password, &mut bench).map(|_| ()));
        match result {
            Err(error) if error.is_everybodys() => Err(error),
            _ => Ok(()),
        }
    }

    /// A passwd-file. With `account` false only the password and the conditions of its line count (a master's).
    pub(super) fn ask_passwd_file(
        &mut self,
        path: &Path,
        user: &str,
        proof: Proof<'_>,
        account: bool,
    ) -> Verdict {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return failed(path, &error.to_string()),
        };
        let limits = self.settings.limits.clone();
        let found = match passwd_file::find(&file, user, |stored| stored.inspect(&limits).is_ok()) {
            Ok(found) => found,
            Err(error) => return failed(path, &error.to_string()),
        };
        self.report(path, user, &found);
        let known = !found.entries.is_empty() || !found.problems.is_empty();
        let mut verdict = Verdict::Wrong(if known { Cause::Locked } else { Cause::UnknownUser });
        let mut computed = 0;
        for entry in &found.entries {
            let right = match proof {
                Proof::Vouched => Ok(true),
                Proof::Password(_) if lock_of(&entry.password) != Lock::Open => continue,
                Proof::Password(password) => {
                    let mut bench = Bench { limits: &limits, lock: Some(&file), work: &mut self.work };
                    Stored::parse(&entry.password).and_then(|stored| stored.verify(password, &mut bench))
                }
            };
            match &right {
                Ok(_) => computed += 1,
                Err(error) if error.is_everybodys() => {}
                Err(error) => {
                    // As if it were locked: a decoy is computed in its place below.
                    self.warn(unusable(path, user, error));
                    continue;
                }
            }
            verdict = match (right, verdict) {
                (Ok(true), earlier) => match self.admit(entry, account) {
                    Ok(account) => return Verdict::Right(Ok(account)),
                    // Another line may be for this protocol or network.
                    Err(Refusal::NotAllowed(_)) if matches!(earlier, Verdict::Right(_)) => earlier,
                    Err(refusal) => Verdict::Right(Err(refusal)),
                },
                (Ok(false), Verdict::Wrong(_)) => Verdict::Wrong(Cause::Mismatch),
                (Err(error), Verdict::Wrong(_)) => failed(path, &error.to_string()),
                (_, earlier) => earlier,
            };
        }
        if let Proof::Password(password) = proof {
            for _ in computed..found.longest_run {
                if let Err(error) = self.burn(&found.decoy, password, &file) {
                    return failed(path, &error.to_string());
                }
            }
        }
        verdict
    }

    pub(super) fn report(&mut self, path: &Path, user: &str, found: &passwd_file::Found) {
        for problem in &found.problems {
            self.warn(format!("{}: user {user}: {problem}", path.display()));
        }
        if found.skipped > 0 {
            self.warn(format!("{}: {} lines too long or with a NUL", path.display(), found.skipped));
        }
    }

    /// What a line's extra fields say once its password matched, and the account it describes.
    pub(super) fn admit(&mut self, entry: &PasswdFileEntry, account: bool) -> Result<Account, Refusal> {
        self.nodelay |= entry.extra("nodelay").is_some();
        self.may_be_used(entry)?;
        if entry.extra("nologin").is_some() {
            return Err(Refusal::Disabled(entry.extra("reason").unwrap_or_default().to_owned()));
        }
        if account { self.virtual_account(entry) } else { Ok(nobody(&entry.user)) }
    }

    /// Whether the line is for this protocol and this client.
    pub(super) fn may_be_used(&self, entry: &PasswdFileEntry) -> Result<(), Refusal> {
        if !entry.allows_protocol(self.connection.protocol) {
            return Err(Refusal::NotAllowed(format!("not allowed for {}", self.connection.protocol)));
        }
        match entry.extra("allow_nets").map(|list| nets::contains(list, self.connection.remote)) {
            None | Some(Some(true)) => Ok(()),
            Some(Some(false)) => Err(Refusal::NotAllowed("allow_nets check failed".to_owned())),
            Some(None) => Err(Refusal::Temporary(format!("user {}: damaged allow_nets", entry.user))),
        }
    }

    pub(super) fn virtual_account(&mut self, entry: &PasswdFileEntry) -> Result<Account, Refusal> {
        let (uid, gid, home) = entry.uid_gid_home();
        let files = &self.settings.files;
        let by_name = |name: &str, found: std::io::Result<Option<u32>>| match found {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(Refusal::Temporary(format!("user {}: unknown name {name}", entry.user))),
            Err(error) => {
                Err(Refusal::Temporary(format!("user {}: cannot look up {name}: {error}", entry.user)))
            }
        };
        let ours = |ours: u32| if self.me.uid == 0 { None } else { Some(ours) };
        let missing =
            |what| Refusal::Temporary(format!("user {}: no {what}, and mail_{what} is not set", entry.user));
        let uid = match (number(uid), uid) {
            (Some(uid), _) => uid,
            (None, "") => self.settings.mail_uid.or(ours(self.me.uid)).ok_or_else(|| missing("uid"))?,
            (None, name) => {
                by_name(name, find_user(&files.passwd, name).map(|found| found.map(|user| user.uid)))?
            }
        };
        let gid = match (number(gid), gid) {
            (Some(gid), _) => gid,
            (None, "") => self.settings.mail_gid.or(ours(self.me.gid)).ok_or_else(|| missing("gid"))?,
            (None, name) => by_name(name, find_group(&files.group, name))?,
        };
        let mut account = nobody(&entry.user);
        (account.uid, account.gid) = (uid, gid);
        account.home = home.into();
        account.mail = entry.extra("userdb_mail").filter(|mail| !mail.is_empty()).map(str::to_owned);
        self.permit(account)
    }

    pub(super) fn system_account(&mut self, entry: &PasswdEntry) -> Result<Account, Refusal> {
        let groups = groups_of(&self.settings.files.group, &entry.name).unwrap_or_else(|error| {
            self.warn(format!("{}: {error}", self.settings.files.group.display()));
            Vec::new()
        });
        let account = Account {
            uid: entry.uid,
            gid: entry.gid,
            groups,
            home: PathBuf::from(&entry.home),
            ..nobody(&entry.name)
        };
        self.permit(account)
    }

    /// A checkpassword program.
    pub(super) fn ask_program(&mut self, command: &str, user: &str, proof: Proof<'_>) -> Verdict {
        let Proof::Password(password) = proof else {
            self.warn(format!("checkpassword:{command} can only be asked about passwords"));
            return Verdict::Wrong(Cause::UnknownUser);
        };
        let reply = match self.settings.checkpassword_reply.clone().map_or_else(std::env::current_exe, Ok) {
            Ok(reply) => reply,
            Err(error) => return Verdict::Failed(format!("cannot find this program's own file: {error}")),
        };
        let call = Call {
            command,
            reply: &reply,
            service: self.connection.protocol,
            remote: self.connection.remote,
            local: self.connection.local,
            timeout: self.settings.checkpassword_timeout,
        };
        match checkpassword::call(&call, user, password) {
            Outcome::Wrong => Verdict::Wrong(Cause::Mismatch),
            Outcome::Failed(problem) => Verdict::Failed(problem),
            Outcome::Right(reply) => {
                let mut account = nobody(user);
                (account.uid, account.gid) = (reply.uid, reply.gid);
                account.home = reply.home.unwrap_or_default().into();
                account.mail = reply.mail;
                Verdict::Right(self.permit(account))
            }
        }
    }

    /// The conditions that hold for every account, wherever it comes from.
    fn permit(&mut self, mut account: Account) -> Result<Account, Refusal> {
        let Account { uid, gid, .. } = account;
        let settings = &self.settings;
        if uid == 0 || gid == 0 {
            return Err(Refusal::BadId("root may not log in".to_owned()));
        }
        if uid < settings.first_valid_uid {
            return Err(Refusal::BadId(format!("uid {uid} is below first_valid_uid")));
        }
        if settings.last_valid_uid != 0 && uid > settings.last_valid_uid {
            return Err(Refusal::BadId(format!("uid {uid} is above last_valid_uid")));
        }
        if self.me.uid != 0 {
            if uid != self.me.uid {
                let me = self.me.uid;
                return Err(Refusal::Temporary(format!("cannot become uid {uid}: not root but uid {me}")));
            }
            // Nor can the groups be changed; ours are what the session gets.
            account.gid = self.me.gid;
            account.groups.clear();
        }
        // A virtual user may have none: mail_location need not be in it. Where it is, opening it will say so.
        if account.home.as_os_str().is_empty() {
            account.home = NO_HOME.into();
        }
        if !account.home.is_absolute() {
            return Err(Refusal::Temporary(format!("user {}: no home directory", account.name)));
        }
        Ok(account)
    }
}

/// An account of which only the name is known.
fn nobody(name: &str) -> Account {
    Account {
        name: name.to_owned(),
        uid: u32::MAX,
        gid: u32::MAX,
        groups: Vec::new(),
        home: PathBuf::new(),
        mail: None,
        master: None,
    }
}

/// A hash that nothing can be compared with. It is the administrator who hears of it: a client that was told of a
/// failure would know that the name exists.
fn unusable(path: &Path, user: &str, error: &HashError) -> String {
    format!("{}: user {user}: {error}", path.display())
}

/// A passdb that cannot answer.
fn failed(path: &Path, problem: &str) -> Verdict {
    Verdict::Failed(format!("{}: {problem}", path.display()))
}
