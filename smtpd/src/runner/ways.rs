//! Which way a recipient's mail goes: what can share a worker, and what can share a connection.

use crate::envelope::{Envelope, Recipient, Target};
use crate::queue::State;
use crate::queue::format::Head;
use crate::route::{self, NextHop};
use common::config::Config;
use std::io;

/// Where a recipient's mail goes; `None`: it stays here. Errors: a map is wrong.
pub fn hop(config: &Config, envelope: &Envelope, recipient: &Recipient) -> io::Result<Option<NextHop>> {
    match &recipient.target {
        Target::Remote(address) => {
            let sender = envelope.reverse_path_for(recipient).cloned();
            route::next_hop(config, &sender, address).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whose workers serve a message: those of its destination, or, if it has several, those that go from one to the next.
pub fn key(config: &Config, head: &Head) -> String {
    let mut only: Option<String> = None;
    for (recipient, (state, _)) in head.envelope.recipients.iter().zip(&head.states) {
        if *state != State::Pending {
            continue;
        }
        let key = match hop(config, &head.envelope, recipient) {
            Ok(Some(hop)) => hop.to_string(),
            Ok(None) => "local delivery".to_owned(),
            Err(_) => "no way".to_owned(),
        };
        match &only {
            None => only = Some(key),
            Some(first) if *first == key => {}
            Some(_) => return "several destinations".to_owned(),
        }
    }
    only.unwrap_or_else(|| "notifications".to_owned())
}
