//! IMAP (RFC 3501 and what grew on it), served on standard input and output.
//!
//! [`not_authenticated`] runs in the front, before the login; [`session`] afterwards, as the mail user. What a client says
//! is [`grammar`]; what a command does is one file in [`commands`] or a module of its own.

pub mod base_subject;
mod capability;
pub mod casemap;
pub mod charset;
mod check;
pub mod commands;
pub mod context;
pub mod digest;
pub mod fetch;
pub mod grammar;
mod id;
mod login;
mod names;
pub mod not_authenticated;
pub mod printed;
pub mod reply;
pub mod search;
mod session;
pub mod sort;
pub mod sync;
pub mod thread;
mod waiting;
mod words;

pub use common::mailbox;

use common::cli;
use common::process::{After, Program};

/// The program, for [`common::process::main`].
pub static PROGRAM: Program = Program {
    line: cli::Program {
        name: "imapd",
        version: env!("CARGO_PKG_VERSION"),
        summary: "IMAP server for xinetd, systemd socket activation and other inetds",
        flags: &[],
    },
    beside: None,
    protocol: "imap",
    out_of_order: "* BYE [UNAVAILABLE] Out of order; try again later.\r\n",
    front: not_authenticated::speak,
    after: After::Session { speak: session::serve, idle_timeout: |config| config.imap_idle_timeout },
    others: &[],
    check: check::findings,
};
