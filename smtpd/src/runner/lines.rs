//! What the log says of a message in the queue: lines as Postfix writes them, for the programs that read those.

use super::attempt::{Outcome, World};
use crate::queue::{Queued, State};
use crate::status::Enhanced;
use std::time::{Duration, SystemTime};

/// Octets of a reason in the log.
const REASON_MAX: usize = 500;

/// What Postfix's queue manager says when it comes to a message, wherever that is from: programs count senders and sizes by it.
pub(super) fn log_active(queued: &Queued, world: &mut dyn World) {
    let envelope = queued.envelope();
    let from = envelope.reverse_path.as_ref().map(|path| escaped(&path.to_string())).unwrap_or_default();
    world.log(format_args!(
        "{}: from=<{from}>, size={}, nrcpt={} (queue active)",
        queued.id(),
        queued.size(),
        envelope.recipients.len()
    ));
}

/// What became of a recipient.
pub(super) fn log_outcome(
    queued: &Queued,
    world: &mut dyn World,
    outcome: &Outcome,
    state: State,
    now: SystemTime,
) {
    let Some(recipient) = queued.envelope().recipients.get(outcome.recipient) else { return };
    let delay = now.duration_since(queued.head().arrived).unwrap_or(Duration::ZERO).as_secs_f32();
    let word = match state {
        State::Delivered | State::Done => "sent",
        State::Failed if outcome.status.is_permanent() => "bounced",
        State::Failed => "expired",
        State::Pending => "deferred",
    };
    let Enhanced(_, subject, detail) = outcome.status.enhanced;
    let class = outcome.status.code / 100;
    let original = if recipient.original == recipient.address {
        String::new()
    } else {
        format!(" orig_to=<{}>,", escaped(&recipient.original.to_string()))
    };
    let reason = outcome.status.reason();
    world.log(format_args!(
        "{}: to=<{}>,{original} relay={}, delay={delay:.2}, dsn={class}.{subject}.{detail}, status={word} ({})",
        queued.id(),
        escaped(&recipient.address.to_string()),
        escaped(&outcome.relay),
        // What matters in it may be its end.
        common::log::readable(match &outcome.diagnostic {
            // A server's yes in its own words; a no is quoted by the status, with who said it.
            Some(said) if outcome.status.is_positive() => said.as_bytes(),
            _ => reason.as_bytes(),
        })
        .up_to(REASON_MAX),
    ));
}

fn escaped(text: &str) -> String {
    common::log::readable(text.as_bytes()).to_string()
}
