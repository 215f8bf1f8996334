//! The POP3 server; see the library.
#![no_main]

common::entry_point!(|| common::process::main(&pop3d::PROGRAM));
