//! Which way a recipient's mail goes: what can share a worker, and what can share a connection.

use crate::envelope::{Envelope, Recipient, Target};
use crate::queue::State;
use crate::queue::format::Head;
use crate::route::{NextHop, Router};
use common::config::Config;
use std::io;

/// The rules of a run.
pub struct Ways {
    router: Router,
}

impl Ways {
    /// Reads what the settings name.
    pub fn load(config: &Config) -> io::Result<Ways> {
        Ok(Ways { router: Router::load(config)? })
    }

    /// Where a recipient's mail goes; `None`: it stays here.
    pub fn hop(&self, envelope: &Envelope, recipient: &Recipient) -> Option<NextHop> {
        match &recipient.target {
            Target::Remote(address) => {
                let sender = envelope.reverse_path_for(recipient).cloned();
                Some(self.router.next_hop(&sender, address))
            }
            _ => None,
        }
    }

    /// Whose workers serve a message: those of its destination, or, if it has several, those that go from one to the next.
    pub fn key(&self, head: &Head) -> String {
        let mut only: Option<String> = None;
        for (recipient, (state, _)) in head.envelope.recipients.iter().zip(&head.states) {
            if *state != State::Pending {
                continue;
            }
            let key = match self.hop(&head.envelope, recipient) {
                Some(hop) => hop.to_string(),
                None => "local delivery".to_owned(),
            };
            match &only {
                None => only = Some(key),
                Some(first) if *first == key => {}
                Some(_) => return "several destinations".to_owned(),
            }
        }
        only.unwrap_or_else(|| "notifications".to_owned())
    }
}
