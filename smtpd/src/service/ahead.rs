//! The writer is asked before it is needed: when one recipient with a mailbox has been accepted, DATA is what a client says next,
//! and while that is on its way the message's file can be made.
//!
//! Should the client say something else, the writer is told that nothing comes of it. It has read nothing of the data socket by then.

use super::transaction::Stage;
use super::{Smtp, is, plan};
use common::process::service::Ground;

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
        let promises = self.messages > 0;
        let mut place = plan::Place { ground, rules, known, writers, promises };
        self.asked = place.offer_straight(transaction);
    }

    /// Nothing comes of what the writer was asked.
    pub(super) fn withdraw(&mut self, ground: &Ground<'_>) {
        if let Some(offer) = self.asked.take() {
            self.writers.withdraw(ground, offer.user());
        }
    }
}
