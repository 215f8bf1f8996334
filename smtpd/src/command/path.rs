//! Paths (RFC 5321 section 4.1.2): what stands between the brackets of MAIL and RCPT.
//!
//! ```text
//! Reverse-path = Path / "<>"
//! Forward-path = "<Postmaster@" Domain ">" / "<Postmaster>" / Path
//! Path         = "<" [ A-d-l ":" ] Mailbox ">"
//! ```

use crate::address::{self, Address, PATH_MAX};

/// A mailbox that may lack its domain, as programs of this host and simple devices send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// A whole address. A source route before it has been dropped (RFC 5321 section 4.1.1.3 and appendix C).
    Mailbox(Address),
    /// `<Postmaster>`, or another local-part alone: of this host, whoever that is.
    Local(String),
}

/// The same for MAIL, where `None` is the null reverse-path.
pub type ReversePath = Option<ForwardPath>;

/// The reverse-path at the beginning of the text, and what follows it.
pub fn reverse(text: &str) -> Result<(ReversePath, &str), &'static str> {
    if let Some(rest) = text.strip_prefix("<>") {
        return Ok((None, rest));
    }
    forward(text).map(|(path, rest)| (Some(path), rest))
}

/// The forward-path at the beginning of the text, and what follows it.
pub fn forward(text: &str) -> Result<(ForwardPath, &str), &'static str> {
    let inner = text.strip_prefix('<').ok_or("it has to stand in < and >")?;
    let inner = without_route(inner)?;
    // The local-part ends where it does, so that an @ or > in quotes ends nothing.
    let (local, rest) = address::parse_local_part(inner).map_err(|error| error.0)?;
    let (path, rest) = match rest.strip_prefix('@') {
        None => (ForwardPath::Local(checked(local)?), rest),
        Some(rest) => {
            let end = rest.find('>').ok_or("a > is missing")?;
            let (domain, rest) = rest.split_at(end);
            (ForwardPath::Mailbox(Address::new(local, domain).map_err(|error| error.0)?), rest)
        }
    };
    let rest = rest.strip_prefix('>').ok_or("a > is missing")?;
    if text.len().saturating_sub(rest.len()) > PATH_MAX {
        return Err("it is too long");
    }
    Ok((path, rest))
}

/// A local-part without a domain has the same rules as one with.
fn checked(local: String) -> Result<String, &'static str> {
    Address::new(local.as_str(), "x").map_err(|error| error.0)?;
    if local.is_empty() { Err("it is empty") } else { Ok(local) }
}

/// RFC 5321 appendix C: `@a,@b:` is accepted and ignored.
fn without_route(text: &str) -> Result<&str, &'static str> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, rest) = text.split_once(':').ok_or("the source route has no end")?;
    let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(address::is_domain);
    if route.split(',').all(is_hop) { Ok(rest) } else { Err("the source route is malformed") }
}
