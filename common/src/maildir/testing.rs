//! Scratch directories and Maildirs for the tests of this module.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own that is removed at the end.
pub struct TempDir(PathBuf);

/// Puts things under a name that are no file or no usable one, one after the other.
pub(crate) fn each_oddity(path: &std::path::Path, mut test: impl FnMut(&str)) {
    let run = |program: &str, words: &[&str]| {
        let status = std::process::Command::new(program).args(words).arg(path).status();
        assert!(status.unwrap().success(), "{program}");
    };
    let odd: [(&str, &dyn Fn()); 5] = [
        ("FIFO", &|| run("mkfifo", &[])),
        ("directory", &|| run("mkdir", &[])),
        ("link-to-itself", &|| std::os::unix::fs::symlink(path, path).unwrap()),
        ("endless", &|| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
        ("huge", &|| fs::File::create(path).unwrap().set_len(1 << 30).unwrap()),
    ];
    for (what, make) in odd {
        run("rm", &["-rf"]);
        make();
        test(what);
    }
    run("rm", &["-rf"]);
}

impl TempDir {
    pub fn new() -> TempDir {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let unique =
            format!("tinmail-test-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// With empty cur, new and tmp.
    pub fn maildir() -> TempDir {
        let dir = TempDir::new();
        for name in ["cur", "new", "tmp"] {
            fs::create_dir(dir.0.join(name)).unwrap();
        }
        dir
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    pub fn list(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
