//! The walls around the front: what a process that reads strangers' bytes cannot do, whatever it is made to run.
//!
//! As root: an empty root directory, a user of no worth. Everywhere: no new descriptors, processes or files, bounded
//! memory, no privileges through exec, invisible to other processes of its user, and, on the CPUs that seccompiler
//! knows, an allow-list of system calls with death for everything else. Each wall stands without the others.

use crate::sys::process::{self, Resource};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The highest descriptor that the front has: 0 and 1 the client, 2 nothing, 3 the guard.
pub const LAST_DESCRIPTOR: i32 = 3;

/// What only root can put up.
#[derive(Debug)]
pub struct RootWalls {
    /// The user and group to become: of no worth, the owner of nothing.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// An empty directory that only root can write to.
    pub empty_directory: PathBuf,
}

/// Everything decided before the front is forked, so that putting the walls up needs no file and little time.
pub struct Walls {
    root: Option<RootWalls>,
    memory: u64,
    filter: Option<BpfProgram>,
}

impl Walls {
    /// Prepares. `memory` is the front's address space in octets. On a CPU without a filter the other walls stand alone.
    pub fn prepare(root: Option<RootWalls>, memory: u64) -> io::Result<Walls> {
        let filter = match TargetArch::try_from(std::env::consts::ARCH) {
            Ok(arch) => Some(allowed_calls(arch).map_err(io::Error::other)?),
            Err(_) => None,
        };
        Ok(Walls { root, memory, filter })
    }

    /// Prepares the same walls without the system call filter, so that a test can show that the others hold alone.
    pub fn without_filter(mut self) -> Walls {
        self.filter = None;
        self
    }

    /// Puts the walls up around this process, for good. Descriptors above [`LAST_DESCRIPTOR`] must be closed already.
    pub fn enter(self) -> io::Result<()> {
        if let Some(root) = &self.root {
            process::chroot(root.empty_directory.as_os_str())?;
        }
        process::limit(Resource::Core, 0)?;
        process::limit(Resource::FileSize, 0)?;
        process::limit(Resource::AddressSpace, self.memory)?;
        process::limit(Resource::Descriptors, LAST_DESCRIPTOR as u64 + 1)?;
        process::limit(Resource::Processes, 0)?;
        if let Some(root) = &self.root {
            process::become_user(root.uid, root.gid, &[])?;
        }
        process::no_new_privileges()?;
        process::not_dumpable();
        if let Some(filter) = &self.filter {
            seccompiler::apply_filter(filter).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// What the front needs: to read, write and wait on what is open, memory that is not executable, the time, randomness,
/// and to end.
fn allowed_calls(arch: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let plain = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_ppoll,
        libc::SYS_shutdown,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];
    for call in plain {
        rules.insert(call, Vec::new());
    }
    // No page is both the client's to fill and the processor's to run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
            0,
        )?;
        rules.insert(call, vec![SeccompRule::new(vec![not_executable])?]);
    }
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}
