//! Files that steer a program (`~/.forward`, lists of addresses): opened only if nobody but root and one user can have put
//! them where they are.
//!
//! Each directory on the way is opened by its own descriptor, so that what was checked is what is used. A symbolic link is
//! followed only where root alone could have made it: anybody else's might lead to a file that only we can read.

use super::cerr;
use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

/// Symbolic links on one way.
const LINKS_MAX: u32 = 20;
/// Directories on one way.
const DEPTH_MAX: usize = 100;

/// A file that can be believed.
#[derive(Debug)]
pub struct Trusted {
    /// Open for reading.
    pub file: File,
    /// Who wrote it: root, or the one user.
    pub uid: u32,
}

/// Opens a file for reading. `owner` is the one user; `None`: whoever the first thing on the way belongs to that is not
/// root's. Errors: those of the system; `PermissionDenied` with a text if somebody else may have put it there.
pub fn open(path: &Path, owner: Option<u32>) -> io::Result<Trusted> {
    Walk { owner, links: 0, any_rights: false }.begin(path)
}

/// Like [`open`] with `None`, but others may be able to write to the file itself, or it may be none (`/dev/null`): the caller
/// decides what such a file is good for. Nobody else can have put another in its place.
pub fn open_in_place(path: &Path) -> io::Result<Trusted> {
    Walk { owner: None, links: 0, any_rights: true }.begin(path)
}

struct Walk {
    owner: Option<u32>,
    links: u32,
    /// What others may do with the file is not looked at.
    any_rights: bool,
}

/// What the next step found.
enum Step {
    Opened(Trusted),
    /// A link: everything that is ahead now, from the root.
    Again(VecDeque<OsString>),
}

impl Walk {
    fn begin(mut self, path: &Path) -> io::Result<Trusted> {
        let mut ahead = VecDeque::new();
        push_components(&mut ahead, path)?;
        self.go(ahead)
    }

    fn go(&mut self, mut ahead: VecDeque<OsString>) -> io::Result<Trusted> {
        loop {
            match self.walk(ahead)? {
                Step::Opened(trusted) => return Ok(trusted),
                Step::Again(next) => ahead = next,
            }
        }
    }

    fn walk(&mut self, mut ahead: VecDeque<OsString>) -> io::Result<Step> {
        let mut directory = File::open("/")?;
        let mut passed: Vec<OsString> = Vec::new();
        while let Some(name) = ahead.pop_front() {
            let above = directory.metadata()?;
            self.check_directory(&above, &passed)?;
            let entry = open_at(&directory, &name, libc::O_PATH | libc::O_NOFOLLOW)?;
            let meta = entry.metadata()?;
            if meta.is_symlink() {
                self.links += 1;
                let roots_alone = above.uid() == 0 && above.mode() & 0o022 == 0 && meta.uid() == 0;
                if !roots_alone || self.links > LINKS_MAX {
                    return Err(refused(&passed, &name, "is a symbolic link"));
                }
                let mut next: VecDeque<OsString> = passed.into();
                push_components(&mut next, Path::new(&read_link(&entry)?))?;
                next.append(&mut ahead);
                return Ok(Step::Again(next));
            }
            if ahead.is_empty() {
                return self.last(&directory, &above, &name, &passed).map(Step::Opened);
            }
            directory = entry;
            passed.push(name);
        }
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn last(
        &mut self,
        directory: &File,
        above: &Metadata,
        name: &OsStr,
        passed: &[OsString],
    ) -> io::Result<Trusted> {
        // Neither waits for the other end of a FIFO nor takes a terminal.
        let file =
            open_at(directory, name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)?;
        let meta = file.metadata()?;
        if !meta.is_file() && !self.any_rights {
            return Err(refused(passed, name, "is no regular file"));
        }
        self.check_owner(meta.uid(), passed, name)?;
        if meta.mode() & 0o022 != 0 && !self.any_rights {
            return Err(refused(passed, name, "can be written to by others"));
        }
        // A second name in a user's directory may be that of a file that he cannot read.
        if meta.nlink() > 1 && (above.uid() != 0 || above.mode() & 0o022 != 0) {
            return Err(refused(passed, name, "has a second name (hard link)"));
        }
        Ok(Trusted { file, uid: meta.uid() })
    }

    /// Nobody else may give its entries other names. In a sticky directory (/tmp) only their owners can, who are checked.
    fn check_directory(&mut self, meta: &Metadata, passed: &[OsString]) -> io::Result<()> {
        let (above, name) =
            passed.split_last().map_or((passed, OsStr::new("/")), |(name, above)| (above, name.as_os_str()));
        if !meta.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.check_owner(meta.uid(), above, name)?;
        let sticky = meta.mode() & 0o1000 != 0;
        if meta.mode() & 0o022 != 0 && !sticky {
            return Err(refused(above, name, "can be written to by others"));
        }
        Ok(())
    }

    fn check_owner(&mut self, uid: u32, passed: &[OsString], name: &OsStr) -> io::Result<()> {
        if uid != 0 && *self.owner.get_or_insert(uid) != uid {
            return Err(refused(passed, name, "belongs to somebody else"));
        }
        Ok(())
    }
}

fn refused(passed: &[OsString], name: &OsStr, why: &str) -> io::Error {
    let mut path = Path::new("/").to_path_buf();
    path.extend(passed);
    path.push(name);
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

/// Puts a path behind what is there: an absolute one in its place, `..` by taking one away.
fn push_components(list: &mut VecDeque<OsString>, path: &Path) -> io::Result<()> {
    if path.is_absolute() {
        list.clear();
    }
    for component in path.components() {
        match component {
            Component::Normal(name) => list.push_back(name.to_owned()),
            Component::ParentDir => drop(list.pop_back()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if list.len() > DEPTH_MAX { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

fn open_at(directory: &impl AsFd, name: &OsStr, flags: i32) -> io::Result<File> {
    let name = CString::new(name.as_bytes())?;
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: the name ends in NUL and outlives the call; the directory's descriptor is open.
    let fd = cerr(unsafe { libc::openat(directory, name.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: it is open and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Where a link leads that was opened itself.
fn read_link(link: &File) -> io::Result<OsString> {
    let mut target = vec![0u8; 4096];
    let empty = c"";
    // SAFETY: the kernel writes at most the buffer's length into it; the empty name means the descriptor itself.
    let length = cerr(unsafe {
        libc::readlinkat(link.as_fd().as_raw_fd(), empty.as_ptr(), target.as_mut_ptr().cast(), target.len())
    })?;
    target.truncate(usize::try_from(length).unwrap_or(0));
    Ok(OsString::from_vec(target))
}

#[cfg(test)]
mod tests {
    use super::super::process::user_and_group;
    use super::*;
    use crate::maildir::testing::TempDir;
    use std::fs::{self, Permissions};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn fixture() -> (TempDir, std::path::PathBuf) {
        let dir = TempDir::new();
        mode(dir.path(), 0o755);
        dir.write("list", "text");
        let path = dir.path().join("list");
        mode(&path, 0o644);
        (dir, path)
    }

    fn why(path: &Path) -> String {
        open(path, None).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_one_owner() {
        let (dir, path) = fixture();
        let mut text = String::new();
        let mut trusted = open(&path, None).unwrap();
        trusted.file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), trusted.uid), ("text", user_and_group().0));
        assert!(open(&dir.path().join("./sub/../list"), None).is_ok());
        assert!(open(&path, Some(user_and_group().0)).is_ok());
        if user_and_group().0 != 0 {
            assert!(open(&path, Some(12345)).unwrap_err().to_string().contains("somebody else"));
        }
        assert!(open(Path::new("/etc/passwd"), None).is_ok(), "root's");
    }

    #[test]
    fn what_others_could_have_written() {
        let (dir, path) = fixture();
        for bits in [0o664, 0o646, 0o666] {
            mode(&path, bits);
            assert!(why(&path).contains("can be written to"), "{bits:o}");
        }
        mode(&path, 0o600);
        for bits in [0o775, 0o757, 0o777] {
            mode(dir.path(), bits);
            assert!(why(&path).contains("can be written to"), "{bits:o}");
        }
        mode(dir.path(), 0o700);
        assert!(open(&path, None).is_ok());
    }

    #[test]
    fn what_others_could_have_put_in_its_place() {
        let (dir, path) = fixture();
        mode(&path, 0o666);
        assert_eq!(open_in_place(&path).unwrap().uid, user_and_group().0);
        for bits in [0o775, 0o757, 0o777] {
            mode(dir.path(), bits);
            let why = open_in_place(&path).unwrap_err().to_string();
            assert!(why.ends_with("can be written to by others"), "{bits:o}: {why}");
        }
        mode(dir.path(), 0o1777);
        assert!(open_in_place(&path).is_ok() && open_in_place(Path::new("/dev/null")).is_ok());
        let missing = open_in_place(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn links_and_odd_files() {
        let (dir, path) = fixture();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        symlink("/etc", dir.path().join("etc")).unwrap();
        // Root made it, but in a directory that others write to, or root's own where the test runs as root.
        let root = user_and_group().0 == 0;
        for name in ["link", "etc/passwd"] {
            let result = open(&dir.path().join(name), None);
            assert_eq!(result.is_ok(), root, "{name}: {result:?}");
        }
        fs::hard_link(&path, dir.path().join("second")).unwrap();
        assert_eq!(open(&path, None).is_ok(), root);
        assert!(why(dir.path()).contains("no regular file"));
        assert!(why(&dir.path().join("missing")).contains("No such file"));
        assert!(why(&path.join("below")).contains("ot a directory"));
        assert!(open(Path::new("/"), None).is_err());
    }

    #[test]
    fn circles_end() {
        let (dir, _) = fixture();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(open(&dir.path().join("a"), None).is_err());
    }
}
