//! All mailboxes that a user sees (RFC 2342): the user's own, public ones, and those of other users.
//!
//! Which namespace a name belongs to is told by its prefix. What a user may do in those of others is what the rights of
//! files and directories allow; who cannot even read there sees nothing of it. Flags are in the names of files and so
//! are everybody's, `\Seen` too.
//!
//! Names of users stand in names of mailboxes and become part of paths: clients' names are hostile.

use super::listing::{Listing, Names};
use super::name::{Name, NameError};
use super::{Hierarchy, HierarchyError, SpecialUse, Subscriptions, mutf7};
use crate::config::Config;
use crate::maildir::{Location, LocationError, Maildir, StorageError, User};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// More users than this are not listed; each is served by name.
const USERS_MAX: usize = 1000;

/// The namespaces of one user.
#[derive(Debug)]
pub struct Namespaces {
    own: Rc<Hierarchy>,
    public: Option<Rc<Hierarchy>>,
    shared: Option<Shared>,
}

/// The mailboxes of other users: below the prefix a level for each of them.
#[derive(Debug)]
struct Shared {
    /// With the separator at its end.
    prefix: Box<[u8]>,
    location: Box<str>,
    user: Box<str>,
    home: PathBuf,
    separator: u8,
    fsync: bool,
}

/// A mailbox by its namespace and its name there, whether it exists or not.
#[derive(Debug, Clone)]
pub struct Located {
    /// The mailboxes that it belongs to.
    pub hierarchy: Rc<Hierarchy>,
    /// Its name among them.
    pub name: Name,
}

impl Namespaces {
    /// The user's own mailboxes are at `location`; where the others are the settings say.
    ///
    /// Errors: a setting does not fit the user.
    pub fn new(location: Location, config: &Config, user: User<'_>) -> Result<Namespaces, LocationError> {
        let separator = config.namespace_separator.octet();
        let fsync = !config.fsync_disable;
        let public = match config.namespace_public_location.text() {
            "" => None,
            text => {
                let location = Location::parse_as("namespace_public_location", text, user)?;
                let prefix = config.namespace_public_prefix.as_str();
                Some(Rc::new(Hierarchy::of_others(location, prefix, separator, fsync)))
            }
        };
        let shared = match config.namespace_shared_location.text() {
            "" => None,
            text => Some(Shared {
                prefix: super::Namespace::new(config.namespace_shared_prefix.as_str(), separator).prefix,
                location: text.into(),
                user: user.name.into(),
                home: user.home.to_owned(),
                separator,
                fsync,
            }),
        };
        let namespaces = Namespaces { own: Rc::new(Hierarchy::new(location, config)), public, shared };
        let own = Some(&*namespaces.own.namespace.prefix);
        let (public, shared) = (namespaces.public_prefix(), namespaces.shared_prefix());
        if public == own || shared == own || public.is_some() && public == shared {
            return Err(LocationError("two namespaces have the same prefix".to_owned()));
        }
        Ok(namespaces)
    }

    /// The user's own.
    pub fn own(&self) -> &Hierarchy {
        &self.own
    }

    /// The prefix of the public mailboxes.
    pub fn public_prefix(&self) -> Option<&[u8]> {
        self.public.as_ref().map(|public| &*public.namespace.prefix)
    }

    /// What the names of other users' mailboxes begin with.
    pub fn shared_prefix(&self) -> Option<&[u8]> {
        self.shared.as_ref().map(|shared| &*shared.prefix)
    }

    /// Between two levels of a name, in all of them.
    pub fn separator(&self) -> u8 {
        self.own.namespace.separator
    }

    /// The mailbox that a client means.
    pub fn locate(&self, visible: &[u8]) -> Result<Located, NameError> {
        let hierarchy = match (&self.public, &self.shared) {
            (Some(public), _) if visible.starts_with(&public.namespace.prefix) => public.clone(),
            (_, Some(shared)) if visible.starts_with(&shared.prefix) => {
                Rc::new(shared.of_name(visible).ok_or(NameError::Outside)?)
            }
            _ => self.own.clone(),
        };
        Ok(Located { name: hierarchy.name(visible)?, hierarchy })
    }

    fn is_elsewhere(&self, visible: &[u8]) -> bool {
        self.public_prefix().is_some_and(|prefix| visible.starts_with(prefix))
            || self.shared_prefix().is_some_and(|prefix| visible.starts_with(prefix))
    }

    /// Renames a mailbox and those below it, within a namespace.
    pub fn rename(&self, from: &Located, to: &Located) -> Result<(), HierarchyError> {
        if from.hierarchy.root() != to.hierarchy.root() {
            return Err(NameError::Invalid("A mailbox stays in its namespace.").into());
        }
        from.hierarchy.rename(&from.name, &to.name)
    }

    /// The list of subscriptions, which is the user's own for all namespaces.
    pub fn subscriptions(&self) -> Result<Subscriptions, StorageError> {
        self.own.subscriptions()
    }

    /// Subscribes to a mailbox, which must exist, as Dovecot demands it (RFC 3501 section 6.3.6 allows that).
    pub fn subscribe(&self, mailbox: &Located) -> Result<(), HierarchyError> {
        if !mailbox.hierarchy.exists(&mailbox.name)? {
            return Err(HierarchyError::NotFound);
        }
        self.own.make_shared()?;
        self.own.subscriptions_file().set(&self.subscription(mailbox)?, true)?;
        Ok(())
    }

    /// Ends a subscription. That there was none is no error, as with Dovecot.
    pub fn unsubscribe(&self, mailbox: &Located) -> Result<(), HierarchyError> {
        self.own.subscriptions_file().set(&self.subscription(mailbox)?, false)?;
        Ok(())
    }

    /// How a mailbox is called in the list: without the prefix of the user's own namespace, with all others.
    fn subscription(&self, mailbox: &Located) -> Result<Name, NameError> {
        if Rc::ptr_eq(&mailbox.hierarchy, &self.own) {
            return Ok(mailbox.name.clone());
        }
        let mut visible = mailbox.hierarchy.visible(&mailbox.name);
        for octet in &mut visible {
            match *octet {
                b'.' if self.separator() != b'.' => {
                    return Err(NameError::Invalid("There can be no subscription to a name with a dot."));
                }
                other if other == self.separator() => *octet = b'.',
                _ => {}
            }
        }
        Ok(Name::of_octets(visible))
    }

    /// What there is, and if wanted what is subscribed to. Other users' mailboxes that cannot be read are not there.
    pub fn listing(&self, subscriptions: Option<&Subscriptions>) -> Result<Listing, StorageError> {
        let mut names = Names::default();
        // A mailbox of the user's own that has the prefix of another namespace cannot be reached.
        self.own.collect(&mut names, &|visible| !self.is_elsewhere(visible))?;
        if let Some(public) = &self.public {
            let _ = public.collect(&mut names, &|_| true);
        }
        for user in self.shared.iter().flat_map(Shared::users) {
            let of_user = self.shared.as_ref().and_then(|shared| shared.of_user(&user));
            let _ = of_user.map(|of_user| of_user.collect(&mut names, &|_| true));
        }
        if let Some(subscriptions) = subscriptions {
            self.add_subscriptions(subscriptions, &mut names)?;
        }
        let mut listing = names.sort(self.separator());
        self.own.assign_uses(&mut listing)?;
        Ok(listing)
    }

    /// Only what is subscribed to, and the levels above. Whether it exists is not looked at.
    pub fn subscribed(&self, subscriptions: &Subscriptions) -> Result<Listing, StorageError> {
        let mut names = Names::default();
        self.add_subscriptions(subscriptions, &mut names)?;
        Ok(names.sort(self.separator()))
    }

    fn add_subscriptions(
        &self,
        subscriptions: &Subscriptions,
        names: &mut Names,
    ) -> Result<(), StorageError> {
        let mut visible = Vec::new();
        for name in subscriptions.names(&self.own.namespace) {
            visible.clear();
            let separator = self.separator();
            visible.extend(name.as_bytes().iter().map(|&o| if o == b'.' { separator } else { o }));
            match self.is_elsewhere(&visible) {
                true => names.add_subscribed(&visible)?,
                false => names.add_subscribed(&self.own.visible(&name))?,
            }
        }
        Ok(())
    }
}

impl Located {
    /// The mailbox's directories. Error: `NotFound`.
    pub fn open(&self) -> Result<Maildir, StorageError> {
        self.hierarchy.open(&self.name)
    }

    /// Its name as a client sees it.
    pub fn visible(&self) -> Vec<u8> {
        self.hierarchy.visible(&self.name)
    }

    /// Makes it.
    pub fn create(&self, uses: &[SpecialUse]) -> Result<(), HierarchyError> {
        self.hierarchy.create(&self.name, uses)
    }

    /// Deletes it.
    pub fn delete(&self) -> Result<(), HierarchyError> {
        self.hierarchy.delete(&self.name)
    }

    /// Whether it is the user's INBOX.
    pub fn is_own_inbox(&self) -> bool {
        self.name.is_inbox() && !self.hierarchy.namespace.has_inbox_inside
    }

    /// Whether both are the same mailbox.
    pub fn is(&self, other: &Located) -> bool {
        self.name == other.name && self.hierarchy.root() == other.hierarchy.root()
    }

    /// Whether it is below the other one.
    pub fn is_below(&self, other: &Located) -> bool {
        self.name.below(&other.name).is_some() && self.hierarchy.root() == other.hierarchy.root()
    }
}

impl Shared {
    /// The mailboxes of the user whose name stands behind the prefix.
    fn of_name(&self, visible: &[u8]) -> Option<Hierarchy> {
        let below = visible.strip_prefix(&*self.prefix)?;
        let level = below.split(|&octet| octet == self.separator).next()?;
        self.of_user(&mutf7::decode(level)?)
    }

    fn of_user(&self, owner: &str) -> Option<Hierarchy> {
        let own = owner == &*self.user;
        // It becomes part of a path and of a setting.
        let fits = !own && !owner.is_empty() && !owner.starts_with('.') && !owner.contains(['/', ':', '\0']);
        if !fits || owner.contains(char::from(self.separator)) {
            return None;
        }
        let location = Location::parse(&with_owner(&self.location, owner), self.reader()).ok()?;
        let level = mutf7::encode(owner);
        let mut prefix = self.prefix.to_vec();
        prefix.extend_from_slice(&level);
        prefix.push(self.separator);
        let mut hierarchy = Hierarchy::of_others(location, "", self.separator, self.fsync);
        hierarchy.namespace.prefix = prefix.into();
        Some(hierarchy)
    }

    fn reader(&self) -> User<'_> {
        User { name: &self.user, home: &self.home }
    }

    /// The users whose mail there is, where they have directories beside each other: a level of the path that is `%%u`
    /// or `%%n`.
    fn users(&self) -> Vec<String> {
        let path = self.location.split(':').nth(1).unwrap_or_default();
        let marked = |level: &str| matches!(level, "%%u" | "%%n");
        let Some(place) = path.split('/').position(marked) else { return Vec::new() };
        let above: Vec<&str> = path.split('/').take(place).collect();
        let base = Location::parse(&format!("maildir:{}", above.join("/")), self.reader());
        let Ok(entries) = base.and_then(|base| read_dir(&base.root)) else { return Vec::new() };
        let mut users: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(USERS_MAX)
            .collect();
        users.sort_unstable();
        users
    }
}

fn read_dir(path: &Path) -> Result<fs::ReadDir, LocationError> {
    fs::read_dir(path).map_err(|error| LocationError(error.to_string()))
}

/// The location of an owner's mailboxes: `%%u`, `%%n` and `%%d` are the owner's, as in Dovecot's shared namespaces.
fn with_owner(location: &str, owner: &str) -> String {
    let (local, domain) = owner.split_once('@').unwrap_or((owner, ""));
    let mut text = location.to_owned();
    for (variable, value) in [("%%u", owner), ("%%n", local), ("%%d", domain)] {
        text = text.replace(variable, &value.replace('%', "%%"));
    }
    text
}

#[cfg(test)]
#[path = "namespaces_tests.rs"]
mod tests;
