//! From one address to the mailboxes, hosts, files and programs that it means.
//!
//! ```text
//! virtual_alias_maps, again and again -> class of the domain
//!   local            aliases, :include: -> users, files, programs; the rest goes through all of it again
//!   virtual mailbox  users with their domain
//!   relay, remote    another host
//! ```
//! The work lies on a list of its own, so that no table can make the stack deep; circles, depth and the number of recipients
//! are bounded. A member of a list who cannot be delivered to does not stop the others: he is kept, so that the list's owner
//! hears of him from the queue.

use crate::address::Address;
use crate::aliases::{Item, Owner, items};
use crate::classes::Class;
use crate::directory::Directory;
use crate::envelope::{Recipient, Target};
use crate::status::{Enhanced, Status};
use common::config::keyword::Expansion;
use common::sys::trusted;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

/// How deep aliases may name aliases.
const DEPTH_MAX: usize = 50;
/// Recipients that one address may mean (Postfix: virtual_alias_expansion_limit).
pub const RECIPIENTS_MAX: usize = 1000;
/// Steps for one address.
const STEPS_MAX: usize = 10_000;
/// Octets of a file of addresses.
const INCLUDE_MAX: u64 = 1 << 20;

/// The way on which an entry was reached.
struct Link {
    key: String,
    /// The key is a user whose `~/.forward` was followed.
    forward: bool,
    above: Option<Rc<Link>>,
}

/// What files and programs an entry may name, and whose they are.
#[derive(Clone)]
struct Rights {
    files: bool,
    commands: bool,
    /// `None`: `default_privs`.
    owner: Option<String>,
    place: String,
}

/// Something that is still to be looked up.
struct Work {
    what: What,
    /// The domain that names get: that of the address that they were reached from.
    domain: Rc<str>,
    above: Option<Rc<Link>>,
    /// Who hears of failures instead of the sender.
    list_owner: Option<Address>,
    rights: Option<Rc<Rights>>,
}

enum What {
    Address(Address),
    /// It is its own virtual alias.
    Final(Address),
    Item(Item),
}

struct Job {
    original: Address,
    work: Vec<Work>,
    found: Vec<Recipient>,
    /// Those who cannot be delivered to, and why the first cannot.
    lost: Vec<Recipient>,
    refused: Option<Status>,
}

/// What an address means. Status: it cannot be delivered to, or that cannot be said now.
pub fn expand(directory: &mut Directory, path: &Address) -> Result<Vec<Recipient>, Status> {
    let first = Work {
        what: What::Address(path.clone()),
        domain: path.domain().into(),
        above: None,
        list_owner: None,
        rights: None,
    };
    Job { original: path.clone(), work: vec![first], found: Vec::new(), lost: Vec::new(), refused: None }
        .run(directory)
}

/// What the entries of a user's `~/.forward` mean. They come from that user's process.
pub fn forward(
    directory: &mut Directory,
    recipient: &Recipient,
    user: &str,
    entries: &[String],
) -> Result<Vec<Recipient>, Status> {
    let broken = |directory: &mut Directory, why: &str| {
        directory.warn(format!(".forward of {user}: {why}"));
        Status::new(451, Enhanced(4, 3, 5), format!("<{}>: the .forward file is damaged", recipient.address))
    };
    if entries.len() > RECIPIENTS_MAX {
        return Err(broken(directory, "too many entries"));
    }
    let rights = Rc::new(Rights {
        files: directory.files.contains(Expansion::Forward),
        commands: directory.commands.contains(Expansion::Forward),
        owner: Some(user.to_owned()),
        place: format!(".forward of {user}"),
    });
    let above = Rc::new(Link { key: user.to_lowercase(), forward: true, above: None });
    let mut work = Vec::new();
    for entry in entries.iter().rev() {
        let item = match crate::aliases::item(entry) {
            // The user's own process has read those already.
            Ok(Item::Include(_)) => return Err(broken(directory, ":include: in :include:")),
            Ok(item) => item,
            Err(why) => return Err(broken(directory, &why)),
        };
        work.push(Work {
            what: What::Item(item),
            domain: recipient.address.domain().into(),
            above: Some(above.clone()),
            list_owner: recipient.owner.clone(),
            rights: Some(rights.clone()),
        });
    }
    let job =
        Job { original: recipient.address.clone(), work, found: Vec::new(), lost: Vec::new(), refused: None };
    let mut all = job.run(directory)?;
    for one in &mut all {
        one.original = recipient.original.clone();
        one.orcpt.clone_from(&recipient.orcpt);
        one.notify = recipient.notify;
    }
    Ok(all)
}

impl Job {
    fn run(mut self, directory: &mut Directory) -> Result<Vec<Recipient>, Status> {
        let mut steps = 0;
        while let Some(work) = self.work.pop() {
            steps += 1;
            if steps > STEPS_MAX || self.found.len() > RECIPIENTS_MAX || self.lost.len() > RECIPIENTS_MAX {
                directory.warn(format!("<{}>: means too many recipients", self.original));
                return Err(Status::new(554, Enhanced(5, 4, 6), "Too many recipients behind this address"));
            }
            self.step(directory, work)?;
        }
        if self.found.is_empty() {
            let nobody = || unknown(&self.original);
            return Err(self.refused.unwrap_or_else(nobody));
        }
        for lost in self.lost {
            add(&mut self.found, lost);
        }
        Ok(self.found)
    }

    fn step(&mut self, directory: &mut Directory, work: Work) -> Result<(), Status> {
        match &work.what {
            What::Address(address) => {
                let address = address.clone();
                let class = directory.class(address.domain())?;
                // Only what comes from outside: aliases name local users, not virtual ones.
                let local_name = class == Class::Local && work.rights.is_some();
                match directory.virtual_alias(&address, class)? {
                    Some((value, cut)) if !local_name => {
                        self.virtual_alias(directory, &work, &address, &value, cut)
                    }
                    _ => self.address(directory, &work, &address, class),
                }
            }
            What::Final(address) => {
                let (address, class) = (address.clone(), directory.class(address.domain())?);
                self.address(directory, &work, &address, class)
            }
            What::Item(item) => {
                let item = item.clone();
                self.item(directory, &work, item)
            }
        }
    }

    /// The addresses that an address is another name of.
    fn virtual_alias(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        value: &str,
        cut: bool,
    ) -> Result<(), Status> {
        let key = address.to_string().to_lowercase();
        let above = self.link(directory, work, key, false)?;
        let extension = directory.split(address.local()).filter(|_| cut);
        let extension =
            extension.map(|(base, _)| address.local().get(base.len()..).unwrap_or_default().to_owned());
        let mut next = Vec::new();
        for item in items(value) {
            let target = match item {
                Ok(Item::Address(target)) => Ok(target),
                Ok(Item::Name(name)) => {
                    Address::new(name, directory.myorigin()).map_err(|error| error.0.to_owned())
                }
                Ok(_) => Err("only addresses are allowed here".to_owned()),
                // @other.example: the same user there.
                Err(why) => match value.trim().strip_prefix('@') {
                    Some(domain) => Address::new(address.local(), domain).map_err(|error| error.0.to_owned()),
                    None => Err(why),
                },
            };
            let target = target.and_then(|target| match &extension {
                Some(extension) if directory.split(target.local()).is_none() => {
                    Address::new(format!("{}{extension}", target.local()), target.domain())
                        .map_err(|error| error.0.to_owned())
                }
                _ => Ok(target),
            });
            let target =
                target.map_err(|why| broken(directory, address, &format!("virtual_alias_maps: {why}")))?;
            let seen = is_above(&above, &target.to_string().to_lowercase());
            next.push(Work {
                domain: target.domain().into(),
                what: if seen { What::Final(target) } else { What::Address(target) },
                above: above.clone(),
                list_owner: work.list_owner.clone(),
                rights: None,
            });
        }
        self.work.extend(next.into_iter().rev());
        Ok(())
    }

    /// An address that no virtual alias is left for.
    fn address(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        class: Class,
    ) -> Result<(), Status> {
        match class {
            Class::Local => self.local(directory, work, address),
            Class::Relay | Class::Remote => {
                self.keep(work, address, Target::Remote(address.clone()));
                Ok(())
            }
            Class::VirtualAlias => {
                self.lose(work, address, address.to_string().to_lowercase(), unknown(address));
                Ok(())
            }
            Class::VirtualMailbox => {
                let full = format!("{}@{}", address.local(), address.domain()).to_lowercase();
                let cut = directory.split(address.local()).map(|(base, extension)| {
                    (format!("{base}@{}", address.domain()).to_lowercase(), extension.to_owned())
                });
                if !self.user(directory, work, address, &full, cut, true)? {
                    self.lose(work, address, full, unknown(address));
                }
                Ok(())
            }
        }
    }

    /// A name of this host: alias, user, or nobody.
    fn local(&mut self, directory: &mut Directory, work: &Work, address: &Address) -> Result<(), Status> {
        let full = address.local().to_lowercase();
        if full.contains('@') {
            // A quoted local-part is not a way to users with a domain, or to other hosts.
            self.lose(work, address, full, unknown(address));
            return Ok(());
        }
        let cut = directory.split(&full).map(|(base, extension)| (base.to_owned(), extension.to_owned()));
        let base = cut.as_ref().map_or(full.as_str(), |(base, _)| base);
        let own = work.above.as_deref().filter(|link| link.key == full || link.key == base);
        if own.is_some_and(|link| link.forward) {
            // His own name in his ~/.forward.
            self.user(directory, work, address, &full, cut.clone(), true)?;
            return Ok(());
        }
        let alias = match own {
            // An alias that names itself means the user.
            Some(_) => None,
            None => directory.alias(&[&full, base])?,
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
        let above = self.link(directory, work, key.clone(), false)?;
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
                above: above.clone(),
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
        let may = |set: common::config::keyword::Set<Expansion>| {
            *owner != Owner::Nobody && set.contains(Expansion::Alias)
        };
        let owner = match owner {
            Owner::User(uid) => Some(self.name_of(directory, *uid)?),
            _ => None,
        };
        Ok(Rc::new(Rights { files: may(files), commands: may(commands), owner, place }))
    }

    fn name_of(&self, directory: &mut Directory, uid: u32) -> Result<String, Status> {
        match directory.users.name_of(uid) {
            Ok(Some(name)) => Ok(name),
            Ok(None) => Err(broken(directory, &self.original, &format!("uid {uid} has no name"))),
            Err(error) => Err(directory.unreadable(&error)),
        }
    }

    fn item(&mut self, directory: &mut Directory, work: &Work, item: Item) -> Result<(), Status> {
        let original = self.original.clone();
        let named = |name: String, domain: &str| {
            Address::new(name, domain).map_err(|error| Status::new(451, Enhanced(4, 3, 5), error.0))
        };
        let rights = work.rights.clone();
        let may = |what: fn(&Rights) -> bool| rights.as_deref().filter(|rights| what(rights)).cloned();
        match item {
            Item::Address(address) => self.work.push(Work {
                domain: address.domain().into(),
                what: What::Address(address),
                above: work.above.clone(),
                list_owner: work.list_owner.clone(),
                rights: work.rights.clone(),
            }),
            Item::Name(name) => {
                // The domain is one of ours whenever an alias or a user was reached.
                let domain = match directory.class(&work.domain)? {
                    Class::Local => work.domain.to_string(),
                    _ => directory.myorigin().to_owned(),
                };
                let address = named(name, &domain)?;
                return self.local(directory, work, &address);
            }
            Item::Own(name) => {
                let address = named(name, &work.domain)?;
                let full = address.local().to_lowercase();
                let cut =
                    directory.split(&full).map(|(base, extension)| (base.to_owned(), extension.to_owned()));
                if !self.user(directory, work, &address, &full, cut, true)? {
                    self.lose(work, &address, full, unknown(&address));
                }
            }
            Item::Include(path) => return self.include(directory, work, &path),
            Item::File(path) => match may(|rights| rights.files) {
                Some(rights) => {
                    let target = Target::File { path, owner: rights.owner };
                    self.keep(work, &original, target);
                }
                None => return Err(not_allowed(directory, work, &original, "files")),
            },
            Item::Command(words) => match may(|rights| rights.commands) {
                Some(rights) => {
                    let target = Target::Command { words, owner: rights.owner };
                    self.keep(work, &original, target);
                }
                None => return Err(not_allowed(directory, work, &original, "programs")),
            },
        }
        Ok(())
    }

    /// The entries of a file. Nobody but root and its owner may be able to put it there: it is read as root.
    fn include(&mut self, directory: &mut Directory, work: &Work, path: &str) -> Result<(), Status> {
        let above = self.link(directory, work, format!(":include:{path}"), false)?;
        let mut text = String::new();
        let opened = trusted::open(Path::new(path), None).and_then(|trusted| {
            let length = trusted.file.take(INCLUDE_MAX + 1).read_to_string(&mut text)?;
            if length as u64 > INCLUDE_MAX {
                Err(std::io::ErrorKind::FileTooLarge.into())
            } else {
                Ok(trusted.uid)
            }
        });
        let uid = match opened {
            Ok(uid) => uid,
            Err(error) => {
                return Err(broken(directory, &self.original, &format!(":include:{path}: {error}")));
            }
        };
        let ours = common::sys::process::user_and_group().0;
        let owner = if uid == 0 || uid == ours { None } else { self.name_of(directory, uid).ok() };
        let known = uid == 0 || uid == ours || owner.is_some();
        let rights = Rc::new(Rights {
            files: known && directory.files.contains(Expansion::Include),
            commands: known && directory.commands.contains(Expansion::Include),
            owner,
            place: format!(":include:{path}"),
        });
        let mut next = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            for item in items(line) {
                match item {
                    Ok(item) => next.push(Work {
                        what: What::Item(item),
                        domain: work.domain.clone(),
                        above: above.clone(),
                        list_owner: work.list_owner.clone(),
                        rights: Some(rights.clone()),
                    }),
                    // One bad line in a list of many is for the log; the others get their mail.
                    Err(why) => directory.warn(format!(":include:{path}: {why}")),
                }
            }
            if next.len() > RECIPIENTS_MAX {
                return Err(broken(directory, &self.original, &format!(":include:{path}: too many entries")));
            }
        }
        self.work.extend(next.into_iter().rev());
        Ok(())
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
    fn user(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        full: &str,
        cut: Option<(String, String)>,
        direct: bool,
    ) -> Result<bool, Status> {
        for (name, extension) in [(full.to_owned(), String::new())].into_iter().chain(cut) {
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
        if is_postmaster(full) {
            // RFC 5321 section 4.5.1: there always is one.
            let Some(_) = directory.alias(&["root"])? else {
                directory.warn("mail for postmaster deferred: alias postmaster to somebody".to_owned());
                return Err(Status::new(450, Enhanced(4, 3, 5), "There is no postmaster yet"));
            };
            let root = Address::new("root", address.domain())
                .map_err(|error| broken(directory, address, error.0))?;
            return self.local(directory, work, &root);
        }
        if directory.takes_unknown_users() && !work.above.as_deref().is_some_and(|link| link.key == LUSER) {
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

    fn link(
        &self,
        directory: &mut Directory,
        work: &Work,
        key: String,
        forward: bool,
    ) -> Result<Option<Rc<Link>>, Status> {
        let mut depth = 0;
        let mut link = work.above.as_ref();
        while let Some(one) = link {
            depth += 1;
            if one.key == key || depth > DEPTH_MAX {
                directory.warn(format!("<{}>: aliases name each other in a circle ({key})", self.original));
                return Err(Status::new(
                    554,
                    Enhanced(5, 4, 6),
                    format!("<{}>: mail forwarding loop", self.original),
                ));
            }
            link = one.above.as_ref();
        }
        Ok(Some(Rc::new(Link { key, forward, above: work.above.clone() })))
    }

    fn recipient(&self, work: &Work, address: &Address, target: Target) -> Recipient {
        Recipient {
            address: address.clone(),
            original: self.original.clone(),
            orcpt: None,
            notify: None,
            owner: work.list_owner.clone(),
            target,
        }
    }

    fn keep(&mut self, work: &Work, address: &Address, target: Target) {
        let recipient = self.recipient(work, address, target);
        add(&mut self.found, recipient);
    }

    /// Notes somebody who cannot be delivered to. The one that the client named is refused; one behind an alias stays among
    /// the recipients, where delivery fails and its sender hears of it.
    fn lose(&mut self, work: &Work, address: &Address, user: String, status: Status) {
        let target = Target::Mailbox { user, extension: String::new(), direct: true };
        let recipient = self.recipient(work, address, target);
        add(&mut self.lost, recipient);
        self.refused.get_or_insert(status);
    }
}

/// The link of `luser_relay`.
const LUSER: &str = ":luser:";

/// Each target once.
fn add(list: &mut Vec<Recipient>, recipient: Recipient) {
    if !list.iter().any(|known| known.target == recipient.target) {
        list.push(recipient);
    }
}

fn is_above(link: &Option<Rc<Link>>, key: &str) -> bool {
    let mut link = link.as_ref();
    while let Some(one) = link {
        if one.key == key {
            return true;
        }
        link = one.above.as_ref();
    }
    false
}

fn is_postmaster(local: &str) -> bool {
    local.eq_ignore_ascii_case("postmaster")
}

fn unknown(address: &Address) -> Status {
    Status::new(550, Enhanced(5, 1, 1), format!("<{address}>: Recipient address rejected: User unknown"))
}

fn broken(directory: &mut Directory, address: &Address, why: &str) -> Status {
    directory.warn(format!("<{address}>: {why}"));
    Status::new(451, Enhanced(4, 3, 5), format!("<{address}>: Server configuration problem"))
}

fn not_allowed(directory: &mut Directory, work: &Work, address: &Address, what: &str) -> Status {
    let place = work.rights.as_ref().map_or("?", |rights| rights.place.as_str());
    broken(directory, address, &format!("{place}: mail to {what} is not allowed there"))
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

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
