//! Processes: fork, exec of ourselves, users, roots, limits.

use super::cerr;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The two sides of a fork.
pub enum Fork {
    /// This is the process that called; the child's process id.
    Parent(i32),
    /// This is the new process.
    Child,
}

/// fork(2). These programs have one thread, so the child may go on as it likes.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: one thread: no lock can be held by somebody who does not exist in the child.
    match cerr(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent(child)),
    }
}

/// [`fork`], but the new process is nobody's child: it goes on when its parent has ended, and leaves no zombie.
pub fn fork_twice() -> io::Result<Fork> {
    match fork()? {
        Fork::Parent(child) => {
            wait(child);
            Ok(Fork::Parent(0))
        }
        Fork::Child => match fork() {
            Ok(Fork::Child) => Ok(Fork::Child),
            _ => exit_now(0),
        },
    }
}

/// A session and process group of its own: what is sent to those of the launcher is not for this process.
pub fn own_session() -> io::Result<()> {
    // SAFETY: no memory is passed.
    cerr(unsafe { libc::setsid() }).map(drop)
}

/// Waits until a child has ended, and takes its zombie away if there is one. How it ended is not told: where SIGCHLD is
/// ignored, the kernel does not know.
pub fn wait(child: i32) {
    loop {
        // SAFETY: no status is asked for, so nothing is written.
        match cerr(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Waits for a child's end, but not longer than this: one that hangs in the kernel does not end even when it is killed. `false`:
/// it has not ended, and its zombie will have to be taken away by somebody else.
pub fn wait_within(child: i32, patience: Duration) -> bool {
    has_ended_within(child, patience, 0)
}

/// [`wait_within`], which is over, too, when somebody has stopped the child.
pub fn wait_within_while_it_runs(child: i32, patience: Duration) -> bool {
    has_ended_within(child, patience, libc::WUNTRACED)
}

fn has_ended_within(child: i32, patience: Duration, flags: i32) -> bool {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes the status into our integer.
        match cerr(unsafe { libc::waitpid(child, &mut status, libc::WNOHANG | flags) }) {
            Ok(0) if begun.elapsed() < patience => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Ok(0) => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => return !libc::WIFSTOPPED(status),
            Err(_) => return true,
        }
    }
}

/// Ends the process at once: nothing of the parent's is flushed or unwound in a child.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit does not return and runs no handlers.
    unsafe { libc::_exit(i32::from(code)) }
}

/// A write to a closed connection is an error, not a signal.
pub fn ignore_pipe_signal() {
    // SAFETY: setting a disposition to SIG_IGN installs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Children of the program that is executed next end without leaving zombies: it does not know of them.
pub fn ignore_child_signal() {
    // SAFETY: as above.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// Children leave word of how they ended, whatever the program before this one wanted.
pub fn heed_child_signal() {
    // SAFETY: setting a disposition to SIG_DFL installs no handler.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// The signal of a process that ended itself because of a bug or for lack of memory.
pub const ABORTED: i32 = libc::SIGABRT;

/// Waits for a child to end.
pub fn wait_for(child: i32) -> io::Result<Ended> {
    wait_status(child).map(|(_, ended)| ended)
}

fn wait_status(child: i32) -> io::Result<(i32, Ended)> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes the status into our integer.
        match cerr(unsafe { libc::waitpid(child, &mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(pid) if libc::WIFSIGNALED(status) => {
                return Ok((pid, Ended::Signal(libc::WTERMSIG(status))));
            }
            Ok(pid) => return Ok((pid, Ended::Code(libc::WEXITSTATUS(status)))),
        }
    }
}

/// Takes away the zombie of one child that has ended; `None`: there is none now. Does not wait.
pub fn reap() -> Option<i32> {
    // SAFETY: no status is asked for, so nothing is written.
    match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
        pid if pid > 0 => Some(pid),
        _ => None,
    }
}

/// Waits for any child to end: which one, and how.
pub fn wait_for_any() -> io::Result<(i32, Ended)> {
    wait_status(-1)
}

/// Makes the end of a child something that [`wait_for_any_within`] notices at once.
pub fn notice_children() {
    // SAFETY: an all-zero set is a valid one; the calls fill it and read it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Waits for any child to end, but not longer than this; `None`: none has. After [`notice_children`].
pub fn wait_for_any_within(patience: Duration) -> io::Result<Option<(i32, Ended)>> {
    let deadline = Instant::now() + patience;
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes the status into our integer.
        let pid = cerr(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) })?;
        if pid > 0 {
            let ended = match libc::WIFSIGNALED(status) {
                true => Ended::Signal(libc::WTERMSIG(status)),
                false => Ended::Code(libc::WEXITSTATUS(status)),
            };
            return Ok(Some((pid, ended)));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        // SAFETY: all-zero structures are valid; the kernel reads the set and the time, and is told to say nothing.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            let mut time: libc::timespec = std::mem::zeroed();
            time.tv_sec = left.as_secs().min(3600) as _;
            time.tv_nsec = left.subsec_nanos() as _;
            libc::sigtimedwait(&set, std::ptr::null_mut(), &time);
        }
    }
}

/// Whether we have the power to change users.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The real user and group.
pub fn user_and_group() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Becomes this user and group for good: supplementary groups, group, user, in that order, and then proves that the
/// way back is closed. Anything but success must end the process.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if uid == 0 {
        return Err(io::Error::other("refusing to go on as root"));
    }
    let groups: Vec<u32> =
        std::iter::once(gid).chain(groups.iter().copied().filter(|&group| group != gid)).collect();
    // SAFETY: passes a pointer to the group ids and their count.
    cerr(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain integers.
    cerr(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain integers.
    cerr(unsafe { libc::setresuid(uid, uid, uid) })?;
    // SAFETY: plain integers; success here would mean that the drop did not hold.
    if unsafe { libc::setresuid(u32::MAX, 0, u32::MAX) } != -1 || unsafe { libc::setgid(0) } != -1 && gid != 0
    {
        return Err(io::Error::other("privileges could be regained"));
    }
    Ok(())
}

/// Makes `directory` the root of everything that this process can name.
pub fn chroot(directory: &OsStr) -> io::Result<()> {
    let path = c_string(directory.as_bytes())?;
    // SAFETY: both take a NUL-terminated string that outlives the call.
    unsafe {
        cerr(libc::chroot(path.as_ptr()))?;
        cerr(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// What a process may use.
#[derive(Clone, Copy)]
pub enum Resource {
    /// Octets of address space.
    AddressSpace,
    /// Open descriptors: the highest number plus one.
    Descriptors,
    /// Processes of this user.
    Processes,
    /// Octets of a file written to.
    FileSize,
    /// Octets of a core file.
    Core,
}

/// Lowers a limit for good (soft and hard).
pub fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value as libc::rlim_t, rlim_max: value as libc::rlim_t };
    let resource = match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Core => libc::RLIMIT_CORE,
    };
    // SAFETY: reads the local structure.
    match cerr(unsafe { libc::setrlimit(resource, &limit) }) {
        Ok(_) => Ok(()),
        Err(error) => {
            // A launcher may already hold us below: then the stricter limit stands.
            // SAFETY: an all-zero rlimit is a valid one; getrlimit fills it.
            let mut now: libc::rlimit = unsafe { std::mem::zeroed() };
            // SAFETY: writes the local structure.
            cerr(unsafe { libc::getrlimit(resource, &mut now) })?;
            if now.rlim_max <= limit.rlim_max { Ok(()) } else { Err(error) }
        }
    }
}

/// The number of a limit, as the C library has it.
#[cfg(target_env = "musl")]
type Kind = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Kind = libc::__rlimit_resource_t;

/// Descriptors that a process of ours may have which has several for each of its children.
const DESCRIPTORS: libc::rlim_t = 1024;

/// Takes back what a launcher has limited, so that a program which this process executes finds the same whoever started us:
/// memory, time and size of files without a limit, at least 8 MiB of stack and 1,024 descriptors, no core file. Without the
/// right to raise them, the hard limits are as far as it goes.
pub fn lift_limits() {
    const NONE: libc::rlim_t = libc::RLIM_INFINITY;
    let wanted = [
        (libc::RLIMIT_AS, NONE, NONE),
        (libc::RLIMIT_DATA, NONE, NONE),
        (libc::RLIMIT_CPU, NONE, NONE),
        (libc::RLIMIT_FSIZE, NONE, NONE),
        (libc::RLIMIT_STACK, 8 << 20, NONE),
        (libc::RLIMIT_NOFILE, DESCRIPTORS, 4096),
        (libc::RLIMIT_CORE, 0, 0),
    ];
    wanted.into_iter().for_each(|(resource, soft, hard)| lift(resource, soft, hard));
}

/// Takes back what a launcher has limited descriptors to, as far as it goes: what is right for a connection is not enough for a
/// process that has two for each of its children.
pub fn lift_descriptor_limit() {
    lift(libc::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS);
}

fn lift(resource: Kind, soft: libc::rlim_t, hard: libc::rlim_t) {
    // SAFETY: an all-zero rlimit is a valid one; getrlimit fills it.
    let mut now: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: writes the local structure.
    if cerr(unsafe { libc::getrlimit(resource, &mut now) }).is_err() {
        return;
    }
    let hard = now.rlim_max.max(hard);
    let soft = now.rlim_cur.max(soft);
    for (soft, hard) in [(soft, hard), (soft.min(now.rlim_max), now.rlim_max)] {
        let soft = if resource == libc::RLIMIT_CORE { 0 } else { soft };
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: reads the local structure.
        if cerr(unsafe { libc::setrlimit(resource, &limit) }).is_ok() {
            return;
        }
    }
}

/// Whether there was no room for another process or descriptor: there may be when something has ended.
pub fn is_used_up(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE))
}

/// No program that this process executes gains rights (setuid bits, capabilities).
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: plain integers.
    cerr(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Other processes of the same user may not look into this one, and it leaves no core file.
pub fn not_dumpable() {
    // SAFETY: plain integers. Failure leaves the kernel's default, which is no worse than not asking.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}

/// Takes every allocation of more than a few pages straight from the kernel, so that it goes back when it is freed.
///
/// Otherwise a large buffer that is freed below a small one that is not stays with the process, and the C library raises
/// its own threshold for this each time a large one is freed.
pub fn return_large_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers; it is called before there are threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 16 * 1024);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}

/// The name under which this process is listed; at most 15 octets count.
pub fn set_name(name: &CStr) {
    // SAFETY: the kernel copies at most 16 octets of the NUL-terminated string.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0);
    }
}

/// Fills a buffer of at most 256 octets with the kernel's random numbers. Waits while the machine has just started and has
/// none yet.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel writes at most buffer.len() octets into the buffer we borrow mutably.
    let filled = cerr(unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) })?;
    // Up to 256 octets are never cut short (getrandom(2)).
    if filled as usize == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Files are made for their owner alone unless said otherwise.
pub fn private_umask() {
    // SAFETY: plain integer, cannot fail.
    unsafe {
        libc::umask(0o077);
    }
}

/// Replaces this program by a fresh copy of itself: same file, clean address space.
///
/// Goes through /proc, because after giving up root the path of the program may no longer be reachable; without /proc
/// it is tried by the name it was started with.
pub fn exec_self(arguments: &[CString], environment: &[CString]) -> io::Error {
    fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let (argv, envp) = (pointers(arguments), pointers(environment));
    super::processor::roam();
    // SAFETY: both arrays are NULL-terminated lists of NUL-terminated strings that outlive the call.
    unsafe {
        libc::execve(c"/proc/self/exe".as_ptr(), argv.as_ptr(), envp.as_ptr());
        let error = io::Error::last_os_error();
        if let Some(path) = started_as() {
            libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
        }
        error
    }
}

/// The path this program was executed by, from the kernel's auxiliary vector.
fn started_as() -> Option<&'static CStr> {
    // SAFETY: AT_EXECFN is 0 or the address of a string that the kernel placed on our stack for the process's life.
    unsafe {
        let at = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        if at.is_null() { None } else { Some(CStr::from_ptr(at)) }
    }
}

/// Octets as a C string; an inner NUL is an error.
pub fn c_string(octets: &[u8]) -> io::Result<CString> {
    CString::new(octets).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Asks a process we started to end.
pub fn terminate(pid: i32) {
    if pid > 1 {
        // SAFETY: plain integers.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
        }
    }
}

/// Asks all processes of a group to end.
pub fn terminate_group(group: i32) {
    if group > 1 {
        // SAFETY: plain integers; a negative number means the group, and -1, which means everybody, is not among them.
        unsafe {
            libc::kill(-group, libc::SIGKILL);
        }
    }
}

/// Tries to look into another process as a debugger would. Nothing here wants to: the tests of the walls show that the
/// front cannot.
pub fn trace(pid: i32) -> io::Result<()> {
    let nothing: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: PTRACE_ATTACH takes a process id and ignores the two pointers.
    cerr(unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, nothing, nothing) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_a_child_is_not_waited_for() {
        let long = Duration::from_secs(60);
        let begun = Instant::now();
        let Fork::Parent(child) = fork().unwrap() else {
            // SAFETY: plain integers.
            unsafe { libc::raise(libc::SIGSTOP) };
            exit_now(0)
        };
        assert!(!wait_within_while_it_runs(child, long));
        assert!(begun.elapsed() < long);
        assert!(!wait_within(child, Duration::from_millis(10)), "it is there still");
        terminate(child);
        assert!(wait_within_while_it_runs(child, long));
    }
}
