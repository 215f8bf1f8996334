//! Starts the queue's runner for what has just been queued, so that nothing has to wait for a timer.

use crate::runner::HANDED_OVER;
use common::process::service::{self, Ground};
use std::time::{Duration, Instant};

/// A client with many messages starts one runner for all that come within this time, not one for each.
const PAUSE: Duration = Duration::from_secs(1);
/// IDs that one runner is told; if there are more, it looks at the whole queue.
const IDS_MAX: usize = 100;

/// What has been queued and not yet been told to a runner.
#[derive(Default)]
pub(super) struct Runner {
    ids: Vec<String>,
    more: bool,
    last: Option<Instant>,
}

impl Runner {
    /// A message was queued.
    pub fn start(&mut self, ground: &Ground<'_>, id: String) {
        if self.ids.len() < IDS_MAX {
            self.ids.push(id)
        } else {
            self.more = true
        }
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.run(ground);
        }
    }

    /// The conversation is over.
    pub fn end(&mut self, ground: &Ground<'_>) {
        // A sendmail without rights has left something and come here to say so ([`crate::drop`]).
        let queue = ground.config.queue_directory.get();
        if !self.ids.is_empty() || queue.is_some_and(crate::drop::is_waiting) {
            self.run(ground);
        }
    }

    #[inline(never)]
    fn run(&mut self, ground: &Ground<'_>) {
        self.last = Some(Instant::now());
        let ids = std::mem::take(&mut self.ids);
        let mut arguments = vec!["-q", HANDED_OVER];
        if !std::mem::take(&mut self.more) {
            arguments.extend(ids.iter().map(String::as_str));
        }
        let name = ground.program.line.name;
        if let Err(error) = service::start_detached(ground.log, name, &arguments, ground.config) {
            // The timer will come to it.
            ground.log.warning(format_args!("the queue's runner cannot be started: {error}"));
        }
    }
}
