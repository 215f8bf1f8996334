//! SMTP command lines: what is taken for an address is one, and is printed and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::address::Address;
use smtpd::command::Command;
use smtpd::command::path::ForwardPath;

fn check(path: &ForwardPath) {
    if let ForwardPath::Mailbox(address) = path {
        let printed = address.to_string();
        assert!(!printed.contains(['\r', '\n', '\0']));
        let again = Address::parse(printed.as_bytes()).expect("what was printed is read again");
        assert_eq!(&again, address);
    }
}

fuzz_target!(|line: &[u8]| {
    match Command::parse(line) {
        Ok(Command::Mail(path, parameters)) => {
            path.iter().for_each(check);
            let envid = parameters.envid.unwrap_or_default();
            assert!(envid.is_ascii() && !envid.contains(|c: char| c.is_control() || c == ' '));
        }
        Ok(Command::Rcpt(path, parameters)) => {
            check(&path);
            assert!(!parameters.orcpt.unwrap_or_default().contains(|c: char| c.is_control() || c == ' '));
        }
        Ok(command) => assert!(line.to_ascii_uppercase().starts_with(command.verb().as_bytes())),
        Err(_) => {}
    }
});
