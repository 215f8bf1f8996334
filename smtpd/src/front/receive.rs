//! DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030): the message on its way to its writer.
//!
//! The octets pass through; none of them is kept. Whatever refuses the message, its rest is read to the true end before the
//! reply, because what follows is commands again.

use super::form::Form;
use super::transaction::Transaction;
use super::{Conversation, Next, is_over};
use crate::data::Machine;
use crate::envelope::Body;
use crate::reply::{self, Reply};
use crate::status::Status;
use crate::wire::pieces::{PATIENCE_MAX, Pieces, hear_token};
use crate::wire::{Answer, Note, Promise, Question};
use common::io::Ending;
use common::process::front::Front;
use common::sys::fd;
use std::io;
use std::time::Duration;

/// Octets of a message that has been refused which are read before the connection is given up.
const REFUSED_MAX: u64 = 1 << 30;

/// A message that is coming in.
pub(super) struct Incoming {
    /// What it has to be.
    form: Form,
    /// Where it goes; `None`: it was given up.
    pieces: Option<Pieces>,
    /// The guard has yet to say that it knows.
    unheard: bool,
    /// The writer does not read what it is sent, or is gone. The guard has yet to end it, or to say so.
    stuck: bool,
    /// Octets so far, those of the message.
    octets: u64,
    /// Octets of a refused message so far.
    refused: u64,
    /// The most that is taken.
    limit: u64,
    /// Why it is refused.
    why: Option<Status>,
    /// What may be said as soon as its writer has it on disk.
    promise: Option<Promise>,
}

impl Incoming {
    fn new(form: Form, promise: Option<Promise>, front: &Front) -> Incoming {
        let config = &front.config;
        let limit = if config.message_size_limit.0 == 0 { u64::MAX } else { config.message_size_limit.0 };
        let room = front.room_for_data(config.ipc_timeout.min(PATIENCE_MAX));
        let pieces = Some(Pieces::new(Box::new(room)));
        Incoming {
            form,
            pieces,
            unheard: false,
            stuck: false,
            octets: 0,
            refused: 0,
            limit,
            why: None,
            promise,
        }
    }

    /// Takes octets. How many of them belong to the message, and whether it is complete (DATA).
    fn take(&mut self, input: &[u8]) -> Result<(usize, bool), Ending> {
        let Incoming { form, pieces, octets, limit, stuck, .. } = self;
        let mut out = |part: &[u8]| -> Result<(), Ending> {
            *octets = octets.saturating_add(part.len() as u64);
            if *octets > *limit { Ok(()) } else { send(pieces, stuck, |pieces| pieces.push(part)) }
        };
        let (used, end) = form.feed(input, &mut out)?;
        self.look_for_faults()?;
        // What ends here leaves together with the mark.
        if !end {
            send(&mut self.pieces, &mut self.stuck, Pieces::flush)?;
            self.look_for_faults()?;
        }
        if self.why.is_some() {
            self.refused = self.refused.saturating_add(used as u64);
            if self.refused > REFUSED_MAX {
                return Err(Ending::TooManyBadCommands);
            }
        }
        Ok((used, end))
    }

    /// A message that will be refused is given up at once: its writer need not keep what has come.
    fn look_for_faults(&mut self) -> Result<(), Ending> {
        if self.why.is_some() {
            return Ok(());
        }
        let why = match self.form.fault() {
            Some(fault) => fault.status(),
            None if self.stuck => reply::LOCAL_PROBLEM.into(),
            None if self.octets > self.limit => reply::TOO_BIG.into(),
            None => return Ok(()),
        };
        self.why = Some(why);
        self.give_up()
    }

    fn give_up(&mut self) -> Result<(), Ending> {
        let Some(pieces) = self.pieces.take() else { return Ok(()) };
        self.unheard = true;
        match pieces.end(false) {
            Err(ending) if is_over(&ending) => {
                self.stuck = true;
                Ok(())
            }
            sent => sent,
        }
    }

    /// The last chunk is there.
    fn end_of_chunks(&mut self) -> Result<(), Ending> {
        let lacks_line_end = self.form.end_of_chunks();
        self.look_for_faults()?;
        if lacks_line_end {
            send(&mut self.pieces, &mut self.stuck, |pieces| pieces.push(b"\r\n"))?;
            self.look_for_faults()?;
        }
        Ok(())
    }
}

/// Gives the writer something, as long as it takes it. One that does not is given up, and the client goes on to its end.
fn send(
    pieces: &mut Option<Pieces>,
    stuck: &mut bool,
    work: impl FnOnce(&mut Pieces) -> Result<(), Ending>,
) -> Result<(), Ending> {
    match pieces.as_mut().map_or(Ok(()), work) {
        Err(ending) if is_over(&ending) => {
            (*pieces, *stuck) = (None, true);
            Ok(())
        }
        sent => sent,
    }
}

impl Conversation<'_> {
    pub(super) fn data(&mut self) -> Result<Next, Ending> {
        let verb = "DATA";
        let Some(transaction) = &self.transaction else { return self.not(verb, reply::MAIL_FIRST) };
        if transaction.chunks.is_some() {
            return self.not(verb, reply::DATA_AFTER_BDAT);
        }
        if transaction.recipients == 0 {
            let refused = self.lacks_recipients(transaction);
            return self.not(verb, refused);
        }
        if transaction.body == Body::BinaryMime {
            // RFC 3030 section 3.
            return self.not(verb, reply::BINARY_NEEDS_BDAT);
        }
        // Nothing else is asked of the guard before it has spoken of this message. Between chunks it might be: those ask.
        let ahead = self.transaction.as_mut().and_then(|transaction| transaction.ahead.take());
        let begun = match ahead {
            Some(promise) => {
                self.front.tell_service(Question::Begun.encode())?;
                Ok(Some(promise))
            }
            None => self.ask_for_writer()?,
        };
        let promise = match begun {
            Ok(promise) => promise,
            Err(status) => {
                self.transaction = None;
                return self.pass_on(verb, &status);
            }
        };
        let form = Form::Lines(Machine::for_data(self.welcome.normalize));
        let mut incoming = Incoming::new(form, promise, self.front);
        // From here on the message is given up unless it comes to its end.
        let received =
            self.say(&"354 End data with <CR><LF>.<CR><LF>").and_then(|()| self.receive_data(&mut incoming));
        match received {
            Ok(()) => self.finish(verb, incoming),
            Err(ending) => {
                self.transaction = None;
                let _ = self.give_up(&mut incoming);
                Err(ending)
            }
        }
    }

    /// RFC 5321 section 3.3 has 503 or 554, RFC 2033 section 4.2 only 503.
    fn lacks_recipients(&self, transaction: &Transaction) -> Reply {
        match transaction.asked && !self.service.lmtp {
            true => reply::NO_RECIPIENTS,
            false => reply::RCPT_FIRST,
        }
    }

    /// Status: the guard has nobody who takes the message.
    fn ask_for_writer(&mut self) -> Result<Result<Option<Promise>, Status>, Ending> {
        match self.ask(&Question::Data)? {
            Answer::Go => Ok(Ok(None)),
            Answer::Promise(promise) => Ok(Ok(Some(promise))),
            Answer::Status(status) => Ok(Err(status)),
            Answer::Welcome(_) | Answer::Ahead(..) => Err(Ending::Failed(io::ErrorKind::InvalidData.into())),
        }
    }

    fn receive_data(&mut self, incoming: &mut Incoming) -> Result<(), Ending> {
        self.after = "DATA";
        let limits = self.front.conn.limits();
        loop {
            let (used, end) = incoming.take(self.front.conn.peek(0)?)?;
            self.front.conn.consume(used);
            self.hear_end(incoming)?;
            // A message may take longer than a command; what counts is that it comes.
            self.front.conn.set_limits(limits);
            if end {
                self.after = "END-OF-MESSAGE";
                return Ok(());
            }
        }
    }

    pub(super) fn bdat(&mut self, size: u64, last: bool) -> Result<Next, Ending> {
        let verb = "BDAT";
        let refused = match &self.transaction {
            _ if !self.offers("CHUNKING") => Some(reply::NOT_OFFERED),
            None => Some(reply::MAIL_FIRST),
            Some(transaction) if transaction.recipients > 0 => None,
            Some(transaction) => Some(self.lacks_recipients(transaction)),
        };
        // RFC 3030 section 2: the octets come whatever the reply will be.
        if let Some(refused) = refused {
            self.skip(size)?;
            return self.not(verb, refused);
        }
        let mut promise = None;
        if self.transaction.as_ref().is_some_and(|transaction| transaction.chunks.is_none()) {
            promise = match self.ask_for_writer()? {
                Ok(promise) => promise,
                Err(status) => {
                    self.transaction = None;
                    self.skip(size)?;
                    return self.pass_on(verb, &status);
                }
            };
        }
        let Some(transaction) = &mut self.transaction else { return self.not(verb, reply::MAIL_FIRST) };
        let is_binary = transaction.body == Body::BinaryMime;
        let (normalize, front) = (self.welcome.normalize, &self.front);
        let mut incoming = transaction
            .chunks
            .take()
            .unwrap_or_else(|| Incoming::new(Form::of_chunks(is_binary, normalize), promise, front));
        let received = self.receive_chunk(&mut incoming, size);
        if let Some(transaction) = &mut self.transaction {
            if received.is_err() || !last {
                transaction.chunks = Some(incoming);
                received?;
                return self.chunk_taken(size);
            }
        }
        self.finish(verb, incoming)
    }

    fn chunk_taken(&mut self, size: u64) -> Result<Next, Ending> {
        let why = self.transaction.as_ref().and_then(|transaction| transaction.chunks.as_ref()?.why.clone());
        match why {
            None => {
                self.counts.count("BDAT", true);
                self.front.conn.push_fmt(format_args!("250 2.0.0 Ok: {size} octets\r\n"))?;
                Ok(Next::Command)
            }
            // The message is lost; what else comes of it is refused in the same words.
            Some(status) => self.pass_on("BDAT", &status),
        }
    }

    fn receive_chunk(&mut self, incoming: &mut Incoming, size: u64) -> Result<(), Ending> {
        let limits = self.front.conn.limits();
        let mut left = size;
        while left > 0 {
            let unread = self.front.conn.peek(0)?;
            let n = unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            incoming.take(unread.get(..n).unwrap_or_default())?;
            self.front.conn.consume(n);
            self.hear_end(incoming)?;
            self.front.conn.set_limits(limits);
            left = left.saturating_sub(n as u64);
        }
        Ok(())
    }

    /// Reads a chunk that nobody wants.
    fn skip(&mut self, size: u64) -> Result<(), Ending> {
        if size > REFUSED_MAX {
            return Err(Ending::TooManyBadCommands);
        }
        let limits = self.front.conn.limits();
        let mut left = size;
        while left > 0 {
            let n = self.front.conn.peek(0)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.front.conn.consume(n);
            self.front.conn.set_limits(limits);
            left = left.saturating_sub(n as u64);
        }
        Ok(())
    }

    /// The message is here as a whole: what becomes of it is said now. This is where filters will be asked.
    fn finish(&mut self, verb: &'static str, mut incoming: Incoming) -> Result<Next, Ending> {
        let Some(transaction) = self.transaction.take() else { return self.not(verb, reply::MAIL_FIRST) };
        if verb == "BDAT" {
            incoming.end_of_chunks()?;
            self.hear_end(&mut incoming)?;
        }
        // RFC 2033 section 4.2: one reply for each recipient.
        let replies = if self.service.lmtp { transaction.recipients } else { 1 };
        if let Some(status) = incoming.why {
            self.note(Note::Refused, status.to_string())?;
            for _ in 0..replies {
                self.pass_on(verb, &status)?;
            }
            return Ok(Next::Command);
        }
        let Some(pieces) = incoming.pieces.take() else { return self.not(verb, reply::LOCAL_PROBLEM) };
        let sent = pieces.end(true);
        let mut is_stuck = sent.as_ref().is_err_and(is_over);
        if !is_stuck {
            sent?;
        }
        let mut is_said = false;
        if let (Some(promise), false) = (incoming.promise, is_stuck) {
            match self.say_as_promised(verb, &promise) {
                Err(ending) if is_over(&ending) => is_stuck = true,
                Ok(said) => is_said = said,
                Err(ending) => {
                    // What the guard says of the message would be taken for the answer to the next question.
                    let _ = self.hear_of_message();
                    return Err(ending);
                }
            }
        }
        let mut taken = is_said;
        for at in 0..replies {
            let answer = match at {
                0 if is_stuck => self.end_writer()?,
                0 => self.hear_of_message()?,
                _ => self.ask(&Question::Next)?,
            };
            let Answer::Status(status) = answer else {
                return Err(Ending::Failed(io::ErrorKind::InvalidData.into()));
            };
            if !std::mem::take(&mut is_said) {
                taken |= status.is_positive();
                self.pass_on(verb, &status)?;
            }
        }
        if taken {
            (self.bad, self.junk) = (0, 0);
            self.messages = self.messages.saturating_add(1);
        }
        Ok(Next::Command)
    }

    /// The client's reply when the writer itself says that the message is on disk: what the guard says of it comes while the client
    /// reads. `false`: the guard has something else to say.
    fn say_as_promised(&mut self, verb: &'static str, promise: &Promise) -> Result<bool, Ending> {
        let patience = self.front.config.ipc_timeout.max(Duration::from_secs(1));
        while self.front.wait_for_data(patience)? {
            if hear_token(fd::DATA, promise.token)? {
                self.pass_on(verb, &promise.status)?;
                self.front.conn.flush()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The transaction is over without a message.
    pub(super) fn drop_transaction(&mut self) -> Result<(), Ending> {
        let Some(transaction) = self.transaction.take() else { return Ok(()) };
        transaction.chunks.map_or(Ok(()), |mut incoming| self.give_up(&mut incoming))
    }

    fn give_up(&mut self, incoming: &mut Incoming) -> Result<(), Ending> {
        incoming.give_up()?;
        self.hear_end(incoming)
    }

    /// A message that was given up: the guard says that its writer knows, before it is asked anything else.
    fn hear_end(&mut self, incoming: &mut Incoming) -> Result<(), Ending> {
        let unheard = std::mem::take(&mut incoming.unheard);
        match std::mem::take(&mut incoming.stuck) {
            true => self.end_writer().map(drop),
            false if unheard => self.hear_of_message().map(drop),
            false => Ok(()),
        }
    }
}
