//! LIST: RFC 3501 section 6.3.8, CHILDREN (RFC 3348), LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819), SPECIAL-USE
//! (RFC 6154).

use super::status;
use crate::context::Context;
use crate::grammar::{ListArguments, ListReturn, ListSelection, StatusItem, StatusItems, print};
use crate::names::open;
use crate::reply::{Completion, Failure, Reply};
use crate::waiting::Waiting;
use common::hierarchy::{Entry, HierarchyError, Listing, Namespaces, Pattern};
use common::io::Ending;
use common::mailbox::{OpenOptions, Status};
use common::process::session::SessionLog;

/// `LIST`
pub fn list(context: &mut Context<'_>, arguments: &ListArguments) -> Completion {
    let namespaces = &context.namespaces;
    if asks_for_separator(arguments) {
        let line = separator(namespaces, &arguments.reference);
        context.conn.push(&line)?;
        return Ok(Reply::ok("Listed."));
    }
    if arguments.returns.status.contains(StatusItem::HighestModSeq) {
        context.enable_condstore();
    }
    let (options, most) = (context.open_options(true), context.config.message_size_limit.0);
    let Context { conn, namespaces, log, .. } = context;
    let waiting = Waiting::new(conn);
    let answer = Answer::prepare(namespaces, arguments, &mut || waiting.look())?;
    let mut line = Vec::new();
    for (at, entry) in answer.listing.iter().enumerate() {
        let bits = answer.bits(at);
        if bits & RETURNED == 0 {
            continue;
        }
        line.clear();
        answer.print(&mut line, &entry, bits);
        // RFC 5819 section 2: not for what is there only because of what is below it.
        if !arguments.returns.status.is_empty() && entry.exists && bits & SELECTED != 0 {
            // One that cannot be looked into has no STATUS response; the LIST does not fail.
            let items = arguments.returns.status;
            let status = status_of(namespaces, entry.name, items, &options, &waiting, log);
            waiting.look()?;
            match status {
                Ok(status) => status::print(&mut line, entry.name, items, &status, most),
                Err(HierarchyError::Storage(error)) => log.error(&error.to_string()),
                Err(_) => {}
            }
        }
        waiting.push(&line)?;
        waiting.look()?;
    }
    Ok(Reply::ok("Listed."))
}

fn status_of(
    namespaces: &Namespaces,
    visible: &[u8],
    items: StatusItems,
    options: &OpenOptions,
    waiting: &Waiting<'_>,
    log: &SessionLog,
) -> Result<Status, HierarchyError> {
    let located = namespaces.locate(visible).map_err(HierarchyError::Name)?;
    status::look(&open(&located)?, items, options, waiting, log).map_err(HierarchyError::Storage)
}

/// RFC 3501 section 6.3.8: an empty pattern asks for the separator and the root of the reference; RFC 5258 section 3: only
/// in the old syntax.
fn asks_for_separator(arguments: &ListArguments) -> bool {
    !arguments.extended && arguments.patterns.iter().all(Vec::is_empty)
}

fn separator(namespaces: &Namespaces, reference: &[u8]) -> Vec<u8> {
    let separator = namespaces.separator();
    let end = memchr::memchr(separator, reference).map_or(0, |at| at + 1);
    let mut line = b"* LIST (\\Noselect) ".to_vec();
    print::string(&mut line, &[separator]);
    line.push(b' ');
    print::astring(&mut line, reference.get(..end).unwrap_or_default());
    line.extend_from_slice(b"\r\n");
    line
}

/// So many names are compared with a pattern, in some milliseconds at most, before the client is looked at again.
const LOOK_AFTER: usize = 256;

/// It is what the selection options ask for.
const SELECTED: u8 = 1;
/// It fits a pattern.
const MATCHED: u8 = 2;
/// Something below it is selected.
const SELECTED_BELOW: u8 = 4;
/// Something below it is selected and not told.
const UNTOLD_BELOW: u8 = 8;
/// It is told.
const RETURNED: u8 = 16;

/// All that is needed to answer: a listing, and of each entry what is to be said.
struct Answer {
    listing: Listing,
    bits: Vec<u8>,
    separator: u8,
    selection: ListSelection,
    returns: ListReturn,
    extended: bool,
}

impl Answer {
    /// `look` is called now and then: its error ends the work.
    fn prepare(
        namespaces: &Namespaces,
        arguments: &ListArguments,
        look: &mut dyn FnMut() -> Result<(), Ending>,
    ) -> Result<Answer, Failure> {
        let ListArguments { selection, returns, extended, .. } = *arguments;
        let subscriptions = match selection.subscribed || returns.subscribed {
            true => Some(namespaces.subscriptions()?),
            false => None,
        };
        let listing = namespaces.listing(subscriptions.as_ref())?;
        let separator = namespaces.separator();
        let mut bits: Vec<u8> =
            listing.iter().map(|entry| if is_selected(&entry, selection) { SELECTED } else { 0 }).collect();
        // One after the other: with the reference before each they may take more memory than the command.
        for pattern in arguments.patterns.iter().filter(|pattern| !pattern.is_empty()) {
            let mut pattern = Pattern::new(&arguments.reference, pattern, separator);
            for (at, (entry, bits)) in listing.iter().zip(&mut bits).enumerate() {
                if *bits & MATCHED == 0 && pattern.matches(entry.name) {
                    *bits |= MATCHED;
                }
                if at % LOOK_AFTER == 0 {
                    look()?;
                }
            }
        }
        // Parents come before their children, so each entry is complete when its turn comes.
        for at in (0..bits.len()).rev() {
            let Some(own) = bits.get_mut(at) else { continue };
            let has = |bits| *own & bits == bits;
            if has(SELECTED | MATCHED)
                // RFC 5258 section 3.5: not where everything selected below is told anyway.
                || selection.recursive_match && has(MATCHED | UNTOLD_BELOW)
            {
                *own |= RETURNED;
            }
            let own = *own;
            let Some(parent) = listing.parent(at).and_then(|parent| bits.get_mut(parent)) else { continue };
            if own & (SELECTED | SELECTED_BELOW) != 0 {
                *parent |= SELECTED_BELOW;
            }
            if own & UNTOLD_BELOW != 0 || own & (SELECTED | RETURNED) == SELECTED {
                *parent |= UNTOLD_BELOW;
            }
        }
        Ok(Answer { listing, bits, separator, selection, returns, extended })
    }

    fn bits(&self, at: usize) -> u8 {
        self.bits.get(at).copied().unwrap_or(0)
    }

    fn print(&self, line: &mut Vec<u8>, entry: &Entry<'_>, bits: u8) {
        line.extend_from_slice(b"* LIST (");
        let begins = line.len();
        let mut attribute = |name: &str| {
            if line.len() > begins {
                line.push(b' ');
            }
            line.extend_from_slice(name.as_bytes());
        };
        if !entry.exists {
            // The first implies the second (RFC 5258 section 3), which is the one that old clients know.
            attribute("\\NonExistent");
            attribute("\\Noselect");
        }
        if self.returns.children || !self.extended {
            attribute(if entry.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        // RFC 5258 section 3.1: the selection implies the return option.
        if (self.returns.subscribed || self.selection.subscribed) && entry.subscribed {
            attribute("\\Subscribed");
        }
        if self.returns.special_use || self.selection.special_use || !self.extended {
            entry.uses.iter().for_each(|special_use| attribute(special_use.attribute()));
        }
        line.extend_from_slice(b") ");
        print::string(line, &[self.separator]);
        line.push(b' ');
        print::astring(line, entry.name);
        if self.selection.recursive_match && bits & SELECTED_BELOW != 0 {
            let options = match (self.selection.subscribed, self.selection.special_use) {
                (true, true) => "\"SUBSCRIBED\" \"SPECIAL-USE\"",
                (true, false) => "\"SUBSCRIBED\"",
                (false, _) => "\"SPECIAL-USE\"",
            };
            print::text(line, format_args!(" (\"CHILDINFO\" ({options}))"));
        }
        line.extend_from_slice(b"\r\n");
    }
}

/// Without a selection that looks at something else, mailboxes and the levels above them. REMOTE adds nothing: there are
/// no remote mailboxes.
fn is_selected(entry: &Entry<'_>, selection: ListSelection) -> bool {
    let is_there = entry.exists || entry.has_children;
    match (selection.subscribed, selection.special_use) {
        (false, false) => is_there,
        (true, false) => entry.subscribed,
        (false, true) => !entry.uses.is_empty(),
        (true, true) => entry.subscribed && !entry.uses.is_empty(),
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
