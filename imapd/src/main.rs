//! The IMAP server; see the library.
#![no_main]

common::entry_point!(|| common::process::main(&imapd::PROGRAM));
