//! What the commands of one session share.

use crate::grammar::{MailboxName, SequenceSet};
use crate::mailbox::{Mailbox, MsnSet};
use crate::reply::{Failure, Reply};
use common::config::Config;
use common::io::Conn;
use common::process::session::SessionLog;
use std::path::Path;

/// One session's state. Handlers write untagged responses to `conn` and return the tagged completion:
/// `fn fetch(context: &mut Context<'_>, uid: bool, arguments: FetchArguments) -> Completion`.
pub struct Context<'a> {
    /// The client.
    pub conn: &'a mut Conn,
    /// The settings.
    pub config: &'a Config,
    /// The log.
    pub log: &'a SessionLog,
    /// Who has logged in.
    pub user: &'a str,
    /// Their home directory.
    pub home: &'a Path,
    /// Where their mail is, as [`common::maildir::Location`] reads it.
    pub mail_location: &'a str,
    /// What the client has switched on (RFC 5161, RFC 7162 section 3.1).
    pub enabled: Enabled,
    /// The selected mailbox.
    pub selected: Option<Selected>,
}

/// Extensions that change what is said unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enabled {
    /// CONDSTORE: FETCH responses with FLAGS have MODSEQ too.
    pub condstore: bool,
}

/// The selected mailbox.
pub struct Selected {
    /// It.
    pub mailbox: Mailbox,
    /// Its name.
    pub name: MailboxName,
    /// By EXAMINE: nothing may be changed, `\Seen` neither.
    pub read_only: bool,
}

impl Context<'_> {
    /// The selected mailbox; the dispatcher lets no command that needs one come here without.
    pub fn selected(&mut self) -> Result<&mut Selected, Failure> {
        self.selected.as_mut().ok_or_else(|| Failure::Refused(Reply::bad("No mailbox is selected.")))
    }

    /// Which messages a set means now, by message sequence number: of the UIDs those that exist; of message sequence
    /// numbers all, and one beyond the mailbox is an error (RFC 3501 section 9, `seq-number`).
    pub fn messages(&mut self, set: &SequenceSet, uid: bool) -> Result<MsnSet, Failure> {
        let mailbox = &self.selected()?.mailbox;
        let len = mailbox.len();
        if !uid {
            let ranges = set.resolve(len);
            let fits = len > 0 && ranges.last().is_some_and(|last| *last.end() <= len);
            return match fits {
                true => Ok(ranges),
                false => Err(Reply::bad("No message has this number.").into()),
            };
        }
        let largest = if len == 0 { 0 } else { mailbox.uid(len)? };
        let mut messages = MsnSet::new();
        for range in set.resolve(largest) {
            let first = mailbox.msn_at_or_after(*range.start())?;
            let behind = match range.end().checked_add(1) {
                Some(next) => mailbox.msn_at_or_after(next)?,
                None => len.saturating_add(1),
            };
            if first >= behind {
                continue;
            }
            match messages.last_mut() {
                Some(before) if *before.end() + 1 >= first => *before = *before.start()..=behind - 1,
                _ => messages.push(first..=behind - 1),
            }
        }
        Ok(messages)
    }
}
