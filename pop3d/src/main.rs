//! POP3 server; see the library for everything.
fn main() {}
