//! What the guard tells the session across the exec: on a pipe, because arguments are for everybody to see.
//!
//! The session is a fresh program with the rights of a user; whatever it is told, it can do no more than that user. It
//! trusts the guard, and is told what the front and the client said as exactly that.

use super::channel::{Reader, Writer};
use crate::sys::fd;
use crate::sys::pass::widen_pipe;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The descriptor on which the session finds it: above any that the guard has, because it closes what it inherits first.
pub const DESCRIPTOR: i32 = 10;
/// Octets that fit into a pipe as it is, whose reader has not started yet.
const USUAL: usize = 60 * 1024;
/// Octets at most: a file of settings may be as large as a pipe, `-o` and unread input come on top of it.
const MAX: usize = 256 * 1024;

/// Everything a session starts with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handoff {
    /// Settings that differ from their defaults, as `name=value`.
    pub settings: Vec<String>,
    /// Who has logged in.
    pub user: String,
    /// Their home directory.
    pub home: PathBuf,
    /// Their mail location, where the user database names one.
    pub mail: Option<String>,
    /// The log's descriptor.
    pub log: i32,
    /// The session's identifier in the log.
    pub session_id: String,
    /// The client's address for people, or empty.
    pub remote: String,
    /// What the protocol has to remember of the conversation before the login.
    pub state: Vec<u8>,
    /// Input that the front read and did not use.
    pub unread: Vec<u8>,
}

impl Handoff {
    /// Into a pipe whose other end the session will have as [`DESCRIPTOR`].
    pub fn send(&self) -> io::Result<OwnedFd> {
        let message = self.encode();
        let what = "settings too large to hand over, put lists into files of their own";
        // A field of a message is no longer, and what is cut is another setting.
        if self.settings.iter().any(|setting| setting.len() > usize::from(u16::MAX)) {
            return Err(io::Error::other(what));
        }
        let (reader, writer) = fd::pipe()?;
        if message.len() > USUAL {
            let room = i32::try_from(message.len()).ok().filter(|_| message.len() <= MAX);
            let room = room.ok_or_else(|| io::Error::other(what))?;
            widen_pipe(&writer, room).map_err(|error| io::Error::other(format!("{what}: {error}")))?;
        }
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let n = fd::write(writer.as_fd(), rest)?;
            rest = rest.get(n..).unwrap_or_default();
        }
        Ok(reader)
    }

    /// What the guard sent.
    pub fn receive() -> io::Result<Handoff> {
        Handoff::receive_from(&fd::adopt(DESCRIPTOR)?)
    }

    fn receive_from(pipe: &OwnedFd) -> io::Result<Handoff> {
        let mut message = vec![0; USUAL];
        let mut filled = 0;
        loop {
            if filled == message.len() {
                message.resize(MAX, 0);
            }
            match fd::read(pipe.as_fd(), message.get_mut(filled..).unwrap_or_default())? {
                0 => break,
                n => filled += n,
            }
        }
        Handoff::decode(message.get(5..filled).unwrap_or_default()).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn encode(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let mut writer = Writer::new(0)
            .field(self.user.as_bytes())
            .field(self.home.as_os_str().as_bytes())
            .field(&[u8::from(self.mail.is_some())])
            .field(self.mail.as_deref().unwrap_or_default().as_bytes())
            .field(&u64::from(self.log.unsigned_abs()).to_be_bytes())
            .field(self.session_id.as_bytes())
            .field(self.remote.as_bytes())
            .field(&self.state)
            .field(&self.unread);
        for setting in &self.settings {
            writer = writer.field(setting.as_bytes());
        }
        writer.finish()
    }

    fn decode(body: &[u8]) -> Option<Handoff> {
        use std::os::unix::ffi::OsStringExt;
        let mut r = Reader(body);
        let user = r.text()?;
        let home = PathBuf::from(std::ffi::OsString::from_vec(r.octets()?));
        let has_mail = r.flag()?;
        let mail = r.text()?;
        let mut handoff = Handoff {
            user,
            home,
            mail: has_mail.then_some(mail),
            log: i32::try_from(r.number()?).ok()?,
            session_id: r.text()?,
            remote: r.text()?,
            state: r.octets()?,
            unread: r.octets()?,
            settings: Vec::new(),
        };
        while r.end().is_none() {
            handoff.settings.push(r.text()?);
        }
        Some(handoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_handed_over_arrives() {
        let handoff = Handoff {
            settings: vec!["ssl=no".into(), "login_greeting=a b".into()],
            user: "alice".into(),
            home: "/home/alice".into(),
            mail: Some("maildir:/srv/alice".into()),
            log: 4,
            session_id: "abc".into(),
            remote: "192.0.2.1".into(),
            state: vec![1],
            unread: b"STAT\r\n".to_vec(),
        };
        let octets = handoff.encode();
        assert_eq!(Handoff::decode(&octets[5..]), Some(handoff));
        assert_eq!(Handoff::decode(b""), None);
        assert_eq!(Handoff::decode(&octets[5..40]), None);
    }

    #[test]
    fn many_settings_arrive_or_are_refused() {
        for (octets, arrive) in
            [(100, true), (USUAL - 1000, true), (USUAL, true), (MAX - 9000, true), (MAX + MAX / 10, false)]
        {
            let handoff = Handoff { settings: vec!["x".repeat(96); octets / 100], ..Handoff::default() };
            match handoff.send() {
                Ok(pipe) => assert!(arrive && Handoff::receive_from(&pipe).unwrap() == handoff, "{octets}"),
                Err(error) => {
                    assert!(!arrive && error.to_string().starts_with("settings too large"), "{error}")
                }
            }
        }
    }

    #[test]
    fn no_setting_is_cut() {
        let handoff = Handoff { settings: vec!["x".repeat(1 << 16)], ..Handoff::default() };
        assert!(handoff.send().is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_handed_over_arrives(
            settings in prop::collection::vec("\\PC{0,20}", 0..4), user in "\\PC{0,20}", mail in prop::option::of("\\PC{0,20}"),
            log in 0..i32::MAX, state: Vec<u8>, unread: Vec<u8>,
        ) {
            let handoff = Handoff {
                settings, user, mail, log, state, unread, home: "/home".into(), session_id: "a".into(), remote: String::new(),
            };
            prop_assert_eq!(Handoff::decode(&handoff.encode()[5..]), Some(handoff));
        }

        #[test]
        fn no_octets_panic(octets: Vec<u8>) {
            let _ = Handoff::decode(&octets);
        }
    }
}
