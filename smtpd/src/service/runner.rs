//! Starts the queue's runner for what has just been queued, so that nothing has to wait for a timer.

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
        let settings: Vec<String> = ground.config.changed_pairs().collect();
        let mut arguments = vec!["-c", "/dev/null"];
        for setting in &settings {
            arguments.extend(["-o", setting]);
        }
        arguments.push("-q");
        if !std::mem::take(&mut self.more) {
            arguments.extend(ids.iter().map(String::as_str));
        }
        if let Err(error) = service::start_detached(ground.log, ground.program.line.name, &arguments) {
            // The timer will come to it.
            ground.log.warning(format_args!("the queue's runner cannot be started: {error}"));
        }
    }
}
