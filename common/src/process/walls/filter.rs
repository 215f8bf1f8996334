//! The front's system call filter, for the 64-bit CPUs that seccompiler knows.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// The filter; `None` on a CPU that has none.
pub(super) fn prepare() -> io::Result<Option<BpfProgram>> {
    match TargetArch::try_from(std::env::consts::ARCH) {
        Ok(arch) => allowed_calls(arch).map(Some).map_err(io::Error::other),
        Err(_) => Ok(None),
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
        #[cfg(not(target_arch = "x86_64"))]
        libc::SYS_ppoll,
        libc::SYS_shutdown,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
        libc::SYS_exit_group,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];
    for call in plain {
        rules.insert(call, Vec::new());
    }
    // Builds for tests look whether a descriptor is open before they close it.
    #[cfg(debug_assertions)]
    {
        let is_getfd =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::F_GETFD as u64)?;
        rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![is_getfd])?]);
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
