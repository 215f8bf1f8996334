//! The writer is asked before it is needed: when one recipient with a mailbox has been accepted, DATA is what a client says next,
//! and while that is on its way the message's file can be made.
//!
//! From the second message of a connection on DATA need not even be asked about: the answer to RCPT says that the data may come. That
//! the writer is ready, which takes longer than the client, is not waited for; if it is not, the message is read and refused. Where the
//! writer itself is lost, nobody can read it to its end: it is refused, and the connection ends.
//!
//! Should the client say something else, the writer is told that nothing comes of it. It has read nothing of the data socket by then.

use super::transaction::Stage;
use super::{Smtp, is, plan};
use crate::wire::{Answer, Promise};
use common::process::service::Ground;
use std::io;

/// Octets of a message that may come in vain. What is announced as larger waits until its mailbox has been found to have room.
const SMALL: u64 = 1 << 20;

impl Smtp {
    /// Asks the writer for the only recipient's mailbox. What goes wrong here is found again, and said, at DATA.
    pub(super) fn ask_ahead(&mut self, ground: &Ground<'_>) {
        let (Some(transaction), None) = (&self.transaction, &self.asked) else { return };
        let is_one = matches!(transaction.stage, Stage::Collecting) && transaction.accepted() == 1;
        // By LMTP there may be blind copies already, but no more of them.
        let has_copies = self.rules.has_blind_copies() && !is(ground, "lmtp");
        if !is_one || has_copies {
            return;
        }
        let (rules, known, writers) = (&mut self.rules, &self.known, &mut self.writers);
        let promised = self.promised.as_ref().map(|(mark, _)| mark.clone());
        let mark = promised.or_else(|| mark_of(self.messages));
        let mut place = plan::Place { ground, rules, known, writers, mark };
        self.asked = place.offer_straight(transaction);
    }

    /// After RCPT, when the client waits for that: whether the data may be sent for without a question.
    pub(super) fn promise_ahead(&mut self) -> Option<Promise> {
        // Before all else: most connections bring one message, for which there is none.
        let mark = mark_of(self.messages)?;
        let transaction = self.transaction.as_ref()?;
        let is_small = transaction.mail.size.is_none_or(|size| size <= SMALL);
        let recipients = transaction.recipients();
        let recipient = plan::straight(transaction, &recipients).filter(|_| transaction.accepted() == 1)?;
        let is_open = !self.rules.has_blind_copies() && !self.rules.has_data_restrictions();
        if !is_small || !is_open {
            return None;
        }
        let account = self.rules.account(recipient).ok()?;
        let promise = mark.promise();
        self.promised = Some((mark, plan::user_of(&account)));
        Some(promise)
    }

    /// The front has sent for the data, as it was told that it may. What became of the message, if that is known already: the writer
    /// need not have waited for us, and what it has said may have come together with its first word.
    pub(super) fn begun(&mut self, ground: &Ground<'_>) -> io::Result<Option<Answer>> {
        let (mark, user) = self.promised.take().ok_or(io::ErrorKind::InvalidData)?;
        let transaction = self.transaction.as_mut().ok_or(io::ErrorKind::InvalidData)?;
        let (rules, known, writers) = (&mut self.rules, &self.known, &mut self.writers);
        writers.set_sent_for(true);
        let mut place = plan::Place { ground, rules, known, writers, mark: Some(mark) };
        let plan = match place.begin(transaction, self.asked.take()) {
            Ok(plan) => plan,
            Err(status) => {
                self.refused = self.refused.saturating_add(1);
                // A writer that was lost may have read of the message, so nobody else can have the rest. The client hears of
                // this one, and the next question ends the connection.
                if place.writers.has_lost() {
                    known.log_refused_data(ground, transaction, &status);
                    self.transaction = None;
                    return Ok(Some(Answer::Status(status)));
                }
                place.refuse(user, status)?
            }
        };
        self.writers.set_sent_for(false);
        let is_over = self.writers.has_word(plan.user());
        transaction.stage = Stage::Receiving(plan);
        is_over.then(|| self.received(ground)).transpose()
    }

    /// Nothing comes of what the writer was asked.
    pub(super) fn withdraw(&mut self, ground: &Ground<'_>) {
        self.promised = None;
        if let Some(offer) = self.asked.take() {
            self.writers.withdraw(ground, offer.user());
        }
    }
}

/// Of the next message of a connection that has brought so many.
pub(super) fn mark_of(messages: u32) -> Option<plan::Mark> {
    if messages > 0 { plan::Mark::new().ok() } else { None }
}
