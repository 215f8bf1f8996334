//! What tinmail's servers share. Nothing here knows a protocol's verbs.

pub mod auth;
pub mod cli;
pub mod config;
pub mod exit;
pub mod hierarchy;
pub mod io;
pub mod log;
pub mod maildir;
pub mod mime;
pub mod number;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod secret;
pub mod sys;
pub mod tls;

pub use maildir::mailbox;
