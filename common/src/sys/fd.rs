//! Descriptors: the three standard ones, reading, writing, waiting, and pages of memory for buffers.

use super::cerr;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Standard input: the client.
pub const STDIN: BorrowedFd<'static> = standard(0);
/// Standard output: the client.
pub const STDOUT: BorrowedFd<'static> = standard(1);
/// Standard error: after [`crate::log::guard_stderr`] never the client.
pub const STDERR: BorrowedFd<'static> = standard(2);

/// Pieces of a message, in the front of a service. Nothing, or something else, in other processes.
pub const DATA: BorrowedFd<'static> = standard(4);

/// The guard, in the front. Nothing, or something else, in other processes.
pub const GUARD: BorrowedFd<'static> = standard(3);

const fn standard(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: nothing here closes 0, 1 and 2, only dup2 replaces them, and the front keeps 3 to its end; a call on a
    // descriptor that is not open would fail with EBADF and touch no memory.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes over a descriptor that the program before us in the chain left open for us.
///
/// The caller names a number agreed between the two programs; `Err` when nothing is open there.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks whether the descriptor is open.
    cerr(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, and the agreement between the programs makes this the only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What can be waited for on a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Nothing, not even that the other end is gone.
    None,
    /// Only that the other end is gone.
    HangUp,
    /// Octets to read, or the end of them.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

/// Readiness of one descriptor after [`poll`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Ready {
    /// A read will not block (it may report the end or an error).
    pub read: bool,
    /// A write will not block.
    pub write: bool,
    /// The other end is gone or the descriptor failed.
    pub hangup: bool,
    /// There is no such descriptor.
    pub closed: bool,
}

/// Waits until one of the descriptors is ready; all-false means that the time is over. `None` waits for ever.
pub fn poll<const N: usize>(
    fds: [(BorrowedFd<'_>, Interest); N],
    timeout: Option<Duration>,
) -> io::Result<[Ready; N]> {
    let mut list = fds.map(|(fd, interest)| libc::pollfd {
        // A negative descriptor is passed over: a hang-up that nobody wants to hear of would end every wait at once.
        fd: if interest == Interest::None { -1 } else { fd.as_raw_fd() },
        events: match interest {
            Interest::None | Interest::HangUp => 0,
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
        },
        revents: 0,
    });
    // Rounded up, so that a wait never ends a millisecond early and then spins.
    let milliseconds = match timeout {
        None => -1,
        Some(t) => i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    };
    // SAFETY: the list is a local array of N entries that outlives the call.
    let result = cerr(unsafe { libc::poll(list.as_mut_ptr(), N as libc::nfds_t, milliseconds) });
    match result {
        Ok(_) => {}
        // A signal ends the wait early; callers look at their deadlines and wait again.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(list.map(|p| Ready {
        read: p.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0,
        write: p.revents & (libc::POLLOUT | libc::POLLERR) != 0,
        hangup: p.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
        closed: p.revents & libc::POLLNVAL != 0,
    }))
}

/// What is known of whoever is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherEnd {
    /// Nothing that would be new.
    There,
    /// They will send nothing more, and may still wait for what is sent to them; or they are gone, which only sending shows.
    Silent,
    /// They are gone.
    Gone,
}

/// Asks the kernel about the other end of a connection, or of a pipe that is written to, without waiting.
pub fn other_end(fd: BorrowedFd<'_>) -> io::Result<OtherEnd> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one local entry that outlives the call.
    cerr(unsafe { libc::poll(&mut entry, 1, 0) })?;
    Ok(match entry.revents {
        seen if seen & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 => OtherEnd::Gone,
        seen if seen & libc::POLLRDHUP != 0 => OtherEnd::Silent,
        _ => OtherEnd::There,
    })
}

/// Waits until one of any number of descriptors can be read, or the time is over; or a signal comes.
pub fn wait_for_any(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut list: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let milliseconds = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: the list has so many entries and outlives the call.
    match cerr(unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, milliseconds) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// One read(2). `Ok(0)` is the end.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most buffer.len() octets into the buffer we borrow mutably.
    let n = cerr(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })?;
    Ok(n as usize)
}

/// One recv(2) that does not wait: `WouldBlock` when nothing is there.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (at, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: as in `read`.
    let n = cerr(unsafe { libc::recv(fd.as_raw_fd(), at, len, libc::MSG_DONTWAIT) })?;
    Ok(n as usize)
}

/// One recv(2) that waits: `WouldBlock` when the socket's time for that is over ([`super::socket::limit_receive`]).
pub fn wait_and_receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (at, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: as in `read`.
    let n = cerr(unsafe { libc::recv(fd.as_raw_fd(), at, len, 0) })?;
    Ok(n as usize)
}

/// One write(2).
pub fn write(fd: BorrowedFd<'_>, octets: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most octets.len() octets from the slice we borrow.
    let n = cerr(unsafe { libc::write(fd.as_raw_fd(), octets.as_ptr().cast(), octets.len()) })?;
    Ok(n as usize)
}

/// One send(2) that neither waits (`WouldBlock`) nor raises SIGPIPE.
pub fn send(fd: BorrowedFd<'_>, octets: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as in `write`.
    let n = cerr(unsafe { libc::send(fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), flags) })?;
    Ok(n as usize)
}

/// [`send`] of several pieces in one call.
pub fn send_vectored(fd: BorrowedFd<'_>, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    const PIECES_MAX: usize = 64;
    // SAFETY: an all-zero msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSlice is guaranteed to have the layout of iovec.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len().min(PIECES_MAX) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most msg_iovlen slices, all borrowed for the call.
    let n = cerr(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) })?;
    Ok(n as usize)
}

/// No more octets will be sent; the other end sees the end after what is on its way.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: shutdown only looks at the descriptor.
    cerr(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// Says the end in both directions: whoever waits at this end is told that there will be nothing more.
pub fn shutdown(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain integers; the descriptor is open because it is borrowed.
    cerr(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) }).map(drop)
}

/// A connected pair of stream sockets, closed at exec.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors into the array.
    cerr(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A pipe (reading end, writing end), closed at exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors into the array.
    cerr(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Makes `target` another name of `source` that stays open at exec.
///
/// `target` is one of the standard descriptors or a number agreed with the program that will be executed.
pub fn replace(target: RawFd, source: &impl AsFd) -> io::Result<()> {
    let source = source.as_fd().as_raw_fd();
    if source == target {
        // SAFETY: clears the close-at-exec flag of an open descriptor.
        return cerr(unsafe { libc::fcntl(target, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: dup2 replaces target atomically; targets are only numbers below 10 that this program hands on.
    cerr(unsafe { libc::dup2(source, target) }).map(drop)
}

/// Another name of `source` with a number that is not below `first`, closed at exec. Whoever moves several descriptors to numbers
/// agreed on takes all of them out of the way of these first.
pub fn duplicate_above(source: &impl AsFd, first: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor of an open one; no memory is passed.
    let fd = cerr(unsafe { libc::fcntl(source.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) })?;
    // SAFETY: it is new, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on: what a launcher left open is not for us, still less for a confined process.
pub fn close_from(first: RawFd) -> io::Result<()> {
    close_between(first, RawFd::MAX)
}

fn close_between(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: called before anything of ours is opened, or in a child that keeps only other descriptors.
    let result = unsafe {
        cerr(libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            last as libc::c_uint,
            0 as libc::c_uint,
        ))
    };
    match result {
        Ok(_) => Ok(()),
        // Linux before 5.9, or a launcher's filter that does not know the call: one by one.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            let mut open = Vec::new();
            for entry in std::fs::read_dir("/proc/self/fd")? {
                let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
                open.extend(number.filter(|number| (first..=last).contains(number)));
            }
            for number in open {
                // SAFETY: as above; the directory's own descriptor is among them and closed already.
                unsafe {
                    libc::close(number);
                }
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Closes every descriptor but these, for a process that keeps a log or a pipe at a number of its own.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 0;
    for &number in &kept {
        if number > first {
            close_between(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_from(first)
}

/// The next program does not get this descriptor.
pub fn close_at_exec(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cerr(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Small replies leave at once: without this each waits for the client's delayed acknowledgement (40 ms).
pub fn set_nodelay(fd: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: passes a pointer to a local integer and its size. Failure (not TCP) is of no interest.
    unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, value, len);
    }
}

/// Keeps the connection alive through address translators and notices when the client has vanished.
pub fn set_keepalive(fd: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: as in `set_nodelay`.
    unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, value, len);
    }
}

/// Whether the descriptor is a socket of any family.
pub fn is_socket(fd: BorrowedFd<'_>) -> bool {
    is_of_type(fd, libc::S_IFSOCK)
}

/// Whether the descriptor is a file that grows when it is written to.
pub fn is_regular_file(fd: BorrowedFd<'_>) -> bool {
    is_of_type(fd, libc::S_IFREG)
}

fn is_of_type(fd: BorrowedFd<'_>, wanted: libc::mode_t) -> bool {
    // SAFETY: an all-zero stat is a valid one; fstat fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the structure is ours.
    let result = unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) };
    result == 0 && stat.st_mode & libc::S_IFMT == wanted
}

/// Zeroed memory straight from the kernel, a page at a time as it is touched, and given back on demand.
///
/// The heap would keep what a 64 KiB reply once needed; an idle session must not.
pub struct Pages {
    at: std::ptr::NonNull<u8>,
    len: usize,
}

impl Pages {
    /// `len` octets, rounded up to whole pages by the kernel. None of them is in memory yet.
    pub fn new(len: usize) -> io::Result<Pages> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches nothing that exists.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match std::ptr::NonNull::new(at.cast()) {
            Some(at) => Ok(Pages { at, len }),
            None => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    /// Gives the memory back; the octets read as zero afterwards.
    pub fn discard(&mut self) {
        // SAFETY: the mapping is ours, private and anonymous: its pages become zero pages.
        unsafe {
            libc::madvise(self.at.as_ptr().cast(), self.len, libc::MADV_DONTNEED);
        }
    }
}

impl Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, initialised (zeroed) and lives as long as self.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in deref, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no slice of it outlives self.
        unsafe {
            libc::munmap(self.at.as_ptr().cast(), self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_is_out_of_the_way() {
        let (one, other) = socketpair().unwrap();
        for first in [0, 40, 90] {
            let copy = duplicate_above(&one, first).unwrap();
            assert!(copy.as_raw_fd() >= first && copy.as_raw_fd() != one.as_raw_fd());
            assert_eq!(send(copy.as_fd(), b"x").unwrap(), 1);
            assert_eq!(receive(other.as_fd(), &mut [0; 2]).unwrap(), 1);
        }
    }
}
