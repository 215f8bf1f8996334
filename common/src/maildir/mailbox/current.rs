//! Whether what is known of the directories is what they are: by their time stamps, as far as these tell.

use super::super::build::RACY_NANOSECONDS;
use super::super::scan;
use super::super::uidlist_file::{self, Stamp};
use super::super::{ErrorKind, StorageError};
use super::log::Stamps;
use super::{Keywords, Mailbox};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long until a look that should have been there already: what keeps it from succeeding may last.
const LATE: Duration = Duration::from_secs(1);
/// So far may clocks be apart.
const SKEW_NANOSECONDS: i64 = 10_000_000_000;

impl Mailbox {
    /// Whether messages lie in `new` that this session will move. Time stamps that are old enough tell of all that came later.
    pub(super) fn has_new_to_take(&self) -> bool {
        let is_young = || {
            let Stamps { new, cur, made, .. } = self.stamps;
            made.saturating_sub(new.mtime.max(cur.mtime)) < RACY_NANOSECONDS
        };
        let known = self.view.tally().in_new > 0 || (!self.log.is_empty() && is_young());
        known && !self.options.read_only && scan::has_new(self.maildir.path())
    }

    /// Whether nothing changed but what is known: the time stamps are the same, and old enough, seen from when they were
    /// taken, that no later change can have the same. Those that are too young wait until they are not.
    pub(super) fn is_current(&mut self) -> Result<bool, StorageError> {
        let path = self.maildir.path();
        let (new, cur) = (Stamp::at(&path.join("new"))?, Stamp::at(&path.join("cur"))?);
        if cur == Stamp::default() || new == Stamp::default() {
            let why = "the mailbox is no more";
            return Err(StorageError::with_kind(ErrorKind::NotFound, "stat", path, why));
        }
        let control = self.maildir.control();
        let keywords = Stamp::at(&control.join(super::keywords::NAME))?;
        if keywords != self.keywords.stamp {
            let before = std::mem::replace(&mut self.keywords, Keywords::read(control)?);
            self.untold.keywords |= before.names != self.keywords.names;
        }
        let stamps = &self.stamps;
        if (stamps.new, stamps.cur) != (new, cur)
            || stamps.uidlist != Stamp::at(&control.join(uidlist_file::NAME))?
        {
            return Ok(false);
        }
        let changed = new.mtime.max(cur.mtime);
        if stamps.made.saturating_sub(changed) >= RACY_NANOSECONDS {
            return Ok(true);
        }
        Ok((0..RACY_NANOSECONDS).contains(&now().saturating_sub(changed)))
    }

    /// How long until another look is worth it though nothing happens: what changed at the same moment as something that
    /// is known has its time stamp, and is seen when that has come of age. `None`: nothing can have been missed, or the
    /// directories are of a far future.
    pub fn looks_again_in(&self) -> Option<Duration> {
        let changed = self.stamps.new.mtime.max(self.stamps.cur.mtime);
        let is_young = self.stamps.made.saturating_sub(changed) < RACY_NANOSECONDS;
        let left = changed.saturating_add(RACY_NANOSECONDS).saturating_sub(now());
        // Where no index is kept nothing says that somebody has looked: it is done once.
        let wanted = is_young && left < RACY_NANOSECONDS + SKEW_NANOSECONDS && (left > 0 || self.in_file);
        let left = u64::try_from(left).ok().filter(|&left| left > 0).map(Duration::from_nanos);
        wanted.then(|| left.unwrap_or(LATE))
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
