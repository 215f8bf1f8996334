//! IMAP (RFC 3501 and what grew on it), served on standard input and output.

pub mod context;
pub mod digest;
pub mod fetch;
pub mod grammar;
pub mod mailbox;
pub mod printed;
pub mod reply;
