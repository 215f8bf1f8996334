//! A child with descriptors 3 and 4, and who is at the other end of a socket.

use super::{cerr, processor};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// The user and group that the kernel says a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The effective user and group of this process.
pub fn effective() -> Credentials {
    // SAFETY: neither call takes an argument or can fail.
    unsafe { Credentials { uid: libc::geteuid(), gid: libc::getegid() } }
}

/// Starts the command with these descriptors as its 3 and 4.
pub fn spawn_with_3_and_4(command: &mut Command, three: &OwnedFd, four: &OwnedFd) -> io::Result<Child> {
    // Our copies lie above 4, and so does every descriptor that std opens for the start itself: those below are
    // taken.
    let mut taken = Vec::new();
    let three = above_4(three, &mut taken)?;
    let four = above_4(four, &mut taken)?;
    let (from_3, from_4) = (three.as_raw_fd(), four.as_raw_fd());
    let place = move || {
        processor::roam();
        for (from, to) in [(from_3, 3), (from_4, 4)] {
            // SAFETY: dup2 is async-signal-safe; `from` was open at the fork and is not one of the targets.
            cerr(unsafe { libc::dup2(from, to) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only calls dup2 and allocates nothing.
    unsafe { command.pre_exec(place) };
    command.spawn()
}

/// Starts the command in a process group of its own, with nothing open but 0, 1 and 2. It is killed when this process ends
/// before it does: whoever watches over its time must not be got rid of.
pub fn spawn_alone(command: &mut Command) -> io::Result<Child> {
    const LAST: libc::c_uint = libc::c_uint::MAX;
    /// Where the kernel is older than 5.11, so many descriptors are closed one by one.
    const MOST: RawFd = 1024;
    let parent = std::process::id();
    let seal = move || {
        processor::roam();
        // SAFETY: plain integers; both calls are async-signal-safe.
        let orphan = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            u32::try_from(libc::getppid()).ok() != Some(parent)
        };
        if orphan {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // At the exec, not before: std still needs its own to say that it failed.
        // SAFETY: plain integers; async-signal-safe, as is fcntl.
        let sealed = unsafe { libc::syscall(libc::SYS_close_range, 3, LAST, libc::CLOSE_RANGE_CLOEXEC) };
        if sealed != 0 {
            for fd in 3..MOST {
                // SAFETY: plain integers; what is not open is an error that does not matter.
                unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(seal) };
    command.process_group(0).spawn()
}

/// A copy that does not lie on 0 to 4. What had to be opened to get there is kept in `taken`.
fn above_4(fd: &OwnedFd, taken: &mut Vec<OwnedFd>) -> io::Result<OwnedFd> {
    const LAST: RawFd = 4;
    loop {
        let copy = fd.try_clone()?;
        if copy.as_raw_fd() > LAST {
            return Ok(copy);
        }
        taken.push(copy);
    }
}

/// Descriptor 4, if whoever started this process put a socket there. To be called once: the caller owns it then.
pub fn socket_on_4() -> Option<UnixStream> {
    const FD: RawFd = 4;
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers describe `kind`, which outlives the call; a descriptor that is no socket is an error.
    let result = unsafe {
        libc::getsockopt(FD, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length)
    };
    // SAFETY: it is open, as it just answered, and this process opened nothing that could lie there.
    (result == 0 && kind == libc::SOCK_STREAM).then(|| unsafe { UnixStream::from_raw_fd(FD) })
}

/// Asks the kernel to say with every message who sent it.
pub fn want_credentials(socket: &UnixStream) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    cerr(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Reads from a socket for which [`want_credentials`] was called. The kernel does not join messages of different
/// senders, so the credentials are those of every octet. `None` instead of them: the message had none; at the end of
/// the stream that is always so. The socket's read timeout applies.
pub fn receive(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<Credentials>)> {
    // Aligned for a cmsghdr, and room for one with credentials; if a sender adds descriptors, they do not fit and the
    // kernel closes them.
    let mut control = [0_u64; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as _;
    // SAFETY: the header points to buffers that outlive the call, with their true lengths.
    let length =
        cerr(unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    let mut credentials = None;
    // SAFETY: the kernel filled the control buffer and set its length; CMSG_FIRSTHDR gives null when there is none.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_CREDENTIALS
        {
            let sender: libc::ucred = libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned();
            credentials = Some(Credentials { uid: sender.uid, gid: sender.gid });
        }
    }
    Ok((length as usize, credentials))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_kernel_says_who_wrote() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        want_credentials(&ours).unwrap();
        theirs.write_all(b"hello").unwrap();
        drop(theirs);
        let mut buffer = [0; 16];
        assert_eq!(receive(&ours, &mut buffer).unwrap(), (5, Some(effective())));
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(receive(&ours, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut command = Command::new("/nonexistent/program");
        assert!(spawn_with_3_and_4(&mut command, &a.into(), &b.into()).is_err());
    }
}
