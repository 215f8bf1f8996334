//! Notifications about messages: that they cannot be delivered, that it takes longer, that they were delivered (RFC 3464 in
//! the multipart/report of RFC 3462; RFC 6533 where addresses have UTF-8).
//!
//! They quote what strangers said: the sender's ENVID and ORCPT, the remote host's reply, the message itself. None of it can
//! end a line or a part: control characters are taken out, and the boundary is random.

mod text;

use crate::address::{Address, unitext};
use crate::deliver::{self, Sink};
use crate::envelope::{Body, Recipient, Ret};
use crate::queue::notes::Note;
use crate::queue::{Id, Queued, schedule};
use crate::status::{Enhanced, Status};
use common::mime::date;
use common::sys::process;
use std::fmt::Write as _;
use std::io::BufRead;
use std::time::SystemTime;
use text::{clean, folded, host_name, original, xtext};

/// Octets of a header that are returned at most.
const HEADER_MAX: usize = 100 * 1024;

/// What is said of a recipient (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is given up.
    Failed,
    /// It takes longer, and is still tried.
    Delayed,
    /// It is in a mailbox.
    Delivered,
    /// It is with a server that will tell nobody.
    Relayed,
    /// It is on its way to those that the address stands for.
    Expanded,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }
}

/// One recipient and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The recipient.
    pub recipient: &'a Recipient,
    /// What is said.
    pub action: Action,
    /// Why; nothing if the notes were lost.
    pub note: Option<&'a Note>,
}

/// A notification.
pub struct Notification<'a> {
    /// The message it is about.
    pub queued: &'a Queued,
    /// Its own ID.
    pub id: &'a Id,
    /// To whom.
    pub to: &'a Address,
    /// This host.
    pub host: &'a str,
    /// It is about a message without a sender, or one whom nobody can tell, for the postmaster.
    pub double: bool,
    /// Who should be told, and why that cannot be.
    pub nobody: Option<(&'a Address, &'a Status)>,
    /// What is said.
    pub reports: Vec<Report<'a>>,
    /// Octets of a message that is returned whole.
    pub size_limit: u64,
    /// Now.
    pub now: SystemTime,
    /// Until when it is tried, if it is delayed.
    pub until: Option<SystemTime>,
}

impl Notification<'_> {
    /// Whether it needs SMTPUTF8: the message did, or its recipient does.
    pub fn is_utf8(&self) -> bool {
        self.queued.envelope().smtputf8 || !self.to.is_ascii()
    }

    /// The body that its envelope has to announce, as it is: what is returned may have octets that its own envelope did not speak
    /// of, and RFC 2045 section 6.2 lets nothing be labelled as less than it is.
    pub fn body(&self) -> Result<Body, Status> {
        let mut eight = Eight(self.is_utf8());
        if !eight.0 {
            self.copy(&mut eight)?;
        }
        Ok(if eight.0 { Body::EightBitMime } else { Body::SevenBit })
    }

    /// Writes the whole message; its body is what [`Notification::body`] says.
    pub fn write(&self, sink: &mut dyn Sink, body: Body) -> Result<(), Status> {
        let mut random = [0; 8];
        process::random(&mut random).map_err(|_| unreadable())?;
        let random = u64::from_be_bytes(random);
        let boundary = format!("={}={random:016x}", self.queued.id());
        let mut out = self.header(&boundary, random, body);
        self.part_for_people(&mut out, &boundary);
        self.part_for_machines(&mut out, &boundary);
        sink.write(out.as_bytes())?;
        self.part_with_the_message(sink, &boundary, body)?;
        sink.write(format!("\r\n--{boundary}--\r\n").as_bytes())
    }

    fn action(&self) -> Action {
        self.reports.first().map_or(Action::Failed, |report| report.action)
    }

    fn is_about_success(&self) -> bool {
        matches!(self.action(), Action::Delivered | Action::Relayed | Action::Expanded)
    }

    fn header(&self, boundary: &str, random: u64, body: Body) -> String {
        let (host, utf8) = (self.host, self.is_utf8());
        let subject = match self.action() {
            Action::Failed if self.nobody.is_some() => {
                "Postmaster notice: mail could not be delivered, nor returned"
            }
            Action::Failed if self.double => {
                "Postmaster notice: mail without a sender could not be delivered"
            }
            Action::Failed => "Undelivered mail returned to sender",
            Action::Delayed => "Delayed mail (still being retried)",
            Action::Delivered | Action::Relayed | Action::Expanded => "Successful mail delivery report",
        };
        let seconds = schedule::seconds(self.now);
        let (date, to) = (printed(seconds), self.to);
        let eight = encoding(body);
        let kind = if utf8 { "global-delivery-status" } else { "delivery-status" };
        let about = if self.is_about_success() { "auto-generated" } else { "auto-replied" };
        format!(
            "Received: by {host} (tinmail)\r\n\tid {id}; {date}\r\n\
             Date: {date}\r\nFrom: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: <{to}>\r\n\
             Subject: {subject}\r\nMessage-ID: <{seconds:x}.{random:016x}@{host}>\r\n\
             Auto-Submitted: {about}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type={kind};\r\n\tboundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: {eight}\r\n\r\n\
             This is a MIME-encapsulated message.\r\n",
            id = self.id,
        )
    }

    /// RFC 3462 section 1: the first part is for people.
    fn part_for_people(&self, out: &mut String, boundary: &str) {
        let utf8 = self.is_utf8();
        let (charset, encoding) = if utf8 { ("utf-8", "8bit") } else { ("us-ascii", "7bit") };
        let _ = write!(
            out,
            "\r\n--{boundary}\r\nContent-Description: Notification\r\nContent-Type: text/plain; charset={charset}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\nThis is the mail system at host {}.\r\n\r\n",
            self.host
        );
        if let (Some((nobody, why)), Action::Failed) = (self.nobody, self.action()) {
            out.push_str(&self.without_somebody(nobody, why));
        }
        out.push_str(match self.action() {
            Action::Failed if self.nobody.is_some() => "",
            Action::Failed if self.double => {
                "A message without a sender, probably a notification, could not be\r\n\
                 delivered.\r\n"
            }
            Action::Failed => "Your message could not be delivered to one or more recipients.\r\n",
            Action::Delayed => {
                "Your message has not been delivered yet. You need not send it\r\n\
                 again: it will be tried for some more time.\r\n"
            }
            Action::Delivered | Action::Relayed | Action::Expanded => {
                "Your message was delivered to the destinations listed below. If it\r\n\
                 was delivered to a mailbox, you will hear no more of it; otherwise\r\n\
                 another mail system may tell you more.\r\n"
            }
        });
        if self.action() == Action::Failed {
            let what = if self.returns_all() { "It" } else { "Its header" };
            let _ = write!(out, "{what} is attached below.\r\n");
        }
        for report in &self.reports {
            let mut line = format!("<{}>", report.recipient.original);
            // Whom an address stands for is not the sender's business unless it goes wrong.
            if report.recipient.original != report.recipient.address && !self.is_about_success() {
                let _ = write!(line, " (as <{}>)", report.recipient.address);
            }
            match report.note {
                // The name of a file in a mailbox is nobody else's business.
                Some(note) if report.action == Action::Delivered && note.diagnostic.is_none() => {
                    line.push_str(": delivered");
                }
                Some(note) => {
                    if report.action == Action::Failed && note.status.is_temporary() {
                        let arrived = self.queued.head().arrived;
                        let tried = self.now.duration_since(arrived).unwrap_or_default().as_secs();
                        let _ = write!(line, ": tried for {} without success", span(tried));
                    }
                    // Many a reason begins with the address that it is about.
                    let text = note.status.text.as_str();
                    let Recipient { original, address, .. } = report.recipient;
                    let bare = [original, address].into_iter().find_map(|own| {
                        text.strip_prefix('<')?.strip_prefix(own.to_string().as_str())?.strip_prefix(">: ")
                    });
                    let _ = write!(line, ": {}", bare.unwrap_or(text));
                }
                None => line.push_str(": the reason is not known any more"),
            }
            let _ = write!(out, "\r\n{}\r\n", folded(&clean(&line, utf8), "    "));
        }
    }

    /// Why a message that had a sender is the postmaster's business.
    fn without_somebody(&self, nobody: &Address, why: &Status) -> String {
        let utf8 = self.is_utf8();
        let address = if utf8 { nobody.to_string() } else { unitext(&nobody.to_string()) };
        let who = match self.queued.envelope().reverse_path.as_ref() == Some(nobody) {
            true => "sender",
            false => "list's owner",
        };
        let unknown = matches!(why.enhanced, Enhanced(_, 1, _));
        let why =
            if unknown { " does not exist here".to_owned() } else { format!(" gets no mail: {}", why.text) };
        let text = format!("A message could not be delivered, and its {who} <{address}>{why}.");
        format!("{}\r\n", folded(&clean(&text, utf8), ""))
    }

    fn part_for_machines(&self, out: &mut String, boundary: &str) {
        let utf8 = self.is_utf8();
        let kind = if utf8 { "global-delivery-status" } else { "delivery-status" };
        let encoding = if utf8 { "8bit" } else { "7bit" };
        let _ = write!(
            out,
            "\r\n--{boundary}\r\nContent-Description: Delivery report\r\nContent-Type: message/{kind}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        // RFC 3464 section 2.2: the fields in this order, those of our own last.
        let head = self.queued.head();
        if let Some(envid) = head.envelope.envid.as_deref().filter(|_| !self.is_of_a_list()) {
            let _ = write!(out, "Original-Envelope-Id: {}\r\n", clean(&xtext(envid), utf8));
        }
        let _ = write!(
            out,
            "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\nX-Tinmail-Queue-ID: {}\r\n",
            self.host,
            printed(schedule::seconds(head.arrived)),
            self.queued.id()
        );
        for report in &self.reports {
            self.recipient(out, report, utf8);
        }
    }

    /// Whether it goes to the owner of a list: what the list sent on was asked for by nobody else (RFC 3461 section 5.2.7.1).
    fn is_of_a_list(&self) -> bool {
        !self.double && self.queued.envelope().reverse_path.as_ref() != Some(self.to)
    }

    /// RFC 3464 section 2.3, its fields in that order.
    fn recipient(&self, out: &mut String, report: &Report<'_>, utf8: bool) {
        out.push_str("\r\n");
        if let Some((kind, address)) = report.recipient.orcpt.as_deref().and_then(|o| o.split_once(';')) {
            let address = original(kind, address, utf8);
            let _ = write!(out, "Original-Recipient: {}; {}\r\n", clean(kind, false), clean(&address, utf8));
        }
        // RFC 3461 section 6.3 (e): as it came here. The owner of a list knows of the list: which member it was counts.
        let address = match self.is_of_a_list() {
            true => report.recipient.address.to_string(),
            false => report.recipient.original.to_string(),
        };
        // RFC 6533 section 3: the address type of addresses that are not ASCII.
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        let address = if utf8 { address } else { unitext(&address) };
        let _ = write!(out, "Final-Recipient: {kind}; {}\r\n", clean(&address, utf8));
        let Enhanced(class, subject, detail) = match (report.note, report.action) {
            // RFC 3464 section 2.3.3: what was temporary to the end stays so in the code.
            (Some(note), Action::Failed) if !note.status.is_positive() => note.status.enhanced,
            (Some(note), Action::Delayed) => Enhanced(4, note.status.enhanced.1, note.status.enhanced.2),
            (Some(note), Action::Delivered | Action::Relayed | Action::Expanded) => note.status.enhanced,
            (_, Action::Failed) => Enhanced(5, 0, 0),
            (None, Action::Delayed) => Enhanced(4, 0, 0),
            (None, _) => Enhanced(2, 0, 0),
        };
        let _ = write!(out, "Action: {}\r\nStatus: {class}.{subject}.{detail}\r\n", report.action.word());
        if let Some(note) = report.note {
            if let Some(diagnostic) = &note.diagnostic {
                let _ = write!(out, "Remote-MTA: dns; {}\r\n", clean(&host_name(&note.relay), utf8));
                let line = format!("Diagnostic-Code: smtp; {}", clean(diagnostic, utf8));
                let _ = write!(out, "{}\r\n", folded(&line, "    "));
            } else if !self.is_about_success() {
                let line = format!("Diagnostic-Code: x-tinmail; {}", clean(&note.status.text, utf8));
                let _ = write!(out, "{}\r\n", folded(&line, "    "));
            }
            let _ = write!(out, "Last-Attempt-Date: {}\r\n", printed(note.at));
        }
        if let (Action::Delayed, Some(until)) = (report.action, self.until) {
            let _ = write!(out, "Will-Retry-Until: {}\r\n", printed(schedule::seconds(until)));
        }
    }

    /// Whether the whole message comes back (RFC 3461 section 4.3: only with failures).
    fn returns_all(&self) -> bool {
        let envelope = self.queued.envelope();
        let ret = envelope.ret.filter(|_| !self.is_of_a_list());
        self.action() == Action::Failed
            && ret != Some(Ret::Headers)
            && envelope.body != Body::BinaryMime
            && self.queued.size() <= self.size_limit
    }

    fn part_with_the_message(&self, sink: &mut dyn Sink, boundary: &str, body: Body) -> Result<(), Status> {
        let all = self.returns_all();
        let kind = match (all, self.is_utf8()) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        };
        let words = if all { "Undelivered message" } else { "Header of the message" };
        let encoding = encoding(body);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Description: {words}\r\nContent-Type: {kind}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        sink.write(head.as_bytes())?;
        self.copy(sink)
    }

    /// What is returned of the message.
    fn copy(&self, sink: &mut dyn Sink) -> Result<(), Status> {
        let mut message = self.queued.message();
        if !self.returns_all() {
            return copy_header(&mut message, sink);
        }
        deliver::copy(&mut message, sink, |_| unreadable())
    }
}

/// Content-Transfer-Encoding of what is not encoded.
fn encoding(body: Body) -> &'static str {
    if body == Body::SevenBit { "7bit" } else { "8bit" }
}

/// Looks for octets that are not ASCII.
struct Eight(bool);

impl Sink for Eight {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.0 |= !octets.is_ascii();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(String::new())
    }
}

/// The header up to the empty line, cut at a line's end if it is too long.
fn copy_header(message: &mut impl BufRead, sink: &mut dyn Sink) -> Result<(), Status> {
    let mut left = HEADER_MAX;
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(left).unwrap_or(0).min(8192);
        let mut part = std::io::Read::take(&mut *message, limit);
        part.read_until(b'\n', &mut line).map_err(|_| unreadable())?;
        if line.is_empty() || line == b"\r\n" || line == b"\n" || !line.ends_with(b"\n") {
            return Ok(());
        }
        sink.write(&line)?;
        left = left.saturating_sub(line.len());
    }
}

/// Seconds in the largest unit of which it is two.
fn span(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7200.. => format!("{} hours", seconds / 3600),
        120.. => format!("{} minutes", seconds / 60),
        _ => "a short time".to_owned(),
    }
}

fn printed(seconds: u64) -> String {
    date::print(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn unreadable() -> Status {
    Status::new(451, Enhanced(4, 3, 0), "The message cannot be read")
}

#[cfg(test)]
mod tests;
