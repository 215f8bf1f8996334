//! What tinmail's servers share. Nothing here knows a protocol's verbs.

pub mod auth;
pub mod config;
pub mod io;
pub mod log;
pub mod maildir;
pub mod secret;
pub mod sys;
pub mod tls;
