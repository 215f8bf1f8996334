//! A view whose log is read when somebody asks for a row, and not before: SELECT and STATUS have the
//! [summary](super::summary) at the log's end.
//!
//! The summary is believed as far as its checksum goes, which is over itself, its place in the log, and the index that
//! it belongs to; and only if the log is of this boot, because a crash of the machine may lose what comes before it. Where clocks
//! were wrong, or a disk has forgotten, a mailbox may still be told of rows that there are not. That is found out when the log is
//! read, and every row is an error from then on, upon which the index is [mended](super::mend).

use super::super::index::{Header, Index};
use super::log::Log;
use super::summary::{Summary, Tally};
use super::view::View;
use std::cell::OnceCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The view, sooner or later.
#[derive(Debug)]
pub(super) struct Late {
    /// Of the index alone, while there is something pending.
    view: View,
    pending: Option<Box<Pending>>,
}

/// A log that has not been read.
#[derive(Debug)]
struct Pending {
    summary: Summary,
    /// From its beginning.
    log: Log,
    /// Where the summary ends.
    end: u64,
    read: OnceCell<View>,
}

impl Pending {
    fn view(&self, index: &Rc<Index>) -> &View {
        self.read.get_or_init(|| self.read(index))
    }

    fn into_view(mut self, index: &Rc<Index>) -> View {
        self.read.take().unwrap_or_else(|| self.read(index))
    }

    fn read(&self, index: &Rc<Index>) -> View {
        let mut view = View::shared(index.clone());
        let mut log = self.log.reread();
        let whole = view.read_on(&mut log, self.end, &mut |_| {}).is_ok() && log.offset() == self.end;
        view.bury();
        view.announce();
        if !whole || view.summary().ok() != Some(self.summary) {
            view.break_down(&self.summary);
        }
        view
    }
}

impl From<View> for Late {
    fn from(view: View) -> Late {
        Late { view, pending: None }
    }
}

impl Late {
    /// A view of an index whose log ends with this summary, at the log's offset.
    pub fn new(view: View, summary: Summary, log: &Log) -> Late {
        let (log, end) = (log.reread(), log.offset());
        Late { view, pending: Some(Box::new(Pending { summary, log, end, read: OnceCell::new() })) }
    }

    fn summary_pending(&self) -> Option<&Summary> {
        self.pending.as_ref().map(|pending| &pending.summary)
    }

    /// Whether nothing has been asked for that is not in the summary: then nothing is there to be told or to be buried.
    pub fn is_unread(&self) -> bool {
        self.pending.is_some()
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.view.index
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.view.index.header
    }

    /// See [`View::len`].
    pub fn len(&self) -> u32 {
        self.summary_pending().map_or_else(|| self.view.len(), |summary| summary.messages)
    }

    /// See [`View::rows`].
    pub fn rows(&self) -> u32 {
        self.summary_pending().map_or_else(|| self.view.rows(), |summary| summary.rows)
    }

    /// Greater than every UID in the mailbox.
    pub fn next_uid(&self) -> u32 {
        self.summary_pending().map_or(self.view.next_uid, |summary| summary.next_uid)
    }

    /// No change has a greater one.
    pub fn highest_modseq(&self) -> u64 {
        self.summary_pending().map_or(self.view.highest_modseq, |summary| summary.highest_modseq)
    }

    /// See [`View::uid_is_unset`].
    pub fn uid_is_unset(&self) -> bool {
        self.view.uid_is_unset()
    }

    /// Of the messages that are there.
    pub fn tally(&self) -> Tally {
        self.summary_pending().map_or_else(|| self.view.tally(), |summary| summary.tally)
    }

    /// See [`View::summary`].
    pub fn summary(&self) -> io::Result<Summary> {
        match self.summary_pending() {
            Some(summary) => Ok(*summary),
            None => self.view.summary(),
        }
    }
}

impl Deref for Late {
    type Target = View;

    fn deref(&self) -> &View {
        match &self.pending {
            Some(pending) => pending.view(&self.view.index),
            None => &self.view,
        }
    }
}

impl DerefMut for Late {
    fn deref_mut(&mut self) -> &mut View {
        if let Some(pending) = self.pending.take() {
            self.view = pending.into_view(&self.view.index);
        }
        &mut self.view
    }
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
