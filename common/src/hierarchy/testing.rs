//! A root with mailboxes for the tests of this module.

use super::*;
use crate::config::Config;
use crate::maildir::testing::TempDir;

pub struct Place {
    pub dir: TempDir,
    pub hierarchy: Hierarchy,
    pub namespaces: Namespaces,
}

impl Place {
    /// `m` is the root; `%` in the further part of the location stands for the scratch directory.
    pub fn with(location: &str, settings: &[&str]) -> Place {
        let dir = TempDir::new();
        let path = dir.path().to_str().unwrap();
        let text = format!("maildir:{path}/m{}", location.replace('%', path));
        let user = crate::maildir::User { name: "ann", home: dir.path() };
        let location = Location::parse(&text, user).unwrap();
        let program = crate::cli::Program { name: "imapd", version: "0", summary: "", flags: &[] };
        let config = Config::from_pairs(&program, settings.iter().copied()).unwrap();
        let namespaces = Namespaces::new(location.clone(), &config, user).unwrap();
        let mut hierarchy = Hierarchy::new(location, &config);
        hierarchy.lock_timeout = Duration::from_millis(300);
        Maildir::open_location(&hierarchy.location, false).unwrap();
        Place { dir, hierarchy, namespaces }
    }

    pub fn new() -> Place {
        Place::with("", &[])
    }

    pub fn name(&self, visible: &str) -> Name {
        self.hierarchy.name(visible.as_bytes()).unwrap()
    }

    pub fn create(&self, visible: &str) -> Result<(), HierarchyError> {
        self.hierarchy.create(&self.name(visible), &[])
    }

    pub fn delete(&self, visible: &str) -> Result<(), HierarchyError> {
        self.hierarchy.delete(&self.name(visible))
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<(), HierarchyError> {
        self.hierarchy.rename(&self.name(from), &self.name(to))
    }

    pub fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.dir.path().join(path)).unwrap();
    }

    /// Directories in the root that begin with a dot or with `tinmail-`.
    pub fn directories(&self) -> Vec<String> {
        self.entries("m")
    }

    pub fn entries(&self, below: &str) -> Vec<String> {
        let mut names = self.dir.list(below);
        names.retain(|name| name.starts_with(['.']) || name.starts_with("tinmail-"));
        names
    }

    /// What is listed: name, then `-` if it does not exist, `+` if there are some below it, and its uses.
    pub fn listed(&self) -> Vec<String> {
        let listing = self.namespaces.listing(None).unwrap();
        listing.iter().map(|entry| shown(&entry)).collect()
    }
}

pub fn shown(entry: &Entry<'_>) -> String {
    let mut text = String::from_utf8(entry.name.to_vec()).unwrap();
    for (set, mark) in [(!entry.exists, "-"), (entry.has_children, "+"), (entry.subscribed, "s")] {
        text.push_str(if set { mark } else { "" });
    }
    for special_use in entry.uses.iter() {
        text.push_str(special_use.attribute());
    }
    text
}
