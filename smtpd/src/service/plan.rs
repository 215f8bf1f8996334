//! Which process takes the message: the recipient's own, the queue's, or, for several recipients of LMTP, the spool file's and
//! then each of theirs.

use super::client::Known;
use super::is;
use super::transaction::Transaction;
use super::writers::Writers;
use crate::envelope::{Body, Recipient, Target};
use crate::queue::{Id, Place as QueuePlace, QueueDirectory};
use crate::received::Received;
use crate::reply;
use crate::rules::Rules;
use crate::status::{Enhanced, Status};
use crate::wire::Promise;
use crate::wire::job::{Deliver, Job, Outcome, Queue, Submission, Written};
use crate::wire::pieces::Token;
use common::auth::Account;
use common::process::service::{Ground, User};
use common::sys::process;
use std::collections::VecDeque;
use std::io;
use std::time::SystemTime;

/// Who takes the message, and what for.
pub(super) enum Plan {
    /// The recipient's own writer.
    Mailbox(Straight),
    /// The queue's.
    Queue { user: User, recipients: usize },
    /// The spool file's.
    Spool { user: User },
    /// Nobody's: the message was sent for before that was known.
    Nowhere { user: User, status: Status },
}

impl Plan {
    /// Whose writer it is.
    pub fn user(&self) -> &User {
        let (Plan::Mailbox(Straight { user, .. })
        | Plan::Queue { user, .. }
        | Plan::Spool { user }
        | Plan::Nowhere { user, .. }) = self;
        user
    }

    /// What the front may say as soon as it hears of the writer.
    pub fn promise(&self) -> Option<Promise> {
        let Plan::Mailbox(Straight { id, token: Some(token), .. }) = self else { return None };
        Some(Promise { token: *token, status: delivered_as(id) })
    }
}

/// The one recipient whose mailbox gets the message without the queue.
pub(super) struct Straight {
    user: User,
    id: String,
    /// What its writer says to the front, if it does.
    token: Option<Token>,
    recipient: Box<Recipient>,
}

/// What a message that goes straight into a mailbox will be called, and how the front hears from its writer.
#[derive(Clone)]
pub(super) struct Mark {
    id: String,
    token: Token,
}

impl Mark {
    /// Of a new message.
    pub fn new() -> Result<Mark, Status> {
        Ok(Mark { id: new_id()?, token: new_token()? })
    }

    /// What the front may say as soon as it hears of the writer.
    pub fn promise(&self) -> Promise {
        Promise { token: self.token, status: delivered_as(&self.id) }
    }
}

/// What a plan is made from.
pub(super) struct Place<'a, 'g> {
    pub ground: &'a Ground<'g>,
    pub rules: &'a mut Rules,
    pub known: &'a Known,
    pub writers: &'a mut Writers,
    /// Of a message whose writer tells the front, too: the client has its reply sooner, and the front is woken twice. For a
    /// connection that brings one message that is not worth it.
    pub mark: Option<Mark>,
}

/// What one recipient, or the queue, is to be given, once somebody has agreed to take it.
pub(super) enum Taken {
    Mailbox(Straight),
    Queue(User, usize),
}

/// What somebody was asked to take.
pub(super) struct Offer {
    taken: Taken,
    /// `~/.forward` has been read.
    is_forwarded: bool,
}

/// What comes of a first word.
pub(super) enum Step {
    Taken(Taken),
    /// Somebody else was asked.
    Offered(Offer),
}

/// What became of a message.
pub(super) struct Finished {
    /// What is to be said: by LMTP of each recipient.
    pub statuses: VecDeque<Status>,
    /// What is still to be in the log. The client need not wait for that.
    pub delivered: Option<Delivered>,
}

impl Finished {
    fn one(status: Status) -> Finished {
        Finished { statuses: [status].into(), delivered: None }
    }
}

/// A message that went straight to its recipient.
pub(super) struct Delivered {
    pub id: String,
    pub recipient: Box<Recipient>,
    pub written: Written,
}

impl Taken {
    /// Whose writer it is.
    pub fn user(&self) -> &User {
        let (Taken::Mailbox(Straight { user, .. }) | Taken::Queue(user, _)) = self;
        user
    }
}

impl Offer {
    /// Whose writer it is.
    pub fn user(&self) -> &User {
        self.taken.user()
    }

    /// The queue's writer is nobody's whose mail it has.
    pub fn is_for_queue(&self) -> bool {
        matches!(self.taken, Taken::Queue(..))
    }
}

impl Place<'_, '_> {
    /// Asks the writer of the one recipient with a mailbox; `None`: it is not as simple, or goes wrong.
    pub fn offer_straight(&mut self, transaction: &Transaction) -> Option<Offer> {
        let recipient = straight(transaction, &transaction.recipients())?.clone();
        let account = self.rules.account(&recipient).ok()?;
        self.offer_mailbox(transaction, recipient, account, false).ok()
    }

    /// Finds somebody who takes the message, unless somebody was asked already. Nothing of it has been read.
    pub fn begin(&mut self, transaction: &Transaction, asked: Option<Offer>) -> Result<Plan, Status> {
        let several = is(self.ground, "lmtp") && transaction.accepted() > 1;
        if several {
            return self.begin_spool();
        }
        let mut offer = match asked {
            Some(offer) => offer,
            None => self.offer(transaction, transaction.recipients(), false)?,
        };
        loop {
            let outcome = self.writers.first_word(self.ground, offer.user());
            match self.after_first_word(transaction, offer, outcome, false)? {
                Step::Offered(next) => offer = next,
                Step::Taken(Taken::Mailbox(straight)) => return Ok(Plan::Mailbox(straight)),
                Step::Taken(Taken::Queue(user, recipients)) => return Ok(Plan::Queue { user, recipients }),
            }
        }
    }

    /// Has a message read to its end by the user's writer that was sent for, and that nobody takes: this is why.
    pub fn refuse(&mut self, user: User, status: Status) -> io::Result<Plan> {
        match self.writers.give(self.ground, &user, &Job::Refuse) {
            Outcome::Ready => Ok(Plan::Nowhere { user, status }),
            _ => Err(io::Error::other("nobody reads the message")),
        }
    }

    /// The writer has something to say. What became of the message; `None`: the front has given it up.
    pub fn finish(&mut self, transaction: &Transaction, plan: Plan) -> Option<Finished> {
        let outcome = self.writers.hear(self.ground, plan.user());
        Some(match (plan, outcome) {
            (_, Outcome::Abandoned) => return None,
            (Plan::Mailbox(Straight { id, recipient, .. }), Outcome::Written(written)) => Finished {
                statuses: [delivered_as(&id)].into(),
                delivered: Some(Delivered { id, recipient, written }),
            },
            (Plan::Mailbox(straight), outcome) => {
                Finished::one(self.settled(transaction, Taken::Mailbox(straight), outcome))
            }
            (Plan::Queue { user, recipients }, outcome) => {
                Finished::one(self.settled(transaction, Taken::Queue(user, recipients), outcome))
            }
            (Plan::Nowhere { status, .. }, _) => {
                self.known.log_refused_data(self.ground, transaction, &status);
                Finished::one(status)
            }
            (Plan::Spool { .. }, outcome) => {
                let statuses = match written(outcome) {
                    Err(status) => transaction.groups().iter().map(|_| status.clone()).collect(),
                    Ok(_) => self.deliver_spooled(transaction),
                };
                Finished { statuses, delivered: None }
            }
        })
    }

    /// What the writer has said about the whole message.
    pub fn settled(&mut self, transaction: &Transaction, taken: Taken, outcome: Outcome) -> Status {
        match (taken, outcome) {
            // The writer has said so in the log; the client is not to see a difference, and no runner has anything to do.
            (Taken::Queue(..), Outcome::Discarded(id)) => queued_as(&id),
            (Taken::Mailbox(Straight { id, .. }), Outcome::Discarded(_)) => delivered_as(&id),
            (Taken::Mailbox(Straight { id, recipient, .. }), outcome) => match written(outcome) {
                Ok(written) => {
                    let status = delivered_as(&id);
                    let delivered = Delivered { id, recipient, written };
                    self.known.log_delivered(self.ground, transaction, &delivered);
                    status
                }
                // Nothing was taken.
                Err(status) => {
                    self.known.log_refused_at_end(self.ground, transaction, Some(&recipient), &status);
                    status
                }
            },
            (Taken::Queue(_, recipients), outcome) => self.queued(transaction, recipients, written(outcome)),
        }
    }

    fn queued(
        &mut self,
        transaction: &Transaction,
        recipients: usize,
        result: Result<Written, Status>,
    ) -> Status {
        self.known.log_queued(self.ground, transaction, recipients, &result);
        match result {
            Ok(Written { name: id, .. }) => {
                self.writers.note_queued(&id);
                queued_as(&id)
            }
            Err(status) => status,
        }
    }

    /// One recipient with a mailbox gets the message straight into it; everything else goes through the queue.
    pub fn offer(
        &mut self,
        transaction: &Transaction,
        recipients: Vec<Recipient>,
        spooled: bool,
    ) -> Result<Offer, Status> {
        match straight(transaction, &recipients) {
            Some(recipient) => {
                let account = self.rules.account(recipient)?;
                self.offer_mailbox(transaction, recipient.clone(), account, spooled)
            }
            None => self.offer_queue(transaction, recipients, spooled),
        }
    }

    /// Whether the writer that would be asked first is at something.
    pub fn is_busy(&mut self, transaction: &Transaction, recipients: &[Recipient]) -> bool {
        let account =
            straight(transaction, recipients).and_then(|recipient| self.rules.account(recipient).ok());
        account.is_some_and(|account| self.writers.is_busy(&user_of(&account)))
    }

    fn offer_mailbox(
        &mut self,
        transaction: &Transaction,
        recipient: Recipient,
        account: Account,
        spooled: bool,
    ) -> Result<Offer, Status> {
        let user = user_of(&account);
        let (id, token) = match self.mark.clone().filter(|_| !spooled) {
            Some(mark) => (mark.id, Some(mark.token)),
            None => (new_id()?, None),
        };
        let envelope = transaction.envelope(Vec::new(), None);
        let job = Job::Deliver(Box::new(Deliver {
            received: self.received(transaction, &id),
            account,
            reverse_path: envelope.reverse_path_for(&recipient).cloned(),
            is_binary: envelope.body == Body::BinaryMime,
            recipient: recipient.clone(),
            submission: self.submission(transaction),
            spooled,
            token,
        }));
        self.writers.offer(self.ground, &user, &job)?;
        let recipient = Box::new(recipient);
        Ok(Offer { taken: Taken::Mailbox(Straight { user, id, token, recipient }), is_forwarded: false })
    }

    /// The user's `~/.forward` may say that it goes elsewhere. The queue gets it for the user, and the runner sends the copy on:
    /// what marks it, so that a circle ends, is made in one place.
    pub fn after_first_word(
        &mut self,
        transaction: &Transaction,
        offer: Offer,
        outcome: Outcome,
        spooled: bool,
    ) -> Result<Step, Status> {
        match (outcome, offer) {
            (Outcome::Ready, offer) => Ok(Step::Taken(offer.taken)),
            (
                Outcome::Forward(entries),
                Offer { taken: Taken::Mailbox(Straight { recipient, .. }), is_forwarded: false },
            ) => {
                let forwarded = self.rules.forward(&recipient, &entries)?;
                match forwarded.as_slice() {
                    // ~/.forward may name the mailbox itself.
                    [only] if matches!(only.target, Target::Mailbox { direct: true, .. }) => {
                        let account = self.rules.account(only)?;
                        let offer = self.offer_mailbox(transaction, only.clone(), account, spooled)?;
                        Ok(Step::Offered(Offer { is_forwarded: true, ..offer }))
                    }
                    _ => self.offer_queue(transaction, vec![*recipient], spooled).map(Step::Offered),
                }
            }
            (Outcome::Refused(status) | Outcome::Failed(status), _) => Err(status),
            (Outcome::Forward(_) | Outcome::Written(..) | Outcome::Discarded(_) | Outcome::Abandoned, _) => {
                Err(reply::LOCAL_PROBLEM.into())
            }
        }
    }

    fn offer_queue(
        &mut self,
        transaction: &Transaction,
        recipients: Vec<Recipient>,
        spooled: bool,
    ) -> Result<Offer, Status> {
        let (user, count) = (self.queue_user()?, recipients.len());
        let job = Job::Queue(Box::new(Queue {
            received: self.received(transaction, "\0"),
            envelope: transaction.envelope(recipients, self.known.login(self.ground)),
            from: format!("client={}", self.known.shown(self.ground)),
            submission: self.submission(transaction),
            spooled,
        }));
        self.writers.offer(self.ground, &user, &job)?;
        Ok(Offer { taken: Taken::Queue(user, count), is_forwarded: false })
    }

    fn begin_spool(&mut self) -> Result<Plan, Status> {
        let user = self.queue_user()?;
        if !self.writers.has_spool() {
            // Root's own directory: in the others it is a guest, who may not write without CAP_DAC_OVERRIDE.
            let directory = self.queue()?.place(QueuePlace::Drop);
            let file = common::sys::fs::unnamed_file(&directory)
                .map_err(|error| crate::writer::spool_failed(&error))?;
            self.writers.set_spool(file.into());
        }
        match self.writers.give(self.ground, &user, &Job::Spool) {
            Outcome::Ready => Ok(Plan::Spool { user }),
            Outcome::Refused(status) | Outcome::Failed(status) => Err(status),
            Outcome::Forward(_) | Outcome::Written(..) | Outcome::Discarded(_) | Outcome::Abandoned => {
                Err(reply::LOCAL_PROBLEM.into())
            }
        }
    }

    fn queue(&self) -> Result<QueueDirectory, Status> {
        QueueDirectory::open(self.ground.config).map_err(|error| {
            self.ground.log.error(format_args!("queue: {error}"));
            Status::from(reply::LOCAL_PROBLEM)
        })
    }

    fn queue_user(&self) -> Result<User, Status> {
        let (uid, gid) = self.queue()?.owner();
        Ok(User { uid, gid, groups: Vec::new() })
    }

    fn received(&self, transaction: &Transaction, id: &str) -> String {
        let (ground, mail) = (self.ground, &transaction.mail);
        let remote = ground.peer.remote.map(|remote| remote.ip()).filter(|ip| !ip.is_unspecified());
        let login = self.known.login(ground);
        let shown = login.filter(|_| ground.config.smtpd_sasl_authenticated_header);
        let only = if transaction.accepted() == 1 { transaction.groups().first() } else { None };
        let mut with = mail.with;
        (with.lmtp, with.tls, with.login) = (is(ground, "lmtp"), ground.tls, login.is_some());
        let received = Received {
            helo: self.known.helo(mail),
            name: self.known.name(ground.peer),
            address: remote,
            tls: &mail.tls,
            login: shown,
            by: self.rules.myhostname(),
            with,
            id,
            recipient: only.and_then(|group| group.first()).map(|recipient| &recipient.original),
            at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .ok()
                .and_then(|since| i64::try_from(since.as_secs()).ok())
                .unwrap_or(0),
        };
        received.to_string()
    }

    fn submission(&self, transaction: &Transaction) -> Option<Submission> {
        if !is(self.ground, "submission") {
            return None;
        }
        let from = transaction.reverse_path.as_ref().map(|path| format!("<{path}>")).unwrap_or_default();
        Some(Submission { from, domain: self.rules.myhostname().to_owned() })
    }
}

fn delivered_as(id: &str) -> Status {
    Status::new(250, Enhanced(2, 0, 0), format!("Ok: delivered as {id}"))
}

fn queued_as(id: &str) -> Status {
    Status::new(250, Enhanced(2, 0, 0), format!("Ok: queued as {id}"))
}

fn written(outcome: Outcome) -> Result<Written, Status> {
    match outcome {
        Outcome::Written(written) => Ok(written),
        Outcome::Failed(status) | Outcome::Refused(status) => Err(status),
        Outcome::Abandoned | Outcome::Ready | Outcome::Forward(_) | Outcome::Discarded(_) => {
            Err(reply::LOCAL_PROBLEM.into())
        }
    }
}

/// The recipient whose mailbox gets the message without the queue.
pub(super) fn straight<'a>(transaction: &Transaction, recipients: &'a [Recipient]) -> Option<&'a Recipient> {
    let [recipient] = recipients else { return None };
    let is_mailbox = matches!(recipient.target, Target::Mailbox { .. });
    (is_mailbox && !owes_success(transaction, recipient)).then_some(recipient)
}

/// Whether the sender is to be told of success (RFC 3461 section 5.2.3): what goes through the queue tells.
fn owes_success(transaction: &Transaction, recipient: &Recipient) -> bool {
    recipient.wants_success() && transaction.reverse_path.is_some()
}

fn new_id() -> Result<String, Status> {
    let id = Id::new(SystemTime::now()).map_err(|_| Status::from(reply::LOCAL_PROBLEM))?;
    Ok(id.as_str().to_owned())
}

fn new_token() -> Result<Token, Status> {
    let mut token = Token::default();
    process::random(&mut token).map_err(|_| Status::from(reply::LOCAL_PROBLEM))?;
    Ok(token)
}

pub(super) fn user_of(account: &Account) -> User {
    User { uid: account.uid, gid: account.gid, groups: account.groups.clone() }
}
