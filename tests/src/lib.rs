//! What the tests of the programs share: a place to work in, the programs, conversations with them, transcripts.
//!
//! A test that fails should say so at once and with everything it knows, so this crate panics where a program would
//! return an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod client;
pub mod mailboxes;
pub mod maildirs;
pub mod many;
pub mod memory;
pub mod namespace;
pub mod place;
pub mod program;
pub mod proof;
pub mod run;
pub mod tls;
pub mod transcript;

pub use client::{Client, Server};
pub use place::Place;
