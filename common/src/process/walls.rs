//! The walls around the front: what a process that reads strangers' bytes cannot do, whatever it is made to run.
//!
//! As root: an empty root directory, a user of no worth. Everywhere: no new descriptors, processes or files, bounded
//! memory, no privileges through exec, invisible to other processes of its user, and, on the CPUs that seccompiler
//! knows, an allow-list of system calls with death for everything else. Each wall stands without the others.

#[cfg(target_pointer_width = "64")]
mod filter;
mod sender;

pub use sender::SenderWalls;

use crate::sys::process::{self, Resource};
use seccompiler::BpfProgram;
use std::io;
use std::path::PathBuf;

/// The highest descriptor that the front has: 0 and 1 the client, 2 nothing, 3 the guard.
pub const LAST_DESCRIPTOR: i32 = 3;
/// The descriptor on which the front of a [service](super::service) sends what is too large for a message.
pub const DATA_DESCRIPTOR: i32 = 4;

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
    last_descriptor: i32,
    filter: Option<BpfProgram>,
}

impl Walls {
    /// Prepares. `memory` is the front's address space in octets. On a CPU without a filter the other walls stand alone.
    pub fn prepare(root: Option<RootWalls>, memory: u64) -> io::Result<Walls> {
        #[cfg(target_pointer_width = "64")]
        let filter = filter::prepare()?;
        #[cfg(not(target_pointer_width = "64"))]
        let filter = None;
        Ok(Walls { root, memory, last_descriptor: LAST_DESCRIPTOR, filter })
    }

    /// The same walls with [`DATA_DESCRIPTOR`] inside them.
    pub fn with_data_descriptor(mut self) -> Walls {
        self.last_descriptor = DATA_DESCRIPTOR;
        self
    }

    /// Prepares the same walls without the system call filter, so that a test can show that the others hold alone.
    pub fn without_filter(mut self) -> Walls {
        self.filter = None;
        self
    }

    /// Puts the walls up around this process, for good. Descriptors above the last one allowed must be
    /// closed already.
    pub fn enter(self) -> io::Result<()> {
        if let Some(root) = &self.root {
            process::chroot(root.empty_directory.as_os_str())?;
        }
        process::limit(Resource::Core, 0)?;
        process::limit(Resource::FileSize, 0)?;
        process::limit(Resource::AddressSpace, self.memory)?;
        process::limit(Resource::Descriptors, u64::from(self.last_descriptor.unsigned_abs()) + 1)?;
        process::limit(Resource::Processes, 0)?;
        if let Some(root) = &self.root {
            process::become_user(root.uid, root.gid, &[])?;
        }
        process::no_new_privileges()?;
        process::not_dumpable();
        if let Some(filter) = &self.filter {
            seccompiler::apply_filter(filter).map_err(io::Error::other)?;
        }
        // Freeing it would write to a page that is shared with the guard.
        std::mem::forget(self);
        Ok(())
    }
}
