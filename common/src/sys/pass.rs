//! Messages that carry descriptors: a pair of sockets that keeps messages apart, over which one process lends another its
//! open files.

use super::cerr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Descriptors that a message can carry.
pub const DESCRIPTORS: usize = 2;

/// Room for [`DESCRIPTORS`] and their header, aligned for it.
type Control = [u64; 8];

/// A connected pair of sockets that keep messages apart, closed at exec.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors into the array.
    cerr(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Whether a message could not be sent because the user has as many descriptors on their way to others as the limit of open files
/// allows (unix(7), `ETOOMANYREFS`): it can be once some of them have been taken.
pub fn are_too_many(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

/// Sends one message with copies of these descriptors. Waits for room.
pub fn send_with(
    socket: &impl AsFd,
    octets: &[u8],
    descriptors: [BorrowedFd<'_>; DESCRIPTORS],
) -> io::Result<()> {
    let numbers = descriptors.map(|fd| fd.as_raw_fd());
    let mut control: Control = [0; 8];
    let mut iov = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    // SAFETY: an all-zero msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let length = size_of::<[RawFd; DESCRIPTORS]>() as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the control buffer is larger than what is written into it: a header
    // and the numbers.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(header).cast::<[RawFd; DESCRIPTORS]>().write_unaligned(numbers);
    }
    loop {
        // SAFETY: the header points to buffers that outlive the call, with their true lengths.
        let sent =
            unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        match cerr(sent) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(n) if n as usize == octets.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// What came: its octets, and its descriptors if there were exactly [`DESCRIPTORS`].
pub type Received = (usize, Option<[OwnedFd; DESCRIPTORS]>);

/// Waits for a message. 0 octets: all other ends are closed. A message that does not fit is cut.
pub fn receive_with(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control: Control = [0; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let length = size_of::<[RawFd; DESCRIPTORS]>() as u32;
    // SAFETY: CMSG_SPACE only computes. More descriptors than fit are closed by the kernel.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
    let got = loop {
        // SAFETY: the header points to buffers that outlive the call, with their true lengths.
        let got =
            unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match cerr(got) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result? as usize,
        }
    };
    let mut descriptors = None;
    // SAFETY: the kernel filled the control buffer and set its length; the numbers in a message of rights are descriptors
    // that it has just opened for us, and nobody else owns them.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
        {
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            let count =
                ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
            let mut owned = (0..count.min(DESCRIPTORS))
                .map(|at| OwnedFd::from_raw_fd(data.add(at).read_unaligned()))
                .collect::<Vec<_>>()
                .into_iter();
            if let (Some(first), Some(second)) = (owned.next(), owned.next()) {
                descriptors = Some([first, second]);
            }
        }
    }
    Ok((got, descriptors))
}

/// Makes room in a pipe for so many octets. Errors: the system does not let us, and it has the room that it had.
pub fn widen_pipe(pipe: &impl AsFd, octets: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    cerr(unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, octets) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    #[test]
    fn descriptors_travel() {
        let (one, other) = message_pair().unwrap();
        let (reading, writing) = fd::pipe().unwrap();
        send_with(&one, b"hello", [reading.as_fd(), writing.as_fd()]).unwrap();
        drop((reading, writing));
        let mut buffer = [0; 16];
        let (length, descriptors) = receive_with(&other, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
        let [reading, writing] = descriptors.unwrap();
        fd::write(writing.as_fd(), b"through").unwrap();
        let n = fd::read(reading.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"through");
        drop(one);
        assert!(matches!(receive_with(&other, &mut buffer), Ok((0, None))));
    }

    #[test]
    fn a_message_without_descriptors_has_none() {
        let (one, other) = message_pair().unwrap();
        fd::send(one.as_fd(), b"x").unwrap();
        assert!(matches!(receive_with(&other, &mut [0; 4]), Ok((1, None))));
    }
}
