//! Names of this host: aliases, users, and who gets the mail of the others.

use super::{Job, Link, Rights, What, Work, above, broken, unknown};
use crate::address::Address;
use crate::aliases::{Owner, items};
use crate::directory::Directory;
use crate::envelope::Target;
use crate::status::{Enhanced, Status};
use common::config::keyword::{Expansion, Set};
use std::rc::Rc;

/// The link of `luser_relay`.
const LUSER: &str = ":luser:";

impl Job {
    /// A name of this host: alias, user, or nobody.
    pub(super) fn local(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
    ) -> Result<(), Status> {
        let full = address.local().to_lowercase();
        if full.contains('@') {
            // A quoted local-part is not a way to users with a domain, or to other hosts.
            self.lose(work, address, full, unknown(address));
            return Ok(());
        }
        let cut = directory.split(&full).map(|(base, extension)| (base.to_owned(), extension.to_owned()));
        let base = cut.as_ref().map_or(full.as_str(), |(base, _)| base);
        let is_own = |link: &Link| link.key == full || link.key == base;
        // An alias that names itself means the user.
        let own = work.above.as_deref().is_some_and(is_own);
        let forwarded = above(&work.above).any(|link| link.forward && is_own(link));
        // With - for a delimiter, anna-list may be an alias and no extension of anna's.
        let other = (own || forwarded) && full != base && directory.alias(&[&full])?.is_some();
        if forwarded && !other {
            // His own name in his ~/.forward, or in a list that it names.
            self.user(directory, work, address, &full, cut.clone(), true)?;
            return Ok(());
        }
        let alias = match own && (!other || above(&work.above).any(|link| link.key == full)) {
            true => None,
            false => directory.alias(&[&full, base])?,
        };
        if work.above.is_none() {
            let user = alias.is_none() && self.exists(directory, &full, cut.as_ref())?;
            let known = directory.is_local_recipient(address, alias.is_some(), user)?;
            if !known && !is_postmaster(&full) {
                self.lose(work, address, full.clone(), unknown(address));
                return Ok(());
            }
        }
        let Some(alias) = alias else {
            if self.user(directory, work, address, &full, cut.clone(), false)? {
                return Ok(());
            }
            return self.nobody(directory, work, address, &full, cut.as_ref());
        };
        let key = if alias.key == 0 { full.clone() } else { base.to_owned() };
        let link = self.link(directory, work, key.clone(), false)?;
        let list_owner = match key.starts_with("owner-") {
            true => None,
            false => {
                let name = format!("owner-{key}");
                let exists = directory.alias(&[&name])?.is_some();
                exists.then(|| Address::new(name, address.domain()).ok()).flatten()
            }
        };
        let rights = self.rights_of(directory, &alias.owner, alias.place)?;
        let mut next = Vec::new();
        for item in items(&alias.value) {
            let item = item.map_err(|why| broken(directory, address, &format!("{}: {why}", rights.place)))?;
            next.push(Work {
                what: What::Item(item),
                domain: address.domain().into(),
                above: link.clone(),
                list_owner: list_owner.clone().or_else(|| work.list_owner.clone()),
                rights: Some(rights.clone()),
            });
        }
        self.work.extend(next.into_iter().rev());
        Ok(())
    }

    fn rights_of(
        &self,
        directory: &mut Directory,
        owner: &Owner,
        place: String,
    ) -> Result<Rc<Rights>, Status> {
        let (files, commands) = (directory.files, directory.commands);
        let may = |set: Set<Expansion>| *owner != Owner::Nobody && set.contains(Expansion::Alias);
        let owner = match owner {
            Owner::User(uid) => Some(self.name_of(directory, *uid)?),
            _ => None,
        };
        Ok(Rc::new(Rights { files: may(files), commands: may(commands), owner, place }))
    }

    pub(super) fn name_of(&self, directory: &mut Directory, uid: u32) -> Result<String, Status> {
        match directory.users.name_of(uid) {
            Ok(Some(name)) => Ok(name),
            Ok(None) => Err(broken(directory, &self.original, &format!("uid {uid} has no name"))),
            Err(error) => Err(directory.unreadable(&error)),
        }
    }

    /// Whether a user has the name, who may not be allowed to get mail.
    fn exists(
        &self,
        directory: &mut Directory,
        full: &str,
        cut: Option<&(String, String)>,
    ) -> Result<bool, Status> {
        let mut answer = |name: &str| match directory.users.find(name) {
            Ok(found) => Ok(found.is_some()),
            Err(status) if status.is_permanent() => Ok(true),
            Err(status) => Err(status),
        };
        Ok(answer(full)? || cut.map_or(Ok(false), |(base, _)| answer(base))?)
    }

    /// Keeps the user with this name, or with it as far as the delimiter. `false`: there is none.
    pub(super) fn user(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        full: &str,
        cut: Option<(String, String)>,
        direct: bool,
    ) -> Result<bool, Status> {
        self.one_of(directory, work, address, [Some((full.to_owned(), String::new())), cut], direct)
    }

    /// Keeps the first user with one of these names, each with the extension that goes with it. `false`: there is none.
    pub(super) fn one_of(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        names: [Option<(String, String)>; 2],
        direct: bool,
    ) -> Result<bool, Status> {
        for (name, extension) in names.into_iter().flatten() {
            match directory.users.find(&name) {
                Ok(None) => {}
                Ok(Some(account)) => {
                    let target = Target::Mailbox { user: account.name, extension, direct };
                    self.keep(work, address, target);
                    return Ok(true);
                }
                Err(status) if status.is_permanent() => {
                    self.lose(work, address, name, status);
                    return Ok(true);
                }
                Err(status) => return Err(status),
            }
        }
        Ok(false)
    }

    /// Nobody has the name.
    fn nobody(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        full: &str,
        cut: Option<&(String, String)>,
    ) -> Result<(), Status> {
        // RFC 5321 section 4.5.1: there always is one.
        if is_postmaster(full) && directory.alias(&["root"])?.is_some() {
            let root = Address::new("root", address.domain())
                .map_err(|error| broken(directory, address, error.0))?;
            return self.local(directory, work, &root);
        }
        if directory.takes_unknown_users() && work.above.as_deref().is_none_or(|link| link.key != LUSER) {
            let above = self.link(directory, work, LUSER.to_owned(), false)?;
            let target =
                luser(directory, address, full, cut).map_err(|why| broken(directory, address, &why))?;
            self.work.push(Work {
                domain: target.domain().into(),
                what: What::Address(target),
                above,
                list_owner: work.list_owner.clone(),
                rights: None,
            });
            return Ok(());
        }
        self.lose(work, address, full.to_owned(), unknown(address));
        Ok(())
    }
}

/// Nobody gets the postmaster's mail. RFC 5321 section 4.5.1: it is not refused, so that it comes once there is somebody.
pub(super) fn no_postmaster(directory: &mut Directory) -> Status {
    directory.warn("mail for postmaster deferred: alias postmaster to somebody".to_owned());
    Status::new(450, Enhanced(4, 3, 5), "There is no postmaster yet")
}

pub(super) fn is_postmaster(local: &str) -> bool {
    local.eq_ignore_ascii_case("postmaster")
}

/// The address that `luser_relay` means for an unknown user. What a stranger wrote is put into the local-part or the domain
/// only, never into what is parsed.
fn luser(
    directory: &Directory,
    address: &Address,
    full: &str,
    cut: Option<&(String, String)>,
) -> Result<Address, String> {
    let (user, extension) = cut.map_or((full, ""), |(user, extension)| (user.as_str(), extension.as_str()));
    let fill = |text: &str| {
        text.replace("${", "$")
            .replace('}', "")
            .replace("$user", user)
            .replace("$local", address.local())
            .replace("$extension", extension)
            .replace("$domain", address.domain())
    };
    let template = directory.luser_relay.as_str();
    let (local, domain) = match template.rsplit_once('@') {
        Some((local, domain)) => (fill(local), fill(domain)),
        None => (fill(template), directory.myorigin().to_owned()),
    };
    Address::new(local, &domain).map_err(|error| format!("luser_relay: {}", error.0))
}
