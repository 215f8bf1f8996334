//! A user's mailboxes in a scratch directory, for the tests of the commands that are about them.

use common::config::Config;
use common::hierarchy::{HierarchyError, Namespaces, SpecialUse};
use common::maildir::{Location, User};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Place {
    pub path: PathBuf,
    pub namespaces: Namespaces,
}

impl Place {
    pub fn new(settings: &[&str]) -> Place {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tinmail-imapd-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let setting = format!("maildir:{}", path.display());
        let user = User { name: "ann", home: &path };
        let location = Location::parse(&setting, user).unwrap();
        let program = common::cli::Program { name: "imapd", version: "0", summary: "", flags: &[] };
        let config = Config::from_pairs(&program, settings.iter().copied()).unwrap();
        Place { namespaces: Namespaces::new(location, &config, user).unwrap(), path }
    }

    /// Mailboxes by their names as clients see them.
    pub fn create(&self, names: &[&str]) {
        for name in names {
            self.create_for(name, &[]).unwrap();
        }
    }

    pub fn create_for(&self, name: &str, uses: &[SpecialUse]) -> Result<(), HierarchyError> {
        self.namespaces.locate(name.as_bytes()).unwrap().create(uses)
    }

    /// A list of subscriptions by the store's names, whether they exist or not.
    pub fn subscribe(&self, names: &[&str]) {
        fs::write(self.path.join("subscriptions"), names.join("\n") + "\n").unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
