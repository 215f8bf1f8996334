//! The queue: one file for each message that is not yet everywhere it has to go.
//!
//! ```text
//! queue_directory/       root's (or the only user's), 0755
//!   tmp/                 being written; never looked at by a runner but to tidy up
//!   queue/ID             head (envelope, states, counters) and message; its mtime is when it is due next
//!   queue/ID.log         what hosts said last, for people and bounces; may be lost
//!   hold/ID              set aside by an administrator
//!   corrupt/ID           not readable, kept for a look
//!   lock/                slots of destinations and runs, which go when they are old and nobody has them; what runs tell each
//!                        other (again, come); drop: whose files of drop/ a run is at
//!   drop/                1733: where sendmail of unprivileged users leaves messages
//! ```
//!
//! All but `drop/` is `mail_owner`'s alone, 0700. A message is written to `tmp/`, flushed, renamed to `queue/`, and the
//! directory flushed: two fsyncs, one file. Whoever works on a message has its record lock, so any number of runners may
//! run at once; who dies loses it. States are single octets that are overwritten in place; a message that is done is
//! unlinked. There is no database: a file may be moved, copied and removed with any tool.
//!
//! What is read here was written by `mail_owner`, or damaged since. It is bounded and never trusted to be well-formed.

pub mod format;
pub mod id;
pub mod incoming;
pub mod list;
pub mod notes;
pub mod queued;
pub mod scan;
pub mod schedule;

pub use id::Id;
pub use incoming::{Incoming, Received, submitted_by};
pub use queued::{Opened, Queued, State};
pub use schedule::Counters;

use common::config::Config;
use common::sys::{fs, process};
use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory below `queue_directory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Messages that are being written.
    Tmp,
    /// Messages on their way.
    Queue,
    /// Messages that wait for an administrator.
    Hold,
    /// Files that are no messages.
    Corrupt,
    /// Lock files.
    Lock,
    /// What users without rights have submitted.
    Drop,
}

impl Place {
    const ALL: [Place; 6] = [Place::Tmp, Place::Queue, Place::Hold, Place::Corrupt, Place::Lock, Place::Drop];

    /// The name of the directory.
    pub fn name(self) -> &'static str {
        match self {
            Place::Tmp => "tmp",
            Place::Queue => "queue",
            Place::Hold => "hold",
            Place::Corrupt => "corrupt",
            Place::Lock => "lock",
            Place::Drop => "drop",
        }
    }

    fn mode(self) -> u32 {
        match self {
            // Everybody may leave a file, nobody may list them or remove another's.
            Place::Drop => 0o1733,
            _ => 0o700,
        }
    }
}

/// `queue_directory`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDirectory {
    path: PathBuf,
    owner: (u32, u32),
    sync: bool,
}

impl QueueDirectory {
    /// Checks owners and modes of everything; what is missing is made where we have the right to. Errors name the directory
    /// and what is wrong with it.
    pub fn open(config: &Config) -> io::Result<QueueDirectory> {
        let path =
            config.queue_directory.get().ok_or_else(|| io::Error::other("queue_directory is empty"))?;
        let owner = owner(config)?;
        let directory = QueueDirectory { path: path.to_owned(), owner, sync: !config.fsync_disable };
        directory.prepare()?;
        Ok(directory)
    }

    /// The same without a look: for processes that were started by one that has looked, and for tests.
    pub fn at(path: &Path, owner: (u32, u32), sync: bool) -> QueueDirectory {
        QueueDirectory { path: path.to_owned(), owner, sync }
    }

    /// Uid and gid of `mail_owner`, or ours without root.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// `queue_directory` itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below it.
    pub fn place(&self, place: Place) -> PathBuf {
        self.path.join(place.name())
    }

    /// A message's file.
    pub fn file(&self, place: Place, id: &Id) -> PathBuf {
        let mut path = self.place(place);
        path.push(id.as_str());
        path
    }

    /// Where a message's last errors are.
    pub fn log_file(&self, place: Place, id: &Id) -> PathBuf {
        self.place(place).join(format!("{id}.log"))
    }

    /// Whether files are flushed to disk (`fsync_disable = no`).
    pub fn syncs(&self) -> bool {
        self.sync
    }

    /// The first thing that [`QueueDirectory::open`] would find wrong. Nothing is made or changed: what is missing is no error
    /// where it can be made.
    pub fn check(config: &Config) -> io::Result<()> {
        let path =
            config.queue_directory.get().ok_or_else(|| io::Error::other("queue_directory is empty"))?;
        let directory = QueueDirectory { path: path.to_owned(), owner: owner(config)?, sync: true };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let Some(top) = directory.look(path)? else {
            return common::sys::fs::may_write(path.parent().unwrap_or(path)).map_err(named);
        };
        directory.check_top(&top)?;
        for place in Place::ALL {
            let path = directory.place(place);
            match directory.look(&path)? {
                // It will be given to mail_owner.
                Some(meta) if process::is_root() && meta.uid() == 0 && is_empty(&path)? => {}
                Some(meta) => directory.check_place(place, &path, &meta)?,
                None => {}
            }
            // The file system may be read-only.
            let written = if path.exists() { path.as_path() } else { directory.path() };
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: it cannot be written: {error}", written.display()))
            };
            common::sys::fs::may_write(written).map_err(named)?;
        }
        Ok(())
    }

    fn check_top(&self, top: &Metadata) -> io::Result<()> {
        if !process::is_root() && ![0, self.owner.0].contains(&top.uid()) {
            return Err(not_ours(&self.path));
        }
        // Whoever may write to it could put another directory in a name's place.
        if ![0, self.owner.0].contains(&top.uid()) || top.mode() & 0o022 != 0 {
            return Err(
                self.wrong(&self.path, "must be root's or mail_owner's, and nobody else may write to it")
            );
        }
        Ok(())
    }

    fn check_place(&self, place: Place, path: &Path, meta: &Metadata) -> io::Result<()> {
        let wanted = self.owner_of(place);
        let drop_is_roots = place == Place::Drop && meta.uid() == 0;
        if meta.uid() != wanted.0 && !drop_is_roots {
            return Err(match process::is_root() {
                true => self.wrong(path, "belongs to somebody else than mail_owner"),
                false => not_ours(path),
            });
        }
        let forbidden = if place == Place::Drop { 0o044 } else { 0o077 };
        if meta.mode() & forbidden != 0 {
            return Err(self.wrong(path, &format!("must have mode {:o}", place.mode())));
        }
        Ok(())
    }

    fn owner_of(&self, place: Place) -> (u32, u32) {
        if place == Place::Drop && process::is_root() { (0, 0) } else { self.owner }
    }

    fn prepare(&self) -> io::Result<()> {
        let root = process::is_root();
        self.check_top(&self.look_or_make(&self.path, 0o755)?)?;
        let mut made = false;
        for place in Place::ALL {
            let path = self.place(place);
            let is_missing = self.sync && self.look(&path)?.is_none();
            made |= is_missing;
            // The last one: whoever finds it finds the others on the disk. What lies in one that the disk does not know of may be
            // lost with it.
            if place == Place::Drop && is_missing {
                fs::sync_name(&self.path)?;
                fs::sync_directory(&self.path)?;
            }
            let mut meta = self.look_or_make(&path, place.mode())?;
            let wanted = self.owner_of(place);
            // Only what we have just made, and nothing of anybody's yet, is given away.
            if root && meta.uid() == 0 && wanted.0 != 0 && is_empty(&path)? {
                let opened = open_directory(&path)?;
                std::os::unix::fs::fchown(&opened, Some(wanted.0), Some(wanted.1))?;
                meta = opened.metadata()?;
            }
            self.check_place(place, &path, &meta)?;
        }
        if made { fs::sync_directory(&self.path) } else { Ok(()) }
    }

    /// `None`: it is missing.
    fn look(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(meta) if meta.is_dir() => Ok(Some(meta)),
            Ok(_) => Err(self.wrong(path, "is not a directory")),
        }
    }

    fn look_or_make(&self, path: &Path, mode: u32) -> io::Result<Metadata> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let meta = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match DirBuilder::new().mode(mode).create(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(error)),
                    Err(_) => {}
                    // The umask has taken something away, and mkdir need not know of the sticky bit.
                    // By descriptor: where the parent is mail_owner's, the name may be a link to something by now.
                    Ok(()) => open_directory(path)
                        .and_then(|made| made.set_permissions(std::fs::Permissions::from_mode(mode)))
                        .map_err(named)?,
                }
                std::fs::symlink_metadata(path).map_err(named)?
            }
            result => result.map_err(named)?,
        };
        if meta.is_dir() { Ok(meta) } else { Err(self.wrong(path, "is not a directory")) }
    }

    fn wrong(&self, path: &Path, what: &str) -> io::Error {
        io::Error::other(format!("{}: {what} (queue_directory)", path.display()))
    }
}

/// Without root we are taken for the queue's owner. Where it is another's there is nothing wrong with the queue.
fn not_ours(path: &Path) -> io::Error {
    let text = format!("{}: the queue is root's and mail_owner's", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let opened = File::options().read(true).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT).open(path)?;
    if opened.metadata()?.is_dir() { Ok(opened) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(path)?.next().is_none())
}

/// Who owns the queue: `mail_owner` for root, else whoever we are.
pub(crate) fn owner(config: &Config) -> io::Result<(u32, u32)> {
    if !process::is_root() {
        let us = common::sys::child::effective();
        return Ok((us.uid, us.gid));
    }
    let passwd = config.passwd_path.get().unwrap_or(Path::new("/etc/passwd"));
    common::auth::passwd::login_ids(passwd, &config.mail_owner)
        .map_err(|error| io::Error::other(format!("mail_owner = {}: {error}", config.mail_owner)))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
pub(crate) mod tests;
