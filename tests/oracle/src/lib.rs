//! Nothing but tests: imapd against imap-codec.

pub mod meant;
