//! How a program ends. The codes are those of the inetd and s6 worlds; nothing hostile passes here.

use std::process::ExitCode;

/// How a program ends, as its parent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work is done, or the client went away: both are normal.
    Success,
    /// The command line or the configuration is wrong; trying again does not help.
    Usage,
    /// The system refused something (memory, a file, a process); a later try may succeed.
    Temporary,
}

impl Exit {
    /// The number for exit(2).
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Usage => 100,
            Exit::Temporary => 111,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_manual() {
        assert_eq!([Exit::Success, Exit::Usage, Exit::Temporary].map(Exit::code), [0, 100, 111]);
    }
}
