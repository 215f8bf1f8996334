//! Locks, file system facts and the host's name.

use super::cerr;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// For `custom_flags`: a symbolic link at the end of the path is not followed; see [`is_symbolic_link`].
pub const NO_FOLLOW: i32 = libc::O_NOFOLLOW;
/// For `custom_flags`: opening does not wait for the other end of a FIFO, and takes no terminal.
pub const NO_WAIT: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Whether opening failed because of [`NO_FOLLOW`].
pub fn is_symbolic_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// Whether opening failed because it is a FIFO that nobody reads, or a socket.
pub fn has_no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}

/// Takes an exclusive flock(2) without waiting. `Ok(false)`: somebody else has it.
///
/// The kernel gives it back when the last descriptor of the open file is closed, so also at kill -9.
pub fn try_flock(file: &impl AsFd) -> io::Result<bool> {
    // SAFETY: flock only looks at the descriptor, which is borrowed and therefore open.
    let result = unsafe { libc::flock(file.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    held_or_busy(cerr(result))
}

/// Gives a flock(2) back before the descriptor is closed.
pub fn unlock(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: flock only looks at the descriptor, which is borrowed and therefore open.
    cerr(unsafe { libc::flock(file.as_fd().as_raw_fd(), libc::LOCK_UN) }).map(drop)
}

/// Takes an exclusive record lock (fcntl, owned by the open file) on the whole file without waiting; this kind of
/// lock also works between hosts on NFS. The file must be open for writing. `Ok(false)`: somebody else has it.
pub fn try_record_lock(file: &impl AsFd) -> io::Result<bool> {
    record_lock(file, 0, 0)
}

/// The same, of one octet, whether the file is so long or not.
pub fn try_record_lock_at(file: &impl AsFd, octet: u64) -> io::Result<bool> {
    record_lock(file, octet, 1)
}

/// Gives the lock of one octet back before the file is closed.
pub fn unlock_record_at(file: &impl AsFd, octet: u64) -> io::Result<()> {
    set_record_lock(file, libc::F_UNLCK, octet, 1).map(drop)
}

/// Whether somebody else has such a lock on the file or a part of it. Takes none, so nobody who tries meanwhile is turned away.
pub fn is_record_locked(file: &impl AsFd) -> io::Result<bool> {
    // SAFETY: an all-zero flock structure is a valid one: whole file, from its start.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    // SAFETY: F_OFD_GETLK reads and writes the structure, which outlives the call.
    cerr(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &mut lock) })?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn record_lock(file: &impl AsFd, start: u64, length: u64) -> io::Result<bool> {
    set_record_lock(file, libc::F_WRLCK, start, length)
}

fn set_record_lock(file: &impl AsFd, kind: libc::c_int, start: u64, length: u64) -> io::Result<bool> {
    let number = |value: u64| libc::off_t::try_from(value).map_err(io::Error::other);
    // SAFETY: an all-zero flock structure is a valid one: whole file, from its start.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    (lock.l_start, lock.l_len) = (number(start)?, number(length)?);
    // SAFETY: F_OFD_SETLK reads the structure, which outlives the call.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    held_or_busy(cerr(result))
}

fn held_or_busy(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EWOULDBLOCK | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file lies on a file system that other hosts may have mounted too (NFS, SMB, FUSE, Ceph, 9p, Lustre,
/// OCFS2, GFS2, AFS), where flock(2) may be local to this host.
pub fn is_shared_file_system(file: &impl AsFd) -> io::Result<bool> {
    const SHARED: [u32; 12] = [
        0x6969,      // nfs
        0x517b,      // smb
        0xff53_4d42, // cifs
        0xfe53_4d42, // smb2
        0x6573_5546, // fuse: sshfs, GlusterFS
        0x00c3_6400, // ceph
        0x0102_1997, // 9p
        0x0bd0_0bd0, // lustre
        0x7461_636f, // ocfs2
        0x0116_1970, // gfs2
        0x5346_414f, // afs
        0x6b41_4653, // k-afs
    ];
    file_system_type(file).map(|kind| SHARED.contains(&kind))
}

/// Whether the file lies on a file system of a disk or of memory that only this host has mounted. Those that are not known may be
/// anybody's.
pub fn is_local_file_system(file: &impl AsFd) -> io::Result<bool> {
    const LOCAL: [u32; 9] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683e, // btrfs
        0xf2f5_2010, // f2fs
        0x2fc1_2fc1, // zfs
        0x2405_1905, // ubifs
        0x0000_72b6, // jffs2
        0x3153_464a, // jfs
        0x0102_1994, // tmpfs
    ];
    file_system_type(file).map(|kind| LOCAL.contains(&kind))
}

fn file_system_type(file: &impl AsFd) -> io::Result<u32> {
    // SAFETY: an all-zero statfs structure is a valid one; fstatfs fills it.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the structure is ours and large enough.
    cerr(unsafe { libc::fstatfs(file.as_fd().as_raw_fd(), &mut stat) })?;
    Ok(stat.f_type as u32)
}

/// The host's name as uname(2) has it, with `/`, `:` and control characters replaced so that it may stand in a
/// Maildir file name.
pub fn hostname() -> String {
    // SAFETY: an all-zero utsname is a valid one; uname fills it.
    let mut uts: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: uname writes into the structure we own.
    if unsafe { libc::uname(&mut uts) } == -1 {
        return "localhost".to_owned();
    }
    let name: Vec<u8> = uts.nodename.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    let name = String::from_utf8_lossy(&name);
    let clean = |c: char| if c == '/' || c == ':' || c.is_control() || c == ' ' { '_' } else { c };
    if name.is_empty() { "localhost".to_owned() } else { name.chars().map(clean).collect() }
}

/// An empty directory that only root can change, below a base directory that it makes if need be. Errors name what
/// somebody else could have put there.
pub fn make_empty_directory(base: &std::path::Path, empty: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    for (directory, mode) in [(base, 0o755), (empty, 0o555)] {
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", directory.display()));
        let meta = match std::fs::symlink_metadata(directory) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match std::fs::DirBuilder::new().mode(mode).create(directory) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(error)),
                    _ => std::fs::symlink_metadata(directory).map_err(named)?,
                }
            }
            Err(error) => return Err(named(error)),
        };
        if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            let why = "must be a directory that only root can write to (base_dir)";
            return Err(io::Error::other(format!("{}: {why}", directory.display())));
        }
    }
    Ok(())
}

/// Opens a file below a directory for reading: without waiting for the other end of a FIFO, without taking a terminal,
/// and with `keep_atime` without changing its access time, which the kernel grants only to the file's owner (`EPERM`).
pub fn open_below(directory: &impl AsFd, name: &[u8], keep_atime: bool) -> io::Result<File> {
    let mut room = [0; NAME_ROOM];
    let name = c_name(name, &mut room)?;
    let mut flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    if keep_atime {
        flags |= libc::O_NOATIME;
    }
    // SAFETY: the name ends in NUL and outlives the call; the directory's descriptor is open.
    let fd = cerr(unsafe { libc::openat(directory.as_fd().as_raw_fd(), name.as_ptr(), flags) })?;
    // SAFETY: it is open and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// What is known of an open file that a message is read from. Anything else is no message: a FIFO without a writer would look like an
/// empty one, and a device may have no end.
///
/// Errors: `InvalidData` for such.
pub fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() { Ok(meta) } else { Err(no_file()) }
}

/// See [`regular`].
pub fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a file")
}

/// Octets of the longest name that some file system has (255 characters, not octets, in a few), and a NUL.
const NAME_ROOM: usize = 1024;

/// A file's name as the system wants it, without memory of its own. `InvalidInput` if it cannot be one.
fn c_name<'r>(name: &[u8], room: &'r mut [u8; NAME_ROOM]) -> io::Result<&'r CStr> {
    room.get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name);
    let with_end = room.get_mut(..=name.len()).ok_or(io::ErrorKind::InvalidInput)?;
    with_end.last_mut().into_iter().for_each(|last| *last = 0);
    CStr::from_bytes_with_nul(with_end).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Removes an entry of a directory, whatever the directory is called by now, if it is the one with this device and inode.
pub fn remove_below(directory: &impl AsFd, name: &[u8], dev: u64, ino: u64) -> io::Result<()> {
    let name = CString::new(name)?;
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends in NUL and outlives the call, the structure too; the directory's descriptor is open.
    cerr(unsafe { libc::fstatat(directory, name.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW) })?;
    // Inodes have 32 bits here on 32-bit machines.
    #[allow(clippy::useless_conversion)]
    if (u64::from(stat.st_dev), u64::from(stat.st_ino)) != (dev, ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: as above.
    cerr(unsafe { libc::unlinkat(directory, name.as_ptr(), 0) })?;
    Ok(())
}

/// Gives the name of everything in a directory but `.` and `..` to `visit`, and whether it is a directory itself, without
/// memory for each. Where the file system does not tell the type, nothing is a directory.
pub fn for_each_name(path: &Path, visit: &mut dyn FnMut(&[u8], bool)) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let directory = options.read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        // SAFETY: the kernel writes at most the buffer's length into it.
        let length = unsafe {
            libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
        };
        let length = match cerr_long(length) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(error),
        };
        // struct linux_dirent64: inode (8), offset (8), length of this entry (2), type (1), name with a NUL.
        let mut entries = buffer.get(..length).unwrap_or_default();
        while let Some(&[low, high]) = entries.get(16..18).and_then(|bytes| bytes.first_chunk::<2>()) {
            let size = usize::from(u16::from_ne_bytes([low, high]));
            let Some((entry, rest)) = entries.split_at_checked(size).filter(|_| size > 19) else { break };
            entries = rest;
            let name = entry.get(19..).unwrap_or_default();
            // An entry has a multiple of 8 octets, so that the name's NUL is among the last 8.
            let begin = name.len().saturating_sub(8);
            let ends = name.get(begin..).unwrap_or_default().iter().position(|&octet| octet == 0);
            let name = name.get(..ends.map_or(name.len(), |at| begin + at)).unwrap_or_default();
            if name != b"." && name != b".." {
                visit(name, entry.get(18) == Some(&libc::DT_DIR));
            }
        }
    }
}

fn cerr_long(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Octets of a control file that are read at most: a list of a few million messages.
const CONTROL_MAX: u64 = 256 << 20;

/// Opens a control file of the user's for reading. What is no regular file (a FIFO would never open, a device never end)
/// or is absurdly large is refused as `InvalidData`.
pub fn open_control(path: &std::path::Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() <= CONTROL_MAX {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// The whole of a control file, as [`open_control`] has it.
pub fn read_control(path: &std::path::Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut octets = Vec::new();
    open_control(path)?.take(CONTROL_MAX).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Opens a mailbox file to append to; it is made with mode 0600 if it is missing. What is no regular file, has a second name
/// or is a symbolic link is refused: in a directory that others write to, those are ways to another's file.
pub fn open_append(path: &std::path::Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = std::fs::File::options();
    // Reading is for the blank line that has to be at its end.
    let file = options.read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file of one name"))
    }
}

/// Gives freed heap pages back to the kernel. An idle session must not keep what a busy moment needed.
pub fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer; it only returns unused pages of the heap.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether this process, as the user that it is now, may write to the file or create files in the directory.
pub fn may_write(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in NUL and outlives the call.
    cerr(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) })?;
    Ok(())
}

/// Sets the file's access and modification time to now, by the clock of the file system (on NFS: the server's).
pub fn touch(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: a null pointer is futimens' way to say "now"; the descriptor is open.
    cerr(unsafe { libc::futimens(file.as_fd().as_raw_fd(), std::ptr::null()) })?;
    Ok(())
}

/// A file for reading and writing that has no name, so that nothing of it is left when nobody has it open.
pub fn unnamed_file(directory: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        // File systems that do not know it say so in either way.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) =>
        {
            let mut random = [0; 8];
            super::process::random(&mut random)?;
            // For the moment that it has a name, that begins like those of files that are nobody's business.
            let name = directory.join(format!(".{:016x}", u64::from_ne_bytes(random)));
            let file = options.create_new(true).open(&name)?;
            std::fs::remove_file(&name)?;
            Ok(file)
        }
        result => result,
    }
}

/// Waits until what was created, renamed or removed in the directory is on the disk. File systems that have nothing to
/// wait for (EINVAL, ENOTSUP) have done it.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        result => result,
    }
}

/// Waits until the name of a file or directory that was made is on the disk. Who may make names in a directory need not be allowed
/// to read it, and then cannot wait for it: that is no error.
pub fn sync_name(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match sync_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Renames a file of one open directory to a name in another; an existing file is never overwritten.
///
/// Errors: `EEXIST`; `EINVAL` or `ENOSYS` where the file system or the kernel cannot, and [`rename_without_overwriting`] may.
pub fn rename_between(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    let (mut from_room, mut to_room) = ([0; NAME_ROOM], [0; NAME_ROOM]);
    let (c_from, c_to) = (c_name(from.1, &mut from_room)?, c_name(to.1, &mut to_room)?);
    const RENAME_NOREPLACE: libc::c_uint = 1;
    // SAFETY: both strings end in NUL and outlive the call, as do the descriptors.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.0.as_raw_fd(),
            c_from.as_ptr(),
            to.0.as_raw_fd(),
            c_to.as_ptr(),
            RENAME_NOREPLACE,
        )
    };
    cerr(result).map(drop)
}

/// Gives a file of one open directory a second name in another.
pub fn link_between(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    let (mut from_room, mut to_room) = ([0; NAME_ROOM], [0; NAME_ROOM]);
    let (c_from, c_to) = (c_name(from.1, &mut from_room)?, c_name(to.1, &mut to_room)?);
    // SAFETY: both strings end in NUL and outlive the call, as do the descriptors.
    let result =
        unsafe { libc::linkat(from.0.as_raw_fd(), c_from.as_ptr(), to.0.as_raw_fd(), c_to.as_ptr(), 0) };
    cerr(result).map(drop)
}

/// Octets of a file below a directory, and its time in seconds since 1970.
///
/// Errors: `InvalidData` for what is no file.
pub fn size_and_time_below(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<(u64, i64)> {
    let mut room = [0; NAME_ROOM];
    let name = c_name(name, &mut room)?;
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let fd = directory.as_raw_fd();
    // SAFETY: the name ends in NUL and outlives the call, the structure too; the directory's descriptor is open.
    cerr(unsafe { libc::fstatat(fd, name.as_ptr(), &mut stat, 0) })?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(no_file());
    }
    // Times have 32 bits here on some 32-bit machines.
    #[allow(clippy::useless_conversion)]
    Ok((u64::try_from(stat.st_size).unwrap_or(0), i64::from(stat.st_mtime)))
}

/// Renames `from` to `to` unless `to` exists, which gives [`io::ErrorKind::AlreadyExists`]. File systems without an
/// atomic way to do that get a look first, then a plain rename.
pub fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    let c_from = CString::new(from.as_os_str().as_bytes())?;
    let c_to = CString::new(to.as_os_str().as_bytes())?;
    const RENAME_NOREPLACE: libc::c_uint = 1;
    // SAFETY: both strings end in NUL and outlive the call; AT_FDCWD stands for no directory descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            c_from.as_ptr(),
            libc::AT_FDCWD,
            c_to.as_ptr(),
            RENAME_NOREPLACE,
        )
    };
    match cerr(result) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            match std::fs::symlink_metadata(to) {
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
                Err(absent) if absent.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether a process with this id runs on this host. Ids that cannot be one (0, negative as pid_t) do not run.
pub fn process_exists(pid: u32) -> bool {
    match libc::pid_t::try_from(pid) {
        // SAFETY: signal 0 is never delivered; kill only looks whether it could be.
        Ok(pid) if pid > 0 => match cerr(unsafe { libc::kill(pid, 0) }) {
            Ok(_) => true,
            Err(error) => error.raw_os_error() != Some(libc::ESRCH),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_none_are_refused() {
        let long = [b'x'; NAME_ROOM + 1];
        let mut room = [b'?'; NAME_ROOM];
        assert_eq!(c_name(&long[2..], &mut room).unwrap().to_bytes(), &long[2..]);
        for wrong in [&long[1..], &long[..], b"a\0b", b"\0"] {
            assert_eq!(c_name(wrong, &mut room).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(c_name(b"a", &mut room).unwrap(), c"a");
    }

    #[test]
    fn a_directory_that_cannot_be_synced_is_an_error() {
        sync_directory(&std::env::temp_dir()).unwrap();
        for path in ["/", "relative", "/tmp/x"] {
            sync_name(Path::new(path)).unwrap();
        }
        assert!(sync_directory(Path::new("/nonexistent")).is_err());
    }
}
