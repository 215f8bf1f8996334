//! A directory for one test, and the user that the program runs as in it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The user and group of the programs under test when the tests run as root: nobody.
const NOBODY: u32 = 65534;

/// A directory that is removed in the end, with an empty Maildir in it.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    keep: bool,
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    own_ids().0 == 0
}

/// The user and group that the tests run as.
pub fn own_ids() -> (u32, u32) {
    let meta = fs::metadata("/proc/self").expect("/proc");
    (meta.uid(), meta.gid())
}

/// The user and group that the programs under test run as.
pub fn ids() -> (u32, u32) {
    match own_ids() {
        (0, _) => (NOBODY, NOBODY),
        own => own,
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

impl Place {
    /// A fresh one.
    pub fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tinmail-tests.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Place { path: std::env::temp_dir().join(name), keep: false };
        fs::DirBuilder::new().mode(0o755).create(&place.path).expect("a directory for the test");
        place.give(&place.path);
        for directory in ["Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"] {
            place.make_directory(directory);
        }
        place.write("empty.conf", b"");
        place
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The Maildir.
    pub fn maildir(&self) -> PathBuf {
        self.path.join("Maildir")
    }

    /// The log of the programs.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// What is in the log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Lets it stay, to be looked at.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    fn give(&self, path: &Path) {
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
    }

    /// Makes a directory that belongs to the program's user.
    pub fn make_directory(&self, name: &str) {
        let path = self.path.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).expect("mkdir");
        self.give(&path);
    }

    /// Writes a file that belongs to the program's user.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        self.give(&path);
    }

    /// Puts a message into the Maildir: `name` begins with `new/` or `cur/`.
    pub fn deliver(&self, name: &str, content: &[u8]) {
        let name = format!("Maildir/{name}");
        self.write(&name, content);
        // INTERNALDATE is the file's time: the same in each run.
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = fs::File::options().write(true).open(self.path.join(&name)).expect("open");
        file.set_modified(then).expect("utime");
    }

    /// Writes a passwd-file with one user (and more lines behind it) and returns the passdb setting for it.
    pub fn passdb(&self, user: &str, password: &str, more: &str) -> String {
        let (uid, gid) = ids();
        let mail = self.maildir();
        let line =
            format!("{user}:{password}:{uid}:{gid}::/nonexistent::userdb_mail=maildir:{}\n", mail.display());
        self.write("users", format!("{line}{more}").as_bytes());
        format!("passdb=passwd-file:{}", self.path.join("users").display())
    }

    /// The messages: `new/NAME` and `cur/NAME:2,FLAGS`, sorted.
    pub fn listing(&self) -> Vec<String> {
        let mut all = Vec::new();
        for directory in ["new", "cur"] {
            for entry in fs::read_dir(self.maildir().join(directory)).expect("Maildir") {
                let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
                all.push(format!("{directory}/{name}"));
            }
        }
        all.sort();
        all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
