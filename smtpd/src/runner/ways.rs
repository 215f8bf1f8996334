//! Which way a recipient's mail goes: what can share a worker, and what can share a connection.

use crate::envelope::{Envelope, Recipient, Target};
use crate::queue::State;
use crate::queue::format::Head;
use crate::route::NextHop;
use crate::router::Router;
use crate::status::Status;
use common::config::Config;
use common::log::{Log, readable};
use std::io;

/// What the keys of deliveries on this host begin with. No next hop has a blank in it.
const LOCAL: &str = "local ";

/// The rules of a run.
pub struct Ways {
    router: Router,
    unread: Option<String>,
}

impl Ways {
    /// Reads what the settings name. What is wrong with it is for the log.
    pub fn load(config: &Config, log: &Log) -> Ways {
        let router = Router::load(config);
        let problems = router.problems();
        for problem in &problems {
            log.error(format_args!("{}", readable(problem.what.as_bytes()).up_to(500)));
        }
        let unread = problems.into_iter().find(|problem| problem.is_table).map(|problem| problem.what);
        Ways { router, unread }
    }

    /// A table that could not be read: the mail that it would be asked for waits.
    pub fn unread(&self) -> io::Result<()> {
        self.unread.as_ref().map_or(Ok(()), |what| Err(io::Error::other(what.clone())))
    }

    /// Where a recipient's mail goes, or what is said instead; `None`: it stays here.
    pub fn hop(&self, envelope: &Envelope, recipient: &Recipient) -> Option<Result<NextHop, Status>> {
        match &recipient.target {
            Target::Remote(address) => {
                let sender = envelope.reverse_path_for(recipient).cloned();
                Some(self.router.next_hop(&sender, address))
            }
            _ => None,
        }
    }

    /// Whose workers serve a message: those of its destination, or, if it has several, those that go from one to the next.
    ///
    /// Each user of this host is a destination: whose program hangs, or who stops the process that delivers to him, waits
    /// alone.
    pub fn key(&self, head: &Head) -> String {
        let mut only: Option<String> = None;
        for (recipient, (state, _)) in head.envelope.recipients.iter().zip(&head.states) {
            // An alias that only tells its sender of success goes with those that it stands for.
            if *state != State::Pending || matches!(recipient.target, Target::Expanded { .. }) {
                continue;
            }
            let key = match self.hop(&head.envelope, recipient) {
                Some(Ok(hop)) => hop.to_string(),
                Some(Err(_)) => "no next hop".to_owned(),
                None => local_key(recipient),
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

/// The destination of a delivery on this host: the user whose rights it has, or the alias whose program or file gets it.
pub fn local_key(recipient: &Recipient) -> String {
    let user = match &recipient.target {
        Target::Mailbox { user, .. } => Some(user),
        Target::File { owner, .. } | Target::Command { owner, .. } => owner.as_ref(),
        Target::Remote(_) | Target::Expanded { .. } => None,
    };
    match user {
        Some(user) => format!("{LOCAL}{user}"),
        None => format!("{LOCAL}<{}>", recipient.address),
    }
}

/// How many processes of all runs may serve a destination at once.
pub fn limit(config: &Config, key: &str) -> u32 {
    let limit = match key.starts_with(LOCAL) {
        true => config.local_destination_concurrency_limit,
        false => config.default_destination_concurrency_limit,
    };
    limit.max(1)
}

/// The key of the slots that this destination shares with all others of its kind, and how many there are. Silent servers of
/// others take none from deliveries on this host.
pub fn of_all(config: &Config, key: &str) -> (&'static str, u32) {
    let all = if key.starts_with(LOCAL) { "all of this host " } else { "all elsewhere " };
    (all, config.default_process_limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn a_user_of_this_host_is_a_destination() {
        let key = |address: &str, target: Target| {
            let address = Address::parse(address.as_bytes()).unwrap();
            local_key(&Recipient::new(address, target))
        };
        let command =
            |owner: Option<&str>| Target::Command { words: vec!["/x".into()], owner: owner.map(Into::into) };
        let mailbox = Target::Mailbox { user: "anna".into(), extension: "x".into(), direct: false };
        let file = Target::File { path: "/x".into(), owner: Some("anna".into()) };
        assert_eq!(key("anna+x@a.example", mailbox), "local anna");
        assert_eq!(key("anna@b.example", command(Some("anna"))), "local anna");
        assert_eq!(key("anna+y@a.example", file), "local anna");
        // Programs of aliases have one user, but one that hangs is not to stop the others.
        assert_eq!(key("list@a.example", command(None)), "local <list@a.example>");
        let config = Config { local_destination_concurrency_limit: 0, ..Config::DEFAULT };
        assert_eq!((limit(&config, "local anna"), limit(&config, "[mx.example]:25")), (1, 20));
        assert_eq!(limit(&Config::DEFAULT, "local anna"), 2);
    }
}
