//! Nothing but tests: imapd against imap-codec.
