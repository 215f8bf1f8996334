//! The UPDATE state (RFC 1939 section 6): what QUIT does to the store. Nothing else in this program changes a message.

use crate::command::Quit;
use crate::maildrop::Maildrop;
use common::config::Config;
use common::maildir::Maildir;
use common::maildir::quota::Tally;
use common::process::session::SessionLog;

/// What became of the marks.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Updated {
    /// Messages that are gone now.
    pub deleted: u64,
    /// Whether any marked message is still there, or may be again after a power cut.
    pub failed: bool,
}

/// A maildrop whose client has said QUIT.
pub struct Update {
    maildrop: Maildrop,
    quit: Quit,
}

impl Update {
    /// The only way here, and there is none back to the TRANSACTION state.
    pub fn new(maildrop: Maildrop, quit: Quit) -> Update {
        Update { maildrop, quit }
    }

    /// The maildrop, to look at.
    pub fn maildrop(&self) -> &Maildrop {
        &self.maildrop
    }

    /// Removes the messages marked for deletion and marks the retrieved ones as seen. The locks are free afterwards.
    pub fn carry_out(self, config: &Config, log: &SessionLog) -> Updated {
        update(&self.maildrop, self.maildrop.store(&self.quit), config, log)
    }
}

fn update(maildrop: &Maildrop, store: &Maildir, config: &Config, log: &SessionLog) -> Updated {
    let mut updated = Updated::default();
    let marks_seen = !config.pop3_no_flag_updates && maildrop.retrieved.count() > 0;
    if maildrop.deleted.count() == 0 && !marks_seen {
        return updated;
    }
    let mut first_error = None;
    let mut tally = Tally::begin(store);
    for index in 0..maildrop.snapshot.len() {
        let deleted = maildrop.deleted.contains(index);
        let seen = marks_seen && maildrop.retrieved.contains(index);
        if !deleted && !seen {
            continue;
        }
        // Whoever found us too slow has a list of messages of its own.
        if !maildrop.locks.keep() {
            updated.failed = true;
            log.error("not all deleted: the session's lock was lost to somebody else");
            break;
        }
        let result = maildrop.snapshot.get(index).and_then(|message| {
            if deleted {
                tally.note(store, &message, -1);
                store.remove(&message).map(drop)
            } else {
                // A flag that cannot be set (a full disk, say) is no reason to worry the client.
                let _ = store.mark_seen(&message);
                Ok(())
            }
        });
        match result {
            Ok(()) => updated.deleted += u64::from(deleted),
            Err(error) => {
                updated.failed = true;
                first_error.get_or_insert(error);
            }
        }
    }
    tally.end(store);
    if updated.deleted > 0 && !config.fsync_disable {
        // A deletion that the client was told of should not come back after a power cut.
        if let Err(error) = store.sync_directories() {
            updated.failed = true;
            log.error(&error.to_string());
        }
    }
    if let Some(error) = first_error {
        log.error(&format!("not all deleted: {error}"));
    }
    updated
}
