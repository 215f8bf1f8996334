//! What the server says of its own accord and to commands before the login, on one screen. Response codes: RFC 5530.

use crate::reply::Reply;
use common::process::channel::Refused;

/// Silence for too long.
pub const IDLE: &str = "* BYE Idle for too long, closing.";
/// The time to log in, or of the session, is over.
pub const TIME_IS_OVER: &str = "* BYE Time is over, closing.";
/// Nothing good comes from here.
pub const TOO_MANY_BAD: &str = "* BYE Too many bad commands, closing.";
/// A literal that is not to be had, and its octets may follow.
pub const LITERAL_REFUSED: &str = "* BYE Literal too long, closing.";
/// No configuration, no memory, ...
pub const OUT_OF_ORDER: &str = "* BYE [UNAVAILABLE] Out of order; try again later.";
/// Somebody, perhaps this client, deleted or renamed it. There is no other way to say that it is selected no longer
/// (RFC 2180 section 3.3).
pub const MAILBOX_GONE: &str = "* BYE The selected mailbox is gone.";
/// LOGOUT.
pub const BYE: &str = "* BYE Goodbye.";
/// Too many refused logins.
pub const TOO_MANY_LOGINS: &str = "* BYE Too many attempts, closing.";
/// The client said a password where others could hear it. Dovecot's hint: many a client shows it to its user.
pub const HEARD: &str = "* BAD [ALERT] The password was sent in clear although the server forbids that: whoever listened knows it now.";

/// LOGOUT.
pub const LOGGED_OUT: &str = "Logout completed.";
/// A command of the other state.
pub const WRONG_STATE: &str = "Not in this state.";
/// A command before the login.
pub const LOG_IN_FIRST: &str = "Log in first.";
/// STARTTLS under TLS.
pub const ALREADY_TLS: &str = "TLS is already active.";
/// STARTTLS where none is configured.
pub const NO_TLS: &str = "No TLS here.";
/// STARTTLS with something already sent behind it (RFC 2595 section 4, CVE-2011-0411).
pub const NOT_AFTER_STARTTLS: &str = "Nothing may follow STARTTLS before its answer.";
/// STARTTLS.
pub const BEGIN_TLS: &str = "Begin TLS negotiation now.";
/// `*` in a SASL exchange.
pub const CANCELLED: &str = "Authentication cancelled.";
/// A SASL response that is no base64 or not what the mechanism wants.
pub const BAD_RESPONSE: &str = "Malformed response.";

/// STARTTLS with a certificate or key that cannot be used.
pub fn tls_broken() -> Reply {
    Reply::no("TLS is out of order; the administrator's log says why.").with_code("UNAVAILABLE")
}

/// A password where others could hear it.
pub fn not_in_clear() -> Reply {
    Reply::no("No passwords in clear: use STARTTLS or port 993.").with_code("PRIVACYREQUIRED")
}

/// LOGIN where passwords are switched off.
pub fn no_passwords() -> Reply {
    Reply::no("LOGIN is not offered here.").with_code("AUTHENTICATIONFAILED")
}

/// A SASL mechanism we do not offer.
pub fn no_such_mechanism() -> Reply {
    Reply::no("No such mechanism here.").with_code("CANNOT")
}

/// What a refused login is answered with; the same words whether the user or the password was wrong.
pub fn refused(why: Refused) -> Reply {
    match why {
        Refused::Credentials => Reply::no("Authentication failed.").with_code("AUTHENTICATIONFAILED"),
        Refused::Expired => Reply::no("Password expired.").with_code("EXPIRED"),
        Refused::NotAllowed => {
            Reply::no("Account disabled for this service.").with_code("AUTHORIZATIONFAILED")
        }
        Refused::Temporary => Reply::no("Login is out of order; try again later.").with_code("UNAVAILABLE"),
        Refused::OutOfTurn => Reply::no("Authentication failed.").with_code("AUTHENTICATIONFAILED"),
    }
}
