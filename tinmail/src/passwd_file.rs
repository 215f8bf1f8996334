//! Changing a passwd-file while servers read it: under a lock, into a new file that takes the old one's place. Lines that are not
//! meant stay as they are, octet by octet. It has passwords: what is read of it is overwritten in memory when it is not needed.

use common::sys::fs as sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Octets of the largest file that is changed so.
const SIZE_MAX: u64 = 64 << 20;
/// How long somebody else's change is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file, as nobody else changes it meanwhile.
pub struct Locked {
    path: PathBuf,
    file: File,
    lines: Vec<Zeroizing<Vec<u8>>>,
}

impl Locked {
    /// Opens and locks it. `create`: one that is missing is made, for its owner alone.
    pub fn open(path: &Path, create: bool) -> io::Result<Locked> {
        // A link stays one: what it leads to is changed.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let begun = Instant::now();
        loop {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(create)
                .mode(0o600)
                .custom_flags(sys::NO_FOLLOW | sys::NO_WAIT);
            let file = options.open(&path)?;
            let meta = file.metadata()?;
            if !meta.is_file() || meta.len() > SIZE_MAX {
                return Err(io::Error::other("it is no passwd-file"));
            }
            if sys::try_flock(&file)? {
                // Whoever had it may have put a new one in its place.
                let now = path.symlink_metadata()?;
                if (now.dev(), now.ino()) == (meta.dev(), meta.ino()) {
                    return Locked::read(path, file);
                }
            } else if begun.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "somebody else is changing it"));
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn read(path: PathBuf, file: File) -> io::Result<Locked> {
        let length = file.metadata()?.len();
        // Of the right length from the start: a vector that grows leaves copies behind.
        let mut text =
            Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1)));
        (&file).take(SIZE_MAX).read_to_end(&mut text)?;
        let lines = text.split_inclusive(|&octet| octet == b'\n');
        let lines = lines.map(|line| Zeroizing::new(line.to_vec())).collect();
        Ok(Locked { path, file, lines })
    }

    /// The users in their order, each once.
    pub fn users(&self) -> Vec<String> {
        let mut users: Vec<String> = Vec::new();
        for name in self.lines.iter().filter_map(|line| user_of(line)) {
            let name = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect::<String>();
            if !users.contains(&name) {
                users.push(name);
            }
        }
        users
    }

    /// How many lines, and so passwords, a user has.
    pub fn lines_of(&self, name: &str) -> usize {
        self.lines.iter().filter(|line| user_of(line) == Some(name.as_bytes())).count()
    }

    /// Adds a line at the end.
    pub fn add(&mut self, line: &str) {
        if let Some(last) = self.lines.last_mut().filter(|last| !last.ends_with(b"\n")) {
            last.push(b'\n');
        }
        let mut new = Zeroizing::new(Vec::with_capacity(line.len().saturating_add(1)));
        new.extend_from_slice(line.as_bytes());
        new.push(b'\n');
        self.lines.push(new);
    }

    /// Puts another password in the user's line.
    pub fn set_password(&mut self, name: &str, password: &str) {
        for line in self.lines.iter_mut().filter(|line| user_of(line) == Some(name.as_bytes())) {
            let old = std::mem::take(line);
            let end = old.ends_with(b"\n");
            let mut fields =
                old.strip_suffix(b"\n").unwrap_or(&old).splitn(3, |&octet| octet == b':').skip(2);
            let mut new = Zeroizing::new(Vec::with_capacity(
                old.len().saturating_add(password.len()).saturating_add(2),
            ));
            for part in [name.as_bytes(), b":", password.as_bytes()] {
                new.extend_from_slice(part);
            }
            if let Some(rest) = fields.next() {
                new.push(b':');
                new.extend_from_slice(rest);
            }
            if end {
                new.push(b'\n');
            }
            *line = new;
        }
    }

    /// Removes all lines of a user; how many there were.
    pub fn delete(&mut self, name: &str) -> usize {
        let before = self.lines.len();
        self.lines.retain(|line| user_of(line) != Some(name.as_bytes()));
        before.saturating_sub(self.lines.len())
    }

    /// Puts what it is now in the place of the file, with its owner and mode.
    pub fn replace(self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new.{}", std::process::id()));
        let new = self.path.with_file_name(name);
        // What a crash of a process with our number has left; nobody else is at it now.
        let _ = fs::remove_file(&new);
        let written = self.write(&new, &meta).and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        let around = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sys::sync_directory(around.unwrap_or(Path::new(".")))
    }

    fn write(&self, new: &Path, meta: &fs::Metadata) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (meta.uid(), meta.gid()) {
            std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        for line in &self.lines {
            file.write_all(line)?;
        }
        file.sync_all()
    }
}

/// The user of a line; `None`: it is a comment or empty.
fn user_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let name = line.split(|&octet| octet == b':').next()?;
    (!name.is_empty() && !name.starts_with(b"#")).then_some(name)
}
