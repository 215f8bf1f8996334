//! The SMTP server; see the library.
#![no_main]

common::entry_point!(smtpd::main);
