//! `new` and `cur`, held open while one message after the other is opened or renamed there: the way to them is looked up once.
//!
//! Held no longer than a command lasts: what takes the directories' place in the meantime would go unseen.

use super::message::FileName;
use super::name;
use crate::sys::fs as sys;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

#[derive(Debug)]
pub(super) struct Directories {
    new: File,
    cur: File,
}

impl Directories {
    /// Opens both.
    pub fn open(maildir: &Path) -> io::Result<Directories> {
        let open = |name| File::options().read(true).custom_flags(libc::O_DIRECTORY).open(maildir.join(name));
        Ok(Directories { new: open("new")?, cur: open("cur")? })
    }

    fn of(&self, in_new: bool) -> &File {
        if in_new { &self.new } else { &self.cur }
    }

    /// Opens a message for reading.
    pub fn open_message(&self, in_new: bool, name: &[u8]) -> io::Result<File> {
        let open = |keep_atime| sys::open_below(self.of(in_new), name, keep_atime);
        match open(true) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(false),
            opened => opened,
        }
    }

    /// Renames a message and moves it to `cur`; no other file is ever overwritten. `false`: that cannot be done this way.
    pub fn rename(&self, in_new: bool, name: &[u8], new_name: &[u8]) -> io::Result<bool> {
        self.rename_raw((in_new, name), (false, new_name))
    }

    /// Gives a message a second name in another mailbox.
    pub fn link(&self, from: &FileName, to: (&Directories, &FileName)) -> io::Result<()> {
        let target = to.0.of(to.1.in_new).as_fd();
        sys::link_between((self.of(from.in_new).as_fd(), &from.name), (target, &to.1.name))
    }

    /// Octets of a message's file, and its time in seconds since 1970.
    pub fn size_and_time(&self, place: &FileName) -> io::Result<(u64, i64)> {
        sys::size_and_time_below(self.of(place.in_new).as_fd(), &place.name)
    }

    fn rename_raw(&self, from: (bool, &[u8]), to: (bool, &[u8])) -> io::Result<bool> {
        let renamed = sys::rename_between((self.of(from.0).as_fd(), from.1), (self.of(to.0).as_fd(), to.1));
        match renamed {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves a message from `new` to `cur`. Whether that was possible, and this way.
    pub fn take_as(&self, file_name: &[u8], target: &[u8]) -> bool {
        matches!(self.rename_raw((true, file_name), (false, target)), Ok(true))
    }

    /// The same without flags.
    pub fn take(&self, file_name: &[u8]) -> bool {
        let target = name::with_flags(file_name, b"", b"");
        self.take_as(file_name, &target)
    }
}
