//! Reading a new password: from a terminal twice and unseen, from anything else one line.

use common::sys::fd;
use common::sys::terminal::{INTERRUPT, Silence};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use zeroize::Zeroizing;

/// Octets of a line; longer passwords are refused later on.
const LINE_MAX: usize = 4096;

/// From standard input.
pub fn ask() -> io::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(stdin.as_fd());
    }
    let _silence = Silence::begin(stdin.as_fd())?;
    let typed = |prompt: &str| {
        // Standard output may be a file.
        io::stderr().write_all(prompt.as_bytes())?;
        line(stdin.as_fd())
    };
    let (first, second) = (typed("New password: ")?, typed("Again: ")?);
    if first == second { Ok(first) } else { Err(io::Error::other("these are two passwords")) }
}

/// One line, without its end. Not a buffered reader's: nothing of it stays elsewhere.
fn line(from: BorrowedFd<'_>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut octet = [0];
    loop {
        match fd::read(from, &mut octet) {
            Ok(0) if line.is_empty() => return Err(io::Error::other("there is no password")),
            Ok(0) => return Ok(line),
            Ok(_) if octet == [b'\n'] => return Ok(line),
            Ok(_) if octet == [INTERRUPT] => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) if line.len() == LINE_MAX => return Err(io::Error::other("the line is too long")),
            Ok(_) => line.extend(octet),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (input, want) in [
            (&b"secret\nmore\n"[..], Some(&b"secret"[..])),
            (b"no end", Some(b"no end")),
            (b" blanks stay \n", Some(b" blanks stay ")),
            (b"\n", Some(b"")),
            (b"", None),
            (b"sec\x03", None),
            (&[b'x'; LINE_MAX + 1], None),
        ] {
            let (reading, writing) = fd::pipe().unwrap();
            fd::write(writing.as_fd(), input).unwrap();
            drop(writing);
            let line = line(reading.as_fd()).ok();
            assert_eq!(line.as_ref().map(|line| line.as_slice()), want, "{}", input.escape_ascii());
        }
    }
}
