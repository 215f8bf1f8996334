//! `sendmail -bv`: what addresses mean on this host, without a message.
//!
//! The answer is on standard output at once, as sendmail's own was; Postfix sends it by mail. The rules are read with the
//! caller's rights: what those do not suffice for is said to be unknown.

use super::options::Options;
use super::{Exit, Failure, header};
use crate::drop::format::address;
use crate::envelope::{Recipient, Target};
use crate::rules::Rules;
use crate::status::Status;
use common::config::Config;
use common::log::readable;
use std::io::{self, Write};

/// Says what each address means. It ends as a submission to them would: unknown ones before those that cannot be told now.
pub fn addresses(config: &Config, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let mut named = Vec::new();
    for list in &options.recipients {
        header::of_argument(list, &mut named);
    }
    if named.is_empty() {
        return Err(Failure(Exit::Usage, "-bv: name the addresses".to_owned()));
    }
    let mut rules = Rules::load(config).map_err(|error| Failure(Exit::Config, error.to_string()))?;
    rules.only_looks();
    let mut results = Vec::new();
    for text in &named {
        let found = match address(text, &rules) {
            Ok(path) => rules.expand(&path),
            Err(error) => {
                let _ = writeln!(out, "{}... {}", shown(text), error.0);
                results.push(Exit::Data);
                continue;
            }
        };
        let lines = match found {
            Ok(found) => found.iter().map(|one| place(&mut rules, one)).collect(),
            Err(status) => vec![Err(status)],
        };
        for line in lines {
            let line = line.map(|place| format!("deliverable: {place}")).unwrap_or_else(|status| {
                let (word, exit) = match status.is_permanent() {
                    true => ("undeliverable", Exit::NoUser),
                    false => ("not known now", Exit::Temporary),
                };
                results.push(exit);
                format!("{word}: {status}")
            });
            let _ = writeln!(out, "{}... {}", shown(text), shown(&line));
        }
    }
    for what in rules.take_warnings() {
        let _ = writeln!(io::stderr(), "sendmail: {}", shown(&what));
    }
    let worst = [Exit::Data, Exit::NoUser, Exit::Temporary].into_iter().find(|exit| results.contains(exit));
    worst.map_or(Ok(()), |exit| Err(Failure(exit, "not all of these addresses are deliverable".to_owned())))
}

fn shown(text: &str) -> String {
    readable(text.as_bytes()).up_to(1000).to_string()
}

/// Where mail for a recipient goes; a user's `~/.forward` is the user's own.
fn place(rules: &mut Rules, recipient: &Recipient) -> Result<String, Status> {
    Ok(match &recipient.target {
        Target::Remote(address) => format!("other host, {address}"),
        Target::Mailbox { user, .. } => rules.account(recipient).map(|_| format!("mailbox, user {user}"))?,
        Target::File { path, .. } => format!("file, {path}"),
        Target::Command { words, .. } => format!("program, {}", words.join(" ")),
        Target::Expanded { .. } => "the above".to_owned(),
    })
}
