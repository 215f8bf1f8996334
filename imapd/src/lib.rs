//! IMAP (RFC 3501 and what grew on it), served on standard input and output.

pub mod base_subject;
pub mod casemap;
pub mod charset;
pub mod context;
pub mod digest;
pub mod fetch;
pub mod grammar;
pub mod mailbox;
pub mod number;
pub mod printed;
pub mod reply;
pub mod search;
pub mod thread;
