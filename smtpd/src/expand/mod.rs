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

mod item;
mod local;

use crate::address::Address;
use crate::aliases::{Item, items};
use crate::classes::Class;
use crate::directory::Directory;
use crate::envelope::{Recipient, Target, asked};
use crate::status::{Enhanced, Status};
use crate::virtual_mailboxes::Found;
use common::config::keyword::Expansion;
use std::rc::Rc;

/// How deep aliases may name aliases.
const DEPTH_MAX: usize = 50;
/// Recipients that one address may mean (Postfix: virtual_alias_expansion_limit).
pub const RECIPIENTS_MAX: usize = 1000;
/// Steps for one address.
const STEPS_MAX: usize = 10_000;
/// Files of addresses that are read for one address.
const INCLUDES_MAX: usize = 100;

/// The link of somebody who only asks.
const LOOK: &str = ":look:";
/// What the key of such a file begins with on the way.
const INCLUDE: &str = ":include:";

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
    /// It is its own virtual alias, or, in a circle, that of one that it has led to.
    Final {
        address: Address,
        circle: bool,
    },
    Item(Item),
}

struct Job {
    original: Address,
    work: Vec<Work>,
    found: Vec<Recipient>,
    /// Files of addresses so far.
    includes: usize,
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
    Job::new(path, vec![first]).run(directory)
}

/// Whether mail for this recipient's address goes to its target. The address was accepted by the rules, or a `~/.forward` has
/// named it as an alias, for which `local_recipient_maps` and `virtual_alias_maps` do not count.
pub fn names(directory: &mut Directory, recipient: &Recipient) -> Result<bool, Status> {
    let address = &recipient.address;
    for what in [What::Address(address.clone()), What::Final { address: address.clone(), circle: false }] {
        match look(directory, address, what) {
            Ok(found) if found.iter().any(|one| one.target == recipient.target) => return Ok(true),
            Err(status) if status.is_temporary() => return Err(status),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

/// Where mail for a recipient's address goes now that nobody names its file or program any more. What a user's `~/.forward` has
/// named goes back to the user alone: whoever gets mail beside the user has had it. Nobody names the same again.
pub fn anew(directory: &mut Directory, recipient: &Recipient) -> Result<Vec<Recipient>, Status> {
    let address = &recipient.address;
    let what = What::Address(address.clone());
    let mut found = look(directory, address, what)?;
    found.retain(|one| one.target != recipient.target);
    if let Target::File { owner: Some(owner), .. } | Target::Command { owner: Some(owner), .. } =
        &recipient.target
    {
        let full = address.local().to_lowercase();
        let base = directory.split(&full).map_or(full.as_str(), |(base, _)| base);
        let is_own = |one: &Recipient| matches!(&one.target, Target::Mailbox { user, .. } if user == owner);
        if [full.as_str(), base].contains(&owner.as_str()) && found.iter().any(is_own) {
            found.retain(is_own);
        }
    }
    for one in &mut found {
        one.original = recipient.original.clone();
        one.owner = one.owner.take().or_else(|| recipient.owner.clone());
    }
    asked(&mut found, recipient.orcpt.as_deref(), recipient.notify);
    match found.is_empty() {
        true => Err(Status::new(451, Enhanced(4, 3, 5), format!("<{address}>: leads nowhere now"))),
        false => Ok(found),
    }
}

/// What an address means to somebody who only asks.
fn look(directory: &mut Directory, address: &Address, what: What) -> Result<Vec<Recipient>, Status> {
    let above = Some(Rc::new(Link { key: LOOK.to_owned(), forward: false, above: None }));
    let first = Work { what, domain: address.domain().into(), above, list_owner: None, rights: None };
    Job::new(address, vec![first]).run(directory)
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
    let mut all = Job::new(&recipient.address, work).run(directory)?;
    for one in &mut all {
        one.original = recipient.original.clone();
    }
    asked(&mut all, recipient.orcpt.as_deref(), recipient.notify);
    Ok(all)
}

impl Job {
    fn new(original: &Address, work: Vec<Work>) -> Job {
        let (found, lost) = (Vec::new(), Vec::new());
        Job { original: original.clone(), work, found, includes: 0, lost, refused: None }
    }

    fn run(mut self, directory: &mut Directory) -> Result<Vec<Recipient>, Status> {
        let mut steps = 0;
        while let Some(work) = self.work.pop() {
            steps += 1;
            if steps > STEPS_MAX || self.found.len() > RECIPIENTS_MAX || self.lost.len() > RECIPIENTS_MAX {
                return Err(self.too_many(directory, "means too many recipients"));
            }
            self.step(directory, work)?;
        }
        if self.found.is_empty() {
            // Debian's aliases say "postmaster: root" and nothing of root, who gets no mail.
            return Err(match self.refused {
                _ if local::is_postmaster(self.original.local()) => local::no_postmaster(directory),
                Some(status) => status,
                None => unknown(&self.original),
            });
        }
        for lost in self.lost {
            add(&mut self.found, lost);
        }
        Ok(self.found)
    }

    /// For good: nothing but a smaller list makes it better.
    fn too_many(&self, directory: &mut Directory, why: &str) -> Status {
        directory.warn(format!("<{}>: {why}", self.original));
        Status::new(554, Enhanced(5, 4, 6), "Too many recipients behind this address")
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
            What::Final { address, circle } => {
                let (address, class) = (address.clone(), directory.class(address.domain())?);
                let before = self.refused.take();
                self.address(directory, &work, &address, class)?;
                // Two may be each other's aliases, and somebody all the same. If there is nobody, the circle is to blame.
                if *circle && self.refused.as_ref().is_some_and(|status| status.enhanced == UNKNOWN) {
                    let key = address.to_string().to_lowercase();
                    self.refused = Some(self.circle(directory, &key));
                }
                self.refused = before.or(self.refused.take());
                Ok(())
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
        let link = self.link(directory, work, key, false)?;
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
            let key = target.to_string().to_lowercase();
            // How many aliases ago it was one itself.
            let seen = above(&link).position(|link| link.key == key);
            next.push(Work {
                domain: target.domain().into(),
                what: match seen {
                    Some(ago) => What::Final { address: target, circle: ago > 0 },
                    None => What::Address(target),
                },
                above: link.clone(),
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
            Class::VirtualAlias if local::is_postmaster(address.local()) => self.postmaster(directory, work),
            Class::VirtualAlias => {
                self.lose(work, address, address.to_string().to_lowercase(), unknown(address));
                Ok(())
            }
            Class::VirtualMailbox => self.virtual_mailbox(directory, work, address),
        }
    }

    /// A user with a domain, and perhaps an extension.
    fn virtual_mailbox(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
    ) -> Result<(), Status> {
        let full = format!("{}@{}", address.local(), address.domain()).to_lowercase();
        let whole = Some((full.clone(), String::new()));
        let cut = directory.split(address.local()).map(|(base, extension)| {
            (format!("{base}@{}", address.domain()).to_lowercase(), extension.to_owned())
        });
        let found = match directory.users.has_virtual_mailboxes() {
            true => directory.users.find_virtual(&full, cut.as_ref().map(|(base, _)| base.as_str()))?,
            false => Some(Found::CatchAll),
        };
        // What has an entry of its own is not for a catch-all to take.
        let names = match found {
            None => [None, None],
            Some(Found::Whole) => [whole, None],
            Some(Found::Base) => [None, cut],
            Some(Found::CatchAll) => [whole, cut],
        };
        if !self.one_of(directory, work, address, names, true)? {
            if local::is_postmaster(address.local()) {
                return self.postmaster(directory, work);
            }
            self.lose(work, address, full, unknown(address));
        }
        Ok(())
    }

    /// RFC 5321 section 4.5.1: every domain has a postmaster. One that has none of its own has this host's.
    fn postmaster(&mut self, directory: &mut Directory, work: &Work) -> Result<(), Status> {
        let address = Address::new("postmaster", directory.myorigin())
            .map_err(|error| Status::new(451, Enhanced(4, 3, 5), error.0))?;
        self.local(directory, work, &address)
    }

    fn link(
        &self,
        directory: &mut Directory,
        work: &Work,
        key: String,
        forward: bool,
    ) -> Result<Option<Rc<Link>>, Status> {
        for (link, depth) in above(&work.above).zip(1..) {
            if link.key == key || depth > DEPTH_MAX {
                return Err(self.circle(directory, &key));
            }
        }
        Ok(Some(Rc::new(Link { key, forward, above: work.above.clone() })))
    }

    fn circle(&self, directory: &mut Directory, key: &str) -> Status {
        directory.warn(format!("<{}>: aliases name each other in a circle ({key})", self.original));
        Status::new(554, Enhanced(5, 4, 6), format!("<{}>: mail forwarding loop", self.original))
    }

    /// The address under which a file or a program gets the mail. Behind a `~/.forward` that names an alias it is the alias's:
    /// the runner looks there again whether it is named, and the user's own files do not name it.
    fn address_of(&self, work: &Work) -> Address {
        let is_forwarded = above(&work.above).any(|link| link.forward);
        let alias = above(&work.above).find(|link| !link.key.starts_with(INCLUDE));
        let alias = alias.filter(|alias| is_forwarded && !alias.forward);
        let address = alias.and_then(|alias| Address::new(alias.key.as_str(), &work.domain).ok());
        address.unwrap_or_else(|| self.original.clone())
    }

    fn recipient(&self, work: &Work, address: &Address, target: Target) -> Recipient {
        let (original, owner) = (self.original.clone(), work.list_owner.clone());
        Recipient { original, owner, ..Recipient::new(address.clone(), target) }
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

/// Each target once.
fn add(list: &mut Vec<Recipient>, recipient: Recipient) {
    if !list.iter().any(|known| known.target == recipient.target) {
        list.push(recipient);
    }
}

/// The links of a way, the nearest first.
fn above(link: &Option<Rc<Link>>) -> impl Iterator<Item = &Link> {
    std::iter::successors(link.as_deref(), |link| link.above.as_deref())
}

const UNKNOWN: Enhanced = Enhanced(5, 1, 1);

fn unknown(address: &Address) -> Status {
    Status::new(550, UNKNOWN, format!("<{address}>: Recipient address rejected: User unknown"))
}

fn broken(directory: &mut Directory, address: &Address, why: &str) -> Status {
    directory.warn(format!("<{address}>: {why}"));
    Status::new(451, Enhanced(4, 3, 5), format!("<{address}>: Server configuration problem"))
}

#[cfg(test)]
mod tests;
