//! The log's lines, in Postfix's form: what reads its log (fail2ban, statistics) reads this one.
//!
//! Everything from the client is escaped and cut.

use super::client::Known;
use super::plan::Delivered;
use super::transaction::Transaction;
use crate::envelope::Recipient;
use crate::status::Status;
use crate::wire::Mail;
use crate::wire::job::Written;
use common::log::{escape, readable};
use common::process::channel::Why;
use common::process::service::Ground;

/// Octets of a Message-ID.
const ID_MAX: usize = 250;

impl Known {
    pub(super) fn log_connect(&mut self, ground: &Ground<'_>) {
        self.set_connected();
        ground.log.info(format_args!("connect from {}", self.shown(ground)));
    }

    pub(super) fn log_refused(&self, ground: &Ground<'_>, method: &str, user: &str, guessed: bool) {
        let client = self.shown(ground);
        let why = if guessed { "authentication failure" } else { "account may not be used" };
        let method = escape(method.as_bytes());
        let user = escape(user.as_bytes());
        ground.log.warning(format_args!(
            "warning: {client}: SASL {method} authentication failed: {why}, sasl_username={user}"
        ));
    }

    pub(super) fn log_end(&self, ground: &Ground<'_>, why: Why, detail: &str) {
        let client = self.shown(ground);
        match why {
            Why::Handshake => {
                let detail = escape(detail.as_bytes());
                ground.log.info(format_args!("SSL_accept error from {client}: {detail}"));
                ground.log.info(format_args!("lost connection after STARTTLS from {client}"));
            }
            Why::NoProxyHeader => {
                ground.log.warning(format_args!("PROXY header from {client}: {}", escape(detail.as_bytes())));
            }
            _ => {}
        }
        if self.is_connected() {
            let blank = if self.counts.is_empty() { "" } else { " " };
            let counts = escape(self.counts.as_bytes());
            ground.log.info(format_args!("disconnect from {client}{blank}{counts}"));
        }
    }

    /// `NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 554 5.7.1 ...`
    pub(super) fn log_reject(
        &self,
        ground: &Ground<'_>,
        mail: &Mail,
        at: &str,
        status: &Status,
        from: &str,
        to: Option<&str>,
    ) {
        let client = self.shown(ground);
        let to = to.map(|to| format!(" to=<{}>", escape(to.as_bytes()))).unwrap_or_default();
        let from = escape(from.as_bytes());
        let helo = escape(self.helo(mail).as_bytes());
        // The client is told in sendmail's words, the log has Postfix's: those are what its readers look for.
        let status = status.to_string().replace(": Relaying denied", ": Relay access denied");
        ground.log.info(format_args!(
            "NOQUEUE: reject: {at} from {client}: {}; from=<{from}>{to} proto={} helo=<{helo}>",
            readable(status.as_bytes()),
            protocol(mail),
        ));
    }

    /// Nobody takes the message.
    pub(super) fn log_refused_data(&self, ground: &Ground<'_>, transaction: &Transaction, status: &Status) {
        let sender = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        let to = transaction.only_recipient().map(|recipient| recipient.original.to_string());
        self.log_reject(ground, &transaction.mail, "DATA", status, &sender, to.as_deref());
    }

    /// A message that was refused for what it is made of.
    pub(super) fn log_data_refused(&self, ground: &Ground<'_>, transaction: &Transaction, reply: &str) {
        let client = self.shown(ground);
        let from = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        let to = transaction.only_recipient().map(|recipient| recipient.original.to_string());
        let to = to.map(|to| format!(" to=<{}>", escape(to.as_bytes()))).unwrap_or_default();
        ground.log.info(format_args!(
            "NOQUEUE: reject: END-OF-MESSAGE from {client}: {}; from=<{}>{to} proto={} helo=<{}>",
            readable(reply.as_bytes()),
            escape(from.as_bytes()),
            protocol(&transaction.mail),
            escape(self.helo(&transaction.mail).as_bytes()),
        ));
    }

    /// A message that was not taken, for all recipients or for this one.
    pub(super) fn log_refused_at_end(
        &self,
        ground: &Ground<'_>,
        transaction: &Transaction,
        recipient: Option<&Recipient>,
        status: &Status,
    ) {
        let from = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        let to = recipient.map(|recipient| recipient.original.to_string());
        self.log_reject(ground, &transaction.mail, "END-OF-MESSAGE", status, &from, to.as_deref());
    }

    /// Who brought which message: the beginning of what is said of one that was taken.
    fn origin(&self, ground: &Ground<'_>, written: &Written) -> String {
        let client = self.shown(ground);
        let message_id = escape(written.message_id.as_bytes()).up_to(ID_MAX);
        let sasl = match self.login(ground) {
            None => String::new(),
            Some(login) => {
                let (method, login) = (escape(ground.method.as_bytes()), escape(login.as_bytes()));
                format!(", sasl_method={method}, sasl_username={login}")
            }
        };
        format!("client={client}{sasl}, message-id=<{message_id}>")
    }

    /// A message went straight to its recipient. No other process of Postfix's is there that would say the rest: these are the lines
    /// in which programs that count messages look for client, sender, size and delivery.
    pub(super) fn log_delivered(
        &self,
        ground: &Ground<'_>,
        transaction: &Transaction,
        delivered: &Delivered,
    ) {
        let Delivered { id, recipient, written } = delivered;
        let from = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
        let to = recipient.address.to_string();
        let original = match recipient.original == recipient.address {
            true => String::new(),
            false => format!(", orig_to=<{}>", escape(recipient.original.to_string().as_bytes())),
        };
        let to = escape(to.as_bytes());
        let (us, origin) = (std::process::id(), self.origin(ground, written));
        let (size, delay) = (written.octets, transaction.begun.elapsed().as_secs_f32());
        ground.log.info_each([
            (format_args!("{}", ground.log.tag()), format_args!("{id}: {origin}")),
            (
                format_args!("postfix/qmgr[{us}]"),
                format_args!("{id}: from=<{}>, size={size}, nrcpt=1 (queue active)", escape(from.as_bytes())),
            ),
            (
                format_args!("postfix/local[{us}]"),
                format_args!(
                    "{id}: to=<{to}>{original}, relay=local, delay={delay:.2}, dsn=2.0.0, status=sent (delivered to \
                     maildir: {})",
                    escape(written.name.as_bytes())
                ),
            ),
        ]);
    }

    /// A message went into the queue.
    pub(super) fn log_queued(
        &self,
        ground: &Ground<'_>,
        transaction: &Transaction,
        recipients: usize,
        result: &Result<Written, Status>,
    ) {
        match result {
            Ok(written) => {
                let from = transaction.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
                ground.log.info(format_args!(
                    "{}: {}, from=<{}>, size={}, nrcpt={recipients} (queue active)",
                    escape(written.name.as_bytes()),
                    self.origin(ground, written),
                    escape(from.as_bytes()),
                    written.octets,
                ));
            }
            Err(status) => self.log_refused_at_end(ground, transaction, transaction.only_recipient(), status),
        }
    }
}

fn protocol(mail: &Mail) -> &'static str {
    match (mail.with.lmtp, mail.with.esmtp) {
        (true, _) => "LMTP",
        (false, true) => "ESMTP",
        (false, false) => "SMTP",
    }
}
