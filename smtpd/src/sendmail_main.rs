//! sendmail, mailq and newaliases; see the library.
#![no_main]

common::entry_point!(smtpd::sendmail::main);
