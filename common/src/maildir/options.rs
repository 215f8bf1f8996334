//! How a mailbox is opened, and the lock under which its uidlist changes.

use super::courier::DefaultUniqueId;
use super::dotlock::Dotlock;
use super::error::StorageError;
use super::octets::{COUNT_TIME, EARLY_TIME, Patience};
use super::{Maildir, uidlist_file};
use std::time::Duration;

/// How to open a mailbox.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Wait for the disk after writing the uidlist.
    pub fsync: bool,
    /// Count the octets of messages whose size nobody knows. Without it they stay unknown.
    pub count_octets: bool,
    /// For how long, at one go.
    pub count_time: Duration,
    /// Called now and then while octets are counted: keeps locks alive. `false`: one is lost, and counting ends.
    pub keep: Option<&'a dyn Fn() -> bool>,
    /// How long to wait for another program's lock on the uidlist.
    pub lock_timeout: Duration,
    /// The lock on the uidlist, where the caller holds it already: nobody can take it twice, not even a child of the
    /// holder.
    pub held_lock: Option<&'a Dotlock>,
    /// From this many messages on the snapshot is a file.
    pub index_from: u32,
    /// Messages in `new` are moved to `cur`, and are this session's recent ones. `None`: they stay.
    pub recent_of: Option<u64>,
    /// Where none of the UIDs can be recorded all messages get some that last as long as the session. Else one message is shown.
    pub own_uids: bool,
    /// That is so in the index that is out of date.
    pub had_own_uids: bool,
    /// Somebody has had the index's lock here before this session.
    pub had_lock: bool,
    /// For taking over Courier's unique-ids: what they would be without an override.
    pub default_unique_id: Option<&'a DefaultUniqueId<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            fsync: true,
            count_octets: true,
            count_time: COUNT_TIME,
            keep: None,
            lock_timeout: Duration::from_secs(30),
            held_lock: None,
            index_from: 128,
            recent_of: None,
            own_uids: false,
            had_own_uids: false,
            had_lock: false,
            default_unique_id: None,
        }
    }
}

impl<'a> Options<'a> {
    /// For octets that somebody asked for.
    pub(super) fn patience(&self) -> Patience<'a> {
        Patience { time: self.count_time, gives_up: true, keep: self.keep }
    }

    /// For those that nobody may want.
    pub(super) fn early_patience(&self) -> Patience<'a> {
        Patience { time: self.count_time.min(EARLY_TIME), gives_up: false, keep: self.keep }
    }
}

/// The uidlist's lock: the caller's, or one for the moment.
pub(super) enum Locked<'a> {
    Held(&'a Dotlock),
    Taken(Dotlock),
}

impl<'a> Locked<'a> {
    /// Takes it if the caller does not hold it.
    pub fn take(maildir: &Maildir, options: &Options<'a>) -> Result<Locked<'a>, StorageError> {
        match options.held_lock {
            Some(lock) => Ok(Locked::Held(lock)),
            None => uidlist_file::lock(maildir.control(), options.lock_timeout).map(Locked::Taken),
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Dotlock;

    fn deref(&self) -> &Dotlock {
        match self {
            Locked::Held(lock) => lock,
            Locked::Taken(lock) => lock,
        }
    }
}
