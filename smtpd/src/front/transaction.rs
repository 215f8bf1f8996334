//! MAIL and RCPT (RFC 5321 section 3.3): what opens a transaction, and who is in it.

use super::receive::Incoming;
use super::{Conversation, Next};
use crate::command::SyntaxError;
use crate::command::parameters::{MailParameters, RcptParameters};
use crate::command::path::{ForwardPath, ReversePath};
use crate::envelope::Body;
use crate::received::With;
use crate::reply;
use crate::wire::{Answer, Mail, Promise, Question};
use common::io::Ending;

/// From MAIL to the reply that ends it.
pub(super) struct Transaction {
    /// What MAIL said, until the guard has heard it.
    pub mail: Option<Box<Mail>>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8.
    pub utf8: bool,
    /// RCPT that were accepted.
    pub recipients: u32,
    /// Whether any RCPT was said at all.
    pub asked: bool,
    /// The last question was about a recipient, and DATA need not be asked about.
    pub ahead: Option<Promise>,
    /// BDAT has begun: what has come so far.
    pub chunks: Option<Incoming>,
}

impl Conversation<'_> {
    pub(super) fn mail(&mut self, path: ReversePath, said: &MailParameters<'_>) -> Result<Next, Ending> {
        let verb = "MAIL";
        let Some(hello) = &self.hello else {
            return self.not(verb, if self.service.lmtp { reply::LHLO_FIRST } else { reply::HELLO_FIRST });
        };
        if self.transaction.is_some() {
            return self.not(verb, reply::NESTED_MAIL);
        }
        // RFC 5321 section 4.1.1.1: without EHLO nothing of it was offered.
        if !hello.extended && *said != MailParameters::default() {
            return self.not(verb, reply::UNKNOWN_PARAMETER);
        }
        if let Some(refused) = self.not_offered(said) {
            return self.not(verb, refused);
        }
        let limit = self.front.config.smtpd_mail_limit;
        if limit > 0 && self.messages >= limit {
            return self.not(verb, reply::TOO_MANY_MESSAGES);
        }
        if let (Some(ForwardPath::Mailbox(address)), false) = (&path, said.smtputf8) {
            if !address.is_ascii() {
                return self.not(verb, reply::SENDER_NEEDS_UTF8);
            }
        }
        let tls = self.front.tls_description();
        let mail = Mail {
            helo: hello.name.clone(),
            with: With {
                lmtp: self.service.lmtp,
                esmtp: hello.extended,
                utf8: said.smtputf8,
                tls: !tls.is_empty(),
                login: self.authenticated,
            },
            tls,
            path,
            size: said.size,
            body: said.body.unwrap_or_default(),
            ret: said.ret,
            envid: said.envid.map(str::to_owned),
        };
        let mail = Box::new(mail);
        if self.is_refused(&mail) {
            let status = self.ask_status(&Question::Mail(mail))?;
            if status.is_positive() {
                return Err(Ending::Failed(std::io::ErrorKind::InvalidData.into()));
            }
            return self.pass_on(verb, &status);
        }
        let (body, utf8) = (mail.body, mail.with.utf8);
        let mail = Some(mail);
        self.transaction =
            Some(Transaction { mail, body, utf8, recipients: 0, asked: false, ahead: None, chunks: None });
        self.done(verb, reply::SENDER_OK)
    }

    /// Whether the guard would refuse it whoever the recipients are. What depends on them waits for RCPT, as in Postfix
    /// (smtpd_delay_reject), and the guard hears of both at once.
    fn is_refused(&self, mail: &Mail) -> bool {
        let limit = self.front.config.message_size_limit.0;
        let too_large = limit > 0 && mail.size.is_some_and(|size| size > limit);
        too_large || self.service.submission && !self.authenticated
    }

    /// Parameters of extensions that are not offered here.
    fn not_offered(&self, said: &MailParameters<'_>) -> Option<reply::Reply> {
        let rows = [
            (said.size.is_some(), "SIZE"),
            (said.body.is_some(), "8BITMIME"),
            (said.body == Some(Body::BinaryMime), "BINARYMIME"),
            (said.body == Some(Body::BinaryMime), "CHUNKING"),
            (said.smtputf8, "SMTPUTF8"),
            (said.ret.is_some() || said.envid.is_some(), "DSN"),
            (said.auth.is_some() && !self.offers_auth(), "AUTH"),
        ];
        let missing = rows.iter().any(|(used, keyword)| *used && !self.offers(keyword));
        // RFC 4954 section 5: AUTH= needs AUTH to be offered.
        let auth = said.auth.is_some() && !self.offers_auth();
        (missing || auth).then_some(reply::UNKNOWN_PARAMETER)
    }

    pub(super) fn rcpt(&mut self, path: ForwardPath, said: &RcptParameters<'_>) -> Result<Next, Ending> {
        let verb = "RCPT";
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let offers_dsn = extended && self.offers("DSN");
        let Some(transaction) = &mut self.transaction else {
            return self.not(verb, reply::MAIL_FIRST);
        };
        if transaction.chunks.is_some() {
            return self.not(verb, reply::IN_TRANSACTION);
        }
        transaction.asked = true;
        transaction.ahead = None;
        if *said != RcptParameters::default() && !offers_dsn {
            return self.not(verb, reply::UNKNOWN_PARAMETER);
        }
        if let (ForwardPath::Mailbox(address), false) = (&path, transaction.utf8) {
            if !address.is_ascii() {
                return self.not(verb, reply::RECIPIENT_NEEDS_UTF8);
            }
        }
        // RFC 6533 section 3: UTF-8 in ORCPT is for those who have asked for it.
        if !transaction.utf8 && said.orcpt.is_some_and(|orcpt| !orcpt.is_ascii()) {
            return self.wrong(SyntaxError::Parameter("ORCPT"));
        }
        let mail = transaction.mail.take();
        let (orcpt, notify) = (said.orcpt.map(str::to_owned), said.notify);
        let more = !self.front.conn.unread().is_empty();
        let question = Question::Rcpt { mail, path, orcpt, notify, more };
        let (status, ahead) = match self.ask(&question)? {
            Answer::Status(status) => (status, None),
            Answer::Ahead(status, promise) => (status, Some(promise)),
            _ => return Err(Ending::Failed(std::io::ErrorKind::InvalidData.into())),
        };
        if let (true, Some(transaction)) = (status.is_positive(), &mut self.transaction) {
            transaction.recipients = transaction.recipients.saturating_add(1);
            transaction.ahead = ahead;
        }
        self.pass_on(verb, &status)
    }
}
