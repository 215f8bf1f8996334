//! `header_checks` for what users have dropped: the header is held until it is known what becomes of the message.
//!
//! Nobody is there any more to be answered. What is refused goes into the queue as failed for all recipients, so that the runner
//! returns it to its sender, as Postfix does. The header is a user's; what is held of it is bounded by the checks.

use crate::deliver::Sink;
use crate::header_checks::{Checked, HeaderChecks};
use crate::queue::Incoming;
use crate::status::Status;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

/// Makes the message in the queue; with a status it has failed. `None`: it is there already.
pub(super) type Open<'a> = dyn Fn(Option<&Status>) -> Result<Option<Incoming>, Status> + 'a;

/// Where the message goes, as far as that is known.
enum Stage<'a> {
    /// The header is being looked at: what has come of it, and what the checks make of it.
    Looking { checked: Box<Checked<'a>>, raw: Vec<u8>, kept: Kept },
    /// Into the queue.
    Queueing(Box<Incoming>),
    /// Nowhere: it is discarded, or in the queue already.
    Gone,
}

/// What the checks let through.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Sink for Kept {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.0.borrow_mut().extend_from_slice(octets);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(String::new())
    }
}

/// Takes a message in wire form.
pub(super) struct Gate<'a> {
    open: &'a Open<'a>,
    discarded: &'a Cell<bool>,
    stage: Stage<'a>,
}

impl<'a> Gate<'a> {
    /// `warn` gets lines for the log; `discarded` is for the checks.
    pub fn new(
        checks: &Rc<HeaderChecks>,
        warn: &'a dyn Fn(&str),
        discarded: &'a Cell<bool>,
        open: &'a Open<'a>,
    ) -> Result<Gate<'a>, Status> {
        let stage = if checks.is_empty() {
            opened(open, None, &[])?
        } else {
            let kept = Kept::default();
            let checked = Box::new(Checked::new(checks, Box::new(kept.clone()), warn, discarded));
            Stage::Looking { checked, raw: Vec::new(), kept }
        };
        Ok(Gate { open, discarded, stage })
    }

    pub fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        match &mut self.stage {
            Stage::Gone => Ok(()),
            Stage::Queueing(incoming) => incoming.write(octets),
            Stage::Looking { checked, raw, kept } => {
                raw.extend_from_slice(octets);
                let next = match checked.write(octets) {
                    Err(status) => opened(self.open, Some(&status), raw)?,
                    Ok(()) if self.discarded.get() => Stage::Gone,
                    Ok(()) if checked.is_through() => opened(self.open, None, &kept.0.borrow())?,
                    Ok(()) => return Ok(()),
                };
                self.stage = next;
                Ok(())
            }
        }
    }

    /// The message is complete; with a status it has failed. Whether it is in the queue, or was before.
    pub fn finish(self, failed: Option<&Status>) -> Result<bool, Status> {
        let stage = match self.stage {
            // It has no body.
            Stage::Looking { checked, raw, kept } => match checked.finish() {
                Err(status) => opened(self.open, Some(&status), &raw)?,
                Ok(_) if self.discarded.get() => Stage::Gone,
                Ok(_) => opened(self.open, failed, &kept.0.borrow())?,
            },
            Stage::Queueing(mut incoming) => {
                failed.map_or(Ok(()), |status| incoming.fail(status, SystemTime::now()))?;
                Stage::Queueing(incoming)
            }
            stage => stage,
        };
        match stage {
            Stage::Queueing(incoming) => incoming.finish().map(|_| true),
            Stage::Looking { .. } | Stage::Gone => Ok(false),
        }
    }
}

fn opened<'a>(open: &Open<'_>, failed: Option<&Status>, octets: &[u8]) -> Result<Stage<'a>, Status> {
    // What only fails for now is tried again with the file.
    if let Some(status) = failed.filter(|status| !status.is_permanent()) {
        return Err(status.clone());
    }
    let Some(incoming) = open(failed)? else { return Ok(Stage::Gone) };
    let mut incoming = Box::new(incoming);
    incoming.write(octets)?;
    Ok(Stage::Queueing(incoming))
}
