//! APPEND (RFC 3501 section 6.3.11, RFC 3502, RFC 4315 section 3, RFC 7889).
//!
//! A message goes from the connection to the disk in pieces. All messages of a command appear at once, or none does; those
//! that are refused are thrown away as they come, so that none of their octets is taken for a command.

use crate::context::Context;
use crate::grammar::receive::Behind;
use crate::grammar::{AppendMessage, MailboxName, print};
use crate::mailbox::{Append, Appended};
use crate::not_authenticated::refusal;
use crate::reply::{Completion, Failure, Reply};
use common::io::gather::Text;

/// APPEND.
pub fn append(
    context: &mut Context<'_>,
    text: &mut Text,
    name: &MailboxName,
    mut message: AppendMessage,
) -> Completion {
    let begun = check(context, &message).and_then(|()| {
        let maildir = context.target(name)?;
        let mut append = Append::begin(&maildir, &context.open_options(false))?;
        append.check_room(message.octets)?;
        Ok(append)
    });
    let mut append = match begun {
        Ok(append) => append,
        Err(failure) => return refuse(context, &message, failure),
    };
    loop {
        let keywords: Vec<&str> = message.flags.keywords.iter().map(|keyword| &**keyword).collect();
        if let Err(error) = append.message(message.flags.bits, &keywords, message.internal_date) {
            return refuse(context, &message, error.into());
        }
        receive(context, &mut append, &message)?;
        message = match AppendMessage::next(context.conn, text)? {
            Behind::End => break,
            Behind::Bad(error) => return Ok(refusal(error)),
            Behind::Message(next) => next,
        };
        let checked = check(context, &message);
        if let Err(failure) = checked.and_then(|()| Ok(append.check_room(message.octets)?)) {
            return refuse(context, &message, failure);
        }
    }
    let appended = append.finish()?;
    let reply = Reply::ok("Append completed.");
    Ok(match append_uid(&appended) {
        Some(code) => reply.with_code(code),
        None => reply,
    })
}

/// What can be refused before a message is read.
fn check(context: &Context<'_>, message: &AppendMessage) -> Result<(), Failure> {
    let most = context.config.message_size_limit.0;
    if most != 0 && message.octets > most {
        return Err(Reply::no("The message is too large.").with_code("TOOBIG").into());
    }
    if message.octets == 0 {
        return Err(Reply::no("An empty message is none.").into());
    }
    context.check_keywords(&message.flags)
}

/// Throws away what the client sends of the command nevertheless.
fn refuse(context: &mut Context<'_>, message: &AppendMessage, failure: Failure) -> Completion {
    message.refuse(context.conn)?;
    Err(failure)
}

/// Takes one message.
fn receive(context: &mut Context<'_>, append: &mut Append, message: &AppendMessage) -> Result<(), Failure> {
    if message.waits {
        context.conn.push_line("+ OK")?;
    }
    let mut left = message.octets;
    while left > 0 {
        let piece = context.conn.piece(left)?;
        let length = piece.len();
        let written = append.write(piece);
        context.conn.consume(length);
        left = left.saturating_sub(length as u64);
        if let Err(error) = written {
            message.refuse_rest(context.conn, message.octets.saturating_sub(left))?;
            return Err(error.into());
        }
    }
    Ok(())
}

/// `APPENDUID`
fn append_uid(appended: &Appended) -> Option<String> {
    if appended.uids.is_empty() {
        return None;
    }
    let mut code = format!("APPENDUID {} ", appended.uid_validity).into_bytes();
    print::ranges(&mut code, appended.uids.iter().copied());
    String::from_utf8(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_told() {
        let appended = |uids: &[(u32, u32)]| Appended { uid_validity: 5, uids: uids.to_vec() };
        assert_eq!(append_uid(&appended(&[(7, 7)])).as_deref(), Some("APPENDUID 5 7"));
        assert_eq!(append_uid(&appended(&[(7, 8), (10, 10)])).as_deref(), Some("APPENDUID 5 7:8,10"));
        assert_eq!(append_uid(&appended(&[])), None);
    }
}
