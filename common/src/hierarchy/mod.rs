//! A user's mailboxes: Maildir++, their names, and making, deleting, renaming and listing them.
//!
//! Names come from clients and are hostile; directories and files are the user's own and may be anything. Everything here
//! is done with the user's rights. Failures are [`HierarchyError`]s.
//!
//! INBOX is the Maildir of the location; every other mailbox is a directory `.Name.Sub` in the root. A directory that is a
//! symbolic link is followed, as Dovecot does it: whoever can make one there has the user's rights already. Deleting and
//! renaming it are about the link.
//!
//! A mailbox is made under another name in the root and gets its own by one rename; deleting is one rename to a name that
//! nobody lists (`tinmail-gone.*`), and then removing. What a crash leaves of either is removed by a later listing. Who
//! changes directories holds a dotlock, `tinmail-hierarchy.lock`, in the directory of `subscriptions`.
//!
//! ```text
//! mutf7   modified UTF-7      name     names, here and there      pattern   of LIST and LSUB
//! listing what there is       special_use   what it is for        subscriptions   the file
//! namespaces   the user's own, public ones, those of other users
//! create, delete, rename      gone     removing directories       empty_trash   imap_emptytrash
//! ```

mod create;
mod delete;
mod empty_trash;
mod gone;
mod listing;
pub mod mutf7;
mod name;
mod namespaces;
mod pattern;
mod rename;
mod special_use;
pub mod subscriptions;

pub use listing::{Entry, Listing};
pub use name::{Name, NameError, Namespace, of_directory};
pub use namespaces::{Located, Namespaces};
pub use pattern::Pattern;
pub use special_use::{SpecialUse, Uses};
pub use subscriptions::Subscriptions;

use crate::config::Config;
use crate::config::mailboxes::SpecialUseNames;
use crate::maildir::dotlock::Dotlock;
use crate::maildir::{ErrorKind, IndexPlace, Location, Maildir, StorageError};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long somebody else's lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// What changes of directories are made under.
const LOCK_NAME: &str = "tinmail-hierarchy";

/// One user's mailboxes.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    location: Location,
    namespace: Namespace,
    special_use: SpecialUseNames,
    trash: Box<str>,
    fsync: bool,
    lock_timeout: Duration,
}

/// Why something was not done.
#[derive(Debug)]
pub enum HierarchyError {
    /// The name cannot be one.
    Name(NameError),
    /// There is a mailbox of that name.
    Exists,
    /// There is none.
    NotFound,
    /// Another mailbox has the special use, or none can be made for it (RFC 6154 section 3).
    UseRefused,
    /// The store failed.
    Storage(StorageError),
}

impl From<StorageError> for HierarchyError {
    fn from(error: StorageError) -> HierarchyError {
        HierarchyError::Storage(error)
    }
}

impl From<NameError> for HierarchyError {
    fn from(error: NameError) -> HierarchyError {
        HierarchyError::Name(error)
    }
}

impl fmt::Display for HierarchyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HierarchyError::Name(NameError::Invalid(why)) => f.write_str(why),
            HierarchyError::Name(NameError::Outside) => f.write_str("outside of the namespace"),
            HierarchyError::Exists => f.write_str("the mailbox exists"),
            HierarchyError::NotFound => f.write_str("no such mailbox"),
            HierarchyError::UseRefused => f.write_str("no mailbox can be made for this use"),
            HierarchyError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HierarchyError {}

impl Hierarchy {
    /// The mailboxes at a location. Nothing is read.
    pub fn new(location: Location, config: &Config) -> Hierarchy {
        Hierarchy {
            namespace: Namespace::new(config.namespace_prefix.as_str(), config.namespace_separator.octet()),
            special_use: config.special_use.clone(),
            trash: (*config.imap_trashfoldername).into(),
            fsync: !config.fsync_disable,
            lock_timeout: LOCK_TIMEOUT,
            location: Location { size_limit: config.mailbox_size_limit.0, ..location },
        }
    }

    /// Mailboxes that are not the user's own: public ones, or those of another user.
    fn of_others(location: Location, prefix: &str, separator: u8, fsync: bool) -> Hierarchy {
        Hierarchy {
            namespace: Namespace { has_inbox_inside: true, ..Namespace::new(prefix, separator) },
            special_use: SpecialUseNames::NONE,
            trash: "".into(),
            fsync,
            lock_timeout: LOCK_TIMEOUT,
            location,
        }
    }

    /// How names are written.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The name that a client means. A separator at its end means nothing (RFC 3501 section 6.3.3).
    pub fn name(&self, visible: &[u8]) -> Result<Name, NameError> {
        self.namespace.name(visible)
    }

    /// The name as a client sees it.
    pub fn visible(&self, name: &Name) -> Vec<u8> {
        let mut visible = Vec::new();
        self.namespace.print(name, &mut visible);
        visible
    }

    /// The mailbox's directories. Error: `NotFound`.
    pub fn open(&self, name: &Name) -> Result<Maildir, StorageError> {
        if name.is_inbox() && !self.namespace.has_inbox_inside {
            return Maildir::open_location(&self.location, self.fsync);
        }
        if name.is_inbox() {
            return Maildir::open_inbox_of_others(&self.location);
        }
        match self.find(name)? {
            Some(directory) => Maildir::open_below(&self.location, &directory),
            None => {
                let path = self.location.root.join(name.directory());
                Err(StorageError::with_kind(ErrorKind::NotFound, "open", path, "there is no such mailbox"))
            }
        }
    }

    /// Whether the mailbox is there. The user's own INBOX always is.
    pub fn exists(&self, name: &Name) -> Result<bool, StorageError> {
        match name.is_inbox() {
            true => Ok(!self.namespace.has_inbox_inside || self.location.inbox.join("cur").is_dir()),
            false => Ok(self.find(name)?.is_some()),
        }
    }

    /// The list of subscriptions.
    pub fn subscriptions(&self) -> Result<Subscriptions, StorageError> {
        self.subscriptions_file().read()
    }

    fn subscriptions_file(&self) -> subscriptions::File<'_> {
        subscriptions::File {
            directory: self.shared(),
            namespace: &self.namespace,
            lock_timeout: self.lock_timeout,
            fsync: self.fsync,
        }
    }

    fn root(&self) -> &Path {
        &self.location.root
    }

    /// Where what all mailboxes share is: subscriptions, dovecot-uidvalidity, our own small files.
    fn shared(&self) -> &Path {
        self.location.control.as_deref().unwrap_or(&self.location.root)
    }

    /// CONTROL= and INDEX=, as far as they are directories of their own.
    fn side_directories(&self) -> impl Iterator<Item = &Path> {
        let control = self.location.control.as_deref().filter(|control| *control != self.root());
        let index = match &self.location.index {
            IndexPlace::At(base) => Some(base.as_path()),
            IndexPlace::Inbox | IndexPlace::Memory => None,
        };
        let index = index.filter(|index| *index != self.root() && Some(*index) != control);
        control.into_iter().chain(index)
    }

    fn make_shared(&self) -> Result<(), StorageError> {
        for directory in [self.root(), self.shared()] {
            if !directory.is_dir() {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
                made.map_err(StorageError::at("mkdir", directory))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<Dotlock, StorageError> {
        self.make_shared()?;
        Dotlock::take(&self.shared().join(LOCK_NAME), self.lock_timeout)
    }

    /// The entry of the root that is this mailbox.
    fn find(&self, name: &Name) -> Result<Option<OsString>, StorageError> {
        let usual = name.directory();
        if usual.len() <= name::FILE_NAME_MAX && self.root().join(&usual).is_dir() {
            return Ok(Some(usual));
        }
        let mut found = None;
        if name.is_ambiguous() {
            self.each_directory(|directory, other, entry| {
                if found.is_none() && other == *name && is_directory(entry) {
                    found = Some(directory.to_owned());
                }
            })?;
        }
        Ok(found)
    }

    /// All entries of the root that have a mailbox's name, whatever they are. None if there is no root.
    fn each_directory(&self, mut visit: impl FnMut(&OsStr, Name, &DirEntry)) -> Result<(), StorageError> {
        let entries = match fs::read_dir(self.root()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StorageError::new("read", self.root(), error)),
        };
        for entry in entries {
            let entry = entry.map_err(StorageError::at("read", self.root()))?;
            let directory = entry.file_name();
            if let Some(name) = name::of_directory(&directory, &self.namespace) {
                visit(&directory, name, &entry);
            }
        }
        Ok(())
    }

    /// The directory that a new mailbox gets: in UTF-8 where all others are that have to be in something (Courier 5 and
    /// later), else in modified UTF-7.
    fn new_directory(&self, name: &Name) -> Result<OsString, StorageError> {
        if memchr::memchr(b'&', name.as_bytes()).is_none() {
            return Ok(name.directory());
        }
        // A level that looks like modified UTF-7 in UTF-8 too would be read as another name.
        let in_utf8 = |name: &Name| {
            let text = name.utf8_directory();
            Some(text).filter(|text| name::of_directory(text, &self.namespace).as_ref() == Some(name))
        };
        let (mut utf8, mut shifted) = (false, false);
        self.each_directory(|directory, name, _| {
            utf8 |= !directory.as_bytes().is_ascii() && std::str::from_utf8(directory.as_bytes()).is_ok();
            let same = directory.as_bytes().get(1..) == Some(name.as_bytes());
            shifted |= same && memchr::memchr(b'&', name.as_bytes()).is_some() && in_utf8(&name).is_some();
        })?;
        let text = in_utf8(name).filter(|_| utf8 && !shifted);
        Ok(text.unwrap_or_else(|| name.directory()))
    }

    /// A path in a directory that nobody else uses; no listing shows it.
    fn unused(&self, base: &Path, kind: &str) -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let host = crate::sys::fs::hostname();
        base.join(format!("{kind}{}.{}.{count}.{host}", now.as_nanos(), std::process::id()))
    }
}

/// Whether an entry is a directory or a symbolic link to one.
fn is_directory(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod testing;
