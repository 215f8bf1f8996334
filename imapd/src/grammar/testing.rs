//! Commands for the tests of the grammar.

use super::cursor::SyntaxError;
use super::{BadCommand, Command, SequenceRange, SequenceSet};

/// The command in a line without its tag.
pub fn command(text: &str) -> Command {
    match Command::parse(format!("a {text}").as_bytes()) {
        Ok((tag, command)) if tag.as_bytes() == b"a" => command,
        other => panic!("{text}: {other:?}"),
    }
}

/// Why the line is none.
pub fn reason(text: &[u8]) -> &'static str {
    match Command::parse(text) {
        Err(BadCommand { error: SyntaxError::Bad(why), .. }) => why,
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A set of these ranges; 0 is `*`.
pub fn set(pairs: &[(u32, u32)]) -> SequenceSet {
    SequenceSet::new(pairs.iter().map(|&(first, last)| SequenceRange { first, last }).collect())
}
