//! The drop directory: how users without rights submit mail where no program has any for them.
//!
//! `drop/` has mode 1733: everybody may leave a file, nobody may list them, and nobody but the owner and root may remove one.
//! A user's `sendmail` writes a file of its own ([`format`]) and gives it a final name; the guard of a queue run, as
//! root, only looks at names and owners. The file is opened and read by a process of the owner's uid, so that a link to what
//! the owner may not read leads nowhere, and what it says is read by a process of mail_owner's, which puts it into the queue.
//! So no program is setuid or setgid, and the uid that a message comes from is the file system's word. Who wants to see the queue
//! asks there, too ([`listing`]).
//!
//! Everything here is hostile: names, kinds of files, sizes, contents, changes while they are read.

pub mod format;
mod gate;
pub mod listing;
mod pickup;
mod turns;

pub use listing::Answers;
pub use turns::pick_up;

use crate::queue::{Id, Place};

/// What the name of a file begins with as long as it is being written.
pub const UNFINISHED: &str = "new.";

/// Names that are looked at for a message: whoever leaves more rubbish than that makes his host wait for the timer.
const LOOKED_AT: usize = 2000;

/// Why a user can leave nothing there, and what root can do about it.
pub(crate) fn unusable(directory: &std::path::Path, error: &std::io::Error) -> std::io::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => ": root makes it with the first \"smtpd -q\"",
        std::io::ErrorKind::PermissionDenied => ": it must have mode 1733",
        _ => "",
    };
    std::io::Error::new(error.kind(), format!("{}: {error}{hint}", directory.display()))
}

/// The ID that a message of this user's gets in the queue.
pub fn id_in_queue(id: &Id, uid: u32) -> Option<Id> {
    id.derived(&format!("u{uid}"))
}

/// Whether a message lies in the drop directory below this `queue_directory`, or somebody asks there. Rubbish does not count:
/// anybody may leave some, and each connection would start a run for it. The look is bounded for the same reason.
pub fn is_waiting(queue: &std::path::Path) -> bool {
    let Ok(entries) = std::fs::read_dir(queue.join(Place::Drop.name())) else {
        return false;
    };
    entries.take(LOOKED_AT).any(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.starts_with(UNFINISHED));
            let Some((name, kind)) = name.zip(entry.file_type().ok()) else { return false };
            Id::parse(name).is_some() && kind.is_file() || listing::is_question(name, kind)
        })
    })
}

#[cfg(test)]
mod tests;
