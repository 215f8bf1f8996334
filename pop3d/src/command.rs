//! The grammar of POP3 commands (RFC 1939 section 9, RFC 2449, 2595, 5034, 6856, and LAST of RFC 1460).
//!
//! Pure: octets in, a value or the reason for refusing out. The input is hostile.

use common::secret::Secret;
use std::num::NonZeroU32;

/// Octets of a command line, its CR LF included (RFC 2449 section 4).
pub const LINE_MAX: usize = 255;
/// Octets of an AUTH command or of a SASL response line, its CR LF included.
pub const AUTH_LINE_MAX: usize = 2048;

/// A message-number as the client counts: from 1, in the order of the maildrop at login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageNumber(NonZeroU32);

impl MessageNumber {
    /// The message-number of the message at this index.
    pub fn from_index(index: u32) -> Option<MessageNumber> {
        index.checked_add(1).and_then(NonZeroU32::new).map(MessageNumber)
    }

    /// The place in the maildrop, counted from 0.
    pub fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// That the client has said QUIT. Only the parser makes one, and without one nothing can be deleted.
///
/// ```compile_fail
/// let quit = pop3d::command::Quit(());
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Quit(());

/// One command. The state in which it is allowed is the session's business.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `QUIT`
    Quit(Quit),
    /// `CAPA`
    Capa,
    /// `NOOP`
    Noop,
    /// `LANG [tag]`
    Lang(Option<&'a [u8]>),
    /// `STLS`
    Stls,
    /// `USER name`
    User(&'a [u8]),
    /// `PASS string`: everything after the first blank, blanks included.
    Pass(Secret),
    /// `APOP name digest`
    Apop(&'a [u8], &'a [u8]),
    /// `AUTH [mechanism [initial-response]]`
    Auth(Option<(&'a [u8], Option<&'a [u8]>)>),
    /// `UTF8`
    Utf8,
    /// `STAT`
    Stat,
    /// `LIST [msg]`
    List(Option<MessageNumber>),
    /// `UIDL [msg]`
    Uidl(Option<MessageNumber>),
    /// `RETR msg`
    Retr(MessageNumber),
    /// `TOP msg n`
    Top(MessageNumber, u32),
    /// `DELE msg`
    Dele(MessageNumber),
    /// `RSET`
    Rset,
    /// `LAST`
    Last,
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum SyntaxError {
    /// The keyword is not one of POP3's.
    UnknownCommand,
    /// More octets than the command may have.
    TooLong,
    /// A NUL or another control character in it.
    ControlCharacter,
    /// An argument is missing.
    MissingArgument,
    /// An argument too many.
    ExtraArgument,
    /// Not a number.
    NotANumber,
    /// A number with something behind it.
    NoiseAfterNumber,
    /// A number that no maildrop has messages for.
    NumberTooLarge,
    /// Messages are counted from 1.
    NumberZero,
}

impl<'a> Command<'a> {
    /// Parses a line without its end. Keywords are case-insensitive; several blanks count as one, except in `PASS`.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, SyntaxError> {
        let blank = memchr_blank(line);
        let (keyword, rest) = line.split_at(blank);
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let mut upper = [0; 4];
        let keyword = match upper.get_mut(..keyword.len()) {
            Some(room) => {
                room.copy_from_slice(keyword);
                room.make_ascii_uppercase();
                &*room
            }
            None => &[],
        };
        // CR LF count too: RFC 2449 section 4.
        let limit = if keyword == b"AUTH" { AUTH_LINE_MAX } else { LINE_MAX };
        if line.len() + 2 > limit {
            return Err(SyntaxError::TooLong);
        }
        if keyword == b"PASS" {
            return match rest {
                [] => Err(SyntaxError::MissingArgument),
                // A password may hold any octet but those that end the line or a C string.
                _ if rest.iter().any(|octet| matches!(octet, 0 | b'\r')) => {
                    Err(SyntaxError::ControlCharacter)
                }
                _ => Ok(Command::Pass(Secret::new(rest.to_vec()))),
            };
        }
        if line.iter().any(|octet| octet.is_ascii_control()) {
            return Err(SyntaxError::ControlCharacter);
        }
        let mut arguments = rest.split(|&octet| octet == b' ').filter(|argument| !argument.is_empty());
        let mut next = || arguments.next();
        let command = match keyword {
            b"QUIT" => Command::Quit(Quit(())),
            b"CAPA" => Command::Capa,
            b"NOOP" => Command::Noop,
            b"STLS" => Command::Stls,
            b"UTF8" => Command::Utf8,
            b"STAT" => Command::Stat,
            b"RSET" => Command::Rset,
            b"LAST" => Command::Last,
            b"LANG" => Command::Lang(next()),
            b"USER" => {
                // Dovecot's users may have blanks inside; ends are trimmed.
                let name = rest.trim_ascii();
                return if name.is_empty() {
                    Err(SyntaxError::MissingArgument)
                } else {
                    Ok(Command::User(name))
                };
            }
            b"APOP" => {
                // The digest is the last word; what is before it is the name, blanks and all.
                let rest = rest.trim_ascii();
                let at = rest.iter().rposition(|&octet| octet == b' ').ok_or(SyntaxError::MissingArgument)?;
                let (name, digest) = rest.split_at(at);
                let (name, digest) = (name.trim_ascii_end(), digest.trim_ascii_start());
                return if name.is_empty() {
                    Err(SyntaxError::MissingArgument)
                } else {
                    Ok(Command::Apop(name, digest))
                };
            }
            b"AUTH" => match next() {
                // Outlook asks with `AUTH` and a blank behind it.
                None => Command::Auth(None),
                Some(mechanism) => Command::Auth(Some((mechanism, next()))),
            },
            b"LIST" => Command::List(next().map(message_number).transpose()?),
            b"UIDL" => Command::Uidl(next().map(message_number).transpose()?),
            b"RETR" => Command::Retr(message_number(next().ok_or(SyntaxError::MissingArgument)?)?),
            b"DELE" => Command::Dele(message_number(next().ok_or(SyntaxError::MissingArgument)?)?),
            b"TOP" => {
                let message = message_number(next().ok_or(SyntaxError::MissingArgument)?)?;
                Command::Top(message, number(next().ok_or(SyntaxError::MissingArgument)?)?)
            }
            _ => return Err(SyntaxError::UnknownCommand),
        };
        if next().is_some() { Err(SyntaxError::ExtraArgument) } else { Ok(command) }
    }
}

fn memchr_blank(line: &[u8]) -> usize {
    line.iter().position(|&octet| octet == b' ').unwrap_or(line.len())
}

fn message_number(digits: &[u8]) -> Result<MessageNumber, SyntaxError> {
    NonZeroU32::new(number(digits)?).map(MessageNumber).ok_or(SyntaxError::NumberZero)
}

/// Decimal digits, each wrong form told apart: a number too large must not become a small one.
fn number(digits: &[u8]) -> Result<u32, SyntaxError> {
    let mut value: u32 = 0;
    for (place, octet) in digits.iter().enumerate() {
        if !octet.is_ascii_digit() {
            return Err(if place == 0 { SyntaxError::NotANumber } else { SyntaxError::NoiseAfterNumber });
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u32::from(octet - b'0')))
            .ok_or(SyntaxError::NumberTooLarge)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(number: u32) -> MessageNumber {
        MessageNumber::from_index(number - 1).unwrap()
    }

    #[test]
    fn commands() {
        let table: &[(&[u8], Result<Command<'_>, SyntaxError>)] = &[
            (b"QUIT", Ok(Command::Quit(Quit(())))),
            (b"quit", Ok(Command::Quit(Quit(())))),
            (b"Quit ", Ok(Command::Quit(Quit(())))),
            (b"QUIT now", Err(SyntaxError::ExtraArgument)),
            (b"STAT", Ok(Command::Stat)),
            (b"LIST", Ok(Command::List(None))),
            (b"LIST ", Ok(Command::List(None))),
            (b"LIST 7", Ok(Command::List(Some(n(7))))),
            (b"LIST  7 ", Ok(Command::List(Some(n(7))))),
            (b"LIST 007", Ok(Command::List(Some(n(7))))),
            (b"LIST 0", Err(SyntaxError::NumberZero)),
            (b"LIST -1", Err(SyntaxError::NotANumber)),
            (b"LIST +1", Err(SyntaxError::NotANumber)),
            (b"LIST x", Err(SyntaxError::NotANumber)),
            (b"LIST 1x", Err(SyntaxError::NoiseAfterNumber)),
            (b"LIST 4294967295", Ok(Command::List(Some(n(u32::MAX))))),
            // popa3d's DESIGN: must not wrap round to 1.
            (b"LIST 4294967297", Err(SyntaxError::NumberTooLarge)),
            (b"LIST 1 2", Err(SyntaxError::ExtraArgument)),
            (b"RETR", Err(SyntaxError::MissingArgument)),
            (b"RETR 1", Ok(Command::Retr(n(1)))),
            (b"TOP 1 0", Ok(Command::Top(n(1), 0))),
            (b"TOP 1", Err(SyntaxError::MissingArgument)),
            (b"TOP 0 1", Err(SyntaxError::NumberZero)),
            (b"top 2 10", Ok(Command::Top(n(2), 10))),
            (b"UIDL 3", Ok(Command::Uidl(Some(n(3))))),
            (b"USER alice", Ok(Command::User(b"alice"))),
            (b"USER  alice ", Ok(Command::User(b"alice"))),
            (b"USER", Err(SyntaxError::MissingArgument)),
            (b"USER a\0b", Err(SyntaxError::ControlCharacter)),
            (b"PASS secret", Ok(Command::Pass(Secret::new(b"secret".to_vec())))),
            (b"PASS  two  blanks ", Ok(Command::Pass(Secret::new(b" two  blanks ".to_vec())))),
            (b"PASS tab\there", Ok(Command::Pass(Secret::new(b"tab\there".to_vec())))),
            (b"PASS", Err(SyntaxError::MissingArgument)),
            (b"PASS ", Err(SyntaxError::MissingArgument)),
            (b"PASS a\0b", Err(SyntaxError::ControlCharacter)),
            (b"APOP alice 0123", Ok(Command::Apop(b"alice", b"0123"))),
            (b"APOP alice", Err(SyntaxError::MissingArgument)),
            (b"AUTH", Ok(Command::Auth(None))),
            (b"AUTH ", Ok(Command::Auth(None))),
            (b"AUTH PLAIN", Ok(Command::Auth(Some((b"PLAIN", None))))),
            (b"auth plain =", Ok(Command::Auth(Some((b"plain", Some(b"=")))))),
            (b"AUTH PLAIN a b", Err(SyntaxError::ExtraArgument)),
            (b"STLS", Ok(Command::Stls)),
            (b"UTF8", Ok(Command::Utf8)),
            (b"LANG", Ok(Command::Lang(None))),
            (b"LANG *", Ok(Command::Lang(Some(b"*")))),
            (b"", Err(SyntaxError::UnknownCommand)),
            (b" STAT", Err(SyntaxError::UnknownCommand)),
            (b"STATISTICS", Err(SyntaxError::UnknownCommand)),
            (b"STA", Err(SyntaxError::UnknownCommand)),
            (b"STAT\rNOOP", Err(SyntaxError::ControlCharacter)),
            (b"GET / HTTP/1.1", Err(SyntaxError::UnknownCommand)),
        ];
        for (line, want) in table {
            assert_eq!(&Command::parse(line), want, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_have_a_length() {
        let line = |octets: usize| [b"USER ".as_slice(), &vec![b'a'; octets - 7]].concat();
        assert!(Command::parse(&line(LINE_MAX)).is_ok());
        assert_eq!(Command::parse(&line(LINE_MAX + 1)), Err(SyntaxError::TooLong));
        let line = |octets: usize| [b"AUTH PLAIN ".as_slice(), &vec![b'a'; octets - 13]].concat();
        assert!(Command::parse(&line(AUTH_LINE_MAX)).is_ok());
        assert_eq!(Command::parse(&line(AUTH_LINE_MAX + 1)), Err(SyntaxError::TooLong));
    }
}
