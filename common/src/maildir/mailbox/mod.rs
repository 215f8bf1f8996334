//! One open mailbox as an IMAP session sees it.
//!
//! Messages are addressed by message sequence number. What other sessions and programs do appears only through
//! [`Mailbox::sync`], which says what the client has to be told; between two calls every number keeps its meaning.
//!
//! ```text
//! view      what the client has been told      log, lock   how sessions tell each other
//! refresh, quick   noticing what others did    change      STORE, EXPUNGE; unchanged   with a condition
//! adopt     a new index
//! deliver   APPEND; copy  COPY, MOVE           keywords    dovecot-keywords; courier_keywords  Courier's
//! ready     what they have in tmp              spool       a long list in little memory
//! differ    what changed, as entries           tell        what the client hears, and when
//! take      what moves after the answer      summary, late  SELECT without a look at the log
//! cache     what was parsed once               status      a mailbox that is not selected
//! mend      an index that is damaged
//! ```
//!
//! What this reads is the user's own and may be damaged; names of files are anybody's. Where nothing can be written the
//! mailbox is served from memory, and modification sequences last as long as the session.

mod adopt;
mod ascending;
mod cache;
mod change;
mod copy;
mod courier_keywords;
mod current;
mod deliver;
mod differ;
mod keywords;
mod late;
pub(super) mod lock;
pub(super) mod log;
mod mend;
#[cfg(test)]
mod model_tests;
mod quick;
mod ready;
pub(super) mod refresh;
mod runs;
pub(super) mod spool;
mod status;
pub(super) mod summary;
mod take;
mod tell;
#[cfg(test)]
mod tests;
mod unchanged;
pub(super) mod view;

pub use change::{FlagChange, How, Stored};
pub use copy::Copied;
pub use deliver::{Append, Appended};
pub use status::{Status, status};

pub use super::flags::{Flags, KEYWORDS};

use super::directories::Directories;
use super::error::{ErrorKind, StorageError};
use super::index::{self, Row};
use super::octets;
use super::uidlist_file::Stamp;
use super::{Maildir, Message};
use ascending::Ascending;
use cache::Cache;
use keywords::Keywords;
use late::Late;
use log::{Log, Stamps};
use runs::Runs;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;
use view::View;

/// For `fuzz/`.
pub(super) fn read_keyword_lists(text: &[u8]) {
    courier_keywords::parse(text);
    let names = keywords::parse(text);
    assert!(names.len() <= KEYWORDS, "{} keywords", names.len());
}

/// Message sequence numbers: ascending ranges that do not overlap, within 1..=len.
pub type MsnSet = Vec<RangeInclusive<u32>>;

/// How to open a mailbox.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Nothing is changed: messages stay in `new`, flags stay as they are (EXAMINE).
    pub read_only: bool,
    /// Wait for the disk before saying that something is stored.
    pub fsync: bool,
    /// How long to wait for another program's lock.
    pub lock_timeout: Duration,
}

/// What is known of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// UID.
    pub uid: u32,
    /// Flags without `\Recent`.
    pub flags: Flags,
    /// `\Recent`.
    pub recent: bool,
    /// When the flags last changed (RFC 7162).
    pub modseq: u64,
    /// RFC822.SIZE, if known.
    pub octets: Option<u64>,
    /// INTERNALDATE in seconds since 1970, if known.
    pub internal_date: Option<i64>,
}

/// What the client has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There are so many messages now.
    Exists(u32),
    /// So many of them are recent.
    Recent(u32),
    /// The message with this number, at this moment, is no more.
    Expunge(u32),
    /// The message with this number has other flags, or its flags were asked for.
    Flags(u32),
    /// The message with this number has another modification sequence; its flags were changed silently.
    Modseq(u32),
    /// There are more keywords.
    Keywords,
}

/// What is still to be told, by row.
#[derive(Debug, Default)]
struct Untold {
    flags: Ascending,
    modseqs: Ascending,
    keywords: bool,
    recent: bool,
}

/// The mailbox.
#[derive(Debug)]
pub struct Mailbox {
    maildir: Maildir,
    options: OpenOptions,
    view: Late,
    /// The state after the index was replaced, followed beside the view until the client has been told everything.
    fresh: Option<View>,
    log: Log,
    stamps: Stamps,
    /// There is an index file; else the view is all there is.
    in_file: bool,
    /// Why `dovecot-uidlist` could not be brought up to date when the directories were read last.
    unwritten: Option<StorageError>,
    /// It was so when the mailbox was opened, and the client has been told.
    keeps_modseq: bool,
    keywords: Keywords,
    untold: Untold,
    /// UIDs of the recent messages.
    recent: Runs,
    /// By which this session knows the messages that it has moved from `new`.
    token: u64,
    cache: Option<Cache>,
    /// While a command lasts that opens or renames messages.
    directories: Option<Directories>,
    /// The recent messages are still in `new`: what the directories were when that was found.
    untaken: Option<(Stamp, Stamp)>,
    /// UIDs of fresh messages that this session has learnt of from others, and that its client has not been told of.
    arrived: Runs,
    /// The UIDs are this session's.
    has_own_uids: bool,
    /// Somebody has had an index here before.
    had_lock: bool,
    /// Something could not be read in the index since the directories were read last.
    is_damaged: Cell<bool>,
    /// It was so, and the log has not been told.
    gave_up_index: bool,
}

impl Mailbox {
    /// The directories.
    pub fn maildir(&self) -> &Maildir {
        &self.maildir
    }

    /// UIDVALIDITY.
    pub fn uid_validity(&self) -> u32 {
        self.view.header().uid_validity
    }

    /// The next message will get this UID or a greater one.
    pub fn next_uid(&self) -> u32 {
        self.view.next_uid()
    }

    /// HIGHESTMODSEQ (RFC 7162).
    pub fn highest_modseq(&self) -> u64 {
        self.view.highest_modseq().max(1)
    }

    /// Why the UIDs last as long as the session, where they do (RFC 4315 section 2: UIDNOTSTICKY).
    pub fn unrecorded(&self) -> Option<&StorageError> {
        self.unwritten.as_ref().filter(|_| self.has_own_uids)
    }

    /// Messages.
    pub fn len(&self) -> u32 {
        self.view.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages with `\Recent`.
    pub fn recent(&self) -> u32 {
        if self.options.read_only {
            return self.count_fresh();
        }
        let lives =
            |&uid: &u32| matches!(self.view.find(uid), Ok(Some(row)) if self.view.msn_of(row).is_some());
        self.recent.iter().filter(lives).count() as u32
    }

    fn count_fresh(&self) -> u32 {
        if self.view.is_unread() || self.view.is_settled() {
            let tally = self.view.tally();
            return tally.in_new.saturating_add(tally.untold);
        }
        let mut count = 0;
        let _ = self.for_each(1..=self.len(), |_, info| {
            count += u32::from(info.recent);
            ControlFlow::Continue(())
        });
        count
    }

    /// The first message without `\Seen`.
    pub fn first_unseen(&self) -> Result<Option<u32>, StorageError> {
        if self.view.is_unread() {
            let first = self.view.summary().map_err(|error| self.damaged(error))?.first_unseen;
            return Ok(Some(first).filter(|&first| first > 0));
        }
        let mut found = None;
        let from = self.view.msn_at_or_after(self.view.seen_up_to());
        self.for_each(from..=self.len(), |msn, info| {
            if info.flags.bits & Flags::SEEN != 0 {
                return ControlFlow::Continue(());
            }
            found = Some(msn);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Whether flags stay as they are.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Whether modification sequences outlive the session (RFC 7162: else NOMODSEQ), as far as was known when it began.
    pub fn keeps_modseq(&self) -> bool {
        self.keeps_modseq
    }

    /// The keywords by letter, empty where a letter has none; at most 26.
    pub fn keywords(&self) -> &[Box<str>] {
        &self.keywords.names
    }

    /// Whether there can be more of them.
    pub fn has_room_for_keywords(&self) -> bool {
        self.keywords.has_room()
    }

    /// The bit of a keyword, if the mailbox has it.
    pub fn keyword_bit(&self, keyword: &str) -> Option<u32> {
        self.keywords.bit(keyword)
    }

    /// Where inotify has to look.
    pub fn watch_paths(&self) -> [PathBuf; 3] {
        let path = self.maildir.path();
        [path.join("new"), path.join("cur"), self.index_directory().join(log::NAME)]
    }

    /// The UID of a message.
    pub fn uid(&self, msn: u32) -> Result<u32, StorageError> {
        Ok(self.row(msn)?.1.uid)
    }

    /// The lowest message sequence number whose UID is `uid` or greater; one more than there are, if none is.
    pub fn msn_at_or_after(&self, uid: u32) -> Result<u32, StorageError> {
        let mut row = self.view.at_or_after(uid).map_err(|error| self.damaged(error))?;
        while row < self.view.announced {
            if let Some(msn) = self.view.msn_of(row) {
                return Ok(msn);
            }
            row += 1;
        }
        Ok(self.len() + 1)
    }

    /// What is known of a message.
    pub fn info(&self, msn: u32) -> Result<Info, StorageError> {
        let (_, row) = self.row(msn)?;
        Ok(self.info_of(&row))
    }

    fn info_of(&self, row: &Row) -> Info {
        let fresh = row.flags & index::FRESH != 0;
        Info {
            uid: row.uid,
            flags: Flags { bits: row.mail_flags.bits & Flags::ALL, ..row.mail_flags },
            recent: if self.options.read_only { fresh } else { self.recent.contains(row.uid) },
            modseq: row.modseq.max(1),
            octets: Some(row.octets).filter(|&octets| octets != index::UNKNOWN),
            internal_date: Some(row.date).filter(|&date| date != index::UNKNOWN_DATE),
        }
    }

    /// Goes through messages in order, as fast as it can be done.
    pub fn for_each(
        &self,
        msns: RangeInclusive<u32>,
        mut visit: impl FnMut(u32, &Info) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let (first, last) = ((*msns.start()).max(1), (*msns.end()).min(self.len()));
        if first > last {
            return Ok(());
        }
        let (mut msn, mut row) = (first, self.view.row_of(first));
        while msn <= last {
            if !self.view.is_gone(row) {
                let data = self.view.row(row).map_err(|error| self.damaged(error))?;
                if visit(msn, &self.info_of(&data)).is_break() {
                    break;
                }
                msn += 1;
            }
            row += 1;
        }
        Ok(())
    }

    /// RFC822.SIZE; counted if nobody knows it, as long as `goes_on` says that somebody waits for it.
    ///
    /// Errors: `NotFound` if the message is gone; `Temp` if there was no time.
    pub fn octets(&mut self, msn: u32, goes_on: &dyn Fn() -> bool) -> Result<u64, StorageError> {
        if let Some(octets) = self.info(msn)?.octets {
            return Ok(octets);
        }
        let file = self.open_message(msn)?;
        let path = self.maildir.path();
        let counted = octets::of_file(&file, goes_on).map_err(StorageError::at("read", path))?;
        counted.ok_or_else(|| StorageError::with_kind(ErrorKind::Temp, "count", path, "it is too large"))
    }

    /// INTERNALDATE: the file's time, seconds since 1970.
    ///
    /// Errors: `NotFound` if the message is gone.
    pub fn internal_date(&mut self, msn: u32) -> Result<i64, StorageError> {
        let (row, data) = self.row(msn)?;
        if data.date != index::UNKNOWN_DATE {
            return Ok(data.date);
        }
        let date = self.maildir.modified(&self.message(row, &data)?)?;
        self.view.learned.push((row, date));
        Ok(date)
    }

    /// For the next sessions, where the caller knows an INTERNALDATE that [`Mailbox::info`] does not.
    pub fn learn_date(&mut self, msn: u32, date: i64) {
        if msn != 0 && msn <= self.len() {
            let row = self.view.row_of(msn);
            self.view.learned.push((row, date));
        }
    }

    /// The client has just been told the message's modification sequence: [`Mailbox::sync`] need not.
    pub fn has_told_modseq(&mut self, msn: u32) {
        if msn != 0 && msn <= self.len() {
            let told = self.view.row_of(msn);
            self.untold.modseqs.retain(|row| row != told);
        }
    }

    /// The message as it is on disk, its lines ending in LF or CRLF.
    ///
    /// Errors: `NotFound` if it is gone.
    pub fn open_message(&mut self, msn: u32) -> Result<File, StorageError> {
        let (row, data) = self.row(msn)?;
        let message = self.message(row, &data)?;
        self.hold_directories();
        self.maildir.open_message_in(self.directories.as_ref(), &message)
    }

    /// What the log is told of a message whose file cannot be read: which file that is.
    pub fn unreadable(&self, msn: u32, error: io::Error) -> StorageError {
        let found = self.row(msn).and_then(|(row, data)| self.message(row, &data));
        match found {
            Ok(message) => StorageError::new("read", self.maildir.path_of_message(&message), error),
            Err(_) => StorageError::new("read", self.maildir.path(), error),
        }
    }

    /// Until the command is over.
    fn hold_directories(&mut self) {
        if self.directories.is_none() {
            self.directories = Directories::open(self.maildir.path()).ok();
        }
    }

    fn message(&self, row: u32, data: &Row) -> Result<Message, StorageError> {
        self.message_in(row, data, Vec::new())
    }

    /// The same in memory that is there.
    fn message_in(&self, row: u32, data: &Row, mut name: Vec<u8>) -> Result<Message, StorageError> {
        self.view.name(row, data, &mut name).map_err(|error| self.damaged(error))?;
        Ok(Message {
            uid: data.uid,
            octets: None,
            vanished: false,
            in_new: data.flags & index::IN_NEW != 0,
            name,
            unique_id: None,
            guid: None,
        })
    }

    /// What was kept of a message by [`Mailbox::cache`].
    pub fn cached(&mut self, msn: u32) -> Option<&[u8]> {
        let (_, row) = self.row(msn).ok()?;
        self.cache_file()?.get(row.uid, row.base_hash)
    }

    /// Keeps something about a message for later sessions, if that can be done.
    pub fn cache(&mut self, msn: u32, digest: &[u8]) {
        let Ok((_, row)) = self.row(msn) else { return };
        if let Some(cache) = self.cache_file() {
            cache.put(row.uid, row.base_hash, digest);
        }
    }

    fn cache_file(&mut self) -> Option<&mut Cache> {
        if !self.in_file {
            return None;
        }
        if self.cache.is_none() {
            let first = self.view.row(0).map_or(1, |row| row.uid);
            self.cache = Some(Cache::open(self.index_directory(), self.uid_validity(), first));
        }
        self.cache.as_mut()
    }

    /// Where the index is, if it is in a file at all.
    fn index_directory(&self) -> &Path {
        self.maildir.index().unwrap_or(Path::new("/nonexistent"))
    }

    fn row(&self, msn: u32) -> Result<(u32, Row), StorageError> {
        if msn == 0 || msn > self.len() {
            let path = self.maildir.path();
            return Err(StorageError::with_kind(ErrorKind::NotFound, "read", path, "no such message"));
        }
        let row = self.view.row_of(msn);
        Ok((row, self.view.row(row).map_err(|error| self.damaged(error))?))
    }
}
