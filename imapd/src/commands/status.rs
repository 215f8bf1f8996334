//! STATUS (RFC 3501 section 6.3.10), with SIZE (RFC 8438), HIGHESTMODSEQ (RFC 7162) and APPENDLIMIT (RFC 7889).

use crate::context::Context;
use crate::grammar::{MailboxName, StatusItem, StatusItems, print};
use crate::names::{open, refusal};
use crate::reply::{Completion, Reply};
use crate::waiting::Waiting;
use common::mailbox::{self, OpenOptions, Status};
use common::maildir::{Maildir, StorageError};
use common::process::session::SessionLog;

/// `STATUS mailbox (items)`
pub fn status(context: &mut Context<'_>, mailbox: &MailboxName, items: StatusItems) -> Completion {
    let located = context.existing(mailbox).map_err(refusal)?;
    let maildir = open(&located).map_err(refusal)?;
    // RFC 7162 section 3.1.
    if items.contains(StatusItem::HighestModSeq) {
        context.enable_condstore();
    }
    let (options, most) = (context.open_options(true), context.config.message_size_limit.0);
    let waiting = Waiting::new(context.conn);
    let status = look(&maildir, items, &options, &waiting, context.log);
    waiting.look()?;
    let mut line = Vec::new();
    print(&mut line, &located.visible(), items, &status?, most);
    waiting.push(&line)?;
    Ok(Reply::ok("That is it."))
}

/// Finds out, as long as the client waits.
pub fn look(
    maildir: &Maildir,
    items: StatusItems,
    options: &OpenOptions,
    waiting: &Waiting<'_>,
    log: &SessionLog,
) -> Result<Status, StorageError> {
    let mut mended = |error: &StorageError| log.error(&error.to_string());
    mailbox::status(maildir, options, items.contains(StatusItem::Size), &|| waiting.goes_on(), &mut mended)
}

/// The untagged response.
pub fn print(line: &mut Vec<u8>, visible: &[u8], items: StatusItems, status: &Status, append_limit: u64) {
    line.extend_from_slice(b"* STATUS ");
    print::astring(line, visible);
    line.extend_from_slice(b" (");
    let begins = line.len();
    for item in items.iter() {
        let value: u64 = match item {
            StatusItem::Messages => status.messages.into(),
            StatusItem::Recent => status.recent.into(),
            StatusItem::UidNext => status.next_uid.into(),
            StatusItem::UidValidity => status.uid_validity.into(),
            StatusItem::Unseen => status.unseen.into(),
            StatusItem::HighestModSeq => status.highest_modseq,
            StatusItem::Size => match status.size {
                Some(size) => size,
                None => continue,
            },
            StatusItem::Deleted => status.deleted.into(),
            // RFC 7889 section 2: a number of 32 bits, or NIL for none.
            StatusItem::AppendLimit if append_limit == 0 => {
                separate(line, begins);
                line.extend_from_slice(b"APPENDLIMIT NIL");
                continue;
            }
            StatusItem::AppendLimit => append_limit.min(u32::MAX.into()),
        };
        separate(line, begins);
        print::text(line, format_args!("{} {value}", item.name()));
    }
    line.extend_from_slice(b")\r\n");
}

/// A blank, unless nothing stands before it.
fn separate(line: &mut Vec<u8>, begins: usize) {
    if line.len() > begins {
        line.push(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_items() {
        let status = Status {
            messages: 231,
            recent: 1,
            next_uid: 44_292,
            uid_validity: u32::MAX,
            unseen: 2,
            highest_modseq: 7_011_231_777,
            size: Some(1 << 40),
            deleted: 0,
        };
        let items = |items: &[StatusItem]| {
            let mut set = StatusItems::default();
            items.iter().for_each(|item| set.insert(*item));
            set
        };
        let printed = |name: &str, set, status: &Status| {
            let mut line = Vec::new();
            print(&mut line, name.as_bytes(), set, status, 35_651_584);
            String::from_utf8(line).unwrap()
        };
        // RFC 3501 section 6.3.10.
        let some = items(&[StatusItem::UidNext, StatusItem::Messages]);
        assert_eq!(
            printed("blurdybloop", some, &status),
            "* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292)\r\n"
        );
        let all = items(&StatusItem::ALL.map(|(item, _)| item));
        assert_eq!(
            printed("a b", all, &status),
            "* STATUS \"a b\" (MESSAGES 231 RECENT 1 UIDNEXT 44292 UIDVALIDITY 4294967295 UNSEEN 2 \
             HIGHESTMODSEQ 7011231777 SIZE 1099511627776 DELETED 0 APPENDLIMIT 35651584)\r\n"
        );
        let limit = items(&[StatusItem::Messages, StatusItem::AppendLimit]);
        let mut none = Vec::new();
        print(&mut none, b"a", limit, &status, 0);
        assert_eq!(none, b"* STATUS a (MESSAGES 231 APPENDLIMIT NIL)\r\n");
        let unknown = Status { size: None, ..status };
        assert_eq!(printed("a", items(&[StatusItem::Size]), &unknown), "* STATUS a ()\r\n");
    }
}
