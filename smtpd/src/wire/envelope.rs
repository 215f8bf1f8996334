//! Envelopes and recipients as fields.

use super::{optional, read_optional};
use crate::address::{Address, ReversePath};
use crate::envelope::{Body, Envelope, Notify, Recipient, Ret, Target};
use common::process::channel::{Reader, Writer};

pub(super) fn body(body: Body) -> u8 {
    match body {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    }
}

pub(super) fn read_body(octet: u8) -> Option<Body> {
    [Body::SevenBit, Body::EightBitMime, Body::BinaryMime].into_iter().find(|known| body(*known) == octet)
}

pub(super) fn ret(ret: Option<Ret>) -> u8 {
    match ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    }
}

pub(super) fn read_ret(octet: u8) -> Option<Option<Ret>> {
    [None, Some(Ret::Full), Some(Ret::Headers)].into_iter().find(|known| ret(*known) == octet)
}

pub(super) fn notify(notify: Option<Notify>) -> u8 {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    notify.map_or(0, |n| 8 | bit(n.success, 1) | bit(n.failure, 2) | bit(n.delay, 4))
}

pub(super) fn read_notify(octet: u8) -> Option<Option<Notify>> {
    match octet {
        0 => Some(None),
        8..=15 => {
            Some(Some(Notify { success: octet & 1 != 0, failure: octet & 2 != 0, delay: octet & 4 != 0 }))
        }
        _ => None,
    }
}

pub(super) fn reverse_path(writer: Writer, path: &ReversePath) -> Writer {
    optional(writer, path.as_ref().map(Address::to_string).as_deref())
}

pub(super) fn read_reverse_path(r: &mut Reader<'_>) -> Option<ReversePath> {
    match read_optional(r)? {
        None => Some(None),
        Some(text) => Some(Some(Address::parse(text.as_bytes()).ok()?)),
    }
}

pub(super) fn envelope(writer: Writer, envelope: &Envelope) -> Writer {
    let writer = reverse_path(writer, &envelope.reverse_path);
    let writer = optional(writer, envelope.envid.as_deref());
    let writer = writer.field(&[body(envelope.body), ret(envelope.ret), u8::from(envelope.smtputf8)]);
    let mut writer = optional(writer, envelope.sender_login.as_deref())
        .field(&(envelope.recipients.len() as u64).to_be_bytes());
    for each in &envelope.recipients {
        writer = recipient(writer, each);
    }
    writer
}

pub(super) fn read_envelope(r: &mut Reader<'_>) -> Option<Envelope> {
    let reverse_path = read_reverse_path(r)?;
    let envid = read_optional(r)?;
    let &[body, ret, utf8] = r.field()?.first_chunk::<3>()?;
    let sender_login = read_optional(r)?;
    let count = r.number()?;
    let mut recipients = Vec::new();
    for _ in 0..count {
        recipients.push(read_recipient(r)?);
    }
    Some(Envelope {
        reverse_path,
        envid,
        ret: read_ret(ret)?,
        body: read_body(body)?,
        smtputf8: utf8 == 1,
        sender_login,
        recipients,
    })
}

pub(super) fn recipient(writer: Writer, recipient: &Recipient) -> Writer {
    let writer = writer
        .field(recipient.address.to_string().as_bytes())
        .field(recipient.original.to_string().as_bytes());
    let writer = optional(writer, recipient.orcpt.as_deref()).field(&[notify(recipient.notify)]);
    let writer = reverse_path(writer, &recipient.owner);
    match &recipient.target {
        Target::Remote(address) => writer.field(b"r").field(address.to_string().as_bytes()),
        Target::Mailbox { user, extension, direct } => {
            writer.field(b"m").field(user.as_bytes()).field(extension.as_bytes()).field(&[u8::from(*direct)])
        }
        Target::File { path, owner } => optional(writer.field(b"f").field(path.as_bytes()), owner.as_deref()),
        Target::Command { words, owner } => {
            let mut writer =
                optional(writer.field(b"c"), owner.as_deref()).field(&(words.len() as u64).to_be_bytes());
            for word in words {
                writer = writer.field(word.as_bytes());
            }
            writer
        }
        Target::Expanded { list } => writer.field(b"e").field(&[u8::from(*list)]),
    }
}

pub(super) fn read_recipient(r: &mut Reader<'_>) -> Option<Recipient> {
    let address = Address::parse(r.field()?).ok()?;
    let original = Address::parse(r.field()?).ok()?;
    let orcpt = read_optional(r)?;
    let notify = read_notify(*r.field()?.first()?)?;
    let owner = read_reverse_path(r)?;
    let target = match r.field()? {
        b"r" => Target::Remote(Address::parse(r.field()?).ok()?),
        b"m" => Target::Mailbox { user: r.text()?, extension: r.text()?, direct: r.flag()? },
        b"f" => Target::File { path: r.text()?, owner: read_optional(r)? },
        b"c" => {
            let owner = read_optional(r)?;
            let count = r.number()?;
            let mut words = Vec::new();
            for _ in 0..count {
                words.push(r.text()?);
            }
            Target::Command { words, owner }
        }
        b"e" => Target::Expanded { list: r.flag()? },
        _ => return None,
    };
    Some(Recipient { address, original, orcpt, notify, owner, target })
}
