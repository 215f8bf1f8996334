//! SELECT, EXAMINE, CLOSE and UNSELECT (RFC 3501 sections 6.3.1, 6.3.2 and 6.4.2, RFC 3691, RFC 7162 section 3.1.2).

use crate::context::{Context, Selected};
use crate::fetch::Recall;
use crate::grammar::{MailboxName, print};
use crate::mailbox::Mailbox;
use crate::reply::{Completion, Reply};
use crate::sync;
use common::maildir::{CLEAN_TMP_EVERY, Failures, clean_tmp};

/// SELECT and EXAMINE.
pub fn select(context: &mut Context<'_>, name: MailboxName, read_only: bool, condstore: bool) -> Completion {
    // RFC 3501 section 6.3.1: the mailbox that was selected no longer is, whether this succeeds or not.
    if context.selected.take().is_some() {
        // RFC 7162 section 3.2.11.
        context.conn.push_line("* OK [CLOSED] The previous mailbox is closed.")?;
    }
    if condstore {
        context.enable_condstore();
    }
    let maildir = context.maildir(&name)?;
    // On a read-only disk, and in others' mailboxes, nothing can be changed.
    let read_only = read_only || !maildir.is_writable();
    let mut mailbox = Mailbox::open(&maildir, &context.open_options(read_only))?;
    mailbox.mended().iter().for_each(|error| context.log.error(&error.to_string()));
    if !read_only {
        // Leftovers are nobody's mail: that they stay does not matter now.
        let _ = clean_tmp(&maildir, CLEAN_TMP_EVERY);
    }
    let selected = Selected { recent: mailbox.recent(), mailbox, name, read_only, recall: Recall::default() };
    let mut out = Vec::with_capacity(512);
    sync::keywords(&mut out, &selected);
    let mailbox = &selected.mailbox;
    print::text(&mut out, format_args!("* {} EXISTS\r\n* {} RECENT\r\n", mailbox.len(), selected.recent));
    if let Some(msn) = mailbox.first_unseen()? {
        print::text(&mut out, format_args!("* OK [UNSEEN {msn}] First unseen message.\r\n"));
    }
    let (validity, next, modseq) = (mailbox.uid_validity(), mailbox.next_uid(), mailbox.highest_modseq());
    print::text(&mut out, format_args!("* OK [UIDVALIDITY {validity}] UIDs are valid.\r\n"));
    print::text(&mut out, format_args!("* OK [UIDNEXT {next}] Next UID.\r\n"));
    if let Some(why) = mailbox.unrecorded() {
        context.log.error(&format!("UIDs cannot be recorded, and last as long as the session: {why}"));
        // RFC 4315 section 2.
        out.extend_from_slice(b"* NO [UIDNOTSTICKY] UIDs do not outlive the session.\r\n");
    }
    match mailbox.keeps_modseq() {
        true => print::text(&mut out, format_args!("* OK [HIGHESTMODSEQ {modseq}] Highest.\r\n")),
        // RFC 7162 section 3.1.2.2.
        false => {
            out.extend_from_slice(b"* OK [NOMODSEQ] Modification sequences do not outlive the session.\r\n")
        }
    }
    context.conn.push(&out)?;
    context.selected = Some(selected);
    Ok(match read_only {
        true => Reply::ok("Mailbox opened read-only.").with_code("READ-ONLY"),
        false => Reply::ok("Mailbox opened.").with_code("READ-WRITE"),
    })
}

/// CLOSE: removes messages with `\Deleted` and says nothing of them.
pub fn close(context: &mut Context<'_>) -> Completion {
    let Some(mut selected) = context.selected.take() else { return Ok(Reply::ok("Closed.")) };
    let (len, mut left) = (selected.mailbox.len(), Failures::default());
    if !selected.read_only && len > 0 {
        // RFC 3501 section 6.4.2: there is no NO, and the mailbox is closed in any case.
        match selected.mailbox.expunge(&vec![1..=len]) {
            Ok(failures) => left = failures,
            Err(error) => left.add(error),
        }
    }
    left.say("could not be removed", &mut |error| context.log.error(&error.to_string()));
    Ok(match left.kind() {
        Some(_) => Reply::ok("Closed, but some messages could not be removed; the log says why."),
        None => Reply::ok("Close completed."),
    })
}

/// UNSELECT: removes nothing.
pub fn unselect(context: &mut Context<'_>) -> Reply {
    context.selected = None;
    Reply::ok("Unselect completed.")
}
