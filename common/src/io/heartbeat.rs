//! What is to be done regularly while a client is served.

use super::Ending;
use std::io;
use std::time::{Duration, Instant};

/// Something to do every so often, whether the client is silent or busy (a lock's heartbeat).
pub struct Heartbeat {
    /// How often.
    pub every: Duration,
    /// What. `false`: what was to be kept alive is lost, and the conversation ends.
    pub beat: Box<dyn FnMut() -> bool>,
}

/// The heartbeat, if there is one, and when it is due.
pub(super) struct Pulse(Option<(Heartbeat, Instant)>);

impl Pulse {
    /// Nothing beats.
    pub(super) const NONE: Pulse = Pulse(None);

    /// First after one interval.
    pub(super) fn of(heartbeat: Heartbeat) -> Pulse {
        let due = Instant::now() + heartbeat.every;
        Pulse(Some((heartbeat, due)))
    }

    /// Beats if it is time to. How long until the next time.
    pub(super) fn check(&mut self) -> Result<Option<Duration>, Ending> {
        let Some((heartbeat, due)) = &mut self.0 else { return Ok(None) };
        let now = Instant::now();
        if now >= *due {
            if !(heartbeat.beat)() {
                // It stays due: nothing more is written or read.
                return Err(Ending::Failed(io::Error::other("The session's lock was lost to somebody else")));
            }
            *due = now + heartbeat.every;
        }
        Ok(Some(due.saturating_duration_since(now)))
    }
}
