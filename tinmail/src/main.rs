//! The administrator's command; see the library.
#![no_main]

common::entry_point!(tinmail::main);
