//! The POP3 server; see the library.
fn main() -> std::process::ExitCode {
    common::process::main(&pop3d::PROGRAM)
}
