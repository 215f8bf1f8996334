//! POP3 (RFC 1939 and what grew on it), served on standard input and output.
//!
//! The three states are three modules, and what leads from one to the next is a value: [`authorization`] runs in the front
//! and ends with the guard's acceptance; [`transaction`] ends with an [`update::Update`] for QUIT alone, and that consumes the
//! maildrop. What can delete is only to be had for a [`command::Quit`], which only the parser makes of the client's line.

pub mod authorization;
mod capability;
pub mod command;
mod language;
mod locks;
mod login_delay;
mod maildrop;
pub mod reply;
mod retrieve;
mod session;
mod summary;
mod transaction;
mod uidl;
mod update;

use common::cli;
use common::process::{After, Program};

/// The program, for [`common::process::main`].
pub static PROGRAM: Program = Program {
    line: cli::Program {
        name: "pop3d",
        version: env!("CARGO_PKG_VERSION"),
        summary: "POP3 server for xinetd, systemd socket activation and other inetds",
        flags: &[],
    },
    beside: None,
    protocol: "pop3",
    out_of_order: "-ERR [SYS/TEMP] Out of order; try again later.\r\n",
    front: authorization::speak,
    after: After::Session { speak: session::serve, idle_timeout: |config| config.pop3_idle_timeout },
    others: &[],
    check: |_| Vec::new(),
};
