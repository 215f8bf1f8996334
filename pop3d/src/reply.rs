//! Everything the server can say, on one screen. Response codes: RFC 2449 section 8, RFC 3206, RFC 6856.

use crate::command::SyntaxError;
use common::process::channel::Refused;

/// After a login.
pub const LOGGED_IN: &str = "+OK Logged in.";
/// `QUIT` before a login, or with nothing to delete.
pub const GOODBYE: &str = "+OK Goodbye.";
/// `QUIT` when all deletions are done.
pub const GOODBYE_DELETED: &str = "+OK Goodbye, marked messages deleted.";
/// `USER`: whether there is such a user is nobody's business.
pub const SEND_PASSWORD: &str = "+OK";
/// `NOOP`
pub const NOTHING_DONE: &str = "+OK";
/// `RSET`
pub const MARKS_REMOVED: &str = "+OK";
/// `DELE`
pub const MARKED: &str = "+OK Marked for deletion.";
/// `UTF8`
pub const UTF8_ON: &str = "+OK UTF-8 from here on.";
/// `STLS`
pub const BEGIN_TLS: &str = "+OK Begin TLS negotiation now.";
/// Begins the list of capabilities.
pub const CAPABILITIES: &str = "+OK";
/// Begins the list of mechanisms.
pub const MECHANISMS: &str = "+OK";
/// Begins the list of languages.
pub const LANGUAGES: &str = "+OK Languages:";
/// `LANG en`
pub const LANGUAGE_SET: &str = "+OK en Replies are in English.";

/// `LANG` with a tag we have no words for.
pub const NO_SUCH_LANGUAGE: &str = "-ERR No replies in this language.";
/// A command of the other state.
pub const WRONG_STATE: &str = "-ERR Not in this state.";
/// `PASS` without `USER`.
pub const USER_FIRST: &str = "-ERR USER first.";
/// `STLS` under TLS.
pub const ALREADY_TLS: &str = "-ERR TLS is already active.";
/// `STLS` where none is configured.
pub const NO_TLS: &str = "-ERR No TLS here.";
/// `STLS` with a certificate or key that cannot be used.
pub const TLS_BROKEN: &str = "-ERR [SYS/TEMP] TLS is out of order; the administrator's log says why.";
/// `STLS` with something already sent behind it (RFC 2595 section 4, CVE-2011-0411).
pub const NOT_AFTER_STLS: &str = "-ERR Nothing may follow STLS before its answer.";
/// A password where others could hear it.
pub const NOT_IN_CLEAR: &str = "-ERR [AUTH] No passwords in clear: use STLS or POP3S.";
/// `USER` and `PASS` where they are switched off.
pub const NO_PASSWORDS: &str = "-ERR [AUTH] USER and PASS are not offered here.";
/// A SASL mechanism we do not offer.
pub const NO_SUCH_MECHANISM: &str = "-ERR [AUTH] No such mechanism here.";
/// `*` in a SASL exchange.
pub const CANCELLED: &str = "-ERR Authentication cancelled.";
/// A SASL response that is no base64 or not what the mechanism wants.
pub const BAD_RESPONSE: &str = "-ERR [AUTH] Malformed response.";
/// Login failed; the same words whatever was wrong.
pub const LOGIN_REFUSED: &str = "-ERR [AUTH] Authentication failed.";
/// The password was right.
pub const EXPIRED: &str = "-ERR [AUTH] Password expired.";
/// The password was right.
pub const NOT_ALLOWED: &str = "-ERR [AUTH] Account disabled for this service.";
/// Login impossible for now.
pub const LOGIN_BROKEN: &str = "-ERR [SYS/TEMP] Login is out of order; try again later.";
/// Too many refused logins.
pub const TOO_MANY_LOGINS: &str = "-ERR [AUTH] Too many attempts.";

/// Somebody else has the maildrop.
pub const IN_USE: &str = "-ERR [IN-USE] The maildrop is open in another session; try again later.";
/// RFC 2449 section 8.1.1.
pub const LOGIN_DELAY: &str = "-ERR [LOGIN-DELAY] Too soon after the last login.";
/// The maildrop cannot be opened and an administrator has to look.
pub const MAILDROP_DENIED: &str = "-ERR [SYS/PERM] The maildrop cannot be opened.";
/// The maildrop cannot be opened now.
pub const MAILDROP_BROKEN: &str = "-ERR [SYS/TEMP] The maildrop cannot be opened; try again later.";
/// The store failed in the middle of a session.
pub const MAILDROP_UNREADABLE: &str = "-ERR [SYS/TEMP] The maildrop cannot be read now.";
/// No configuration, no memory, ...
pub const OUT_OF_ORDER: &str = "-ERR [SYS/TEMP] Out of order; try again later.";

/// A message-number beyond the maildrop.
pub const NO_SUCH_MESSAGE: &str = "-ERR No such message.";
/// A message marked for deletion.
pub const IS_DELETED: &str = "-ERR This message is marked for deletion.";
/// Another program removed it.
pub const IS_GONE: &str = "-ERR This message is no longer there.";
/// It is there but cannot be read.
pub const UNREADABLE: &str = "-ERR [SYS/TEMP] This message cannot be read now.";
/// `QUIT` when not all could be removed (RFC 1939 section 6).
pub const NOT_ALL_DELETED: &str = "-ERR [SYS/TEMP] Some marked messages could not be deleted.";

/// Silence for too long.
pub const IDLE: &str = "-ERR Idle for too long, closing.";
/// The time to log in, or of the session, is over.
pub const TIME_IS_OVER: &str = "-ERR Time is over, closing.";
/// Nothing good comes from here.
pub const TOO_MANY_BAD: &str = "-ERR Too many bad commands, closing.";

/// What a syntax error is answered with.
pub fn syntax(error: SyntaxError) -> &'static str {
    match error {
        SyntaxError::UnknownCommand => "-ERR Unknown command.",
        SyntaxError::TooLong => "-ERR Line too long.",
        SyntaxError::ControlCharacter => "-ERR Control character in command.",
        SyntaxError::MissingArgument => "-ERR An argument is missing.",
        SyntaxError::ExtraArgument => "-ERR Too many arguments.",
        SyntaxError::NotANumber => "-ERR Not a number.",
        SyntaxError::NoiseAfterNumber => "-ERR Something follows the number.",
        SyntaxError::NumberTooLarge => "-ERR Number too large.",
        SyntaxError::NumberZero => "-ERR Messages are counted from 1.",
    }
}

/// What a refused login is answered with.
pub fn refused(why: Refused) -> &'static str {
    match why {
        Refused::Credentials => LOGIN_REFUSED,
        Refused::Expired => EXPIRED,
        Refused::NotAllowed => NOT_ALLOWED,
        Refused::Temporary => LOGIN_BROKEN,
        Refused::OutOfTurn => TOO_MANY_LOGINS,
    }
}
