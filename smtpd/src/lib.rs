//! SMTP, submission and LMTP (RFC 5321, 6409, 2033): the server, local delivery, the queue and what sends from it.
//!
//! ```text
//! client -> front (grammar, mail data) --requests--> guard (who may send what where)
//!                        \--pieces of the message--> writer (uid of the recipient: Maildir; of mail_owner: queue)
//! queue  -> runner (uid of mail_owner) -> remote host, or guard -> writer of the recipient
//! ```

pub mod address;
pub mod aliases;
mod bcc;
pub mod bounce;
mod check;
pub mod classes;
pub mod client;
pub mod command;
pub mod data;
pub mod deliver;
pub mod directory;
pub mod dns;
pub mod drop;
pub mod envelope;
mod expand;
pub mod front;
pub mod header_checks;
#[cfg(all(target_env = "musl", target_arch = "x86_64"))]
mod heap;
pub mod logical;
pub mod map;
pub mod networks;
pub mod queue;
mod readers;
pub mod received;
pub mod recode;
pub mod reply;
pub mod restrictions;
pub mod route;
pub mod router;
pub mod rules;
pub mod runner;
pub mod sendmail;
pub mod service;
pub mod status;
#[cfg(test)]
mod testing;
pub mod users;
pub mod values;
pub mod virtual_mailboxes;
pub mod wire;
pub mod writer;

use common::cli::{self, Flag, Mode};
use common::process::{self, After, Program};
use common::sys::entry;
use std::ffi::OsStr;

/// The program, for [`common::process::main`].
pub static PROGRAM: Program = Program {
    line: cli::Program {
        name: "smtpd",
        version: env!("CARGO_PKG_VERSION"),
        summary: "SMTP, submission and LMTP server for xinetd, systemd socket activation and other inetds",
        flags: &[
            Flag { name: "submission", help: "the rules of port 587: who sends has to log in" },
            Flag { name: "lmtp", help: "LMTP: one reply for each recipient, nothing is relayed" },
        ],
    },
    beside: Some(cli::Beside {
        option: "-q",
        arguments: "[ID... | @DOMAIN]",
        help: "run the queue once: what is due, or these messages, or what is for this domain",
    }),
    protocol: "smtp",
    out_of_order: "421 4.3.0 Out of order; try again later\r\n",
    front: front::speak,
    after: After::Service { begin: service::begin, tag: log_tag },
    others: &[(writer::ARGUMENT, writer::main)],
    check: check::findings,
};

/// smtpd: the server, or with `-q` a queue run.
pub fn main() -> u8 {
    let arguments = || entry::arguments().skip(1);
    if !runner::is_asked_for(arguments()) {
        return process::main(&PROGRAM);
    }
    match asks_about_us(arguments()) {
        Some(Mode::Help) => process::help(&PROGRAM).code(),
        Some(_) => process::version(&PROGRAM).code(),
        None => runner::main(),
    }
}

/// `--help` and `--version` beside `-q` are what they are without it: no queue is run.
fn asks_about_us<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> Option<Mode> {
    let mut arguments = arguments.filter_map(OsStr::to_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-c" | "-o" => drop(arguments.next()),
            "--" => return None,
            "--help" | "-h" => return Some(Mode::Help),
            "--version" => return Some(Mode::Version),
            _ => {}
        }
    }
    None
}

/// Postfix's, so that what reads its log reads ours.
fn log_tag(flags: u32) -> String {
    let submission = common::process::front::Facts { flags, ..Default::default() };
    let kind = if submission.has(&PROGRAM.line, "submission") { "submission/" } else { "" };
    format!("postfix/{kind}smtpd[{}]", std::process::id())
}
