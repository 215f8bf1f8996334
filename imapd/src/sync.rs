//! Telling the client what has changed in the selected mailbox (RFC 3501 sections 5.2 and 7.4.1, RFC 7162 section 3.2).

use crate::commands::Rules;
use crate::context::{Context, Selected};
use crate::grammar::{bits, print};
use crate::mailbox::{Event, Flags, Info, KEYWORDS, Mailbox};
use crate::reply::Failure;
use common::config::keyword::ImapWorkaround;
use common::io::{Conn, Ending};

/// The flags that a client can set.
const SETTABLE: u8 = bits::ANSWERED | bits::FLAGGED | bits::DELETED | bits::SEEN | bits::DRAFT;

impl Context<'_> {
    /// Says what is new in the selected mailbox, if there is one, as the rules of the command allow.
    pub fn sync(&mut self, rules: Rules) -> Result<(), Failure> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let Rules { may_expunge, uid, .. } = rules;
        let modseq = self.enabled.condstore && selected.mailbox.keeps_modseq();
        let waits = self.config.imap_client_workarounds.contains(ImapWorkaround::DelayNewmail);
        let mut events = Vec::new();
        let mut report = |event| events.push(event);
        match waits && !rules.asks_for_news {
            true => selected.mailbox.sync_what_is_there(may_expunge, &mut report)?,
            false => selected.mailbox.sync(may_expunge, &mut report)?,
        }
        selected.mailbox.mended().iter().for_each(|error| self.log.error(&error.to_string()));
        let mut out = Vec::new();
        for event in events {
            match event {
                Event::Exists(n) => print::text(&mut out, format_args!("* {n} EXISTS\r\n")),
                // Our own moving of new messages is no news.
                Event::Recent(n) if n == selected.recent => {}
                Event::Recent(n) => {
                    selected.recent = n;
                    print::text(&mut out, format_args!("* {n} RECENT\r\n"));
                }
                Event::Expunge(msn) => print::text(&mut out, format_args!("* {msn} EXPUNGE\r\n")),
                Event::Keywords => keywords(&mut out, selected),
                Event::Flags(msn) => {
                    fetch_flags(&mut out, &selected.mailbox, msn, uid, modseq)?;
                }
                // RFC 7162 section 3.1.3: a silent change of flags is a change of modification sequences nevertheless.
                Event::Modseq(msn) if modseq => {
                    fetch_modseq(&mut out, &selected.mailbox, msn, uid)?;
                }
                Event::Modseq(_) => {}
            }
            push_when_full(self.conn, &mut out)?;
        }
        self.conn.push(&out)?;
        Ok(())
    }

    /// What the selected mailbox needs done now and then, and the client need not wait for: it has its answer first.
    pub fn tidy(&mut self) -> Result<(), Ending> {
        match &mut self.selected {
            Some(selected) if selected.mailbox.is_untidy() => {
                self.conn.flush()?;
                selected.mailbox.tidy();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Output is pushed in pieces, so that a large report needs no large buffer.
fn push_when_full(conn: &mut Conn, out: &mut Vec<u8>) -> Result<(), Failure> {
    if out.len() >= 4096 {
        conn.push(out)?;
        out.clear();
    }
    Ok(())
}

/// `* n FETCH (FLAGS (...))`, with UID and MODSEQ where they are wanted.
pub fn fetch_flags(
    out: &mut Vec<u8>,
    mailbox: &Mailbox,
    msn: u32,
    uid: bool,
    modseq: bool,
) -> Result<(), Failure> {
    let info = mailbox.info(msn)?;
    out.extend_from_slice(b"* ");
    print::number(out, u64::from(msn));
    out.extend_from_slice(b" FETCH (");
    if uid {
        out.extend_from_slice(b"UID ");
        print::number(out, u64::from(info.uid));
        out.push(b' ');
    }
    out.extend_from_slice(b"FLAGS ");
    flags(out, mailbox, &info);
    if modseq {
        out.extend_from_slice(b" MODSEQ (");
        print::number(out, info.modseq);
        out.push(b')');
    }
    out.extend_from_slice(b")\r\n");
    Ok(())
}

fn fetch_modseq(out: &mut Vec<u8>, mailbox: &Mailbox, msn: u32, uid: bool) -> Result<(), Failure> {
    let info = mailbox.info(msn)?;
    match uid {
        true => {
            print::text(out, format_args!("* {msn} FETCH (UID {} MODSEQ ({}))\r\n", info.uid, info.modseq))
        }
        false => print::text(out, format_args!("* {msn} FETCH (MODSEQ ({}))\r\n", info.modseq)),
    }
    Ok(())
}

/// A message's flags with their parentheses.
pub fn flags(out: &mut Vec<u8>, mailbox: &Mailbox, info: &Info) {
    let recent = if info.recent { bits::RECENT } else { 0 };
    let named = mailbox.keywords().iter().take(KEYWORDS).enumerate();
    let set = named.filter(|(at, name)| (info.flags.keywords >> at) & 1 == 1 && !name.is_empty());
    print::flags(out, (info.flags.bits & Flags::ALL) | recent, set.map(|(_, name)| &**name));
}

/// `FLAGS` and `PERMANENTFLAGS`: which there are, and which can be set for good.
pub fn keywords(out: &mut Vec<u8>, selected: &Selected) {
    let names = || selected.mailbox.keywords().iter().map(|name| &**name).filter(|name| !name.is_empty());
    out.extend_from_slice(b"* FLAGS ");
    print::flags(out, SETTABLE, names());
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    if selected.read_only {
        out.extend_from_slice(b"()] Nothing can be changed.\r\n");
        return;
    }
    // A client may make further keywords as long as there are letters for them.
    let more = selected.mailbox.has_room_for_keywords().then_some("\\*");
    print::flags(out, SETTABLE, names().chain(more));
    out.extend_from_slice(b"] Flags that stay.\r\n");
}
