//! The walls around a process that speaks with other hosts: it opens files and connections, and what other hosts answer may
//! make it run anything. It gets no further process, no other program, no other user's rights and bounded memory.
//!
//! It is one user already, and has to be able to write that user's files. On the CPUs that seccompiler knows there are two
//! filters: an allow-list, whose end is an error, so that a call that a C library of another time makes does not cost a
//! message; and death for the calls that only somebody who has taken it over would make.

use crate::sys::process::{self, Resource};
use std::io;

/// Open descriptors: a queue file, a connection, the log, those of a question to the guard.
const DESCRIPTORS: u64 = 64;

/// Everything decided before such processes are forked.
pub struct SenderWalls {
    /// Octets of address space; 0: no limit.
    memory: u64,
    #[cfg(target_pointer_width = "64")]
    filters: Vec<seccompiler::BpfProgram>,
}

impl SenderWalls {
    /// Prepares. `memory` is in octets of address space, 0: no limit.
    pub fn prepare(memory: u64) -> io::Result<SenderWalls> {
        Ok(SenderWalls {
            memory,
            #[cfg(target_pointer_width = "64")]
            filters: filters::prepare()?,
        })
    }

    /// Puts the walls up around this process, for good. Privileges must have been given up for good already
    /// ([`process::no_new_privileges`]).
    pub fn enter(&self) -> io::Result<()> {
        process::limit(Resource::Core, 0)?;
        process::limit(Resource::Processes, 0)?;
        process::limit(Resource::Descriptors, DESCRIPTORS)?;
        if self.memory > 0 {
            process::limit(Resource::AddressSpace, self.memory)?;
        }
        process::not_dumpable();
        #[cfg(target_pointer_width = "64")]
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

#[cfg(target_pointer_width = "64")]
mod filters {
    use seccompiler::{
        BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };
    use std::collections::BTreeMap;
    use std::io;

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Both filters; none on a CPU that has none.
    pub(super) fn prepare() -> io::Result<Vec<BpfProgram>> {
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(Vec::new()) };
        let made = || -> Result<Vec<BpfProgram>, Error> {
            let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
            let allowed = SeccompFilter::new(allowed()?, refused, SeccompAction::Allow, arch)?;
            let (passed, deadly) = (SeccompAction::Allow, SeccompAction::KillProcess);
            let deadly = SeccompFilter::new(plain(DEADLY), passed, deadly, arch)?;
            // The allow-list does not have the calls that put up another filter.
            Ok(vec![deadly.try_into()?, allowed.try_into()?])
        };
        made().map_err(io::Error::other)
    }

    fn plain(calls: &[i64]) -> Rules {
        calls.iter().map(|call| (*call, Vec::new())).collect()
    }

    fn equals(argument: u8, value: i32) -> Result<SeccompCondition, Error> {
        let value = u64::from(value.unsigned_abs());
        Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?)
    }

    fn allowed() -> Result<Rules, Error> {
        let mut rules = plain(ALLOWED);
        // Connections by IP and to the log; the interfaces' addresses come from NETLINK_ROUTE, which is 0.
        let mut sockets = Vec::new();
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            sockets.push(SeccompRule::new(vec![equals(0, family)?])?);
        }
        sockets.push(SeccompRule::new(vec![equals(0, libc::AF_NETLINK)?, equals(2, libc::NETLINK_ROUTE)?])?);
        rules.insert(libc::SYS_socket, sockets);
        // Sockets that do not wait.
        let not_waiting = i32::try_from(libc::FIONBIO).unwrap_or_default();
        rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![equals(1, not_waiting)?])?]);
        // No page is both another host's to fill and the processor's to run.
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let not_executable = SeccompCondition::new(
                2,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
                0,
            )?;
            rules.insert(call, vec![SeccompRule::new(vec![not_executable])?]);
        }
        Ok(rules)
    }

    const ALLOWED: &[i64] = &[
        // Descriptors.
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_fcntl,
        libc::SYS_pipe2,
        libc::SYS_ppoll,
        libc::SYS_copy_file_range,
        libc::SYS_sendfile,
        libc::SYS_splice,
        // Files.
        libc::SYS_openat,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_fstatfs,
        libc::SYS_faccessat,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_flock,
        libc::SYS_linkat,
        libc::SYS_unlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_renameat,
        // renameat, which libc does not name there but the C library calls.
        #[cfg(target_arch = "aarch64")]
        38,
        libc::SYS_renameat2,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_utimensat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_pipe,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        // Connections.
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_setsockopt,
        libc::SYS_getsockopt,
        libc::SYS_sendto,
        libc::SYS_recvfrom,
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_shutdown,
        // Memory, time, randomness, itself.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        libc::SYS_uname,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    const DEADLY: &[i64] = &[
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setgroups,
        libc::SYS_capset,
        libc::SYS_chroot,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
    ];
}
