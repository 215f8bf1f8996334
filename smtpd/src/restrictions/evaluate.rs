//! Going through a list.

use super::access::{self, Action};
use super::{Restriction, Restrictions, Subject, words};
use crate::address::{Address, ReversePath, is_domain};
use crate::classes::Class;
use crate::rules::Client;
use crate::status::{Enhanced, Status};
use common::log::escape;
use std::io;
use std::net::IpAddr;

/// What is known where a list is asked.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client.
    pub client: &'a Client<'a>,
    /// Of MAIL; `None`: there was none yet.
    pub sender: Option<&'a ReversePath>,
    /// Of RCPT.
    pub recipient: Option<&'a Address>,
    /// How many recipients there are, with this one.
    pub recipients: usize,
}

/// What restrictions have to look up.
pub trait Lookups {
    /// The class of a domain.
    fn class(&mut self, domain: &str) -> io::Result<Class>;
    /// Whether an address of ours exists: the refusal if not. Others are taken for listed.
    fn listed(&mut self, address: &Address) -> Result<(), Status>;
    /// Whether the address is in `mynetworks`.
    fn is_trusted(&self, address: IpAddr) -> bool;
    /// Whether the address is one of this host's.
    fn is_own(&self, address: IpAddr) -> bool;
    /// The local-part without its extension, if it has one.
    fn base<'a>(&self, local: &'a str) -> Option<&'a str>;
    /// Who may use an address as sender: names of users. `None`: nobody in particular.
    fn owners(&mut self, sender: &Address) -> io::Result<Option<Vec<String>>>;
    /// Something for the log.
    fn warn(&mut self, text: String);
}

/// What a list decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Permitted, or nothing decided against it.
    Permit,
    /// No.
    Refuse(Status),
}

/// Octets of a HELO name that a refusal shows: the longest domain.
const HELO_SHOWN: usize = 255;

/// How deep tables may name restrictions that ask tables.
const DEPTH: u32 = 8;

/// What one restriction says.
enum Step {
    Next,
    Permit,
    Refuse(Status),
}

/// Conditions for the end of a list.
#[derive(Default)]
struct Pending {
    defer_if_permit: Option<Status>,
    defer_if_reject: bool,
}

impl Restrictions {
    /// Asks the list.
    pub fn evaluate(&self, facts: &Facts<'_>, lookups: &mut dyn Lookups) -> Verdict {
        let mut pending = Pending::default();
        let step = run(self.subject, &self.list, facts, lookups, &mut pending, DEPTH);
        match step {
            Step::Refuse(status) if pending.defer_if_reject && status.is_permanent() => {
                let code = if status.code == 521 { 421 } else { 450 };
                let Enhanced(_, subject, detail) = status.enhanced;
                Verdict::Refuse(Status::new(code, Enhanced(4, subject, detail), status.text))
            }
            Step::Refuse(status) => Verdict::Refuse(status),
            Step::Next | Step::Permit => pending.defer_if_permit.map_or(Verdict::Permit, Verdict::Refuse),
        }
    }
}

fn run(
    subject: Subject,
    list: &[Restriction],
    facts: &Facts<'_>,
    lookups: &mut dyn Lookups,
    pending: &mut Pending,
    depth: u32,
) -> Step {
    let mut only_warn = false;
    for restriction in list {
        if *restriction == Restriction::WarnIfReject {
            only_warn = true;
            continue;
        }
        match one(subject, restriction, facts, lookups, pending, depth) {
            Step::Refuse(status) if only_warn => {
                lookups.warn(noted("reject_warning", subject, facts, &status.to_string()));
            }
            Step::Next => {}
            other => return other,
        }
        only_warn = false;
    }
    Step::Next
}

/// A line as a refusal has it in the log, with another word.
fn noted(word: &str, list: Subject, facts: &Facts<'_>, text: &str) -> String {
    let at = if list == Subject::Data { "DATA" } else { "RCPT" };
    let (client, helo) = (shown(facts.client), facts.client.helo);
    let from = facts.sender.and_then(Option::as_ref).map(ToString::to_string).unwrap_or_default();
    let to = facts.recipient.map(|to| format!(" to=<{to}>")).unwrap_or_default();
    let text = text.trim_end_matches([':', ' ']);
    format!(
        "NOQUEUE: {word}: {at} from {client}: {text}; from=<{from}>{to} helo=<{}>",
        escape(helo.as_bytes())
    )
}

/// `name[address]`.
fn shown(client: &Client<'_>) -> String {
    let name = if client.name.is_empty() { "unknown" } else { client.name };
    let address = client.address.map(|address| address.to_canonical().to_string());
    format!("{name}[{}]", address.as_deref().unwrap_or("unknown"))
}

fn refuse(code: u16, enhanced: Enhanced, text: impl Into<String>) -> Step {
    Step::Refuse(Status::new(code, enhanced, text))
}

fn one(
    subject: Subject,
    restriction: &Restriction,
    facts: &Facts<'_>,
    lookups: &mut dyn Lookups,
    pending: &mut Pending,
    depth: u32,
) -> Step {
    use Restriction as R;
    let client = facts.client;
    let is_local_program = client.local_uid.is_some();
    let permit_if = |condition| if condition { Step::Permit } else { Step::Next };
    let named = named(subject, facts);
    match restriction {
        R::Permit => Step::Permit,
        R::Reject => refuse(554, Enhanced(5, 7, 1), format!("{named} rejected: Access denied")),
        R::Defer => refuse(450, Enhanced(4, 3, 2), format!("{named} rejected: Try again later")),
        R::PermitMynetworks => {
            permit_if(is_local_program || client.address.is_some_and(|address| lookups.is_trusted(address)))
        }
        R::PermitSaslAuthenticated => permit_if(client.login.is_some()),
        R::PermitInetInterfaces => {
            permit_if(is_local_program || client.address.is_some_and(|address| lookups.is_own(address)))
        }
        R::PermitAuthDestination => match facts.recipient.map(|recipient| is_ours(recipient, lookups)) {
            Some(Ok(true)) => Step::Permit,
            Some(Err(status)) => Step::Refuse(status),
            _ => Step::Next,
        },
        R::RejectUnauthDestination => unauthorised(facts, lookups, 550, 5),
        R::DeferUnauthDestination => unauthorised(facts, lookups, 454, 4),
        R::RejectUnauthPipelining if client.pipelined => {
            refuse(503, Enhanced(5, 5, 0), "Commands were sent ahead where they may not be")
        }
        R::RejectPlaintextSession if !client.tls && !is_local_program => {
            refuse(450, Enhanced(4, 7, 1), "Session encryption is required")
        }
        R::RejectMultiRecipientBounce if facts.sender == Some(&None) && facts.recipients > 1 => {
            refuse(550, Enhanced(5, 5, 3), format!("{named} rejected: Multi-recipient bounce"))
        }
        R::RejectInvalidHelo if !client.helo.is_empty() && !is_helo(client.helo) => {
            let named = self::named(Subject::Helo, facts);
            refuse(501, Enhanced(5, 5, 2), format!("{named} rejected: Invalid name"))
        }
        R::RejectNonFqdnHelo if !client.helo.is_empty() && !is_fqdn(client.helo) => {
            let named = self::named(Subject::Helo, facts);
            refuse(504, Enhanced(5, 5, 2), format!("{named} rejected: need fully-qualified hostname"))
        }
        R::RejectNonFqdnSender => {
            not_fqdn(facts.sender.and_then(Option::as_ref), client.bare_sender, "Sender address")
        }
        R::RejectNonFqdnRecipient => not_fqdn(facts.recipient, client.bare_recipient, "Recipient address"),
        R::RejectUnlistedSender => match listed(facts.sender.and_then(Option::as_ref), lookups) {
            // What was looked up was named as a recipient.
            Step::Refuse(Status { code, enhanced: Enhanced(class, 1, 1), text, cause }) => {
                let text = text.replace(": Recipient address rejected: ", ": Sender address rejected: ");
                Step::Refuse(Status { code, enhanced: Enhanced(class, 1, 0), text, cause })
            }
            step => step,
        },
        R::RejectUnlistedRecipient => listed(facts.recipient, lookups),
        R::RejectSenderLoginMismatch { logged_in, not_logged_in, known_only } => {
            let Some(Some(sender)) = facts.sender else { return Step::Next };
            mismatch(sender, client.login, [*logged_in, *not_logged_in, *known_only], lookups)
        }
        R::CheckAccess(about, map) => check(subject, (*about, map), facts, lookups, pending, depth),
        R::DeferIfPermit => {
            pending.defer_if_permit = Some(Status::new(
                450,
                Enhanced(4, 7, 0),
                format!("{named} rejected: defer_if_permit requested"),
            ));
            Step::Next
        }
        R::DeferIfReject => {
            pending.defer_if_reject = true;
            Step::Next
        }
        _ => Step::Next,
    }
}

/// What a refusal names, in Postfix's words: `<a@b>: Sender address`.
fn named(subject: Subject, facts: &Facts<'_>) -> String {
    let client = facts.client;
    match (subject, facts.recipient, facts.sender) {
        (Subject::Recipient, Some(recipient), _) => format!("<{recipient}>: Recipient address"),
        (Subject::Sender | Subject::Recipient, _, Some(sender)) => {
            format!("{}: Sender address", path(sender))
        }
        (Subject::Helo, ..) => {
            // It may be as long as a command, and a reply is not longer (RFC 5321 section 4.5.3.1.5).
            format!("<{}>: Helo command", escape(client.helo.as_bytes()).up_to(HELO_SHOWN))
        }
        (Subject::Data, ..) => "<DATA>: Data command".to_owned(),
        (Subject::Login, ..) => format!("<{}>: SASL login name", client.login.unwrap_or_default()),
        (Subject::Client | Subject::Sender | Subject::Recipient, ..) => {
            format!("<{}>: Client host", shown(client))
        }
    }
}

/// `<a@b>` or `<>`.
fn path(sender: &ReversePath) -> String {
    sender.as_ref().map_or_else(|| "<>".to_owned(), |sender| format!("<{sender}>"))
}

fn cannot_look_up(lookups: &mut dyn Lookups, error: &io::Error) -> Status {
    lookups.warn(error.to_string());
    Status::new(451, Enhanced(4, 3, 5), "Server configuration problem")
}

/// Whether mail for it is taken from anybody. A local-part that tells a host to route it on (`a%b`, `a!b`, `"a@b"`) is nobody's: behind a
/// virtual alias or `luser_relay` that is for a whole domain there may be a host that believes it.
fn is_ours(recipient: &Address, lookups: &mut dyn Lookups) -> Result<bool, Status> {
    let class = lookups.class(recipient.domain()).map_err(|error| cannot_look_up(lookups, &error))?;
    Ok(class != Class::Remote && !recipient.local().contains(['@', '%', '!']))
}

fn unauthorised(facts: &Facts<'_>, lookups: &mut dyn Lookups, code: u16, class: u8) -> Step {
    let Some(recipient) = facts.recipient else { return Step::Next };
    match is_ours(recipient, lookups) {
        Ok(true) => Step::Next,
        Ok(false) => refuse(code, Enhanced(class, 7, 1), format!("<{recipient}>: Relaying denied")),
        Err(status) => Step::Refuse(status),
    }
}

fn listed(address: Option<&Address>, lookups: &mut dyn Lookups) -> Step {
    match address.map(|address| lookups.listed(address)) {
        Some(Err(status)) => Step::Refuse(status),
        _ => Step::Next,
    }
}

fn not_fqdn(address: Option<&Address>, bare: bool, what: &str) -> Step {
    let Some(address) = address.filter(|address| bare || !is_fqdn(address.domain())) else {
        return Step::Next;
    };
    // As it was given: a domain that it had not would be no reason.
    let given = if bare { address.local().to_owned() } else { address.to_string() };
    let text = format!("<{given}>: {what} rejected: need fully-qualified address");
    refuse(504, Enhanced(5, 5, 2), text)
}

/// A domain of more than one part, or an address literal. An address without brackets is none of both.
fn is_fqdn(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_numeric = name.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    is_domain(name) && (name.starts_with('[') || name.contains('.') && !is_numeric)
}

fn is_helo(name: &str) -> bool {
    is_domain(name.strip_suffix('.').unwrap_or(name))
}

fn mismatch(
    sender: &Address,
    login: Option<&str>,
    [logged_in, not_logged_in, known_only]: [bool; 3],
    lookups: &mut dyn Lookups,
) -> Step {
    let owners = match lookups.owners(sender) {
        Ok(owners) => owners,
        Err(error) => return Step::Refuse(cannot_look_up(lookups, &error)),
    };
    let say =
        |why: String| refuse(553, Enhanced(5, 7, 1), format!("<{sender}>: Sender address rejected: {why}"));
    match (login, owners) {
        (Some(_), None) if known_only => Step::Next,
        (Some(login), owners) if logged_in => {
            let owned = owners.is_some_and(|all| all.iter().any(|owner| owner.eq_ignore_ascii_case(login)));
            if owned { Step::Next } else { say(format!("not owned by user {login}")) }
        }
        (None, Some(_)) if not_logged_in => say("not logged in".to_owned()),
        _ => Step::Next,
    }
}

fn check(
    list: Subject,
    (subject, map): (Subject, &crate::map::Map),
    facts: &Facts<'_>,
    lookups: &mut dyn Lookups,
    pending: &mut Pending,
    depth: u32,
) -> Step {
    let client = facts.client;
    let keys = match subject {
        Subject::Client => access::client_keys(client.name, client.address),
        Subject::Helo => access::domain_keys(client.helo),
        Subject::Sender => {
            let Some(sender) = facts.sender else { return Step::Next };
            let base = sender.as_ref().and_then(|sender| lookups.base(sender.local()));
            access::address_keys(sender.as_ref(), base)
        }
        Subject::Recipient | Subject::Data => {
            let Some(recipient) = facts.recipient else { return Step::Next };
            access::address_keys(Some(recipient), lookups.base(recipient.local()))
        }
        Subject::Login => match client.login {
            Some(login) => vec![login.to_owned()],
            None => return Step::Next,
        },
    };
    let what = named(subject, facts);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let value = match map.find(&keys) {
        Ok(Some((_, value))) => value,
        Ok(None) => return Step::Next,
        Err(error) => return Step::Refuse(cannot_look_up(lookups, &error)),
    };
    match access::action(&value, &what) {
        Ok(Action::Permit) => Step::Permit,
        Ok(Action::Dunno) => Step::Next,
        Ok(Action::Refuse(status)) => Step::Refuse(status),
        Ok(Action::DeferIfPermit(text)) => {
            let text = text.as_deref().unwrap_or("Service unavailable");
            pending.defer_if_permit =
                Some(Status::new(450, Enhanced(4, 7, 1), format!("{what} rejected: {text}")));
            Step::Next
        }
        Ok(Action::DeferIfReject) => {
            pending.defer_if_reject = true;
            Step::Next
        }
        Ok(Action::Warn(text)) => {
            lookups.warn(noted("warn", list, facts, &format!("{what}: {text}")));
            Step::Next
        }
        Ok(Action::Restrictions(text)) => match words::parse(&text) {
            Ok(more) if depth > 0 => run(list, &more, facts, lookups, pending, depth - 1),
            Ok(_) => {
                Step::Refuse(cannot_look_up(lookups, &io::Error::other("tables name each other in a circle")))
            }
            Err(error) => Step::Refuse(cannot_look_up(lookups, &error)),
        },
        Err(error) => Step::Refuse(cannot_look_up(lookups, &io::Error::other(error))),
    }
}
