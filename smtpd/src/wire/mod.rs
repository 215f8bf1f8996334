//! The messages between front and guard, and between guard and writer: typed, bounded, and nothing in them that is parsed a
//! second time.
//!
//! A front may have been taken over by its client, so what comes from one is read as if a stranger had written it: addresses
//! are parsed again, numbers checked. Guard and writer are of one mind, but a writer has a user's rights: its answers are
//! bounded, too.

mod envelope;
pub mod job;
pub mod pieces;

use crate::address::Address;
use crate::command::LINE_MAX;
use crate::command::parameters::{is_envid, is_orcpt};
use crate::command::path::{ForwardPath, ReversePath};
use crate::command::xclient::Attributes;
use crate::envelope::{Body, Notify, Ret};
use crate::received::With;
use crate::status::{Enhanced, Status};
use common::process::channel::{Reader, Writer};
use pieces::Token;

/// What the front asks or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The conversation begins: what should the front know?
    Hello,
    /// MAIL, where it is refused by itself: for the reply and the log. What may go on waits for the first RCPT.
    Mail(Box<Mail>),
    /// RCPT: may this be?
    Rcpt {
        /// MAIL, with the first RCPT of a transaction.
        mail: Option<Box<Mail>>,
        /// To whom.
        path: ForwardPath,
        /// ORCPT as it was said.
        orcpt: Option<String>,
        /// NOTIFY.
        notify: Option<Notify>,
        /// The client has said more already: this need not be the last one.
        more: bool,
    },
    /// The data are about to come. When all of them, or the mark that there will be no more, are with the writer, there is a
    /// second answer: what became of the message.
    Data,
    /// The data come: what [`Answer::Ahead`] said may be. This is not answered; what became of the message is.
    Begun,
    /// The writer takes too long. This is answered, and, before or after it, what became of the message is said.
    Overdue,
    /// LMTP: and for the next recipient?
    Next,
    /// VRFY.
    Vrfy(String),
    /// XCLIENT.
    Xclient(Attributes),
    /// Something for the log: what, and after which command.
    Note(Note, String),
}

/// What the front wants in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The client said more where it had to wait: the octets.
    Pipelining,
    /// The client spoke before it was greeted: the octets.
    Early,
    /// A message was refused for what it is made of: the reply.
    Refused,
    /// The client was gone, after this command.
    Lost,
    /// The client was silent, after this command.
    Silent,
    /// Too many errors, after this command.
    Errors,
    /// TLS has been agreed on: protocol and cipher.
    Tls,
}

/// What MAIL said, and how the client came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The argument of HELO, EHLO or LHLO.
    pub helo: String,
    /// SMTP or one of its kin. TLS and the login are known to the guard, too.
    pub with: With,
    /// TLS version and cipher; empty in clear.
    pub tls: String,
    /// From whom.
    pub path: ReversePath,
    /// SIZE.
    pub size: Option<u64>,
    /// BODY.
    pub body: Body,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, as it was said.
    pub envid: Option<String>,
}

/// What the guard answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A reply for the client.
    Status(Status),
    /// [`Question::Hello`], and [`Question::Xclient`] where it is allowed.
    Welcome(Welcome),
    /// [`Question::Data`]: let them come. And then: they were given up.
    Go,
    /// [`Question::Rcpt`]: this is the reply, and if DATA is what comes next, the data may be sent for without a question, which
    /// would have to wait for the writer.
    Ahead(Status, Promise),
    /// [`Question::Data`]: let them come, and this may be said as soon as the writer says that they are on disk.
    Promise(Promise),
}

/// The reply to a message of which its writer tells the front itself. The guard's own answer comes all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// What the writer says: nobody else knows it, so it is not about another message.
    pub token: Token,
    /// The reply.
    pub status: Status,
}

/// What a front has to know of its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Welcome {
    /// The banner's text.
    pub banner: String,
    /// This host.
    pub host: String,
    /// XCLIENT is offered.
    pub xclient: bool,
    /// LF alone is taken for CR LF.
    pub normalize: bool,
    /// A password is heard by nobody else on the client's way.
    pub trusted_way: bool,
    /// Somebody trusted has said who has logged in.
    pub logged_in: bool,
}

/// Questions and answers are short and no secrets.
fn new(kind: u8) -> Writer {
    Writer::sized(kind, 240)
}

pub(crate) fn optional(writer: Writer, text: Option<&str>) -> Writer {
    writer.field(&[u8::from(text.is_some())]).field(text.unwrap_or_default().as_bytes())
}

pub(crate) fn read_optional(r: &mut Reader<'_>) -> Option<Option<String>> {
    let is_there = r.flag()?;
    let text = r.text()?;
    Some(is_there.then_some(text))
}

/// A text for trace fields, rules and the log, as only a client's printable words can be.
fn read_word(r: &mut Reader<'_>) -> Option<String> {
    r.text().filter(|text| is_word(text))
}

fn is_word(text: &str) -> bool {
    text.len() <= LINE_MAX && !text.chars().any(char::is_control)
}

fn path(writer: Writer, path: Option<&ForwardPath>) -> Writer {
    match path {
        None => writer.field(b"0"),
        Some(ForwardPath::Mailbox(address)) => writer.field(b"m").field(address.to_string().as_bytes()),
        Some(ForwardPath::Local(local)) => writer.field(b"l").field(local.as_bytes()),
    }
}

fn read_path(r: &mut Reader<'_>) -> Option<Option<ForwardPath>> {
    Some(match r.field()? {
        b"0" => None,
        b"m" => Some(ForwardPath::Mailbox(Address::parse(r.field()?).ok()?)),
        b"l" => {
            let local = r.text()?;
            // The same rules as for one with a domain.
            Address::new(local.as_str(), "x").ok()?;
            Some(ForwardPath::Local(local))
        }
        _ => return None,
    })
}

fn write_mail(writer: Writer, mail: &Mail) -> Writer {
    let with = [mail.with.lmtp, mail.with.esmtp, mail.with.utf8, mail.with.tls, mail.with.login];
    let writer = writer
        .field(mail.helo.as_bytes())
        .field(&with.map(u8::from))
        .field(mail.tls.as_bytes())
        .field(&[u8::from(mail.size.is_some())])
        .field(&mail.size.unwrap_or(0).to_be_bytes());
    let writer = path(writer, mail.path.as_ref());
    let writer = writer.field(&[envelope::body(mail.body), envelope::ret(mail.ret)]);
    optional(writer, mail.envid.as_deref())
}

fn read_mail(r: &mut Reader<'_>) -> Option<Mail> {
    let helo = read_word(r)?;
    let &[lmtp, esmtp, utf8, tls, login] = r.field()?.first_chunk::<5>()?;
    let yes = |flag: u8| flag == 1;
    let with = With { lmtp: yes(lmtp), esmtp: yes(esmtp), utf8: yes(utf8), tls: yes(tls), login: yes(login) };
    let tls = read_word(r)?;
    let has_size = r.flag()?;
    let size = r.number()?;
    let path = read_path(r)?;
    let &[body, ret] = r.field()?.first_chunk::<2>()?;
    Some(Mail {
        helo,
        with,
        tls,
        path,
        size: has_size.then_some(size),
        body: envelope::read_body(body)?,
        ret: envelope::read_ret(ret)?,
        // It stands in commands to other hosts: the grammar holds, whoever checked it before.
        envid: read_optional(r)?.map_or(Some(None), |envid| is_envid(&envid).then_some(Some(envid)))?,
    })
}

impl Question {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Question::Hello => new(1),
            Question::Mail(mail) => write_mail(new(2), mail),
            Question::Rcpt { mail, path: forward, orcpt, notify, more } => {
                let writer = path(new(3), Some(forward));
                let writer = optional(writer, orcpt.as_deref()).field(&[envelope::notify(*notify)]);
                let writer = writer.field(&[u8::from(*more)]).field(&[u8::from(mail.is_some())]);
                mail.iter().fold(writer, |writer, mail| write_mail(writer, mail))
            }
            Question::Data => new(4),
            Question::Overdue => new(5),
            Question::Next => new(6),
            Question::Vrfy(text) => new(7).field(text.as_bytes()),
            Question::Xclient(attributes) => xclient(new(8), attributes),
            Question::Begun => new(10),
            Question::Note(note, text) => new(9).field(&[*note as u8]).field(text.as_bytes()),
        }
        .finish()
    }

    /// `None`: not a question that our front would ask.
    pub fn decode(message: &[u8]) -> Option<Question> {
        let (kind, mut r) = open(message)?;
        let question = match kind {
            1 => Question::Hello,
            2 => Question::Mail(Box::new(read_mail(&mut r)?)),
            3 => Question::Rcpt {
                path: read_path(&mut r)??,
                orcpt: read_optional(&mut r)?
                    .map_or(Some(None), |orcpt| is_orcpt(&orcpt).then_some(Some(orcpt)))?,
                notify: envelope::read_notify(*r.field()?.first()?)?,
                more: r.flag()?,
                mail: match r.flag()? {
                    false => None,
                    true => Some(Box::new(read_mail(&mut r)?)),
                },
            },
            4 => Question::Data,
            5 => Question::Overdue,
            6 => Question::Next,
            7 => Question::Vrfy(r.text()?),
            8 => Question::Xclient(read_xclient(&mut r)?),
            9 => Question::Note(Note::decode(*r.field()?.first()?)?, r.text()?),
            10 => Question::Begun,
            _ => return None,
        };
        r.end()?;
        Some(question)
    }
}

impl Note {
    const ALL: [Note; 7] =
        [Note::Pipelining, Note::Early, Note::Refused, Note::Lost, Note::Silent, Note::Errors, Note::Tls];

    fn decode(octet: u8) -> Option<Note> {
        Note::ALL.into_iter().find(|note| *note as u8 == octet)
    }
}

impl Answer {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Status(status) => write_status(new(1), status),
            Answer::Welcome(welcome) => new(2)
                .field(welcome.banner.as_bytes())
                .field(welcome.host.as_bytes())
                .field(&[u8::from(welcome.xclient)])
                .field(&[u8::from(welcome.normalize)])
                .field(&[u8::from(welcome.trusted_way)])
                .field(&[u8::from(welcome.logged_in)]),
            Answer::Go => new(3),
            Answer::Promise(promise) => write_promise(new(4), promise),
            Answer::Ahead(status, promise) => write_promise(write_status(new(5), status), promise),
        }
        .finish()
    }

    /// `None`: not an answer that our guard would give.
    pub fn decode(message: &[u8]) -> Option<Answer> {
        let (kind, mut r) = open(message)?;
        let answer = match kind {
            1 => Answer::Status(read_status(&mut r)?),
            2 => Answer::Welcome(Welcome {
                banner: r.text()?,
                host: r.text()?,
                xclient: r.flag()?,
                normalize: r.flag()?,
                trusted_way: r.flag()?,
                logged_in: r.flag()?,
            }),
            3 => Answer::Go,
            4 => Answer::Promise(read_promise(&mut r)?),
            5 => Answer::Ahead(read_status(&mut r)?, read_promise(&mut r)?),
            _ => return None,
        };
        r.end()?;
        Some(answer)
    }
}

/// Kind and fields of a message.
pub(crate) fn open(message: &[u8]) -> Option<(u8, Reader<'_>)> {
    let (&[kind, _, _, _, _], body) = message.split_first_chunk::<5>()?;
    Some((kind, Reader(body)))
}

fn write_promise(writer: Writer, promise: &Promise) -> Writer {
    write_status(writer.field(&promise.token), &promise.status)
}

fn read_promise(r: &mut Reader<'_>) -> Option<Promise> {
    Some(Promise { token: read_optional_token(r)??, status: read_status(r)? })
}

/// None is empty.
pub(crate) fn read_optional_token(r: &mut Reader<'_>) -> Option<Option<Token>> {
    let token = r.field()?;
    if token.is_empty() { Some(None) } else { token.try_into().ok().map(Some) }
}

pub(crate) fn write_status(writer: Writer, status: &Status) -> Writer {
    let Enhanced(class, subject, detail) = status.enhanced;
    let mut numbers = [0; 7];
    let parts = [status.code.to_be_bytes(), subject.to_be_bytes(), detail.to_be_bytes()].concat();
    for (place, octet) in numbers.iter_mut().zip(parts.into_iter().chain([class])) {
        *place = octet;
    }
    writer.field(&numbers).field(status.text.as_bytes())
}

/// A status that can be said: three digits, and a text that stays within its line.
pub(crate) fn read_status(r: &mut Reader<'_>) -> Option<Status> {
    let &[c1, c2, s1, s2, d1, d2, class] = r.field()?.first_chunk::<7>()?;
    let code = u16::from_be_bytes([c1, c2]);
    let enhanced = Enhanced(class, u16::from_be_bytes([s1, s2]), u16::from_be_bytes([d1, d2]));
    let text = r.text()?;
    let is_sane = (200..600).contains(&code) && !text.chars().any(char::is_control);
    is_sane.then(|| Status::new(code, enhanced, text))
}

fn xclient(writer: Writer, a: &Attributes) -> Writer {
    let address = a.address.map(|address| address.map(|ip| ip.to_string()).unwrap_or_default());
    let port = a.port.map(|port| port.to_string());
    let esmtp = a.esmtp.map(|yes| if yes { "1" } else { "0" });
    let local = a.local_address.map(|ip| ip.to_string());
    let local_port = a.local_port.map(|port| port.to_string());
    let writer = optional(writer, a.name.as_deref());
    let writer = optional(writer, address.as_deref());
    let writer = optional(writer, port.as_deref());
    let writer = optional(writer, a.helo.as_deref());
    let writer = optional(writer, esmtp);
    let writer = optional(writer, a.login.as_deref());
    let writer = optional(writer, local.as_deref());
    optional(writer, local_port.as_deref())
}

fn read_xclient(r: &mut Reader<'_>) -> Option<Attributes> {
    fn parsed<T: std::str::FromStr>(text: Option<String>) -> Option<Option<T>> {
        match text {
            None => Some(None),
            Some(text) => text.parse().ok().map(Some),
        }
    }
    let attributes = Attributes {
        name: read_optional(r)?,
        address: match read_optional(r)? {
            None => None,
            Some(text) if text.is_empty() => Some(None),
            Some(text) => Some(Some(text.parse().ok()?)),
        },
        port: parsed(read_optional(r)?)?,
        helo: read_optional(r)?,
        esmtp: read_optional(r)?.map(|text| text == "1"),
        login: read_optional(r)?,
        local_address: parsed(read_optional(r)?)?,
        local_port: parsed(read_optional(r)?)?,
    };
    let words = [&attributes.name, &attributes.helo, &attributes.login];
    let are_words = words.into_iter().flatten().all(|word| is_word(word));
    are_words.then_some(attributes)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
