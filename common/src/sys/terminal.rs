//! A terminal at which somebody types what nobody is to see.

use super::cerr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What Ctrl-C sends.
pub const INTERRUPT: u8 = 3;

/// Nothing that is typed is shown as long as this lives; Ctrl-C is a character that ends the line ([`INTERRUPT`]), so that the
/// terminal never stays as it is now.
#[derive(Debug)]
pub struct Silence {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Silence {
    /// Error: it is no terminal.
    pub fn begin(terminal: BorrowedFd<'_>) -> io::Result<Silence> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        // SAFETY: an all-zero termios is a valid one; tcgetattr fills it.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: writes the local structure.
        cerr(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut before) })?;
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ISIG);
        silent.c_lflag |= libc::ECHONL;
        if let Some(end) = silent.c_cc.get_mut(libc::VEOL) {
            *end = INTERRUPT;
        }
        // SAFETY: reads the local structure.
        cerr(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &silent) })?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // SAFETY: reads our own structure; the descriptor is ours. That it fails leaves a terminal that is gone.
        unsafe {
            libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_no_terminal() {
        let (reading, _writing) = crate::sys::fd::pipe().unwrap();
        assert!(Silence::begin(reading.as_fd()).is_err());
    }
}
