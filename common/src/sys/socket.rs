//! What a descriptor is: its addresses, its identity, and the few ways to pass it on.

use super::{cerr, fd};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// One end of the connection on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// An internet socket; an IPv4 address mapped into IPv6 is shown as IPv4.
    Inet(SocketAddr),
    /// A Unix-domain socket.
    Unix,
    /// A socket of another family, or one that is not connected.
    Unknown,
    /// A file, a pipe, a terminal, or nothing at all.
    NotSocket,
}

/// Standard input, without the buffer that [`std::io::stdin`] brings along.
pub fn standard_input() -> BorrowedFd<'static> {
    standard(0)
}

/// Standard output, without the buffer that [`std::io::stdout`] brings along.
pub fn standard_output() -> BorrowedFd<'static> {
    standard(1)
}

/// Standard error.
pub fn standard_error() -> BorrowedFd<'static> {
    standard(2)
}

fn standard(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the three standard descriptors are open from the start (std opens /dev/null for missing ones) and
    // nothing here closes them; a call on a closed one would fail with EBADF and touch no memory.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// The address of the other side.
pub fn remote_end(fd: &impl AsFd) -> Endpoint {
    endpoint(fd.as_fd(), libc::getpeername)
}

/// The address of this side.
pub fn local_end(fd: &impl AsFd) -> Endpoint {
    endpoint(fd.as_fd(), libc::getsockname)
}

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn endpoint(fd: BorrowedFd<'_>, call: NameCall) -> Endpoint {
    // SAFETY: all-zero octets are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the storage is ours and `length` states its size; the kernel writes no more than that.
    let result = unsafe { call(fd.as_raw_fd(), (&raw mut storage).cast(), &mut length) };
    match cerr(result) {
        Ok(_) => from_storage(&storage),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTSOCK | libc::EBADF)) => {
            Endpoint::NotSocket
        }
        Err(_) => Endpoint::Unknown,
    }
}

fn from_storage(storage: &libc::sockaddr_storage) -> Endpoint {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in, which is smaller and no more aligned.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Endpoint::Inet(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            match address.to_ipv4_mapped() {
                Some(mapped) => Endpoint::Inet(SocketAddrV4::new(mapped, port).into()),
                None => Endpoint::Inet(SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into()),
            }
        }
        libc::AF_UNIX => Endpoint::Unix,
        _ => Endpoint::Unknown,
    }
}

/// Device and inode of what a descriptor refers to: equal for two descriptors of one socket or file.
pub fn identity(fd: &impl AsFd) -> io::Result<(u64, u64)> {
    // SAFETY: all-zero octets are a valid stat structure.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: fstat writes into the structure we own.
    cerr(unsafe { libc::fstat(fd.as_fd().as_raw_fd(), &mut stat) })?;
    #[allow(clippy::unnecessary_cast)] // narrower on 32-bit systems
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Whether both descriptors refer to the same socket or file.
pub fn is_same(one: &impl AsFd, other: &impl AsFd) -> bool {
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Waiting for octets on this socket is over after so long; then receiving says `WouldBlock`.
pub fn limit_receive(socket: &impl AsFd, longest: Duration) -> io::Result<()> {
    // SAFETY: an all-zero timeval is a valid one.
    let mut time: libc::timeval = unsafe { mem::zeroed() };
    // Zero would mean for ever. A day and more fit anywhere.
    time.tv_sec = i32::try_from(longest.as_secs().max(1)).unwrap_or(i32::MAX) as _;
    let (value, length) = ((&raw const time).cast(), mem::size_of::<libc::timeval>() as libc::socklen_t);
    // SAFETY: passes a pointer to a local structure and its size.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, value, length)
    };
    cerr(result).map(drop)
}

/// Makes standard error refer to what `source` refers to.
pub fn point_stderr_at(source: &impl AsFd) -> io::Result<()> {
    // SAFETY: dup2 touches no memory; 2 is open for the whole life of the process, before and after.
    cerr(unsafe { libc::dup2(source.as_fd().as_raw_fd(), 2) }).map(drop)
}

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The user whose process listens at the other end of a connection that [`connect_local`] made, as the kernel noted it there
/// (SO_PEERCRED): a socket's name may have changed hands.
pub fn listener_uid(socket: &UnixStream) -> io::Result<u32> {
    // SAFETY: all-zero octets are valid credentials.
    let mut peer: libc::ucred = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
    let (value, number) = ((&raw mut peer).cast(), socket.as_raw_fd());
    // SAFETY: the kernel writes at most that many octets into a local.
    cerr(unsafe { libc::getsockopt(number, libc::SOL_SOCKET, libc::SO_PEERCRED, value, &mut length) })?;
    Ok(peer.uid)
}

/// Connects to a socket of the file system without waiting. Errors: `WouldBlock`, so many are waiting there that there is no place;
/// `InvalidInput`, the path is longer than an address may be; or what connect(2) says.
pub fn connect_local(path: &Path) -> io::Result<UnixStream> {
    // SAFETY: an all-zero address is a valid one.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    let octets = path.as_os_str().as_bytes();
    // The octet behind it stays 0.
    if octets.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    address.sun_path.iter_mut().zip(octets).for_each(|(to, from)| *to = *from as _);
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain integers.
    let number = cerr(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the call has just made this descriptor, and nobody else owns it.
    let socket = unsafe { UnixStream::from_raw_fd(number) };
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is a local of that length.
    cerr(unsafe { libc::connect(number, (&raw const address).cast(), length) })?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// Connects to `remote` within `time`, from `local` (any port) if it is given. Errors: `TimedOut`, or what connect(2) says.
pub fn connect(remote: SocketAddr, local: Option<std::net::IpAddr>, time: Duration) -> io::Result<OwnedFd> {
    let family = if remote.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes integers and touches no memory.
    let number = cerr(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: it is open and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if let Some(local) = local {
        let (storage, length) = to_storage(SocketAddr::new(local, 0));
        // SAFETY: the storage is a local that outlives the call; the length is that of the address in it.
        cerr(unsafe { libc::bind(number, (&raw const storage).cast(), length) })?;
    }
    let (storage, length) = to_storage(remote);
    // SAFETY: as above.
    match cerr(unsafe { libc::connect(number, (&raw const storage).cast(), length) }) {
        Ok(_) => return Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let [ready] = fd::poll([(socket.as_fd(), fd::Interest::Write)], Some(left))?;
        if ready.write || ready.hangup {
            break;
        }
    }
    let mut code: libc::c_int = 0;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: passes a pointer to a local integer and its size.
    cerr(unsafe { libc::getsockopt(number, level, name, (&raw mut code).cast(), &mut length) })?;
    if code == 0 { Ok(socket) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// An address as the kernel reads it, and how long it is.
fn to_storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero octets are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            // SAFETY: a sockaddr_storage has room for a sockaddr_in, and its alignment.
            let v4 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above, for a sockaddr_in6.
            let v6 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

/// A descriptor that stays open until the process ends, so that copies of its number are always good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastingFd(RawFd);

impl LastingFd {
    /// Takes the descriptor over and never closes it.
    pub fn new(fd: OwnedFd) -> LastingFd {
        LastingFd(fd.into_raw_fd())
    }

    /// Takes over a descriptor that the program before this one left open, as its number says. Close-on-exec is
    /// set again. The number must not be owned by anything else in this process.
    pub fn inherited(number: RawFd) -> io::Result<LastingFd> {
        let fd = LastingFd(number);
        fd.set_close_on_exec(true)?;
        Ok(fd)
    }

    /// Whether the next program gets this descriptor (`false`) or not (`true`).
    pub fn set_close_on_exec(self, close: bool) -> io::Result<()> {
        let flag = if close { libc::FD_CLOEXEC } else { 0 };
        // SAFETY: F_SETFD takes an integer and touches no memory.
        cerr(unsafe { libc::fcntl(self.0, libc::F_SETFD, flag) }).map(drop)
    }

    /// Lets the same number refer to what `source` refers to, for all who hold it.
    pub fn replace(self, source: &impl AsFd) -> io::Result<()> {
        // SAFETY: dup3 touches no memory; this number belongs to the LastingFd.
        cerr(unsafe { libc::dup3(source.as_fd().as_raw_fd(), self.0, libc::O_CLOEXEC) }).map(drop)
    }

    /// Sends one datagram or nothing; never waits, never raises SIGPIPE.
    pub fn send_now(self, octets: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: pointer and length are those of a live slice, which the kernel only reads.
        cerr(unsafe { libc::send(self.0, octets.as_ptr().cast(), octets.len(), flags) })
            .map(|sent| sent as usize)
    }

    /// Sends datagrams in their order with one system call; never waits, never raises SIGPIPE. How many were sent: the first that
    /// could not be ends it, and is an error only if there is none before it.
    pub fn send_all_now<const N: usize>(self, datagrams: [&[u8]; N]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let mut parts = datagrams
            .map(|octets| libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() });
        // SAFETY: an all-zero mmsghdr is a valid one: no address, no parts, no control data.
        let mut headers: [libc::mmsghdr; N] = unsafe { std::mem::zeroed() };
        for (header, part) in headers.iter_mut().zip(&mut parts) {
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (part, 1);
        }
        let count = N as libc::c_uint;
        // SAFETY: as many headers as are said, each with one part of a live slice, which the kernel only reads.
        cerr(unsafe { libc::sendmmsg(self.0, headers.as_mut_ptr(), count, flags as _) })
            .map(|sent| sent as usize)
    }

    /// One write(2).
    pub fn write(self, octets: &[u8]) -> io::Result<usize> {
        // SAFETY: pointer and length are those of a live slice, which the kernel only reads.
        cerr(unsafe { libc::write(self.0, octets.as_ptr().cast(), octets.len()) }).map(|sent| sent as usize)
    }

    /// The number, to tell the next program.
    pub fn number(self) -> RawFd {
        self.0
    }
}

impl AsFd for LastingFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a LastingFd is never closed.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_local_socket_is_not_waited_for() {
        use std::os::unix::net::UnixListener;
        let path = std::env::temp_dir().join(format!("tinmail-local-{}", std::process::id()));
        let kind = |path: &Path| connect_local(path).err().map(|error| error.kind());
        assert_eq!(kind(&path), Some(io::ErrorKind::NotFound));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener_uid(&connect_local(&path).unwrap()).unwrap(), effective_uid());
        let mut waiting = Vec::new();
        // It has some 128 places.
        let full = (0..5000).find_map(|_| connect_local(&path).map(|one| waiting.push(one)).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert_eq!(kind(&path), Some(io::ErrorKind::ConnectionRefused));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(kind(Path::new(&"x".repeat(108))), Some(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn both_ends_of_a_connection_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, from) = listener.accept().unwrap();
        assert_eq!(remote_end(&server), Endpoint::Inet(from));
        assert_eq!(local_end(&server), Endpoint::Inet(listener.local_addr().unwrap()));
        assert!(is_same(&client, &client.try_clone().unwrap()));
        assert!(!is_same(&client, &server));
    }

    #[test]
    fn connections_come_from_where_they_are_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let second = Duration::from_secs(1);
        for (from, want) in [(None, "127.0.0.1"), (Some("127.0.0.5".parse().unwrap()), "127.0.0.5")] {
            let _client = connect(to, from, second).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip().to_string(), want);
        }
        drop(listener);
        assert_eq!(connect(to, None, second).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(to, Some("192.0.2.1".parse().unwrap()), second).is_err());
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            let _client = connect(listener.local_addr().unwrap(), None, second).unwrap();
        }
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(matches!(remote_end(&server), Endpoint::Inet(SocketAddr::V4(_))));
        assert_eq!(local_end(&server), Endpoint::Inet(([127, 0, 0, 1], port).into()));
    }

    #[test]
    fn other_kinds_of_descriptors_are_told_apart() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(remote_end(&one), Endpoint::Unix);
        assert_eq!(remote_end(&std::fs::File::open("/dev/null").unwrap()), Endpoint::NotSocket);
        assert_eq!(remote_end(&TcpListener::bind("127.0.0.1:0").unwrap()), Endpoint::Unknown);
        assert!(LastingFd::inherited(987_654).is_err());
    }
}
