//! The commands after the login: which state each needs, and what it does.

mod append;
mod copy;
mod create;
mod delete;
mod expunge;
mod idle;
mod list;
mod lsub;
mod namespace;
mod rename;
mod search;
mod select;
mod status;
mod store;
mod subscribe;
#[cfg(test)]
mod testing;

use crate::context::Context;
use crate::grammar::{Command, Tag};
use crate::reply::{Completion, Reply};
use crate::{capability, fetch, id, words};
use common::io::gather::Text;

/// What the session has to know of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// It belongs to the selected state.
    pub needs_mailbox: bool,
    /// EXPUNGE may be said before its completion: not while the client may still count on the numbers that it used
    /// (RFC 3501 section 7.4.1).
    pub may_expunge: bool,
    /// FETCH responses that are sent with it have UIDs (RFC 3501 section 6.4.8).
    pub uid: bool,
    /// It has just said all there is to say of the mailbox.
    pub is_fresh: bool,
    /// It is one by which a client asks whether there is new mail.
    pub asks_for_news: bool,
}

impl Rules {
    /// Those of one command.
    pub fn of(command: &Command) -> Rules {
        let (needs_mailbox, may_expunge, uid) = match command {
            Command::Fetch { uid, .. }
            | Command::Store { uid, .. }
            | Command::Search { uid, .. }
            | Command::Sort { uid, .. }
            | Command::Thread { uid, .. } => (true, *uid, *uid),
            Command::Copy { uid, .. } => (true, true, *uid),
            Command::Expunge(set) => (true, true, set.is_some()),
            Command::Check | Command::Close | Command::Unselect => (true, true, false),
            _ => (false, true, false),
        };
        // A SELECT of an unchanged mailbox need not look at it twice.
        let is_fresh = matches!(command, Command::Select { .. });
        let asks_for_news = matches!(command, Command::Noop | Command::Check | Command::Idle);
        Rules { needs_mailbox, may_expunge, uid, is_fresh, asks_for_news }
    }
}

/// Does what the command with this tag says. `text` is where commands are received; APPEND needs it for what follows a message.
pub fn obey(context: &mut Context<'_>, text: &mut Text, tag: &Tag, command: Command) -> Completion {
    match command {
        Command::Capability => {
            let list = capability::after_login(context.config);
            context.conn.push_fmt(format_args!("* CAPABILITY {list}\r\n"))?;
            Ok(Reply::ok("Capability completed."))
        }
        Command::Noop => Ok(Reply::ok("NOOP completed.")),
        Command::Id(fields) => {
            let line = id::for_log(context.config, &fields);
            if !line.is_empty() {
                context.log.info(&format!("ID sent: {line}"));
            }
            context.conn.push(&id::answer(context.config))?;
            Ok(Reply::ok("ID completed."))
        }
        Command::Enable(names) => enable(context, &names),
        Command::Select { mailbox, read_only, condstore } => {
            select::select(context, mailbox, read_only, condstore)
        }
        Command::Append { mailbox, message } => append::append(context, text, &mailbox, message),
        Command::Idle => idle::idle(context, text),
        // RFC 3501 section 6.4.1: what it is for has been done already, and what is new comes before the completion.
        Command::Check => Ok(Reply::ok("Check completed.")),
        Command::Close => select::close(context),
        Command::Unselect => Ok(select::unselect(context)),
        Command::Expunge(set) => expunge::expunge(context, set.as_ref()),
        Command::Store { uid, arguments } => store::store(context, uid, &arguments),
        Command::Copy { uid, messages, mailbox, and_remove } => {
            copy::copy(context, uid, &messages, &mailbox, and_remove)
        }
        Command::Search { uid, arguments } => search::search(context, tag, uid, &arguments),
        Command::Sort { uid, arguments } => search::sort(context, uid, &arguments),
        Command::Thread { uid, arguments } => search::thread(context, uid, &arguments),
        Command::Fetch { uid, arguments } => fetch::fetch(context, uid, &arguments),
        Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } | Command::Logout => {
            Ok(Reply::bad(words::WRONG_STATE))
        }
        Command::Create { mailbox, special_use } => create::create(context, &mailbox, &special_use),
        Command::Delete(mailbox) => delete::delete(context, &mailbox),
        Command::Rename { from, to } => rename::rename(context, &from, &to),
        Command::Subscribe(mailbox) => subscribe::subscribe(context, &mailbox),
        Command::Unsubscribe(mailbox) => subscribe::unsubscribe(context, &mailbox),
        Command::List(arguments) => list::list(context, &arguments),
        Command::Lsub { reference, pattern } => lsub::lsub(context, &reference, &pattern),
        Command::Namespace => namespace::namespace(context),
        Command::Status { mailbox, items } => status::status(context, &mailbox, items),
    }
}

/// ENABLE (RFC 5161): what is not known is passed over.
fn enable(context: &mut Context<'_>, names: &[Box<[u8]>]) -> Completion {
    let mut enabled = "* ENABLED".to_owned();
    if names.iter().any(|name| **name == *b"CONDSTORE") && !context.enabled.condstore {
        context.enable_condstore();
        enabled += " CONDSTORE";
    }
    context.conn.push_line(&enabled)?;
    Ok(Reply::ok("Enabled."))
}
