//! What the commands of one session share.

use crate::fetch::Recall;
use crate::grammar::{FlagList, MailboxName, SequenceSet};
use crate::mailbox::{Mailbox, MsnSet, OpenOptions};
use crate::names::refusal;
use crate::reply::{self, Failure, Reply};
use common::config::Config;
use common::config::keyword::ImapWorkaround;
use common::hierarchy::{HierarchyError, Located, NameError, Namespaces};
use common::io::Conn;
use common::maildir::{ErrorKind, Failures, Maildir};
use common::process::session::SessionLog;
use std::time::Duration;

/// One session's state. Handlers write untagged responses to `conn` and return the tagged completion:
/// `fn fetch(context: &mut Context<'_>, uid: bool, arguments: FetchArguments) -> Completion`.
pub struct Context<'a> {
    /// The client.
    pub conn: &'a mut Conn,
    /// The settings.
    pub config: &'a Config,
    /// The log.
    pub log: &'a SessionLog,
    /// The user's mailboxes.
    pub namespaces: Namespaces,
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
    /// What FETCH remembers from one command to the next.
    pub recall: Recall,
    /// The number of recent messages that the client knows.
    pub recent: u32,
}

/// How long the locks of other sessions and programs are waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// NOMODSEQ was said at the SELECT.
pub fn no_modseqs() -> Failure {
    Reply::bad("This mailbox has no modification sequences.").into()
}

impl Context<'_> {
    /// What a client's name means.
    pub fn locate(&self, name: &MailboxName) -> Result<Located, NameError> {
        let mut name = name.as_bytes();
        if self.config.imap_client_workarounds.contains(ImapWorkaround::TbExtraMailboxSep) {
            name = name.strip_suffix(&[self.namespaces.separator()]).unwrap_or(name);
        }
        self.namespaces.locate(name)
    }

    /// A mailbox that should be there. A name that none can have is one of none.
    pub fn existing(&self, name: &MailboxName) -> Result<Located, HierarchyError> {
        self.locate(name).map_err(|error| match error {
            NameError::Outside => HierarchyError::NotFound,
            error => HierarchyError::Name(error),
        })
    }

    /// The mailbox of a name. Error: `NotFound`; a name that no mailbox can have is refused.
    pub fn maildir(&self, name: &MailboxName) -> Result<Maildir, Failure> {
        Ok(self.existing(name).map_err(refusal)?.open()?)
    }

    /// [`Context::maildir`] for what APPEND, COPY and MOVE put messages into: that it could be created is said
    /// (RFC 3501 section 7.1, TRYCREATE).
    pub fn target(&self, name: &MailboxName) -> Result<Maildir, Failure> {
        self.maildir(name).map_err(|failure| match failure {
            Failure::Storage(error) if error.kind == ErrorKind::NotFound => {
                Reply::no("There is no such mailbox.").with_code("TRYCREATE").into()
            }
            failure => failure,
        })
    }

    /// How mailboxes are opened.
    pub fn open_options(&self, read_only: bool) -> OpenOptions {
        OpenOptions { read_only, fsync: !self.config.fsync_disable, lock_timeout: LOCK_TIMEOUT }
    }

    /// `imap_emptytrash`. What fails is nothing for the client.
    pub fn empty_trash(&self) {
        match self.namespaces.own().empty_trash(self.config.imap_emptytrash.rules()) {
            Ok(0) => {}
            Ok(removed) => self.log.info(&format!("imap_emptytrash: {removed} messages removed")),
            Err(error) => self.log.error(&error.to_string()),
        }
    }

    /// Names in the log what could not be done with some of the messages, and answers with this if there is any such: the
    /// responses before it have said what was done.
    pub fn completion(&self, done: Reply, failures: &Failures, what: &str, text: &'static str) -> Reply {
        failures.say(what, &mut |error| self.log.error(&error.to_string()));
        match failures.kind() {
            Some(kind) => reply::partly(text, kind),
            None => done,
        }
    }

    /// What asks for modification sequences is refused where they are not kept (RFC 7162 section 3.1.2.2).
    pub fn check_modseqs(&mut self) -> Result<(), Failure> {
        match self.selected()?.mailbox.keeps_modseq() {
            true => Ok(()),
            false => Err(no_modseqs()),
        }
    }

    /// The client has shown that it knows modification sequences (RFC 7162 section 3.1).
    pub fn enable_condstore(&mut self) {
        self.enabled.condstore = true;
    }

    /// Refuses keywords that are longer than `mail_max_keyword_length`.
    pub fn check_keywords(&self, flags: &FlagList) -> Result<(), Failure> {
        let most = self.config.mail_max_keyword_length as usize;
        match flags.keywords.iter().any(|keyword| keyword.len() > most) {
            true => Err(Reply::no("A keyword is too long.").with_code("LIMIT").into()),
            false => Ok(()),
        }
    }

    /// The selected mailbox, to be changed: not if it was opened by EXAMINE or cannot be written.
    pub fn selected_for_change(&mut self) -> Result<&mut Selected, Failure> {
        let selected = self.selected()?;
        match selected.read_only {
            true => Err(Reply::no("The mailbox was opened read-only.").into()),
            false => Ok(selected),
        }
    }

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
